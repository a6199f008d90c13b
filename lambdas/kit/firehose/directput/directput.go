// Package directput puts records back into a delivery stream that takes direct puts,
// when the answer of its transform has no room for them. It is a package of its own so
// that other transforms don't carry Firehose's client.
package directput

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"

	transform "github.com/millrace/millrace/lambdas/kit/firehose"
	"github.com/millrace/millrace/lambdas/kit/internal/backoff"
)

// AWS's limits on a PutRecordBatch, and how often it is made in a row in which nothing
// gets through.
const (
	maximumRecords = 500
	maximumBytes   = 4_000_000
	attempts       = 5
)

var waits = backoff.Backoff{Base: 100 * time.Millisecond, Max: 5 * time.Second}

// API is what it needs of a Firehose client.
type API interface {
	PutRecordBatch(context.Context, *firehose.PutRecordBatchInput, ...func(*firehose.Options)) (*firehose.PutRecordBatchOutput, error)
}

var _ API = (*firehose.Client)(nil)

// To puts records back into the delivery stream of that name: the transform's own, or
// another one. Only what Firehose didn't take is put again. After an error some may
// have been put: they come twice then, as the whole batch comes again.
func To(client API, deliveryStream string) transform.Reingester {
	return &to{client, deliveryStream}
}

type to struct {
	client API
	stream string
}

// Reingest implements [transform.Reingester].
func (t *to) Reingest(ctx context.Context, records []transform.Record) error {
	if t.client == nil || t.stream == "" {
		return errors.New("directput: To needs a client and a delivery stream")
	}
	for failures := 0; len(records) > 0; {
		n, size := 0, 0
		for n < len(records) && n < maximumRecords && (n == 0 || size+len(records[n].Data) <= maximumBytes) {
			size += len(records[n].Data)
			n++
		}
		failed, err := t.put(ctx, records[:n])
		if len(failed) < n {
			failures = 0
		}
		records = append(failed, records[n:]...)
		if err == nil {
			continue
		}
		if failures++; failures == attempts || !passes(err) {
			return fmt.Errorf("directput: %d records for %s: %w", len(records), t.stream, err)
		}
		if waitErr := waits.Wait(ctx, failures); waitErr != nil {
			return fmt.Errorf("directput: %d records for %s: %w", len(records), t.stream, errors.Join(waitErr, err))
		}
	}
	return nil
}

var passing = retry.NewStandard()

// entryError is of a record, whose codes are those of trouble that passes.
type entryError struct{ code, message string }

func (e *entryError) Error() string { return e.code + ": " + e.message }

func passes(err error) bool {
	var entry *entryError
	var unavailable *types.ServiceUnavailableException // the stream's throughput is used up
	return errors.As(err, &entry) || errors.As(err, &unavailable) || passing.IsErrorRetryable(err)
}

// put makes one call and returns what Firehose didn't take.
func (t *to) put(ctx context.Context, records []transform.Record) ([]transform.Record, error) {
	in := &firehose.PutRecordBatchInput{DeliveryStreamName: aws.String(t.stream), Records: make([]types.Record, len(records))}
	for i, r := range records {
		in.Records[i].Data = r.Data
	}
	out, err := t.client.PutRecordBatch(ctx, in)
	if err == nil && len(out.RequestResponses) != len(records) {
		err = fmt.Errorf("PutRecordBatch answered %d entries for %d records", len(out.RequestResponses), len(records))
	}
	if err != nil {
		return append([]transform.Record(nil), records...), err
	}
	var failed []transform.Record
	for i, entry := range out.RequestResponses {
		if code := aws.ToString(entry.ErrorCode); code != "" {
			failed = append(failed, records[i])
			err = &entryError{code, aws.ToString(entry.ErrorMessage)}
		}
	}
	return failed, err
}
