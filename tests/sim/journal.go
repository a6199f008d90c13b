package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/memory"
)

// Put is a record that was put.
type Put struct {
	Sequence, Shard, Key string
	Data                 []byte
	Arrival              time.Time
	// Made is the i that the scenario made it for: a duplicate has that of its original.
	Made      int
	Malformed bool // cut off in its middle
}

// journal is a stream with the memory of everything that was put to it. A record's
// number counts them from 0: it is the sequence number less one.
type journal struct {
	stream *memory.Stream
	puts   []Put
	of     []place          // by number
	keys   map[string]int32 // by name
	byKey  [][]int32        // numbers
	shards map[string][]int32
	infos  []esm.ShardInfo // of the stream's shards; nil after a change
	shape  int             // how often they may have changed
}

// place of a record among those of its key.
type place struct{ key, ordinal int32 }

func newJournal(stream *memory.Stream) *journal {
	return &journal{stream: stream, keys: map[string]int32{}, shards: map[string][]int32{}}
}

// grow makes room for so many records.
func (j *journal) grow(n int) {
	j.puts, j.of = slices.Grow(j.puts, n), slices.Grow(j.of, n)
}

func (j *journal) put(p Put) int {
	if p.Data == nil {
		p.Data = []byte{} // as it is decoded
	}
	n := int32(len(j.puts))
	p.Arrival = time.Now()
	p.Shard, p.Sequence = j.stream.Put(p.Arrival, p.Key, p.Data)
	j.puts = append(j.puts, p)
	key, ok := j.keys[p.Key]
	if !ok {
		key = int32(len(j.byKey))
		j.keys[p.Key] = key
		j.byKey = append(j.byKey, nil)
	}
	j.of = append(j.of, place{key, int32(len(j.byKey[key]))})
	j.byKey[key] = append(j.byKey[key], n)
	j.shards[p.Shard] = append(j.shards[p.Shard], n)
	return int(n)
}

// next is the sequence number that the next record gets.
func (j *journal) next() string { return fmt.Sprintf("%056d", len(j.puts)+1) }

// number of the record with a sequence number, -1 for none.
func (j *journal) number(sequence string) int {
	n := 0
	for _, c := range []byte(sequence[max(0, len(sequence)-9):]) { // the others are zeros
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	if n > len(j.puts) {
		return -1
	}
	return n - 1
}

// list is the stream's shards.
func (j *journal) list() []esm.ShardInfo {
	if j.infos == nil {
		j.infos, _ = j.stream.Shards(context.Background()) // nothing fails it
	}
	return j.infos
}

// reshard splits, merges or rolls a shard over.
func (j *journal) reshard(w *World) {
	j.infos = nil
	j.shape++
	i := w.rand.IntN(4)
	switch w.rand.IntN(3) {
	case 0:
		if j.stream.Split(i) {
			w.trace("open shard %d splits", i)
		}
	case 1:
		if j.stream.Merge(i) {
			w.trace("open shard %d merges with its neighbour", i)
		}
	default:
		if j.stream.Roll(i) {
			w.trace("open shard %d rolls over", i)
		}
	}
}
