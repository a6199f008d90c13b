// Package demo runs the whole pipeline once on the local machine: it deploys
// the stack, sends a seeded race through it, waits until table, podiums and
// archive hold it, and accounts for every record. It counts what the table and
// the bucket hold and compares it with the simulated race, record by record.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/producer"
	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/lambdas/race/simulator"
	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/leaderboard"
	"github.com/millrace/millrace/local/step"
	"github.com/millrace/millrace/local/throttle"
)

// pollEvery is how often table and archive are read while waiting.
const pollEvery = 250 * time.Millisecond

// MaximumRecords of a run: it remembers each one to account for it.
const MaximumRecords = 1_000_000

// Options of a run. The zero value is the run of `make demo`.
type Options struct {
	// Dir, Port and Limits are as in local.Options.
	Dir    string
	Port   int
	Limits throttle.Limits
	// Context are settings of the stack, as in local.Options.
	Context []string
	// Seed selects the race; 0 is a seed like any other.
	Seed uint64
	// Records is how many are sent: 1 to 1,000,000; 0 means 100,000.
	Records int
	// Racers and Races are as in simulator.Options.
	Racers, Races int
	// Aggregate puts many records into each of the stream's, as the KPL does.
	Aggregate bool
	// Timeout is how long table, podiums and archive get to hold everything
	// after the last record was sent; 0 means one minute.
	Timeout time.Duration
	// File takes the report as JSON; "" means build/demo.json in the checkout.
	File string
	// Out takes the leaderboard and the closing report, Log the progress; nil
	// discards them.
	Out io.Writer
	Log *step.Log
	// Keep leaves the machine running after the report, until ctx ends.
	Keep bool
}

// Report accounts for the records.
type Report struct {
	// Sent is how many the stream acknowledged.
	Sent int `json:"sent"`
	// Applied is how many are in the standings table: the newest record of a
	// racer stands for all before it, if it is the very one that was sent.
	Applied int `json:"applied"`
	// Archived is how many different ones the archive's objects hold.
	Archived int `json:"archived"`
	// Loaded is how many different ones are in the table in Redshift, if the stack has
	// one.
	Loaded int `json:"loaded,omitempty"`
	// Duplicates is how often the archive, or Redshift, holds a record beyond the first
	// time, and what the table holds beyond what was sent.
	Duplicates int `json:"duplicates"`
	// Lost is how many of the sent ones the table, the archive or Redshift lacks.
	Lost int `json:"lost"`
	// Alarms is how many alarms ring at the end.
	Alarms int `json:"alarms"`
	// Seconds is the time from the start to the report.
	Seconds float64 `json:"seconds"`

	// Through is the time from the first put until everything was in the table, in
	// the archive and in Redshift; 0 if it never was.
	Through time.Duration `json:"-"`
	// Ringing names the alarms.
	Ringing []string `json:"-"`
	// Warehouse tells whether there is a table in Redshift.
	Warehouse bool `json:"-"`
	// Podiums are what the podiums table holds.
	Podiums []race.Podium `json:"-"`
	// Problems is what else isn't as it was sent, one sentence each.
	Problems []string `json:"-"`
}

// OK reports whether everything that was sent arrived as it was.
func (r Report) OK() bool { return r.Sent > 0 && r.Lost == 0 && len(r.Problems) == 0 }

// Run runs the demo. The report is written to the file and is valid as far as
// it goes also when there is an error: a step failed, ctx ended, or not
// everything arrived. Nothing is left running.
func Run(ctx context.Context, o Options) (Report, error) {
	started := time.Now()
	dir, err := local.Checkout(o.Dir)
	if err != nil {
		return Report{}, err
	}
	o = o.withDefaults(dir)
	if o.Records < 1 || o.Records > MaximumRecords {
		return Report{}, fmt.Errorf("%d records: must be 1 to %d", o.Records, MaximumRecords)
	}
	// Few records, but a race of some length.
	sim, err := simulator.New(simulator.Options{Seed: o.Seed, Racers: o.Racers, Races: o.Races, Step: 10 * time.Second})
	if err != nil {
		return Report{}, err
	}

	run := &run{Options: o}
	machine, err := local.Up(ctx, local.Options{Dir: dir, Port: o.Port, Limits: o.Limits, Context: o.Context, Log: o.Log})
	if running := (*local.RunningError)(nil); errors.As(err, &running) {
		return Report{}, err // the report there may be that machine's
	}
	if err == nil {
		defer machine.Close()
		err = run.race(ctx, machine, sim)
	}
	run.report.Seconds = math.Round(time.Since(started).Seconds()*10) / 10
	err = errors.Join(err, run.report.write(o.File))
	if machine == nil || len(run.sent) == 0 || ctx.Err() != nil {
		return run.report, err
	}
	if err := run.show(); err != nil {
		return run.report, err
	}
	if err == nil && !run.report.OK() {
		err = errors.New("not everything that was sent arrived as it was: see the report")
	}
	if o.Keep && ctx.Err() == nil {
		run.keep(ctx, machine)
	}
	return run.report, errors.Join(err, machine.Close())
}

func (o Options) withDefaults(dir string) Options {
	if o.Records == 0 {
		o.Records = 100_000
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.File == "" {
		o.File = filepath.Join(dir, "build", "demo.json")
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Log == nil {
		o.Log = step.New(nil)
	}
	return o
}

type run struct {
	Options
	sent   model
	began  time.Time // the first put
	report Report
}

func (r *run) race(ctx context.Context, m *local.Machine, sim *simulator.Simulator) error {
	if err := needed(m.Outputs); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Without its emulator there is nothing to wait for.
	go func() {
		select {
		case <-m.Done():
			cancel(fmt.Errorf("the emulator ended; its log is %s", m.LogFile()))
		case <-ctx.Done():
		}
	}()

	r.sent = model{}
	err := r.Log.Run(ctx, "run the race", func(ctx context.Context, s *step.Step) error {
		return r.send(ctx, m, sim, s)
	})
	// Until it was found, everything is missing.
	r.report = tally(r.sent, nil, newArchive(), nil)
	if len(r.sent) == 0 || ctx.Err() != nil {
		return err
	}
	reader := newReader(m)
	err = errors.Join(err, r.Log.Run(ctx, "wait for table and archive", func(ctx context.Context, s *step.Step) error {
		return r.wait(ctx, reader, s)
	}))
	if ctx.Err() != nil {
		return err
	}
	ringing, alarmErr := reader.ringing(ctx)
	r.report.Ringing, r.report.Alarms = ringing, len(ringing)
	return errors.Join(err, alarmErr)
}

func (r *run) send(ctx context.Context, m *local.Machine, sim *simulator.Simulator, s *step.Step) error {
	acknowledged := func(records []producer.Record) {
		for _, sent := range records {
			// It was made by json.Marshal below.
			record, _ := race.Parse(sent.Data)
			r.sent.add(record)
		}
		s.Note("%d of %d records sent", r.sent.records(), r.Records)
	}
	client := kinesis.NewFromConfig(m.Config(), func(o *kinesis.Options) {
		o.Retryer = aws.NopRetryer{} // the producer retries
	})
	options := producer.Options{Acknowledged: acknowledged}
	stream := m.Outputs[local.OutputStream]
	if r.Aggregate {
		shards, err := producer.Shards(ctx, client, stream)
		if err != nil {
			return cause(ctx, err)
		}
		options.Aggregate = &kpl.Options{Shards: shards}
	}
	p, err := producer.New(client, stream, options)
	if err != nil {
		return err
	}
	r.began = time.Now()
	for range r.Records {
		record := sim.Next()
		data, err := json.Marshal(record)
		if err != nil {
			return err
		}
		if err := p.Add(ctx, producer.Record{PartitionKey: record.PartitionKey(), Data: data}); err != nil {
			return cause(ctx, err)
		}
	}
	return cause(ctx, p.Flush(ctx))
}

// wait reads everything back again and again until nothing is missing.
func (r *run) wait(ctx context.Context, reader *reader, s *step.Step) error {
	want := r.sent.podiums()
	deadline := time.Now().Add(r.Timeout)
	for {
		table, err := reader.table(ctx)
		if err != nil {
			return cause(ctx, err)
		}
		stored, err := reader.readArchive(ctx)
		if err != nil {
			return cause(ctx, err)
		}
		podiums, err := reader.podiums(ctx)
		if err != nil {
			return cause(ctx, err)
		}
		over := time.Now().After(deadline)
		loaded, rows, err := reader.warehouse(ctx, r.sent.records(), over)
		if err != nil {
			return cause(ctx, err)
		}
		r.report = tally(r.sent, table, stored, loaded)
		r.report.Podiums = podiums
		right := agree(podiums, want)
		note := fmt.Sprintf("of %d records %d applied, %d archived", r.report.Sent, r.report.Applied, r.report.Archived)
		if loaded != nil {
			note += fmt.Sprintf(", %d in Redshift", rows)
		}
		s.Note("%s; %d of %d podiums", note, right, len(want))
		if r.report.Lost == 0 && right == len(want) {
			r.report.Through = time.Since(r.began)
			return nil
		}
		if over {
			if right < len(want) {
				r.report.Problems = append(r.report.Problems, fmt.Sprintf("%d of %d podiums aren't the race's top ten", len(want)-right, len(want)))
			}
			return fmt.Errorf("not everything was there %v after the last record was sent", r.Timeout)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollEvery):
		}
	}
}

// agree counts the podiums that are as they should be.
func agree(got []race.Podium, want map[string]race.Podium) int {
	n := 0
	for _, podium := range got {
		if podium.Equal(want[podium.Race]) {
			n++
		}
	}
	return n
}

// cause turns the many errors of an ended context into its cause.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r *run) keep(ctx context.Context, m *local.Machine) {
	fmt.Fprintf(r.Out, "\nStill running at %s: Ctrl-C stops it.\n", m.Endpoint)
	select {
	case <-ctx.Done():
	case <-m.Done():
	}
}

func (r *run) show() error {
	if len(r.report.Podiums) > 0 {
		fmt.Fprintln(r.Out)
		if err := leaderboard.Write(r.Out, r.report.Podiums); err != nil {
			return err
		}
	}
	_, err := io.WriteString(r.Out, "\n"+r.report.String())
	return err
}

func (r Report) write(file string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// String is the closing report.
func (r Report) String() string {
	var b strings.Builder
	line := func(name string, n int, what string) { fmt.Fprintf(&b, "  %-10s %6d  %s\n", name, n, what) }
	fmt.Fprintf(&b, "After %.1f s:\n", r.Seconds)
	line("sent", r.Sent, "records acknowledged by the stream")
	line("applied", r.Applied, "of them in the standings table")
	line("archived", r.Archived, "different records in the archive")
	places, done := "the table or the archive", "applied and archived"
	if r.Warehouse {
		line("loaded", r.Loaded, "different records in Redshift's table")
		places, done = "the table, the archive or Redshift", "applied, archived and loaded"
	}
	line("duplicates", r.Duplicates, "copies beyond the first")
	line("lost", r.Lost, "missing in "+places)
	if r.Through > 0 {
		line("a second", int(float64(r.Sent)/r.Through.Seconds()), fmt.Sprintf("records from the first put to the last one %s, in %.1f s", done, r.Through.Seconds()))
	}
	line("alarms", r.Alarms, strings.Join(append([]string{"in state ALARM"}, r.Ringing...), "\n"+strings.Repeat(" ", 21)))
	const most = 20
	for i, problem := range r.Problems {
		if i == most {
			fmt.Fprintf(&b, "  ! and %d problems more\n", len(r.Problems)-most)
			break
		}
		fmt.Fprintf(&b, "  ! %s\n", problem)
	}
	return b.String()
}
