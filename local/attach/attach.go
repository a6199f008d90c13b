// Package attach runs a function on this machine over a stream of a real account:
// with live data, as an event source mapping would, and without changing anything
// there unless that is allowed.
//
// The stream is read with the user's credentials, gently, beside its live consumers.
// No position is stored. The function runs as a process with credentials that mean
// nothing but to the guard ([github.com/millrace/millrace/local/attach/guard]),
// which lets its reads through and refuses its writes.
package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/local/attach/guard"
	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/awsapi"
	"github.com/millrace/millrace/local/step"
)

// Options say what to attach to what. Config, Stream and Package are required.
type Options struct {
	// Config is the account's; its region is overwritten by the stream's. For an
	// emulator it has a BaseEndpoint.
	Config aws.Config
	// Stream is the ARN of a Kinesis stream or of a DynamoDB table's stream.
	Stream string
	// Package is the function's main package, an import path or one that begins with
	// ./ or ../, and Dir where it is compiled: the working directory by default.
	Package, Dir string

	// Start is where to read from, LATEST by default.
	Start esm.Position
	// Shards to read, all by default.
	Shards []string
	// Records and For end it after so many records or so long; 0 never.
	Records int
	For     time.Duration

	// BatchSize 1 to 10,000, 100 by default; Window 0 (default) to 300 s;
	// Parallelization 1 (default) to 10; up to ten Filters in JSON. As in
	// [spec.Consumer], [spec.Zero] is a literal zero.
	BatchSize       int
	Window          time.Duration
	Parallelization int
	Filters         []string
	// NoBisect keeps failed batches whole; NoPartial is for functions that don't
	// answer with batchItemFailures.
	NoBisect, NoPartial bool
	// Retries of a batch that failed by itself, 0 (default) to 10,000 or
	// [spec.Forever]. Then it is passed over. One that failed with writes refused is passed over at once.
	Retries int

	// Env are the function's variables, beside those of EnvFrom, the name or ARN of
	// a deployed function whose environment, timeout and memory it gets.
	Env     map[string]string
	EnvFrom string
	// Timeout 1 s to 900 s and Memory 128 to 10,240 MB; by default those of EnvFrom,
	// or else 30 s and 256 MB.
	Timeout time.Duration
	Memory  int

	// AllowWrites lets the function change the account.
	AllowWrites bool

	// Out gets a line per invocation and the summary, Log what the function writes,
	// Progress the steps before the first record. Nil discards.
	Out, Log io.Writer
	Progress *step.Log

	kind      esm.Kind
	name, arn string   // of the function
	leftOut   []string // of the deployed function's environment
}

// Validate returns every problem of o, as a [*spec.Invalid] whose fields are those of
// Options.
func (o *Options) Validate() error {
	c := spec.At("attach")
	kind := o.checkStream(c)
	if o.Package == "" {
		c.Add("Package", nil, "it is what to run", "name the directory of the function's main package")
	}
	switch o.Start.Type {
	case "", "TRIM_HORIZON", "LATEST":
	case "AT_TIMESTAMP":
		if kind == spec.DynamoDB {
			c.Add("Start", o.Start.Time.Format(time.RFC3339), "DynamoDB streams can't be read from a time on", "use TRIM_HORIZON or LATEST")
		} else if o.Start.Time.After(time.Now()) {
			c.Add("Start", o.Start.Time.Format(time.RFC3339), "Kinesis takes no time in the future", "use LATEST to start now")
		}
	default:
		c.Add("Start", o.Start.Type, "it must be one of TRIM_HORIZON, LATEST, AT_TIMESTAMP", "use one of them")
	}
	positive := func(field string, value int64) {
		if value < 0 {
			c.Add(field, value, "it can't be negative", "leave it out for no end")
		}
	}
	positive("Records", int64(o.Records))
	positive("For", int64(o.For))
	for _, name := range slices.Sorted(maps.Keys(o.Env)) {
		if guard.Owns(name) {
			c.Add("Env", name, "the function's credentials and endpoints are the guard's", "leave it out")
		}
	}
	c.Merge(o.consumer().Validate("attach", spec.Source{Kind: kind, Retention: 24 * time.Hour}))
	c.Merge(spec.Function{Timeout: o.Timeout, Memory: o.Memory}.Validate("attach"))
	return c.Err()
}

func (o *Options) checkStream(c *spec.Check) spec.SourceKind {
	const fix = "name the ARN of a Kinesis stream, or of a table's stream (LatestStreamArn of DescribeTable)"
	parts := strings.Split(o.Stream, ":")
	switch {
	case o.Stream == "":
		c.Add("Stream", nil, "it is what to read", fix)
	case len(parts) < 6 || parts[0] != "arn" || parts[3] == "":
		c.Add("Stream", o.Stream, "it must be an ARN, which says the region", fix)
	case parts[2] == "kinesis" && strings.Contains(parts[5], "/consumer/"):
		c.Add("Stream", o.Stream, "a consumer's fan-out is its own", "name the stream: "+o.Stream[:strings.Index(o.Stream, "/consumer/")])
	case parts[2] == "kinesis" && strings.HasPrefix(parts[5], "stream/"):
		return spec.Kinesis
	case parts[2] == "dynamodb" && strings.Contains(o.Stream, "/stream/"):
		return spec.DynamoDB
	default:
		c.Add("Stream", o.Stream, "it isn't the ARN of a stream of Kinesis or DynamoDB", fix)
	}
	return ""
}

// consumer are the settings of a mapping that are checked as a consumer's.
func (o *Options) consumer() spec.Consumer {
	c := spec.Consumer{BatchSize: o.BatchSize, BatchingWindow: o.Window, ParallelizationFactor: o.Parallelization, Filters: o.Filters, MaximumRetryAttempts: o.Retries}
	if o.Retries == 0 {
		c.MaximumRetryAttempts = spec.Zero
	}
	return c
}

// settings of the mapping, but for the limit of records.
func (o *Options) settings() (*esm.Settings, error) {
	c := o.consumer().WithDefaults(spec.Source{})
	s := &esm.Settings{
		UUID: "attach", Kind: o.kind, SourceARN: o.Stream, FunctionARN: o.arn, Region: o.Config.Region, Start: o.Start,
		BatchSize: c.BatchSize, Window: c.BatchingWindow, Parallelization: c.ParallelizationFactor,
		Bisect: !o.NoBisect, Partial: !o.NoPartial, MaximumRetryAttempts: c.MaximumRetryAttempts, MaximumRecordAge: esm.Unlimited,
	}
	if len(o.Filters) > 0 {
		var err error
		if s.Filter, err = awsapi.NewFilter(o.kind, o.Filters); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Why it ended, other than that ctx did.
var (
	errEnough = errors.New("that many records")
	errTime   = errors.New("that long")
	errClosed = errors.New("the end of every shard")
)

// Run attaches a function until ctx ends, which is no error, or what o says. Nothing
// that it started or wrote is left on this machine.
func Run(ctx context.Context, o Options) (*Summary, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	parts := strings.Split(o.Stream, ":")
	o.Config.Region = parts[3]
	o.kind = map[string]esm.Kind{"kinesis": esm.Kinesis, "dynamodb": esm.DynamoDB}[parts[2]]
	var source esm.Source
	if o.kind == esm.DynamoDB {
		source = awsapi.DynamoDB(dynamodbstreams.NewFromConfig(o.Config), o.Stream)
	} else {
		source = awsapi.Kinesis(kinesis.NewFromConfig(o.Config), o.Stream)
	}
	return o.run(ctx, source)
}

func (o *Options) run(ctx context.Context, source esm.Source) (_ *Summary, err error) {
	o.Start.Type = cmp.Or(o.Start.Type, "LATEST")
	if o.Progress == nil {
		o.Progress = step.New(nil)
	}
	dir, err := os.MkdirTemp("", "millrace-attach-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	from := &shared{source: source, only: o.Shards, shards: map[string]*position{}}
	shards, err := o.prepare(ctx, from, dir)
	if err != nil {
		return nil, err
	}
	settings, err := o.settings()
	if err != nil {
		return nil, err
	}
	out := newReport(o.Out)
	g, err := guard.New(guard.Options{
		Config: o.Config, AllowWrites: o.AllowWrites, Hint: "; millrace local attach --allow-writes lets it pass",
		Problem: func(err error) { out.problem("", err) },
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	f, err := newFunction(o, filepath.Join(dir, "bootstrap"), g, out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	o.describe(out, settings, shards)
	limit := &first{filter: settings.Filter}
	if o.Records > 0 {
		limit.left.Store(int64(o.Records))
		settings.Filter = limit
	}
	mapping, err := esm.New(settings, esm.Options{Source: from, Function: f, Problem: out.problem})
	if err != nil {
		return nil, err
	}
	ended := o.attached(ctx, mapping, limit)
	summary := out.summary(ended, mapping.Status())
	summary.write(out.out)
	return summary, nil
}

// prepare does what takes a while, and needs the account, before the first record.
func (o *Options) prepare(ctx context.Context, source esm.Source, dir string) (shards int, err error) {
	err = o.Progress.Run(ctx, "list the shards", func(ctx context.Context, s *step.Step) error {
		infos, err := source.Shards(ctx)
		if err != nil {
			return fmt.Errorf("the shards of %s: %w", o.Stream, err)
		}
		for _, id := range o.Shards {
			if !slices.ContainsFunc(infos, func(i esm.ShardInfo) bool { return i.ID == id }) {
				err = errors.Join(err, fmt.Errorf("%s has no shard %s: list them with `aws kinesis list-shards`, or `aws dynamodbstreams describe-stream`", o.Stream, id))
			}
		}
		shards = len(infos)
		return err
	})
	if err == nil && o.EnvFrom != "" {
		err = o.Progress.Run(ctx, "read the function's configuration", func(ctx context.Context, _ *step.Step) error { return o.deployed(ctx) })
	}
	if err == nil {
		err = o.identify()
	}
	if err == nil {
		err = o.Progress.Run(ctx, "compile the function", func(ctx context.Context, _ *step.Step) error { return build(ctx, o.Dir, o.Package, dir) })
	}
	return shards, err
}

// describe says what is about to happen, and above all whether it can do harm.
func (o *Options) describe(r *report, s *esm.Settings, shards int) {
	from := s.Start.Type
	if from == "AT_TIMESTAMP" {
		from = s.Start.Time.Format(time.RFC3339)
	}
	yes := map[bool]string{true: "on", false: "off"}
	r.printf("\nstream    %s: %s, from %s\n", o.Stream, several(shards, "shard"), from)
	r.printf("function  %s as %s: timeout %s, memory %d MB\n", o.Package, o.arn, o.Timeout, o.Memory)
	if len(o.leftOut) > 0 {
		r.printf("          without its %s: the guard has its own\n", strings.Join(o.leftOut, ", "))
	}
	r.printf("batches   of up to %s, window %s, parallelization %d, %s, bisect %s, partial responses %s, retries %d\n",
		several(s.BatchSize, "record"), s.Window, s.Parallelization, several(len(o.Filters), "filter"), yes[s.Bisect], yes[s.Partial], s.MaximumRetryAttempts)
	if o.AllowWrites {
		r.printf("writes    ALLOWED: what the function writes is written to the account, beside its live consumers\n\n")
	} else {
		r.printf("writes    refused: only reads get through; nothing is written, no position is stored\n\n")
	}
}

// attached runs the mapping until there is a reason to end, which it returns.
func (o *Options) attached(ctx context.Context, mapping *esm.Mapping, limit *first) string {
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	if o.For > 0 {
		defer time.AfterFunc(o.For, func() { end(errTime) }).Stop()
	}
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = mapping.Run(running) // always that it was ended
	}()
	for {
		select {
		case <-done:
			switch cause := context.Cause(running); {
			case errors.Is(cause, errEnough):
				return several(o.Records, "record")
			case errors.Is(cause, errTime):
				return fmt.Sprintf("after %s", o.For)
			case errors.Is(cause, errClosed):
				return "every shard is read to its end"
			default:
				return "stopped"
			}
		case <-look.C:
			// What passed the limit is in work by the time that it is reached.
			enough := o.Records > 0 && limit.over()
			if reason := o.over(enough, mapping.Status()); reason != nil {
				end(reason)
			}
		}
	}
}

// over is why there is nothing left to do, or nil. Without a choice of shards,
// further ones may come.
func (o *Options) over(enough bool, shards []esm.Status) error {
	waiting, drained := false, 0
	for _, s := range shards {
		waiting = waiting || s.Waiting > 0
		if s.Drained {
			drained++
		}
	}
	switch {
	case enough && !waiting:
		return errEnough
	case len(o.Shards) > 0 && drained == len(o.Shards):
		return errClosed
	}
	return nil
}
