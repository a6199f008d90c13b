package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const minNode = 20

// MissingError lists every tool that is missing, so that all can be installed
// at once.
type MissingError struct {
	Problems []string
}

func (e *MissingError) Error() string {
	return "the local machine can't start:\n  - " + strings.Join(e.Problems, "\n  - ") +
		"\n`make install` installs what belongs into the checkout"
}

// Checkout is the root of the checkout that dir is in; "" means the working
// directory.
func Checkout(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := start; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "cdk.json")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no checkout of millrace here: neither %s nor a folder above holds a cdk.json; run it inside one or name one with --dir", start)
		}
	}
}

// checkTools looks for everything that Up runs.
func checkTools(ctx context.Context, p paths) error {
	var problems []string
	need := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	_, err := exec.LookPath("go")
	need(err == nil, "Go is not on the PATH: install it from https://go.dev/dl")
	need(exists(p.cdk()), "the CDK command line is missing: %s", p.cdk())
	need(exists(p.python()), "the Python environment is missing: %s", p.python())
	if exists(p.python()) {
		need(hasPackage(p, "ministack"), "the emulator, MiniStack, is missing in %s", filepath.Join(p.dir, ".venv"))
		// MiniStack can do without it, but not its CloudWatch, for clients that
		// speak CBOR as the SDK for Go does.
		need(hasPackage(p, "cbor2"), "the Python package cbor2 is missing in %s", filepath.Join(p.dir, ".venv"))
	}
	if version, err := nodeVersion(ctx, p); err != nil {
		need(false, "Node can't be run: %v: install Node %d or later", err, minNode)
	} else {
		need(version >= minNode, "Node %d is too old: install Node %d or later", version, minNode)
	}
	if problems != nil {
		return &MissingError{Problems: problems}
	}
	return nil
}

// nodeVersion is the major version of the Node that the CDK will run on.
func nodeVersion(ctx context.Context, p paths) (int, error) {
	node := p.node()
	if !exists(node) {
		node = "node"
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return 0, err
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(bytes.TrimSpace(out)), "v"), ".")
	version, err := strconv.Atoi(major)
	if err != nil {
		return 0, errors.New("it doesn't tell its version")
	}
	return version, nil
}

func hasPackage(p paths, name string) bool {
	found, _ := filepath.Glob(filepath.Join(p.dir, ".venv", "lib", "python3*", "site-packages", name))
	return len(found) > 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
