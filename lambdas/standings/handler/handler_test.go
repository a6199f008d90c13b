package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/race"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// table is the standings table in memory. Before it takes a write it calls
// fault, which may fail it or wait.
type table struct {
	fault  func(ctx context.Context, racer string) error
	mu     sync.Mutex
	items  map[string]map[string]types.AttributeValue // by race/racer
	writes int
}

func (f *table) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	key := stringOf(in.Key["race"]) + "/" + stringOf(in.Key["racer"])
	if f.fault != nil {
		if err := f.fault(ctx, key); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if condition := aws.ToString(in.ConditionExpression); condition != "attribute_not_exists(#seq) OR #seq < :seq" {
		return nil, fmt.Errorf("unknown condition %q", condition)
	}
	if held, ok := f.items[key]; ok && whole(held["seq"]) >= whole(in.ExpressionAttributeValues[":seq"]) {
		return nil, &types.ConditionalCheckFailedException{}
	}
	item := maps.Clone(in.Key)
	for assignment := range strings.SplitSeq(strings.TrimPrefix(aws.ToString(in.UpdateExpression), "SET "), ", ") {
		name, value, _ := strings.Cut(assignment, " = ")
		item[in.ExpressionAttributeNames[name]] = in.ExpressionAttributeValues[value]
	}
	f.items[key] = item
	f.writes++
	return &dynamodb.UpdateItemOutput{}, nil
}

func (f *table) records(t fataler) race.Fold {
	out := make(race.Fold)
	for _, item := range f.items {
		var r race.Record
		if err := attributevalue.UnmarshalMap(item, &r); err != nil {
			t.Fatal(err)
		}
		out.Add(r)
	}
	return out
}

func stringOf(v types.AttributeValue) string { return v.(*types.AttributeValueMemberS).Value }

func whole(v types.AttributeValue) int {
	n, err := strconv.Atoi(v.(*types.AttributeValueMemberN).Value)
	if err != nil {
		panic(err)
	}
	return n
}

// bucket is the failure bucket in memory.
type bucket struct {
	mu      sync.Mutex
	objects map[string]reject.Document
	err     error
}

func (b *bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	if b.err != nil {
		return nil, b.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var d reject.Document
	err := json.NewDecoder(in.Body).Decode(&d)
	b.objects[aws.ToString(in.Key)] = d
	return &s3.PutObjectOutput{}, err
}

type fixture struct {
	*Handler
	table  *table
	bucket *bucket
}

// handle invokes the function with the event's JSON.
func (f fixture) handle(ctx context.Context, event events.KinesisEvent) (events.KinesisEventResponse, error) {
	var response events.KinesisEventResponse
	payload, err := json.Marshal(event)
	if err != nil {
		return response, err
	}
	answer, err := f.Invoke(ctx, payload)
	if err != nil {
		return response, err
	}
	return response, json.Unmarshal(answer, &response)
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface{ Fatal(args ...any) }

func newFixture(t fataler) fixture {
	f := fixture{
		table:  &table{items: make(map[string]map[string]types.AttributeValue)},
		bucket: &bucket{objects: make(map[string]reject.Document)},
	}
	var err error
	f.Handler, err = New(func(name string) string { return "test-" + name }, f.table, &reject.Writer{Client: f.bucket, Bucket: "test-FAILURE_BUCKET", Function: "test-AWS_LAMBDA_FUNCTION_NAME", Reporter: reject.Reporter{Metrics: io.Discard}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func event(t *testing.T, name string) events.KinesisEvent {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var e events.KinesisEvent
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func seqs(f race.Fold) map[string]int64 {
	out := make(map[string]int64)
	for _, r := range f {
		out[r.PartitionKey()] = r.Seq
	}
	return out
}

// failing makes the writes of the named racers fail.
func failing(racers ...string) func(context.Context, string) error {
	return func(_ context.Context, racer string) error {
		if slices.Contains(racers, racer) {
			return errors.New("the table is on fire")
		}
		return nil
	}
}

func TestTheTableHoldsEachRacersNewestRecord(t *testing.T) {
	want := map[string]int64{"monza/r-0001": 3, "monza/r-0002": 2, "spa/r-0001": 2}
	for _, name := range []string{"good", "duplicated", "out-of-order"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			response, err := f.handle(t.Context(), event(t, name))
			if err != nil || len(response.BatchItemFailures) != 0 {
				t.Fatalf("%+v, %v", response, err)
			}
			if diff := cmp.Diff(want, seqs(f.table.records(t))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if f.table.writes != 3 {
				t.Errorf("%d writes for 3 racers", f.table.writes)
			}
		})
	}
}

func TestAnItemHasEveryFieldOfItsRecord(t *testing.T) {
	f := newFixture(t)
	if _, err := f.handle(t.Context(), event(t, "good")); err != nil {
		t.Fatal(err)
	}
	want := map[string]types.AttributeValue{
		"race": &types.AttributeValueMemberS{Value: "monza"}, "racer": &types.AttributeValueMemberS{Value: "r-0001"},
		"seq": &types.AttributeValueMemberN{Value: "3"}, "at": &types.AttributeValueMemberS{Value: "2026-11-21T10:00:03.123Z"},
		"distance": &types.AttributeValueMemberN{Value: "31.5"}, "speed": &types.AttributeValueMemberN{Value: "14.2"},
		"power": &types.AttributeValueMemberN{Value: "310"},
	}
	if got := f.table.items["monza/r-0001"]; !reflect.DeepEqual(want, got) {
		t.Errorf("want %v, got %v", want, got)
	}
}

func TestReplaysChangeNothing(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"good", "duplicated", "out-of-order", "good"} {
		response, err := f.handle(t.Context(), event(t, name))
		if err != nil || len(response.BatchItemFailures) != 0 {
			t.Fatalf("%s: %+v, %v", name, response, err)
		}
	}
	if f.table.writes != 3 {
		t.Errorf("%d writes for 3 racers: a replay wrote", f.table.writes)
	}
}

func TestRecordsThatAProducerAggregatedAreTakenApart(t *testing.T) {
	want, got := newFixture(t), newFixture(t)
	good := event(t, "good")
	if _, err := want.handle(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	a, err := kpl.NewAggregator(kpl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range good.Records {
		if _, err := a.Add(r.Kinesis.PartitionKey, "", r.Kinesis.Data); err != nil {
			t.Fatal(err)
		}
	}
	good.Records = good.Records[:1]
	good.Records[0].Kinesis.Data = a.Flush()[0].Data
	if response, err := got.handle(t.Context(), good); err != nil || len(response.BatchItemFailures) != 0 {
		t.Fatalf("%+v, %v", response, err)
	}
	if diff := cmp.Diff(want.table.records(t), got.table.records(t)); diff != "" || len(got.bucket.objects) != 0 {
		t.Errorf("%d rejected (-one by one +aggregated)\n%s", len(got.bucket.objects), diff)
	}
}

func TestMalformedRecordsGoToTheBucketAndBlockNothing(t *testing.T) {
	f := newFixture(t)
	e := event(t, "malformed")
	response, err := f.handle(t.Context(), e)
	if err != nil || len(response.BatchItemFailures) != 0 {
		t.Fatalf("%+v, %v", response, err)
	}
	if diff := cmp.Diff(map[string]int64{"monza/r-0001": 2, "monza/r-0002": 1}, seqs(f.table.records(t))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(f.bucket.objects) != 2 {
		t.Errorf("%d rejected, want 2: a keep-alive is no failure", len(f.bucket.objects))
	}
	bad := e.Records[1]
	want := reject.Document{Function: "test-AWS_LAMBDA_FUNCTION_NAME", Rejected: batch.Rejected{
		EventSourceARN: bad.EventSourceArn, ShardID: "shardId-000000000000",
		SequenceNumber: bad.Kinesis.SequenceNumber, PartitionKey: "monza/r-0009",
		ApproximateArrivalTimestamp: time.UnixMilli(1795255200123).UTC(), Data: bad.Kinesis.Data,
	}}
	got := f.bucket.objects["rejected/test-AWS_LAMBDA_FUNCTION_NAME/shardId-000000000000/"+bad.Kinesis.SequenceNumber+".json"]
	for _, field := range []string{"seq", "at", "distance", "speed", "power"} {
		if !strings.Contains(got.Reason, field+":") {
			t.Errorf("the reason %q doesn't name %s", got.Reason, field)
		}
	}
	got.Reason = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestFailuresAreAnsweredByTheLowestPositionConcerned(t *testing.T) {
	for name, c := range map[string]struct {
		event   string
		racers  []string // that fail
		bucket  error
		from    int // position to retry from
		written int
	}{
		"one racer":                 {event: "good", racers: []string{"monza/r-0002"}, from: 1, written: 2},
		"the lowest of two racers":  {event: "good", racers: []string{"spa/r-0001", "monza/r-0002"}, from: 1, written: 1},
		"not its newest record":     {event: "out-of-order", racers: []string{"spa/r-0001"}, from: 2, written: 2},
		"the first record's racer":  {event: "good", racers: []string{"monza/r-0001"}, from: 0, written: 2},
		"everything":                {event: "good", racers: []string{"monza/r-0001", "monza/r-0002", "spa/r-0001"}, from: 0},
		"the failure bucket":        {event: "malformed", bucket: errors.New("no such bucket"), from: 1, written: 2},
		"the bucket before a racer": {event: "malformed", bucket: errors.New("no such bucket"), racers: []string{"monza/r-0002"}, from: 1, written: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.table.fault, f.bucket.err = failing(c.racers...), c.bucket
			e := event(t, c.event)
			response, err := f.handle(t.Context(), e)
			if c.from == 0 {
				if err == nil {
					t.Errorf("no error, but %+v", response)
				}
			} else {
				want := []events.KinesisBatchItemFailure{{ItemIdentifier: e.Records[c.from].Kinesis.SequenceNumber}}
				if diff := cmp.Diff(want, response.BatchItemFailures); err != nil || diff != "" {
					t.Errorf("%v (-want +got)\n%s", err, diff)
				}
			}
			if f.table.writes != c.written {
				t.Errorf("%d racers were written, want %d: a failure must not stop the others", f.table.writes, c.written)
			}
		})
	}
}

func TestAnEmptyEventSucceeds(t *testing.T) {
	response, err := newFixture(t).handle(t.Context(), event(t, "empty"))
	body, _ := json.Marshal(response)
	if err != nil || string(body) != `{"batchItemFailures":[]}` {
		t.Errorf("%s, %v", body, err)
	}
}

func TestItAnswersBeforeTheDeadline(t *testing.T) {
	f := newFixture(t)
	f.table.fault = func(ctx context.Context, racer string) error {
		if racer != "monza/r-0002" {
			return nil
		}
		<-ctx.Done() // a table that doesn't answer
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	e := event(t, "good")
	response, err := f.handle(ctx, e)
	if ctx.Err() != nil {
		t.Error("too late")
	}
	if err != nil || len(response.BatchItemFailures) != 1 || response.BatchItemFailures[0].ItemIdentifier != e.Records[1].Kinesis.SequenceNumber {
		t.Errorf("%+v, %v", response, err)
	}
}

// A record costs (distinct racers in the batch) / (records in the batch) writes.
func TestABatchIsWrittenOncePerRacer(t *testing.T) {
	f := newFixture(t)
	var calls atomic.Int64
	f.table.fault = func(context.Context, string) error {
		calls.Add(1)
		return nil
	}
	const records, racers = 1000, 50
	var e events.KinesisEvent
	for i := range records {
		e.Records = append(e.Records, kinesisRecord(fmt.Sprintf("r-%04d", i%racers), int64(i/racers+1), i))
	}
	for n := range int64(2) { // the second time, the table refuses them
		if _, err := f.handle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got := calls.Load(); got != (n+1)*racers {
			t.Errorf("%d writes after %d batches of %d records of %d racers", got, n+1, records, racers)
		}
	}
}

func TestWritesAreConcurrentWithinBounds(t *testing.T) {
	f := newFixture(t)
	var inFlight, most atomic.Int64
	f.table.fault = func(context.Context, string) error {
		n := inFlight.Add(1)
		defer inFlight.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		return nil
	}
	var e events.KinesisEvent
	for i := range 100 {
		e.Records = append(e.Records, kinesisRecord(fmt.Sprintf("r-%04d", i), 1, i))
	}
	if _, err := f.handle(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if n := most.Load(); n < 2 || n > boot.Concurrency {
		t.Errorf("%d writes at a time", n)
	}
}

// TestNothingIsLost drives the function as a poller with partial answers and
// bisecting does, with faults that come and go, and expects what the producer
// sent in the table.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFixture(t)
		var sent events.KinesisEvent
		want := make(map[string]int64)
		for i := range rapid.IntRange(1, 40).Draw(t, "records") {
			racer := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "racer")
			seq := rapid.Int64Range(1, 9).Draw(t, "seq")
			sent.Records = append(sent.Records, kinesisRecord(racer, seq, i))
			want["monza/"+racer] = max(want["monza/"+racer], seq)
		}
		var mu sync.Mutex
		faults := rapid.SliceOfN(rapid.Bool(), 0, 30).Draw(t, "faults")
		f.table.fault = func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			if len(faults) == 0 {
				return nil
			}
			fault := faults[0]
			faults = faults[1:]
			if fault {
				return errors.New("now and then")
			}
			return nil
		}
		for rest := sent.Records; len(rest) > 0; {
			part := rest[:rapid.IntRange(1, len(rest)).Draw(t, "batch")]
			response, err := f.handle(context.Background(), events.KinesisEvent{Records: part})
			if err != nil {
				if !strings.Contains(err.Error(), "now and then") {
					t.Fatal(err)
				}
				continue // the whole batch again, perhaps split
			}
			done := len(part)
			for _, failure := range response.BatchItemFailures {
				done = slices.IndexFunc(part, func(r events.KinesisEventRecord) bool {
					return r.Kinesis.SequenceNumber == failure.ItemIdentifier
				})
			}
			rest = rest[done:]
		}
		if diff := cmp.Diff(want, seqs(f.table.records(t))); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestMissingEnvironmentIsNamedAtOnce(t *testing.T) {
	_, err := New(func(string) string { return "" }, nil, nil)
	for _, name := range []string{"STANDINGS_TABLE"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v doesn't name %s", err, name)
		}
	}
}

func kinesisRecord(racer string, seq int64, position int) events.KinesisEventRecord {
	data, err := json.Marshal(race.Record{Race: "monza", Racer: racer, Seq: seq, At: time.Unix(seq, 0).UTC()})
	if err != nil {
		panic(err)
	}
	return events.KinesisEventRecord{Kinesis: events.KinesisRecord{
		Data: data, SequenceNumber: fmt.Sprint(10_000 - position), PartitionKey: "monza/" + racer,
		ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: time.Unix(seq, 0)},
	}}
}
