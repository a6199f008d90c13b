package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// SourceKind is the kind of stream that an event source mapping reads.
type SourceKind string

// The sources of a consumer.
const (
	Kinesis  SourceKind = "kinesis"
	DynamoDB SourceKind = "dynamodb"
)

// Source is what a consumer's settings are checked against.
type Source struct {
	// Kind of the stream.
	Kind SourceKind
	// Retention is how long it keeps a record.
	Retention time.Duration
	// Shards, or 0 where their number isn't known beforehand.
	Shards int
}

// StartingPosition is where a new mapping begins to read.
type StartingPosition string

const (
	// TrimHorizon starts at the oldest record kept, so that nothing is missed.
	TrimHorizon StartingPosition = "TRIM_HORIZON"
	// Latest starts with the records that arrive after the mapping is active;
	// those that arrive while it is being created may be missed.
	Latest StartingPosition = "LATEST"
	// AtTimestamp starts with the records that arrived at StartingPositionTimestamp;
	// of Kinesis streams only.
	AtTimestamp StartingPosition = "AT_TIMESTAMP"
)

// Consumer are the settings of a function that reads a stream through an event
// source mapping. Ranges are those of Lambda's CreateEventSourceMapping.
type Consumer struct {
	// StartingPosition: TrimHorizon (default), Latest or AtTimestamp. Changing it
	// later replaces the mapping, which starts to read anew.
	StartingPosition StartingPosition
	// StartingPositionTimestamp is where AtTimestamp starts, in whole seconds and
	// not in the future; required with it, refused without.
	StartingPositionTimestamp time.Time
	// Disabled keeps the mapping from reading. Its position is kept, the records
	// only as long as the source does.
	Disabled bool
	// BatchSize is the most records of an invocation, 1 to 10,000; 100 by default.
	// Lambda also ends a batch at 6 MB.
	BatchSize int
	// BatchingWindow is how long Lambda gathers a batch, 0 s (default) to 300 s.
	BatchingWindow time.Duration
	// TumblingWindow is the length of the windows over which a function aggregates:
	// Lambda hands it the window's state and takes the new one. 0 s (default, none)
	// to 900 s; ParallelizationFactor must be 1 then.
	TumblingWindow time.Duration
	// ParallelizationFactor is how many batches of a shard are processed at once,
	// 1 (default) to 10. Records of one partition key stay in order.
	ParallelizationFactor int
	// Filters are event patterns in JSON, at most ten, of 4,096 characters each; a
	// record that matches one of them is handed over, others are skipped for good.
	// None by default: every record is handed over. More than five take a quota
	// increase. Kinesis data must be JSON then; others match no filter on "data".
	Filters []string
	// MaximumRetryAttempts of a failed batch, 0 to 10,000; 10 by default. Zero for
	// none, Forever for no limit: then one bad record can hold up its shard until
	// it reaches MaximumRecordAge.
	MaximumRetryAttempts int
	// MaximumRecordAge is the age at which a record goes to the failure
	// destination, 60 s to 7 days. Default: the source's retention less an hour or
	// a 24th of it, whichever is more, so that a record reaches the failure
	// destination before the stream forgets it; at most 7 days. Forever for no
	// limit, which takes a limit on MaximumRetryAttempts.
	MaximumRecordAge time.Duration
	// NoBisect retries a failed batch whole. By default it is split in two, which
	// isolates a bad record.
	NoBisect bool
	// NoPartialResponse is for handlers that don't return batchItemFailures. By
	// default the mapping expects them (ReportBatchItemFailures).
	NoPartialResponse bool
	// NoMetrics turns the mapping's own metrics (EventCount) off, and with them the
	// alarms on batches that were given up and on a mapping that reads nothing.
	NoMetrics bool
}

// WithDefaults returns s with its defaults written out.
func (s Consumer) WithDefaults(from Source) Consumer {
	s.StartingPosition = orText(s.StartingPosition, TrimHorizon)
	s.BatchSize = or(s.BatchSize, 100)
	s.BatchingWindow = or(s.BatchingWindow, 0)
	s.TumblingWindow = or(s.TumblingWindow, 0)
	s.ParallelizationFactor = or(s.ParallelizationFactor, 1)
	s.MaximumRetryAttempts = or(s.MaximumRetryAttempts, 10)
	margin := max(time.Hour, from.Retention/24)
	s.MaximumRecordAge = or(s.MaximumRecordAge, min((from.Retention-margin).Truncate(time.Second), RecordAge.Max))
	return s
}

// Validate returns every problem of s as an [*Invalid], with path before each.
func (s Consumer) Validate(path string, from Source) error {
	c, d := At(path), s.WithDefaults(from)
	oneOf(c, "StartingPosition", d.StartingPosition, TrimHorizon, Latest, AtTimestamp)
	d.checkTimestamp(c, from)
	within(c, "BatchSize", d.BatchSize, BatchSize)
	within(c, "BatchingWindow", d.BatchingWindow, BatchingWindow)
	wholeSeconds(c, "BatchingWindow", d.BatchingWindow)
	within(c, "TumblingWindow", d.TumblingWindow, TumblingWindow)
	wholeSeconds(c, "TumblingWindow", d.TumblingWindow)
	within(c, "ParallelizationFactor", d.ParallelizationFactor, ParallelizationFactor)
	if d.TumblingWindow > 0 && d.ParallelizationFactor > 1 {
		c.Add("ParallelizationFactor", d.ParallelizationFactor, "a tumbling window has one state per shard, which batches at once would overwrite",
			"leave it at 1, or leave TumblingWindow out")
	}
	d.checkFilters(c, from)
	if d.MaximumRetryAttempts != Forever {
		within(c, "MaximumRetryAttempts", d.MaximumRetryAttempts, RetryAttempts)
	}
	d.checkAge(c, from)
	return c.Err()
}

func (s Consumer) checkTimestamp(c *Check, from Source) {
	at := s.StartingPositionTimestamp
	switch {
	case s.StartingPosition != AtTimestamp && !at.IsZero():
		c.Add("StartingPositionTimestamp", at.Format(time.RFC3339), "it is for spec.AtTimestamp only", "set StartingPosition to that, or leave it out")
	case s.StartingPosition == AtTimestamp && from.Kind == DynamoDB:
		c.Add("StartingPosition", string(AtTimestamp), "DynamoDB streams can't be read from a time on", "use spec.TrimHorizon or spec.Latest")
	case s.StartingPosition == AtTimestamp && at.IsZero():
		c.Add("StartingPositionTimestamp", nil, "spec.AtTimestamp needs the time to start at", "set it")
	case s.StartingPosition == AtTimestamp && at.After(time.Now()):
		c.Add("StartingPositionTimestamp", at.Format(time.RFC3339), "Lambda takes no time in the future", "use spec.Latest to start now")
	case at.Nanosecond() != 0:
		c.Add("StartingPositionTimestamp", at.Format(time.RFC3339Nano), "AWS counts it in whole seconds", "truncate it to seconds")
	}
}

func (s Consumer) checkAge(c *Check, from Source) {
	if s.MaximumRecordAge == Forever {
		if s.MaximumRetryAttempts == Forever {
			c.Add("MaximumRecordAge", "Forever", "without a limit on retries either, records that keep failing hold up their shard until the stream forgets them, and are lost",
				"leave it out, or limit MaximumRetryAttempts")
		}
		return
	}
	within(c, "MaximumRecordAge", s.MaximumRecordAge, RecordAge)
	wholeSeconds(c, "MaximumRecordAge", s.MaximumRecordAge)
	if s.MaximumRecordAge <= RecordAge.Max && s.MaximumRecordAge >= from.Retention {
		c.Add("MaximumRecordAge", s.MaximumRecordAge,
			fmt.Sprintf("the source keeps records for %s only, so none would ever reach that age and failed ones would be lost", plain(from.Retention)),
			"set it below the retention, or leave it out")
	}
	if s.MaximumRecordAge >= RecordAge.Min && s.BatchingWindow <= BatchingWindow.Max && s.MaximumRecordAge <= s.BatchingWindow {
		c.Add("MaximumRecordAge", s.MaximumRecordAge,
			fmt.Sprintf("a batch is gathered for up to %s, so records would be given up before they are handed over", plain(s.BatchingWindow)),
			"set it well above BatchingWindow")
	}
}

// filterKeys are the parts of a record that a filter can look at.
var filterKeys = map[SourceKind][]string{
	Kinesis:  {"data", "partitionKey", "kinesisSchemaVersion", "sequenceNumber", "approximateArrivalTimestamp", "eventSource", "eventVersion", "eventID", "eventName", "invokeIdentityArn", "awsRegion", "eventSourceARN"},
	DynamoDB: {"dynamodb", "eventName", "eventID", "eventVersion", "eventSource", "awsRegion", "userIdentity", "eventSourceARN"},
}

func (s Consumer) checkFilters(c *Check, from Source) {
	if n := len(s.Filters); n > MaximumFilters {
		c.Add("Filters", n, fmt.Sprintf("Lambda takes five filters, and %d at most after a quota increase", MaximumFilters), "merge some: a pattern takes several values per field")
	}
	for i, text := range s.Filters {
		field := fmt.Sprintf("Filters[%d]", i)
		if IsToken(text) {
			continue
		}
		if len(text) > MaximumFilterLength {
			c.Add(field, fmt.Sprintf("%d characters long", len(text)), fmt.Sprintf("Lambda takes %d characters", MaximumFilterLength), "shorten it, or split it into two filters")
			continue
		}
		var pattern map[string]any
		if err := json.Unmarshal([]byte(text), &pattern); err != nil || len(pattern) == 0 {
			c.Add(field, text, "a filter is an event pattern: a JSON object", `write it like {"data": {"kind": ["sale"]}}`)
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(pattern)) {
			if key != "$or" && from.Kind != "" && !slices.Contains(filterKeys[from.Kind], key) {
				c.Add(field, text, fmt.Sprintf("records of a %s stream have no %q, so that none would match", from.Kind, key),
					"begin with "+filterKeys[from.Kind][0]+", which holds the record itself")
			}
		}
		if problem := patternProblem(pattern); problem != "" {
			c.Add(field, text, problem, `write values as a list: {"data": {"kind": ["sale"]}}`)
		}
	}
}

// patternProblem tells what is wrong with the shape of an event pattern: its
// leaves are lists of values or of operators.
func patternProblem(v any) string {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return "an empty object matches nothing"
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key == "$or" {
				continue
			}
			if problem := patternProblem(v[key]); problem != "" {
				return problem
			}
		}
		return ""
	case []any:
		if len(v) == 0 {
			return "an empty list of values matches nothing"
		}
		return ""
	}
	return fmt.Sprintf("the value %v stands alone: Lambda wants a list of values", v)
}

// PerRecord is the least time that a function is expected to need for a record.
const PerRecord = time.Millisecond

// LeastTimeout is the shortest timeout that suits a function with these settings:
// a batch holds what arrived during the batching window, so that a function which
// takes longer falls behind, and each record takes about [PerRecord].
func (s Consumer) LeastTimeout() time.Duration {
	least := max(s.BatchingWindow, time.Duration(s.BatchSize)*PerRecord)
	return min((least + time.Second - 1).Truncate(time.Second), FunctionTimeout.Max)
}

// ValidateWith returns the problems of s together with its function's settings,
// as an [*Invalid]; each by itself is checked by Validate.
func (s Consumer) ValidateWith(path string, from Source, f Function) error {
	c, d := At(path), s.WithDefaults(from)
	if s.Validate("", from) != nil || f.Validate("") != nil {
		return nil // what is wrong by itself needn't be blamed twice
	}
	timeout := f.WithDefaults().Timeout
	if least := d.LeastTimeout(); timeout < least {
		c.Add("Timeout", timeout, fmt.Sprintf("a batch may hold all that arrives in the batching window of %s, or %d records at a millisecond each, and a function that is slower falls behind",
			plain(d.BatchingWindow), d.BatchSize), "set it to at least "+plain(least)+", or lower BatchingWindow or BatchSize")
	}
	if reserved := f.WithDefaults().ReservedConcurrency; reserved != Forever {
		at, shards := d.ParallelizationFactor*max(from.Shards, 1), "one shard at least"
		if from.Shards > 0 {
			shards = fmt.Sprintf("%d shards", from.Shards)
		}
		if reserved < at {
			c.Add("ReservedConcurrency", reserved, fmt.Sprintf("%s with ParallelizationFactor %d want %d invocations at once; the others are throttled and their shards fall behind", shards, d.ParallelizationFactor, at),
				fmt.Sprintf("set it to at least %d, or leave it out; to stop the consumer, set Disabled", at))
		}
	}
	if d.MaximumRecordAge == Forever {
		if all := timeout * time.Duration(d.MaximumRetryAttempts+1); all >= from.Retention {
			c.Add("MaximumRetryAttempts", d.MaximumRetryAttempts, fmt.Sprintf("with a timeout of %s they can last %s, longer than the source keeps the records (%s), which would be lost",
				plain(timeout), plain(all), plain(from.Retention)), "lower it, or set MaximumRecordAge")
		}
	}
	return c.Err()
}
