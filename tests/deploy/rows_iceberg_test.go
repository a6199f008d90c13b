package deploy

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsglue"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsmsk"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3tables"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
)

func init() {
	rows["iceberg"] = func(stack awscdk.Stack) {
		warehouse := awss3.NewBucket(stack, jsii.String("Warehouse"), &awss3.BucketProps{EncryptionKey: awskms.NewKey(stack, jsii.String("Key"), nil)})
		table := orders(stack, warehouse)
		d := toward(stack, delivery.Iceberg{
			Warehouse: warehouse,
			IcebergDelivery: spec.IcebergDelivery{
				Tables: []spec.IcebergTable{{Database: "shop", Table: "orders", UniqueKeys: []string{"id"}}}, Route: spec.IcebergRoute{Operation: `.op // "insert"`},
			},
		})
		d.Resource().AddResourceDependency(table, nil)
	}
	rows["iceberg-s3-tables"] = func(stack awscdk.Stack) {
		bucket := awss3tables.NewCfnTableBucket(stack, jsii.String("Tables"), &awss3tables.CfnTableBucketProps{TableBucketName: jsii.String("shop-tables")})
		d := toward(stack, delivery.Iceberg{
			Catalog: delivery.S3TablesCatalog(stack, jsii.String("shop-tables")),
			IcebergDelivery: spec.IcebergDelivery{
				Databases: []string{"shop"}, Route: spec.IcebergRoute{Database: `"shop"`, Table: ".table"}, AppendOnly: true,
			},
		})
		d.Resource().AddResourceDependency(bucket, nil)
	}
	rows["snowflake"] = func(stack awscdk.Stack) {
		toward(stack, delivery.Snowflake{
			KeyPair: awssecretsmanager.NewSecret(stack, jsii.String("KeyPair"), &awssecretsmanager.SecretProps{EncryptionKey: awskms.NewKey(stack, jsii.String("Key"), nil)}),
			SnowflakeDelivery: spec.SnowflakeDelivery{
				AccountURL: "https://xy12345.eu-west-1.snowflakecomputing.com", Database: "SHOP", Schema: "RAW", Table: "ORDERS", Role: "INGEST", BackupAll: true,
			},
		})
	}
	rows["msk"] = func(stack awscdk.Stack) {
		topic(stack, jsii.String("arn:aws:kafka:us-east-1:000000000000:cluster/shop/0a1b2c3d-4e5f-6789-abcd-ef0123456789-5"))
	}
	unknown["msk-cluster"] = "Unrecognized resource types: [AWS::MSK::ClusterPolicy, AWS::MSK::ServerlessCluster]"
	rows["msk-cluster"] = func(stack awscdk.Stack) {
		cluster := awsmsk.NewCfnServerlessCluster(stack, jsii.String("Cluster"), &awsmsk.CfnServerlessClusterProps{
			ClusterName:          jsii.String("shop"),
			ClientAuthentication: map[string]any{"sasl": map[string]any{"iam": map[string]any{"enabled": true}}},
			VpcConfigs:           []any{map[string]any{"subnetIds": []any{"subnet-0123456789abcdef0"}}},
		})
		policy := awsmsk.NewCfnClusterPolicy(stack, jsii.String("Policy"), &awsmsk.CfnClusterPolicyProps{
			ClusterArn: cluster.AttrArn(),
			Policy: map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
				"Effect": "Allow", "Principal": map[string]any{"Service": "firehose.amazonaws.com"}, "Action": "kafka:CreateVpcConnection", "Resource": *cluster.AttrArn(),
			}}},
		})
		topic(stack, cluster.AttrArn()).Resource().AddResourceDependency(policy, nil)
	}
}

// topic delivers a topic of a cluster.
func topic(stack awscdk.Stack, cluster *string) *delivery.Delivery {
	return delivery.New(stack, "Delivery", delivery.Props{
		MSK: &delivery.MSK{Cluster: cluster, MSKTopic: spec.MSKTopic{Topic: "orders", ReadFrom: spec.Earliest}}, To: delivery.S3{},
	})
}

// orders is a table of Glue's catalog in a warehouse.
func orders(stack awscdk.Stack, warehouse awss3.IBucket) awscdk.CfnResource {
	database := awsglue.NewCfnDatabase(stack, jsii.String("Database"), &awsglue.CfnDatabaseProps{
		CatalogId: stack.Account(), DatabaseInput: &awsglue.CfnDatabase_DatabaseInputProperty{Name: jsii.String("shop")},
	})
	table := awsglue.NewCfnTable(stack, jsii.String("Table"), &awsglue.CfnTableProps{
		CatalogId: stack.Account(), DatabaseName: jsii.String("shop"),
		OpenTableFormatInput: &awsglue.CfnTable_OpenTableFormatInputProperty{
			IcebergInput: &awsglue.CfnTable_IcebergInputProperty{MetadataOperation: jsii.String("CREATE"), Version: jsii.String("2")},
		},
		TableInput: &awsglue.CfnTable_TableInputProperty{
			Name: jsii.String("orders"), TableType: jsii.String("EXTERNAL_TABLE"),
			StorageDescriptor: &awsglue.CfnTable_StorageDescriptorProperty{
				Location: jsii.String("s3://" + *warehouse.BucketName() + "/shop/orders"),
				Columns:  &[]any{&awsglue.CfnTable_ColumnProperty{Name: jsii.String("id"), Type: jsii.String("string")}},
			},
		},
	})
	table.AddResourceDependency(database, nil)
	return table
}
