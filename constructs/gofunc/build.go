package gofunc

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/constructs/spec"
)

// Code is where a function's code comes from: make it with [Package].
type Code struct{ pkg string }

// Package is the main package of a Lambda function: an import path, or a path
// that begins with "./" and is relative to the root of the module, whichever
// directory the app runs in.
//
// All packages named so far are compiled by one `go build` when the first of
// them is used, so name them together, before the first construct that uses one.
func Package(pkg string) Code {
	packages.Lock()
	defer packages.Unlock()
	if pkg != "" && !slices.Contains(packages.named, pkg) {
		packages.named = append(packages.named, pkg)
	}
	return Code{pkg}
}

// packages are those named in this process, and the binaries made of them.
var packages struct {
	sync.Mutex
	named []string
	built map[target]string // directory that holds the bootstrap
}

// target is one binary.
type target struct{ pkg, out, goos, goarch string }

// BuildError is a failed `go build`; its text is Go's own.
type BuildError struct {
	Packages []string
	Output   string
}

// Error is what go build printed.
func (e *BuildError) Error() string {
	return "go build " + strings.Join(e.Packages, " ") + " failed:\n" + strings.TrimSpace(e.Output)
}

// build compiles pkg, and with it every package named so far that isn't compiled
// yet, below out, and returns the directory that holds pkg's bootstrap.
func build(pkg, out, goos string, arch spec.Architecture) (string, error) {
	packages.Lock()
	defer packages.Unlock()
	goarch := map[spec.Architecture]string{spec.ARM64: "arm64", spec.X86: "amd64"}[arch]
	want := target{pkg, out, goos, goarch}
	if dir, ok := packages.built[want]; ok {
		return dir, nil
	}
	if packages.built == nil {
		packages.built = map[target]string{}
	}

	// A binary is named after its package's last element, so packages that share
	// one can't share a run.
	run, names := []string{pkg}, []string{binary(pkg)}
	for _, other := range packages.named {
		_, done := packages.built[target{other, out, goos, goarch}]
		if !done && other != pkg && !slices.Contains(names, binary(other)) {
			run, names = append(run, other), append(names, binary(other))
		}
	}
	dir := filepath.Join(out, "functions", goos+"_"+goarch)
	bin := filepath.Join(dir, "bin")
	if err := goBuild(run, bin, goos, goarch); err != nil {
		// Another package may be the broken one; report pkg's own state.
		var broken *BuildError
		if len(run) == 1 || !errors.As(err, &broken) {
			return "", err
		}
		run, names = run[:1], names[:1]
		if err := goBuild(run, bin, goos, goarch); err != nil {
			return "", err
		}
	}
	for i, p := range run {
		// One folder per package: the asset is the folder, its one file must be
		// called bootstrap. The hash tells packages of one name apart; there is no
		// dot, as the CDK would take what follows it for a file's extension.
		folder := filepath.Join(dir, fmt.Sprintf("%s-%x", strings.ReplaceAll(names[i], ".", "_"), sha256.Sum256([]byte(p)))[:len(names[i])+9])
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return "", err
		}
		if err := os.Rename(filepath.Join(bin, names[i]), filepath.Join(folder, "bootstrap")); err != nil {
			return "", err
		}
		packages.built[target{p, out, goos, goarch}] = folder
	}
	return packages.built[want], nil
}

// goBuild is the one place where Go is run. Its output doesn't depend on the
// machine, the directory or the version control state, so that equal code is an
// equal asset everywhere.
func goBuild(pkgs []string, dir, goos, goarch string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	args := append([]string{
		"build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc",
		"-ldflags", "-s -w -buildid=", "-o", dir + string(filepath.Separator),
	}, pkgs...)
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch, "GOAMD64=v1", "GOARM64=v8.0")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if output.Len() == 0 {
			fmt.Fprintln(&output, err)
		}
		return &BuildError{pkgs, output.String()}
	}
	return nil
}

// moduleRoot is the nearest directory upwards that has a go.mod.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod in %s or above: run the app inside its Go module", start)
		}
	}
}

var majorVersion = regexp.MustCompile(`^v([2-9]|[1-9][0-9]+)$`)

// binary is the name that go build gives to a main package's binary.
func binary(pkg string) string {
	parts := strings.Split(strings.TrimRight(filepath.ToSlash(pkg), "/"), "/")
	name := parts[len(parts)-1]
	// A major version isn't a name: example.com/fn/v2 builds fn. v0 and v1 are names.
	if len(parts) > 1 && majorVersion.MatchString(name) {
		name = parts[len(parts)-2]
	}
	return name
}
