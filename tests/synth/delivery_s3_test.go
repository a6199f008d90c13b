package synth

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsglue"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchservice"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

// lap is a record as its producer has it.
type lap struct {
	Car     int32         `json:"car"`
	Driver  string        `json:"driver"`
	At      time.Time     `json:"at"`
	Sectors []float64     `json:"sectors"`
	Best    time.Duration `json:"bestLap" glue:"best"`
}

func init() {
	encrypted := func(stack awscdk.Stack) (awskms.IKey, *stream.Stream) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		return key, stream.New(stack, "Laps", stream.Props{Key: key})
	}
	fullest["delivery-s3-partitions"] = func(stack awscdk.Stack) {
		key, laps := encrypted(stack)
		logs := logsBucket(stack)
		backups := delivery.New(stack, "Other", delivery.Props{Source: laps, To: delivery.S3{Key: key, AccessLogs: logs}, LogKey: key}).Bucket()
		delivery.New(stack, "Archive", delivery.Props{
			Source: laps, LogKey: key, CloudWatchLogs: &delivery.CloudWatchLogs{MessagesOnly: true},
			Transform: &delivery.Transform{Code: gofunc.Package(someCode)},
			To: delivery.S3{
				S3Delivery: spec.S3Delivery{
					Prefix: "laps/car=!{partitionKeyFromQuery:car}/team=!{partitionKeyFromLambda:team}/", TimeZone: "Europe/Zurich",
					FileExtension: ".jsonl.gz", BufferSize: 64, BufferInterval: time.Minute, NewLines: true,
					Partitioning: spec.Partitioning{
						FromQuery: map[string]string{"car": ".car"}, FromLambda: []string{"team"},
						Retry: 10 * time.Minute, Deaggregation: spec.DelimitedRecords, Delimiter: "\n",
					},
					Transitions: []spec.Transition{{To: spec.StandardIA, After: 30 * 24 * time.Hour}, {To: spec.DeepArchive, After: 90 * 24 * time.Hour}},
					Expiration:  365 * 24 * time.Hour,
				},
				Key: key, AccessLogs: logs,
				Backup: &delivery.Backup{Bucket: backups, S3Backup: spec.S3Backup{Prefix: "laps/", BufferSize: 10, BufferInterval: 2 * time.Minute, Compression: spec.ZIP}},
			},
		})
	}
	fullest["delivery-s3-parquet"] = func(stack awscdk.Stack) {
		key, laps := encrypted(stack)
		delivery.New(stack, "Table", delivery.Props{Source: laps, LogKey: key, To: delivery.S3{
			S3Delivery: spec.S3Delivery{Format: spec.Parquet{Compression: spec.ParquetGZIP, Version: spec.ParquetV2, Dictionary: true, PageSize: 128, BlockSize: 64}},
			Schema:     delivery.Schema{Schema: spec.Schema{Row: lap{}, Deserializer: spec.Deserializer{DotsToUnderscores: true}}, Table: "laps"},
			Key:        key, AccessLogs: logsBucket(stack), Backup: &delivery.Backup{},
		}})
	}
	fullest["delivery-s3-orc"] = func(stack awscdk.Stack) {
		key, laps := encrypted(stack)
		account := stack.Account()
		database := awsglue.NewCfnDatabase(stack, jsii.String("Race"), &awsglue.CfnDatabaseProps{CatalogId: account, DatabaseInput: &awsglue.CfnDatabase_DatabaseInputProperty{}})
		delivery.New(stack, "Table", delivery.Props{Source: laps, LogKey: key, To: delivery.S3{
			S3Delivery: spec.S3Delivery{
				Prefix: "race/laps/!{partitionKeyFromQuery:car}/", Partitioning: spec.Partitioning{FromQuery: map[string]string{"car": ".car"}, Deaggregation: spec.JSONRecords},
				Format: spec.ORC{Compression: spec.ORCZLIB, StripeSize: 8, RowIndexStride: 1_000, BloomFilterColumns: []string{"driver"}, BloomFilterFalsePositiveProbability: 0.01, DictionaryKeyThreshold: 0.5},
			},
			Schema: delivery.Schema{
				Schema:   spec.Schema{Columns: []spec.Column{{Name: "driver", Type: "varchar(40)", Comment: "By their licence."}, {Name: "at", Type: "timestamp"}}, Deserializer: spec.Deserializer{TimestampFormats: []string{"yyyy-MM-dd'T'HH:mm:ssZ"}}},
				Database: database,
			},
			Key: key, AccessLogs: logsBucket(stack),
		}})
	}
}

// toS3 is the destination of the delivery of a stack.
func toS3(t *testing.T, template *snapshot.Template, id string) any {
	t.Helper()
	for name, d := range template.OfType("AWS::KinesisFirehose::DeliveryStream") {
		if strings.HasPrefix(name, id) {
			return d.Properties["ExtendedS3DestinationConfiguration"]
		}
	}
	t.Fatalf("there is no %s", id)
	return nil
}

func TestPartitionsAreMadeOfJqAndALambda(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-s3-partitions"](stack)
	s3 := toS3(t, synth(t, app, "Test"), "Archive")
	if at(s3, "DynamicPartitioningConfiguration", "Enabled") != true || at(s3, "DynamicPartitioningConfiguration", "RetryOptions", "DurationInSeconds") != 600.0 {
		t.Errorf("partitioning: %v", at(s3, "DynamicPartitioningConfiguration"))
	}
	var order []string
	parameters := map[string]any{}
	for _, p := range list(at(s3, "ProcessingConfiguration", "Processors")) {
		order = append(order, at(p, "Type").(string))
		for _, v := range list(at(p, "Parameters")) {
			parameters[at(v, "ParameterName").(string)] = at(v, "ParameterValue")
		}
	}
	if want := []string{"Decompression", "CloudWatchLogProcessing", "RecordDeAggregation", "Lambda", "MetadataExtraction", "AppendDelimiterToRecord"}; !slices.Equal(order, want) {
		t.Errorf("processors %v", order)
	}
	delete(parameters, "LambdaArn")
	delete(parameters, "RoleArn")
	if diff := cmp.Diff(map[string]any{
		"CompressionFormat": "GZIP", "DataMessageExtraction": "true", "SubRecordType": "DELIMITED", "Delimiter": "Cg==",
		"MetadataExtractionQuery": "{car:.car}", "JsonParsingEngine": "JQ-1.6",
		"NumberOfRetries": "3", "BufferSizeInMBs": "1", "BufferIntervalInSeconds": "60",
	}, parameters); diff != "" {
		t.Error(diff)
	}
	if at(s3, "CustomTimeZone") != "Europe/Zurich" || at(s3, "FileExtension") != ".jsonl.gz" {
		t.Errorf("%v %v", at(s3, "CustomTimeZone"), at(s3, "FileExtension"))
	}
}

func TestSourceRecordsAreBackedUp(t *testing.T) {
	for name, c := range map[string]struct {
		own  bool
		want string // of the bucket's logical id
	}{"in the same bucket": {false, "DBucket"}, "in another": {true, "Backups"}} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			backup := &delivery.Backup{S3Backup: spec.S3Backup{BufferSize: 7}}
			if c.own {
				backup.Bucket = awss3.NewBucket(stack, jsii.String("Backups"), &awss3.BucketProps{Encryption: awss3.BucketEncryption_KMS})
			}
			d := delivery.New(stack, "D", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.S3{Backup: backup}})
			if d.Backup() == nil {
				t.Error("the delivery doesn't hand its backup out")
			}
			template := synth(t, app, "Test")
			s3 := toS3(t, template, "D")
			bucket := refers(at(s3, "S3BackupConfiguration", "BucketARN"))
			if at(s3, "S3BackupMode") != "Enabled" || !strings.HasPrefix(bucket, c.want) || at(s3, "S3BackupConfiguration", "BufferingHints", "SizeInMBs") != 7.0 {
				t.Errorf("backup: %v", at(s3, "S3BackupConfiguration"))
			}
			if (at(s3, "S3BackupConfiguration", "EncryptionConfiguration") != nil) != c.own {
				t.Errorf("encryption: %v", at(s3, "S3BackupConfiguration", "EncryptionConfiguration"))
			}
			for id, policy := range template.OfType("AWS::IAM::Policy") {
				if text := fmt.Sprint(policy.Properties); !strings.Contains(text, bucket) || c.own != strings.Contains(text, "kms:GenerateDataKey") {
					t.Errorf("%s: %s", id, text)
				}
			}
			if signal(t, d, "BackupSuccess").Metric.Name != "BackupToS3.Success" || signal(t, d, "BackupFreshness").Metric.Name != "BackupToS3.DataFreshness" {
				t.Errorf("signals %v", signalNames(d))
			}
		})
	}
}

func signalNames(d interface{ Signals() []watch.Signal }) (names []string) {
	for _, s := range d.Signals() {
		names = append(names, s.Name)
	}
	return names
}

func TestATableIsDefinedFromAStruct(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-s3-parquet"](stack)
	template := synth(t, app, "Test")
	databaseID, database := template.Only(t, "AWS::Glue::Database")
	tableID, table := template.Only(t, "AWS::Glue::Table")
	if refers(table.Properties["DatabaseName"]) != databaseID || at(table.Properties, "TableInput", "Name") != "laps" {
		t.Errorf("table: %v", table.Properties)
	}
	storage := at(table.Properties, "TableInput", "StorageDescriptor")
	var columns []string
	for _, column := range list(at(storage, "Columns")) {
		columns = append(columns, fmt.Sprint(at(column, "Name"), " ", at(column, "Type")))
	}
	if want := []string{"car int", "driver string", "at timestamp", "sectors array<double>", "best bigint"}; !slices.Equal(columns, want) {
		t.Errorf("columns %q", columns)
	}
	location := list(at(storage, "Location", "Fn::Join", 1))
	if len(location) != 3 || location[0] != "s3://" || !strings.HasPrefix(refers(location[1]), "TableBucket") || location[2] != "/data/" {
		t.Errorf("location %v", at(storage, "Location"))
	}
	for _, r := range []string{database.DeletionPolicy, table.DeletionPolicy} {
		if r != "Retain" {
			t.Errorf("the catalog goes with the stack: %q", r)
		}
	}

	conversion := at(toS3(t, template, "Table"), "DataFormatConversionConfiguration")
	schema := at(conversion, "SchemaConfiguration")
	if refers(at(schema, "DatabaseName")) != databaseID || refers(at(schema, "TableName")) != tableID || at(schema, "VersionId") != "LATEST" {
		t.Errorf("schema: %v", schema)
	}
	if diff := cmp.Diff(map[string]any{
		"Compression": "GZIP", "WriterVersion": "V2", "EnableDictionaryCompression": true, "PageSizeBytes": float64(128 << 10), "BlockSizeBytes": float64(64 << 20),
	}, at(conversion, "OutputFormatConfiguration", "Serializer", "ParquetSerDe")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{
		"ConvertDotsInJsonKeysToUnderscores": true, "ColumnToJsonKeyMappings": map[string]any{"best": "bestLap"},
	}, at(conversion, "InputFormatConfiguration", "Deserializer", "OpenXJsonSerDe")); diff != "" {
		t.Error(diff)
	}
	if s3 := toS3(t, template, "Table"); at(s3, "CompressionFormat") != "UNCOMPRESSED" || at(s3, "BufferingHints", "SizeInMBs") != 128.0 {
		t.Errorf("%v %v", at(s3, "CompressionFormat"), at(s3, "BufferingHints"))
	}
	// Glue wants the catalog and the database beside the table; and nothing more.
	var granted []string
	for id, policy := range template.OfType("AWS::IAM::Policy") {
		if !strings.HasPrefix(id, "TableRole") {
			continue
		}
		for _, s := range list(at(policy.Properties, "PolicyDocument", "Statement")) {
			if text := fmt.Sprint(at(s, "Action")); strings.Contains(text, "glue:") {
				granted = append(granted, text)
				resources := fmt.Sprint(at(s, "Resource"))
				for _, part := range []string{":catalog", ":database/", ":table/", databaseID, tableID} {
					if !strings.Contains(resources, part) {
						t.Errorf("%s is missing in %s", part, resources)
					}
				}
			}
		}
	}
	if want := []string{"[glue:GetTable glue:GetTableVersion glue:GetTableVersions]"}; !slices.Equal(granted, want) {
		t.Errorf("granted %v", granted)
	}
}

func TestATableOfGivenColumnsHasItsFormatsClasses(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-s3-orc"](stack)
	template := synth(t, app, "Test")
	_, table := template.Only(t, "AWS::Glue::Table")
	storage := at(table.Properties, "TableInput", "StorageDescriptor")
	if at(storage, "SerdeInfo", "SerializationLibrary") != "org.apache.hadoop.hive.ql.io.orc.OrcSerde" || at(table.Properties, "TableInput", "Parameters", "classification") != "orc" {
		t.Errorf("table: %v", table.Properties)
	}
	if id, _ := template.Only(t, "AWS::Glue::Database"); !strings.HasPrefix(id, "Race") || refers(table.Properties["DatabaseName"]) != id {
		t.Errorf("database %s, table's %v", id, table.Properties["DatabaseName"])
	}
	conversion := at(toS3(t, template, "Table"), "DataFormatConversionConfiguration")
	if at(conversion, "OutputFormatConfiguration", "Serializer", "OrcSerDe", "BloomFilterColumns", 0) != "driver" || at(conversion, "OutputFormatConfiguration", "Serializer", "ParquetSerDe") != nil {
		t.Errorf("serializer: %v", at(conversion, "OutputFormatConfiguration"))
	}
	if at(conversion, "InputFormatConfiguration", "Deserializer", "HiveJsonSerDe", "TimestampFormats", 0) != "yyyy-MM-dd'T'HH:mm:ssZ" {
		t.Errorf("deserializer: %v", at(conversion, "InputFormatConfiguration"))
	}
}

func TestAnExistingTableIsReadWhereItIs(t *testing.T) {
	app, stack := newStack(t)
	d := delivery.New(stack, "D", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.S3{
		S3Delivery: spec.S3Delivery{Format: spec.Parquet{}},
		Schema:     delivery.Schema{Existing: &delivery.GlueTable{Database: "race", Name: "laps", CatalogID: "111122223333", Version: "7"}},
	}})
	if d.Table() != nil || d.Database() != nil {
		t.Error("the delivery hands out what it didn't define")
	}
	if names := signalNames(d); !slices.Contains(names, "ConversionFailed") {
		t.Errorf("signals %v", names)
	}
	template := synth(t, app, "Test")
	if n := len(template.OfType("AWS::Glue::Table")) + len(template.OfType("AWS::Glue::Database")); n > 0 {
		t.Errorf("%d things in Glue are defined", n)
	}
	schema := at(toS3(t, template, "D"), "DataFormatConversionConfiguration", "SchemaConfiguration")
	if at(schema, "CatalogId") != "111122223333" || at(schema, "DatabaseName") != "race" || at(schema, "TableName") != "laps" || at(schema, "VersionId") != "7" {
		t.Errorf("schema: %v", schema)
	}
	_, policy := template.Only(t, "AWS::IAM::Policy")
	for _, s := range list(at(policy.Properties, "PolicyDocument", "Statement")) {
		if !strings.Contains(fmt.Sprint(at(s, "Action")), "glue:") {
			continue
		}
		for i, want := range []string{":111122223333:catalog", ":111122223333:database/race", ":111122223333:table/race/laps"} {
			if text := fmt.Sprint(at(s, "Resource", i)); !strings.Contains(text, want) {
				t.Errorf("%s lacks %s", text, want)
			}
		}
	}
}

func TestObjectsMoveToColderClasses(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-s3-partitions"](stack)
	for id, b := range synth(t, app, "Test").OfType("AWS::S3::Bucket") {
		if !strings.HasPrefix(id, "ArchiveBucket") {
			continue
		}
		rule := at(b.Properties, "LifecycleConfiguration", "Rules", 0)
		if at(rule, "Transitions", 0, "StorageClass") != "STANDARD_IA" || at(rule, "Transitions", 0, "TransitionInDays") != 30.0 ||
			at(rule, "Transitions", 1, "StorageClass") != "DEEP_ARCHIVE" || at(rule, "ExpirationInDays") != 365.0 {
			t.Errorf("lifecycle: %v", rule)
		}
		return
	}
	t.Error("there is no archive")
}

func TestS3DeliveriesRefuseWhatFirehoseWould(t *testing.T) {
	type props = delivery.Props
	plain := spec.Schema{Columns: []spec.Column{{Name: "a", Type: "int"}}}
	parquet := func(schema delivery.Schema) func(awscdk.Stack) props {
		return func(awscdk.Stack) props {
			return props{To: delivery.S3{S3Delivery: spec.S3Delivery{Format: spec.Parquet{}}, Schema: schema}}
		}
	}
	s3 := func(s spec.S3Delivery) func(awscdk.Stack) props {
		return func(awscdk.Stack) props { return props{To: delivery.S3{S3Delivery: s}} }
	}
	failed := func(s delivery.S3) func(awscdk.Stack) props {
		return func(stack awscdk.Stack) props {
			return props{To: delivery.HTTPEndpoint{HTTPEndpointDelivery: spec.HTTPEndpointDelivery{URL: "https://example.com", Name: "X"}, Failed: s}}
		}
	}
	for name, c := range map[string]struct {
		props func(awscdk.Stack) props
		want  string
	}{
		"a key that nothing makes":        {s3(spec.S3Delivery{Prefix: "!{partitionKeyFromQuery:a}/"}), "Prefix"},
		"jq that can't be read":           {s3(spec.S3Delivery{Prefix: "!{partitionKeyFromQuery:a}/", Partitioning: spec.Partitioning{FromQuery: map[string]string{"a": ".["}}}), "Partitioning.FromQuery.a"},
		"a Lambda's key without a Lambda": {s3(spec.S3Delivery{Prefix: "!{partitionKeyFromLambda:a}/", Partitioning: spec.Partitioning{FromLambda: []string{"a"}}}), "Partitioning.FromLambda"},
		"a time zone of nowhere":          {s3(spec.S3Delivery{TimeZone: "Nowhere"}), "TimeZone"},
		"an extension without a point":    {s3(spec.S3Delivery{FileExtension: "gz"}), "FileExtension"},
		"a format without columns":        {s3(spec.S3Delivery{Format: spec.Parquet{}}), "Schema"},
		"a format compressed twice": {func(awscdk.Stack) props {
			return props{To: delivery.S3{S3Delivery: spec.S3Delivery{Format: spec.Parquet{}, Compression: spec.Snappy}, Schema: delivery.Schema{Schema: plain}}}
		}, "Compression"},
		"a format in small objects": {func(awscdk.Stack) props {
			return props{To: delivery.S3{S3Delivery: spec.S3Delivery{Format: spec.Parquet{}, BufferSize: 5}, Schema: delivery.Schema{Schema: plain}}}
		}, "BufferSize"},
		"a column of no type":              {parquet(delivery.Schema{Schema: spec.Schema{Columns: []spec.Column{{Name: "a", Type: "text"}}}}), "Schema.Columns.a"},
		"a struct with anything in it":     {parquet(delivery.Schema{Schema: spec.Schema{Row: struct{ A any }{}}}), "Schema.Row.A"},
		"a table's name with a hyphen":     {parquet(delivery.Schema{Schema: plain, Table: "my-table"}), "Schema.Table"},
		"an existing table without a name": {parquet(delivery.Schema{Existing: &delivery.GlueTable{}}), "Schema.Existing.Database Schema.Existing.Name"},
		"an existing table with a space":   {parquet(delivery.Schema{Existing: &delivery.GlueTable{Database: "d", Name: "my table"}}), "Schema.Existing.Name"},
		"a catalog that is no account":     {parquet(delivery.Schema{Existing: &delivery.GlueTable{Database: "d", Name: "n", CatalogID: "mine"}}), "Schema.Existing.CatalogID"},
		"a version that is no number":      {parquet(delivery.Schema{Existing: &delivery.GlueTable{Database: "d", Name: "n", Version: "new"}}), "Schema.Existing.Version"},
		"a prefix of two lines":            {s3(spec.S3Delivery{Prefix: "a/\nb/"}), "Prefix"},
		"a prefix of 1,025 characters":     {s3(spec.S3Delivery{Prefix: strings.Repeat("p", 1_025)}), "Prefix"},
		"an existing table and columns":    {parquet(delivery.Schema{Schema: plain, Existing: &delivery.GlueTable{Database: "d", Name: "n"}}), "Schema.Existing"},
		"columns of records as they are":   {func(awscdk.Stack) props { return props{To: delivery.S3{Schema: delivery.Schema{Schema: plain}}} }, "Schema"},
		"a table at the bucket's root": {func(awscdk.Stack) props {
			return props{To: delivery.S3{S3Delivery: spec.S3Delivery{Format: spec.ORC{}, Prefix: "!{timestamp:yyyy}/"}, Schema: delivery.Schema{Schema: plain}}}
		}, "Prefix"},
		"a backup among the others": {func(awscdk.Stack) props {
			return props{To: delivery.S3{Backup: &delivery.Backup{S3Backup: spec.S3Backup{Prefix: "errors/"}}}}
		}, "Backup.Prefix"},
		"a backup's unbuffered writes": {func(awscdk.Stack) props {
			return props{To: delivery.S3{Backup: &delivery.Backup{S3Backup: spec.S3Backup{BufferInterval: spec.Zero}}}}
		}, "Backup.BufferInterval"},
		"classes of a given bucket": {func(stack awscdk.Stack) props {
			return props{To: delivery.S3{Bucket: awss3.NewBucket(stack, jsii.String("Theirs"), nil), S3Delivery: spec.S3Delivery{Transitions: []spec.Transition{{To: spec.Glacier, After: 24 * time.Hour}}}}}
		}, "Transitions"},
		"partitions of failures":  {failed(delivery.S3{S3Delivery: spec.S3Delivery{Prefix: "!{partitionKeyFromQuery:a}/", Partitioning: spec.Partitioning{FromQuery: map[string]string{"a": ".a"}}}}), "Failed.Partitioning"},
		"a format of failures":    {failed(delivery.S3{S3Delivery: spec.S3Delivery{Format: spec.Parquet{}}, Schema: delivery.Schema{Schema: plain}}), "Failed.Format"},
		"columns of failures":     {failed(delivery.S3{Schema: delivery.Schema{Schema: plain}}), "Failed.Schema"},
		"a time zone of failures": {failed(delivery.S3{S3Delivery: spec.S3Delivery{TimeZone: "UTC", FileExtension: ".x", NewLines: true}}), "Failed.TimeZone Failed.FileExtension Failed.NewLines"},
		"a backup of failures":    {failed(delivery.S3{Backup: &delivery.Backup{}}), "Failed.Backup"},
		"logs into a search index": {func(stack awscdk.Stack) props {
			domain := awsopensearchservice.Domain_FromDomainEndpoint(stack, jsii.String("Theirs"), jsii.String("https://search-x-abc.eu-west-1.es.amazonaws.com"))
			return props{CloudWatchLogs: &delivery.CloudWatchLogs{MessagesOnly: true}, To: delivery.OpenSearch{Domain: domain, OpenSearchDelivery: spec.OpenSearchDelivery{Index: "x"}}}
		}, "CloudWatchLogs"},
		"logs into a search index, by a pointer": {func(stack awscdk.Stack) props {
			domain := awsopensearchservice.Domain_FromDomainEndpoint(stack, jsii.String("Theirs"), jsii.String("https://search-x-abc.eu-west-1.es.amazonaws.com"))
			return props{CloudWatchLogs: &delivery.CloudWatchLogs{}, To: &delivery.OpenSearch{Domain: domain, OpenSearchDelivery: spec.OpenSearchDelivery{Index: "x"}}}
		}, "CloudWatchLogs"},
		"whole documents into Splunk": {func(stack awscdk.Stack) props {
			token := awssecretsmanager.NewSecret(stack, jsii.String("Token"), nil)
			return props{CloudWatchLogs: &delivery.CloudWatchLogs{}, To: delivery.Splunk{Token: token, SplunkDelivery: spec.SplunkDelivery{Endpoint: "https://splunk.example.com:8088"}}}
		}, "CloudWatchLogs.MessagesOnly"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			p := c.props(stack)
			p.DirectPut = &delivery.DirectPut{}
			refused(t, "Test/X", c.want, func() { delivery.New(stack, "X", p) })
		})
	}
}

// A format is a value; by a pointer it is the same.
func TestAFormatByAPointerIsThatFormat(t *testing.T) {
	app, stack := newStack(t)
	delivery.New(stack, "X", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.S3{
		S3Delivery: spec.S3Delivery{Format: &spec.ORC{}}, Schema: delivery.Schema{Schema: spec.Schema{Columns: []spec.Column{{Name: "a", Type: "int"}}}},
	}})
	template := synth(t, app, "Test")
	_, table := template.Only(t, "AWS::Glue::Table")
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	serializer := at(firehose.Properties, "ExtendedS3DestinationConfiguration", "DataFormatConversionConfiguration", "OutputFormatConfiguration", "Serializer")
	if got := at(table.Properties, "TableInput", "Parameters", "classification"); got != "orc" || at(serializer, "OrcSerDe") == nil {
		t.Errorf("the table is of %v, the objects of %v", got, serializer)
	}
}
