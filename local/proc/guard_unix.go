//go:build linux || darwin

package proc

import (
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

// guardScript waits until its standard input closes, which the kernel sees to
// even if the parent is killed with SIGKILL, and then kills its own group. It
// sits out the signals that ask the group to end.
//
// A parent-death signal (Linux only) would reach just the child: a function of
// the emulator that hangs in an invocation survives the emulator's end.
const guardScript = `trap '' HUP INT TERM; read -r _; kill -s KILL 0`

// guard is a shell that leads the process group of a child. Until it has been
// waited for, the kernel gives the group's id to nobody else.
type guard struct {
	cmd   *exec.Cmd
	alive io.Closer // the pipe whose end tells the guard of our death

	mu   sync.Mutex
	gone bool
}

func newGuard() (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("proc: the guard's pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("proc: the guard: %w", err)
	}
	return &guard{cmd: cmd, alive: alive}, nil
}

// adopt makes the command join the group when it starts.
func (g *guard) adopt(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: g.cmd.Process.Pid}
}

func (g *guard) terminate() { g.signal(syscall.SIGTERM) }

func (g *guard) kill() { g.signal(syscall.SIGKILL) }

// release kills what is left of the group and lets go of its id.
func (g *guard) release() {
	g.kill()
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.cmd.Wait() // always "killed"
	g.gone = true
}

func (g *guard) signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gone {
		_ = syscall.Kill(-g.cmd.Process.Pid, s)
	}
}
