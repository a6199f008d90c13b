package producer

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

// ListShardsAPI is what Shards needs of a Kinesis client.
type ListShardsAPI interface {
	ListShards(context.Context, *kinesis.ListShardsInput, ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error)
}

var _ ListShardsAPI = (*kinesis.Client)(nil)

// Shards are the hash ranges of the named stream's open shards, for Options.Aggregate.
// They are those of now: after the stream is resharded, records of one key may come in
// aggregated records of other shards than before. It needs kinesis:ListShards.
func Shards(ctx context.Context, api ListShardsAPI, stream string) ([]kpl.HashRange, error) {
	if api == nil || stream == "" {
		return nil, errors.New("producer: Shards needs a client and a stream's name")
	}
	in := &kinesis.ListShardsInput{StreamName: aws.String(stream)}
	var shards []kpl.HashRange
	for {
		out, err := api.ListShards(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("producer: list the shards of stream %s: %w", stream, err)
		}
		for _, s := range out.Shards {
			if s.SequenceNumberRange != nil && s.SequenceNumberRange.EndingSequenceNumber != nil {
				continue // closed
			}
			if s.HashKeyRange == nil {
				return nil, fmt.Errorf("producer: shard %s of stream %s is without a hash key range", aws.ToString(s.ShardId), stream)
			}
			hashKeys, err := kpl.NewHashRange(aws.ToString(s.HashKeyRange.StartingHashKey), aws.ToString(s.HashKeyRange.EndingHashKey))
			if err != nil {
				return nil, fmt.Errorf("producer: shard %s of stream %s: %w", aws.ToString(s.ShardId), stream, err)
			}
			shards = append(shards, hashKeys)
		}
		if out.NextToken == nil {
			return shards, nil
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken} // which must come alone
	}
}
