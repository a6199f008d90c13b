package delivery_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// Every record as a row of one table.
func ExampleIceberg() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	delivery.New(stack, "Lake", delivery.Props{Source: orders, To: delivery.Iceberg{
		Warehouse:       awss3.Bucket_FromBucketName(stack, jsii.String("Warehouse"), jsii.String("shop-lake")),
		IcebergDelivery: spec.IcebergDelivery{Tables: []spec.IcebergTable{{Database: "shop", Table: "orders"}}, AppendOnly: true},
	}})
}

// Records say their table, and whether they insert, update or delete a row.
func ExampleIceberg_route() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	changes := stream.New(stack, "Changes", stream.Props{})

	delivery.New(stack, "Lake", delivery.Props{Source: changes, To: delivery.Iceberg{
		Catalog: delivery.S3TablesCatalog(stack, jsii.String("shop-tables")),
		IcebergDelivery: spec.IcebergDelivery{
			Tables: []spec.IcebergTable{
				{Database: "shop", Table: "orders", UniqueKeys: []string{"id"}},
				{Database: "shop", Table: "returns", UniqueKeys: []string{"id"}},
			},
			Route: spec.IcebergRoute{Database: `"shop"`, Table: ".table", Operation: `.op // "insert"`},
		},
	}})
}
