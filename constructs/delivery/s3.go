package delivery

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
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
}

var _ Destination = S3{}

func (s S3) validate(c *spec.Check) { c.Merge(s.S3Delivery.Validate("")) }

func (s S3) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	if d.bucket = s.Bucket; d.bucket == nil {
		d.bucket = bucket.New(d.construct, "Bucket", d.props.RemovalPolicy)
	}
	d.allowBucket()
	settings := s.WithDefaults()
	props.ExtendedS3DestinationConfiguration = &awskinesisfirehose.CfnDeliveryStream_ExtendedS3DestinationConfigurationProperty{
		BucketArn:         d.bucket.BucketArn(),
		RoleArn:           d.role.RoleArn(),
		Prefix:            jsii.String(settings.Prefix),
		ErrorOutputPrefix: jsii.String(settings.ErrorPrefix),
		BufferingHints: &awskinesisfirehose.CfnDeliveryStream_BufferingHintsProperty{
			SizeInMBs: jsii.Number(settings.BufferSize), IntervalInSeconds: jsii.Number(settings.BufferInterval.Seconds()),
		},
		CompressionFormat:        jsii.String(string(settings.Compression)),
		EncryptionConfiguration:  d.bucketEncryption(),
		CloudWatchLoggingOptions: d.logging("S3"),
		ProcessingConfiguration:  d.processing(),
	}
}

func (s S3) signals(d *Delivery) []watch.Signal {
	interval := s.WithDefaults().BufferInterval
	if t := d.props.Transform; t != nil {
		interval += t.Transform.WithDefaults().BufferInterval
	}
	// Without a buffer, objects still take a while to be written.
	fresh := max(3*interval.Seconds(), 180)
	return []watch.Signal{
		{
			Owner: d.construct, Name: "Freshness", Graph: "Age of the oldest record not in S3 (s)", Metric: d.metric("DeliveryToS3.DataFreshness", "Maximum"),
			Threshold: fresh, From: fmt.Sprintf("three times the buffer intervals of %g s in all, at least 180 s", interval.Seconds()),
			Why:     "Records wait in Firehose longer than their buffer explains; after 24 hours it gives them up.",
			Do:      "Read the delivery's log; check the bucket's policy and key and Firehose's role.",
			Runbook: "delivery-freshness",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Critical,
		},
		{
			Owner: d.construct, Name: "Success", Graph: "Delivery success (share)", Metric: d.metric("DeliveryToS3.Success", "Average"),
			Below: true, Threshold: 1, From: "every delivery should succeed",
			Why:     "Firehose couldn't write objects to S3 and tries again.",
			Do:      "Read the delivery's log; check the bucket's policy and key and Firehose's role.",
			Runbook: "delivery-success",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		},
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
