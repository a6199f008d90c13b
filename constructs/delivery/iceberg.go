package delivery

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Iceberg delivers to Apache Iceberg tables, in a bucket or in S3 Tables. Tables or
// Databases are required, and Warehouse unless the tables are S3 Tables.
//
// Where AWS Lake Formation governs the tables, the delivery's Role needs grants of it
// too, which the stack's own role has to be allowed to give: DESCRIBE on the
// database, and SELECT, INSERT, DELETE, ALTER and DESCRIBE on the tables. Firehose
// checks them when it is created.
type Iceberg struct {
	// IcebergDelivery are the settings.
	spec.IcebergDelivery
	// Catalog is the ARN of the Glue Data Catalog that has the tables; by default that
	// of the stack's account and region. [S3TablesCatalog] is that of a table bucket.
	// AWS can't change it later: it replaces the delivery stream.
	Catalog *string
	// Warehouse is the bucket that the tables' files are in; S3 Tables have their own.
	Warehouse awss3.IBucket
	// LakeFormation says that Warehouse is registered with AWS Lake Formation, which
	// Firehose then gets its access from; S3 Tables always are.
	LakeFormation bool
	// Failed is where records are written that no table took; by default a new bucket.
	// AWS offers no backup of all records here.
	Failed S3
}

var _ Destination = Iceberg{}

// S3TablesCatalog is the ARN of the catalog that AWS Glue has for a table bucket of
// this account and region, which has to be integrated with AWS analytics services.
func S3TablesCatalog(scope constructs.Construct, tableBucket *string) *string {
	valid.Need("delivery.S3TablesCatalog", "tableBucket", tableBucket)
	return glueARN(scope, "catalog", "s3tablescatalog/"+*tableBucket)
}

func glueARN(scope constructs.Construct, resource, name string) *string {
	parts := &awscdk.ArnComponents{Service: jsii.String("glue"), Resource: jsii.String(resource)}
	if parts.ArnFormat = awscdk.ArnFormat_NO_RESOURCE_NAME; name != "" {
		parts.ArnFormat, parts.ResourceName = awscdk.ArnFormat_SLASH_RESOURCE_NAME, jsii.String(name)
	}
	return awscdk.Stack_Of(scope).FormatArn(parts)
}

// A catalog's ARN may have tokens for its parts, but not for the whole: what Firehose
// may use of the catalog is named by its parts.
var catalogARN = regexp.MustCompile(`^arn:.*:glue:.*:(\d{12}|\$\{Token\[.*\]\}):catalog(/([a-z0-9_-]|\$\{Token\[[^/]*\]\})+){0,2}$`)

var s3TablesName = spec.Pattern{Text: regexp.MustCompile(`^[a-z0-9_]+$`), Why: "S3 Tables has names of a-z 0-9 and _ only, in lower case"}

const s3Tables = ":catalog/s3tablescatalog/"

func (i Iceberg) validate(props Props, c *spec.Check) {
	c.Merge(i.IcebergDelivery.Validate(""))
	inS3Tables := i.Catalog != nil && strings.Contains(*i.Catalog, s3Tables)
	switch {
	case inS3Tables && i.Warehouse != nil:
		c.Add("Warehouse", "set, and Catalog is that of S3 Tables", "S3 Tables keeps the tables' files in buckets of its own", "leave it out")
	case !inS3Tables && valid.Missing(i.Warehouse):
		c.Add("Warehouse", nil, "Firehose writes the tables' files itself", "set it to the bucket that the tables are in, or Catalog to delivery.S3TablesCatalog(…)")
	}
	if i.Catalog != nil && !catalogARN.MatchString(*i.Catalog) {
		c.Add("Catalog", *i.Catalog, "a catalog's ARN is arn:aws:glue:<region>:<account>:catalog, with /s3tablescatalog/<bucket> for S3 Tables", "give it so, or leave it out for the account's own")
	}
	if inS3Tables {
		for n, t := range i.Tables {
			field := fmt.Sprintf("Tables[%d]", n)
			c.Pattern(field+".Database", t.Database, s3TablesName)
			c.Pattern(field+".Table", t.Table, s3TablesName)
			for k, key := range t.UniqueKeys {
				c.Pattern(fmt.Sprintf("%s.UniqueKeys[%d]", field, k), key, s3TablesName)
			}
		}
		for n, database := range i.Databases {
			c.Pattern(fmt.Sprintf("Databases[%d]", n), database, s3TablesName)
		}
	}
	static := len(i.Tables) == 1 && len(i.Databases) == 0
	if !static && len(i.Tables)+len(i.Databases) > 0 && i.Route == (spec.IcebergRoute{}) && props.Transform == nil {
		c.Add("Route", nil, "Firehose has to be told which table a record goes to, unless there is just one",
			"set its Database and Table, or a Transform that tells them in metadata.otfMetadata")
	}
	i.Failed.checkFailed(c, props, false)
}

func (i Iceberg) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(i.Failed)
	settings := i.WithDefaults()
	catalog := i.Catalog
	if catalog == nil {
		catalog = glueARN(d.construct, "catalog", "")
	}
	i.allow(d, *catalog)

	tables := []any{}
	for _, t := range settings.Tables {
		table := &awskinesisfirehose.CfnDeliveryStream_DestinationTableConfigurationProperty{
			DestinationDatabaseName: jsii.String(t.Database), DestinationTableName: jsii.String(t.Table),
		}
		if len(t.UniqueKeys) > 0 {
			table.UniqueKeys = jsii.Strings(t.UniqueKeys...)
		}
		if t.ErrorPrefix != "" {
			table.S3ErrorOutputPrefix = jsii.String(t.ErrorPrefix)
		}
		tables = append(tables, table)
	}
	iceberg := &awskinesisfirehose.CfnDeliveryStream_IcebergDestinationConfigurationProperty{
		RoleArn:              d.role.RoleArn(),
		CatalogConfiguration: &awskinesisfirehose.CfnDeliveryStream_CatalogConfigurationProperty{CatalogArn: catalog},
		AppendOnly:           jsii.Bool(settings.AppendOnly),
		BufferingHints: &awskinesisfirehose.CfnDeliveryStream_BufferingHintsProperty{
			SizeInMBs: jsii.Number(settings.BufferSize), IntervalInSeconds: jsii.Number(settings.BufferInterval.Seconds()),
		},
		RetryOptions:             &awskinesisfirehose.CfnDeliveryStream_RetryOptionsProperty{DurationInSeconds: jsii.Number(settings.Retry.Seconds())},
		S3BackupMode:             jsii.String("FailedDataOnly"),
		S3Configuration:          d.failed(i.Failed),
		CloudWatchLoggingOptions: d.logging("Iceberg"),
		ProcessingConfiguration:  routed(d.processing(), settings.Query()),
	}
	if len(tables) > 0 {
		iceberg.DestinationTableConfigurationList = &tables
	}
	props.IcebergDestinationConfiguration = iceberg
}

// routed is processing with the query that tells a record's table, if there is one.
func routed(processing *awskinesisfirehose.CfnDeliveryStream_ProcessingConfigurationProperty, query string) *awskinesisfirehose.CfnDeliveryStream_ProcessingConfigurationProperty {
	if query == "" {
		return processing
	}
	if processing == nil {
		processing = &awskinesisfirehose.CfnDeliveryStream_ProcessingConfigurationProperty{Enabled: jsii.Bool(true), Processors: &[]any{}}
	}
	processors := append(*processing.Processors.(*[]any), &awskinesisfirehose.CfnDeliveryStream_ProcessorProperty{
		Type: jsii.String("MetadataExtraction"),
		Parameters: &[]any{
			&awskinesisfirehose.CfnDeliveryStream_ProcessorParameterProperty{ParameterName: jsii.String("MetadataExtractionQuery"), ParameterValue: jsii.String(query)},
			&awskinesisfirehose.CfnDeliveryStream_ProcessorParameterProperty{ParameterName: jsii.String("JsonParsingEngine"), ParameterValue: jsii.String("JQ-1.6")},
		},
	})
	processing.Processors = &processors
	return processing
}

// allow grants Firehose's role what its documentation names for Iceberg tables, on
// these tables only:
// https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-iceberg
func (i Iceberg) allow(d *Delivery, catalog string) {
	// UpdateTable is the commit: it moves the table to its next metadata file.
	d.allow(i.resources(catalog), "glue:GetDatabase", "glue:GetTable", "glue:UpdateTable")
	if len(i.Databases) > 0 {
		role.Also(d.role, accept.Finding{
			Reason:    "Records name their table: Firehose may write to those of the databases that are listed.",
			IDs:       []string{"AwsSolutions-IAM5"},
			AppliesTo: []string{`/^Resource::.*:table\/.*\/\*$/`},
		})
	}
	if i.LakeFormation || strings.Contains(catalog, s3Tables) {
		d.allow([]*string{jsii.String("*")}, "lakeformation:GetDataAccess")
		role.Also(d.role, accept.Finding{
			Reason:    "Lake Formation hands out access to what it has granted to this role; the action takes no resource.",
			IDs:       []string{"AwsSolutions-IAM5"},
			AppliesTo: []string{"Resource::*"},
		})
	}
	if i.Warehouse == nil {
		return
	}
	d.allow([]*string{i.Warehouse.BucketArn()}, "s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")
	// DeleteObject is beside what every delivery does in its bucket: the files of a
	// commit that another writer's came before are in no table.
	d.allow([]*string{i.Warehouse.ArnForObjects(jsii.String("*"))}, "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")
	if key := i.Warehouse.EncryptionKey(); key != nil {
		d.keep(key.Grant(d.role, jsii.String("kms:Decrypt"), jsii.String("kms:GenerateDataKey")))
	}
}

// resources are the catalog and what is written to in it, as Glue names them.
func (i Iceberg) resources(catalog string) []*string {
	root, path, nested := strings.Cut(catalog, ":catalog/")
	root = strings.TrimSuffix(root, ":catalog")
	all := []string{root + ":catalog"}
	within := []string{""}
	if nested {
		// A catalog in the catalog: it and those above it, and its tables below its path.
		// Firehose's documentation names them without the path, Glue's with it.
		for n, parts := 0, strings.Split(path, "/"); n < len(parts); n++ {
			all = append(all, root+":catalog/"+strings.Join(parts[:n+1], "/"))
		}
		within = append(within, path+"/")
	}
	for _, below := range within {
		seen := map[string]bool{}
		database := func(name string) {
			if !seen[name] {
				seen[name] = true
				all = append(all, root+":database/"+below+name)
			}
		}
		for _, t := range i.Tables {
			database(t.Database)
			all = append(all, root+":table/"+below+t.Database+"/"+t.Table)
		}
		for _, name := range i.Databases {
			database(name)
			all = append(all, root+":table/"+below+name+"/*")
		}
	}
	return *jsii.Strings(all...)
}

// signals has none of the bucket: Firehose publishes no metric of its writes there
// for tables. FailedRows tells that it has something.
func (i Iceberg) signals(d *Delivery) []watch.Signal {
	const page, do = "delivery-iceberg", "Read the delivery's log and the failed records, which say why; check the table, its columns and what the role may do with it."
	signals := onPage(page, d.delivered("DeliveryToIceberg", "Iceberg tables", i.WithDefaults().BufferInterval, do))
	return append(signals, watch.Signal{
		Owner: d.construct, Name: "FailedRows", Graph: "Records that no table took", Metric: d.metric("DeliveryToIceberg.FailedRowCount", "Sum"),
		From: "every record should fit its table", Why: "Records were written to the bucket for failed ones instead of a table.",
		Do:      do,
		Runbook: page,
		Periods: 5, Breaching: 1, Missing: watch.NotBreaching, Severity: watch.Warning,
	})
}
