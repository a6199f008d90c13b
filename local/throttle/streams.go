package throttle

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// hashKey is the number that places a record, its first byte the highest.
type hashKey [16]byte

// keyRange are the hash keys of an open shard, both ends included.
type keyRange struct {
	from, to hashKey
	shard    string
}

// hashOf is a record's hash key: the explicit one, or the partition key's.
func hashOf(partitionKey, explicit string) (hashKey, error) {
	if explicit == "" {
		return md5.Sum([]byte(partitionKey)), nil
	}
	return parseHashKey(explicit)
}

func parseHashKey(decimal string) (hashKey, error) {
	var key hashKey
	n, ok := new(big.Int).SetString(decimal, 10)
	if !ok || n.Sign() < 0 || n.BitLen() > 128 {
		return key, fmt.Errorf("hash key %q: must be 0 to 2^128-1", decimal)
	}
	n.FillBytes(key[:])
	return key, nil
}

// streams knows the streams' open shards, as of when it last asked.
type streams struct {
	api API

	mu     sync.Mutex
	ranges map[stream][]keyRange
}

// shards are the ones that the hash keys belong to.
func (s *streams) shards(ctx context.Context, of stream, keys []hashKey) ([]string, error) {
	s.mu.Lock()
	ranges, known := s.ranges[of]
	s.mu.Unlock()
	for {
		if !known {
			var err error
			if ranges, err = s.list(ctx, of); err != nil {
				return nil, err
			}
		}
		shards := make([]string, 0, len(keys))
		for _, key := range keys {
			if shard, ok := find(ranges, key); ok {
				shards = append(shards, shard)
			}
		}
		if len(shards) == len(keys) {
			return shards, nil
		}
		if !known {
			return nil, fmt.Errorf("the open shards of stream %s don't cover every hash key", of.name)
		}
		known = false // any more
	}
}

// forget has every stream's shards asked for again: they have changed.
func (s *streams) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.ranges)
}

func (s *streams) list(ctx context.Context, of stream) ([]keyRange, error) {
	var ranges []keyRange
	in := &kinesis.ListShardsInput{StreamName: aws.String(of.name)}
	for {
		out, err := s.api.ListShards(ctx, in, of.inRegion)
		if err != nil {
			return nil, err
		}
		for _, shard := range out.Shards {
			if shard.SequenceNumberRange != nil && shard.SequenceNumberRange.EndingSequenceNumber != nil {
				continue // closed
			}
			from, err := parseHashKey(aws.ToString(shard.HashKeyRange.StartingHashKey))
			if err != nil {
				return nil, err
			}
			to, err := parseHashKey(aws.ToString(shard.HashKeyRange.EndingHashKey))
			if err != nil {
				return nil, err
			}
			ranges = append(ranges, keyRange{from, to, aws.ToString(shard.ShardId)})
		}
		if out.NextToken == nil {
			break
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken}
	}
	slices.SortFunc(ranges, func(a, b keyRange) int { return bytes.Compare(a.from[:], b.from[:]) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges[of] = ranges
	return ranges, nil
}

func find(ranges []keyRange, key hashKey) (string, bool) {
	i := sort.Search(len(ranges), func(i int) bool { return bytes.Compare(ranges[i].to[:], key[:]) >= 0 })
	if i == len(ranges) || bytes.Compare(ranges[i].from[:], key[:]) > 0 {
		return "", false
	}
	return ranges[i].shard, true
}

// inRegion has a client ask where the stream is.
func (s stream) inRegion(o *kinesis.Options) {
	if s.region != "" {
		o.Region = s.region
	}
}
