package sim

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

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

// Handlers get events that were made directly, for speed: they are those that the
// mapping's payload decodes to.
func TestEventsAreThoseOfThePayload(t *testing.T) {
	w := newWorld()
	table := w.Table("standings", "race", "racer")
	item := Item{"race": s("spa"), "racer": s("r1"), "seq": n("1")}
	later := Item{"race": s("spa"), "racer": s("r1"), "seq": n("2"), "top": &types.AttributeValueMemberL{Value: []types.AttributeValue{
		&types.AttributeValueMemberM{Value: Item{"ok": &types.AttributeValueMemberBOOL{Value: true}}},
	}}}
	table.Put(item)
	table.Put(later)
	table.Delete(later)
	table.flush()
	w.records.put(Put{Key: "spa/r1", Data: []byte("one")})
	w.records.put(Put{Key: `spa/"r2"`, Data: nil})
	settings := func(kind esm.Kind) *esm.Settings {
		return &esm.Settings{Kind: kind, Region: "us-east-1", SourceARN: "arn:aws:…", FunctionARN: "arn:aws:…"}
	}
	for name, f := range map[string]*Function{
		"Kinesis":  {Settings: settings(esm.Kinesis)},
		"DynamoDB": {Settings: settings(esm.DynamoDB), Changes: table},
	} {
		t.Run(name, func(t *testing.T) {
			w.Add(f)
			batch := esm.Batch{Settings: f.Settings, Shard: "shardId-000000000000"}
			for i, p := range f.journal.puts {
				r := esm.Record{Sequence: p.Sequence, Key: p.Key, Data: p.Data, Arrival: at}
				if f.Changes != nil {
					r.Data = f.Changes.json(i)
				}
				batch.Records = append(batch.Records, r)
			}
			var kinesis events.KinesisEvent
			var changes events.DynamoDBEvent
			into := map[*Table]any{nil: &kinesis, table: &changes}[f.Changes]
			if err := json.Unmarshal(batch.Payload(), into); err != nil {
				t.Fatal(err)
			}
			e := f.event(&batch)
			if diff := cmp.Diff(asJSON(t, kinesis)+asJSON(t, changes), asJSON(t, e.Kinesis)+asJSON(t, e.DynamoDB)); diff != "" || len(batch.Records) < 2 {
				t.Errorf("(-payload +event)\n%s", diff)
			}
		})
	}
}

func asJSON(t *testing.T, event any) string {
	body, err := json.MarshalIndent(event, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestChangesOfAnInstantAreOrderedByTheirKeys(t *testing.T) {
	for _, order := range []string{"abc", "cab"} {
		w := newWorld()
		table := w.Table("table", "key")
		for _, key := range order {
			table.items[string(key)+"0"] = nil
			table.changes = append(table.changes, change{at, string(key), nil, Item{"key": s(string(key))}}, change{at, string(key), Item{"key": s(string(key))}, nil})
		}
		table.changes = append(table.changes, change{at.Add(-1), "d", nil, Item{"key": s("d")}})
		table.flush()
		got := ""
		for _, r := range table.Changes() {
			got += r.Change.Keys["key"].String() + string(r.EventName[:1]) + " "
		}
		if got != "dI aI aR bI bR cI cR " {
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
