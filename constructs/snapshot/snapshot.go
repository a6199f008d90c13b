// Package snapshot tests what a CDK app synthesizes: it compares a stack's
// template with a golden file, and asserts on all resources of a type.
//
//	snapshot.Of(t, stack).Match(t, "testdata/orders.json")
//
// A snapshot leaves out what changes without a change of the stack: hashes of
// assets (the functions' code), the names of the CDK's bootstrap resources, and
// the hash in the logical ids of function versions. Everything else is compared.
//
// Failures are the test's own, with the resource's path: a stack that can't be
// synthesized, a missing resource or a changed property never panics. Any CDK app
// will do, whether it uses other constructs of this module or not.
package snapshot

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
)

// Template is a synthesized CloudFormation template.
type Template struct {
	// Resources by logical id.
	Resources map[string]Resource
	// Outputs, Parameters, Conditions and Metadata as in the template.
	Outputs, Parameters, Conditions, Metadata map[string]any

	raw    map[string]any
	hashes []string // of assets
}

// Resource of a template.
type Resource struct {
	Type                string
	Properties          map[string]any
	Metadata            map[string]any
	DependsOn           Names
	Condition           string
	UpdatePolicy        map[string]any
	DeletionPolicy      string
	UpdateReplacePolicy string
}

// Names are logical ids: CloudFormation writes one of them as text, more as a list.
type Names []string

// UnmarshalJSON takes a text or a list of texts.
func (n *Names) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*n = Names{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(n))
}

// Of synthesizes the app of a stack and returns the stack's template. The files
// go where the app puts them: a temporary directory, unless the app has an Outdir
// or CDK_OUTDIR is set. Stacks of one app are synthesized once; define all of them
// before the first call. It ends the test when the app can't be synthesized.
func Of(t testing.TB, stack awscdk.Stack) *Template {
	t.Helper()
	var dir, file string
	attempt(t, "synthesize the app", func() {
		if root, ok := stack.Node().Root().(awscdk.Stage); ok {
			root.Synth(nil)
		}
		dir, file = *awscdk.Stage_Of(stack).Outdir(), *stack.TemplateFile()
	})
	return read(t, filepath.Join(dir, file))
}

// All synthesizes an app, or the app of a stage, and returns the templates of
// the stacks below it, those in stages and nested stacks too, by their path in the
// app: "Orders", "Prod/Orders".
func All(t testing.TB, stage awscdk.Stage) map[string]*Template {
	t.Helper()
	stacks := map[string]awscdk.Stack{}
	attempt(t, "look for stacks", func() {
		for _, c := range *stage.Node().FindAll(constructs.ConstructOrder_PREORDER) {
			if stack, ok := c.(awscdk.Stack); ok {
				stacks[*stack.Node().Path()] = stack
			}
		}
	})
	if len(stacks) == 0 {
		t.Fatal("snapshot: there is no stack in the app")
	}
	all := map[string]*Template{}
	for _, path := range slices.Sorted(maps.Keys(stacks)) {
		all[path] = Of(t, stacks[path])
	}
	return all
}

// Read takes a template out of a directory that the app was synthesized into
// (cdk.out), by the stack's name. It needs no Node.js.
func Read(t testing.TB, dir, stack string) *Template {
	t.Helper()
	return read(t, filepath.Join(dir, stack+".template.json"))
}

// attempt runs what may panic: jsii reports every error so.
func attempt(t testing.TB, what string, do func()) {
	t.Helper()
	defer func() {
		if problem := recover(); problem != nil {
			t.Helper()
			t.Fatalf("snapshot: can't %s: %v", what, problem)
		}
	}()
	do()
}

func read(t testing.TB, file string) *Template {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	template := &Template{}
	// Once as it is compared, once as it is asserted on.
	if template.raw, err = decode(text); err == nil {
		err = json.Unmarshal(text, template)
	}
	if err != nil {
		t.Fatalf("snapshot: %s: %v", file, err)
	}
	manifests, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*.assets.json"))
	for _, manifest := range manifests {
		var assets struct{ Files, DockerImages map[string]any }
		text, err := os.ReadFile(manifest)
		if err == nil {
			err = json.Unmarshal(text, &assets)
		}
		if err != nil {
			t.Fatalf("snapshot: %s: %v", manifest, err)
		}
		template.hashes = slices.AppendSeq(template.hashes, maps.Keys(assets.Files))
		template.hashes = slices.AppendSeq(template.hashes, maps.Keys(assets.DockerImages))
	}
	return template
}

// OfType returns the resources of a type by logical id; none is no failure.
func (t *Template) OfType(name string) map[string]Resource {
	found := map[string]Resource{}
	for id, r := range t.Resources {
		if r.Type == name {
			found[id] = r
		}
	}
	return found
}

// Only returns the one resource of a type; the test ends when there are none or more.
func (t *Template) Only(tb testing.TB, name string) (id string, resource Resource) {
	tb.Helper()
	found := t.OfType(name)
	if len(found) != 1 {
		tb.Fatalf("want one %s, the template has %s", name, t.count(name))
	}
	for id, resource = range found {
	}
	return id, resource
}

// Text is the whole template as it was synthesized, with nothing left out.
func (t *Template) Text() []byte {
	text, err := json.MarshalIndent(t.raw, "", " ")
	if err != nil {
		panic(err) // it was JSON before
	}
	return append(text, '\n')
}

// Each hands all resources of a type to assert, in the order of their logical
// ids. It is an error when there is none: an assertion on nothing shows nothing.
func (t *Template) Each(tb testing.TB, name string, assert func(id string, resource Resource)) {
	tb.Helper()
	found := t.OfType(name)
	if len(found) == 0 {
		tb.Errorf("want at least one %s, the template has %s", name, t.count(name))
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		assert(id, found[id])
	}
}

// count says what of a type there is, and what else there is if it is nothing.
func (t *Template) count(name string) string {
	if found := t.OfType(name); len(found) > 0 {
		return fmt.Sprintf("%d: %s", len(found), strings.Join(slices.Sorted(maps.Keys(found)), ", "))
	}
	types := map[string]bool{}
	for _, r := range t.Resources {
		types[r.Type] = true
	}
	return "none; it has " + strings.Join(slices.Sorted(maps.Keys(types)), ", ")
}

// Target returns the resource that v refers to, as [Refers] finds it.
func (t *Template) Target(v any) (id string, resource Resource, found bool) {
	id = Refers(v)
	resource, found = t.Resources[id]
	return id, resource, found
}

// At is what is at a path of the properties: r.At("Replicas", 0, "Region"); nil
// where the path leads nowhere.
func (r Resource) At(path ...any) any { return At(r.Properties, path...) }

// At follows keys and indexes into decoded JSON; nil where the path leads nowhere.
func At(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step < 0 || step >= len(list) {
				return nil
			}
			v = list[step]
		default:
			return nil
		}
	}
	return v
}

// Refers returns the logical id that a Ref or an Fn::GetAtt names; "" for
// anything else. A reference within text, as in an Fn::Join, is found by
// [References].
func Refers(v any) string {
	if id, ok := At(v, "Ref").(string); ok {
		return id
	}
	switch get := At(v, "Fn::GetAtt").(type) {
	case string:
		id, _, _ := strings.Cut(get, ".")
		return id
	case []any:
		id, _ := At(get, 0).(string)
		return id
	}
	return ""
}

// References returns the logical ids and pseudo parameters that are named
// anywhere in v, by Ref, Fn::GetAtt or Fn::Sub, sorted.
func References(v any) []string {
	found := map[string]bool{}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				visit(item)
			}
		case map[string]any:
			if id := Refers(v); id != "" {
				found[id] = true
				return
			}
			var own map[string]any // variables that the Fn::Sub brings itself
			text, ok := v["Fn::Sub"].(string)
			if !ok {
				text, _ = At(v, "Fn::Sub", 0).(string)
				own, _ = At(v, "Fn::Sub", 1).(map[string]any)
			}
			for _, match := range variable.FindAllStringSubmatch(text, -1) {
				id, _, _ := strings.Cut(match[1], ".")
				if _, ok := own[match[1]]; !ok {
					found[id] = true
				}
			}
			for _, item := range v {
				visit(item)
			}
		}
	}
	visit(v)
	return slices.Sorted(maps.Keys(found))
}
