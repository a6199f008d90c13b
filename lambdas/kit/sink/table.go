package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/lambdas/kit/internal/backoff"
	"github.com/millrace/millrace/lambdas/kit/internal/transact"
)

// maxRequests is AWS's limit on a BatchWriteItem. The other one, 16 MB, can't be
// reached with 25 items of at most 400 KB.
const maxRequests = 25

// TableAPI is what a Table needs of a DynamoDB client: BatchWriteItem for Write,
// TransactWriteItems for Transact.
type TableAPI interface {
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

var _ TableAPI = (*dynamodb.Client)(nil)

// Table puts and deletes items. A write costs a unit for each KB that is begun, in a
// transaction two. It is safe for concurrent use.
type Table struct {
	// Client, Table and Key are required. Key names the table's key attributes: the
	// partition key, and the sort key if it has one.
	Client TableAPI
	Table  string
	Key    []string
	// Concurrency is how many calls are under way at once, 4 by default.
	Concurrency int
	// Attempts is how often a call is made for what DynamoDB leaves unprocessed or
	// throttles, the first included, in a row in which nothing gets through: 10 by
	// default.
	Attempts int
	// BaseDelay and MaxDelay bound the waits before another attempt: a random time
	// below BaseDelay, doubled with every attempt, up to MaxDelay. 50 ms and 5 s by
	// default.
	BaseDelay, MaxDelay time.Duration
}

// UnwrittenError says which requests weren't done.
type UnwrittenError struct {
	// Requests are in the order of their indexes, and at least one.
	Requests []Unwritten
}

// Unwritten is a request that wasn't done.
type Unwritten struct {
	Index int
	Err   error
}

func (e *UnwrittenError) Error() string {
	return fmt.Sprintf("sink: %d requests weren't done, the first is number %d: %v", len(e.Requests), e.Requests[0].Index, e.Requests[0].Err)
}

func (e *UnwrittenError) Unwrap() []error {
	errs := make([]error, len(e.Requests))
	for i, r := range e.Requests {
		errs[i] = r.Err
	}
	return errs
}

// Put is a request to put an item.
func Put(item map[string]types.AttributeValue) types.WriteRequest {
	return types.WriteRequest{PutRequest: &types.PutRequest{Item: item}}
}

// Delete is a request to delete the item with that key.
func Delete(key map[string]types.AttributeValue) types.WriteRequest {
	return types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: key}}
}

// Write does the requests, in calls of 25. Of several for one item only the last is
// done, as if they had been done in their order. An item that DynamoDB can't take
// doesn't keep the others of its call from being written. Write stops where ctx's
// deadline leaves no time to try again.
//
// The error is an *UnwrittenError, or says what is wrong with the Table or a request's
// key, and then nothing was done. Requests that were superseded share the fate of the
// one that was done in their place.
func (t *Table) Write(ctx context.Context, requests []types.WriteRequest) error {
	folded, err := t.fold(requests)
	if err != nil {
		return err
	}
	calls := slices.Collect(slices.Chunk(folded, maxRequests))
	var mu sync.Mutex
	var failed []Unwritten
	var working sync.WaitGroup
	next := make(chan []write)
	for range min(len(calls), cmp.Or(max(t.Concurrency, 0), 4)) {
		working.Go(func() {
			for call := range next {
				t.call(ctx, call, func(w write, err error) {
					mu.Lock()
					defer mu.Unlock()
					for _, i := range w.indexes {
						failed = append(failed, Unwritten{i, err})
					}
				})
			}
		})
	}
	for _, call := range calls {
		next <- call
	}
	close(next)
	working.Wait()
	if len(failed) == 0 {
		return nil
	}
	slices.SortFunc(failed, func(a, b Unwritten) int { return cmp.Compare(a.Index, b.Index) })
	return &UnwrittenError{failed}
}

// Transact does the requests, at most 100 after folding as in Write, all or none.
// Conflicts with other transactions and throttling are tried again, as long as ctx's
// deadline leaves time for it.
func (t *Table) Transact(ctx context.Context, requests []types.WriteRequest) error {
	folded, err := t.fold(requests)
	if err != nil || len(folded) == 0 {
		return err
	}
	if len(folded) > transact.MaxWrites {
		return fmt.Errorf("sink: requests for %d items: a transaction holds %d", len(folded), transact.MaxWrites)
	}
	writes := make([]types.TransactWriteItem, len(folded))
	for i, w := range folded {
		if put := w.request.PutRequest; put != nil {
			writes[i].Put = &types.Put{TableName: aws.String(t.Table), Item: put.Item}
		} else {
			writes[i].Delete = &types.Delete{TableName: aws.String(t.Table), Key: w.request.DeleteRequest.Key}
		}
	}
	err = transact.Write(ctx, t.Client, writes)
	if err != nil {
		return fmt.Errorf("sink: transaction on %s: %w", t.Table, transact.Reasons(err, func(i int) string {
			return fmt.Sprint("request ", folded[i].indexes[len(folded[i].indexes)-1])
		}))
	}
	return nil
}

// write is the last request for an item.
type write struct {
	request types.WriteRequest
	key     string
	indexes []int // of all requests for the item
}

// fold keeps the last request for each item, in the order of the first ones.
func (t *Table) fold(requests []types.WriteRequest) ([]write, error) {
	if t.Client == nil || t.Table == "" || len(t.Key) == 0 {
		return nil, errors.New("sink: Client, Table and Key are required")
	}
	var problems []error
	number := map[string]int{}
	var folded []write
	for i, r := range requests {
		var attributes map[string]types.AttributeValue
		switch {
		case (r.PutRequest == nil) == (r.DeleteRequest == nil):
			problems = append(problems, fmt.Errorf("sink: request %d must be a put or a delete", i))
			continue
		case r.PutRequest != nil:
			attributes = r.PutRequest.Item
		default:
			attributes = r.DeleteRequest.Key
		}
		key, err := t.key(attributes)
		if err != nil {
			problems = append(problems, fmt.Errorf("sink: request %d: %w", i, err))
			continue
		}
		n, known := number[key]
		if !known {
			n = len(folded)
			number[key] = n
			folded = append(folded, write{key: key})
		}
		folded[n].request, folded[n].indexes = r, append(folded[n].indexes, i)
	}
	return folded, errors.Join(problems...)
}

// key is a text that two requests have in common exactly if they are for one item.
func (t *Table) key(attributes map[string]types.AttributeValue) (string, error) {
	var b strings.Builder
	for _, name := range t.Key {
		switch v := attributes[name].(type) {
		case *types.AttributeValueMemberS:
			fmt.Fprintf(&b, "S%d:%s", len(v.Value), v.Value)
		case *types.AttributeValueMemberB:
			fmt.Fprintf(&b, "B%d:%s", len(v.Value), v.Value)
		case *types.AttributeValueMemberN:
			b.WriteString("N" + canonical(v.Value) + ";")
		default:
			return "", fmt.Errorf("the key attribute %s is %T: must be a string, number or binary", name, v)
		}
	}
	return b.String(), nil
}

// canonical is a number's text, the same for 7, 7.0 and 70e-1. What is no number is
// left to DynamoDB to refuse.
func canonical(number string) string {
	if at := strings.IndexAny(number, "eE"); at >= 0 {
		// DynamoDB's numbers go up to 10^126; a huge exponent would take all memory.
		if exponent, err := strconv.Atoi(number[at+1:]); err != nil || exponent < -200 || exponent > 200 {
			return number
		}
	}
	if r, ok := new(big.Rat).SetString(number); ok && !strings.Contains(number, "/") {
		return r.RatString()
	}
	return number
}

// call does at most 25 requests, and tells failed of those that it can't.
func (t *Table) call(ctx context.Context, writes []write, failed func(write, error)) {
	waits := backoff.Backoff{Base: cmp.Or(t.BaseDelay, 50*time.Millisecond), Max: cmp.Or(t.MaxDelay, 5*time.Second)}
	attempts := cmp.Or(t.Attempts, 10)
	for calls, attempt := 1, 1; ; calls, attempt = calls+1, attempt+1 {
		left, err := t.once(ctx, writes)
		switch {
		case len(left) == 0:
			return
		case err != nil && len(left) > 1 && isInvalid(err):
			// It is for one of them: the others needn't fail with it.
			t.call(ctx, left[:len(left)/2], failed)
			t.call(ctx, left[len(left)/2:], failed)
			return
		case len(left) < len(writes):
			attempt = 1
		}
		if err == nil {
			err = fmt.Errorf("%s left it unprocessed, as it does when it is throttled", t.Table)
		} else if !passing.IsErrorRetryable(err) {
			attempt = attempts
		}
		var waitErr error
		if attempt < attempts {
			waitErr = waits.Wait(ctx, calls)
		}
		if attempt >= attempts || waitErr != nil {
			for _, w := range left {
				failed(w, errors.Join(waitErr, err))
			}
			return
		}
		writes = left
	}
}

// once makes one call and returns what is left to do.
func (t *Table) once(ctx context.Context, writes []write) ([]write, error) {
	requests := make([]types.WriteRequest, len(writes))
	for i, w := range writes {
		requests[i] = w.request
	}
	out, err := t.Client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{t.Table: requests}})
	if err != nil {
		return writes, err
	}
	unprocessed := map[string]bool{}
	for name, all := range out.UnprocessedItems {
		for _, r := range all {
			var attributes map[string]types.AttributeValue
			if r.PutRequest != nil {
				attributes = r.PutRequest.Item
			} else if r.DeleteRequest != nil {
				attributes = r.DeleteRequest.Key
			}
			key, err := t.key(attributes)
			if err != nil {
				return writes, fmt.Errorf("the answer names an unprocessed item of %s whose key can't be read: %w", name, err)
			}
			unprocessed[key] = true
		}
	}
	var left []write
	for _, w := range writes {
		if unprocessed[w.key] {
			left = append(left, w)
		}
	}
	if len(left) != len(unprocessed) {
		return writes, fmt.Errorf("the answer names %d unprocessed items, of which %d were asked for", len(unprocessed), len(left))
	}
	return left, nil
}

var passing = retry.NewStandard()

// isInvalid says if DynamoDB refused an item, not the call.
func isInvalid(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationException"
}
