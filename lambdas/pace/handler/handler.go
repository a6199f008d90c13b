// Package handler keeps how each race goes in windows of time: mean and best speed
// and power, the racers that sent something, the way that they covered.
package handler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/decode"
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
	env, err := boot.Environment(getenv, "PACES_TABLE")
	if err != nil {
		return nil, err
	}
	h := &Handler{table: env["PACES_TABLE"], db: db}
	h.Handler = batch.Windows(batch.Kinesis, h.window, batch.Options{Rejects: rejects})
	return h, nil
}

// window takes the records in and, at the window's end, writes what came of them.
func (h *Handler) window(ctx context.Context, w batch.Window, state *race.PaceState, records []decode.Record) error {
	var malformed []error
	for i := range records {
		if state.First == "" {
			state.First = records[i].SequenceNumber
		}
		record, err := race.Parse(records[i].Data)
		switch {
		case errors.Is(err, race.ErrKeepAlive):
		case err != nil:
			malformed = append(malformed, batch.At(i, batch.Permanent(err)))
		default:
			state.Add(record)
		}
	}
	if !w.Final {
		return errors.Join(malformed...)
	}
	parts := state.Parts()
	names := slices.Sorted(maps.Keys(parts))
	problems := make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(boot.Concurrency)
	for i, name := range names {
		group.Go(func() error {
			if err := h.write(ctx, w, state.First, name, parts[name]); err != nil {
				problems[i] = fmt.Errorf("pace of race %s: %w", name, err)
			}
			return nil // a failure must not keep the others from being written
		})
	}
	_ = group.Wait() // they are in problems
	return errors.Join(append(malformed, problems...)...)
}

// PartPrefix begins the names of the attributes that hold parts.
const PartPrefix = "part/"

// write puts a shard's part into the item of the race's window. A part is an
// attribute of its own, whose name says which records it is made of: when the
// window's last invocation is made again, it writes the same once more.
func (h *Handler) write(ctx context.Context, w batch.Window, first, name string, part race.PacePart) error {
	value, err := attributevalue.Marshal(part)
	if err != nil {
		return err
	}
	_, err = h.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(h.table),
		Key: map[string]types.AttributeValue{
			"race": &types.AttributeValueMemberS{Value: name}, "window": &types.AttributeValueMemberS{Value: text(w.Start)},
		},
		UpdateExpression:         aws.String("SET #end = :end, #part = :part"),
		ExpressionAttributeNames: map[string]string{"#end": "end", "#part": PartPrefix + w.ShardID + "/" + first},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":end": &types.AttributeValueMemberS{Value: text(w.End)}, ":part": value,
		},
	})
	return err
}

func text(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Read reads an item of the table.
func Read(item map[string]types.AttributeValue) (race.Pace, error) {
	var head struct {
		Race        string
		Window, End time.Time
	}
	if err := attributevalue.UnmarshalMap(item, &head); err != nil {
		return race.Pace{}, fmt.Errorf("the item isn't a race's window: %w", err)
	}
	var parts []race.PacePart
	for name, value := range item {
		if !strings.HasPrefix(name, PartPrefix) {
			continue
		}
		var part race.PacePart
		if err := attributevalue.Unmarshal(value, &part); err != nil {
			return race.Pace{}, fmt.Errorf("the attribute %s isn't a part: %w", name, err)
		}
		parts = append(parts, part)
	}
	return race.NewPace(head.Race, head.Window, head.End, parts), nil
}
