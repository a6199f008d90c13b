// Package producer puts records on a Kinesis stream in full batches and knows
// which of them the stream took.
package producer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

// AWS's limits on PutRecords.
const (
	maxBatchRecords = 500
	maxBatchBytes   = 10 << 20 // data and partition keys together
	maxRecordBytes  = 10 << 20 // a stream takes 1 MiB unless it is set to more
	maxKeyBytes     = 256      // characters; names are ASCII here
)

// API is what the producer needs of a Kinesis client.
type API interface {
	PutRecords(context.Context, *kinesis.PutRecordsInput, ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error)
}

var _ API = (*kinesis.Client)(nil)

// Record is a payload and the partition key that selects its shard, 1 to 256
// bytes.
type Record struct {
	PartitionKey string
	Data         []byte
}

func (r Record) size() int { return len(r.PartitionKey) + len(r.Data) }

// Options of a producer. The zero value is good.
type Options struct {
	// BatchRecords is the most records in one call: 1 to 500; 0 means 500.
	BatchRecords int
	// BatchBytes is the most bytes in one call, data and partition keys: 1 to
	// 10 MiB; 0 means 5 MiB, which was AWS's limit until 2025 and is what
	// emulators still hold to.
	BatchBytes int
	// RecordBytes is the most bytes of one record, data and partition key: 1 to
	// 10 MiB, at most BatchBytes; 0 means 1 MiB, or BatchBytes if that is less.
	RecordBytes int
	// Attempts is the number of calls for one batch, the first included, before
	// the producer gives up: 1 or more; 0 means 10. A call in which the stream took
	// records counts as the first one again: a shard that throttles takes a batch
	// little by little.
	Attempts int
	// BaseDelay and MaxDelay bound the wait before another attempt: a random
	// time below BaseDelay, doubled with every attempt, up to MaxDelay. 0 means
	// 100 ms and 5 s.
	BaseDelay, MaxDelay time.Duration
	// Rate is the most records per second, on average; 0 means no limit. A batch
	// then holds at most one second's worth.
	Rate float64
	// Acknowledged, if set, is called after every call in which the stream took
	// records, with these records. It must not keep the slice.
	Acknowledged func([]Record)

	// Now, Sleep and Jitter stand in for the clock and chance in tests; nil
	// means time.Now, a timer that ends early with ctx, and rand.Float64.
	Now    func() time.Time
	Sleep  func(ctx context.Context, d time.Duration) error
	Jitter func() float64
}

// UnsentError says that the producer gave up. The records are still in it: a
// later Flush tries them again.
type UnsentError struct {
	// Records is how many records the stream hasn't acknowledged.
	Records int
	// Code is the last error code that the stream gave, "" if it gave none.
	Code string
	// Err is the last error.
	Err error
}

func (e *UnsentError) Error() string {
	code := e.Code
	if code == "" {
		code = "none"
	}
	return fmt.Sprintf("producer: %d records remain unsent, last error code %s: %v", e.Records, code, e.Err)
}

func (e *UnsentError) Unwrap() error { return e.Err }

// Producer collects records into batches and sends them. It isn't safe for
// concurrent use. Records can be taken twice (an answer that got lost) and out
// of order (only the failed ones of a batch are sent again).
type Producer struct {
	api      API
	stream   string
	o        Options
	batch    []Record
	bytes    int
	acked    int
	nextSend time.Time
}

// New makes a producer for the named stream. The error names every invalid
// option.
func New(api API, stream string, o Options) (*Producer, error) {
	o = o.withDefaults()
	if err := o.validate(stream); err != nil {
		return nil, err
	}
	if o.Rate > 0 {
		o.BatchRecords = max(1, int(min(o.Rate, float64(o.BatchRecords))))
	}
	return &Producer{api: api, stream: stream, o: o}, nil
}

// Add takes a record, after sending the batch if the record doesn't fit into it
// any more. A record that breaks a limit is refused, and so is one for which
// there is no room because sending failed; what was taken before stays.
func (p *Producer) Add(ctx context.Context, r Record) error {
	switch {
	case r.PartitionKey == "" || len(r.PartitionKey) > maxKeyBytes:
		return fmt.Errorf("producer: the partition key has %d bytes: must be 1 to %d", len(r.PartitionKey), maxKeyBytes)
	case r.size() > p.o.RecordBytes:
		return fmt.Errorf("producer: the record has %d bytes with its partition key: must be at most %d", r.size(), p.o.RecordBytes)
	}
	if len(p.batch) == p.o.BatchRecords || p.bytes+r.size() > p.o.BatchBytes {
		if err := p.Flush(ctx); err != nil {
			return err
		}
	}
	p.batch = append(p.batch, r)
	p.bytes += r.size()
	return nil
}

// Flush sends the batch and returns when the stream has acknowledged all of it.
// The error is an *UnsentError; it wraps the error of ctx if that ended.
func (p *Producer) Flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	if err := p.pace(ctx); err != nil {
		return &UnsentError{Records: len(p.batch), Err: err}
	}
	for call, attempt := 1, 1; ; call, attempt = call+1, attempt+1 {
		before := len(p.batch)
		err := p.send(ctx)
		switch {
		case len(p.batch) == 0:
			return nil
		case len(p.batch) < before:
			attempt = 1
		}
		if attempt == p.o.Attempts || ctx.Err() != nil || !retryable(err) {
			return p.unsent(err)
		}
		ceiling := min(float64(p.o.BaseDelay)*float64(uint64(1)<<min(call-1, 40)), float64(p.o.MaxDelay))
		if sleepErr := p.o.Sleep(ctx, time.Duration(p.o.Jitter()*ceiling)); sleepErr != nil {
			return p.unsent(errors.Join(sleepErr, err))
		}
	}
}

// Acknowledged is how many records the stream has taken.
func (p *Producer) Acknowledged() int { return p.acked }

// Pending is how many records wait in the batch.
func (p *Producer) Pending() int { return len(p.batch) }

// pace waits for the batch's turn. The waiting time grows by what every batch
// is worth; time in which nothing was sent isn't caught up on.
func (p *Producer) pace(ctx context.Context) error {
	if p.o.Rate == 0 {
		return nil
	}
	now := p.o.Now()
	if wait := p.nextSend.Sub(now); wait > 0 {
		if err := p.o.Sleep(ctx, wait); err != nil {
			return err
		}
		now = p.nextSend
	}
	p.nextSend = now.Add(time.Duration(float64(len(p.batch)) / p.o.Rate * float64(time.Second)))
	return nil
}

// send makes one call and keeps in the batch what the stream didn't take. The
// error is nil only if it took everything.
func (p *Producer) send(ctx context.Context) error {
	entries := make([]types.PutRecordsRequestEntry, len(p.batch))
	for i, r := range p.batch {
		entries[i] = types.PutRecordsRequestEntry{PartitionKey: aws.String(r.PartitionKey), Data: r.Data}
	}
	out, err := p.api.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: aws.String(p.stream), Records: entries})
	if err != nil {
		return err
	}
	if len(out.Records) != len(entries) {
		return fmt.Errorf("PutRecords answered %d entries for %d records", len(out.Records), len(entries))
	}
	var taken, failed []Record
	p.bytes = 0
	for i, result := range out.Records {
		if code := aws.ToString(result.ErrorCode); code != "" {
			failed = append(failed, p.batch[i])
			p.bytes += p.batch[i].size()
			err = &entryError{code: code, message: aws.ToString(result.ErrorMessage)}
		} else {
			taken = append(taken, p.batch[i])
		}
	}
	p.batch = failed
	p.acked += len(taken)
	if len(taken) > 0 && p.o.Acknowledged != nil {
		p.o.Acknowledged(taken)
	}
	return err
}

func (p *Producer) unsent(err error) error {
	unsent := &UnsentError{Records: len(p.batch), Err: err}
	if api := smithy.APIError(nil); errors.As(err, &api) {
		unsent.Code = api.ErrorCode()
	}
	return unsent
}

// entryError is the failure of one record in a call that went through.
type entryError struct{ code, message string }

var _ smithy.APIError = (*entryError)(nil)

func (e *entryError) Error() string                 { return e.code + ": " + e.message }
func (e *entryError) ErrorCode() string             { return e.code }
func (e *entryError) ErrorMessage() string          { return e.message }
func (e *entryError) ErrorFault() smithy.ErrorFault { return smithy.FaultServer }

// retryable tells trouble that passes (throttling, a broken connection, the
// service's own faults) from what stays, like a stream that doesn't exist. A
// failed entry always may pass: its codes are throttling and internal failure.
func retryable(err error) bool {
	var entry *entryError
	return errors.As(err, &entry) || passing.IsErrorRetryable(err)
}

var passing = retry.NewStandard()

func (o Options) withDefaults() Options {
	setDefault(&o.BatchRecords, maxBatchRecords)
	setDefault(&o.BatchBytes, 5<<20)
	setDefault(&o.RecordBytes, min(1<<20, o.BatchBytes))
	setDefault(&o.Attempts, 10)
	setDefault(&o.BaseDelay, 100*time.Millisecond)
	setDefault(&o.MaxDelay, 5*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	return o
}

func (o Options) validate(stream string) error {
	var problems []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf("producer: "+format, args...))
		}
	}
	check(stream != "", "the stream has no name")
	check(o.BatchRecords >= 1 && o.BatchRecords <= maxBatchRecords, "BatchRecords is %d: must be 1 to %d", o.BatchRecords, maxBatchRecords)
	check(o.BatchBytes >= 1 && o.BatchBytes <= maxBatchBytes, "BatchBytes is %d: must be 1 to %d", o.BatchBytes, maxBatchBytes)
	check(o.RecordBytes >= 1 && o.RecordBytes <= min(maxRecordBytes, o.BatchBytes),
		"RecordBytes is %d: must be 1 to %d and at most BatchBytes, %d", o.RecordBytes, maxRecordBytes, o.BatchBytes)
	check(o.Attempts >= 1, "Attempts is %d: must be at least 1", o.Attempts)
	check(o.BaseDelay > 0, "BaseDelay is %v: must be positive", o.BaseDelay)
	check(o.MaxDelay >= o.BaseDelay, "MaxDelay is %v: must be at least BaseDelay, %v", o.MaxDelay, o.BaseDelay)
	check(o.Rate >= 0, "Rate is %v: must be at least 0", o.Rate)
	return errors.Join(problems...)
}

func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
