// Package memory is a stream in memory, with shards that split, merge and roll over,
// and a table with a stream of its changes: the sources of simulations and
// benchmarks. They keep every record.
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
	// Fault, if it is set, is asked before each call as an [esm.Source]; an error is
	// the call's answer. Calls are "Shards", "Iterator" and "Read"; Shards has no
	// shard. Set it before the stream is used.
	Fault func(call, shard string) error

	mu     sync.Mutex
	shards []*shard
	next   int64             // sequence number
	hashes map[string]uint64 // of the keys seen
	age    int               // how often iterators expired
}

type shard struct {
	id       string
	parents  []string
	from, to uint64 // of the hash keys' upper 64 bits, both included
	closed   bool
	gone     bool
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
	sh, sequence := s.route(key)
	sh.records = append(sh.records, esm.Record{Sequence: sequence, Key: key, Arrival: now, Data: data})
	return sh.id, sequence
}

// route is the shard of a key, with the next sequence number.
func (s *Stream) route(key string) (*shard, string) {
	hash, seen := s.hashes[key]
	if !seen {
		sum := md5.Sum([]byte(key))
		hash = binary.BigEndian.Uint64(sum[:])
		s.hashes[key] = hash
	}
	for _, sh := range s.shards {
		if !sh.closed && sh.from <= hash && hash <= sh.to {
			s.next++
			return sh, padded(s.next)
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

// Expire makes every iterator expire that was given out.
func (s *Stream) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age++
}

// Forget drops closed shards with their records, as when those are too old.
func (s *Stream) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.shards {
		sh.gone = sh.closed
	}
}

func (s *Stream) fault(call, shard string) error {
	if s.Fault == nil {
		return nil
	}
	return s.Fault(call, shard)
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
	if err := s.fault("Shards", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]esm.ShardInfo, 0, len(s.shards))
	for _, sh := range s.shards {
		if !sh.gone {
			all = append(all, esm.ShardInfo{ID: sh.id, Parents: sh.parents})
		}
	}
	return all, nil
}

// Iterator implements [esm.Source].
func (s *Stream) Iterator(_ context.Context, id string, from esm.Position, after string) (string, error) {
	if err := s.fault("Iterator", id); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, sh := range s.shards {
		if sh.id == id && !sh.gone {
			return s.iterator(i, sh.position(from, after)), nil
		}
	}
	return "", fmt.Errorf("%w: %s", esm.ErrNoShard, id)
}

func (s *Stream) iterator(shard, at int) string {
	return strconv.Itoa(s.age) + "/" + strconv.Itoa(shard) + "/" + strconv.Itoa(at)
}

func (sh *shard) position(from esm.Position, after string) int {
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
	return at
}

// Read implements [esm.Source].
func (s *Stream) Read(_ context.Context, iterator string, limit int) ([]esm.Record, string, error) {
	var numbers [3]int // age, shard, position
	for n, rest := 0, iterator; n < len(numbers); n++ {
		number, after, _ := strings.Cut(rest, "/")
		var err error
		if numbers[n], err = strconv.Atoi(number); err != nil {
			return nil, "", fmt.Errorf("iterator %q: %w", iterator, err)
		}
		rest = after
	}
	s.mu.Lock()
	sh, at := s.shards[numbers[1]], numbers[2]
	s.mu.Unlock()
	if err := s.fault("Read", sh.id); err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case numbers[0] != s.age:
		return nil, "", esm.ErrIteratorExpired
	case sh.gone:
		return nil, "", fmt.Errorf("%w: %s", esm.ErrNoShard, sh.id)
	}
	end := min(at+limit, len(sh.records))
	// A copy: the reader marks its records.
	records := append([]esm.Record(nil), sh.records[at:end]...)
	if sh.closed && end == len(sh.records) {
		return records, "", nil
	}
	return records, s.iterator(numbers[1], end), nil
}
