package sim_test

import (
	"fmt"
	"maps"
	"math"
	"strings"

	pace "github.com/millrace/millrace/lambdas/pace/handler"
	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/tests/sim"
)

// part is what a shard adds to a race's window.
type part struct {
	race   string
	window int64 // its number since 1970
	shard  string
}

type lap struct {
	racer string
	seq   int64
}

// tally is a part as the records make it that were put.
type tally struct {
	seen     map[lap]bool
	racers   map[string][2]float64 // the least and the greatest distance of each
	power    float64
	strength float64 // the best power
}

func (t *tally) add(r race.Record) {
	name := lap{r.Racer, r.Seq}
	if t.seen == nil {
		t.seen, t.racers = map[lap]bool{}, map[string][2]float64{}
	}
	if t.seen[name] {
		return
	}
	t.seen[name] = true
	way, ok := t.racers[r.Racer]
	if !ok {
		way = [2]float64{math.Inf(1), 0}
	}
	t.racers[r.Racer] = [2]float64{min(way[0], r.Distance), max(way[1], r.Distance)}
	t.power += r.Power
	t.strength = max(t.strength, r.Power)
}

// values are those of the pace that t makes.
func (t *tally) values() [5]float64 {
	distance := 0.
	for _, way := range t.racers {
		distance += way[1] - way[0]
	}
	return [5]float64{float64(len(t.seen)), float64(len(t.racers)), t.power, t.strength, distance}
}

// want is what a part has to count, and what it may, too: a record that was given up
// may have been counted before.
type want struct {
	sure   tally
	failed []race.Record
}

// perhaps is the most that the part may count.
func (w *want) perhaps() *tally {
	if w.failed == nil {
		return &w.sure
	}
	most := w.sure
	most.seen, most.racers = maps.Clone(w.sure.seen), maps.Clone(w.sure.racers)
	for _, r := range w.failed {
		most.add(r)
	}
	return &most
}

// wantPaces are the parts that the records make that were put.
func (p *pipeline) wantPaces(w *sim.World) (map[part]*want, error) {
	wants := map[part]*want{}
	length := int64(p.laps.Settings.Tumbling)
	for i, put := range w.Puts() {
		failed := p.laps.Failed(i)
		switch {
		case put.Malformed && failed, p.made[put.Made].Seq == 0 && !put.Malformed:
			continue
		case put.Malformed:
			if err := rejected(w, "pace", put.Shard, put.Sequence, put.Data); err != nil {
				return nil, err
			}
			continue
		}
		r := p.made[put.Made]
		key := part{r.Race, put.Arrival.UnixNano() / length, put.Shard}
		one := wants[key]
		if one == nil {
			one = &want{}
			wants[key] = one
		}
		if failed {
			one.failed = append(one.failed, r)
		} else {
			one.sure.add(r)
		}
	}
	return wants, nil
}

// checkPaces: each shard counts each record of a race's window once.
func (p *pipeline) checkPaces(w *sim.World) error {
	if p.wants == nil { // what was given up isn't handed over again: it stays
		var err error
		if p.wants, err = p.wantPaces(w); err != nil {
			return err
		}
	}
	wants := maps.Clone(p.wants)
	for _, item := range p.paces.Items() {
		shards := map[string]sim.Item{}
		for name := range item {
			if shard, ok := strings.CutPrefix(name, pace.PartPrefix); ok {
				shard, _, _ = strings.Cut(shard, "/")
				if shards[shard] == nil {
					shards[shard] = sim.Item{"race": item["race"], "window": item["window"], "end": item["end"]}
				}
				shards[shard][name] = item[name]
			}
		}
		for shard, alone := range shards {
			got, err := pace.Read(alone)
			if err != nil {
				return err
			}
			key := part{got.Race, got.Start.UnixNano() / int64(p.laps.Settings.Tumbling), shard}
			want := wants[key]
			if want == nil || got.End.Sub(got.Start) != p.laps.Settings.Tumbling {
				return fmt.Errorf("%+v is counted as %+v, and nothing was put", key, got)
			}
			delete(wants, key)
			values := [5]float64{float64(got.Records), float64(got.Racers), math.Round(got.MeanPower * float64(got.Records)), got.BestPower, got.Distance}
			least, most := want.sure.values(), want.perhaps().values()
			for i, value := range values {
				if value < least[i] || value > most[i] {
					return fmt.Errorf("%+v is counted as %v, and at least %v was put, and at most %v", key, values, least, most)
				}
			}
		}
	}
	for key, want := range wants {
		// A window's last invocation may lie in the failure bucket until it is handed over
		// again.
		if len(want.sure.seen) > 0 && w.Mended() {
			return fmt.Errorf("%+v isn't counted: at least %v was put", key, want.sure.values())
		}
	}
	return nil
}
