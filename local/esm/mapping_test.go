package esm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/memory"
)

func settings() *esm.Settings {
	return &esm.Settings{
		UUID: "mapping", SourceARN: "arn:aws:kinesis:us-east-1:000000000000:stream/orders", FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:bill",
		Region: "us-east-1", Start: esm.Position{Type: "TRIM_HORIZON"}, BatchSize: 100, Parallelization: 1,
		MaximumRetryAttempts: 3, MaximumRecordAge: esm.Unlimited,
	}
}

type function func(*esm.Batch) esm.Outcome

func (f function) Invoke(_ context.Context, b *esm.Batch) esm.Outcome { return f(b) }

func TestShardsAreReadInTheOrderOfTheirDescent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(2)
		set := settings()
		set.Parallelization = 3
		var mu sync.Mutex
		last := map[string]int{}
		total := 0
		mapping, err := esm.New(set, esm.Options{Source: stream, Function: function(func(b *esm.Batch) esm.Outcome {
			time.Sleep(30 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Records {
				var n int
				if _, err := fmt.Sscan(string(r.Data), &n); err != nil || n != last[r.Key]+1 {
					t.Errorf("%s: %d after %d (%v)", r.Key, n, last[r.Key], err)
				}
				last[r.Key] = n
				total++
			}
			return esm.Outcome{}
		})})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { mapping.Run(ctx) })
		put := 0
		for round := 1; round <= 60; round++ {
			for key := range 20 {
				stream.Put(time.Now(), fmt.Sprint("key-", key), fmt.Append(nil, round))
				put++
			}
			switch {
			case round%10 == 3:
				stream.Split(round % 3)
			case round%10 == 7:
				stream.Merge(0)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(5 * time.Minute)
		mu.Lock()
		if total != put {
			t.Errorf("%d of %d records", total, put)
		}
		mu.Unlock()
		drained := 0
		for _, s := range mapping.Status() {
			if s.Waiting != 0 {
				t.Errorf("%+v", s)
			}
			if s.Drained {
				drained++
			}
		}
		if drained < 6 {
			t.Errorf("%d shards are drained", drained)
		}
		stop()
		running.Wait()
	})
}

// taking is a mapping on source in a bubble, with the data that it handed over.
type taking struct {
	*esm.Mapping
	stop     func()
	mu       sync.Mutex
	data     []string
	problems int
}

func take(t *testing.T, set *esm.Settings, source esm.Source, pause time.Duration) *taking {
	t.Helper()
	k := &taking{}
	var err error
	k.Mapping, err = esm.New(set, esm.Options{
		Source: source,
		Function: function(func(b *esm.Batch) esm.Outcome {
			time.Sleep(pause)
			k.mu.Lock()
			defer k.mu.Unlock()
			for _, r := range b.Records {
				k.data = append(k.data, string(r.Data))
			}
			return esm.Outcome{}
		}),
		Problem: func(string, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.problems++
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	k.stop = func() { cancel(); running.Wait() }
	return k
}

func (k *taking) got() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.data)
}

func latest() *esm.Settings {
	set := settings()
	set.Start = esm.Position{Type: "LATEST"}
	return set
}

func TestLatestHoldsForChildrenThatWaitForTheirParents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(1)
		stream.Put(time.Now(), "k", []byte("in the parent"))
		stream.Split(0)
		stream.Put(time.Now(), "k", []byte("in a child"))
		time.Sleep(time.Minute)
		k := take(t, latest(), stream, 0)
		defer k.stop()
		synctest.Wait()
		stream.Put(time.Now(), "k", []byte("new"))
		time.Sleep(time.Minute)
		if got := k.got(); !slices.Equal(got, []string{"new"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestAnIteratorForLatestThatExpiresSkipsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(1)
		stream.Put(time.Now(), "k", []byte("old"))
		time.Sleep(time.Minute)
		k := take(t, latest(), stream, 0)
		defer k.stop()
		time.Sleep(time.Minute)
		stream.Expire()
		stream.Put(time.Now(), "k", []byte("new"))
		time.Sleep(time.Minute)
		if got := k.got(); !slices.Equal(got, []string{"new"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestATablesIteratorForLatestSkipsNothingEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := memory.NewTable("us-east-1")
		table.Put(time.Now(), "old", nil)
		time.Sleep(time.Minute)
		set := latest()
		set.Kind = esm.DynamoDB
		k := take(t, set, table.Stream, 0)
		defer k.stop()
		time.Sleep(time.Minute)
		table.Stream.Expire()
		table.Put(time.Now(), "new", nil)
		time.Sleep(time.Minute)
		if got := k.got(); len(got) != 1 || !strings.Contains(got[0], `"NewImage":{"id":{"S":"new"}}`) {
			t.Errorf("got %q", got)
		}
	})
}

func TestWhatFailsInASourceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(2)
		fail := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		stream.Fault = func(string, string) error {
			mu.Lock()
			defer mu.Unlock()
			if fail.Float64() < .3 {
				return errors.New("ProvisionedThroughputExceededException")
			}
			return nil
		}
		k := take(t, settings(), stream, 0)
		var want []string
		for i := range 500 {
			data := fmt.Sprintf("%03d", i)
			stream.Put(time.Now(), fmt.Sprint(i%7), []byte(data))
			want = append(want, data)
			time.Sleep(500 * time.Millisecond)
			switch i % 50 {
			case 20:
				stream.Expire()
			case 40:
				stream.Split(0)
			}
		}
		time.Sleep(10 * time.Minute)
		k.stop()
		got := k.got()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d records of %d", len(got), len(want))
		}
		if k.problems == 0 {
			t.Error("nobody was told of the failures")
		}
	})
}

func TestIteratorsThatExpireAtOnceAreNoReasonToSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(1)
		var skewed atomic.Bool
		skewed.Store(true)
		stream.Fault = func(call, _ string) error {
			if call == "Read" && skewed.Load() {
				return esm.ErrIteratorExpired
			}
			return nil
		}
		stream.Put(time.Now(), "k", []byte("a"))
		k := take(t, settings(), stream, 0)
		time.Sleep(time.Minute)
		skewed.Store(false)
		time.Sleep(15 * time.Second)
		k.stop()
		if got := k.got(); len(got) != 1 || k.problems == 0 || k.problems > 20 {
			t.Errorf("got %q, after %d problems", got, k.problems)
		}
	})
}

func TestTheChildrenOfAShardThatIsGoneComeAfterWhatWasReadOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(1)
		set := settings()
		set.BatchSize = 2 // four are read at once
		var want []string
		put := func(data string) {
			stream.Put(time.Now(), "k", []byte(data))
			want = append(want, data)
		}
		for i := range 3 {
			put(fmt.Sprint(i))
		}
		k := take(t, set, stream, 30*time.Second)
		defer k.stop()
		time.Sleep(10 * time.Second)
		stream.Split(0)
		put("in a child")
		stream.Forget()
		time.Sleep(10 * time.Minute)
		if got := k.got(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAStreamThatIsAwayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(1)
		var away atomic.Bool
		stream.Fault = func(string, string) error {
			if away.Load() {
				return esm.ErrNoShard
			}
			return nil
		}
		k := take(t, settings(), stream, 0)
		defer k.stop()
		time.Sleep(time.Minute)
		away.Store(true)
		time.Sleep(time.Minute)
		away.Store(false)
		stream.Put(time.Now(), "k", []byte("a"))
		time.Sleep(15 * time.Second)
		if got := k.got(); len(got) != 1 || k.Status()[0].Drained {
			t.Errorf("got %q, %+v", got, k.Status())
		}
		// The pauses doubled: 9 reads, and as many lists of the shards as it takes.
		if k.problems < 5 || k.problems > 20 {
			t.Errorf("%d problems in a minute", k.problems)
		}
	})
}

func BenchmarkMapping(b *testing.B) {
	const shards, each = 4, 250_000
	for b.Loop() {
		b.StopTimer()
		stream := memory.New(shards)
		data := make([]byte, 100)
		for i := range shards * each {
			stream.Put(time.Now(), fmt.Sprint(i%1000), data)
		}
		set := settings()
		set.BatchSize = 1000
		var seen atomic.Int64
		ctx, stop := context.WithCancel(b.Context())
		mapping, err := esm.New(set, esm.Options{Source: stream, Function: function(func(batch *esm.Batch) esm.Outcome {
			if seen.Add(int64(len(batch.Records))) == shards*each {
				stop()
			}
			return esm.Outcome{}
		})})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		mapping.Run(ctx)
		b.StopTimer()
		if seen.Load() != shards*each {
			b.Fatalf("%d records", seen.Load())
		}
		b.StartTimer()
	}
	b.ReportMetric(shards*each*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
