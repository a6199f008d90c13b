package orc

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// part encodes values so that each row group, which begin at marks, begins a run: a
// reader can start there. It returns where that is.
func part[T any](values []T, marks []int, encode func([]byte, []T) []byte) (body []byte, starts []int) {
	for i, mark := range marks {
		end := len(values)
		if i+1 < len(marks) {
			end = marks[i+1]
		}
		starts = append(starts, len(body))
		body = encode(body, values[mark:end])
	}
	return body, starts
}

// The lengths of runs and of literals in the encodings of bytes and of Hive 0.11.
const (
	shortest     = 3
	longest      = 130
	mostLiterals = 128
)

// appendBytes appends values as runs of the same one, and literals.
func appendBytes(b, values []byte) []byte {
	same := func(values []byte) int {
		n := 1
		for n < len(values) && n < longest && values[n] == values[0] {
			n++
		}
		return n
	}
	for len(values) > 0 {
		n := same(values)
		if n >= shortest {
			b = append(b, byte(n-shortest), values[0])
		} else {
			for n = 1; n < len(values) && n < mostLiterals && same(values[n:min(len(values), n+shortest)]) < shortest; n++ {
			}
			b = append(append(b, byte(-n)), values[:n]...)
		}
		values = values[n:]
	}
	return b
}

// octets are bits in bytes, from the most significant one on.
func octets(values []bool) []byte {
	b := make([]byte, (len(values)+7)/8)
	for i, v := range values {
		if v {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return b
}

// integers encodes numbers, as Hive 0.11 reads them or as later versions do.
type integers struct {
	signed, old bool
}

func (e integers) bits(v int64) uint64 {
	if e.signed {
		return zigzag(v)
	}
	return uint64(v)
}

func (e integers) append(b []byte, values []int64) []byte {
	if e.old {
		return e.appendOld(b, values)
	}
	return e.appendNew(b, values)
}

// run is how many values, of most, are each so much more than the one before.
func run(values []int64, most int) (n int, delta int64) {
	if len(values) < 2 {
		return len(values), 0
	}
	delta = values[1] - values[0]
	if (delta > 0) != (values[1] > values[0]) {
		return 1, 0 // too far apart
	}
	for n = 2; n < len(values) && n < most && values[n]-values[n-1] == delta && (delta > 0) == (values[n] > values[n-1]); n++ {
	}
	return n, delta
}

// appendOld is the first version of ORC's run lengths.
func (e integers) appendOld(b []byte, values []int64) []byte {
	fits := func(n int, delta int64) bool {
		return n >= shortest && delta >= math.MinInt8 && delta <= math.MaxInt8
	}
	for len(values) > 0 {
		n, delta := run(values, longest)
		if fits(n, delta) {
			b = append(b, byte(n-shortest), byte(delta))
			b = binary.AppendUvarint(b, e.bits(values[0]))
		} else {
			for n = 1; n < len(values) && n < mostLiterals && !fits(run(values[n:], shortest)); n++ {
			}
			b = append(b, byte(-n))
			for _, v := range values[:n] {
				b = binary.AppendUvarint(b, e.bits(v))
			}
		}
		values = values[n:]
	}
	return b
}

const (
	// mostRun is how many values one run has at most, in the second version.
	mostRun = 512
	// mostRepeats is how many a short repeat has.
	mostRepeats = 10
	// The second version's kinds of runs, in the two highest bits. The fourth, patched
	// base, saves bytes and nothing else.
	direct = 1 << 6
	deltas = 3 << 6
)

// appendNew is the second version of ORC's run lengths.
func (e integers) appendNew(b []byte, values []int64) []byte {
	for len(values) > 0 {
		n, delta := run(values, mostRun)
		switch {
		case n > mostRepeats:
			b = append(b, deltas|byte((n-1)>>8), byte(n-1))
			b = binary.AppendUvarint(b, e.bits(values[0]))
			b = binary.AppendUvarint(b, zigzag(delta))
		case n >= shortest && delta == 0:
			v := e.bits(values[0])
			width := max(1, (bits.Len64(v)+7)/8)
			b = append(b, byte((width-1)<<3|n-shortest))
			b = appendWide(b, v, width)
		default:
			for n = 1; n < len(values) && n < mostRun; n++ {
				if r, _ := run(values[n:], mostRepeats+1); r > mostRepeats {
					break
				}
			}
			b = e.appendDirect(b, values[:n])
		}
		values = values[n:]
	}
	return b
}

// appendDirect appends values of as many bits each as the largest needs.
func (e integers) appendDirect(b []byte, values []int64) []byte {
	var all uint64
	for _, v := range values {
		all |= e.bits(v)
	}
	// Widths are 1, 2, 4 and whole bytes; above 24 bits they are numbered by bytes.
	width := (bits.Len64(all) + 7) / 8 * 8
	code := width - 1
	switch n := bits.Len64(all); {
	case n <= 2:
		width = max(1, n)
		code = width - 1
	case n <= 4:
		width, code = 4, 3
	case n > 24:
		code = 23 + width/8
	}
	b = append(b, direct|byte(code<<1)|byte((len(values)-1)>>8), byte(len(values)-1))
	if width >= 8 {
		for _, v := range values {
			b = appendWide(b, e.bits(v), width/8)
		}
		return b
	}
	var octet, filled int
	for _, v := range values {
		octet = octet<<width | int(e.bits(v))
		if filled += width; filled == 8 {
			b = append(b, byte(octet))
			octet, filled = 0, 0
		}
	}
	if filled > 0 {
		b = append(b, byte(octet<<(8-filled)))
	}
	return b
}

// appendWide appends the lowest bytes of v, the most significant first.
func appendWide(b []byte, v uint64, width int) []byte {
	for width--; width >= 0; width-- {
		b = append(b, byte(v>>(8*width)))
	}
	return b
}
