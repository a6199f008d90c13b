package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/millrace/millrace/local/esm"
)

// Function is a function with its event source mapping.
type Function struct {
	Name string
	// Changes is the table whose changes it handles; nil means the world's stream.
	Changes *Table
	// Settings of the mapping. See [World.Settings].
	Settings *esm.Settings
	// Timeout of an invocation, 30 s by default.
	Timeout time.Duration
	// Start is a cold start: it makes an instance of the function, with a memory of
	// its own, that makes its calls through client.
	Start func(client *Client) lambda.Handler

	world   *World
	journal *journal
	shards  map[string]*shard
	order   []*shard // in the order of their discovery
	started []*begun
	running []*invocation // those that take their time
	idle    []*instance
	blind   time.Time // it can't read until then
	count   int       // invocations so far
	calls   int       // of one, at most so far
	model   model
}

// Add defines a function.
func (w *World) Add(f *Function) *Function {
	f.Timeout = cmp.Or(f.Timeout, 30*time.Second)
	f.world, f.journal, f.shards = w, w.records, map[string]*shard{}
	if f.Changes != nil {
		f.journal = f.Changes.journal
	}
	w.functions = append(w.functions, f)
	return f
}

// Counts are the metrics of the mapping, by what was seen to happen.
func (f *Function) Counts() esm.Counts { return f.model.counts }

// Settings are those of the stack's mappings, which lose nothing, with the sizes
// that the seed draws.
func (w *World) Settings(kind esm.Kind) *esm.Settings {
	s := &esm.Settings{
		UUID: fmt.Sprintf("00000000-0000-0000-0000-%012d", len(w.functions)+1), Kind: kind, Region: "us-east-1",
		SourceARN: "arn:aws:kinesis:us-east-1:000000000000:stream/sim", FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:sim",
		OnFailure: "arn:aws:s3:::failures", Start: esm.Position{Type: "TRIM_HORIZON"}, Bisect: true, Partial: true,
		BatchSize: []int{50, 100, 100, 200}[w.rand.IntN(4)], Parallelization: 1 + w.rand.IntN(3),
		Window:               []time.Duration{0, 0, time.Second}[w.rand.IntN(3)],
		MaximumRetryAttempts: []int{2, 10, 10}[w.rand.IntN(3)],
		MaximumRecordAge:     []time.Duration{23 * time.Hour, 10 * time.Minute}[w.rand.IntN(8)/7],
	}
	if kind == esm.DynamoDB {
		s.SourceARN = "arn:aws:dynamodb:us-east-1:000000000000:table/sim/stream/2026-01-01T00:00:00.000"
	}
	return s
}

// shard is one in work.
type shard struct {
	*esm.Shard
	iterator string
	read     int // how many of its records the iterator has passed
	shape    int // the stream's, when they were read
	closed   bool
	ended    bool
	due      time.Time    // of its next task
	past     []*esm.Shard // of the pollers before
	checked  int          // how many of its records the checkpoint has passed
	open     []int        // numbers of the records in its open window
	tries    map[string]tries
	expired  bool // some of its records were too old
}

// tries of a batch, by its first record.
type tries struct {
	first, last string
	n           int
}

// begun is a task whose outcome is still to come.
type begun struct {
	shard   *shard
	of      *esm.Shard
	task    *esm.Task
	at      time.Time // when it reaches the function
	numbers []int     // of the records to hand over, in the journal
}

// alive tells whether the poller still waits for the outcome.
func (b *begun) alive() bool { return b.shard.Shard == b.of }

// instance of a function, which handles one event at a time. As in Lambda's runtime
// the next payload is written over the last one: a handler must not keep any of it.
type instance struct {
	lambda.Handler
	client  *Client
	payload []byte
}

// invocation is one in work, with what is to go wrong in it.
type invocation struct {
	*begun
	function *Function
	id       int
	instance *instance
	began    time.Time
	dies     time.Time // when it is cut off, at the latest
	why      string    // it dies then
	crashes  bool      // in the end, if not before

	salt   uint64
	share  float64       // of the calls that fail
	slow   float64       // of the calls that are slow
	length time.Duration // that they take at most
	deaf   bool          // to its deadline

	names   map[string]int // how often each call was made
	calls   int
	dead    bool
	outcome esm.Outcome
}

// discover begins to read shards whose parents are drained, as the mapping does.
func (f *Function) discover() {
	infos := f.journal.list()
	if len(infos) == len(f.order) {
		return
	}
	for _, info := range infos {
		waits := slices.ContainsFunc(info.Parents, func(p string) bool { return f.shards[p] == nil || !f.shards[p].ended })
		if waits || f.shards[info.ID] != nil {
			continue
		}
		iterator, err := f.journal.stream.Iterator(context.Background(), info.ID, f.Settings.Start, "")
		if err != nil {
			panic(err) // it is our own stream
		}
		s := &shard{Shard: esm.NewShard(f.Settings, info.ID), iterator: iterator, shape: -1, tries: map[string]tries{}}
		f.shards[info.ID] = s
		f.order = append(f.order, s)
	}
}

// restart is the death of a shard's poller: what is in work goes on, its outcome is
// told to nobody, and the shard is read again from its checkpoint.
func (f *Function) restart(s *shard) {
	if s.ended {
		return
	}
	f.checkpoint(s)
	after := s.Checkpoint()
	f.world.trace("the poller of %s for %s begins again after %s", s.ID, f.Name, short(after))
	iterator, err := f.journal.stream.Iterator(context.Background(), s.ID, f.Settings.Start, after)
	if err != nil {
		panic(err)
	}
	s.past = append(s.past, s.Shard)
	s.open, s.tries = nil, map[string]tries{}
	s.Shard, s.iterator, s.closed = esm.NewShard(f.Settings, s.ID), iterator, false
	s.read, s.shape = s.checked, -1
	s.Resume(after)
}

// poll takes records from shards that want some.
func (f *Function) poll() bool {
	did := false
	now := time.Now()
	if f.isBlind() {
		return false
	}
	for _, s := range f.order {
		if s.closed || s.ended {
			continue
		}
		wants := s.Wants()
		if wants <= 0 {
			continue
		}
		limit := min(wants, 1+f.world.rand.IntN(500))
		if s.read == len(f.journal.shards[s.ID]) && s.shape == f.journal.shape {
			s.CaughtUp(now) // there is nothing new
			continue
		}
		records, next, err := f.journal.stream.Read(context.Background(), s.iterator, limit)
		if err != nil {
			panic(err)
		}
		s.read, s.shape = s.read+len(records), f.journal.shape
		s.closed, s.iterator = next == "", next
		s.Offer(now, records)
		if len(records) == 0 {
			s.CaughtUp(now)
		}
		f.model.counts.PolledEventCount += int64(len(records))
		did = did || len(records) > 0 || s.closed
	}
	return did
}

func (f *Function) isBlind() bool { return f.world.broken && time.Now().Before(f.blind) }

// take begins the tasks that there are.
func (f *Function) take() bool {
	did := false
	w := f.world
	for _, s := range f.order {
		if s.ended {
			continue
		}
		now := time.Now()
		var task *esm.Task
		for task, s.due = s.Next(now, s.closed); task != nil; task, s.due = s.Next(now, s.closed) {
			takes := w.upTo(300 * time.Millisecond)
			if w.may(Late, .01) {
				takes = w.upTo(15 * time.Minute)
			}
			b := &begun{shard: s, of: s.Shard, task: task, at: now.Add(takes)}
			f.started = append(f.started, b)
			if task.Kind == esm.Invoke {
				f.deliver(b)
			}
			did = true
		}
	}
	return did
}

// finish does tasks that have reached the function, in any order, and ends those
// that are due.
func (w *World) finish() bool {
	did := false
	w.mu.Lock()
	ended := w.ended
	w.ended = nil
	w.mu.Unlock()
	slices.SortFunc(ended, func(a, b *invocation) int {
		return cmp.Or(cmp.Compare(a.function.Name, b.function.Name), cmp.Compare(a.id, b.id))
	})
	for _, inv := range ended {
		if f := inv.function; !inv.dead {
			f.running = slices.DeleteFunc(f.running, func(r *invocation) bool { return r == inv })
			f.end(inv)
		}
		did = true
	}
	for _, f := range w.functions {
		for i := 0; i < len(f.running); {
			if inv := f.running[i]; !time.Now().Before(inv.dies) {
				f.running = slices.Delete(f.running, i, i+1)
				w.mu.Lock()
				inv.dead = true
				w.mu.Unlock()
				w.trace("%s %d is cut off: %s", f.Name, inv.id, inv.why)
				f.tell(inv.begun, died(inv.why))
				did = true
				continue
			}
			i++
		}
		for i := 0; i < len(f.started); {
			b := f.started[i]
			if time.Now().Before(b.at) || w.chance(.2) {
				i++
				continue
			}
			f.started = slices.Delete(f.started, i, i+1)
			f.do(b)
			did = true
		}
		for _, s := range f.order {
			if !s.ended && s.closed && s.Drained() {
				f.checkpoint(s)
				s.ended, did = true, true
				w.trace("%s is drained for %s", s.ID, f.Name)
			}
		}
	}
	return did
}

// do runs the task.
func (f *Function) do(b *begun) {
	if b.task.Kind == esm.Report {
		err := f.report(b.task)
		f.world.trace("%s: report %s of %s: %v", f.Name, span(b.task.Records), b.task.Shard, cmp.Or(err, errors.New("taken")))
		if b.alive() {
			f.reported(b, err)
			b.of.Reported(time.Now(), b.task, err)
		}
		return
	}
	w := f.world
	throttled := w.may(Throttle, .02)
	crashes := w.may(Crash, .02)
	inv := &invocation{begun: b, function: f, began: time.Now(), salt: w.rand.Uint64(), names: map[string]int{}}
	inv.dies, inv.why = inv.began.Add(f.Timeout), "it timed out"
	if share := w.rand.Float64(); w.may(CallFails, .04) {
		inv.share = share
	}
	// Few slow ones, whatever the number of calls: a handler that bounds its calls in
	// flight must not have all of them held up, or which of the others come first
	// would depend on the order of its goroutines.
	calls := f.calls
	if f.count < 10 {
		calls = max(calls, len(b.task.Records)) // it isn't known yet
	}
	slow := min(.5, 3/float64(max(calls, 1)))
	length := w.upTo([]time.Duration{100 * time.Millisecond, 5 * time.Second, 25 * time.Second}[w.rand.IntN(3)])
	hang, deaf := f.Timeout+w.upTo(2*f.Timeout), w.chance(.3)
	if w.may(Slow, .1) {
		inv.slow, inv.length = slow, length
	}
	if w.may(Timeout, .01) {
		inv.slow, inv.length, inv.deaf = slow, hang, deaf
	}
	shares := []float64{0, 1, w.rand.Float64(), w.rand.Float64()}
	inv.crashes = crashes || f.poisoned(b.numbers)
	if how := w.rand.IntN(4); inv.crashes {
		if inv.share = shares[how]; inv.slow > 0 {
			inv.share, inv.dies, inv.why = 0, inv.began.Add(time.Duration(shares[2]*float64(inv.length))), "it crashed"
		}
	}
	if throttled {
		w.trace("%s is throttled: %s of %s", f.Name, span(b.task.Records), b.task.Shard)
		f.tell(b, esm.Outcome{Err: errors.New("throttled")})
		return
	}
	f.count++
	inv.id = f.count
	if n := len(f.idle); n > 0 {
		inv.instance, f.idle = f.idle[n-1], f.idle[:n-1]
	} else {
		client := &Client{world: w}
		inv.instance = &instance{Handler: f.Start(client), client: client}
	}
	w.mu.Lock()
	inv.instance.client.invocation = inv
	w.mu.Unlock()
	inv.instance.payload = b.task.AppendPayload(inv.instance.payload[:0])
	if w.options.Trace != nil {
		w.trace("%s %d gets %s of %s%s", f.Name, inv.id, span(b.task.Records), b.task.Shard, inv.troubles())
	}
	if inv.slow == 0 {
		inv.outcome = inv.run()
		f.end(inv)
		return
	}
	f.running = append(f.running, inv)
	go func() {
		outcome := inv.run()
		w.mu.Lock()
		inv.outcome = outcome
		w.ended = append(w.ended, inv)
		w.mu.Unlock()
		w.wake()
	}()
	synctest.Wait() // it gets as far as it gets now, before anything else happens
}

// end tells the outcome of an invocation that wasn't cut off. Its instance is used
// again, unless it crashed.
func (f *Function) end(inv *invocation) {
	f.calls = max(f.calls, inv.calls)
	if inv.crashes {
		f.world.mu.Lock()
		inv.dead = true
		f.world.mu.Unlock()
		f.tell(inv.begun, died("it crashed"))
		return
	}
	f.idle = append(f.idle, inv.instance)
	f.tell(inv.begun, inv.outcome)
}

// troubles are what is to go wrong, for the trace.
func (inv *invocation) troubles() string {
	text := ""
	if inv.share > 0 {
		text += fmt.Sprintf(", %.0f %% of its calls fail", 100*inv.share)
	}
	if inv.slow > 0 {
		text += fmt.Sprintf(", some calls take up to %v", inv.length.Round(time.Millisecond))
	}
	if inv.deaf {
		text += ", and it doesn't look at its deadline"
	}
	if inv.crashes {
		text += ", and it crashes"
	}
	return text
}

// run calls the handler.
func (inv *invocation) run() (outcome esm.Outcome) {
	ctx, cancel := context.WithDeadline(context.Background(), inv.began.Add(inv.function.Timeout))
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			outcome = died(fmt.Sprint(p))
		}
	}()
	answer, err := inv.instance.Invoke(ctx, inv.instance.payload)
	if err != nil {
		return died(err.Error())
	}
	return esm.Outcome{Payload: answer}
}

func died(why string) esm.Outcome {
	payload, err := json.Marshal(map[string]string{"errorMessage": why})
	if err != nil {
		panic(err) // a text
	}
	return esm.Outcome{FunctionError: "Unhandled", Payload: payload}
}

// tell the poller, if it still waits.
func (f *Function) tell(b *begun, o esm.Outcome) {
	if f.world.options.Trace != nil {
		f.world.trace("%s: %s of %s came to: %s %s%v", f.Name, span(b.task.Records), b.task.Shard, o.FunctionError, o.Payload, cmp.Or(o.Err, errors.New("")))
	}
	if b.alive() {
		f.told(b, o)
		b.of.Invoked(time.Now(), b.task, o)
	}
}

// poisoned tells whether the function dies of one of the records.
func (f *Function) poisoned(numbers []int) bool {
	if f.world.rates[Poison] == 0 || !f.world.broken {
		return false
	}
	share := .0002 * f.world.rates[Poison]
	if f.Changes != nil {
		share *= 10 // of changes there are fewer
	}
	for _, n := range numbers {
		if unit(f.world.seed<<32^uint64(len(f.Name))<<24^uint64(n)) < share {
			return true
		}
	}
	return false
}

// report puts the failure's document in the bucket, unless that is away.
func (f *Function) report(task *esm.Task) error {
	w := f.world
	if w.unavailable() {
		return errors.New("the failure destination is away")
	}
	if f.Settings.OnFailure == "" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key, body := task.Failure.Object(f.Settings.UUID, task.Shard, fmt.Sprintf("%08d", len(w.objects)), task.Payload())
	w.objects[key] = body
	return nil
}

// unavailable tells whether the failure destination is.
func (w *World) unavailable() bool {
	return w.broken && (w.gone || time.Now().Before(w.away))
}

func (f *Function) over() bool {
	if len(f.journal.list()) != len(f.order) || len(f.started) > 0 || len(f.running) > 0 || f.isBlind() {
		return false
	}
	return !slices.ContainsFunc(f.order, func(s *shard) bool { return !s.ended && !s.Drained() })
}

func (f *Function) soonest() time.Time {
	var soonest time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (soonest.IsZero() || t.Before(soonest)) {
			soonest = t
		}
	}
	for _, b := range f.started {
		at(b.at)
	}
	for _, inv := range f.running {
		at(inv.dies)
	}
	if f.isBlind() {
		at(f.blind)
	}
	for _, s := range f.order {
		if !s.ended {
			at(s.due)
		}
	}
	return soonest
}
