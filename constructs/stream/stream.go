// Package stream defines a Kinesis data stream: encrypted, on demand unless told
// otherwise, with the signals that tell when it is full or its readers lag.
package stream

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/removal"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Props of [New]. The zero value is a good stream.
type Props struct {
	// Stream are the settings; their zero value means on demand and 24 h.
	spec.Stream
	// Key encrypts the stream; nil means Kinesis' own key, which is free.
	Key awskms.IKey
	// RemovalPolicy of the stream with its records; RETAIN by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Stream is a Kinesis data stream.
type Stream struct {
	construct constructs.IConstruct
	stream    awskinesis.IStream
	retention time.Duration
	shards    int
}

// New defines a stream. It panics with a [*spec.Invalid] when a setting is
// invalid; [spec.Stream.Validate] tells beforehand.
func New(scope constructs.Construct, id string, props Props) *Stream {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Merge(props.Validate(""))
	valid.Must(this, check)

	settings := props.WithDefaults()
	l2 := &awskinesis.StreamProps{
		StreamMode:      awskinesis.StreamMode(settings.Mode),
		RetentionPeriod: awscdk.Duration_Hours(jsii.Number(settings.RetentionPeriod.Hours())),
		// Left unset, encryption renders a condition on the region in a stack
		// without one, which security checks read as unencrypted.
		Encryption:    awskinesis.StreamEncryption_MANAGED,
		RemovalPolicy: removal.Or(props.RemovalPolicy),
	}
	if settings.Mode == spec.Provisioned {
		l2.ShardCount = jsii.Number(settings.Shards)
	}
	if props.Key != nil {
		l2.Encryption, l2.EncryptionKey = awskinesis.StreamEncryption_KMS, props.Key
	}
	return &Stream{this, awskinesis.NewStream(this, jsii.String("Resource"), l2), settings.RetentionPeriod, settings.Shards}
}

// Of takes a stream that is defined elsewhere, by any construct or import, which
// keeps its records for retention; 0 means 24 h, as Kinesis does.
func Of(existing awskinesis.IStream, retention time.Duration) *Stream {
	valid.Need("stream.Of", "existing", existing)
	return &Stream{existing, existing, spec.Stream{RetentionPeriod: retention}.WithDefaults().RetentionPeriod, 0}
}

// Construct is the node that holds everything defined here.
func (s *Stream) Construct() constructs.IConstruct { return s.construct }

// Stream is the CDK's own stream.
func (s *Stream) Stream() awskinesis.IStream { return s.stream }

// Resource is the CloudFormation resource, to set what this package doesn't; nil
// for a stream that was imported.
func (s *Stream) Resource() awskinesis.CfnStream {
	if child := s.stream.Node().DefaultChild(); child != nil {
		cfn, _ := child.(awskinesis.CfnStream)
		return cfn
	}
	return nil
}

// Arn of the stream.
func (s *Stream) Arn() *string { return s.stream.StreamArn() }

// Kind is spec.Kinesis.
func (s *Stream) Kind() spec.SourceKind { return spec.Kinesis }

// Retention is how long the stream keeps a record.
func (s *Stream) Retention() time.Duration { return s.retention }

// Shards is the number of shards of a provisioned stream, and 0 for others.
func (s *Stream) Shards() int { return s.shards }

// Incoming counts the records that are put.
func (s *Stream) Incoming() watch.Metric {
	return watch.Metric{
		Namespace: "AWS/Kinesis", Name: "IncomingRecords", Statistic: "Sum",
		Dimensions: map[string]*string{"StreamName": s.stream.StreamName()},
	}
}

// Grant allows exactly these actions ("kinesis:PutRecords") on the stream, and
// what the stream's key needs for them.
func (s *Stream) Grant(grantee awsiam.IGrantable, actions ...string) awsiam.Grant {
	if key := s.stream.EncryptionKey(); key != nil {
		reads, writes := false, false
		for _, a := range actions {
			writes = writes || a == "kinesis:PutRecord" || a == "kinesis:PutRecords"
			reads = reads || a == "kinesis:GetRecords" || a == "kinesis:SubscribeToShard"
		}
		if writes {
			key.Grant(grantee, jsii.String("kms:GenerateDataKey"))
		}
		if reads {
			key.Grant(grantee, jsii.String("kms:Decrypt"))
		}
	}
	return allow.On(grantee, []*string{s.Arn()}, actions...)
}

// GrantWrite allows to put records, and to wait until the stream can take them.
func (s *Stream) GrantWrite(grantee awsiam.IGrantable) awsiam.Grant {
	return s.Grant(grantee, "kinesis:PutRecord", "kinesis:PutRecords", "kinesis:DescribeStreamSummary")
}

// GrantRead allows what an event source mapping does with a stream.
func (s *Stream) GrantRead(grantee awsiam.IGrantable) awsiam.Grant {
	return s.Grant(grantee, "kinesis:DescribeStream", "kinesis:DescribeStreamSummary",
		"kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards")
}

// Signals of the stream: how far its slowest reader is behind, and what it turned away.
func (s *Stream) Signals() []watch.Signal {
	dimensions := map[string]*string{"StreamName": s.stream.StreamName()}
	metric := func(name, statistic string) watch.Signal {
		return watch.Signal{
			Owner: s.construct, Metric: watch.Metric{Namespace: "AWS/Kinesis", Name: name, Statistic: statistic, Dimensions: dimensions},
			From: "AWS counts none on a healthy stream", Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		}
	}
	full := metric("WriteProvisionedThroughputExceeded", "Sum")
	full.Name, full.Graph = "WriteThrottled", "Writes turned away (records)"
	full.Why = "Producers write more than the shards take, or one partition key gets too large a share."
	full.Runbook = "stream-write-throttled"
	full.Do = "Add shards, or spread the partition keys; producers that retry lose nothing meanwhile."

	busy := metric("ReadProvisionedThroughputExceeded", "Sum")
	busy.Name, busy.Graph = "ReadThrottled", "Reads turned away (calls)"
	busy.Why = "Its readers share 2 MB/s and 5 calls/s per shard and want more."
	busy.Runbook = "stream-read-throttled"
	busy.Do = "Give a consumer enhanced fan-out, or remove a reader."

	failed := metric("PutRecords.FailedRecords", "Sum")
	failed.Name, failed.Graph = "PutFailed", "Records that failed inside Kinesis"
	failed.Why = "PutRecords answered with an internal failure for these entries; a producer that ignores it loses them."
	failed.Runbook = "stream-put-failed"
	failed.Do = "Check that every producer retries the entries that PutRecords names as failed."

	age := watch.Age(s.construct, "IteratorAge", "Age of the last record read (ms)",
		watch.Metric{Namespace: "AWS/Kinesis", Name: "GetRecords.IteratorAgeMilliseconds", Statistic: "Maximum", Dimensions: dimensions},
		s.retention, "stream-iterator-age", "Find the consumer that lags by its own alarm; raise the retention if it can't catch up in time.")
	return append(age, full, busy, failed)
}
