// Package proc runs child processes that can't outlive their parent. A child
// and everything that it starts share a process group, which is killed as a
// whole when the child ends, when it is stopped, and when the parent dies,
// however that happens.
package proc

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

// ErrUnsupported is what Start answers on a system without process groups.
var ErrUnsupported = errors.New("running local processes needs Linux or macOS (on Windows: WSL)")

// Group is a child process together with all its descendants.
type Group struct {
	child *exec.Cmd
	guard *guard
	done  chan struct{}
	err   error
}

// PID is the child's process id.
func (g *Group) PID() int { return g.child.Process.Pid }

// Done is closed once the child has ended and its whole group is gone.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err is how the child ended; nil is exit code 0. It is valid after Done.
func (g *Group) Err() error { return g.err }

// Stop asks the whole group to end, kills what is left of it after grace, and
// returns when it is gone. It may be called at any time and more than once.
func (g *Group) Stop(grace time.Duration) {
	g.guard.terminate()
	select {
	case <-g.done:
	case <-time.After(grace):
		g.guard.kill()
		<-g.done
	}
}

// Run starts the command and waits for it. If ctx ends first, the group is
// stopped and the error is the context's cause. See Start about its output.
func Run(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g, err := Start(cmd)
	if err != nil {
		return err
	}
	select {
	case <-g.Done():
		return g.Err()
	case <-ctx.Done():
		g.Stop(grace)
		return context.Cause(ctx)
	}
}

// Start runs the command in a process group of its own. Its Stdout and Stderr
// have to be files or nil: a descendant that kept a pipe open would otherwise
// hold up the end. The command's SysProcAttr is overwritten.
func Start(cmd *exec.Cmd) (*Group, error) {
	guard, err := newGuard()
	if err != nil {
		return nil, err
	}
	guard.adopt(cmd)
	if err := cmd.Start(); err != nil {
		guard.release()
		return nil, err
	}
	g := &Group{child: cmd, guard: guard, done: make(chan struct{})}
	go func() {
		g.err = cmd.Wait()
		// What the child left behind goes with it.
		guard.release()
		close(g.done)
	}()
	return g, nil
}
