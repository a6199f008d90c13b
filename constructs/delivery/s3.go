package delivery

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/bucket"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// S3 delivers to a bucket. The zero value is a good one: a new bucket, an object
// per 5 MiB or 5 minutes, compressed with GZIP.
type S3 struct {
	// S3Delivery are the settings.
	spec.S3Delivery
	// Bucket to deliver to; nil defines one.
	Bucket awss3.IBucket
	// Key encrypts the objects of the bucket that is defined; nil means S3's own
	// key. A bucket that is passed brings its own.
	Key awskms.IKey
	// AccessLogs is the bucket that S3 writes the access logs of the defined bucket
	// to; nil means none. It has to be encrypted with S3's own key. An imported one
	// has to admit logging.s3.amazonaws.com already: the CDK warns of it, on the
	// delivery's Bucket, with "@aws-cdk/aws-s3:accessLogsPolicyNotAdded".
	AccessLogs awss3.IBucket
	// Schema of the objects, with a Format.
	Schema Schema
	// Backup of the records as they came, before anything is done with them; nil for
	// none. Firehose can't end a backup that it began.
	Backup *Backup
}

// Backup is where source records are kept.
type Backup struct {
	// S3Backup are the settings.
	spec.S3Backup
	// Bucket to write to; nil means the delivery's own.
	Bucket awss3.IBucket
}

var _ Destination = S3{}

func (s S3) validate(props Props, c *spec.Check) {
	s.validatePlain(c)
	s.checkSchema(c)
	if len(s.Partitioning.FromLambda) > 0 && props.Transform == nil {
		c.Add("Partitioning.FromLambda", fmt.Sprint(s.Partitioning.FromLambda), "there is no Transform that answers keys", "set Transform, or use FromQuery")
	}
	if b := s.Backup; b != nil {
		c.Merge(b.Validate(""))
		if props.MSK != nil {
			c.Add("Backup", "set", notOfMSK, "leave it out: the topic has the records")
		}
		if b.Bucket == nil || b.Bucket == s.Bucket {
			b.Apart(c, s.S3Delivery)
		}
	}
}

// validatePlain notes what is wrong with the bucket and how it is written to.
func (s S3) validatePlain(c *spec.Check) {
	c.Merge(s.S3Delivery.Validate(""))
	s.validateBucket(c)
}

func (s S3) validateBucket(c *spec.Check) {
	s.define("").Check(c)
	if s.Bucket == nil {
		return
	}
	for _, own := range []struct {
		field string
		set   bool
	}{{"Key", s.Key != nil}, {"AccessLogs", s.AccessLogs != nil}, {"Expiration", s.Expiration > 0}, {"Transitions", len(s.Transitions) > 0}} {
		if own.set {
			c.Add(own.field, "set, and so is Bucket", "it is for the bucket that is defined where none is passed",
				"set it on your bucket, or leave Bucket out")
		}
	}
}

// destinationOnly notes what Firehose knows only where records themselves go to S3.
func (s S3) destinationOnly(c *spec.Check) {
	s.DestinationOnly(c)
	if s.Backup != nil {
		c.Add("Backup", "set", "Firehose knows it only for a delivery to S3", "set the destination's own BackupAll, if it has one")
	}
	if s.Format == nil {
		s.checkSchema(c)
	}
}

// define is the bucket that is defined where none is passed.
func (s S3) define(policy awscdk.RemovalPolicy) bucket.Props {
	return bucket.Props{Key: s.Key, AccessLogs: s.AccessLogs, Expiration: s.Expiration, Transitions: s.Transitions, RemovalPolicy: policy}
}

func (s S3) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(s)
	settings := s.WithDefaults()
	configuration := &awskinesisfirehose.CfnDeliveryStream_ExtendedS3DestinationConfigurationProperty{
		BucketArn:                         d.bucket.BucketArn(),
		RoleArn:                           d.role.RoleArn(),
		Prefix:                            jsii.String(settings.Prefix),
		ErrorOutputPrefix:                 jsii.String(settings.ErrorPrefix),
		BufferingHints:                    hints(settings),
		CompressionFormat:                 jsii.String(string(settings.Compression)),
		EncryptionConfiguration:           encryption(d.bucket),
		CloudWatchLoggingOptions:          d.logging("S3"),
		ProcessingConfiguration:           d.processing(s.processors()...),
		DataFormatConversionConfiguration: s.format(d),
	}
	if settings.TimeZone != "" {
		configuration.CustomTimeZone = jsii.String(settings.TimeZone)
	}
	if settings.FileExtension != "" {
		configuration.FileExtension = jsii.String(settings.FileExtension)
	}
	if p := settings.Partitioning; s.Partitioning.On() {
		configuration.DynamicPartitioningConfiguration = &awskinesisfirehose.CfnDeliveryStream_DynamicPartitioningConfigurationProperty{
			Enabled:      jsii.Bool(true),
			RetryOptions: &awskinesisfirehose.CfnDeliveryStream_RetryOptionsProperty{DurationInSeconds: jsii.Number(p.Retry.Seconds())},
		}
	}
	if s.Backup != nil {
		configuration.S3BackupMode, configuration.S3BackupConfiguration = jsii.String("Enabled"), d.keepSource(*s.Backup)
	}
	props.ExtendedS3DestinationConfiguration = configuration
}

// keepSource is where source records are backed up.
func (d *Delivery) keepSource(b Backup) *awskinesisfirehose.CfnDeliveryStream_S3DestinationConfigurationProperty {
	if d.backup = b.Bucket; d.backup == nil {
		d.backup = d.bucket
	} else {
		d.allowBucket(d.backup)
	}
	settings := b.WithDefaults()
	return &awskinesisfirehose.CfnDeliveryStream_S3DestinationConfigurationProperty{
		BucketArn:                d.backup.BucketArn(),
		RoleArn:                  d.role.RoleArn(),
		Prefix:                   jsii.String(settings.Prefix),
		BufferingHints:           hints(spec.S3Delivery{BufferSize: settings.BufferSize, BufferInterval: settings.BufferInterval}),
		CompressionFormat:        jsii.String(string(settings.Compression)),
		EncryptionConfiguration:  encryption(d.backup),
		CloudWatchLoggingOptions: d.logging("Backup"),
	}
}

func (s S3) signals(d *Delivery) []watch.Signal {
	signals := d.delivered("DeliveryToS3", "S3", s.WithDefaults().BufferInterval,
		"Read the delivery's log; check the bucket's policy and key and Firehose's role.")
	if s.Partitioning.On() {
		signals = append(signals, d.partitions())
	}
	if s.Format != nil {
		signals = append(signals, d.converted())
	}
	if b := s.Backup; b != nil {
		backedUp := d.backedUp(S3{S3Delivery: spec.S3Delivery{BufferInterval: b.BufferInterval}}, true)
		backedUp[0].Why = "Source records can't be written to their backup; Firehose tries again."
		// DeliveryToS3 is the destination here.
		backedUp[0].Metric, backedUp[1].Metric = d.metric("BackupToS3.Success", "Average"), d.metric("BackupToS3.DataFreshness", "Maximum")
		signals = append(signals, backedUp...)
	}
	return signals
}

// place defines the delivery's bucket, unless one was passed, and lets Firehose's
// role use it.
func (d *Delivery) place(s S3) {
	if d.bucket = s.Bucket; d.bucket == nil {
		d.bucket = bucket.New(d.construct, "Bucket", s.define(d.props.RemovalPolicy))
	}
	d.allowBucket(d.bucket)
}

// failed is where a destination that isn't S3 leaves what it couldn't deliver, or
// all source records; place has to come first.
func (d *Delivery) failed(s S3) *awskinesisfirehose.CfnDeliveryStream_S3DestinationConfigurationProperty {
	settings := s.WithDefaults()
	return &awskinesisfirehose.CfnDeliveryStream_S3DestinationConfigurationProperty{
		BucketArn:                d.bucket.BucketArn(),
		RoleArn:                  d.role.RoleArn(),
		Prefix:                   jsii.String(settings.Prefix),
		ErrorOutputPrefix:        jsii.String(settings.ErrorPrefix),
		BufferingHints:           hints(settings),
		CompressionFormat:        jsii.String(string(settings.Compression)),
		EncryptionConfiguration:  encryption(d.bucket),
		CloudWatchLoggingOptions: d.logging("S3"),
	}
}

func hints(s spec.S3Delivery) *awskinesisfirehose.CfnDeliveryStream_BufferingHintsProperty {
	return &awskinesisfirehose.CfnDeliveryStream_BufferingHintsProperty{
		SizeInMBs: jsii.Number(s.BufferSize), IntervalInSeconds: jsii.Number(s.BufferInterval.Seconds()),
	}
}

// allowBucket grants Firehose's role the six actions that it needs on a bucket.
func (d *Delivery) allowBucket(b awss3.IBucket) {
	d.allow([]*string{b.BucketArn()}, "s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")
	d.allow([]*string{b.ArnForObjects(jsii.String("*"))}, "s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject")
	if key := b.EncryptionKey(); key != nil {
		d.keep(key.Grant(d.role, jsii.String("kms:Decrypt"), jsii.String("kms:GenerateDataKey")))
	}
}

// encryption names a bucket's customer key to Firehose, if it has one.
func encryption(b awss3.IBucket) *awskinesisfirehose.CfnDeliveryStream_EncryptionConfigurationProperty {
	key := b.EncryptionKey()
	if key == nil {
		return nil
	}
	return &awskinesisfirehose.CfnDeliveryStream_EncryptionConfigurationProperty{
		KmsEncryptionConfig: &awskinesisfirehose.CfnDeliveryStream_KMSEncryptionConfigProperty{AwskmsKeyArn: key.KeyArn()},
	}
}
