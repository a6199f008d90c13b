// Package synth tests what the constructs and the stack synthesize. It is one
// package, because each process that uses the CDK pays for the start of Node.js
// once; for the same reason nothing in it runs in parallel: jsii is not safe for
// concurrent use.
package synth

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/stacks/race"
)

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
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
func synthRace(tb testing.TB, config race.Config) *snapshot.Template {
	tb.Helper()
	return snapshot.Of(tb, race.New(newApp(tb, false), config).Stack)
}

// synth synthesizes app and returns the template of the stack of that name.
func synth(tb testing.TB, app awscdk.App, stack string) *snapshot.Template {
	tb.Helper()
	app.Synth(nil)
	return snapshot.Read(tb, *app.Outdir(), stack)
}

// Short names for what nearly every test calls.
var (
	at     = snapshot.At
	refers = snapshot.Refers
)

// updating tells whether the goldens are being written.
func updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}
