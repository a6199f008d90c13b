package batch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/decode"
)

// windowed is an event of a tumbling window.
func windowed(state, more string, records ...string) []byte {
	plain := strings.TrimSuffix(string(event(records...)), "}")
	return []byte(plain + `,"window":{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:00:30Z"},"state":` + state +
		`,"shardId":"shardId-7","eventSourceARN":"arn:stream","isFinalInvokeForWindow":false,"isWindowTerminatedEarly":false` + more + `}`)
}

type sum struct {
	Count int            `json:"count"`
	ByKey map[string]int `json:"byKey,omitempty"`
	Blob  string         `json:"blob,omitempty"`
}

func TestAWindowsStateIsCarriedOn(t *testing.T) {
	var finals []batch.Window
	kept := &rejects{}
	h := batch.Windows(batch.Kinesis, func(_ context.Context, w batch.Window, state *sum, records []decode.Record) error {
		var problems []error
		for i, r := range records {
			switch err := by(string(r.Data)); {
			case err != nil:
				problems = append(problems, batch.At(i, err))
				continue
			case state.ByKey == nil:
				state.ByKey = map[string]int{}
			}
			state.Count++
			state.ByKey[r.PartitionKey]++
		}
		if w.Final {
			finals = append(finals, w)
		}
		return errors.Join(problems...)
	}, batch.Options{Rejects: kept, Log: slog.New(slog.DiscardHandler)})

	state := "{}"
	for n, step := range []struct {
		more    string
		records []string
		want    string // of the state, or of the error
	}{
		{"", []string{"a=1", "b=2", "a=3"}, `{"count":3,"byKey":{"a":2,"b":1}}`},
		{"", []string{"a=1", "b=fail"}, "throttled"}, // nothing of it counts
		{"", []string{"a=1", "b=poison"}, `{"count":4,"byKey":{"a":3,"b":1}}`},
		{"", []string{"a=panic"}, "panicked"},
		{`,"isFinalInvokeForWindow":true,"isWindowTerminatedEarly":true`, nil, `{"count":4,"byKey":{"a":3,"b":1}}`},
	} {
		payload, err := h.Invoke(t.Context(), windowed(state, step.more, step.records...))
		if err != nil {
			if !strings.Contains(err.Error(), step.want) || !strings.Contains(err.Error(), "2026-01-01T00:00:00Z of shard shardId-7") {
				t.Fatalf("step %d: %v, want one with the window and %s", n, err, step.want)
			}
			continue
		}
		var answer struct{ State json.RawMessage }
		if err := json.Unmarshal(payload, &answer); err != nil || string(answer.State) != step.want {
			t.Fatalf("step %d: the answer is %s, want the state %s", n, payload, step.want)
		}
		state = string(answer.State)
	}
	if len(finals) != 1 || !finals[0].Early || finals[0].End.Sub(finals[0].Start).Seconds() != 30 || finals[0].ShardID != "shardId-7" {
		t.Errorf("the final invocations are %+v", finals)
	}
	if len(kept.kept) != 1 {
		t.Errorf("%d records are set aside, want 1", len(kept.kept))
	}
}

func TestAStateThatIsTooLarge(t *testing.T) {
	grow := func(n int) error {
		var log strings.Builder
		h := batch.Windows(batch.Kinesis, func(_ context.Context, _ batch.Window, state *sum, _ []decode.Record) error {
			state.Blob = strings.Repeat("x", n)
			return nil
		}, batch.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		payload, err := h.Invoke(t.Context(), windowed("{}", "", "a=1"))
		if warned := strings.Contains(log.String(), "over 1 MB"); err == nil && warned != (n > batch.MaximumState) {
			t.Errorf("with %d bytes it warns: %v", n, warned)
		}
		if err == nil && len(payload) < n {
			t.Errorf("the answer has %d bytes", len(payload))
		}
		return err
	}
	for _, n := range []int{100, batch.MaximumState + 1} {
		if err := grow(n); err != nil {
			t.Errorf("%d bytes: %v; Lambda ends the window itself", n, err)
		}
	}
	if err := grow(6 << 20); err == nil || !strings.Contains(err.Error(), fmt.Sprint(6<<20)) {
		t.Errorf("a state over the answer's limit: %v", err)
	}
}

// A window's batches can be as odd as others.
func TestOddBatchesOfWindows(t *testing.T) {
	many := make([]string, 10_000)
	for i := range many {
		many[i] = "a=" + fmt.Sprint(i)
	}
	h := batch.Windows(batch.Kinesis, func(_ context.Context, _ batch.Window, state *sum, records []decode.Record) error {
		state.Count += len(records)
		return nil
	}, batch.Options{Log: slog.New(slog.DiscardHandler)})
	for name, test := range map[string]struct {
		payload []byte
		want    int
	}{
		"no records, as of an idle window": {windowed("{}", ""), 0},
		"a state of null":                  {windowed("null", "", "a=1"), 1},
		"unknown members":                  {windowed(`{"count":1,"x":2}`, `,"y":[{}]`, "a=1"), 2},
		"the same record twice":            {windowed("{}", "", "a=1", "a=1"), 2},
		"10,000 records":                   {windowed("{}", "", many...), 10_000},
		"records of 1 MiB and 10 MiB":      {windowed("{}", "", "a="+strings.Repeat("x", 1<<20), "a="+strings.Repeat("x", 10<<20)), 2},
	} {
		payload, err := h.Invoke(t.Context(), test.payload)
		if want := fmt.Sprintf(`{"state":{"count":%d},"batchItemFailures":[]}`, test.want); err != nil || string(payload) != want {
			t.Errorf("%s: %s, %v", name, payload, err)
		}
	}
}

func TestTheLogOfAWindow(t *testing.T) {
	var log strings.Builder
	h := batch.Windows(batch.Kinesis, func(context.Context, batch.Window, *sum, []decode.Record) error { return nil }, batch.Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8476a536"})
	if _, err := h.Invoke(ctx, windowed("{}", "", "a=secret", "b=secret")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"requestId":"8476a536"`, `"shardId":"shardId-7"`, `"from":"100","to":"101"`, `"window":"2026-01-01T00:00:00Z"`, `"records":2`} {
		if !strings.Contains(log.String(), want) || strings.Contains(log.String(), "secret") {
			t.Errorf("the log lacks %s, or has data:\n%s", want, log.String())
		}
	}
}

func TestHandlersAndMappingsThatDontFitAreTold(t *testing.T) {
	windows := batch.Windows(batch.Kinesis, func(context.Context, batch.Window, *sum, []decode.Record) error { return nil }, batch.Options{})
	if _, err := windows.Invoke(t.Context(), event("a=1")); err == nil || !strings.Contains(err.Error(), "TumblingWindowInSeconds") {
		t.Errorf("without a window: %v", err)
	}
	each := batch.Each(batch.Kinesis, func(context.Context, decode.Record) error { return nil }, batch.Options{})
	if _, err := each.Invoke(t.Context(), windowed("{}", "", "a=1")); err == nil || !strings.Contains(err.Error(), "use Windows") {
		t.Errorf("with a window: %v", err)
	}
	if _, err := windows.Invoke(t.Context(), windowed(`{"count":"x"}`, "", "a=1")); err == nil || !strings.Contains(err.Error(), "isn't that of this function") {
		t.Errorf("with a state of another function: %v", err)
	}
}
