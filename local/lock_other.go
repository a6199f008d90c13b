//go:build !linux && !darwin

package local

import (
	"os"

	"github.com/millrace/millrace/local/proc"
)

func tryLock(*os.File, bool) error { return proc.ErrUnsupported }

func terminate(int) error { return proc.ErrUnsupported }
