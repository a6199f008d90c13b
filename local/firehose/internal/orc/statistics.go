package orc

import (
	"cmp"
	"math"
	"math/big"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// statistics are what a column's values are in a row group, a stripe or the file.
type statistics struct {
	values uint64 // that aren't null
	null   bool
	trues  uint64
	ints   bounds[int64] // days of dates, milliseconds of timestamps
	reals  bounds[float64]
	sum    float64 // of reals
	texts  bounds[string]
	length int64 // of all texts, in bytes
	units  bounds[*big.Int]
}

// bounds are the least and the greatest of values.
type bounds[T any] struct {
	low, high T
	any       bool
}

func (b *bounds[T]) add(low, high T, compare func(a, b T) int) {
	if !b.any || compare(low, b.low) < 0 {
		b.low = low
	}
	if !b.any || compare(high, b.high) > 0 {
		b.high = high
	}
	b.any = true
}

func (b *bounds[T]) merge(o bounds[T], compare func(a, b T) int) {
	if o.any {
		b.add(o.low, o.high, compare)
	}
}

func (s *statistics) real(f float64) {
	s.reals.add(f, f, cmp.Compare)
	s.sum += f
}

func (s *statistics) merge(o *statistics) {
	s.values += o.values
	s.null = s.null || o.null
	s.trues += o.trues
	s.ints.merge(o.ints, cmp.Compare)
	s.reals.merge(o.reals, cmp.Compare)
	s.sum += o.sum
	s.texts.merge(o.texts, cmp.Compare)
	s.length += o.length
	s.units.merge(o.units, (*big.Int).Cmp)
}

// longestBound is how long a text may be to be a bound; a reader does without.
const longestBound = 1_024

// message has no sums of whole numbers and of decimals, which readers do without; that
// of floating-point numbers they take as 0 where it is absent.
func (s *statistics) message(t *hive.Type) (m message) {
	m.uint(1, s.values)
	var of message
	switch t.Kind {
	case hive.TinyInt, hive.SmallInt, hive.Int, hive.BigInt:
		if s.ints.any {
			of.sint(1, s.ints.low)
			of.sint(2, s.ints.high)
		}
		m.add(2, of)
	case hive.Float, hive.Double:
		if s.reals.any {
			of.double(1, s.reals.low)
			of.double(2, s.reals.high)
		}
		if !math.IsInf(s.sum, 0) {
			of.double(3, s.sum)
		}
		m.add(3, of)
	case hive.String, hive.Char, hive.Varchar:
		if b := s.texts; b.any && len(b.low) <= longestBound && len(b.high) <= longestBound {
			of.text(1, b.low)
			of.text(2, b.high)
		}
		of.sint(3, s.length)
		m.add(4, of)
	case hive.Boolean:
		of.packed(1, s.trues)
		m.add(5, of)
	case hive.Decimal:
		if s.units.any {
			one := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)
			of.text(1, new(big.Rat).SetFrac(s.units.low, one).FloatString(t.Scale))
			of.text(2, new(big.Rat).SetFrac(s.units.high, one).FloatString(t.Scale))
		}
		m.add(6, of)
	case hive.Date:
		if s.ints.any {
			of.sint(1, s.ints.low)
			of.sint(2, s.ints.high)
		}
		m.add(7, of)
	case hive.Timestamp:
		if s.ints.any {
			of.sint(3, s.ints.low)
			of.sint(4, s.ints.high)
		}
		m.add(9, of)
	}
	m.flag(10, s.null)
	return m
}
