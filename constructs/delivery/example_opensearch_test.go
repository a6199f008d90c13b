package delivery_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchserverless"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchservice"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// Every record as a document, in an index a day: orders-2026-03-04.
func ExampleOpenSearch() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})
	domain := awsopensearchservice.Domain_FromDomainAttributes(stack, jsii.String("Search"), &awsopensearchservice.DomainAttributes{
		DomainArn: jsii.String("arn:aws:es:eu-west-1:111122223333:domain/shop"), DomainEndpoint: jsii.String("https://search-shop-abc.eu-west-1.es.amazonaws.com"),
	})

	delivery.New(stack, "Find", delivery.Props{Source: orders, To: delivery.OpenSearch{
		Domain: domain, OpenSearchDelivery: spec.OpenSearchDelivery{Index: "orders"},
	}})
}

// A domain in a VPC lets the delivery in.
func ExampleOpenSearch_vpc() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})
	vpc := awsec2.NewVpc(stack, jsii.String("Vpc"), nil)
	domain := awsopensearchservice.NewDomain(stack, jsii.String("Search"), &awsopensearchservice.DomainProps{
		Version: awsopensearchservice.EngineVersion_OPENSEARCH_2_19(), Vpc: vpc,
	})

	find := delivery.New(stack, "Find", delivery.Props{Source: orders, To: delivery.OpenSearch{
		Domain: domain, Network: delivery.Network{VPC: vpc}, OpenSearchDelivery: spec.OpenSearchDelivery{Index: "orders"},
	}})
	domain.Connections().AllowFrom(find.Connections(), awsec2.Port_HTTPS(), nil)
}

func ExampleOpenSearchServerless() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	orders := stream.New(stack, "Orders", stream.Props{})
	collection := awsopensearchserverless.NewCfnCollection(stack, jsii.String("Logs"), &awsopensearchserverless.CfnCollectionProps{
		Name: jsii.String("orders"), Type: jsii.String("TIMESERIES"),
	})

	delivery.New(stack, "Find", delivery.Props{Source: orders, To: delivery.OpenSearchServerless{
		Collection: delivery.CollectionOf(collection), OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "orders"},
	}})
}
