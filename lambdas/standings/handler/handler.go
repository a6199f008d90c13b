// Package handler keeps the standings table: each racer's newest record, out of a
// stream that repeats and reorders.
package handler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/partial"
	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/race"
)

// UpdateItemAPI is what the function needs of a DynamoDB client.
type UpdateItemAPI interface {
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

var _ UpdateItemAPI = (*dynamodb.Client)(nil)

// Handler is the function. It is safe for concurrent use.
type Handler struct {
	// Rejects takes the records that can't be read.
	Rejects *reject.Writer

	table string
	db    UpdateItemAPI
}

// New reads the function's environment through getenv (os.Getenv). The error names
// every variable that is missing.
func New(getenv func(string) string, db UpdateItemAPI, bucket reject.PutObjectAPI) (*Handler, error) {
	env, err := boot.Environment(getenv, "STANDINGS_TABLE", "FAILURE_BUCKET", "AWS_LAMBDA_FUNCTION_NAME")
	if err != nil {
		return nil, err
	}
	return &Handler{
		table: env["STANDINGS_TABLE"],
		db:    db,
		Rejects: &reject.Writer{
			Client:   bucket,
			Bucket:   env["FAILURE_BUCKET"],
			Function: env["AWS_LAMBDA_FUNCTION_NAME"],
		},
	}, nil
}

// batch is what one event comes to.
type batch struct {
	newest     race.Fold
	first      map[race.Key]int // the racer's lowest position in the event
	malformed  map[int]error    // by position
	keepAlives int
}

// Handle writes the newest record of every racer in the event, unless the table
// holds a newer one. One racer's failure doesn't keep the others from being
// written; what failed is retried from the lowest position concerned.
func (h *Handler) Handle(ctx context.Context, event events.KinesisEvent) (events.KinesisEventResponse, error) {
	ctx, cancel := partial.Context(ctx)
	defer cancel()

	b := read(event)
	var failures partial.Failures
	var stale atomic.Int64
	var group errgroup.Group // not WithContext: a failure must not cancel the rest
	group.SetLimit(boot.Concurrency)
	for position, reason := range b.malformed {
		group.Go(func() error {
			if err := h.Rejects.Write(ctx, document(event.Records[position], reason)); err != nil {
				failures.Add(position, err)
			}
			return nil
		})
	}
	for key, record := range b.newest {
		group.Go(func() error {
			written, err := h.write(ctx, record)
			if err != nil {
				failures.Add(b.first[key], fmt.Errorf("racer %s of race %s: %w", key.Racer, key.Race, err))
			} else if !written {
				stale.Add(1)
			}
			return nil
		})
	}
	_ = group.Wait()

	slog.InfoContext(ctx, "batch", "records", len(event.Records), "racers", len(b.newest), "stale", stale.Load(),
		"keepAlives", b.keepAlives, "malformed", len(b.malformed))
	return answer(ctx, event, &failures)
}

func read(event events.KinesisEvent) batch {
	b := batch{newest: make(race.Fold), first: make(map[race.Key]int), malformed: make(map[int]error)}
	for position := range event.Records {
		record, err := race.Parse(event.Records[position].Kinesis.Data)
		switch {
		case errors.Is(err, race.ErrKeepAlive):
			b.keepAlives++
		case err != nil:
			b.malformed[position] = err
		default:
			if _, ok := b.first[record.Key()]; !ok {
				b.first[record.Key()] = position
			}
			b.newest.Add(record)
		}
	}
	return b
}

// write reports false if the table already holds the record or a newer one,
// which is success: records come repeatedly and out of order.
func (h *Handler) write(ctx context.Context, r race.Record) (bool, error) {
	values, err := attributevalue.MarshalMap(r)
	if err != nil {
		return false, err
	}
	// Every name goes by a placeholder: "at" is one of DynamoDB's reserved words.
	_, err = h.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:           aws.String(h.table),
		Key:                 map[string]types.AttributeValue{"race": values["race"], "racer": values["racer"]},
		UpdateExpression:    aws.String("SET #seq = :seq, #at = :at, #distance = :distance, #speed = :speed, #power = :power"),
		ConditionExpression: aws.String("attribute_not_exists(#seq) OR #seq < :seq"),
		ExpressionAttributeNames: map[string]string{
			"#seq": "seq", "#at": "at", "#distance": "distance", "#speed": "speed", "#power": "power",
		},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":seq": values["seq"], ":at": values["at"], ":distance": values["distance"], ":speed": values["speed"], ":power": values["power"],
		},
	})
	if newer := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &newer) {
		return false, nil
	}
	return err == nil, err
}

func document(r events.KinesisEventRecord, reason error) reject.Document {
	return reject.Document{
		EventSourceARN: r.EventSourceArn,
		ShardID:        shardID(r),
		SequenceNumber: r.Kinesis.SequenceNumber,
		PartitionKey:   r.Kinesis.PartitionKey,
		// It went through a float64 on its way, so beyond milliseconds it is noise.
		ApproximateArrivalTimestamp: r.Kinesis.ApproximateArrivalTimestamp.Round(time.Millisecond).UTC(),
		Reason:                      reason.Error(),
		Data:                        r.Kinesis.Data,
	}
}

func answer(ctx context.Context, event events.KinesisEvent, failures *partial.Failures) (events.KinesisEventResponse, error) {
	response := events.KinesisEventResponse{BatchItemFailures: []events.KinesisBatchItemFailure{}}
	first, failed := failures.First()
	if !failed {
		return response, nil
	}
	record := event.Records[first.Position]
	slog.ErrorContext(ctx, "records failed: the batch will be retried from here", "failures", first.Count,
		"error", first.Err.Error(), "shardId", shardID(record), "sequenceNumber", record.Kinesis.SequenceNumber)
	if err := first.BatchError(); err != nil {
		return response, err
	}
	response.BatchItemFailures = append(response.BatchItemFailures,
		events.KinesisBatchItemFailure{ItemIdentifier: record.Kinesis.SequenceNumber})
	return response, nil
}

// shardID is the part of the event's id before the colon: "shardId-…:4959…".
func shardID(r events.KinesisEventRecord) string {
	shard, _, _ := strings.Cut(r.EventID, ":")
	return shard
}
