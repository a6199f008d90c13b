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

// An index to query by, and capacity that is scaled between a minimum and a maximum.
func ExampleNew_provisioned() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	table.New(stack, "Stock", table.Props{Table: spec.Table{
		PartitionKey: "warehouse", SortKey: "sku",
		GlobalIndexes: []spec.GlobalIndex{{Name: "bySupplier", PartitionKeys: []spec.Key{{Name: "supplier"}}}},
		Billing:       spec.ProvisionedCapacity,
		ReadCapacity:  spec.Capacity{Min: 5, Max: 100},
		WriteCapacity: spec.Capacity{Min: 5, Max: 50},
	}})
}

// A copy in another region. Both regions read and write.
func ExampleNew_replicas() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	table.New(stack, "Stock", table.Props{Table: spec.Table{
		PartitionKey: "sku", Stream: spec.NewAndOldImages, Replicas: []spec.Replica{{Region: "eu-west-1"}},
	}})
}

// A table of another stack or account.
func ExampleFromName() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	table.FromName(stack, "Stock", "stock", table.Attributes{GlobalIndexes: []string{"bySupplier"}})
}
