// Package synth tests what the constructs and the stack synthesize. It is one
// package, because each process that uses the CDK pays for the start of Node.js
// once; for the same reason nothing in it runs in parallel: jsii is not safe for
// concurrent use.
package synth

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/stacks/race"
)

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

// template is a synthesized CloudFormation template.
type template struct {
	Resources map[string]resource
	Outputs   map[string]any
	Metadata  map[string]any
	raw       map[string]any
}

type resource struct {
	Type                string
	Properties          map[string]any
	Metadata            map[string]any
	DependsOn           []string
	DeletionPolicy      string
	UpdateReplacePolicy string
}

// ofType returns the resources of a type, by logical id.
func (t *template) ofType(name string) map[string]resource {
	found := map[string]resource{}
	for id, r := range t.Resources {
		if r.Type == name {
			found[id] = r
		}
	}
	return found
}

// only returns the one resource of a type.
func (t *template) only(tb testing.TB, name string) (string, resource) {
	tb.Helper()
	found := t.ofType(name)
	if len(found) != 1 {
		tb.Fatalf("want one %s, got %d", name, len(found))
	}
	for id, r := range found {
		return id, r
	}
	panic("unreachable")
}

// cdkJSON is found from any directory that a test may run its app in.
var cdkJSON, _ = filepath.Abs("../../cdk.json")

// newApp is an app with the feature flags of cdk.json. Functions aren't compiled
// unless bundling is set.
func newApp(tb testing.TB, bundling bool) awscdk.App {
	tb.Helper()
	file, err := os.ReadFile(cdkJSON)
	if err != nil {
		tb.Fatal(err)
	}
	var config struct{ Context map[string]any }
	if err := json.Unmarshal(file, &config); err != nil {
		tb.Fatal(err)
	}
	context := maps.Clone(config.Context)
	if !bundling {
		context["aws:cdk:bundling-stacks"] = []string{}
	}
	return awscdk.NewApp(&awscdk.AppProps{Context: &context, Outdir: jsii.String(tb.TempDir())})
}

// synthRace synthesizes the stack with config.
func synthRace(tb testing.TB, config race.Config) *template {
	tb.Helper()
	app := newApp(tb, false)
	race.New(app, config)
	return synth(tb, app, race.StackName)
}

// synth synthesizes app and returns the template of the stack of that name.
func synth(tb testing.TB, app awscdk.App, stack string) *template {
	tb.Helper()
	app.Synth(nil)
	return readTemplate(tb, app, stack)
}

// readTemplate reads the template of the stack of that name, once it is synthesized.
func readTemplate(tb testing.TB, app awscdk.App, stack string) *template {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(*app.Outdir(), stack+".template.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var t template
	if err := json.Unmarshal(text, &t); err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(text, &t.raw); err != nil {
		tb.Fatal(err)
	}
	return &t
}

// at follows keys and indexes into decoded JSON; nil where the way ends.
func at(v any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			list, _ := v.([]any)
			if key >= len(list) {
				return nil
			}
			v = list[key]
		}
	}
	return v
}

// refers returns the logical id that a Ref or Fn::GetAtt names, or "".
func refers(v any) string {
	if id, ok := at(v, "Ref").(string); ok {
		return id
	}
	id, _ := at(v, "Fn::GetAtt", 0).(string)
	return id
}
