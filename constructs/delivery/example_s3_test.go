package delivery_test

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// A table for Athena: Parquet files with the columns of a Go struct.
func ExampleS3_parquet() {
	type Order struct {
		ID       int64     `json:"id"`
		Customer string    `json:"customer"`
		Total    float64   `json:"total" glue:",decimal(10,2)"`
		At       time.Time `json:"at"`
	}
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	delivery.New(stack, "Table", delivery.Props{Source: orders, To: delivery.S3{
		S3Delivery: spec.S3Delivery{Format: spec.Parquet{}},
		Schema:     delivery.Schema{Schema: spec.Schema{Row: Order{}}},
	}})
}

// A folder per customer, and a copy of what came.
func ExampleS3_partitioning() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	delivery.New(stack, "Archive", delivery.Props{Source: orders, To: delivery.S3{
		S3Delivery: spec.S3Delivery{
			Prefix:       "orders/customer=!{partitionKeyFromQuery:customer}/!{timestamp:yyyy-MM-dd}/",
			Partitioning: spec.Partitioning{FromQuery: map[string]string{"customer": ".customer.id"}},
			NewLines:     true, TimeZone: "Europe/Zurich",
		},
		Backup: &delivery.Backup{},
	}})
}
