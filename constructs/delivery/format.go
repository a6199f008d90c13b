package delivery

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsglue"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/spec/hive"
	"github.com/millrace/millrace/constructs/watch"
)

// Schema is the table in the AWS Glue Data Catalog whose columns records are
// converted to, for a Format: one of Row, Columns and Existing. Athena and others
// read the objects by it.
type Schema struct {
	// Schema says which columns there are, of the table that is defined.
	spec.Schema
	// Database that the table is defined in; nil defines one.
	Database awsglue.CfnDatabase
	// Table is the table's name, of lower-case letters, digits and underscores; by
	// default CloudFormation makes one.
	Table string
	// Existing is a table that exists; nil defines one.
	Existing *GlueTable
}

// GlueTable is a table in the AWS Glue Data Catalog.
type GlueTable struct {
	// Database and Name of the table.
	Database, Name string
	// CatalogID is the account whose catalog has it; by default this one.
	CatalogID string
	// Version of its columns; by default the latest, whatever it becomes.
	Version string
}

func (s S3) checkSchema(c *spec.Check) {
	schema := s.Schema
	own := schema.Row != nil || len(schema.Columns) > 0 || schema.Database != nil || schema.Table != ""
	switch existing := schema.Existing; {
	case s.Format == nil:
		if own || existing != nil {
			c.Add("Schema", "set, and Format isn't", "records that stay as they are have no columns", "set Format to spec.Parquet{} or spec.ORC{}, or leave it out")
		}
	case existing != nil:
		if own {
			c.Add("Schema.Existing", "set beside settings of a table that is defined", "the columns are those of one table", "leave Row, Columns, Database and Table out, or Existing")
		}
		for _, of := range [][2]string{{"Database", existing.Database}, {"Name", existing.Name}} {
			if of[1] == "" {
				c.Add("Schema.Existing."+of[0], nil, "Firehose finds a table by its database and its name", "set it")
			} else {
				c.Pattern("Schema.Existing."+of[0], of[1], spec.GlueName)
			}
		}
		if existing.CatalogID != "" {
			c.Pattern("Schema.Existing.CatalogID", existing.CatalogID, spec.GlueCatalog)
		}
		if existing.Version != "" {
			c.Pattern("Schema.Existing.Version", existing.Version, spec.GlueVersion)
		}
	default:
		c.Merge(schema.Validate("", s.Format))
		if schema.Table != "" && !hive.Name.MatchString(schema.Table) && !spec.IsToken(schema.Table) {
			c.Add("Schema.Table", schema.Table, "Athena and Glue take lower-case letters, digits and underscores, 255 at most", "rename it")
		}
		if prefix := s.WithDefaults().Prefix; folder(prefix) == "" && !spec.IsToken(prefix) {
			c.Add("Prefix", prefix, "a table's files lie in a folder of their own, or the objects with errors would be read as its rows", "begin it with a name, such as data/")
		}
	}
}

// folder is what all objects under a prefix have before their last common slash.
func folder(prefix string) string {
	head, _, _ := strings.Cut(prefix, "!{")
	return head[:strings.LastIndex(head, "/")+1]
}

// format is the conversion of records, or nil.
func (s S3) format(d *Delivery) *awskinesisfirehose.CfnDeliveryStream_DataFormatConversionConfigurationProperty {
	settings := s.WithDefaults()
	if settings.Format == nil {
		return nil
	}
	serializer := &awskinesisfirehose.CfnDeliveryStream_SerializerProperty{}
	mebibytes := func(n int) *float64 { return jsii.Number(n << 20) }
	switch f := settings.Format.(type) {
	case spec.Parquet:
		serializer.ParquetSerDe = &awskinesisfirehose.CfnDeliveryStream_ParquetSerDeProperty{
			Compression: jsii.String(string(f.Compression)), WriterVersion: jsii.String(string(f.Version)),
			EnableDictionaryCompression: jsii.Bool(f.Dictionary),
			PageSizeBytes:               jsii.Number(f.PageSize << 10), BlockSizeBytes: mebibytes(f.BlockSize),
		}
	case spec.ORC:
		orc := &awskinesisfirehose.CfnDeliveryStream_OrcSerDeProperty{
			Compression: jsii.String(string(f.Compression)), StripeSizeBytes: mebibytes(f.StripeSize), RowIndexStride: jsii.Number(f.RowIndexStride),
			BloomFilterFalsePositiveProbability: jsii.Number(f.BloomFilterFalsePositiveProbability), DictionaryKeyThreshold: jsii.Number(f.DictionaryKeyThreshold),
		}
		if len(f.BloomFilterColumns) > 0 {
			orc.BloomFilterColumns = jsii.Strings(f.BloomFilterColumns...)
		}
		serializer.OrcSerDe = orc
	}
	return &awskinesisfirehose.CfnDeliveryStream_DataFormatConversionConfigurationProperty{
		Enabled: jsii.Bool(true),
		InputFormatConfiguration: &awskinesisfirehose.CfnDeliveryStream_InputFormatConfigurationProperty{
			Deserializer: s.Schema.deserializer(),
		},
		OutputFormatConfiguration: &awskinesisfirehose.CfnDeliveryStream_OutputFormatConfigurationProperty{Serializer: serializer},
		SchemaConfiguration:       s.schema(d),
	}
}

func (s Schema) deserializer() *awskinesisfirehose.CfnDeliveryStream_DeserializerProperty {
	if formats := s.Deserializer.TimestampFormats; len(formats) > 0 {
		return &awskinesisfirehose.CfnDeliveryStream_DeserializerProperty{
			HiveJsonSerDe: &awskinesisfirehose.CfnDeliveryStream_HiveJsonSerDeProperty{TimestampFormats: jsii.Strings(formats...)},
		}
	}
	openX := &awskinesisfirehose.CfnDeliveryStream_OpenXJsonSerDeProperty{
		ConvertDotsInJsonKeysToUnderscores: jsii.Bool(s.Deserializer.DotsToUnderscores),
	}
	if keys := s.Keys(); len(keys) > 0 {
		openX.ColumnToJsonKeyMappings = keys
	}
	return &awskinesisfirehose.CfnDeliveryStream_DeserializerProperty{OpenXJsonSerDe: openX}
}

// schema names the table to Firehose, and lets its role read it.
func (s S3) schema(d *Delivery) *awskinesisfirehose.CfnDeliveryStream_SchemaConfigurationProperty {
	stack := awscdk.Stack_Of(d.construct)
	var table GlueTable
	if existing := s.Schema.Existing; existing != nil {
		table = *existing
	} else {
		table = GlueTable{Database: *s.database(d), Name: *s.table(d).Ref()}
	}
	configuration := &awskinesisfirehose.CfnDeliveryStream_SchemaConfigurationProperty{
		RoleArn: d.role.RoleArn(), DatabaseName: jsii.String(table.Database), TableName: jsii.String(table.Name), VersionId: jsii.String("LATEST"),
	}
	if table.Version != "" {
		configuration.VersionId = jsii.String(table.Version)
	}
	account := stack.Account()
	if table.CatalogID != "" {
		account = jsii.String(table.CatalogID)
		configuration.CatalogId = account
	}
	// Glue wants an action on a table to be allowed on its database and catalog too.
	var arns []*string
	for _, resource := range [][2]string{{"catalog", ""}, {"database", table.Database}, {"table", table.Database + "/" + table.Name}} {
		arn := &awscdk.ArnComponents{Service: jsii.String("glue"), Account: account, Resource: jsii.String(resource[0])}
		if resource[1] == "" {
			arn.ArnFormat = awscdk.ArnFormat_NO_RESOURCE_NAME
		} else {
			arn.ResourceName = jsii.String(resource[1])
		}
		arns = append(arns, stack.FormatArn(arn))
	}
	// https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-glue
	d.allow(arns, "glue:GetTable", "glue:GetTableVersion", "glue:GetTableVersions")
	return configuration
}

// database is the name of the table's, which is defined unless one was passed.
func (s S3) database(d *Delivery) *string {
	database := s.Schema.Database
	if database == nil {
		database = awsglue.NewCfnDatabase(d.construct, jsii.String("Database"), &awsglue.CfnDatabaseProps{
			CatalogId:     awscdk.Stack_Of(d.construct).Account(),
			DatabaseInput: &awsglue.CfnDatabase_DatabaseInputProperty{},
		})
		database.ApplyRemovalPolicy(d.props.RemovalPolicy, nil)
	}
	d.database = database
	return database.Ref()
}

// hadoop are the classes that read and write a format in Hadoop's world.
type hadoop struct{ name, input, output, serde string }

func (s S3) table(d *Delivery) awsglue.CfnTable {
	of := hadoop{
		"parquet", "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
		"org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat", "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
	}
	if _, orc := s.WithDefaults().Format.(spec.ORC); orc {
		of = hadoop{
			"orc", "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
			"org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat", "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
		}
	}
	columns := []any{}
	for _, column := range s.Schema.Of() {
		property := &awsglue.CfnTable_ColumnProperty{Name: jsii.String(column.Name), Type: jsii.String(column.Type)}
		if column.Comment != "" {
			property.Comment = jsii.String(column.Comment)
		}
		columns = append(columns, property)
	}
	input := &awsglue.CfnTable_TableInputProperty{
		TableType:  jsii.String("EXTERNAL_TABLE"),
		Parameters: map[string]*string{"EXTERNAL": jsii.String("TRUE"), "classification": jsii.String(of.name)},
		StorageDescriptor: &awsglue.CfnTable_StorageDescriptorProperty{
			Columns:  &columns,
			Location: jsii.String(*d.bucket.S3UrlForObject(nil) + "/" + folder(s.WithDefaults().Prefix)),
			// Readers look into the folders of the prefix's dates by themselves.
			InputFormat: jsii.String(of.input), OutputFormat: jsii.String(of.output),
			SerdeInfo: &awsglue.CfnTable_SerdeInfoProperty{SerializationLibrary: jsii.String(of.serde)},
		},
	}
	if s.Schema.Table != "" {
		input.Name = jsii.String(s.Schema.Table)
	}
	table := awsglue.NewCfnTable(d.construct, jsii.String("Table"), &awsglue.CfnTableProps{
		CatalogId: awscdk.Stack_Of(d.construct).Account(), DatabaseName: d.database.Ref(), TableInput: input,
	})
	table.ApplyRemovalPolicy(d.props.RemovalPolicy, nil)
	d.table = table
	return table
}

// converted are the signals of a conversion.
func (d *Delivery) converted() watch.Signal {
	return watch.Signal{
		Owner: d.construct, Name: "ConversionFailed", Graph: "Records that couldn't be converted", Metric: d.metric("FailedConversion.Records", "Sum"), Runbook: "delivery-conversion",
		From:    "records should fit the table's columns",
		Why:     "Records don't fit the columns of the table in Glue, or Firehose can't read it; they go to the error prefix.",
		Do:      "Read the documents under the error prefix: they say what didn't fit. Mend the producers or the table.",
		Periods: 3, Breaching: 1, Missing: watch.NotBreaching, Severity: watch.Warning,
	}
}
