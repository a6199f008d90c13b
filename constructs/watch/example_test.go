package watch_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

// Alarms on everything that the constructs know of themselves, and one of our own.
func ExampleNew() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	silence := watch.Signal{
		Owner: orders.Construct(), Name: "Silence", Graph: "Orders put (records)",
		Metric: watch.Metric{
			Namespace: "AWS/Kinesis", Name: "IncomingRecords", Statistic: "Sum",
			Dimensions: map[string]*string{"StreamName": orders.Stream().StreamName()},
		},
		Below: true, Threshold: 1, From: "the shop sells at every hour", Periods: 15,
		Why: "No order arrives.", Do: "Look at the shop's front end.",
		Runbook: "https://wiki.example.com/orders-silent",
		Missing: watch.Breaching, Severity: watch.Critical,
	}
	watch.New(stack, "Watch", watch.Props{
		Signals: append(orders.Signals(), silence),
		Email:   "oncall@example.com",
	})
}
