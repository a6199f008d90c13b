package delivery_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// The token, {"hec_token": "…"}, is put into the secret by hand.
func ExampleSplunk() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})
	token := awssecretsmanager.Secret_FromSecretNameV2(stack, jsii.String("Token"), jsii.String("shop/splunk"))

	delivery.New(stack, "Logs", delivery.Props{Source: orders, To: delivery.Splunk{
		Token: token, SplunkDelivery: spec.SplunkDelivery{Endpoint: "https://http-inputs-firehose-shop.splunkcloud.com:443"},
	}})
}
