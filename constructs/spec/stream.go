package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// StreamMode says who adds and removes a stream's shards.
type StreamMode string

const (
	// OnDemand lets Kinesis scale the stream with its traffic.
	OnDemand StreamMode = "ON_DEMAND"
	// OnDemandAdvantage is OnDemand in an account and region that has committed
	// itself to a minimum throughput: cheaper by the gigabyte, no price per stream,
	// warm throughput, and 50 enhanced fan-out consumers instead of 20. It says that
	// the commitment is on; a stack can't turn it on, as it is no resource of
	// CloudFormation, and we don't do it for you, as it is billed (25 MiB/s, for at
	// least 24 hours) for all on-demand streams of the account:
	//
	//	aws kinesis update-account-settings --minimum-throughput-billing-commitment Status=ENABLED
	OnDemandAdvantage StreamMode = "ON_DEMAND_ADVANTAGE"
	// Provisioned keeps the number of shards that is given.
	Provisioned StreamMode = "PROVISIONED"
)

// ShardMetric is a metric that Kinesis publishes per shard, at a price.
type ShardMetric string

// The shard-level metrics; AllShardMetrics stands for all of them.
const (
	ShardIncomingBytes                      ShardMetric = "IncomingBytes"
	ShardIncomingRecords                    ShardMetric = "IncomingRecords"
	ShardOutgoingBytes                      ShardMetric = "OutgoingBytes"
	ShardOutgoingRecords                    ShardMetric = "OutgoingRecords"
	ShardWriteProvisionedThroughputExceeded ShardMetric = "WriteProvisionedThroughputExceeded"
	ShardReadProvisionedThroughputExceeded  ShardMetric = "ReadProvisionedThroughputExceeded"
	ShardIteratorAgeMilliseconds            ShardMetric = "IteratorAgeMilliseconds"
	AllShardMetrics                         ShardMetric = "ALL"
)

// Stream are the settings of a Kinesis data stream.
type Stream struct {
	// Mode: OnDemand (default), OnDemandAdvantage or Provisioned.
	Mode StreamMode
	// Shards of a Provisioned stream, 1 to 10,000; required there, refused with
	// the others. A shard takes 1 MB/s or 1,000 records/s in and gives 2 MB/s out.
	Shards int
	// WarmThroughput in MiB/s that an OnDemandAdvantage stream takes at once, 1 to
	// 10,240; by default what its traffic of the last 30 days has taught it.
	WarmThroughput int
	// RetentionPeriod is how long a record can be read, 24 h (default) to 8,760 h,
	// in whole hours. More than 24 h costs extra.
	RetentionPeriod time.Duration
	// MaximumRecordSize in KiB, 1,024 to 10,240; 1,024 by default. A record beyond
	// some 4,400 KiB doesn't reach a Lambda function, whose event is at most 6 MB.
	MaximumRecordSize int
	// ShardMetrics are published per shard, at a price each; none by default.
	// AllShardMetrics stands alone.
	ShardMetrics []ShardMetric
	// Name of the stream, 1 to 128 of a-z A-Z 0-9 _ . -, unique in its account and
	// region; by default CloudFormation makes one up. Changing it replaces the
	// stream; CloudFormation refuses other updates that would replace a named one.
	Name string
}

// StreamFanOuts is how many enhanced fan-out consumers a stream of that mode can
// have; the most that any has where the mode isn't known.
func StreamFanOuts(mode StreamMode) int {
	if mode == OnDemand || mode == Provisioned {
		return 20
	}
	return 50
}

// WithDefaults returns s with its defaults written out.
func (s Stream) WithDefaults() Stream {
	s.Mode = orText(s.Mode, OnDemand)
	s.RetentionPeriod = or(s.RetentionPeriod, 24*time.Hour)
	s.MaximumRecordSize = or(s.MaximumRecordSize, 1024)
	return s
}

// Validate returns every problem of s as an [*Invalid], with path before each.
func (s Stream) Validate(path string) error {
	c, d := At(path), s.WithDefaults()
	oneOf(c, "Mode", d.Mode, OnDemand, OnDemandAdvantage, Provisioned)
	switch d.Mode {
	case OnDemand, OnDemandAdvantage:
		if d.Shards != 0 {
			c.Add("Shards", d.Shards, "an on-demand stream has no shard count", "leave it out, or set Mode to spec.Provisioned")
		}
	case Provisioned:
		within(c, "Shards", d.Shards, StreamShards)
	}
	switch {
	case d.WarmThroughput == 0:
	case d.Mode == OnDemandAdvantage:
		within(c, "WarmThroughput", d.WarmThroughput, StreamWarmThroughput)
	default:
		c.Add("WarmThroughput", d.WarmThroughput, "only accounts with the minimum throughput billing commitment have it, for on-demand streams",
			"leave it out, or set Mode to spec.OnDemandAdvantage when your account has the commitment")
	}
	within(c, "RetentionPeriod", d.RetentionPeriod, StreamRetention)
	if d.RetentionPeriod%time.Hour != 0 {
		c.Add("RetentionPeriod", d.RetentionPeriod, "Kinesis counts retention in whole hours", "round it to hours")
	}
	within(c, "MaximumRecordSize", d.MaximumRecordSize, StreamRecordSize)
	for i, m := range d.ShardMetrics {
		field := fmt.Sprintf("ShardMetrics[%d]", i)
		oneOf(c, field, m, ShardIncomingBytes, ShardIncomingRecords, ShardOutgoingBytes, ShardOutgoingRecords,
			ShardWriteProvisionedThroughputExceeded, ShardReadProvisionedThroughputExceeded, ShardIteratorAgeMilliseconds, AllShardMetrics)
		switch {
		case slices.Contains(d.ShardMetrics[:i], m):
			c.Add(field, string(m), "it is listed twice", "list it once")
		case m == AllShardMetrics && len(d.ShardMetrics) > 1:
			c.Add(field, string(m), "it holds all the others", "list it alone")
		}
	}
	if d.Name != "" {
		c.Pattern("Name", d.Name, StreamName)
	}
	return c.Err()
}

// Pattern is the text that AWS accepts for a setting, and the rule in words.
type Pattern struct {
	Text *regexp.Regexp
	Why  string
}

// AWS's rules for names and ARNs; treat them as constants, as the limits.
var (
	StreamName   = Pattern{regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`), "a stream's name has 1 to 128 of a-z A-Z 0-9 _ . -"}
	ConsumerName = Pattern{regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`), "a consumer's name has 1 to 128 of a-z A-Z 0-9 _ . -"}
	StreamARN    = Pattern{
		regexp.MustCompile(`^arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[a-zA-Z0-9_.-]{1,128}$`),
		"a stream's ARN is arn:aws:kinesis:<region>:<account>:stream/<name>",
	}
	// Principal is whom a resource can be shared with.
	Principal = Pattern{
		regexp.MustCompile(`^([0-9]{12}|arn:aws[a-z-]*:iam::[0-9]{12}:(root|(user|role)/[a-zA-Z0-9_+=,.@/-]+))$`),
		"a resource is shared with an account (12 digits), a role or a user, without wildcards",
	}
)

// Pattern notes a problem when text isn't what pattern describes. A token is
// known only at deployment and is accepted.
func (c *Check) Pattern(field, text string, pattern Pattern) {
	if !IsToken(text) && !pattern.Text.MatchString(text) {
		c.Add(field, text, pattern.Why, "correct it")
	}
}

var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// Tags notes a problem for each tag that AWS refuses; a value has up to most
// characters.
func (c *Check) Tags(field string, tags map[string]string, most int) {
	if len(tags) > ResourceTags.Max {
		c.Add(field, len(tags), ResourceTags.String(), fmt.Sprintf("keep %d of them", ResourceTags.Max))
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		value, at := tags[key], fmt.Sprintf("%s[%q]", field, key)
		switch n := len([]rune(key)); {
		case IsToken(key):
			c.Add(at, key, "a tag's key has to be known when the app is synthesized", "pass plain text")
		case n < 1 || n > 128 || !tagText.MatchString(key):
			c.Add(at, key, "a tag's key has 1 to 128 letters, digits, spaces and _ . : / = + - @", "correct it")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			c.Add(at, key, "the prefix aws: is AWS's own", "name it otherwise")
		}
		if !IsToken(value) && (len([]rune(value)) > most || !tagText.MatchString(value)) {
			c.Add(at, value, fmt.Sprintf("a tag's value has 0 to %d letters, digits, spaces and _ . : / = + - @", most), "correct it")
		}
	}
}
