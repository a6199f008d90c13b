package delivery

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Source is the Kinesis stream that is delivered: a *stream.Stream; stream.Of
// takes any IStream.
type Source interface {
	// Arn of the stream.
	Arn() *string
	// Kind must be spec.Kinesis.
	Kind() spec.SourceKind
	// Retention is how long the stream keeps a record.
	Retention() time.Duration
	// Grant allows exactly these actions on the stream.
	Grant(grantee awsiam.IGrantable, actions ...string) awsiam.Grant
}

// DirectPut is a delivery without a stream: producers put records to it, with
// firehose:PutRecord and PutRecordBatch ([Delivery.GrantPut]). Firehose keeps what
// it can't deliver for 24 hours; nobody else can read it meanwhile.
type DirectPut struct {
	// Key encrypts the records while Firehose holds them; nil means Firehose's own
	// key, which is free. CloudFormation needs kms:CreateGrant on it.
	Key awskms.IKey
}

func (p Props) checkSource(c *spec.Check) {
	if p.MSK != nil {
		p.MSK.check(c)
	}
	switch {
	case p.MSK != nil && p.DirectPut != nil:
		c.Add("MSK", "set beside DirectPut", "a delivery has one source, and one that reads a topic has no encryption of its own, as the cluster's holds", "leave one of them out")
	case p.MSK != nil && !valid.Missing(p.Source):
		c.Add("MSK", "set beside Source", "a delivery has one source", "leave one of them out")
	case p.MSK != nil:
	case p.DirectPut != nil && !valid.Missing(p.Source):
		c.Add("DirectPut", "set beside Source", "a delivery has one source; one that reads a Kinesis stream takes no records of producers and no encryption of its own, as the stream's holds",
			"leave DirectPut out, and encrypt the stream; or leave Source out")
	case p.DirectPut != nil:
	case valid.Missing(p.Source):
		c.Add("Source", nil, "a delivery reads a stream", "set it to a *stream.Stream, or set DirectPut or MSK")
	case p.Source.Kind() != spec.Kinesis:
		c.Add("Source", string(p.Source.Kind()), "Firehose reads Kinesis streams only", "set it to a *stream.Stream")
	}
}

// attachSource puts the source into cfn.
func (d *Delivery) attachSource(cfn *awskinesisfirehose.CfnDeliveryStreamProps) {
	if d.props.MSK != nil {
		d.props.MSK.attach(d, cfn)
		return
	}
	if put := d.props.DirectPut; put != nil {
		encryption := &awskinesisfirehose.CfnDeliveryStream_DeliveryStreamEncryptionConfigurationInputProperty{KeyType: jsii.String("AWS_OWNED_CMK")}
		if put.Key != nil {
			encryption.KeyType, encryption.KeyArn = jsii.String("CUSTOMER_MANAGED_CMK"), put.Key.KeyArn()
		}
		cfn.DeliveryStreamType, cfn.DeliveryStreamEncryptionConfigurationInput = jsii.String("DirectPut"), encryption
		return
	}
	d.keep(d.props.Source.Grant(d.role, "kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"))
	cfn.DeliveryStreamType = jsii.String("KinesisStreamAsSource")
	cfn.KinesisStreamSourceConfiguration = &awskinesisfirehose.CfnDeliveryStream_KinesisStreamSourceConfigurationProperty{
		KinesisStreamArn: d.props.Source.Arn(), RoleArn: d.role.RoleArn(),
	}
}

// acceptSource records what checkers say of the source.
func (d *Delivery) acceptSource() {
	if d.props.MSK != nil {
		accept.On(d.resource, accept.Because("The source is a topic of Amazon MSK, which is encrypted itself; Firehose has no encryption of its own then.",
			"AwsSolutions-KDF1"))
	} else if d.props.DirectPut == nil {
		accept.On(d.resource, accept.Because("The source is a Kinesis stream, which is encrypted itself; Firehose refuses encryption of its own then.",
			"AwsSolutions-KDF1"))
	}
}

// GrantPut allows to put records, to a delivery with DirectPut.
func (d *Delivery) GrantPut(grantee awsiam.IGrantable) awsiam.Grant {
	return allow.On(grantee, []*string{d.resource.AttrArn()}, "firehose:PutRecord", "firehose:PutRecordBatch")
}

// sourceSignals tell how the delivery keeps up with its source, or its producers.
func (d *Delivery) sourceSignals() []watch.Signal {
	if d.props.MSK != nil {
		return d.props.MSK.signals(d)
	}
	if d.props.DirectPut != nil {
		signals := []watch.Signal{d.quota(), {
			Owner: d.construct, Name: "PutThrottled", Graph: "Records turned away", Metric: d.metric("ThrottledRecords", "Sum"), Runbook: "delivery-put-throttled",
			From: "a delivery stream below its quota turns none away", Why: "Producers put more than the delivery stream's quota of records, calls or bytes a second.",
			Do:      "Put batches, and retry what was turned away; ask for a higher quota, or put a Kinesis stream in front.",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		}}
		if d.props.DirectPut.Key != nil {
			signals = append(signals, d.locked())
		}
		return signals
	}
	age := watch.Age(d.construct, "SourceAge", "Behind the stream (ms)",
		d.metric("KinesisMillisBehindLatest", "Maximum"), d.props.Source.Retention(),
		"delivery-source-age", "See the delivery's own log and its transform's errors; raise the retention if it can't catch up in time.")
	return append(age, watch.Signal{
		Owner: d.construct, Name: "SourceThrottled", Graph: "Reads of the stream turned away", Metric: d.metric("ThrottledGetRecords", "Sum"), Runbook: "delivery-source-throttled",
		From: "a stream with free read capacity turns none away", Why: "Firehose shares the stream's 2 MB/s and 5 calls/s per shard with other readers.",
		Do:      "Give the other consumers enhanced fan-out, or remove one.",
		Periods: 15, Breaching: 10, Missing: watch.NotBreaching, Severity: watch.Warning,
	})
}

// locked is when Firehose can't use the customer key of direct puts.
func (d *Delivery) locked() watch.Signal {
	failed := watch.Metric{Label: "Uses of the key that failed", Expression: "MAX([m0, m1, m2, m3])"}
	for _, name := range []string{"KMSKeyAccessDenied", "KMSKeyDisabled", "KMSKeyInvalidState", "KMSKeyNotFound"} {
		failed.Using = append(failed.Using, d.metric(name, "Sum"))
	}
	return watch.Signal{
		Owner: d.construct, Name: "KeyFailed", Graph: "Uses of the key that failed", Metric: failed, Runbook: "delivery-key",
		From: "Firehose should be able to use its key", Why: "Firehose can't use the customer key of the delivery stream: it turns puts away, and can't deliver what it holds.",
		Do:      "Enable the key, or give Firehose its grant on it again.",
		Periods: 5, Breaching: 1, Missing: watch.NotBreaching, Severity: watch.Critical,
	}
}

// quota is how near producers are to the delivery stream's quota, of bytes, records
// or calls a second, whichever is nearest.
func (d *Delivery) quota() watch.Signal {
	used := watch.Metric{Label: "Share of the quota (%)", Period: 5 * time.Minute, Expression: "100 * MAX([m0/300/m1, m2/300/m3, m4/300/m5])"}
	for _, of := range [][2]string{{"IncomingBytes", "BytesPerSecondLimit"}, {"IncomingRecords", "RecordsPerSecondLimit"}, {"IncomingPutRequests", "PutRequestsPerSecondLimit"}} {
		put, limit := d.metric(of[0], "Sum"), d.metric(of[1], "Minimum")
		put.Period, limit.Period = used.Period, used.Period
		used.Using = append(used.Using, put, limit)
	}
	return watch.Signal{
		Owner: d.construct, Name: "Quota", Graph: "Quota in use (%)", Metric: used, Runbook: "delivery-quota",
		Threshold: 75, From: "three quarters of the delivery stream's own limits",
		Why: "Above its quota of bytes, records or calls a second, a delivery stream turns records away.",
		Do:  "Ask for a higher quota before it is reached; put batches, if it is the calls.",
		// Two of three: producers' bursts of five minutes are no trend.
		Periods: 3, Breaching: 2, Missing: watch.NotBreaching, Severity: watch.Warning,
	}
}
