package table_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/table"
)

// A table on demand with continuous backups, whose changes can be consumed.
func ExampleNew() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	stock := table.New(stack, "Stock", table.Props{
		Table: spec.Table{PartitionKey: "warehouse", SortKey: "sku", Stream: spec.NewAndOldImages},
	})
	_ = stock.Changes() // a consumer's Source
}
