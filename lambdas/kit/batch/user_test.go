package batch_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/kpl"
)

// aggregated is the data of a record that a KPL made of records "key=data".
func aggregated(t require, records ...string) string {
	t.Helper()
	a, err := kpl.NewAggregator(kpl.Options{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, r := range records {
		key, data, _ := strings.Cut(r, "=")
		if _, err := a.Add(key, "", []byte(data)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return string(a.Flush()[0].Data)
}

func TestUserRecords(t *testing.T) {
	for name, test := range map[string]struct {
		second  []string // user records of the second record of three
		next    int
		done    string
		rejects []batch.Rejected
	}{
		"all succeed":                 {[]string{"b=2", "c=3", "b=4"}, 3, "a1.0 b2.0 c3.1 b4.2 a5.0", nil},
		"one fails":                   {[]string{"b=2", "c=fail", "b=4"}, 1, "a1.0 b2.0", nil},
		"the first fails":             {[]string{"b=fail", "c=3"}, 1, "a1.0", nil},
		"one alone in its record":     {[]string{"c=3"}, 3, "a1.0 c3.0 a5.0", nil},
		"one of them is poison":       {[]string{"b=2", "c=3", "b=poison", "c=4"}, 3, "a1.0 b2.0 c3.1 c4.3 a5.0", []batch.Rejected{{SubSequenceNumber: 2, PartitionKey: "b"}}},
		"the first of them is poison": {[]string{"c=poison", "c=3"}, 3, "a1.0 c3.1 a5.0", []batch.Rejected{{PartitionKey: "c"}}},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &rejects{}
			var done []string
			h := batch.Each(batch.UserRecords, func(_ context.Context, r batch.UserRecord) error {
				if err := by(string(r.Data)); err != nil {
					return err
				}
				done = append(done, fmt.Sprintf("%s%s.%d", r.PartitionKey, r.Data, r.Sub))
				return nil
			}, batch.Options{Rejects: kept, Log: slog.New(slog.DiscardHandler)})
			payload, err := h.Invoke(t.Context(), event("a=1", "k="+aggregated(t, test.second...), "a=5"))
			if next := answered(t, payload, err, 3); next != test.next || strings.Join(done, " ") != test.done {
				t.Errorf("the mapping goes on at %d after %q, want %d after %q", next, done, test.next, test.done)
			}
			for i := range test.rejects {
				want := &test.rejects[i]
				want.EventSourceARN, want.ShardID, want.SequenceNumber, want.Reason, want.Data = "arn:stream", "shardId-7", "101", "not a record", []byte("poison")
				want.ApproximateArrivalTimestamp = kept.kept[i].ApproximateArrivalTimestamp
			}
			if diff := cmp.Diff(test.rejects, kept.kept); diff != "" {
				t.Errorf("set aside (-want +got)\n%s", diff)
			}
		})
	}
}

// Only an error makes Lambda bisect: it has to come for any user record of the first
// record.
func TestAFailureWithinTheFirstRecordFailsTheInvocation(t *testing.T) {
	h := batch.Each(batch.UserRecords, func(_ context.Context, r batch.UserRecord) error { return by(string(r.Data)) },
		batch.Options{Log: slog.New(slog.DiscardHandler)})
	payload, err := h.Invoke(t.Context(), event("k="+aggregated(t, "a=1", "b=fail"), "a=2"))
	if err == nil {
		t.Errorf("it answered %s", payload)
	}
}

func TestWhatIsNoWholeAggregatedRecordIsOneRecord(t *testing.T) {
	broken := aggregated(t, "a=1", "b=2")
	broken = broken[:len(broken)-1] + "x"
	var got []batch.UserRecord
	h := batch.Each(batch.UserRecords, func(_ context.Context, r batch.UserRecord) error {
		got = append(got, r)
		return nil
	}, batch.Options{Log: slog.New(slog.DiscardHandler)})
	if _, err := h.Invoke(t.Context(), event("k="+broken)); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].PartitionKey != "k" || string(got[0].Data) != broken || got[0].Kinesis.SequenceNumber != "100" {
		t.Errorf("got %+v", got)
	}
}

// Records of one producer's key may come in several aggregated records: they stay in
// order, whatever is worked off at once, and nothing is passed over.
func TestUserRecordsOfAKeyStayInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return rapid.StringMatching(`[a-d]`).Draw(t, "key") + "=" + rapid.SampledFrom([]string{"ok", "ok", "ok", "ok", "ok", "fail", "poison"}).Draw(t, "data")
		}), 1, 6), 1, 8).Draw(t, "records")
		var records []string
		for _, g := range groups {
			records = append(records, "k="+aggregated(t, g...))
		}
		var mu sync.Mutex
		seen := map[string][][2]int{} // by key: which record, which user record in it
		h := batch.Each(batch.UserRecords, func(_ context.Context, r batch.UserRecord) error {
			mu.Lock()
			defer mu.Unlock()
			var sequence int
			_, _ = fmt.Sscan(r.Kinesis.SequenceNumber, &sequence)
			seen[r.PartitionKey] = append(seen[r.PartitionKey], [2]int{sequence - 100, r.Sub})
			return by(string(r.Data))
		}, batch.Options{
			Concurrency: rapid.IntRange(0, 4).Draw(t, "concurrency"), KeepGoing: rapid.Bool().Draw(t, "keep going"),
			Rejects: &rejects{}, Log: slog.New(slog.DiscardHandler),
		})
		payload, err := h.Invoke(context.Background(), event(records...))
		next := max(0, answered(t, payload, err, len(records)))
		done := map[[2]int]bool{}
		for key, all := range seen {
			if !slices.IsSortedFunc(all, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) }) {
				t.Fatalf("the records of %s were done in the order %v", key, all)
			}
			for _, at := range all {
				done[at] = true
			}
		}
		for i, g := range groups {
			failed := slices.ContainsFunc(g, func(r string) bool { return strings.HasSuffix(r, "fail") })
			if i == next && !failed {
				t.Fatalf("the mapping goes on at %d, where nothing failed: %q", next, groups)
			}
			for sub := range g {
				if i < next && (failed || !done[[2]int{i, sub}]) {
					t.Fatalf("the mapping goes on at %d, but %d.%d isn't done: %q", next, i, sub, groups)
				}
			}
		}
	})
}

// What is logged and answered is known before the function has the records.
func TestAFunctionMayClearItsUserRecords(t *testing.T) {
	quiet := batch.Options{Log: slog.New(slog.DiscardHandler)}
	keys := batch.Keys(batch.UserRecords, nil, func(_ context.Context, records []batch.UserRecord) error {
		bad := records[0].PartitionKey == "b"
		clear(records)
		if bad {
			panic("index out of range")
		}
		return nil
	}, quiet)
	payload, err := keys.Invoke(t.Context(), event("a=1", "b=2", "a=3"))
	if next := answered(t, payload, err, 3); next != 1 {
		t.Errorf("the mapping goes on at %d (%v), want at the record that panicked", next, err)
	}
	windows := batch.Windows(batch.UserRecords, func(_ context.Context, _ batch.Window, count *int, records []batch.UserRecord) error {
		*count += len(records)
		clear(records)
		return nil
	}, quiet)
	out, err := windows.Invoke(t.Context(), windowed("0", "", "a=1", "b=2"))
	if err != nil || !strings.Contains(string(out), `"state":2`) {
		t.Errorf("the window answers %s, %v", out, err)
	}
}
