package esm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/local/invoke"
)

// Source is a stream of shards. What it must do is in package esmtest.
type Source interface {
	// Shards lists all shards that can still be read, parents too.
	Shards(ctx context.Context) ([]ShardInfo, error)
	// Iterator begins to read a shard: from Position, or after a sequence number
	// where one is given, or with the oldest record if that one is gone.
	// [ErrNoShard] says that there is no such shard, any more or yet.
	Iterator(ctx context.Context, shard string, from Position, after string) (string, error)
	// Read returns up to limit records and the next iterator, which is empty at the
	// end of a closed shard. [ErrIteratorExpired] asks for a new iterator, and
	// [ErrNoShard] is as of Iterator.
	Read(ctx context.Context, iterator string, limit int) (records []Record, next string, err error)
}

// What a [Source] answers besides errors that are tried again.
var (
	ErrIteratorExpired = errors.New("the iterator has expired")
	ErrNoShard         = errors.New("there is no such shard")
)

// ShardInfo is a shard with those that it came from by a split or a merge.
type ShardInfo struct {
	ID      string
	Parents []string
}

// Function is what a mapping invokes.
type Function interface {
	Invoke(ctx context.Context, batch *Batch) Outcome
}

// Over hands batches to an invoker, as events.
func Over(i invoke.Invoker) Function { return over{i} }

type over struct{ invoke.Invoker }

func (f over) Invoke(ctx context.Context, batch *Batch) Outcome {
	result, err := f.Invoker.Invoke(ctx, batch.Payload())
	return Outcome{
		Err: err, FunctionError: result.FunctionError, Payload: result.Payload,
		ExecutedVersion: result.ExecutedVersion, RequestID: result.RequestID,
	}
}

// Destination takes what is given up.
type Destination interface {
	// Send delivers the failure of a batch; an error is tried again.
	Send(ctx context.Context, task *Task) error
}

// Clock tells the time, and waits.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Options of a [Mapping]. Source and Function are required.
type Options struct {
	Source   Source
	Function Function
	// OnFailure takes what is given up; required if the settings name a destination.
	OnFailure Destination
	// Clock is the machine's by default.
	Clock Clock
	// Poll is the pause after a read that found less than it might have, by default 1 s
	// for Kinesis and 250 ms for DynamoDB, as Lambda's; it doubles with each read that
	// fails, up to 10 s. Discover is the pause between two looks for new shards, 10 s by
	// default.
	Poll, Discover time.Duration
	// Resume goes on where a mapping stopped; nil, or one that never listed its
	// shards, begins at the settings' Start.
	Resume *Checkpoint
	// Problem is told what goes wrong and is tried again; nil keeps silent.
	Problem func(shard string, err error)
}

// Checkpoint is how far a mapping came.
type Checkpoint struct {
	// Began is when the mapping first listed the shards. LATEST is of that time.
	Began time.Time `json:"began"`
	// After is, of each shard, the sequence number up to which everything is dealt
	// with; empty for nothing. Shards that it lacks came later: they are read whole.
	After map[string]string `json:"after"`
}

// Mapping polls a stream and invokes a function, as an event source mapping does.
type Mapping struct {
	settings *Settings
	options  Options

	mu     sync.Mutex
	shards map[string]*poller
	ended  map[string]bool // shards that are read to their end
	begin  Checkpoint      // where the shards that were there at first are read from
}

// poller is one shard in work.
type poller struct {
	*Shard
	from  Position
	after string
	first bool // the shard was listed just now, and for the first time

	mu     sync.Mutex
	closed bool          // read to its end
	wake   chan struct{} // there may be something to do
	room   chan struct{} // there may be room to read more
}

// New is a mapping that doesn't run yet.
func New(settings *Settings, options Options) (*Mapping, error) {
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	if settings.OnFailure != "" && options.OnFailure == nil {
		return nil, fmt.Errorf("event source mapping %s: nothing sends to its failure destination %s", settings.UUID, settings.OnFailure)
	}
	if options.Clock == nil {
		options.Clock = realClock{}
	}
	if options.Poll == 0 {
		options.Poll = time.Second
		if settings.Kind == DynamoDB {
			options.Poll /= 4
		}
	}
	if options.Discover == 0 {
		options.Discover = 10 * time.Second
	}
	if options.Problem == nil {
		options.Problem = func(string, error) {}
	}
	m := &Mapping{settings: settings, options: options, shards: map[string]*poller{}, ended: map[string]bool{}}
	if options.Resume != nil {
		m.begin = Checkpoint{Began: options.Resume.Began, After: maps.Clone(options.Resume.After)}
	}
	return m, nil
}

// Settings of the mapping.
func (m *Mapping) Settings() *Settings { return m.settings }

// Run polls until ctx ends. A shard is read once its parents are drained, so that
// the records of a key stay in order through splits and merges.
func (m *Mapping) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	drained := make(chan struct{}, 1)
	for {
		infos, err := m.options.Source.Shards(ctx)
		if err != nil {
			m.options.Problem("", fmt.Errorf("list shards: %w", err))
		}
		for _, p := range m.ready(infos, err == nil) {
			running.Go(func() {
				m.runShard(ctx, p)
				signal(drained)
			})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-drained:
		case <-m.options.Clock.After(m.options.Discover):
		}
	}
}

// ready are pollers of shards that aren't in work and whose parents are drained, or
// gone before they were in work.
func (m *Mapping) ready(infos []ShardInfo, listed bool) []*poller {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := listed && m.begin.Began.IsZero()
	if first {
		m.begin = Checkpoint{Began: m.options.Clock.Now(), After: map[string]string{}}
		for _, info := range infos {
			m.begin.After[info.ID] = ""
		}
	}
	known := map[string]bool{}
	for _, info := range infos {
		known[info.ID] = true
	}
	var ready []*poller
	for _, info := range infos {
		waits := slices.ContainsFunc(info.Parents, func(parent string) bool {
			return (known[parent] || m.shards[parent] != nil) && !m.ended[parent]
		})
		if m.shards[info.ID] != nil || waits {
			continue
		}
		p := &poller{
			Shard: NewShard(m.settings, info.ID), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
			from: Position{Type: "TRIM_HORIZON"}, // of a shard that came later, nothing is skipped
		}
		if after, ok := m.begin.After[info.ID]; ok {
			p.from, p.after, p.first = m.settings.Start, after, first
			p.Resume(after)
		}
		m.shards[info.ID] = p
		ready = append(ready, p)
	}
	return ready
}

// runShard reads and works one shard off, until it is drained or ctx ends.
func (m *Mapping) runShard(ctx context.Context, p *poller) {
	ctx, stop := context.WithCancel(ctx)
	var lanes sync.WaitGroup
	lanes.Go(func() { m.read(ctx, p) })
	for range m.settings.Parallelization {
		lanes.Go(func() { m.work(ctx, stop, p) })
	}
	lanes.Wait()
	stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed && p.Drained() {
		m.ended[p.ID] = true
	}
}

func (m *Mapping) read(ctx context.Context, p *poller) {
	clock := m.options.Clock
	iterator, last, pause, failed := "", p.after, time.Duration(0), 0
	from, since, first, fresh := p.from, time.Time{}, p.first, false
	for ctx.Err() == nil {
		var err error
		p.mu.Lock()
		wants := p.Wants()
		p.mu.Unlock()
		switch {
		case wants <= 0:
			select {
			case <-ctx.Done():
			case <-p.room:
			}
			continue
		case iterator == "":
			if last == "" && !first {
				from, since = m.latest(p.from)
			}
			first = false
			if iterator, err = m.options.Source.Iterator(ctx, p.ID, from, last); err == nil {
				fresh = true
				continue
			}
		default:
			var records []Record
			var next string
			asked := clock.Now()
			records, next, err = m.options.Source.Read(ctx, iterator, wants)
			if errors.Is(err, ErrIteratorExpired) {
				if iterator = ""; !fresh { // else a new one would expire as well
					continue
				}
			}
			if err == nil {
				iterator, pause, failed, fresh = next, 0, 0, false
				if n := len(records); n > 0 {
					last = records[n-1].Sequence
				}
				if len(records) < wants {
					pause = m.options.Poll // that was all there was
				}
				records = slices.DeleteFunc(records, func(r Record) bool { return r.Arrival.Before(since) })
				p.mu.Lock()
				p.Offer(clock.Now(), records)
				if pause > 0 {
					p.CaughtUp(asked)
				}
				p.closed = next == ""
				p.mu.Unlock()
				signal(p.wake)
				if next == "" {
					return
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			m.options.Problem(p.ID, err)
			pause = min(m.options.Poll<<min(failed, 10), max(m.options.Poll, lastBackoff))
			failed++
			if errors.Is(err, ErrNoShard) {
				if m.gone(ctx, p.ID) {
					p.mu.Lock()
					p.closed = true
					p.mu.Unlock()
					signal(p.wake)
					return
				}
				iterator = ""
			}
		}
		if pause > 0 {
			select {
			case <-ctx.Done():
			case <-clock.After(pause):
			}
		}
	}
}

// latest is where the newest record was when the mapping began: a later iterator
// for LATEST would skip what came in between. Where the source can't begin at a
// time, what arrived before since has to be dropped.
func (m *Mapping) latest(from Position) (_ Position, since time.Time) {
	if from.Type != "LATEST" {
		return from, time.Time{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settings.Kind == Kinesis {
		return Position{Type: "AT_TIMESTAMP", Time: m.begin.Began}, time.Time{}
	}
	return Position{Type: "TRIM_HORIZON"}, m.begin.Began.Truncate(time.Second) // as arrivals are
}

// gone tells whether a stream that is there doesn't list a shard.
func (m *Mapping) gone(ctx context.Context, id string) bool {
	infos, err := m.options.Source.Shards(ctx)
	return err == nil && !slices.ContainsFunc(infos, func(info ShardInfo) bool { return info.ID == id })
}

// work does a shard's tasks, one after the other; there are as many workers as
// batches may be in work at once.
func (m *Mapping) work(ctx context.Context, stop func(), p *poller) {
	clock := m.options.Clock
	for ctx.Err() == nil {
		now := clock.Now()
		p.mu.Lock()
		task, at := p.Next(now, p.closed)
		over := task == nil && p.closed && p.Drained()
		p.mu.Unlock()
		if over {
			stop()
			return
		}
		if task == nil {
			var due <-chan time.Time
			if !at.IsZero() {
				due = clock.After(at.Sub(now))
			}
			select {
			case <-ctx.Done():
			case <-p.wake:
			case <-due:
			}
			continue
		}
		signal(p.wake) // there may be more, for the next worker
		if task.Kind == Report {
			var err error
			if m.settings.OnFailure != "" {
				err = m.options.OnFailure.Send(ctx, task)
			}
			if err != nil {
				m.options.Problem(p.ID, fmt.Errorf("send to the failure destination: %w", err))
			}
			p.mu.Lock()
			p.Reported(clock.Now(), task, err)
			p.mu.Unlock()
		} else {
			outcome := m.options.Function.Invoke(ctx, &task.Batch)
			if outcome.Err != nil && ctx.Err() == nil {
				m.options.Problem(p.ID, fmt.Errorf("invoke the function: %w", outcome.Err))
			}
			p.mu.Lock()
			p.Invoked(clock.Now(), task, outcome)
			p.mu.Unlock()
		}
		signal(p.wake)
		signal(p.room)
	}
}

// signal wakes one that waits, now or when it next waits.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Status of a shard.
type Status struct {
	Shard      string
	Checkpoint string // sequence number up to which everything is dealt with
	Waiting    int    // records that were read and aren't dealt with
	// IteratorAge is how old the last record of the last batch was when its
	// invocation ended.
	IteratorAge time.Duration
	Drained     bool // closed, and dealt with to its end
	Counts
}

// Status of every shard, in the order of their names.
func (m *Mapping) Status() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Status
	for id, p := range m.shards {
		p.mu.Lock()
		all = append(all, Status{
			Shard: id, Checkpoint: p.Checkpoint(), Waiting: p.Waiting(),
			IteratorAge: p.IteratorAge, Drained: m.ended[id], Counts: p.Counts,
		})
		p.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Status) int {
		if a.Shard < b.Shard {
			return -1
		}
		return 1
	})
	return all
}

// Checkpoint is how far the mapping came, for [Options.Resume]: call it when Run
// has returned, and nothing is lost or doubled by it but what was in work.
func (m *Mapping) Checkpoint() Checkpoint {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := Checkpoint{Began: m.begin.Began, After: maps.Clone(m.begin.After)}
	for id, p := range m.shards {
		p.mu.Lock()
		if after := p.Checkpoint(); after != "" {
			c.After[id] = after
		}
		p.mu.Unlock()
	}
	return c
}
