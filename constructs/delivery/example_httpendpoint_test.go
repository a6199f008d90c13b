package delivery_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

func ExampleHTTPEndpoint() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})

	delivery.New(stack, "Partner", delivery.Props{Source: orders, To: delivery.HTTPEndpoint{
		HTTPEndpointDelivery: spec.HTTPEndpointDelivery{
			URL: "https://partner.example.com/orders", CommonAttributes: map[string]string{"shop": "eu"}, BackupAll: true,
		},
		AccessKey: awssecretsmanager.Secret_FromSecretNameV2(stack, jsii.String("Key"), jsii.String("shop/partner")),
	}})
}

// The API key, {"api_key": "…"}, is put into the secret by hand.
func ExampleDatadog() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})
	key := awssecretsmanager.Secret_FromSecretNameV2(stack, jsii.String("Key"), jsii.String("shop/datadog"))

	delivery.New(stack, "Logs", delivery.Props{Source: orders, To: delivery.Datadog(delivery.DatadogEU, key)})
}
