package sim

import (
	"cmp"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seeds   = flag.Int("seeds", 50, "how many seeds a simulation runs, from 1 on")
	only    = flag.Uint64("seed", 0, "run this seed only, and trace it if it fails")
	records = flag.Int("records", 0, "how many records a run puts, instead of the test's own number")
	names   = flag.String("faults", "", "run with these faults only, separated by commas; none for none")
)

// Check runs scenarios with every seed, as many as -seeds says, on all processors,
// or the one that -seed names. If one fails, the test fails and says why, with the
// shortest run that fails likewise, its trace, and the commands that repeat both.
func Check(t *testing.T, scenario func() Scenario, options Options) {
	t.Helper()
	options.Records = cmp.Or(*records, options.Records)
	if *names != "" {
		options.Only = slices.DeleteFunc(All(), func(f Fault) bool { return !slices.Contains(strings.Split(*names, ","), f.String()) })
	}
	seed := *only
	if seed == 0 {
		if seed = Find(t, scenario, options, uint64(*seeds)); seed == 0 {
			return
		}
	}
	if failure := Explain(t, seed, scenario, options); failure != "" {
		t.Fatal(failure)
	}
	t.Logf("seed %d passes", seed)
}

// Find is the lowest of the seeds from 1 to n that fails, or 0.
func Find(t *testing.T, scenario func() Scenario, options Options, n uint64) uint64 {
	// Runs make much garbage and keep little of it.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	var next, failed atomic.Uint64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1); seed <= n; seed = next.Add(1) {
				if f := failed.Load(); f != 0 && f < seed {
					return
				}
				if Run(t, seed, scenario(), options) == nil {
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

// Explain runs a seed and, if it fails, says why, with the shortest run that fails,
// too, its trace, and the commands that repeat both; with -short, without looking for
// a shorter one. It is empty if the seed passes.
func Explain(t *testing.T, seed uint64, scenario func() Scenario, options Options) string {
	t.Helper()
	err := Run(t, seed, scenario(), options)
	if err == nil {
		return ""
	}
	again := func() string {
		command := fmt.Sprintf("go test ./tests/sim -run '^%s$' -seed=%d", t.Name(), seed)
		if options.Records != 0 {
			command += fmt.Sprintf(" -records=%d", options.Records)
		}
		if options.Only != nil {
			command += " -faults=" + cmp.Or(strings.Trim(strings.ReplaceAll(fmt.Sprint(options.Only), " ", ","), "[]"), "none")
		}
		return command
	}
	text := fmt.Sprintf("seed %d: %v\nagain: %s\n", seed, err, again())
	if testing.Short() {
		return text
	}
	if options.Only == nil {
		seed, options = shorten(t, seed, scenario, options)
	}
	var lines []string
	options.Trace = &lines
	err = Run(t, seed, scenario(), options)
	const most = 300
	if len(lines) > most {
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "s put ") })
	}
	if len(lines) > most {
		lines = append([]string{fmt.Sprintf("… %d lines before", len(lines)-most)}, lines[len(lines)-most:]...)
	}
	return text + fmt.Sprintf("\nthe shortest trace: %v\n%s\nagain: %s", err, strings.Join(lines, "\n"), again())
}

// shorten finds out which faults the failure needs, and looks for it in runs with
// few records, in which these are frequent.
func shorten(t *testing.T, seed uint64, scenario func() Scenario, options Options) (uint64, Options) {
	options.Records = cmp.Or(options.Records, 10_000)
	for _, f := range All() {
		try := options
		try.Without = append(slices.Clone(options.Without), f)
		if Run(t, seed, scenario(), try) != nil {
			options = try
		}
	}
	small := options
	small.Only, small.Without = without(All(), options.Without...), nil
	// One that fails with at most so many records, among a few seeds.
	find := func(o Options, most int) (uint64, Options) {
		for o.Records = 1; o.Records <= most; o.Records += 1 + o.Records/3 {
			for s := seed; s < seed+40; s++ {
				if Run(t, s, scenario(), o) != nil {
					return s, o
				}
			}
		}
		return 0, o
	}
	s, small := find(small, options.Records/2)
	if s == 0 {
		return seed, options
	}
	for _, f := range small.Only {
		try := small
		try.Only = without(small.Only, f)
		if found, shorter := find(try, small.Records); found != 0 {
			s, small = found, shorter
		}
	}
	return s, small
}

func without(faults []Fault, left ...Fault) []Fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f Fault) bool { return slices.Contains(left, f) })
}
