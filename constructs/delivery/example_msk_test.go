package delivery_test

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsmsk"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
)

// All that a topic has. The cluster's policy lets Firehose connect to it, and comes
// before the delivery.
func ExampleMSK() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)
	cluster := jsii.String("arn:aws:kafka:eu-west-1:111122223333:cluster/shop/0a1b2c3d-4e5f-6789-abcd-ef0123456789-5")
	policy := awsmsk.NewCfnClusterPolicy(stack, jsii.String("Policy"), &awsmsk.CfnClusterPolicyProps{
		ClusterArn: cluster,
		Policy: map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
			"Effect": "Allow", "Principal": map[string]any{"Service": "firehose.amazonaws.com"}, "Action": "kafka:CreateVpcConnection", "Resource": *cluster,
		}}},
	})

	archive := delivery.New(stack, "Archive", delivery.Props{
		MSK: &delivery.MSK{Cluster: cluster, MSKTopic: spec.MSKTopic{Topic: "orders", ReadFrom: spec.Earliest}},
		To:  delivery.S3{},
	})
	archive.Resource().AddResourceDependency(policy, nil)
}
