package deploy

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchserverless"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchservice"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// unknown is what the emulator can't deploy, with a part of its answer.
var unknown = map[string]string{
	"opensearch-serverless": "Unrecognized resource types: [AWS::OpenSearchServerless::AccessPolicy, AWS::OpenSearchServerless::Collection]",
	"opensearch-vpc-opened": "Unrecognized resource types: [AWS::EC2::SecurityGroupEgress, AWS::EC2::SecurityGroupIngress]",
}

func init() {
	rows["s3"] = func(stack awscdk.Stack) { toward(stack, delivery.S3{}) }
	rows["s3-existing"] = func(stack awscdk.Stack) {
		toward(stack, delivery.S3{Bucket: awss3.NewBucket(stack, jsii.String("Bucket"), &awss3.BucketProps{EncryptionKey: awskms.NewKey(stack, jsii.String("Key"), nil)})})
	}
	rows["direct-put"] = func(stack awscdk.Stack) {
		delivery.New(stack, "Delivery", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.S3{}})
	}
	rows["opensearch"] = func(stack awscdk.Stack) {
		domain := awsopensearchservice.NewDomain(stack, jsii.String("Domain"), &awsopensearchservice.DomainProps{Version: awsopensearchservice.EngineVersion_OPENSEARCH_2_19()})
		toward(stack, delivery.OpenSearch{Domain: domain, OpenSearchDelivery: spec.OpenSearchDelivery{Index: "orders"}})
	}
	rows["opensearch-vpc"] = func(stack awscdk.Stack) { towardVPC(stack) }
	rows["opensearch-vpc-opened"] = func(stack awscdk.Stack) {
		domain, d := towardVPC(stack)
		domain.Connections().AllowFrom(d.Connections(), awsec2.Port_HTTPS(), nil)
	}
	rows["opensearch-serverless"] = func(stack awscdk.Stack) {
		collection := awsopensearchserverless.NewCfnCollection(stack, jsii.String("Collection"), &awsopensearchserverless.CfnCollectionProps{Name: jsii.String("orders"), Type: jsii.String("TIMESERIES")})
		toward(stack, delivery.OpenSearchServerless{
			Collection: delivery.CollectionOf(collection), OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "orders"},
		})
	}
	rows["splunk"] = func(stack awscdk.Stack) {
		toward(stack, delivery.Splunk{
			Token:          awssecretsmanager.NewSecret(stack, jsii.String("Token"), &awssecretsmanager.SecretProps{EncryptionKey: awskms.NewKey(stack, jsii.String("Key"), nil)}),
			SplunkDelivery: spec.SplunkDelivery{Endpoint: "https://splunk.example.com:8088"},
		})
	}
	rows["http-endpoint"] = func(stack awscdk.Stack) {
		toward(stack, delivery.HTTPEndpoint{
			AccessKey: awssecretsmanager.NewSecret(stack, jsii.String("AccessKey"), nil),
			HTTPEndpointDelivery: spec.HTTPEndpointDelivery{
				URL: "https://partner.example.com/orders", CommonAttributes: map[string]string{"shop": "eu"}, BackupAll: true,
			},
		})
	}
}

// toward delivers a new stream to a destination.
func toward(stack awscdk.Stack, to delivery.Destination) *delivery.Delivery {
	return delivery.New(stack, "Delivery", delivery.Props{Source: stream.New(stack, "Stream", stream.Props{}), To: to})
}

// towardVPC delivers a new stream to a domain in a VPC.
func towardVPC(stack awscdk.Stack) (awsopensearchservice.Domain, *delivery.Delivery) {
	isolated := &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}
	vpc := awsec2.NewVpc(stack, jsii.String("Vpc"), &awsec2.VpcProps{
		NatGateways: jsii.Number(0), SubnetConfiguration: &[]*awsec2.SubnetConfiguration{{Name: jsii.String("Private"), SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}},
		RestrictDefaultSecurityGroup: jsii.Bool(false), // that is a function of the CDK's, which isn't published here
	})
	domain := awsopensearchservice.NewDomain(stack, jsii.String("Domain"), &awsopensearchservice.DomainProps{
		Version: awsopensearchservice.EngineVersion_OPENSEARCH_2_19(), Vpc: vpc, VpcSubnets: &[]*awsec2.SubnetSelection{isolated},
		ZoneAwareness: &awsopensearchservice.ZoneAwarenessConfig{Enabled: jsii.Bool(true)}, Capacity: &awsopensearchservice.CapacityConfig{DataNodes: jsii.Number(2)},
	})
	return domain, toward(stack, delivery.OpenSearch{
		Domain: domain, Network: delivery.Network{VPC: vpc, Subnets: isolated}, OpenSearchDelivery: spec.OpenSearchDelivery{Index: "orders"},
	})
}
