package delivery_test

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// Order is what the stream carries, as JSON, and a row of the table.
type Order struct {
	ID    string    `json:"id" redshift:",varchar(36),notnull,distkey"`
	At    time.Time `json:"at" redshift:",,sortkey"`
	Total float64   `json:"total" redshift:",decimal(12,2)"`
}

// A Redshift Serverless workgroup with its network, and in it a table with a column
// for each of Order's fields, and the user that Firehose loads it as.
func ExampleRedshift() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), &awscdk.StackProps{
		Env: &awscdk.Environment{Region: jsii.String("eu-west-1")}, // Firehose's addresses differ by region
	})
	orders := stream.New(stack, "Orders", stream.Props{})

	delivery.New(stack, "Warehouse", delivery.Props{Source: orders, To: delivery.Redshift{
		RedshiftDelivery:  spec.RedshiftDelivery{Table: "orders", Row: Order{}},
		PubliclyReachable: true,
	}})
}
