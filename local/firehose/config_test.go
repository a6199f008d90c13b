package firehose

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

// reasons are what New says against a description.
func reasons(t *testing.T, d *Description, o Options) []string {
	t.Helper()
	_, err := New(d, o)
	var refused *Refused
	if err != nil && !errors.As(err, &refused) {
		t.Fatalf("the error is %T: %v", err, err)
	}
	if refused == nil {
		return nil
	}
	return refused.Reasons
}

func TestWhatIsntSupportedIsRefusedByName(t *testing.T) {
	place := &types.S3DestinationDescription{BucketARN: aws.String("arn:aws:s3:::b")}
	extended := func(change func(*types.ExtendedS3DestinationDescription)) *Description { return described(change) }
	withProcessor := func(p ...types.Processor) *Description {
		return extended(func(x *types.ExtendedS3DestinationDescription) { x.ProcessingConfiguration = processing(p...) })
	}
	orcBy := func(change func(*types.OrcSerDe)) *Description {
		return converting(func(x *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			o := &types.OrcSerDe{}
			change(o)
			x.OutputFormatConfiguration.Serializer = &types.Serializer{OrcSerDe: o}
		})
	}
	const orcPath = "ExtendedS3DestinationDescription.DataFormatConversionConfiguration.OutputFormatConfiguration.Serializer.OrcSerDe."
	tests := []struct {
		name string
		d    *Description
		want string // how the only reason begins
	}{
		{"Iceberg", wrapped(types.DestinationDescription{IcebergDestinationDescription: &types.IcebergDestinationDescription{}}), "IcebergDestinationDescription:"},
		{"Snowflake", wrapped(types.DestinationDescription{SnowflakeDestinationDescription: &types.SnowflakeDestinationDescription{}}), "SnowflakeDestinationDescription:"},
		{"no kind", wrapped(types.DestinationDescription{}), "Destinations[0]:"},
		{"no destination", &Description{}, "Destinations:"},
		{"MSK", func() *Description {
			d := described(nil)
			d.DeliveryStreamType = types.DeliveryStreamTypeMSKAsSource
			return d
		}(), "DeliveryStreamType: MSKAsSource"},
		{"Kinesis without its stream", func() *Description {
			d := described(nil)
			d.DeliveryStreamType = types.DeliveryStreamTypeKinesisStreamAsSource
			return d
		}(), "Source.KinesisStreamSourceDescription:"},
		{"two formats", converting(func(x *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			x.OutputFormatConfiguration.Serializer.OrcSerDe = &types.OrcSerDe{}
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration.OutputFormatConfiguration.Serializer:"},
		{"ORC's compression", orcBy(func(o *types.OrcSerDe) { o.Compression = "ZSTD" }), orcPath + "Compression:"},
		{"ORC's version", orcBy(func(o *types.OrcSerDe) { o.FormatVersion = "V2_0" }), orcPath + "FormatVersion:"},
		{"small stripes", orcBy(func(o *types.OrcSerDe) { o.StripeSizeBytes = aws.Int32(8<<20 - 1) }), orcPath + "StripeSizeBytes:"},
		{"a dense index", orcBy(func(o *types.OrcSerDe) { o.RowIndexStride = aws.Int32(999) }), orcPath + "RowIndexStride:"},
		{"a share above one", orcBy(func(o *types.OrcSerDe) { o.DictionaryKeyThreshold = aws.Float64(1.5) }), orcPath + "DictionaryKeyThreshold:"},
		{"no format", converting(func(x *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			x.OutputFormatConfiguration = nil
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration.OutputFormatConfiguration.Serializer:"},
		{"Parquet's compression", converting(func(x *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			x.OutputFormatConfiguration.Serializer.ParquetSerDe.Compression = "ZSTD"
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration.OutputFormatConfiguration.Serializer.ParquetSerDe.Compression:"},
		{"no way to read", converting(func(x *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			x.InputFormatConfiguration = nil
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration.InputFormatConfiguration.Deserializer:"},
		{"a timestamp's format", converting(func(x *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			x.InputFormatConfiguration.Deserializer = &types.Deserializer{HiveJsonSerDe: &types.HiveJsonSerDe{TimestampFormats: []string{"yyyy-ww"}}}
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration.InputFormatConfiguration.Deserializer.HiveJsonSerDe.TimestampFormats:"},
		{"no table to convert to", converting(func(x *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			x.SchemaConfiguration.TableName = nil
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration.SchemaConfiguration:"},
		{"a conversion in small objects", converting(func(_ *types.DataFormatConversionConfiguration, s3 *types.ExtendedS3DestinationDescription) {
			s3.BufferingHints.SizeInMBs = aws.Int32(63)
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration:"},
		{"a conversion compressed again", converting(func(_ *types.DataFormatConversionConfiguration, s3 *types.ExtendedS3DestinationDescription) {
			s3.CompressionFormat = types.CompressionFormatGzip
		}), "ExtendedS3DestinationDescription.DataFormatConversionConfiguration:"},
		{"decompression of another kind", withProcessor(processor(types.ProcessorTypeDecompression, "CompressionFormat", "ZIP")), "ExtendedS3DestinationDescription.ProcessingConfiguration.Decompression.CompressionFormat:"},
		{"log messages that are packed", withProcessor(processor(types.ProcessorTypeCloudWatchLogProcessing, "DataMessageExtraction", "true")), "ExtendedS3DestinationDescription.ProcessingConfiguration.CloudWatchLogProcessing:"},
		{"log messages that aren't extracted", withProcessor(processor(types.ProcessorTypeDecompression, "CompressionFormat", "GZIP"), processor(types.ProcessorTypeCloudWatchLogProcessing, "DataMessageExtraction", "false")), "ExtendedS3DestinationDescription.ProcessingConfiguration.CloudWatchLogProcessing.DataMessageExtraction:"},
		{"a query without partitions", withProcessor(processor(types.ProcessorTypeMetadataExtraction, "JsonParsingEngine", "JQ-1.6", "MetadataExtractionQuery", "{a:.a}")), "ExtendedS3DestinationDescription.ProcessingConfiguration.MetadataExtraction:"},
		{"a wrong query", byQuery("!{partitionKeyFromQuery:c}/", "{c:"), "ExtendedS3DestinationDescription.ProcessingConfiguration.MetadataExtraction.MetadataExtractionQuery:"},
		{"partitions without a key", byQuery("p/", "{c:.c}"), "ExtendedS3DestinationDescription.Prefix:"},
		{"a wrong delimiter", withProcessor(processor(types.ProcessorTypeRecordDeAggregation, "SubRecordType", "DELIMITED", "Delimiter", "%")), "ExtendedS3DestinationDescription.ProcessingConfiguration.RecordDeAggregation.Delimiter:"},
		{"a wrong sub-record type", withProcessor(processor(types.ProcessorTypeRecordDeAggregation)), "ExtendedS3DestinationDescription.ProcessingConfiguration.RecordDeAggregation.SubRecordType:"},
		{"two transforms", withProcessor(lambdaProcessor(), lambdaProcessor()), "ExtendedS3DestinationDescription.ProcessingConfiguration.Lambda:"},
		{"a transform's buffer", withProcessor(lambdaProcessor("BufferSizeInMBs", "3.1")), "ExtendedS3DestinationDescription.ProcessingConfiguration.Lambda.BufferSizeInMBs:"},
		{"a transform's interval", withProcessor(lambdaProcessor("BufferIntervalInSeconds", "901")), "ExtendedS3DestinationDescription.ProcessingConfiguration.Lambda.BufferIntervalInSeconds:"},
		{"a transform's retries", withProcessor(lambdaProcessor("NumberOfRetries", "x")), "ExtendedS3DestinationDescription.ProcessingConfiguration.Lambda.NumberOfRetries:"},
		{"a delimiter for a destination without objects", httpStream(func(x *types.HttpEndpointDestinationDescription) {
			x.ProcessingConfiguration = processing(processor(types.ProcessorTypeAppendDelimiterToRecord))
		}), "HttpEndpointDestinationDescription.ProcessingConfiguration.AppendDelimiterToRecord:"},
		{"a bucket", extended(func(x *types.ExtendedS3DestinationDescription) { x.BucketARN = aws.String("b") }), "ExtendedS3DestinationDescription.BucketARN:"},
		{"a compression", extended(func(x *types.ExtendedS3DestinationDescription) { x.CompressionFormat = "BROTLI" }), "ExtendedS3DestinationDescription.CompressionFormat:"},
		{"a prefix", extended(func(x *types.ExtendedS3DestinationDescription) { x.Prefix = aws.String("!{x:y}") }), "ExtendedS3DestinationDescription.Prefix:"},
		{"an error prefix", extended(func(x *types.ExtendedS3DestinationDescription) { x.ErrorOutputPrefix = aws.String("!{timestamp:yyyy}") }), "ExtendedS3DestinationDescription.ErrorOutputPrefix:"},
		{"a time zone", extended(func(x *types.ExtendedS3DestinationDescription) { x.CustomTimeZone = aws.String("Moon/Base") }), "ExtendedS3DestinationDescription.CustomTimeZone:"},
		{"a zone's long name", extended(func(x *types.ExtendedS3DestinationDescription) {
			x.CustomTimeZone, x.Prefix, x.ErrorOutputPrefix = aws.String("Asia/Tokyo"), aws.String("!{timestamp:zzzz}"), aws.String("!{firehose:error-output-type}")
		}), "ExtendedS3DestinationDescription.Prefix:"},
		{"a backup without a place", extended(func(x *types.ExtendedS3DestinationDescription) { x.S3BackupMode = types.S3BackupModeEnabled }), "ExtendedS3DestinationDescription.S3BackupDescription:"},
		{"an endpoint", wrapped(types.DestinationDescription{HttpEndpointDestinationDescription: &types.HttpEndpointDestinationDescription{S3DestinationDescription: place}}), "HttpEndpointDestinationDescription.EndpointConfiguration.Url:"},
		{"a secret", wrapped(types.DestinationDescription{HttpEndpointDestinationDescription: &types.HttpEndpointDestinationDescription{
			EndpointConfiguration: &types.HttpEndpointDescription{Url: aws.String("https://x")}, S3DestinationDescription: place,
			SecretsManagerConfiguration: &types.SecretsManagerConfiguration{Enabled: aws.Bool(true)},
		}}), "HttpEndpointDestinationDescription.SecretsManagerConfiguration:"},
		{"no place for failures", wrapped(types.DestinationDescription{HttpEndpointDestinationDescription: &types.HttpEndpointDestinationDescription{
			EndpointConfiguration: &types.HttpEndpointDescription{Url: aws.String("https://x")},
		}}), "HttpEndpointDestinationDescription.S3DestinationDescription:"},
		{"Splunk's token", wrapped(types.DestinationDescription{SplunkDestinationDescription: &types.SplunkDestinationDescription{HECEndpoint: aws.String("https://x"), S3DestinationDescription: place}}), "SplunkDestinationDescription.HECToken:"},
		{"an index", wrapped(types.DestinationDescription{AmazonopensearchserviceDestinationDescription: &types.AmazonopensearchserviceDestinationDescription{ClusterEndpoint: aws.String("https://x"), S3DestinationDescription: place}}), "AmazonopensearchserviceDestinationDescription.IndexName:"},
		{"a table", wrapped(types.DestinationDescription{RedshiftDestinationDescription: &types.RedshiftDestinationDescription{S3DestinationDescription: place}}), "RedshiftDestinationDescription.CopyCommand.DataTableName:"},
		{"Redshift's compression", wrapped(types.DestinationDescription{RedshiftDestinationDescription: &types.RedshiftDestinationDescription{
			CopyCommand:              &types.CopyCommand{DataTableName: aws.String("t")},
			S3DestinationDescription: &types.S3DestinationDescription{BucketARN: aws.String("arn:aws:s3:::b"), CompressionFormat: types.CompressionFormatZip},
		}}), "RedshiftDestinationDescription.S3DestinationDescription.CompressionFormat:"},
		{"Redshift's prefix", wrapped(types.DestinationDescription{RedshiftDestinationDescription: &types.RedshiftDestinationDescription{
			CopyCommand:              &types.CopyCommand{DataTableName: aws.String("t")},
			S3DestinationDescription: &types.S3DestinationDescription{BucketARN: aws.String("arn:aws:s3:::b"), Prefix: aws.String("!{timestamp:yyyy}"), ErrorOutputPrefix: nil},
		}}), "RedshiftDestinationDescription.S3DestinationDescription.ErrorOutputPrefix:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := reasons(t, test.d, Options{S3: newS3(), Transform: function(upper), Copy: copies(nil), Glue: tables{}})
			if len(got) == 0 || !strings.HasPrefix(got[0], test.want) {
				t.Fatalf("reasons %q, want one that begins with %q", got, test.want)
			}
			if test.name != "Redshift's prefix" && len(got) > 1 {
				t.Errorf("more reasons than one: %q", got)
			}
		})
	}
}

func TestAllReasonsAtOnce(t *testing.T) {
	got := reasons(t, described(func(x *types.ExtendedS3DestinationDescription) {
		x.BucketARN = nil
		x.BufferingHints.SizeInMBs = aws.Int32(64)
		x.DataFormatConversionConfiguration = &types.DataFormatConversionConfiguration{Enabled: aws.Bool(true)}
		x.ProcessingConfiguration = processing(lambdaProcessor(), processor(types.ProcessorTypeDecompression))
	}), Options{})
	if len(got) != 8 { // the bucket, the conversion's table and both formats, Glue, the function, the processor, S3
		t.Errorf("%d reasons: %q", len(got), got)
	}
}

func TestPlainS3Destination(t *testing.T) {
	d := wrapped(types.DestinationDescription{S3DestinationDescription: &types.S3DestinationDescription{BucketARN: aws.String("arn:aws:s3:::b")}})
	s, err := New(d, Options{S3: newS3()})
	if err != nil {
		t.Fatal(err)
	}
	if s.hints.size != 5<<20 || s.hints.interval.Seconds() != 300 {
		t.Errorf("hints %+v", s.hints)
	}
}

func TestFailuresUseThePrefixOfOtherDestinations(t *testing.T) {
	b := start(t, httpStream(func(x *types.HttpEndpointDestinationDescription) {
		x.BufferingHints.IntervalInSeconds = aws.Int32(0)
		x.RetryOptions.DurationInSeconds = aws.Int32(0)
		x.S3DestinationDescription = &types.S3DestinationDescription{
			BucketARN: aws.String("arn:aws:s3:::b"), Prefix: aws.String("all/!{timestamp:yyyy}/"), BufferingHints: failuresPlace.BufferingHints,
		}
	}), Options{HTTP: &server{answer: func(int, *http.Request, string) (int, string) { return 500, "" }}})
	b.add("a")
	b.after(0)
	if keys := b.s3.keys(); len(keys) != 1 || !strings.HasPrefix(keys[0], "b/all/2026/s-3-") {
		t.Errorf("objects %v", keys)
	}
}

func TestConfigurationOfATableInATemplate(t *testing.T) {
	full, err := WithConfiguration(wrapped(types.DestinationDescription{}), []byte(`{"ExtendedS3DestinationConfiguration": {
		"BucketARN": "arn:aws:s3:::b", "CompressionFormat": "UNCOMPRESSED", "BufferingHints": {"SizeInMBs": 128, "IntervalInSeconds": 300},
		"Prefix": "data/!{partitionKeyFromQuery:car}/", "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
		"DynamicPartitioningConfiguration": {"Enabled": true, "RetryOptions": {"DurationInSeconds": 300}},
		"DataFormatConversionConfiguration": {
			"Enabled": true,
			"SchemaConfiguration": {"DatabaseName": "db", "TableName": "t", "RoleARN": "arn:r", "VersionId": "LATEST"},
			"InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {"ConvertDotsInJsonKeysToUnderscores": true, "ColumnToJsonKeyMappings": {"best": "bestLap"}}}},
			"OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {"Compression": "GZIP", "WriterVersion": "V2", "EnableDictionaryCompression": false, "PageSizeBytes": 131072, "BlockSizeBytes": 67108864}}}
		},
		"ProcessingConfiguration": {"Enabled": true, "Processors": [
			{"Type": "Decompression", "Parameters": [{"ParameterName": "CompressionFormat", "ParameterValue": "GZIP"}]},
			{"Type": "CloudWatchLogProcessing", "Parameters": [{"ParameterName": "DataMessageExtraction", "ParameterValue": "true"}]},
			{"Type": "RecordDeAggregation", "Parameters": [{"ParameterName": "SubRecordType", "ParameterValue": "JSON"}]},
			{"Type": "MetadataExtraction", "Parameters": [{"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{car:.car}"}, {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"}]}
		]}
	}}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(full, Options{S3: newS3(), Glue: tables{}})
	if err != nil {
		t.Fatal(err)
	}
	c := s.conversion
	if file := c.format.(*parquetFile); !s.decompress || !s.messages || !s.partitioned || file.version != 2 || file.page != 128<<10 || !c.serde.dots || c.serde.keys["best"] != "bestLap" ||
		c.table.CatalogID != "123456789012" || s.target.extension != ".parquet" {
		t.Errorf("read %+v", s.config)
	}
}

func TestConfigurationOfATemplate(t *testing.T) {
	d := wrapped(types.DestinationDescription{})
	full, err := WithConfiguration(d, []byte(`{
		"DeliveryStreamType": "KinesisStreamAsSource",
		"KinesisStreamSourceConfiguration": {"KinesisStreamARN": "arn:aws:kinesis:eu-west-1:1:stream/k", "RoleARN": "r"},
		"ExtendedS3DestinationConfiguration": {
			"BucketARN": "arn:aws:s3:::b", "CompressionFormat": "GZIP", "BufferingHints": {"SizeInMBs": 7, "IntervalInSeconds": 8},
			"CustomTimeZone": "Asia/Tokyo", "FileExtension": ".x", "S3BackupMode": "Enabled",
			"S3BackupConfiguration": {"BucketARN": "arn:aws:s3:::backup", "Prefix": "raw/"},
			"ProcessingConfiguration": {"Enabled": true, "Processors": [{"Type": "Lambda", "Parameters": [{"ParameterName": "LambdaArn", "ParameterValue": "arn:f"}]}]}
		}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(full, Options{S3: newS3(), Transform: function(upper)})
	if err != nil {
		t.Fatal(err)
	}
	if s.hints.size != 7<<20 || s.backup == nil || s.backup.bucket != "backup" || s.target.zone.String() != "Asia/Tokyo" || s.target.extension != ".x" ||
		s.transform.arn != "arn:f" || s.kinesisARN != "arn:aws:kinesis:eu-west-1:1:stream/k" || s.name != "s" {
		t.Errorf("read %+v", s.config)
	}
	if d.Source != nil || d.Destinations[0].ExtendedS3DestinationDescription != nil {
		t.Error("the description that was given has changed")
	}

	full, err = WithConfiguration(d, []byte(`{"HttpEndpointDestinationConfiguration": {
		"EndpointConfiguration": {"Url": "https://x", "AccessKey": "k"}, "S3Configuration": {"BucketARN": "arn:aws:s3:::b"}, "RetryOptions": {"DurationInSeconds": 3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(full, Options{S3: newS3()}); err != nil {
		t.Error(err)
	}

	for _, text := range []string{`[]`, `{}`, `{"ExtendedS3DestinationConfiguration":{"Bucket":"b"}}`, `{"ExtendedS3DestinationConfiguration":{"BucketARN":{"Ref":"B"}}}`} {
		if _, err := WithConfiguration(d, []byte(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
