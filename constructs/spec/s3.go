package spec

import (
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // TimeZone is checked on machines without zones too

	"github.com/itchyny/gojq"
)

// Deaggregation is how a record holds several.
type Deaggregation string

// The ways that Firehose can split records.
const (
	// JSONRecords are JSON objects, one after the other or one a line; no array.
	JSONRecords Deaggregation = "JSON"
	// DelimitedRecords have a Delimiter between them.
	DelimitedRecords Deaggregation = "DELIMITED"
)

// Partitioning is Firehose's dynamic partitioning: a record's own keys are in the
// prefix that it is written under. Prefix names each key, as
// !{partitionKeyFromQuery:key} or !{partitionKeyFromLambda:key}; a record that
// lacks one is written under the error prefix. The zero value is none. Firehose
// can't begin with it on a delivery stream that exists.
type Partitioning struct {
	// FromQuery are keys with the jq expression (of jq 1.6) that finds each in a
	// record, which has to be JSON: {"customer": ".customer_id"}.
	FromQuery map[string]string
	// FromLambda are keys that the Transform answers in metadata.partitionKeys of
	// each record.
	FromLambda []string
	// Retry is how long a partition that S3 refuses is tried again, 0 s to 7,200 s;
	// 300 s by default, Zero for none.
	Retry time.Duration
	// Deaggregation splits each record into up to 500 first; by default a record is
	// one. What holds more stays whole.
	Deaggregation Deaggregation
	// Delimiter of DelimitedRecords, such as "\n" or "####".
	Delimiter string
}

// On tells whether anything of p is set.
func (p Partitioning) On() bool {
	return len(p.FromQuery)+len(p.FromLambda) > 0 || p.Retry != 0 || p.Deaggregation != "" || p.Delimiter != ""
}

// WithDefaults returns p with its defaults written out.
func (p Partitioning) WithDefaults() Partitioning {
	p.Retry = or(p.Retry, 300*time.Second)
	return p
}

// Query is the expression that makes all keys FromQuery of a record.
func (p Partitioning) Query() string {
	pairs := []string{}
	for _, key := range slices.Sorted(maps.Keys(p.FromQuery)) {
		value := p.FromQuery[key]
		if q, err := gojq.Parse(value); err != nil || !piped(q) {
			value = "(" + value + ")" // jq takes only pipes without
		}
		pairs = append(pairs, key+":"+value)
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// piped tells whether a query is terms with nothing but pipes between them.
func piped(q *gojq.Query) bool {
	if len(q.FuncDefs) > 0 || len(q.Patterns) > 0 {
		return false
	}
	return q.Term != nil || q.Op == gojq.OpPipe && piped(q.Left) && piped(q.Right)
}

// EncodedDelimiter is Delimiter as Firehose takes it.
func (p Partitioning) EncodedDelimiter() string {
	return base64.StdEncoding.EncodeToString([]byte(p.Delimiter))
}

var partitionKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// The namespaces of partition keys in prefixes.
const (
	fromQuery  = "partitionKeyFromQuery"
	fromLambda = "partitionKeyFromLambda"
)

func (p Partitioning) validate(c *Check, prefix string) {
	used := partitionKeys(prefix)
	produced := map[string]bool{}
	check := func(field, namespace, key string) {
		produced[namespace+":"+key] = true
		switch {
		case !partitionKey.MatchString(key):
			c.Add(field, key, "a key is letters, digits and underscores, so that jq and the prefix can name it", "rename it")
		case !IsToken(prefix) && !used[namespace+":"+key]:
			c.Add(field, key, "Firehose refuses a partition key that the prefix doesn't use", "add !{"+namespace+":"+key+"} to Prefix, or remove the key")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.FromQuery)) {
		field, query := "Partitioning.FromQuery."+key, p.FromQuery[key]
		check(field, fromQuery, key)
		parsed, err := gojq.Parse(query)
		if err == nil {
			_, err = gojq.Compile(parsed)
		}
		if err != nil {
			c.Add(field, query, "jq can't read it: "+err.Error(), "correct the expression; `jq` tries it on a record")
		}
	}
	seen := map[string]bool{}
	for _, key := range p.FromLambda {
		check("Partitioning.FromLambda", fromLambda, key)
		if seen[key] {
			c.Add("Partitioning.FromLambda", key, "each key is named once", "remove one")
		}
		seen[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(used)) {
		if !produced[key] {
			namespace, name, _ := strings.Cut(key, ":")
			c.Add("Prefix", prefix, "nothing makes the key !{"+key+"}", "add "+name+" to Partitioning.F"+strings.TrimPrefix(namespace, "partitionKeyF")+", or take the expression out")
		}
	}
	if !p.On() {
		return
	}
	if len(produced) == 0 {
		c.Add("Partitioning", "without keys", "dynamic partitioning is by one key at least; records are split only for it", "set FromQuery or FromLambda")
	}
	within(c, "Partitioning.FromQuery", len(p.FromQuery), PartitionKeys)
	if len(p.FromQuery) > 0 {
		if n := len(p.Query()); n > PartitionQuery.Max {
			c.Add("Partitioning.FromQuery", n, PartitionQuery.String(), "shorten the expressions, or let the Transform make the keys")
		}
	}
	d := p.WithDefaults()
	within(c, "Partitioning.Retry", d.Retry, DeliveryRetry)
	wholeSeconds(c, "Partitioning.Retry", d.Retry)
	if p.Deaggregation != "" {
		oneOf(c, "Partitioning.Deaggregation", p.Deaggregation, JSONRecords, DelimitedRecords)
	}
	if (p.Deaggregation == DelimitedRecords) != (p.Delimiter != "") {
		c.Add("Partitioning.Delimiter", p.Delimiter, "DelimitedRecords have a delimiter, others have none", "set Deaggregation to DelimitedRecords and Delimiter, or neither")
	}
}

// partitionKeys are those that a prefix uses, with their namespaces.
func partitionKeys(prefix string) map[string]bool {
	used := map[string]bool{}
	for _, part := range strings.Split(prefix, "!{")[1:] {
		if body, _, closed := strings.Cut(part, "}"); closed && (strings.HasPrefix(body, fromQuery+":") || strings.HasPrefix(body, fromLambda+":")) {
			used[body] = true
		}
	}
	return used
}

// StorageClass of objects in S3.
type StorageClass string

// S3's classes for objects that are read less.
const (
	StandardIA              StorageClass = "STANDARD_IA"
	OneZoneIA               StorageClass = "ONEZONE_IA"
	IntelligentTiering      StorageClass = "INTELLIGENT_TIERING"
	GlacierInstantRetrieval StorageClass = "GLACIER_IR"
	Glacier                 StorageClass = "GLACIER"
	DeepArchive             StorageClass = "DEEP_ARCHIVE"
)

// storageClasses are S3's in the order that objects can move in.
var storageClasses = []StorageClass{StandardIA, IntelligentTiering, OneZoneIA, GlacierInstantRetrieval, Glacier, DeepArchive}

// Transition moves objects to another class of storage.
type Transition struct {
	// To is StandardIA, OneZoneIA, IntelligentTiering, GlacierInstantRetrieval,
	// Glacier or DeepArchive.
	To StorageClass
	// After is the objects' age: whole days, 30 at least to StandardIA and OneZoneIA.
	After time.Duration
}

const day = 24 * time.Hour

// Transitions notes what S3 would refuse of them, before an expiration.
func (c *Check) Transitions(field string, transitions []Transition, expiration time.Duration) {
	last, order := time.Duration(0), -1
	for _, t := range transitions {
		oneOf(c, field+".To", t.To, storageClasses...)
		within(c, field+".After", t.After, S3Expiration)
		if t.After%day != 0 {
			c.Add(field+".After", t.After, "S3's lifecycle rules count whole days", "use a multiple of 24 h")
		}
		if (t.To == StandardIA || t.To == OneZoneIA) && t.After < 30*day {
			c.Add(field+".After", t.After, "S3 keeps an object for 30 days before it may move to "+string(t.To), "set it to 720 h or more")
		}
		if n := slices.Index(storageClasses, t.To); n >= 0 && (n <= order || t.After <= last) {
			c.Add(field, string(t.To), "objects move down S3's classes only, each at a later age", "order them by age, from "+string(StandardIA)+" to "+string(DeepArchive))
		} else {
			last, order = t.After, n
		}
		if expiration > 0 && t.After >= expiration {
			c.Add(field+".After", t.After, "objects are deleted at "+plain(expiration), "let them move before, or not at all")
		}
	}
}

// S3Backup are the settings of the source records' backup: what came, before
// anything was done with it.
type S3Backup struct {
	// Prefix of the objects' keys, with Firehose's timestamps; by default
	// "source/!{timestamp:yyyy/MM/dd/HH}/" in UTC.
	Prefix string
	// BufferSize in MiB at which an object is written, 1 to 128; 5 by default.
	BufferSize int
	// BufferInterval after which an object is written, 60 s to 900 s; 300 s by default.
	BufferInterval time.Duration
	// Compression: GZIP (default), Snappy, HadoopSnappy, ZIP or Uncompressed. Records
	// that are decompressed later are gzip already.
	Compression Compression
}

// WithDefaults returns b with its defaults written out.
func (b S3Backup) WithDefaults() S3Backup {
	b.Prefix = orText(b.Prefix, "source/!{timestamp:yyyy/MM/dd/HH}/")
	b.BufferSize = or(b.BufferSize, 5)
	b.BufferInterval = or(b.BufferInterval, 300*time.Second)
	b.Compression = orText(b.Compression, GZIP)
	return b
}

// Validate returns every problem of b as an [*Invalid], with path before each.
func (b S3Backup) Validate(path string) error {
	c, d := At(path), b.WithDefaults()
	within(c, "Backup.BufferSize", d.BufferSize, S3BufferSize)
	within(c, "Backup.BufferInterval", d.BufferInterval, BackupBufferInterval)
	wholeSeconds(c, "Backup.BufferInterval", d.BufferInterval)
	oneOf(c, "Backup.Compression", d.Compression, GZIP, Snappy, HadoopSnappy, ZIP, Uncompressed)
	expressions(c, "Backup.Prefix", d.Prefix)
	if strings.Contains(d.Prefix, "!{firehose:error-output-type}") || len(partitionKeys(d.Prefix)) > 0 {
		c.Add("Backup.Prefix", d.Prefix, "source records have neither errors nor partition keys", "use !{timestamp:…} and !{firehose:random-string}")
	}
	return c.Err()
}

// Apart notes when backups would lie among a delivery's other objects.
func (b S3Backup) Apart(c *Check, s S3Delivery) {
	d, of := b.WithDefaults(), s.WithDefaults()
	for _, one := range [][2]string{{"Prefix", of.Prefix}, {"ErrorPrefix", of.ErrorPrefix}} {
		name, other := one[0], one[1]
		if IsToken(d.Prefix) || IsToken(other) {
			continue
		}
		if own, its := literal(d.Prefix), literal(other); own == "" || its != "" && (strings.HasPrefix(own, its) || strings.HasPrefix(its, own)) {
			c.Add("Backup.Prefix", d.Prefix, "source records would lie among those under "+name+", "+other, "begin it with something else, or set Backup.Bucket")
		}
	}
}

// The forms of S3Delivery's texts, which are those of Firehose's API.
var (
	fileExtension = regexp.MustCompile(`^\.[0-9a-z!\-_.*'()]+$`)
	timeZone      = regexp.MustCompile(`^[a-zA-Z/_]{1,50}$`)
)

// destination checks what S3Delivery has only where records themselves go to S3.
func (s S3Delivery) destination(c *Check, d S3Delivery) {
	if s.TimeZone != "" && !IsToken(s.TimeZone) {
		if _, err := time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "Local" || !timeZone.MatchString(s.TimeZone) {
			c.Add("TimeZone", s.TimeZone, "Firehose takes the time zones of the IANA database whose names are letters, / and _", "use one like Europe/Zurich, or leave it out for UTC")
		}
	}
	if s.FileExtension != "" && !IsToken(s.FileExtension) && (!fileExtension.MatchString(s.FileExtension) || len(s.FileExtension) > FileExtension.Max) {
		c.Add("FileExtension", s.FileExtension, "it begins with a point and has lower-case letters, digits and !-_.*'() after it; "+FileExtension.String(), "use one like .jsonl.gz")
	}
	s.Partitioning.validate(c, d.Prefix)
	c.Transitions("Transitions", s.Transitions, s.Expiration)
	if s.Partitioning.On() {
		within(c, "BufferInterval", d.BufferInterval, PartitionBufferInterval)
	}
	if s.Partitioning.On() || s.Format != nil {
		within(c, "BufferSize", d.BufferSize, PartitionBufferSize)
	}
	if s.Format != nil {
		if d.Compression != Uncompressed {
			c.Add("Compression", string(d.Compression), "with a Format the objects aren't compressed again", "set Compression of the format instead")
		}
		if s.NewLines {
			c.Add("NewLines", true, "a "+s.Format.name()+" file has no lines", "leave it out")
		}
		s.Format.validate(c)
	}
}

// BackupInterval notes an interval that Firehose takes only where records are
// delivered to S3, not where they are kept there beside their destination.
func (s S3Delivery) BackupInterval(c *Check) {
	if d := s.WithDefaults(); d.BufferInterval >= S3BufferInterval.Min && d.BufferInterval < BackupBufferInterval.Min {
		within(c, "BufferInterval", d.BufferInterval, BackupBufferInterval)
	}
}

// DestinationOnly notes what of s Firehose knows only for the destination S3, and
// not where another destination's records fail to.
func (s S3Delivery) DestinationOnly(c *Check) {
	for _, own := range []struct {
		field string
		set   bool
	}{
		{"TimeZone", s.TimeZone != ""},
		{"FileExtension", s.FileExtension != ""},
		{"Partitioning", s.Partitioning.On() || len(partitionKeys(s.Prefix)) > 0},
		{"Format", s.Format != nil},
		{"NewLines", s.NewLines},
	} {
		if own.set {
			c.Add(own.field, "set", "Firehose knows it only for a delivery to S3", "leave it out")
		}
	}
}
