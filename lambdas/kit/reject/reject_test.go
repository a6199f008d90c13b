package reject_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/reject"
)

type bucket struct {
	objects map[string][]byte // by s3://bucket/key
	err     error
}

func (b *bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	if b.err != nil {
		return nil, b.err
	}
	body, err := io.ReadAll(in.Body)
	b.objects["s3://"+aws.ToString(in.Bucket)+"/"+aws.ToString(in.Key)] = body
	return &s3.PutObjectOutput{}, err
}

var rejected = batch.Rejected{
	EventSourceARN: "arn:aws:kinesis:us-east-1:000000000000:stream/telemetry",
	ShardID:        "shardId-000000000003", SequenceNumber: "49656", PartitionKey: "monza/r-0007",
	ApproximateArrivalTimestamp: time.Date(2026, 11, 21, 10, 0, 0, 123e6, time.UTC),
	Reason:                      "seq: missing", Data: []byte("\x00SECRET\xff"),
}

func TestRejectedRecordsAreStoredCountedAndLogged(t *testing.T) {
	b := &bucket{objects: map[string][]byte{}}
	var metrics, log bytes.Buffer
	w := &reject.Writer{
		Client: b, Bucket: "failures", Function: "standings",
		Reporter: reject.Reporter{
			Metrics: &metrics, Log: slog.New(slog.NewJSONHandler(&log, nil)),
			Now: func() time.Time { return time.UnixMilli(1) },
		},
	}
	for range 2 { // a replay overwrites
		if err := w.Write(t.Context(), rejected); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.objects) != 1 {
		t.Errorf("%d objects", len(b.objects))
	}
	var got reject.Document
	if err := json.Unmarshal(b.objects["s3://failures/rejected/standings/shardId-000000000003/49656.json"], &got); err != nil {
		t.Fatal(err)
	}
	want := reject.Document{Function: "standings", Rejected: rejected}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n := strings.Count(metrics.String(), `"RejectedRecords":1,`); n != 2 || strings.Count(metrics.String(), "\n") != 2 {
		t.Errorf("metrics: %s", &metrics)
	}
	for _, want := range []string{"ERROR", "seq: missing", "shardId-000000000003", "49656"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log doesn't say %q: %s", want, &log)
		}
	}
	if strings.Contains(log.String(), "SECRET") || strings.Contains(log.String(), "U0VDUkVU") {
		t.Errorf("the log holds the payload: %s", &log)
	}
}

func TestAFailedWriteIsReportedAndNotCounted(t *testing.T) {
	denied := errors.New("access denied")
	var metrics bytes.Buffer
	w := &reject.Writer{Client: &bucket{err: denied}, Bucket: "failures", Function: "standings", Reporter: reject.Reporter{Metrics: &metrics}}
	if err := w.Write(t.Context(), rejected); !errors.Is(err, denied) || !strings.Contains(err.Error(), "s3://failures/rejected/standings/") {
		t.Errorf("got %v", err)
	}
	if metrics.Len() > 0 {
		t.Errorf("counted: %s", &metrics)
	}
}

func TestWhatAWriterLacksIsTold(t *testing.T) {
	for _, w := range []*reject.Writer{{}, {Client: &bucket{}, Function: "f"}, {Client: &bucket{}, Bucket: "failures"}} {
		if err := w.Write(t.Context(), rejected); err == nil || !strings.Contains(err.Error(), "Client, Bucket and Function are required") {
			t.Errorf("%+v: %v", w, err)
		}
	}
	t.Setenv("FAILURE_BUCKET", "")
	t.Setenv("AWS_LAMBDA_FUNCTION_NAME", "")
	_, err := reject.FromEnvironment(aws.Config{}, nil)
	if err == nil || !strings.Contains(err.Error(), "FAILURE_BUCKET") || !strings.Contains(err.Error(), "AWS_LAMBDA_FUNCTION_NAME") {
		t.Errorf("got %v", err)
	}
}

func TestDocumentsHaveTheFieldsTheyAreReadBy(t *testing.T) {
	body, err := json.Marshal(reject.Document{Rejected: rejected})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"function":"","eventSourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/telemetry",` +
		`"shardId":"shardId-000000000003","sequenceNumber":"49656","partitionKey":"monza/r-0007",` +
		`"approximateArrivalTimestamp":"2026-11-21T10:00:00.123Z","reason":"seq: missing","data":"AFNFQ1JFVP8="}`
	if string(body) != want {
		t.Errorf("got %s", body)
	}
}

func TestBucketsAreAddressedByPathAtAnEndpoint(t *testing.T) {
	for endpoint, want := range map[string]bool{"": false, "http://127.0.0.1:4566": true} {
		client := reject.NewS3(aws.Config{}, func(string) string { return endpoint })
		if client.Options().UsePathStyle != want {
			t.Errorf("endpoint %q: path style %v", endpoint, client.Options().UsePathStyle)
		}
	}
}
