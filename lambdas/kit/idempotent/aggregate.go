package idempotent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/internal/transact"
)

// AggregateAPI is what an Aggregate needs of a DynamoDB client. GetItem is only for
// Prune.
type AggregateAPI interface {
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
}

var _ AggregateAPI = (*dynamodb.Client)(nil)

// Aggregate counts and sums records in items that hold, beside the numbers, how far
// they have counted: for each shard an attribute with the mark of its last record. It
// is the strategy to begin with: exactly once for one write unit per item and batch.
//
// The records of an item in a shard have to be applied in their order, none before
// another that comes first. That is so if the mapping's parallelization factor is 1;
// with more, if all records of an item have the same partition key, as Lambda keeps
// the order of those only. (That many items have the same partition key does no
// harm.) Within a batch, apply what concerns an item together: batch.Keys by the
// item's key does.
//
// Aggregate is safe for concurrent use.
type Aggregate struct {
	// Client and Table are required.
	Client AggregateAPI
	Table  string
	// Prefix begins the names of the attributes that hold the marks; "" means
	// "hwm:". Functions that count different things in the same items each need
	// their own.
	Prefix string
}

// Update is what records change in an item.
type Update struct {
	// Add is added to numbers (which begin at 0) and to sets.
	Add map[string]types.AttributeValue
	// Set replaces values.
	Set map[string]types.AttributeValue
}

// Apply applies those of the records that the item with that key doesn't hold yet, and
// returns how many these were. At are the records' positions: of one shard, in the
// stream's order. Fold says what the records from an index on, to the last, change; it
// is called again, with a higher index, if the item turns out to hold some already.
//
// After an error nothing or everything was applied; applying the records again finds
// out. An error of fold is returned as it is.
func (a *Aggregate) Apply(ctx context.Context, key map[string]types.AttributeValue, at []Position, fold func(from int) (Update, error)) (int, error) {
	marks, err := marksOf(at)
	if err != nil || len(at) == 0 {
		return 0, err
	}
	if a.Client == nil || a.Table == "" {
		return 0, errNoClient
	}
	if fold == nil {
		return 0, errNoFunction
	}
	name := a.prefix() + at[0].Shard
	last := &types.AttributeValueMemberS{Value: marks[len(marks)-1]}
	for from, attempts := 0, 1; from < len(at); {
		u, err := fold(from)
		if err != nil {
			return 0, err
		}
		in := u.input(name, last, marks[from])
		in.TableName, in.Key = aws.String(a.Table), key
		_, err = a.Client.UpdateItem(ctx, in)
		var failed *types.ConditionalCheckFailedException
		switch {
		case err == nil:
			return len(at) - from, nil
		case errors.As(err, &failed):
			if from, err = above(marks, from, failed.Item, name); err != nil {
				return 0, err
			}
		case transact.IsConflict(err) && attempts < transact.Attempts && transact.Conflicts.Wait(ctx, attempts) == nil:
			attempts++ // with a transaction on the same item
		default:
			return 0, fmt.Errorf("idempotent: update an item of %s: %w", a.Table, err)
		}
	}
	return 0, nil
}

// input is the update with the mark and its condition. Names and values go by
// placeholders: any name may be one of DynamoDB's reserved words.
func (u Update) input(mark string, last types.AttributeValue, first string) *dynamodb.UpdateItemInput {
	names := map[string]string{"#m": mark}
	values := map[string]types.AttributeValue{":last": last, ":first": &types.AttributeValueMemberS{Value: first}}
	part := func(attributes map[string]types.AttributeValue, between string) (all []string) {
		for _, name := range slices.Sorted(maps.Keys(attributes)) {
			n := strconv.Itoa(len(names))
			names["#"+n], values[":"+n] = name, attributes[name]
			all = append(all, "#"+n+between+":"+n)
		}
		return all
	}
	expression := "SET " + strings.Join(append(part(u.Set, " = "), "#m = :last"), ", ")
	if add := part(u.Add, " "); add != nil {
		expression += " ADD " + strings.Join(add, ", ")
	}
	return &dynamodb.UpdateItemInput{
		UpdateExpression:                    aws.String(expression),
		ConditionExpression:                 aws.String("attribute_not_exists(#m) OR #m < :first"),
		ExpressionAttributeNames:            names,
		ExpressionAttributeValues:           values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

// Prune removes the marks of shards that are gone from an item, and returns how many
// it removed. Resharding closes shards and opens others, so marks add up, some 90
// bytes each. Keep says which shards still matter: those that ListShards lists. It
// lists a closed shard until its last record has expired, and until then a record can
// come again. Prune costs a consistent read, and a write if there is something to
// remove.
func (a *Aggregate) Prune(ctx context.Context, key map[string]types.AttributeValue, keep func(shard string) bool) (int, error) {
	if a.Client == nil || a.Table == "" {
		return 0, errNoClient
	}
	if keep == nil {
		return 0, errNoFunction
	}
	out, err := a.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(a.Table), Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return 0, fmt.Errorf("idempotent: read an item of %s: %w", a.Table, err)
	}
	names, values := map[string]string{}, map[string]types.AttributeValue{}
	var gone, unchanged []string
	for _, name := range slices.Sorted(maps.Keys(out.Item)) {
		shard, marks := strings.CutPrefix(name, a.prefix())
		if !marks || keep(shard) {
			continue
		}
		n := strconv.Itoa(len(gone))
		names["#"+n], values[":"+n] = name, out.Item[name]
		gone, unchanged = append(gone, "#"+n), append(unchanged, "#"+n+" = :"+n)
	}
	if len(gone) == 0 {
		return 0, nil
	}
	_, err = a.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 aws.String(a.Table),
		Key:                       key,
		UpdateExpression:          aws.String("REMOVE " + strings.Join(gone, ", ")),
		ConditionExpression:       aws.String(strings.Join(unchanged, " AND ")),
		ExpressionAttributeNames:  names,
		ExpressionAttributeValues: values,
	})
	if failed := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &failed) {
		return 0, fmt.Errorf("idempotent: a shard that isn't to be kept was counted meanwhile: it isn't gone: %w", err)
	}
	if err != nil {
		return 0, fmt.Errorf("idempotent: update an item of %s: %w", a.Table, err)
	}
	return len(gone), nil
}

func (a *Aggregate) prefix() string { return cmp.Or(a.Prefix, "hwm:") }
