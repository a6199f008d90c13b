package producer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/lambdas/kit/producer"
)

// running is a producer at work on a channel.
type running struct {
	*producer.Producer
	in   chan producer.Record
	stop context.CancelFunc
	err  error
	done chan struct{}
}

func run(t *testing.T, api producer.API, o producer.Options, capacity int, linger time.Duration) *running {
	t.Helper()
	p, err := producer.New(api, "telemetry", o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Producer: p, in: make(chan producer.Record, capacity), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = p.Run(ctx, r.in, linger)
	}()
	return r
}

func (r *running) send(n int) {
	for i := range n {
		r.in <- producer.Record{PartitionKey: "k", Data: fmt.Append(nil, i)}
	}
}

// sizes are the entries per call so far.
func (s *stream) sizes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func TestRunSendsWhatHasWaitedForLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{}
		r := run(t, s, producer.Options{BatchRecords: 10}, 0, time.Second)
		r.send(3)
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		equal(t, "calls before linger is over", nil, s.sizes())
		r.send(1) // doesn't begin it anew
		time.Sleep(time.Millisecond)
		synctest.Wait()
		equal(t, "calls when it is over", []int{4}, s.sizes())
		time.Sleep(time.Hour) // there is nothing
		r.send(11)
		synctest.Wait()
		equal(t, "calls with a full batch", []int{4, 10}, s.sizes())
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "calls with what was left of it", []int{4, 10, 1}, s.sizes())
		r.send(2)
		close(r.in)
		<-r.done
		equal(t, "calls after the channel was closed", []int{4, 10, 1, 2}, s.sizes())
		if r.err != nil || r.Pending() != 0 {
			t.Errorf("%v, %d pending", r.err, r.Pending())
		}
	})
}

// gate is a stream that takes nothing until it is opened.
type gate struct {
	*stream
	open chan struct{}
}

func (g gate) PutRecords(ctx context.Context, in *kinesis.PutRecordsInput, o ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	select {
	case <-g.open:
		return g.stream.PutRecords(ctx, in, o...)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestSendersWaitForASlowStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{&stream{}, make(chan struct{})}
		r := run(t, g, producer.Options{BatchRecords: 10}, 5, time.Second)
		var mu sync.Mutex
		sent := 0
		var senders sync.WaitGroup
		for range 4 {
			senders.Go(func() {
				for range 25 {
					r.send(1)
					mu.Lock()
					sent++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		// A batch, the record that there is no room for, and the channel.
		if sent != 10+1+5 {
			t.Errorf("%d records were sent to a stream that takes none", sent)
		}
		mu.Unlock()
		if got := r.Stats(); got.Added != 10 || got.Acknowledged != 0 {
			t.Errorf("the counts are %+v", got)
		}
		close(g.open)
		senders.Wait()
		close(r.in)
		<-r.done
		if r.err != nil || r.Acknowledged() != 100 {
			t.Errorf("%v, %d acknowledged", r.err, r.Acknowledged())
		}
	})
}

func TestRunKeepsWhatItGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		s := &stream{err: func(int) error {
			if broken {
				return &types.ResourceNotFoundException{}
			}
			return nil
		}}
		r := run(t, s, producer.Options{BatchRecords: 3}, 10, time.Hour)
		r.send(5)
		<-r.done
		var unsent *producer.UnsentError
		if !errors.As(r.err, &unsent) || unsent.Records != 4 || unsent.Code != "ResourceNotFoundException" || r.Pending() != 4 {
			t.Errorf("%v, %d pending", r.err, r.Pending())
		}
		broken = false
		close(r.in)
		if err := r.Run(t.Context(), r.in, time.Hour); err != nil {
			t.Error(err)
		}
		equal(t, "taken", []string{"0", "1", "2", "3", "4"}, s.taken)
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, &stream{}, producer.Options{}, 0, time.Hour)
		r.stop()
		<-r.done
		if !errors.Is(r.err, context.Canceled) {
			t.Errorf("with nothing left: %v", r.err)
		}
		r = run(t, &stream{}, producer.Options{}, 0, time.Hour)
		r.send(2)
		r.stop()
		<-r.done
		var unsent *producer.UnsentError
		if !errors.As(r.err, &unsent) || unsent.Records != 2 || !errors.Is(r.err, context.Canceled) {
			t.Errorf("with two records left: %v", r.err)
		}
		if err := r.Flush(t.Context()); err != nil || r.Acknowledged() != 2 {
			t.Errorf("a later flush: %v", err)
		}
	})
}

func TestRunRefusesWhatBreaksALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{}
		var refused []string
		r := run(t, s, producer.Options{Refused: func(r producer.Record, err *producer.RecordError) {
			refused = append(refused, string(r.Data)+": "+err.Error())
		}}, 0, time.Hour)
		r.send(1)
		r.in <- producer.Record{Data: []byte("keyless")}
		r.send(1)
		close(r.in)
		<-r.done
		if r.err != nil || len(refused) != 1 || !strings.HasPrefix(refused[0], "keyless: producer: the partition key has 0 characters") {
			t.Errorf("%v, refused are %q", r.err, refused)
		}
		equal(t, "taken", []string{"0", "0"}, s.taken)

		r = run(t, s, producer.Options{}, 0, time.Hour)
		r.in <- producer.Record{Data: []byte("keyless")}
		<-r.done
		var wrong *producer.RecordError
		if !errors.As(r.err, &wrong) {
			t.Errorf("without Refused: %v", r.err)
		}
	})
}
