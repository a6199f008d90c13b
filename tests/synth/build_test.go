package synth

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"debug/buildinfo"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/stacks/race"
	"golang.org/x/mod/sumdb/note"
)

// countGo puts a go in front of the real one that notes each call, and returns
// what was called so far.
func countGo(t *testing.T) func() []string {
	t.Helper()
	real, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> '%s'\nexec '%s' \"$@\"\n", log, real)
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return func() []string {
		text, err := os.ReadFile(log)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

func TestAllFunctionsAreBuiltByOneGoBuildAndAreSmall(t *testing.T) {
	calls := countGo(t)
	app := newApp(t, true)
	race.New(app, race.Config{})
	template := synth(t, app, race.StackName)
	if got := calls(); len(got) != 1 || !strings.HasPrefix(got[0], "build ") {
		t.Errorf("want one go build, got %q", got)
	}
	assets := map[string]bool{}
	for id, f := range template.OfType("AWS::Lambda::Function") {
		key := at(f.Properties, "Code", "S3Key").(string)
		assets[key] = true
		file := filepath.Join(*app.Outdir(), "asset."+strings.TrimSuffix(key, ".zip"), "bootstrap")
		const limit = 8 << 20
		if size := zipped(t, file); size > limit {
			t.Errorf("%s zips to %d bytes, more than %d", id, size, limit)
		}
	}
	if len(assets) != 4 {
		t.Errorf("four functions have %d assets", len(assets))
	}

	// Another app in the process gets equal assets: the code didn't change.
	again := newApp(t, true)
	race.New(again, race.Config{})
	for id, f := range synth(t, again, race.StackName).OfType("AWS::Lambda::Function") {
		if key := at(f.Properties, "Code", "S3Key").(string); !assets[key] {
			t.Errorf("%s has a new asset %s for unchanged code", id, key)
		}
	}
}

func TestAStackThatIsNotBundledIsNotBuilt(t *testing.T) {
	calls := countGo(t)
	synthRace(t, race.Config{})
	if got := calls(); len(got) != 0 {
		t.Errorf("go was called: %q", got)
	}
}

func TestACompileErrorIsGosOwn(t *testing.T) {
	app := newApp(t, true)
	stack := awscdk.NewStack(app, jsii.String("Test"), nil)
	defer func() {
		var broken *gofunc.BuildError
		err, _ := recover().(error)
		if !errors.As(err, &broken) {
			t.Fatalf("want a *gofunc.BuildError, got %v", err)
		}
		if !strings.Contains(err.Error(), "main.go:4:15: undefined: thisIsNotDefined") || strings.Contains(err.Error(), "goroutine") {
			t.Errorf("message: %v", err)
		}
	}()
	gofunc.New(stack, "Broken", gofunc.Props{Code: gofunc.Package("./tests/synth/testdata/broken")})
}

func TestPackagesWithAwkwardNamesDoNotMix(t *testing.T) {
	app := newApp(t, true)
	stack := awscdk.NewStack(app, jsii.String("Test"), nil)
	want := map[string]string{}
	for id, pkg := range map[string]string{"A": "a/fn", "B": "b/fn", "C": "a/b", "D": "a_b", "E": "v1", "F": "bin"} {
		f := gofunc.New(stack, id, gofunc.Props{
			Code: gofunc.Package("./tests/synth/testdata/same/" + pkg), Function: spec.Function{Architecture: spec.X86},
		})
		want[*stack.GetLogicalId(f.Resource())] = "testdata/same/" + pkg + "/main.go"
	}
	for id, f := range synth(t, app, "Test").OfType("AWS::Lambda::Function") {
		binary, err := os.ReadFile(filepath.Join(*app.Outdir(), "asset."+strings.TrimSuffix(at(f.Properties, "Code", "S3Key").(string), ".zip"), "bootstrap"))
		if err != nil {
			t.Fatal(err)
		}
		// The path of its source is in the binary.
		if want[id] == "" || !bytes.Contains(binary, []byte(want[id])) {
			t.Errorf("%s isn't built from %q", id, want[id])
		}
	}
}

// module writes files below a new directory called name, and returns it.
func module(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	for path, text := range files {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// emptyMain is a whole program.
const emptyMain = "package main\n\nfunc main() {}\n"

// buildIn defines a function of each code, for this machine's processor, by an
// app that runs in the current directory, and returns their bootstraps by id.
func build(t *testing.T, codes map[string]gofunc.Code) map[string]string {
	t.Helper()
	app := newApp(t, true)
	stack := awscdk.NewStack(app, jsii.String("Test"), nil)
	ids := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(codes)) {
		f := gofunc.New(stack, id, gofunc.Props{Code: codes[id], Function: spec.Function{Architecture: spec.X86}})
		ids[*stack.GetLogicalId(f.Resource())] = id
	}
	bootstraps := map[string]string{}
	for logical, f := range synth(t, app, "Test").OfType("AWS::Lambda::Function") {
		bootstraps[ids[logical]] = filepath.Join(assetOf(t, app, f), "bootstrap")
	}
	return bootstraps
}

// assetOf is the directory or file that is the code of f.
func assetOf(t *testing.T, app awscdk.App, f snapshot.Resource) string {
	t.Helper()
	key := at(f.Properties, "Code", "S3Key").(string)
	dir := filepath.Join(*app.Outdir(), "asset."+strings.TrimSuffix(key, ".zip"))
	if _, err := os.Stat(dir); err != nil {
		dir += ".zip"
	}
	return dir
}

// refusal is what a function of that code panics with, by an app that runs in
// the current directory.
func refusal(t *testing.T, code gofunc.Code) (err error) {
	t.Helper()
	app := newApp(t, true)
	stack := awscdk.NewStack(app, jsii.String("Test"), nil)
	defer func() {
		problem := recover()
		if err, _ = problem.(error); err == nil {
			t.Fatalf("want an error, got %v", problem)
		}
		if strings.Contains(err.Error(), "goroutine") {
			t.Errorf("a stack trace: %v", err)
		}
	}()
	gofunc.New(stack, "F", gofunc.Props{Code: code, Function: spec.Function{Architecture: spec.X86}})
	return nil
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEqualCodeIsEqualBytesWhereverItLies(t *testing.T) {
	files := map[string]string{
		"go.mod":       "module example.com/shop\n\ngo 1.26.0\n",
		"fn/main.go":   "package main\n\nimport \"example.com/shop/rules\"\n\nfunc main() { rules.Apply() }\n",
		"rules/all.go": "package rules\n\nfunc Apply() { panic(\"nothing to apply\") }\n",
	}
	t.Chdir(module(t, "short", files))
	here := build(t, map[string]gofunc.Code{"F": gofunc.Package("./fn")})["F"]
	t.Chdir(module(t, "a much longer name", files))
	there := build(t, map[string]gofunc.Code{"F": gofunc.Package("./fn")})["F"]
	if !bytes.Equal(contents(t, here), contents(t, there)) {
		t.Error("the binaries differ")
	}
	// The folder is named after its hash.
	if a, b := filepath.Base(filepath.Dir(here)), filepath.Base(filepath.Dir(there)); a != b {
		t.Errorf("the assets are %s and %s", a, b)
	}
}

func TestPackagesOfEqualSettingsShareOneGoBuild(t *testing.T) {
	t.Chdir(module(t, "m", map[string]string{
		"go.mod":        "module example.com/m\n\ngo 1.26.0\n",
		"a/main.go":     "package main\n\nvar version = \"unset\"\n\nfunc main() { println(version + flavour) }\n",
		"a/plain.go":    "//go:build !spicy\n\npackage main\n\nconst flavour = \" plain\"\n",
		"a/spicy.go":    "//go:build spicy && lambda.norpc\n\npackage main\n\nconst flavour = \" spicy\"\n",
		"b/main.go":     emptyMain,
		"c/main.go":     emptyMain,
		"d/main.go":     emptyMain,
		"v2/main.go":    "package main\n\nfunc main() { println(\"of v2\") }\n",
		"lib/lib.go":    "package lib\n",
		"bad/broken.go": "package main\n\nfunc main() { thisIsNotDefined() }\n",
	}))
	tagged := gofunc.Build{Tags: []string{"spicy"}, Ldflags: "-X 'main.version=1.2.3 final'", Env: map[string]string{"GOEXPERIMENT": "jsonv2"}}
	codes := map[string]gofunc.Code{
		"A": gofunc.Package("./a"), "B": gofunc.Package("./b"), "C": gofunc.Package("./c"),
		"TaggedA": tagged.Package("./a"), "TaggedB": tagged.Package("./b"), "TaggedD": tagged.Package("./d"),
	}
	calls := countGo(t)
	made := build(t, codes)
	got := calls()
	if len(got) != 2 || !strings.HasSuffix(got[0], "/ ./a ./b ./c") || !strings.HasSuffix(got[1], "/ ./a ./b ./d") {
		t.Errorf("six packages of two settings are built by %d calls: %q", len(got), got)
	}
	for id, want := range map[string]string{"A": "unset plain", "TaggedA": "1.2.3 final spicy"} {
		if out, err := exec.Command(made[id]).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s says %q, not %q (%v)", id, out, want, err)
		}
	}
	info, err := buildinfo.ReadFile(made["TaggedB"])
	if err != nil || !strings.Contains(info.GoVersion, "jsonv2") {
		t.Errorf("GOEXPERIMENT didn't reach Go: %v (%v)", info, err)
	}

	// A folder called v2 gives a binary the name of the folder above.
	if out, err := exec.Command(build(t, map[string]gofunc.Code{"V": gofunc.Package("./v2")})["V"]).CombinedOutput(); err != nil || string(out) != "of v2\n" {
		t.Errorf("v2 says %q (%v)", out, err)
	}
	if err := refusal(t, gofunc.Package("./lib")); !strings.Contains(err.Error(), "no main packages to build") {
		t.Errorf("a library: %v", err)
	}
	// One that is broken doesn't stop the others of its run.
	gofunc.Package("./bad")
	if made := build(t, map[string]gofunc.Code{"B": gofunc.Package("./b")}); made["B"] == "" {
		t.Error("not built")
	}
}

func TestBinariesRunForLambdasUserWhateverTheUmask(t *testing.T) {
	t.Chdir(module(t, "m", map[string]string{"go.mod": "module example.com/umask\n\ngo 1.26.0\n", "fn/main.go": emptyMain}))
	before := syscall.Umask(0o077)
	made := build(t, map[string]gofunc.Code{"F": gofunc.Package("./fn")})
	syscall.Umask(before)
	info, err := os.Stat(made["F"])
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
}

func TestWorkspaces(t *testing.T) {
	work := module(t, "work", map[string]string{
		"go.work":            "go 1.26.0\n\nuse (\n\t./app\n\t./functions\n)\n",
		"app/go.mod":         "module example.com/app\n\ngo 1.26.0\n",
		"functions/go.mod":   "module example.com/functions\n\ngo 1.26.0\n",
		"functions/fn/fn.go": emptyMain,
		"other/go.mod":       "module example.com/other\n\ngo 1.26.0\n",
		"other/fn/fn.go":     emptyMain,
	})
	for name, c := range map[string]struct{ dir, pkg string }{
		"by import path, from another module":  {"app", "example.com/functions/fn"},
		"by path, from another module":         {"app", "../functions/fn"},
		"by path, from the workspace itself":   {".", "./functions/fn"},
		"by import path, from inside a folder": {"functions/fn", "example.com/functions/fn"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(filepath.Join(work, c.dir))
			if made := build(t, map[string]gofunc.Code{"F": gofunc.Package(c.pkg)}); made["F"] == "" {
				t.Error("not built")
			}
		})
	}
	t.Run("a module that go.work doesn't use", func(t *testing.T) {
		t.Chdir(filepath.Join(work, "other"))
		err := refusal(t, gofunc.Package("./fn"))
		if !strings.Contains(err.Error(), "go work use") {
			t.Errorf("Go's advice is missing: %v", err)
		}
		alone := gofunc.Build{Env: map[string]string{"GOWORK": "off"}}.Package("./fn")
		if made := build(t, map[string]gofunc.Code{"F": alone}); made["F"] == "" {
			t.Error("GOWORK=off doesn't reach Go")
		}
		t.Chdir(filepath.Join(work, "app"))
		alone = gofunc.Build{Dir: "../other", Env: map[string]string{"GOWORK": "off"}}.Package("./fn")
		if made := build(t, map[string]gofunc.Code{"F": alone}); made["F"] == "" {
			t.Error("not built in the module that Dir names")
		}
	})
	t.Run("no module at all", func(t *testing.T) {
		t.Chdir(t.TempDir())
		if err := refusal(t, gofunc.Package("./fn")); !strings.Contains(err.Error(), "no go.mod or go.work in") {
			t.Error(err)
		}
	})
}

func TestVendoredModules(t *testing.T) {
	dir := module(t, "m", map[string]string{
		"app/go.mod":     "module example.com/app\n\ngo 1.26.0\n\nrequire example.com/dep v0.0.0\n\nreplace example.com/dep => ../dep\n\ntool example.com/dep/fn\n",
		"app/fn/main.go": "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.Name) }\n",
		"dep/go.mod":     "module example.com/dep\n\ngo 1.26.0\n",
		"dep/dep.go":     "package dep\n\nconst Name = \"vendored\"\n",
		"dep/fn/main.go": "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.Name) }\n",
		"dep/other/o.go": emptyMain,
	})
	vendor := exec.Command("go", "mod", "vendor")
	vendor.Dir = filepath.Join(dir, "app")
	if out, err := vendor.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Only the copy in vendor is left.
	if err := os.RemoveAll(filepath.Join(dir, "dep")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "app"))
	made := build(t, map[string]gofunc.Code{
		"Default": gofunc.Package("./fn"),
		"Theirs":  gofunc.Package("example.com/dep/fn"),
		"Told":    gofunc.Build{Env: map[string]string{"GOFLAGS": "-mod=vendor"}}.Package("./fn"),
	})
	for id, file := range made {
		if out, err := exec.Command(file).CombinedOutput(); err != nil || string(out) != "vendored\n" {
			t.Errorf("%s says %q (%v)", id, out, err)
		}
	}
	err := refusal(t, gofunc.Build{Env: map[string]string{"GOFLAGS": "-mod=mod"}}.Package("./fn"))
	if !strings.Contains(err.Error(), "example.com/dep") {
		t.Errorf("without vendor: %v", err)
	}
	// A main package of another module is vendored only if go.mod names it.
	if err := refusal(t, gofunc.Package("example.com/dep/other")); !strings.Contains(err.Error(), "go mod edit -tool=example.com/dep/other && go mod tidy") {
		t.Errorf("what to do is missing: %v", err)
	}
}

// A proxy and the exceptions from the checksum database are how private modules
// are reached.
func TestPrivateModules(t *testing.T) {
	proxy := module(t, "proxy", map[string]string{
		"example.com/private/@v/list":        "v1.0.0\n",
		"example.com/private/@v/v1.0.0.info": `{"Version":"v1.0.0"}`,
		"example.com/private/@v/v1.0.0.mod":  "module example.com/private\n",
	})
	file, err := os.Create(filepath.Join(proxy, "example.com/private/@v/v1.0.0.zip"))
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	for name, text := range map[string]string{"go.mod": "module example.com/private\n", "p.go": "package private\n\nconst Name = \"private\"\n"} {
		entry, err := archive.Create("example.com/private@v1.0.0/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"go.mod":     "module example.com/app\n\ngo 1.26.0\n\nrequire example.com/private v1.0.0\n",
		"fn/main.go": "package main\n\nimport \"example.com/private\"\n\nfunc main() { println(private.Name) }\n",
	}
	// Nobody listens there: a module whose checksum is asked for can't be had.
	_, database, err := note.GenerateKey(rand.Reader, "sum.example.org")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"GOPROXY": "file://" + proxy, "GOSUMDB": database + " http://127.0.0.1:1", "GOPRIVATE": "example.com", "GONOPROXY": "none",
		"GOFLAGS": "-mod=mod -modcacherw", "GOMODCACHE": t.TempDir(),
	}
	t.Chdir(module(t, "m", files))
	made := build(t, map[string]gofunc.Code{"F": gofunc.Build{Env: env}.Package("./fn")})
	if out, err := exec.Command(made["F"]).CombinedOutput(); err != nil || string(out) != "private\n" {
		t.Errorf("it says %q (%v)", out, err)
	}
	env["GOPRIVATE"], env["GOMODCACHE"] = "example.org", t.TempDir()
	t.Chdir(module(t, "m2", files))
	if err = refusal(t, gofunc.Build{Env: env}.Package("./fn")); !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("GOPRIVATE doesn't reach Go: %v", err)
	}
}

func TestAMissingOrOldGoIsToldPlainly(t *testing.T) {
	t.Chdir(module(t, "m", map[string]string{"go.mod": "module example.com/old\n\ngo 1.99\n", "fn/main.go": emptyMain}))
	t.Run("old", func(t *testing.T) {
		t.Setenv("GOTOOLCHAIN", "local")
		text := refusal(t, gofunc.Package("./fn")).Error()
		if !strings.Contains(text, "requires go >= 1.99") || !strings.Contains(text, "GOTOOLCHAIN=auto") {
			t.Error(text)
		}
	})
	t.Run("missing", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if text := refusal(t, gofunc.Package("./fn")).Error(); !strings.Contains(text, "there is no go in PATH") {
			t.Error(text)
		}
	})
}

// The command line passes the stacks that were named to it in the context.
func TestOnlySelectedStacksAreBuilt(t *testing.T) {
	dir := module(t, "m", map[string]string{
		"go.mod": "module example.com/stacks\n\ngo 1.26.0\n", "one/main.go": emptyMain,
		"two/main.go": "package main\n\nfunc main() { thisIsNotDefined() }\n",
	})
	calls := countGo(t)
	app := newApp(t, true)
	app.Node().SetContext(jsii.String("aws:cdk:bundling-stacks"), []string{"One"})
	t.Chdir(dir)
	one := awscdk.NewStack(app, jsii.String("One"), nil)
	two := awscdk.NewStack(app, jsii.String("Two"), nil)
	gofunc.New(two, "F", gofunc.Props{Code: gofunc.Package("./two")})
	if got := calls(); len(got) != 0 {
		t.Errorf("go was called for a stack that isn't selected: %q", got)
	}
	gofunc.New(one, "F", gofunc.Props{Code: gofunc.Package("./one")})
	app.Synth(nil)
	for stack, standIn := range map[string]bool{"One": false, "Two": true} {
		_, f := snapshot.Read(t, *app.Outdir(), stack).Only(t, "AWS::Lambda::Function")
		data := contents(t, filepath.Join(assetOf(t, app, f), "bootstrap"))
		if bytes.HasPrefix(data, []byte("#!/bin/sh")) != standIn {
			t.Errorf("%s: a stand-in is %v", stack, !standIn)
		}
	}
}

// The stand-in lies in the app's own directory: other users' files, other
// processes and a temporary directory that can't be written to don't matter.
func TestTheStandInIsTheSameInEveryAppAndNeedsNoTemporaryDirectory(t *testing.T) {
	keys := map[any]bool{}
	for range 2 {
		app := newApp(t, false)
		t.Setenv("TMPDIR", cdkJSON) // no directory at all
		stack := awscdk.NewStack(app, jsii.String("Test"), nil)
		gofunc.New(stack, "A", gofunc.Props{Code: gofunc.Package(someCode)})
		gofunc.New(stack, "B", gofunc.Props{Code: gofunc.Package("./nowhere")})
		for _, f := range synth(t, app, "Test").OfType("AWS::Lambda::Function") {
			keys[at(f.Properties, "Code", "S3Key")] = true
		}
		os.Unsetenv("TMPDIR")
	}
	if len(keys) != 1 {
		t.Errorf("the stand-in has %d assets: %v", len(keys), keys)
	}
}

// zipped is the size of file in a zip, as the CDK publishes it.
func zipped(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var buffer bytes.Buffer
	archive := zip.NewWriter(&buffer)
	entry, err := archive.Create(filepath.Base(file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Len()
}
