package esm

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/constructs/spec"
)

// Kind of the source that a mapping reads.
type Kind int

// The sources.
const (
	Kinesis Kind = iota
	DynamoDB
)

// Position is where a mapping begins to read its shards.
type Position struct {
	// Type: TRIM_HORIZON, LATEST or AT_TIMESTAMP.
	Type string
	// Time of AT_TIMESTAMP.
	Time time.Time
}

// Filter decides which records are handed over.
type Filter interface{ Match(*Record) bool }

// Unlimited lifts the limit of MaximumRetryAttempts and MaximumRecordAge.
const Unlimited = spec.Forever

// Settings are those of an event source mapping, in the words of Lambda's
// GetEventSourceMapping. The zero value isn't one: see [Settings.Validate].
type Settings struct {
	UUID        string
	Kind        Kind
	SourceARN   string
	FunctionARN string
	// RoleARN of the function: a Kinesis event's invokeIdentityArn; empty leaves it out.
	RoleARN string
	Region  string

	Start Position
	// BatchSize 1 to 10,000; Window 0 to 300 s.
	BatchSize int
	Window    time.Duration
	// Parallelization is how many batches of a shard are in work at once, 1 to 10.
	Parallelization int
	Filter          Filter // nil takes every record

	Bisect  bool
	Partial bool // ReportBatchItemFailures
	// MaximumRetryAttempts 0 to 10,000 and MaximumRecordAge 60 s to 7 days, or Unlimited.
	MaximumRetryAttempts int
	MaximumRecordAge     time.Duration
	// Tumbling is the length of the windows, 0 for none.
	Tumbling time.Duration
	// OnFailure is the destination's ARN, or empty: then what is given up is dropped
	// and counted, as Lambda does.
	OnFailure string
}

// Validate returns every problem of s.
func (s *Settings) Validate() error {
	var problems []error
	note := func(problem error) {
		if problem != nil {
			problems = append(problems, problem)
		}
	}
	note(within("BatchSize", s.BatchSize, spec.BatchSize))
	note(within("MaximumBatchingWindowInSeconds", s.Window, spec.BatchingWindow))
	note(within("ParallelizationFactor", s.Parallelization, spec.ParallelizationFactor))
	note(within("TumblingWindowInSeconds", s.Tumbling, spec.TumblingWindow))
	if s.MaximumRetryAttempts != Unlimited {
		note(within("MaximumRetryAttempts", s.MaximumRetryAttempts, spec.RetryAttempts))
	}
	if s.MaximumRecordAge != Unlimited {
		note(within("MaximumRecordAgeInSeconds", s.MaximumRecordAge, spec.RecordAge))
	}
	if s.Tumbling > 0 && s.Parallelization > 1 {
		problems = append(problems, fmt.Errorf("ParallelizationFactor is %d, but a tumbling window has one state per shard", s.Parallelization))
	}
	switch s.Start.Type {
	case "TRIM_HORIZON", "LATEST":
	case "AT_TIMESTAMP":
		switch {
		case s.Kind == DynamoDB:
			problems = append(problems, errors.New("StartingPosition is AT_TIMESTAMP, which DynamoDB streams don't have"))
		case s.Start.Time.IsZero():
			problems = append(problems, errors.New("StartingPosition is AT_TIMESTAMP, but there is no StartingPositionTimestamp"))
		}
	default:
		problems = append(problems, fmt.Errorf("StartingPosition is %q, but Lambda takes TRIM_HORIZON, LATEST and AT_TIMESTAMP", s.Start.Type))
	}
	if len(problems) > 0 {
		return fmt.Errorf("event source mapping %s: %w", s.UUID, errors.Join(problems...))
	}
	return nil
}

// within tells when value is outside of limit.
func within[T ~int | ~int64](name string, value T, limit spec.Limit[T]) error {
	if value < limit.Min || value > limit.Max {
		return fmt.Errorf("%s is %v, but %s", name, value, limit)
	}
	return nil
}
