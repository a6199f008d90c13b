package producer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/producer"
)

// halves are the hash ranges of two shards.
var halves = func() []kpl.HashRange {
	var all []kpl.HashRange
	for _, r := range [][2]string{{"0", "170141183460469231731687303715884105727"}, {"170141183460469231731687303715884105728", "340282366920938463463374607431768211455"}} {
		h, err := kpl.NewHashRange(r[0], r[1])
		if err != nil {
			panic(err)
		}
		all = append(all, h)
	}
	return all
}()

// shards are a stream of two shards, whose calls fail as rapid draws.
type shards struct {
	t       *rapid.T
	records int // most in a call
	bytes   int
	faults  int // that are left
	taken   [2][]producer.Record
	lost    bool // an answer did get lost
	want    producer.Stats
	again   map[string]bool // data that was sent before
}

func (s *shards) chance(what string, percent int) bool {
	if s.faults == 0 || rapid.IntRange(1, 100).Draw(s.t, what) > percent {
		return false
	}
	s.faults--
	return true
}

func (s *shards) PutRecords(_ context.Context, in *kinesis.PutRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	s.want.Calls++
	size := 0
	for _, r := range in.Records {
		size += len(r.Data) + len(aws.ToString(r.PartitionKey))
		if s.again[string(r.Data)] {
			s.want.Retried++
		}
		s.again[string(r.Data)] = true
	}
	if len(in.Records) == 0 || len(in.Records) > s.records || size > s.bytes {
		s.t.Fatalf("a call of %d records with %d bytes", len(in.Records), size)
	}
	if s.chance("a call that fails", 10) {
		s.want.FailedCalls++
		return nil, &types.ProvisionedThroughputExceededException{}
	}
	lost := s.chance("an answer that gets lost", 5)
	out := &kinesis.PutRecordsOutput{}
	for _, r := range in.Records {
		if s.chance("an entry that fails", 15) {
			code := rapid.SampledFrom([]string{"ProvisionedThroughputExceededException", "InternalFailure"}).Draw(s.t, "code")
			if !lost && code == "InternalFailure" {
				s.want.Failed++
			} else if !lost {
				s.want.Throttled++
			}
			out.Records = append(out.Records, types.PutRecordsResultEntry{ErrorCode: &code})
			continue
		}
		record := producer.Record{PartitionKey: aws.ToString(r.PartitionKey), ExplicitHashKey: aws.ToString(r.ExplicitHashKey), Data: r.Data}
		of := 0
		if halves[1].Holds(kpl.Record{PartitionKey: []byte(record.PartitionKey), ExplicitHashKey: hash(record.ExplicitHashKey)}) {
			of = 1
		}
		s.taken[of] = append(s.taken[of], record)
		out.Records = append(out.Records, types.PutRecordsResultEntry{ShardId: aws.String(fmt.Sprint(of)), SequenceNumber: aws.String(fmt.Sprint(len(s.taken[of])))})
	}
	if lost {
		s.lost = true
		s.want.FailedCalls++
		return nil, &types.InternalFailureException{}
	}
	return out, nil
}

func hash(key string) []byte {
	if key == "" {
		return nil
	}
	return []byte(key)
}

// users are the records that were added, as consumers see them.
func (s *shards) users() (all []producer.Record) {
	for _, shard := range s.taken {
		for _, r := range shard {
			records, aggregated := kpl.Split(r.Data, nil)
			if !aggregated {
				all = append(all, r)
				continue
			}
			for _, u := range records {
				all = append(all, producer.Record{PartitionKey: string(u.PartitionKey), ExplicitHashKey: string(u.ExplicitHashKey), Data: u.Data})
			}
		}
	}
	return all
}

func text(r producer.Record) string {
	return fmt.Sprintf("%s %s %s", r.PartitionKey, r.ExplicitHashKey, r.Data)
}

// Whatever fails: nothing is lost; what is acknowledged is what was added, once each;
// without a lost answer the stream holds each record once; if asked for, a key's records
// are in order; calls, and what the producer holds, are within their limits; and the
// counts are right.
func TestNothingIsLostAndOrderIsKeptIfAskedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := producer.Options{
			BatchRecords: rapid.IntRange(1, 20).Draw(t, "batch"), BatchBytes: rapid.IntRange(600, 3000).Draw(t, "bytes"), RecordBytes: 600,
			Attempts: rapid.IntRange(1, 3).Draw(t, "attempts"), Ordered: rapid.Bool().Draw(t, "ordered"),
		}
		if rapid.Bool().Draw(t, "aggregated") {
			o.Aggregate = &kpl.Options{Bytes: rapid.IntRange(64, 600).Draw(t, "aggregated bytes"), Shards: halves}
		}
		s := &shards{t: t, records: o.BatchRecords, bytes: o.BatchBytes, faults: rapid.IntRange(0, 60).Draw(t, "faults"), again: map[string]bool{}}
		var acknowledged []string
		held := 0 // bytes of what is pending
		o.Acknowledged = func(all []producer.Record) {
			for _, r := range all {
				acknowledged = append(acknowledged, text(r))
				held -= len(r.PartitionKey) + len(r.Data)
			}
		}
		c := &clock{}
		p, err := producer.New(s, "telemetry", c.options(o))
		if err != nil {
			t.Fatal(err)
		}
		var added []string
		perKey := map[string][]string{}
		for i := range rapid.IntRange(0, 120).Draw(t, "records") {
			r := producer.Record{PartitionKey: fmt.Sprint("k", rapid.IntRange(0, 6).Draw(t, "key")), Data: fmt.Appendf(nil, "%d-%s", i, strings.Repeat("x", rapid.IntRange(0, 200).Draw(t, "size")))}
			if rapid.IntRange(0, 9).Draw(t, "explicit") == 0 {
				r.ExplicitHashKey = rapid.SampledFrom([]string{"0", "340282366920938463463374607431768211455"}).Draw(t, "hash key")
				r.PartitionKey += "/" + r.ExplicitHashKey[:1] // a key has one shard
			}
			for {
				err := p.Add(context.Background(), r)
				if err == nil {
					break
				}
				unsent := &producer.UnsentError{}
				if !errors.As(err, &unsent) || unsent.Records != p.Pending() {
					t.Fatal(err)
				}
			}
			added = append(added, text(r))
			perKey[r.PartitionKey] = append(perKey[r.PartitionKey], text(r))
			held += len(r.PartitionKey) + len(r.Data)
			bound := o.BatchBytes
			if o.Aggregate != nil {
				bound += len(halves) * o.Aggregate.Bytes
			}
			if held > bound || o.Aggregate == nil && p.Pending() > o.BatchRecords {
				t.Fatalf("%d records of %d bytes are pending", p.Pending(), held)
			}
			if p.Acknowledged() != len(acknowledged) || p.Pending() != len(added)-len(acknowledged) {
				t.Fatalf("acknowledged %d and pending %d of %d and %d", p.Acknowledged(), p.Pending(), len(acknowledged), len(added))
			}
		}
		for p.Pending() > 0 {
			_ = p.Flush(context.Background())
		}
		stats := p.Stats()
		if stats.Entries != len(s.taken[0])+len(s.taken[1]) && !s.lost || stats.Added != len(added) || stats.Acknowledged != len(added) || stats.Inverted != 0 {
			t.Fatalf("the counts are %+v", stats)
		}
		got := producer.Stats{Calls: stats.Calls, FailedCalls: stats.FailedCalls, Throttled: stats.Throttled, Failed: stats.Failed, Retried: stats.Retried}
		if got != s.want {
			t.Fatalf("the counts are %+v, want %+v", got, s.want)
		}
		slices.Sort(added)
		slices.Sort(acknowledged)
		if !slices.Equal(acknowledged, added) {
			t.Fatalf("acknowledged were %q, added %q", acknowledged, added)
		}
		seen := map[string]bool{}
		order := map[string][]string{}
		var taken []string
		for _, r := range s.users() {
			if !seen[text(r)] {
				order[r.PartitionKey] = append(order[r.PartitionKey], text(r))
				taken = append(taken, text(r))
			} else if !s.lost {
				t.Fatalf("%s is there twice", text(r))
			}
			seen[text(r)] = true
		}
		slices.Sort(taken)
		if !slices.Equal(taken, added) {
			t.Fatalf("the stream holds %q, added were %q", taken, added)
		}
		for key, want := range perKey {
			if o.Ordered && !slices.Equal(order[key], want) {
				t.Fatalf("of %s the stream holds %q, added were %q", key, order[key], want)
			}
		}
	})
}
