package delivery_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// Everything that a stream carries, as compressed objects in a new bucket.
func ExampleNew() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	delivery.New(stack, "Archive", delivery.Props{Source: orders, To: delivery.S3{}})
}

func ExampleNew_transform() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	delivery.New(stack, "Archive", delivery.Props{
		Source:    orders,
		To:        delivery.S3{S3Delivery: spec.S3Delivery{Prefix: "orders/!{timestamp:yyyy/MM/dd}/", BufferSize: 64}},
		Transform: &delivery.Transform{Code: gofunc.Package("./lambdas/redact")},
	})
}
