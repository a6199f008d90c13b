// Package handler keeps the standings table: each racer's newest record, out of a
// stream that repeats and reorders.
package handler

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/race"
)

// UpdateItemAPI is what the function needs of a DynamoDB client.
type UpdateItemAPI interface {
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

var _ UpdateItemAPI = (*dynamodb.Client)(nil)

// Handler is the function. It is safe for concurrent use.
type Handler struct {
	lambda.Handler
	table string
	db    UpdateItemAPI
}

// New is the function. It reads the environment through getenv
// (os.Getenv); the error names every variable that is missing.
func New(getenv func(string) string, db UpdateItemAPI, rejects batch.Rejects) (*Handler, error) {
	env, err := boot.Environment(getenv, "STANDINGS_TABLE")
	if err != nil {
		return nil, err
	}
	h := &Handler{table: env["STANDINGS_TABLE"], db: db}
	// A racer that fails doesn't keep the others from being up to date: writing a state
	// again does no harm.
	h.Handler = batch.Keys(batch.UserRecords, nil, h.racers, batch.Options{Concurrency: boot.Concurrency, KeepGoing: true, Rejects: rejects})
	return h, nil
}

// racers writes the newest record of every racer among records of one partition
// key, unless the table holds a newer one. There is one racer to a key, but nothing
// depends on it.
func (h *Handler) racers(ctx context.Context, records []batch.UserRecord) error {
	var problems []error
	var record race.Record
	var found fold
	for i := range records {
		switch err := race.ParseInto(records[i].Data, &record); {
		case errors.Is(err, race.ErrKeepAlive):
		case err != nil:
			problems = append(problems, batch.At(i, batch.Permanent(err)))
		default:
			found.add(i, &record)
		}
	}
	for i := range found.racers {
		r := &found.racers[i]
		if err := h.write(ctx, r.newest); err != nil {
			problems = append(problems, batch.At(r.first, fmt.Errorf("racer %s of race %s: %w", r.newest.Racer, r.newest.Race, err)))
		}
	}
	return errors.Join(problems...)
}

// fold reduces records to the newest one of each racer.
type fold struct {
	racers []racer
	index  map[race.Key]int // of racers, once there are two
}

type racer struct {
	newest race.Record
	first  int // position of the first record
}

func (f *fold) add(position int, r *race.Record) {
	key := r.Key()
	at, known := 0, len(f.racers) > 0 && f.racers[0].newest.Key() == key
	if !known {
		at, known = f.index[key]
	}
	if !known {
		if f.index == nil {
			f.index = map[race.Key]int{}
		}
		f.index[key] = len(f.racers)
		f.racers = append(f.racers, racer{*r, position})
	} else if r.After(f.racers[at].newest) {
		f.racers[at].newest = *r
	}
}

// names are the placeholders of attributes: "at" is one of DynamoDB's reserved words.
var names = map[string]string{"#seq": "seq", "#at": "at", "#distance": "distance", "#speed": "speed", "#power": "power"}

// write does nothing if the table already holds the record or a newer one: records
// come repeatedly and out of order.
func (h *Handler) write(ctx context.Context, r race.Record) error {
	_, err := h.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                aws.String(h.table),
		Key:                      map[string]types.AttributeValue{"race": text(r.Race), "racer": text(r.Racer)},
		UpdateExpression:         aws.String("SET #seq = :seq, #at = :at, #distance = :distance, #speed = :speed, #power = :power"),
		ConditionExpression:      aws.String("attribute_not_exists(#seq) OR #seq < :seq"),
		ExpressionAttributeNames: names,
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":seq": &types.AttributeValueMemberN{Value: strconv.FormatInt(r.Seq, 10)}, ":at": text(r.At.Format(time.RFC3339Nano)),
			":distance": number(r.Distance), ":speed": number(r.Speed), ":power": number(r.Power),
		},
	})
	if newer := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &newer) {
		return nil
	}
	return err
}

// The values are those that attributevalue makes of a record, which reads them.

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(v float64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatFloat(v, 'g', -1, 64)}
}
