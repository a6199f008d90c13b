package firehose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/local/invoke"
)

// transformed is a stream with a transform that is invoked at once.
func transformed(t *testing.T, f function, parameters ...string) *bench {
	t.Helper()
	return start(t, described(func(x *types.ExtendedS3DestinationDescription) {
		x.BufferingHints.IntervalInSeconds = aws.Int32(0)
		x.ProcessingConfiguration = processing(lambdaProcessor(append([]string{"BufferIntervalInSeconds", "0"}, parameters...)...))
	}), Options{Transform: f})
}

const (
	goodKey   = "b/2026/03/04/05/s-3-2026-03-04-05-06-07-"
	failedKey = "b/processing-failed/2026/03/04/05/s-3-2026-03-04-05-06-07-"
)

func TestAnswers(t *testing.T) {
	all := func(code string) []string { return []string{code, code, code} }
	tests := []struct {
		name   string
		answer func(ids []string) any
		good   string
		failed []string // error code of each of the three records, "" for none
	}{
		{"all Ok", func(i []string) any { return []answered{ok(i[0], "A"), ok(i[1], "B"), ok(i[2], "C")} }, "ABC", nil},
		{"in another order", func(i []string) any { return []answered{ok(i[2], "C"), ok(i[0], "A"), ok(i[1], "B")} }, "ABC", nil},
		{"empty data", func(i []string) any { return []answered{ok(i[0], ""), ok(i[1], "B"), ok(i[2], "")} }, "B", nil},
		{"dropped without data", func(i []string) any {
			return []answered{{RecordID: i[0], Result: "Dropped"}, ok(i[1], "B"), ok(i[2], "C")}
		}, "BC", nil},
		{"ProcessingFailed", func(i []string) any {
			return []answered{{RecordID: i[0], Result: "ProcessingFailed", Data: aws.String("YQ==")}, ok(i[1], "B"), ok(i[2], "C")}
		}, "BC", []string{codeStatus, "", ""}},
		{"a missing id", func(i []string) any { return []answered{ok(i[0], "A"), ok(i[2], "C")} }, "AC", []string{"", codeMissing, ""}},
		{"a changed id", func(i []string) any { return []answered{ok(i[0], "A"), ok(i[1]+"x", "B"), ok(i[2], "C")} }, "AC", []string{"", codeMissing, ""}},
		{"an id twice", func(i []string) any {
			return []answered{ok(i[0], "A"), ok(i[1], "B"), ok(i[0], "A"), ok(i[2], "C")}
		}, "BC", []string{codeDuplicated, "", ""}},
		{"Ok without data", func(i []string) any {
			return []answered{{RecordID: i[0], Result: "Ok"}, ok(i[1], "B"), ok(i[2], "C")}
		}, "BC", []string{codeFormat, "", ""}},
		{"an unknown result", func(i []string) any {
			return []answered{{RecordID: i[0], Result: "ok", Data: aws.String("YQ==")}, ok(i[1], "B"), ok(i[2], "C")}
		}, "", all(codeFunction)},
		{"no base64", func(i []string) any {
			return []answered{ok(i[0], "A"), {RecordID: i[1], Result: "Ok", Data: aws.String("%%")}, ok(i[2], "C")}
		}, "", all(codeFunction)},
		{"no JSON", func([]string) any { return "<html>" }, "", all(codeJSON)},
		{"no object", func([]string) any { return `"fine"` }, "", all(codeJSON)},
		{"records is no list", func([]string) any { return `{"records":{}}` }, "", all(codeJSON)},
		{"null", func([]string) any { return `null` }, "", all(codeMissing)},
		{"no records", func([]string) any { return `{"statusCode":200}` }, "", all(codeMissing)},
		{"names in another case", func(i []string) any {
			return fmt.Sprintf(`{"records":[{"RecordId":%q,"result":"Ok","data":""},{"recordId":%q,"Result":"Ok","data":"Qg=="}]}`, i[0], i[1])
		}, "", all(codeFunction)},
		{"an empty payload", func([]string) any { return "" }, "", all(codeJSON)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			b := transformed(t, func(e event) (any, error) {
				calls++
				var ids []string
				for _, r := range e.Records {
					ids = append(ids, r.RecordID)
				}
				return test.answer(ids), nil
			})
			b.add("a", "b", "c")
			b.after(time.Second)
			if calls != 1 {
				t.Errorf("%d invocations: Firehose doesn't repeat one that was answered", calls)
			}
			good, bad := "", map[string]string{}
			for key, body := range b.s3.bodies() {
				if !strings.HasPrefix(key, "b/processing-failed/2026/03/04/05/") {
					good += body
					continue
				}
				for _, d := range documents(t, body) {
					bad[d.RawData] = d.ErrorCode
					if d.AttemptsMade != 1 || d.ErrorMessage == "" {
						t.Errorf("document %+v", d)
					}
				}
			}
			want := map[string]string{}
			for i, code := range test.failed {
				if code != "" {
					want[[]string{"YQ==", "Yg==", "Yw=="}[i]] = code
				}
			}
			if good != test.good {
				t.Errorf("delivered %q, want %q", good, test.good)
			}
			if diff := cmp.Diff(want, bad); diff != "" {
				t.Errorf("failed (-want +got):\n%s", diff)
			}
			b.balanced()
			if st := b.Stats(); st.Buffered != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestErrorDocument(t *testing.T) {
	b := transformed(t, func(event) (any, error) {
		return invoke.Result{FunctionError: "Unhandled", Payload: []byte(`{"errorMessage":"no"}`)}, nil
	}, "NumberOfRetries", "1")
	if err := b.Add(Record{Data: []byte("<a>"), Arrival: began.Add(-time.Second)}, Record{Data: []byte("b")}); err != nil {
		t.Fatal(err)
	}
	b.after(0)
	b.after(time.Second)
	line := func(raw, arrived string) string {
		return `{"rawData":"` + raw + `","errorCode":"Lambda.FunctionError","errorMessage":"The Lambda function was successfully invoked but it returned an error result.",` +
			`"attemptsMade":2,"arrivalTimestamp":` + arrived + `,"attemptEndingTimestamp":1772600768890,"lambdaARN":"arn:aws:lambda:eu-west-1:123456789012:function:t"}` + "\n"
	}
	b.want(map[string]string{"b/processing-failed/2026/03/04/05/s-3-2026-03-04-05-06-06-" + id(3): line("PGE+", "1772600766890") + line("Yg==", "1772600767890")})
	if st := b.Stats(); st.Failed != 2 || st.Invocations != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestFailedInvocationsAreRetried(t *testing.T) {
	functionError := invoke.Result{FunctionError: "Unhandled"}
	tests := []struct {
		name    string
		answer  any
		err     error
		retries string
		calls   int
		code    string
	}{
		{"function error", functionError, nil, "3", 4, codeFunction},
		{"no retries", functionError, nil, "0", 1, codeFunction},
		{"throttled", nil, fmt.Errorf("invoking: %w", invoke.ErrThrottled), "2", 3, codeThrottled},
		{"timeout", nil, context.DeadlineExceeded, "1", 2, codeTimeout},
		{"network", nil, errors.New("connection refused"), "1", 2, codeInvoke},
		{"too large an answer", strings.Repeat(" ", largestPayload+1), nil, "1", 2, codeFunction},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var ids, invocations []string
			b := transformed(t, func(e event) (any, error) {
				ids, invocations = append(ids, e.Records[0].RecordID), append(invocations, e.InvocationID)
				return test.answer, test.err
			}, "NumberOfRetries", test.retries)
			b.add("a")
			if err := b.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			if len(ids) != test.calls {
				t.Errorf("%d invocations, want %d", len(ids), test.calls)
			}
			for i := range ids[1:] {
				if ids[i] != ids[i+1] || invocations[i] == invocations[i+1] {
					t.Errorf("a retry has the same record ids and a new invocation id: %v %v", ids, invocations)
				}
			}
			for _, body := range b.s3.bodies() {
				if d := documents(t, body)[0]; d.ErrorCode != test.code || d.AttemptsMade != test.calls {
					t.Errorf("document %+v", d)
				}
			}
			if b.Stats().Failed != 1 {
				t.Errorf("stats %+v", b.Stats())
			}
		})
	}
}

func TestRetriesDontStopDelivery(t *testing.T) {
	calls := 0
	b := transformed(t, func(e event) (any, error) {
		if calls++; calls == 1 {
			return nil, errors.New("not now")
		}
		return upper(e)
	})
	b.add("a")
	b.after(0)
	b.add("b")
	b.after(0)
	b.want(map[string]string{goodKey + id(3): "B"})
	b.after(time.Second)
	b.want(map[string]string{goodKey + id(3): "B", goodKey + id(5): "A"})
}

func TestTransformBuffers(t *testing.T) {
	var sizes []int
	count := func(e event) (any, error) {
		sizes = append(sizes, len(e.Records))
		return upper(e)
	}
	b := transformed(t, count, "BufferSizeInMBs", "0.2", "BufferIntervalInSeconds", "30")
	piece := strings.Repeat("x", 70_000)
	b.add(piece, piece)
	b.after(0)
	if len(sizes) != 0 {
		t.Fatal("invoked before the buffer is full")
	}
	b.add(piece, "rest")
	b.after(0)
	if !cmp.Equal(sizes, []int{3}) {
		t.Fatalf("batches %v", sizes)
	}
	b.after(29 * time.Second)
	if len(sizes) != 1 {
		t.Fatal("invoked before the interval")
	}
	b.after(time.Second)
	if !cmp.Equal(sizes, []int{3, 1}) {
		t.Fatalf("batches %v", sizes)
	}
}

// raw is a transform that sees the request's bytes.
type raw func(payload []byte) (invoke.Result, error)

func (f raw) Invoke(_ context.Context, payload []byte) (invoke.Result, error) { return f(payload) }

func TestRequestsStayUnderTheLimit(t *testing.T) {
	d := fromKinesis(described(func(x *types.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(lambdaProcessor("BufferSizeInMBs", "3"))
	}))
	largest, requests := 0, 0
	b := start(t, d, Options{Transform: raw(func(payload []byte) (invoke.Result, error) {
		largest = max(largest, len(payload))
		requests++
		var e event
		if err := json.Unmarshal(payload, &e); err != nil {
			t.Fatal(err)
		}
		answer, err := upper(e)
		if err != nil {
			return invoke.Result{}, err
		}
		out, err := json.Marshal(map[string]any{"records": answer})
		return invoke.Result{Payload: out}, err
	})})
	for i := range 40_000 {
		// Small records and keys that JSON makes six times as long.
		at := &Position{ShardID: "shardId-000000000000", SequenceNumber: fmt.Sprintf("%056d", i), PartitionKey: "\x01\x02\x03"}
		if err := b.Add(Record{Data: []byte("r"), Kinesis: at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if requests < 2 || largest > largestPayload || largest < largestPayload*9/10 {
		t.Errorf("%d requests, the largest of %d bytes", requests, largest)
	}
	if st := b.Stats(); st.Delivered != 40_000 {
		t.Errorf("stats %+v", st)
	}
}

func TestRecordTooLargeForAnyRequest(t *testing.T) {
	b := transformed(t, func(event) (any, error) { t.Error("it was invoked"); return nil, nil })
	b.add(strings.Repeat("x", 5<<20))
	b.after(0)
	if st := b.Stats(); st.Failed != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestEvent(t *testing.T) {
	var got []byte
	b := start(t, fromKinesis(described(func(x *types.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(lambdaProcessor())
	})), Options{Transform: raw(func(payload []byte) (invoke.Result, error) {
		got = payload
		return invoke.Result{Payload: []byte("{}")}, nil
	})})
	at := &Position{ShardID: "shardId-000000000001", SequenceNumber: "495", PartitionKey: `"k"`}
	if err := b.Add(Record{Data: []byte("a"), Kinesis: at}); err != nil {
		t.Fatal(err)
	}
	b.after(time.Minute)
	want := `{"invocationId":"` + id(1) + `","sourceKinesisStreamArn":"arn:aws:kinesis:eu-west-1:123456789012:stream/k",` +
		`"deliveryStreamArn":"arn:aws:firehose:eu-west-1:123456789012:deliverystream/s","region":"eu-west-1","records":[` +
		`{"recordId":"00000000000000000000000000000000000000000000000000000001000000","approximateArrivalTimestamp":1772600767890,"data":"YQ==",` +
		`"kinesisRecordMetadata":{"sequenceNumber":"495","subsequenceNumber":0,"partitionKey":"\"k\"","shardId":"shardId-000000000001","approximateArrivalTimestamp":1772600767890}}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAbsentEnabledIsNoTransform(t *testing.T) {
	b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(lambdaProcessor())
		x.ProcessingConfiguration.Enabled = nil
	}), Options{})
	b.add("a")
	b.after(time.Minute)
	b.want(map[string]string{goodKey + id(1): "a"})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"records":[{"recordId":"1","result":"Ok","data":"YQ=="},{"recordId":"2","result":"Dropped"}]}`))
	f.Add([]byte(`{"records":[{"recordId":"1","result":"Ok","data":"YQ==","metadata":{"partitionKeys":{"a":"b","c":1}}},null]}`))
	f.Add([]byte(`{"records":[{"recordId":"\u0031","result":"ProcessingFailed"},{"recordId":"1"}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		verdicts := decodeAnswer(payload, []string{"1", "2"})
		if len(verdicts) != 2 {
			t.Fatalf("%d verdicts", len(verdicts))
		}
		for _, v := range verdicts {
			if v.code != "" && (v.dropped || v.message == "") {
				t.Errorf("verdict %+v", v)
			}
			if v.code == "" && !v.dropped && v.data == nil {
				t.Errorf("a record is delivered without data: %+v", v)
			}
		}
	})
}
