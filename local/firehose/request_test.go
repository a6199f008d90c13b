package firehose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/google/go-cmp/cmp"
)

// server answers the requests of a destination and keeps them.
type server struct {
	answer   func(n int, r *http.Request, body string) (int, string)
	requests []string
	headers  []http.Header
}

func (s *server) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	text := string(body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		text = gunzip(text)
	}
	s.requests = append(s.requests, r.Method+" "+r.URL.String()+" "+text)
	s.headers = append(s.headers, r.Header)
	status, answer := s.answer(len(s.requests), r, text)
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

var failuresPlace = &types.S3DestinationDescription{
	BucketARN: aws.String("arn:aws:s3:::b"), Prefix: aws.String("back/"),
	BufferingHints: &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(0)},
}

func httpStream(change func(*types.HttpEndpointDestinationDescription)) *Description {
	x := &types.HttpEndpointDestinationDescription{
		EndpointConfiguration:    &types.HttpEndpointDescription{Url: aws.String("https://example.com/in")},
		BufferingHints:           &types.HttpEndpointBufferingHints{IntervalInSeconds: aws.Int32(60)},
		RetryOptions:             &types.HttpEndpointRetryOptions{DurationInSeconds: aws.Int32(10)},
		S3DestinationDescription: failuresPlace,
	}
	if change != nil {
		change(x)
	}
	return wrapped(types.DestinationDescription{HttpEndpointDestinationDescription: x})
}

// accepted is the answer that Firehose wants.
func accepted(r *http.Request) string {
	return `{"requestId":"` + r.Header.Get("X-Amz-Firehose-Request-Id") + `","timestamp":1}`
}

func TestHTTPEndpoint(t *testing.T) {
	to := &server{answer: func(_ int, r *http.Request, _ string) (int, string) { return 200, accepted(r) }}
	b := start(t, httpStream(func(x *types.HttpEndpointDestinationDescription) {
		x.RequestConfiguration = &types.HttpEndpointRequestConfiguration{
			ContentEncoding:  types.ContentEncodingGzip,
			CommonAttributes: []types.HttpEndpointCommonAttribute{{AttributeName: aws.String("a"), AttributeValue: aws.String("b")}},
		}
	}), Options{HTTP: to, Credential: "key"})
	b.add("hello", "world")
	b.after(time.Minute)
	want := []string{`POST https://example.com/in {"requestId":"` + id(1) + `","timestamp":1772600827890,"records":[{"data":"aGVsbG8="},{"data":"d29ybGQ="}]}`}
	if diff := cmp.Diff(want, to.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Content-Encoding": "gzip", "X-Amz-Firehose-Protocol-Version": "1.0", "X-Amz-Firehose-Access-Key": "key",
		"X-Amz-Firehose-Request-Id": id(1), "X-Amz-Firehose-Source-Arn": "arn:aws:firehose:eu-west-1:123456789012:deliverystream/s",
		"X-Amz-Firehose-Common-Attributes": `{"commonAttributes":{"a":"b"}}`,
	} {
		if got := to.headers[0].Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if st := b.Stats(); st.Delivered != 2 {
		t.Errorf("stats %+v", st)
	}
	b.want(nil)
}

func TestHTTPEndpointThatFails(t *testing.T) {
	tests := []struct {
		name     string
		answer   func(n int, r *http.Request, body string) (int, string)
		requests int // in 10 s of retries: at 0, 1, 3, 7 and 10 s
		code     string
	}{
		{"error status", func(int, *http.Request, string) (int, string) { return 500, "no" }, 5, "HttpEndpoint.DestinationException"},
		{"no connection", func(int, *http.Request, string) (int, string) { return 0, "" }, 5, "HttpEndpoint.ConnectionFailed"},
		{"redirect", func(int, *http.Request, string) (int, string) { return 302, "" }, 5, "HttpEndpoint.DestinationException"},
		{"201", func(_ int, r *http.Request, _ string) (int, string) { return 201, accepted(r) }, 5, "HttpEndpoint.DestinationException"},
		{"another request's answer", func(int, *http.Request, string) (int, string) { return 200, `{"requestId":"x","timestamp":1}` }, 5, "HttpEndpoint.InvalidResponseFromDestination"},
		{"no timestamp", func(_ int, r *http.Request, _ string) (int, string) {
			return 200, strings.ReplaceAll(accepted(r), "timestamp", "time")
		}, 5, "HttpEndpoint.InvalidResponseFromDestination"},
		{"too large", func(int, *http.Request, string) (int, string) { return 413, "" }, 1, "HttpEndpoint.DestinationException"},
		{"at last accepted", func(n int, r *http.Request, _ string) (int, string) {
			if n < 3 {
				return 503, ""
			}
			return 200, accepted(r)
		}, 3, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			to := &server{answer: test.answer}
			b := start(t, httpStream(nil), Options{HTTP: to})
			b.add("hello")
			if err := b.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			if len(to.requests) != test.requests {
				t.Errorf("%d requests, want %d", len(to.requests), test.requests)
			}
			for _, h := range to.headers {
				if h.Get("X-Amz-Firehose-Request-Id") != id(1) {
					t.Error("a retry has another request id")
				}
			}
			b.balanced()
			if test.code == "" {
				b.want(nil)
				return
			}
			for key, body := range b.s3.bodies() {
				d := documents(t, body)[0]
				if !strings.HasPrefix(key, "b/back/http-endpoint-failed/2026/03/04/05/") || d.ErrorCode != test.code || d.AttemptsMade != test.requests || d.RawData != "aGVsbG8=" ||
					d.DataID == "" || d.SubsequenceNumber == nil {
					t.Errorf("%s: %+v", key, d)
				}
			}
		})
	}
}

func TestAllDataIsBackedUp(t *testing.T) {
	to := &server{answer: func(_ int, r *http.Request, _ string) (int, string) { return 200, accepted(r) }}
	b := start(t, httpStream(func(x *types.HttpEndpointDestinationDescription) {
		x.S3BackupMode = types.HttpEndpointS3BackupModeAllData
	}), Options{HTTP: to})
	b.add("hello")
	b.after(time.Minute)
	b.want(map[string]string{"b/back/2026/03/04/05/" + name + id(2): "hello"})
}

func openSearchStream(change func(*types.AmazonopensearchserviceDestinationDescription)) *Description {
	x := &types.AmazonopensearchserviceDestinationDescription{
		ClusterEndpoint: aws.String("https://search"), IndexName: aws.String("i"), IndexRotationPeriod: types.AmazonopensearchserviceIndexRotationPeriodOneDay,
		RetryOptions:             &types.AmazonopensearchserviceRetryOptions{DurationInSeconds: aws.Int32(2)},
		S3DestinationDescription: failuresPlace,
	}
	if change != nil {
		change(x)
	}
	return wrapped(types.DestinationDescription{AmazonopensearchserviceDestinationDescription: x})
}

func TestOpenSearchRetriesOnlyWhatFailed(t *testing.T) {
	first := strings.Repeat("0", 55) + "1000000.0"
	second := strings.Repeat("0", 55) + "2000000.0"
	bad := `{"index":{"status":400,"error":{"type":"mapper_parsing_exception"}}}`
	to := &server{answer: func(n int, _ *http.Request, _ string) (int, string) {
		if n == 1 {
			return 200, `{"errors":true,"items":[{"index":{"status":201}},` + bad + `]}`
		}
		return 200, `{"errors":true,"items":[` + bad + `]}`
	}}
	b := start(t, openSearchStream(nil), Options{HTTP: to, Endpoint: "http://localhost:9200/"})
	b.add("{\"a\":1}\n", "{\n\"a\":\n\"x\"}")
	if err := b.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	again := `POST http://localhost:9200/_bulk {"index":{"_index":"i-2026-03-04","_id":"` + second + `"}}` + "\n" + `{"a":"x"}` + "\n"
	want := []string{
		`POST http://localhost:9200/_bulk {"index":{"_index":"i-2026-03-04","_id":"` + first + `"}}` + "\n" + `{"a":1}` + "\n" +
			`{"index":{"_index":"i-2026-03-04","_id":"` + second + `"}}` + "\n" + `{"a":"x"}` + "\n",
		again, again,
	}
	if diff := cmp.Diff(want, to.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	bodies := b.s3.bodies()
	d := documents(t, bodies["b/back/AmazonOpenSearchService-failed/2026/03/04/05/"+name+id(2)])
	if len(bodies) != 1 || len(d) != 1 || d[0].ErrorCode != "400" || d[0].ErrorMessage != `{"type":"mapper_parsing_exception"}` || d[0].AttemptsMade != 3 ||
		d[0].ESDocumentID != second || d[0].ESIndexName != "i-2026-03-04" {
		t.Errorf("objects %v", bodies)
	}
	if st := b.Stats(); st.Delivered != 1 || st.Failed != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestOpenSearchAnswersThatArentTrusted(t *testing.T) {
	for _, answer := range []string{"", "{}", `{"items":[]}`, `{"items":[{"create":{"status":201}}]}`} {
		to := &server{answer: func(int, *http.Request, string) (int, string) { return 200, answer }}
		b := start(t, openSearchStream(nil), Options{HTTP: to})
		b.add("{}")
		if err := b.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if st := b.Stats(); st.Failed != 1 {
			t.Errorf("%s: stats %+v", answer, st)
		}
	}
}

func TestIndexRotation(t *testing.T) {
	arrival := time.Date(2016, 2, 25, 13, 0, 0, 0, time.UTC)
	for rotation, want := range map[string]string{
		"": "myindex", "NoRotation": "myindex", "OneHour": "myindex-2016-02-25-13", "OneDay": "myindex-2016-02-25", "OneWeek": "myindex-2016-w09", "OneMonth": "myindex-2016-02",
	} {
		o := openSearch{index: "myindex", rotation: rotation}
		if got := o.indexOf(arrival); got != want {
			t.Errorf("%s: %s, want %s", rotation, got, want)
		}
	}
}

func TestNoDocumentID(t *testing.T) {
	to := &server{answer: func(int, *http.Request, string) (int, string) { return 200, `{"items":[{"index":{"status":201}}]}` }}
	b := start(t, openSearchStream(func(x *types.AmazonopensearchserviceDestinationDescription) {
		x.DocumentIdOptions = &types.DocumentIdOptions{DefaultDocumentIdFormat: types.DefaultDocumentIdFormatNoDocumentId}
		x.IndexRotationPeriod = types.AmazonopensearchserviceIndexRotationPeriodNoRotation
		x.TypeName = aws.String("t")
	}), Options{HTTP: to})
	b.add("{}")
	b.after(5 * time.Minute)
	want := []string{`POST https://search/_bulk {"index":{"_index":"i","_type":"t"}}` + "\n{}\n"}
	if diff := cmp.Diff(want, to.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// What tests/opensearch saw a node do, in a form that needs none.
func TestACollectionsFailedDocumentsAndNewLinesInThem(t *testing.T) {
	to := &server{answer: func(int, *http.Request, string) (int, string) {
		return 200, `{"items":[{"index":{"status":400,"error":{}}}]}`
	}}
	b := start(t, wrapped(types.DestinationDescription{AmazonOpenSearchServerlessDestinationDescription: &types.AmazonOpenSearchServerlessDestinationDescription{
		CollectionEndpoint: aws.String("https://search"), IndexName: aws.String("i"), S3DestinationDescription: failuresPlace,
		RetryOptions: &types.AmazonOpenSearchServerlessRetryOptions{DurationInSeconds: aws.Int32(0)},
	}}), Options{HTTP: to})
	b.add("{\"text\":\"two\nlines\"}")
	if err := b.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	// A text can't hold a new line: made a space, the record would become another.
	if want := "POST https://search/_bulk {\"index\":{\"_index\":\"i\"}}\n{\"text\":\"two\x00lines\"}\n"; to.requests[0] != want {
		t.Errorf("got  %q\nwant %q", to.requests[0], want)
	}
	for key, body := range b.s3.bodies() {
		if d := documents(t, body)[0]; !strings.Contains(key, "AmazonOpenSearchService-failed/") || d.OSIndexName != "i" || d.ESIndexName != "" {
			t.Errorf("%s: %s", key, body)
		}
	}
}

func splunkStream(kind types.HECEndpointType) *Description {
	return wrapped(types.DestinationDescription{SplunkDestinationDescription: &types.SplunkDestinationDescription{
		HECEndpoint: aws.String("https://splunk:8088"), HECToken: aws.String("token"), HECEndpointType: kind, HECAcknowledgmentTimeoutInSeconds: aws.Int32(180),
		RetryOptions: &types.SplunkRetryOptions{DurationInSeconds: aws.Int32(60)}, S3DestinationDescription: failuresPlace,
	}})
}

func TestSplunkAcknowledges(t *testing.T) {
	to := &server{answer: func(n int, _ *http.Request, _ string) (int, string) {
		return 200, []string{`{"text":"Success","code":0,"ackId":7}`, `{"acks":{"7":false}}`, `{"acks":{"7":true}}`}[n-1]
	}}
	b := start(t, splunkStream(types.HECEndpointTypeRaw), Options{HTTP: to})
	b.add("one\n", "two\n")
	b.after(time.Minute)
	if st := b.Stats(); st.Delivered != 0 || st.Buffered != 2 {
		t.Errorf("delivered before it was acknowledged: %+v", st)
	}
	b.after(2 * time.Second)
	b.after(2 * time.Second)
	want := []string{
		"POST https://splunk:8088/services/collector/raw?channel=" + id(1) + " one\ntwo\n",
		"POST https://splunk:8088/services/collector/ack?channel=" + id(1) + ` {"acks":[7]}`,
		"POST https://splunk:8088/services/collector/ack?channel=" + id(1) + ` {"acks":[7]}`,
	}
	if diff := cmp.Diff(want, to.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if h := to.headers[0]; h.Get("Authorization") != "Splunk token" || h.Get("X-Splunk-Request-Channel") != id(1) {
		t.Errorf("headers %v", h)
	}
	if st := b.Stats(); st.Delivered != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestSplunkThatNeverAcknowledges(t *testing.T) {
	sent := 0
	to := &server{answer: func(_ int, r *http.Request, _ string) (int, string) {
		if strings.HasSuffix(r.URL.Path, "/event") {
			sent++
			return 200, fmt.Sprintf(`{"ackId":%d}`, sent)
		}
		return 200, `{"acks":{}}`
	}}
	b := start(t, splunkStream(types.HECEndpointTypeEvent), Options{HTTP: to})
	if err := b.Add(Record{Data: []byte("one"), Kinesis: &Position{SequenceNumber: "495"}}); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	// The first failure comes after 180 s, then there are 60 s for another attempt.
	if sent != 2 {
		t.Errorf("sent %d times", sent)
	}
	for key, body := range b.s3.bodies() {
		d := documents(t, body)[0]
		if !strings.HasPrefix(key, "b/back/splunk-failed/") || d.ErrorCode != "Splunk.AckTimeout" || d.EventID != "495.0" || d.RawData != "b25l" {
			t.Errorf("%s: %+v", key, d)
		}
	}
	if st := b.Stats(); st.Failed != 1 {
		t.Errorf("stats %+v", st)
	}
}

// copies is a Copier.
type copies func(c Copy) error

func (f copies) Copy(_ context.Context, c Copy) error { return f(c) }

func redshiftStream() *Description {
	return wrapped(types.DestinationDescription{RedshiftDestinationDescription: &types.RedshiftDestinationDescription{
		ClusterJDBCURL: aws.String("jdbc:redshift://c:5439/db"), Username: aws.String("u"), RoleARN: aws.String("arn:role"),
		CopyCommand:  &types.CopyCommand{DataTableName: aws.String("t"), DataTableColumns: aws.String("a,b"), CopyOptions: aws.String("JSON 'auto' GZIP")},
		RetryOptions: &types.RedshiftRetryOptions{DurationInSeconds: aws.Int32(5)},
		S3DestinationDescription: &types.S3DestinationDescription{
			BucketARN: aws.String("arn:aws:s3:::b"), Prefix: aws.String("p/"), CompressionFormat: types.CompressionFormatGzip,
			BufferingHints: &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(60)},
		},
	}})
}

func TestRedshift(t *testing.T) {
	var got []Copy
	b := start(t, redshiftStream(), Options{Copy: copies(func(c Copy) error { got = append(got, c); return nil })})
	b.add(`{"a":1}`)
	b.after(time.Minute)
	object := "p/2026/03/04/05/" + name + id(1) + ".gz"
	manifest := "p/manifests/2026/03/04/05/" + name + id(1)
	b.want(map[string]string{
		"b/" + object:   `{"a":1}`,
		"b/" + manifest: `{"entries":[{"url":"s3://b/` + object + `","mandatory":true}]}`,
	})
	want := []Copy{{
		JDBCURL: "jdbc:redshift://c:5439/db", User: "u", Bucket: "b", Object: object, Manifest: manifest,
		Statement: "COPY t (a,b) FROM 's3://b/" + manifest + "' CREDENTIALS 'aws_iam_role=arn:role' MANIFEST JSON 'auto' GZIP;",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if st := b.Stats(); st.Delivered != 1 {
		t.Errorf("stats %+v", st)
	}
}

// Credentials in Secrets Manager come before those in the description.
func TestRedshiftsSecret(t *testing.T) {
	d := redshiftStream()
	d.Destinations[0].RedshiftDestinationDescription.SecretsManagerConfiguration = &types.SecretsManagerConfiguration{Enabled: aws.Bool(true), SecretARN: aws.String("arn:secret")}
	var got Copy
	b := start(t, d, Options{Copy: copies(func(c Copy) error { got = c; return nil })})
	b.add(`{"a":1}`)
	b.after(time.Minute)
	if got.Secret != "arn:secret" || got.User != "" {
		t.Errorf("%+v", got)
	}
	d.Destinations[0].RedshiftDestinationDescription.SecretsManagerConfiguration.SecretARN = nil
	if _, err := New(d, Options{S3: b.s3, Copy: copies(nil)}); err == nil || !strings.Contains(err.Error(), "SecretARN") {
		t.Errorf("without a secret: %v", err)
	}
}

func TestRedshiftThatFails(t *testing.T) {
	calls := 0
	b := start(t, redshiftStream(), Options{Copy: copies(func(Copy) error { calls++; return errors.New("no such table") })})
	b.add(`{"a":1}`)
	if err := b.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if calls != 4 { // at 0, 1, 3 and 5 s
		t.Errorf("%d COPY statements", calls)
	}
	body := b.s3.bodies()["b/p/errors/manifests/2026/03/04/05/"+name+id(1)]
	var manifest struct{ Entries []struct{ URL string } }
	if err := json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&manifest); err != nil || len(manifest.Entries) != 1 {
		t.Errorf("objects %v", b.s3.keys())
	}
	if st := b.Stats(); st.Failed != 1 || st.Delivered != 0 {
		t.Errorf("stats %+v", st)
	}
}

// stopping is a context that ends when it is told to, and what fails then.
func stopping() (context.Context, func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	return ctx, func() error { cancel(); return ctx.Err() }
}

func TestStoppingIsNoFailureOfTheOtherSide(t *testing.T) {
	t.Run("transform", func(t *testing.T) {
		ctx, stop := stopping()
		calls := 0
		b := transformed(t, func(e event) (any, error) {
			if calls++; calls == 1 {
				return nil, stop()
			}
			return upper(e)
		}, "NumberOfRetries", "0")
		b.add("a")
		b.Tick(ctx)
		if err := b.Close(context.Background()); err != nil || b.Stats().Delivered != 1 {
			t.Errorf("error %v, stats %+v", err, b.Stats())
		}
	})
	t.Run("HTTP", func(t *testing.T) {
		ctx, stop := stopping()
		to := &server{answer: func(n int, r *http.Request, _ string) (int, string) {
			if n == 1 {
				_ = stop()
				return 0, ""
			}
			return 200, accepted(r)
		}}
		b := start(t, httpStream(func(x *types.HttpEndpointDestinationDescription) { x.RetryOptions.DurationInSeconds = aws.Int32(0) }), Options{HTTP: to})
		b.add("a")
		b.clock.move(time.Minute)
		b.Tick(ctx)
		if err := b.Close(context.Background()); err != nil || b.Stats().Delivered != 1 {
			t.Errorf("error %v, stats %+v", err, b.Stats())
		}
	})
	t.Run("Redshift", func(t *testing.T) {
		ctx, stop := stopping()
		d := redshiftStream()
		d.Destinations[0].RedshiftDestinationDescription.RetryOptions.DurationInSeconds = aws.Int32(0)
		calls := 0
		b := start(t, d, Options{Copy: copies(func(Copy) error {
			if calls++; calls == 1 {
				return stop()
			}
			return nil
		})})
		b.add("a")
		b.clock.move(time.Minute)
		for range 3 { // the object, the manifest, the COPY
			b.Tick(ctx)
		}
		if err := b.Close(context.Background()); err != nil || b.Stats().Delivered != 1 || calls != 2 {
			t.Errorf("error %v, %d statements, stats %+v", err, calls, b.Stats())
		}
	})
}

// Whatever a destination answers, each record ends somewhere and is counted once.
func FuzzEndpoint(f *testing.F) {
	for _, answer := range []string{
		`{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":429,"error":{"type":"cluster_block_exception"}}}]}`,
		`{"text":"Success","code":0,"ackId":0}`, `{"acks":{"0":true}}`, `{"text":"Invalid token","code":4}`, `{"requestId":"` + id(1) + `","timestamp":1}`, "", "[]", "null", "\x00",
	} {
		f.Add(200, answer)
		f.Add(503, answer)
	}
	f.Fuzz(func(t *testing.T, status int, answer string) {
		for name, d := range map[string]*Description{
			"OpenSearch": openSearchStream(nil), "Splunk": splunkStream(types.HECEndpointTypeRaw), "HTTP": httpStream(nil),
		} {
			to := &server{answer: func(int, *http.Request, string) (int, string) { return status, answer }}
			b := start(t, d, Options{HTTP: to})
			b.add(`{"n":1}`, `{"n":2}`)
			if err := b.Flush(context.Background()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			b.balanced()
			failed := 0
			for _, body := range b.s3.bodies() {
				failed += len(documents(t, body))
			}
			if st := b.Stats(); st.Delivered+st.Failed != 2 || st.Failed != int64(failed) {
				t.Errorf("%s: %d documents, stats %+v", name, failed, st)
			}
		}
	})
}
