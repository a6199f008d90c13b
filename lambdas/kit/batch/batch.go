// Package batch works off the batches that an event source mapping hands to a
// function, record by record, key by key, or window by window.
//
// A handler says what to do with a record; the batch knows what Lambda makes of
// the answer. Records of one key are worked off in order. What fails is retried
// from the first failed record on, so that nothing is lost and little is done
// twice; what can never succeed ([Permanent]) is set aside and doesn't hold up its
// shard. A panic is its record's failure. Shortly before the function's timeout
// the batch stops and answers how far it came.
//
// The mapping has to expect partial answers (ReportBatchItemFailures), as those of
// the consumer construct do by default: one that doesn't takes them for success.
package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Options of a handler. The zero value is good.
type Options struct {
	// Concurrency is how many keys are in work at once, 1 by default and if it is less;
	// records of one key never are.
	Concurrency int
	// KeepGoing goes on with the other keys after a failure. They are done again when
	// the batch is retried, so the handler's effects must bear repeating; but a key
	// that fails for a while doesn't keep the others from being up to date. By
	// default nothing is begun that lies behind the first failure.
	KeepGoing bool
	// Rejects takes the records that fail for good (Permanent). Without it they fail
	// like the others and end, after all retries, in the mapping's failure
	// destination.
	Rejects Rejects
	// Log takes one line a batch and one for each failure; nil means slog.Default().
	// It never gets a record's data.
	Log *slog.Logger
}

// Rejects sets records aside, for example in a bucket.
type Rejects interface {
	// Write keeps the record. After an error it counts as failed.
	Write(ctx context.Context, r Rejected) error
}

// Rejected is a record that is set aside.
type Rejected struct {
	EventSourceARN string `json:"eventSourceARN"`
	// ShardID is the record's shard. An event of a table's stream doesn't name it:
	// there it is the event's id, which is unique in the stream.
	ShardID        string `json:"shardId"`
	SequenceNumber string `json:"sequenceNumber"`
	// SubSequenceNumber is the record's index in the aggregated one that it came in.
	SubSequenceNumber int `json:"subSequenceNumber,omitempty"`
	// PartitionKey is the record's, or the changed item's key as JSON.
	PartitionKey string `json:"partitionKey"`
	// ApproximateArrivalTimestamp is when the stream took the record.
	ApproximateArrivalTimestamp time.Time `json:"approximateArrivalTimestamp"`
	// Reason says what is wrong. It is logged, so it must not quote Data.
	Reason string `json:"reason"`
	// Data is the raw payload, base64 in JSON. Of a table's stream it is the change as
	// JSON.
	Data []byte `json:"data"`
}

// Permanent says that a record can never succeed, however often it is retried.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// At says that the i-th record of the slice that a handler got failed with err.
// Several of them can be joined with errors.Join; records that no At names have
// succeeded.
func At(i int, err error) error {
	if err == nil {
		return nil
	}
	return &at{i, err}
}

type at struct {
	index int
	error
}

func (a *at) Unwrap() error { return a.error }

// Each is a handler that calls f for every record, those of a key in order.
func Each[R any](s Source[R], f func(ctx context.Context, record R) error, o Options) lambda.Handler {
	h := newHandler(s, o, s.key, true, func(ctx context.Context, records []R) error { return f(ctx, records[0]) })
	return guard(h, s, f == nil, o)
}

// Keys is a handler that calls f once for all records of a key in the batch, in
// order. By is the key, nil for the partition key or the item's key; records of one
// partition key must have the same. An error that is no [At] fails all of them. f may
// reorder and change the records; At counts them as they came, and what is set aside
// is what f left.
func Keys[R any](s Source[R], by func(R) string, f func(ctx context.Context, records []R) error, o Options) lambda.Handler {
	key := s.key
	if by != nil {
		key = func(r *R) string { return by(*r) }
	}
	return guard(newHandler(s, o, key, false, f), s, f == nil, o)
}

type handler[R any] struct {
	Options
	source Source[R]
	key    func(*R) string
	single bool // f takes one record
	f      func(context.Context, []R) error
}

func newHandler[R any](s Source[R], o Options, key func(*R) string, single bool, f func(context.Context, []R) error) *handler[R] {
	return &handler[R]{Options: o, source: s, key: key, single: single, f: f}
}

// group are the records of a key: those of order[from:to].
type group struct{ from, to int }

// run is one batch in work.
type run[R any] struct {
	*handler[R]
	log     *slog.Logger
	records []R   // by group
	at      []int // their positions in the event
	// sequences are the event's sequence numbers. A handler may do with its records
	// what it likes.
	sequences []string

	mu       sync.Mutex
	lowest   atomic.Int64 // position of the first failure
	err      error        // what it was
	failures int
	rejected int
}

// Invoke implements [lambda.Handler].
func (h *handler[R]) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	records, window, err := h.source.read(payload)
	if err != nil {
		return nil, err
	}
	if !window.Start.IsZero() {
		return nil, errors.New("batch: the mapping has a tumbling window, whose state this handler would lose: use Windows")
	}
	return h.work(ctx, records)
}

func (h *handler[R]) work(ctx context.Context, records []R) ([]byte, error) {
	ctx, cancel := inTime(ctx)
	defer cancel()
	r := h.begin(ctx, records)
	if len(records) > 0 && h.source.shard != nil {
		r.log = r.log.With("shardId", h.source.shard(&records[0]))
	}
	groups := r.group()
	if h.single && h.Concurrency <= 1 {
		r.inOrder(ctx)
	} else {
		r.byKey(ctx, groups)
	}

	first := int(r.lowest.Load())
	attributes := []any{"records", len(records), "keys", len(groups), "rejected", r.rejected, "failures", r.failures}
	if len(records) > 0 {
		attributes = append(attributes, "from", r.sequences[0], "to", r.sequences[len(records)-1])
	}
	r.log.InfoContext(ctx, "batch", attributes...)
	switch {
	case first == len(records):
		return []byte(`{"batchItemFailures":[]}`), nil
	case r.sequences[first] == r.sequences[0]:
		// Lambda retries the whole batch, as it would after a partial answer that names
		// the first record. But only an error makes it split the batch, at no cost in
		// retries, until a record that can't get through is alone; and only an error
		// counts in the function's Errors metric.
		return nil, fmt.Errorf("the batch has to be retried from its first record (failures: %d): %w", r.failures, r.err)
	}
	sequence := r.sequences[first]
	r.log.ErrorContext(ctx, "records failed: the batch is retried from here", "sequenceNumber", sequence, "failures", r.failures, "error", r.err.Error())
	return []byte(`{"batchItemFailures":[{"itemIdentifier":"` + sequence + `"}]}`), nil
}

// begin is a batch in work whose records are as in the event.
func (h *handler[R]) begin(ctx context.Context, records []R) *run[R] {
	n := len(records)
	r := &run[R]{handler: h, log: logger(ctx, h.Log), records: records, at: make([]int, n), sequences: make([]string, n)}
	for i := range records {
		r.at[i], r.sequences[i] = i, h.source.sequence(&records[i])
	}
	r.lowest.Store(int64(n))
	return r
}

// group sorts the records by key, the keys as they come and each key's records in
// order.
func (r *run[R]) group() []group {
	numbers := make(map[string]int, 64)
	of := make([]int, len(r.records))
	var groups []group
	for i := range r.records {
		key := r.key(&r.records[i])
		n, known := numbers[key]
		if !known {
			n = len(groups)
			numbers[key] = n
			groups = append(groups, group{})
		}
		of[i] = n
		groups[n].to++
	}
	if len(groups) == len(r.records) || r.single && r.Concurrency <= 1 {
		// There is nothing to sort.
		for n := range groups {
			groups[n] = group{n, n + 1}
		}
		return groups
	}
	begin := 0
	for n := range groups {
		size := groups[n].to
		groups[n] = group{begin, begin}
		begin += size
	}
	for i, n := range of {
		g := &groups[n]
		r.at[g.to] = i
		g.to++
	}
	r.sort()
	return groups
}

// sort puts the records, which come as in the event, where they belong. Records are
// large: it moves each once, without room for a second batch.
func (r *run[R]) sort() {
	moved := make([]bool, len(r.records))
	for begin := range r.records {
		if moved[begin] || r.at[begin] == begin {
			continue
		}
		first := r.records[begin]
		to := begin
		for from := r.at[to]; from != begin; to, from = from, r.at[from] {
			r.records[to], moved[to] = r.records[from], true
		}
		r.records[to], moved[to] = first, true
	}
}

// inOrder works the records off one after the other, as they came.
func (r *run[R]) inOrder(ctx context.Context) {
	var failed map[string]bool // keys; nothing of theirs is done after a failure
	for i := range r.records {
		if ctx.Err() != nil {
			r.fail(i, context.Cause(ctx))
			return
		}
		if failed != nil && failed[r.key(&r.records[i])] || r.one(ctx, i) {
			continue
		}
		if !r.KeepGoing {
			return
		}
		if failed == nil {
			failed = map[string]bool{}
		}
		failed[r.key(&r.records[i])] = true
	}
}

// byKey works the groups off, some at once.
func (r *run[R]) byKey(ctx context.Context, groups []group) {
	workers := max(1, min(r.Concurrency, len(groups)))
	if workers == 1 {
		for _, g := range groups {
			r.all(ctx, g)
		}
		return
	}
	var next atomic.Int64
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(groups) {
					return
				}
				r.all(ctx, groups[n])
			}
		})
	}
	working.Wait()
}

// all works the records of a key off.
func (r *run[R]) all(ctx context.Context, g group) {
	if !r.KeepGoing {
		// What lies behind the first failure is retried anyway.
		for g.to > g.from && r.at[g.to-1] > int(r.lowest.Load()) {
			g.to--
		}
	}
	if g.from == g.to {
		return
	}
	if ctx.Err() != nil {
		r.fail(r.at[g.from], context.Cause(ctx))
		return
	}
	if !r.single {
		err := r.call(ctx, r.f, g)
		r.settle(ctx, err, g)
		return
	}
	for i := g.from; i < g.to; i++ {
		if ctx.Err() != nil {
			r.fail(r.at[i], context.Cause(ctx))
			return
		}
		if !r.one(ctx, i) {
			return
		}
	}
}

// one works the i-th of r.records off and reports whether it is done with.
func (r *run[R]) one(ctx context.Context, i int) bool {
	err := r.call(ctx, r.f, group{i, i + 1})
	if err == nil {
		return true
	}
	return r.record(ctx, i, err)
}

// settle takes in what came of a key's records.
func (r *run[R]) settle(ctx context.Context, err error, g group) {
	if err == nil {
		return
	}
	named, others := split(err)
	for _, a := range named {
		if a.index < 0 || a.index >= g.to-g.from {
			others = errors.Join(others, fmt.Errorf("batch.At(%d, …) of %d records: %v", a.index, g.to-g.from, a.error)) // %v: nothing is set aside for it
			continue
		}
		r.record(ctx, g.from+a.index, a.error)
	}
	if others == nil {
		return
	}
	if !isPermanent(others) || r.Rejects == nil {
		r.fail(r.at[g.from], others)
		return
	}
	for i := g.from; i < g.to; i++ {
		r.record(ctx, i, others)
	}
}

// record deals with a failed record and reports whether it is done with.
func (r *run[R]) record(ctx context.Context, i int, err error) bool {
	if r.Rejects != nil && isPermanent(err) {
		problem := r.reject(ctx, i, err)
		if problem == nil {
			r.mu.Lock()
			r.rejected++
			r.mu.Unlock()
			return true
		}
		err = errors.Join(problem, err)
	}
	r.fail(r.at[i], err)
	return false
}

// reject sets a record aside. A panic is an error, and the record stays.
func (r *run[R]) reject(ctx context.Context, i int, err error) (problem error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.ErrorContext(ctx, "setting a record aside panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			problem = fmt.Errorf("batch: Rejects panicked: %v", p)
		}
	}()
	rejected := r.source.rejected(&r.records[i])
	rejected.Reason = err.Error()
	return r.Rejects.Write(ctx, rejected)
}

// fail notes that everything from a position on has to be retried.
func (r *run[R]) fail(position int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures++
	if int64(position) < r.lowest.Load() {
		r.lowest.Store(int64(position))
		r.err = err
	}
}

// call calls f; a panic is an error.
func (r *run[R]) call(ctx context.Context, f func(context.Context, []R) error, g group) (err error) {
	defer func() {
		if p := recover(); p != nil {
			var sequence string
			if g.from < g.to {
				sequence = r.sequences[r.at[g.from]]
			}
			r.log.ErrorContext(ctx, "the handler panicked", "panic", fmt.Sprint(p), "sequenceNumber", sequence, "stack", string(debug.Stack()))
			err = fmt.Errorf("the handler panicked: %v", p)
		}
	}()
	return f(ctx, r.records[g.from:g.to:g.to])
}

// split takes the errors that name a record out of a joined one.
func split(err error) (named []*at, others error) {
	switch e := err.(type) { //nolint:errorlint // only At and Join themselves count
	case *at:
		return []*at{e}, nil
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			n, o := split(inner)
			named, others = append(named, n...), errors.Join(others, o)
		}
		return named, others
	}
	return nil, err
}

func isPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

// errOutOfTime is why a batch stops before it is worked off.
var errOutOfTime = errors.New("the function's time is nearly over")

// inTime ends shortly before the deadline of ctx (a tenth of the time left, at
// most 1 s), so that the function can still answer how far it came: killed at the
// deadline, it would have to do the whole batch again.
func inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	margin := min(time.Second, time.Until(deadline)/10)
	return context.WithDeadlineCause(ctx, deadline.Add(-margin), errOutOfTime)
}

// logger adds the request's id.
func logger(ctx context.Context, log *slog.Logger) *slog.Logger {
	if log == nil {
		log = slog.Default()
	}
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		log = log.With("requestId", lc.AwsRequestID)
	}
	return log
}
