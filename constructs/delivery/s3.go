package delivery

import (
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
}

var _ Destination = S3{}

func (s S3) validate(_ Props, c *spec.Check) {
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
	}{{"Key", s.Key != nil}, {"AccessLogs", s.AccessLogs != nil}, {"Expiration", s.Expiration > 0}} {
		if own.set {
			c.Add(own.field, "set, and so is Bucket", "it is for the bucket that is defined where none is passed",
				"set it on your bucket, or leave Bucket out")
		}
	}
}

// define is the bucket that is defined where none is passed.
func (s S3) define(policy awscdk.RemovalPolicy) bucket.Props {
	return bucket.Props{Key: s.Key, AccessLogs: s.AccessLogs, Expiration: s.Expiration, RemovalPolicy: policy}
}

func (s S3) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(s)
	settings := s.WithDefaults()
	props.ExtendedS3DestinationConfiguration = &awskinesisfirehose.CfnDeliveryStream_ExtendedS3DestinationConfigurationProperty{
		BucketArn:                d.bucket.BucketArn(),
		RoleArn:                  d.role.RoleArn(),
		Prefix:                   jsii.String(settings.Prefix),
		ErrorOutputPrefix:        jsii.String(settings.ErrorPrefix),
		BufferingHints:           hints(settings),
		CompressionFormat:        jsii.String(string(settings.Compression)),
		EncryptionConfiguration:  d.bucketEncryption(),
		CloudWatchLoggingOptions: d.logging("S3"),
		ProcessingConfiguration:  d.processing(),
	}
}

func (s S3) signals(d *Delivery) []watch.Signal {
	return d.delivered("DeliveryToS3", "S3", s.WithDefaults().BufferInterval,
		"Read the delivery's log; check the bucket's policy and key and Firehose's role.")
}

// place defines the delivery's bucket, unless one was passed, and lets Firehose's
// role use it.
func (d *Delivery) place(s S3) {
	if d.bucket = s.Bucket; d.bucket == nil {
		d.bucket = bucket.New(d.construct, "Bucket", s.define(d.props.RemovalPolicy))
	}
	d.allowBucket()
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
		EncryptionConfiguration:  d.bucketEncryption(),
		CloudWatchLoggingOptions: d.logging("S3"),
	}
}

func hints(s spec.S3Delivery) *awskinesisfirehose.CfnDeliveryStream_BufferingHintsProperty {
	return &awskinesisfirehose.CfnDeliveryStream_BufferingHintsProperty{
		SizeInMBs: jsii.Number(s.BufferSize), IntervalInSeconds: jsii.Number(s.BufferInterval.Seconds()),
	}
}

// allowBucket grants Firehose's role the six actions that it needs on its bucket.
func (d *Delivery) allowBucket() {
	d.allow([]*string{d.bucket.BucketArn()}, "s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")
	d.allow([]*string{d.bucket.ArnForObjects(jsii.String("*"))}, "s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject")
	if key := d.bucket.EncryptionKey(); key != nil {
		d.keep(key.Grant(d.role, jsii.String("kms:Decrypt"), jsii.String("kms:GenerateDataKey")))
	}
}

// bucketEncryption names the bucket's customer key to Firehose, if it has one.
func (d *Delivery) bucketEncryption() *awskinesisfirehose.CfnDeliveryStream_EncryptionConfigurationProperty {
	key := d.bucket.EncryptionKey()
	if key == nil {
		return nil
	}
	return &awskinesisfirehose.CfnDeliveryStream_EncryptionConfigurationProperty{
		KmsEncryptionConfig: &awskinesisfirehose.CfnDeliveryStream_KMSEncryptionConfigProperty{AwskmsKeyArn: key.KeyArn()},
	}
}
