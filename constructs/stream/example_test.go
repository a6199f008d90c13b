package stream_test

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// The simplest stream: on demand, encrypted, 24 hours.
func ExampleNew() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	stream.New(stack, "Orders", stream.Props{})
}

func ExampleNew_provisioned() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	stream.New(stack, "Orders", stream.Props{
		Stream: spec.Stream{Mode: spec.Provisioned, Shards: 4, RetentionPeriod: 7 * 24 * time.Hour},
	})
}

// A function with 2 MB/s of every shard to itself: pass the FanOut as the Source of
// a consumer. Another account puts records, which takes a customer key.
func ExampleStream_FanOut() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	orders := stream.New(stack, "Orders", stream.Props{Key: awskms.NewKey(stack, jsii.String("Key"), nil)})
	live := orders.FanOut("Live", stream.FanOutProps{}) // a consumer's Source
	orders.Share("111122223333", "kinesis:PutRecords")
	_ = live.Signals()
}

// A stream of another account, with what it can't tell of itself.
func ExampleFromArn() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	stream.FromArn(stack, "Orders", "arn:aws:kinesis:eu-west-1:111122223333:stream/orders", stream.Attributes{
		Mode: spec.Provisioned, Shards: 4, RetentionPeriod: 48 * time.Hour,
	})
}

// A stream that another construct defines.
func ExampleOf() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	arn := jsii.String("arn:aws:kinesis:eu-west-1:111122223333:stream/orders")

	orders := stream.Of(awskinesis.Stream_FromStreamArn(stack, jsii.String("Orders"), arn), 24*time.Hour)
	_ = orders.Signals()
}
