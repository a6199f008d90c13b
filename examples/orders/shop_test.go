package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden anew; read its diff before you commit it")

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

// synthesize is the stack's template, with the feature flags of cdk.json and
// without compiling a function.
func synthesize(t *testing.T) []byte {
	t.Helper()
	file, err := os.ReadFile("cdk.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Context map[string]any }
	if err := json.Unmarshal(file, &config); err != nil {
		t.Fatal(err)
	}
	config.Context["aws:cdk:bundling-stacks"] = []string{}
	app := awscdk.NewApp(&awscdk.AppProps{Context: &config.Context, Outdir: jsii.String(t.TempDir())})
	newShop(app, StackName)
	app.Synth(nil)
	template, err := os.ReadFile(filepath.Join(*app.Outdir(), StackName+".template.json"))
	if err != nil {
		t.Fatal(err)
	}
	return template
}

// assetHash changes with the functions' code.
var assetHash = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// The golden is the whole template: what a change of the app, of millrace or of
// the CDK does to the stack shows in its diff.
func TestTheTemplateMatchesItsGolden(t *testing.T) {
	var template any
	if err := json.Unmarshal(synthesize(t), &template); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(template, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(assetHash.ReplaceAll(got, []byte("ASSET")), '\n')
	golden := filepath.Join("testdata", StackName+".template.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the template differs from %s (-golden +now); if that is meant, run `go test ./orders -update` and read the diff:\n%s", golden, diff)
	}
}

// What already existed is used as it is.
func TestTheConsumerReadsTheExistingStreamAndFailsIntoTheExistingBucket(t *testing.T) {
	var template struct {
		Resources map[string]struct {
			Type       string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(synthesize(t), &template); err != nil {
		t.Fatal(err)
	}
	ids := map[string][]string{}
	for id, r := range template.Resources {
		ids[r.Type] = append(ids[r.Type], id)
	}
	if len(ids["AWS::Kinesis::Stream"]) != 1 || len(ids["AWS::S3::Bucket"]) != 1 {
		t.Fatalf("another stream or bucket is defined: %v", ids)
	}
	attribute := func(id string) any { return map[string]any{"Fn::GetAtt": []any{id, "Arn"}} }
	mapping := template.Resources[ids["AWS::Lambda::EventSourceMapping"][0]].Properties
	if diff := cmp.Diff(attribute(ids["AWS::Kinesis::Stream"][0]), mapping["EventSourceArn"]); diff != "" {
		t.Error(diff)
	}
	failures := mapping["DestinationConfig"].(map[string]any)["OnFailure"].(map[string]any)["Destination"]
	if diff := cmp.Diff(attribute(ids["AWS::S3::Bucket"][0]), failures); diff != "" {
		t.Error(diff)
	}
}
