package esm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// settings are Lambda's defaults, with a budget of retries and a destination.
func settings(change ...func(*Settings)) *Settings {
	s := &Settings{
		UUID: "11111111-2222-3333-4444-555555555555", SourceARN: "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
		FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:bill", Region: "us-east-1", OnFailure: "arn:aws:s3:::failures",
		Start: Position{Type: "TRIM_HORIZON"}, BatchSize: 100, Parallelization: 1, MaximumRetryAttempts: 3, MaximumRecordAge: Unlimited,
	}
	for _, f := range change {
		f(s)
	}
	if err := s.Validate(); err != nil {
		panic(err)
	}
	return s
}

func records(keys ...string) []Record {
	all := make([]Record, len(keys))
	for i, key := range keys {
		all[i] = Record{Sequence: fmt.Sprintf("%056d", i), Key: key, Arrival: start, Data: []byte(key)}
	}
	return all
}

// run does every task of a shard, with a clock that jumps to where something is due.
type run struct {
	*Shard
	now      time.Time
	answer   func(*Task) Outcome
	report   func(*Task) error
	batches  []string // the data of each invocation
	reported []*Task
}

func (r *run) drain(closed bool) {
	for {
		r.CaughtUp(r.now)
		task, at := r.Next(r.now, closed)
		switch {
		case task == nil && at.IsZero():
			return
		case task == nil:
			if at.After(start.Add(1000 * time.Hour)) {
				return
			}
			r.now = at
		case task.Kind == Invoke:
			var data []string
			for _, rec := range task.Records {
				data = append(data, string(rec.Data))
			}
			r.batches = append(r.batches, strings.Join(data, ""))
			r.Invoked(r.now, task, r.answer(task))
		default:
			var err error
			if r.report != nil {
				err = r.report(task)
			}
			if err == nil {
				r.reported = append(r.reported, task)
			}
			r.Reported(r.now, task, err)
		}
	}
}

func ok(*Task) Outcome { return Outcome{} }

// throws is a function that fails on a batch that holds data.
func throws(data string) func(*Task) Outcome {
	return func(t *Task) Outcome {
		for _, r := range t.Records {
			if string(r.Data) == data {
				return Outcome{FunctionError: "Unhandled", ExecutedVersion: "$LATEST", RequestID: "request"}
			}
		}
		return Outcome{}
	}
}

// names is a function that answers with the identifier of the first record that holds data.
func names(data string) func(*Task) Outcome {
	return func(t *Task) Outcome {
		for _, r := range t.Records {
			if string(r.Data) == data {
				return Outcome{Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"` + r.Sequence + `"}]}`)}
			}
		}
		return Outcome{Payload: []byte(`{"batchItemFailures":[]}`)}
	}
}

func TestBatchesEndAtTheirSizeAndWindow(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.BatchSize, s.Window = 2, time.Minute }), "shardId-0"), now: start, answer: ok}
	r.Offer(start, records("a", "b", "c"))
	if task, _ := r.Next(start, false); task == nil || len(task.Records) != 2 {
		t.Fatalf("a full batch waits: %+v", task)
	} else {
		r.Invoked(start, task, Outcome{})
	}
	task, at := r.Next(start.Add(59*time.Second), false)
	if task != nil || !at.Equal(start.Add(time.Minute)) {
		t.Fatalf("got %+v, due at %v", task, at)
	}
	if task, _ := r.Next(at, false); task == nil || len(task.Records) != 1 {
		t.Fatalf("the window is over: %+v", task)
	}
}

func TestABatchEndsAtSixMegabytes(t *testing.T) {
	r := &run{Shard: NewShard(settings(), "shardId-0"), now: start, answer: ok}
	big := make([]Record, 10)
	for i := range big {
		big[i] = Record{Sequence: fmt.Sprint(i), Key: "k", Arrival: start, Data: make([]byte, 1_000_000)}
	}
	r.Offer(start, big)
	count := 0
	for task, _ := r.Next(start, false); task != nil; task, _ = r.Next(start, false) {
		count++
		if size := len(task.Payload()); size > MaximumPayload || size < MaximumPayload/2 && count == 1 {
			t.Errorf("a payload of %d bytes", size)
		}
		r.Invoked(start, task, Outcome{})
	}
	if count != 3 { // four of 1.33 MB each, four, two
		t.Errorf("%d invocations", count)
	}
}

// As recorded against AWS: a batch of three with three retries whose second record
// is poison sees it five times, and reports four invocations.
func TestProgressOfThePartialAnswerRenewsTheBudget(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.Partial = true }), "shardId-0"), now: start, answer: names("P")}
	r.Offer(start, records("a", "P", "c"))
	r.drain(false)
	if want := []string{"aPc", "Pc", "Pc", "Pc", "Pc"}; !slices.Equal(r.batches, want) {
		t.Errorf("invocations %q, want %q", r.batches, want)
	}
	if len(r.reported) != 1 {
		t.Fatalf("%d reports", len(r.reported))
	}
	f := r.reported[0].Failure
	if f.RequestContext.ApproximateInvokeCount != 4 || f.RequestContext.Condition != "RetryAttemptsExhausted" || f.ResponseContext.FunctionError != nil {
		t.Errorf("failure: %+v %+v", f.RequestContext, f.ResponseContext)
	}
	if f.Kinesis.BatchSize != 2 || f.Kinesis.Start != records("a", "P")[1].Sequence {
		t.Errorf("batch: %+v", f.Kinesis)
	}
	if !r.Drained() || r.Checkpoint() != records("a", "P", "c")[2].Sequence {
		t.Errorf("drained %v at %s", r.Drained(), r.Checkpoint())
	}
}

func TestBisectingIsolatesAPoisonRecordWithoutTakingRetries(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.Bisect, s.MaximumRetryAttempts = true, 1 }), "shardId-0"), now: start, answer: throws("P")}
	r.Offer(start, records("a", "b", "P", "d"))
	r.drain(false)
	if want := []string{"abPd", "ab", "Pd", "P", "P", "d"}; !slices.Equal(r.batches, want) {
		t.Errorf("invocations %q, want %q", r.batches, want)
	}
	if len(r.reported) != 1 || string(r.reported[0].Records[0].Data) != "P" || *r.reported[0].Failure.ResponseContext.FunctionError != "Unhandled" {
		t.Errorf("reports: %+v", r.reported)
	}
}

// As recorded against AWS: progress first, and halves once there is none.
func TestAPartialAnswerIsBisectedWhereItMakesNoProgress(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.Partial, s.Bisect, s.MaximumRetryAttempts = true, true, 1 }), "shardId-0"), now: start, answer: names("P")}
	r.Offer(start, records("a", "P", "c", "d"))
	r.drain(false)
	if want := []string{"aPcd", "Pcd", "P", "P", "cd"}; !slices.Equal(r.batches, want) || len(r.reported) != 1 || len(r.reported[0].Records) != 1 {
		t.Errorf("invocations %q, want %q; reports %+v", r.batches, want, r.reported)
	}
}

func TestWithoutBisectingTheWholeBatchIsGivenUp(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.MaximumRetryAttempts = 2 }), "shardId-0"), now: start, answer: throws("P")}
	r.Offer(start, records("a", "P"))
	r.drain(false)
	if want := []string{"aP", "aP", "aP"}; !slices.Equal(r.batches, want) || len(r.reported) != 1 || len(r.reported[0].Records) != 2 {
		t.Errorf("invocations %q, reports %+v", r.batches, r.reported)
	}
}

func TestOldRecordsAreGivenUpBeforeTheyAreHandedOver(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.MaximumRecordAge = time.Hour }), "shardId-0"), now: start.Add(90 * time.Minute), answer: ok}
	all := records("a", "b", "c")
	all[2].Arrival = start.Add(time.Hour)
	r.Offer(r.now, all)
	r.drain(false)
	if !slices.Equal(r.batches, []string{"c"}) || len(r.reported) != 1 {
		t.Fatalf("invocations %q, reports %+v", r.batches, r.reported)
	}
	if f := r.reported[0].Failure; f.RequestContext.Condition != "RecordAgeExceeded" || f.ResponseContext != nil || f.RequestContext.ApproximateInvokeCount != 1 || f.Kinesis.BatchSize != 2 || f.RequestContext.RequestID == "" {
		t.Errorf("failure: %+v", f)
	}
}

func TestThrottlesTakeNoRetries(t *testing.T) {
	throttled := 20
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.MaximumRetryAttempts = 0 }), "shardId-0"), now: start}
	r.answer = func(*Task) Outcome {
		if throttled > 0 {
			throttled--
			return Outcome{Err: errors.New("throttled")}
		}
		return Outcome{}
	}
	r.Offer(start, records("a"))
	r.drain(false)
	if len(r.reported) != 0 || r.Counts.Invocations != 1 || r.now.Sub(start) < time.Minute {
		t.Errorf("reports %v, counts %+v, after %v", r.reported, r.Counts, r.now.Sub(start))
	}
	if r.Counts.InvokedEventCount != 21 || r.Counts.FailedInvokeEventCount != 20 || r.Counts.Errors != 0 {
		t.Errorf("counts %+v", r.Counts)
	}
}

// As recorded against AWS with two retries.
func TestARecordOverSixMegabytesIsGivenUpWithoutAnInvocation(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.MaximumRetryAttempts = 2 }), "shardId-0"), now: start, answer: ok}
	all := records("a", "large", "c")
	all[1].Data = make([]byte, 5<<20)
	r.Offer(start, all)
	r.drain(false)
	if !slices.Equal(r.batches, []string{"a", "c"}) || len(r.reported) != 1 || r.Counts.Invocations != 2 {
		t.Fatalf("invocations %.99q, reports %d, counts %+v", r.batches, len(r.reported), r.Counts)
	}
	f := r.reported[0].Failure
	if f.RequestContext.Condition != "RetryAttemptsExhausted" || f.RequestContext.ApproximateInvokeCount != 3 || f.RequestContext.RequestID == "" || f.ResponseContext != nil {
		t.Errorf("failure %+v %+v", f.RequestContext, f.ResponseContext)
	}
}

func TestTheAgeOfTheIteratorIsThatOfTheLastRecord(t *testing.T) {
	r := &run{Shard: NewShard(settings(), "shardId-0")}
	all := records("a", "b")
	all[1].Arrival = start.Add(10 * time.Second)
	r.Offer(start, all)
	task, _ := r.Next(start.Add(time.Minute), false)
	r.Invoked(start.Add(90*time.Second), task, Outcome{})
	if r.IteratorAge != 80*time.Second {
		t.Errorf("%v", r.IteratorAge)
	}
}

func TestAnswersAreReadAsLambdaReadsThem(t *testing.T) {
	all := records("a", "b")
	for answer, want := range map[string]string{
		``: "ok", `null`: "ok", `{}`: "ok", `{"batchItemFailures":null}`: "ok", `{"batchItemFailures":[]}`: "ok",
		`{"batchItemFailures":[{"itemIdentifier":"` + all[1].Sequence + `"}]}`:                                              "from 1",
		`{"batchItemFailures":[{"itemIdentifier":"` + all[1].Sequence + `"},{"itemIdentifier":"` + all[0].Sequence + `"}]}`: "from 0",
		`{"batchItemFailures":[{"itemIdentifier":""}]}`:                                                                     "from 0",
		`{"batchItemFailures":[{"itemIdentifier":null}]}`:                                                                   "from 0",
		`{"batchItemFailures":[{"itemIdentifier":7}]}`:                                                                      "from 0",
		`{"batchItemFailures":[{"itemIdentifier":"unknown"}]}`:                                                              "from 0",
		`{"batchItemFailures":[{"ItemID":"` + all[1].Sequence + `"}]}`:                                                      "from 0",
		`{"batchItemFailures":[{"itemIdentifier":"unknown"},{"itemIdentifier":"` + all[1].Sequence + `"}]}`:                 "from 0",
		`{"batchItemFailures":[{"ItemIdentifier":"` + all[1].Sequence + `"}]}`:                                              "from 0",
		`{"batchItemFailures":[null]}`:                                                                                      "from 0",
		`{"batchItemFailures":[],"batchItemfailures":"all"}`:                                                                "ok",
		`{"batchItemFailures":"all"}`:                                                                                       "from 0",
		`[]`:                                                                                                                "ok",
		`["done"]`:                                                                                                          "from 0",
		`"done"`:                                                                                                            "from 0",
	} {
		s := NewShard(settings(func(s *Settings) { s.Partial = true }), "shardId-0")
		_, good, from := s.judge(&Task{Batch: Batch{Records: all}}, Outcome{Payload: []byte(answer)})
		got := "ok"
		if !good {
			got = fmt.Sprint("from ", from)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", answer, got, want)
		}
	}
}

func TestWithoutPartialAnswersNothingIsReadIntoAnAnswer(t *testing.T) {
	s := NewShard(settings(), "shardId-0")
	for _, answer := range []string{`{"batchItemFailures":[{"itemIdentifier":"unknown"}]}`, `{"batchItemFailures":"all"}`, `[]`, `["done"]`, `"done"`, `no JSON`} {
		if _, good, _ := s.judge(&Task{Batch: Batch{Records: records("a")}}, Outcome{Payload: []byte(answer)}); !good {
			t.Errorf("%s fails the batch", answer)
		}
	}
}

func TestTumblingWindowsCarryTheirStateAndEnd(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.BatchSize, s.Tumbling = 2, time.Minute }), "shardId-0"), now: start.Add(10 * time.Second)}
	var seen []string
	r.answer = func(task *Task) Outcome {
		var event events.KinesisTimeWindowEvent
		w := task.Window
		if !w.Final { // the state of this event is a map of texts in aws-lambda-go
			if err := json.Unmarshal(task.Payload(), &event); err != nil {
				t.Error(err)
			}
		}
		var state struct{ N string }
		if err := json.Unmarshal(w.State, &state); err != nil {
			t.Error(err)
		}
		seen = append(seen, fmt.Sprintf("%s n=%s +%d final=%v", w.Start.Format("15:04"), state.N, len(task.Records), w.Final))
		return Outcome{Payload: fmt.Appendf(nil, `{"state":{"n":"%s%d"}}`, state.N, len(task.Records))}
	}
	all := records("a", "b", "c", "d")
	all[3].Arrival = start.Add(61 * time.Second)
	r.Offer(r.now, all)
	r.drain(false)
	want := []string{"12:00 n= +2 final=false", "12:00 n=2 +1 final=false", "12:00 n=21 +0 final=true", "12:01 n= +1 final=false", "12:01 n=1 +0 final=true"}
	if !slices.Equal(seen, want) {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
	if !r.Drained() || !r.now.Equal(start.Add(4*time.Minute)) {
		t.Errorf("drained %v at %v: Lambda waits two minutes for more of a window", r.Drained(), r.now)
	}
}

// state answers with how many records the window had.
func state(task *Task) Outcome {
	var n int
	_ = json.Unmarshal(task.Window.State, &n)
	return Outcome{Payload: fmt.Appendf(nil, `{"state":%d}`, n+len(task.Records))}
}

func TestARecordThatIsReadLateJoinsItsWindow(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.Tumbling = time.Minute }), "shardId-0"), now: start}
	r.answer = func(task *Task) Outcome {
		if task.Window.Final && string(task.Window.State) != "2" {
			t.Errorf("the window ends with %s", task.Window.State)
		}
		return state(task)
	}
	all := records("a", "b")
	r.Offer(start, all[:1])
	task, _ := r.Next(start, false)
	r.Invoked(start, task, r.answer(task))
	r.now = start.Add(70 * time.Second)
	r.Offer(r.now, all[1:])
	r.drain(false)
	if !slices.Equal(r.batches, []string{"b", ""}) {
		t.Errorf("invocations %q", r.batches)
	}
}

func TestTheCheckpointStaysBeforeAnOpenWindow(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.BatchSize, s.Tumbling = 1, time.Minute }), "shardId-0"), now: start, answer: state}
	all := records("a", "b", "c")
	all[1].Arrival, all[2].Arrival = start.Add(time.Minute), start.Add(time.Minute)
	r.Offer(start, all)
	for _, want := range []string{"", "", all[0].Sequence, all[0].Sequence} { // a, its window's end, b, c
		task, _ := r.Next(r.now, false)
		if got := r.Checkpoint(); got != want && !task.Window.Final {
			t.Errorf("the checkpoint is %q, want %q", got, want)
		}
		r.Invoked(r.now, task, state(task))
	}
	if r.Checkpoint() != all[0].Sequence {
		t.Errorf("the checkpoint is %q in an open window", r.Checkpoint())
	}
	r.drain(true)
	if r.Checkpoint() != all[2].Sequence {
		t.Errorf("the checkpoint is %q after all windows", r.Checkpoint())
	}
}

// As recorded against AWS: the budget of retries holds for it, too.
func TestAWindowsLastInvocationIsGivenUp(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.Tumbling, s.MaximumRetryAttempts = time.Minute, 1 }), "shardId-0"), now: start}
	r.answer = func(task *Task) Outcome {
		if task.Window.Final && task.Window.Start.Equal(start) {
			return Outcome{FunctionError: "Unhandled", ExecutedVersion: "1", RequestID: "request"}
		}
		return state(task)
	}
	all := records("a", "b")
	all[1].Arrival = start.Add(time.Minute)
	r.Offer(start, all)
	r.drain(true)
	if !slices.Equal(r.batches, []string{"a", "", "", "b", ""}) || len(r.reported) != 1 || !r.Drained() {
		t.Fatalf("invocations %q, %d reports", r.batches, len(r.reported))
	}
	task := r.reported[0]
	_, body := task.Failure.Object("mapping", task.Shard, "id", task.Payload())
	want := `{"requestContext":{"requestId":"request","functionArn":"arn:aws:lambda:us-east-1:000000000000:function:bill","condition":"RetryAttemptsExhausted","approximateInvokeCount":2},` +
		`"responseContext":{"statusCode":200,"executedVersion":"1","functionError":"Unhandled"},"version":"1.0",` +
		`"payload":"{\"Records\":[],\"shardId\":\"shardId-0\",\"eventSourceARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/orders\",` +
		`\"window\":{\"start\":\"2026-01-01T12:00:00Z\",\"end\":\"2026-01-01T12:01:00Z\"},\"state\":1,\"isFinalInvokeForWindow\":true,\"isWindowTerminatedEarly\":false}",` +
		`"timestamp":"2026-01-01T12:00:00.200Z","KinesisBatchInfo":{"shardId":"shardId-0","streamArn":"arn:aws:kinesis:us-east-1:000000000000:stream/orders"},` +
		`"timeWindowInfo":{"window":{"start":"2026-01-01T12:00:00Z","end":"2026-01-01T12:01:00Z"},"isFinalInvokeForWindow":true,"isWindowTerminatedEarly":false}}`
	if string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
}

// Else what had arrived in the window and wasn't read yet makes another window of the
// same time, whose result takes the place of the first one's.
func TestAWindowStaysOpenWhileItsShardCantBeRead(t *testing.T) {
	s := NewShard(settings(func(s *Settings) { s.Tumbling = time.Minute }), "shardId-0")
	s.Offer(start, records("a"))
	task, _ := s.Next(start, false)
	s.Invoked(start, task, Outcome{Payload: []byte(`{"state":{}}`)})
	s.CaughtUp(start.Add(30 * time.Second))
	later := start.Add(time.Hour)
	// Nor is it due in the past, which would have the poller spin.
	if task, at := s.Next(later, false); task != nil || !at.IsZero() {
		t.Fatalf("a window that the reader isn't through with got %+v, or is due at %v", task, at)
	}
	s.CaughtUp(later)
	if task, _ := s.Next(later, false); task == nil || !task.Window.Final {
		t.Fatalf("the window is over, and got %+v", task)
	}
}

func TestAStateOverAMegabyteEndsItsWindowEarly(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.BatchSize, s.Tumbling = 1, time.Minute }), "shardId-0"), now: start}
	var seen []string
	r.answer = func(task *Task) Outcome {
		seen = append(seen, fmt.Sprintf("%d final=%v early=%v", len(task.Window.State)>>20, task.Window.Final, task.Window.Early))
		return Outcome{Payload: []byte(`{"state":"` + strings.Repeat("x", MaximumState) + `"}`)}
	}
	r.Offer(start, records("a", "b"))
	r.drain(true)
	want := []string{"0 final=false early=false", "1 final=true early=true", "0 final=false early=false", "1 final=true early=true"}
	if !slices.Equal(seen, want) {
		t.Errorf("got %q", seen)
	}
}

func TestABatchMakesRoomForItsWindowsState(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.Tumbling, s.Partial = time.Minute, true }), "shardId-0"), now: start}
	state := `"` + strings.Repeat("x", MaximumState-2) + `"`
	r.answer = func(task *Task) Outcome {
		if n := len(task.Payload()); n > MaximumPayload {
			t.Errorf("a payload of %d bytes", n)
		}
		if task.Window.Final || len(task.Records) < 12 {
			return Outcome{Payload: []byte(`{"state":` + state + `}`)}
		}
		return Outcome{Payload: fmt.Appendf(nil, `{"state":%s,"batchItemFailures":[{"itemIdentifier":%q}]}`, state, task.Records[1].Sequence)}
	}
	all := records(slices.Repeat([]string{"k"}, 12)...)
	for i := range all {
		all[i].Data = append(all[i].Data, make([]byte, 392_000)...)
	}
	r.Offer(start, all)
	r.drain(true)
	var sizes []int
	for _, b := range r.batches {
		sizes = append(sizes, len(b)/392_000)
	}
	if !slices.Equal(sizes, []int{12, 5, 6, 0}) || len(r.reported) > 0 {
		t.Errorf("batches of %v records, %d reports", sizes, len(r.reported))
	}
}

func TestAWindowsAnswerNeedsItsState(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.Tumbling, s.MaximumRetryAttempts = time.Minute, 0 }), "shardId-0"), now: start, answer: ok}
	r.Offer(start, records("a"))
	r.drain(true)
	if len(r.reported) != 1 {
		t.Errorf("a response without a state passed: %q", r.batches)
	}
}

func TestThePayloadIsTheEventThatHandlersKnow(t *testing.T) {
	s := settings(func(s *Settings) { s.RoleARN = "arn:aws:iam::000000000000:role/bill" })
	r := records(`orders/"1"`, "naïve\u2028")
	r[1].Arrival = start.Add(7 * time.Millisecond)
	batch := Batch{Settings: s, Shard: "shardId-000000000000", Records: r}
	var event events.KinesisEvent
	if err := json.Unmarshal(batch.Payload(), &event); err != nil {
		t.Fatal(err)
	}
	got := event.Records[1]
	if got.Kinesis.PartitionKey != r[1].Key || string(got.Kinesis.Data) != r[1].Key || got.Kinesis.SequenceNumber != r[1].Sequence ||
		got.EventID != "shardId-000000000000:"+r[1].Sequence || got.EventSource != "aws:kinesis" || got.EventSourceArn != s.SourceARN ||
		got.AwsRegion != "us-east-1" || got.InvokeIdentityArn != s.RoleARN || got.Kinesis.ApproximateArrivalTimestamp.Sub(r[1].Arrival).Abs() > time.Microsecond /* it passes through a float */ {
		t.Errorf("got %+v", got)
	}
	if n := len(batch.Payload()); n > 256+s.size(batch.Shard, &r[0])+s.size(batch.Shard, &r[1]) {
		t.Errorf("%d bytes, more than was reckoned with", n)
	}
}

func TestTheFailureObjectIsLambdas(t *testing.T) {
	r := &run{Shard: NewShard(settings(func(s *Settings) { s.MaximumRetryAttempts = 0 }), "shardId-000000000001"), now: start.Add(time.Minute), answer: throws("P")}
	r.Offer(start, records("P"))
	r.drain(false)
	task := r.reported[0]
	key, body := task.Failure.Object(task.Settings.UUID, task.Shard, "id", task.Payload())
	if want := "aws/lambda/11111111-2222-3333-4444-555555555555/shardId-000000000001/2026/01/01/2026-01-01T12.01.00-id"; key != want {
		t.Errorf("key %s", key)
	}
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	payload, _ := doc["payload"].(string)
	var event events.KinesisEvent
	if err := json.Unmarshal([]byte(payload), &event); err != nil || string(event.Records[0].Kinesis.Data) != "P" {
		t.Errorf("payload %v: %v", payload, err)
	}
	if info := doc["KinesisBatchInfo"].(map[string]any); info["shardId"] != "shardId-000000000001" || info["approximateArrivalOfFirstRecord"] != "2026-01-01T12:00:00.000Z" || info["batchSize"] != 1.0 {
		t.Errorf("batch %v", info)
	}
}

// Whatever the function answers and however often it can't be called, every
// record is dealt with once, whole, and the records of a key in their order.
func TestNothingIsLostAndKeysStayInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := settings(func(s *Settings) {
			s.BatchSize = rapid.IntRange(1, 7).Draw(t, "batch")
			s.Parallelization = rapid.IntRange(1, 4).Draw(t, "parallelization")
			s.Window = time.Duration(rapid.IntRange(0, 3).Draw(t, "window")) * time.Second
			s.Bisect = rapid.Bool().Draw(t, "bisect")
			s.Partial = rapid.Bool().Draw(t, "partial")
			s.MaximumRetryAttempts = rapid.IntRange(0, 3).Draw(t, "retries")
			if rapid.Bool().Draw(t, "age") {
				s.MaximumRecordAge = time.Minute
			}
		})
		r := &run{Shard: NewShard(set, "shardId-0"), now: start}
		ended := map[string]int{} // by sequence: applied or reported
		latest := map[string]string{}
		end := func(recs []Record) {
			for _, rec := range recs {
				ended[rec.Sequence]++
				if rec.Sequence <= latest[rec.Key] {
					t.Fatalf("%s of key %s after %s", rec.Sequence, rec.Key, latest[rec.Key])
				}
				latest[rec.Key] = rec.Sequence
			}
		}
		r.answer = func(task *Task) Outcome {
			n := len(task.Records)
			switch rapid.SampledFrom([]string{"ok", "ok", "throw", "throttle", "partial"}).Draw(t, "answer") {
			case "throw":
				return Outcome{FunctionError: "Unhandled"}
			case "throttle":
				return Outcome{Err: errors.New("throttled")}
			case "partial":
				if set.Partial {
					i := rapid.IntRange(0, n-1).Draw(t, "from")
					end(task.Records[:i])
					return Outcome{Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"` + task.Records[i].Sequence + `"}]}`)}
				}
			}
			end(task.Records)
			return Outcome{}
		}
		r.report = func(task *Task) error {
			if rapid.Bool().Draw(t, "unavailable") {
				return errors.New("unavailable")
			}
			end(task.Records)
			return nil
		}
		keys := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 40).Draw(t, "keys")
		all := records(keys...)
		for i := range all {
			all[i].Sequence = fmt.Sprintf("%056d", i+1)
		}
		for rest := all; len(rest) > 0; {
			n := min(rapid.IntRange(1, 10).Draw(t, "offer"), len(rest))
			for i := range rest[:n] {
				rest[i].Arrival = r.now
			}
			r.Offer(r.now, rest[:n])
			rest = rest[n:]
			r.drain(false)
			r.now = r.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "pause")) * time.Second)
		}
		r.drain(true)
		for _, rec := range all {
			if ended[rec.Sequence] != 1 {
				t.Fatalf("record %s ended %d times", rec.Sequence, ended[rec.Sequence])
			}
		}
		if !r.Drained() || r.Waiting() != 0 || len(all) > 0 && r.Checkpoint() != all[len(all)-1].Sequence {
			t.Fatalf("drained %v, %d waiting, checkpoint %s", r.Drained(), r.Waiting(), r.Checkpoint())
		}
	})
}

// Whatever the function answers, the states of the windows that ended hold every
// record that was applied, once, in the window that it arrived in.
func TestWindowsHoldEveryRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := settings(func(s *Settings) {
			s.Tumbling = 10 * time.Second
			s.BatchSize = rapid.IntRange(1, 7).Draw(t, "batch")
			s.Bisect = rapid.Bool().Draw(t, "bisect")
			s.Partial = rapid.Bool().Draw(t, "partial")
			s.MaximumRetryAttempts = rapid.IntRange(0, 3).Draw(t, "retries")
		})
		r := &run{Shard: NewShard(set, "shardId-0"), now: start}
		ended, given, applied := 0, 0, 0
		early := rapid.IntRange(0, 9).Draw(t, "early") > 0 // not in each run: a megabyte takes its time
		count := func(w *Window) int {
			var state struct{ N int }
			if err := json.Unmarshal(w.State, &state); err != nil {
				t.Fatal(err)
			}
			return state.N
		}
		r.answer = func(task *Task) Outcome {
			w := task.Window
			if w == nil || len(task.Records) == 0 != w.Final {
				t.Fatalf("%d records in the window %+v", len(task.Records), w)
			}
			for _, rec := range task.Records {
				if rec.Arrival.Before(w.Start) || !rec.Arrival.Before(w.End) {
					t.Fatalf("arrival %v in the window %+v", rec.Arrival, w)
				}
			}
			n := count(w)
			good := len(task.Records)
			failures, padding := "", ""
			switch rapid.SampledFrom([]string{"ok", "ok", "ok", "throw", "throttle", "partial", "large"}).Draw(t, "answer") {
			case "throw":
				return Outcome{FunctionError: "Unhandled"}
			case "throttle":
				return Outcome{Err: errors.New("throttled")}
			case "partial":
				if set.Partial && good > 0 {
					good = rapid.IntRange(0, good-1).Draw(t, "from")
					failures = `,"batchItemFailures":[{"itemIdentifier":"` + task.Records[good].Sequence + `"}]`
				}
			case "large": // the window ends early
				if !early && !w.Final {
					early, padding = true, strings.Repeat("x", MaximumState)
				}
			}
			applied += good
			if w.Final {
				ended += n
			}
			return Outcome{Payload: fmt.Appendf(nil, `{"state":{"N":%d,"padding":%q}%s}`, n+good, padding, failures)}
		}
		r.report = func(task *Task) error {
			if task.Window.Final {
				ended += count(task.Window)
			} else {
				given += len(task.Records)
			}
			return nil
		}
		n := rapid.IntRange(0, 40).Draw(t, "records")
		for i := 0; i < n; {
			all := records(slices.Repeat([]string{"k"}, min(rapid.IntRange(1, 10).Draw(t, "offer"), n-i))...)
			for j := range all {
				all[j].Sequence, all[j].Arrival = fmt.Sprintf("%056d", i+1), r.now
				i++
				r.now = r.now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "pause")) * time.Millisecond)
			}
			r.Offer(r.now, all)
			if rapid.Bool().Draw(t, "drain") {
				r.drain(false)
			}
		}
		r.drain(true)
		if !r.Drained() || ended != applied || applied+given != n {
			t.Fatalf("of %d records %d were applied and %d given up; the windows ended with %d; drained %v", n, applied, given, ended, r.Drained())
		}
	})
}

// One key that is held up mustn't have the whole stream read into memory.
func TestALaneThatIsHeldUpBoundsWhatIsRead(t *testing.T) {
	s := NewShard(settings(func(s *Settings) { s.BatchSize, s.Parallelization = 10, 4 }), "shardId-0")
	offered := 0
	for range 1000 {
		n := s.Wants()
		if n <= 0 {
			break
		}
		s.Offer(start, records(slices.Repeat([]string{"hot"}, n)...))
		offered += n
	}
	if s.Wants() > 0 || offered > queuedBatches*10*4 {
		t.Errorf("%d records of one key were read, and %d more are wanted", offered, s.Wants())
	}
}

func BenchmarkShard(b *testing.B) {
	s := NewShard(settings(func(s *Settings) { s.BatchSize = 1000 }), "shardId-0")
	batch := make([]Record, 1000)
	for i := range batch {
		batch[i] = Record{Sequence: fmt.Sprintf("%056d", i), Key: fmt.Sprint(i % 50), Arrival: start, Data: make([]byte, 100)}
	}
	for b.Loop() {
		s.Offer(start, batch)
		for task, _ := s.Next(start, false); task != nil; task, _ = s.Next(start, false) {
			s.Invoked(start, task, Outcome{})
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
}

func TestAllThatIsWrongInSettingsIsNamed(t *testing.T) {
	s := &Settings{UUID: "m", Kind: DynamoDB, BatchSize: 10_001, Window: 301 * time.Second, Parallelization: 11, Tumbling: 901 * time.Second, MaximumRetryAttempts: -2, MaximumRecordAge: 59 * time.Second, Start: Position{Type: "AT_TIMESTAMP"}}
	err := s.Validate()
	if err == nil {
		t.Fatal("it is valid")
	}
	for _, want := range []string{
		"event source mapping m: ", "BatchSize is 10001", "MaximumBatchingWindowInSeconds is 5m1s", "ParallelizationFactor is 11, but the range",
		"TumblingWindowInSeconds is 15m1s", "MaximumRetryAttempts is -2", "MaximumRecordAgeInSeconds is 59s", "a tumbling window has one state per shard", "which DynamoDB streams don't have",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	valid := settings()
	for start, want := range map[string]string{"AT_TIMESTAMP": "no StartingPositionTimestamp", "YESTERDAY": `StartingPosition is "YESTERDAY"`} {
		valid.Start.Type = start
		if err := valid.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", start, err)
		}
	}
	if _, err := New(settings(), Options{}); err == nil || !strings.Contains(err.Error(), "nothing sends to its failure destination arn:aws:s3:::failures") {
		t.Errorf("a destination that nothing sends to: %v", err)
	}
}
