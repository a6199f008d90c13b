package firehose

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// conversion is how records become rows of a file.
type conversion struct {
	table    catalogTable
	serde    serde
	format   format
	encoding string // Content-Encoding that Firehose gives such objects
}

// format is a columnar one, with its settings.
type format interface {
	write(columns []column, rows [][]any) ([]byte, error)
	extension() string
}

// catalogTable is a table in Glue, as error documents name it.
type catalogTable struct {
	CatalogID    string `json:"catalogId"`
	DatabaseName string `json:"databaseName"`
	TableName    string `json:"tableName"`
	Region       string `json:"region"`
	VersionID    string `json:"versionId"`
	RoleARN      string `json:"roleArn"`
}

// latest is the version of a table that is read where none is named.
const latest = "LATEST"

// convert reads the conversion of a destination S3.
func (r *reader) convert(path string, x *types.ExtendedS3DestinationDescription) {
	c := x.DataFormatConversionConfiguration
	path += ".DataFormatConversionConfiguration"
	if x.CompressionFormat != "" && x.CompressionFormat != types.CompressionFormatUncompressed {
		r.refuse("%s: CompressionFormat is %s; with a conversion it is UNCOMPRESSED", path, x.CompressionFormat)
	}
	if r.target.hints.size < 64<<20 {
		r.refuse("%s: BufferingHints.SizeInMBs is below 64", path)
	}
	v := &conversion{}
	r.conversion = v
	if s := c.SchemaConfiguration; s == nil || aws.ToString(s.DatabaseName) == "" || aws.ToString(s.TableName) == "" {
		r.refuse("%s.SchemaConfiguration: it needs a database and a table", path)
	} else {
		v.table = catalogTable{
			CatalogID: aws.ToString(s.CatalogId), DatabaseName: *s.DatabaseName, TableName: *s.TableName,
			Region: aws.ToString(s.Region), VersionID: aws.ToString(s.VersionId), RoleARN: aws.ToString(s.RoleARN),
		}
		if v.table.VersionID == "" {
			v.table.VersionID = latest
		}
		if v.table.Region == "" {
			v.table.Region = r.region
		}
		if fields := strings.Split(r.arn, ":"); v.table.CatalogID == "" && len(fields) > 4 {
			v.table.CatalogID = fields[4]
		}
	}
	switch d := deserializerOf(c); {
	case d != nil && d.OpenXJsonSerDe != nil && d.HiveJsonSerDe == nil:
		x := d.OpenXJsonSerDe
		v.serde = serde{
			caseSensitive: x.CaseInsensitive != nil && !*x.CaseInsensitive,
			dots:          aws.ToBool(x.ConvertDotsInJsonKeysToUnderscores), keys: x.ColumnToJsonKeyMappings,
		}
	case d != nil && d.HiveJsonSerDe != nil && d.OpenXJsonSerDe == nil:
		v.serde.hive = true
		for _, pattern := range d.HiveJsonSerDe.TimestampFormats {
			layout, err := jodaLayout(pattern)
			if err != nil {
				r.refuse("%s.InputFormatConfiguration.Deserializer.HiveJsonSerDe.TimestampFormats: %q: %v", path, pattern, err)
			}
			v.serde.layouts = append(v.serde.layouts, layout)
		}
	default:
		r.refuse("%s.InputFormatConfiguration.Deserializer: it is one of OpenXJsonSerDe and HiveJsonSerDe", path)
	}
	switch s := serializerOf(c); {
	case s != nil && s.ParquetSerDe != nil && s.OrcSerDe == nil:
		v.format, v.encoding = r.parquet(path+".OutputFormatConfiguration.Serializer.ParquetSerDe", s.ParquetSerDe)
	case s != nil && s.OrcSerDe != nil && s.ParquetSerDe == nil:
		v.format = r.orc(path+".OutputFormatConfiguration.Serializer.OrcSerDe", s.OrcSerDe)
	default:
		r.refuse("%s.OutputFormatConfiguration.Serializer: it is one of ParquetSerDe and OrcSerDe", path)
	}
	if r.o.Glue == nil {
		r.refuse("Options.Glue: %s needs the columns of %s.%s", path, v.table.DatabaseName, v.table.TableName)
	}
	if aws.ToString(x.FileExtension) == "" && v.format != nil {
		r.target.extension = v.format.extension()
	}
}

func deserializerOf(c *types.DataFormatConversionConfiguration) *types.Deserializer {
	if c.InputFormatConfiguration == nil {
		return nil
	}
	return c.InputFormatConfiguration.Deserializer
}

func serializerOf(c *types.DataFormatConversionConfiguration) *types.Serializer {
	if c.OutputFormatConfiguration == nil {
		return nil
	}
	return c.OutputFormatConfiguration.Serializer
}

// columns are the table's as they are now. A *malformed is final; other errors may
// go away.
func (s *Stream) columns(ctx context.Context) ([]column, error) {
	t := &s.conversion.table
	found, err := s.glue.Columns(ctx, Table{CatalogID: t.CatalogID, Database: t.DatabaseName, Name: t.TableName, Version: t.VersionID})
	switch {
	case errors.Is(err, ErrNoTable):
		return nil, &malformed{codeNoTable, messageNoTable}
	case err != nil:
		return nil, fmt.Errorf("glue: %s.%s: %w", t.DatabaseName, t.TableName, err)
	case len(found) == 0:
		return nil, &malformed{codeSchema, fmt.Sprintf("The table %s.%s has no columns.", t.DatabaseName, t.TableName)}
	}
	columns := make([]column, len(found))
	for i, c := range found {
		kind, err := hive.Parse(c.Type)
		if err == nil {
			err = readable(&kind)
		}
		if err != nil {
			return nil, &malformed{codeSchema, fmt.Sprintf("The column %s is a %s: %v.", c.Name, c.Type, err)}
		}
		key := c.Name
		if mapped, found := s.conversion.serde.keys[key]; found {
			key = mapped
		}
		columns[i] = column{name: c.Name, key: key, kind: kind}
	}
	return columns, nil
}

// readable tells which types JSON has no values for.
func readable(t *hive.Type) error {
	if t.Kind == hive.Binary {
		return errors.New("what Firehose makes of JSON for binary isn't documented")
	}
	for _, inner := range []*hive.Type{t.Key, t.Elem} {
		if inner != nil {
			if err := readable(inner); err != nil {
				return err
			}
		}
	}
	for i := range t.Fields {
		if err := readable(&t.Fields[i].Type); err != nil {
			return err
		}
	}
	return nil
}

// converted is a buffer as a file: the file of the rows, nil without any, and what
// couldn't become one.
type converted struct {
	body   []byte
	failed map[int]*malformed // by entry
	ended  time.Time
}

// convert makes a file of a buffer's records. Each fails by itself; if the table
// can't be read for good, all do.
func (s *Stream) convert(ctx context.Context, b *buffer) (*converted, error) {
	v := s.conversion
	c := &converted{failed: map[int]*malformed{}}
	defer func() { c.ended = s.clock.Now() }()
	columns, err := s.columns(ctx)
	var final *malformed
	if errors.As(err, &final) {
		for i := range b.entries {
			c.failed[i] = final
		}
		return c, nil
	} else if err != nil {
		return nil, err
	}
	var rows [][]any
	for i := range b.entries {
		found, err := v.serde.rows(columns, b.entries[i].data)
		if errors.As(err, &final) {
			c.failed[i] = final
			continue
		}
		rows = append(rows, found...)
	}
	if len(rows) > 0 {
		c.body, err = v.format.write(columns, rows)
	}
	return c, err
}

// rows are a record's: one for each object in it.
func (s *serde) rows(columns []column, data []byte) ([][]any, error) {
	objects, err := s.documents(data)
	if err != nil {
		return nil, err
	}
	var rows [][]any
	for _, object := range objects {
		row, err := s.values(columns, object)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}
