package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/consumer"
	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/table"
	"github.com/millrace/millrace/constructs/watch"
)

// StackName is the name of the stack.
const StackName = "Shop"

// Named together, both functions are compiled by one `go build`. The first is a
// package of this module, the second ships with millrace.
var (
	reserveStock = gofunc.Package("./orders/lambdas/stock")
	archive      = gofunc.Package("github.com/millrace/millrace/lambdas/archive")
)

// existing is what the shop had before: plain resources of the CDK, here or
// imported. Any of them fits into millrace's constructs.
type existing struct {
	orders awskinesis.Stream    // a stream with two days of retention
	rides  awskinesis.IStream   // another team's stream, known by its name
	stock  awsdynamodb.ITableV2 // a table by article
	lake   awss3.IBucket        // a bucket under the shop's key
}

func newExisting(stack awscdk.Stack) existing {
	key := awskms.NewKey(stack, jsii.String("ShopKey"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
	return existing{
		orders: awskinesis.NewStream(stack, jsii.String("OrderStream"), &awskinesis.StreamProps{
			StreamMode: awskinesis.StreamMode_ON_DEMAND, RetentionPeriod: awscdk.Duration_Hours(jsii.Number(48)),
			EncryptionKey: key, Encryption: awskinesis.StreamEncryption_KMS,
		}),
		rides: awskinesis.Stream_FromStreamArn(stack, jsii.String("RideStream"), stack.FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("kinesis"), Resource: jsii.String("stream"), ResourceName: jsii.String("rides"),
		})),
		stock: awsdynamodb.NewTableV2(stack, jsii.String("StockTable"), &awsdynamodb.TablePropsV2{
			PartitionKey:                     &awsdynamodb.Attribute{Name: jsii.String("sku"), Type: awsdynamodb.AttributeType_STRING},
			PointInTimeRecoverySpecification: &awsdynamodb.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: jsii.Bool(true)},
		}),
		lake: awss3.NewBucket(stack, jsii.String("Lake"), &awss3.BucketProps{
			Encryption: awss3.BucketEncryption_KMS, EncryptionKey: key, BucketKeyEnabled: jsii.Bool(true), EnforceSSL: jsii.Bool(true),
			BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(), RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
		}),
	}
}

// newShop defines the stack.
func newShop(scope constructs.Construct, id string) awscdk.Stack {
	stack := awscdk.NewStack(scope, jsii.String(id), &awscdk.StackProps{
		Description: jsii.String("A web shop: orders reserve stock, rides are archived"),
	})
	have := newExisting(stack)
	orders := stream.Of(have.orders, 48*time.Hour)
	rides := stream.Of(have.rides, 0) // 24 h, Kinesis' default
	stock := table.Of(have.stock)

	// A table of millrace's: encrypted, backed up, protected from deletion.
	booked := table.New(stack, "Booked", table.Props{Table: spec.Table{PartitionKey: "order"}})

	reserve := consumer.New(stack, "ReserveStock", consumer.Props{
		Source:   orders,
		Consumer: spec.Consumer{BatchSize: 500, ParallelizationFactor: 2},
		Function: spec.Function{Memory: 512, Timeout: time.Minute},
		Code:     reserveStock,
		Environment: map[string]*string{
			"STOCK_TABLE":  stock.Name(),
			"BOOKED_TABLE": booked.Name(),
		},
		OnFailure: consumer.S3{Bucket: have.lake},
	})
	// A transaction asks for the permissions of its parts.
	stock.Grant(reserve.GrantPrincipal(), "dynamodb:UpdateItem")
	booked.Grant(reserve.GrantPrincipal(), "dynamodb:PutItem")

	// Rental bikes send their rides in millrace's own record format, so its own
	// function archives them.
	rideArchive := delivery.New(stack, "RideArchive", delivery.Props{
		Source: rides,
		To: delivery.S3{
			S3Delivery: spec.S3Delivery{
				Prefix:      "rides/!{timestamp:yyyy/MM/dd}/",
				ErrorPrefix: "errors/rides/!{firehose:error-output-type}/",
			},
			Bucket: have.lake,
		},
		Transform: &delivery.Transform{Code: archive},
	})

	watch.New(stack, "Watch", watch.Props{Signals: watch.All(orders, reserve, stock, booked, rideArchive)})
	return stack
}
