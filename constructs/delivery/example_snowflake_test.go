package delivery_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// The key pair, {"user": "…", "private_key": "…"}, is put into the secret by hand.
func ExampleSnowflake() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})
	key := awssecretsmanager.Secret_FromSecretNameV2(stack, jsii.String("Key"), jsii.String("shop/snowflake"))

	delivery.New(stack, "Warehouse", delivery.Props{Source: orders, To: delivery.Snowflake{
		KeyPair: key,
		SnowflakeDelivery: spec.SnowflakeDelivery{
			AccountURL: "https://xy12345.eu-west-1.snowflakecomputing.com", Database: "SHOP", Schema: "RAW", Table: "ORDERS",
			Loading: spec.VariantContent, ContentColumn: "RECORD",
		},
	}})
}
