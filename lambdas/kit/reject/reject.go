// Package reject sets records aside that a function can never process, so that
// they neither block their shard nor get lost: each becomes a document in the
// failure bucket, a count in CloudWatch and a line in the log.
package reject

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/lambdas/kit/emf"
)

// Prefix begins the keys of all rejected records in the failure bucket.
const Prefix = "rejected/"

// Document is a rejected record as it stands in the failure bucket.
type Document struct {
	Function       string `json:"function"`
	EventSourceARN string `json:"eventSourceARN"`
	// ShardID is the record's shard. An event of a table's stream doesn't name
	// it: there it is the event's id, which is unique in the stream.
	ShardID        string `json:"shardId"`
	SequenceNumber string `json:"sequenceNumber"`
	PartitionKey   string `json:"partitionKey"`
	// ApproximateArrivalTimestamp is when the stream took the record.
	ApproximateArrivalTimestamp time.Time `json:"approximateArrivalTimestamp"`
	// Reason says what is wrong. It is logged, so it must not quote Data.
	Reason string `json:"reason"`
	// Data is the raw payload, base64 in the document.
	Data []byte `json:"data"`
}

// Key is the document's key in the failure bucket. It depends only on where the
// record stands in its stream: a replay overwrites the document.
func (d Document) Key() string {
	return fmt.Sprintf("%s%s/%s/%s.json", Prefix, d.Function, d.ShardID, d.SequenceNumber)
}

// PutObjectAPI is what the writer needs of an S3 client.
type PutObjectAPI interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

var _ PutObjectAPI = (*s3.Client)(nil)

// NewS3 makes an S3 client. It addresses buckets by path if AWS_ENDPOINT_URL is
// set: an emulator has no host name per bucket.
func NewS3(cfg aws.Config, getenv func(string) string) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = getenv("AWS_ENDPOINT_URL") != ""
	})
}

// Writer rejects the records of one function. It is safe for concurrent use.
type Writer struct {
	// Client, Bucket and Function are required: the failure bucket and the name
	// of the function.
	Client           PutObjectAPI
	Bucket, Function string
	// Metrics takes the metric lines; nil means the standard output, which
	// Lambda carries to CloudWatch.
	Metrics io.Writer
	// Log takes one error line per rejected record, without its data; nil means
	// slog.Default().
	Log *slog.Logger
	// Now tells the time of the metric; nil means time.Now.
	Now func() time.Time

	mu sync.Mutex
}

// Write stores the document, with Function filled in. After an error the record
// isn't set aside and must be reported as failed.
func (w *Writer) Write(ctx context.Context, d Document) error {
	d.Function = w.Function
	key := d.Key()
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("reject %s: %w", key, err)
	}
	_, err = w.Client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:      aws.String(w.Bucket),
		Key:         aws.String(key),
		Body:        bytes.NewReader(body),
		ContentType: aws.String("application/json"),
	})
	if err != nil {
		return fmt.Errorf("reject: put s3://%s/%s: %w", w.Bucket, key, err)
	}
	w.count()
	cmp.Or(w.Log, slog.Default()).LogAttrs(
		ctx, slog.LevelError, "record rejected",
		slog.String("eventSourceARN", d.EventSourceARN),
		slog.String("shardId", d.ShardID),
		slog.String("sequenceNumber", d.SequenceNumber),
		slog.String("reason", d.Reason),
		slog.String("object", "s3://"+w.Bucket+"/"+key),
	)
	return nil
}

func (w *Writer) count() {
	w.mu.Lock() // whole lines only
	defer w.mu.Unlock()
	now, metrics := w.Now, w.Metrics
	if now == nil {
		now = time.Now
	}
	if metrics == nil {
		metrics = os.Stdout
	}
	emf.Count(metrics, now(), w.Function, emf.RejectedRecords, 1)
}
