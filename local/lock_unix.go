//go:build linux || darwin

package local

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks the file for this process alone, or together with others, until
// it is closed. It answers errLocked instead of waiting.
func tryLock(file *os.File, alone bool) error {
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

func terminate(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }
