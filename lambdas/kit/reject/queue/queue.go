// Package queue sets records aside that a function can never process in a queue of
// Amazon SQS.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/reject"
)

// SendMessageAPI is what the queue needs of an SQS client.
type SendMessageAPI interface {
	SendMessage(context.Context, *sqs.SendMessageInput, ...func(*sqs.Options)) (*sqs.SendMessageOutput, error)
}

var _ SendMessageAPI = (*sqs.Client)(nil)

// MaximumMessage is the most bytes of a message: 1 MiB, says SQS. Data takes a third
// more in it. A record that is larger isn't rejected but failed.
const MaximumMessage = 1 << 20

// Queue rejects the records of one function into a standard queue. A replay sends a
// record again. It is safe for concurrent use.
type Queue struct {
	// Client, URL and Function are required: the queue and the name of the function.
	Client        SendMessageAPI
	URL, Function string
	reject.Reporter
}

var _ batch.Rejects = (*Queue)(nil)

// Write sends the record as a [reject.Document].
func (q *Queue) Write(ctx context.Context, r batch.Rejected) error {
	if q.Client == nil || q.URL == "" || q.Function == "" {
		return errors.New("reject: Client, URL and Function are required")
	}
	d := reject.Document{Function: q.Function, Rejected: r}
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("reject %s: %w", d.Key(), err)
	}
	if len(body) > MaximumMessage {
		return fmt.Errorf("reject %s: a message of %d bytes is larger than SQS takes, %d; a bucket takes it", d.Key(), len(body), MaximumMessage)
	}
	if _, err := q.Client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(q.URL), MessageBody: aws.String(string(body))}); err != nil {
		return fmt.Errorf("reject: send to %s: %w", q.URL, err)
	}
	q.Report(ctx, d, slog.String("queue", q.URL))
	return nil
}
