package synth

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/stacks/race"
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
	if len(assets) != 3 {
		t.Errorf("three functions have %d assets", len(assets))
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
