// Package dynamo is DynamoDB in memory, for tests: its writes with conditions, in
// transactions and in batches, as far as the kit uses them, and faults. What it
// doesn't know is an error that says so. tests/conformance asks it and the emulator
// the same questions.
package dynamo

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// Item of a table. Once it is in a table it is never changed, but replaced.
type Item = map[string]types.AttributeValue

// Fault is what goes wrong with a call. The zero value is nothing.
type Fault struct {
	// Before fails the call, After fails it although it took effect: its answer got
	// lost.
	Before, After error
	// Unprocessed is how many of a BatchWriteItem's requests aren't done.
	Unprocessed int
	// Reasons cancel a TransactWriteItems, write by write; "" is none.
	Reasons []string
}

// DB is an account's tables. It is safe for concurrent use.
type DB struct {
	// Fault, if set, is asked before each call, by its name ("UpdateItem"). It must
	// not call the DB, but for Len.
	Fault func(call string) Fault

	mu     sync.Mutex
	tables map[string]*table
	calls  map[string]int
}

type table struct {
	keys  []string
	items map[string]Item
}

// New makes an account without tables.
func New() *DB { return &DB{tables: map[string]*table{}, calls: map[string]int{}} }

// Create makes a table with these key attributes.
func (db *DB) Create(name string, keys ...string) {
	db.tables[name] = &table{keys, map[string]Item{}}
}

// Items of a table, in the order of their keys.
func (db *DB) Items(name string) []Item {
	db.mu.Lock()
	defer db.mu.Unlock()
	t := db.tables[name]
	var items []Item
	for _, key := range slices.Sorted(maps.Keys(t.items)) {
		items = append(items, t.items[key])
	}
	return items
}

// Len is how many items a table has. It is for Fault.
func (db *DB) Len(name string) int { return len(db.tables[name].items) }

// Calls is how often an operation was called.
func (db *DB) Calls(operation string) int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.calls[operation]
}

// call makes a call with its faults.
func call[T any](ctx context.Context, db *DB, name string, effect func(Fault) (*T, error)) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.calls[name]++
	var f Fault
	if db.Fault != nil {
		f = db.Fault(name)
	}
	if f.Before != nil {
		return nil, f.Before
	}
	out, err := effect(f)
	if f.After != nil {
		return nil, f.After
	}
	return out, err
}

func invalid(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// GetItem reads an item.
func (db *DB) GetItem(ctx context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return call(ctx, db, "GetItem", func(Fault) (*dynamodb.GetItemOutput, error) {
		t, key, err := db.find(in.TableName, in.Key, true)
		if err != nil {
			return nil, err
		}
		return &dynamodb.GetItemOutput{Item: t.items[key]}, nil
	})
}

// PutItem writes an item.
func (db *DB) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return call(ctx, db, "PutItem", func(Fault) (*dynamodb.PutItemOutput, error) {
		return &dynamodb.PutItemOutput{}, db.single(write{
			table: in.TableName, key: in.Item, put: in.Item, condition: in.ConditionExpression, allOld: in.ReturnValuesOnConditionCheckFailure,
			Env: Env{Names: in.ExpressionAttributeNames, Values: in.ExpressionAttributeValues},
		})
	})
}

// DeleteItem removes an item.
func (db *DB) DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error) {
	return call(ctx, db, "DeleteItem", func(Fault) (*dynamodb.DeleteItemOutput, error) {
		return &dynamodb.DeleteItemOutput{}, db.single(write{
			table: in.TableName, key: in.Key, remove: true, condition: in.ConditionExpression, allOld: in.ReturnValuesOnConditionCheckFailure,
			Env: Env{Names: in.ExpressionAttributeNames, Values: in.ExpressionAttributeValues},
		})
	})
}

// UpdateItem changes an item.
func (db *DB) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return call(ctx, db, "UpdateItem", func(Fault) (*dynamodb.UpdateItemOutput, error) {
		return &dynamodb.UpdateItemOutput{}, db.single(write{
			table: in.TableName, key: in.Key, update: in.UpdateExpression, condition: in.ConditionExpression, allOld: in.ReturnValuesOnConditionCheckFailure,
			Env: Env{Names: in.ExpressionAttributeNames, Values: in.ExpressionAttributeValues},
		})
	})
}

// TransactWriteItems makes all writes or none.
func (db *DB) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	return call(ctx, db, "TransactWriteItems", func(f Fault) (*dynamodb.TransactWriteItemsOutput, error) {
		if n := len(in.TransactItems); n < 1 || n > 100 {
			return nil, invalid("%d items: must be 1 to 100", n)
		}
		if f.Reasons != nil {
			return nil, canceled(len(in.TransactItems), func(i int) (string, Item) {
				if i < len(f.Reasons) {
					return f.Reasons[i], nil
				}
				return "", nil
			})
		}
		writes := make([]write, len(in.TransactItems))
		targets := map[string]bool{}
		for i, item := range in.TransactItems {
			var err error
			if writes[i], err = writeOf(item); err != nil {
				return nil, err
			}
			t, key, err := db.find(writes[i].table, writes[i].key, writes[i].put == nil)
			if err != nil {
				return nil, err
			}
			if target := fmt.Sprintf("%p/%s", t, key); targets[target] {
				return nil, invalid("Transaction request cannot include multiple operations on one item")
			} else {
				targets[target] = true
			}
		}
		results := make([]result, len(writes))
		failed := false
		for i, w := range writes {
			var err error
			if results[i], err = db.try(w); err != nil {
				return nil, err
			}
			failed = failed || results[i].refused
		}
		if failed {
			return nil, canceled(len(results), func(i int) (string, Item) {
				if !results[i].refused {
					return "", nil
				}
				return "ConditionalCheckFailed", results[i].held
			})
		}
		for _, r := range results {
			r.commit()
		}
		return &dynamodb.TransactWriteItemsOutput{}, nil
	})
}

func canceled(n int, reason func(int) (string, Item)) error {
	out := &types.TransactionCanceledException{Message: aws.String("Transaction cancelled, please refer cancellation reasons for specific reasons")}
	for i := range n {
		r := types.CancellationReason{Code: aws.String("None")}
		if code, item := reason(i); code != "" {
			r = types.CancellationReason{Code: aws.String(code), Message: aws.String("The write was refused"), Item: item}
		}
		out.CancellationReasons = append(out.CancellationReasons, r)
	}
	return out
}

// BatchWriteItem puts and deletes items without conditions.
func (db *DB) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	return call(ctx, db, "BatchWriteItem", func(f Fault) (*dynamodb.BatchWriteItemOutput, error) {
		out := &dynamodb.BatchWriteItemOutput{UnprocessedItems: map[string][]types.WriteRequest{}}
		n := 0
		var commits []func()
		for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
			seen := map[string]bool{}
			for _, request := range in.RequestItems[name] {
				w := write{table: &name}
				switch {
				case request.PutRequest != nil:
					w.key, w.put = request.PutRequest.Item, request.PutRequest.Item
				case request.DeleteRequest != nil:
					w.key, w.remove = request.DeleteRequest.Key, true
				default:
					return nil, invalid("a request that neither puts nor deletes")
				}
				_, key, err := db.find(w.table, w.key, w.remove)
				if err != nil {
					return nil, err
				}
				if seen[key] {
					return nil, invalid("Provided list of item keys contains duplicates")
				}
				seen[key] = true
				if n++; n <= f.Unprocessed {
					out.UnprocessedItems[name] = append(out.UnprocessedItems[name], request)
					continue
				}
				r, err := db.try(w)
				if err != nil {
					return nil, err
				}
				commits = append(commits, r.commit)
			}
		}
		if n < 1 || n > 25 {
			return nil, invalid("%d requests: must be 1 to 25", n)
		}
		for _, commit := range commits {
			commit()
		}
		return out, nil
	})
}

// write is a write of any kind.
type write struct {
	Env
	table             *string
	key               Item // of a put, the item
	put               Item
	remove            bool
	update, condition *string
	allOld            types.ReturnValuesOnConditionCheckFailure
}

func writeOf(item types.TransactWriteItem) (write, error) {
	switch {
	case item.Put != nil:
		p := item.Put
		return write{Env{nil, p.ExpressionAttributeNames, p.ExpressionAttributeValues}, p.TableName, p.Item, p.Item, false, nil, p.ConditionExpression, p.ReturnValuesOnConditionCheckFailure}, nil
	case item.Update != nil:
		u := item.Update
		return write{Env{nil, u.ExpressionAttributeNames, u.ExpressionAttributeValues}, u.TableName, u.Key, nil, false, u.UpdateExpression, u.ConditionExpression, u.ReturnValuesOnConditionCheckFailure}, nil
	case item.Delete != nil:
		d := item.Delete
		return write{Env{nil, d.ExpressionAttributeNames, d.ExpressionAttributeValues}, d.TableName, d.Key, nil, true, nil, d.ConditionExpression, d.ReturnValuesOnConditionCheckFailure}, nil
	}
	return write{}, invalid("a transaction's item that is no put, update or delete")
}

// result is what a write comes to.
type result struct {
	refused bool
	held    Item // the item that refused it, if asked for
	commit  func()
}

// single makes one write.
func (db *DB) single(w write) error {
	r, err := db.try(w)
	switch {
	case err != nil:
		return err
	case r.refused:
		return &types.ConditionalCheckFailedException{Message: aws.String("The conditional request failed"), Item: r.held}
	}
	r.commit()
	return nil
}

func (db *DB) try(w write) (result, error) {
	t, key, err := db.find(w.table, w.key, w.put == nil)
	if err != nil {
		return result{}, err
	}
	before := t.items[key]
	w.Item = before
	if err := w.unused(aws.ToString(w.condition) + " " + aws.ToString(w.update)); err != nil {
		return result{}, err
	}
	if w.condition != nil {
		condition, err := Condition(*w.condition)
		if err != nil {
			return result{}, err
		}
		if holds, err := condition(w.Env); err != nil {
			return result{}, err
		} else if !holds {
			r := result{refused: true}
			if w.allOld == types.ReturnValuesOnConditionCheckFailureAllOld {
				r.held = before
			}
			return r, nil
		}
	}
	after := w.put
	if w.update != nil {
		update, err := Update(*w.update)
		if err != nil {
			return result{}, err
		}
		if after = maps.Clone(before); after == nil {
			after = maps.Clone(w.key)
		}
		if err := update(w.Env, after); err != nil {
			return result{}, err
		}
		for _, name := range t.keys {
			if !reflect.DeepEqual(after[name], w.key[name]) {
				return result{}, invalid("Cannot update attribute %s. This attribute is part of the key", name)
			}
		}
	}
	return result{commit: func() {
		if w.remove {
			delete(t.items, key)
		} else {
			t.items[key] = after
		}
	}}, nil
}

var placeholder = regexp.MustCompile(`[#:]\w+`)

// unused refuses names and values that no expression has, as DynamoDB does.
func (e Env) unused(expressions string) error {
	used := placeholder.FindAllString(expressions, -1)
	for _, p := range slices.Concat(slices.Collect(maps.Keys(e.Names)), slices.Collect(maps.Keys(e.Values))) {
		if !slices.Contains(used, p) {
			return invalid("Value provided in ExpressionAttributeNames or ExpressionAttributeValues unused in expressions: %s", p)
		}
	}
	return nil
}

// find is a table and the text of a key in it. A key that is alone has no other
// attributes.
func (db *DB) find(name *string, key Item, alone bool) (*table, string, error) {
	t := db.tables[aws.ToString(name)]
	if t == nil {
		return nil, "", &types.ResourceNotFoundException{Message: aws.String("Requested resource not found")}
	}
	if alone && len(key) != len(t.keys) {
		return nil, "", invalid("The provided key element does not match the schema")
	}
	var parts []string
	for _, attribute := range t.keys {
		switch v := key[attribute].(type) {
		case *types.AttributeValueMemberS:
			parts = append(parts, "S"+v.Value)
		case *types.AttributeValueMemberN:
			parts = append(parts, "N"+rational(v.Value).RatString())
		case *types.AttributeValueMemberB:
			parts = append(parts, "B"+string(v.Value))
		default:
			return nil, "", invalid("The provided key element does not match the schema: %s", attribute)
		}
	}
	return t, strings.Join(parts, "\x00"), nil
}

// Text of an item, for people and comparisons: its attributes in their order.
func Text(item Item) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(item)) {
		var value any = item[name]
		switch v := value.(type) {
		case *types.AttributeValueMemberS:
			value = v.Value
		case *types.AttributeValueMemberN:
			value = v.Value
		case *types.AttributeValueMemberB:
			value = fmt.Sprintf("%x", v.Value)
		case *types.AttributeValueMemberSS:
			value = v.Value
		}
		all = append(all, fmt.Sprint(name, "=", value))
	}
	return strings.Join(all, " ")
}
