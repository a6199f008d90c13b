package handler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/archive/handler"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// archive is the function, and the metrics that it writes.
type archive struct {
	lambda.Handler
	metrics bytes.Buffer
}

func newArchive() *archive {
	a := &archive{}
	h, err := handler.New(func(name string) string { return "test-" + name }, &a.metrics)
	if err != nil {
		panic(err)
	}
	a.Handler = h
	return a
}

func (a *archive) handle(t *testing.T, e events.KinesisFirehoseEvent) (out events.KinesisFirehoseResponse) {
	t.Helper()
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := a.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func event(t *testing.T, name string) events.KinesisFirehoseEvent {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var e events.KinesisFirehoseEvent
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRecordsGetTheirAnswerInOrder(t *testing.T) {
	const first = `{"race":"monza","racer":"r-0001","seq":1,"at":"2026-11-21T10:00:01.123Z","distance":10.5,"speed":14.2,"power":310}` + "\n"
	for name, c := range map[string]struct {
		results string // o, d or f for each record
		lines   string
		failed  int
	}{
		"good": {"ooo", first + `{"race":"spa","racer":"r-0001","seq":2,"at":"2026-11-21T10:00:00Z","distance":1.50,"speed":0,"power":1e2,` +
			`"gear":{"front":2,"back":[11,12]},"note":"a \u003c b"}` + "\n" + first, 0},
		"keep-alive": {"ddo", first, 0},
		"malformed":  {"offfo", first + strings.NewReplacer("0001", "0002", "10.5", "11.25").Replace(first), 3},
		"empty":      {"", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive()
			e := event(t, name)
			out := a.handle(t, e)
			if len(out.Records) != len(e.Records) {
				t.Fatalf("%d answers for %d records", len(out.Records), len(e.Records))
			}
			var results, lines strings.Builder
			for i, r := range out.Records {
				if r.RecordID != e.Records[i].RecordID {
					t.Errorf("answer %d is for %s, want %s", i, r.RecordID, e.Records[i].RecordID)
				}
				switch r.Result {
				case "Ok":
					results.WriteByte('o')
					lines.Write(r.Data)
				case "Dropped":
					results.WriteByte('d')
				case "ProcessingFailed":
					results.WriteByte('f')
					if !bytes.Equal(r.Data, e.Records[i].Data) {
						t.Errorf("answer %d: the failed payload came back as %q", i, r.Data)
					}
				}
			}
			if diff := cmp.Diff(c.results, results.String()); diff != "" {
				t.Errorf("results (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.lines, lines.String()); diff != "" {
				t.Errorf("lines (-want +got)\n%s", diff)
			}
			if got := strings.Contains(a.metrics.String(), fmt.Sprintf(`"RejectedRecords":%d,`, c.failed)); got != (c.failed > 0) {
				t.Errorf("metrics %s for %d failed records", &a.metrics, c.failed)
			}
		})
	}
}

func TestMissingEnvironmentIsNamed(t *testing.T) {
	if _, err := handler.New(func(string) string { return "" }, nil); err == nil || !strings.Contains(err.Error(), "AWS_LAMBDA_FUNCTION_NAME") {
		t.Errorf("got %v", err)
	}
}
