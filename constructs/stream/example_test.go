package stream_test

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
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

// A stream that another stack or team owns.
func ExampleOf() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	arn := jsii.String("arn:aws:kinesis:eu-west-1:111122223333:stream/orders")

	orders := stream.Of(awskinesis.Stream_FromStreamArn(stack, jsii.String("Orders"), arn), 24*time.Hour)
	_ = orders.Signals()
}
