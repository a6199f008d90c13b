package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/local/esm"
)

var (
	seeds = flag.Int("sim.seeds", 100, "how many seeds a simulation runs, from 1 on")
	only  = flag.Uint64("sim.seed", 0, "run this seed only, and trace it")
)

// Check runs scenarios with every seed, as many as -sim.seeds says, on all
// processors, or the one that -sim.seed names. The first one that fails is run
// again with fewer records and fewer faults, as long as it fails, and its trace
// is printed with the command that repeats it.
func Check(t *testing.T, scenario func() Scenario, options Options) {
	t.Helper()
	if *only != 0 {
		report(t, *only, scenario, options)
		return
	}
	if seed := Find(scenario, options, uint64(*seeds)); seed != 0 {
		report(t, seed, scenario, options)
	}
}

// Find is the lowest of the seeds from 1 to n that fails, or 0.
func Find(scenario func() Scenario, options Options, n uint64) uint64 {
	// Runs make much garbage and keep little of it.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var next, failed atomic.Uint64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1); seed <= n; seed = next.Add(1) {
				if f := failed.Load(); f != 0 && f < seed {
					return
				}
				if Run(seed, scenario(), options) == nil {
					continue
				}
				for {
					f := failed.Load()
					if f != 0 && f < seed || failed.CompareAndSwap(f, seed) {
						break
					}
				}
			}
		})
	}
	workers.Wait()
	return failed.Load()
}

// report runs a failing seed in its shortest form and prints its trace.
func report(t *testing.T, seed uint64, scenario func() Scenario, options Options) {
	t.Helper()
	err := Run(seed, scenario(), options)
	if err == nil {
		t.Logf("seed %d passes", seed)
		return
	}
	options = shorten(seed, scenario, options)
	var lines []string
	options.Trace = &lines
	short := Run(seed, scenario(), options)
	const most = 200
	if len(lines) > most {
		lines = append([]string{fmt.Sprintf("… %d lines before", len(lines)-most)}, lines[len(lines)-most:]...)
	}
	t.Fatalf("seed %d: %v\nshortest: %d records, without %v: %v\n%s\nagain: go test -run '^%s$' . -sim.seed=%d",
		seed, err, options.Records, options.Without, short, strings.Join(lines, "\n"), t.Name(), seed)
}

// shorten leaves out what the failure doesn't need.
func shorten(seed uint64, scenario func() Scenario, options Options) Options {
	fails := func(o Options) bool { return Run(seed, scenario(), o) != nil }
	if options.Records == 0 {
		options.Records = 10_000
	}
	for f := range faults {
		try := options
		try.Without = append(append([]Fault(nil), options.Without...), f)
		if fails(try) {
			options = try
		}
	}
	for n := 1; n < options.Records; n = n*3/2 + 1 {
		try := options
		try.Records = n
		if fails(try) {
			return try
		}
	}
	return options
}

// Answer is what a handler's response and error come to.
func Answer(response any, err error) esm.Outcome {
	if err != nil {
		return esm.Outcome{FunctionError: "Unhandled"}
	}
	payload, err := json.Marshal(response)
	if err != nil {
		return esm.Outcome{FunctionError: "Unhandled"}
	}
	return esm.Outcome{Payload: payload}
}
