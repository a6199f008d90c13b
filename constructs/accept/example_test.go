package accept_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/stream"
)

// Findings on a resource of yours, or of this module's constructs, beside those
// that these accept themselves.
func ExampleOn() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	mine := awss3.NewBucket(stack, jsii.String("Archive"), nil)
	accept.On(mine.Node().DefaultChild().(awss3.CfnBucket),
		accept.Because("CloudTrail logs every access to this bucket already.", "AwsSolutions-S1", "CKV_AWS_18"))

	orders := stream.New(stack, "Orders", stream.Props{})
	archive := delivery.New(stack, "Archiving", delivery.Props{Source: orders, To: delivery.S3{Bucket: mine}})
	accept.On(archive.Resource(), accept.Because("Our checker wants a name that we don't give.", "Acme-NamedDeliveries"))
}
