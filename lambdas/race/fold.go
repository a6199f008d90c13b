package race

import "cmp"

// Key identifies a racer within a race.
type Key struct{ Race, Racer string }

// Fold reduces records to the newest one of each racer. It is a join
// semilattice: the order, the number of repetitions and the batching of the
// records never change the result. Make it with make(Fold).
type Fold map[Key]Record

// Add takes the record in if it is newer than what the fold holds of its racer.
func (f Fold) Add(r Record) {
	if held, ok := f[r.Key()]; !ok || r.After(held) {
		f[r.Key()] = r
	}
}

// After tells whether r is newer than another record of its racer.
func (r Record) After(held Record) bool { return compareAge(r, held) > 0 }

// compareAge orders by seq. Two different records with the same seq are a
// producer's fault; the other fields break that tie so that even then the order
// of arrival doesn't matter.
func compareAge(a, b Record) int {
	if a.Seq != b.Seq {
		return cmp.Compare(a.Seq, b.Seq)
	}
	return cmp.Or(
		a.At.Compare(b.At),
		cmp.Compare(a.Distance, b.Distance),
		cmp.Compare(a.Speed, b.Speed),
		cmp.Compare(a.Power, b.Power),
	)
}
