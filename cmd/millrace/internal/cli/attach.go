package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/local/attach"
	"github.com/millrace/millrace/local/esm"
)

// attachFlags are those that aren't attach's own options yet.
type attachFlags struct {
	at, log, endpoint, profile string
	env                        []string
	bisect, partial            bool
}

// attachNames are the flags of attach's options and settings, by their fields.
var attachNames = map[string]string{
	"Stream": "--stream", "Package": "--package", "Start": "--at", "Records": "--records", "For": "--for", "BatchSize": "--batch-size",
	"BatchingWindow": "--window", "ParallelizationFactor": "--parallelization", "Filters": "--filter", "MaximumRetryAttempts": "--retries",
	"Env": "--env", "Timeout": "--timeout", "Memory": "--memory",
}

func (p *Program) localAttach() *cobra.Command {
	var f attachFlags
	var o attach.Options
	cmd := &cobra.Command{
		Use:   "attach",
		Short: "Run a function here over a real account's stream",
		Long: `attach compiles a function for this machine and hands it the records of a real
account's stream, as an event source mapping would: to debug with live data.

It changes nothing in the account. The stream is read beside its live consumers,
once a second per shard, and no position is stored. The function has no
credentials of the account: what it calls goes through a guard that lets reads
pass and refuses writes, with an error that names them. A batch that fails because
of that is passed over. --allow-writes lets everything pass.

It takes the usual AWS configuration for credentials, and the region from the
stream's ARN. A line per invocation and a summary go to the standard output, what
the function writes to the standard error or to --log. It ends with Ctrl-C,
--records or --for; the exit code is 1 if an invocation failed otherwise than by a
refused write.`,
		Example: `  millrace local attach --stream arn:aws:kinesis:eu-west-1:111122223333:stream/telemetry \
    --package ./lambdas/standings --env-from MillraceRace-UpdateStandings --at 15m --records 1000

  millrace local attach --stream "$ARN" --package ./lambdas/standings \
    --env STANDINGS_TABLE=try --env FAILURE_BUCKET=try-failures --allow-writes --log function.log`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.resolve(cmd, &o); err != nil {
				return usageError(cmd, err)
			}
			return p.attach(cmd.Context(), f, o)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.Stream, "stream", "", "the ARN of a Kinesis stream, or of a DynamoDB table's stream")
	flags.StringVar(&o.Package, "package", "", "the function's main package: ./its/directory or an import path")
	flags.StringVar(&f.at, "at", "LATEST", "where to begin: LATEST, TRIM_HORIZON, a time (2026-01-02T15:04:05Z), or how long ago (15m)")
	flags.StringArrayVar(&o.Shards, "shard", nil, "a shard to read, by its id (repeatable; default: all)")
	flags.IntVar(&o.Records, "records", 0, "end after so many records")
	flags.DurationVar(&o.For, "for", 0, "end after so long")
	flags.BoolVar(&o.AllowWrites, "allow-writes", false, "let the function change the account")
	flags.StringArrayVar(&f.env, "env", nil, "a variable of the function, NAME=value (repeatable)")
	flags.StringVar(&o.EnvFrom, "env-from", "", "a deployed function whose environment, timeout and memory it gets")
	flags.DurationVar(&o.Timeout, "timeout", 0, "of an invocation, 1s to 900s (default: of --env-from, or 30s)")
	flags.IntVar(&o.Memory, "memory", 0, "in MB, 128 to 10240 (default: of --env-from, or 256)")
	flags.StringVar(&f.log, "log", "", "the file to which the function's log goes (default: the standard error)")
	flags.IntVar(&o.BatchSize, "batch-size", 100, "records of an invocation at most, 1 to 10000")
	flags.DurationVar(&o.Window, "window", 0, "how long a batch is gathered, up to 300s")
	flags.IntVar(&o.Parallelization, "parallelization", 1, "batches of a shard at once, 1 to 10")
	flags.StringArrayVar(&o.Filters, "filter", nil, `an event pattern, like {"data":{"race":["monza"]}} (repeatable: any of them)`)
	flags.BoolVar(&f.bisect, "bisect", true, "halve a batch that failed, to find the record")
	flags.BoolVar(&f.partial, "partial", true, "heed batchItemFailures in the function's answers")
	flags.IntVar(&o.Retries, "retries", 0, "of a batch that failed by itself, before it is passed over; -1 for ever")
	flags.StringVar(&f.endpoint, "endpoint", "", "the URL of an emulator, instead of AWS")
	flags.StringVar(&f.profile, "aws-profile", "", "the profile of the AWS configuration to use")
	return cmd
}

// resolve checks the flags, all of them, and makes options of them.
func (f *attachFlags) resolve(cmd *cobra.Command, o *attach.Options) error {
	var problems []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	o.NoBisect, o.NoPartial = !f.bisect, !f.partial
	var err error
	o.Start, err = position(f.at, time.Now())
	check(err == nil, "--at %q: must be LATEST, TRIM_HORIZON, a time like 2026-01-02T15:04:05Z, or how long ago, like 15m", f.at)
	o.Env = map[string]string{}
	for _, variable := range f.env {
		name, value, found := strings.Cut(variable, "=")
		check(found && name != "", "--env %q: must be NAME=value", variable)
		o.Env[name] = value
	}
	check(!cmd.Flags().Changed("records") || o.Records != 0, "--records 0: must be 1 or more: leave it out for no end")
	check(!cmd.Flags().Changed("for") || o.For != 0, "--for 0: must be more than 0: leave it out for no end")
	// To the options, nothing is their default; here it was asked for.
	for _, value := range []*int{&o.BatchSize, &o.Parallelization} {
		if *value == 0 {
			*value = spec.Zero
		}
	}
	if cmd.Flags().Changed("memory") && o.Memory == 0 {
		o.Memory = spec.Zero
	}
	if cmd.Flags().Changed("timeout") && o.Timeout == 0 {
		o.Timeout = spec.Zero
	}
	var invalid *spec.Invalid
	if err := o.Validate(); errors.As(err, &invalid) {
		for _, problem := range invalid.Problems {
			field, _, _ := strings.Cut(problem.Field, "[")
			check(false, "%s %s: %s: %s", attachNames[field], problem.Value, problem.Want, problem.Fix)
		}
	}
	return errors.Join(problems...)
}

// position reads --at.
func position(at string, now time.Time) (esm.Position, error) {
	if name := strings.ToUpper(at); name == "LATEST" || name == "TRIM_HORIZON" {
		return esm.Position{Type: name}, nil
	}
	when, err := time.Parse(time.RFC3339, at)
	if ago, wrong := time.ParseDuration(at); wrong == nil && ago > 0 {
		when, err = now.Add(-ago), nil
	}
	if err != nil {
		return esm.Position{}, err
	}
	// Kinesis counts it in whole seconds.
	return esm.Position{Type: "AT_TIMESTAMP", Time: when.Truncate(time.Second)}, nil
}

func (p *Program) attach(ctx context.Context, f attachFlags, o attach.Options) error {
	var err error
	o.Config, err = config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(f.profile), config.WithRegion(strings.Split(o.Stream, ":")[3]))
	if err != nil {
		return err
	}
	if err := oneEndpoint(o.Config, os.Environ()); err != nil {
		return err
	}
	if f.endpoint != "" {
		o.Config.BaseEndpoint = aws.String(f.endpoint)
	}
	o.Out, o.Log, o.Progress = p.Stdout, p.Stderr, p.progress()
	if f.log != "" {
		file, err := os.Create(f.log)
		if err != nil {
			return err
		}
		defer file.Close()
		o.Log = file
	}
	summary, err := attach.Run(ctx, o)
	if err != nil {
		return err
	}
	if failed := summary.Failed(); failed > 0 {
		return fmt.Errorf("invocations that failed otherwise than by a refused write: %d", failed)
	}
	return nil
}

// oneEndpoint refuses endpoints of single services: what the function calls goes to
// AWS, or to one endpoint for all, and must not end up in the wrong place.
func oneEndpoint(cfg aws.Config, environ []string) error {
	for _, source := range cfg.ConfigSources {
		if shared, ok := source.(config.SharedConfig); ok && len(shared.Services.ServiceValues) > 0 {
			return fmt.Errorf("the AWS profile names endpoints of single services (%s), which attach would not heed: use a profile without them, or --endpoint for one that has all services", shared.ServicesSectionName)
		}
	}
	for _, variable := range environ {
		if strings.HasPrefix(variable, "AWS_ENDPOINT_URL_") {
			name, _, _ := strings.Cut(variable, "=")
			return fmt.Errorf("%s names the endpoint of a single service, which attach would not heed: unset it, or use --endpoint for one that has all services", name)
		}
	}
	return nil
}
