package iam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// calls are what AWS's services ask for in a role's name: by action, on the resource
// of the role's policy. What a call needs besides, the administrator prepares.
var calls = map[string]func(p *machine, as aws.Config, arn string) error{
	"kinesis:DescribeStream": func(_ *machine, as aws.Config, arn string) error {
		_, err := kinesis.NewFromConfig(as).DescribeStream(bg, &kinesis.DescribeStreamInput{StreamARN: &arn})
		return err
	},
	"kinesis:DescribeStreamSummary": func(_ *machine, as aws.Config, arn string) error {
		_, err := kinesis.NewFromConfig(as).DescribeStreamSummary(bg, &kinesis.DescribeStreamSummaryInput{StreamARN: &arn})
		return err
	},
	"kinesis:ListShards": func(_ *machine, as aws.Config, arn string) error {
		_, err := kinesis.NewFromConfig(as).ListShards(bg, &kinesis.ListShardsInput{StreamARN: &arn})
		return err
	},
	"kinesis:GetShardIterator": func(p *machine, as aws.Config, arn string) error {
		_, err := p.iterator(as, arn)
		return err
	},
	"kinesis:GetRecords": func(p *machine, as aws.Config, arn string) error {
		iterator, err := p.iterator(p.root, arn)
		if err != nil {
			return errors.New(err.Error()) // no refusal of what is asked here
		}
		_, err = kinesis.NewFromConfig(as).GetRecords(bg, &kinesis.GetRecordsInput{StreamARN: &arn, ShardIterator: iterator})
		return err
	},
	"lambda:InvokeFunction": func(_ *machine, as aws.Config, arn string) error {
		_, err := lambda.NewFromConfig(as).Invoke(bg, &lambda.InvokeInput{FunctionName: &arn, Payload: []byte(`{"records":[]}`)})
		return err
	},
	"s3:GetBucketLocation": func(_ *machine, as aws.Config, arn string) error {
		bucket, _ := object(arn)
		_, err := newS3(as).GetBucketLocation(bg, &s3.GetBucketLocationInput{Bucket: bucket})
		return err
	},
	"s3:ListBucket": func(_ *machine, as aws.Config, arn string) error {
		bucket, _ := object(arn)
		_, err := newS3(as).ListObjectsV2(bg, &s3.ListObjectsV2Input{Bucket: bucket})
		return err
	},
	"s3:ListBucketMultipartUploads": func(_ *machine, as aws.Config, arn string) error {
		bucket, _ := object(arn)
		_, err := newS3(as).ListMultipartUploads(bg, &s3.ListMultipartUploadsInput{Bucket: bucket})
		return err
	},
	"dynamodb:UpdateItem": func(_ *machine, as aws.Config, arn string) error {
		_, err := dynamodb.NewFromConfig(as).UpdateItem(bg, &dynamodb.UpdateItemInput{
			TableName: &arn, Key: map[string]dbtypes.AttributeValue{"race": text("calls"), "window": text("2026-01-01T00:00:00Z")},
		})
		return err
	},
	"s3:PutObject": func(_ *machine, as aws.Config, arn string) error {
		bucket, key := object(arn)
		_, err := newS3(as).PutObject(bg, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("tried")})
		return err
	},
	"s3:GetObject": func(p *machine, as aws.Config, arn string) error {
		bucket, key := object(arn)
		if _, err := p.s3.PutObject(bg, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("tried")}); err != nil {
			return errors.New(err.Error())
		}
		out, err := newS3(as).GetObject(bg, &s3.GetObjectInput{Bucket: bucket, Key: key})
		if err == nil {
			out.Body.Close()
		}
		return err
	},
	"s3:AbortMultipartUpload": func(p *machine, as aws.Config, arn string) error {
		bucket, key := object(arn)
		upload, err := p.s3.CreateMultipartUpload(bg, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
		if err != nil {
			return errors.New(err.Error())
		}
		_, err = newS3(as).AbortMultipartUpload(bg, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: upload.UploadId})
		return err
	},
	"logs:CreateLogStream": func(p *machine, as aws.Config, arn string) error {
		_, err := p.logs(as, "CreateLogStream", map[string]any{"logGroupName": logGroup(arn), "logStreamName": "tried"})
		return err
	},
	"logs:PutLogEvents": func(p *machine, as aws.Config, arn string) error {
		_, err := p.logs(as, "PutLogEvents", map[string]any{
			"logGroupName": logGroup(arn), "logStreamName": "tried", "logEvents": []any{map[string]any{"timestamp": 1, "message": "tried"}},
		})
		return err
	},
	"dynamodb:ListStreams": func(p *machine, as aws.Config, arn string) error {
		name, _, _ := strings.Cut(after(arn, ":table/"), "/")
		_, err := p.changes(as, "ListStreams", map[string]any{"TableName": name})
		return err
	},
	"dynamodb:DescribeStream": func(p *machine, as aws.Config, arn string) error {
		_, err := p.changes(as, "DescribeStream", map[string]any{"StreamArn": arn})
		return err
	},
	"dynamodb:GetShardIterator": func(p *machine, as aws.Config, arn string) error {
		_, err := p.changeIterator(as, arn)
		return err
	},
	"dynamodb:GetRecords": func(p *machine, as aws.Config, arn string) error {
		iterator, err := p.changeIterator(p.root, arn)
		if err != nil {
			return errors.New(err.Error())
		}
		_, err = p.changes(as, "GetRecords", map[string]any{"ShardIterator": iterator})
		return err
	},
}

var bg = context.Background()

func after(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	return rest
}

// object is the bucket of an ARN, and the key of one object that its pattern matches.
func object(arn string) (bucket, key *string) {
	name, pattern, _ := strings.Cut(after(arn, ":::"), "/")
	return &name, aws.String(strings.ReplaceAll(pattern, "*", "tried"))
}

func logGroup(arn string) string { return strings.TrimSuffix(after(arn, ":log-group:"), ":*") }

func (p *machine) iterator(as aws.Config, arn string) (*string, error) {
	shards, err := p.kinesis.ListShards(bg, &kinesis.ListShardsInput{StreamARN: &arn})
	if err != nil {
		return nil, errors.New(err.Error())
	}
	out, err := kinesis.NewFromConfig(as).GetShardIterator(bg, &kinesis.GetShardIteratorInput{
		StreamARN: &arn, ShardId: shards.Shards[0].ShardId, ShardIteratorType: types.ShardIteratorTypeLatest,
	})
	if err != nil {
		return nil, err
	}
	return out.ShardIterator, nil
}

func (p *machine) changeIterator(as aws.Config, arn string) (string, error) {
	text, err := p.changes(p.root, "DescribeStream", map[string]any{"StreamArn": arn})
	if err != nil {
		return "", errors.New(err.Error())
	}
	var stream struct {
		StreamDescription struct{ Shards []struct{ ShardId string } }
	}
	if err := json.Unmarshal(text, &stream); err != nil || len(stream.StreamDescription.Shards) == 0 {
		return "", fmt.Errorf("no shards: %v, %s", err, text)
	}
	text, err = p.changes(as, "GetShardIterator", map[string]any{
		"StreamArn": arn, "ShardId": stream.StreamDescription.Shards[0].ShardId, "ShardIteratorType": "LATEST",
	})
	if err != nil {
		return "", err
	}
	var answer struct{ ShardIterator string }
	err = json.Unmarshal(text, &answer)
	return answer.ShardIterator, err
}
