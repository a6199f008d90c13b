package stream

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/tags"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// FanOutProps of [Stream.FanOut]. The zero value is good.
type FanOutProps struct {
	// Name of the consumer, 1 to 128 of a-z A-Z 0-9 _ . -, unique for its stream; by
	// default made of the construct's path. CloudFormation changes neither it nor
	// the tags, but replaces the consumer, which needs another name then.
	Name string
	// Tags of the consumer, up to 50; none by default. A key has 1 to 128
	// characters and doesn't begin with aws:, a value has up to 255.
	Tags map[string]string
}

// FanOut is an enhanced fan-out consumer of a stream: it has 2 MB/s of every shard
// to itself, pushed within some 70 ms. It is a consumer's source, in the stream's
// place.
type FanOut struct {
	construct constructs.Construct
	stream    *Stream
	name      *string
	resource  awskinesis.CfnStreamConsumer
	policy    awsiam.PolicyDocument // once it is shared
}

// FanOut defines an enhanced fan-out consumer of the stream, at a price by the hour
// and gigabyte. It panics with a [*spec.Invalid] when a setting is invalid, or when
// the stream has as many as Kinesis registers: 20, or 50 with
// spec.OnDemandAdvantage.
func (s *Stream) FanOut(id string, props FanOutProps) *FanOut {
	check := spec.At("")
	if most := spec.StreamFanOuts(s.mode); len(s.fanOuts) >= most {
		check.Add("FanOut", id, fmt.Sprintf("a stream has at most %d enhanced fan-out consumers (50 with spec.OnDemandAdvantage, 20 otherwise)", most),
			"let consumers share one function, or read the stream itself")
	}
	if props.Name != "" {
		check.Pattern("Name", props.Name, spec.ConsumerName)
	}
	check.Tags("Tags", props.Tags, spec.StreamTagValue.Max)
	valid.Must(s.construct, check)

	scope, below := s.construct.(constructs.Construct)
	if !below { // an import of the CDK's own takes no children
		scope, id = awscdk.Stack_Of(s.construct), *s.construct.Node().Id()+"-"+id
	}
	this := constructs.NewConstruct(scope, jsii.String(id))
	name := jsii.String(props.Name)
	if props.Name == "" {
		name = awscdk.Names_UniqueResourceName(this, &awscdk.UniqueResourceNameOptions{
			MaxLength: jsii.Number(128), Separator: jsii.String("-"),
		})
	}
	cfn := &awskinesis.CfnStreamConsumerProps{StreamArn: s.Arn(), ConsumerName: name, Tags: tags.Of(props.Tags)}
	f := &FanOut{construct: this, stream: s, name: name, resource: awskinesis.NewCfnStreamConsumer(this, jsii.String("Resource"), cfn)}
	if n := len(s.fanOuts); n >= atOnce {
		f.resource.AddResourceDependency(s.fanOuts[n-atOnce].resource, nil)
	}
	s.fanOuts = append(s.fanOuts, f)
	return f
}

// atOnce is how many consumers of a stream Kinesis registers at the same time; a
// further one fails, so it waits for another.
const atOnce = 5

// Construct is the node that holds everything defined here.
func (f *FanOut) Construct() constructs.IConstruct { return f.construct }

// Stream that is read.
func (f *FanOut) Stream() *Stream { return f.stream }

// Resource is the CloudFormation resource.
func (f *FanOut) Resource() awskinesis.CfnStreamConsumer { return f.resource }

// Arn of the consumer, which an event source mapping reads in the stream's place.
func (f *FanOut) Arn() *string { return f.resource.AttrConsumerArn() }

// Name of the consumer.
func (f *FanOut) Name() *string { return f.name }

// Kind is spec.Kinesis.
func (f *FanOut) Kind() spec.SourceKind { return spec.Kinesis }

// Retention is how long the stream keeps a record.
func (f *FanOut) Retention() time.Duration { return f.stream.retention }

// Shards is the number of shards of a provisioned stream, and 0 for others.
func (f *FanOut) Shards() int { return f.stream.shards }

// Incoming counts the records that are put to the stream.
func (f *FanOut) Incoming() watch.Metric { return f.stream.Incoming() }

// Metric is one of the consumer's, such as "SubscribeToShardEvent.Records" and "Sum".
func (f *FanOut) Metric(name, statistic string) watch.Metric {
	m := f.stream.Metric(name, statistic)
	m.Dimensions["ConsumerName"] = f.Name()
	return m
}

// GrantRead allows what an event source mapping does with the consumer and its
// stream: Lambda asks for the stream's own reading too. There is no Grant, so that
// a delivery, which can't read through a consumer, doesn't take it for a stream.
func (f *FanOut) GrantRead(grantee awsiam.IGrantable) awsiam.Grant {
	return f.stream.GrantRead(grantee).Combine(allow.On(grantee, []*string{f.Arn()}, onConsumers...))
}

// onConsumers are the actions on a consumer, which read it. What the key allows for
// the stream's reading is what they need of it.
var onConsumers = []string{"kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"}

// Signals of the consumer: how far it is behind, and whether two want to be it.
func (f *FanOut) Signals() []watch.Signal {
	age := watch.Age(f.construct, "MillisBehindLatest", "Behind the stream (ms)",
		f.Metric("SubscribeToShardEvent.MillisBehindLatest", "Maximum"), f.stream.retention,
		"stream-fan-out-age", "See the errors, throttles and duration of the function that reads it; raise the retention if it can't catch up in time.")
	return append(age, watch.Signal{
		Owner: f.construct, Name: "SubscribeThrottled", Graph: "Subscriptions turned away (calls)", Runbook: "stream-fan-out-throttled",
		Metric: f.Metric("SubscribeToShard.RateExceeded", "Sum"),
		From:   "AWS counts none while one reader subscribes", Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		Why: "Kinesis refuses subscriptions: another reader holds them under the same consumer, or they are asked for more than once a second.",
		Do:  "Give each reader a consumer of its own.",
	})
}
