package batch_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/decode"
)

// event is a Kinesis event of records "key=data", whose sequence numbers count
// from 100.
func event(records ...string) []byte {
	var all []string
	for i, r := range records {
		key, data, _ := strings.Cut(r, "=")
		all = append(all, fmt.Sprintf(`{"kinesis":{"partitionKey":%q,"sequenceNumber":"%d","data":%q,"approximateArrivalTimestamp":1767225600.5},"eventID":"shardId-7:%d","eventSourceARN":"arn:stream"}`,
			key, 100+i, base64.StdEncoding.EncodeToString([]byte(data)), 100+i))
	}
	return []byte(`{"Records":[` + strings.Join(all, ",") + `]}`)
}

// answered is where the mapping goes on after an answer: at a record's number, at
// -1 if the invocation failed, at n if all was done.
func answered(t require, payload []byte, err error, n int) int {
	t.Helper()
	if err != nil {
		return -1
	}
	var answer struct {
		Failures []struct {
			ID string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(payload, &answer); err != nil || answer.Failures == nil {
		t.Fatalf("the answer is %s (%v)", payload, err)
	}
	if len(answer.Failures) == 0 {
		return n
	}
	var sequence int
	if _, err := fmt.Sscan(answer.Failures[0].ID, &sequence); err != nil || len(answer.Failures) > 1 {
		t.Fatalf("the answer is %s", payload)
	}
	return sequence - 100
}

type require interface {
	Helper()
	Fatalf(string, ...any)
}

// rejects keeps what is set aside, unless it is to fail.
type rejects struct {
	mu   sync.Mutex
	kept []batch.Rejected
	err  error
}

func (r *rejects) Write(_ context.Context, one batch.Rejected) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.kept = append(r.kept, one)
	}
	return r.err
}

var errTransient = errors.New("throttled")

// by is what the data of a record asks for.
func by(data string) error {
	switch data {
	case "fail":
		return errTransient
	case "poison":
		return batch.Permanent(errors.New("not a record"))
	case "panic":
		panic("index out of range")
	}
	return nil
}

func TestEachRecord(t *testing.T) {
	for name, test := range map[string]struct {
		records []string
		options batch.Options
		broken  bool // rejecting fails
		done    string
		next    int // where the mapping goes on
		rejects string
	}{
		"no records":                        {next: 0},
		"all succeed":                       {records: []string{"a=1", "b=2", "a=3"}, done: "1 2 3", next: 3},
		"the first failure stops the batch": {records: []string{"a=1", "a=fail", "b=2", "a=3"}, done: "1", next: 1},
		"a failure at the first record fails the invocation, so that the batch is split": {records: []string{"a=fail", "b=2"}, next: -1},
		"other keys go on":                        {records: []string{"a=1", "a=fail", "b=2", "a=3", "c=fail", "b=4"}, options: batch.Options{KeepGoing: true}, done: "1 2 4", next: 1},
		"a panic is its record's failure":         {records: []string{"a=1", "a=2", "b=panic"}, done: "1 2", next: 2},
		"a poison record is set aside":            {records: []string{"a=1", "a=poison", "a=2"}, done: "1 2", next: 3, rejects: "101"},
		"a poison record that can't be set aside": {records: []string{"a=1", "a=poison", "a=2"}, broken: true, done: "1", next: 1},
		"several keys at once, and nothing behind the first failure of a key": {
			records: []string{"a=1", "b=fail", "b=2", "c=poison"}, options: batch.Options{Concurrency: 3, KeepGoing: true}, done: "1", next: 1, rejects: "103",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var done []string
			kept := &rejects{}
			if test.broken {
				kept.err = errors.New("no bucket")
			}
			test.options.Rejects, test.options.Log = kept, slog.New(slog.DiscardHandler)
			h := batch.Each(batch.Kinesis, func(_ context.Context, r decode.Record) error {
				if err := by(string(r.Data)); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				done = append(done, string(r.Data))
				return nil
			}, test.options)
			payload, err := h.Invoke(t.Context(), event(test.records...))
			if next := answered(t, payload, err, len(test.records)); next != test.next {
				t.Errorf("the mapping goes on at %d, want %d (%v)", next, test.next, err)
			}
			if got := strings.Join(done, " "); got != test.done {
				t.Errorf("done is %q, want %q", got, test.done)
			}
			var sequences []string
			for _, r := range kept.kept {
				sequences = append(sequences, r.SequenceNumber)
			}
			if got := strings.Join(sequences, " "); got != test.rejects {
				t.Errorf("set aside is %q, want %q", got, test.rejects)
			}
		})
	}
}

func TestARejectedRecordIsWhole(t *testing.T) {
	kept := &rejects{}
	h := batch.Each(batch.Kinesis, func(_ context.Context, r decode.Record) error { return by(string(r.Data)) },
		batch.Options{Rejects: kept, Log: slog.New(slog.DiscardHandler)})
	if _, err := h.Invoke(t.Context(), event("a=poison")); err != nil {
		t.Fatal(err)
	}
	want := batch.Rejected{
		EventSourceARN: "arn:stream", ShardID: "shardId-7", SequenceNumber: "100", PartitionKey: "a", Reason: "not a record", Data: []byte("poison"),
		ApproximateArrivalTimestamp: time.Date(2026, 1, 1, 0, 0, 0, 5e8, time.UTC),
	}
	if len(kept.kept) != 1 || fmt.Sprint(kept.kept[0]) != fmt.Sprint(want) {
		t.Errorf("kept is %+v, want %+v", kept.kept, want)
	}
}

func TestKeys(t *testing.T) {
	for name, test := range map[string]struct {
		f       func(records []string) error // of key a
		next    int
		rejects int
	}{
		"all succeed":            {func([]string) error { return nil }, 5, 0},
		"an error fails the key": {func([]string) error { return errTransient }, 1, 0},
		"one record of the key":  {func([]string) error { return batch.At(1, errTransient) }, 3, 0},
		"one of them is poison":  {func([]string) error { return batch.At(1, batch.Permanent(errTransient)) }, 5, 1},
		"all of them are poison": {func([]string) error { return batch.Permanent(errTransient) }, 5, 3},
		"poison and failures joined": {func([]string) error {
			return errors.Join(batch.At(0, batch.Permanent(errTransient)), batch.At(2, errTransient))
		}, 4, 1},
		"wrapped in more text":      {func([]string) error { return fmt.Errorf("racer a: %w", batch.Permanent(errTransient)) }, 5, 3},
		"a record that there isn't": {func([]string) error { return batch.At(3, batch.Permanent(errTransient)) }, 1, 0},
		"an At of nil":              {func([]string) error { return batch.At(0, nil) }, 5, 0},
		"Permanent of nil":          {func([]string) error { return batch.Permanent(nil) }, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &rejects{}
			h := batch.Keys(batch.Kinesis, nil, func(_ context.Context, records []decode.Record) error {
				var data []string
				for _, r := range records {
					data = append(data, string(r.Data))
				}
				if records[0].PartitionKey == "b" {
					return nil
				}
				if fmt.Sprint(data) != "[1 2 3]" {
					t.Errorf("the key's records are %q", data)
				}
				return test.f(data)
			}, batch.Options{KeepGoing: true, Rejects: kept, Log: slog.New(slog.DiscardHandler)})
			payload, err := h.Invoke(t.Context(), event("b=x", "a=1", "b=y", "a=2", "a=3"))
			if next := answered(t, payload, err, 5); next != test.next || len(kept.kept) != test.rejects {
				t.Errorf("the mapping goes on at %d and %d are set aside, want %d and %d", next, len(kept.kept), test.next, test.rejects)
			}
		})
	}
}

// The records of a key lie beside those of others, and the answer is made of them all.
func TestAHandlerMayChangeItsRecords(t *testing.T) {
	seen := map[string]int{}
	h := batch.Keys(batch.Kinesis, nil, func(_ context.Context, records []decode.Record) error {
		seen[records[0].PartitionKey] = len(records)
		for _, r := range records {
			if r.PartitionKey != records[0].PartitionKey || r.SequenceNumber == "" {
				t.Errorf("record %s of %s came with %s", r.SequenceNumber, r.PartitionKey, records[0].PartitionKey)
			}
		}
		slices.Reverse(records)
		clear(append(records, decode.Record{}))
		if len(seen) > 1 {
			return errTransient
		}
		clear(records)
		return nil
	}, batch.Options{Log: slog.New(slog.DiscardHandler)})
	payload, err := h.Invoke(t.Context(), event("a=1", "b=1", "a=2", "b=2", "b=3"))
	if next := answered(t, payload, err, 5); next != 1 || seen["a"] != 2 || seen["b"] != 3 {
		t.Errorf("the mapping goes on at %d after %v", next, seen)
	}
}

// Whatever fails, in whatever order the keys are worked off: what lies before the
// place where the mapping goes on was done, once; each key's records were done in
// order, and nothing of a key behind its failure.
func TestNothingIsSkippedAndKeysStayInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return rapid.StringMatching(`[a-e]`).Draw(t, "key") + "=" + rapid.SampledFrom([]string{"ok", "ok", "ok", "ok", "fail", "poison", "panic"}).Draw(t, "data")
		}), 0, 40).Draw(t, "records")
		options := batch.Options{
			Concurrency: rapid.IntRange(0, 5).Draw(t, "concurrency"), KeepGoing: rapid.Bool().Draw(t, "keep going"),
			Rejects: &rejects{}, Log: slog.New(slog.DiscardHandler),
		}
		var mu sync.Mutex
		calls := map[string][]int{} // by key
		busy := map[string]bool{}
		note := func(r *decode.Record, begins bool) {
			mu.Lock()
			defer mu.Unlock()
			if begins == busy[r.PartitionKey] {
				t.Fatalf("two records of %s at once", r.PartitionKey)
			}
			busy[r.PartitionKey] = begins
			if begins {
				var sequence int
				_, _ = fmt.Sscan(r.SequenceNumber, &sequence)
				calls[r.PartitionKey] = append(calls[r.PartitionKey], sequence-100)
			}
		}
		h := batch.Each(batch.Kinesis, func(_ context.Context, r decode.Record) error {
			note(&r, true)
			defer note(&r, false)
			return by(string(r.Data))
		}, options)
		payload, err := h.Invoke(context.Background(), event(records...))
		next := max(0, answered(t, payload, err, len(records)))
		failing := func(i int) bool {
			return strings.HasSuffix(records[i], "fail") || strings.HasSuffix(records[i], "panic")
		}
		if next < len(records) && !failing(next) {
			t.Fatalf("the mapping goes on at %d, which didn't fail, of %q", next, records)
		}
		done := map[int]bool{}
		for key, positions := range calls {
			if !slices.IsSorted(positions) {
				t.Fatalf("the records of %s were done in the order %v", key, positions)
			}
			for n, i := range positions {
				done[i] = true
				if failing(i) && n < len(positions)-1 {
					t.Fatalf("after the failure of record %d, others of its key were done: %v", i, positions)
				}
			}
		}
		for i := range next {
			if !done[i] || failing(i) {
				t.Fatalf("the mapping goes on at %d of %q, but %d wasn't done", next, records, i)
			}
		}
	})
}

func TestABatchStopsBeforeTheFunctionsTimeout(t *testing.T) {
	for _, concurrency := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			h := batch.Each(batch.Kinesis, func(ctx context.Context, r decode.Record) error {
				if string(r.Data) == "slow" {
					<-ctx.Done() // as a call of the SDK does
					return ctx.Err()
				}
				return nil
			}, batch.Options{Concurrency: concurrency, KeepGoing: true, Log: slog.New(slog.DiscardHandler)})
			payload, err := h.Invoke(ctx, event("a=1", "b=slow", "c=2", "b=3"))
			if ctx.Err() != nil {
				t.Error("the answer comes after the function's timeout")
			}
			if next := answered(t, payload, err, 4); next != 1 {
				t.Errorf("the mapping goes on at %d, want at the slow record: %v", next, err)
			}
		})
	}
}

func TestTheLogTellsWhatFailedButNoData(t *testing.T) {
	var log bytes.Buffer
	h := batch.Each(batch.Kinesis, func(_ context.Context, r decode.Record) error {
		if bytes.HasPrefix(r.Data, []byte("secret")) {
			panic("index out of range")
		}
		return nil
	}, batch.Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8476a536"})
	if _, err := h.Invoke(ctx, event("a=1", "a=secret-7")); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, `"requestId":"8476a536"`) {
			t.Errorf("a line without the request's id: %s", line)
		}
	}
	for _, want := range []string{`"panic":"index out of range"`, "batch_test.go", `"sequenceNumber":"101"`, `"shardId":"shardId-7"`, `"from":"100","to":"101"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log has data:\n%s", &log)
	}
}

// What was left out is told, and nothing ends the process.
func TestWhatAHandlerLacksIsToldAndPanicsAreErrors(t *testing.T) {
	quiet := batch.Options{Log: slog.New(slog.DiscardHandler), Concurrency: -1}
	each := func(context.Context, decode.Record) error { return nil }
	keys := func(context.Context, []decode.Record) error { return nil }
	panics := quiet
	panics.Rejects = panicking{}
	for name, test := range map[string]struct {
		handler lambda.Handler
		want    string
	}{
		"Each without a function":    {batch.Each(batch.Kinesis, nil, quiet), "no function"},
		"Keys without a function":    {batch.Keys(batch.DynamoDB, nil, nil, quiet), "no function"},
		"Windows without a function": {batch.Windows[decode.Record, sum](batch.Kinesis, nil, quiet), "no function"},
		"a source of nothing":        {batch.Each(batch.Source[decode.Record]{}, each, quiet), "use Kinesis, UserRecords or DynamoDB"},
		"a key that panics":          {batch.Keys(batch.Kinesis, func(decode.Record) string { panic("no key") }, keys, quiet), "panicked outside of a record: no key"},
		"rejects that panic": {batch.Each(batch.Kinesis, func(context.Context, decode.Record) error {
			return batch.Permanent(errTransient)
		}, panics), "Rejects panicked: no client"},
		"rejects that panic, several keys at once": {batch.Each(batch.Kinesis, func(context.Context, decode.Record) error {
			return batch.Permanent(errTransient)
		}, batch.Options{Log: quiet.Log, Concurrency: 2, Rejects: panicking{}}), "Rejects panicked: no client"},
		"a negative concurrency": {batch.Each(batch.Kinesis, each, quiet), ""},
	} {
		answer, err := test.handler.Invoke(t.Context(), event("a=1", "b=2"))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %s, %v", name, answer, err)
		}
	}
}

type panicking struct{}

func (panicking) Write(context.Context, batch.Rejected) error { panic("no client") }

// A batch is the same to the mapping however odd its records are: many, large, or the
// same one twice.
func TestOddBatches(t *testing.T) {
	many, large := make([]string, 10_000), []string{"a=" + strings.Repeat("x", 1<<20), "a=" + strings.Repeat("y", 10<<20), "b=1"}
	for i := range many {
		many[i] = fmt.Sprintf("%d=%d", i%100, i)
	}
	twice := bytes.ReplaceAll(event("a=1", "a=2", "a=2", "b=3"), []byte(`"102"`), []byte(`"101"`))
	for name, test := range map[string]struct {
		payload []byte
		n       int
		fail    string // the data that fails
		next    int
	}{
		"no records":                         {event(), 0, "", 0},
		"10,000 records":                     {event(many...), 10_000, "", 10_000},
		"10,000 records, one fails":          {event(many...), 10_000, "7777", 7777},
		"records of 1 MiB and 10 MiB":        {event(large...), 3, "", 3},
		"the same record twice":              {twice, 4, "", 4},
		"the same record twice, which fails": {twice, 4, "2", 1},
	} {
		for _, concurrency := range []int{1, 4} {
			var mu sync.Mutex
			done := 0
			h := batch.Each(batch.Kinesis, func(_ context.Context, r decode.Record) error {
				if string(r.Data) == test.fail {
					return errTransient
				}
				mu.Lock()
				defer mu.Unlock()
				done++
				return nil
			}, batch.Options{Concurrency: concurrency, Log: slog.New(slog.DiscardHandler)})
			answer, err := h.Invoke(t.Context(), test.payload)
			if next := answered(t, answer, err, test.n); next != test.next || done < next {
				t.Errorf("%s, concurrency %d: the mapping goes on at %d, want %d, and %d were done (%v)", name, concurrency, next, test.next, done, err)
			}
		}
	}
}

func TestAPayloadThatIsNoEventFailsTheInvocation(t *testing.T) {
	quiet := batch.Options{Log: slog.New(slog.DiscardHandler)}
	records := batch.Each(batch.Kinesis, func(context.Context, decode.Record) error { return nil }, quiet)
	changes := batch.Keys(batch.DynamoDB, nil, func(context.Context, []decode.Change) error { return nil }, quiet)
	windows := batch.Windows(batch.Kinesis, func(context.Context, batch.Window, *sum, []decode.Record) error { return nil }, quiet)
	for name, test := range map[string]struct {
		handler lambda.Handler
		payload []byte
		record  int
	}{
		"a record without its fields":   {records, []byte(`{"Records":[{"kinesis":{}}]}`), 0},
		"an event cut off":              {records, event("a=1", "b=2")[:300], 1},
		"wrong base64":                  {records, bytes.Replace(event("a=1", "b=22"), []byte("MjI="), []byte("MjI"), 1), 1},
		"a change of nothing":           {changes, []byte(`{"Records":[{"eventName":"INSERT"}]}`), 0},
		"a window's event cut off":      {windows, windowed("{}", "", "a=1")[:40], 0},
		"a window's state cut off":      {windows, windowed(`{"count":`, "", "a=1"), -1},
		"a window's wrong base64":       {windows, bytes.Replace(windowed("{}", "", "a=22"), []byte("MjI="), []byte("M==="), 1), 0},
		"a window without its end":      {windows, []byte(`{"Records":[],"window":{"start":"2026-01-01T00:00:00Z"}}`), -1},
		"a window of an unknown flavor": {windows, []byte(`{"Records":[],"window":[]}`), -1},
	} {
		_, err := test.handler.Invoke(t.Context(), test.payload)
		var wrong *decode.Error
		if !errors.As(err, &wrong) || wrong.Record != test.record {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestChangesOfATable(t *testing.T) {
	const change = `{"eventID":"e%d","eventName":"MODIFY","eventSourceARN":"arn:table","dynamodb":{"SequenceNumber":"%d","ApproximateCreationDateTime":1767225600,"Keys":{"race":{"S":%q},"lap":{"N":"%d"}},"NewImage":{"race":{"S":"x"},"deep":{"L":[{"M":{"b":{"B":"AQI="}}},{"NULL":true}]}}}}`
	var all []string
	for i, race := range []string{"monza", "spa", "monza", "monza"} {
		all = append(all, fmt.Sprintf(change, i, 100+i, race, i/3))
	}
	payload := []byte(`{"Records":[` + strings.Join(all, ",") + `]}`)
	kept := &rejects{}
	options := batch.Options{Rejects: kept, KeepGoing: true, Log: slog.New(slog.DiscardHandler)}

	var sizes []int
	items := batch.Keys(batch.DynamoDB, nil, func(_ context.Context, changes []decode.Change) error {
		sizes = append(sizes, len(changes))
		return nil
	}, options)
	if _, err := items.Invoke(t.Context(), payload); err != nil || fmt.Sprint(sizes) != "[2 1 1]" {
		t.Errorf("the items have %v changes, want 2, 1 and 1: %v", sizes, err)
	}
	sizes = nil
	races := batch.Keys(batch.DynamoDB, func(c decode.Change) string { return fmt.Sprint(c.Keys["race"]) }, func(_ context.Context, changes []decode.Change) error {
		sizes = append(sizes, len(changes))
		return batch.At(0, batch.Permanent(errors.New("no such race")))
	}, options)
	answer, err := races.Invoke(t.Context(), payload)
	if next := answered(t, answer, err, 4); next != 4 || len(kept.kept) != 2 {
		t.Errorf("the mapping goes on at %d, %d are set aside", next, len(kept.kept))
	}
	var document map[string]any
	if err := json.Unmarshal(kept.kept[0].Data, &document); err != nil || !strings.Contains(string(kept.kept[0].Data), `"deep":{"L":[{"M":{"b":{"B":"AQI="}}},{"NULL":true}]}`) {
		t.Errorf("the change is kept as %s (%v)", kept.kept[0].Data, err)
	}
}
