package race

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/constructs/spec"
)

// Prefix of the context keys that this stack reads.
const Prefix = "race:"

// StackName is the name of the stack (after the name of its stage, if it is in
// one), and the word that confirms the deletion of its data.
const StackName = "MillraceRace"

// Config is everything that can be set of the stack. Its zero value is what
// `cdk deploy` does without any context.
type Config struct {
	// Stream is the telemetry stream.
	Stream spec.Stream
	// Standings is the mapping between the stream and the standings function.
	Standings spec.Consumer
	// Podium is the mapping between the standings' changes and the podium function.
	Podium spec.Consumer
	// Pace is the mapping between the stream and the pace function, whose windows are
	// 30 s by default.
	Pace spec.Consumer
	// Archive is the delivery to S3.
	Archive spec.S3Delivery
	// Redshift delivers the telemetry to a table in Redshift, too: RedshiftServerless or
	// RedshiftProvisioned; none by default.
	Redshift Redshift
	// Region that the stack is deployed to; needed with Redshift, as Firehose's addresses
	// differ. By default that of the CDK's command line.
	Region string
	// AlarmEmail gets the alarms; none by default.
	AlarmEmail string
	// Destroy deletes the data with the stack. ConfirmDestroy has to be StackName
	// as well: two switches, so that neither a typo nor a copied line is enough.
	Destroy        bool
	ConfirmDestroy string
	// Local is the profile of `millrace local`: see local.go.
	Local bool
}

// Redshift is the kind of warehouse that telemetry is delivered to.
type Redshift string

// The kinds of warehouses.
const (
	RedshiftServerless  Redshift = "serverless"
	RedshiftProvisioned Redshift = "provisioned"
)

// setting is one key of the context.
type setting struct {
	name, doc string
	set       func(*Config, string) error
}

// settings are the documented keys. README.md has the same table.
var settings = []setting{
	{"streamMode", "ON_DEMAND (default) or PROVISIONED", text(func(c *Config) *spec.StreamMode { return &c.Stream.Mode })},
	{"shards", "shards of a PROVISIONED stream, 1 to 10000", whole(func(c *Config) *int { return &c.Stream.Shards })},
	{"retentionHours", "how long the stream keeps records, 24 (default) to 8760", hours(func(c *Config) *time.Duration { return &c.Stream.RetentionPeriod })},
	{"batchSize", "most records handed to the standings function at once, 1 to 10000, default 10000", whole(func(c *Config) *int { return &c.Standings.BatchSize })},
	{"batchingWindowSeconds", "how long a batch is gathered, 0 to 300, default 1", seconds(func(c *Config) *time.Duration { return &c.Standings.BatchingWindow })},
	{"parallelizationFactor", "batches of a shard that are processed at once, 1 (default) to 10", whole(func(c *Config) *int { return &c.Standings.ParallelizationFactor })},
	{"retryAttempts", "retries of a failed batch, 0 to 10000, default 10", whole(func(c *Config) *int { return &c.Standings.MaximumRetryAttempts })},
	{"bufferMiB", "size at which an archive object is written, 1 to 128, default 5", whole(func(c *Config) *int { return &c.Archive.BufferSize })},
	{"bufferSeconds", "time after which an archive object is written, 0 to 900, default 300", seconds(func(c *Config) *time.Duration { return &c.Archive.BufferInterval })},
	{"redshift", "serverless or provisioned: a table in Redshift with all telemetry; none by default", text(func(c *Config) *Redshift { return &c.Redshift })},
	{"region", "region to deploy to, needed with redshift; by default the command line's", text(func(c *Config) *string { return &c.Region })},
	{"alarmEmail", "address that gets the alarms; none by default", text(func(c *Config) *string { return &c.AlarmEmail })},
	{"destroy", "true deletes the data with the stack; needs confirmDestroy too", flag(func(c *Config) *bool { return &c.Destroy })},
	{"confirmDestroy", "the stack's name, " + StackName, text(func(c *Config) *string { return &c.ConfirmDestroy })},
	{"local", "true for the profile of `millrace local`", flag(func(c *Config) *bool { return &c.Local })},
}

// ReadConfig reads the keys that begin with "race:" from a CDK context: cdk.json,
// or -c race:key=value. It refuses unknown keys and bad values, all at once, as a
// [*spec.Invalid].
func ReadConfig(context map[string]any) (Config, error) {
	config := Config{Region: os.Getenv("CDK_DEFAULT_REGION")} // by the CDK's command line
	check := spec.At("context")
	for _, key := range slices.Sorted(keys(context)) {
		name := strings.TrimPrefix(key, Prefix)
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
		if i < 0 {
			check.Add(key, fmt.Sprint(context[key]), "there is no such setting", "use one of "+known())
			continue
		}
		if err := settings[i].set(&config, scalar(context[key])); err != nil {
			check.Add(key, scalar(context[key]), err.Error(), settings[i].doc)
		}
	}
	check.Merge(config.Validate())
	return config, check.Err()
}

// withDefaults are the settings in which this workload differs from the constructs:
// a racer's records in a batch become one write, so that large batches cost less
// and catch up faster, for a second's delay.
func (c Config) withDefaults() Config {
	c.Standings.BatchSize = cmp.Or(c.Standings.BatchSize, 10_000)
	c.Standings.BatchingWindow = cmp.Or(c.Standings.BatchingWindow, time.Second)
	c.Podium.BatchSize = cmp.Or(c.Podium.BatchSize, 1_000)
	c.Pace.BatchSize = cmp.Or(c.Pace.BatchSize, 10_000)
	c.Pace.BatchingWindow = cmp.Or(c.Pace.BatchingWindow, time.Second)
	c.Pace.TumblingWindow = cmp.Or(c.Pace.TumblingWindow, 30*time.Second)
	return c
}

// Validate returns every problem of c as a [*spec.Invalid]. It needs no Node.js.
func (c Config) Validate() error {
	check := spec.At(StackName)
	c = c.withDefaults()
	check.Merge(c.Stream.Validate(StackName + "/Telemetry"))
	// A retention that is refused itself must not be blamed on the consumer too.
	telemetry := spec.Source{Kind: spec.Kinesis, Shards: c.Stream.Shards, Retention: max(c.Stream.WithDefaults().RetentionPeriod, spec.StreamRetention.Min)}
	check.Merge(c.Standings.Validate(StackName+"/UpdateStandings", telemetry))
	check.Merge(c.Podium.Validate(StackName+"/UpdatePodiums", spec.Source{Kind: spec.DynamoDB, Retention: spec.ChangeRetention}))
	check.Merge(c.Pace.Validate(StackName+"/UpdatePaces", telemetry))
	check.Merge(c.Archive.Validate(StackName + "/Archive"))
	switch c.Redshift {
	case "":
	case RedshiftServerless, RedshiftProvisioned:
		if c.Region == "" && !c.Local {
			check.Add("Region", nil, "Firehose reaches Redshift from addresses that differ by region", "set AWS_REGION for the CDK's command line, or "+Prefix+"region")
		}
	default:
		check.Add("Redshift", string(c.Redshift), "it must be "+string(RedshiftServerless)+" or "+string(RedshiftProvisioned), "use one of them, or leave it out")
	}
	check.Email("AlarmEmail", c.AlarmEmail)
	if c.Destroy && c.ConfirmDestroy != StackName {
		check.Add("ConfirmDestroy", c.ConfirmDestroy, "deleting the data with the stack takes a second switch", "set it to "+StackName+" as well, or leave destroy out")
	}
	return check.Err()
}

func known() string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = Prefix + s.name
	}
	return strings.Join(names, ", ")
}

// keys are those of the context that are meant for this stack.
func keys(context map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range context {
			if strings.HasPrefix(key, Prefix) && !yield(key) {
				return
			}
		}
	}
}

// scalar is a context value as text: cdk.json has numbers, -c has text.
func scalar(value any) string {
	if f, ok := value.(float64); ok && f == math.Trunc(f) {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

func text[T ~string](field func(*Config) *T) func(*Config, string) error {
	return func(c *Config, value string) error {
		*field(c) = T(strings.TrimSpace(value))
		return nil
	}
}

func whole(field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || n < 0 {
			return fmt.Errorf("it must be a whole number, not negative")
		}
		if n == 0 {
			// What is written out is meant: a default is asked for by leaving it out.
			n = spec.Zero
		}
		*field(c) = n
		return nil
	}
}

func duration(field func(*Config) *time.Duration, unit time.Duration) func(*Config, string) error {
	return func(c *Config, value string) error {
		var n int
		err := whole(func(*Config) *int { return &n })(c, value)
		switch {
		case err != nil:
			return err
		case n == spec.Zero:
			*field(c) = spec.Zero
		case n > math.MaxInt32:
			return fmt.Errorf("it is out of range")
		default:
			*field(c) = time.Duration(n) * unit
		}
		return nil
	}
}

func seconds(field func(*Config) *time.Duration) func(*Config, string) error {
	return duration(field, time.Second)
}

func hours(field func(*Config) *time.Duration) func(*Config, string) error {
	return duration(field, time.Hour)
}

func flag(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, value string) error {
		b, err := strconv.ParseBool(strings.TrimSpace(value))
		if err != nil {
			return fmt.Errorf("it must be true or false")
		}
		*field(c) = b
		return nil
	}
}
