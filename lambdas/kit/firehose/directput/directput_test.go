package directput_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/smithy-go"

	transform "github.com/millrace/millrace/lambdas/kit/firehose"
	"github.com/millrace/millrace/lambdas/kit/firehose/directput"
)

// stream is a delivery stream that takes records of which refuse says nothing.
type stream struct {
	taken  []string
	calls  int
	refuse func(call, record int) string
	errs   []error // of the next calls
}

func (s *stream) PutRecordBatch(_ context.Context, in *firehose.PutRecordBatchInput, _ ...func(*firehose.Options)) (*firehose.PutRecordBatchOutput, error) {
	s.calls++
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return nil, err
	}
	size := 0
	out := &firehose.PutRecordBatchOutput{}
	for i, r := range in.Records {
		size += len(r.Data)
		var entry types.PutRecordBatchResponseEntry
		if code := s.refused(i); code != "" {
			entry.ErrorCode, entry.ErrorMessage = aws.String(code), aws.String("slow down")
		} else {
			s.taken = append(s.taken, aws.ToString(in.DeliveryStreamName)+" "+string(r.Data))
		}
		out.RequestResponses = append(out.RequestResponses, entry)
	}
	if len(in.Records) < 1 || len(in.Records) > 500 || size > 4<<20 {
		return nil, &smithy.GenericAPIError{Code: "InvalidArgumentException", Message: "beyond the limits"}
	}
	return out, nil
}

func (s *stream) refused(record int) string {
	if s.refuse == nil {
		return ""
	}
	return s.refuse(s.calls, record)
}

func records(n, size int) []transform.Record {
	all := make([]transform.Record, n)
	for i := range all {
		all[i].Data = []byte(fmt.Sprintf("%d ", i) + strings.Repeat("x", size))
	}
	return all
}

func TestEveryRecordIsPutOnce(t *testing.T) {
	throttled := &types.ServiceUnavailableException{Message: aws.String("slow down")}
	for name, test := range map[string]struct {
		records []transform.Record
		stream  stream
		calls   int
	}{
		"none":                      {nil, stream{}, 0},
		"a few":                     {records(3, 1), stream{}, 1},
		"more than go into a call":  {records(1001, 1), stream{}, 3},
		"more bytes than in a call": {records(7, 900_000), stream{}, 2},
		"some are refused at first": {records(10, 1), stream{refuse: func(call, i int) string {
			return map[bool]string{true: "ServiceUnavailableException"}[call < 4 && i%2 == 1]
		}}, 4},
		"the call fails for a while": {records(10, 1), stream{errs: []error{throttled, throttled}}, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := test.stream
			if err := directput.To(&s, "orders").Reingest(t.Context(), test.records); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			seen := map[string]bool{}
			for _, taken := range s.taken {
				seen[taken] = true
			}
			for _, r := range test.records {
				if !seen["orders "+string(r.Data)] {
					t.Errorf("%s: a record is missing", name)
				}
			}
			if len(s.taken) != len(test.records) || s.calls != test.calls {
				t.Errorf("%s: %d of %d records in %d calls, want %d", name, len(s.taken), len(test.records), s.calls, test.calls)
			}
		})
	}
}

func TestWhatCantBePutIsTold(t *testing.T) {
	always := func(int, int) string { return "ServiceUnavailableException" }
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
	for name, test := range map[string]struct {
		stream *stream
		calls  int
		says   string
	}{
		"a stream that takes nothing":     {&stream{refuse: always}, 5, "2 records for orders: ServiceUnavailableException: slow down"},
		"a stream that may not be put to": {&stream{errs: []error{denied}}, 1, "AccessDeniedException"},
	} {
		synctest.Test(t, func(t *testing.T) {
			if err := directput.To(test.stream, "orders").Reingest(t.Context(), records(2, 1)); err == nil || !strings.Contains(err.Error(), test.says) || test.stream.calls != test.calls {
				t.Errorf("%s: %d calls, %v", name, test.stream.calls, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := directput.To(&stream{refuse: always}, "orders").Reingest(ctx, records(2, 1)); err == nil || ctx.Err() != nil {
			t.Errorf("near the deadline: %v, %v", err, ctx.Err())
		}
	})
	for _, to := range []transform.Reingester{directput.To(nil, "orders"), directput.To(&stream{}, "")} {
		if err := to.Reingest(t.Context(), records(1, 1)); err == nil || !strings.Contains(err.Error(), "a client and a delivery stream") {
			t.Errorf("got %v", err)
		}
	}
}

// A transform of direct puts whose answers can outgrow Lambda's limit: what has no room
// comes again.
func ExampleTo() {
	client := &stream{} // firehose.NewFromConfig(cfg)
	quiet := slog.New(slog.DiscardHandler)
	handler := transform.Transform(func(_ context.Context, r transform.Record) (transform.Answer, error) {
		return transform.Ok([]byte(strings.Repeat(string(r.Data), 3_000_000))), nil
	}, transform.Options{Reingest: directput.To(client, "orders"), Log: quiet})

	answer, err := handler.Invoke(context.Background(), []byte(`{"records":[{"recordId":"1","data":"YQ=="},{"recordId":"2","data":"Yg=="}]}`))
	fmt.Println(len(answer) < transform.MaximumAnswer, err)
	fmt.Println(client.taken)
	// Output:
	// true <nil>
	// [orders b]
}
