package spec

import (
	"fmt"
	"time"
)

// SourceKind is the kind of stream that an event source mapping reads.
type SourceKind string

// The sources of a consumer.
const (
	Kinesis  SourceKind = "kinesis"
	DynamoDB SourceKind = "dynamodb"
)

// StartingPosition is where a new mapping begins to read.
type StartingPosition string

const (
	// TrimHorizon starts at the oldest record kept, so that nothing is missed.
	TrimHorizon StartingPosition = "TRIM_HORIZON"
	// Latest starts with the records that arrive after the mapping is active;
	// those that arrive while it is being created may be missed.
	Latest StartingPosition = "LATEST"
)

// Consumer are the settings of a function that reads a stream through an event
// source mapping. Ranges are those of Lambda's CreateEventSourceMapping.
type Consumer struct {
	// StartingPosition: TrimHorizon (default) or Latest.
	StartingPosition StartingPosition
	// BatchSize is the most records of an invocation, 1 to 10,000; 100 by default.
	// Lambda also ends a batch at 6 MB.
	BatchSize int
	// BatchingWindow is how long Lambda gathers a batch, 0 s (default) to 300 s.
	BatchingWindow time.Duration
	// ParallelizationFactor is how many batches of a shard are processed at once,
	// 1 (default) to 10. Records of one partition key stay in order.
	ParallelizationFactor int
	// MaximumRetryAttempts of a failed batch, 0 to 10,000; 10 by default. Zero for
	// none, Forever for no limit: then one bad record can hold up its shard until
	// it expires.
	MaximumRetryAttempts int
	// MaximumRecordAge is the age at which a record goes to the failure
	// destination, 60 s to 7 days. Default: the source's retention less an hour or
	// a 24th of it, whichever is more, so that a record reaches the failure
	// destination before the stream forgets it; at most 7 days. Forever for no limit.
	MaximumRecordAge time.Duration
	// NoBisect retries a failed batch whole. By default it is split in two, which
	// isolates a bad record.
	NoBisect bool
	// NoPartialResponse is for handlers that don't return batchItemFailures. By
	// default the mapping expects them (ReportBatchItemFailures).
	NoPartialResponse bool
}

// WithDefaults returns s with its defaults written out, for a source that keeps
// its records for retention.
func (s Consumer) WithDefaults(retention time.Duration) Consumer {
	s.StartingPosition = orText(s.StartingPosition, TrimHorizon)
	s.BatchSize = or(s.BatchSize, 100)
	s.BatchingWindow = or(s.BatchingWindow, 0)
	s.ParallelizationFactor = or(s.ParallelizationFactor, 1)
	s.MaximumRetryAttempts = or(s.MaximumRetryAttempts, 10)
	margin := max(time.Hour, retention/24)
	s.MaximumRecordAge = or(s.MaximumRecordAge, min((retention-margin).Truncate(time.Second), RecordAge.Max))
	return s
}

// Validate returns every problem of s as an [*Invalid], with path before each,
// for a source that keeps its records for retention.
func (s Consumer) Validate(path string, retention time.Duration) error {
	c, d := At(path), s.WithDefaults(retention)
	oneOf(c, "StartingPosition", d.StartingPosition, TrimHorizon, Latest)
	within(c, "BatchSize", d.BatchSize, BatchSize)
	within(c, "BatchingWindow", d.BatchingWindow, BatchingWindow)
	wholeSeconds(c, "BatchingWindow", d.BatchingWindow)
	within(c, "ParallelizationFactor", d.ParallelizationFactor, ParallelizationFactor)
	if d.MaximumRetryAttempts != Forever {
		within(c, "MaximumRetryAttempts", d.MaximumRetryAttempts, RetryAttempts)
	}
	if d.MaximumRecordAge != Forever {
		within(c, "MaximumRecordAge", d.MaximumRecordAge, RecordAge)
		wholeSeconds(c, "MaximumRecordAge", d.MaximumRecordAge)
		if d.MaximumRecordAge <= RecordAge.Max && d.MaximumRecordAge >= retention {
			c.Add("MaximumRecordAge", d.MaximumRecordAge,
				fmt.Sprintf("the source keeps records for %s only, so none would ever reach that age and failed ones would be lost", plain(retention)),
				"set it below the retention, or leave it out")
		}
	}
	return c.Err()
}
