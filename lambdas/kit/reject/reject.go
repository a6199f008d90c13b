// Package reject sets records aside that a function can never process, so that
// they neither block their shard nor get lost: each becomes a document in the
// failure bucket (or, with package queue, a message), a count in CloudWatch and a line
// in the log.
package reject

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/emf"
)

// Prefix begins the keys of all rejected records in the failure bucket.
const Prefix = "rejected/"

// Document is a rejected record as it stands in the failure bucket.
type Document struct {
	Function string `json:"function"`
	batch.Rejected
}

// Key is the document's key in the failure bucket. It depends only on where the
// record stands in its stream: a replay overwrites the document.
func (d Document) Key() string {
	number := d.SequenceNumber
	if d.SubSequenceNumber > 0 {
		number += "." + strconv.Itoa(d.SubSequenceNumber)
	}
	return fmt.Sprintf("%s%s/%s/%s.json", Prefix, d.Function, d.ShardID, number)
}

// PutObjectAPI is what the writer needs of an S3 client.
type PutObjectAPI interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

var _ PutObjectAPI = (*s3.Client)(nil)

// NewS3 makes an S3 client. It addresses buckets by path if AWS_ENDPOINT_URL is
// set: an emulator has no host name per bucket. Getenv may be nil for os.Getenv.
func NewS3(cfg aws.Config, getenv func(string) string) *s3.Client {
	if getenv == nil {
		getenv = os.Getenv
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = getenv("AWS_ENDPOINT_URL") != ""
	})
}

// FromEnvironment is the writer of a function of the consumer construct: to the
// bucket FAILURE_BUCKET, through getenv, nil for os.Getenv. The error names every
// variable that is missing.
func FromEnvironment(cfg aws.Config, getenv func(string) string) (*Writer, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	w := &Writer{Client: NewS3(cfg, getenv), Bucket: getenv("FAILURE_BUCKET"), Function: getenv("AWS_LAMBDA_FUNCTION_NAME")}
	var missing []error
	if w.Bucket == "" {
		missing = append(missing, errors.New("environment variable FAILURE_BUCKET is not set"))
	}
	if w.Function == "" {
		missing = append(missing, errors.New("environment variable AWS_LAMBDA_FUNCTION_NAME is not set"))
	}
	return w, errors.Join(missing...)
}

// Writer rejects the records of one function into a bucket. It is safe for
// concurrent use.
type Writer struct {
	// Client, Bucket and Function are required: the failure bucket and the name
	// of the function.
	Client           PutObjectAPI
	Bucket, Function string
	Reporter
}

var _ batch.Rejects = (*Writer)(nil)

// Write stores the record as a [Document].
func (w *Writer) Write(ctx context.Context, r batch.Rejected) error {
	if w.Client == nil || w.Bucket == "" || w.Function == "" {
		return errors.New("reject: Client, Bucket and Function are required")
	}
	d := Document{Function: w.Function, Rejected: r}
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
	w.Report(ctx, d, slog.String("object", "s3://"+w.Bucket+"/"+key))
	return nil
}

// Reporter tells of rejected records: a count in CloudWatch, a line in the log. The
// zero value is ready and safe for concurrent use.
type Reporter struct {
	// Metrics takes the metric lines; nil means the standard output, which
	// Lambda carries to CloudWatch.
	Metrics io.Writer
	// Log takes one error line per rejected record, without its data; nil means
	// slog.Default().
	Log *slog.Logger
	// Now tells the time of the metric; nil means time.Now.
	Now func() time.Time

	mu sync.Mutex // whole lines only
}

// Report tells of one, and where it is now.
func (r *Reporter) Report(ctx context.Context, d Document, where slog.Attr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, metrics := r.Now, r.Metrics
	if now == nil {
		now = time.Now
	}
	if metrics == nil {
		metrics = os.Stdout
	}
	emf.Count(metrics, now(), d.Function, emf.RejectedRecords, 1)
	cmp.Or(r.Log, slog.Default()).LogAttrs(
		ctx, slog.LevelError, "record rejected",
		slog.String("eventSourceARN", d.EventSourceARN),
		slog.String("shardId", d.ShardID),
		slog.String("sequenceNumber", d.SequenceNumber),
		slog.String("reason", d.Reason),
		where,
	)
}
