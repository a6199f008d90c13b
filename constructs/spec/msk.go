package spec

import (
	"regexp"
	"time"
)

// Connectivity is how Firehose reaches a cluster of Amazon MSK.
type Connectivity string

const (
	// Private goes over VPC connections of the cluster's own, multi-VPC private
	// connectivity, which has to be on for IAM. The cluster's policy has to let
	// firehose.amazonaws.com do kafka:CreateVpcConnection.
	Private Connectivity = "PRIVATE"
	// Public goes over the internet, to a provisioned cluster with public access.
	Public Connectivity = "PUBLIC"
)

// Earliest is the position of the oldest record that a topic still has.
var Earliest = time.Unix(0, 0).UTC()

// MSKTopic are the settings of a topic of Amazon MSK that Firehose delivers. AWS
// changes none of them later: it replaces the delivery stream, and a new one begins
// at ReadFrom.
type MSKTopic struct {
	// Topic to read, 1 to 255 of a-z A-Z 0-9 . _ and -. It has to exist; one that is
	// deleted and made anew needs a new delivery stream.
	Topic string
	// Connectivity: Private (default) or Public.
	Connectivity Connectivity
	// ReadFrom is the time of the first record that is read, in whole seconds:
	// Earliest for all that the topic has. By default Firehose begins with what comes
	// after it was made.
	ReadFrom time.Time
	// Retention is how long the topic keeps a record (its retention.ms), from one
	// minute; 168 h by default, which is Kafka's default, or Forever. The alarms of
	// the delivery's lag follow from it; it isn't set here.
	Retention time.Duration
}

// WithDefaults returns m with its defaults written out.
func (m MSKTopic) WithDefaults() MSKTopic {
	m.Connectivity = orText(m.Connectivity, Private)
	m.Retention = or(m.Retention, 168*time.Hour)
	return m
}

// Validate returns every problem of m as an [*Invalid], with path before each.
func (m MSKTopic) Validate(path string) error {
	c, d := At(path), m.WithDefaults()
	c.Pattern("Topic", d.Topic, MSKTopicName)
	oneOf(c, "Connectivity", d.Connectivity, Private, Public)
	if !d.ReadFrom.IsZero() {
		if d.ReadFrom.Before(Earliest) {
			c.Add("ReadFrom", d.ReadFrom.Format(time.RFC3339), "Firehose begins at 1970-01-01T00:00:00Z, the earliest record, or later", "set it to spec.Earliest, or leave it out")
		}
		if d.ReadFrom.Nanosecond() != 0 {
			c.Add("ReadFrom", d.ReadFrom.Format(time.RFC3339Nano), "Firehose counts whole seconds", "truncate it to seconds")
		}
	}
	if d.Retention != Forever {
		within(c, "Retention", d.Retention, MSKRetention)
	}
	return c.Err()
}

// Rules of Amazon MSK.
var (
	MSKTopicName  = Pattern{regexp.MustCompile(`^[a-zA-Z0-9._-]{1,255}$`), "a topic's name has 1 to 255 of a-z A-Z 0-9 . _ and -"}
	MSKClusterARN = Pattern{
		regexp.MustCompile(`^arn:aws[a-z-]*:kafka:[a-z0-9-]+:[0-9]{12}:cluster/[a-zA-Z0-9-]+/[a-zA-Z0-9-]+$`),
		"a cluster's ARN is arn:aws:kafka:<region>:<account>:cluster/<name>/<uuid>",
	}
)
