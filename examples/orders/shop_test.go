package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
)

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

// synthesize is the stack's template, with the feature flags of cdk.json and
// without compiling a function.
func synthesize(t *testing.T) *snapshot.Template {
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
	return snapshot.Of(t, newShop(awscdk.NewApp(&awscdk.AppProps{Context: &config.Context}), StackName))
}

// The golden is the whole template: what a change of the app, of millrace or of
// the CDK does to the stack shows in its diff.
func TestTheTemplateMatchesItsGolden(t *testing.T) {
	synthesize(t).Match(t, "testdata/Shop.template.json")
}

// What already existed is used as it is.
func TestTheConsumerReadsTheExistingStreamAndFailsIntoTheExistingBucket(t *testing.T) {
	template := synthesize(t)
	stream, _ := template.Only(t, "AWS::Kinesis::Stream")
	bucket, _ := template.Only(t, "AWS::S3::Bucket")
	template.Each(t, "AWS::Lambda::EventSourceMapping", func(id string, mapping snapshot.Resource) {
		if source := snapshot.Refers(mapping.At("EventSourceArn")); source != stream {
			t.Errorf("%s reads %s", id, source)
		}
		if failures := snapshot.Refers(mapping.At("DestinationConfig", "OnFailure", "Destination")); failures != bucket {
			t.Errorf("%s fails into %s", id, failures)
		}
	})
}
