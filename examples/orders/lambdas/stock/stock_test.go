package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/kit/batch"
)

// shop is a DynamoDB and a failure bucket with what the program wrote.
type shop struct {
	booked   map[string]bool
	reserved map[string]int
	rejected []string
	broken   string // an order whose transaction fails
}

func (s *shop) TransactWriteItems(_ context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	id := in.TransactItems[0].Put.Item["order"].(*types.AttributeValueMemberS).Value
	switch {
	case id == s.broken:
		return nil, errors.New("DynamoDB is away")
	case s.booked[id]:
		return nil, &types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{{Code: aws.String("ConditionalCheckFailed")}}}
	}
	s.booked[id] = true
	for _, item := range in.TransactItems[1:] {
		n, err := strconv.Atoi(item.Update.ExpressionAttributeValues[":n"].(*types.AttributeValueMemberN).Value)
		if err != nil {
			return nil, err
		}
		s.reserved[item.Update.Key["sku"].(*types.AttributeValueMemberS).Value] += n
	}
	return &dynamodb.TransactWriteItemsOutput{}, nil
}

func (s *shop) Write(_ context.Context, r batch.Rejected) error {
	s.rejected = append(s.rejected, r.SequenceNumber+": "+r.Reason)
	return nil
}

// handle is the function.
type handle struct{ lambda.Handler }

func newTest() (*shop, handle) {
	s := &shop{booked: map[string]bool{}, reserved: map[string]int{}}
	return s, handle{(&program{db: s, stock: "stock", booked: "booked"}).handler(s)}
}

func (h handle) handle(ctx context.Context, e events.KinesisEvent) (out events.KinesisEventResponse, err error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return out, err
	}
	answer, err := h.Invoke(ctx, payload)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(answer, &out)
}

func event(data ...string) events.KinesisEvent {
	var e events.KinesisEvent
	for i, d := range data {
		e.Records = append(e.Records, events.KinesisEventRecord{
			EventID: "shardId-000000000000:1", Kinesis: events.KinesisRecord{
				Data: []byte(d), SequenceNumber: fmt.Sprint(i), ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: time.Unix(0, 0)},
			},
		})
	}
	return e
}

const (
	first  = `{"order":"A-1","lines":[{"sku":"tea","quantity":2},{"sku":"cup","quantity":1}]}`
	second = `{"order":"A-2","lines":[{"sku":"tea","quantity":3}]}`
)

func TestAnOrderThatComesTwiceIsBookedOnce(t *testing.T) {
	s, p := newTest()
	for range 2 {
		if got, err := p.handle(t.Context(), event(first, second, first)); err != nil || len(got.BatchItemFailures) > 0 {
			t.Fatal(got, err)
		}
	}
	if diff := cmp.Diff(map[string]int{"tea": 5, "cup": 1}, s.reserved); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoOrderIsSetAsideAndTheOthersGoOn(t *testing.T) {
	s, p := newTest()
	bad := []string{
		`no`, `{}`, `{"order":"A-3","lines":[]}`, `{"order":"A-3","lines":[{"sku":"tea","quantity":0}]}`,
		`{"order":"A-3","lines":[{"sku":"tea","quantity":1},{"sku":"tea","quantity":1}]}`,
	}
	got, err := p.handle(t.Context(), event(append(bad, first)...))
	if err != nil || len(got.BatchItemFailures) > 0 {
		t.Fatal(got, err)
	}
	if len(s.rejected) != len(bad) || !s.booked["A-1"] {
		t.Errorf("rejected %q, booked %v", s.rejected, s.booked)
	}
}

func TestABatchIsRetriedFromTheOrderThatFailed(t *testing.T) {
	s, p := newTest()
	s.broken = "A-2"
	got, err := p.handle(t.Context(), event(first, second, `{"order":"A-3","lines":[{"sku":"cup","quantity":1}]}`))
	if err != nil || len(got.BatchItemFailures) != 1 || got.BatchItemFailures[0].ItemIdentifier != "1" || s.booked["A-3"] {
		t.Errorf("%+v (%v), booked %v", got, err, s.booked)
	}
	// At the first record of a batch the error lets Lambda split it.
	if _, err := p.handle(t.Context(), event(second, first)); err == nil {
		t.Error("want an error")
	}
}
