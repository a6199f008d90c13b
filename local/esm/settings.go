package esm

import (
	"errors"
	"fmt"
	"time"
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
const Unlimited = -1

// Settings are those of an event source mapping, in the words of Lambda's
// GetEventSourceMapping. The zero value isn't one: see [Settings.Validate].
type Settings struct {
	UUID        string
	Kind        Kind
	SourceARN   string
	FunctionARN string
	Region      string

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
	within := func(name string, value, least, most int) {
		if value < least || value > most {
			problems = append(problems, fmt.Errorf("%s is %d, but Lambda takes %d to %d", name, value, least, most))
		}
	}
	within("BatchSize", s.BatchSize, 1, 10_000)
	within("MaximumBatchingWindowInSeconds", int(s.Window.Seconds()), 0, 300)
	within("ParallelizationFactor", s.Parallelization, 1, 10)
	within("MaximumRetryAttempts", s.MaximumRetryAttempts, Unlimited, 10_000)
	if s.MaximumRecordAge != Unlimited {
		within("MaximumRecordAgeInSeconds", int(s.MaximumRecordAge.Seconds()), 60, 604_800)
	}
	within("TumblingWindowInSeconds", int(s.Tumbling.Seconds()), 0, 900)
	if s.Tumbling > 0 && s.Parallelization > 1 {
		problems = append(problems, fmt.Errorf("ParallelizationFactor is %d, but a tumbling window has one state per shard", s.Parallelization))
	}
	switch s.Start.Type {
	case "TRIM_HORIZON", "LATEST":
	case "AT_TIMESTAMP":
		if s.Kind == DynamoDB {
			problems = append(problems, errors.New("StartingPosition is AT_TIMESTAMP, which DynamoDB streams don't have"))
		}
	default:
		problems = append(problems, fmt.Errorf("StartingPosition is %q, but Lambda takes TRIM_HORIZON, LATEST and AT_TIMESTAMP", s.Start.Type))
	}
	if len(problems) > 0 {
		return fmt.Errorf("event source mapping %s: %w", s.UUID, errors.Join(problems...))
	}
	return nil
}
