package spec

import (
	"regexp"
	"strings"
	"time"
)

// IndexRotation is how often a delivery to OpenSearch begins another index, which
// can then be deleted as a whole when its time is over.
type IndexRotation string

// The periods that Firehose knows, and the index of a record that arrived at
// 13:00 UTC on the 25th of February 2016, with the name races.
const (
	NoRotation IndexRotation = "NoRotation" // races
	OneHour    IndexRotation = "OneHour"    // races-2016-02-25-13
	OneDay     IndexRotation = "OneDay"     // races-2016-02-25
	OneWeek    IndexRotation = "OneWeek"    // races-2016-w09, by the weeks of the USA
	OneMonth   IndexRotation = "OneMonth"   // races-2016-02
)

// DocumentID says who names the documents in an index.
type DocumentID string

const (
	// FirehoseDefault is an id that Firehose makes of the record: a record that is
	// sent again overwrites itself.
	FirehoseDefault DocumentID = "FIREHOSE_DEFAULT"
	// NoDocumentID leaves the id to OpenSearch, which then writes faster; a record
	// that is sent again is there twice.
	NoDocumentID DocumentID = "NO_DOCUMENT_ID"
)

// OpenSearchDelivery are the settings of a Firehose delivery to a domain of
// OpenSearch Service. Each record is one document: a JSON object in UTF-8, and no
// field of it may be called _id.
type OpenSearchDelivery struct {
	// Index that documents go to, 1 to 80 characters: lower case, none of
	// \ / * ? " < > | , # : and no space, not beginning with _ - or +. With a
	// Rotation the period is appended.
	Index string
	// Rotation: OneDay (default), OneHour, OneWeek, OneMonth or NoRotation.
	Rotation IndexRotation
	// DocumentID: FirehoseDefault (default) or NoDocumentID.
	DocumentID DocumentID
	// BufferSize in MiB at which documents are sent, 1 to 100; 5 by default. Small
	// instances take requests of 10 MiB only.
	BufferSize int
	// BufferInterval after which documents are sent, 0 s to 900 s; 300 s by
	// default, Zero for none.
	BufferInterval time.Duration
	// Retry is how long a document that was refused is sent again, 0 s to 7,200 s;
	// 300 s by default, Zero for never. After that it is written to S3.
	Retry time.Duration
	// BackupAll writes every record to S3 as it came, beside the documents that
	// failed; by default only those. AWS can't change it later: it replaces the
	// delivery stream.
	BackupAll bool
}

// WithDefaults returns o with its defaults written out.
func (o OpenSearchDelivery) WithDefaults() OpenSearchDelivery {
	o.Rotation = orText(o.Rotation, OneDay)
	o.DocumentID = orText(o.DocumentID, FirehoseDefault)
	o.BufferSize = or(o.BufferSize, 5)
	o.BufferInterval = or(o.BufferInterval, 300*time.Second)
	o.Retry = or(o.Retry, 300*time.Second)
	return o
}

// Validate returns every problem of o as an [*Invalid], with path before each.
func (o OpenSearchDelivery) Validate(path string) error {
	c, d := At(path), o.WithDefaults()
	indexName(c, d.Index)
	oneOf(c, "Rotation", d.Rotation, OneDay, OneHour, OneWeek, OneMonth, NoRotation)
	oneOf(c, "DocumentID", d.DocumentID, FirehoseDefault, NoDocumentID)
	buffered(c, d.BufferSize, OpenSearchBufferSize, d.BufferInterval, OpenSearchBufferInterval, d.Retry)
	return c.Err()
}

// OpenSearchServerlessDelivery are the settings of a Firehose delivery to a
// collection of OpenSearch Serverless. Each record is one document: a JSON object
// in UTF-8. OpenSearch makes up the documents' ids: a record that is sent again is
// there twice.
type OpenSearchServerlessDelivery struct {
	// Index that documents go to, as that of [OpenSearchDelivery]; it isn't rotated.
	Index string
	// BufferSize in MiB at which documents are sent, 1 to 100; 5 by default.
	BufferSize int
	// BufferInterval after which documents are sent, 0 s to 900 s; 300 s by
	// default, Zero for none.
	BufferInterval time.Duration
	// Retry is how long a document that was refused is sent again, 0 s to 7,200 s;
	// 300 s by default, Zero for never. After that it is written to S3.
	Retry time.Duration
	// BackupAll writes every record to S3 as it came, beside the documents that
	// failed; by default only those. AWS can't change it later: it replaces the
	// delivery stream.
	BackupAll bool
}

// WithDefaults returns o with its defaults written out.
func (o OpenSearchServerlessDelivery) WithDefaults() OpenSearchServerlessDelivery {
	o.BufferSize = or(o.BufferSize, 5)
	o.BufferInterval = or(o.BufferInterval, 300*time.Second)
	o.Retry = or(o.Retry, 300*time.Second)
	return o
}

// Validate returns every problem of o as an [*Invalid], with path before each.
func (o OpenSearchServerlessDelivery) Validate(path string) error {
	c, d := At(path), o.WithDefaults()
	indexName(c, d.Index)
	buffered(c, d.BufferSize, OpenSearchBufferSize, d.BufferInterval, OpenSearchBufferInterval, d.Retry)
	return c.Err()
}

// CollectionName is OpenSearch Serverless's rule for names of collections.
var CollectionName = Pattern{regexp.MustCompile(`^[a-z][a-z0-9-]{2,31}$`), "a collection's name is 3 to 32 lower-case letters, digits and hyphens, and begins with a letter"}

// indexName notes a problem when OpenSearch would refuse an index's name, with
// every record in it.
func indexName(c *Check, name string) {
	const fix = "name it like race-telemetry"
	switch {
	case name == "":
		c.Add("Index", nil, "documents go to an index", fix)
	case IsToken(name):
	case len(name) > OpenSearchIndex.Max:
		c.Add("Index", name, OpenSearchIndex.String(), "shorten it")
	case name != strings.ToLower(name):
		c.Add("Index", name, "OpenSearch takes names in lower case only", "write it in lower case")
	case strings.ContainsAny(name, `\/*?"<>|,#: `):
		c.Add("Index", name, `OpenSearch refuses \ / * ? " < > | , # : and spaces in names`, fix)
	case strings.IndexAny(name, "_-+") == 0, name == ".", name == "..":
		c.Add("Index", name, "OpenSearch refuses names that begin with _, - or +, and . and ..", fix)
	}
}

// buffered checks what every destination with an API of its own has: a buffer, and
// a time for another try.
func buffered(c *Check, size int, sizes Limit[int], interval time.Duration, intervals Limit[time.Duration], retry time.Duration) {
	within(c, "BufferSize", size, sizes)
	within(c, "BufferInterval", interval, intervals)
	wholeSeconds(c, "BufferInterval", interval)
	within(c, "Retry", retry, DeliveryRetry)
	wholeSeconds(c, "Retry", retry)
}
