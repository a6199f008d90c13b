package esm_test

import (
	"context"
	"fmt"
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
