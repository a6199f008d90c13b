package producer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/producer"
)

// stream is an in-memory stream with faults: fail decides about each entry of
// each call (counted from 1), err about whole calls.
type stream struct {
	fail  func(call, entry int) string // an error code, "" takes the entry
	err   func(call int) error
	mu    sync.Mutex
	calls []int // entries per call
	bytes []int // data and keys per call
	taken []string
}

func (s *stream) PutRecords(ctx context.Context, in *kinesis.PutRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	size := 0
	for _, r := range in.Records {
		size += len(r.Data) + len(aws.ToString(r.PartitionKey))
	}
	s.calls, s.bytes = append(s.calls, len(in.Records)), append(s.bytes, size)
	call := len(s.calls)
	if s.err != nil {
		if err := s.err(call); err != nil {
			return nil, err
		}
	}
	out := &kinesis.PutRecordsOutput{}
	for i, r := range in.Records {
		code := ""
		if s.fail != nil {
			code = s.fail(call, i)
		}
		if code != "" {
			out.Records = append(out.Records, types.PutRecordsResultEntry{ErrorCode: aws.String(code), ErrorMessage: aws.String("slow down")})
			continue
		}
		s.taken = append(s.taken, string(r.Data))
		out.Records = append(out.Records, types.PutRecordsResultEntry{SequenceNumber: aws.String(fmt.Sprint(len(s.taken)))})
	}
	return out, nil
}

// clock stands still except while somebody sleeps.
type clock struct {
	now    time.Time
	slept  []time.Duration
	wakeUp error
}

func (c *clock) options(o producer.Options) producer.Options {
	o.Now = func() time.Time { return c.now }
	o.Sleep = func(_ context.Context, d time.Duration) error {
		c.slept = append(c.slept, d)
		c.now = c.now.Add(d)
		return c.wakeUp
	}
	o.Jitter = func() float64 { return 1 }
	return o
}

func add(t *testing.T, p *producer.Producer, n int) error {
	t.Helper()
	for i := range n {
		if err := p.Add(t.Context(), producer.Record{PartitionKey: "k", Data: []byte(fmt.Sprint(i))}); err != nil {
			return err
		}
	}
	return nil
}

func newProducer(t *testing.T, s *stream, o producer.Options) *producer.Producer {
	t.Helper()
	p, err := producer.New(s, "telemetry", o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustFlush(t *testing.T, p *producer.Producer, n int) {
	t.Helper()
	if err := errors.Join(add(t, p, n), p.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, want, got []T) {
	t.Helper()
	if fmt.Sprint(want) != fmt.Sprint(got) {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

func TestCallsAreFull(t *testing.T) {
	s := &stream{}
	mustFlush(t, newProducer(t, s, producer.Options{}), 1201)
	equal(t, "entries per call", []int{500, 500, 201}, s.calls)
}

func TestCallsKeepToTheBytesLimit(t *testing.T) {
	s := &stream{}
	p := newProducer(t, s, producer.Options{})
	for range 11 {
		// With its key, a record is exactly 1 MiB, the most that is allowed.
		if err := p.Add(t.Context(), producer.Record{PartitionKey: "k", Data: make([]byte, 1<<20-1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "bytes per call", []int{5 << 20, 5 << 20, 1 << 20}, s.bytes)
}

func TestOnlyFailedEntriesAreSentAgain(t *testing.T) {
	s := &stream{fail: func(call, entry int) string {
		if call < 3 && entry%2 == 0 {
			return "ProvisionedThroughputExceededException"
		}
		return ""
	}}
	c := &clock{}
	var observed []int
	p := newProducer(t, s, c.options(producer.Options{Acknowledged: func(r []producer.Record) { observed = append(observed, len(r)) }}))
	mustFlush(t, p, 8)
	equal(t, "entries per call", []int{8, 4, 2}, s.calls)
	equal(t, "taken", []string{"1", "3", "5", "7", "2", "6", "0", "4"}, s.taken)
	equal(t, "observed", []int{4, 2, 2}, observed)
	equal(t, "waits", []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, c.slept)
	if p.Acknowledged() != 8 || p.Pending() != 0 {
		t.Errorf("acknowledged %d, pending %d", p.Acknowledged(), p.Pending())
	}
}

func TestThrottledCallsAreSentAgain(t *testing.T) {
	s := &stream{err: func(call int) error {
		if call <= 8 {
			return &types.ProvisionedThroughputExceededException{}
		}
		return nil
	}}
	c := &clock{}
	mustFlush(t, newProducer(t, s, c.options(producer.Options{})), 3)
	ms := time.Millisecond
	equal(t, "waits double up to the maximum",
		[]time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}, c.slept)
	equal(t, "taken", []string{"0", "1", "2"}, s.taken)
}

func TestGivingUpTellsWhatIsUnsentAndKeepsIt(t *testing.T) {
	broken := true
	s := &stream{fail: func(_, entry int) string {
		if broken && entry < 2 {
			return "InternalFailure"
		}
		return ""
	}}
	c := &clock{}
	p := newProducer(t, s, c.options(producer.Options{Attempts: 3}))
	if err := add(t, p, 5); err != nil {
		t.Fatal(err)
	}
	var unsent *producer.UnsentError
	if err := p.Flush(t.Context()); !errors.As(err, &unsent) {
		t.Fatalf("error %v", err)
	}
	if unsent.Records != 2 || unsent.Code != "InternalFailure" || !strings.Contains(unsent.Error(), "2 records remain unsent") {
		t.Errorf("got %v", unsent)
	}
	equal(t, "entries per call", []int{5, 2, 2}, s.calls)
	if p.Acknowledged() != 3 || p.Pending() != 2 {
		t.Errorf("acknowledged %d, pending %d", p.Acknowledged(), p.Pending())
	}
	broken = false
	if err := p.Flush(t.Context()); err != nil || p.Acknowledged() != 5 {
		t.Errorf("a later flush: %v, acknowledged %d", err, p.Acknowledged())
	}
}

func TestAShardThatTakesABatchLittleByLittleIsNotGivenUp(t *testing.T) {
	s := &stream{fail: func(call, entry int) string {
		if call%2 == 1 && entry == 0 { // every other call takes one record
			return ""
		}
		return "ProvisionedThroughputExceededException"
	}}
	c := &clock{}
	p := newProducer(t, s, c.options(producer.Options{Attempts: 3, MaxDelay: 400 * time.Millisecond}))
	mustFlush(t, p, 8)
	equal(t, "taken", []string{"0", "1", "2", "3", "4", "5", "6", "7"}, s.taken)
	ms := time.Millisecond
	equal(t, "waits grow all the same", []time.Duration{100 * ms, 200 * ms, 400 * ms, 400 * ms}, c.slept[:4])
}

func TestUnsentRecordsCountTowardsTheNextCallsBytes(t *testing.T) {
	s := &stream{fail: func(call, entry int) string {
		if call == 1 && entry > 0 {
			return "InternalFailure"
		}
		return ""
	}}
	p := newProducer(t, s, producer.Options{Attempts: 1, BatchBytes: 30})
	record := producer.Record{PartitionKey: "k", Data: make([]byte, 9)}
	for range 3 {
		if err := p.Add(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err == nil || p.Pending() != 2 {
		t.Fatalf("%v, pending %d", err, p.Pending())
	}
	for range 2 {
		if err := p.Add(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "bytes per call", []int{30, 30}, s.bytes)
}

func TestLastingErrorsAreNotRetried(t *testing.T) {
	s := &stream{err: func(int) error { return &types.ResourceNotFoundException{} }}
	p := newProducer(t, s, producer.Options{})
	if err := add(t, p, 5); err != nil {
		t.Fatal(err)
	}
	var unsent *producer.UnsentError
	if err := p.Flush(t.Context()); !errors.As(err, &unsent) || unsent.Records != 5 || unsent.Code != "ResourceNotFoundException" {
		t.Errorf("got %v", err)
	}
	equal(t, "entries per call", []int{5}, s.calls)
}

func TestCancellingEndsTheWaiting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{err: func(int) error { cancel(); return &types.ProvisionedThroughputExceededException{} }}
	p := newProducer(t, s, producer.Options{BaseDelay: time.Hour, MaxDelay: time.Hour})
	if err := add(t, p, 5); err != nil {
		t.Fatal(err)
	}
	var unsent *producer.UnsentError
	err := p.Flush(ctx)
	if !errors.As(err, &unsent) || unsent.Records != 5 || p.Pending() != 5 {
		t.Errorf("got %v", err)
	}
	if err := p.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	interrupted := &clock{wakeUp: context.DeadlineExceeded}
	s = &stream{err: func(int) error { return &types.ProvisionedThroughputExceededException{} }}
	p = newProducer(t, s, interrupted.options(producer.Options{}))
	err = errors.Join(add(t, p, 1), p.Flush(t.Context()))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &unsent) || unsent.Code != "ProvisionedThroughputExceededException" {
		t.Errorf("interrupted while waiting: %v", err)
	}
}

func TestRateIsKeptOnAverage(t *testing.T) {
	for name, c := range map[string]struct {
		rate  float64
		n     int
		calls []int
		took  time.Duration // the last batch goes out at this time
	}{
		"slower than a full batch a second": {100, 250, []int{100, 100, 50}, 2 * time.Second},
		"faster":                            {1000, 2000, []int{500, 500, 500, 500}, 1500 * time.Millisecond},
		"less than one a second":            {0.5, 3, []int{1, 1, 1}, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s, clk := &stream{}, &clock{}
			mustFlush(t, newProducer(t, s, clk.options(producer.Options{Rate: c.rate})), c.n)
			equal(t, "entries per call", c.calls, s.calls)
			if took := clk.now.Sub(time.Time{}); took != c.took {
				t.Errorf("took %v, want %v", took, c.took)
			}
		})
	}
}

func TestRecordsBeyondALimitAreRefused(t *testing.T) {
	p := newProducer(t, &stream{}, producer.Options{})
	for name, r := range map[string]producer.Record{
		"no key":       {Data: []byte("x")},
		"a long key":   {PartitionKey: strings.Repeat("k", 257)},
		"too much":     {PartitionKey: "k", Data: make([]byte, 1<<20)},
		"way too much": {PartitionKey: "k", Data: make([]byte, 6<<20)},
		"no text":      {PartitionKey: "k\xff"},
		"no number":    {PartitionKey: "k", ExplicitHashKey: "-1"},
		"an octal one": {PartitionKey: "k", ExplicitHashKey: "07"},
		"2^128":        {PartitionKey: "k", ExplicitHashKey: "340282366920938463463374607431768211456"},
	} {
		var refused *producer.RecordError
		if err := p.Add(t.Context(), r); !errors.As(err, &refused) || p.Pending() != 0 {
			t.Errorf("%s: %v, pending %d", name, err, p.Pending())
		}
	}
	if err := p.Add(t.Context(), producer.Record{PartitionKey: strings.Repeat("ü", 256), ExplicitHashKey: "0"}); err != nil {
		t.Errorf("256 characters: %v", err)
	}
}

func TestNewNamesEveryInvalidOption(t *testing.T) {
	_, err := producer.New(&stream{}, "", producer.Options{
		BatchRecords: 501, BatchBytes: 11 << 20, RecordBytes: 12 << 20, Attempts: -1, BaseDelay: -1, MaxDelay: -2, Rate: -1,
		Ordered: true, Aggregate: &kpl.Options{Bytes: 1, RecordBytes: 7},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	if _, err := producer.New(nil, "telemetry", producer.Options{}); err == nil || !strings.Contains(err.Error(), "the client is nil") {
		t.Errorf("without a client: %v", err)
	}
	for _, field := range []string{"no name", "BatchRecords", "BatchBytes is", "RecordBytes", "Attempts", "BaseDelay is", "MaxDelay", "Rate", "Ordered and Aggregate without Shards", "Aggregate.RecordBytes", "Aggregate: kpl"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q doesn't say %q", err, field)
		}
	}
}

// backwards is a stream that puts every record before the one before it.
type backwards struct{ puts int }

func (b *backwards) PutRecords(_ context.Context, in *kinesis.PutRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	out := &kinesis.PutRecordsOutput{}
	for range in.Records {
		b.puts++
		out.Records = append(out.Records, types.PutRecordsResultEntry{ShardId: aws.String("shardId-0"), SequenceNumber: aws.String(fmt.Sprint(1000 - b.puts))})
	}
	return out, nil
}

func TestAStreamThatDoesntKeepTheOrderIsFoundOut(t *testing.T) {
	for ordered, inverted := range map[bool]int{true: 3, false: 0} {
		p, err := producer.New(&backwards{}, "telemetry", producer.Options{Ordered: ordered})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b", "a", "a", "c", "b"} {
			if err := p.Add(t.Context(), producer.Record{PartitionKey: key}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.Stats().Inverted; got != inverted {
			t.Errorf("ordered %v: %d are inverted, want %d", ordered, got, inverted)
		}
	}
}

func TestOrderedCallsHaveOneRecordOfAKey(t *testing.T) {
	s := &stream{fail: func(call, entry int) string {
		if call == 1 && entry == 0 {
			return "InternalFailure"
		}
		return ""
	}}
	c := &clock{}
	p := newProducer(t, s, c.options(producer.Options{Ordered: true}))
	for i, key := range []string{"a", "a", "b", "a", "c", "b"} {
		if err := p.Add(t.Context(), producer.Record{PartitionKey: key, Data: fmt.Append(nil, key, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "entries per call", []int{3, 2, 1, 1}, s.calls)
	equal(t, "taken", []string{"b2", "c4", "a0", "b5", "a1", "a3"}, s.taken)
	equal(t, "waits", []time.Duration{100 * time.Millisecond}, c.slept) // only after what failed
}

func TestAnOrderedProducerWaitsForWhatFailedBeforeItTakesMore(t *testing.T) {
	s := &stream{fail: func(call, entry int) string {
		if call == 1 && entry == 0 {
			return "ProvisionedThroughputExceededException"
		}
		return ""
	}}
	c := &clock{}
	p := newProducer(t, s, c.options(producer.Options{Ordered: true, BatchRecords: 3}))
	for _, key := range []string{"a", "b", "c", "d"} {
		if err := p.Add(t.Context(), producer.Record{PartitionKey: key, Data: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "taken", []string{"b", "c", "a"}, s.taken)
	equal(t, "waits", []time.Duration{100 * time.Millisecond}, c.slept)
}

func TestACallThatGoesThroughBeginsTheAttemptsAnew(t *testing.T) {
	s := &stream{err: func(call int) error {
		if call%2 == 1 {
			return &types.ProvisionedThroughputExceededException{}
		}
		return nil
	}}
	c := &clock{}
	mustFlush(t, newProducer(t, s, c.options(producer.Options{Ordered: true, Attempts: 2})), 4) // all of one key
	ms := time.Millisecond
	equal(t, "waits", []time.Duration{100 * ms, 100 * ms, 100 * ms, 100 * ms}, c.slept)
	equal(t, "taken", []string{"0", "1", "2", "3"}, s.taken)
}

// answers is a stream that answers what it is told.
type answers []*kinesis.PutRecordsOutput

func (a *answers) PutRecords(context.Context, *kinesis.PutRecordsInput, ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	next := (*a)[0]
	*a = (*a)[1:]
	return next, nil
}

func result(shard, sequence string) *kinesis.PutRecordsOutput {
	return &kinesis.PutRecordsOutput{Records: []types.PutRecordsResultEntry{{ShardId: &shard, SequenceNumber: &sequence}}}
}

func TestNumbersOfAnotherShardAreNoInversion(t *testing.T) {
	a := &answers{result("shardId-0", "9"), result("shardId-1", "5"), result("shardId-1", "10"), result("shardId-1", "9")}
	p, err := producer.New(a, "telemetry", producer.Options{Ordered: true})
	if err != nil {
		t.Fatal(err)
	}
	mustFlush(t, p, 4)
	if got := p.Stats().Inverted; got != 1 {
		t.Errorf("%d are inverted, want the last one", got)
	}
}

func TestAnAnswerThatDoesntFitAcknowledgesNothing(t *testing.T) {
	p, err := producer.New(&answers{result("shardId-0", "9")}, "telemetry", producer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(add(t, p, 2), p.Flush(t.Context()))
	if unsent := (*producer.UnsentError)(nil); !errors.As(err, &unsent) || unsent.Records != 2 || !strings.Contains(err.Error(), "answered 1 entries for 2 records") {
		t.Errorf("got %v", err)
	}
}

func TestStatsCountWhatHappened(t *testing.T) {
	s := &stream{
		err: func(call int) error {
			if call == 2 {
				return &types.ProvisionedThroughputExceededException{}
			}
			return nil
		},
		fail: func(call, entry int) string {
			return map[int]string{100: "ProvisionedThroughputExceededException", 101: "InternalFailure"}[100*call+entry]
		},
	}
	c := &clock{}
	p := newProducer(t, s, c.options(producer.Options{}))
	mustFlush(t, p, 3)
	want := producer.Stats{Added: 3, Acknowledged: 3, Entries: 3, Bytes: 6, Calls: 3, FailedCalls: 1, Throttled: 1, Failed: 1, Retried: 4, Waited: 300 * time.Millisecond}
	if got := p.Stats(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestManySmallRecordsGoIntoOne(t *testing.T) {
	s := &stream{}
	var acknowledged int
	p := newProducer(t, s, producer.Options{Aggregate: &kpl.Options{}, Acknowledged: func(all []producer.Record) { acknowledged += len(all) }})
	for i := range 10_000 {
		if err := p.Add(t.Context(), producer.Record{PartitionKey: "monza", Data: fmt.Appendf(nil, "record %04d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if p.Pending() != 10_000 {
		t.Errorf("%d are pending", p.Pending())
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats := p.Stats()
	if acknowledged != 10_000 || stats.Acknowledged != 10_000 || stats.Entries != 4 || len(s.taken) != 4 || stats.Calls != 1 {
		t.Errorf("%d acknowledged: %+v", acknowledged, stats)
	}
	next := 0
	for _, data := range s.taken {
		records, _ := kpl.Split([]byte(data), nil)
		for _, r := range records {
			if string(r.Data) != fmt.Sprintf("record %04d", next) {
				t.Fatalf("record %d is %s", next, r.Data)
			}
			next++
		}
	}
	if next != 10_000 {
		t.Errorf("the stream holds %d", next)
	}
}

func TestMoreShardsThanACallHoldsAreFlushed(t *testing.T) {
	var all []kpl.HashRange
	for i := range 12 {
		h, err := kpl.NewHashRange(fmt.Sprint(i), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	s := &stream{}
	p := newProducer(t, s, producer.Options{BatchRecords: 5, Aggregate: &kpl.Options{Shards: all}})
	for i := range 24 {
		if err := p.Add(t.Context(), producer.Record{PartitionKey: "k", ExplicitHashKey: fmt.Sprint(i % 12), Data: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "entries per call", []int{5, 5, 2}, s.calls)
	if p.Acknowledged() != 24 || p.Pending() != 0 {
		t.Errorf("acknowledged %d, pending %d", p.Acknowledged(), p.Pending())
	}
}

func Example() {
	ctx := context.Background()
	p, err := producer.New(&stream{}, "telemetry", producer.Options{})
	if err != nil {
		panic(err)
	}
	for i := range 3 {
		if err := p.Add(ctx, producer.Record{PartitionKey: "monza/r-0001", Data: fmt.Append(nil, i)}); err != nil {
			panic(err)
		}
	}
	err = p.Flush(ctx)
	fmt.Println(p.Acknowledged(), err)
	// Output: 3 <nil>
}
