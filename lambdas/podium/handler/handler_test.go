package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/race"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

type item = map[string]types.AttributeValue

// dynamo is both tables in memory. Queries answer two items a page. The faults
// are called with the race before the call does anything.
type dynamo struct {
	beforeGet, beforePut func(ctx context.Context, race string) error

	mu        sync.Mutex
	standings map[string][]item // by race
	podiums   map[string]item   // by race
	puts      int
	queries   int // of whole races
	lookUps   int // of one racer
}

func (d *dynamo) GetItem(ctx context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	name := text(in.Key["race"])
	if d.beforeGet != nil {
		if err := d.beforeGet(ctx, name); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !aws.ToBool(in.ConsistentRead) || aws.ToString(in.TableName) != "test-PODIUMS_TABLE" {
		return nil, fmt.Errorf("inconsistent, or of table %s", aws.ToString(in.TableName))
	}
	return &dynamodb.GetItemOutput{Item: d.podiums[name]}, nil
}

func (d *dynamo) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	name := text(in.Item["race"])
	if d.beforePut != nil {
		if err := d.beforePut(ctx, name); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	held, exists := d.podiums[name]
	var met bool
	switch condition := aws.ToString(in.ConditionExpression); condition {
	case "attribute_not_exists(#version)":
		met = !exists
	case "#version = :held":
		met = exists && number(held["version"]) == number(in.ExpressionAttributeValues[":held"])
	default:
		return nil, fmt.Errorf("unknown condition %q", condition)
	}
	if !met {
		return nil, &types.ConditionalCheckFailedException{}
	}
	d.podiums[name] = in.Item
	d.puts++
	return &dynamodb.PutItemOutput{}, nil
}

func (d *dynamo) Query(_ context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !aws.ToBool(in.ConsistentRead) || aws.ToString(in.TableName) != "test-STANDINGS_TABLE" {
		return nil, fmt.Errorf("inconsistent, or of table %s", aws.ToString(in.TableName))
	}
	items := d.standings[text(in.ExpressionAttributeValues[":race"])]
	if racer := in.ExpressionAttributeValues[":racer"]; racer != nil {
		d.lookUps++
		items = slices.DeleteFunc(slices.Clone(items), func(i item) bool { return text(i["racer"]) != text(racer) })
		return &dynamodb.QueryOutput{Items: items}, nil
	}
	from := 0
	if in.ExclusiveStartKey == nil {
		d.queries++
	} else {
		from = slices.IndexFunc(items, func(i item) bool { return text(i["racer"]) == text(in.ExclusiveStartKey["racer"]) }) + 1
	}
	to := min(from+2, len(items))
	out := &dynamodb.QueryOutput{Items: items[from:to]}
	if to < len(items) {
		out.LastEvaluatedKey = item{"race": items[to-1]["race"], "racer": items[to-1]["racer"]}
	}
	return out, nil
}

// podium is what a reader of the table sees, as "racer:distance" in order.
func (d *dynamo) podium(t *testing.T, name string) (places []string, version int64) {
	t.Helper()
	var p race.Podium
	if err := attributevalue.UnmarshalMap(d.podiums[name], &p); err != nil {
		t.Fatal(err)
	}
	for _, place := range p.Top {
		places = append(places, fmt.Sprintf("%s:%v", place.Racer, place.Distance))
	}
	return places, p.Version
}

// put sets a racer's item in the standings.
func (d *dynamo) put(t *testing.T, r race.Record) {
	t.Helper()
	d.remove(r.Race, r.Racer)
	record, err := attributevalue.MarshalMap(r)
	if err != nil {
		t.Fatal(err)
	}
	d.standings[r.Race] = append(d.standings[r.Race], record)
}

func (d *dynamo) remove(name, racer string) {
	d.standings[name] = slices.DeleteFunc(d.standings[name], func(i item) bool { return text(i["racer"]) == racer })
}

func number(v types.AttributeValue) string { return v.(*types.AttributeValueMemberN).Value }

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
	*dynamo
	bucket *bucket
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	f := fixture{
		dynamo: &dynamo{standings: make(map[string][]item), podiums: make(map[string]item)},
		bucket: &bucket{objects: make(map[string]reject.Document)},
	}
	var err error
	f.Handler, err = New(func(name string) string { return "test-" + name }, f.dynamo, &reject.Writer{Client: f.bucket, Bucket: "test-FAILURE_BUCKET", Function: "test-AWS_LAMBDA_FUNCTION_NAME", Reporter: reject.Reporter{Metrics: io.Discard}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// handle invokes the function with the event's JSON.
func (f fixture) handle(ctx context.Context, event events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	var response events.DynamoDBEventResponse
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

// mustHandle applies the event to the standings and hands it to the function.
func (f fixture) mustHandle(t *testing.T, e events.DynamoDBEvent) {
	t.Helper()
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	read, err := decode.DynamoDB(payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range read.Records {
		change, err := readChange(r)
		switch {
		case err != nil:
		case change.Removed:
			f.remove(raceOf(r), change.Racer)
		default:
			record, err := readItem(r.NewImage)
			if err != nil {
				t.Fatal(err)
			}
			f.put(t, record)
		}
	}
	response, err := f.handle(t.Context(), e)
	if err != nil || len(response.BatchItemFailures) != 0 {
		t.Fatalf("%+v, %v", response, err)
	}
}

func event(t *testing.T, name string) events.DynamoDBEvent {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var e events.DynamoDBEvent
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

var afterInsert = []string{
	"r-0012:120", "r-0011:110", "r-0010:100", "r-0009:90", "r-0008:80", "r-0007:70", "r-0006:60", "r-0005:50", "r-0004:40", "r-0003:30",
}

func TestThePodiumFollowsTheStandings(t *testing.T) {
	f := newFixture(t)
	f.mustHandle(t, event(t, "insert"))
	monza, version := f.podium(t, "monza")
	equal(t, "inserted", afterInsert, monza)
	equal(t, "version", int64(1), version)
	spa, _ := f.podium(t, "spa")
	equal(t, "a race of its own", []string{"r-0001:5.5"}, spa)

	queries := f.queries
	lookUps := f.lookUps
	f.mustHandle(t, event(t, "modify"))
	monza, version = f.podium(t, "monza")
	equal(t, "who gets on the podium is looked up", lookUps+1, f.lookUps)
	equal(t, "modified", append([]string{"r-0001:500.25", "r-0012:130"}, afterInsert[1:9]...), monza)
	equal(t, "version", int64(2), version)
	equal(t, "merging reads no race", queries, f.queries)

	f.mustHandle(t, event(t, "remove"))
	monza, _ = f.podium(t, "monza")
	equal(t, "removed: the next one moves up", append([]string{"r-0001:500.25"}, afterInsert[1:]...), monza)
}

func TestReplaysChangeNothing(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"insert", "modify", "remove"} {
		f.mustHandle(t, event(t, name))
	}
	want, _ := f.podium(t, "monza")
	for _, name := range []string{"modify", "remove"} { // from an earlier point, in order
		if response, err := f.handle(t.Context(), event(t, name)); err != nil || len(response.BatchItemFailures) != 0 {
			t.Fatalf("%+v, %v", response, err)
		}
	}
	got, _ := f.podium(t, "monza")
	equal(t, "podium", want, got)
	puts := f.puts
	f.mustHandle(t, events.DynamoDBEvent{Records: event(t, "modify").Records[:1]})
	equal(t, "an unchanged podium isn't written", puts, f.puts)
}

// Changes that come long after later ones, out of the failure bucket for instance,
// let nobody in who has fallen back or left since. The simulation found it.
func TestALateChangeLetsNobodyIn(t *testing.T) {
	f := newFixture(t)
	f.mustHandle(t, event(t, "insert"))
	f.mustHandle(t, event(t, "remove")) // r-0012 leaves
	f.put(t, race.Record{Race: "monza", Racer: "r-0001", Seq: 9, At: time.Unix(9, 0).UTC(), Distance: 1})
	want, _ := f.podium(t, "monza")
	// r-0001 advances, and so does r-0012
	if response, err := f.handle(t.Context(), event(t, "modify")); err != nil || len(response.BatchItemFailures) != 0 {
		t.Fatalf("%+v, %v", response, err)
	}
	got, _ := f.podium(t, "monza")
	equal(t, "podium", want, got)
}

func TestARaceThatIsOlderThanItsPodiumIsReadWhole(t *testing.T) {
	f := newFixture(t)
	f.put(t, race.Record{Race: "spa", Racer: "r-0099", Seq: 7, At: time.Unix(7, 0).UTC(), Distance: 77})
	f.mustHandle(t, event(t, "insert"))
	spa, _ := f.podium(t, "spa")
	equal(t, "podium", []string{"r-0099:77", "r-0001:5.5"}, spa)
}

func TestAnUnreadableItemDoesNotStopItsRace(t *testing.T) {
	f := newFixture(t)
	f.standings["spa"] = []item{{"race": &types.AttributeValueMemberS{Value: "spa"}, "racer": &types.AttributeValueMemberS{Value: "broken"}}}
	f.mustHandle(t, event(t, "insert"))
	spa, _ := f.podium(t, "spa")
	equal(t, "podium", []string{"r-0001:5.5"}, spa)
}

func TestUnreadableChangesGoToTheBucketAndBlockNothing(t *testing.T) {
	f := newFixture(t)
	f.mustHandle(t, event(t, "insert"))
	e := event(t, "unreadable")
	f.mustHandle(t, e)
	monza, _ := f.podium(t, "monza")
	equal(t, "podium", append([]string{"r-0001:500.25", "r-0002:400"}, afterInsert[:8]...), monza)
	equal(t, "rejected", 5, len(f.bucket.objects))

	bad := e.Records[1]
	got := f.bucket.objects["rejected/test-AWS_LAMBDA_FUNCTION_NAME/"+bad.EventID+"/"+bad.Change.SequenceNumber+".json"]
	if !strings.Contains(got.Reason, "wrong type") || strings.Contains(got.Reason, "far") {
		t.Errorf("reason %q", got.Reason)
	}
	var change events.DynamoDBStreamRecord
	if err := json.Unmarshal(got.Data, &change); err != nil || change.NewImage["distance"].String() != "far" {
		t.Errorf("the document doesn't hold the change: %s, %v", got.Data, err)
	}
	equal(t, "key", `{"race":{"S":"monza"},"racer":{"S":"r-0003"}}`, got.PartitionKey)
	equal(t, "source", bad.EventSourceArn, got.EventSourceARN)
}

func TestFailuresAreAnsweredByTheLowestPositionConcerned(t *testing.T) {
	broken := func(races ...string) func(context.Context, string) error {
		return func(_ context.Context, name string) error {
			if slices.Contains(races, name) {
				return errors.New("the table is on fire")
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		event    string
		get, put func(context.Context, string) error
		bucket   error
		from     int // position to retry from
		written  string
	}{
		"a race can't be read":    {event: "insert", get: broken("spa"), from: 12, written: "monza"},
		"a race can't be written": {event: "insert", put: broken("spa"), from: 12, written: "monza"},
		"the first record's race": {event: "insert", put: broken("monza"), from: 0, written: "spa"},
		"every race":              {event: "insert", put: broken("monza", "spa"), from: 0},
		"the failure bucket":      {event: "unreadable", bucket: errors.New("no such bucket"), from: 1, written: "monza"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.beforeGet, f.beforePut, f.bucket.err = c.get, c.put, c.bucket
			e := event(t, c.event)
			response, err := f.handle(t.Context(), e)
			if c.from == 0 {
				if err == nil {
					t.Errorf("no error, but %+v", response)
				}
			} else if err != nil {
				t.Error(err)
			} else {
				equal(t, "answer", []events.DynamoDBBatchItemFailure{{ItemIdentifier: e.Records[c.from].Change.SequenceNumber}}, response.BatchItemFailures)
			}
			if c.written != "" && f.podiums[c.written] == nil {
				t.Errorf("the failure kept %s from being written", c.written)
			}
		})
	}
}

// TestAConflictIsMergedAnew lets somebody else write the podium between the
// function's read and its write.
func TestAConflictIsMergedAnew(t *testing.T) {
	f := newFixture(t)
	f.mustHandle(t, event(t, "insert"))
	conflicts := 3
	f.beforePut = func(context.Context, string) error {
		if conflicts == 0 {
			return nil
		}
		conflicts--
		f.mu.Lock()
		defer f.mu.Unlock()
		var p race.Podium
		if err := attributevalue.UnmarshalMap(f.podiums["monza"], &p); err != nil {
			return err
		}
		p.Version++
		p.Top[0].Distance++ // r-0012, up to 123
		var err error
		f.podiums["monza"], err = attributevalue.MarshalMap(p)
		return err
	}
	f.mustHandle(t, events.DynamoDBEvent{Records: event(t, "modify").Records[:1]})
	monza, version := f.podium(t, "monza")
	equal(t, "both writes count", append([]string{"r-0001:500.25", "r-0012:123"}, afterInsert[1:9]...), monza)
	equal(t, "version", int64(5), version)
}

func TestEndlessConflictsAreAFailure(t *testing.T) {
	f := newFixture(t)
	tries := 0
	f.beforePut = func(context.Context, string) error {
		tries++
		return &types.ConditionalCheckFailedException{}
	}
	if _, err := f.handle(t.Context(), event(t, "remove")); !errors.Is(err, errConflict) || tries != attempts {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestItAnswersBeforeTheDeadline(t *testing.T) {
	f := newFixture(t)
	f.beforeGet = func(ctx context.Context, name string) error {
		if name == "monza" {
			return nil
		}
		<-ctx.Done() // a table that doesn't answer
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	response, err := f.handle(ctx, event(t, "insert"))
	if ctx.Err() != nil || err != nil || len(response.BatchItemFailures) != 1 {
		t.Errorf("%+v, %v, %v", response, err, ctx.Err())
	}
}

func TestAnEmptyEventSucceeds(t *testing.T) {
	response, err := newFixture(t).handle(t.Context(), event(t, "empty"))
	body, _ := json.Marshal(response)
	if err != nil || string(body) != `{"batchItemFailures":[]}` {
		t.Errorf("%s, %v", body, err)
	}
}

func TestMissingEnvironmentIsNamedAtOnce(t *testing.T) {
	_, err := New(func(string) string { return "" }, nil, nil)
	for _, name := range []string{"STANDINGS_TABLE", "PODIUMS_TABLE"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v doesn't name %s", err, name)
		}
	}
}
