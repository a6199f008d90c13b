package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/kit/reject/queue"
)

type fake struct {
	bodies []string
	err    error
}

func (q *fake) SendMessage(_ context.Context, in *sqs.SendMessageInput, _ ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	if q.err == nil {
		q.bodies = append(q.bodies, aws.ToString(in.QueueUrl)+" "+aws.ToString(in.MessageBody))
	}
	return &sqs.SendMessageOutput{}, q.err
}

func ExampleQueue() {
	messages := &fake{} // an SQS client
	w := &queue.Queue{
		Client: messages, URL: "https://sqs/poison", Function: "orders",
		Reporter: reject.Reporter{Metrics: io.Discard, Log: slog.New(slog.DiscardHandler)},
	}
	// In a function it goes into batch.Options, as Rejects.
	err := w.Write(context.Background(), batch.Rejected{
		ShardID: "shardId-000000000003", SequenceNumber: "49656", PartitionKey: "eu", Reason: "no order", Data: []byte("?"),
		ApproximateArrivalTimestamp: time.UnixMilli(1795255200123).UTC(),
	})
	fmt.Println(messages.bodies[0], err)
	// Output: https://sqs/poison {"function":"orders","eventSourceARN":"","shardId":"shardId-000000000003","sequenceNumber":"49656","partitionKey":"eu","approximateArrivalTimestamp":"2026-11-21T10:00:00.123Z","reason":"no order","data":"Pw=="} <nil>
}

func TestWhatAQueueLacksIsTold(t *testing.T) {
	for _, w := range []*queue.Queue{{}, {Client: &fake{}, Function: "f"}, {Client: &fake{}, URL: "https://queue"}} {
		if err := w.Write(t.Context(), batch.Rejected{}); err == nil || !strings.Contains(err.Error(), "Client, URL and Function are required") {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestAQueueTakesWhatABucketDoes(t *testing.T) {
	rejected := batch.Rejected{ShardID: "shardId-3", SequenceNumber: "49656", PartitionKey: "k", Reason: "seq: missing", Data: []byte("\x00x\xff")}
	quiet := slog.New(slog.DiscardHandler)
	q := &fake{}
	w := &queue.Queue{Client: q, URL: "https://queue", Function: "standings", Reporter: reject.Reporter{Metrics: io.Discard, Log: quiet}}
	if err := w.Write(t.Context(), rejected); err != nil {
		t.Fatal(err)
	}
	body, ok := strings.CutPrefix(q.bodies[0], "https://queue ")
	var got reject.Document
	if err := json.Unmarshal([]byte(body), &got); err != nil || !ok {
		t.Fatalf("%v: %s", err, q.bodies[0])
	}
	if diff := cmp.Diff(reject.Document{Function: "standings", Rejected: rejected}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	large := rejected
	large.Data = make([]byte, 800_000)
	if err := w.Write(t.Context(), large); err == nil || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("a record beyond a message: %v", err)
	}
	q.err = errors.New("access denied")
	if err := w.Write(t.Context(), rejected); !errors.Is(err, q.err) {
		t.Errorf("a queue that can't be reached: %v", err)
	}
	if len(q.bodies) != 1 {
		t.Errorf("%d messages", len(q.bodies))
	}
}
