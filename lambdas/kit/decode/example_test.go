package decode_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/millrace/millrace/lambdas/kit/decode"
)

// Reading is what the producers put on the stream.
type Reading struct {
	Racer string  `json:"racer"`
	Speed float64 `json:"speed"`
}

// handler takes the payload as it is: a Handler of Lambda's Go library, which
// lambda.Start runs without decoding anything itself.
type handler struct{}

var _ lambda.Handler = handler{}

func (handler) Invoke(_ context.Context, payload []byte) ([]byte, error) {
	event, err := decode.Kinesis(payload)
	if err != nil {
		return nil, err // the mapping tries the batch again, and keeps it in the end
	}
	var response events.KinesisEventResponse
	for _, record := range event.Records {
		var reading Reading
		if err := decode.JSON(record.Data, &reading); err != nil {
			response.BatchItemFailures = append(response.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: record.SequenceNumber})
			break
		}
		fmt.Println(record.ShardID(), record.ApproximateArrivalTimestamp, reading.Racer, reading.Speed)
	}
	return json.Marshal(response)
}

func Example() {
	payload := []byte(`{"Records":[{
		"kinesis":{"partitionKey":"r-0007","sequenceNumber":"49656821","data":"eyJyYWNlciI6InItMDAwNyIsInNwZWVkIjoxNC4yfQ==","approximateArrivalTimestamp":1795255200.123},
		"eventSource":"aws:kinesis","eventID":"shardId-000000000000:49656821"
	}]}`)
	// In a function: lambda.Start(handler{})
	answer, err := handler{}.Invoke(context.Background(), payload)
	fmt.Println(string(answer), err)
	// Output:
	// shardId-000000000000 2026-11-21 10:00:00.123 +0000 UTC r-0007 14.2
	// {"batchItemFailures":null} <nil>
}

func ExampleDynamoDB() {
	payload := []byte(`{"Records":[{
		"eventID":"1","eventName":"REMOVE","eventSource":"aws:dynamodb",
		"userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"},
		"dynamodb":{"Keys":{"race":{"S":"monza"}},"SequenceNumber":"442158","StreamViewType":"KEYS_ONLY"}
	}]}`)
	event, err := decode.DynamoDB(payload)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, change := range event.Records {
		fmt.Println(change.EventName, change.Expired(), len(change.Keys))
	}
	// Output: REMOVE true 1
}

func ExampleError() {
	_, err := decode.Kinesis([]byte(`{"Records":[{"kinesis":{"sequenceNumber":"1","data":"%"}}]}`))
	fmt.Println(err)
	// Output: decode: Records[0].kinesis.data, at byte 53: must be a string in base64, with padding and without line breaks
}

// Any format is a Codec.
var (
	_ decode.Codec[Reading] = decode.JSON[Reading]
	_ decode.Codec[string]  = func(data []byte, into *string) error { *into = string(data); return nil }
)
