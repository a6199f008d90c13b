package reject_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/kit/reject"
)

// A function that sets aside what is no order. In main, reject.FromEnvironment makes the
// writer of a function of the consumer construct.
func ExampleWriter() {
	failures := &bucket{objects: map[string][]byte{}} // an S3 client
	quiet := slog.New(slog.DiscardHandler)
	rejects := &reject.Writer{
		Client: failures, Bucket: "failures", Function: "orders",
		Reporter: reject.Reporter{Metrics: io.Discard, Log: quiet},
	}
	handler := batch.Each(batch.Kinesis, func(_ context.Context, r decode.Record) error {
		var order struct{ ID string }
		if err := json.Unmarshal(r.Data, &order); err != nil {
			return batch.Permanent(err)
		}
		fmt.Println("order", order.ID)
		return nil
	}, batch.Options{Rejects: rejects, Log: quiet})

	answer, err := handler.Invoke(context.Background(), []byte(`{"Records":[
		{"eventID":"shardId-000000000003:49656","kinesis":{"sequenceNumber":"49656","partitionKey":"eu","data":"eyJJRCI6"}},
		{"eventID":"shardId-000000000003:49657","kinesis":{"sequenceNumber":"49657","partitionKey":"eu","data":"eyJJRCI6IjgifQ=="}}]}`))
	fmt.Println(string(answer), err)
	for key, body := range failures.objects {
		var d reject.Document
		fmt.Println(key, json.Unmarshal(body, &d))
		fmt.Printf("%s: %s\n", d.Data, d.Reason)
	}
	// Output:
	// order 8
	// {"batchItemFailures":[]} <nil>
	// s3://failures/rejected/orders/shardId-000000000003/49656.json <nil>
	// {"ID":: unexpected end of JSON input
}
