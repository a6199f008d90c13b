// Package awsapi runs event source mappings over plain AWS APIs, of any endpoint:
// it reads a mapping's description, its source and its function's answers, and
// writes to its failure destination.
package awsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/local/esm"
)

// kinesisSource reads a Kinesis stream as shared-throughput consumers do.
type kinesisSource struct {
	client *kinesis.Client
	arn    string
}

// Kinesis is the stream of that ARN.
func Kinesis(client *kinesis.Client, arn string) esm.Source { return &kinesisSource{client, arn} }

func (s *kinesisSource) Shards(ctx context.Context) ([]esm.ShardInfo, error) {
	var all []esm.ShardInfo
	in := &kinesis.ListShardsInput{StreamARN: aws.String(s.arn)}
	for {
		out, err := s.client.ListShards(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, shard := range out.Shards {
			info := esm.ShardInfo{ID: *shard.ShardId}
			for _, parent := range []*string{shard.ParentShardId, shard.AdjacentParentShardId} {
				if parent != nil {
					info.Parents = append(info.Parents, *parent)
				}
			}
			all = append(all, info)
		}
		if out.NextToken == nil {
			return all, nil
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken}
	}
}

func (s *kinesisSource) Iterator(ctx context.Context, shard string, from esm.Position, after string) (string, error) {
	in := &kinesis.GetShardIteratorInput{
		StreamARN: aws.String(s.arn), ShardId: aws.String(shard), ShardIteratorType: kinesistypes.ShardIteratorType(from.Type),
	}
	switch {
	case after != "":
		in.ShardIteratorType, in.StartingSequenceNumber = kinesistypes.ShardIteratorTypeAfterSequenceNumber, aws.String(after)
	case from.Type == "AT_TIMESTAMP":
		in.Timestamp = aws.Time(from.Time)
	}
	out, err := s.client.GetShardIterator(ctx, in)
	if err != nil {
		return "", noShard[*kinesistypes.ResourceNotFoundException](err)
	}
	return *out.ShardIterator, nil
}

// noShard says of an error of type E that there is no such shard, or stream.
func noShard[E error](err error) error {
	var missing E
	if errors.As(err, &missing) {
		return fmt.Errorf("%w: %w", esm.ErrNoShard, err)
	}
	return err
}

func (s *kinesisSource) Read(ctx context.Context, iterator string, limit int) ([]esm.Record, string, error) {
	out, err := s.client.GetRecords(ctx, &kinesis.GetRecordsInput{
		StreamARN: aws.String(s.arn), ShardIterator: aws.String(iterator), Limit: aws.Int32(int32(limit)),
	})
	var expired *kinesistypes.ExpiredIteratorException
	if errors.As(err, &expired) {
		return nil, "", esm.ErrIteratorExpired
	}
	if err != nil {
		return nil, "", noShard[*kinesistypes.ResourceNotFoundException](err)
	}
	records := make([]esm.Record, len(out.Records))
	for i, r := range out.Records {
		records[i] = esm.Record{
			Sequence: *r.SequenceNumber, Key: *r.PartitionKey, Arrival: aws.ToTime(r.ApproximateArrivalTimestamp), Data: r.Data,
		}
	}
	return records, aws.ToString(out.NextShardIterator), nil
}

// tableSource reads the change stream of a DynamoDB table.
type tableSource struct {
	client *dynamodbstreams.Client
	arn    string
}

// DynamoDB is the change stream of that ARN.
func DynamoDB(client *dynamodbstreams.Client, arn string) esm.Source {
	return &tableSource{client, arn}
}

func (s *tableSource) Shards(ctx context.Context) ([]esm.ShardInfo, error) {
	var all []esm.ShardInfo
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: aws.String(s.arn)}
	for {
		out, err := s.client.DescribeStream(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, shard := range out.StreamDescription.Shards {
			info := esm.ShardInfo{ID: *shard.ShardId}
			if shard.ParentShardId != nil {
				info.Parents = []string{*shard.ParentShardId}
			}
			all = append(all, info)
		}
		if out.StreamDescription.LastEvaluatedShardId == nil {
			return all, nil
		}
		in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId
	}
}

func (s *tableSource) Iterator(ctx context.Context, shard string, from esm.Position, after string) (string, error) {
	in := &dynamodbstreams.GetShardIteratorInput{
		StreamArn: aws.String(s.arn), ShardId: aws.String(shard), ShardIteratorType: streamtypes.ShardIteratorType(from.Type),
	}
	if after != "" {
		in.ShardIteratorType, in.SequenceNumber = streamtypes.ShardIteratorTypeAfterSequenceNumber, aws.String(after)
	}
	out, err := s.client.GetShardIterator(ctx, in)
	var trimmed *streamtypes.TrimmedDataAccessException
	if errors.As(err, &trimmed) { // Kinesis begins with the oldest record by itself
		in.ShardIteratorType, in.SequenceNumber = streamtypes.ShardIteratorTypeTrimHorizon, nil
		out, err = s.client.GetShardIterator(ctx, in)
	}
	if err != nil {
		return "", noShard[*streamtypes.ResourceNotFoundException](err)
	}
	return *out.ShardIterator, nil
}

func (s *tableSource) Read(ctx context.Context, iterator string, limit int) ([]esm.Record, string, error) {
	// DynamoDB answers with 1,000 records at most.
	out, err := s.client.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{
		ShardIterator: aws.String(iterator), Limit: aws.Int32(int32(min(limit, 1000))),
	})
	var expired *streamtypes.ExpiredIteratorException
	var trimmed *streamtypes.TrimmedDataAccessException
	if errors.As(err, &expired) || errors.As(err, &trimmed) {
		return nil, "", esm.ErrIteratorExpired
	}
	if err != nil {
		return nil, "", noShard[*streamtypes.ResourceNotFoundException](err)
	}
	records := make([]esm.Record, len(out.Records))
	for i, r := range out.Records {
		if records[i], err = change(r); err != nil {
			return nil, "", err
		}
	}
	return records, aws.ToString(out.NextShardIterator), nil
}

// change is a table's change as Lambda hands it over.
func change(r streamtypes.Record) (esm.Record, error) {
	d := r.Dynamodb
	if d == nil || d.SequenceNumber == nil {
		return esm.Record{}, fmt.Errorf("change %s has no sequence number", aws.ToString(r.EventID))
	}
	keys, err := item(d.Keys)
	if err != nil {
		return esm.Record{}, err
	}
	body := map[string]any{"Keys": keys, "SequenceNumber": *d.SequenceNumber, "StreamViewType": d.StreamViewType}
	for name, image := range map[string]map[string]streamtypes.AttributeValue{"NewImage": d.NewImage, "OldImage": d.OldImage} {
		if len(image) > 0 {
			if body[name], err = item(image); err != nil {
				return esm.Record{}, err
			}
		}
	}
	if d.SizeBytes != nil {
		body["SizeBytes"] = *d.SizeBytes
	}
	// Lambda hands over whole seconds, as a fraction.
	arrival := aws.ToTime(d.ApproximateCreationDateTime).Truncate(time.Second)
	if d.ApproximateCreationDateTime != nil {
		body["ApproximateCreationDateTime"] = json.RawMessage(fmt.Sprintf("%d.0", arrival.Unix()))
	}
	whole := map[string]any{
		"eventID": aws.ToString(r.EventID), "eventName": r.EventName, "eventVersion": aws.ToString(r.EventVersion),
		"eventSource": aws.ToString(r.EventSource), "awsRegion": aws.ToString(r.AwsRegion), "dynamodb": body,
	}
	if r.UserIdentity != nil {
		whole["userIdentity"] = map[string]any{"type": aws.ToString(r.UserIdentity.Type), "principalId": aws.ToString(r.UserIdentity.PrincipalId)}
	}
	data, err := json.Marshal(whole)
	if err != nil {
		return esm.Record{}, err
	}
	key, err := json.Marshal(keys)
	if err != nil {
		return esm.Record{}, err
	}
	return esm.Record{Sequence: *d.SequenceNumber, Key: string(key), Arrival: arrival, Data: data}, nil
}

func item(attributes map[string]streamtypes.AttributeValue) (map[string]any, error) {
	all := make(map[string]any, len(attributes))
	for name, value := range attributes {
		v, err := attribute(value)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		all[name] = v
	}
	return all, nil
}

// attribute is a value in DynamoDB's JSON.
func attribute(value streamtypes.AttributeValue) (map[string]any, error) {
	switch v := value.(type) {
	case *streamtypes.AttributeValueMemberS:
		return map[string]any{"S": v.Value}, nil
	case *streamtypes.AttributeValueMemberN:
		return map[string]any{"N": v.Value}, nil
	case *streamtypes.AttributeValueMemberB:
		return map[string]any{"B": v.Value}, nil
	case *streamtypes.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}, nil
	case *streamtypes.AttributeValueMemberNULL:
		return map[string]any{"NULL": v.Value}, nil
	case *streamtypes.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}, nil
	case *streamtypes.AttributeValueMemberNS:
		return map[string]any{"NS": v.Value}, nil
	case *streamtypes.AttributeValueMemberBS:
		return map[string]any{"BS": v.Value}, nil
	case *streamtypes.AttributeValueMemberM:
		m, err := item(v.Value)
		return map[string]any{"M": m}, err
	case *streamtypes.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i, element := range v.Value {
			e, err := attribute(element)
			if err != nil {
				return nil, err
			}
			list[i] = e
		}
		return map[string]any{"L": list}, nil
	}
	return nil, fmt.Errorf("it is of an unknown type, %T", value)
}
