package idempotent_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/idempotent"
	"github.com/millrace/millrace/tests/dynamo"
)

const kinesisSequence = "49590338271490256608559692538361571095921575989136588898"

func TestMarksSortAsRecordsDo(t *testing.T) {
	digits := rapid.StringMatching(`[1-9][0-9]{0,128}|0`)
	rapid.Check(t, func(t *rapid.T) {
		a := idempotent.Position{Sequence: digits.Draw(t, "a"), Sub: rapid.IntRange(0, 9_999_999).Draw(t, "sub of a")}
		b := idempotent.Position{Sequence: rapid.OneOf(rapid.Just(a.Sequence), digits).Draw(t, "b"), Sub: rapid.IntRange(0, 9_999_999).Draw(t, "sub of b")}
		x, _ := new(big.Int).SetString(a.Sequence, 10)
		y, _ := new(big.Int).SetString(b.Sequence, 10)
		want := x.Cmp(y)
		if want == 0 {
			want = a.Sub - b.Sub
		}
		m, err1 := a.Mark()
		n, err2 := b.Mark()
		if got := strings.Compare(m, n); err1 != nil || err2 != nil || got < 0 != (want < 0) || got > 0 != (want > 0) {
			t.Fatalf("%q and %q compare as %d, want %d (%v, %v)", m, n, got, want, err1, err2)
		}
	})
}

func TestMarksAndIDs(t *testing.T) {
	for name, test := range map[string]struct {
		at       idempotent.Position
		mark, id string
	}{
		"a record of Kinesis":     {idempotent.Position{Shard: "shardId-1", Sequence: kinesisSequence}, "056" + kinesisSequence, "shardId-1:" + kinesisSequence},
		"one in it":               {idempotent.Position{Shard: "shardId-1", Sequence: kinesisSequence, Sub: 7}, "056" + kinesisSequence + ".0000007", "shardId-1:" + kinesisSequence + ".7"},
		"a change of a table":     {idempotent.Position{Shard: "s", Sequence: "4421584500000000017450439091"}, "0284421584500000000017450439091", "s:4421584500000000017450439091"},
		"leading zeros are none":  {idempotent.Position{Shard: "s", Sequence: "0042"}, "00242", "s:0042"},
		"zero":                    {idempotent.Position{Shard: "s", Sequence: "0"}, "000", "s:0"},
		"no number":               {idempotent.Position{Shard: "s", Sequence: "TRIM_HORIZON"}, "", "s:TRIM_HORIZON"},
		"nothing":                 {idempotent.Position{Shard: "s"}, "", "s:"},
		"more digits than AWS's":  {idempotent.Position{Shard: "s", Sequence: strings.Repeat("9", 130)}, "", "s:" + strings.Repeat("9", 130)},
		"a negative sub-sequence": {idempotent.Position{Shard: "s", Sequence: "1", Sub: -1}, "", "s:1.-1"},
		"one that is too large":   {idempotent.Position{Shard: "s", Sequence: "1", Sub: 1e7}, "", "s:1.10000000"},
	} {
		t.Run(name, func(t *testing.T) {
			mark, err := test.at.Mark()
			if mark != test.mark || (err != nil) != (test.mark == "") {
				t.Errorf("the mark is %q (%v), want %q", mark, err, test.mark)
			}
			if id := test.at.ID(); id != test.id {
				t.Errorf("the id is %q, want %q", id, test.id)
			}
		})
	}
}

// at are positions of one shard.
func at(sequences ...int) []idempotent.Position {
	var all []idempotent.Position
	for _, s := range sequences {
		all = append(all, idempotent.Position{Shard: "shardId-0", Sequence: fmt.Sprint(s)})
	}
	return all
}

// counting counts the records from an index on.
func counting(records []idempotent.Position) func(int) (idempotent.Update, error) {
	return func(from int) (idempotent.Update, error) {
		return idempotent.Update{Add: dynamo.Item{"count": n(len(records) - from)}}, nil
	}
}

func newDB(tables ...string) *dynamo.DB {
	db := dynamo.New()
	for _, name := range tables {
		db.Create(name, "id")
	}
	return db
}

func TestAnAggregateAppliesWhatIsNew(t *testing.T) {
	db := newDB("totals")
	a := &idempotent.Aggregate{Client: db, Table: "totals"}
	for _, step := range []struct {
		at      []idempotent.Position
		applied int
		calls   int
	}{
		{at(1, 2, 3), 3, 1},
		{at(1, 2, 3), 0, 1},    // all of it again: one call finds out
		{at(2, 3, 7, 9), 2, 2}, // in another batch
		{at(10), 1, 1},
		{nil, 0, 0},
	} {
		before := db.Calls("UpdateItem")
		applied, err := a.Apply(t.Context(), key("x"), step.at, counting(step.at))
		if applied != step.applied || err != nil || db.Calls("UpdateItem")-before != step.calls {
			t.Errorf("%v: %d applied with %d calls, want %d with %d (%v)", step.at, applied, db.Calls("UpdateItem")-before, step.applied, step.calls, err)
		}
	}
	if got := held(db, "totals")["x"].Count; got != 6 {
		t.Errorf("the item counts %d, want 6", got)
	}
}

func TestAnAggregateSetsAndAddsWhatItIsTold(t *testing.T) {
	db := newDB("totals")
	a := &idempotent.Aggregate{Client: db, Table: "totals", Prefix: "seen/"}
	update := idempotent.Update{
		Add: dynamo.Item{"count": n(2), "names": &types.AttributeValueMemberSS{Value: []string{"b", "a"}}, "size": n(5)},
		Set: dynamo.Item{"at": &types.AttributeValueMemberS{Value: "12:00"}, "status": n(1)}, // reserved words, both
	}
	for _, records := range [][]idempotent.Position{at(1), at(2)} {
		if _, err := a.Apply(t.Context(), key("x"), records, func(int) (idempotent.Update, error) { return update, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := dynamo.Text(db.Items("totals")[0]); got != "at=12:00 count=4 id=x names=[a b] seen/shardId-0=0012 size=10 status=1" {
		t.Errorf("the item is %s", got)
	}
	// Nothing to add is fine: the records are known then.
	if applied, err := a.Apply(t.Context(), key("x"), at(3), func(int) (idempotent.Update, error) { return idempotent.Update{}, nil }); applied != 1 || err != nil {
		t.Error(applied, err)
	}
}

func TestWrongRecordsAreRefusedAndTheErrorSaysWhich(t *testing.T) {
	db := newDB("totals", "marks")
	a := &idempotent.Aggregate{Client: db, Table: "totals"}
	tx := &idempotent.Transaction{Client: db, Table: "marks"}
	other := at(1, 2)
	other[1].Shard = "shardId-1"
	for name, test := range map[string]struct {
		at   []idempotent.Position
		says string
	}{
		"out of order":     {at(1, 3, 2), "record 2 (shardId-0:2) doesn't come after record 1 (shardId-0:3)"},
		"twice":            {at(1, 1), "record 1 (shardId-0:1) doesn't come after record 0"},
		"of two shards":    {other, "record 1 is of shard shardId-1, the first one of shardId-0"},
		"of no shard":      {[]idempotent.Position{{Sequence: "1"}}, "record 0 names no shard"},
		"without a number": {[]idempotent.Position{{Shard: "s", Sequence: "x"}}, `the sequence number is "x": must be 1 to 129 decimal digits`},
	} {
		_, err := a.Apply(t.Context(), key("x"), test.at, counting(test.at))
		_, txErr := tx.Apply(t.Context(), test.at, func(int, int) ([]types.TransactWriteItem, error) { return nil, nil })
		for _, err := range []error{err, txErr} {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: the error is %v, want one that says %q", name, err, test.says)
			}
		}
	}
	if len(db.Items("totals"))+len(db.Items("marks")) > 0 {
		t.Error("something was written")
	}
	for name, err := range map[string]error{
		"Aggregate":   second((&idempotent.Aggregate{}).Apply(t.Context(), key("x"), at(1), nil)),
		"Prune":       second((&idempotent.Aggregate{}).Prune(t.Context(), key("x"), nil)),
		"Transaction": second((&idempotent.Transaction{}).Apply(t.Context(), at(1), nil)),
		"Do":          second((&idempotent.Ledger{}).Do(t.Context(), "x", nil, nil)),
		"Transact":    second((&idempotent.Ledger{}).Transact(t.Context(), "x", nil, nil)),
		"Latest":      second((&idempotent.Latest{}).Put(t.Context(), nil)),
	} {
		if err == nil || !strings.Contains(err.Error(), "required") {
			t.Errorf("%s without its client: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"Aggregate":   second(a.Apply(t.Context(), key("x"), at(1), nil)),
		"Prune":       second(a.Prune(t.Context(), key("x"), nil)),
		"Transaction": second(tx.Apply(t.Context(), at(1), nil)),
		"Do":          second((&idempotent.Ledger{Client: db, Table: "marks"}).Do(t.Context(), "x", nil, nil)),
	} {
		if err == nil || !strings.Contains(err.Error(), "the function is nil") {
			t.Errorf("%s without its function: %v", name, err)
		}
	}
	if len(db.Items("marks")) > 0 {
		t.Error("something was written")
	}
}

func second[T any](_ T, err error) error { return err }

func TestErrorsOfTheCallersOwnComeBackAsTheyAre(t *testing.T) {
	db := newDB("totals", "marks")
	own := errors.New("no such race")
	if _, err := (&idempotent.Aggregate{Client: db, Table: "totals"}).Apply(t.Context(), key("x"), at(1), func(int) (idempotent.Update, error) { return idempotent.Update{}, own }); err != own { //nolint:errorlint // as it is
		t.Errorf("Aggregate: %v", err)
	}
	if _, err := (&idempotent.Transaction{Client: db, Table: "marks"}).Apply(t.Context(), at(1), func(int, int) ([]types.TransactWriteItem, error) { return nil, own }); err != own { //nolint:errorlint // as it is
		t.Errorf("Transaction: %v", err)
	}
	if _, err := (&idempotent.Ledger{Client: db, Table: "marks"}).Do(t.Context(), "x", nil, func(context.Context) ([]byte, error) { return nil, own }); err != own { //nolint:errorlint // as it is
		t.Errorf("Ledger: %v", err)
	}
}

// old answers a failed condition without the item, as a proxy might.
type old struct{ *dynamo.DB }

func (o old) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, f ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	in.ReturnValuesOnConditionCheckFailure = ""
	return o.DB.UpdateItem(ctx, in, f...)
}

func TestAConditionThatFailsWithoutAMarkIsAnErrorNotAnEndlessLoop(t *testing.T) {
	db := newDB("totals")
	a := &idempotent.Aggregate{Client: old{db}, Table: "totals"}
	for i, says := range []string{"", "ReturnValuesOnConditionCheckFailure isn't honored"} {
		_, err := a.Apply(t.Context(), key("x"), at(1), counting(at(1)))
		if (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("attempt %d: %v", i, err)
		}
	}
}

// stubborn refuses everything, with a mark that is no reason to.
type stubborn struct{ *dynamo.DB }

func (stubborn) UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return nil, &types.ConditionalCheckFailedException{Item: dynamo.Item{"hwm:shardId-0": &types.AttributeValueMemberS{Value: "0014"}}}
}

func TestAConditionThatFailsForNoReasonIsAnErrorNotAnEndlessLoop(t *testing.T) {
	a := &idempotent.Aggregate{Client: stubborn{}, Table: "totals"}
	if _, err := a.Apply(t.Context(), key("x"), at(5), counting(at(5))); err == nil || !strings.Contains(err.Error(), "below the first record") {
		t.Errorf("got %v", err)
	}
}

func TestAnAggregateWaitsForATransactionOnItsItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDB("totals")
		left := 3
		db.Fault = func(string) dynamo.Fault {
			if left--; left >= 0 {
				return dynamo.Fault{Before: &types.TransactionConflictException{}}
			}
			return dynamo.Fault{}
		}
		a := &idempotent.Aggregate{Client: db, Table: "totals"}
		if applied, err := a.Apply(t.Context(), key("x"), at(1), counting(at(1))); applied != 1 || err != nil {
			t.Error(applied, err)
		}
		left = 1000
		_, err := a.Apply(t.Context(), key("x"), at(2), counting(at(2)))
		if conflict := (*types.TransactionConflictException)(nil); !errors.As(err, &conflict) {
			t.Errorf("without end: %v", err)
		}
	})
}

func TestPruneForgetsTheShardsThatAreGone(t *testing.T) {
	db := newDB("totals")
	a := &idempotent.Aggregate{Client: db, Table: "totals"}
	for _, shard := range []string{"shardId-0", "shardId-1", "shardId-2", "shardId-3"} {
		records := []idempotent.Position{{Shard: shard, Sequence: "5"}}
		if _, err := a.Apply(t.Context(), key("x"), records, counting(records)); err != nil {
			t.Fatal(err)
		}
	}
	keep := func(shard string) bool { return shard >= "shardId-2" }
	for _, want := range []int{2, 0} {
		if removed, err := a.Prune(t.Context(), key("x"), keep); removed != want || err != nil {
			t.Errorf("%d marks removed, want %d (%v)", removed, want, err)
		}
	}
	if got := dynamo.Text(db.Items("totals")[0]); got != "count=4 hwm:shardId-2=0015 hwm:shardId-3=0015 id=x" {
		t.Errorf("the item is %s", got)
	}
	if removed, err := a.Prune(t.Context(), key("no such item"), keep); removed != 0 || err != nil {
		t.Error(removed, err)
	}
	// A shard that is counted meanwhile isn't gone.
	a.Client = meddler{db, func() {
		records := []idempotent.Position{{Shard: "shardId-3", Sequence: "6"}}
		if _, err := (&idempotent.Aggregate{Client: db, Table: "totals"}).Apply(t.Context(), key("x"), records, counting(records)); err != nil {
			t.Error(err)
		}
	}}
	if _, err := a.Prune(t.Context(), key("x"), func(string) bool { return false }); err == nil || !strings.Contains(err.Error(), "it isn't gone") {
		t.Errorf("got %v", err)
	}
	if got := dynamo.Text(db.Items("totals")[0]); got != "count=5 hwm:shardId-2=0015 hwm:shardId-3=0016 id=x" {
		t.Errorf("the item is %s", got)
	}
}

// meddler does something between reading and writing.
type meddler struct {
	*dynamo.DB
	meanwhile func()
}

func (m meddler) GetItem(ctx context.Context, in *dynamodb.GetItemInput, f ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	out, err := m.DB.GetItem(ctx, in, f...)
	m.meanwhile()
	return out, err
}

func put(table, id string) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{TableName: aws.String(table), Item: key(id)}}
}

func TestATransactionIsSplitUntilItFits(t *testing.T) {
	db := newDB("marks", "items")
	tx := &idempotent.Transaction{Client: db, Table: "marks", Name: "orders"}
	records := at(1, 2, 3, 4, 5)
	writes := func(from, to int) (all []types.TransactWriteItem, _ error) {
		for i := from; i < to; i++ {
			for j := range 60 {
				all = append(all, put("items", fmt.Sprint(i, "-", j)))
			}
		}
		return all, nil
	}
	applied, err := tx.Apply(t.Context(), records, writes)
	if applied != 5 || err != nil || db.Calls("TransactWriteItems") != 5 || len(db.Items("items")) != 300 {
		t.Errorf("%d applied in %d calls, %d items (%v)", applied, db.Calls("TransactWriteItems"), len(db.Items("items")), err)
	}
	if got := dynamo.Text(db.Items("marks")[0]); got != "id=orders/hwm:shardId-0 mark=0015" {
		t.Errorf("the mark is %s", got)
	}
	// Several fit into one, up to 99 writes.
	small := func(from, to int) (all []types.TransactWriteItem, _ error) {
		for i := from; i < to; i++ {
			all = append(all, put("items", fmt.Sprint(i)))
		}
		return all, nil
	}
	var many []int
	for i := range 199 {
		many = append(many, 10+i)
	}
	before := db.Calls("TransactWriteItems")
	if applied, err := tx.Apply(t.Context(), at(many...), small); applied != 199 || err != nil || db.Calls("TransactWriteItems")-before != 3 {
		t.Errorf("%d applied in %d calls (%v)", applied, db.Calls("TransactWriteItems")-before, err)
	}
	_, err = tx.Apply(t.Context(), at(1000, 1001), func(from, to int) ([]types.TransactWriteItem, error) {
		return make([]types.TransactWriteItem, 100*(to-from)), nil
	})
	if err == nil || !strings.Contains(err.Error(), "record shardId-0:1000 makes 100 writes: a transaction holds 99") {
		t.Errorf("got %v", err)
	}
}

func TestATransactionThatCantGoThroughSaysWhichWriteIsWhy(t *testing.T) {
	db := newDB("marks", "items")
	tx := &idempotent.Transaction{Client: db, Table: "marks"}
	taken := put("items", "taken")
	taken.Put.ConditionExpression = aws.String("attribute_not_exists(#id)")
	taken.Put.ExpressionAttributeNames = map[string]string{"#id": "id"}
	writes := func(int, int) ([]types.TransactWriteItem, error) {
		return []types.TransactWriteItem{put("items", "free"), taken}, nil
	}
	if _, err := tx.Apply(t.Context(), at(1), writes); err != nil {
		t.Fatal(err)
	}
	applied, err := tx.Apply(t.Context(), at(2), writes)
	var canceled *types.TransactionCanceledException
	if applied != 0 || !errors.As(err, &canceled) || !strings.Contains(err.Error(), "write 1: ConditionalCheckFailed") {
		t.Errorf("%d applied: %v", applied, err)
	}
	if db.Calls("TransactWriteItems") != 2 {
		t.Errorf("%d calls: a condition of the caller's isn't worth another", db.Calls("TransactWriteItems"))
	}
	// The mark stayed where it was: once the condition holds, the record is applied.
	if _, err := db.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("items"), Key: key("taken")}); err != nil {
		t.Fatal(err)
	}
	if applied, err := tx.Apply(t.Context(), at(2), writes); applied != 1 || err != nil {
		t.Error(applied, err)
	}
}

func TestConflictsOfTransactionsPass(t *testing.T) {
	for code, passes := range map[string]bool{
		"TransactionConflict": true, "ThrottlingError": true, "ProvisionedThroughputExceeded": true,
		"ValidationError": false, "ItemCollectionSizeLimitExceeded": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			db := newDB("marks", "items")
			left := 3
			db.Fault = func(string) dynamo.Fault {
				if left--; left >= 0 {
					return dynamo.Fault{Reasons: []string{"None", code}}
				}
				return dynamo.Fault{}
			}
			tx := &idempotent.Transaction{Client: db, Table: "marks"}
			applied, err := tx.Apply(t.Context(), at(1), func(int, int) ([]types.TransactWriteItem, error) {
				return []types.TransactWriteItem{put("items", "x")}, nil
			})
			if calls := db.Calls("TransactWriteItems"); passes && (applied != 1 || err != nil || calls != 4) || !passes && (err == nil || calls != 1) {
				t.Errorf("%s: %d applied in %d calls, %v", code, applied, calls, err)
			}
		})
	}
}

func TestATransactionEndsBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDB("marks")
		db.Fault = func(string) dynamo.Fault { return dynamo.Fault{Reasons: []string{"TransactionConflict"}} }
		ctx, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		tx := &idempotent.Transaction{Client: db, Table: "marks"}
		_, err := tx.Apply(ctx, at(1), func(int, int) ([]types.TransactWriteItem, error) { return nil, nil })
		if ctx.Err() != nil || err == nil || !strings.Contains(err.Error(), "no time is left") || !strings.Contains(err.Error(), "the mark: TransactionConflict") {
			t.Errorf("got %v", err)
		}
	})
}

func TestLatestRefusesWhatItCantCompare(t *testing.T) {
	db := newDB("states")
	l := &idempotent.Latest{Client: db, Table: "states", Guard: "version"}
	item := func(version types.AttributeValue) dynamo.Item {
		i := key("x")
		if version != nil {
			i["version"] = version
		}
		return i
	}
	for _, step := range []struct {
		version types.AttributeValue
		written bool
		says    string
	}{
		{n(7), true, ""},
		{n(7), false, ""},
		{n(6), false, ""},
		{n(10), true, ""}, // not by its text
		{&types.AttributeValueMemberS{Value: "zz"}, false, "versions of one item have one type"},
		{&types.AttributeValueMemberBOOL{}, false, "must be a number, string or binary"},
		{nil, false, "must be a number, string or binary"},
	} {
		written, err := l.Put(t.Context(), item(step.version))
		if written != step.written || (err != nil) != (step.says != "") || err != nil && !strings.Contains(err.Error(), step.says) {
			t.Errorf("%v: written %v, %v", step.version, written, err)
		}
	}
	if got := dynamo.Text(db.Items("states")[0]); got != "id=x version=10" {
		t.Errorf("the item is %s", got)
	}
}
