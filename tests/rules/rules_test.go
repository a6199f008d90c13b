// Package rules holds the architecture's rules, as tests that say why.
package rules

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/millrace/millrace/"

// pkg is what `go list` tells of a package.
type pkg struct {
	ImportPath string
	Name       string
	Doc        string
	Imports    []string
	Deps       []string
}

func load(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Name,Doc,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		if failed, ok := err.(*exec.ExitError); ok {
			t.Fatalf("go list: %s", failed.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 15 {
		t.Fatalf("go list found only %d packages", len(pkgs))
	}
	return pkgs
}

// rule says what packages under from must never reach.
type rule struct {
	from, never []string
	why         string
}

var rules = []rule{
	{
		[]string{"lambdas/", "local", "cmd/", "constructs/spec", "constructs/plan"},
		[]string{"github.com/aws/aws-cdk-go/", "github.com/aws/constructs-go/", "github.com/aws/jsii-runtime-go", "github.com/cdklabs/"},
		"a binary with the CDK in it is 70 MB and needs Node.js: functions, the command line and checks of settings must do without",
	},
	{
		[]string{"constructs/"},
		[]string{module + "stacks/", module + "lambdas/", module + "local", module + "cmd/"},
		"constructs are for anyone's app: what they deploy reaches them as a package path",
	},
	{
		[]string{"constructs/", "stacks/"},
		[]string{"github.com/cdklabs/cdk-nag-go/"},
		"cdk-nag checks what is defined, in tests: an app that uses the constructs must not have to load it",
	},
	{
		[]string{"lambdas/kit/"},
		[]string{module + "lambdas/race", module + "lambdas/standings", module + "lambdas/podium", module + "lambdas/archive", module + "local", module + "cmd/"},
		"the kit is for anyone's functions and knows nothing of the race",
	},
	{
		[]string{"lambdas/race"},
		[]string{"github.com/aws/"},
		"the race's rules are pure",
	},
	{
		[]string{"lambdas/"},
		[]string{module + "local", module + "cmd/", module + "stacks/", module + "constructs/"},
		"functions run on AWS, where nothing of these exists",
	},
	{
		[]string{"lambdas/"},
		[]string{"github.com/aws/aws-sdk-go-v2/config"},
		"a function has its configuration in the environment (kit/boot): the code for profiles, SSO and instance roles is a sixth of its binary and a fifth of its cold start",
	},
}

func TestImportsPointOneWay(t *testing.T) {
	used := map[string]bool{}
	for _, p := range load(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, r := range rules {
			if !begins(path, r.from) {
				continue
			}
			used[r.why] = true
			for _, dep := range p.Deps {
				if begins(dep, r.never) {
					t.Errorf("%s reaches %s: %s", p.ImportPath, dep, r.why)
				}
			}
		}
	}
	for _, r := range rules {
		if !used[r.why] {
			t.Errorf("no package is under %v: the rule checks nothing", r.from)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range load(t) {
		if p.Doc == "" && !strings.HasPrefix(p.ImportPath, module+"tests/") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// The README's app is what people copy first.
func TestTheReadmesAppCompiles(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(readme), "```go\npackage main\n")
	code, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("README.md has no Go program any more")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte("package main\n"+code), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func begins(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}
