package race_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/race"
)

// history is a race's changes in the order of its stream, with the standings
// before the first one and after each.
type history struct {
	changes   []race.Change
	standings []map[string]race.Place
}

// histories draws races of up to 14 racers whose distances rise, fall and tie,
// and who leave and come back, counting from 1 again if they may start over.
func histories(startOver bool) *rapid.Generator[history] {
	return rapid.Custom(func(t *rapid.T) history {
		table := make(map[string]race.Place)
		seqs := make(map[string]int64)
		h := history{standings: []map[string]race.Place{maps.Clone(table)}}
		if rapid.Bool().Draw(t, "full from the start") {
			for i := range 12 {
				place := race.Place{Racer: fmt.Sprintf("r%02d", i), Seq: 1, At: time.Unix(1, 0).UTC(), Distance: float64(i % 6)}
				table[place.Racer], seqs[place.Racer] = place, 1
				h.add(race.Change{Place: place}, table)
			}
		}
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			racer := fmt.Sprintf("r%02d", rapid.IntRange(0, 13).Draw(t, "racer"))
			_, exists := table[racer]
			if exists && rapid.IntRange(0, 5).Draw(t, "fate") == 0 {
				delete(table, racer)
				if startOver && rapid.Bool().Draw(t, "starts over") {
					seqs[racer] = 0
				}
				h.add(race.Change{Place: race.Place{Racer: racer}, Removed: true}, table)
				continue
			}
			seqs[racer]++
			table[racer] = race.Place{
				Racer: racer, Seq: seqs[racer], At: time.Unix(seqs[racer], 0).UTC(),
				Distance: float64(rapid.IntRange(0, 8).Draw(t, "distance")),
			}
			h.add(race.Change{Place: table[racer]}, table)
		}
		return h
	})
}

func (h *history) add(change race.Change, table map[string]race.Place) {
	h.changes = append(h.changes, change)
	h.standings = append(h.standings, maps.Clone(table))
}

// sorted is the podium by definition, written without the code under test.
func (h *history) sorted(position int) race.Podium {
	places := slices.Collect(maps.Values(h.standings[position]))
	slices.SortFunc(places, func(a, b race.Place) int {
		switch {
		case a.Distance != b.Distance && a.Distance > b.Distance, a.Distance == b.Distance && a.Racer < b.Racer:
			return -1
		default:
			return 1
		}
	})
	return race.Podium{Race: "monza", Top: places[:min(len(places), 10)]}
}

// merge is what the function does: merge, and make anew where asked to from the
// standings at the given position.
func (h *history) merge(p race.Podium, changes []race.Change, position int) race.Podium {
	next, rebuild := p.Merge(changes)
	if rebuild {
		return p.Of(slices.Collect(maps.Values(h.standings[position])))
	}
	return next
}

func check(t *rapid.T, want, got race.Podium) {
	if !want.Equal(got) {
		t.Fatalf("(-want +got)\n%s", cmp.Diff(want, got))
	}
}

func TestPodiumFollowsTheStandingsChangeByChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := histories(true).Draw(t, "history")
		podium := race.Podium{Race: "monza"}
		for i := range h.changes {
			podium = h.merge(podium, h.changes[i:i+1], i+1)
			check(t, h.sorted(i+1), podium)
		}
	})
}

func TestPodiumComesOutRightUnderReplays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := histories(true).Draw(t, "history")
		podium := race.Podium{Race: "monza"}
		replays := rapid.IntRange(0, 6).Draw(t, "replays")
		now := 0 // how far the table is: never behind the stream, often ahead
		for from := 0; from < len(h.changes); {
			to := rapid.IntRange(from+1, len(h.changes)).Draw(t, "batch end")
			now = rapid.IntRange(max(now, to), len(h.changes)).Draw(t, "table")
			podium = h.merge(podium, h.changes[from:to], now)
			from = to
			if replays > 0 {
				replays--
				from = rapid.IntRange(0, to).Draw(t, "replay from")
			}
		}
		check(t, h.sorted(len(h.changes)), podium)

		again, rebuild := podium.Merge(nil)
		if rebuild || !again.Equal(podium) {
			t.Fatal("merging nothing changes the podium")
		}
	})
}

// lookUp is a race's standings at one time.
type lookUp map[string]race.Place

func (l lookUp) Racer(name string) (race.Place, bool, error) {
	place, ok := l[name]
	return place, ok, nil
}

func (l lookUp) Racers() ([]race.Place, error) { return slices.Collect(maps.Values(l)), nil }

// Changes that come repeatedly and in any order, however late, make the right podium
// once all have come.
func TestPodiumComesOutRightInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := histories(false).Draw(t, "history")
		podium := race.Podium{Race: "monza"}
		order := rapid.Permutation(append(slices.Collect(numbers(len(h.changes))), rapid.SliceOfN(rapid.IntRange(0, max(0, len(h.changes)-1)), 0, min(8, len(h.changes))).Draw(t, "repeated")...)).Draw(t, "order")
		now := 0 // how far the table is: never behind the stream, often ahead
		for from := 0; from < len(order); {
			to := rapid.IntRange(from+1, len(order)).Draw(t, "batch end")
			var batch []race.Change
			for _, i := range order[from:to] {
				batch = append(batch, h.changes[i])
				now = max(now, i+1)
			}
			now = rapid.IntRange(now, len(h.changes)).Draw(t, "table")
			var err error
			if podium, err = podium.Update(batch, lookUp(h.standings[now])); err != nil {
				t.Fatal(err)
			}
			podium.Version++
			from = to
		}
		check(t, h.sorted(len(h.changes)), podium)
	})
}

func numbers(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func TestMergeLeavesItsReceiverAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := histories(true).Draw(t, "history")
		before := h.sorted(len(h.changes) / 2)
		held := race.Podium{Race: before.Race, Top: slices.Clone(before.Top)}
		held.Merge(h.changes)
		check(t, before, held)
	})
}

func TestMergeAsksForARebuildOnlyIfSomebodyElseMayMoveUp(t *testing.T) {
	place := func(racer string, seq int64, distance float64) race.Place {
		return race.Place{Racer: racer, Seq: seq, Distance: distance}
	}
	var full race.Podium
	for i := range 10 {
		full.Top = append(full.Top, place(fmt.Sprint(i), 5, float64(100-i)))
	}
	short := race.Podium{Top: full.Top[:9]}
	for name, c := range map[string]struct {
		podium race.Podium
		change race.Change
		want   bool
	}{
		"a member advances":                      {full, race.Change{Place: place("9", 6, 200)}, false},
		"a member falls behind another":          {full, race.Change{Place: place("0", 6, 92)}, false},
		"a member falls behind all":              {full, race.Change{Place: place("0", 6, 90)}, true},
		"the last falls":                         {full, race.Change{Place: place("9", 6, 90.5)}, true},
		"a member's older state":                 {full, race.Change{Place: place("0", 4, 1)}, false},
		"a member leaves":                        {full, race.Change{Place: place("0", 0, 0), Removed: true}, true},
		"a stranger leaves":                      {full, race.Change{Place: place("x", 0, 0), Removed: true}, false},
		"a stranger stays behind":                {full, race.Change{Place: place("x", 1, 1)}, false},
		"a stranger pushes the last out":         {full, race.Change{Place: place("x", 1, 95.5)}, false},
		"the whole race is on it and one falls":  {short, race.Change{Place: place("0", 6, 1)}, false},
		"the whole race is on it and one leaves": {short, race.Change{Place: place("0", 0, 0), Removed: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			next, rebuild := c.podium.Merge([]race.Change{c.change})
			if rebuild != c.want {
				t.Errorf("rebuild %v, want %v", rebuild, c.want)
			}
			if len(next.Top) > race.PodiumSize {
				t.Errorf("%d places", len(next.Top))
			}
		})
	}
}
