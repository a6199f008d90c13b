package snapshot

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// UpdateVariable is the environment variable that, set to 1, has snapshots
// written rather than compared. It reaches all packages of `go test ./...`; the
// flag -update is known only to packages that use this one.
const UpdateVariable = "UPDATE_SNAPSHOTS"

// Match compares the template's [Template.Snapshot] with the golden file at path,
// which is relative to the test's package, and fails the test with what differs:
//
//	Resources.OrdersDA4CB258 (AWS::Kinesis::Stream)
//	  Properties.RetentionPeriodHours
//	    - 24
//	    + 48
//
// With `go test -update`, or UPDATE_SNAPSHOTS=1 in the environment, it writes the
// file instead; read the change before you commit it. A flag -update that the
// test package defines itself counts as well.
//
// Each redaction gets the snapshot's text and returns it without what changes from
// run to run and isn't known here, such as a commit's id.
func (t *Template) Match(tb testing.TB, path string, redactions ...func(snapshot string) string) {
	tb.Helper()
	got := t.Snapshot()
	for _, redaction := range redactions {
		got = []byte(redaction(string(got)))
	}
	if updating() {
		write(tb, path, got)
		return
	}
	want, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		tb.Errorf("there is no snapshot at %s yet: write it with\n\n\t%s\n\nread it, and commit it", path, command(tb))
		return
	case err != nil:
		tb.Errorf("snapshot: %v", err)
		return
	case bytes.Equal(want, got):
		return
	}
	before, err := decode(want)
	if err != nil {
		tb.Errorf("snapshot: %s is no JSON (%v): write it anew with\n\n\t%s", path, err, command(tb))
		return
	}
	after, err := decode(got)
	if err != nil {
		tb.Errorf("snapshot: a redaction leaves no JSON: %v", err)
		return
	}
	if diff := compare(before, after); diff != "" {
		tb.Errorf("the template differs from %s (- snapshot, + now):\n\n%s\nif that is meant, write it anew with\n\n\t%s\n\nand read its diff", path, diff, command(tb))
	}
}

func write(tb testing.TB, path string, snapshot []byte) {
	tb.Helper()
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, snapshot) {
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Errorf("snapshot: %v", err)
		return
	}
	if err := os.WriteFile(path, snapshot, 0o644); err != nil {
		tb.Errorf("snapshot: %v", err)
		return
	}
	tb.Logf("wrote %s", path)
}

// updating tells whether snapshots are to be written.
func updating() bool {
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		return true
	}
	on, err := strconv.ParseBool(os.Getenv(UpdateVariable))
	return err == nil && on
}

// command writes this test's snapshots anew.
func command(tb testing.TB) string {
	pattern := "'^" + strings.ReplaceAll(tb.Name(), "/", "$/^") + "$'"
	return fmt.Sprintf("go test %s -run %s -update", folder(), pattern)
}

// folder is the package's, from the module's root: tests run in their package's.
func folder() string {
	here, err := os.Getwd()
	for root := here; err == nil; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			rel, _ := filepath.Rel(root, here)
			return "./" + filepath.ToSlash(rel)
		}
		if root == filepath.Dir(root) {
			break
		}
	}
	return "."
}

// The flag -update is defined while the command line is parsed, and only if
// nobody else did by then: packages commonly have one of their own, and defining
// it here, before theirs, would end their tests with "flag redefined". So that
// it gets its turn, a flag of ours goes in front of the others.
func init() {
	const first = "millrace.snapshot"
	asked := false
	for _, arg := range os.Args[1:] {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		asked = asked || strings.HasPrefix(arg, "-") && name == "update"
	}
	if !asked || !testing.Testing() {
		return
	}
	args := os.Args
	flag.BoolFunc(first, "defines -update if nothing else does", func(string) error {
		os.Args = args
		if flag.Lookup("update") == nil {
			flag.Bool("update", false, "write snapshots anew instead of comparing them")
		}
		return nil
	})
	os.Args = append([]string{args[0], "-" + first}, args[1:]...)
}
