package esmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/local/esm"
)

// closedIsRead is the test without which records have to be dealt with before their
// shard is closed.
const closedIsRead = "a closed shard is read to its end"

// mappingTests are what a mapping must do over a source.
func mappingTests() []suiteTest {
	return []suiteTest{
		{"a mapping hands over everything once, each key in order", nil, everything},
		{"a mapping from LATEST hands over what comes after", nil, mappingLatest},
		{"a mapping from AT_TIMESTAMP hands over what arrived then", kinesisOnly, mappingTimestamp},
		{"keys stay in order through splits and merges", resharderOnly, reshard},
		{"a batch ends at its size, or with its window", nil, batches},
		{"batches of one shard are in work at once, each key in order", nil, parallel},
		{"a batch that fails is tried again, and reported", nil, retries},
		{"bisecting isolates a poison record", nil, bisect},
		{"a partial answer goes on at the lowest record", nil, partial},
		{"records that are too old are reported", nil, tooOld},
		{"a report is sent until the destination takes it", nil, destinationAway},
		{"a window's state is carried to its last invocation", nil, windows},
		{"a disabled stream ends its window, and is drained", tableOnly, windowAtTheEnd},
		{"a mapping goes on where one stopped", nil, resume},
		{"a mapping from LATEST that goes on skips nothing", nil, resumeLatest},
	}
}

// settings are those of a mapping on the stream, without limits of retries and age.
func (e *env) settings(change ...func(*esm.Settings)) *esm.Settings {
	e.Helper()
	s := &esm.Settings{
		UUID: "00000000-0000-0000-0000-000000000001", Kind: e.Kind(), SourceARN: e.ARN(), Region: "us-east-1",
		FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:suite", RoleARN: "arn:aws:iam::000000000000:role/suite",
		Start: trimHorizon, BatchSize: 20, Parallelization: 1, MaximumRetryAttempts: esm.Unlimited, MaximumRecordAge: esm.Unlimited,
	}
	for _, f := range change {
		f(s)
	}
	e.must(s.Validate())
	return s
}

func reporting(s *esm.Settings) { s.OnFailure = "arn:aws:s3:::failures" }

// running is a mapping at work, its function and its destination.
type running struct {
	*esm.Mapping
	e    *env
	stop func()

	mu       sync.Mutex
	answer   func(*esm.Batch) esm.Outcome
	send     func(*esm.Task) error
	batches  []*esm.Batch
	applied  []string // the data of batches that succeeded
	reported []*esm.Task
	last     map[string]int // by key: number of its last record that was applied
	read     map[string]bool
}

// run starts a mapping. A nil answer is that of a function that always succeeds.
func (e *env) run(s *esm.Settings, answer func(*esm.Batch) esm.Outcome, change ...func(*esm.Options)) *running {
	e.Helper()
	r := &running{e: e, answer: answer, last: map[string]int{}, read: map[string]bool{}}
	options := esm.Options{
		Source: &watched{e.Stream, r}, Function: r, OnFailure: r, Poll: 5 * time.Millisecond, Discover: 20 * time.Millisecond,
	}
	for _, f := range change {
		f(&options)
	}
	var err error
	r.Mapping, err = esm.New(s, options)
	e.must(err)
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	return r
}

// watched tells which shards were read.
type watched struct {
	Stream
	r *running
}

func (w *watched) Iterator(ctx context.Context, shard string, from esm.Position, after string) (string, error) {
	iterator, err := w.Stream.Iterator(ctx, shard, from, after)
	if err == nil {
		w.r.mu.Lock()
		defer w.r.mu.Unlock()
		w.r.read[shard] = true
	}
	return iterator, err
}

// begun waits until all shards are being read.
func (r *running) begun() {
	r.e.Helper()
	n := len(r.e.shards())
	r.e.eventually("all shards are read", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.read) == n
	})
}

// Invoke implements [esm.Function].
func (r *running) Invoke(_ context.Context, b *esm.Batch) esm.Outcome {
	outcome := esm.Outcome{}
	if r.answer != nil {
		outcome = r.answer(b)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, b)
	if outcome.FunctionError != "" || outcome.Err != nil {
		return outcome
	}
	good := b.Records
	for i := range good {
		if strings.Contains(string(outcome.Payload), good[i].Sequence) {
			good = good[:i]
			break
		}
	}
	r.apply(good)
	return outcome
}

// apply notes what was dealt with, and that the keys are in order.
func (r *running) apply(records []esm.Record) {
	for i := range records {
		data := r.e.data(&records[i])
		r.applied = append(r.applied, data)
		key, number, _ := strings.Cut(data, " ")
		var n int
		if _, err := fmt.Sscan(number, &n); err == nil {
			if n <= r.last[key] {
				r.e.Errorf("%q comes after %d", data, r.last[key])
			}
			r.last[key] = n
		}
	}
}

// Send implements [esm.Destination].
func (r *running) Send(_ context.Context, task *esm.Task) error {
	if r.send != nil {
		if err := r.send(task); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reported = append(r.reported, task)
	return nil
}

// settled waits until so many records were applied and reported, and none waits.
func (r *running) settled(n int) {
	r.e.Helper()
	r.e.eventually(fmt.Sprint(n, " records are dealt with"), func() bool {
		r.mu.Lock()
		got := len(r.applied)
		for _, task := range r.reported {
			got += len(task.Records)
		}
		r.mu.Unlock()
		if got < n {
			return false
		}
		return !slices.ContainsFunc(r.Status(), func(s esm.Status) bool { return s.Waiting > 0 })
	})
}

// counts sums up the shards' metrics.
func (r *running) counts() (sum esm.Counts) {
	for _, s := range r.Status() {
		sum.PolledEventCount += s.PolledEventCount
		sum.InvokedEventCount += s.InvokedEventCount
		sum.FailedInvokeEventCount += s.FailedInvokeEventCount
		sum.OnFailureDestinationDeliveredEventCount += s.OnFailureDestinationDeliveredEventCount
		sum.DestinationDeliveryFailures += s.DestinationDeliveryFailures
		sum.Invocations += s.Invocations
		sum.Errors += s.Errors
	}
	return sum
}

// fails is a function that fails on a batch that holds data.
func (e *env) fails(data string) func(*esm.Batch) esm.Outcome {
	return func(b *esm.Batch) esm.Outcome {
		if slices.Contains(e.dataOf(b.Records), data) {
			return esm.Outcome{FunctionError: "Unhandled", ExecutedVersion: "$LATEST", RequestID: "request"}
		}
		return esm.Outcome{}
	}
}

func without(all []string, data string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(d string) bool { return d == data })
}

func everything(e *env) {
	want := e.fill(200, 10)
	r := e.run(e.settings(), nil)
	defer r.stop()
	r.settled(200)
	want = append(want, e.fillMore(100, 10, 20)...)
	r.settled(300)
	e.same("records", r.applied, want)
	for _, b := range r.batches {
		if len(b.Records) > 20 || b.Shard == "" {
			e.Errorf("a batch of %d from %q", len(b.Records), b.Shard)
		}
	}
	c := r.counts()
	if c.PolledEventCount != 300 || c.InvokedEventCount != 300 || c.FailedInvokeEventCount != 0 || c.Invocations != int64(len(r.batches)) {
		e.Errorf("counts %+v after %d invocations", c, len(r.batches))
	}
}

// fillMore is fill for keys that have so many records.
func (e *env) fillMore(n, keys, have int) []string {
	e.Helper()
	var all []string
	for i := range n {
		key := fmt.Sprint("key-", i%keys)
		data := fmt.Sprintf("%s %d", key, have+i/keys+1)
		e.must(e.Put(key, []byte(data)))
		all = append(all, data)
	}
	return all
}

func mappingLatest(e *env) {
	e.fill(20, 10)
	r := e.run(e.settings(func(s *esm.Settings) { s.Start = esm.Position{Type: "LATEST"} }), nil)
	defer r.stop()
	r.begun()
	want := e.fillMore(20, 10, 2)
	r.settled(20)
	e.same("records", r.applied, want)
}

func mappingTimestamp(e *env) {
	e.fill(20, 10)
	time.Sleep(20 * time.Millisecond)
	then := time.Now()
	time.Sleep(20 * time.Millisecond)
	want := e.fillMore(20, 10, 2)
	r := e.run(e.settings(func(s *esm.Settings) { s.Start = esm.Position{Type: "AT_TIMESTAMP", Time: then} }), nil)
	defer r.stop()
	r.settled(20)
	e.same("records", r.applied, want)
}

func reshard(e *env) {
	r := e.run(e.settings(func(s *esm.Settings) { s.BatchSize, s.Parallelization = 3, 2 }), func(*esm.Batch) esm.Outcome {
		time.Sleep(time.Millisecond) // so that parents have something left
		return esm.Outcome{}
	})
	defer r.stop()
	var want []string
	for round := range 6 {
		want = append(want, e.fillMore(60, 15, 4*round)...)
		if e.deviates(closedIsRead) {
			r.settled(len(want))
		}
		if round%2 == 0 {
			e.split()
		} else {
			e.merge()
		}
	}
	want = append(want, e.fillMore(60, 15, 24)...)
	r.settled(len(want))
	e.same("records", r.applied, want)
	drained := 0
	e.eventually("parents are drained", func() bool {
		drained = 0
		for _, s := range r.Status() {
			if s.Drained {
				drained++
			}
		}
		return drained == 3+3*2
	})
}

func batches(e *env) {
	want := e.fill(7, 1)
	r := e.run(e.settings(func(s *esm.Settings) { s.BatchSize, s.Window = 3, time.Second }), nil)
	defer r.stop()
	r.settled(7)
	var sizes []int
	for _, b := range r.batches {
		sizes = append(sizes, len(b.Records))
	}
	if !slices.Equal(sizes, []int{3, 3, 1}) || !slices.Equal(r.applied, want) {
		e.Errorf("batches of %v: %q", sizes, r.applied)
	}
}

func parallel(e *env) {
	want := e.fill(120, 40)
	var mu sync.Mutex
	inWork := map[string]int{}
	both := make(chan struct{})
	var once sync.Once
	r := e.run(e.settings(func(s *esm.Settings) { s.Parallelization = 4 }), func(b *esm.Batch) esm.Outcome {
		mu.Lock()
		inWork[b.Shard]++
		if inWork[b.Shard] == 2 {
			once.Do(func() { close(both) })
		}
		mu.Unlock()
		select {
		case <-both:
		case <-e.ctx.Done():
		}
		mu.Lock()
		inWork[b.Shard]--
		mu.Unlock()
		return esm.Outcome{}
	})
	defer r.stop()
	r.settled(120)
	e.same("records", r.applied, want)
}

func retries(e *env) {
	want := e.fill(10, 1)
	const poison = "key-0 7"
	r := e.run(e.settings(reporting, func(s *esm.Settings) { s.BatchSize, s.MaximumRetryAttempts = 5, 2 }), e.fails(poison))
	defer r.stop()
	r.settled(10)
	e.same("applied records", r.applied, want[:5])
	if len(r.reported) != 1 || len(r.batches) != 4 {
		e.Fatalf("%d reports of %d invocations", len(r.reported), len(r.batches))
	}
	task := r.reported[0]
	e.same("reported records", e.dataOf(task.Records), want[5:])
	f, info := task.Failure, task.Failure.Kinesis
	if e.Kind() == esm.DynamoDB {
		info = task.Failure.DynamoDB
	}
	if c := f.RequestContext; c.Condition != "RetryAttemptsExhausted" || c.ApproximateInvokeCount != 3 || c.RequestID != "request" ||
		*f.ResponseContext.FunctionError != "Unhandled" || f.ResponseContext.ExecutedVersion != "$LATEST" {
		e.Errorf("%+v %+v", f.RequestContext, f.ResponseContext)
	}
	if info.ShardID != task.Shard || info.StreamARN != e.ARN() || info.BatchSize != 5 || info.Start != task.Records[0].Sequence || info.End != task.Records[4].Sequence {
		e.Errorf("%+v", info)
	}
	var object struct{ Payload string }
	_, body := f.Object("mapping", task.Shard, "id", task.Payload())
	e.must(json.Unmarshal(body, &object))
	if object.Payload != string(r.batches[1].Payload()) {
		e.Errorf("the object holds %s", object.Payload)
	}
	if c := r.counts(); c.OnFailureDestinationDeliveredEventCount != 5 || c.Errors != 3 || c.FailedInvokeEventCount != 15 {
		e.Errorf("counts %+v", c)
	}
}

func bisect(e *env) {
	want := e.fill(16, 1)
	const poison = "key-0 6"
	r := e.run(e.settings(reporting, func(s *esm.Settings) { s.Bisect, s.MaximumRetryAttempts = true, 1 }), e.fails(poison))
	defer r.stop()
	r.settled(16)
	e.same("applied records", r.applied, without(want, poison))
	if len(r.reported) != 1 || len(r.reported[0].Records) != 1 || e.data(&r.reported[0].Records[0]) != poison || r.reported[0].Failure.RequestContext.ApproximateInvokeCount != 2 {
		e.Errorf("reports: %+v", r.reported)
	}
}

func partial(e *env) {
	want := e.fill(12, 1)
	const poison = "key-0 5"
	r := e.run(e.settings(reporting, func(s *esm.Settings) { s.Partial, s.Bisect, s.MaximumRetryAttempts = true, true, 1 }), func(b *esm.Batch) esm.Outcome {
		for i := range b.Records {
			if e.data(&b.Records[i]) == poison {
				// Also one that comes later: the lowest counts.
				last := b.Records[len(b.Records)-1].Sequence
				return esm.Outcome{Payload: fmt.Appendf(nil, `{"batchItemFailures":[{"itemIdentifier":%q},{"itemIdentifier":%q}]}`, last, b.Records[i].Sequence)}
			}
		}
		return esm.Outcome{Payload: []byte(`{"batchItemFailures":[]}`)}
	})
	defer r.stop()
	r.settled(12)
	e.same("applied records", r.applied, without(want, poison))
	if len(r.reported) != 1 || len(r.reported[0].Records) != 1 || r.reported[0].Failure.ResponseContext.FunctionError != nil {
		e.Errorf("reports: %+v", r.reported)
	}
}

// later is a clock that is ahead of the stream's.
type later time.Duration

func (l later) Now() time.Time                       { return time.Now().Add(time.Duration(l)) }
func (later) After(d time.Duration) <-chan time.Time { return time.After(d) }

func tooOld(e *env) {
	e.fill(6, 1)
	r := e.run(e.settings(reporting, func(s *esm.Settings) { s.MaximumRecordAge = time.Minute }), nil, func(o *esm.Options) { o.Clock = later(2 * time.Minute) })
	defer r.stop()
	r.settled(6)
	if len(r.batches) > 0 {
		e.Errorf("%d invocations", len(r.batches))
	}
	for _, task := range r.reported {
		if f := task.Failure; f.RequestContext.Condition != "RecordAgeExceeded" || f.ResponseContext != nil || f.RequestContext.ApproximateInvokeCount != 1 || f.RequestContext.RequestID == "" {
			e.Errorf("%+v %+v", f.RequestContext, f.ResponseContext)
		}
	}
}

func destinationAway(e *env) {
	want := e.fill(4, 1)
	away := 3
	r := e.run(e.settings(reporting, func(s *esm.Settings) { s.BatchSize, s.MaximumRetryAttempts = 2, 0 }), e.fails("key-0 1"), func(o *esm.Options) {
		r := o.OnFailure.(*running)
		r.send = func(*esm.Task) error {
			if away > 0 {
				away--
				return errors.New("the destination is away")
			}
			return nil
		}
	})
	defer r.stop()
	r.settled(4)
	if len(r.reported) != 1 || !slices.Equal(e.dataOf(r.reported[0].Records), want[:2]) || !slices.Equal(r.applied, want[2:]) {
		e.Errorf("reports %+v, applied %q", r.reported, r.applied)
	}
	if c := r.counts(); c.DestinationDeliveryFailures != 3 || c.OnFailureDestinationDeliveredEventCount != 2 {
		e.Errorf("counts %+v", c)
	}
}

// counting is a function that counts a window's records in its state.
func counting(b *esm.Batch) esm.Outcome {
	var state struct{ N int }
	if err := json.Unmarshal(b.Window.State, &state); err != nil {
		return esm.Outcome{FunctionError: "Unhandled"}
	}
	return esm.Outcome{Payload: fmt.Appendf(nil, `{"state":{"N":%d}}`, state.N+len(b.Records))}
}

// checkWindows looks at the windows that ended: each with as many records as it was given.
func (r *running) checkWindows() (ended int) {
	r.e.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	given := map[string]int{}
	for _, b := range r.batches {
		window := b.Shard + b.Window.Start.String()
		if !b.Window.Final {
			given[window] += len(b.Records)
			for _, rec := range b.Records {
				if rec.Arrival.Before(b.Window.Start) || !rec.Arrival.Before(b.Window.End) {
					r.e.Errorf("arrival %v in the window from %v to %v", rec.Arrival, b.Window.Start, b.Window.End)
				}
			}
			continue
		}
		ended++
		if want := fmt.Sprintf(`{"N":%d}`, given[window]); string(b.Window.State) != want || len(b.Records) > 0 || b.Window.Early {
			r.e.Errorf("a window of %s ended with %s", want, b.Window.State)
		}
		delete(given, window)
	}
	return ended
}

func windows(e *env) {
	r := e.run(e.settings(func(s *esm.Settings) { s.BatchSize, s.Tumbling = 2, 2*time.Second }), counting)
	defer r.stop()
	e.fill(5, 1)
	time.Sleep(2100 * time.Millisecond) // into the next window, which ends this one
	e.fillMore(1, 1, 5)
	e.eventually("six records in their windows", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.applied) == 6
	})
	if ended := r.checkWindows(); ended == 0 || ended > 2 {
		e.Errorf("%d windows ended", ended)
	}
}

func windowAtTheEnd(e *env) {
	r := e.run(e.settings(func(s *esm.Settings) { s.Tumbling = 10 * time.Minute }), counting)
	defer r.stop()
	e.fill(5, 1)
	e.must(e.Stream.(Table).Disable())
	e.eventually("the shard is drained", func() bool {
		all := r.Status()
		return len(all) == 1 && all[0].Drained
	})
	if ended := r.checkWindows(); ended != 1 || len(r.applied) != 5 {
		e.Errorf("%d windows ended, %q", ended, r.applied)
	}
}

// persisted is a checkpoint as it comes back from a file.
func (e *env) persisted(c esm.Checkpoint) (back *esm.Checkpoint) {
	text, err := json.Marshal(c)
	e.must(err)
	e.must(json.Unmarshal(text, &back))
	return back
}

func resume(e *env) {
	want := e.fill(60, 6)
	half := make(chan struct{})
	var once sync.Once
	var given atomic.Int64
	first := e.run(e.settings(func(s *esm.Settings) { s.BatchSize = 3 }), func(b *esm.Batch) esm.Outcome {
		if given.Add(int64(len(b.Records))) <= 30 {
			return esm.Outcome{}
		}
		once.Do(func() { close(half) })
		return esm.Outcome{Err: errors.New("throttled")}
	})
	select {
	case <-half:
	case <-e.ctx.Done():
		e.Fatalf("half of the records didn't come: %q", first.applied)
	}
	first.stop()
	if n := len(first.applied); n < 25 || n > 30 {
		e.Errorf("it stopped after %d records", n)
	}
	want = append(want, e.fillMore(60, 6, 10)...)
	second := e.run(e.settings(), nil, func(o *esm.Options) { o.Resume = e.persisted(first.Checkpoint()) })
	defer second.stop()
	second.settled(len(want) - len(first.applied))
	e.same("records", append(slices.Clone(first.applied), second.applied...), want)
}

func resumeLatest(e *env) {
	e.fill(10, 10)
	time.Sleep(1100 * time.Millisecond) // a table's changes arrive in whole seconds
	start := func(s *esm.Settings) { s.Start = esm.Position{Type: "LATEST"} }
	first := e.run(e.settings(start), nil)
	first.begun()
	first.stop()
	want := e.fillMore(10, 10, 1)
	second := e.run(e.settings(start), nil, func(o *esm.Options) { o.Resume = e.persisted(first.Checkpoint()) })
	defer second.stop()
	second.settled(10)
	e.same("records", append(first.applied, second.applied...), want)
}
