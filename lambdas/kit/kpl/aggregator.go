package kpl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// AWS's limits.
const (
	defaultBytes    = 51_200 // the KPL's AggregationMaxSize
	minBytes        = 64
	defaultRecord   = 1 << 20
	maxRecord       = 10 << 20 // of a stream whose MaxRecordSizeInKiB says so
	maxPartitionKey = 256      // characters
)

// Options of an aggregator. The zero value is good for a stream with one shard.
type Options struct {
	// Bytes is the most bytes of an aggregated record's data: 64 to RecordBytes;
	// 0 means 51,200, as in the KPL, or RecordBytes if that is less. A record that
	// is larger by itself is put alone into an aggregated record.
	Bytes int
	// RecordBytes is the most that the stream takes for one record, data and
	// partition key: 64 to 10 MiB; 0 means 1 MiB, which is what a stream takes
	// unless it is set to more.
	RecordBytes int
	// Shards are the hash ranges of the stream's open shards: they must not
	// overlap. There is an aggregated record per shard then. A KCL consumer drops
	// an aggregated record whole, and silently, if the hash key of any record in
	// it belongs to another shard, so give them if the stream has more than one
	// shard and keys vary. Nil means that all records go together.
	Shards []HashRange
}

// Aggregated is an aggregated record, ready for PutRecord or PutRecords.
type Aggregated struct {
	// PartitionKey and ExplicitHashKey are those of the first record in it; the
	// second is "" if that record has none, and must not be sent then.
	PartitionKey    string
	ExplicitHashKey string
	// Data is the aggregated record. It is the receiver's to keep.
	Data []byte
	// Records is how many records it holds, at least 1.
	Records int
	// Shard is the index in Options.Shards, 0 without them. If the stream
	// acknowledges another shard, it was resharded meanwhile, and a KCL consumer
	// may drop the record: Split it, and add its records to an aggregator for the
	// new shards.
	Shard int
}

// Aggregator collects records into aggregated ones. It isn't safe for concurrent
// use. Records of one shard keep their order.
//
// Unlike the KPL it wraps a record that is alone, too: Kinesis doesn't tell a
// consumer the explicit hash key of a plain record, and a plain record whose data
// looks like an aggregated one would be taken apart.
type Aggregator struct {
	o     Options
	open  []builder // as Options.Shards
	order []int     // Shards by their starting hash keys
}

// NewAggregator makes an aggregator. The error names every invalid option.
func NewAggregator(o Options) (*Aggregator, error) {
	if o.RecordBytes == 0 {
		o.RecordBytes = defaultRecord
	}
	if o.Bytes == 0 {
		o.Bytes = min(defaultBytes, o.RecordBytes)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Shards = slices.Clone(o.Shards)
	return &Aggregator{o: o, open: make([]builder, max(1, len(o.Shards))), order: o.order()}, nil
}

// order is the indexes of the shards by their starting hash keys.
func (o Options) order() []int {
	order := make([]int, len(o.Shards))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return o.Shards[i].starting.compare(o.Shards[j].starting) })
	return order
}

func (o Options) validate() error {
	var problems []error
	if o.RecordBytes < minBytes || o.RecordBytes > maxRecord {
		problems = append(problems, fmt.Errorf("kpl: RecordBytes is %d: must be %d to %d", o.RecordBytes, minBytes, maxRecord))
	} else if o.Bytes < minBytes || o.Bytes > o.RecordBytes {
		problems = append(problems, fmt.Errorf("kpl: Bytes is %d: must be %d to RecordBytes, %d", o.Bytes, minBytes, o.RecordBytes))
	}
	for i, order := 1, o.order(); i < len(order); i++ {
		if below, above := order[i-1], order[i]; o.Shards[above].starting.compare(o.Shards[below].ending) <= 0 {
			problems = append(problems, fmt.Errorf("kpl: Shards[%d] and Shards[%d] overlap: leave out the shards that are closed", below, above))
		}
	}
	return errors.Join(problems...)
}

// Add takes a record; explicitHashKey is "" if it has none. If the record doesn't
// fit into the aggregated record of its shard any more, that one is returned, and
// the record begins the next; else it returns nil. A record that breaks a limit is
// refused; what was taken before stays. Add copies what it takes.
func (a *Aggregator) Add(partitionKey, explicitHashKey string, data []byte) (*Aggregated, error) {
	if err := a.o.check(partitionKey, explicitHashKey, data); err != nil {
		return nil, err
	}
	shard, ok := a.shard(partitionKey, explicitHashKey)
	if !ok {
		return nil, fmt.Errorf("kpl: the hash key of the record with partition key %q and explicit hash key %q is in none of the %d Shards: give all that are open", partitionKey, explicitHashKey, len(a.o.Shards))
	}
	var full *Aggregated
	b := &a.open[shard]
	if b.count > 0 && b.sizeWith(partitionKey, explicitHashKey, data) > a.o.Bytes {
		full = b.finish(shard)
	}
	b.add(partitionKey, explicitHashKey, data)
	return full, nil
}

// shard is the index of a record's shard.
func (a *Aggregator) shard(partitionKey, explicitHashKey string) (int, bool) {
	if len(a.order) == 0 {
		return 0, true
	}
	key, _ := hashOf(partitionKey, explicitHashKey, explicitHashKey != "")
	at, found := slices.BinarySearchFunc(a.order, key, func(i int, key hashKey) int { return a.o.Shards[i].starting.compare(key) })
	if !found {
		at-- // the shard that starts below the key
	}
	if at < 0 || !a.o.Shards[a.order[at]].holds(key) {
		return 0, false
	}
	return a.order[at], true
}

// Flush returns what was added and not yet returned, at most one aggregated record
// per shard.
func (a *Aggregator) Flush() []*Aggregated {
	var all []*Aggregated
	for shard := range a.open {
		if b := &a.open[shard]; b.count > 0 {
			all = append(all, b.finish(shard))
		}
	}
	return all
}

func (o Options) check(partitionKey, explicitHashKey string, data []byte) error {
	var problems []error
	if n := utf8.RuneCountInString(partitionKey); n == 0 || n > maxPartitionKey {
		problems = append(problems, fmt.Errorf("kpl: the partition key has %d characters: must be 1 to %d", n, maxPartitionKey))
	}
	if !utf8.ValidString(partitionKey) {
		problems = append(problems, fmt.Errorf("kpl: the partition key %q isn't UTF-8: encode it, in base64 for example", partitionKey))
	}
	if _, ok := parseHashKey(explicitHashKey); explicitHashKey != "" && (!ok || len(explicitHashKey) > 1 && explicitHashKey[0] == '0') {
		problems = append(problems, fmt.Errorf("kpl: the explicit hash key is %q: must be a decimal number from 0 to 2^128-1 without leading zeros, or nothing", explicitHashKey))
	}
	var alone builder
	if size := alone.sizeWith(partitionKey, explicitHashKey, data) + len(partitionKey); size > o.RecordBytes {
		problems = append(problems, fmt.Errorf("kpl: the record has %d bytes when aggregated, with its partition key: must be at most %d (RecordBytes)", size, o.RecordBytes))
	}
	return errors.Join(problems...)
}

// builder is an aggregated record in the making. Its tables and records are
// encoded already.
type builder struct {
	keys, hashKeys table
	records        []byte
	count          int
	// The first record's.
	partitionKey, explicitHashKey string
}

// table is a table of keys, each of which is in it once.
type table struct {
	index   map[string]int
	encoded []byte
}

// at is where a key is or will be in the table, and how many bytes the table grows
// by when it is added.
func (t *table) at(key string) (index, growth int) {
	if i, found := t.index[key]; found {
		return i, 0
	}
	return len(t.index), 1 + sizeUvarint(len(key)) + len(key)
}

func (t *table) add(tag byte, key string) (index int) {
	index, growth := t.at(key)
	if growth > 0 {
		if t.index == nil {
			t.index = map[string]int{}
		}
		t.index[key] = index
		t.encoded = appendBytes(t.encoded, tag, key)
	}
	return index
}

func (t *table) clear() {
	clear(t.index)
	t.encoded = t.encoded[:0]
}

// sizeWith is how many bytes the aggregated record has if the record is added.
func (b *builder) sizeWith(partitionKey, explicitHashKey string, data []byte) int {
	key, growth := b.keys.at(partitionKey)
	hashKey, hashed := -1, 0
	if explicitHashKey != "" {
		hashKey, hashed = b.hashKeys.at(explicitHashKey)
	}
	size := sizeRecord(key, hashKey, data)
	return overhead + len(b.keys.encoded) + len(b.hashKeys.encoded) + len(b.records) +
		growth + hashed + 1 + sizeUvarint(size) + size
}

func (b *builder) add(partitionKey, explicitHashKey string, data []byte) {
	if b.count == 0 {
		b.partitionKey, b.explicitHashKey = partitionKey, explicitHashKey
	}
	b.count++
	key, hashKey := b.keys.add(keyTable, partitionKey), -1
	if explicitHashKey != "" {
		hashKey = b.hashKeys.add(hashKeyTable, explicitHashKey)
	}
	r := binary.AppendUvarint(append(b.records, records), uint64(sizeRecord(key, hashKey, data)))
	r = binary.AppendUvarint(append(r, keyIndex), uint64(key))
	if hashKey >= 0 {
		r = binary.AppendUvarint(append(r, hashKeyIndex), uint64(hashKey))
	}
	b.records = appendBytes(r, recordData, data)
}

// sizeRecord is how many bytes a record has, without its tag and length; hashKey
// is -1 if it has none.
func sizeRecord(key, hashKey int, data []byte) int {
	size := 1 + sizeUvarint(key) + 1 + sizeUvarint(len(data)) + len(data)
	if hashKey >= 0 {
		size += 1 + sizeUvarint(hashKey)
	}
	return size
}

// finish is the aggregated record; the builder is empty then. The fields stand in
// the order of their numbers, as protobuf's own encoders write them.
func (b *builder) finish(shard int) *Aggregated {
	data := make([]byte, 0, overhead+len(b.keys.encoded)+len(b.hashKeys.encoded)+len(b.records))
	data = append(data, magic...)
	data = append(data, b.keys.encoded...)
	data = append(data, b.hashKeys.encoded...)
	data = append(data, b.records...)
	sum := checksum(data[len(magic):])
	a := &Aggregated{
		PartitionKey:    b.partitionKey,
		ExplicitHashKey: b.explicitHashKey,
		Data:            append(data, sum[:]...),
		Records:         b.count,
		Shard:           shard,
	}
	b.keys.clear()
	b.hashKeys.clear()
	b.records, b.count = b.records[:0], 0
	return a
}
