package deploy

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
)

// The function that makes tables is tests/redshift's, where there is a database.
func init() {
	rows["redshift-cluster"] = func(stack awscdk.Stack) {
		toward(stack, delivery.Redshift{
			RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Columns: []string{"id", "amount"}, JSONPaths: []string{"$.id", "$.sum.total"}},
			Warehouse:        delivery.ExistingCluster{Name: "shop", Address: "shop.abc123.us-east-1.redshift.amazonaws.com"},
			Credentials:      loader(stack), Backup: &spec.S3Delivery{},
		})
	}
	rows["redshift-workgroup"] = func(stack awscdk.Stack) {
		toward(stack, delivery.Redshift{
			RedshiftDelivery: spec.RedshiftDelivery{Table: "orders"}, Warehouse: delivery.ExistingWorkgroup{Name: "shop"}, Credentials: loader(stack),
		})
	}
	unknown["redshift-new-cluster"] = "Unrecognized resource types: [AWS::Redshift::Cluster, AWS::Redshift::ClusterParameterGroup, AWS::Redshift::ClusterSubnetGroup]"
	unknown["redshift-new-workgroup"] = "Unrecognized resource types: [AWS::RedshiftServerless::Namespace, AWS::RedshiftServerless::Workgroup]"
	for name, warehouse := range map[string]delivery.Warehouse{"redshift-new-cluster": delivery.Cluster{}, "redshift-new-workgroup": delivery.Workgroup{}} {
		rows[name] = func(stack awscdk.Stack) {
			toward(stack, delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders"}, Warehouse: warehouse, Credentials: loader(stack),
				PubliclyReachable: true, FirehoseRange: "52.70.63.192/27",
			})
		}
	}
}

func loader(stack awscdk.Stack) awssecretsmanager.ISecret {
	return awssecretsmanager.NewSecret(stack, jsii.String("Loader"), &awssecretsmanager.SecretProps{EncryptionKey: awskms.NewKey(stack, jsii.String("Key"), nil)})
}
