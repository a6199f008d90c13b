package race

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// Pace is how a race went in a window of time: of all records that came in it, each
// counted once however often it came.
type Pace struct {
	Race       string
	Start, End time.Time
	// Records are the different ones; Racers are those that sent any.
	Records, Racers int
	// Speeds are in metres per second, powers in watts: over all records, and the
	// best of them.
	MeanSpeed, BestSpeed float64
	MeanPower, BestPower float64
	// Distance is the way that all racers covered together between their first and
	// last record of the window, in metres.
	Distance float64
}

// PacePart is what one shard adds to a race's window.
type PacePart struct {
	Records   int     `json:"records" dynamodbav:"records"`
	Racers    int     `json:"racers" dynamodbav:"racers"`
	Speed     float64 `json:"speed" dynamodbav:"speed"` // summed up
	BestSpeed float64 `json:"bestSpeed" dynamodbav:"bestSpeed"`
	Power     float64 `json:"power" dynamodbav:"power"` // summed up
	BestPower float64 `json:"bestPower" dynamodbav:"bestPower"`
	Distance  float64 `json:"distance" dynamodbav:"distance"`
}

// NewPace adds the parts up.
func NewPace(name string, start, end time.Time, parts []PacePart) Pace {
	p := Pace{Race: name, Start: start, End: end}
	for _, part := range parts {
		p.Records += part.Records
		p.Racers += part.Racers
		p.MeanSpeed += part.Speed
		p.MeanPower += part.Power
		p.BestSpeed = max(p.BestSpeed, part.BestSpeed)
		p.BestPower = max(p.BestPower, part.BestPower)
		p.Distance += part.Distance
	}
	if p.Records > 0 {
		p.MeanSpeed /= float64(p.Records)
		p.MeanPower /= float64(p.Records)
	}
	return p
}

// PaceState is what one shard has seen of a window. It travels as JSON. The zero
// value is empty.
type PaceState struct {
	// First and Last name the first and the last record that was handed over, and so
	// this state among others of the same window and shard: Lambda begins another one
	// when a state has grown too large, and anew when it reads the records again.
	First string                        `json:"first,omitempty"`
	Last  string                        `json:"last,omitempty"`
	Races map[string]map[string]*Racing `json:"races,omitempty"` // by race and racer
}

// Racing is what came of one racer in a window.
type Racing struct {
	// Seen are the ranges of the seqs that came, in order: mostly one.
	Seen [][2]int64 `json:"seen"`
	// From and To are the least and the greatest distance.
	From      float64 `json:"from"`
	To        float64 `json:"to"`
	Speed     float64 `json:"speed"` // summed up
	BestSpeed float64 `json:"bestSpeed"`
	Power     float64 `json:"power"` // summed up
	BestPower float64 `json:"bestPower"`
}

// Add takes in a record. It reports false for one that is in already.
func (s *PaceState) Add(r Record) bool {
	if s.Races == nil {
		s.Races = map[string]map[string]*Racing{}
	}
	racers := s.Races[r.Race]
	if racers == nil {
		racers = map[string]*Racing{}
		s.Races[r.Race] = racers
	}
	one := racers[r.Racer]
	if one == nil {
		one = &Racing{From: math.Inf(1)}
		racers[r.Racer] = one
	}
	if !one.see(r.Seq) {
		return false
	}
	one.From, one.To = min(one.From, r.Distance), max(one.To, r.Distance)
	one.Speed += r.Speed
	one.Power += r.Power
	one.BestSpeed, one.BestPower = max(one.BestSpeed, r.Speed), max(one.BestPower, r.Power)
	return true
}

// see notes a seq and reports false if it was seen.
func (r *Racing) see(seq int64) bool {
	// The first range that doesn't end before seq, nor right before it.
	i, _ := slices.BinarySearchFunc(r.Seen, seq, func(span [2]int64, seq int64) int { return cmp.Compare(span[1]+1, seq) })
	switch {
	case i == len(r.Seen) || seq < r.Seen[i][0]-1:
		r.Seen = slices.Insert(r.Seen, i, [2]int64{seq, seq})
		return true
	case seq >= r.Seen[i][0] && seq <= r.Seen[i][1]:
		return false
	case seq < r.Seen[i][0]:
		r.Seen[i][0] = seq
		return true
	}
	r.Seen[i][1] = seq
	if next := i + 1; next < len(r.Seen) && r.Seen[next][0] == seq+1 {
		r.Seen[i][1] = r.Seen[next][1]
		r.Seen = slices.Delete(r.Seen, next, next+1)
	}
	return true
}

// Parts are what the state adds to each race.
func (s *PaceState) Parts() map[string]PacePart {
	parts := make(map[string]PacePart, len(s.Races))
	for name, racers := range s.Races {
		part := PacePart{Racers: len(racers)}
		// In one order: the sums of fractions depend on it.
		for _, racer := range slices.Sorted(maps.Keys(racers)) {
			one := racers[racer]
			for _, span := range one.Seen {
				part.Records += int(span[1] - span[0] + 1)
			}
			part.Speed += one.Speed
			part.Power += one.Power
			part.BestSpeed, part.BestPower = max(part.BestSpeed, one.BestSpeed), max(part.BestPower, one.BestPower)
			part.Distance += one.To - one.From
		}
		parts[name] = part
	}
	return parts
}
