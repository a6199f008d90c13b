package orc

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// column collects the values of a stripe.
type column struct {
	kind     *hive.Type
	children []*column

	present []bool  // of all values
	bools   []bool  // as the rest of those that aren't null
	ints    []int64 // numbers, days, seconds
	second  []int64 // lengths, nanoseconds, scales
	data    []byte  // texts, floating-point numbers, decimals
	groups  []group

	file statistics // of the stripes so far
}

// group is a row group: how many values are before it, and what its own are.
type group struct {
	present, bools, ints, second, data int
	statistics
}

// newColumn is a column with those that it is made of.
func newColumn(t *hive.Type) *column {
	c := &column{kind: t}
	for _, inner := range []*hive.Type{t.Key, t.Elem} {
		if inner != nil {
			c.children = append(c.children, newColumn(inner))
		}
	}
	for i := range t.Fields {
		c.children = append(c.children, newColumn(&t.Fields[i].Type))
	}
	return c
}

// all are the column and those below it, in the order of their numbers.
func (c *column) all() []*column {
	all := []*column{c}
	for _, child := range c.children {
		all = append(all, child.all()...)
	}
	return all
}

// mark begins a row group.
func (c *column) mark() {
	c.groups = append(c.groups, group{present: len(c.present), bools: len(c.bools), ints: len(c.ints), second: len(c.second), data: len(c.data)})
	for _, child := range c.children {
		child.mark()
	}
}

// clear begins a stripe.
func (c *column) clear() {
	c.present, c.bools, c.ints, c.second, c.data, c.groups = c.present[:0], c.bools[:0], c.ints[:0], c.second[:0], c.data[:0], c.groups[:0]
	for _, child := range c.children {
		child.clear()
	}
}

// epoch is what a timestamp's seconds count from: 2015 in the writer's time zone.
var epoch = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

// add appends a value and returns about how many bytes it takes.
func (c *column) add(v any) int {
	c.present = append(c.present, v != nil)
	s := &c.groups[len(c.groups)-1].statistics
	if v == nil {
		s.null = true
		return 0
	}
	s.values++
	switch c.kind.Kind {
	case hive.Boolean:
		b := v.(bool)
		if c.bools = append(c.bools, b); b {
			s.trues++
		}
		return 1
	case hive.TinyInt, hive.SmallInt, hive.Int, hive.Date:
		return c.number(s, int64(v.(int32)), 4)
	case hive.BigInt:
		return c.number(s, v.(int64), 8)
	case hive.Float:
		f := v.(float32)
		c.data = binary.LittleEndian.AppendUint32(c.data, math.Float32bits(f))
		s.real(float64(f))
		return 4
	case hive.Double:
		f := v.(float64)
		c.data = binary.LittleEndian.AppendUint64(c.data, math.Float64bits(f))
		s.real(f)
		return 8
	case hive.Decimal:
		n, before := v.(*big.Int), len(c.data)
		c.data = appendUnits(c.data, n)
		c.second = append(c.second, int64(c.kind.Scale))
		s.units.add(n, n, (*big.Int).Cmp)
		return len(c.data) - before
	case hive.String, hive.Varchar, hive.Char:
		text := v.(string)
		if c.kind.Kind == hive.Char {
			text += strings.Repeat(" ", max(0, c.kind.Length-utf8.RuneCountInString(text)))
		}
		c.data = append(c.data, text...)
		c.second = append(c.second, int64(len(text)))
		s.texts.add(text, text, cmp.Compare)
		s.length += int64(len(text))
		return len(text) + 1
	case hive.Timestamp:
		return c.timestamp(s, v.(time.Time))
	case hive.Array:
		list := v.([]any)
		c.second = append(c.second, int64(len(list)))
		size := 1
		for _, elem := range list {
			size += c.children[0].add(elem)
		}
		return size
	case hive.Map:
		entries := v.([][2]any)
		c.second = append(c.second, int64(len(entries)))
		size := 1
		for _, e := range entries {
			size += c.children[0].add(e[0]) + c.children[1].add(e[1])
		}
		return size
	default: // a struct
		size := 0
		for i, value := range v.([]any) {
			size += c.children[i].add(value)
		}
		return size
	}
}

func (c *column) number(s *statistics, n int64, size int) int {
	c.ints = append(c.ints, n)
	s.ints.add(n, n, cmp.Compare)
	return size
}

func (c *column) timestamp(s *statistics, at time.Time) int {
	seconds, nanos := at.Unix(), int64(at.Nanosecond())
	// Before 1970 readers take a second off where there is a millisecond or more, as
	// Java divides towards zero. So the last second of 1969 reads as the first of 1970,
	// whoever writes it.
	const millisecond = 1_000_000
	late := nanos >= millisecond
	if seconds == -1 && late {
		seconds = 0
	}
	ms := seconds*1_000 + nanos/millisecond
	s.ints.add(ms, ms, cmp.Compare)
	if seconds < 0 && late {
		seconds++
	}
	c.ints = append(c.ints, seconds-epoch)
	// Two zeros or more at the end are left out and counted, less one, in three bits.
	zeros := int64(0)
	if nanos != 0 && nanos%100 == 0 {
		for nanos /= 10; nanos%10 == 0 && zeros < 7; zeros++ {
			nanos /= 10
		}
	}
	c.second = append(c.second, nanos<<3|zeros)
	return 12
}

// appendUnits appends a number without an end to its size: zigzag, seven bits a byte.
func appendUnits(b []byte, n *big.Int) []byte {
	if n.IsInt64() {
		return binary.AppendUvarint(b, zigzag(n.Int64()))
	}
	z := new(big.Int).Lsh(n, 1)
	if n.Sign() < 0 {
		z.Not(z) // -2n-1
	}
	low, seven := new(big.Int), big.NewInt(0x7f)
	for z.BitLen() > 7 {
		b = append(b, byte(low.And(z, seven).Uint64())|0x80)
		z.Rsh(z, 7)
	}
	return append(b, byte(z.Uint64()))
}

// The kinds of a column's streams.
const (
	present        = 0
	data           = 1
	length         = 2
	dictionaryData = 3
	secondary      = 5
	rowIndex       = 6
)

// stream is a part of a column, encoded. Marks are where its row groups begin; a
// dictionary, which all of them use, has none.
type stream struct {
	kind  uint64
	body  []byte
	marks []mark
}

// mark is an offset and what follows it in an index: how many values of the run there
// are before the row group, and bits of the byte.
type mark struct {
	offset int
	within []uint64
}

func plain(kind uint64, body []byte, starts []int, within ...uint64) stream {
	s := stream{kind: kind, body: body}
	for _, start := range starts {
		s.marks = append(s.marks, mark{start, within})
	}
	return s
}

// bitmap is a stream of bits. A row group may begin within a byte.
func bitmap(kind uint64, values []bool, at []int) stream {
	starts := make([]int, len(at))
	for i := range at {
		starts[i] = at[i] / 8
	}
	body, starts := part(octets(values), starts, appendBytes)
	s := plain(kind, body, starts)
	for i := range at {
		s.marks[i].within = []uint64{0, uint64(at[i] % 8)}
	}
	return s
}

// The encodings of a column.
const (
	encodingDirect     = 0
	encodingDictionary = 1
	encodingNew        = 2 // added to either: with run lengths of the second version
)

// streams are the column's, in the order in which an index lists them, with their
// encoding and how many entries a dictionary has.
func (c *column) streams(o *Options) (all []stream, encoding, entries uint64) {
	starts := func(of func(*group) int) []int {
		at := make([]int, len(c.groups))
		for i := range c.groups {
			at[i] = of(&c.groups[i])
		}
		return at
	}
	numbers := func(kind uint64, values []int64, signed bool, at []int) stream {
		if !o.Old {
			encoding |= encodingNew
		}
		body, starts := part(values, at, integers{signed, o.Old}.append)
		return plain(kind, body, starts, 0)
	}
	ints, second, raw := starts(func(g *group) int { return g.ints }), starts(func(g *group) int { return g.second }), starts(func(g *group) int { return g.data })
	if slices.Contains(c.present, false) {
		all = append(all, bitmap(present, c.present, starts(func(g *group) int { return g.present })))
	}
	switch c.kind.Kind {
	case hive.Boolean:
		all = append(all, bitmap(data, c.bools, starts(func(g *group) int { return g.bools })))
	case hive.TinyInt:
		octets := make([]byte, len(c.ints))
		for i, n := range c.ints {
			octets[i] = byte(n)
		}
		body, starts := part(octets, ints, appendBytes)
		all = append(all, plain(data, body, starts, 0))
	case hive.SmallInt, hive.Int, hive.BigInt, hive.Date:
		all = append(all, numbers(data, c.ints, true, ints))
	case hive.Float, hive.Double:
		all = append(all, plain(data, c.data, raw))
	case hive.Decimal:
		all = append(all, plain(data, c.data, raw), numbers(secondary, c.second, true, second))
	case hive.Timestamp:
		all = append(all, numbers(data, c.ints, true, ints), numbers(secondary, c.second, false, second))
	case hive.Array, hive.Map:
		all = append(all, numbers(length, c.second, false, second))
	case hive.String, hive.Varchar, hive.Char:
		if d := c.dictionary(o.DictionaryKeyThreshold); d != nil {
			whole := numbers(length, d.lengths, false, []int{0})
			all = append(all, numbers(data, d.keys, false, second), stream{kind: dictionaryData, body: d.data}, stream{kind: length, body: whole.body})
			return all, encoding | encodingDictionary, uint64(len(d.lengths))
		}
		all = append(all, plain(data, c.data, raw), numbers(length, c.second, false, second))
	}
	return all, encoding, 0
}

// dictionary is the texts of a stripe, each once and sorted, and which each value is.
type dictionary struct {
	data          []byte
	lengths, keys []int64
}

// dictionary is nil if the share of distinct texts is above the threshold.
func (c *column) dictionary(threshold float64) *dictionary {
	if threshold == 0 || len(c.second) == 0 {
		return nil
	}
	numbers, most := map[string]int64{}, int(threshold*float64(len(c.second)))
	at := 0
	for _, n := range c.second {
		numbers[string(c.data[at:at+int(n)])] = 0
		if at += int(n); len(numbers) > most {
			return nil
		}
	}
	d := &dictionary{}
	texts := make([]string, 0, len(numbers))
	for text := range numbers {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	for i, text := range texts {
		numbers[text] = int64(i)
		d.data = append(d.data, text...)
		d.lengths = append(d.lengths, int64(len(text)))
	}
	at = 0
	for _, n := range c.second {
		d.keys = append(d.keys, numbers[string(c.data[at:at+int(n)])])
		at += int(n)
	}
	return d
}
