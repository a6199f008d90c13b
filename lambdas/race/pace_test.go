package race_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/race"
)

// Whatever the order and the repetitions, a window's pace is that of its different
// records; a state that travels as JSON loses nothing.
func TestAPaceCountsEveryRecordOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type one struct {
			race, racer string
			seq         int64
		}
		var state race.PaceState
		distinct := map[one]race.Record{}
		n := rapid.IntRange(1, 80).Draw(t, "records")
		for range n {
			r := race.Record{
				Race: rapid.SampledFrom([]string{"monza", "spa"}).Draw(t, "race"), Racer: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "racer"),
				Seq: rapid.Int64Range(1, 12).Draw(t, "seq"),
			}
			r.Distance, r.Speed, r.Power = float64(10*r.Seq), float64(r.Seq%5), float64(300+r.Seq)
			key := one{r.Race, r.Racer, r.Seq}
			_, known := distinct[key]
			if state.Add(r) == known {
				t.Fatalf("%+v counts as new: %v", r, !known)
			}
			distinct[key] = r
			if rapid.IntRange(0, 9).Draw(t, "travels") == 0 {
				text, err := json.Marshal(state)
				if err != nil {
					t.Fatal(err)
				}
				state = race.PaceState{}
				if err := json.Unmarshal(text, &state); err != nil {
					t.Fatal(err)
				}
			}
		}
		for name, part := range state.Parts() {
			want := race.Pace{Race: name}
			from, to := map[string]float64{}, map[string]float64{}
			for key, r := range distinct {
				if key.race != name {
					continue
				}
				want.Records++
				want.MeanSpeed += r.Speed
				want.MeanPower += r.Power
				want.BestSpeed, want.BestPower = max(want.BestSpeed, r.Speed), max(want.BestPower, r.Power)
				if _, ok := from[r.Racer]; !ok {
					from[r.Racer] = math.Inf(1)
				}
				from[r.Racer], to[r.Racer] = min(from[r.Racer], r.Distance), max(to[r.Racer], r.Distance)
			}
			want.MeanSpeed /= float64(want.Records)
			want.MeanPower /= float64(want.Records)
			want.Racers = len(from)
			for racer := range from {
				want.Distance += to[racer] - from[racer]
			}
			if got := race.NewPace(name, time.Time{}, time.Time{}, []race.PacePart{part}); got != want {
				t.Fatalf("the pace is %+v, want %+v", got, want)
			}
		}
		for _, racers := range state.Races {
			for racer, one := range racers {
				for i := 1; i < len(one.Seen); i++ {
					if one.Seen[i][0] <= one.Seen[i-1][1]+1 {
						t.Fatalf("%s was seen in %v, which isn't as short as can be", racer, one.Seen)
					}
				}
			}
		}
	})
}

func TestPartsOfTwoShardsMakeOnePace(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	got := race.NewPace("monza", start, start.Add(30*time.Second), []race.PacePart{
		{Records: 3, Racers: 1, Speed: 30, BestSpeed: 12, Power: 900, BestPower: 310, Distance: 250},
		{Records: 1, Racers: 1, Speed: 14, BestSpeed: 14, Power: 200, BestPower: 200},
	})
	want := race.Pace{Race: "monza", Start: start, End: start.Add(30 * time.Second), Records: 4, Racers: 2, MeanSpeed: 11, BestSpeed: 14, MeanPower: 275, BestPower: 310, Distance: 250}
	if got != want {
		t.Errorf("the pace is %+v, want %+v", got, want)
	}
	if empty := race.NewPace("monza", start, start, nil); empty.MeanSpeed != 0 {
		t.Errorf("without records the pace is %+v", empty)
	}
}
