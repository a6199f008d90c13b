package producer_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/producer"
)

// pages answers ListShards page by page.
type pages [][]types.Shard

func (p pages) ListShards(_ context.Context, in *kinesis.ListShardsInput, _ ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error) {
	n := 0
	switch {
	case in.NextToken != nil && in.StreamName != nil:
		return nil, errors.New("NextToken and StreamName cannot be provided together")
	case in.NextToken != nil:
		n = len(*in.NextToken)
	case aws.ToString(in.StreamName) != "orders":
		return nil, &types.ResourceNotFoundException{Message: aws.String("no such stream")}
	}
	out := &kinesis.ListShardsOutput{Shards: p[n]}
	if n+1 < len(p) {
		out.NextToken = aws.String(strings.Repeat("n", n+1))
	}
	return out, nil
}

func shard(from, to, end string) types.Shard {
	s := types.Shard{
		ShardId:             aws.String("shardId-" + from),
		HashKeyRange:        &types.HashKeyRange{StartingHashKey: aws.String(from), EndingHashKey: aws.String(to)},
		SequenceNumberRange: &types.SequenceNumberRange{StartingSequenceNumber: aws.String("1")},
	}
	if end != "" {
		s.SequenceNumberRange.EndingSequenceNumber = aws.String(end)
	}
	return s
}

func TestShardsAreThoseThatAreOpen(t *testing.T) {
	const half, all = "170141183460469231731687303715884105727", "340282366920938463463374607431768211455"
	got, err := producer.Shards(t.Context(), pages{{shard("0", all, "9"), shard("0", half, "")}, {shard("170141183460469231731687303715884105728", all, "")}}, "orders")
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := kpl.NewAggregator(kpl.Options{Shards: got}); err != nil {
		t.Error(err)
	}
	ada := kpl.Record{PartitionKey: []byte("ada")}
	if got[0].Holds(ada) == got[1].Holds(ada) {
		t.Errorf("ada is in both or in none of %v", got)
	}
}

func TestShardsSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		api          producer.ListShardsAPI
		stream, want string
	}{
		"no client":        {nil, "orders", "a client"},
		"no stream":        {pages{}, "", "a stream's name"},
		"another stream":   {pages{}, "rides", "stream rides: ResourceNotFoundException: no such stream"},
		"no number":        {pages{{shard("0", "x", "")}}, "orders", "shard shardId-0 of stream orders: "},
		"no hash keys":     {pages{{{ShardId: aws.String("shardId-1")}}}, "orders", "shardId-1 of stream orders is without"},
		"on a second page": {pages{{}, {shard("x", "1", "")}}, "orders", "shardId-x"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := producer.Shards(t.Context(), c.api, c.stream); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
		})
	}
}
