package idempotent_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/idempotent"
	"github.com/millrace/millrace/tests/dynamo"
	"github.com/millrace/millrace/tests/redeliver"
)

// user is a user record with its place in the stream and in its batch.
type user struct {
	at       idempotent.Position
	position int // of its Kinesis record in the batch
	redeliver.Value
}

func users(batch []redeliver.Record) []user {
	var all []user
	for position, r := range batch {
		for sub, v := range r.Values {
			all = append(all, user{idempotent.Position{Shard: r.Shard, Sequence: r.Sequence, Sub: sub}, position, v})
		}
	}
	return all
}

func positions(all []user) []idempotent.Position {
	at := make([]idempotent.Position, len(all))
	for i := range all {
		at[i] = all[i].at
	}
	return at
}

// total is what records come to, by item.
type total struct{ Count, Sum int }

func (t *total) add(v redeliver.Value) { t.Count++; t.Sum += v.N }

// bubble hides the test's deadline from rapid, as nothing in a bubble may ask for it.
type bubble struct{ *testing.T }

func n(i int) types.AttributeValue { return &types.AttributeValueMemberN{Value: strconv.Itoa(i)} }

func key(id string) dynamo.Item {
	return dynamo.Item{"id": &types.AttributeValueMemberS{Value: id}}
}

func intOf(v types.AttributeValue) int {
	number, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	i, err := strconv.Atoi(number.Value)
	if err != nil {
		panic(err)
	}
	return i
}

// held are the totals in a table.
func held(db *dynamo.DB, table string) map[string]total {
	all := map[string]total{}
	for _, item := range db.Items(table) {
		all[item["id"].(*types.AttributeValueMemberS).Value] = total{intOf(item["count"]), intOf(item["sum"])}
	}
	return all
}

var errLost = errors.New("the answer got lost")

// faults of calls: refused, or done though nobody hears of it.
func faults(r *redeliver.Run) func(string) dynamo.Fault {
	return func(call string) dynamo.Fault {
		switch {
		case r.Chance("a call that fails", 5):
			return dynamo.Fault{Before: errors.New("it didn't get through")}
		case r.Chance("a call whose answer gets lost", 5):
			return dynamo.Fault{After: errLost}
		case call == "TransactWriteItems" && r.Chance("a conflict", 10):
			return dynamo.Fault{Reasons: []string{"", "TransactionConflict"}}
		}
		return dynamo.Fault{}
	}
}

// aggregate handles a batch as batch.Keys does: item by item, going on with the others
// after a failure.
func aggregate(a *idempotent.Aggregate, item func(redeliver.Value) string) func([]redeliver.Record) (int, error) {
	return func(batch []redeliver.Record) (int, error) {
		of := map[string][]user{}
		for _, u := range users(batch) {
			of[item(u.Value)] = append(of[item(u.Value)], u)
		}
		done := len(batch)
		for _, id := range slices.Sorted(maps.Keys(of)) {
			all := of[id]
			_, err := a.Apply(context.Background(), key(id), positions(all), func(from int) (idempotent.Update, error) {
				var t total
				for _, u := range all[from:] {
					t.add(u.Value)
				}
				return idempotent.Update{
					Add: map[string]types.AttributeValue{"count": n(t.Count), "sum": n(t.Sum)},
					Set: map[string]types.AttributeValue{"last": n(all[len(all)-1].N)},
				}, nil
			})
			if err != nil {
				done = min(done, all[0].position)
			}
		}
		if done == 0 {
			return 0, errors.New("from the first record on")
		}
		return done, nil
	}
}

// Whatever is delivered again, in whatever pieces, and whatever calls fail: every
// record counts once.
func TestAggregatesCountEveryRecordOnce(t *testing.T) {
	byKey := func(v redeliver.Value) string { return v.Key }
	for name, test := range map[string]struct {
		options redeliver.Options
		item    func(redeliver.Value) string
	}{
		"an item per partition key, several batches of a shard at once": {redeliver.Options{Keys: 6, Records: 100, Parallel: 3}, byKey},
		"items across partition keys, one batch at a time": {redeliver.Options{Keys: 6, Records: 100}, func(v redeliver.Value) string {
			return fmt.Sprint("n", v.N%3)
		}},
		"aggregated records, one batch at a time": {redeliver.Options{Keys: 6, Records: 40, Aggregated: true}, byKey},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				run := redeliver.New(t, test.options)
				db := dynamo.New()
				db.Create("totals", "id")
				db.Fault = faults(run)
				run.Deliver(aggregate(&idempotent.Aggregate{Client: db, Table: "totals"}, test.item))
				want := map[string]total{}
				for _, r := range run.Stream {
					for _, v := range r.Values {
						sum := want[test.item(v)]
						sum.add(v)
						want[test.item(v)] = sum
					}
				}
				if got := held(db, "totals"); !maps.Equal(got, want) {
					t.Fatalf("the table holds %v, want %v", got, want)
				}
			})
		})
	}
}

// What the doc of Aggregate warns of: two partition keys in one item, and two batches
// of their shard at once.
func TestAnItemOfSeveralPartitionKeysLosesRecordsIfBatchesOfAShardRunAtOnce(t *testing.T) {
	db := dynamo.New()
	db.Create("totals", "id")
	handle := aggregate(&idempotent.Aggregate{Client: db, Table: "totals"}, func(redeliver.Value) string { return "all" })
	record := func(sequence, key string) redeliver.Record {
		return redeliver.Record{Shard: "shardId-0", Sequence: sequence, Key: key, Values: []redeliver.Value{{Key: key, N: 1}}}
	}
	for _, batch := range [][]redeliver.Record{{record("2", "b"), record("9", "b")}, {record("1", "a"), record("3", "a")}} {
		if done, err := handle(batch); done != 2 || err != nil {
			t.Fatal(done, err)
		}
	}
	if got := held(db, "totals")["all"].Count; got != 2 {
		t.Errorf("%d of 4 records count: the warning is wrong", got)
	}
}

// The same for transactions, which span the items, and more of them than one holds.
func TestTransactionsCountEveryRecordOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // for the waits after conflicts
		rapid.Check(bubble{t}, func(t *rapid.T) {
			run := redeliver.New(t, redeliver.Options{Keys: 6, Records: 60, Aggregated: rapid.Bool().Draw(t, "aggregated")})
			db := dynamo.New()
			db.Create("totals", "id")
			db.Create("marks", "id")
			db.Fault = faults(run)
			tx := &idempotent.Transaction{Client: db, Table: "marks", Name: "test"}
			// Items are many: one per remainder, and one more for each.
			item := func(v redeliver.Value) string { return fmt.Sprint("n", v.N%400) }
			run.Deliver(func(batch []redeliver.Record) (int, error) {
				all := users(batch)
				applied, err := tx.Apply(context.Background(), positions(all), func(from, to int) ([]types.TransactWriteItem, error) {
					sums := map[string]*total{}
					for _, u := range all[from:to] {
						for _, id := range []string{item(u.Value), item(u.Value) + " again"} {
							if sums[id] == nil {
								sums[id] = &total{}
							}
							sums[id].add(u.Value)
						}
					}
					var writes []types.TransactWriteItem
					for _, id := range slices.Sorted(maps.Keys(sums)) {
						writes = append(writes, types.TransactWriteItem{Update: &types.Update{
							TableName: aws.String("totals"), Key: key(id), UpdateExpression: aws.String("ADD #c :c, #s :s"),
							ExpressionAttributeNames:  map[string]string{"#c": "count", "#s": "sum"},
							ExpressionAttributeValues: dynamo.Item{":c": n(sums[id].Count), ":s": n(sums[id].Sum)},
						}})
					}
					return writes, nil
				})
				if err != nil && (applied < 0 || applied > len(all)) {
					t.Fatalf("%d of %d applied", applied, len(all))
				}
				return len(batch), err
			})
			want := map[string]total{}
			for _, r := range run.Stream {
				for _, v := range r.Values {
					for _, id := range []string{item(v), item(v) + " again"} {
						sum := want[id]
						sum.add(v)
						want[id] = sum
					}
				}
			}
			if got := held(db, "totals"); !maps.Equal(got, want) {
				t.Fatalf("the table holds %v, want %v", got, want)
			}
		})
	})
}

// Noted by record, the order doesn't matter: here every record comes by itself, some
// several times, in any order.
func TestATransactionPerRecordNeedsNoOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubble{t}, func(t *rapid.T) {
			run := redeliver.New(t, redeliver.Options{Keys: 3, Records: 40})
			db := dynamo.New()
			db.Create("ledger", "id")
			db.Create("totals", "id")
			db.Fault = faults(run)
			ledger := &idempotent.Ledger{Client: db, Table: "ledger"}
			deliveries := slices.Concat(run.Stream, run.Stream, run.Stream)
			deliveries = deliveries[:rapid.IntRange(len(run.Stream), len(deliveries)).Draw(t, "deliveries")]
			for _, i := range rapid.Permutation(slices.Collect(indexes(len(deliveries)))).Draw(t, "order") {
				u := users(deliveries[i : i+1])[0]
				for {
					_, err := ledger.Transact(context.Background(), u.at.ID(), []byte(u.Key), []types.TransactWriteItem{{Update: &types.Update{
						TableName: aws.String("totals"), Key: key(u.Key), UpdateExpression: aws.String("ADD #c :one, #s :n"),
						ExpressionAttributeNames:  map[string]string{"#c": "count", "#s": "sum"},
						ExpressionAttributeValues: dynamo.Item{":one": n(1), ":n": n(u.N)},
					}}})
					if err == nil {
						break
					}
				}
			}
			want := map[string]total{}
			for _, r := range run.Stream {
				sum := want[r.Key]
				sum.add(r.Values[0])
				want[r.Key] = sum
			}
			if got := held(db, "totals"); !maps.Equal(got, want) {
				t.Fatalf("the table holds %v, want %v", got, want)
			}
		})
	})
}

func indexes(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// The newest version stays, in whatever order versions come.
func TestTheLatestVersionStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := redeliver.New(t, redeliver.Options{Keys: 4, Records: 60, Parallel: rapid.IntRange(1, 3).Draw(t, "parallel")})
		db := dynamo.New()
		db.Create("states", "id")
		db.Fault = faults(run)
		latest := &idempotent.Latest{Client: db, Table: "states", Guard: "version"}
		run.Deliver(func(batch []redeliver.Record) (int, error) {
			for i, r := range batch {
				item := key(r.Key)
				item["version"] = n(r.Values[0].N) // as the producer counted, in no order here
				if _, err := latest.Put(context.Background(), item); err != nil {
					return i, errAt(i)
				}
			}
			return len(batch), nil
		})
		want := map[string]int{}
		for _, r := range run.Stream {
			want[r.Key] = max(want[r.Key], r.Values[0].N)
		}
		got := map[string]int{}
		for _, item := range db.Items("states") {
			got[item["id"].(*types.AttributeValueMemberS).Value] = intOf(item["version"])
		}
		if !maps.Equal(got, want) {
			t.Fatalf("the table holds %v, want %v", got, want)
		}
	})
}

func errAt(i int) error {
	if i == 0 {
		return errors.New("from the first record on")
	}
	return nil
}

// By position in the stream, the last record of a key stays.
func TestTheLastRecordOfAKeyStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := redeliver.New(t, redeliver.Options{Keys: 4, Records: 60, Parallel: 2})
		db := dynamo.New()
		db.Create("states", "id")
		latest := &idempotent.Latest{Client: db, Table: "states", Guard: "at"}
		run.Deliver(func(batch []redeliver.Record) (int, error) {
			for _, i := range rand.Perm(len(batch)) {
				mark, err := idempotent.Position{Shard: batch[i].Shard, Sequence: batch[i].Sequence}.Mark()
				if err != nil {
					t.Fatal(err)
				}
				item := key(batch[i].Key)
				item["at"], item["n"] = &types.AttributeValueMemberS{Value: mark}, n(batch[i].Values[0].N)
				if _, err := latest.Put(context.Background(), item); err != nil {
					t.Fatal(err)
				}
			}
			return len(batch), nil
		})
		want, got := map[string]int{}, map[string]int{}
		for _, r := range run.Stream {
			want[r.Key] = r.Values[0].N
		}
		for _, item := range db.Items("states") {
			got[item["id"].(*types.AttributeValueMemberS).Value] = intOf(item["n"])
		}
		if !maps.Equal(got, want) {
			t.Fatalf("the table holds %v, want %v", got, want)
		}
	})
}
