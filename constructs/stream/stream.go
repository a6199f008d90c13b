// Package stream defines a Kinesis data stream: encrypted, on demand unless told
// otherwise, with the signals that tell when it is full or its readers lag.
package stream

import (
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
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
	// Key encrypts the stream; nil means Kinesis' own key, which is free, and which
	// other accounts can't use.
	Key awskms.IKey
	// Tags of the stream, up to 50, besides those of the CDK's Tags; none by
	// default. A key has 1 to 128 characters and doesn't begin with aws:, a value
	// has up to 255.
	Tags map[string]string
	// RemovalPolicy of the stream with its records; RETAIN by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Stream is a Kinesis data stream.
type Stream struct {
	construct constructs.IConstruct
	stream    awskinesis.IStream
	name      *string
	key       awskms.IKey
	mode      spec.StreamMode // "" where it isn't known
	retention time.Duration
	shards    int
	fanOuts   []*FanOut
}

// New defines a stream. It panics with a [*spec.Invalid] when a setting is
// invalid; [spec.Stream.Validate] tells beforehand.
func New(scope constructs.Construct, id string, props Props) *Stream {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Merge(props.Validate(""))
	check.Tags("Tags", props.Tags, spec.StreamTagValue.Max)
	valid.Must(this, check)

	settings := props.WithDefaults()
	l2 := &awskinesis.StreamProps{
		StreamMode:      awskinesis.StreamMode_ON_DEMAND,
		RetentionPeriod: awscdk.Duration_Hours(jsii.Number(settings.RetentionPeriod.Hours())),
		// Left unset, encryption renders a condition on the region in a stack
		// without one, which security checks read as unencrypted.
		Encryption:    awskinesis.StreamEncryption_MANAGED,
		RemovalPolicy: removal.Or(props.RemovalPolicy),
	}
	if settings.Mode == spec.Provisioned {
		l2.StreamMode, l2.ShardCount = awskinesis.StreamMode_PROVISIONED, jsii.Number(settings.Shards)
	}
	if settings.Name != "" {
		l2.StreamName = jsii.String(settings.Name)
	}
	if !valid.Missing(props.Key) {
		l2.Encryption, l2.EncryptionKey = awskinesis.StreamEncryption_KMS, props.Key
	}
	s := &Stream{
		construct: this, stream: awskinesis.NewStream(this, jsii.String("Resource"), l2), key: l2.EncryptionKey,
		mode: settings.Mode, retention: settings.RetentionPeriod, shards: settings.Shards,
	}
	s.set(props, settings)
	if s.key != nil {
		accept.On(s.Resource(), accept.Because(
			"A customer key is asked for: it can be shared, audited and revoked, which its price per request is for.", "AwsSolutions-KDS3"))
	}
	return s
}

// set sets what the CDK's own stream doesn't know.
func (s *Stream) set(props Props, settings spec.Stream) {
	warm, large := settings.WarmThroughput != 0, props.MaximumRecordSize != 0
	if !warm && !large && len(settings.ShardMetrics) == 0 && len(props.Tags) == 0 {
		return
	}
	cfn := s.Resource()
	if warm {
		cfn.SetWarmThroughputMiBps(jsii.Number(settings.WarmThroughput))
	}
	if large {
		cfn.SetMaxRecordSizeInKiB(jsii.Number(settings.MaximumRecordSize))
	}
	if len(settings.ShardMetrics) > 0 {
		names := make([]string, len(settings.ShardMetrics))
		for i, m := range settings.ShardMetrics {
			names[i] = string(m)
		}
		cfn.SetDesiredShardLevelMetrics(jsii.Strings(names...))
	}
	if len(props.Tags) > 0 {
		tags := cfn.Tags()
		for _, key := range slices.Sorted(maps.Keys(props.Tags)) {
			tags.SetTag(jsii.String(key), jsii.String(props.Tags[key]), nil, nil)
		}
	}
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

// Name of the stream, for a function's environment.
func (s *Stream) Name() *string {
	if s.name == nil {
		s.name = s.stream.StreamName()
	}
	return s.name
}

// Key that encrypts the stream; nil for Kinesis' own.
func (s *Stream) Key() awskms.IKey { return s.key }

// Kind is spec.Kinesis.
func (s *Stream) Kind() spec.SourceKind { return spec.Kinesis }

// Retention is how long the stream keeps a record.
func (s *Stream) Retention() time.Duration { return s.retention }

// Shards is the number of shards of a provisioned stream, and 0 for others.
func (s *Stream) Shards() int { return s.shards }

// Incoming counts the records that are put.
func (s *Stream) Incoming() watch.Metric { return s.Metric("IncomingRecords", "Sum") }

// Metric is one of the stream's: CloudWatch's own words, such as
// "PutRecords.ThrottledRecords" and "Sum".
func (s *Stream) Metric(name, statistic string) watch.Metric {
	return watch.Metric{
		Namespace: "AWS/Kinesis", Name: name, Statistic: statistic,
		Dimensions: map[string]*string{"StreamName": s.Name()},
	}
}

// ShardMetric is one of a shard's, such as "shardId-000000000000"; the stream
// publishes those that its ShardMetrics name.
func (s *Stream) ShardMetric(shard string, name spec.ShardMetric, statistic string) watch.Metric {
	m := s.Metric(string(name), statistic)
	m.Dimensions["ShardId"] = jsii.String(shard)
	return m
}

// Grant allows exactly these actions ("kinesis:PutRecords") on the stream, and
// what the stream's key needs for them.
func (s *Stream) Grant(grantee awsiam.IGrantable, actions ...string) awsiam.Grant {
	check := spec.At("")
	allow.Check(check, "kinesis", actions)
	valid.Must(s.construct, check)
	if uses := keyUses(actions); s.key != nil && len(uses) > 0 {
		s.key.Grant(grantee, *jsii.Strings(uses...)...)
	}
	return allow.On(grantee, []*string{s.Arn()}, actions...)
}

// keyUses are what a stream's customer key has to allow for these actions.
func keyUses(actions []string) (uses []string) {
	any := func(names ...string) bool {
		return slices.ContainsFunc(actions, func(a string) bool { return slices.Contains(names, a) })
	}
	if any("kinesis:PutRecord", "kinesis:PutRecords") {
		uses = append(uses, "kms:GenerateDataKey")
	}
	if any("kinesis:GetRecords", "kinesis:SubscribeToShard") {
		uses = append(uses, "kms:Decrypt")
	}
	return uses
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
	count := func(name, metric, runbook string) watch.Signal {
		return watch.Signal{
			Owner: s.construct, Name: name, Metric: s.Metric(metric, "Sum"), Runbook: runbook,
			From: "AWS counts none on a healthy stream", Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		}
	}
	full := count("WriteThrottled", "WriteProvisionedThroughputExceeded", "stream-write-throttled")
	full.Graph = "Writes turned away (records)"
	full.Why = "Producers write more than the shards take, or one partition key gets too large a share."
	full.Do = "Add shards, or spread the partition keys; producers that retry lose nothing meanwhile."

	busy := count("ReadThrottled", "ReadProvisionedThroughputExceeded", "stream-read-throttled")
	busy.Graph = "Reads turned away (calls)"
	busy.Why = "Its readers share 2 MB/s and 5 calls/s per shard and want more."
	busy.Do = "Give a consumer enhanced fan-out, or remove a reader."

	failed := count("PutFailed", "PutRecords.FailedRecords", "stream-put-failed")
	failed.Graph = "Records that failed inside Kinesis"
	failed.Why = "PutRecords answered with an internal failure for these entries; a producer that ignores it loses them."
	failed.Do = "Check that every producer retries the entries that PutRecords names as failed."

	age := watch.Age(s.construct, "IteratorAge", "Age of the last record read (ms)",
		s.Metric("GetRecords.IteratorAgeMilliseconds", "Maximum"),
		s.retention, "stream-iterator-age", "Find the consumer that lags by its own alarm; raise the retention if it can't catch up in time.")
	return append(age, full, busy, failed)
}
