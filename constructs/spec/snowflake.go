package spec

import (
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// SnowflakeLoading is how a record, a JSON object, becomes a row of Snowflake's.
type SnowflakeLoading string

const (
	// JSONMapping puts each field into the column of its name, which is case
	// sensitive.
	JSONMapping SnowflakeLoading = "JSON_MAPPING"
	// VariantContent puts the whole record into one column of the type VARIANT.
	VariantContent SnowflakeLoading = "VARIANT_CONTENT_MAPPING"
	// VariantContentAndMetadata adds a column with where the record comes from:
	// firehoseDeliveryStreamName and IngestionTime of one that was put;
	// kinesisStreamName, kinesisShardId, kinesisPartitionKey, kinesisSequenceNumber,
	// subsequenceNumber and IngestionTime of one from a stream.
	VariantContentAndMetadata SnowflakeLoading = "VARIANT_CONTENT_AND_METADATA_MAPPING"
)

// SnowflakeDelivery are the settings of a Firehose delivery to a table of
// Snowflake's, by Snowpipe Streaming. The table has to exist.
type SnowflakeDelivery struct {
	// AccountURL such as "https://xy12345.eu-west-1.snowflakecomputing.com"; scheme
	// and port may be left out. 24 to 2,048 characters.
	AccountURL string
	// Database, Schema and Table, each 1 to 255 characters.
	Database, Schema, Table string
	// Loading: JSONMapping (default), VariantContent or VariantContentAndMetadata.
	Loading SnowflakeLoading
	// ContentColumn of the two Variant loadings, MetadataColumn of
	// VariantContentAndMetadata; required there, refused elsewhere. 1 to 255
	// characters.
	ContentColumn, MetadataColumn string
	// Role in Snowflake that inserts, 1 to 255 characters; by default the user's own
	// default role, which it then has to have.
	Role string
	// PrivateLink is Snowflake's VPC endpoint service, as its function
	// SYSTEM$GET_PRIVATELINK_CONFIG shows it in privatelink-vpce-id, such as
	// "com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0"; none by default: over
	// the internet. Snowflake's network rules have to admit Firehose's own endpoints, which
	// its documentation lists by region. AWS can't change it later: it replaces the
	// delivery stream.
	PrivateLink string
	// BufferSize in MiB at which rows are inserted, 1 to 128; 128 by default.
	BufferSize int
	// BufferInterval after which rows are inserted, 0 s (default) to 900 s.
	BufferInterval time.Duration
	// Retry is how long rows are inserted again that Snowflake didn't take, 0 s to
	// 7,200 s; 60 s by default, Zero for never. After that they are written to S3.
	Retry time.Duration
	// BackupAll writes every record to S3 as it came, beside those that failed; by
	// default only those.
	BackupAll bool
}

// WithDefaults returns s with its defaults written out.
func (s SnowflakeDelivery) WithDefaults() SnowflakeDelivery {
	s.Loading = orText(s.Loading, JSONMapping)
	s.BufferSize = or(s.BufferSize, 128)
	s.BufferInterval = or(s.BufferInterval, 0)
	s.Retry = or(s.Retry, 60*time.Second)
	return s
}

// Validate returns every problem of s as an [*Invalid], with path before each.
func (s SnowflakeDelivery) Validate(path string) error {
	c, d := At(path), s.WithDefaults()
	switch {
	case d.AccountURL == "":
		c.Add("AccountURL", nil, "there is nowhere to deliver to", "give it like https://xy12345.eu-west-1.snowflakecomputing.com")
	case !IsToken(d.AccountURL) && len(d.AccountURL) > SnowflakeAccount.Max:
		c.Add("AccountURL", d.AccountURL, SnowflakeAccount.String(), "shorten it")
	default:
		c.Pattern("AccountURL", d.AccountURL, SnowflakeURL)
	}
	for _, part := range []struct{ field, name string }{{"Database", d.Database}, {"Schema", d.Schema}, {"Table", d.Table}} {
		if strings.TrimSpace(part.name) == "" {
			c.Add(part.field, nil, "rows go to a table of a schema of a database", "name it")
			continue
		}
		snowflakeName(c, part.field, part.name)
	}
	snowflakeName(c, "Role", d.Role)
	oneOf(c, "Loading", d.Loading, JSONMapping, VariantContent, VariantContentAndMetadata)
	for _, column := range []struct {
		field, name string
		wanted      bool
		of          string
	}{
		{"ContentColumn", d.ContentColumn, d.Loading == VariantContent || d.Loading == VariantContentAndMetadata, "VariantContent or VariantContentAndMetadata"},
		{"MetadataColumn", d.MetadataColumn, d.Loading == VariantContentAndMetadata, "VariantContentAndMetadata"},
	} {
		switch {
		case column.wanted && column.name == "":
			c.Add(column.field, nil, "Loading puts something into it", "name a column of the type VARIANT")
		case !column.wanted && column.name != "":
			c.Add(column.field, column.name, "Loading puts nothing into it", "leave it out, or set Loading to "+column.of)
		default:
			snowflakeName(c, column.field, column.name)
		}
	}
	if d.PrivateLink != "" {
		c.Pattern("PrivateLink", d.PrivateLink, SnowflakeEndpoint)
	}
	buffered(c, d.BufferSize, SnowflakeBufferSize, d.BufferInterval, SnowflakeBufferInterval, d.Retry)
	return c.Err()
}

func snowflakeName(c *Check, field, name string) {
	if !IsToken(name) && utf8.RuneCountInString(name) > SnowflakeName.Max {
		c.Add(field, name, SnowflakeName.String(), "shorten it")
	}
}

// Firehose's rules for where Snowflake is.
var (
	SnowflakeURL = Pattern{
		regexp.MustCompile(`^(https://)?[a-zA-Z0-9][a-zA-Z0-9_.-]*\.snowflakecomputing\.com(:[0-9]{1,5})?$`),
		"an account's URL is [https://]<account>.snowflakecomputing.com, without path and credentials",
	}
	SnowflakeEndpoint = Pattern{
		regexp.MustCompile(`^([a-zA-Z0-9_-]+\.){2,3}vpce\.[a-zA-Z0-9-]*\.vpce-svc-[a-zA-Z0-9-]{17}$`),
		"an endpoint service is com.amazonaws.vpce.<region>.vpce-svc-<17 digits>",
	}
)
