package esm

import (
	"bytes"
	"encoding/json"
	"time"
)

// TaskKind says what a task asks for.
type TaskKind int

const (
	// Invoke the function with the task's batch.
	Invoke TaskKind = iota
	// Report the task's records to the failure destination.
	Report
)

// Task is something to be done for a shard. Its outcome goes to [Shard.Invoked]
// or [Shard.Reported].
type Task struct {
	Kind TaskKind
	Batch
	// Failure of a Report.
	Failure *Failure

	lane *lane
}

// Outcome of an invocation.
type Outcome struct {
	// Err says that the invocation could not be made: it is tried again, and counts
	// as no attempt.
	Err error
	// FunctionError is empty where the function answered.
	FunctionError   string
	Payload         []byte
	ExecutedVersion string
	RequestID       string
}

// Counts are the mapping's metrics, in CloudWatch's names.
type Counts struct {
	PolledEventCount                        int64
	FilteredOutEventCount                   int64
	InvokedEventCount                       int64 // of each attempt, also of one that couldn't be made
	FailedInvokeEventCount                  int64
	DroppedEventCount                       int64
	OnFailureDestinationDeliveredEventCount int64
	Invocations, Errors                     int64 // of the function: neither counts what couldn't be made
	DestinationDeliveryFailures             int64 // attempts to report
}

// Backoff between attempts: Lambda doesn't publish its own.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// MaximumState of a tumbling window's state.
const MaximumState = 1 << 20

// idleWindow is how long Lambda waits for records of a window that is over.
const idleWindow = 2 * time.Minute

// Shard is the state of one shard of a mapping. It does nothing by itself and
// isn't safe for concurrent use.
type Shard struct {
	ID     string
	Counts Counts
	// IteratorAge is how old the last record of the last batch was when its
	// invocation ended.
	IteratorAge time.Duration

	settings *Settings
	lanes    []*lane
	next     int // lane to look at first

	offered int64     // records offered so far
	done    int64     // all before this index are dealt with
	ahead   []bool    // and those of the following that are
	last    string    // sequence number of the last record before done
	caught  time.Time // all that had arrived by then was offered
	seqs    []string
}

// lane is a part of a shard whose records are processed in order: the shard
// itself, or with parallelization a part of its partition keys.
type lane struct {
	queue []Record  // read, not in work yet
	size  int       // of the queue, as a payload
	since time.Time // when its first was offered

	work  []attempt // in order; the first one is in work
	until time.Time // no attempt before
	wait  time.Duration
	busy  bool

	window *Window // of a mapping with tumbling windows
}

// attempt is a batch with its history.
type attempt struct {
	records []Record
	// invokes since the checkpoint last moved; what Lambda calls approximateInvokeCount.
	invokes int
	failure *Failure // given up: to be reported
	final   bool     // the last invocation of a window: it has no records
}

// NewShard is the state of a shard from which nothing was read.
func NewShard(settings *Settings, id string) *Shard {
	s := &Shard{ID: id, settings: settings}
	for range settings.Parallelization {
		s.lanes = append(s.lanes, &lane{})
	}
	return s
}

// queuedBatches is how many batches a shard holds per lane at most: enough for the
// lanes that go on while one is held up, and a bound on memory.
const queuedBatches = 10

// Wants is how many records the shard would take now: none while enough is waiting.
func (s *Shard) Wants() int {
	most, room := 0, queuedBatches*s.settings.BatchSize*len(s.lanes)
	for _, l := range s.lanes {
		if l.size < MaximumPayload {
			most = max(most, 2*s.settings.BatchSize-len(l.queue))
		}
		room -= len(l.queue)
	}
	return min(most*len(s.lanes), room, 10_000)
}

// Offer hands over records, in the shard's order.
func (s *Shard) Offer(now time.Time, records []Record) {
	s.Counts.PolledEventCount += int64(len(records))
	for i := range records {
		r := &records[i]
		r.index = s.offered
		s.offered++
		s.ahead = append(s.ahead, false)
		s.seqs = append(s.seqs, r.Sequence)
		if s.settings.Filter != nil && !s.settings.Filter.Match(r) {
			s.Counts.FilteredOutEventCount++
			s.finish(r.index)
			continue
		}
		l := s.lanes[0]
		if n := len(s.lanes); n > 1 {
			l = s.lanes[hash(r.Key)%uint64(n)]
		}
		if len(l.queue) == 0 {
			l.since = now
		}
		l.queue = append(l.queue, *r)
		l.size += s.settings.size(s.ID, r) + 1
	}
}

// CaughtUp says that everything was offered that had arrived by then. A window
// isn't idle, and isn't ended, as long as the shard can't be read.
func (s *Shard) CaughtUp(then time.Time) { s.caught = then }

// Resume says that everything up to a sequence number is dealt with already.
func (s *Shard) Resume(after string) { s.last = after }

// Checkpoint is the sequence number up to which everything is dealt with: a
// mapping that starts anew reads after it. Empty at first. It stays before an open
// window, whose state would be lost.
func (s *Shard) Checkpoint() string {
	if w := s.lanes[0].window; w != nil {
		return w.after
	}
	return s.last
}

// Waiting is how many records were offered and aren't dealt with.
func (s *Shard) Waiting() int { return int(s.offered-s.done) - s.aheadCount() }

func (s *Shard) aheadCount() int {
	n := 0
	for _, done := range s.ahead {
		if done {
			n++
		}
	}
	return n
}

// Drained tells whether everything that was offered is dealt with, and no window
// is open: a shard's children are read only then.
func (s *Shard) Drained() bool {
	for _, l := range s.lanes {
		if l.busy || len(l.queue) > 0 || len(l.work) > 0 || l.window != nil {
			return false
		}
	}
	return true
}

// finish marks a record as dealt with.
func (s *Shard) finish(index int64) {
	s.ahead[index-s.done] = true
	n := 0
	for n < len(s.ahead) && s.ahead[n] {
		n++
	}
	if n > 0 {
		s.last = s.seqs[n-1]
		s.done += int64(n)
		s.ahead, s.seqs = s.ahead[n:], s.seqs[n:]
	}
}

// Next is a task that can be done now, or nil and when to ask again; a zero time
// means: when something was offered or an outcome told. Closed says that the shard
// has no more records to come: its windows can be ended.
func (s *Shard) Next(now time.Time, closed bool) (*Task, time.Time) {
	var soonest time.Time
	for i := range s.lanes {
		l := s.lanes[(s.next+i)%len(s.lanes)]
		task, at := s.nextOf(l, now, closed)
		if task != nil {
			s.next = (s.next + i + 1) % len(s.lanes)
			return task, time.Time{}
		}
		if !at.IsZero() && (soonest.IsZero() || at.Before(soonest)) {
			soonest = at
		}
	}
	return nil, soonest
}

func (s *Shard) nextOf(l *lane, now time.Time, closed bool) (*Task, time.Time) {
	if l.busy {
		return nil, time.Time{}
	}
	if len(l.work) == 0 {
		if at := s.form(l, now, closed); len(l.work) == 0 {
			return nil, at
		}
	}
	if now.Before(l.until) {
		return nil, l.until
	}
	s.expire(l, now)
	head := &l.work[0]
	if s.settings.Tumbling > 0 && l.window == nil {
		s.openWindow(l, &head.records[0]) // the rest of a batch whose window ended early
	}
	task := &Task{lane: l, Batch: Batch{Settings: s.settings, Shard: s.ID, Records: head.records}}
	if l.window != nil {
		w := *l.window
		w.Final = head.final
		task.Window = &w
	}
	if head.failure != nil {
		l.busy = true
		task.Kind, task.Failure = Report, head.failure
		return task, time.Time{}
	}
	large := s.tooLarge(&task.Batch)
	if large && len(head.records) > 1 {
		s.halve(l) // its window's state grew since it was formed
		return s.nextOf(l, now, closed)
	}
	head.invokes++
	s.Counts.InvokedEventCount += int64(len(head.records))
	if large {
		// As recorded against AWS: it takes attempts, and never reaches the function.
		s.Counts.FailedInvokeEventCount += int64(len(head.records))
		s.retry(l, now, nil)
		return s.nextOf(l, now, closed)
	}
	l.busy = true
	s.Counts.Invocations++
	return task, time.Time{}
}

// tooLarge tells whether no invocation takes b, such as a single large record.
func (s *Shard) tooLarge(b *Batch) bool {
	size := 256
	if b.Window != nil {
		size += len(b.Window.State) + 256
	}
	for i := range b.Records {
		size += s.settings.size(s.ID, &b.Records[i]) + 1
	}
	// It is reckoned a little larger than it is.
	return size > MaximumPayload && len(b.Records) > 0 && len(b.Payload()) > MaximumPayload
}

// halve makes two batches of a lane's first.
func (s *Shard) halve(l *lane) {
	records := l.work[0].records
	half := len(records) / 2
	l.work = append([]attempt{{records: records[:half:half]}, {records: records[half:]}}, l.work[1:]...)
}

// form makes a batch of a lane's queue when one is due, or says when it will be.
func (s *Shard) form(l *lane, now time.Time, closed bool) time.Time {
	if s.settings.Tumbling > 0 {
		if at, ended := s.turnWindow(l, now, closed); ended {
			return at
		}
	}
	if len(l.queue) == 0 {
		if l.window != nil && now.Before(l.window.End.Add(idleWindow)) {
			return l.window.End.Add(idleWindow)
		}
		return time.Time{}
	}
	n, size := 0, 256
	whole := false // the batch can't grow
	for n < len(l.queue) {
		if n == s.settings.BatchSize {
			whole = true
			break
		}
		r := &l.queue[n]
		if s.settings.Tumbling > 0 && !r.Arrival.Before(l.window.End) {
			whole = true // the next record belongs to the next window
			break
		}
		add := s.settings.size(s.ID, r) + 1
		if n > 0 && size+add > MaximumPayload-stateOf(l) {
			whole = true
			break
		}
		size += add
		n++
	}
	whole = whole || n == s.settings.BatchSize || closed
	if due := l.since.Add(s.settings.Window); !whole && now.Before(due) {
		return due
	}
	records := l.queue[:n:n]
	l.queue = l.queue[n:]
	for i := range records {
		l.size -= s.settings.size(s.ID, &records[i]) + 1
	}
	l.since = now
	l.work = append(l.work, attempt{records: records})
	l.wait, l.until = 0, time.Time{}
	return time.Time{}
}

func stateOf(l *lane) int {
	if l.window == nil {
		return 0
	}
	return len(l.window.State) + 256
}

// turnWindow opens the window of the next record, or ends the open one. It reports
// whether a final invocation was queued.
func (s *Shard) turnWindow(l *lane, now time.Time, closed bool) (time.Time, bool) {
	if l.window != nil {
		over := len(l.queue) > 0 && !l.queue[0].Arrival.Before(l.window.End) ||
			len(l.queue) == 0 && (closed || !now.Before(l.window.End.Add(idleWindow)) && !s.caught.Before(l.window.End))
		if over {
			l.work = append(l.work, attempt{final: true})
			l.wait, l.until = 0, time.Time{}
			return time.Time{}, true
		}
	}
	if l.window == nil && len(l.queue) > 0 {
		s.openWindow(l, &l.queue[0])
	}
	return time.Time{}, false
}

// openWindow begins the window of a record, with no state.
func (s *Shard) openWindow(l *lane, r *Record) {
	arrival, length := r.Arrival.UnixNano(), int64(s.settings.Tumbling)
	start := time.Unix(0, arrival-arrival%length).UTC()
	l.window = &Window{Start: start, End: start.Add(s.settings.Tumbling), State: json.RawMessage("{}"), after: s.last}
}

// expire gives up the records of the first batch that are too old.
func (s *Shard) expire(l *lane, now time.Time) {
	head := &l.work[0]
	if s.settings.MaximumRecordAge == Unlimited || head.failure != nil || head.final {
		return
	}
	n := 0
	for n < len(head.records) && now.Sub(head.records[n].Arrival) > s.settings.MaximumRecordAge {
		n++
	}
	if n == 0 {
		return
	}
	old := attempt{records: head.records[:n:n]}
	old.failure = s.newFailure("RecordAgeExceeded", l, &old, max(head.invokes, 1), nil, now)
	rest := attempt{records: head.records[n:], invokes: head.invokes}
	l.work = append([]attempt{old}, l.work[1:]...)
	if len(rest.records) > 0 {
		l.work = append(l.work[:1], append([]attempt{rest}, l.work[1:]...)...)
	}
}

// Invoked tells what became of an invocation.
func (s *Shard) Invoked(now time.Time, task *Task, o Outcome) {
	l := task.lane
	l.busy = false
	head := &l.work[0]
	if o.Err != nil {
		head.invokes-- // it takes none of the budget
		s.Counts.Invocations--
		s.Counts.FailedInvokeEventCount += int64(len(head.records))
		s.delay(l, now)
		return
	}
	if n := len(head.records); n > 0 {
		s.IteratorAge = now.Sub(head.records[n-1].Arrival)
	}
	if o.FunctionError != "" {
		s.Counts.Errors++
	}
	state, ok, from := s.judge(task, o)
	if ok {
		s.applied(head.records)
		l.work = l.work[1:]
		l.wait, l.until = 0, time.Time{}
		s.keepState(l, task, state)
		return
	}
	s.Counts.FailedInvokeEventCount += int64(len(head.records) - from)
	if from > 0 {
		// The checkpoint moved, and with it the budget of retries begins anew.
		s.applied(head.records[:from])
		head.records, head.invokes = head.records[from:], 0
		l.wait, l.until = 0, time.Time{}
		s.keepState(l, task, state)
		return
	}
	if s.settings.Bisect && len(head.records) > 1 {
		s.halve(l) // which takes nothing of the budget
		s.delay(l, now)
		return
	}
	s.retry(l, now, &o)
}

// retry gives a lane's first batch its next attempt, or gives it up. The outcome is
// nil of one that wasn't invoked.
func (s *Shard) retry(l *lane, now time.Time, o *Outcome) {
	head := &l.work[0]
	if m := s.settings.MaximumRetryAttempts; m == Unlimited || head.invokes <= m {
		s.delay(l, now)
		return
	}
	head.failure = s.newFailure("RetryAttemptsExhausted", l, head, head.invokes, o, now)
	l.wait, l.until = 0, time.Time{}
}

// Reported tells whether the failure destination took a report. It is tried
// again until it does: records that it doesn't have would be lost.
func (s *Shard) Reported(now time.Time, task *Task, err error) {
	l := task.lane
	l.busy = false
	if err != nil {
		s.Counts.DestinationDeliveryFailures++
		s.delay(l, now)
		return
	}
	n := int64(len(task.Records))
	if s.settings.OnFailure == "" {
		s.Counts.DroppedEventCount += n
	} else {
		s.Counts.OnFailureDestinationDeliveredEventCount += n
	}
	s.applied(task.Records)
	l.work = l.work[1:]
	l.wait, l.until = 0, time.Time{}
	if task.Window != nil && task.Window.Final {
		l.window = nil
	}
}

func (s *Shard) applied(records []Record) {
	for i := range records {
		s.finish(records[i].index)
	}
}

// delay keeps a lane from its next attempt, a little longer each time.
func (s *Shard) delay(l *lane, now time.Time) {
	l.wait = min(max(2*l.wait, firstBackoff), lastBackoff)
	l.until = now.Add(l.wait)
}

// judge reads an answer as Lambda does. Of a batch that failed, from is the index
// of the first record that did, and the state is that of those before it.
func (s *Shard) judge(task *Task, o Outcome) (state json.RawMessage, ok bool, from int) {
	if o.FunctionError != "" {
		return nil, false, 0
	}
	var fields map[string]json.RawMessage
	var list []json.RawMessage
	if answer := bytes.TrimSpace(o.Payload); len(answer) > 0 && json.Unmarshal(answer, &fields) != nil {
		// No object: a function that answers something else means nothing by it, unless
		// partial answers or a state are expected of it. An empty list is no failure.
		empty := json.Unmarshal(answer, &list) == nil && len(list) == 0
		return nil, (empty || !s.settings.Partial) && (task.Window == nil || task.Window.Final), 0
	}
	state = fields["state"]
	if w := task.Window; w != nil && !w.Final && (len(state) == 0 || string(state) == "null") {
		return nil, false, 0 // a response without the window's state
	}
	raw, given := fields["batchItemFailures"]
	if !s.settings.Partial || !given {
		return state, true, 0
	}
	// Maps keep the fields' case, which counts.
	var failures []map[string]json.RawMessage
	if json.Unmarshal(raw, &failures) != nil {
		return nil, false, 0
	}
	from = len(task.Records)
	for _, f := range failures {
		var id string
		if json.Unmarshal(f["itemIdentifier"], &id) != nil {
			return nil, false, 0
		}
		i := indexOf(task.Records, id)
		if i < 0 {
			return nil, false, 0 // an unknown one, or none, fails the whole batch
		}
		from = min(from, i)
	}
	return state, len(failures) == 0, from
}

func indexOf(records []Record, sequence string) int {
	for i := range records {
		if records[i].Sequence == sequence {
			return i
		}
	}
	return -1
}

// keepState carries a window's state on, or ends the window.
func (s *Shard) keepState(l *lane, task *Task, state json.RawMessage) {
	switch {
	case task.Window == nil:
	case task.Window.Final:
		l.window = nil
	case len(state) > MaximumState:
		// Lambda ends the window early; what still arrives in it begins with no state.
		l.window.State, l.window.Early = state, true
		l.work = append([]attempt{{final: true}}, l.work...)
	default:
		l.window.State = state
	}
}

// hash spreads keys over lanes, alike in every run (FNV-1a).
func hash(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return h ^ h>>32
}

// Failed reads an answer to the batch as Lambda does: whether it failed, and the
// first record that did.
func (b *Batch) Failed(o Outcome) (from int, failed bool) {
	_, ok, from := (&Shard{settings: b.Settings}).judge(&Task{Batch: *b}, o)
	return from, !ok
}
