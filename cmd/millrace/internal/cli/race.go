package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/producer"
	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/lambdas/race/simulator"
)

const (
	// reportEvery is how often progress is a line where it can't be a bar.
	reportEvery = 5 * time.Second
	maxRecords  = 1_000_000_000
)

// raceFlags are the settings of one run.
type raceFlags struct {
	racers, races int
	rate          float64
	seconds       float64
	records       int // 0 once resolved: the clock alone ends the run
	seed          uint64
	name          string
	stream, dir   string
	aggregate     bool

	packed *kpl.Options // once resolved, if aggregate

	given map[string]bool // the flags that were set
}

func (p *Program) race() *cobra.Command {
	var f raceFlags
	cmd := &cobra.Command{
		Use:   "race",
		Short: "Send simulated races to the stream",
		Long: `race simulates races and sends their telemetry to the stream: in batches, with
retries of what the stream didn't take. It ends with how many records the stream
acknowledged, also when Ctrl-C ends it, and with the shards if any of them throttled.

The same seed gives the same records. Each seed has its own races, named after
it, so that the standings of two runs don't mix; see --name.`,
		Example: `  millrace race                                           # 1,000 records to the local machine
  millrace race --seed 7 --racers 20 --races 2 --records 300
  millrace race --stream my-stream --racers 1000 --rate 5000 --seconds 60`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.given = map[string]bool{}
			cmd.Flags().Visit(func(flag *pflag.Flag) { f.given[flag.Name] = true })
			if err := f.resolve(); err != nil {
				return usageError(cmd, err)
			}
			return p.runRace(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.racers, "racers", 100, "racers in all races together, 1 to 1000000")
	flags.IntVar(&f.races, "races", 5, "races, at most one per racer")
	flags.Float64Var(&f.rate, "rate", 100, "records per second on average; 0 is as fast as the stream takes them")
	flags.Float64Var(&f.seconds, "seconds", 10, "how long to send")
	flags.IntVar(&f.records, "records", 0, "how many records to send, instead of --seconds")
	flags.Uint64Var(&f.seed, "seed", 0, "the course of the races, for a run that can be repeated (default: by chance)")
	flags.StringVar(&f.name, "name", "", "what the races' names begin with (default \"seed<seed>\")")
	flags.BoolVar(&f.aggregate, "aggregate", false, "put many records into each of the stream's, as the KPL does; it needs kinesis:ListShards")
	flags.StringVar(&f.stream, "stream", "", "the stream's name (default: $"+envStream+", or the local machine's)")
	dirFlag(cmd, &f.dir)
	return cmd
}

// resolve checks the flags, all of them, and sets what depends on others.
func (f *raceFlags) resolve() error {
	var problems []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	check(f.racers >= 1 && f.racers <= 1_000_000, "--racers %d: must be 1 to 1000000", f.racers)
	check(f.races >= 1 && f.races <= max(f.racers, 1), "--races %d: must be 1 to the number of racers, %d", f.races, f.racers)
	check(f.rate >= 0 && !math.IsInf(f.rate, 0), "--rate %v: must be 0, for no limit, or more", f.rate)
	check(!f.given["seconds"] || f.seconds > 0 && f.seconds <= 1e6, "--seconds %v: must be more than 0, up to 1000000", f.seconds)
	check(!f.given["records"] || f.records >= 1 && f.records <= maxRecords, "--records %d: must be 1 to %d", f.records, maxRecords)
	check(!f.given["records"] || !f.given["seconds"], "--records and --seconds: only one of them can set the end")
	if !f.given["seed"] {
		f.seed = rand.Uint64N(1_000_000)
	}
	if f.name == "" {
		f.name = fmt.Sprintf("seed%d", f.seed)
	}
	sample := race.Record{Race: f.raceName("race-00"), Racer: "r", Seq: 1, At: time.Unix(0, 0).UTC()}
	check(sample.Validate() == nil, "--name %q: must be characters of A-Z a-z 0-9 . _ - and leave room for the race within 64", f.name)

	// With neither a rate nor a count, only the clock ends the run.
	if !f.given["records"] {
		f.records = 0
		if f.rate > 0 {
			f.records = int(min(max(1, f.rate*f.seconds), maxRecords))
		}
	}
	return errors.Join(problems...)
}

func (f *raceFlags) raceName(simulated string) string { return f.name + "." + simulated }

// step is the simulated time between two records of a racer: the one that
// passes until all others have had their turn.
func (f *raceFlags) step() time.Duration {
	if f.rate == 0 {
		return time.Second
	}
	between := time.Duration(float64(f.racers) / f.rate * float64(time.Second))
	return min(max(between.Truncate(time.Millisecond), time.Millisecond), time.Hour)
}

func (p *Program) runRace(ctx context.Context, f raceFlags) error {
	to, err := p.find(ctx, wantedStream, f.stream, f.dir)
	if err != nil {
		return err
	}
	options := simulator.Options{Seed: f.seed, Racers: f.racers, Races: f.races, Step: f.step()}
	if !f.given["seed"] {
		// Not to be repeated: the records may as well carry the real time.
		options.Start = time.Now().UTC().Truncate(time.Millisecond)
	}
	sim, err := simulator.New(options)
	if err != nil {
		return err
	}
	client := kinesis.NewFromConfig(to.cfg, func(o *kinesis.Options) {
		o.Retryer = aws.NopRetryer{} // the producer retries
	})
	fmt.Fprintf(p.Stderr, "%d racers in %d races, from %s on, to stream %s\n", f.racers, f.races, f.raceName("race-01"), to.name)
	if f.aggregate {
		shards, err := producer.Shards(ctx, client, to.name)
		if err != nil {
			return err
		}
		f.packed = &kpl.Options{Shards: shards}
	}
	return p.send(ctx, f, sim, client, to)
}

// send runs the race and reports what came of it, however it ends.
func (p *Program) send(ctx context.Context, f raceFlags, sim *simulator.Simulator, api producer.API, to target) error {
	counted := &countingAPI{api: api, shards: map[string]*shardCounts{}}
	show := newMeter(p.Stderr, f, counted)
	options := producer.Options{Rate: f.rate, Aggregate: f.packed, Acknowledged: func(records []producer.Record) { show.add(len(records)) }}
	sender, err := producer.New(counted, to.name, options)
	if err != nil {
		return err
	}

	started := time.Now()
	err = f.feed(ctx, sim, sender)
	took := time.Since(started)
	show.finish()

	acknowledged := sender.Acknowledged()
	fmt.Fprintf(p.Stdout, "%d records acknowledged in %.1f s: %.0f per second, %d sent again\n",
		acknowledged, took.Seconds(), float64(acknowledged)/max(took.Seconds(), 1e-3), sender.Stats().Retried)
	counted.describe(p.Stdout)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// feed adds records until the end that the flags set. The clock ends a run of
// --seconds also where the stream takes fewer than --rate.
func (f *raceFlags) feed(ctx context.Context, sim *simulator.Simulator, to *producer.Producer) error {
	end := time.Now().Add(time.Duration(f.seconds * float64(time.Second)))
	for n := 0; ; n++ {
		if f.records > 0 && n == f.records || !f.given["records"] && time.Now().After(end) {
			return to.Flush(ctx)
		}
		record := sim.Next()
		record.Race = f.raceName(record.Race)
		data, err := json.Marshal(record)
		if err != nil {
			return err
		}
		if err := to.Add(ctx, producer.Record{PartitionKey: record.PartitionKey(), Data: data}); err != nil {
			return err
		}
	}
}

// countingAPI counts, per shard, what was taken and what was turned away.
type countingAPI struct {
	api       producer.API
	throttled int
	shards    map[string]*shardCounts
}

type shardCounts struct{ taken, throttled int }

func (c *countingAPI) PutRecords(ctx context.Context, in *kinesis.PutRecordsInput, o ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	out, err := c.api.PutRecords(ctx, in, o...)
	if err == nil {
		for _, result := range out.Records {
			c.count(result)
		}
	}
	return out, err
}

func (c *countingAPI) count(result types.PutRecordsResultEntry) {
	code := aws.ToString(result.ErrorCode)
	if code != "" && code != throttledCode {
		return
	}
	id := aws.ToString(result.ShardId)
	if code != "" {
		// Which shard it was is in the message only.
		_, after, _ := strings.Cut(aws.ToString(result.ErrorMessage), " shard ")
		if id, _, _ = strings.Cut(after, " "); id == "" {
			id = "of an unnamed shard"
		}
	}
	counts := c.shards[id]
	if counts == nil {
		counts = &shardCounts{}
		c.shards[id] = counts
	}
	if code == "" {
		counts.taken++
	} else {
		counts.throttled++
		c.throttled++
	}
}

const throttledCode = "ProvisionedThroughputExceededException"

// describe shows the hot shards, if any shard turned records away.
func (c *countingAPI) describe(w io.Writer) {
	if c.throttled == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(c.shards)) {
		fmt.Fprintf(w, "  %s  %7d acknowledged  %7d times throttled\n", id, c.shards[id].taken, c.shards[id].throttled)
	}
}

// meter shows the progress: a bar on a terminal, a line now and then elsewhere.
type meter struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	total int
	sent  int
	last  time.Time
	begun time.Time
	calls *countingAPI
}

func newMeter(out io.Writer, f raceFlags, calls *countingAPI) *meter {
	now := time.Now()
	m := &meter{out: out, total: f.records, last: now, begun: now, calls: calls}
	if isTerminal(out) {
		size := f.records
		if size == 0 {
			size = -1
		}
		m.bar = progressbar.NewOptions(size,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetDescription("sending"),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("records"),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return m
}

func (m *meter) add(n int) {
	m.sent += n
	throttled := ""
	if m.calls.throttled > 0 {
		throttled = fmt.Sprintf(", %d times throttled", m.calls.throttled)
	}
	if m.bar != nil {
		m.bar.Describe("sending" + throttled)
		_ = m.bar.Add(n) // it fails beyond its size only
		return
	}
	if time.Since(m.last) >= reportEvery {
		m.last = time.Now()
		fmt.Fprintf(m.out, "  %3.0f s  %d records acknowledged%s\n", time.Since(m.begun).Seconds(), m.sent, throttled)
	}
}

func (m *meter) finish() {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
}
