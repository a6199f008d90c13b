// Package handler keeps how each race goes in windows of time: mean and best speed
// and power, the racers that sent something, the way that they covered.
package handler

import (
	"cmp"
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
	h.Handler = batch.Windows(batch.UserRecords, h.window, batch.Options{Rejects: rejects})
	return h, nil
}

// window takes the records in and, at the window's end, writes what came of them.
func (h *Handler) window(ctx context.Context, w batch.Window, state *race.PaceState, records []batch.UserRecord) error {
	var malformed []error
	if n := len(records); n > 0 {
		state.First, state.Last = cmp.Or(state.First, records[0].Kinesis.SequenceNumber), records[n-1].Kinesis.SequenceNumber
	}
	for i := range records {
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
			if err := h.write(ctx, w, state, name, parts[name]); err != nil {
				problems[i] = fmt.Errorf("pace of race %s: %w", name, err)
			}
			return nil // a failure must not keep the others from being written
		})
	}
	_ = group.Wait() // they are in problems
	return errors.Join(append(malformed, problems...)...)
}

// PartPrefix begins the names of the attributes that hold parts:
// part/<shard>/<first record>/<last record>.
const PartPrefix = "part/"

// write puts a shard's part into the item of the race's window. A part is an
// attribute of its own, whose name says which records it is made of: when the
// window's last invocation is made again, it writes the same once more.
func (h *Handler) write(ctx context.Context, w batch.Window, state *race.PaceState, name string, part race.PacePart) error {
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
		ExpressionAttributeNames: map[string]string{"#end": "end", "#part": PartPrefix + w.ShardID + "/" + state.First + "/" + state.Last},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":end": &types.AttributeValueMemberS{Value: text(w.End)}, ":part": value,
		},
	})
	return err
}

func text(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Read reads an item of the table. Where a shard's records were read again before
// their window was over, there are parts that have records in common: of these it
// takes the ones that count the most records and have none in common.
func Read(item map[string]types.AttributeValue) (race.Pace, error) {
	var head struct {
		Race        string
		Window, End time.Time
	}
	if err := attributevalue.UnmarshalMap(item, &head); err != nil {
		return race.Pace{}, fmt.Errorf("the item isn't a race's window: %w", err)
	}
	shards := map[string][]part{}
	for name, value := range item {
		if !strings.HasPrefix(name, PartPrefix) {
			continue
		}
		var one part
		path := strings.Split(strings.TrimPrefix(name, PartPrefix), "/")
		if len(path) != 3 {
			return race.Pace{}, fmt.Errorf("the attribute %s isn't a part: it has to name a shard, a first record and a last one", name)
		}
		if err := attributevalue.Unmarshal(value, &one.PacePart); err != nil {
			return race.Pace{}, fmt.Errorf("the attribute %s isn't a part: %w", name, err)
		}
		one.first, one.last = path[1], path[2]
		shards[path[0]] = append(shards[path[0]], one)
	}
	var parts []race.PacePart
	for _, shard := range slices.Sorted(maps.Keys(shards)) { // in one order: the sums of fractions depend on it
		parts = append(parts, most(shards[shard])...)
	}
	return race.NewPace(head.Race, head.Window, head.End, parts), nil
}

// part is one with the sequence numbers of its first and last record.
type part struct {
	race.PacePart
	first, last string
}

// most are the parts without a record in common that have the most records.
func most(parts []part) []race.PacePart {
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(compare(a.last, b.last), compare(a.first, b.first)) })
	type choice struct {
		parts   []race.PacePart
		records int
	}
	best := make([]choice, len(parts)+1) // of the first so many parts
	for i, p := range parts {
		before := i // how many of the others end before p
		for before > 0 && compare(parts[before-1].last, p.first) >= 0 {
			before--
		}
		best[i+1] = best[i]
		if records := best[before].records + p.Records; records > best[i].records {
			best[i+1] = choice{append(slices.Clone(best[before].parts), p.PacePart), records}
		}
	}
	return best[len(parts)].parts
}

// compare compares sequence numbers, which are whole numbers of up to 128 bits.
func compare(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
