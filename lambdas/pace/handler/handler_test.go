package handler_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/pace/handler"
	"github.com/millrace/millrace/lambdas/race"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// table keeps items as UpdateItem of SET leaves them, and fails where it is told to.
type table struct {
	mu    sync.Mutex
	items map[string]map[string]types.AttributeValue
	err   map[string]error // by race
}

func (t *table) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := in.Key["race"].(*types.AttributeValueMemberS).Value
	if t.err[name] != nil {
		return nil, t.err[name]
	}
	key := name + " " + in.Key["window"].(*types.AttributeValueMemberS).Value
	if t.items[key] == nil {
		t.items[key] = maps.Clone(in.Key)
	}
	for _, set := range strings.Split(strings.TrimPrefix(aws.ToString(in.UpdateExpression), "SET "), ", ") {
		attribute, value, _ := strings.Cut(set, " = ")
		t.items[key][in.ExpressionAttributeNames[attribute]] = in.ExpressionAttributeValues[value]
	}
	return &dynamodb.UpdateItemOutput{}, nil
}

type rejects struct{ kept []batch.Rejected }

func (r *rejects) Write(_ context.Context, one batch.Rejected) error {
	r.kept = append(r.kept, one)
	return nil
}

func record(name, racer string, seq int64, distance, speed float64) string {
	text, err := json.Marshal(race.Record{Race: name, Racer: racer, Seq: seq, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Distance: distance, Speed: speed, Power: 300})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// event is one of a window from 0 to 30 s.
func event(shard, state string, final bool, from int, data ...string) []byte {
	records := []string{}
	for i, d := range data {
		records = append(records, fmt.Sprintf(`{"eventID":"%s:%d","kinesis":{"sequenceNumber":"%d","partitionKey":"k","data":%q}}`, shard, from+i, from+i, base64.StdEncoding.EncodeToString([]byte(d))))
	}
	return fmt.Appendf(nil, `{"Records":[%s],"window":{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:00:30Z"},"state":%s,"shardId":%q,"isFinalInvokeForWindow":%v,"isWindowTerminatedEarly":false}`,
		strings.Join(records, ","), state, shard, final)
}

// aggregated is the data of a record that a KPL made of several.
func aggregated(t *testing.T, records ...string) string {
	t.Helper()
	a, err := kpl.NewAggregator(kpl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if _, err := a.Add("k", "", []byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	return string(a.Flush()[0].Data)
}

func TestAWindowIsWrittenOnceWhateverIsRepeated(t *testing.T) {
	db, kept := &table{items: map[string]map[string]types.AttributeValue{}}, &rejects{}
	h, err := handler.New(func(name string) string { return "test-" + name }, db, kept)
	if err != nil {
		t.Fatal(err)
	}
	invoke := func(payload []byte) string {
		t.Helper()
		out, err := h.Invoke(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ State json.RawMessage }
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatal(err)
		}
		return string(answer.State)
	}
	// Two shards, one of which repeats records, sends nonsense and a keep-alive.
	a := invoke(event("shard-0", "{}", false, 100, record("monza", "r1", 1, 10, 10), record("spa", "r9", 1, 0, 8), record("monza", "r1", 1, 10, 10)))
	a = invoke(event("shard-0", a, false, 103, record("monza", "r1", 2, 24, 14), "nonsense", ""))
	b := invoke(event("shard-1", "{}", false, 200, record("monza", "r2", 5, 50, 12)))
	if len(db.items) != 0 {
		t.Errorf("before the end of the window there are %d items", len(db.items))
	}
	db.err = map[string]error{"monza": errors.New("throttled")}
	if _, err := h.Invoke(t.Context(), event("shard-0", a, true, 106)); err == nil || !strings.Contains(err.Error(), "pace of race monza: throttled") {
		t.Errorf("a failed write: %v", err)
	}
	db.err = nil
	for range 2 {
		invoke(event("shard-0", a, true, 106, record("monza", "r1", 3, 30, 6), "nonsense at the end"))
	}
	invoke(event("shard-1", b, true, 300, aggregated(t, record("monza", "r2", 6, 62, 12), record("monza", "r2", 7, 68, 6))))

	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for key, want := range map[string]race.Pace{
		"monza 2026-01-01T00:00:00Z": {Race: "monza", Start: start, End: start.Add(30 * time.Second), Records: 6, Racers: 2, MeanSpeed: 10, BestSpeed: 14, MeanPower: 300, BestPower: 300, Distance: 38},
		"spa 2026-01-01T00:00:00Z":   {Race: "spa", Start: start, End: start.Add(30 * time.Second), Records: 1, Racers: 1, MeanSpeed: 8, BestSpeed: 8, MeanPower: 300, BestPower: 300},
	} {
		got, err := handler.Read(db.items[key])
		if err != nil || got != want {
			t.Errorf("%s is %+v, want %+v (%v)", key, got, want, err)
		}
	}
	if len(db.items) != 2 || len(kept.kept) != 3 {
		t.Errorf("%d items and %d rejected records, want 2 and 3: one of them twice, as its invocation came twice", len(db.items), len(kept.kept))
	}
}

// A shard's window may be read more than once, each time without other records, or
// with other ends before its time: nothing counts twice.
func TestPartsWithRecordsInCommonCountOnce(t *testing.T) {
	for name, c := range map[string]struct {
		parts map[string]int // records, by part
		want  int
	}{
		"one after the other":         {map[string]int{"a/1/5": 5, "a/6/9": 4}, 9},
		"of two shards":               {map[string]int{"a/1/5": 5, "b/1/5": 4}, 9},
		"without the first":           {map[string]int{"a/1/5": 5, "a/2/5": 4}, 5},
		"without the first, and full": {map[string]int{"a/3/5": 3, "a/1/5": 5, "a/2/5": 4}, 5},
		"one record in common":        {map[string]int{"a/1/5": 5, "a/5/9": 4}, 5},
		"ended later the second time": {map[string]int{"a/1/5": 5, "a/1/7": 7, "a/8/9": 2}, 9},
		"ended sooner":                {map[string]int{"a/1/5": 5, "a/1/3": 3, "a/4/9": 6}, 9},
		"the rest isn't there yet":    {map[string]int{"a/1/5": 5, "a/1/3": 3}, 5},
		"numbers of more digits":      {map[string]int{"a/8/9": 2, "a/10/11": 2, "a/9/10": 2}, 4},
	} {
		item := map[string]types.AttributeValue{"window": &types.AttributeValueMemberS{Value: "2026-01-01T00:00:00Z"}, "end": &types.AttributeValueMemberS{Value: "2026-01-01T00:00:30Z"}}
		for part, records := range c.parts {
			item[handler.PartPrefix+part] = &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"records": &types.AttributeValueMemberN{Value: fmt.Sprint(records)}}}
		}
		if pace, err := handler.Read(item); err != nil || pace.Records != c.want {
			t.Errorf("%s: %d records, want %d (%v)", name, pace.Records, c.want, err)
		}
	}
}

func TestAnItemThatIsntOnesIsTold(t *testing.T) {
	for name, item := range map[string]map[string]types.AttributeValue{
		"no times": {"window": &types.AttributeValueMemberS{Value: "x"}},
		"no part":  {handler.PartPrefix + "x/1/2": &types.AttributeValueMemberS{Value: "x"}},
		"no name":  {handler.PartPrefix + "x": &types.AttributeValueMemberM{}},
	} {
		if pace, err := handler.Read(item); err == nil {
			t.Errorf("%s: %+v", name, pace)
		}
	}
	if _, err := handler.New(func(string) string { return "" }, nil, nil); err == nil || !strings.Contains(err.Error(), "PACES_TABLE") {
		t.Errorf("without its environment: %v", err)
	}
}
