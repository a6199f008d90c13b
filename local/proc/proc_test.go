//go:build linux || darwin

package proc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/local/proc"
)

// stubborn starts a grandchild, writes both ids to the file in $1 and then, like
// the grandchild, ignores every request to end.
const stubborn = `trap '' INT TERM HUP
(trap '' INT TERM HUP; while :; do sleep 0.1; done) &
echo "$$ $!" > "$1.new" && mv "$1.new" "$1"
while :; do sleep 0.1; done`

// TestMain doubles as the parent process that a test kills.
func TestMain(m *testing.M) {
	if file := os.Getenv("PROC_TEST_PARENT"); file != "" {
		if _, err := proc.Start(exec.Command("/bin/sh", "-c", stubborn, "sh", file)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func TestStopKillsAGroupThatIgnoresTheRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	g, err := proc.Start(exec.Command("/bin/sh", "-c", stubborn, "sh", file))
	if err != nil {
		t.Fatal(err)
	}
	pids := readPIDs(t, file)
	if pids[0] != g.PID() {
		t.Errorf("PID() = %d, the child says %d", g.PID(), pids[0])
	}
	g.Stop(50 * time.Millisecond)
	waitGone(t, pids)
	g.Stop(time.Hour) // returns at once
}

func TestStopIsGentleFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	script := `trap 'exit 7' TERM; echo $$ > "$1.new"; mv "$1.new" "$1"; while :; do sleep 0.01; done`
	g, err := proc.Start(exec.Command("/bin/sh", "-c", script, "sh", file))
	if err != nil {
		t.Fatal(err)
	}
	readPIDs(t, file)
	g.Stop(time.Minute)
	var exit *exec.ExitError
	if !errors.As(g.Err(), &exit) || exit.ExitCode() != 7 {
		t.Errorf("the child ended with %v, want exit code 7", g.Err())
	}
}

func TestWhatAChildLeavesBehindEndsWithIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	script := `(trap '' TERM; while :; do sleep 0.1; done) & echo $! > "$1.new"; mv "$1.new" "$1"; exit 3`
	err := proc.Run(t.Context(), exec.Command("/bin/sh", "-c", script, "sh", file), time.Second)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("Run answered %v, want exit code 3", err)
	}
	waitGone(t, readPIDs(t, file))
}

func TestRunEndsWithItsContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	answer := make(chan error)
	go func() {
		answer <- proc.Run(ctx, exec.Command("/bin/sh", "-c", stubborn, "sh", file), 50*time.Millisecond)
	}()
	pids := readPIDs(t, file)
	cancel(why)
	if err := <-answer; !errors.Is(err, why) {
		t.Errorf("Run answered %v, want the context's cause", err)
	}
	waitGone(t, pids)
	if err := proc.Run(ctx, exec.Command("/bin/sh", "-c", "exit 0"), time.Second); !errors.Is(err, why) {
		t.Errorf("Run under an ended context answered %v, want its cause", err)
	}
}

func TestAGroupDoesNotSurviveTheKillOfItsParent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "PROC_TEST_PARENT="+file)
	parent.Stderr = os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pids := readPIDs(t, file)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	waitGone(t, pids)
}

func TestAMissingProgramLeavesNoGuard(t *testing.T) {
	if _, err := proc.Start(exec.Command("/no/such/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start answered %v, want that the program doesn't exist", err)
	}
}

// readPIDs waits for the file in which a child says which processes there are.
func readPIDs(t *testing.T, file string) []int {
	t.Helper()
	for range 1000 {
		if data, err := os.ReadFile(file); err == nil {
			var pids []int
			for _, field := range strings.Fields(string(data)) {
				pid, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			return pids
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the child didn't come up")
	return nil
}

// waitGone gives orphans a moment to be reaped by whoever inherits them.
func waitGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		for attempt := 0; running(pid); attempt++ {
			if attempt == 500 {
				t.Fatalf("process %d is still there", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// running reports whether the process exists and isn't a mere zombie.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}
