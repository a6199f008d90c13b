package firehose_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/local/firehose"
)

// printer is an S3 that prints what it is given.
type printer struct{}

func (printer) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	folder, _, _ := strings.Cut(*in.Key, "/")
	fmt.Printf("s3://%s/%s/…: %s\n", *in.Bucket, folder, body)
	return &s3.PutObjectOutput{}, nil
}

// A description is what DescribeDeliveryStream answers; an *s3.Client is an S3.
func ExampleNew() {
	stream, err := firehose.New(&types.DeliveryStreamDescription{
		DeliveryStreamName: aws.String("archive"),
		Destinations: []types.DestinationDescription{{ExtendedS3DestinationDescription: &types.ExtendedS3DestinationDescription{
			BucketARN: aws.String("arn:aws:s3:::bucket"), Prefix: aws.String("records/"),
		}}},
	}, firehose.Options{S3: printer{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := stream.Put(firehose.Record{Data: []byte("one,")}, firehose.Record{Data: []byte("two")}); err != nil {
		fmt.Println(err)
	}
	if err := stream.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: s3://bucket/records/…: one,two
}

// What can't be run locally is named, all of it, before anything runs.
func ExampleRefused() {
	_, err := firehose.New(&types.DeliveryStreamDescription{
		DeliveryStreamName: aws.String("lake"),
		DeliveryStreamType: types.DeliveryStreamTypeMSKAsSource,
		Destinations:       []types.DestinationDescription{{IcebergDestinationDescription: &types.IcebergDestinationDescription{}}},
	}, firehose.Options{S3: printer{}})
	fmt.Println(err)
	// Output: firehose: lake can't run locally: DeliveryStreamType: MSKAsSource isn't supported; IcebergDestinationDescription: Iceberg tables aren't supported
}
