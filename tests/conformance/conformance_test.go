// Package conformance runs the suite of event sources against the emulator's Kinesis
// and DynamoDB Streams, through the code that reads AWS's own, and lets the kit's writers
// race on its DynamoDB.
package conformance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/awsapi"
	"github.com/millrace/millrace/local/esm/esmtest"
)

// config is that of the emulator that all tests share.
var config aws.Config

func TestMain(m *testing.M) {
	emulator, err := local.StartEmulator(context.Background(), "")
	if err != nil {
		log.Fatal(err)
	}
	config = local.Config(emulator.Endpoint)
	code := m.Run()
	if err := emulator.Close(); err != nil {
		log.Print(err)
		code = 1
	}
	os.Exit(code)
}

// What the emulator does otherwise than AWS.
var kinesisDeviations = map[string]string{
	"a closed shard is listed while it has records": "a shard that is split or merged is deleted at once",
	"a closed shard is read to its end":             "a shard that is split or merged is deleted at once, with its records",
	"LATEST of a closed shard is its end":           "a shard that is split or merged is deleted at once",
}

func TestKinesis(t *testing.T) {
	esmtest.Run(t, func(t *testing.T) esmtest.Stream { return newStream(t) }, esmtest.Options{Deviations: kinesisDeviations})
}

func TestDynamoDBStreams(t *testing.T) {
	esmtest.Run(t, func(t *testing.T) esmtest.Stream { return newTable(t) }, esmtest.Options{})
}

// names are unique in a run.
var names atomic.Int64

func name(kind string) string { return fmt.Sprint("conformance-", kind, "-", names.Add(1)) }

// stream is a Kinesis stream of two shards.
type stream struct {
	esm.Source
	client *kinesis.Client
	name   string
	arn    string
}

var _ esmtest.Resharder = (*stream)(nil)

func newStream(t *testing.T) *stream {
	t.Helper()
	s := &stream{client: kinesis.NewFromConfig(config), name: name("stream")}
	if _, err := s.client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &s.name, ShardCount: aws.Int32(2)}); err != nil {
		t.Fatal(err)
	}
	out, err := s.client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: &s.name})
	if err != nil {
		t.Fatal(err)
	}
	s.arn = *out.StreamDescriptionSummary.StreamARN
	s.Source = awsapi.Kinesis(s.client, s.arn)
	return s
}

func (*stream) Kind() esm.Kind { return esm.Kinesis }

func (s *stream) ARN() string { return s.arn }

func (s *stream) Put(key string, data []byte) error {
	_, err := s.client.PutRecord(context.Background(), &kinesis.PutRecordInput{StreamName: &s.name, PartitionKey: &key, Data: data})
	return err
}

// Expired is an iterator that the emulator has forgotten, as it does after 5 minutes.
func (s *stream) Expired(ctx context.Context, shard string) (string, error) {
	iterator, err := s.Iterator(ctx, shard, esm.Position{Type: "TRIM_HORIZON"}, "")
	return "forgotten-" + iterator, err
}

// open are the shards that take records, in the order of their hash keys.
func (s *stream) open() ([]kinesistypes.Shard, error) {
	out, err := s.client.ListShards(context.Background(), &kinesis.ListShardsInput{StreamName: &s.name})
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(out.Shards, func(shard kinesistypes.Shard) bool { return shard.SequenceNumberRange.EndingSequenceNumber != nil })
	slices.SortFunc(all, func(a, b kinesistypes.Shard) int {
		return number(a.HashKeyRange.StartingHashKey).Cmp(number(b.HashKeyRange.StartingHashKey))
	})
	return all, nil
}

func number(text *string) *big.Int {
	n, ok := new(big.Int).SetString(*text, 10)
	if !ok {
		panic(*text)
	}
	return n
}

func (s *stream) Split() error {
	all, err := s.open()
	if err != nil {
		return err
	}
	low := all[0]
	middle := new(big.Int).Add(number(low.HashKeyRange.StartingHashKey), number(low.HashKeyRange.EndingHashKey))
	_, err = s.client.SplitShard(context.Background(), &kinesis.SplitShardInput{
		StreamName: &s.name, ShardToSplit: low.ShardId, NewStartingHashKey: aws.String(middle.Rsh(middle, 1).String()),
	})
	return err
}

func (s *stream) Merge() error {
	all, err := s.open()
	if err != nil {
		return err
	}
	_, err = s.client.MergeShards(context.Background(), &kinesis.MergeShardsInput{
		StreamName: &s.name, ShardToMerge: all[0].ShardId, AdjacentShardToMerge: all[1].ShardId,
	})
	return err
}

// table is a table with a stream of its changes.
type table struct {
	esm.Source
	client *dynamodb.Client
	name   string
	arn    string // of the stream
}

var _ esmtest.Table = (*table)(nil)

func newTable(t *testing.T) *table {
	t.Helper()
	tab := &table{client: dynamodb.NewFromConfig(config), name: name("table")}
	out, err := tab.client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &tab.name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.NewTableExistsWaiter(tab.client).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &tab.name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	tab.arn = *out.TableDescription.LatestStreamArn
	tab.Source = awsapi.DynamoDB(dynamodbstreams.NewFromConfig(config), tab.arn)
	return tab
}

func (*table) Kind() esm.Kind { return esm.DynamoDB }

func (t *table) ARN() string { return t.arn }

func (t *table) key(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: key}}
}

func (t *table) Put(key string, data []byte) error {
	item := t.key(key)
	item["data"] = &types.AttributeValueMemberB{Value: data}
	_, err := t.client.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: &t.name, Item: item})
	return err
}

func (t *table) Delete(key string) error {
	_, err := t.client.DeleteItem(context.Background(), &dynamodb.DeleteItemInput{TableName: &t.name, Key: t.key(key)})
	return err
}

func (t *table) Disable() error {
	_, err := t.client.UpdateTable(context.Background(), &dynamodb.UpdateTableInput{
		TableName: &t.name, StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(false)},
	})
	return err
}

// Expired is an iterator that says it is an hour old: the emulator's hold their time.
func (t *table) Expired(ctx context.Context, shard string) (string, error) {
	iterator, err := t.Iterator(ctx, shard, esm.Position{Type: "TRIM_HORIZON"}, "")
	if err != nil {
		return "", err
	}
	text, err := base64.URLEncoding.DecodeString(iterator)
	if err != nil {
		return "", err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return "", err
	}
	issued, ok := fields["i"].(float64)
	if !ok {
		return "", errors.New("iterators no longer hold their time: " + string(text))
	}
	fields["i"] = issued - 3600
	if text, err = json.Marshal(fields); err != nil {
		return "", err
	}
	return base64.URLEncoding.EncodeToString(text), nil
}
