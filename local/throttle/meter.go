package throttle

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// stream is a stream of the account.
type stream struct {
	region, name string
}

// Shard is what a shard took, gave and turned away.
type Shard struct {
	Stream string `json:"stream"`
	Shard  string `json:"shard"`
	// Records and Bytes were put, and acknowledged by the emulator.
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
	// Throttled is how often a record was turned away.
	Throttled int64 `json:"throttled"`
	// Reads and ReadBytes are answered calls of GetRecords, and what they returned.
	Reads     int64 `json:"reads"`
	ReadBytes int64 `json:"readBytes"`
	// ThrottledReads is how often such a call was turned away.
	ThrottledReads int64 `json:"throttledReads"`
}

// meter keeps the shards' buckets. It knows the time, and nothing of the network.
type meter struct {
	limits Limits
	now    func() time.Time

	mu     sync.Mutex
	shards map[stream]map[string]*shard
}

// shard is a shard's buckets and counts.
type shard struct {
	writeRecords, writeBytes    bucket
	readTransactions, readBytes bucket
	Shard
}

// claim is what a record wants of a shard.
type claim struct {
	shard string
	bytes int
}

func newMeter(limits Limits, now func() time.Time) *meter {
	return &meter{limits: limits, now: now, shards: map[stream]map[string]*shard{}}
}

// write tells for each claim, in their order, whether its shard takes it.
func (m *meter) write(s stream, claims []claim) []bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	taken := make([]bool, len(claims))
	for i, c := range claims {
		shard := m.shard(s, c.shard, now)
		if taken[i] = shard.writeRecords.has(1) && shard.writeBytes.has(c.bytes); taken[i] {
			shard.writeRecords.take(1)
			shard.writeBytes.take(c.bytes)
		} else {
			shard.Throttled++
		}
	}
	return taken
}

// giveBack undoes a claim that the emulator refused. A shard that took nothing is
// as if nobody had asked.
func (m *meter) giveBack(s stream, c claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	shard := m.shard(s, c.shard, m.now())
	shard.writeRecords.give(1)
	shard.writeBytes.give(c.bytes)
}

// wrote counts a claim that the emulator acknowledged.
func (m *meter) wrote(s stream, c claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	shard := m.shard(s, c.shard, m.now())
	shard.Records++
	shard.Bytes += int64(c.bytes)
}

// read tells whether a shard answers one more call.
func (m *meter) read(s stream, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	shard := m.shard(s, id, m.now())
	if !shard.readTransactions.has(1) || shard.readBytes.overdrawn {
		shard.ThrottledReads++
		return false
	}
	shard.readTransactions.take(1)
	return true
}

// gave counts what a call returned. A shard that gave more than it had is closed
// until its second's worth is there again: 5 seconds after 10 MB at 2 MB/s.
func (m *meter) gave(s stream, id string, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	shard := m.shard(s, id, m.now())
	shard.Reads++
	shard.ReadBytes += int64(bytes)
	shard.readBytes.take(bytes)
	shard.readBytes.overdrawn = shard.readBytes.level < 0
}

// shard is the one of that id, at this time.
func (m *meter) shard(s stream, id string, now time.Time) *shard {
	if m.shards[s] == nil {
		m.shards[s] = map[string]*shard{}
	}
	sh := m.shards[s][id]
	if sh == nil {
		l := m.limits
		sh = &shard{
			writeRecords: full(l.WriteRecords, now), writeBytes: full(l.WriteBytes, now),
			readTransactions: full(l.ReadTransactions, now), readBytes: full(l.ReadBytes, now),
			Shard: Shard{Stream: s.name, Shard: id},
		}
		m.shards[s][id] = sh
	}
	for _, b := range []*bucket{&sh.writeRecords, &sh.writeBytes, &sh.readTransactions, &sh.readBytes} {
		b.refill(now)
	}
	return sh
}

func (m *meter) stats() []Shard {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Shard
	for _, shards := range m.shards {
		for _, shard := range shards {
			all = append(all, shard.Shard)
		}
	}
	slices.SortFunc(all, func(a, b Shard) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Shard, b.Shard))
	})
	return all
}

// turnedAway are records and reads.
type turnedAway struct{ records, reads int64 }

func (m *meter) turnedAway() map[stream]turnedAway {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[stream]turnedAway{}
	for s, shards := range m.shards {
		var sum turnedAway
		for _, shard := range shards {
			sum.records += shard.Throttled
			sum.reads += shard.ThrottledReads
		}
		all[s] = sum
	}
	return all
}

// bucket holds up to one second's worth, and fills at this rate. A rate of 0 is no
// limit. The level is in billionths, so that nothing is ever rounded.
type bucket struct {
	rate      int64
	level     int64
	at        time.Time
	overdrawn bool // of reads: closed until it is full
}

func full(rate int, now time.Time) bucket {
	b := bucket{rate: int64(rate), at: now}
	b.level = b.capacity()
	return b
}

func (b *bucket) capacity() int64 { return b.rate * int64(time.Second) }

func (b *bucket) refill(now time.Time) {
	passed := int64(now.Sub(b.at))
	if b.rate == 0 || passed <= 0 {
		return
	}
	b.at = now
	// Division first: a long time would overflow.
	if missing := b.capacity() - b.level; passed > missing/b.rate {
		b.level = b.capacity()
	} else {
		b.level += passed * b.rate
	}
	b.overdrawn = b.overdrawn && b.level < b.capacity()
}

// has tells whether n can be taken. What is more than a second's worth, and never
// would fit, is given out of a full bucket, which then owes it.
func (b *bucket) has(n int) bool {
	return b.rate == 0 || b.level >= int64(n)*int64(time.Second) || b.level == b.capacity()
}

func (b *bucket) take(n int) {
	if b.rate > 0 {
		b.level -= int64(n) * int64(time.Second)
	}
}

func (b *bucket) give(n int) {
	b.level = min(b.level+int64(n)*int64(time.Second), b.capacity())
}
