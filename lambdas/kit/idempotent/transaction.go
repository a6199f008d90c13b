package idempotent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/internal/transact"
)

// MaxWrites is how many writes a transaction can hold beside the one of its own: AWS
// takes 100 in all, of 4 MB together.
const MaxWrites = transact.MaxWrites - 1

// TransactWriteItemsAPI is what a Transaction needs of a DynamoDB client.
type TransactWriteItemsAPI interface {
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

var _ TransactWriteItemsAPI = (*dynamodb.Client)(nil)

// Transaction writes what a shard's records change, in whatever items, together with
// the mark of the last record: both or none. Use it where an Aggregate can't be: a
// change spans items that have to agree, needs a condition, or is a put or a delete.
//
// All records of the shard that matter have to go through it, in their order, none
// before another that comes first: the mapping's parallelization factor must be 1,
// and a batch must be applied as a whole, up to its first failure.
//
// Transaction is safe for concurrent use.
type Transaction struct {
	// Client and Table are required: the table of the marks, an item per shard. The
	// writes may go to any table of the same account and region.
	Client TransactWriteItemsAPI
	Table  string
	// Name begins the ids of the marks. Functions that share the table each need
	// their own.
	Name string
	// Key makes the key of an item from its id; nil means {"id": id}, a string.
	Key func(id string) map[string]types.AttributeValue
	// TTL, if set, expires the marks of shards from which nothing came for so long:
	// more than the stream's retention, so that nothing of them can come again. It
	// is written to the attribute "expires", which the table has to have as its
	// time-to-live attribute. Without it the marks of closed shards stay.
	TTL time.Duration
}

// Apply applies those of the records that the mark hasn't passed yet, and returns how
// many these were. At are the records' positions: of one shard, in the stream's order.
// Writes says what the records at[from:to] write, at most 99 writes to as many
// different items. Of more, Apply makes several transactions: it halves the span until
// the writes fit, and goes on behind it. It asks for other spans, too, when some
// records turn out to be applied already.
//
// After an error a prefix of the records was applied, of which the count says how
// many for sure; applying all again finds out. An error of writes is returned as it
// is.
func (t *Transaction) Apply(ctx context.Context, at []Position, writes func(from, to int) ([]types.TransactWriteItem, error)) (applied int, err error) {
	marks, err := marksOf(at)
	if err != nil || len(at) == 0 {
		return 0, err
	}
	if t.Client == nil || t.Table == "" {
		return 0, errNoClient
	}
	if writes == nil {
		return 0, errNoFunction
	}
	for from, to := 0, len(at); from < len(at); {
		all, err := writes(from, to)
		if err != nil {
			return applied, err
		}
		if len(all) > MaxWrites {
			if to-from == 1 {
				return applied, fmt.Errorf("idempotent: record %s makes %d writes: a transaction holds %d", at[from].ID(), len(all), MaxWrites)
			}
			to = from + (to-from)/2
			continue
		}
		held, err := write(ctx, t.Client, types.TransactWriteItem{Update: t.mark(at[0].Shard, marks[from], marks[to-1])}, all)
		switch {
		case err != nil:
			return applied, err
		case held == nil:
			applied += to - from
			from = to
		default:
			if from, err = above(marks, from, held, "mark"); err != nil {
				return applied, err
			}
		}
		to = len(at)
	}
	return applied, nil
}

func (t *Transaction) mark(shard, first, last string) *types.Update {
	u := &types.Update{
		TableName:                aws.String(t.Table),
		Key:                      keyOf(t.Key, t.Name, "hwm:"+shard),
		UpdateExpression:         aws.String("SET #m = :last"),
		ConditionExpression:      aws.String("attribute_not_exists(#m) OR #m < :first"),
		ExpressionAttributeNames: map[string]string{"#m": "mark"},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":last": &types.AttributeValueMemberS{Value: last}, ":first": &types.AttributeValueMemberS{Value: first},
		},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	if t.TTL > 0 {
		u.UpdateExpression = aws.String("SET #m = :last, #e = :e")
		u.ExpressionAttributeNames["#e"] = "expires"
		u.ExpressionAttributeValues[":e"] = number(time.Now().Add(t.TTL).Unix())
	}
	return u
}

// write makes a transaction of own and others. If the condition of own fails, held is
// the item that it failed on.
func write(ctx context.Context, client TransactWriteItemsAPI, own types.TransactWriteItem, others []types.TransactWriteItem) (held map[string]types.AttributeValue, err error) {
	err = transact.Write(ctx, client, append([]types.TransactWriteItem{own}, others...))
	if err == nil {
		return nil, nil
	}
	var canceled *types.TransactionCanceledException
	if errors.As(err, &canceled) && len(canceled.CancellationReasons) > 0 {
		if reason := canceled.CancellationReasons[0]; aws.ToString(reason.Code) == "ConditionalCheckFailed" {
			if reason.Item == nil {
				return map[string]types.AttributeValue{}, nil // not success
			}
			return reason.Item, nil
		}
	}
	return nil, fmt.Errorf("idempotent: transaction of %d writes: %w", 1+len(others), transact.Reasons(err, func(i int) string {
		if i == 0 {
			return "the mark"
		}
		return fmt.Sprint("write ", i-1)
	}))
}

func keyOf(key func(string) map[string]types.AttributeValue, name, id string) map[string]types.AttributeValue {
	if name != "" {
		id = name + "/" + id
	}
	if key != nil {
		return key(id)
	}
	return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
}

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}
