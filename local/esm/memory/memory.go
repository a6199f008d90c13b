// Package memory is a stream in memory, with shards that split, merge and roll over:
// the source of simulations and benchmarks. It keeps every record.
package memory

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/local/esm"
)

// Stream is a stream in memory. It is safe for concurrent use.
type Stream struct {
	mu     sync.Mutex
	shards []*shard
	next   int64             // sequence number
	hashes map[string]uint64 // of the keys seen
}

type shard struct {
	id       string
	parents  []string
	from, to uint64 // of the hash keys' upper 64 bits, both included
	closed   bool
	records  []esm.Record
}

var _ esm.Source = (*Stream)(nil)

// New is a stream of n shards of equal size.
func New(n int) *Stream {
	s := &Stream{hashes: map[string]uint64{}}
	step := ^uint64(0)/uint64(n) + 1
	for i := range n {
		to := ^uint64(0)
		if i < n-1 {
			to = step*uint64(i+1) - 1
		}
		s.add(step*uint64(i), to)
	}
	return s
}

func (s *Stream) add(from, to uint64, parents ...string) {
	s.shards = append(s.shards, &shard{id: fmt.Sprintf("shardId-%012d", len(s.shards)), parents: parents, from: from, to: to})
}

// Put appends a record, as PutRecord does, and returns its shard and sequence
// number: a stream's sequence numbers count from 1.
func (s *Stream) Put(now time.Time, key string, data []byte) (shardID, sequence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash, seen := s.hashes[key]
	if !seen {
		sum := md5.Sum([]byte(key))
		hash = binary.BigEndian.Uint64(sum[:])
		s.hashes[key] = hash
	}
	for _, sh := range s.shards {
		if !sh.closed && sh.from <= hash && hash <= sh.to {
			s.next++
			sequence = padded(s.next)
			sh.records = append(sh.records, esm.Record{Sequence: sequence, Key: key, Arrival: now, Data: data})
			return sh.id, sequence
		}
	}
	panic("the shards don't cover every hash key")
}

// padded to the 56 digits of Kinesis.
func padded(n int64) string {
	digits := [56]byte{}
	for i := range digits {
		digits[i] = '0'
	}
	for i := len(digits) - 1; n > 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return string(digits[:])
}

// Split closes the i-th open shard and opens two in its place. It reports whether
// there is such a shard, wide enough.
func (s *Stream) Split(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.open(i)
	if sh == nil || sh.from == sh.to {
		return false
	}
	sh.closed = true
	middle := sh.from + (sh.to-sh.from)/2
	s.add(sh.from, middle, sh.id)
	s.add(middle+1, sh.to, sh.id)
	return true
}

// Merge closes the i-th open shard and its neighbour above, and opens one in their
// place. It reports whether there are such shards.
func (s *Stream) Merge(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	low := s.open(i)
	if low == nil {
		return false
	}
	for _, high := range s.shards {
		if !high.closed && low.to+1 == high.from && high.from != 0 {
			low.closed, high.closed = true, true
			s.add(low.from, high.to, low.id, high.id)
			return true
		}
	}
	return false
}

// Roll closes the i-th open shard and opens one in its place, as DynamoDB does every
// few hours. It reports whether there is such a shard.
func (s *Stream) Roll(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.open(i)
	if sh == nil {
		return false
	}
	sh.closed = true
	s.add(sh.from, sh.to, sh.id)
	return true
}

func (s *Stream) open(i int) *shard {
	for _, sh := range s.shards {
		if !sh.closed {
			if i == 0 {
				return sh
			}
			i--
		}
	}
	return nil
}

// Shards implements [esm.Source].
func (s *Stream) Shards(context.Context) ([]esm.ShardInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]esm.ShardInfo, len(s.shards))
	for i, sh := range s.shards {
		all[i] = esm.ShardInfo{ID: sh.id, Parents: sh.parents}
	}
	return all, nil
}

// Iterator implements [esm.Source].
func (s *Stream) Iterator(_ context.Context, id string, from esm.Position, after string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, sh := s.find(id)
	if sh == nil {
		return "", fmt.Errorf("there is no shard %s", id)
	}
	at := 0
	switch {
	case after != "":
		for at < len(sh.records) && sh.records[at].Sequence <= after {
			at++
		}
	case from.Type == "LATEST":
		at = len(sh.records)
	case from.Type == "AT_TIMESTAMP":
		for at < len(sh.records) && sh.records[at].Arrival.Before(from.Time) {
			at++
		}
	}
	return fmt.Sprintf("%d/%d", i, at), nil
}

func (s *Stream) find(id string) (int, *shard) {
	for i, sh := range s.shards {
		if sh.id == id {
			return i, sh
		}
	}
	return 0, nil
}

// Read implements [esm.Source].
func (s *Stream) Read(_ context.Context, iterator string, limit int) ([]esm.Record, string, error) {
	index, position, _ := strings.Cut(iterator, "/")
	i, err := strconv.Atoi(index)
	if err != nil {
		return nil, "", fmt.Errorf("iterator %q: %w", iterator, err)
	}
	at, err := strconv.Atoi(position)
	if err != nil {
		return nil, "", fmt.Errorf("iterator %q: %w", iterator, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shards[i]
	end := min(at+limit, len(sh.records))
	// A copy: the reader marks its records.
	records := append([]esm.Record(nil), sh.records[at:end]...)
	if sh.closed && end == len(sh.records) {
		return records, "", nil
	}
	return records, index + "/" + strconv.Itoa(end), nil
}
