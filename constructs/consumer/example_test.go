package consumer_test

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/consumer"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/table"
	"github.com/millrace/millrace/constructs/watch"
)

// A function that folds a stream into a table. Batches that keep failing end in
// a bucket with their payload.
func ExampleNew() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})
	stock := table.New(stack, "Stock", table.Props{Table: spec.Table{PartitionKey: "sku"}})

	update := consumer.New(stack, "UpdateStock", consumer.Props{
		Source:      orders,
		Code:        gofunc.Package("./lambdas/stock"),
		Environment: map[string]*string{"STOCK_TABLE": stock.Name()},
	})
	stock.Grant(update.GrantPrincipal(), "dynamodb:UpdateItem")
}

// New code gets a tenth of the batches for ten minutes, and is taken back when it
// fails, slows down or rejects records. Only sales are read, and what can't be
// processed is announced in a queue.
func ExampleNew_rollout() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	bill := consumer.New(stack, "Bill", consumer.Props{
		Source:    orders,
		Code:      gofunc.Package("./lambdas/bill"),
		Consumer:  spec.Consumer{Filters: []string{`{"data": {"kind": ["sale"]}}`}},
		OnFailure: consumer.SQS{},
		Rollout:   &consumer.Rollout{Rollout: spec.Rollout{Interval: 10 * time.Minute}},
	})
	watch.New(stack, "Watch", watch.Props{Signals: watch.All(orders, bill)})
}
