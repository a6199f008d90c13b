package kpl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/kit/kpl"
)

// A handler takes every user record, and fails those of a Kinesis record together.
func ExampleSplit() {
	handler := batch.Each(batch.Kinesis, func(_ context.Context, r decode.Record) error {
		records, aggregated := kpl.Split(r.Data, nil)
		if !aggregated {
			records = append(records, kpl.Record{PartitionKey: []byte(r.PartitionKey), Data: r.Data})
		}
		for _, one := range records {
			if len(one.Data) == 0 {
				return fmt.Errorf("%s.%d is empty", r.SequenceNumber, one.Sub)
			}
			fmt.Printf("%s.%d %s: %s\n", r.SequenceNumber, one.Sub, one.PartitionKey, one.Data)
		}
		return nil
	}, batch.Options{Log: slog.New(slog.DiscardHandler)})

	a, err := kpl.NewAggregator(kpl.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range [][2]string{{"ada", "12 km"}, {"ben", "11 km"}, {"ada", "13 km"}} {
		if _, err := a.Add(r[0], "", []byte(r[1])); err != nil {
			log.Fatal(err)
		}
	}
	var event events.KinesisEvent
	for _, data := range [][]byte{a.Flush()[0].Data, []byte("9 km"), {}} {
		event.Records = append(event.Records, events.KinesisEventRecord{Kinesis: events.KinesisRecord{
			SequenceNumber: fmt.Sprint(100 + len(event.Records)), PartitionKey: "eve", Data: data,
			ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: time.Unix(1767225600, 0)},
		}})
	}
	payload, err := json.Marshal(event)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := handler.Invoke(context.Background(), payload)
	fmt.Println(string(answer), err)
	// Output:
	// 100.0 ada: 12 km
	// 100.1 ben: 11 km
	// 100.2 ada: 13 km
	// 101.0 eve: 9 km
	// {"batchItemFailures":[{"itemIdentifier":"102"}]} <nil>
}

// One aggregator for a stream with two shards: the KCL takes only what belongs to
// the shard that it reads.
func ExampleAggregator() {
	var shards []kpl.HashRange
	for _, r := range [][2]string{ // from ListShards
		{"0", "170141183460469231731687303715884105727"},
		{"170141183460469231731687303715884105728", "340282366920938463463374607431768211455"},
	} {
		shard, err := kpl.NewHashRange(r[0], r[1])
		if err != nil {
			log.Fatal(err)
		}
		shards = append(shards, shard)
	}
	a, err := kpl.NewAggregator(kpl.Options{Shards: shards})
	if err != nil {
		log.Fatal(err)
	}
	var ready []*kpl.Aggregated // to PutRecords
	for _, racer := range []string{"ada", "ben", "cem", "dora", "ada"} {
		full, err := a.Add(racer, "", []byte("12 km"))
		if err != nil {
			log.Fatal(err)
		}
		if full != nil {
			ready = append(ready, full)
		}
	}
	ready = append(ready, a.Flush()...)
	for _, r := range ready {
		fmt.Printf("shard %d: %d records, %d bytes, first key %s\n", r.Shard, r.Records, len(r.Data), r.PartitionKey)
	}
	// Output:
	// shard 0: 3 records, 69 bytes, first key ben
	// shard 1: 2 records, 47 bytes, first key ada
}
