package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrNotRunning is what Status and Down answer if no machine runs.
var ErrNotRunning = errors.New("no local machine is running")

// State is what other processes can know of a running machine.
type State struct {
	PID         int               `json:"pid"`                    // of the process that called Up
	EmulatorPID int               `json:"emulator_pid,omitempty"` // 0 until it has started
	Port        int               `json:"port,omitempty"`
	Endpoint    string            `json:"endpoint,omitempty"`
	Limits      string            `json:"limits,omitempty"` // of the shards, as a profile
	Started     time.Time         `json:"started"`
	Outputs     map[string]string `json:"outputs,omitempty"` // none until the stack is deployed
}

// Ready reports whether the stack stands.
func (s State) Ready() bool { return len(s.Outputs) > 0 }

// RunningError says that a machine runs already.
type RunningError struct {
	State State
}

func (e *RunningError) Error() string {
	where := e.State.Endpoint
	if where == "" {
		where = "its endpoint isn't up yet"
	}
	return fmt.Sprintf("a local machine is already running: %s, process %d, since %s\nstop it with Ctrl-C there or with `millrace local down`",
		where, e.State.PID, e.State.Started.Local().Format(time.DateTime))
}

// Status is the state of the machine that runs in the checkout dir is in; ""
// means the working directory. A state that a killed process left behind isn't
// taken for a machine. The error is ErrNotRunning if there is none.
func Status(dir string) (State, error) {
	dir, err := Checkout(dir)
	if err != nil {
		return State{}, err
	}
	return readState(pathsOf(dir))
}

// Down stops the machine that runs in the checkout dir is in and returns, with
// what its state was, when it has ended. The error is ErrNotRunning if there is
// none.
func Down(ctx context.Context, dir string) (State, error) {
	dir, err := Checkout(dir)
	if err != nil {
		return State{}, err
	}
	p := pathsOf(dir)
	state, err := readState(p)
	if err != nil {
		return State{}, err
	}
	if err := terminate(state.PID); err != nil {
		return state, fmt.Errorf("process %d, which runs the machine, can't be stopped: %w", state.PID, err)
	}
	for {
		if now, err := readState(p); errors.Is(err, ErrNotRunning) || err == nil && now.PID != state.PID {
			return state, nil
		} else if err != nil {
			return state, err
		}
		select {
		case <-ctx.Done():
			return state, fmt.Errorf("process %d hasn't stopped the machine yet: %w", state.PID, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

var errLocked = errors.New("locked by another process")

// lock is held by the process that runs the machine. The kernel lets go of it
// when that process ends, so that a state without a lock is known to be stale.
type lock struct {
	file  *os.File
	state string
}

// acquire takes the lock or answers a *RunningError.
func acquire(p paths) (*lock, error) {
	file, err := os.OpenFile(p.lock, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	// Whoever asks for the status holds the lock for a moment, too.
	for range 20 {
		if err = tryLock(file, true); !errors.Is(err, errLocked) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	l := &lock{file: file, state: p.state}
	if errors.Is(err, errLocked) {
		state, err := stateFile(p)
		if err == nil {
			err = &RunningError{State: state}
		}
		return nil, errors.Join(err, file.Close())
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", p.lock, err), file.Close())
	}
	return l, l.write(State{PID: os.Getpid(), Started: time.Now()})
}

func (l *lock) write(s State) error { return replaceJSON(l.state, s) }

// release removes the state and lets go of the lock. The lock's file stays: a
// new one could be locked beside this one.
func (l *lock) release() error {
	err := os.RemoveAll(l.state)
	return errors.Join(err, l.file.Close())
}

func readState(p paths) (State, error) {
	file, err := os.Open(p.lock)
	if errors.Is(err, os.ErrNotExist) {
		return State{}, ErrNotRunning
	} else if err != nil {
		return State{}, err
	}
	defer file.Close()
	switch err := tryLock(file, false); {
	case err == nil:
		return State{}, ErrNotRunning
	case errors.Is(err, errLocked):
		return stateFile(p)
	default:
		return State{}, fmt.Errorf("lock %s: %w", p.lock, err)
	}
}

func stateFile(p paths) (State, error) {
	var s State
	data, err := os.ReadFile(p.state)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return State{}, fmt.Errorf("a local machine is running, but its state in %s can't be read: %w\nstop it with Ctrl-C where it runs", p.state, err)
	}
	return s, nil
}
