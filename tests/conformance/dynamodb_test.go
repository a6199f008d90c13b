package conformance

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/idempotent"
	"github.com/millrace/millrace/lambdas/kit/sink"
	"github.com/millrace/millrace/tests/dynamo"
)

// writer is what the emulator's DynamoDB and the one in memory have in common.
type writer interface {
	idempotent.AggregateAPI
	idempotent.LedgerAPI
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
}

// newItems is a table on the emulator, with the string id as its key.
func newItems(t *testing.T) (*dynamodb.Client, string) {
	t.Helper()
	table := name("items")
	client := dynamodb.NewFromConfig(config)
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
	})
	var there *types.ResourceInUseException
	if err != nil && !errors.As(err, &there) { // names are unique: it is there by a first try
		t.Fatal(err)
	}
	if err := dynamodb.NewTableExistsWaiter(client).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &table}, time.Minute); err != nil {
		t.Fatal(err)
	}
	return client, table
}

func id(text string) dynamo.Item { return dynamo.Item{"id": s(text)} }

func s(text string) types.AttributeValue { return &types.AttributeValueMemberS{Value: text} }

func n(i int) types.AttributeValue { return &types.AttributeValueMemberN{Value: strconv.Itoa(i)} }

// item reads an item.
func item(t *testing.T, client *dynamodb.Client, table, key string) dynamo.Item {
	t.Helper()
	out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: id(key), ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

func intOf(v types.AttributeValue) int {
	if v == nil {
		return 0
	}
	i, err := strconv.Atoi(v.(*types.AttributeValueMemberN).Value)
	if err != nil {
		panic(err)
	}
	return i
}

// said is what an answer says: the error's code, with the items that refused.
func said(err error) string {
	var failed *types.ConditionalCheckFailedException
	var canceled *types.TransactionCanceledException
	var api smithy.APIError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &failed):
		return "refused by " + dynamo.Text(failed.Item)
	case errors.As(err, &canceled):
		var all []string
		for _, r := range canceled.CancellationReasons {
			all = append(all, aws.ToString(r.Code)+"("+dynamo.Text(r.Item)+")")
		}
		return "canceled: " + strings.Join(all, ", ")
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

// The DynamoDB in memory that the unit tests run on answers as the emulator does.
func TestDynamoDBInMemoryIsAsTheEmulators(t *testing.T) {
	client, table := newItems(t)
	check := 0
	rapid.Check(t, func(t *rapid.T) {
		check++
		ctx := context.Background()
		memory := dynamo.New()
		memory.Create(table, "id")
		both := []writer{memory, client}
		key := func() string {
			return fmt.Sprint(check, "-", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"))
		}
		value := func(label string) types.AttributeValue {
			if rapid.IntRange(1, 8).Draw(t, label+" type") == 1 {
				return s(rapid.SampledFrom([]string{"", "1", "x"}).Draw(t, label))
			}
			return n(rapid.IntRange(-2, 12).Draw(t, label))
		}
		condition := func(values dynamo.Item) *string {
			c := rapid.SampledFrom([]string{
				"attribute_not_exists(#v) OR #v < :v", "#v = :v", "#v <> :v AND attribute_exists(#v)", "#v >= :v", "#v <= :v OR (#v > :v AND attribute_exists(#v))", "",
			}).Draw(t, "condition")
			if c == "" {
				return nil
			}
			values[":v"] = value("of the condition")
			return &c
		}
		allOld := func() types.ReturnValuesOnConditionCheckFailure {
			return rapid.SampledFrom([]types.ReturnValuesOnConditionCheckFailure{"", "NONE", "ALL_OLD"}).Draw(t, "return")
		}
		// names are those that the expressions have: others are refused.
		names := func(all map[string]string, expressions ...*string) map[string]string {
			used := map[string]string{}
			for placeholder, name := range all {
				for _, e := range expressions {
					if strings.Contains(aws.ToString(e), placeholder) {
						used[placeholder] = name
					}
				}
			}
			if len(used) == 0 {
				return nil
			}
			return used
		}
		some := func(values dynamo.Item) dynamo.Item {
			if len(values) == 0 {
				return nil
			}
			return values
		}
		update := func() *types.Update {
			values := dynamo.Item{}
			u := &types.Update{TableName: &table, Key: id(key()), ConditionExpression: condition(values), ReturnValuesOnConditionCheckFailure: allOld()}
			expression := rapid.SampledFrom([]string{"SET #v = :x", "SET #v = :x, #w = :x ADD #c :one", "ADD #c :one", "REMOVE #w", "SET #w = :x REMOVE #v"}).Draw(t, "update")
			for _, v := range []string{":x", ":one"} {
				if strings.Contains(expression, v) {
					values[v] = value(v)
				}
			}
			if values[":one"] != nil {
				values[":one"] = n(rapid.IntRange(-3, 5).Draw(t, "added"))
			}
			u.UpdateExpression = &expression
			u.ExpressionAttributeNames = names(map[string]string{"#v": "version", "#w": "words", "#c": "count"}, &expression, u.ConditionExpression)
			u.ExpressionAttributeValues = some(values)
			return u
		}
		put := func() *types.Put {
			values := dynamo.Item{}
			p := &types.Put{TableName: &table, Item: id(key()), ConditionExpression: condition(values), ReturnValuesOnConditionCheckFailure: allOld()}
			p.Item["version"] = value("version")
			p.ExpressionAttributeNames, p.ExpressionAttributeValues = names(map[string]string{"#v": "version"}, p.ConditionExpression), some(values)
			return p
		}
		remove := func() *types.Delete {
			values := dynamo.Item{}
			d := &types.Delete{TableName: &table, Key: id(key()), ConditionExpression: condition(values), ReturnValuesOnConditionCheckFailure: allOld()}
			d.ExpressionAttributeNames, d.ExpressionAttributeValues = names(map[string]string{"#v": "version"}, d.ConditionExpression), some(values)
			return d
		}
		for range rapid.IntRange(1, 12).Draw(t, "calls") {
			var call func(writer) error
			what := ""
			switch rapid.IntRange(0, 4).Draw(t, "operation") {
			case 0:
				u := update()
				what = fmt.Sprint("update ", *u.UpdateExpression, " if ", aws.ToString(u.ConditionExpression))
				call = func(w writer) error {
					_, err := w.UpdateItem(ctx, &dynamodb.UpdateItemInput{
						TableName: &table, Key: u.Key, UpdateExpression: u.UpdateExpression, ConditionExpression: u.ConditionExpression,
						ExpressionAttributeNames: u.ExpressionAttributeNames, ExpressionAttributeValues: u.ExpressionAttributeValues,
						ReturnValuesOnConditionCheckFailure: u.ReturnValuesOnConditionCheckFailure,
					})
					return err
				}
			case 1:
				p := put()
				what = "put if " + aws.ToString(p.ConditionExpression)
				call = func(w writer) error {
					_, err := w.PutItem(ctx, &dynamodb.PutItemInput{
						TableName: &table, Item: p.Item, ConditionExpression: p.ConditionExpression,
						ExpressionAttributeNames: p.ExpressionAttributeNames, ExpressionAttributeValues: p.ExpressionAttributeValues,
						ReturnValuesOnConditionCheckFailure: p.ReturnValuesOnConditionCheckFailure,
					})
					return err
				}
			case 2:
				d := remove()
				what = "delete if " + aws.ToString(d.ConditionExpression)
				call = func(w writer) error {
					_, err := w.DeleteItem(ctx, &dynamodb.DeleteItemInput{
						TableName: &table, Key: d.Key, ConditionExpression: d.ConditionExpression,
						ExpressionAttributeNames: d.ExpressionAttributeNames, ExpressionAttributeValues: d.ExpressionAttributeValues,
						ReturnValuesOnConditionCheckFailure: d.ReturnValuesOnConditionCheckFailure,
					})
					return err
				}
			case 3:
				var all []types.TransactWriteItem
				for range rapid.IntRange(1, 3).Draw(t, "writes") {
					switch rapid.IntRange(0, 2).Draw(t, "write") {
					case 0:
						all = append(all, types.TransactWriteItem{Update: update()})
					case 1:
						all = append(all, types.TransactWriteItem{Put: put()})
					case 2:
						all = append(all, types.TransactWriteItem{Delete: remove()})
					}
				}
				what = fmt.Sprint("transaction of ", len(all))
				call = func(w writer) error {
					_, err := w.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: all})
					return err
				}
			case 4:
				var all []types.WriteRequest
				for range rapid.IntRange(1, 3).Draw(t, "requests") {
					if rapid.Bool().Draw(t, "deletes") {
						all = append(all, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: id(key())}})
					} else {
						all = append(all, types.WriteRequest{PutRequest: &types.PutRequest{Item: put().Item}})
					}
				}
				what = fmt.Sprint("batch of ", len(all))
				call = func(w writer) error {
					_, err := w.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: all}})
					return err
				}
			}
			var answers []string
			for _, w := range both {
				answers = append(answers, said(call(w)))
			}
			if answers[0] != answers[1] {
				t.Fatalf("%s: in memory %s, on the emulator %s", what, answers[0], answers[1])
			}
		}
		for _, k := range []string{"a", "b", "c"} {
			var texts []string
			for _, w := range both {
				out, err := w.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: id(fmt.Sprint(check, "-", k)), ConsistentRead: aws.Bool(true)})
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, dynamo.Text(out.Item))
			}
			if texts[0] != texts[1] {
				t.Fatalf("item %s: in memory %s, on the emulator %s", k, texts[0], texts[1])
			}
		}
	})
}

// What AWS documents of a canceled transaction, and Transaction and Ledger go by: a
// reason for each write, in their order; of a condition that failed with
// ReturnValuesOnConditionCheckFailure ALL_OLD the item as it is, if there is one; and
// nothing is written.
func TestACanceledTransactionTellsTheItemsThatRefused(t *testing.T) {
	client, table := newItems(t)
	held := id("held")
	held["mark"] = s("0015")
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: held}); err != nil {
		t.Fatal(err)
	}
	write := func(key, condition string, old types.ReturnValuesOnConditionCheckFailure) types.TransactWriteItem {
		return types.TransactWriteItem{Update: &types.Update{
			TableName: &table, Key: id(key), UpdateExpression: aws.String("SET #m = :m"), ConditionExpression: &condition,
			ExpressionAttributeNames: map[string]string{"#m": "mark"}, ExpressionAttributeValues: dynamo.Item{":m": s("0014")},
			ReturnValuesOnConditionCheckFailure: old,
		}}
	}
	other := id("other")
	other["mark"] = s("0015")
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: other}); err != nil {
		t.Fatal(err)
	}
	_, err := client.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		write("held", "attribute_not_exists(#m) OR #m < :m", types.ReturnValuesOnConditionCheckFailureAllOld),
		write("free", "attribute_not_exists(#m) OR #m < :m", types.ReturnValuesOnConditionCheckFailureAllOld),
		write("other", "#m < :m", types.ReturnValuesOnConditionCheckFailureNone),
		write("missing", "#m < :m", types.ReturnValuesOnConditionCheckFailureAllOld),
	}})
	if got, want := said(err), "canceled: ConditionalCheckFailed(id=held mark=0015), None(), ConditionalCheckFailed(), ConditionalCheckFailed()"; got != want {
		t.Errorf("the answer is %s, want %s", got, want)
	}
	if free := item(t, client, table, "free"); free != nil {
		t.Errorf("it wrote %s", dynamo.Text(free))
	}
}

const (
	workers = 8
	records = 60
	keys    = 3
)

// positions of a shard's records; each counts in the item of its number's remainder.
var positions = func() []idempotent.Position {
	all := make([]idempotent.Position, records)
	for i := range all {
		all[i] = idempotent.Position{Shard: "shardId-000000000000", Sequence: fmt.Sprintf("49590338271490256608559692538361571095921575989136%06d", 5*i)}
	}
	return all
}()

// race lets workers deliver a shard's records at once, each from the start and in
// batches of its own: as pollers that don't know of each other do.
func race(t *testing.T, deliver func(from, to int) error) {
	t.Helper()
	var working sync.WaitGroup
	for worker := range workers {
		working.Go(func() {
			draw := rand.New(rand.NewPCG(uint64(worker), 7))
			for from := 0; from < records; {
				to := min(records, from+1+draw.IntN(20))
				if err := deliver(from, to); err != nil {
					t.Errorf("worker %d, records %d to %d: %v", worker, from, to, err)
					return
				}
				from = to
			}
		})
	}
	working.Wait()
}

func TestAggregatesCountOnceInARace(t *testing.T) {
	client, table := newItems(t)
	a := &idempotent.Aggregate{Client: client, Table: table}
	var applied atomic.Int64
	race(t, func(from, to int) error {
		for k := range keys {
			var at []idempotent.Position
			var numbers []int
			for i := from; i < to; i++ {
				if i%keys == k {
					at, numbers = append(at, positions[i]), append(numbers, i)
				}
			}
			count, err := a.Apply(t.Context(), id(fmt.Sprint(k)), at, func(from int) (idempotent.Update, error) {
				sum := 0
				for _, i := range numbers[from:] {
					sum += i
				}
				return idempotent.Update{Add: dynamo.Item{"sum": n(sum), "count": n(len(numbers) - from)}}, nil
			})
			if err != nil {
				return err
			}
			applied.Add(int64(count))
		}
		return nil
	})
	sum, count := 0, 0
	for k := range keys {
		held := item(t, client, table, fmt.Sprint(k))
		sum, count = sum+intOf(held["sum"]), count+intOf(held["count"])
	}
	if count != records || sum != records*(records-1)/2 || applied.Load() != records {
		t.Errorf("%d records with the sum %d count, %d are said to: want %d with the sum %d", count, sum, applied.Load(), records, records*(records-1)/2)
	}
}

func TestTransactionsCountOnceInARace(t *testing.T) {
	client, table := newItems(t)
	tx := &idempotent.Transaction{Client: client, Table: table, TTL: 48 * time.Hour}
	race(t, func(from, to int) error {
		_, err := tx.Apply(t.Context(), positions[from:to], func(start, end int) (writes []types.TransactWriteItem, _ error) {
			counts, sums := [keys]int{}, [keys]int{}
			for i := from + start; i < from+end; i++ {
				counts[i%keys]++
				sums[i%keys] += i
			}
			for k := range keys {
				writes = append(writes, types.TransactWriteItem{Update: &types.Update{
					TableName: &table, Key: id(fmt.Sprint(k)), UpdateExpression: aws.String("ADD #s :s, #c :c"),
					ExpressionAttributeNames:  map[string]string{"#s": "sum", "#c": "count"},
					ExpressionAttributeValues: dynamo.Item{":s": n(sums[k]), ":c": n(counts[k])},
				}})
			}
			return writes, nil
		})
		return err
	})
	sum, count := 0, 0
	for k := range keys {
		held := item(t, client, table, fmt.Sprint(k))
		sum, count = sum+intOf(held["sum"]), count+intOf(held["count"])
	}
	if count != records || sum != records*(records-1)/2 {
		t.Errorf("%d records with the sum %d count, want %d with the sum %d", count, sum, records, records*(records-1)/2)
	}
	if mark := item(t, client, table, "hwm:shardId-000000000000"); intOf(mark["expires"]) < int(time.Now().Add(47*time.Hour).Unix()) {
		t.Errorf("the mark is %s", dynamo.Text(mark))
	}
}

func TestTheLatestVersionStaysInARace(t *testing.T) {
	client, table := newItems(t)
	l := &idempotent.Latest{Client: client, Table: table, Guard: "version"}
	var working sync.WaitGroup
	var written atomic.Int64
	for range workers {
		working.Go(func() {
			for _, version := range rand.Perm(40) {
				state := id("door")
				state["version"] = n(version)
				ok, err := l.Put(t.Context(), state)
				if err != nil {
					t.Error(err)
				}
				if ok {
					written.Add(1)
				}
			}
		})
	}
	working.Wait()
	if got := intOf(item(t, client, table, "door")["version"]); got != 39 || written.Load() > 40 {
		t.Errorf("version %d stayed after %d writes", got, written.Load())
	}
}

// One of many attempts at once does it; the others wait for it, and get its result.
func TestALedgerDoesItOnceInARace(t *testing.T) {
	client, table := newItems(t)
	l := &idempotent.Ledger{Client: client, Table: table, Lease: time.Minute}
	var happened, waited atomic.Int64
	started := make(chan struct{}) // the effect goes on until another attempt was turned away
	var once sync.Once
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for {
				result, err := l.Do(t.Context(), "order-7", []byte("12 EUR"), func(context.Context) ([]byte, error) {
					happened.Add(1)
					<-started
					return []byte("receipt"), nil
				})
				switch {
				case errors.Is(err, idempotent.ErrInProgress):
					waited.Add(1)
					once.Do(func() { close(started) })
					continue
				case err != nil || string(result) != "receipt":
					t.Errorf("%q, %v", result, err)
				}
				return
			}
		})
	}
	working.Wait()
	if happened.Load() != 1 || waited.Load() == 0 {
		t.Errorf("it happened %d times, and %d attempts were turned away", happened.Load(), waited.Load())
	}
}

func TestALedgersTransactionsHappenOnceInARace(t *testing.T) {
	client, table := newItems(t)
	l := &idempotent.Ledger{Client: client, Table: table}
	var done atomic.Int64
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for _, i := range rand.Perm(20) {
				ok, err := l.Transact(t.Context(), positions[i].ID(), nil, []types.TransactWriteItem{{Update: &types.Update{
					TableName: &table, Key: id("total"), UpdateExpression: aws.String("ADD #s :s"),
					ExpressionAttributeNames: map[string]string{"#s": "sum"}, ExpressionAttributeValues: dynamo.Item{":s": n(i)},
				}}})
				if err != nil {
					t.Error(err)
				}
				if ok {
					done.Add(1)
				}
			}
		})
	}
	working.Wait()
	if sum := intOf(item(t, client, table, "total")["sum"]); sum != 190 || done.Load() != 20 {
		t.Errorf("the sum is %d after %d transactions, want 190 after 20", sum, done.Load())
	}
}

// metered counts the write units of a client's calls.
type metered struct {
	*dynamodb.Client
	units float64
}

func (m *metered) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, f ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	out, err := m.Client.UpdateItem(ctx, in, f...)
	if err == nil {
		m.units += *out.ConsumedCapacity.CapacityUnits
	}
	return out, err
}

func (m *metered) PutItem(ctx context.Context, in *dynamodb.PutItemInput, f ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	out, err := m.Client.PutItem(ctx, in, f...)
	if err == nil {
		m.units += *out.ConsumedCapacity.CapacityUnits
	}
	return out, err
}

func (m *metered) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, f ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
	out, err := m.Client.TransactWriteItems(ctx, in, f...)
	if err == nil {
		for _, c := range out.ConsumedCapacity {
			m.units += *c.CapacityUnits
		}
	}
	return out, err
}

// What the package's doc says a batch of 1,000 records of 50 keys costs, and a record
// in a ledger.
func TestThePricesAreAsDocumented(t *testing.T) {
	client, table := newItems(t)
	m := &metered{Client: client}
	of := map[string][]idempotent.Position{}
	for i := range 1000 {
		k := fmt.Sprint("racer-", i%50)
		of[k] = append(of[k], idempotent.Position{Shard: "shardId-000000000000", Sequence: fmt.Sprintf("49590338271490256608559692538361571095921575989136%06d", i)})
	}
	add := func(k string, count int) types.TransactWriteItem {
		return types.TransactWriteItem{Update: &types.Update{
			TableName: &table, Key: id("transaction " + k), UpdateExpression: aws.String("ADD #c :c"),
			ExpressionAttributeNames: map[string]string{"#c": "count"}, ExpressionAttributeValues: dynamo.Item{":c": n(count)},
		}}
	}
	for name, test := range map[string]struct {
		units float64
		run   func() error
	}{
		"Aggregate": {50, func() error {
			a := &idempotent.Aggregate{Client: m, Table: table}
			for k, at := range of {
				_, err := a.Apply(t.Context(), id("aggregate "+k), at, func(from int) (idempotent.Update, error) {
					return idempotent.Update{Add: dynamo.Item{"count": n(len(at) - from)}}, nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		}},
		"Latest": {50, func() error {
			l := &idempotent.Latest{Client: m, Table: table, Guard: "version"}
			for k := range of {
				state := id("latest " + k)
				state["version"] = n(1)
				if _, err := l.Put(t.Context(), state); err != nil {
					return err
				}
			}
			return nil
		}},
		"Transaction": {102, func() error {
			tx := &idempotent.Transaction{Client: m, Table: table}
			all := slices.SortedFunc(slices.Values(slices.Concat(slices.Collect(maps.Values(of))...)), func(a, b idempotent.Position) int { return strings.Compare(a.Sequence, b.Sequence) })
			_, err := tx.Apply(t.Context(), all, func(int, int) (writes []types.TransactWriteItem, _ error) {
				for k, at := range of {
					writes = append(writes, add(k, len(at)))
				}
				return writes, nil
			})
			return err
		}},
		"Ledger.Do, one record": {2, func() error {
			_, err := (&idempotent.Ledger{Client: m, Table: table}).Do(t.Context(), "one", []byte("x"), func(context.Context) ([]byte, error) { return []byte("receipt"), nil })
			return err
		}},
		"Ledger.Transact, one record": {4, func() error {
			_, err := (&idempotent.Ledger{Client: m, Table: table}).Transact(t.Context(), "two", []byte("x"), []types.TransactWriteItem{add("one", 1)})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m.units = 0
			if err := test.run(); err != nil {
				t.Fatal(err)
			}
			if m.units != test.units {
				t.Errorf("it costs %v write units, want %v", m.units, test.units)
			}
		})
	}
}

// kit/sink on the emulator's DynamoDB and S3.
func TestSinksReplaceWhatTheyWroteBefore(t *testing.T) {
	client, table := newItems(t)
	items := sink.Table{Client: client, Table: table, Key: []string{"id"}}
	for _, version := range []int{1, 2} {
		var requests []types.WriteRequest
		for i := range 120 {
			put := id(fmt.Sprint(i % 60))
			put["version"] = n(version*1000 + i)
			requests = append(requests, sink.Put(put))
		}
		requests = append(requests, sink.Delete(id("0")))
		if err := items.Write(t.Context(), requests); err != nil {
			t.Fatal(err)
		}
		if err := items.Transact(t.Context(), requests[100:]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		held := item(t, client, table, fmt.Sprint(i))
		if i == 0 && held != nil || i > 0 && intOf(held["version"]) != 2060+i {
			t.Errorf("item %d is %s", i, dynamo.Text(held))
		}
	}

	bucket := name("objects")
	store := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := store.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	objects := sink.Objects{Client: store, Bucket: bucket, Layout: sink.NoLayout}
	var batch []sink.Record
	for i, at := range positions {
		batch = append(batch, sink.Record{Sequence: at.Sequence, Data: fmt.Append(nil, "record ", i)})
	}
	for _, span := range [][2]int{{0, records}, {0, records}, {0, 30}, {30, records}} { // again, then in halves
		if _, err := objects.Write(t.Context(), "shardId-000000000000", batch[span[0]:span[1]]); err != nil {
			t.Fatal(err)
		}
	}
	list, err := store.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range list.Contents {
		keys = append(keys, *o.Key)
	}
	parts, err := sink.Cover(keys)
	if len(keys) != 3 || len(parts) != 1 || err != nil {
		t.Fatalf("%d objects, of which to read %v (%v)", len(keys), parts, err)
	}
	out, err := store.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &parts[0].Key})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	z, err := gzip.NewReader(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if lines := strings.Split(string(text), "\n"); err != nil || len(lines) != records+1 || lines[records-1] != fmt.Sprint("record ", records-1) {
		t.Errorf("the object has %d lines (%v)", len(lines), err)
	}
}
