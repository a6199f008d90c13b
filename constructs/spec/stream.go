package spec

import "time"

// StreamMode says who adds and removes a stream's shards.
type StreamMode string

const (
	// OnDemand lets Kinesis scale the stream with its traffic.
	OnDemand StreamMode = "ON_DEMAND"
	// Provisioned keeps the number of shards that is given.
	Provisioned StreamMode = "PROVISIONED"
)

// Stream are the settings of a Kinesis data stream.
type Stream struct {
	// Mode: OnDemand (default) or Provisioned.
	Mode StreamMode
	// Shards of a Provisioned stream, 1 to 10,000; required there, refused with
	// OnDemand. A shard takes 1 MB/s or 1,000 records/s in and gives 2 MB/s out.
	Shards int
	// RetentionPeriod is how long a record can be read, 24 h (default) to 8,760 h,
	// in whole hours. More than 24 h costs extra.
	RetentionPeriod time.Duration
}

// WithDefaults returns s with its defaults written out.
func (s Stream) WithDefaults() Stream {
	s.Mode = orText(s.Mode, OnDemand)
	s.RetentionPeriod = or(s.RetentionPeriod, 24*time.Hour)
	return s
}

// Validate returns every problem of s as an [*Invalid], with path before each.
func (s Stream) Validate(path string) error {
	c, d := At(path), s.WithDefaults()
	oneOf(c, "Mode", d.Mode, OnDemand, Provisioned)
	switch d.Mode {
	case OnDemand:
		if d.Shards != 0 {
			c.Add("Shards", d.Shards, "an on-demand stream has no shard count", "leave it out, or set Mode to spec.Provisioned")
		}
	case Provisioned:
		within(c, "Shards", d.Shards, StreamShards)
	}
	within(c, "RetentionPeriod", d.RetentionPeriod, StreamRetention)
	if d.RetentionPeriod%time.Hour != 0 {
		c.Add("RetentionPeriod", d.RetentionPeriod, "Kinesis counts retention in whole hours", "round it to hours")
	}
	return c.Err()
}
