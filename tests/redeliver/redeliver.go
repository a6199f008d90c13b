// Package redeliver hands the records of a stream to a handler as an event source
// mapping may, in an order that rapid draws: in batches of any size; again, whole, in
// halves or in other batches, after a failure, a lost answer or a poller's restart;
// and once more, late, by an invocation that nobody waits for any more. A shard's
// records stay in their order, with a parallelization factor those of a partition key.
package redeliver

import (
	"fmt"
	"hash/fnv"

	"pgregory.net/rapid"
)

// Record of a stream.
type Record struct {
	Shard, Sequence string
	// Key is the partition key.
	Key string
	// Values are what it says, one by one in the records that were aggregated into it.
	Values []Value
}

// Value is one user record.
type Value struct {
	Key string
	N   int
}

// Options of a run.
type Options struct {
	// Keys is how many partition keys there are, Records how many records at most.
	Keys, Records int
	// Parallel is the parallelization factor, 1 by default.
	Parallel int
	// Aggregated records hold several values, of different keys.
	Aggregated bool
}

// Run is a delivery of a stream.
type Run struct {
	t      *rapid.T
	o      Options
	faults int // that are left
	lanes  [][]*lane
	Stream []Record
}

// lane is what is delivered in order: a shard, or a share of it.
type lane struct {
	records []Record
	next    int    // of the records, the first that isn't acknowledged
	pieces  []span // of a batch that was split, to be delivered next
	begun   []span // every batch so far
	ends    []int  // where it was acknowledged to
	failed  *span  // the last batch, if that failed
}

type span struct{ from, to int }

// New draws a stream. It has been resharded once: the shards of the second generation
// come when the first ones are done.
func New(t *rapid.T, o Options) *Run {
	r := &Run{t: t, o: o, faults: rapid.IntRange(0, 40).Draw(t, "faults")}
	parallel := max(1, o.Parallel)
	shard := 0
	sequence := 0
	for _, shards := range []int{rapid.IntRange(1, 3).Draw(t, "shards"), rapid.IntRange(1, 3).Draw(t, "shards after resharding")} {
		lanes := make([]*lane, shards*parallel)
		for i := range lanes {
			lanes[i] = &lane{}
		}
		for range rapid.IntRange(0, o.Records/2).Draw(t, "records") {
			// Sequence numbers rise, with gaps, and get a digit more here and there.
			sequence += rapid.IntRange(1, 60).Draw(t, "gap")
			key := rapid.IntRange(0, o.Keys-1).Draw(t, "key")
			at := shard + key%shards
			record := Record{Shard: fmt.Sprintf("shardId-%012d", at), Sequence: fmt.Sprintf("4959033827149025660855969253836157109592157598913658%d", sequence), Key: fmt.Sprint("k", key)}
			values := 1
			if o.Aggregated {
				values = rapid.IntRange(1, 12).Draw(t, "values")
			}
			for range values {
				v := Value{Key: record.Key, N: rapid.IntRange(1, 1000).Draw(t, "n")}
				if values > 1 {
					v.Key = fmt.Sprint("k", rapid.IntRange(0, o.Keys-1).Draw(t, "key of one"))
				}
				record.Values = append(record.Values, v)
			}
			h := fnv.New32()
			_, _ = h.Write([]byte(record.Key))
			l := lanes[(at-shard)*parallel+int(h.Sum32())%parallel]
			l.records = append(l.records, record)
			r.Stream = append(r.Stream, record)
		}
		r.lanes = append(r.lanes, lanes)
		shard += shards
	}
	return r
}

// Chance draws whether a fault happens. There are only so many in a run: in the end
// everything goes well.
func (r *Run) Chance(what string, percent int) bool {
	if r.faults == 0 || rapid.IntRange(1, 100).Draw(r.t, what) > percent {
		return false
	}
	r.faults--
	return true
}

// mostSteps is more than any delivery takes whose handler fails for faults only.
const mostSteps = 5000

// Deliver delivers everything. Handle returns how many of a batch's records are done
// with, from the first on; an error fails the batch.
func (r *Run) Deliver(handle func(batch []Record) (done int, err error)) {
	for _, lanes := range r.lanes {
		for steps := 0; ; steps++ {
			if steps > mostSteps {
				r.t.Fatalf("after %d batches not everything is done with: the handler fails although no fault is left", steps)
			}
			var open []*lane
			for _, l := range lanes {
				if l.next < len(l.records) {
					open = append(open, l)
				}
			}
			if len(open) == 0 {
				break
			}
			r.step(open[rapid.IntRange(0, len(open)-1).Draw(r.t, "lane")], handle)
		}
	}
}

func (r *Run) step(l *lane, handle func([]Record) (int, error)) {
	if len(l.begun) > 0 && r.Chance("a late invocation", 5) {
		late := l.begun[rapid.IntRange(0, len(l.begun)-1).Draw(r.t, "late batch")]
		_, _ = handle(l.records[late.from:late.to])
	}
	if len(l.ends) > 0 && r.Chance("a restart", 3) {
		l.next = l.ends[rapid.IntRange(0, len(l.ends)-1).Draw(r.t, "checkpoint")]
		l.pieces, l.failed = nil, nil
	}
	b := r.batch(l)
	l.begun = append(l.begun, b)
	done, err := handle(l.records[b.from:b.to])
	if err != nil || r.Chance("a lost answer", 5) {
		l.failed = &b
		return
	}
	l.failed = nil
	l.next = b.from + done
	l.ends = append(l.ends, l.next)
	if done < b.to-b.from {
		l.pieces = nil // what is left is batched anew
	}
}

// batch is the next one: after a failure the same, a half of it, or another.
func (r *Run) batch(l *lane) span {
	if failed := l.failed; failed != nil {
		size := failed.to - failed.from
		switch rapid.IntRange(0, 2).Draw(r.t, "again as") {
		case 0:
			return *failed
		case 1:
			if size > 1 {
				half := failed.from + size/2
				l.pieces = append([]span{{half, failed.to}}, l.pieces...)
				return span{failed.from, half}
			}
		}
		l.pieces = nil
	} else if len(l.pieces) > 0 && l.pieces[0].from == l.next {
		b := l.pieces[0]
		l.pieces = l.pieces[1:]
		return b
	}
	return span{l.next, min(len(l.records), l.next+rapid.IntRange(1, 20).Draw(r.t, "batch"))}
}
