package gofunc

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/constructs/spec"
)

// Build are settings of `go build`. The zero value is right for most functions;
// [Package] uses it.
//
// What can't be set is what makes equal code equal bytes on any machine
// (-trimpath, no build id in the end, no version control state) and what Lambda needs: no
// cgo, the function's operating system and architecture, the tag lambda.norpc.
// Equal bytes also take an equal Go: the toolchain line of go.mod pins it.
type Build struct {
	// Dir is the root of the module that the packages belong to, relative to the
	// root of the app's; the app's own by default. Packages that the app's module
	// requires, or that share a go.work with it, don't need it.
	Dir string
	// Tags besides lambda.norpc.
	Tags []string
	// Ldflags are arguments of the linker besides -s -w, such as
	// "-X main.version=1.2.3".
	Ldflags string
	// Env are environment variables of `go build`, besides those of the app: GOFLAGS,
	// GOEXPERIMENT, GOPRIVATE, GOPROXY, GOWORK, GOAMD64, GOARM64, …
	Env map[string]string
}

// fixed are the variables of go build that follow from the function.
var fixed = []string{"CGO_ENABLED", "GOOS", "GOARCH"}

// Package is a main package that is compiled with these settings: an import path,
// or a path that begins with "./" or "../" and is relative to the root of the
// module that the app runs in (or, outside of modules, of its go.work).
func (b Build) Package(pkg string) Code {
	packages.Lock()
	defer packages.Unlock()
	b.Tags, b.Env = slices.Clone(b.Tags), maps.Clone(b.Env)
	key, _ := json.Marshal(b) // strings only: can't fail
	code := Code{pkg: pkg, build: b, settings: string(key)}
	root, err := projectRoot() // an error is told when the code is used
	if name := (name{pkg, code.settings, root}); err == nil && pkg != "" && !slices.Contains(packages.named, name) {
		packages.named = append(packages.named, name)
	}
	return code
}

// tag is what Go takes as a build tag.
var tag = regexp.MustCompile(`^[\pL\pN_.]+$`)

// own are the arguments that every go build is called with.
var own = regexp.MustCompile(`(^|\s)--?(tags|ldflags|trimpath|buildvcs|o)\b`)

// check notes every problem of b in c.
func (b Build) check(c *spec.Check) {
	if b.Dir != "" {
		if info, err := os.Stat(located(b.Dir)); err != nil || !info.IsDir() {
			c.Add("Code.Dir", b.Dir, "there is no such directory ("+located(b.Dir)+")", "set it to the directory of the module's go.mod")
		}
	}
	for _, t := range b.Tags {
		if !tag.MatchString(t) {
			c.Add("Code.Tags", t, "a build tag is letters, digits, underscores and dots", "write each tag as an element of its own")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Env)) {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			c.Add("Code.Env", name, "an environment variable has a name without =", "put what follows = into the value")
		case slices.Contains(fixed, name):
			c.Add("Code.Env", name, "it follows from the function: Linux without cgo, and its Architecture", "leave it out; set Architecture to change the processor")
		case name == "GOFLAGS" && own.MatchString(b.Env[name]):
			c.Add("Code.Env.GOFLAGS", b.Env[name], "what go build is called with goes before it", "set Tags or Ldflags")
		case spec.IsToken(b.Env[name]):
			c.Add("Code.Env."+name, "a token", "code is compiled before a token has its value", "pass it in the function's Environment")
		}
	}
	if spec.IsToken(b.Ldflags) {
		c.Add("Code.Ldflags", "a token", "code is linked before a token has its value", "pass it in the function's Environment")
	}
}

// packages are those named in this process, and the binaries made of them.
var packages struct {
	sync.Mutex
	named []name
	built map[target]output
}

// output is a directory that holds a bootstrap, and the bootstrap's hash.
type output struct{ dir, hash string }

// name is a package that was named, and the module in which it was.
type name struct{ pkg, settings, root string }

// target is one binary.
type target struct {
	name
	out, goos, goarch string
}

// BuildError is a failed `go build`; its text is Go's own.
type BuildError struct {
	Packages []string
	Output   string
}

// Error is what go build printed.
func (e *BuildError) Error() string {
	return "go build " + strings.Join(e.Packages, " ") + " failed:\n" + strings.TrimSpace(e.Output)
}

// run is one `go build`: packages of equal settings, by the name of their binary.
type run struct {
	target
	Build
}

// compile compiles code, and with it every package named so far that has equal
// settings and isn't compiled yet, below out.
func compile(code Code, out, goos string, arch spec.Architecture) (output, error) {
	packages.Lock()
	defer packages.Unlock()
	root, err := projectRoot()
	if err != nil {
		return output{}, err
	}
	if out, err = filepath.Abs(out); err != nil {
		return output{}, err
	}
	r := run{target{name{code.pkg, code.settings, root}, out, goos, goarch(arch)}, code.build}
	if built, ok := packages.built[r.target]; ok {
		return built, nil
	}
	if packages.built == nil {
		packages.built = map[target]output{}
	}

	// A binary is named after its package's last element, so packages that share
	// one can't share a run.
	together, names := []string{code.pkg}, []string{binary(code.pkg)}
	for _, other := range packages.named {
		_, done := packages.built[r.of(other.pkg)]
		if !done && other.settings == code.settings && other.root == root && other.pkg != code.pkg && !slices.Contains(names, binary(other.pkg)) {
			together, names = append(together, other.pkg), append(names, binary(other.pkg))
		}
	}
	err = r.build(together)
	if _, built := packages.built[r.target]; !built && len(together) > 1 {
		// Another package may be the broken one, or the name of this one's binary be
		// another than expected: report this one's own state.
		var broken *BuildError
		if err != nil && !errors.As(err, &broken) {
			return output{}, err
		}
		err = r.build(together[:1])
	}
	return packages.built[r.target], err
}

// of is the target of another package in the same run.
func (r run) of(pkg string) target {
	t := r.target
	t.pkg = pkg
	return t
}

// build compiles pkgs by one call of Go, and notes each that came out.
func (r run) build(pkgs []string) error {
	dir := filepath.Join(r.out, "functions", r.goos+"_"+r.goarch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	bin, err := os.MkdirTemp(dir, "bin")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	r.seed(pkgs, bin)
	if err := r.goBuild(pkgs, bin); err != nil {
		return err
	}
	for _, pkg := range pkgs {
		file := filepath.Join(bin, binary(pkg))
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			made, _ := filepath.Glob(filepath.Join(bin, "*"))
			switch {
			case len(pkgs) > 1:
				continue // compile tries it by itself, when it is needed
			case len(made) != 1:
				return &BuildError{pkgs, fmt.Sprintf("it made %d files for one package: %q", len(made), made)}
			}
			file = made[0]
		}
		// One folder per package: the asset is the folder, its one file must be
		// called bootstrap. The hash tells packages of one name apart; there is no
		// dot, as the CDK would take what follows it for a file's extension.
		hash := sha256.Sum256([]byte(pkg + "\x00" + r.settings + "\x00" + r.root))
		folder := filepath.Join(dir, fmt.Sprintf("%s-%x", strings.ReplaceAll(binary(pkg), ".", "_"), hash[:4]))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		r.keep(pkg, data)
		bootstrap := filepath.Join(folder, "bootstrap")
		// Lambda's own user starts it: a strict umask must not reach it.
		data = anonymous(data)
		if err := errors.Join(os.WriteFile(bootstrap, data, 0o755), os.Chmod(bootstrap, 0o755)); err != nil {
			return err
		}
		packages.built[r.of(pkg)] = output{folder, fmt.Sprintf("%x", sha256.Sum256(data))}
	}
	return nil
}

// goBuild is the one place where Go is run. Its output doesn't depend on the
// machine, the directory or the version control state, so that equal code is an
// equal asset everywhere.
func (r run) goBuild(pkgs []string, dir string) error {
	args := append([]string{
		"build", "-trimpath", "-buildvcs=false",
		"-tags", strings.Join(append([]string{"lambda.norpc"}, r.Tags...), ","),
		"-ldflags", strings.TrimSpace("-s -w -B none " + r.Ldflags), "-o", dir + string(filepath.Separator),
	}, pkgs...)
	cmd := exec.Command("go", args...)
	if cmd.Dir = r.root; r.Dir != "" {
		cmd.Dir = located(r.Dir)
	}
	cmd.Env = append(os.Environ(), "GOAMD64=v1", "GOARM64=v8.0")
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		cmd.Env = append(cmd.Env, name+"="+r.Env[name])
	}
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0", "GOOS="+r.goos, "GOARCH="+r.goarch)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return &BuildError{pkgs, "there is no go in PATH: functions are compiled with the Go that go.mod asks for; install it, put it in PATH, or pass what is compiled already to gofunc.Prebuilt"}
	case err == nil:
		return nil
	case output.Len() == 0:
		fmt.Fprintln(&output, err)
	case tooOld.Match(output.Bytes()):
		fmt.Fprintln(&output, "\nGo is older than the code needs: install that version, or let Go fetch it by itself with GOTOOLCHAIN=auto")
	case unlisted.Match(output.Bytes()) && len(imports(pkgs)) > 0:
		fmt.Fprintf(&output, "\nIf a function belongs to another module, nothing imports it, and Go keeps what it needs only when go.mod names it as a tool:\n\tgo mod edit -tool=%s && go mod tidy\n", strings.Join(imports(pkgs), " -tool="))
	}
	return &BuildError{pkgs, output.String()}
}

var (
	// tooOld is what Go says to a go.mod, go.work or dependency that needs a newer one.
	tooOld = regexp.MustCompile(`requires go >= |invalid go version '`)
	// unlisted is what it says when go.mod, go.sum or vendor lack what a package needs.
	unlisted = regexp.MustCompile(`missing go\.sum entry|no required module provides package|import lookup disabled by -mod=vendor`)
)

// imports are those of pkgs that are import paths.
func imports(pkgs []string) []string {
	var paths []string
	for _, p := range pkgs {
		if !strings.HasPrefix(p, ".") {
			paths = append(paths, p)
		}
	}
	return paths
}

// projectRoot is the nearest directory upwards that has a go.mod, or a go.work
// outside of modules. In a module, Go finds the go.work that it belongs to.
func projectRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		for _, name := range []string{"go.mod", "go.work"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
				return dir, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod or go.work in %s or above: run the app inside its Go module", start)
		}
	}
}

var majorVersion = regexp.MustCompile(`^v([2-9]|[1-9][0-9]+)$`)

// binary is the name that go build gives to a main package's binary, as far as
// its path tells.
func binary(pkg string) string {
	parts := strings.Split(strings.TrimRight(filepath.ToSlash(pkg), "/"), "/")
	name := parts[len(parts)-1]
	// A major version isn't a name: example.com/fn/v2 builds fn. v0 and v1 are names.
	if len(parts) > 1 && majorVersion.MatchString(name) {
		name = parts[len(parts)-2]
	}
	return name
}

func goarch(arch spec.Architecture) string {
	if arch == spec.X86 {
		return "amd64"
	}
	return "arm64"
}
