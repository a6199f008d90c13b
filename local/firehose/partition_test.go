package firehose

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

// byQuery is a stream with partitions made by a jq query.
func byQuery(prefix, query string, more ...types.Processor) *Description {
	return described(func(x *types.ExtendedS3DestinationDescription) {
		x.Prefix, x.ErrorOutputPrefix = aws.String(prefix), aws.String("errors/!{firehose:error-output-type}/")
		x.DynamicPartitioningConfiguration = &types.DynamicPartitioningConfiguration{Enabled: aws.Bool(true)}
		x.ProcessingConfiguration = processing(append(more, processor(types.ProcessorTypeMetadataExtraction, "JsonParsingEngine", "JQ-1.6", "MetadataExtractionQuery", query))...)
	})
}

const name = "s-3-2026-03-04-05-06-07-"

func TestPartitionsByQuery(t *testing.T) {
	b := start(t, byQuery("c=!{partitionKeyFromQuery:c}/y=!{partitionKeyFromQuery:y}/!{timestamp:HH}/",
		`{c:.customer,y:.at|strftime("%Y")}`, processor(types.ProcessorTypeAppendDelimiterToRecord)), Options{})
	b.add(`{"customer":"a","at":0,"n":1}`, `{"customer":7,"at":0}`, `{"customer":"a","at":0,"n":2}`, `{"customer":"a","at":1600000000}`, `{"customer":true,"at":0}`)
	b.after(time.Minute)
	b.want(map[string]string{
		"b/c=a/y=1970/05/" + name + id(1):    `{"customer":"a","at":0,"n":1}` + "\n" + `{"customer":"a","at":0,"n":2}`,
		"b/c=7/y=1970/05/" + name + id(2):    `{"customer":7,"at":0}`,
		"b/c=a/y=2020/05/" + name + id(3):    `{"customer":"a","at":1600000000}`,
		"b/c=true/y=1970/05/" + name + id(4): `{"customer":true,"at":0}`,
	})
	b.balanced()
}

func TestPartitionKeysThatCantBeHad(t *testing.T) {
	tests := []struct{ name, record, message string }{
		{"no JSON", "hello", "Non JSON record provided"},
		{"two objects", `{"c":"a"}{"c":"b"}`, "Non JSON record provided"},
		{"an absent key", `{}`, noKeys},
		{"an empty key", `{"c":""}`, noKeys},
		{"a key that is an object", `{"c":{}}`, "The partition key c is no string, number or boolean"},
		{"an error of the query", `[1]`, "expected an object but got: array ([1])"},
		{"too long a key", `{"c":"` + strings.Repeat("x", 513) + `"}`, "The evaluated prefix has more than 512 characters."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := start(t, byQuery("!{partitionKeyFromQuery:c}/!{timestamp:HH}/", "{c:.c}"), Options{})
			b.add(test.record)
			b.after(time.Minute)
			bodies := b.s3.bodies()
			docs := documents(t, bodies["b/errors/metadata-extraction-failed/"+name+id(1)])
			if len(bodies) != 1 || len(docs) != 1 {
				t.Fatalf("objects %v", bodies)
			}
			if d := docs[0]; d.ErrorCode != "DynamicPartitioning.MetadataExtractionFailed" || d.ErrorMessage != test.message || d.LambdaARN != "" {
				t.Errorf("document %+v", d)
			}
			if st := b.Stats(); st.Failed != 1 || st.Buffered != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestAQueryThatNeverEndsFailsItsRecord(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the query's time")
	}
	b := start(t, byQuery("!{partitionKeyFromQuery:c}/", "def f: f; f"), Options{})
	b.add("{}")
	if b.after(time.Minute); b.Stats().Failed != 1 {
		t.Errorf("stats %+v", b.Stats())
	}
}

func TestPartitionsByTransform(t *testing.T) {
	d := described(func(x *types.ExtendedS3DestinationDescription) {
		x.Prefix, x.ErrorOutputPrefix = aws.String("!{partitionKeyFromLambda:k}/!{timestamp:HH}/"), aws.String("errors/!{firehose:error-output-type}/")
		x.DynamicPartitioningConfiguration = &types.DynamicPartitioningConfiguration{Enabled: aws.Bool(true)}
		x.ProcessingConfiguration = processing(lambdaProcessor())
	})
	b := start(t, d, Options{Transform: function(func(e event) (any, error) {
		var out []answered
		for _, r := range e.Records {
			a := ok(r.RecordID, string(r.Data))
			if key := string(r.Data); key != "none" {
				a.Metadata = map[string]any{"partitionKeys": map[string]any{"k": key}}
			}
			out = append(out, a)
		}
		return out, nil
	})})
	b.add("x", "y", "none", "x")
	b.after(time.Minute)
	b.after(time.Minute)
	bodies := b.s3.bodies()
	if bodies["b/x/05/"+name+id(2)] != "xx" || bodies["b/y/05/"+name+id(3)] != "y" || len(bodies) != 3 {
		t.Errorf("objects %v", bodies)
	}
	if docs := documents(t, bodies["b/errors/metadata-extraction-failed/"+name+id(4)]); len(docs) != 1 || docs[0].ErrorMessage != noKeys {
		t.Errorf("documents %+v", docs)
	}
}

func TestSubRecordsHavePartitionsOfTheirOwn(t *testing.T) {
	b := start(t, byQuery("!{partitionKeyFromQuery:c}/!{timestamp:HH}/", "{c:.c}", processor(types.ProcessorTypeRecordDeAggregation, "SubRecordType", "JSON")), Options{})
	b.add(`{"c":"a"}{"c":"b"}`)
	b.after(time.Minute)
	b.want(map[string]string{"b/a/05/" + name + id(1): `{"c":"a"}`, "b/b/05/" + name + id(2): `{"c":"b"}`})
}

func TestActivePartitionsAreLimited(t *testing.T) {
	b := start(t, byQuery("!{partitionKeyFromQuery:c}/!{timestamp:HH}/", "{c:.c}"), Options{ActivePartitions: 2})
	for i := range 3 {
		b.add(fmt.Sprintf(`{"c":"%d"}`, i))
	}
	b.add(`{"c":"1"}`)
	b.after(time.Minute)
	if st := b.Stats(); st.Delivered != 3 || st.Failed != 1 {
		t.Errorf("stats %+v", st)
	}
	b.add(`{"c":"2"}`)
	b.after(time.Minute)
	if st := b.Stats(); st.Delivered != 4 {
		t.Errorf("a delivered partition is still active: %+v", st)
	}
}

func TestAPartitionIsActiveUntilItIsDelivered(t *testing.T) {
	b := start(t, byQuery("!{partitionKeyFromQuery:c}/!{timestamp:HH}/", "{c:.c}"), Options{ActivePartitions: 2})
	b.s3.errs = []error{errors.New("503"), errors.New("503")}
	b.add(`{"c":"a"}`, `{"c":"b"}`)
	b.after(time.Minute) // both are on their way
	b.add(`{"c":"a"}`, `{"c":"c"}`)
	b.after(10 * time.Minute)
	if st := b.Stats(); st.Delivered != 3 || st.Failed != 1 {
		t.Errorf("with a third partition while two weren't delivered: %+v", st)
	}
	b.add(`{"c":"c"}`)
	b.after(time.Minute)
	if st := b.Stats(); st.Delivered != 4 || st.Failed != 1 || st.Buffered != 0 {
		t.Errorf("stats %+v", st)
	}
}
