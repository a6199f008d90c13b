package idempotent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// MaxResult is the largest result that a Ledger keeps, in bytes: an item holds 400 KB.
const MaxResult = 256 << 10

// The errors of a Ledger. All are wrapped, with the id.
var (
	// ErrInProgress: another attempt has begun, and may still be at work. It is worth
	// trying again when that one is over.
	ErrInProgress = errors.New("another attempt may be at work on it")
	// ErrPayload: the id was used with another payload. Trying again is no use.
	ErrPayload = errors.New("the id was used with another payload")
	// ErrLeaseLost: the effect took longer than its lease, another attempt has begun,
	// and the effect may happen twice.
	ErrLeaseLost = errors.New("the effect took longer than its lease, and another attempt began")
	// ErrResult: the effect happened, but its result is larger than MaxResult.
	ErrResult = errors.New("the effect happened, but its result is too large to be kept")
)

// LedgerAPI is what a Ledger needs of a DynamoDB client: the first three for Do, the
// last for Transact.
type LedgerAPI interface {
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

var _ LedgerAPI = (*dynamodb.Client)(nil)

// Ledger notes in a table what was done for each id, until it expires. It needs
// nothing of the mapping: records may come in any order.
//
// The id is best one of the record's own (an order's number): then a record that the
// producer put twice is known, too. [Position.ID] is the record's place in its stream.
//
// Each item has the attributes status (IN_PROGRESS or COMPLETED), expires (in seconds,
// to be the table's time-to-live attribute), lease (in milliseconds), attempt, payload
// (a SHA-256) and result. An expired item counts as none, even before DynamoDB removes
// it, which may take days.
//
// Ledger is safe for concurrent use.
type Ledger struct {
	// Client and Table are required.
	Client LedgerAPI
	Table  string
	// Name begins the items' ids. Functions that share the table each need their own.
	Name string
	// Key makes the key of an item from its id; nil means {"id": id}, a string.
	Key func(id string) map[string]types.AttributeValue
	// TTL is how long an id is known; 0 means 7 days. Let it be longer than a record
	// can come again: than the stream's retention.
	TTL time.Duration
	// Lease is how long an attempt may be at work; 0 means until a second after the
	// deadline of its context, which in a Lambda function is the function's timeout,
	// or 15 minutes if it has none. An attempt that crashes keeps others away until
	// its lease is over. Clocks that differ by more than a second need a longer one.
	Lease time.Duration
}

const (
	inProgress = "IN_PROGRESS"
	completed  = "COMPLETED"
)

// Do does effect, unless it was done for that id before: then it returns the result of
// that time. Payload, if not nil, is what the id stands for: an id that comes with a
// different one is refused with ErrPayload. The effect's context ends with its lease.
//
// An error of effect is returned as it is, and the id is free again. It must mean that
// nothing happened: if the effect's answer was lost, it happens again.
//
// Do isn't exactly once. Between the effect and the note of it a crash leads to a second
// one, when the lease is over: at least once. No table can mend that: if the effect's
// own service takes an idempotency key, give it the id as well.
func (l *Ledger) Do(ctx context.Context, id string, payload []byte, effect func(context.Context) ([]byte, error)) ([]byte, error) {
	if l.Client == nil || l.Table == "" {
		return nil, errNoClient
	}
	if effect == nil {
		return nil, errNoFunction
	}
	began := time.Now()
	lease := began.Add(15 * time.Minute)
	if deadline, ok := ctx.Deadline(); ok {
		lease = deadline.Add(time.Second)
	}
	if l.Lease > 0 {
		lease = began.Add(l.Lease)
	}
	attempt := rand.Text()
	claim := l.claim(id, payload, lease)
	claim.Item["status"] = text(inProgress)
	claim.Item["lease"] = number(lease.UnixMilli())
	claim.Item["attempt"] = text(attempt)
	_, err := l.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: claim.TableName, Item: claim.Item, ConditionExpression: claim.ConditionExpression,
		ExpressionAttributeNames: claim.ExpressionAttributeNames, ExpressionAttributeValues: claim.ExpressionAttributeValues,
		ReturnValuesOnConditionCheckFailure: claim.ReturnValuesOnConditionCheckFailure,
	})
	var failed *types.ConditionalCheckFailedException
	switch {
	// The SDK repeats a call whose answer got lost: then the claim is our own.
	case errors.As(err, &failed) && !equal(failed.Item["attempt"], text(attempt)):
		return l.known(id, failed.Item, claim.Item["payload"])
	case err != nil && failed == nil:
		_ = l.release(ctx, id, attempt) // it may have got through
		return nil, fmt.Errorf("idempotent: claim %s in %s: %w", id, l.Table, err)
	}

	done := false
	defer func() {
		if !done { // an error, or a panic that goes on
			_ = l.release(ctx, id, attempt) // or the lease ends by itself
		}
	}()
	within, cancel := context.WithDeadline(ctx, lease)
	defer cancel()
	result, err := effect(within)
	if err != nil {
		return nil, err
	}
	done = true
	return result, l.complete(ctx, id, attempt, result)
}

// Transact makes writes, at most 99, unless they were made for that id before; false
// means that they were. The note of the id is in the same transaction: exactly once, in
// any order, as long as the id is known. Payload is as in Do.
func (l *Ledger) Transact(ctx context.Context, id string, payload []byte, writes []types.TransactWriteItem) (bool, error) {
	if l.Client == nil || l.Table == "" {
		return false, errNoClient
	}
	if len(writes) > MaxWrites {
		return false, fmt.Errorf("idempotent: %d writes for %s: a transaction holds %d", len(writes), id, MaxWrites)
	}
	claim := l.claim(id, payload, time.Time{})
	claim.Item["status"] = text(completed)
	held, err := write(ctx, l.Client, types.TransactWriteItem{Put: claim}, writes)
	if err != nil || held == nil {
		return err == nil, err
	}
	_, err = l.known(id, held, claim.Item["payload"])
	return false, err
}

// claim is the put of an id that is free: one that isn't there, that has expired, or
// whose attempt has used up its lease, with the same payload. It stays at least until
// then.
func (l *Ledger) claim(id string, payload []byte, until time.Time) *types.Put {
	now := time.Now()
	key := keyOf(l.Key, l.Name, id)
	p := &types.Put{
		TableName: aws.String(l.Table),
		Item:      maps.Clone(key),
		ExpressionAttributeNames: map[string]string{
			"#k": slices.Min(slices.Collect(maps.Keys(key))), "#e": "expires", "#s": "status", "#l": "lease",
		},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":now": number(now.Unix()), ":ms": number(now.UnixMilli()), ":p": text(inProgress),
		},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	p.Item["expires"] = number(max(l.expires(now), until.Unix()+1))
	same := ""
	if payload != nil {
		sum := sha256.Sum256(payload)
		p.Item["payload"] = &types.AttributeValueMemberB{Value: sum[:]}
		p.ExpressionAttributeNames["#h"] = "payload"
		p.ExpressionAttributeValues[":h"] = p.Item["payload"]
		same = " AND (attribute_not_exists(#h) OR #h = :h)"
	}
	p.ConditionExpression = aws.String("attribute_not_exists(#k) OR #e < :now OR (#s = :p AND #l < :ms" + same + ")")
	return p
}

// known is what there is to say of an id that isn't free.
func (l *Ledger) known(id string, held map[string]types.AttributeValue, payload types.AttributeValue) ([]byte, error) {
	if was := held["payload"]; was != nil && payload != nil && !equal(was, payload) {
		return nil, fmt.Errorf("idempotent: %s: %w", id, ErrPayload)
	}
	switch {
	case equal(held["status"], text(inProgress)):
		return nil, fmt.Errorf("idempotent: %s: %w", id, ErrInProgress)
	case !equal(held["status"], text(completed)):
		return nil, fmt.Errorf("idempotent: the item of %s in %s has no status: ReturnValuesOnConditionCheckFailure isn't honored, or the item is somebody else's", id, l.Table)
	}
	if size, ok := held["size"].(*types.AttributeValueMemberN); ok {
		return nil, tooLarge(id, size.Value)
	}
	if result, ok := held["result"].(*types.AttributeValueMemberB); ok {
		return result.Value, nil
	}
	return nil, nil
}

func (l *Ledger) complete(ctx context.Context, id, attempt string, result []byte) error {
	in := &dynamodb.UpdateItemInput{
		TableName:                aws.String(l.Table),
		Key:                      keyOf(l.Key, l.Name, id),
		UpdateExpression:         aws.String("SET #s = :c, #e = :e"),
		ConditionExpression:      aws.String("#a = :a"),
		ExpressionAttributeNames: map[string]string{"#s": "status", "#e": "expires", "#a": "attempt"},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":c": text(completed), ":e": number(l.expires(time.Now())), ":a": text(attempt),
		},
	}
	var large error
	switch {
	case len(result) > MaxResult:
		size := strconv.Itoa(len(result))
		large = tooLarge(id, size)
		*in.UpdateExpression += ", #r = :r"
		in.ExpressionAttributeNames["#r"], in.ExpressionAttributeValues[":r"] = "size", &types.AttributeValueMemberN{Value: size}
	case result != nil:
		*in.UpdateExpression += ", #r = :r"
		in.ExpressionAttributeNames["#r"], in.ExpressionAttributeValues[":r"] = "result", &types.AttributeValueMemberB{Value: result}
	}
	// It happened: that the invocation is nearly over must not keep it from being noted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := l.Client.UpdateItem(ctx, in)
	if failed := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &failed) {
		return fmt.Errorf("idempotent: %s: %w", id, ErrLeaseLost)
	}
	if err != nil {
		return fmt.Errorf("idempotent: the effect for %s happened, but %s doesn't know: %w", id, l.Table, err)
	}
	return large
}

func (l *Ledger) release(ctx context.Context, id, attempt string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := l.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName:                 aws.String(l.Table),
		Key:                       keyOf(l.Key, l.Name, id),
		ConditionExpression:       aws.String("#a = :a"),
		ExpressionAttributeNames:  map[string]string{"#a": "attempt"},
		ExpressionAttributeValues: map[string]types.AttributeValue{":a": text(attempt)},
	})
	return err
}

func (l *Ledger) expires(from time.Time) int64 {
	return from.Add(cmp.Or(l.TTL, 7*24*time.Hour)).Unix()
}

func tooLarge(id, size string) error {
	return fmt.Errorf("idempotent: %s: %w: %s bytes, at most %d", id, ErrResult, size, MaxResult)
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func equal(a, b types.AttributeValue) bool {
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		b, ok := b.(*types.AttributeValueMemberS)
		return ok && a.Value == b.Value
	case *types.AttributeValueMemberB:
		b, ok := b.(*types.AttributeValueMemberB)
		return ok && bytes.Equal(a.Value, b.Value)
	}
	return false
}
