package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/memory"
)

// timed notes when a stream is read, and how it answers now and then.
type timed struct {
	esm.Source
	reads  []time.Time
	limits []int
	fails  []error // of the next reads
}

func (s *timed) Read(ctx context.Context, iterator string, limit int) ([]esm.Record, string, error) {
	s.reads, s.limits = append(s.reads, time.Now()), append(s.limits, limit)
	if len(s.fails) > 0 {
		err := s.fails[0]
		s.fails = s.fails[1:]
		if err != nil {
			return nil, "", err
		}
	}
	return s.Source.Read(ctx, iterator, limit)
}

// megabytes answers with ten records at most, as Kinesis does if each has a megabyte.
type megabytes struct{ esm.Source }

func (s megabytes) Read(ctx context.Context, iterator string, limit int) ([]esm.Record, string, error) {
	return s.Source.Read(ctx, iterator, min(limit, 10))
}

// readAll reads a shard, up to limit at a time, until its end or until it was empty.
func readAll(t *testing.T, s *shared, shard string, limit int) (data []string, ended bool) {
	t.Helper()
	token, after := "", ""
	for {
		if token == "" {
			var err error
			if token, err = s.Iterator(t.Context(), shard, esm.Position{Type: "TRIM_HORIZON"}, after); err != nil {
				t.Fatal(err)
			}
		}
		records, next, err := s.Read(t.Context(), token, limit)
		switch {
		case errors.Is(err, esm.ErrIteratorExpired):
			token = ""
			continue
		case err != nil:
			continue
		case len(records) > limit:
			t.Fatalf("%d records at once", len(records))
		}
		for _, r := range records {
			data, after = append(data, string(r.Data)), r.Sequence
		}
		if token = next; next == "" || len(records) == 0 {
			return data, next == ""
		}
	}
}

func TestAShardIsReadOnceASecondWhateverIsTakenOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(1)
		var want []string
		for i := range 2500 {
			want = append(want, fmt.Sprint(i))
			stream.Put(time.Now(), "key", []byte(want[i]))
		}
		stream.Split(0)
		from := &timed{Source: stream, fails: []error{nil, errors.New("away"), esm.ErrIteratorExpired}}
		got, ended := readAll(t, &shared{source: from, shards: map[string]*position{}}, "shardId-000000000000", 70)
		if !slices.Equal(got, want) || !ended {
			t.Errorf("%d records, ended %v", len(got), ended)
		}
		if len(from.reads) < 5 {
			t.Errorf("read %d times", len(from.reads))
		}
		for i, at := range from.reads {
			if i > 0 && at.Sub(from.reads[i-1]) < time.Second {
				t.Errorf("read again after %s", at.Sub(from.reads[i-1]))
			}
			if want := min(1, i)*900 + 100; from.limits[i] != want {
				t.Errorf("asked for %d records, want %d", from.limits[i], want)
			}
		}
	})
}

func TestLargeRecordsAreReadMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := memory.New(1)
		for range 12 {
			stream.Put(time.Now(), "key", make([]byte, 1<<20))
		}
		from := &timed{Source: megabytes{stream}}
		if got, _ := readAll(t, &shared{source: from, shards: map[string]*position{}}, "shardId-000000000000", 4); len(got) != 12 {
			t.Errorf("%d records", len(got))
		}
		// 10 MB are what a shard gives its readers in five seconds.
		if len(from.reads) != 4 || from.reads[1].Sub(from.reads[0]).Round(time.Second) != 10*time.Second || from.reads[3].Sub(from.reads[2]).Round(time.Second) != time.Second {
			t.Errorf("read at %v", from.reads)
		}
		if !slices.Equal(from.limits, []int{100, 1, 1, 1}) {
			t.Errorf("asked for %v", from.limits)
		}
	})
}

func TestAWaitingReadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{source: memory.New(1), shards: map[string]*position{}}
		token, err := s.Iterator(t.Context(), "shardId-000000000000", esm.Position{Type: "LATEST"}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, token, err = s.Read(t.Context(), token, 1); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go stop()
		began := time.Now()
		if _, _, err := s.Read(ctx, token, 1); !errors.Is(err, context.Canceled) || time.Since(began) > 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
