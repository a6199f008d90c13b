package firehose_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/firehose"
	"github.com/millrace/millrace/lambdas/kit/producer"
)

// payload is Firehose's event, in the types of Lambda's own library.
func payload(data ...string) []byte {
	in := events.KinesisFirehoseEvent{Records: []events.KinesisFirehoseEventRecord{}, InvocationID: "i", DeliveryStreamArn: "arn:d", Region: "us-east-1"}
	for i, d := range data {
		in.Records = append(in.Records, events.KinesisFirehoseEventRecord{
			RecordID: fmt.Sprintf("id-%d", i), Data: []byte(d), ApproximateArrivalTimestamp: events.MilliSecondsEpochTime{Time: time.UnixMilli(1767225600500)},
			KinesisFirehoseRecordMetadata: events.KinesisFirehoseRecordMetadata{ShardID: "shardId-7", PartitionKey: "k" + d[:min(3, len(d))], SequenceNumber: "49"},
		})
	}
	text, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	return text
}

func read(t interface{ Fatalf(string, ...any) }, text []byte) []events.KinesisFirehoseResponseRecord {
	var out events.KinesisFirehoseResponse
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("the answer is %s: %v", text, err)
	}
	return out.Records
}

var quiet = slog.New(slog.DiscardHandler)

// upper does what the data asks for.
func upper(_ context.Context, r firehose.Record) (firehose.Answer, error) {
	switch string(r.Data) {
	case "drop":
		return firehose.Drop(), nil
	case "fail":
		return firehose.Answer{}, errors.New("not a record")
	case "panic":
		panic("index out of range")
	case "nothing":
		return firehose.Answer{}, nil
	case "keys":
		return firehose.Ok([]byte("KEYS")).Partition(map[string]string{"race": "monza"}), nil
	case "table":
		return firehose.Ok([]byte("TABLE")).Table("db", "t", "delete"), nil
	}
	return firehose.Ok(bytes.ToUpper(r.Data)), nil
}

func TestEveryRecordIsAnsweredOnceInOrder(t *testing.T) {
	failed := 0
	h := firehose.Transform(upper, firehose.Options{Log: quiet, Failed: func(_ context.Context, n int) { failed = n }})
	text, err := h.Invoke(t.Context(), payload("a", "drop", "fail", "panic", "nothing", "keys", "table", ""))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, r := range read(t, text) {
		if r.RecordID != fmt.Sprintf("id-%d", i) {
			t.Errorf("answer %d is for %s", i, r.RecordID)
		}
		got = append(got, r.Result+":"+string(r.Data))
	}
	if want := "Ok:A Dropped: ProcessingFailed:fail ProcessingFailed:panic ProcessingFailed:nothing Ok:KEYS Ok:TABLE Ok:"; strings.Join(got, " ") != want {
		t.Errorf("the answers are %q, want %q", got, want)
	}
	if failed != 3 {
		t.Errorf("%d failed, want 3", failed)
	}
	for _, want := range []string{`"metadata":{"partitionKeys":{"race":"monza"}}}`, `"metadata":{"otfMetadata":{"destinationDatabaseName":"db","destinationTableName":"t","operation":"delete"}}}`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the answer lacks %s: %s", want, text)
		}
	}
	if n := bytes.Count(text, []byte("metadata")); n != 2 {
		t.Errorf("%d records have metadata, want the two that asked for it", n)
	}
}

func TestWhatARecordCarries(t *testing.T) {
	var got firehose.Record
	h := firehose.Transform(func(_ context.Context, r firehose.Record) (firehose.Answer, error) {
		got = r
		return firehose.Drop(), nil
	}, firehose.Options{Log: quiet})
	if _, err := h.Invoke(t.Context(), payload("x")); err != nil {
		t.Fatal(err)
	}
	if got.ID != "id-0" || !got.Arrival.Equal(time.UnixMilli(1767225600500)) || got.Kinesis == nil || got.Kinesis.ShardID != "shardId-7" || got.Kinesis.PartitionKey != "kx" {
		t.Errorf("the record is %+v", got)
	}
}

func TestWhatIsNoEventFailsTheInvocation(t *testing.T) {
	h := firehose.Transform(upper, firehose.Options{Log: quiet})
	const good = `{"recordId":"1","approximateArrivalTimestamp":1767225600500,"data":"eA=="}`
	for name, test := range map[string]struct {
		payload string
		record  int
		member  string
	}{
		"nothing":                       {"", -1, ""},
		"an event cut off":              {`{"records":[` + good[:40], -1, ""},
		"an event cut off in its data":  {`{"records":[` + good[:len(good)-4], -1, ""},
		"no JSON":                       {"SECRET", -1, ""},
		"an array":                      {`[]`, -1, ""},
		"an event of a stream":          {`{"Event":[]}`, -1, "records"},
		"records that are null":         {`{"records":null}`, -1, "records"},
		"records that are an object":    {`{"records":{}}`, -1, "records"},
		"a record that is a string":     {`{"records":["SECRET"]}`, -1, "records"},
		"no id":                         {`{"records":[` + good + `,{"data":"eA=="}]}`, 1, "recordId"},
		"an id that comes twice":        {`{"records":[` + good + `,` + good + `]}`, 1, "recordId"},
		"no data":                       {`{"records":[` + good + `,{"recordId":"2"}]}`, 1, "data"},
		"data that is null":             {`{"records":[{"recordId":"2","data":null}]}`, 0, "data"},
		"data that is no base64":        {`{"records":[{"recordId":"1","data":"SECRET%"}]}`, 0, "data"},
		"data without padding":          {`{"records":[{"recordId":"1","data":"eA"}]}`, 0, "data"},
		"data with a line break":        {`{"records":[{"recordId":"1","data":"eA=\n="}]}`, 0, "data"},
		"a message that is no base64":   {`{"records":[{"recordId":"1","kafkaRecordValue":"SECRET%"}]}`, 0, "kafkaRecordValue"},
		"an arrival that is a text":     {`{"records":[{"recordId":"1","approximateArrivalTimestamp":"SECRET"}]}`, -1, "records.approximateArrivalTimestamp"},
		"a position that is no number":  {`{"records":[{"recordId":"1","data":"","kinesisRecordMetadata":{"subsequenceNumber":"SECRET"}}]}`, -1, "records.kinesisRecordMetadata.subsequenceNumber"},
		"an offset beyond all numbers":  {`{"records":[{"recordId":"1","mskRecordMetadata":{"offset":99999999999999999999}}]}`, -1, "records.mskRecordMetadata.offset"},
		"an arrival beyond all numbers": {`{"records":[{"recordId":"1","approximateArrivalTimestamp":5e99999}]}`, -1, "records.approximateArrivalTimestamp"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := h.Invoke(t.Context(), []byte(test.payload))
			var wrong *firehose.Error
			if !errors.As(err, &wrong) || wrong.Record != test.record || wrong.Member != test.member || out != nil {
				t.Fatalf("%s, %v: want an error of record %d, member %q", out, err, test.record, test.member)
			}
			if !strings.Contains(err.Error(), wrong.Reason) || !strings.Contains(err.Error(), test.member) || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the text is %v", err)
			}
		})
	}
}

func TestOddEventsAreTaken(t *testing.T) {
	for name, test := range map[string]struct{ payload, want string }{
		"an empty batch":         {`{"records":[]}`, ``},
		"unknown members":        {`{"x":[{}],"records":[{"recordId":"1","data":"eA==","y":{"z":null}}]}`, `{"recordId":"1","result":"Ok","data":"WA=="}`},
		"empty data":             {`{"records":[{"recordId":"1","data":""}]}`, `{"recordId":"1","result":"Ok","data":""}`},
		"an id with quotes":      {`{"records":[{"recordId":"a\"b","data":"eA=="}]}`, `{"recordId":"a\"b","result":"Ok","data":"WA=="}`},
		"a position of no parts": {`{"records":[{"recordId":"1","data":"eA==","kinesisRecordMetadata":{"subsequenceNumber":""}}]}`, `{"recordId":"1","result":"Ok","data":"WA=="}`}, // as documented
	} {
		out, err := firehose.Transform(upper, firehose.Options{Log: quiet}).Invoke(t.Context(), []byte(test.payload))
		if err != nil || string(out) != `{"records":[`+test.want+`]}` {
			t.Errorf("%s: %s, %v", name, out, err)
		}
	}
}

// A topic's messages have another name for their data, on the way back, too.
func TestMessagesOfATopic(t *testing.T) {
	const message = `{"recordId":"%s","approximateArrivalTimestamp":1716369573887,"mskRecordMetadata":{"offset":"%d","partitionId":"3","approximateArrivalTimestamp":1716369573887}%s}`
	value := func(data string) string {
		return fmt.Sprintf(`,"kafkaRecordValue":%q`, base64.StdEncoding.EncodeToString([]byte(data)))
	}
	in := `{"invocationId":"","sourceMSKArn":"arn:msk","deliveryStreamArn":"arn:d","region":"us-east-1","records":[` +
		fmt.Sprintf(message, "a", 41, value("x")) + "," + fmt.Sprintf(message, "b", 42, value("drop")) + "," + fmt.Sprintf(message, "c", 43, value("fail")) + "," +
		fmt.Sprintf(message, "d", 44, "") + `]}`
	var at []firehose.Offset
	h := firehose.Transform(func(ctx context.Context, r firehose.Record) (firehose.Answer, error) {
		if r.Kinesis != nil || !r.Arrival.Equal(time.UnixMilli(1716369573887)) {
			t.Errorf("the record is %+v", r)
		}
		at = append(at, *r.Kafka)
		return upper(ctx, r)
	}, firehose.Options{Log: quiet})
	out, err := h.Invoke(t.Context(), []byte(in))
	const want = `{"records":[{"recordId":"a","result":"Ok","kafkaRecordValue":"WA=="},{"recordId":"b","result":"Dropped","kafkaRecordValue":""},` +
		`{"recordId":"c","result":"ProcessingFailed","kafkaRecordValue":"ZmFpbA=="},{"recordId":"d","result":"Ok","kafkaRecordValue":""}]}`
	if err != nil || string(out) != want {
		t.Errorf("%v\n got %s\nwant %s", err, out, want)
	}
	if fmt.Sprint(at) != "[{3 41} {3 42} {3 43} {3 44}]" {
		t.Errorf("the messages are at %v", at)
	}
}

func TestTheTransformsLogHasNoData(t *testing.T) {
	var log bytes.Buffer
	h := firehose.Transform(upper, firehose.Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8476a536"})
	if _, err := h.Invoke(ctx, payload("secret", "fail", "panic", "drop")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"requestId":"8476a536"`, `"recordId":"id-1"`, `"error":"not a record"`, "firehose_test.go", `"records":4,"dropped":1,"failed":2`} {
		if !strings.Contains(log.String(), want) || strings.Contains(log.String(), "secret") {
			t.Errorf("the log lacks %s, or has data:\n%s", want, &log)
		}
	}
}

func TestATransformWithoutAFunctionFailsInsteadOfItsRecords(t *testing.T) {
	for name, h := range map[string]lambda.Handler{
		"Transform": firehose.Transform(nil, firehose.Options{Log: quiet}), "Logs": firehose.Logs(nil, firehose.Options{Log: quiet}),
	} {
		if out, err := h.Invoke(t.Context(), payload("x")); err == nil || !strings.Contains(err.Error(), "no function") {
			t.Errorf("%s: %s, %v", name, out, err)
		}
	}
	o := firehose.Options{Log: quiet, Reingest: firehose.ToStream(nil)}.WithLimit(200)
	if out, err := firehose.Transform(upper, o).Invoke(t.Context(), payload(strings.Repeat("x", 300))); err == nil || !strings.Contains(err.Error(), "no producer") {
		t.Errorf("ToStream: %s, %v", out, err)
	}
	o = firehose.Options{Log: quiet, Failed: func(context.Context, int) { panic("no metrics") }}
	if out, err := firehose.Transform(upper, o).Invoke(t.Context(), payload("fail")); err == nil || out != nil || !strings.Contains(err.Error(), "no metrics") {
		t.Errorf("Failed: %s, %v", out, err)
	}
}

func TestLargeEventsOfFirehose(t *testing.T) {
	for name, test := range map[string]struct {
		records, size int
		want          string
	}{
		"10,000 records":     {10_000, 100, "Ok"},
		"a record of 1 MiB":  {1, 1 << 20, "Ok"},
		"a record of 10 MiB": {1, 10 << 20, "ProcessingFailed"}, // Lambda takes no answer with it
	} {
		t.Run(name, func(t *testing.T) {
			data := make([]string, test.records)
			for i := range data {
				data[i] = strings.Repeat("x", test.size)
			}
			text, err := firehose.Transform(upper, firehose.Options{Log: quiet}).Invoke(t.Context(), payload(data...))
			if err != nil || len(text) > firehose.MaximumAnswer {
				t.Fatalf("an answer of %d bytes, %v", len(text), err)
			}
			answers := read(t, text)
			for i, r := range answers {
				if r.RecordID != fmt.Sprintf("id-%d", i) || r.Result != test.want || r.Result == "Ok" && string(r.Data) != strings.ToUpper(data[i]) {
					t.Fatalf("record %d is answered %s %s", i, r.RecordID, r.Result)
				}
			}
			if len(answers) != test.records {
				t.Errorf("%d answers for %d records", len(answers), test.records)
			}
		})
	}
}

// stream is a Kinesis stream that takes everything, or nothing.
type stream struct {
	records []string
	err     error
}

func (s *stream) PutRecords(_ context.Context, in *kinesis.PutRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	if s.err != nil {
		return nil, s.err
	}
	out := &kinesis.PutRecordsOutput{FailedRecordCount: aws.Int32(0)}
	for _, r := range in.Records {
		s.records = append(s.records, *r.PartitionKey+"="+string(r.Data))
		out.Records = append(out.Records, types.PutRecordsResultEntry{SequenceNumber: aws.String("1"), ShardId: aws.String("s")})
	}
	return out, nil
}

func TestAnAnswerThatWouldBeTooLarge(t *testing.T) {
	for name, test := range map[string]struct {
		reingest bool
		broken   error
		want     string // results
		again    int
	}{
		"the rest fails, and Firehose keeps its payload": {want: "Ok ProcessingFailed ProcessingFailed"},
		"the rest comes again":                           {reingest: true, want: "Ok Dropped Dropped", again: 2},
		"the rest can't be put back":                     {reingest: true, broken: errors.New("throttled"), want: "error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stream{err: test.broken}
			o := firehose.Options{Log: quiet}.WithLimit(1000)
			if test.reingest {
				p, err := producer.New(s, "telemetry", producer.Options{Attempts: 1})
				if err != nil {
					t.Fatal(err)
				}
				o.Reingest = firehose.ToStream(p)
			}
			big := strings.Repeat("x", 400)
			text, err := firehose.Transform(upper, o).Invoke(t.Context(), payload(big, big, big))
			var results []string
			if err != nil {
				results = []string{"error"}
			} else {
				for _, r := range read(t, text) {
					results = append(results, r.Result)
				}
			}
			if got := strings.Join(results, " "); got != test.want || len(s.records) != test.again {
				t.Errorf("the answers are %s and %d records come again, want %s and %d (%v)", got, len(s.records), test.want, test.again, err)
			}
			for _, r := range s.records {
				if r != "kxxx="+big {
					t.Errorf("put back is %.20q", r)
				}
			}
		})
	}
}

// Whatever the records and the limit: each id is answered once, in order, within
// the limit, and nothing is answered Ok with other data than f's.
func TestNoAnswerOutgrowsItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "drop", "fail", "keys", "table", strings.Repeat("y", 300), strings.Repeat("z", 3000)}), 0, 30).Draw(t, "data")
		least := 50 + 80*len(data) // the records' envelopes alone
		limit := rapid.IntRange(least, least+8000).Draw(t, "limit")
		in, topic := payload(data...), rapid.Bool().Draw(t, "of a topic")
		if topic {
			in = bytes.ReplaceAll(in, []byte(`"data":`), []byte(`"kafkaRecordValue":`))
		}
		text, err := firehose.Transform(upper, firehose.Options{Log: quiet}.WithLimit(limit)).Invoke(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > limit {
			t.Fatalf("the answer has %d bytes, its limit is %d", len(text), limit)
		}
		if topic {
			text = bytes.ReplaceAll(text, []byte(`"kafkaRecordValue":`), []byte(`"data":`))
		}
		out := read(t, text)
		if len(out) != len(data) {
			t.Fatalf("%d answers for %d records", len(out), len(data))
		}
		for i, r := range out {
			if r.RecordID != fmt.Sprintf("id-%d", i) || r.Result == "Ok" && string(r.Data) != strings.ToUpper(data[i]) || (r.Result == "Dropped") != (data[i] == "drop") {
				t.Fatalf("record %d, %.20q, is answered %s %s %.20q", i, data[i], r.RecordID, r.Result, r.Data)
			}
		}
	})
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func TestCloudWatchLogsAreUnpacked(t *testing.T) {
	const message = `{"messageType":%q,"owner":"123456789012","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[{"id":"1","timestamp":1767225600500,"message":"one"},{"id":"2","timestamp":1767225600501,"message":"%s"}]}`
	h := firehose.Logs(func(ctx context.Context, e firehose.LogEvent) (firehose.Answer, error) {
		if e.Owner != "123456789012" || e.LogGroup != "g" || e.LogStream != "s" || len(e.SubscriptionFilters) != 1 || e.Time.UnixMilli() < 1767225600500 {
			t.Errorf("the event is %+v", e)
		}
		return upper(ctx, firehose.Record{Data: []byte(e.Message)})
	}, firehose.Options{Log: quiet})
	data := func(kind, second string) string { return zipped(fmt.Sprintf(message, kind, second)) }
	text, err := h.Invoke(t.Context(), payload(
		data("DATA_MESSAGE", "two"), data("DATA_MESSAGE", "drop"), data("DATA_MESSAGE", "fail"), data("CONTROL_MESSAGE", "x"),
		data("OTHER", "x"), "plain", zipped("{"), zipped(strings.Repeat(" ", 65<<20)),
	))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range read(t, text) {
		if r.Result == "Ok" {
			r.Result += ":" + string(r.Data)
		}
		got = append(got, r.Result)
	}
	const failed = " ProcessingFailed"
	if want := "Ok:ONETWO Ok:ONE" + failed + " Dropped" + failed + failed + failed + failed; strings.Join(got, " ") != want {
		t.Errorf("the answers are %q, want %q", got, want)
	}
}

func ExampleTransform() {
	handler := firehose.Transform(func(_ context.Context, r firehose.Record) (firehose.Answer, error) {
		var order struct{ Country string }
		if err := json.Unmarshal(r.Data, &order); err != nil {
			return firehose.Answer{}, err // under the error prefix, with its payload
		}
		return firehose.Ok(append(r.Data, '\n')).Partition(map[string]string{"country": order.Country}), nil
	}, firehose.Options{Log: quiet})

	answer, err := handler.Invoke(context.Background(), payload(`{"Country":"fr"}`))
	fmt.Println(string(answer), err)
	// Output: {"records":[{"recordId":"id-0","result":"Ok","data":"eyJDb3VudHJ5IjoiZnIifQo=","metadata":{"partitionKeys":{"country":"fr"}}}]} <nil>
}

// A transform that keeps the errors of a log group's functions.
func ExampleLogs() {
	handler := firehose.Logs(func(_ context.Context, e firehose.LogEvent) (firehose.Answer, error) {
		if !strings.Contains(e.Message, "ERROR") {
			return firehose.Drop(), nil
		}
		return firehose.Ok([]byte(e.LogGroup + ": " + e.Message + "\n")), nil
	}, firehose.Options{Log: quiet})

	answer, err := handler.Invoke(context.Background(), payload(zipped(`{"messageType":"DATA_MESSAGE","logGroup":"/aws/lambda/orders",
		"logEvents":[{"id":"1","message":"START"},{"id":"2","message":"ERROR no stock"}]}`)))
	var out events.KinesisFirehoseResponse
	fmt.Println(err, json.Unmarshal(answer, &out))
	fmt.Printf("%s %s", out.Records[0].Result, out.Records[0].Data)
	// Output:
	// <nil> <nil>
	// Ok /aws/lambda/orders: ERROR no stock
}
