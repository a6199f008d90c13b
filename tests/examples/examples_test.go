// Package examples tests what the example app shows: that millrace works from
// another module, with its functions compiled out of the module cache.
package examples

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// millrace is this module as a release would be.
var millrace = module.Version{Path: "github.com/millrace/millrace", Version: "v0.1.0"}

// run runs a command in dir and returns what it printed.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, complaints.String())
	}
	return strings.TrimSpace(string(out))
}

// tracked are the files of the repository, also those that aren't committed yet.
func tracked(t *testing.T, root string) []string {
	t.Helper()
	return strings.Split(strings.TrimRight(run(t, root, nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"), "\x00"), "\x00")
}

// file is one of a module's zip.
type file struct{ root, path string }

func (f file) Path() string                 { return f.path }
func (f file) Lstat() (os.FileInfo, error)  { return os.Lstat(filepath.Join(f.root, f.path)) }
func (f file) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(f.root, f.path)) }

// release puts the repository into a module proxy, as a release would be.
func release(t *testing.T, root string) (proxy string) {
	t.Helper()
	proxy = t.TempDir()
	dir := filepath.Join(proxy, millrace.Path, "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var files []modzip.File
	for _, path := range tracked(t, root) {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil { // not those that are being deleted
			files = append(files, file{root, path})
		}
	}
	archive, err := os.Create(filepath.Join(dir, millrace.Version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	// It refuses what no module may have, and leaves other modules out.
	if err := modzip.Create(archive, millrace, files); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"list": millrace.Version + "\n", millrace.Version + ".info": fmt.Sprintf("{\"Version\":%q}", millrace.Version), millrace.Version + ".mod": string(mod),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proxy
}

// tree is every file and directory below dir with its mode and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		all[path] = info.Mode().String()
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The example requires a release of millrace, which lies in the module cache: its
// files can't be written to, and its functions are compiled there nevertheless.
func TestTheExampleIsSynthesizedFromAReadOnlyModuleCache(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The app itself is compiled as it is; what it compiles is the point here.
	app := filepath.Join(t.TempDir(), "app")
	functions := []string{"./orders/lambdas/stock", millrace.Path + "/lambdas/archive"}
	run(t, filepath.Join(root, "examples"), nil, "go", "build", "-o", app, "./orders")
	// That downloads what the functions need, where it isn't there yet.
	run(t, filepath.Join(root, "examples"), nil, "go", append([]string{"list", "-deps"}, functions...)...)

	// A copy of the example, without the replacement.
	example := t.TempDir()
	for _, path := range tracked(t, filepath.Join(root, "examples")) {
		data, err := os.ReadFile(filepath.Join(root, "examples", path))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(example, path)
		if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cache := t.TempDir()
	env := []string{
		"GOMODCACHE=" + cache, "GOFLAGS=-modcacherw=false", "GOSUMDB=off", "GOTOOLCHAIN=local", "GOWORK=off",
		// Whatever else is needed was downloaded for this module already.
		"GOPROXY=file://" + release(t, root) + ",file://" + filepath.Join(run(t, root, nil, "go", "env", "GOMODCACHE"), "cache", "download"),
	}
	t.Cleanup(func() { run(t, example, env, "go", "clean", "-modcache") }) // read-only directories can't be removed else
	run(t, example, env, "go", "mod", "edit", "-dropreplace="+millrace.Path, "-require="+millrace.String())
	// The checksum of the release is the only thing that go.sum lacks.
	run(t, example, env, "go", append([]string{"list", "-mod=mod", "-deps"}, functions...)...)
	released := filepath.Join(cache, millrace.String())
	before := tree(t, released)
	if mode := before[released]; !strings.HasPrefix(mode, "dr-x") {
		t.Fatalf("the module cache isn't read-only: %s", mode)
	}

	// The context is the one of cdk.json, as the CDK's command line passes it.
	var config struct{ Context json.RawMessage }
	text, err := os.ReadFile(filepath.Join(example, "orders", "cdk.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	run(t, filepath.Join(example, "orders"), append(env, "CDK_OUTDIR="+out, "CDK_CONTEXT_JSON="+string(config.Context), "CDK_VALIDATION=false"), app)

	main := map[string]bool{}
	bootstraps, _ := filepath.Glob(filepath.Join(out, "asset.*", "bootstrap"))
	for _, bootstrap := range bootstraps {
		info, err := buildinfo.ReadFile(bootstrap)
		if err != nil {
			t.Fatalf("%s is no function: %v", bootstrap, err)
		}
		main[info.Path] = true
		for _, dep := range append(info.Deps, &info.Main) {
			if dep.Path == millrace.Path && (dep.Version != millrace.Version || dep.Replace != nil) {
				t.Errorf("%s is built from %+v, not from the release", info.Path, dep)
			}
		}
	}
	if len(main) != 2 || !main[millrace.Path+"/lambdas/archive"] || !main[millrace.Path+"/examples/orders/lambdas/stock"] {
		t.Errorf("the functions are %v", main)
	}
	after := tree(t, released)
	for path, state := range after {
		if before[path] != state {
			t.Errorf("%s was written to: %q, before %q", path, state, before[path])
		}
	}
	if len(after) != len(before) {
		t.Errorf("the release had %d files and has %d", len(before), len(after))
	}
}
