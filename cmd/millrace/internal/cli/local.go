package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/throttle"
)

// downWithin is how long `local down` waits for the machine's end.
const downWithin = 30 * time.Second

func (p *Program) local() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "local",
		Short: "The pipeline on this machine",
		Long: `local runs the pipeline on this machine, with no AWS account: an emulator on
127.0.0.1 that enforces IAM, and in it the same stack that goes to AWS.

It needs the tools that ` + "`make install`" + ` puts into the checkout and writes to
build/local in it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.localUp(), p.localDown(), p.localStatus(), p.localAttach())
	return cmd
}

func (p *Program) localUp() *cobra.Command {
	var o local.Options
	var profiles []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start it and deploy the stack, until Ctrl-C",
		Long: `up starts the emulator, bootstraps it, deploys the stack with the CDK and stays
until Ctrl-C or ` + "`millrace local down`" + `. It then stops everything that it started;
nothing in the emulator is kept.

` + profileHelp,
		Example: "  millrace local up\n  millrace local up --port 4566\n  millrace local up --profile shard=1000r/s,1MB/s",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			o.Limits, err = throttle.Parse(profiles...)
			if err := errors.Join(err, checkPort(o.Port)); err != nil {
				return usageError(cmd, err)
			}
			return p.up(cmd.Context(), o)
		},
	}
	contextFlag(cmd, &o.Context)
	portFlag(cmd, &o.Port)
	profileFlag(cmd, &profiles)
	dirFlag(cmd, &o.Dir)
	return cmd
}

func (p *Program) up(ctx context.Context, o local.Options) error {
	o.Log = p.progress()
	machine, err := local.Up(ctx, o)
	if err != nil {
		return err
	}
	defer machine.Close()
	describeMachine(p.Stdout, machine)
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.Stderr, "stopping …")
		return machine.Close()
	case <-machine.Done():
		return fmt.Errorf("the emulator ended by itself; its log is %s", machine.LogFile())
	}
}

func describeMachine(w io.Writer, m *local.Machine) {
	fmt.Fprintf(w, "\nThe pipeline runs at %s\n", m.Endpoint)
	if m.Limits != (throttle.Limits{}) {
		fmt.Fprintf(w, "Its shards turn away what is beyond %s\n", m.Limits)
	}
	if len(m.Profile) > 0 {
		fmt.Fprintln(w, "\nWhat differs from the stack on AWS:")
		for _, line := range m.Profile {
			fmt.Fprintf(w, "  - %s\n", line)
		}
	}
	fmt.Fprintln(w, "\nIts resources:")
	writeOutputs(w, m.Outputs)
	fmt.Fprintln(w, "\nPoint any AWS client at it (S3 with path-style addressing):")
	for _, variable := range local.Environment(m.Endpoint) {
		fmt.Fprintf(w, "  export %s\n", variable)
	}
	fmt.Fprint(w, "\nIn another terminal: `millrace race`, `millrace standings --watch`\nCtrl-C, or `millrace local down`, stops it.\n")
}

func (p *Program) localDown() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop it from another terminal",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), downWithin)
			defer cancel()
			state, err := local.Down(ctx, dir)
			if errors.Is(err, local.ErrNotRunning) {
				// What was asked for is the case.
				fmt.Fprintln(p.Stdout, "No local machine is running.")
				return nil
			} else if err != nil {
				return err
			}
			fmt.Fprintf(p.Stdout, "Stopped the local machine at %s.\n", state.Endpoint)
			return nil
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

func (p *Program) localStatus() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show where it runs, and how far each consumer and delivery stream is",
		Long: `status shows whether the local machine runs, where, since when, and its stack's
outputs; for each consumer and shard the position, lag (IteratorAge), batches and failures; for
each delivery stream what is buffered, delivered and failed. The exit code is 3 if
none runs.`,
		Example: "  millrace local status\n  watch -n 1 millrace local status",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			state, err := local.Status(dir)
			if errors.Is(err, local.ErrNotRunning) {
				return &exitError{codeNotRunning, err}
			} else if err != nil {
				return err
			}
			activity, err := local.ReadActivity(dir)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(p.Stdout)
				encoder.SetIndent("", "  ")
				return encoder.Encode(struct {
					local.State
					local.Activity
				}{state, activity})
			}
			describeState(p.Stdout, state)
			describeActivity(p.Stdout, activity)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	dirFlag(cmd, &dir)
	return cmd
}

// describeActivity shows nothing of a machine that is still starting.
func describeActivity(out io.Writer, a local.Activity) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	for _, c := range a.Consumers {
		fmt.Fprintf(w, "consumer  %s\n", c.Function)
		fmt.Fprintln(w, "  SHARD\tPOSITION\tITERATOR AGE\tWAITING\tRECORDS\tBATCHES\tERRORS\tFAILED\tGIVEN UP\t")
		for _, s := range c.Shards {
			name := s.Shard
			if s.Closed {
				name += " (closed)"
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t\n",
				name, shortened(s.Position), age(s.IteratorAgeSeconds), s.Waiting, s.Records, s.Batches, s.Errors, s.Failed, givenUp(s))
		}
		lastError(w, "the last error", c.LastError)
		w.Flush() // each table has columns of its own
	}
	for _, d := range a.Deliveries {
		fmt.Fprintf(w, "delivery stream  %s\n", d.Name)
		fmt.Fprintln(w, "  ACCEPTED\tBUFFERED\tBYTES\tAGE\tDELIVERED\tDROPPED\tFAILED\tOBJECTS\tERRORS\t")
		fmt.Fprintf(w, "  %d\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t\n",
			d.Accepted, d.Buffered, d.Bytes, age(d.Lag), d.Delivered, d.Dropped, d.Failed, d.Objects, d.Errors)
		lastError(w, "the last error", d.LastError)
		lastError(w, "the last error of reading", d.ReadError)
		w.Flush()
	}
	if len(a.Limited) > 0 {
		fmt.Fprintln(w, "limits of shards")
		fmt.Fprintln(w, "  STREAM\tSHARD\tRECORDS\tBYTES\tTHROTTLED\tREADS\tTHROTTLED READS\t")
		for _, s := range a.Limited {
			fmt.Fprintf(w, "  %s\t%s\t%d\t%d\t%d\t%d\t%d\t\n", s.Stream, s.Shard, s.Records, s.Bytes, s.Throttled, s.Reads, s.ThrottledReads)
		}
	}
}

func lastError(w io.Writer, what, text string) {
	if text != "" {
		fmt.Fprintf(w, "  %s: %s\n", what, strings.ReplaceAll(text, "\n", " "))
	}
}

// shortened is the end of a sequence number, where they differ.
func shortened(sequence string) string {
	const shown = 14
	switch {
	case sequence == "":
		return "-"
	case len(sequence) > shown:
		return "…" + sequence[len(sequence)-shown:]
	}
	return sequence
}

func age(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

func givenUp(s local.Shard) string {
	if s.Dropped > 0 {
		return fmt.Sprintf("%d, %d lost", s.OnFailure+s.Dropped, s.Dropped)
	}
	return strconv.FormatInt(s.OnFailure, 10)
}

func describeState(w io.Writer, s local.State) {
	status := "running"
	if !s.Ready() {
		status = "starting"
	}
	fmt.Fprintf(w, "status    %s\n", status)
	if s.Endpoint != "" {
		fmt.Fprintf(w, "endpoint  %s\n", s.Endpoint)
	}
	fmt.Fprintf(w, "since     %s (%s)\n", s.Started.Local().Format(time.DateTime), time.Since(s.Started).Round(time.Second))
	fmt.Fprintf(w, "process   %d\n", s.PID)
	if s.Limits != "" {
		fmt.Fprintf(w, "limits    %s\n", s.Limits)
	}
	if s.Ready() {
		fmt.Fprintln(w, "outputs")
		writeOutputs(w, s.Outputs)
	}
}

func writeOutputs(w io.Writer, outputs map[string]string) {
	width := 0
	for name := range outputs {
		width = max(width, len(name))
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		fmt.Fprintf(w, "  %-*s  %s\n", width, name, outputs[name])
	}
}

func contextFlag(cmd *cobra.Command, settings *[]string) {
	cmd.Flags().StringArrayVarP(settings, "context", "c", nil, "a setting of the stack, as key=value; repeatable")
}

func portFlag(cmd *cobra.Command, port *int) {
	cmd.Flags().IntVar(port, "port", 0, "where the emulator listens on 127.0.0.1 (default: any free port)")
}

func checkPort(port int) error {
	if port < 0 || port > 65535 {
		return fmt.Errorf("--port %d: must be 1 to 65535, or 0 for a free one", port)
	}
	return nil
}

// profileHelp says what the flag --profile takes.
var profileHelp = `With --profile the streams' shards take no more than this, and turn away the rest
as Kinesis does, so that retries and hot shards can be seen:

  ` + strings.ReplaceAll(throttle.Grammar, "\n", "\n  ")

func profileFlag(cmd *cobra.Command, profiles *[]string) {
	cmd.Flags().StringArrayVar(profiles, "profile", nil, "limits of a shard, as a list with commas or once for each (default: none)")
}

func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", "the checkout (default: the one that the working directory is in)")
}
