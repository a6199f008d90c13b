// Package esmtest is what an [esm.Source] must do, and an [esm.Mapping] over it: one
// suite for the streams in memory and for those behind AWS's APIs.
package esmtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/local/esm"
)

// Stream is a source under test, empty at first, with what fills it.
type Stream interface {
	esm.Source
	// Kind of the source, and its ARN.
	Kind() esm.Kind
	ARN() string
	// Put writes a record with that partition key; or replaces the item with that
	// key of a table, whose attribute "data" holds the bytes.
	Put(key string, data []byte) error
	// Expired is an iterator of a shard that is too old.
	Expired(ctx context.Context, shard string) (string, error)
}

// Resharder is a Stream whose shards split and merge.
type Resharder interface {
	// Split splits the first open shard; Merge merges the first two.
	Split() error
	Merge() error
}

// Table is a Stream of a table's changes.
type Table interface {
	Delete(key string) error
	// Disable ends the stream.
	Disable() error
}

// Options of [Run].
type Options struct {
	// Deviations are what the stream is known to do otherwise, with the reason: names
	// of tests of the suite. A test among them must fail, or the suite does.
	Deviations map[string]string
	// In runs each test, as a bubble of synctest does; nil just calls it.
	In func(*testing.T, func(*testing.T))
}

// Run runs the suite, each test on a stream of its own: two shards of Kinesis, or a
// table with the key "id".
func Run(t *testing.T, open func(*testing.T) Stream, options Options) {
	in := options.In
	if in == nil {
		in = func(t *testing.T, run func(*testing.T)) { run(t) }
	}
	unknown := maps.Clone(options.Deviations)
	for _, test := range append(sourceTests(), mappingTests()...) {
		reason, deviates := options.Deviations[test.name]
		delete(unknown, test.name)
		t.Run(test.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t)
				if test.only != nil && !test.only(s) {
					t.SkipNow()
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				e := &env{failer: t, Stream: s, ctx: ctx, deviations: options.Deviations}
				if !deviates {
					test.run(e)
					return
				}
				failures := failuresOf(e, test.run)
				if len(failures) == 0 {
					t.Errorf("it does this as AWS does now, and no longer deviates: %s", reason)
				}
				t.Logf("deviates: %s\n%s", reason, strings.Join(failures, "\n"))
			})
		})
	}
	for name := range unknown {
		t.Errorf("no test is called %q: it can't deviate", name)
	}
}

type suiteTest struct {
	name string
	only func(Stream) bool // nil for every stream
	run  func(*env)
}

func kinesisOnly(s Stream) bool { return s.Kind() == esm.Kinesis }

func resharderOnly(s Stream) bool { _, ok := s.(Resharder); return ok }

func tableOnly(s Stream) bool { _, ok := s.(Table); return ok }

// failer is what a test tells its failures.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// env is a test's surroundings.
type env struct {
	failer
	Stream
	ctx        context.Context
	deviations map[string]string
}

// recorder keeps failures rather than telling them.
type recorder struct {
	mu       sync.Mutex
	failures []string
}

func (*recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func failuresOf(e *env, run func(*env)) []string {
	r := &recorder{}
	var running sync.WaitGroup
	running.Go(func() {
		recording := *e
		recording.failer = r
		run(&recording)
	})
	running.Wait()
	return r.failures
}

func (e *env) deviates(name string) bool {
	_, deviates := e.deviations[name]
	return deviates
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("%v", err)
	}
}

// fill puts n numbered records, over so many keys in turn, and returns their data.
func (e *env) fill(n, keys int) []string {
	e.Helper()
	var all []string
	for i := range n {
		key := fmt.Sprint("key-", i%keys)
		data := fmt.Sprintf("%s %d", key, i/keys+1)
		e.must(e.Put(key, []byte(data)))
		all = append(all, data)
	}
	return all
}

// shards lists them, in the order of their names.
func (e *env) shards() []esm.ShardInfo {
	e.Helper()
	infos, err := e.Shards(e.ctx)
	e.must(err)
	slices.SortFunc(infos, func(a, b esm.ShardInfo) int { return strings.Compare(a.ID, b.ID) })
	return infos
}

// read reads a shard from an iterator until it is closed or has nothing, a few
// times over. It returns the last iterator.
func (e *env) read(iterator string, limit int) (records []esm.Record, next string) {
	e.Helper()
	for empty := 0; empty < 3 && iterator != ""; {
		got, next, err := e.Read(e.ctx, iterator, limit)
		e.must(err)
		if len(got) > limit {
			e.Fatalf("%d records where %d were wanted", len(got), limit)
		}
		if len(got) == 0 {
			empty++
			time.Sleep(time.Millisecond)
		}
		records, iterator = append(records, got...), next
	}
	return records, iterator
}

// readFrom is read from a position, or after a sequence number, of all shards.
func (e *env) readFrom(from esm.Position, after string) (records []esm.Record) {
	e.Helper()
	for _, shard := range e.shards() {
		iterator, err := e.Iterator(e.ctx, shard.ID, from, after)
		e.must(err)
		got, _ := e.read(iterator, 1000)
		records = append(records, got...)
	}
	return records
}

// data is what was put of a record.
func (e *env) data(r *esm.Record) string {
	e.Helper()
	if e.Kind() == esm.Kinesis {
		return string(r.Data)
	}
	var change struct {
		DynamoDB struct {
			NewImage struct {
				Data struct{ B []byte } `json:"data"`
			}
		} `json:"dynamodb"`
	}
	if err := json.Unmarshal(r.Data, &change); err != nil {
		e.Fatalf("%v in %s", err, r.Data)
	}
	return string(change.DynamoDB.NewImage.Data.B)
}

func (e *env) dataOf(records []esm.Record) []string {
	e.Helper()
	all := make([]string, len(records))
	for i := range records {
		all[i] = e.data(&records[i])
	}
	return all
}

// same compares without order.
func (e *env) same(what string, got, want []string) {
	e.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		e.Errorf("%s: got %d %.300q, want %d %.300q", what, len(got), got, len(want), want)
	}
}

// eventually waits until ok, for as long as the test may take.
func (e *env) eventually(what string, ok func() bool) {
	e.Helper()
	for !ok() {
		if e.ctx.Err() != nil {
			e.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
