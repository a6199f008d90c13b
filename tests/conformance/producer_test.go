package conformance

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/producer"
)

// kit/producer on the emulator's Kinesis: every record is there once, and those of a
// key are in order, one by one or aggregated.
func TestAnOrderedProducer(t *testing.T) {
	for name, aggregated := range map[string]bool{"one by one": false, "aggregated": true} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t)
			shards, err := s.open()
			if err != nil {
				t.Fatal(err)
			}
			o := producer.Options{Ordered: true}
			if aggregated {
				o.Aggregate = &kpl.Options{Bytes: 1000}
				for _, shard := range shards {
					r, err := kpl.NewHashRange(*shard.HashKeyRange.StartingHashKey, *shard.HashKeyRange.EndingHashKey)
					if err != nil {
						t.Fatal(err)
					}
					o.Aggregate.Shards = append(o.Aggregate.Shards, r)
				}
			}
			p, err := producer.New(s.client, s.name, o)
			if err != nil {
				t.Fatal(err)
			}
			const records, keys = 1200, 30
			for i := range records {
				if err := p.Add(t.Context(), producer.Record{PartitionKey: fmt.Sprint("k", i%keys), Data: fmt.Append(nil, i/keys)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if stats := p.Stats(); stats.Acknowledged != records || stats.Inverted != 0 || stats.Retried != 0 {
				t.Errorf("the counts are %+v", stats)
			} else {
				t.Logf("%d records in %d entries, with %d calls", records, stats.Entries, stats.Calls)
			}
			next := map[string]int{}
			for _, shard := range shards {
				for _, r := range s.all(t, *shard.ShardId) {
					users, ok := kpl.Split(r.Data, nil)
					if ok != aggregated {
						t.Fatalf("a record is %q", r.Data)
					}
					if !ok {
						users = append(users, kpl.Record{PartitionKey: []byte(*r.PartitionKey), Data: r.Data})
					}
					for _, u := range users {
						key := string(u.PartitionKey)
						if string(u.Data) != fmt.Sprint(next[key]) {
							t.Fatalf("of %s comes %s, want %d", key, u.Data, next[key])
						}
						next[key]++
					}
				}
			}
			for key, n := range next {
				if n != records/keys {
					t.Errorf("of %s there are %d records", key, n)
				}
			}
			if len(next) != keys {
				t.Errorf("there are %d keys", len(next))
			}
		})
	}
}

// all are the records of a shard so far.
func (s *stream) all(t *testing.T, shard string) (all []types.Record) {
	t.Helper()
	it, err := s.client.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{StreamName: &s.name, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
	if err != nil {
		t.Fatal(err)
	}
	for iterator := it.ShardIterator; ; {
		out, err := s.client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: iterator})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Records) == 0 {
			return all
		}
		all, iterator = append(all, out.Records...), out.NextShardIterator
	}
}
