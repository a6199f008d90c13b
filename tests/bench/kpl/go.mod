module github.com/millrace/millrace/tests/bench/kpl

go 1.26.0

replace github.com/millrace/millrace => ../../..

require (
	github.com/aws/aws-sdk-go-v2/service/kinesis v1.56.10
	github.com/awslabs/kinesis-aggregation/go/v2 v2.0.0-20241004223953-c2774b1ab29b
	github.com/google/go-cmp v0.7.0
	github.com/millrace/millrace v0.0.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/aws/smithy-go v1.28.8 // indirect
	github.com/golang/protobuf v1.5.2 // indirect
)
