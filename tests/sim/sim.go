// Package sim proves handlers of streams: it runs them, unchanged, behind the
// very core that `millrace local` polls with, on a stream in memory, with a clock
// that jumps and a scheduler that draws from a seed, and breaks everything that
// can break on AWS. One seed is one run, the same every time.
//
// Faults: invocations that crash before, amid or after their writes, time out or
// are throttled; calls of the function that fail; a poller that dies and begins
// again at its checkpoint, so that records come twice; late invocations; shards
// that split and merge in mid-flight; a failure destination that is away.
//
// The handler keeps its promise if, when all is over, every record was applied or
// lies whole in a failure destination, and no shard is held up: the scenario's
// Check says what applied means.
package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/memory"
)

// Fault is a kind of fault.
type Fault int

// The faults, each of which can be left out to find the one that matters.
const (
	Crash     Fault = iota // an invocation ends in an error, whatever it had done
	CallFails              // calls that the function makes fail
	Throttle               // invocations that can't be made
	Restart                // the poller dies and begins again at its checkpoint
	Late                   // invocations that take long
	Reshard                // shards split and merge
	Away                   // the failure destination doesn't take reports
	faults
)

func (f Fault) String() string {
	return [...]string{"Crash", "CallFails", "Throttle", "Restart", "Late", "Reshard", "Away"}[f]
}

// Scenario is a handler with its workload and its promise. A new one is made for
// each run.
type Scenario interface {
	// Record is the i-th record to put, drawn from r.
	Record(i int, r *rand.Rand) (key string, data []byte)
	// Invoke is the handler's answer to a batch. Before each call that it makes, it
	// asks fails, by a name that doesn't depend on the order of its calls.
	Invoke(ctx context.Context, batch *esm.Batch, fails func(call string) bool) esm.Outcome
	// Check says what is wrong when all is over. Failed are the records that the
	// failure destination holds, by sequence number.
	Check(put []Put, failed map[string]bool) error
}

// Put is a record that was put.
type Put struct {
	Sequence, Key string
	Data          []byte
}

// Options of a run.
type Options struct {
	// Records to put, 10,000 by default, over Shards, 2 by default.
	Records, Shards int
	// Settings of the mapping; a good one by default.
	Settings func() *esm.Settings
	// Without leaves faults out.
	Without []Fault
	// Trace takes what happened, line by line; nil for none.
	Trace *[]string
}

// run is one run.
type run struct {
	Options
	scenario Scenario
	rand     *rand.Rand
	seed     uint64
	now      time.Time
	stream   *memory.Stream
	settings *esm.Settings
	shards   map[string]*shard
	order    []*shard // in the order of their discovery
	started  []*started
	put      []Put
	failed   map[string]bool
	calls    uint64 // invocations so far
	without  [faults]bool
}

type shard struct {
	*esm.Shard
	info     esm.ShardInfo
	iterator string
	closed   bool
	ended    bool
	epoch    int // how often its poller began again
}

// started is a task whose outcome is still to come.
type started struct {
	shard *shard
	of    *esm.Shard
	task  *esm.Task
	until time.Time
	call  uint64
}

// Good are settings that lose nothing: those of the constructs, with small batches.
func Good() *esm.Settings {
	return &esm.Settings{
		UUID: "00000000-0000-0000-0000-000000000001", SourceARN: "arn:aws:kinesis:us-east-1:000000000000:stream/sim",
		FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:sim", Region: "us-east-1", OnFailure: "arn:aws:s3:::failures",
		Start: esm.Position{Type: "TRIM_HORIZON"}, BatchSize: 100, Parallelization: 2, Bisect: true, Partial: true,
		MaximumRetryAttempts: 10, MaximumRecordAge: 23 * time.Hour,
	}
}

// ErrStuck is a run that made no progress.
var ErrStuck = errors.New("it is stuck")

// Run is one run of scenario by seed. The error says what was lost, doubled or
// held up.
func Run(seed uint64, scenario Scenario, options Options) error {
	if options.Records == 0 {
		options.Records = 10_000
	}
	if options.Shards == 0 {
		options.Shards = 2
	}
	if options.Settings == nil {
		options.Settings = Good
	}
	r := &run{
		Options: options, scenario: scenario, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), stream: memory.New(options.Shards), settings: options.Settings(),
		shards: map[string]*shard{}, failed: map[string]bool{},
	}
	for _, f := range options.Without {
		r.without[f] = true
	}
	if err := r.settings.Validate(); err != nil {
		return err
	}
	if err := r.play(); err != nil {
		return err
	}
	return scenario.Check(r.put, r.failed)
}

// play lets things happen in an order that the seed draws, until all is dealt with.
func (r *run) play() error {
	deadline := r.now.Add(30 * 24 * time.Hour)
	for {
		r.discover()
		switch {
		case len(r.put) < r.Records && r.chance(.3):
			r.putSome()
			continue
		case r.may(Reshard, .002) && len(r.put) < r.Records:
			r.reshard()
			continue
		case r.may(Restart, .003) && len(r.order) > 0 && len(r.put) < r.Records:
			r.restart(r.order[r.rand.IntN(len(r.order))])
			continue
		}
		progressed := r.read()
		progressed = r.start() || progressed
		progressed = r.finish() || progressed
		if progressed {
			continue
		}
		if len(r.put) == r.Records && r.over() {
			return nil
		}
		if len(r.put) < r.Records {
			r.putSome()
			continue
		}
		next := r.soonest()
		if next.IsZero() || next.After(deadline) {
			return fmt.Errorf("%w at %s: %s", ErrStuck, r.now.Format(time.RFC3339), r.state())
		}
		r.now = next
	}
}

func (r *run) chance(p float64) bool { return r.rand.Float64() < p }

func (r *run) may(f Fault, p float64) bool {
	happens := r.chance(p) // drawn in any case, so that a run without a fault stays alike
	return happens && !r.without[f]
}

func (r *run) trace(format string, args ...any) {
	if r.Trace != nil {
		*r.Trace = append(*r.Trace, r.now.Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (r *run) putSome() {
	n := min(1+r.rand.IntN(200), r.Records-len(r.put))
	for range n {
		key, data := r.scenario.Record(len(r.put), r.rand)
		id, sequence := r.stream.Put(r.now, key, data)
		r.put = append(r.put, Put{sequence, key, data})
		if r.Trace != nil {
			r.trace("put %s on %s: %s", short(sequence), id, data)
		}
	}
	r.now = r.now.Add(time.Duration(r.rand.IntN(200)) * time.Millisecond)
}

func (r *run) reshard() {
	if r.chance(.5) {
		if i := r.rand.IntN(4); r.stream.Split(i) {
			r.trace("split shard %d", i)
		}
	} else if i := r.rand.IntN(4); r.stream.Merge(i) {
		r.trace("merge shard %d", i)
	}
}

// restart is the death of a shard's poller: what is in work goes on, its outcome
// is told to nobody, and the shard is read again from its checkpoint.
func (r *run) restart(s *shard) {
	if s.ended {
		return
	}
	after := s.Checkpoint()
	r.trace("the poller of %s begins again after %s", s.ID, short(after))
	iterator, err := r.stream.Iterator(context.Background(), s.ID, r.settings.Start, after)
	if err != nil {
		panic(err) // it is our own stream
	}
	s.Shard, s.iterator, s.closed = esm.NewShard(r.settings, s.ID), iterator, false
	s.Resume(after)
	s.epoch++
}

func (r *run) discover() {
	infos, _ := r.stream.Shards(context.Background())
	for _, info := range infos[len(r.order):] {
		waits := slices.ContainsFunc(info.Parents, func(p string) bool { return r.shards[p] == nil || !r.shards[p].ended })
		if waits {
			return // in order: later shards descend from later ones
		}
		iterator, err := r.stream.Iterator(context.Background(), info.ID, r.settings.Start, "")
		if err != nil {
			panic(err)
		}
		s := &shard{Shard: esm.NewShard(r.settings, info.ID), info: info, iterator: iterator}
		r.shards[info.ID] = s
		r.order = append(r.order, s)
	}
}

// read takes records from a shard that wants some.
func (r *run) read() bool {
	did := false
	for _, s := range r.order {
		wants := s.Wants()
		if s.closed || wants <= 0 {
			continue
		}
		records, next, err := r.stream.Read(context.Background(), s.iterator, min(wants, 1+r.rand.IntN(500)))
		if err != nil {
			panic(err)
		}
		s.closed, s.iterator = next == "", next
		if len(records) > 0 || s.closed {
			s.Offer(r.now, records)
			did = true
		}
	}
	return did
}

// start begins tasks.
func (r *run) start() bool {
	did := false
	for _, s := range r.order {
		if s.ended {
			continue
		}
		for task, _ := s.Next(r.now, s.closed); task != nil; task, _ = s.Next(r.now, s.closed) {
			r.calls++
			takes := time.Duration(r.rand.IntN(300)) * time.Millisecond
			if r.may(Late, .02) {
				takes = time.Duration(r.rand.IntN(900)) * time.Second
			}
			r.started = append(r.started, &started{s, s.Shard, task, r.now.Add(takes), r.calls})
			did = true
		}
	}
	return did
}

// finish ends tasks that are due, in any order.
func (r *run) finish() bool {
	did := false
	for i := 0; i < len(r.started); {
		st := r.started[i]
		if r.now.Before(st.until) || r.chance(.2) {
			i++
			continue
		}
		r.started = slices.Delete(r.started, i, i+1)
		r.end(st)
		did = true
	}
	for _, s := range r.order {
		if !s.ended && s.closed && s.Drained() {
			s.ended, did = true, true
			r.trace("%s is drained", s.ID)
		}
	}
	return did
}

func (r *run) end(st *started) {
	task := st.task
	alive := st.shard.Shard == st.of // its poller still waits for it
	if task.Kind == esm.Report {
		var err error
		if r.may(Away, .3) {
			err = errors.New("the failure destination is away")
		} else {
			for _, rec := range task.Records {
				r.failed[rec.Sequence] = true
			}
		}
		r.trace("report %s of %s: %v", span(task.Records), task.Shard, err)
		if alive {
			st.of.Reported(r.now, task, err)
		}
		return
	}
	outcome := r.invoke(st)
	if alive {
		st.of.Invoked(r.now, task, outcome)
	}
}

// invoke runs the handler, and breaks it.
func (r *run) invoke(st *started) esm.Outcome {
	if r.may(Throttle, .02) {
		r.trace("throttled: %s of %s", span(st.task.Records), st.task.Shard)
		return esm.Outcome{Err: errors.New("throttled")}
	}
	crash := r.may(Crash, .03)
	// One invocation in twenty has calls that fail, a part of them or, as when it
	// is killed, all from some point on.
	share := 0.0
	if r.may(CallFails, .05) || crash {
		share = r.rand.Float64()
	}
	salt := r.rand.Uint64()
	outcome := r.scenario.Invoke(context.Background(), &st.task.Batch, func(call string) bool {
		return share > 0 && draw(salt, call) < share
	})
	if crash {
		outcome = esm.Outcome{FunctionError: "Unhandled", Payload: []byte(`{"errorMessage":"it crashed"}`)}
	}
	if r.Trace != nil {
		r.trace("invoke %s of %s, calls failing: %.0f %%, crash: %v: %s %s", span(st.task.Records), st.task.Shard, 100*share, crash, outcome.FunctionError, outcome.Payload)
	}
	return outcome
}

// draw is a number from 0 to 1 that depends on nothing but salt and name: handlers
// make their calls in any order.
func draw(salt uint64, name string) float64 {
	h := salt ^ 14695981039346656037
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return float64(h>>11) / (1 << 53)
}

func (r *run) over() bool {
	infos, _ := r.stream.Shards(context.Background())
	if len(infos) != len(r.order) || len(r.started) > 0 {
		return false
	}
	for _, s := range r.order {
		if !s.ended && !s.Drained() {
			return false
		}
	}
	return true
}

// soonest is when something is due next.
func (r *run) soonest() time.Time {
	var soonest time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (soonest.IsZero() || t.Before(soonest)) {
			soonest = t
		}
	}
	for _, st := range r.started {
		if st.until.After(r.now) {
			at(st.until)
		} else {
			at(r.now.Add(time.Millisecond)) // due, and put off by the draw
		}
	}
	for _, s := range r.order {
		if !s.ended {
			task, next := s.Next(r.now, s.closed)
			if task != nil {
				panic("a task was there all along")
			}
			at(next)
		}
	}
	return soonest
}

func (r *run) state() string {
	var parts []string
	for _, s := range r.order {
		if !s.ended {
			parts = append(parts, fmt.Sprintf("%s: %d records wait after %s", s.ID, s.Waiting(), short(s.Checkpoint())))
		}
	}
	return strings.Join(parts, "; ")
}

func short(sequence string) string {
	if s := strings.TrimLeft(sequence, "0"); s != "" {
		return s
	}
	return "the start"
}

func span(records []esm.Record) string {
	if len(records) == 0 {
		return "nothing"
	}
	return short(records[0].Sequence) + "…" + short(records[len(records)-1].Sequence)
}

// KinesisEvent is a batch as handlers get it.
func KinesisEvent(b *esm.Batch) events.KinesisEvent {
	event := events.KinesisEvent{Records: make([]events.KinesisEventRecord, len(b.Records))}
	for i := range b.Records {
		r := &b.Records[i]
		event.Records[i] = events.KinesisEventRecord{
			AwsRegion: b.Settings.Region, EventID: b.Shard + ":" + r.Sequence, EventName: "aws:kinesis:record", EventSource: "aws:kinesis",
			EventSourceArn: b.Settings.SourceARN, EventVersion: "1.0",
			Kinesis: events.KinesisRecord{
				ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: r.Arrival}, Data: r.Data, PartitionKey: r.Key,
				SequenceNumber: r.Sequence, KinesisSchemaVersion: "1.0",
			},
		}
	}
	return event
}
