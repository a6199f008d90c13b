package race_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/race"
)

// record is what a sound producer sends: its contents follow from racer and seq.
func record(name, racer string, seq int64) race.Record {
	return race.Record{
		Race: name, Racer: racer, Seq: seq,
		At:       time.Unix(1_800_000_000+seq, 0).UTC(),
		Distance: float64(seq * seq % 7), // up and down: only seq may decide
		Speed:    float64(seq % 3), Power: float64(seq % 5),
	}
}

func soundRecords() *rapid.Generator[[]race.Record] {
	return rapid.SliceOf(rapid.Custom(func(t *rapid.T) race.Record {
		return record(
			rapid.SampledFrom([]string{"monza", "spa"}).Draw(t, "race"),
			rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "racer"),
			rapid.Int64Range(1, 8).Draw(t, "seq"),
		)
	}))
}

// brokenRecords may differ although they have the same seq.
func brokenRecords() *rapid.Generator[[]race.Record] {
	return rapid.SliceOf(rapid.Custom(func(t *rapid.T) race.Record {
		small := rapid.Int64Range(0, 2)
		return race.Record{
			Race: "monza", Racer: "a", Seq: small.Draw(t, "seq") + 1,
			At:       time.Unix(small.Draw(t, "at"), 0).UTC(),
			Distance: float64(small.Draw(t, "distance")),
			Speed:    float64(small.Draw(t, "speed")),
			Power:    float64(small.Draw(t, "power")),
		}
	}))
}

// delivered is the records as an at-least-once stream may hand them out:
// repeated, in any order.
func delivered(t *rapid.T, records []race.Record) []race.Record {
	if len(records) == 0 {
		return nil
	}
	again := rapid.SliceOf(rapid.SampledFrom(records)).Draw(t, "duplicates")
	return rapid.Permutation(append(again, records...)).Draw(t, "order")
}

// foldInBatches folds batch by batch and each batch's result into the whole, as
// the function and its table do.
func foldInBatches(t *rapid.T, records []race.Record) race.Fold {
	whole := make(race.Fold)
	for len(records) > 0 {
		n := rapid.IntRange(1, len(records)).Draw(t, "batch")
		batch := make(race.Fold)
		for _, r := range records[:n] {
			batch.Add(r)
		}
		for _, r := range batch {
			whole.Add(r)
		}
		records = records[n:]
	}
	return whole
}

func TestFoldKeepsTheNewestOfEachRacer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := soundRecords().Draw(t, "records")
		newest := make(map[race.Key]int64)
		for _, r := range records {
			newest[r.Key()] = max(newest[r.Key()], r.Seq)
		}
		want := make(race.Fold)
		for key, seq := range newest {
			want[key] = record(key.Race, key.Racer, seq)
		}
		if diff := cmp.Diff(want, foldInBatches(t, delivered(t, records))); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestFoldIsInsensitiveEvenToConflictingRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := brokenRecords().Draw(t, "records")
		want := make(race.Fold)
		for _, r := range records {
			want.Add(r)
		}
		if diff := cmp.Diff(want, foldInBatches(t, delivered(t, records))); diff != "" {
			t.Fatalf("(-once, in order +as delivered)\n%s", diff)
		}
	})
}
