package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// Format is a columnar format that Firehose converts JSON records to: [Parquet] or
// [ORC].
type Format interface {
	name() string
	defaults() Format
	validate(c *Check)
	// bloom are columns that the format itself names.
	bloom() []string
}

// ParquetCompression of a Parquet file's pages.
type ParquetCompression string

// What Firehose compresses Parquet files with.
const (
	ParquetSnappy       ParquetCompression = "SNAPPY"
	ParquetGZIP         ParquetCompression = "GZIP"
	ParquetUncompressed ParquetCompression = "UNCOMPRESSED"
)

// ParquetVersion is the version of a Parquet file's pages.
type ParquetVersion string

// The versions of Parquet's pages.
const (
	ParquetV1 ParquetVersion = "V1"
	ParquetV2 ParquetVersion = "V2"
)

// Parquet are the settings of Apache Parquet files.
type Parquet struct {
	// Compression: ParquetSnappy (default), ParquetGZIP or ParquetUncompressed.
	Compression ParquetCompression
	// Version of the pages: ParquetV1 (default) or ParquetV2.
	Version ParquetVersion
	// Dictionary writes values that repeat themselves once.
	Dictionary bool
	// PageSize in KiB, 64 or more; 1,024 by default.
	PageSize int
	// BlockSize in MiB, of Hadoop's file system, 64 or more; 256 by default.
	BlockSize int
}

var _ Format = Parquet{}

func (Parquet) name() string { return "Parquet" }

func (Parquet) bloom() []string { return nil }

// WithDefaults returns p with its defaults written out.
func (p Parquet) WithDefaults() Parquet {
	p.Compression = orText(p.Compression, ParquetSnappy)
	p.Version = orText(p.Version, ParquetV1)
	p.PageSize = or(p.PageSize, 1_024)
	p.BlockSize = or(p.BlockSize, 256)
	return p
}

func (p Parquet) defaults() Format { return p.WithDefaults() }

func (p Parquet) validate(c *Check) {
	d := p.WithDefaults()
	oneOf(c, "Format.Compression", d.Compression, ParquetSnappy, ParquetGZIP, ParquetUncompressed)
	oneOf(c, "Format.Version", d.Version, ParquetV1, ParquetV2)
	within(c, "Format.PageSize", d.PageSize, ParquetPageSize)
	within(c, "Format.BlockSize", d.BlockSize, ParquetBlockSize)
}

// ORCCompression of an ORC file's streams.
type ORCCompression string

// What Firehose compresses ORC files with.
const (
	ORCSnappy       ORCCompression = "SNAPPY"
	ORCZLIB         ORCCompression = "ZLIB"
	ORCUncompressed ORCCompression = "NONE"
)

// ORC are the settings of Apache ORC files.
type ORC struct {
	// Compression: ORCSnappy (default), ORCZLIB or ORCUncompressed.
	Compression ORCCompression
	// StripeSize in MiB, 8 or more; 64 by default.
	StripeSize int
	// RowIndexStride is how many rows have an entry in an index, 1,000 or more;
	// 10,000 by default.
	RowIndexStride int
	// BloomFilterColumns are those that have a bloom filter; none by default.
	BloomFilterColumns []string
	// BloomFilterFalsePositiveProbability of such filters, 0 to 1; 0.05 by default,
	// Zero for 0.
	BloomFilterFalsePositiveProbability float64
	// DictionaryKeyThreshold is the share of distinct values up to which a column is
	// written with a dictionary, 0 to 1; 0 by default.
	DictionaryKeyThreshold float64
}

var _ Format = ORC{}

func (ORC) name() string { return "ORC" }

func (o ORC) bloom() []string { return o.BloomFilterColumns }

// WithDefaults returns o with its defaults written out.
func (o ORC) WithDefaults() ORC {
	o.Compression = orText(o.Compression, ORCSnappy)
	o.StripeSize = or(o.StripeSize, 64)
	o.RowIndexStride = or(o.RowIndexStride, 10_000)
	o.BloomFilterFalsePositiveProbability = or(o.BloomFilterFalsePositiveProbability, 0.05)
	o.DictionaryKeyThreshold = or(o.DictionaryKeyThreshold, 0)
	return o
}

func (o ORC) defaults() Format { return o.WithDefaults() }

func (o ORC) validate(c *Check) {
	d := o.WithDefaults()
	oneOf(c, "Format.Compression", d.Compression, ORCSnappy, ORCZLIB, ORCUncompressed)
	within(c, "Format.StripeSize", d.StripeSize, ORCStripeSize)
	within(c, "Format.RowIndexStride", d.RowIndexStride, ORCRowIndexStride)
	within(c, "Format.BloomFilterFalsePositiveProbability", d.BloomFilterFalsePositiveProbability, ORCBloomFilterFalse)
	within(c, "Format.DictionaryKeyThreshold", d.DictionaryKeyThreshold, ORCDictionaryThreshold)
}

// Column of a table in the AWS Glue Data Catalog.
type Column struct {
	// Name in lower case, of letters, digits and underscores.
	Name string
	// Type in Hive's words: boolean, tinyint, smallint, int, bigint, float, double,
	// decimal(10,2), string, char(3), varchar(9), binary, date, timestamp, array<…>,
	// map<string,…>, struct<name:…>.
	Type string
	// Comment for who reads the table; none by default.
	Comment string
	// Key is what the column is called in the JSON, if that isn't Name.
	Key string
}

// Deserializer is how Firehose reads the JSON of records. The zero value is its
// OpenX JSON SerDe, which makes lower-case letters of the JSON's keys and takes
// timestamps like 2026-03-04T05:06:07.8Z, 2026-03-04 05:06:07.8, and seconds or
// milliseconds since 1970.
type Deserializer struct {
	// DotsToUnderscores makes a_b of the key a.b.
	DotsToUnderscores bool
	// TimestampFormats are patterns of Joda-Time's DateTimeFormat, or "millis", for
	// other timestamps. With them Firehose uses its Hive JSON SerDe, which doesn't
	// rename keys.
	TimestampFormats []string
}

// Schema is which columns records have.
type Schema struct {
	// Row is a Go struct, whose fields are the columns: each has the name that
	// encoding/json gives it, in lower case, and a type after its own. The tag
	// `glue:"name,type"` names either, `glue:"-"` leaves a field out.
	Row any
	// Columns, if there is no Row.
	Columns []Column
	// Deserializer reads the records.
	Deserializer Deserializer
}

// Of are the schema's columns; those of Row that can't be one are left out.
func (s Schema) Of() []Column { return s.columns(At("")) }

func (s Schema) columns(c *Check) []Column {
	if s.Row == nil {
		return s.Columns
	}
	return columnsOf(c, s.Row)
}

// Keys are the JSON's keys of the columns that aren't called so.
func (s Schema) Keys() map[string]string {
	keys := map[string]string{}
	for _, column := range s.Of() {
		if column.Key != "" && strings.ToLower(column.Key) != column.Name {
			keys[column.Name] = column.Key
		}
	}
	return keys
}

// Validate returns every problem of s, for a delivery in a format, as an
// [*Invalid], with path before each.
func (s Schema) Validate(path string, format Format) error {
	c := At(path)
	columns, field := s.columns(c), "Schema.Columns"
	if s.Row != nil {
		field = "Schema.Row"
	}
	switch {
	case s.Row != nil && len(s.Columns) > 0:
		c.Add("Schema.Columns", "set, and so is Row", "one of them says what the columns are", "leave one out")
	case len(columns) == 0 && c.Err() == nil:
		c.Add("Schema", "without columns", "Firehose needs the columns that a record's keys are written to", "set Row to a Go struct, or Columns, or Existing to a table in Glue")
	}
	seen := map[string]bool{}
	for _, column := range columns {
		at := field + "." + column.Name
		if !hive.Name.MatchString(column.Name) {
			c.Add(at, column.Name, "Athena and Glue take lower-case letters, digits and underscores, 255 at most", "rename the column; Key, or a field's JSON name, may differ from it")
		}
		if seen[column.Name] {
			c.Add(at, column.Name, "each column is there once", "rename one")
		}
		seen[column.Name] = true
		if _, err := hive.Parse(column.Type); err != nil {
			c.Add(at, column.Type, "it has to be a type of Hive: "+err.Error(), "use one like bigint, double, string, timestamp, decimal(10,2) or array<string>")
		}
		within(c, at+".Comment", len([]rune(column.Comment)), SchemaColumnComment)
	}
	s.Deserializer.validate(c, s.Keys())
	if format != nil && len(columns) > 0 {
		for _, name := range format.bloom() {
			if !seen[name] {
				c.Add("Format.BloomFilterColumns", name, "there is no such column", "use one of "+fmt.Sprint(slices.Sorted(maps.Keys(seen))))
			}
		}
	}
	return c.Err()
}

// Rules for what names a table in the AWS Glue Data Catalog.
var (
	GlueName    = Pattern{regexp.MustCompile(`^\S{1,255}$`), "a name in Glue has 1 to 255 characters, and Firehose takes no space"}
	GlueCatalog = Pattern{regexp.MustCompile(`^\d{12}$`), "a catalog is an account's, by its 12 digits"}
	GlueVersion = Pattern{regexp.MustCompile(`^(\d+|LATEST)$`), "a table's version is a number, or LATEST"}
)

func (d Deserializer) validate(c *Check, keys map[string]string) {
	if len(d.TimestampFormats) == 0 {
		return
	}
	if d.DotsToUnderscores {
		c.Add("Schema.Deserializer.DotsToUnderscores", true, "with TimestampFormats Firehose reads records with its Hive JSON SerDe, which can't rename keys", "leave one of them out")
	}
	for _, column := range slices.Sorted(maps.Keys(keys)) {
		c.Add("Schema.Columns."+column, keys[column], "with TimestampFormats Firehose reads records with its Hive JSON SerDe, which can't rename keys", "name the column as the JSON does, or leave TimestampFormats out")
	}
	if slices.Contains(d.TimestampFormats, "") {
		c.Add("Schema.Deserializer.TimestampFormats", "", "an empty pattern reads nothing", "remove it, or use one like yyyy-MM-dd'T'HH:mm:ssZ")
	}
}
