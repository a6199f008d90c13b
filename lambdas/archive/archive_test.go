package main

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
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

func newArchive() (*program, *bytes.Buffer) {
	p, err := newProgram(func(name string) string { return "test-" + name })
	if err != nil {
		panic(err)
	}
	metrics := &bytes.Buffer{}
	p.metrics = metrics
	return p, metrics
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
			p, metrics := newArchive()
			e := event(t, name)
			out, err := p.handle(t.Context(), e)
			if err != nil || len(out.Records) != len(e.Records) {
				t.Fatalf("%d answers for %d records, %v", len(out.Records), len(e.Records), err)
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
			if got := strings.Contains(metrics.String(), fmt.Sprintf(`"RejectedRecords":%d,`, c.failed)); got != (c.failed > 0) {
				t.Errorf("metrics %s for %d failed records", metrics, c.failed)
			}
		})
	}
}

func TestTheAnswerIsWhatFirehoseReads(t *testing.T) {
	p, _ := newArchive()
	out, err := p.handle(t.Context(), event(t, "keep-alive"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(out)
	const want = `{"records":[{"recordId":"495469866831355442865074579363216256757001924711567851540001","result":"Dropped","data":""},`
	if err != nil || !strings.HasPrefix(string(body), want) {
		t.Errorf("got %s, %v", body, err)
	}
	// The type that the library has for it reads it too.
	var response events.KinesisFirehoseResponse
	if err := json.Unmarshal(body, &response); err != nil || len(response.Records) != 3 || len(response.Records[2].Data) == 0 {
		t.Errorf("got %+v, %v", response, err)
	}
}

// TestTheAnswerKeepsToItsLimit draws batches around a small limit: the answer
// never exceeds it, what has no room fails without its
// data, and nothing that fits is failed.
func TestTheAnswerKeepsToItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := newArchive()
		p.limit = 4000
		var e events.KinesisFirehoseEvent
		for i := range rapid.IntRange(0, 20).Draw(t, "records") {
			payload := fmt.Sprintf(`{"race":"m","racer":"r","seq":%d,"at":"2026-11-21T10:00:00Z","distance":0,"speed":0,"power":0,"x":%q}`,
				i+1, strings.Repeat("x", rapid.IntRange(0, 900).Draw(t, "padding")))
			if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
				payload = payload[1:]
			}
			e.Records = append(e.Records, events.KinesisFirehoseEventRecord{RecordID: fmt.Sprint(1000 + i), Data: []byte(payload)})
		}
		out, err := p.handle(t.Context(), e)
		if err != nil || len(out.Records) != len(e.Records) {
			t.Fatalf("%d answers for %d records, %v", len(out.Records), len(e.Records), err)
		}
		body, err := json.Marshal(out)
		if err != nil || len(body) > p.limit {
			t.Fatalf("%d bytes, limit %d, %v", len(body), p.limit, err)
		}
		for i, r := range out.Records {
			// 20 bytes a record: room kept for the longest result and a comma.
			full := len(body) + (len(e.Records[i].Data)+3)/3*4
			if len(r.Data) == 0 && full < p.limit-20*len(out.Records) {
				t.Fatalf("record %d lost its data although the answer only has %d bytes", i, len(body))
			}
			if len(r.Data) == 0 && r.Result != "ProcessingFailed" {
				t.Fatalf("record %d is %s without data", i, r.Result)
			}
		}
	})
}

func TestMissingEnvironmentIsNamed(t *testing.T) {
	if _, err := newProgram(func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "AWS_LAMBDA_FUNCTION_NAME") {
		t.Errorf("got %v", err)
	}
}
