// Package orc writes Apache ORC files, version 1 of the format, of Hive's types but
// binary. It has direct and dictionary encodings, run lengths without patched bases,
// row indexes and statistics; it has no bloom filters.
package orc

import (
	"bytes"
	"slices"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/snappy"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// Compression is what a file's streams are compressed with, by its number in the file.
type Compression uint64

// The compressions that Firehose knows.
const (
	None   Compression = 0
	ZLIB   Compression = 1
	Snappy Compression = 2
)

// Options are how a file is written.
type Options struct {
	Compression Compression
	// Old is the format of Hive 0.11, otherwise it is that of 0.12.
	Old bool
	// StripeSize is how many bytes a stripe's values have, before they are encoded; it
	// ends with the row that reaches it. 1 or more.
	StripeSize int
	// RowIndexStride is how many rows an entry of an index is for, 1 or more.
	RowIndexStride int
	// DictionaryKeyThreshold is the share of distinct texts up to which a stripe's
	// column has a dictionary, 0 (none has) to 1.
	DictionaryKeyThreshold float64
}

// Encode is a file of rows. A value is nil or, by its column's type, bool, int32 (up to
// int, and days since 1970 for a date), int64, float32, float64, *big.Int (a decimal's
// units), string, time.Time, []any (of an array or a struct) or [][2]any (of a map).
func Encode(columns []hive.Field, rows [][]any, o Options) []byte {
	w := &writer{Options: o, out: []byte("ORC"), root: newColumn(&hive.Type{Kind: hive.Struct, Fields: columns})}
	w.columns = w.root.all()
	size, n := 0, 0
	for _, row := range rows {
		if n%o.RowIndexStride == 0 {
			w.root.mark()
		}
		size += w.root.add(row)
		if n++; size >= o.StripeSize {
			w.stripe(n)
			size, n = 0, 0
		}
	}
	if n > 0 {
		w.stripe(n)
	}
	w.tail(len(rows))
	return w.out
}

type writer struct {
	Options
	out     []byte
	root    *column
	columns []*column // by number
	deflate *flate.Writer

	stripes    message // where each is, a part of the footer
	statistics message // of each
}

// block is how many bytes are compressed at once.
const block = 256 << 10

// packed is a stream as it stands in the file, and where each of its blocks does.
func (w *writer) packed(body []byte) (out []byte, blocks []int) {
	if w.Compression == None {
		return body, nil
	}
	for ; len(body) > 0; body = body[min(len(body), block):] {
		blocks = append(blocks, len(out))
		part := body[:min(len(body), block)]
		original := 1
		if small := w.compress(part); len(small) < len(part) {
			part, original = small, 0
		}
		header := len(part)<<1 | original
		out = append(append(out, byte(header), byte(header>>8), byte(header>>16)), part...)
	}
	return out, append(blocks, len(out))
}

func (w *writer) compress(part []byte) []byte {
	if w.Compression == Snappy {
		return snappy.Encode(nil, part)
	}
	var out bytes.Buffer
	if w.deflate == nil {
		w.deflate, _ = flate.NewWriter(&out, flate.DefaultCompression) // a level that exists
	}
	w.deflate.Reset(&out)
	// A buffer takes everything.
	_, _ = w.deflate.Write(part)
	_ = w.deflate.Close()
	return out.Bytes()
}

// describe writes a message of the file about itself, and returns its length.
func (w *writer) describe(m message) int {
	body, _ := w.packed(m)
	w.out = append(w.out, body...)
	return len(body)
}

// stripe writes the rows since the last one: indexes, data, and what is where.
func (w *writer) stripe(rows int) {
	var body []byte
	var indexes, streams, encodings, counts message // by column
	offset := len(w.out)
	for id, c := range w.columns {
		all, kind, entries := c.streams(&w.Options)
		positions := make([][]uint64, len(c.groups))
		for _, s := range all {
			packed, blocks := w.packed(s.body)
			body = append(body, packed...)
			streams.add(1, located(s.kind, id, len(packed)))
			for i, m := range s.marks {
				positions[i] = append(append(positions[i], place(m.offset, blocks)...), m.within...)
			}
		}
		var index message
		var whole statistics
		for i := range c.groups {
			s := &c.groups[i].statistics
			whole.merge(s)
			var entry message
			entry.packed(1, positions[i]...)
			entry.add(2, s.message(c.kind))
			index.add(1, entry)
		}
		indexes.add(1, located(rowIndex, id, w.describe(index)))
		counts.add(1, whole.message(c.kind))
		c.file.merge(&whole)
		var encoding message
		encoding.uint(1, kind)
		if entries > 0 {
			encoding.uint(2, entries)
		}
		encodings.add(2, encoding)
	}
	var stripe message
	stripe.uint(1, uint64(offset))
	stripe.uint(2, uint64(len(w.out)-offset))
	stripe.uint(3, uint64(len(body)))
	w.out = append(w.out, body...)
	footer := slices.Concat(indexes, streams, encodings)
	footer.text(3, "UTC")
	stripe.uint(4, uint64(w.describe(footer)))
	stripe.uint(5, uint64(rows))
	w.stripes.add(3, stripe)
	w.statistics.add(1, counts)
	w.root.clear()
}

// located is a stream in a stripe's footer, which lists them as they lie.
func located(kind uint64, column, size int) (m message) {
	m.uint(1, kind)
	m.uint(2, uint64(column))
	m.uint(3, uint64(size))
	return m
}

// place is where an index finds a byte of a stream.
func place(offset int, blocks []int) []uint64 {
	if len(blocks) == 0 {
		return []uint64{uint64(offset)}
	}
	return []uint64{uint64(blocks[offset/block]), uint64(offset % block)}
}

const (
	// unregistered says that none of the writers which ORC numbers wrote the file, and
	// writerVersion that timestamps in statistics are in UTC.
	unregistered  = 1<<32 - 1
	writerVersion = 6
	// proleptic is the calendar of dates before 1582, Go's.
	proleptic = 2
)

// tail ends the file, which is read from its end.
func (w *writer) tail(rows int) {
	content := len(w.out)
	metadata := w.describe(w.statistics)
	var footer message
	footer.uint(1, 3) // "ORC"
	footer.uint(2, uint64(content))
	footer = append(footer, w.stripes...)
	next := uint64(0)
	w.root.describe(&footer, &next)
	footer.uint(6, uint64(rows))
	for _, c := range w.columns {
		footer.add(7, c.file.message(c.kind))
	}
	footer.uint(8, uint64(w.RowIndexStride))
	footer.uint(9, unregistered)
	footer.uint(11, proleptic)
	var script message
	script.uint(1, uint64(w.describe(footer)))
	script.uint(2, uint64(w.Compression))
	script.uint(3, block)
	minor := uint64(12)
	if w.Old {
		minor = 11
	}
	script.packed(4, 0, minor)
	script.uint(5, uint64(metadata))
	script.uint(6, writerVersion)
	script.text(8_000, "ORC")
	w.out = append(append(w.out, script...), byte(len(script)))
}

// kinds are ORC's numbers of Hive's types.
var kinds = map[hive.Kind]uint64{
	hive.Boolean: 0, hive.TinyInt: 1, hive.SmallInt: 2, hive.Int: 3, hive.BigInt: 4, hive.Float: 5, hive.Double: 6, hive.String: 7,
	hive.Timestamp: 9, hive.Array: 10, hive.Map: 11, hive.Struct: 12, hive.Decimal: 14, hive.Date: 15, hive.Varchar: 16, hive.Char: 17,
}

// describe adds the type of the column and of those below it, which are numbered from
// next on.
func (c *column) describe(footer *message, next *uint64) {
	*next++
	var subtypes []uint64
	var below message
	for _, child := range c.children {
		subtypes = append(subtypes, *next)
		child.describe(&below, next)
	}
	var t message
	t.uint(1, kinds[c.kind.Kind])
	t.packed(2, subtypes...)
	for _, f := range c.kind.Fields {
		t.text(3, f.Name)
	}
	switch c.kind.Kind {
	case hive.Char, hive.Varchar:
		t.uint(4, uint64(c.kind.Length))
	case hive.Decimal:
		t.uint(5, uint64(c.kind.Precision))
		t.uint(6, uint64(c.kind.Scale))
	}
	footer.add(4, t)
	*footer = append(*footer, below...)
}
