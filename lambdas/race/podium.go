package race

import (
	"cmp"
	"slices"
	"time"
)

// PodiumSize is the number of places on a podium.
const PodiumSize = 10

// Place is a racer's state on a podium. The tags name its attributes in the
// podiums table.
type Place struct {
	Racer    string    `json:"racer" dynamodbav:"racer"`
	Seq      int64     `json:"seq" dynamodbav:"seq"`
	At       time.Time `json:"at" dynamodbav:"at"`
	Distance float64   `json:"distance" dynamodbav:"distance"` // metres
	Speed    float64   `json:"speed" dynamodbav:"speed"`       // metres per second
}

// Place is the record as a place on a podium.
func (r Record) Place() Place {
	return Place{Racer: r.Racer, Seq: r.Seq, At: r.At, Distance: r.Distance, Speed: r.Speed}
}

// Change is what happened to one racer in the standings: its new state or,
// with only the name set, its removal.
type Change struct {
	Place
	Removed bool
}

// Podium is the top of one race and the item of the podiums table. Its methods
// return new values and leave their receiver alone.
type Podium struct {
	Race string `json:"race" dynamodbav:"race"`
	// Version counts the writes of the item; 0 means that there is none yet.
	Version int64 `json:"version" dynamodbav:"version"`
	// Top holds at most PodiumSize places, by distance from the greatest down,
	// then by name.
	Top []Place `json:"top" dynamodbav:"top"`
}

// Standings are where a podium looks up what changes don't tell it.
type Standings interface {
	// Racer is the racer's present state; false if there is none.
	Racer(name string) (Place, bool, error)
	// Racers are the present states of all of them.
	Racers() ([]Place, error)
}

// Update brings the podium up to date with changes, which may come repeatedly, late
// and in any order, as long as the standings hold them all: in the end it is right,
// and it is never put back to a state that it had left. Version stays as it is.
func (p Podium) Update(changes []Change, standings Standings) (Podium, error) {
	known := map[string]bool{} // whose present state is among the changes
	for {
		next, rebuild := p.Merge(changes)
		if rebuild || p.Version == 0 { // the race may be older than its podium
			racers, err := standings.Racers()
			if err != nil {
				return p, err
			}
			return p.Of(racers), nil
		}
		entrants := slices.DeleteFunc(next.entrants(p), func(racer string) bool { return known[racer] })
		if len(entrants) == 0 {
			return next, nil
		}
		// A change that lets somebody in may be long outdated, or its racer be gone,
		// and no other change may come any more to put that right.
		for _, racer := range entrants {
			changes = slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Racer == racer })
			place, ok, err := standings.Racer(racer)
			if err != nil {
				return p, err
			}
			if ok {
				changes = append(changes, Change{Place: place})
			}
			known[racer] = true
		}
	}
}

// entrants are those of p who weren't on the podium before, or in a later state.
func (p Podium) entrants(before Podium) []string {
	var racers []string
	for _, place := range p.Top {
		if !slices.ContainsFunc(before.Top, func(b Place) bool { return b.Racer == place.Racer && b.Seq <= place.Seq }) {
			racers = append(racers, place.Racer)
		}
	}
	return racers
}

// Merge applies changes in their order. It reports rebuild if the podium can't
// know its places any more: a member left or fell below all others, and a racer
// who isn't on the podium may have moved up. The podium then has to be made
// anew with Of from the whole race, and the returned value is meaningless.
//
// Changes may be repeated and replayed from any earlier point, in order: a
// member's state with an older seq is ignored, and a racer who gets on the
// podium by an outdated state leaves it with a later change of the same replay.
func (p Podium) Merge(changes []Change) (next Podium, rebuild bool) {
	next = p
	next.Top = append(make([]Place, 0, PodiumSize+1), p.Top...)
	for _, change := range changes {
		if next.apply(change) {
			return p, true
		}
	}
	return next, false
}

// Of is the podium of the same race and version made anew from the state of all
// its racers. It sorts racers in place.
func (p Podium) Of(racers []Place) Podium {
	slices.SortFunc(racers, compareRank)
	p.Top = append(make([]Place, 0, PodiumSize), racers[:min(len(racers), PodiumSize)]...)
	return p
}

// Equal reports whether both podiums show the same places, whatever their
// versions.
func (p Podium) Equal(q Podium) bool {
	return p.Race == q.Race && slices.EqualFunc(p.Top, q.Top, func(a, b Place) bool {
		return a.At.Equal(b.At) && a.Racer == b.Racer && a.Seq == b.Seq && a.Distance == b.Distance && a.Speed == b.Speed
	})
}

func (p *Podium) apply(change Change) (rebuild bool) {
	at := slices.IndexFunc(p.Top, func(m Place) bool { return m.Racer == change.Racer })
	member := at >= 0
	if change.Removed {
		return member
	}
	full := len(p.Top) >= PodiumSize
	var last Place
	if full {
		last = p.Top[PodiumSize-1]
	}
	if member {
		if change.Seq < p.Top[at].Seq {
			return false
		}
		p.Top = slices.Delete(p.Top, at, at+1)
	}
	rank, _ := slices.BinarySearchFunc(p.Top, change.Place, compareRank)
	p.Top = slices.Insert(p.Top, rank, change.Place)
	p.Top = p.Top[:min(len(p.Top), PodiumSize)]
	// Nobody outside ranks above what was the last place. If the last place is
	// now lower than that, somebody outside may belong on the podium. One that
	// isn't full holds the whole race.
	return member && full && compareRank(p.Top[PodiumSize-1], last) > 0
}

func compareRank(a, b Place) int {
	return cmp.Or(cmp.Compare(b.Distance, a.Distance), cmp.Compare(a.Racer, b.Racer))
}
