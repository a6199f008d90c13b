package kit_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/race"
	standings "github.com/millrace/millrace/lambdas/standings/handler"
)

// nowhere takes every write, and no reject.
type nowhere struct{}

func (n *nowhere) UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return &dynamodb.UpdateItemOutput{}, nil
}

func (n *nowhere) Write(context.Context, batch.Rejected) error { return io.ErrUnexpectedEOF }

// race1000 is an event of 1,000 records of 50 racers, of about so many bytes each.
func race1000(size int) []byte {
	var out bytes.Buffer
	out.WriteString(`{"Records":[`)
	for i := range 1000 {
		record := fmt.Sprintf(`{"race":"race-%02d","racer":"racer-%04d","seq":%d,"at":"2026-11-21T10:%02d:%02d.123Z","distance":%d.25,"speed":14.25,"power":310`,
			i%5, i%50, i/50+1, i/60%60, i%60, 1000+i)
		if pad := size - len(record) - len(`,"note":""}`); pad > 0 {
			record += `,"note":"` + strings.Repeat("x", pad) + `"`
		}
		if i > 0 {
			out.WriteByte(',')
		}
		sequence := fmt.Sprintf("495903382714902566085596925383615710959215759891365%05d", i)
		fmt.Fprintf(&out, `{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"race-%02d/racer-%04d","sequenceNumber":"%s","data":"%s","approximateArrivalTimestamp":1795255200.123},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000006:%s","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role","awsRegion":"us-east-2","eventSourceARN":"arn:aws:kinesis:us-east-2:123456789012:stream/telemetry"}`,
			i%5, i%50, sequence, base64.StdEncoding.EncodeToString([]byte(record+"}")), sequence)
	}
	out.WriteString(`]}`)
	return out.Bytes()
}

// stock is the same function as people write it with aws-lambda-go and
// encoding/json: it folds, and answers what it couldn't read. It writes nothing.
func stock(_ context.Context, event events.KinesisEvent) (events.KinesisEventResponse, error) {
	response := events.KinesisEventResponse{BatchItemFailures: []events.KinesisBatchItemFailure{}}
	newest := race.Fold{}
	for _, r := range event.Records {
		var record race.Record
		if err := json.Unmarshal(r.Kinesis.Data, &record); err != nil || record.Validate() != nil {
			response.BatchItemFailures = append(response.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: r.Kinesis.SequenceNumber})
			continue
		}
		newest.Add(record)
	}
	if len(newest) != 50 {
		return response, fmt.Errorf("%d racers", len(newest))
	}
	return response, nil
}

// BenchmarkStandings is a whole invocation, payload in, answer out, with a table
// that takes every write at once.
func BenchmarkStandings(b *testing.B) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	for _, size := range []int{200, 1000} {
		payload := race1000(size)
		db := &nowhere{}
		ours, err := standings.New(func(string) string { return "standings" }, db, db)
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range []struct {
			name string
			lambda.Handler
		}{{"millrace", ours}, {"stock", lambda.NewHandler(stock)}} {
			b.Run(fmt.Sprintf("%dB/%s", size, c.name), func(b *testing.B) {
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				runtime.GC()
				for b.Loop() {
					answer, err := c.Invoke(b.Context(), payload)
					if err != nil || !bytes.Contains(answer, []byte(`"batchItemFailures":[]`)) {
						b.Fatalf("%s, %v", answer, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed())/float64(time.Nanosecond)/float64(b.N)/1000, "ns/record")
			})
		}
	}
}
