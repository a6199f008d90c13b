// Package simulator makes the telemetry of simulated races. It is pure: the
// same options give the same records, byte for byte, on every machine.
package simulator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/lambdas/race"
)

// Options describe the races. The zero value is the reference workload.
type Options struct {
	// Seed selects the course of the races. Any value is legal, also 0.
	Seed uint64
	// Racers is the number of racers in all races together: 1 to 1,000,000;
	// 0 means 1,000.
	Racers int
	// Races is the number of races, at most one per racer; 0 means 5, or one
	// per racer if there are fewer than 5 racers.
	Races int
	// Start is the time of the first record, in whole milliseconds of the years
	// 1 to 9000; the zero time means 2026-01-01T00:00:00Z.
	Start time.Time
	// Step is the time between two records of a racer, in whole milliseconds,
	// 1 ms to 1 h; 0 means 1 s.
	Step time.Duration
}

// Simulator hands out the records of all racers in the order of their times.
type Simulator struct {
	racers []racer
	start  time.Time
	step   time.Duration
	count  int
}

// New prepares the races. The error names every invalid option.
func New(o Options) (*Simulator, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Simulator{racers: make([]racer, o.Racers), start: o.Start.UTC(), step: o.Step}
	for i := range s.racers {
		s.racers[i] = newRacer(o.Seed, i, o.Races)
	}
	return s, nil
}

// Next returns the next record. The racers take turns, evenly spread over a
// step; every racer's first record is the one at its start.
func (s *Simulator) Next() race.Record {
	lap, i := s.count/len(s.racers), s.count%len(s.racers)
	s.count++
	r := &s.racers[i]
	if lap > 0 {
		r.move(s.step)
	}
	offset := s.step * time.Duration(i) / time.Duration(len(s.racers))
	at := s.start.Add(time.Duration(lap)*s.step + offset.Truncate(time.Millisecond))
	return r.record(int64(lap)+1, at)
}

func (o Options) withDefaults() Options {
	if o.Racers == 0 {
		o.Racers = 1000
	}
	if o.Races == 0 {
		o.Races = max(1, min(5, o.Racers))
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if o.Step == 0 {
		o.Step = time.Second
	}
	return o
}

func (o Options) validate() error {
	var problems []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf("simulator: "+format, args...))
		}
	}
	check(o.Racers >= 1 && o.Racers <= 1_000_000, "Racers is %d: must be 1 to 1000000", o.Racers)
	check(o.Races >= 1 && o.Races <= max(o.Racers, 1), "Races is %d: must be 1 to the number of racers, %d", o.Races, o.Racers)
	check(o.Start.Year() >= 1 && o.Start.Year() <= 9000 && o.Start.Nanosecond()%1e6 == 0,
		"Start is %v: must be whole milliseconds in the years 1 to 9000", o.Start)
	check(o.Step >= time.Millisecond && o.Step <= time.Hour && o.Step%time.Millisecond == 0,
		"Step is %v: must be 1ms to 1h in whole milliseconds", o.Step)
	return errors.Join(problems...)
}

// racer is a cyclist. Its state is whole numbers, because the last bits of
// floating-point sums differ between processors (fused multiply-add).
type racer struct {
	race, name string
	rng        *rand.Rand
	form       int64 // the speed the racer tends to, µm/s
	speed      int64 // µm/s
	distance   int64 // µm
	power      int64 // W
}

func newRacer(seed uint64, i, races int) racer {
	// A generator per racer: adding a racer doesn't change the others' form.
	rng := rand.New(rand.NewPCG(seed, uint64(i)))
	return racer{
		race: fmt.Sprintf("race-%02d", i%races+1),
		name: fmt.Sprintf("racer-%04d", i+1),
		rng:  rng,
		form: 9_000_000 + rng.Int64N(5_000_000),
	}
}

// move rides on for one step: the speed tends to the form, with gusts, the
// distance is the mean speed times the time, and the power is what drag,
// rolling resistance and acceleration take.
func (r *racer) move(step time.Duration) {
	const settle, topSpeed, maxPower = 8_000, 20_000_000, 2_000 // ms, µm/s, W
	ms := step.Milliseconds()
	before := r.speed
	gust := r.rng.Int64N(3_200_001) - 1_600_000
	r.speed += (r.form - r.speed + gust) * min(ms, settle) / settle
	r.speed = min(max(r.speed, 0), topSpeed)

	mean := (before + r.speed) / 2
	r.distance += mean * ms / 1_000

	v, dv := mean/1_000, (r.speed-before)/1_000 // mm/s
	drag := v * v * v / 5_000_000_000           // 0.2 kg/m · v³
	rolling := 4 * v / 1_000                    // 4 N · v
	inertia := 80 * dv * v / (1_000 * ms)       // 80 kg · dv/dt · v
	r.power = min(max(drag+rolling+inertia, 0), maxPower)
}

func (r *racer) record(seq int64, at time.Time) race.Record {
	return race.Record{
		Race:     r.race,
		Racer:    r.name,
		Seq:      seq,
		At:       at,
		Distance: float64(r.distance/1_000) / 1_000,
		Speed:    float64(r.speed/1_000) / 1_000,
		Power:    float64(r.power),
	}
}
