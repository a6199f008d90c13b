package sim

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/memory"
)

func newWorld() *World {
	return &World{
		options: Options{Shards: 1}, records: newJournal(memory.New(1)), start: time.Now(),
		tables: map[string]*Table{}, objects: map[string][]byte{}, kick: make(chan struct{}, 1),
	}
}

var at = time.Date(2026, 1, 1, 12, 0, 0, 7e6, time.UTC)

// A table's changes reach the handlers as they were made.
func TestChangesAreDecodedAsTheyWereMade(t *testing.T) {
	w := newWorld()
	table := w.Table("standings", "race", "racer")
	item := Item{"race": s("spa"), "racer": s("r\u00e9 \"1\""), "seq": n("1")}
	later := Item{"race": s("spa"), "racer": s("r\u00e9 \"1\""), "seq": n("2"), "top": &types.AttributeValueMemberL{Value: []types.AttributeValue{
		&types.AttributeValueMemberM{Value: Item{"ok": &types.AttributeValueMemberBOOL{Value: true}}}, n("2"),
	}}}
	table.Put(item)
	table.Put(later)
	table.Delete(later)
	table.flush()
	f := w.Add(&Function{Settings: &esm.Settings{Kind: esm.DynamoDB, SourceARN: "arn:aws:…"}, Changes: table})
	batch := esm.Batch{Settings: f.Settings}
	for _, p := range f.journal.puts {
		batch.Records = append(batch.Records, esm.Record{Sequence: p.Sequence, Key: p.Key, Data: p.Data})
	}
	event, err := decode.DynamoDB(batch.Payload())
	if err != nil {
		t.Fatal(err)
	}
	f.model.failed = make([]bool, len(f.journal.puts))
	names := ""
	for i := range event.Records {
		if err := f.isChange(&event.Records[i]); err != nil {
			t.Error(err)
		}
		names += event.Records[i].EventName + " "
	}
	if names != "INSERT MODIFY REMOVE " || !f.Failed(0) || !f.Failed(1) || !f.Failed(2) || f.Failed(3) {
		t.Errorf("the changes are %s", names)
	}
}

func TestChangesOfAnInstantAreOrderedByTheirKeys(t *testing.T) {
	for _, order := range []string{"abc", "cab"} {
		w := newWorld()
		table := w.Table("table", "key")
		for _, key := range order {
			table.items[string(key)+"0"] = nil
			table.changes = append(table.changes, Change{at: at, key: string(key), After: Item{"key": s(string(key))}}, Change{at: at, key: string(key), Before: Item{"key": s(string(key))}})
		}
		table.changes = append(table.changes, Change{at: at.Add(-1), key: "d", After: Item{"key": s("d")}})
		table.flush()
		got := ""
		for _, c := range table.Changes() {
			got += c.key + strconv.FormatBool(c.After != nil) + " "
		}
		if got != "dtrue atrue afalse btrue bfalse ctrue cfalse " {
			t.Errorf("order %s: %s", order, got)
		}
	}
}

func s(text string) types.AttributeValue { return &types.AttributeValueMemberS{Value: text} }

func n(number string) types.AttributeValue { return &types.AttributeValueMemberN{Value: number} }

func TestUpdates(t *testing.T) {
	for expression, want := range map[string]string{
		"SET seq = :two":                                       "name=b seq=2",
		"SET seq = seq + :two, fresh = :two":                   "fresh=2 name=b seq=12",
		"SET a = if_not_exists(a, :two) - :two REMOVE name":    "a=0 seq=10",
		"ADD seq :two, count :two SET name = :two REMOVE gone": "count=2 name=2 seq=12",
		"set seq = seq - :tenth":                               "name=b seq=9.90000000000000000000",
	} {
		w := newWorld()
		table := w.Table("t", "key")
		table.Put(Item{"key": s("k"), "seq": n("10"), "name": s("b")})
		_, err := table.update(&dynamodb.UpdateItemInput{
			Key: Item{"key": s("k")}, UpdateExpression: aws.String(expression), ExpressionAttributeValues: Item{":two": n("2"), ":tenth": n("0.1")},
		})
		if got := strings.Replace(text(table.items["k"]), "key=k ", "", 1); err != nil || got != want {
			t.Errorf("%s: %s, %v", expression, got, err)
		}
	}
	for _, expression := range []string{"", "SET", "SET seq", "SET seq = list_append(a, :two)", "DELETE seq :two", "SET a.b = :two", "SET seq = none"} {
		w := newWorld()
		table := w.Table("t", "key")
		_, err := table.update(&dynamodb.UpdateItemInput{
			Key: Item{"key": s("k")}, UpdateExpression: aws.String(expression), ExpressionAttributeValues: Item{":two": n("2")},
		})
		if err == nil {
			t.Errorf("%q is accepted", expression)
		}
	}
}

func TestTablesAreWrittenOnConditionAndReadInPages(t *testing.T) {
	w := newWorld()
	table := w.Table("t", "race", "racer")
	for i := range page + 3 {
		put := &dynamodb.PutItemInput{
			Item:                Item{"race": s("spa"), "racer": s(string(rune('a' + i))), "seq": n("1")},
			ConditionExpression: aws.String("attribute_not_exists(seq)"),
		}
		if _, err := table.put(put); err != nil {
			t.Fatal(err)
		}
		var refused *types.ConditionalCheckFailedException
		if _, err := table.put(put); !errors.As(err, &refused) {
			t.Errorf("written twice: %v", err)
		}
	}
	table.Put(Item{"race": s("monza"), "racer": s("z")})
	in := &dynamodb.QueryInput{
		KeyConditionExpression: aws.String("race = :race"), ExpressionAttributeValues: Item{":race": s("spa")}, ProjectionExpression: aws.String("racer"),
	}
	first, err := table.query(in)
	if err != nil || len(first.Items) != page || len(first.Items[0]) != 1 {
		t.Fatalf("%v, %v", first, err)
	}
	in.ExclusiveStartKey = first.LastEvaluatedKey
	second, err := table.query(in)
	if err != nil || len(second.Items) != 3 || second.LastEvaluatedKey != nil {
		t.Errorf("%v, %v", second, err)
	}
}
