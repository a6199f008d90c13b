package attach

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/local/esm"
)

// How a shard is read. It gives all its readers together 5 reads and 2 MB a second,
// which the live consumers need, and none while a larger read is being made up for.
// So it is read once a second, for no more than about half of those bytes: as it
// takes 1,000 records and 1 MB a second at most, that keeps up with it.
const (
	readEvery = time.Second
	readBytes = 1 << 20
	readMost  = 1_000 // records
	readFirst = 100   // records, while their size isn't known
)

// shared reads a stream beside its live consumers. What one read brings and the
// mapping doesn't take yet is kept for its next one.
type shared struct {
	source esm.Source
	only   []string // shards, or all

	mu     sync.Mutex
	shards map[string]*position
}

// position is where the reading of a shard is. Only its reader uses it.
type position struct {
	iterator string
	records  []esm.Record // read, not handed over
	next     time.Time    // no read before
	limit    int          // of the next read
}

var _ esm.Source = (*shared)(nil)

func (s *shared) Shards(ctx context.Context) ([]esm.ShardInfo, error) {
	infos, err := s.source.Shards(ctx)
	if len(s.only) > 0 {
		infos = slices.DeleteFunc(infos, func(i esm.ShardInfo) bool { return !slices.Contains(s.only, i.ID) })
	}
	return infos, err
}

// Iterator is the shard's name: its position is kept here.
func (s *shared) Iterator(ctx context.Context, shard string, from esm.Position, after string) (string, error) {
	iterator, err := s.source.Iterator(ctx, shard, from, after)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.shards[shard]
	if p == nil {
		p = &position{limit: readFirst}
		s.shards[shard] = p
	}
	p.iterator, p.records = iterator, nil
	return shard, nil
}

func (s *shared) Read(ctx context.Context, shard string, limit int) ([]esm.Record, string, error) {
	s.mu.Lock()
	p := s.shards[shard]
	s.mu.Unlock()
	if len(p.records) == 0 {
		wait := time.NewTimer(time.Until(p.next))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
		records, next, err := s.source.Read(ctx, p.iterator, p.limit)
		p.pace(records)
		if err != nil {
			return nil, "", err
		}
		p.iterator, p.records = next, records
	}
	n := min(limit, len(p.records))
	records := p.records[:n:n]
	p.records = p.records[n:]
	if len(p.records) == 0 && p.iterator == "" {
		return records, "", nil // the shard's end
	}
	return records, shard, nil
}

// pace says when to read next, and how much, after a read of records.
func (p *position) pace(records []esm.Record) {
	size := 0
	for i := range records {
		size += len(records[i].Data) + len(records[i].Key)
	}
	p.next = time.Now().Add(max(readEvery, readEvery*time.Duration(size)/readBytes))
	if size > 0 {
		p.limit = min(max(readBytes*len(records)/size, 1), readMost)
	}
}

// first lets pass the first records that another filter passes, if there is one.
type first struct {
	filter esm.Filter
	left   atomic.Int64
}

func (f *first) Match(r *esm.Record) bool {
	return (f.filter == nil || f.filter.Match(r)) && f.left.Add(-1) >= 0
}

// over tells whether no further record passes.
func (f *first) over() bool { return f.left.Load() <= 0 }
