package spec

import (
	"fmt"
	"strings"
	"time"
)

// Compression of the objects that Firehose writes to S3.
type Compression string

// The formats that Firehose knows.
const (
	GZIP         Compression = "GZIP"
	Snappy       Compression = "Snappy"
	HadoopSnappy Compression = "HADOOP_SNAPPY"
	ZIP          Compression = "ZIP"
	Uncompressed Compression = "UNCOMPRESSED"
)

// S3Delivery are the settings of a Firehose delivery to S3.
type S3Delivery struct {
	// Prefix of the objects' keys, with Firehose's expressions; by default
	// "!{timestamp:yyyy/MM/dd/HH}/" in UTC, with a Format "data/" before it.
	Prefix string
	// ErrorPrefix of the objects with records that couldn't be transformed or
	// delivered; by default "errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/".
	// It must hold !{firehose:error-output-type} and must not begin with Prefix.
	ErrorPrefix string
	// TimeZone of the prefixes' timestamps, by its name in the IANA database; UTC by
	// default.
	TimeZone string
	// FileExtension that objects' names end with, such as ".jsonl.gz"; by default
	// that of their compression or format.
	FileExtension string
	// BufferSize in MiB at which an object is written, 1 to 128; 5 by default. With
	// Partitioning or a Format 64 to 128, 128 by default.
	BufferSize int
	// BufferInterval after which an object is written, 0 s to 900 s; 300 s by
	// default, Zero for none. With Partitioning, and where records are kept beside
	// another destination, 60 s at least.
	BufferInterval time.Duration
	// Compression: GZIP (default), Snappy, HadoopSnappy, ZIP or Uncompressed. With a
	// Format none but the format's own.
	Compression Compression
	// NewLines puts a new line between records, which Firehose else writes without
	// anything between them.
	NewLines bool
	// Partitioning puts records under prefixes with their own keys; none by default.
	Partitioning Partitioning
	// Format that JSON records are converted to, a [Parquet] or an [ORC]; nil leaves
	// records as they are.
	Format Format
	// Expiration after which S3 deletes an object of the bucket that is defined
	// here, whole days from 24 h on; by default, or with Forever, objects are kept.
	// A bucket that is passed has lifecycle rules of its own.
	Expiration time.Duration
	// Transitions of such objects to other classes of storage, by age; by default
	// they stay in S3 Standard.
	Transitions []Transition
}

// WithDefaults returns s with its defaults written out.
func (s S3Delivery) WithDefaults() S3Delivery {
	if s.Format != nil {
		// A table's files lie below one place, and nothing else does.
		s.Prefix = orText(s.Prefix, "data/!{timestamp:yyyy/MM/dd/HH}/")
		s.Compression = orText(s.Compression, Uncompressed)
		s.Format = s.Format.defaults()
	}
	if s.Format != nil || s.Partitioning.On() {
		s.BufferSize = or(s.BufferSize, 128)
		s.Partitioning = s.Partitioning.WithDefaults()
	}
	s.Prefix = orText(s.Prefix, "!{timestamp:yyyy/MM/dd/HH}/")
	s.ErrorPrefix = orText(s.ErrorPrefix, "errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/")
	s.BufferSize = or(s.BufferSize, 5)
	s.BufferInterval = or(s.BufferInterval, 300*time.Second)
	s.Compression = orText(s.Compression, GZIP)
	s.Expiration = or(s.Expiration, Forever)
	return s
}

// Validate returns every problem of s as an [*Invalid], with path before each.
func (s S3Delivery) Validate(path string) error {
	c, d := At(path), s.WithDefaults()
	within(c, "BufferSize", d.BufferSize, S3BufferSize)
	within(c, "BufferInterval", d.BufferInterval, S3BufferInterval)
	wholeSeconds(c, "BufferInterval", d.BufferInterval)
	oneOf(c, "Compression", d.Compression, GZIP, Snappy, HadoopSnappy, ZIP, Uncompressed)
	c.Expiration("Expiration", d.Expiration)
	s.destination(c, d)
	expressions(c, "Prefix", d.Prefix)
	expressions(c, "ErrorPrefix", d.ErrorPrefix)
	if strings.Contains(d.Prefix, "!{firehose:error-output-type}") {
		c.Add("Prefix", d.Prefix, "Firehose knows error-output-type only in the error prefix", "move that expression to ErrorPrefix")
	}
	if len(partitionKeys(d.ErrorPrefix)) > 0 {
		c.Add("ErrorPrefix", d.ErrorPrefix, "a failed record has no partition keys", "move those expressions to Prefix")
	}
	if !IsToken(d.ErrorPrefix) && !strings.Contains(d.ErrorPrefix, "!{firehose:error-output-type}") {
		c.Add("ErrorPrefix", d.ErrorPrefix, "Firehose refuses an error prefix without !{firehose:error-output-type} when the prefix has expressions", "add the expression, for example errors/!{firehose:error-output-type}/")
	}
	if head := literal(d.Prefix); head != "" && !IsToken(d.Prefix) && strings.HasPrefix(d.ErrorPrefix, head) {
		c.Add("ErrorPrefix", d.ErrorPrefix, "failed records would lie among the good ones, under "+head, "begin it with something else than Prefix")
	}
	return c.Err()
}

// literal is what a prefix begins with before its first expression.
func literal(prefix string) string {
	head, _, _ := strings.Cut(prefix, "!{")
	return head
}

// expressions notes a problem for each !{…} in a prefix that Firehose doesn't know.
func expressions(c *Check, field, prefix string) {
	if IsToken(prefix) {
		return
	}
	plainPrefix(c, field, prefix)
	for rest := prefix; ; {
		_, after, found := strings.Cut(rest, "!{")
		if !found {
			return
		}
		body, tail, closed := strings.Cut(after, "}")
		namespace, value, _ := strings.Cut(body, ":")
		switch {
		case !closed:
			c.Add(field, prefix, "an expression begins with !{ and ends with }", "close it")
			return
		case namespace == "timestamp" && value != "":
			if problem := pattern(value); problem != "" {
				c.Add(field, prefix, "!{"+body+"}: "+problem, "use letters of Java's DateTimeFormatter, such as yyyy/MM/dd/HH, and put text between single quotes")
			}
		case (namespace == fromQuery || namespace == fromLambda) && value != "":
		case namespace == "firehose" && (value == "error-output-type" || value == "random-string"):
		default:
			c.Add(field, prefix, "!{"+body+"} is no expression that Firehose knows here", "use !{timestamp:…}, !{firehose:random-string}, keys of Partitioning or, in the error prefix, !{firehose:error-output-type}")
		}
		rest = tail
	}
}

// plainPrefix checks what holds for every prefix.
func plainPrefix(c *Check, field, prefix string) {
	if n := len(prefix); n > S3Prefix.Max && !IsToken(prefix) {
		c.Add(field, fmt.Sprintf("%d characters long", n), S3Prefix.String(), "shorten it")
	}
	oneLine(c, field, prefix)
}

// oneLine notes a problem when text has several lines, which no text of Firehose's
// API has.
func oneLine(c *Check, field, text string) {
	if strings.ContainsAny(text, "\r\n") {
		c.Add(field, text, "Firehose takes one line", "leave line breaks out")
	}
}

// pattern is what is wrong with a pattern of Java's DateTimeFormatter, "" if nothing
// is.
func pattern(text string) string {
	for i, part := range strings.Split(text, "'") {
		if i%2 == 1 {
			continue // quoted
		}
		for _, r := range part {
			if (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') && !strings.ContainsRune("GuyYDMLdQqwWEecFahKkHmsSAnNVzOXxZ", r) {
				return "the letter " + string(r) + " stands for nothing"
			}
		}
	}
	if strings.Count(text, "'")%2 == 1 {
		return "a quote isn't closed"
	}
	return ""
}

// Transform are the settings of a Lambda function that changes records on their
// way through Firehose.
type Transform struct {
	// BufferSize in MiB handed to an invocation, 0.2 to 3; 1 by default, 0.25 toward
	// Splunk and Snowflake.
	BufferSize float64
	// BufferInterval after which an invocation is made, 0 s to 900 s; 60 s by
	// default, Zero for none.
	BufferInterval time.Duration
	// Retries of a failed invocation, 0 to 300; 3 by default, Zero for none. After
	// them the records go to the error prefix.
	Retries int
}

// WithDefaults returns t with its defaults written out.
func (t Transform) WithDefaults() Transform {
	t.BufferSize = or(t.BufferSize, 1)
	t.BufferInterval = or(t.BufferInterval, 60*time.Second)
	t.Retries = or(t.Retries, 3)
	return t
}

// Validate returns every problem of t as an [*Invalid], with path before each.
func (t Transform) Validate(path string) error {
	c, d := At(path), t.WithDefaults()
	within(c, "BufferSize", d.BufferSize, TransformBufferSize)
	within(c, "BufferInterval", d.BufferInterval, TransformBufferInterval)
	wholeSeconds(c, "BufferInterval", d.BufferInterval)
	within(c, "Retries", d.Retries, TransformRetries)
	return c.Err()
}
