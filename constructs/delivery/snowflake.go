package delivery

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Snowflake delivers to a table of Snowflake's. AccountURL, Database, Schema, Table
// and KeyPair are required.
type Snowflake struct {
	// SnowflakeDelivery are the settings.
	spec.SnowflakeDelivery
	// KeyPair of the user that inserts, as a secret
	// {"user": "…", "private_key": "…", "key_passphrase": "…"}: the key without its
	// first and last line and without line breaks, the passphrase if it has one.
	KeyPair awssecretsmanager.ISecret
	// Failed is where records are written that Snowflake refused to the end, or all
	// records (BackupAll); by default a new bucket.
	Failed S3
}

var _ Destination = Snowflake{}

func (s Snowflake) validate(props Props, c *spec.Check) {
	c.Merge(s.SnowflakeDelivery.Validate(""))
	if valid.Missing(s.KeyPair) {
		c.Add("KeyPair", nil, "Firehose signs in at Snowflake with a key pair", `set it to a secret {"user": "…", "private_key": "…"} of Secrets Manager`)
	}
	s.Failed.checkFailed(c, props, s.BackupAll)
}

func (s Snowflake) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(s.Failed)
	d.smallTransform()
	settings := s.WithDefaults()
	snowflake := &awskinesisfirehose.CfnDeliveryStream_SnowflakeDestinationConfigurationProperty{
		RoleArn:                     d.role.RoleArn(),
		AccountUrl:                  jsii.String(settings.AccountURL),
		Database:                    jsii.String(settings.Database),
		Schema:                      jsii.String(settings.Schema),
		Table:                       jsii.String(settings.Table),
		DataLoadingOption:           jsii.String(string(settings.Loading)),
		SecretsManagerConfiguration: d.secret(s.KeyPair),
		SnowflakeRoleConfiguration:  &awskinesisfirehose.CfnDeliveryStream_SnowflakeRoleConfigurationProperty{Enabled: jsii.Bool(false)},
		BufferingHints: &awskinesisfirehose.CfnDeliveryStream_SnowflakeBufferingHintsProperty{
			SizeInMBs: jsii.Number(settings.BufferSize), IntervalInSeconds: jsii.Number(settings.BufferInterval.Seconds()),
		},
		RetryOptions:             &awskinesisfirehose.CfnDeliveryStream_SnowflakeRetryOptionsProperty{DurationInSeconds: jsii.Number(settings.Retry.Seconds())},
		S3BackupMode:             backupMode(settings.BackupAll, "AllData", "FailedDataOnly"),
		S3Configuration:          d.failed(s.Failed),
		CloudWatchLoggingOptions: d.logging("Snowflake"),
		ProcessingConfiguration:  d.processing(),
	}
	if settings.ContentColumn != "" {
		snowflake.ContentColumnName = jsii.String(settings.ContentColumn)
	}
	if settings.MetadataColumn != "" {
		snowflake.MetaDataColumnName = jsii.String(settings.MetadataColumn)
	}
	if settings.Role != "" {
		snowflake.SnowflakeRoleConfiguration = &awskinesisfirehose.CfnDeliveryStream_SnowflakeRoleConfigurationProperty{
			Enabled: jsii.Bool(true), SnowflakeRole: jsii.String(settings.Role),
		}
	}
	if settings.PrivateLink != "" {
		snowflake.SnowflakeVpcConfiguration = &awskinesisfirehose.CfnDeliveryStream_SnowflakeVpcConfigurationProperty{PrivateLinkVpceId: jsii.String(settings.PrivateLink)}
	}
	props.SnowflakeDestinationConfiguration = snowflake
}

func (s Snowflake) signals(d *Delivery) []watch.Signal {
	settings := s.WithDefaults()
	signals := onPage("delivery-snowflake", d.delivered("DeliveryToSnowflake", "Snowflake", settings.BufferInterval,
		"Read the delivery's log and the failed records, which have Snowflake's own answers; check the key pair, the role's privileges and the table's columns."))
	return append(signals, d.backedUp(s.Failed, settings.BackupAll)...)
}
