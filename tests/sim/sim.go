// Package sim proves a pipeline of stream handlers: it runs them, unchanged, behind
// the very core that `millrace local` polls with, on streams and tables in memory,
// with a clock that jumps and a scheduler that draws from a seed, and breaks
// everything that can break on AWS. One seed is one run, the same every time.
//
// The clock is that of a [testing/synctest] bubble: the handlers' own timeouts and
// pauses are in simulated time. What happens at one instant happens in one step;
// calls that are drawn to be slow land later, between those of other invocations.
//
// A pipeline keeps its promise if, when all is over, every record was applied or
// lies whole in a failure destination, no key was handled out of order, no shard is
// held up, and the mappings' metrics are what was seen to happen. What applied means
// is the scenario's Check. In the end everything is taken out of the failure
// destination and handed to the functions again, and then nothing may be missing.
package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/memory"
)

// Fault is a kind of fault.
type Fault int

// The faults. A seed draws which of them its run has, and how often; each can be
// left out to find the one that matters.
const (
	Crash     Fault = iota // an invocation dies before, amid or after its calls
	Timeout                // calls hang until the function is cut off; some land after the retry began
	CallFails              // a part of an invocation's calls fail, some although they took effect
	Slow                   // calls take their time: invocations overlap
	Throttle               // invocations that can't be made
	Redeploy               // new code: the instances and their memory are gone
	Restart                // a poller dies and begins again at its checkpoint; what it began goes on
	Late                   // invocations that reach the function long after they were sent
	Duplicate              // a producer puts a record again
	Reshard                // shards split, merge and roll over
	Poison                 // records on which a function always dies
	Malformed              // records cut off in their middle
	Away                   // the failure destination is away for a while
	Gone                   // and for good, until everything else is done and somebody looks
	Behind                 // the stream can't be read for a while
	faults
)

func (f Fault) String() string {
	return [...]string{
		"Crash", "Timeout", "CallFails", "Slow", "Throttle", "Redeploy", "Restart", "Late",
		"Duplicate", "Reshard", "Poison", "Malformed", "Away", "Gone", "Behind",
	}[f]
}

// All faults.
func All() []Fault {
	all := make([]Fault, faults)
	for f := range all {
		all[f] = Fault(f)
	}
	return all
}

// Scenario is a pipeline with its workload and its promise. A new one is made for
// each run.
type Scenario interface {
	// Setup defines the pipeline: tables and functions.
	Setup(w *World)
	// Record is the i-th record to put to the world's stream, drawn from r.
	Record(i int, r *rand.Rand) (key string, data []byte)
	// Check says what is wrong when everything is dealt with. It is asked twice: with
	// some records in the failure destination (see [Function.Failed]), and again when
	// those were handed to the functions.
	Check(w *World) error
}

// Actor is a scenario in which something else happens too.
type Actor interface {
	// Act is called now and then while records are put.
	Act(w *World, r *rand.Rand)
}

// Options of a run.
type Options struct {
	// Records to put, 10,000 by default, over Shards, 2 by default.
	Records, Shards int
	// Only these faults, and often; nil lets the seed draw from all.
	Only []Fault
	// Without leaves faults out.
	Without []Fault
	// Trace takes what happened, line by line; nil for none.
	Trace *[]string
}

// World is what a run takes place in.
type World struct {
	options  Options
	scenario Scenario
	rand     *rand.Rand
	seed     uint64
	start    time.Time
	rates    [faults]float64
	pace     time.Duration // how long the producers pause at most

	records   *journal
	functions []*Function

	deliveries []*Delivery

	broken  bool      // until the faults are mended, in the end
	away    time.Time // the failure destination is, until then
	gone    bool
	nextPut time.Time

	kick chan struct{} // something ended by itself

	mu       sync.Mutex // of what follows: calls come from any goroutine
	tables   map[string]*Table
	objects  map[string][]byte
	inFlight int // calls that outlive their invocation
	ended    []*invocation
	wrong    []string
	notes    []note
	rejected int // answers of success to a put of an object
	metrics  bytes.Buffer
}

type note struct {
	at   time.Time
	text string
}

// ErrStuck is a run that made no progress.
var ErrStuck = errors.New("it is stuck")

// Run is one run of scenario by seed. The error says what was lost, doubled,
// inverted or held up.
func Run(t *testing.T, seed uint64, scenario Scenario, options Options) (err error) {
	synctest.Test(t, func(*testing.T) { err = run(seed, scenario, options) })
	return err
}

func run(seed uint64, scenario Scenario, options Options) error {
	options.Records = cmp.Or(options.Records, 10_000)
	options.Shards = cmp.Or(options.Shards, 2)
	w := &World{
		options: options, scenario: scenario, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), start: time.Now(),
		records: newJournal(memory.New(options.Shards)), broken: true, kick: make(chan struct{}, 1),
		tables: map[string]*Table{}, objects: map[string][]byte{},
	}
	w.records.grow(options.Records)
	defer time.Sleep(time.Hour) // what is still in work comes to its end
	w.drawRates()
	scenario.Setup(w)
	for _, f := range w.functions {
		if err := f.Settings.Validate(); err != nil {
			return err
		}
	}
	if err := w.play(); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	if err := w.redrive(); err != nil {
		return fmt.Errorf("what failed is handed over again: %w", err)
	}
	return nil
}

// drawRates: most seeds have most faults, some often.
func (w *World) drawRates() {
	for f := range w.rates {
		w.rates[f] = []float64{0, .5, 1, 3}[w.rand.IntN(4)]
		if w.options.Only != nil {
			w.rates[f] = 0
		}
	}
	for _, f := range w.options.Only {
		w.rates[f] = 10
	}
	for _, f := range w.options.Without {
		w.rates[f] = 0
	}
	w.pace = []time.Duration{200 * time.Millisecond, 2 * time.Second, 20 * time.Second}[w.rand.IntN(3)]
}

// Rand draws from the seed. It is for Setup.
func (w *World) Rand() *rand.Rand { return w.rand }

// Puts are the records that were put, in their order.
func (w *World) Puts() []Put { return w.records.puts }

// Object of the failure bucket, nil if there is none.
func (w *World) Object(key string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.objects[key]
}

// Mended tells whether the faults are over: what lies in the failure destination is
// handed over again.
func (w *World) Mended() bool { return !w.broken }

func (w *World) chance(p float64) bool { return w.rand.Float64() < p }

func (w *World) may(f Fault, p float64) bool {
	happens := w.chance(p * w.rates[f]) // drawn in any case, so that a run without a fault stays alike
	return happens && w.broken
}

// play lets things happen in an order that the seed draws, until all is dealt with.
func (w *World) play() error {
	deadline := time.Now().Add(30 * 24 * time.Hour)
	spins := 0
	actor, acts := w.scenario.(Actor)
	for {
		w.flush()
		if err := w.problem(); err != nil {
			return err
		}
		w.discover()
		putting := w.broken && len(w.records.puts) < w.options.Records
		if putting && !time.Now().Before(w.nextPut) {
			w.put()
			w.nextPut = time.Now().Add(w.upTo(w.pace))
			if acts && w.chance(.5) {
				actor.Act(w, w.rand)
			}
			continue
		}
		if putting && w.misfortune() || w.step() {
			continue
		}
		if !putting && w.over() {
			return w.problem()
		}
		next := w.soonest()
		if putting && (next.IsZero() || w.nextPut.Before(next)) {
			next = w.nextPut
		}
		if next.After(deadline) || next.IsZero() && !w.busy() {
			return fmt.Errorf("%w after %v: %s", ErrStuck, time.Since(w.start), w.state())
		}
		if spins++; next.After(time.Now()) {
			spins = 0
		}
		if spins > 1000 {
			return fmt.Errorf("%w after %v: something is due all the time, and doesn't come", ErrStuck, time.Since(w.start))
		}
		w.waitUntil(next)
		if w.gone && !putting && time.Since(w.nextPut) > time.Hour {
			w.trace("somebody looks, and gives the failure destination back")
			w.gone = false
		}
	}
}

// misfortune befalls the world as a whole.
func (w *World) misfortune() bool {
	f := w.functions[w.rand.IntN(len(w.functions))]
	happened := false
	if w.may(Reshard, .002) {
		f.journal.reshard(w)
		happened = true
	}
	if w.may(Restart, .003) && len(f.order) > 0 {
		f.restart(f.order[w.rand.IntN(len(f.order))])
		happened = true
	}
	if w.may(Redeploy, .005) {
		w.trace("%s is deployed anew", f.Name)
		f.idle = nil
		happened = true
	}
	if w.may(Behind, .002) {
		f.blind = time.Now().Add(w.upTo(3 * time.Minute))
		w.trace("%s can't read until %s", f.Name, w.clock(f.blind))
		happened = true
	}
	if w.may(Away, .001) {
		w.away = time.Now().Add(w.upTo(20 * time.Minute))
		w.trace("the failure destination is away until %s", w.clock(w.away))
		happened = true
	}
	if w.may(Gone, .0002) && !w.gone {
		w.gone = true
		w.trace("the failure destination is gone")
		happened = true
	}
	return happened
}

func (w *World) upTo(d time.Duration) time.Duration { return time.Duration(w.rand.Int64N(int64(d))) }

func (w *World) put() {
	n := min(1+w.rand.IntN(400), w.options.Records-len(w.records.puts))
	for range n {
		i := len(w.records.puts)
		var p Put
		if w.may(Duplicate, .01) && i > 0 {
			p = w.records.puts[max(0, i-1-w.rand.IntN(300))]
		} else {
			p.Made = i
			p.Key, p.Data = w.scenario.Record(i, w.rand)
			if w.may(Malformed, .003) && len(p.Data) > 2 {
				p.Data, p.Malformed = p.Data[:1+w.rand.IntN(len(p.Data)-2)], true
			}
		}
		w.records.put(p)
		if w.options.Trace != nil {
			p = w.records.puts[i]
			w.trace("put %s on %s: %s", short(p.Sequence), p.Shard, p.Data)
		}
	}
}

// step does what can be done now, and tells whether there was anything.
func (w *World) step() bool {
	did := false
	for _, f := range w.functions {
		did = f.poll() || did
		did = f.take() || did
	}
	for _, d := range w.deliveries {
		did = d.step() || did
	}
	did = w.finish() || did
	return did
}

func (w *World) discover() {
	for _, f := range w.functions {
		f.discover()
	}
}

// over tells whether everything is dealt with.
func (w *World) over() bool {
	if w.landing() {
		return false
	}
	for _, f := range w.functions {
		if !f.over() {
			return false
		}
	}
	for _, d := range w.deliveries {
		if !d.over() {
			return false
		}
	}
	return true
}

// landing tells whether calls are in flight that nobody waits for.
func (w *World) landing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inFlight > 0
}

// busy tells whether something will end by itself.
func (w *World) busy() bool {
	return w.landing() || slices.ContainsFunc(w.functions, func(f *Function) bool { return len(f.running) > 0 })
}

// soonest is when something is due next; the zero time means when something ends.
func (w *World) soonest() time.Time {
	var soonest time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (soonest.IsZero() || t.Before(soonest)) {
			soonest = t
		}
	}
	for _, f := range w.functions {
		at(f.soonest())
	}
	for _, d := range w.deliveries {
		at(d.soonest())
	}
	return soonest
}

// waitUntil lets time pass, until then or until something ended.
func (w *World) waitUntil(at time.Time) {
	if at.IsZero() {
		<-w.kick
	} else if d := time.Until(at); d > 0 {
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-w.kick:
		}
		timer.Stop()
	}
	synctest.Wait()
	w.flush()
}

func (w *World) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// flush makes the changes of an instant into records of the tables' streams. The
// handlers' goroutines made them in any order: what they did at one instant is
// sorted, so that it doesn't matter.
func (w *World) flush() {
	for _, f := range w.functions {
		if f.Changes != nil {
			f.Changes.flush()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.notes, func(a, b note) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.text, b.text)) })
	for _, n := range w.notes {
		*w.options.Trace = append(*w.options.Trace, w.clock(n.at)+" "+n.text)
	}
	w.notes = w.notes[:0]
}

// trace is for the scheduler.
func (w *World) trace(format string, args ...any) {
	if w.options.Trace != nil {
		w.flush()
		*w.options.Trace = append(*w.options.Trace, w.clock(time.Now())+" "+fmt.Sprintf(format, args...))
	}
}

// note is for everything else; w.mu is held.
func (w *World) note(format string, args ...any) {
	if w.options.Trace != nil {
		w.notes = append(w.notes, note{time.Now(), fmt.Sprintf(format, args...)})
	}
}

func (w *World) clock(t time.Time) string { return fmt.Sprintf("%9.3fs", t.Sub(w.start).Seconds()) }

// problem is what went wrong so far.
func (w *World) problem() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wrong) == 0 {
		return nil
	}
	return errors.New(slices.Min(w.wrong))
}

// blame notes what went wrong; w.mu is held.
func (w *World) blame(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *World) state() string {
	var parts []string
	for _, f := range w.functions {
		for _, s := range f.order {
			if !s.ended && s.Waiting() > 0 {
				parts = append(parts, fmt.Sprintf("%d records of %s wait for %s after %s", s.Waiting(), s.ID, f.Name, short(s.Checkpoint())))
			}
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

// draw is a number from 0 to 1 that depends on nothing but salt and name: handlers
// make their calls in any order.
func draw(salt uint64, name string) float64 {
	h := salt ^ 14695981039346656037
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return unit(h)
}

func unit(h uint64) float64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return float64(h>>11) / (1 << 53)
}
