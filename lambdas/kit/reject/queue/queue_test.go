package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

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
