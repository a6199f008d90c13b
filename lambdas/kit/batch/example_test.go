package batch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/decode"
)

// A function that handles orders one by one. In main it is lambda.Start(handler).
func ExampleEach() {
	handler := batch.Each(batch.Kinesis, func(ctx context.Context, r decode.Record) error {
		var order struct{ ID string }
		if err := json.Unmarshal(r.Data, &order); err != nil {
			return batch.Permanent(err) // it won't get better
		}
		fmt.Println("order", order.ID)
		return nil
	}, batch.Options{Log: slog.New(slog.DiscardHandler)})

	answer, err := handler.Invoke(context.Background(), event(`eu={"ID":"7"}`, `us={"ID":"8"}`, `eu={"ID":`))
	fmt.Println(string(answer), err)
	// Output:
	// order 7
	// order 8
	// {"batchItemFailures":[{"itemIdentifier":"102"}]} <nil>
}

// A function that writes once per key, whatever a batch holds of it, and names the
// record that it can't read.
func ExampleKeys() {
	handler := batch.Keys(batch.Kinesis, nil, func(_ context.Context, records []decode.Record) error {
		var problems []error
		sum := 0
		for i, r := range records {
			var order struct{ Price int }
			if err := json.Unmarshal(r.Data, &order); err != nil {
				problems = append(problems, batch.At(i, err))
				break // its key's later ones come again with it
			}
			sum += order.Price
		}
		fmt.Println(records[0].PartitionKey, sum)
		return errors.Join(problems...)
	}, batch.Options{Log: slog.New(slog.DiscardHandler)})

	answer, err := handler.Invoke(context.Background(), event(`eu={"Price":7}`, `us={"Price":8}`, `eu={"Price":2}`, `us={"Price":`))
	fmt.Println(string(answer), err)
	// Output:
	// eu 9
	// us 8
	// {"batchItemFailures":[{"itemIdentifier":"103"}]} <nil>
}

// A function that counts per window of its mapping.
func ExampleWindows() {
	type count struct{ Orders int }
	handler := batch.Windows(batch.Kinesis, func(_ context.Context, w batch.Window, state *count, records []decode.Record) error {
		state.Orders += len(records)
		if w.Final {
			fmt.Println(state.Orders, "orders from", w.Start)
		}
		return nil
	}, batch.Options{Log: slog.New(slog.DiscardHandler)})

	answer, _ := handler.Invoke(context.Background(), windowed(`{"Orders":40}`, "", "eu={}", "us={}"))
	fmt.Println(string(answer))
	answer, _ = handler.Invoke(context.Background(), windowed(`{"Orders":42}`, `,"isFinalInvokeForWindow":true`))
	fmt.Println(string(answer))
	// Output:
	// {"state":{"Orders":42},"batchItemFailures":[]}
	// 42 orders from 2026-01-01 00:00:00 +0000 UTC
	// {"state":{"Orders":42},"batchItemFailures":[]}
}
