package producer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

// AWS's limits on PutRecords.
const (
	maxBatchRecords  = 500
	maxBatchBytes    = 10 << 20 // data and partition keys together
	maxRecordBytes   = 10 << 20 // a stream takes 1 MiB unless it is set to more
	maxKeyCharacters = 256
)

// API is what the producer needs of a Kinesis client.
type API interface {
	PutRecords(context.Context, *kinesis.PutRecordsInput, ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error)
}

var _ API = (*kinesis.Client)(nil)

// Record is a payload and what selects its shard.
type Record struct {
	// PartitionKey has 1 to 256 characters. Its MD5 selects the shard.
	PartitionKey string
	// ExplicitHashKey, if set, selects the shard instead: a decimal number from 0 to
	// 2^128-1.
	ExplicitHashKey string
	Data            []byte
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
	// Ordered keeps the order of a partition key's records: none is sent before the
	// one before it was acknowledged, so a call holds one of each key at most, and a
	// key gets one record through in the time that a call takes; with Aggregate, as
	// many as go into one. By default the failed records of a call are sent again
	// behind later ones.
	//
	// The first time that the stream takes each record is in order. A record whose
	// answer got lost is taken again, in its turn; if the call itself comes through
	// late, after later ones. And AWS promises rising sequence numbers only to
	// PutRecord with SequenceNumberForOrdering, not to puts in quick succession:
	// Stats.Inverted counts where the stream did otherwise.
	Ordered bool
	// Aggregate, if set, puts many records into each of the stream's, as the KPL
	// does: for small records that is cheaper and faster, and consumers need
	// batch.UserRecords, kit/kpl or the KCL. Its RecordBytes is the producer's. With
	// Ordered it needs the stream's Shards ([Shards]). Rate, Pending and all counts of
	// records are of those that were added.
	Aggregate *kpl.Options
	// Acknowledged, if set, is called after every call in which the stream took
	// records, with these records, just as they were added. It must not keep the
	// slice.
	Acknowledged func([]Record)
	// Refused, if set, takes the records that Run can't, as they break a limit.
	Refused func(Record, *RecordError)

	// Now, Sleep and Jitter stand in for the clock and chance in tests; nil
	// means time.Now, a timer that ends early with ctx, and rand.Float64.
	Now    func() time.Time
	Sleep  func(ctx context.Context, d time.Duration) error
	Jitter func() float64
}

// UnsentError says that the producer gave up. The records are still in it: a
// later Flush tries them again.
type UnsentError struct {
	// Records is how many records are in the producer.
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

// Stats are counts since the producer was made.
type Stats struct {
	// Added is how many records Add took, Acknowledged how many of them the stream
	// took; the others are pending.
	Added, Acknowledged int
	// Entries and Bytes are what the stream took: entries of PutRecords, of which an
	// aggregated one holds many records, and their data and partition keys.
	Entries, Bytes int
	// Calls is how many calls were made, and FailedCalls how many of them failed as a
	// whole.
	Calls, FailedCalls int
	// Throttled is how many entries were turned away because their shard was at its
	// limit, Failed how many for other reasons; Retried is how many were sent again,
	// after one or the other or a failed call.
	Throttled, Failed, Retried int
	// Inverted is how many entries the stream put before an earlier one of their key,
	// although that had been acknowledged: see Options.Ordered.
	Inverted int
	// Waited is how long the producer has waited, for Rate or to try again: the time
	// for which it held up whoever adds records.
	Waited time.Duration
}

// entry is a record of the stream: one that was added, or many, aggregated.
type entry struct {
	Record
	records int
	lane    string // what is kept in order
	sent    bool   // in a call before
}

// Producer collects records into batches and sends them. It isn't safe for
// concurrent use, but for Stats; Run is for many goroutines.
type Producer struct {
	api        API
	stream     string
	o          Options
	aggregator *kpl.Aggregator
	batch      []entry
	bytes      int
	nextSend   time.Time
	unpaced    int                  // records added since the last wait for Rate
	last       map[string]lastTaken // of the lanes in the batch, if ordered

	mu    sync.Mutex
	stats Stats
}

// lastTaken is where the stream put a lane's last entry.
type lastTaken struct{ shard, sequence string }

// New makes a producer for the named stream. The error names every invalid
// option.
func New(api API, stream string, o Options) (*Producer, error) {
	o = o.withDefaults()
	err := o.validate(stream)
	if api == nil {
		err = errors.Join(errors.New("producer: the client is nil"), err)
	}
	p := &Producer{api: api, stream: stream, o: o, last: map[string]lastTaken{}}
	if o.Aggregate != nil {
		settings := *o.Aggregate
		settings.RecordBytes = o.RecordBytes
		var aggregateErr error
		if p.aggregator, aggregateErr = kpl.NewAggregator(settings); aggregateErr != nil {
			err = errors.Join(err, fmt.Errorf("producer: Aggregate: %w", aggregateErr))
		}
	}
	if err != nil {
		return nil, err
	}
	if o.Rate > 0 {
		p.o.BatchRecords = max(1, int(min(o.Rate, float64(o.BatchRecords))))
	}
	return p, nil
}

// RecordError says that a record breaks a limit.
type RecordError struct{ Err error }

func (e *RecordError) Error() string { return "producer: " + e.Err.Error() }

func (e *RecordError) Unwrap() error { return e.Err }

// Add takes a record, after sending the batch if the record doesn't fit into it
// any more: that is how whoever adds records is held up by a stream that takes
// fewer. A record that breaks a limit is refused with a *RecordError, and one for
// which there is no room because sending failed with an *UnsentError; what was taken
// before stays. Add keeps Data until the stream has acknowledged it, unless it is
// aggregated.
func (p *Producer) Add(ctx context.Context, r Record) error {
	if err := p.check(r); err != nil {
		return &RecordError{err}
	}
	size := r.size()
	if p.aggregator != nil {
		size = p.o.RecordBytes // the most that an aggregated record can have
	}
	fits := func() bool { return len(p.batch) < p.o.BatchRecords && p.bytes+size <= p.o.BatchBytes }
	if !fits() && len(p.batch) > 0 {
		enough := fits
		if !p.o.Ordered {
			enough = func() bool { return len(p.batch) == 0 }
		}
		if err := p.drain(ctx, enough); err != nil {
			return err
		}
	}
	return p.take(r)
}

// check says what is wrong with a record.
func (p *Producer) check(r Record) error {
	var problems []error
	if n := utf8.RuneCountInString(r.PartitionKey); n == 0 || n > maxKeyCharacters {
		problems = append(problems, fmt.Errorf("the partition key has %d characters: must be 1 to %d", n, maxKeyCharacters))
	}
	if !utf8.ValidString(r.PartitionKey) {
		problems = append(problems, fmt.Errorf("the partition key %q isn't UTF-8: encode it, in base64 for example", r.PartitionKey))
	}
	if r.ExplicitHashKey != "" {
		_, err := kpl.NewHashRange(r.ExplicitHashKey, r.ExplicitHashKey)
		if err != nil || len(r.ExplicitHashKey) > 1 && r.ExplicitHashKey[0] == '0' {
			problems = append(problems, fmt.Errorf("the explicit hash key is %q: must be a decimal number from 0 to 2^128-1 without leading zeros, or nothing", r.ExplicitHashKey))
		}
	}
	if r.size() > p.o.RecordBytes {
		problems = append(problems, fmt.Errorf("the record has %d bytes with its partition key: must be at most %d", r.size(), p.o.RecordBytes))
	}
	return errors.Join(problems...)
}

// take takes a record for which there is room.
func (p *Producer) take(r Record) error {
	if p.aggregator == nil {
		p.push(entry{Record: r, records: 1, lane: r.PartitionKey})
	} else {
		full, err := p.aggregator.Add(r.PartitionKey, r.ExplicitHashKey, r.Data)
		if err != nil {
			return &RecordError{err}
		}
		p.pushAggregated(full)
	}
	p.unpaced++
	p.count(func(s *Stats) { s.Added++ })
	return nil
}

func (p *Producer) push(e entry) {
	p.batch = append(p.batch, e)
	p.bytes += e.size()
}

func (p *Producer) pushAggregated(all ...*kpl.Aggregated) {
	for _, a := range all {
		if a != nil {
			r := Record{PartitionKey: a.PartitionKey, ExplicitHashKey: a.ExplicitHashKey, Data: a.Data}
			p.push(entry{Record: r, records: a.Records, lane: strconv.Itoa(a.Shard)})
		}
	}
}

// Flush sends what was added and returns when the stream has acknowledged all of
// it. The error is an *UnsentError; it wraps the error of ctx if that ended.
func (p *Producer) Flush(ctx context.Context) error {
	if p.aggregator != nil {
		p.pushAggregated(p.aggregator.Flush()...)
	}
	if len(p.batch) == 0 {
		return nil
	}
	return p.drain(ctx, func() bool { return len(p.batch) == 0 })
}

// drain makes calls until it is enough and the last one left nothing over.
func (p *Producer) drain(ctx context.Context, enough func() bool) error {
	if err := p.pace(ctx); err != nil {
		return p.unsent(err)
	}
	for call, attempt := 1, 1; ; call, attempt = call+1, attempt+1 {
		before := len(p.batch)
		err := p.send(ctx)
		switch {
		case err == nil && enough():
			return nil
		case err == nil:
			call, attempt = 0, 0 // there was more than goes into one
			continue
		case len(p.batch) < before:
			attempt = 1
		}
		if attempt == p.o.Attempts || ctx.Err() != nil || !retryable(err) {
			return p.unsent(err)
		}
		ceiling := min(float64(p.o.BaseDelay)*float64(uint64(1)<<min(call-1, 40)), float64(p.o.MaxDelay))
		if sleepErr := p.wait(ctx, time.Duration(p.o.Jitter()*ceiling)); sleepErr != nil {
			return p.unsent(errors.Join(sleepErr, err))
		}
	}
}

// Run adds the records that come out of a channel, which any number of goroutines
// may send to, until it is closed, and then flushes. A batch that isn't full is sent
// when its first record has waited for linger, 0 or more. The channel's capacity and a
// batch are all that is ever kept: when the stream takes fewer records than are sent,
// the senders wait.
//
// A record that breaks a limit goes to Options.Refused; without it Run ends with its
// *RecordError. Another error is an *UnsentError: the records, also the one that was
// taken from the channel last, are still in the producer, and Flush or Run tries again.
// If ctx ends while nothing is left, its error is returned as it is.
func (p *Producer) Run(ctx context.Context, records <-chan Record, linger time.Duration) error {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	if p.Pending() == 0 {
		timer.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			if p.Pending() == 0 {
				return ctx.Err()
			}
			return p.unsent(ctx.Err())
		case <-timer.C:
			if err := p.Flush(ctx); err != nil {
				return err
			}
		case r, open := <-records:
			if !open {
				return p.Flush(ctx)
			}
			empty := p.Pending() == 0
			err := p.Add(ctx, r)
			if refused := (*RecordError)(nil); errors.As(err, &refused) && p.o.Refused != nil {
				p.o.Refused(r, refused)
				continue
			} else if errors.As(err, &refused) {
				return err
			}
			if err != nil {
				if takeErr := p.take(r); takeErr != nil {
					return errors.Join(takeErr, err)
				}
				return p.unsent(errors.Unwrap(err))
			}
			if empty {
				timer.Reset(linger)
			}
		}
	}
}

// Acknowledged is how many records the stream has taken.
func (p *Producer) Acknowledged() int { return p.Stats().Acknowledged }

// Pending is how many records the stream hasn't taken yet.
func (p *Producer) Pending() int {
	s := p.Stats()
	return s.Added - s.Acknowledged
}

// Stats are the counts so far. It may be called at any time.
func (p *Producer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

func (p *Producer) count(f func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.stats)
}

// pace waits for the batch's turn. The waiting time grows by what every record
// is worth; time in which nothing was sent isn't caught up on.
func (p *Producer) pace(ctx context.Context) error {
	if p.o.Rate == 0 {
		return nil
	}
	now := p.o.Now()
	if wait := p.nextSend.Sub(now); wait > 0 {
		if err := p.wait(ctx, wait); err != nil {
			return err
		}
		now = p.nextSend
	}
	p.nextSend = now.Add(time.Duration(float64(p.unpaced) / p.o.Rate * float64(time.Second)))
	p.unpaced = 0
	return nil
}

func (p *Producer) wait(ctx context.Context, d time.Duration) error {
	began := p.o.Now()
	err := p.o.Sleep(ctx, d)
	p.count(func(s *Stats) { s.Waited += p.o.Now().Sub(began) })
	return err
}

// next are the indexes of the entries that go into the next call: the first ones of
// the batch, or, if ordered, the first one of each lane.
func (p *Producer) next() []int {
	var indexes []int
	bytes := 0
	lanes := map[string]bool{}
	for i := range p.batch {
		e := &p.batch[i]
		if p.o.Ordered {
			if lanes[e.lane] {
				continue
			}
			lanes[e.lane] = true
		}
		if len(indexes) > 0 && bytes+e.size() > p.o.BatchBytes {
			break
		}
		indexes = append(indexes, i)
		if bytes += e.size(); len(indexes) == p.o.BatchRecords {
			break
		}
	}
	return indexes
}

// send makes one call and keeps in the batch what the stream didn't take. The
// error is nil only if it took all of the call.
func (p *Producer) send(ctx context.Context) error {
	indexes := p.next()
	in := &kinesis.PutRecordsInput{StreamName: aws.String(p.stream), Records: make([]types.PutRecordsRequestEntry, len(indexes))}
	retried := 0
	for n, i := range indexes {
		e := &p.batch[i]
		in.Records[n] = types.PutRecordsRequestEntry{PartitionKey: aws.String(e.PartitionKey), Data: e.Data}
		if e.ExplicitHashKey != "" {
			in.Records[n].ExplicitHashKey = aws.String(e.ExplicitHashKey)
		}
		if e.sent {
			retried++
		}
		e.sent = true
	}
	out, err := p.api.PutRecords(ctx, in)
	if err == nil && len(out.Records) != len(indexes) {
		err = fmt.Errorf("PutRecords answered %d entries for %d records", len(out.Records), len(indexes))
	}
	if err != nil {
		p.count(func(s *Stats) { s.Calls++; s.FailedCalls++; s.Retried += retried })
		return err
	}

	change := Stats{Calls: 1, Retried: retried}
	taken := make([]bool, len(p.batch))
	var acknowledged []Record
	for n, i := range indexes {
		e, result := &p.batch[i], &out.Records[n]
		if code := aws.ToString(result.ErrorCode); code != "" {
			err = &entryError{code: code, message: aws.ToString(result.ErrorMessage)}
			if code == throttled {
				change.Throttled++
			} else {
				change.Failed++
			}
			continue
		}
		taken[i] = true
		change.Acknowledged += e.records
		change.Entries++
		change.Bytes += e.size()
		if p.o.Ordered && p.inverted(e.lane, result) {
			change.Inverted++
		}
		if p.o.Acknowledged != nil {
			acknowledged = e.appendTo(acknowledged, p.aggregator != nil)
		}
	}
	p.keep(taken)
	p.count(func(s *Stats) {
		s.Calls += change.Calls
		s.Retried += change.Retried
		s.Throttled += change.Throttled
		s.Failed += change.Failed
		s.Acknowledged += change.Acknowledged
		s.Entries += change.Entries
		s.Bytes += change.Bytes
		s.Inverted += change.Inverted
	})
	if len(acknowledged) > 0 {
		p.o.Acknowledged(acknowledged)
	}
	return err
}

// keep drops from the batch what was taken.
func (p *Producer) keep(taken []bool) {
	left := p.batch[:0]
	p.bytes = 0
	lanes := map[string]bool{}
	for i := range p.batch {
		if e := p.batch[i]; !taken[i] {
			left = append(left, e)
			p.bytes += e.size()
			if p.o.Ordered {
				lanes[e.lane] = true
			}
		}
	}
	clear(p.batch[len(left):]) // lets go of their data
	p.batch = left
	maps.DeleteFunc(p.last, func(lane string, _ lastTaken) bool { return !lanes[lane] })
}

// inverted notes where an entry was put, and says if that is before the one of its
// lane that was acknowledged before.
func (p *Producer) inverted(lane string, result *types.PutRecordsResultEntry) bool {
	now := lastTaken{aws.ToString(result.ShardId), aws.ToString(result.SequenceNumber)}
	before, known := p.last[lane]
	p.last[lane] = now
	if !known || before.shard != now.shard {
		return false
	}
	return cmp.Or(cmp.Compare(len(now.sequence), len(before.sequence)), cmp.Compare(now.sequence, before.sequence)) < 0
}

// appendTo appends the records that were added.
func (e *entry) appendTo(all []Record, aggregated bool) []Record {
	if !aggregated {
		return append(all, e.Record)
	}
	records, _ := kpl.Split(e.Data, nil) // we made it
	for i := range records {
		r := &records[i]
		all = append(all, Record{PartitionKey: string(r.PartitionKey), ExplicitHashKey: string(r.ExplicitHashKey), Data: r.Data})
	}
	return all
}

func (p *Producer) unsent(err error) error {
	unsent := &UnsentError{Records: p.Pending(), Err: err}
	if api := smithy.APIError(nil); errors.As(err, &api) {
		unsent.Code = api.ErrorCode()
	}
	return unsent
}

const throttled = "ProvisionedThroughputExceededException"

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
	check(!o.Ordered || o.Aggregate == nil || len(o.Aggregate.Shards) > 0,
		"Ordered and Aggregate without Shards: give the stream's, or records of a key end in different ones")
	check(o.Aggregate == nil || o.Aggregate.RecordBytes == 0 || o.Aggregate.RecordBytes == o.RecordBytes,
		"Aggregate.RecordBytes isn't the producer's RecordBytes, %d: leave it out", o.RecordBytes)
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
