package sink_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/sink"
	"github.com/millrace/millrace/tests/dynamo"
)

func s(text string) types.AttributeValue { return &types.AttributeValueMemberS{Value: text} }

func n(number string) types.AttributeValue { return &types.AttributeValueMemberN{Value: number} }

// item of race and racer with what it says.
func item(race, racer, says string) dynamo.Item {
	return dynamo.Item{"race": s(race), "racer": n(racer), "says": s(says)}
}

func newTable(db *dynamo.DB) *sink.Table {
	db.Create("standings", "race", "racer")
	return &sink.Table{Client: db, Table: "standings", Key: []string{"race", "racer"}}
}

// bubble hides the test's deadline from rapid, as nothing in a bubble may ask for it.
type bubble struct{ *testing.T }

func puts(count int) []types.WriteRequest {
	var all []types.WriteRequest
	for i := range count {
		all = append(all, sink.Put(item("monza", strconv.Itoa(i), "x")))
	}
	return all
}

func TestRequestsAreDoneInFullCalls(t *testing.T) {
	for _, concurrency := range []int{0, 1, 7} {
		db := dynamo.New()
		table := newTable(db)
		table.Concurrency = concurrency
		if err := table.Write(t.Context(), puts(101)); err != nil {
			t.Fatal(err)
		}
		if len(db.Items("standings")) != 101 || db.Calls("BatchWriteItem") != 5 {
			t.Errorf("%d items in %d calls", len(db.Items("standings")), db.Calls("BatchWriteItem"))
		}
		if err := table.Write(t.Context(), nil); err != nil || db.Calls("BatchWriteItem") != 5 {
			t.Errorf("nothing to do: %v, %d calls", err, db.Calls("BatchWriteItem"))
		}
	}
}

func TestOfSeveralRequestsForAnItemTheLastCounts(t *testing.T) {
	for name, write := range map[string]func(*sink.Table, []types.WriteRequest) error{
		"Write":    func(table *sink.Table, r []types.WriteRequest) error { return table.Write(t.Context(), r) },
		"Transact": func(table *sink.Table, r []types.WriteRequest) error { return table.Transact(t.Context(), r) },
	} {
		db := dynamo.New()
		table := newTable(db)
		key := item("monza", "2", "")
		delete(key, "says")
		err := write(table, []types.WriteRequest{
			sink.Put(item("monza", "1", "first")),
			sink.Put(item("monza", "1.0", "second")), // the same number
			sink.Put(item("monza", "10e-1", "third")),
			sink.Put(item("monza", "2", "gone")),
			sink.Delete(key),
			sink.Put(item("monza/1", "3", "x")), // another item than the next, though their texts join alike
			sink.Put(item("monza", "13", "y")),
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range db.Items("standings") {
			got = append(got, dynamo.Text(i))
		}
		if want := []string{"race=monza racer=10e-1 says=third", "race=monza racer=13 says=y", "race=monza/1 racer=3 says=x"}; !slices.Equal(got, want) {
			t.Errorf("%s: the table holds %q, want %q", name, got, want)
		}
	}
}

func TestWhatIsLeftUnprocessedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dynamo.New()
		table := newTable(db)
		table.Attempts = 2 // in a row without progress: each call takes one here
		db.Fault = func(string) dynamo.Fault { return dynamo.Fault{Unprocessed: max(0, 24-db.Len("standings"))} }
		if err := table.Write(t.Context(), puts(25)); err != nil {
			t.Fatal(err)
		}
		if len(db.Items("standings")) != 25 || db.Calls("BatchWriteItem") < 10 {
			t.Errorf("%d items in %d calls", len(db.Items("standings")), db.Calls("BatchWriteItem"))
		}
	})
}

func TestThrottlingPassesOrIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dynamo.New()
		table := newTable(db)
		left := 9
		db.Fault = func(string) dynamo.Fault {
			if left--; left >= 0 {
				return dynamo.Fault{Before: &types.ProvisionedThroughputExceededException{}}
			}
			return dynamo.Fault{}
		}
		if err := table.Write(t.Context(), puts(3)); err != nil {
			t.Errorf("after nine calls: %v", err)
		}
		left = 10
		err := table.Write(t.Context(), puts(3))
		var unwritten *sink.UnwrittenError
		var throttled *types.ProvisionedThroughputExceededException
		if !errors.As(err, &unwritten) || !errors.As(err, &throttled) || len(unwritten.Requests) != 3 || left != 0 {
			t.Errorf("after ten calls: %v", err)
		}
	})
}

func TestABadItemDoesntKeepTheOthersFromBeingWritten(t *testing.T) {
	db := dynamo.New()
	table := newTable(db)
	requests := puts(30)
	requests[7] = sink.Put(dynamo.Item{"race": s("monza"), "racer": s("not a number"), "says": s("x")})
	requests[9] = requests[7]
	table.Client = strict{db}
	err := table.Write(t.Context(), requests)
	var unwritten *sink.UnwrittenError
	if !errors.As(err, &unwritten) || fmt.Sprint(indexes(unwritten)) != "[7 9]" || !strings.Contains(err.Error(), "2 requests weren't done, the first is number 7: ") {
		t.Errorf("got %v", err)
	}
	if len(db.Items("standings")) != 28 {
		t.Errorf("%d items", len(db.Items("standings")))
	}
	if calls := db.Calls("BatchWriteItem"); calls > 12 {
		t.Errorf("%d calls", calls)
	}
}

func indexes(e *sink.UnwrittenError) (all []int) {
	for _, r := range e.Requests {
		all = append(all, r.Index)
	}
	return all
}

// strict refuses keys of the wrong type, of which tests/dynamo knows nothing.
type strict struct{ *dynamo.DB }

func (d strict) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, f ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	for _, r := range in.RequestItems["standings"] {
		if _, ok := r.PutRequest.Item["racer"].(*types.AttributeValueMemberN); !ok {
			_, _ = d.DB.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{}, f...) // counted
			return nil, &smithy.GenericAPIError{Code: "ValidationException", Message: "Type mismatch for key racer"}
		}
	}
	return d.DB.BatchWriteItem(ctx, in, f...)
}

func TestErrorsThatStayAreNotRetried(t *testing.T) {
	db := dynamo.New()
	table := newTable(db)
	table.Table = "no such table"
	err := table.Write(t.Context(), puts(30))
	var missing *types.ResourceNotFoundException
	var unwritten *sink.UnwrittenError
	if !errors.As(err, &missing) || !errors.As(err, &unwritten) || len(unwritten.Requests) != 30 || db.Calls("BatchWriteItem") != 2 {
		t.Errorf("%d calls: %v", db.Calls("BatchWriteItem"), err)
	}
}

func TestWritingEndsBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dynamo.New()
		table := newTable(db)
		db.Fault = func(string) dynamo.Fault { return dynamo.Fault{Unprocessed: 25} }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		table.Attempts, table.BaseDelay, table.MaxDelay = 1_000_000, time.Millisecond, time.Minute
		err := table.Write(ctx, puts(30))
		var unwritten *sink.UnwrittenError
		if !errors.As(err, &unwritten) || len(unwritten.Requests) != 30 || !strings.Contains(err.Error(), "no time is left") || ctx.Err() != nil {
			t.Errorf("got %v, the context says %v", err, ctx.Err())
		}
		cancel()
		if err := table.Write(ctx, puts(1)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestWrongRequestsAreAllNamedAndNothingIsDone(t *testing.T) {
	db := dynamo.New()
	table := newTable(db)
	requests := []types.WriteRequest{
		sink.Put(item("monza", "1", "x")),
		{},
		sink.Put(dynamo.Item{"race": s("monza")}),
		{PutRequest: &types.PutRequest{}, DeleteRequest: &types.DeleteRequest{}},
		sink.Delete(dynamo.Item{"race": s("monza"), "racer": &types.AttributeValueMemberBOOL{}}),
	}
	for _, err := range []error{table.Write(t.Context(), requests), table.Transact(t.Context(), requests)} {
		for _, says := range []string{"request 1 must be a put or a delete", "request 2: the key attribute racer", "request 3 must", "request 4: the key attribute racer is *types.AttributeValueMemberBOOL"} {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v doesn't say %q", err, says)
			}
		}
	}
	if err := (&sink.Table{}).Write(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("got %v", err)
	}
	if db.Calls("BatchWriteItem")+db.Calls("TransactWriteItems") != 0 {
		t.Error("something was called")
	}
}

func TestATransactionIsWholeOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := dynamo.New()
		table := newTable(db)
		left := 2
		db.Fault = func(string) dynamo.Fault {
			if left--; left >= 0 {
				return dynamo.Fault{Reasons: []string{"None", "TransactionConflict"}}
			}
			return dynamo.Fault{}
		}
		if err := table.Transact(t.Context(), puts(100)); err != nil || len(db.Items("standings")) != 100 {
			t.Errorf("%v, %d items", err, len(db.Items("standings")))
		}
		if err := table.Transact(t.Context(), puts(101)); err == nil || !strings.Contains(err.Error(), "101 items: a transaction holds 100") {
			t.Errorf("got %v", err)
		}
		db.Fault = func(string) dynamo.Fault { return dynamo.Fault{Reasons: []string{"None", "ValidationError"}} }
		if err := table.Transact(t.Context(), append(puts(2), puts(2)...)); err == nil || !strings.Contains(err.Error(), "request 3: ValidationError") {
			t.Errorf("got %v", err)
		}
		if err := table.Transact(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// Whatever calls fail: the table holds, of each item, the last of the requests that
// aren't said to be undone.
func TestTheTableHoldsWhatIsntSaidToBeUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubble{t}, func(t *rapid.T) {
			db := dynamo.New()
			table := newTable(db)
			table.Concurrency, table.Attempts = 1, rapid.IntRange(1, 3).Draw(t, "attempts") // one: rapid's draws must come in an order
			faults := rapid.IntRange(0, 12).Draw(t, "faults")
			db.Fault = func(string) dynamo.Fault {
				if faults == 0 {
					return dynamo.Fault{}
				}
				faults--
				switch rapid.IntRange(0, 3).Draw(t, "fault") {
				case 1:
					return dynamo.Fault{Unprocessed: rapid.IntRange(1, 25).Draw(t, "unprocessed")}
				case 2:
					return dynamo.Fault{Before: &types.ProvisionedThroughputExceededException{}}
				case 3:
					return dynamo.Fault{Before: &smithy.GenericAPIError{Code: "AccessDeniedException"}}
				}
				return dynamo.Fault{}
			}
			var requests []types.WriteRequest
			last := map[string]int{} // by racer
			count := rapid.IntRange(0, 80).Draw(t, "requests")
			for i := range count {
				racer := strconv.Itoa(rapid.IntRange(0, 60).Draw(t, "racer"))
				last[racer] = i
				if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
					requests = append(requests, sink.Delete(dynamo.Item{"race": s("monza"), "racer": n(racer)}))
				} else {
					requests = append(requests, sink.Put(item("monza", racer, strconv.Itoa(i))))
				}
			}
			undone := map[int]bool{}
			if err := table.Write(context.Background(), requests); err != nil {
				var unwritten *sink.UnwrittenError
				if !errors.As(err, &unwritten) || !slices.IsSorted(indexes(unwritten)) {
					t.Fatal(err)
				}
				for _, i := range indexes(unwritten) {
					if undone[i] {
						t.Fatalf("request %d is named twice", i)
					}
					undone[i] = true
				}
			}
			want := map[string]string{}
			for racer, i := range last {
				if requests[i].PutRequest != nil && !undone[i] {
					want[racer] = strconv.Itoa(i)
				}
			}
			for i, r := range requests { // all requests of an item share their fate
				var attributes dynamo.Item
				if r.PutRequest != nil {
					attributes = r.PutRequest.Item
				} else {
					attributes = r.DeleteRequest.Key
				}
				if final := last[attributes["racer"].(*types.AttributeValueMemberN).Value]; undone[i] != undone[final] {
					t.Fatalf("request %d is undone: %v, and the last one of its item, %d: %v", i, undone[i], final, undone[final])
				}
			}
			got := map[string]string{}
			for _, i := range db.Items("standings") {
				got[i["racer"].(*types.AttributeValueMemberN).Value] = i["says"].(*types.AttributeValueMemberS).Value
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("the table holds %v, want %v", got, want)
			}
		})
	})
}

func ExampleTable() {
	db := dynamo.New() // in a function, dynamodb.NewFromConfig(cfg)
	db.Create("standings", "race", "racer")
	standings := sink.Table{Client: db, Table: "standings", Key: []string{"race", "racer"}}

	err := standings.Write(context.Background(), []types.WriteRequest{
		sink.Put(item("monza", "1", "12 km")),
		sink.Put(item("monza", "2", "11 km")),
		sink.Put(item("monza", "1", "13 km")),
	})
	var unwritten *sink.UnwrittenError
	if errors.As(err, &unwritten) {
		for _, r := range unwritten.Requests {
			fmt.Println("record", r.Index, "again:", r.Err) // with kit/batch: batch.At(r.Index, r.Err)
		}
	}
	for _, i := range db.Items("standings") {
		fmt.Println(dynamo.Text(i))
	}
	// Output:
	// race=monza racer=1 says=13 km
	// race=monza racer=2 says=11 km
}
