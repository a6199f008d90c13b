package synth

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/local/firehose"
	"github.com/millrace/millrace/local/invoke"
)

// notLocal are deliveries that local/firehose can't run, with a part of its reason.
var notLocal = map[string]string{}

type nowhere struct{}

func (nowhere) PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return &s3.PutObjectOutput{}, nil
}

func (nowhere) Invoke(context.Context, []byte) (invoke.Result, error) { return invoke.Result{}, nil }
func (nowhere) Copy(context.Context, firehose.Copy) error             { return nil }

func (nowhere) Columns(context.Context, firehose.Table) ([]firehose.Column, error) { return nil, nil }

// resolved is a template's value with something in place of every reference.
func resolved(value any) any {
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 1 {
			for key := range v {
				if key == "Ref" || strings.HasPrefix(key, "Fn::") {
					return "arn:aws:s3:::referenced"
				}
			}
		}
		out := map[string]any{}
		for key, inner := range v {
			out[key] = resolved(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = resolved(v[i])
		}
		return out
	}
	return value
}

// What the constructs define runs in the local Firehose, setting by setting: it knows
// each name and refuses none of the values.
func TestTheLocalFirehoseRunsWhatIsDefined(t *testing.T) {
	ran := 0
	for _, name := range slices.Sorted(maps.Keys(fullest)) {
		stack := awscdk.NewStack(newApp(t, false), jsii.String("Fullest"), nil)
		fullest[name](stack)
		for id, stream := range snapshot.Of(t, stack).OfType("AWS::KinesisFirehose::DeliveryStream") {
			properties, err := json.Marshal(resolved(stream.Properties))
			if err != nil {
				t.Fatal(err)
			}
			description, err := firehose.WithConfiguration(&firehose.Description{DeliveryStreamName: aws.String(id)}, properties)
			if err == nil {
				_, err = firehose.New(description, firehose.Options{
					S3: nowhere{}, Transform: nowhere{}, Copy: nowhere{}, Glue: nowhere{}, Endpoint: "http://127.0.0.1:1", Credential: "secret",
				})
			}
			reason, excused := notLocal[name]
			switch {
			case err != nil && !excused:
				t.Errorf("%s: %v", name, err)
			case err != nil && !strings.Contains(err.Error(), reason):
				t.Errorf("%s: want %q, got %v", name, reason, err)
			case err == nil && excused:
				t.Errorf("%s runs: remove it from notLocal", name)
			}
			ran++
		}
	}
	if ran < 6 {
		t.Errorf("only %d deliveries were found", ran)
	}
}
