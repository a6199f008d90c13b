// Package opensearch delivers through local/firehose to a real OpenSearch node, which
// `make test-opensearch` brings and this package starts: what a node answers to bulk
// requests isn't guessed.
package opensearch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/local/firehose"
)

var classpath = flag.String("opensearch.classpath", "", "file with the class path of an OpenSearch node; make test-opensearch makes it")

// node is the address of the node that all tests use, each with indexes of its own.
var node string

func TestMain(m *testing.M) {
	flag.Parse()
	if *classpath == "" {
		fmt.Println("There is no OpenSearch node to deliver to; make test-opensearch brings one.")
		os.Exit(m.Run())
	}
	stop, err := startNode()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting an OpenSearch node:", err)
		os.Exit(1)
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// startNode starts a node and waits for its address.
func startNode() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "opensearch")
	if err != nil {
		return nil, err
	}
	jars, err := os.ReadFile(*classpath)
	if err != nil {
		return nil, err
	}
	// The class path is longer than some systems let an argument be.
	arguments := filepath.Join(dir, "arguments")
	if err := os.WriteFile(arguments, append([]byte("-cp "), jars...), 0o600); err != nil {
		return nil, err
	}
	var log bytes.Buffer
	cmd := exec.Command("java", "-Xmx512m", "@"+arguments, "Node.java", filepath.Join(dir, "data"))
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		stdin.Close() // it ends by itself then
		if err := cmd.Wait(); err != nil {
			fmt.Fprintln(os.Stderr, "the node:", err)
		}
		os.RemoveAll(dir)
	}
	out := bufio.NewScanner(stdout)
	for out.Scan() {
		if node = out.Text(); strings.HasPrefix(node, "http://") {
			return stop, nil
		}
	}
	stop()
	return nil, fmt.Errorf("it told no address:\n%s", &log)
}

// client goes to this machine whatever proxy the environment names.
var client = &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}

// call is a request of the test's own to the node.
func call(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	status, answer := request(t, method, path, body)
	if status >= 300 {
		t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

func request(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, node+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// document is one in an index.
type document struct {
	Index   string          `json:"_index"`
	ID      string          `json:"_id"`
	Version int             `json:"_version"`
	Source  json.RawMessage `json:"_source"`
}

// documents are all in the indexes of a pattern, in the order of their content.
func documents(t *testing.T, pattern string) []document {
	t.Helper()
	call(t, "POST", "/"+pattern+"/_refresh", "")
	answer, err := json.Marshal(call(t, "GET", "/"+pattern+"/_search?version=true&size=10000&ignore_unavailable=true", ""))
	if err != nil {
		t.Fatal(err)
	}
	var found struct{ Hits struct{ Hits []document } }
	if err := json.Unmarshal(answer, &found); err != nil {
		t.Fatal(err)
	}
	sort.Slice(found.Hits.Hits, func(i, j int) bool { return string(found.Hits.Hits[i].Source) < string(found.Hits.Hits[j].Source) })
	return found.Hits.Hits
}

// contents are the documents' sources, each as the node has it.
func contents(all []document) []string {
	out := make([]string, len(all))
	for i, d := range all {
		out[i] = string(d.Source)
	}
	return out
}

// clock moves only when somebody waits for it; between attempts it calls meanwhile.
type clock struct {
	mu        sync.Mutex
	now       time.Time
	meanwhile func(waited time.Duration)
}

var began = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	if c.meanwhile != nil {
		c.meanwhile(d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(max(d, 0))
	ch := make(chan time.Time, 1)
	ch <- c.now
	return ch
}

// bucket keeps objects by their keys.
type bucket struct {
	mu      sync.Mutex
	objects map[string]string
}

func (b *bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[aws.ToString(in.Key)] = string(body)
	return &s3.PutObjectOutput{}, nil
}

// failure is a line of an error object.
type failure struct {
	RawData                   string
	ErrorCode, ErrorMessage   string
	AttemptsMade              int
	ESDocumentID, ESIndexName string
	OSDocumentID, OSIndexName string
	ArrivalTimestamp          int64
	AttemptEndingTimestamp    int64
	SubsequenceNumber         *int64
}

// failures are what was written below the error prefix, in the order of the records.
func (b *bucket) failures(t *testing.T) []failure {
	t.Helper()
	var all []failure
	for key, body := range b.objects {
		if !strings.HasPrefix(key, "errors/AmazonOpenSearchService-failed/2026/03/04/05/") {
			continue
		}
		for dec := json.NewDecoder(strings.NewReader(body)); ; {
			var f failure
			if err := dec.Decode(&f); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			data, err := base64.StdEncoding.DecodeString(f.RawData)
			if err != nil {
				t.Fatal(err)
			}
			f.RawData = string(data)
			all = append(all, f)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].RawData < all[j].RawData })
	return all
}

// delivery is a delivery stream to the node.
type delivery struct {
	*firehose.Stream
	t      *testing.T
	clock  *clock
	bucket *bucket
}

// deliver makes a delivery stream to an index, with some changes.
func deliver(t *testing.T, index string, change func(*types.AmazonopensearchserviceDestinationDescription, *firehose.Options)) *delivery {
	t.Helper()
	if *classpath == "" {
		t.Skip("there is no OpenSearch node: use make test-opensearch")
	}
	d := &delivery{t: t, clock: &clock{now: began}, bucket: &bucket{objects: map[string]string{}}}
	x := &types.AmazonopensearchserviceDestinationDescription{
		ClusterEndpoint: aws.String("https://search"), IndexName: aws.String(index), IndexRotationPeriod: types.AmazonopensearchserviceIndexRotationPeriodNoRotation,
		RetryOptions: &types.AmazonopensearchserviceRetryOptions{DurationInSeconds: aws.Int32(300)},
		S3DestinationDescription: &types.S3DestinationDescription{
			BucketARN: aws.String("arn:aws:s3:::b"), Prefix: aws.String("all/"),
			ErrorOutputPrefix: aws.String("errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/"),
		},
	}
	o := firehose.Options{S3: d.bucket, HTTP: client, Endpoint: node, Clock: d.clock, Concurrency: 1}
	if change != nil {
		change(x, &o)
	}
	stream, err := firehose.New(&types.DeliveryStreamDescription{
		DeliveryStreamName: aws.String("d"), DeliveryStreamARN: aws.String("arn:aws:firehose:eu-west-1:123456789012:deliverystream/d"),
		Destinations: []types.DestinationDescription{{AmazonopensearchserviceDestinationDescription: x}},
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	d.Stream = stream
	return d
}

// put delivers records to the end.
func (d *delivery) put(records ...firehose.Record) {
	d.t.Helper()
	if err := d.Add(records...); err != nil {
		d.t.Fatal(err)
	}
	if err := d.Flush(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	st := d.Stats()
	if st.Accepted != st.Delivered+st.Failed || st.Buffered != 0 {
		d.t.Errorf("the numbers don't add up: %+v", st)
	}
}

func records(data ...string) []firehose.Record {
	all := make([]firehose.Record, len(data))
	for i, text := range data {
		all[i] = firehose.Record{Data: []byte(text)}
	}
	return all
}

// kinesis is a record that was read from a stream.
func kinesis(sequence, data string) firehose.Record {
	return firehose.Record{Data: []byte(data), Kinesis: &firehose.Position{ShardID: "shardId-000000000000", SequenceNumber: sequence}}
}

func TestRecordsBecomeDocuments(t *testing.T) {
	d := deliver(t, "plain", nil)
	d.put(records(`{"n":1}`, "{\n  \"n\": 2,\n  \"nested\": {\"text\": \"Zürich 🏁\"}\n}\n", `{"n":3,"nothing":null}`)...)
	want := []string{`{"n":1}`, `{"n":2,"nested":{"text":"Zürich 🏁"}}`, `{"n":3,"nothing":null}`}
	if diff := cmp.Diff(want, contents(documents(t, "plain"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(d.bucket.objects) > 0 {
		t.Errorf("something failed: %v", d.bucket.objects)
	}
}

// The node has memory for about two of these requests at once and refuses others as a
// whole, with 429.
func TestManyDocumentsInSeveralRequests(t *testing.T) {
	const n = 5_000
	d := deliver(t, "many", func(x *types.AmazonopensearchserviceDestinationDescription, o *firehose.Options) {
		x.BufferingHints = &types.AmazonopensearchserviceBufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(60)}
		o.Concurrency, o.Clock = 4, nil // the node needs the real time between attempts
	})
	padding := strings.Repeat("x", 1000)
	for i := range n {
		if err := d.Add(firehose.Record{Data: fmt.Appendf(nil, `{"n":%d,"padding":%q}`, i, padding)}); err != nil {
			t.Fatal(err)
		}
	}
	d.put()
	call(t, "POST", "/many/_refresh", "")
	if got := call(t, "GET", "/many/_count", "")["count"]; got != float64(n) || d.Stats().Delivered != n {
		t.Errorf("%v documents of %d, stats %+v", got, n, d.Stats())
	}
	t.Logf("%d requests were refused; %s", d.Stats().Errors, d.Stats().LastError)
}

func TestARequestThatIsTooLargeForTheNodeFailsWhole(t *testing.T) {
	d := deliver(t, "large", nil)
	text := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 900<<10))
	d.put(records(text, text, text, text)...)
	failed := d.bucket.failures(t)
	if len(failed) != 4 || failed[3].ErrorCode != "429" || failed[3].RawData != text || !strings.Contains(failed[3].ErrorMessage, "rejected_execution_exception") {
		t.Errorf("%d failed, stats %+v", len(failed), d.Stats())
	}
	// Smaller requests get through.
	d = deliver(t, "large", func(x *types.AmazonopensearchserviceDestinationDescription, _ *firehose.Options) {
		x.BufferingHints = &types.AmazonopensearchserviceBufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(60)}
	})
	d.put(records(text, text, text, text)...)
	if d.Stats().Failed != 0 || len(documents(t, "large")) != 4 {
		t.Errorf("stats %+v", d.Stats())
	}
}

func TestIndexesRotateWithTheArrival(t *testing.T) {
	arrivals := []time.Time{
		time.Date(2016, 2, 25, 12, 59, 59, 999_000_000, time.UTC), time.Date(2016, 2, 25, 13, 0, 0, 0, time.UTC),
		time.Date(2016, 2, 26, 0, 30, 0, 0, time.FixedZone("", 3600)),                               // the day before, in UTC
		time.Date(2016, 2, 27, 23, 0, 0, 0, time.UTC), time.Date(2016, 2, 28, 0, 0, 0, 0, time.UTC), // Saturday, Sunday
		time.Date(2015, 12, 31, 23, 59, 59, 0, time.UTC), // in the first week of 2016
	}
	for period, want := range map[types.AmazonopensearchserviceIndexRotationPeriod][]string{
		types.AmazonopensearchserviceIndexRotationPeriodNoRotation: {"", "", "", "", "", ""},
		types.AmazonopensearchserviceIndexRotationPeriodOneHour:    {"-2016-02-25-12", "-2016-02-25-13", "-2016-02-25-23", "-2016-02-27-23", "-2016-02-28-00", "-2015-12-31-23"},
		types.AmazonopensearchserviceIndexRotationPeriodOneDay:     {"-2016-02-25", "-2016-02-25", "-2016-02-25", "-2016-02-27", "-2016-02-28", "-2015-12-31"},
		types.AmazonopensearchserviceIndexRotationPeriodOneWeek:    {"-2016-w09", "-2016-w09", "-2016-w09", "-2016-w09", "-2016-w10", "-2016-w01"},
		types.AmazonopensearchserviceIndexRotationPeriodOneMonth:   {"-2016-02", "-2016-02", "-2016-02", "-2016-02", "-2016-02", "-2015-12"},
	} {
		t.Run(string(period), func(t *testing.T) {
			index := "rotated-" + strings.ToLower(string(period))
			d := deliver(t, index, func(x *types.AmazonopensearchserviceDestinationDescription, _ *firehose.Options) {
				x.IndexRotationPeriod = period
			})
			var in []firehose.Record
			for i, at := range arrivals {
				in = append(in, firehose.Record{Data: fmt.Appendf(nil, `{"n":%d}`, i), Arrival: at})
			}
			d.put(in...)
			var got []string
			for _, doc := range documents(t, index+"*") {
				got = append(got, strings.TrimPrefix(doc.Index, index))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirehosesIdsAreThoseOfTheRecords(t *testing.T) {
	d := deliver(t, "ids", nil)
	d.put(kinesis("49590338271490256608559692538361571095921575989136588898", `{"n":1}`), kinesis("49590338271490256608559692538361571095921575989136588899", `{"n":2}`))
	var got []string
	for _, doc := range documents(t, "ids") {
		got = append(got, doc.ID)
	}
	want := []string{"49590338271490256608559692538361571095921575989136588898.0", "49590338271490256608559692538361571095921575989136588899.0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d = deliver(t, "no-ids", noID)
	d.put(kinesis("495", `{"n":1}`))
	if got := documents(t, "no-ids"); len(got) != 1 || len(got[0].ID) != 20 {
		t.Errorf("want an id of OpenSearch's own, got %+v", got)
	}
}

func noID(x *types.AmazonopensearchserviceDestinationDescription, _ *firehose.Options) {
	x.DocumentIdOptions = &types.DocumentIdOptions{DefaultDocumentIdFormat: types.DefaultDocumentIdFormatNoDocumentId}
}

// A full disk makes OpenSearch refuse writes to an index with 429, document by
// document. Those of other indexes get in at once, and aren't sent again.
func TestDocumentsThatAreRejectedForAWhileAreSentAgain(t *testing.T) {
	const full = "rejected-2026-03-03"
	d := deliver(t, "rejected", func(x *types.AmazonopensearchserviceDestinationDescription, _ *firehose.Options) {
		x.IndexRotationPeriod = types.AmazonopensearchserviceIndexRotationPeriodOneDay
	})
	call(t, "PUT", "/"+full, `{"settings":{"index.blocks.read_only_allow_delete":true}}`)
	attempts := 0
	d.clock.meanwhile = func(waited time.Duration) {
		if waited <= 0 {
			return
		}
		if attempts++; attempts == 1 {
			if st := d.Stats(); st.Delivered != 2 || st.Buffered != 1 || !strings.Contains(st.LastError, "429") || !strings.Contains(st.LastError, "cluster_block_exception") {
				t.Errorf("after the first attempt %+v", st)
			}
		}
		if attempts == 3 {
			call(t, "PUT", "/"+full+"/_settings", `{"index.blocks.read_only_allow_delete":null}`)
		}
	}
	d.put(
		firehose.Record{Data: []byte(`{"n":1}`), Arrival: began},
		firehose.Record{Data: []byte(`{"n":2}`), Arrival: began.Add(-24 * time.Hour)},
		firehose.Record{Data: []byte(`{"n":3}`), Arrival: began},
	)
	got := documents(t, "rejected-*")
	if diff := cmp.Diff([]string{`{"n":1}`, `{"n":2}`, `{"n":3}`}, contents(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, doc := range got {
		if doc.Version != 1 {
			t.Errorf("%s was indexed %d times", doc.Source, doc.Version)
		}
	}
	if st := d.Stats(); st.Failed != 0 || attempts != 3 {
		t.Errorf("%d waits, stats %+v", attempts, st)
	}
}

func TestDocumentsThatAreRejectedToTheEndFail(t *testing.T) {
	d := deliver(t, "full", nil)
	call(t, "PUT", "/full", `{"settings":{"index.blocks.read_only_allow_delete":true}}`)
	d.put(records(`{"n":1}`)...)
	failed := d.bucket.failures(t)
	if len(failed) != 1 || failed[0].ErrorCode != "429" || failed[0].RawData != `{"n":1}` || failed[0].AttemptsMade < 5 {
		t.Errorf("%+v, objects %v", failed, d.bucket.objects)
	}
	if tried := time.UnixMilli(failed[0].AttemptEndingTimestamp).Sub(began); tried < 300*time.Second {
		t.Errorf("given up after %s, before the retry time was over", tried)
	}
}

// What can't be a document ends in S3, with the node's own reason; its neighbours in
// the request are indexed at the first attempt, and once.
func TestWhatCantBeADocumentFailsAlone(t *testing.T) {
	bad := map[string]string{ // by what it holds
		`{"n":"not a number"}`:      "mapper_parsing_exception",
		`not JSON at all`:           "mapper_parsing_exception",
		`{"n":`:                     "mapper_parsing_exception",
		"{\"n\":\n":                 "mapper_parsing_exception",
		"{\"text\":\"two\nlines\"}": "mapper_parsing_exception", // which JSON's texts can't hold
		``:                          "mapper_parsing_exception",
		`[1,2]`:                     "mapper_parsing_exception",
		`{"_id":"mine"}`:            "mapper_parsing_exception",
	}
	d := deliver(t, "bad", nil)
	call(t, "PUT", "/bad", `{"mappings":{"properties":{"n":{"type":"long"}}}}`)
	in := records(`{"n":1}`)
	for data := range bad {
		in = append(in, records(data)...)
	}
	in = append(in, records(`{"n":2}`)...)
	d.put(in...)
	got := documents(t, "bad")
	if diff := cmp.Diff([]string{`{"n":1}`, `{"n":2}`}, contents(got)); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	for _, doc := range got {
		if doc.Version != 1 {
			t.Errorf("%s was indexed %d times", doc.Source, doc.Version)
		}
	}
	failed := d.bucket.failures(t)
	if len(failed) != len(bad) {
		t.Errorf("%d documents failed, want %d: %+v", len(failed), len(bad), failed)
	}
	for _, f := range failed {
		var why struct{ Type string }
		if err := json.Unmarshal([]byte(f.ErrorMessage), &why); err != nil || f.ErrorCode != "400" || bad[f.RawData] != why.Type ||
			f.ESIndexName != "bad" || f.ESDocumentID == "" || f.AttemptsMade < 2 || f.ArrivalTimestamp != began.UnixMilli() {
			t.Errorf("%+v (%v)", f, err)
		}
	}
}

// through sends the stream's requests to the node and loses the answers of the first.
func through(t *testing.T, lost int) (*http.Client, func() int) {
	t.Helper()
	to, err := url.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: client.Transport,
	}
	var mu sync.Mutex
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		answer, err := proxy.Transport.RoundTrip(r)
		mu.Lock()
		defer mu.Unlock()
		if requests++; err == nil && requests <= lost {
			answer.Body.Close()
			return nil, errors.New("connection reset")
		}
		return answer, err
	})}, func() int { mu.Lock(); defer mu.Unlock(); return requests }
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A node that indexed documents and whose answer is lost gets them again. With
// Firehose's ids they overwrite themselves, without they are there twice: that is what
// AWS says of the two.
func TestALostAnswerDuplicatesOnlyDocumentsWithoutIds(t *testing.T) {
	for name, c := range map[string]struct {
		index  string
		change func(*types.AmazonopensearchserviceDestinationDescription, *firehose.Options)
		want   []string
	}{
		"with Firehose's ids":   {"lost-ids", nil, []string{`{"n":1}`, `{"n":2}`}},
		"with OpenSearch's ids": {"lost-no-ids", noID, []string{`{"n":1}`, `{"n":1}`, `{"n":2}`, `{"n":2}`}},
	} {
		t.Run(name, func(t *testing.T) {
			d := deliver(t, c.index, func(x *types.AmazonopensearchserviceDestinationDescription, o *firehose.Options) {
				if c.change != nil {
					c.change(x, o)
				}
				o.HTTP, _ = through(t, 1)
			})
			d.put(records(`{"n":1}`, `{"n":2}`)...)
			if diff := cmp.Diff(c.want, contents(documents(t, c.index))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if st := d.Stats(); st.Delivered != 2 || st.Failed != 0 || st.Errors != 1 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// After a crash a stream's records are read again from the last checkpoint: the same
// holds there.
func TestRecordsReadAgainDuplicateOnlyDocumentsWithoutIds(t *testing.T) {
	for index, c := range map[string]struct {
		change func(*types.AmazonopensearchserviceDestinationDescription, *firehose.Options)
		want   int
	}{"again-ids": {nil, 2}, "again-no-ids": {noID, 4}} {
		for range 2 {
			deliver(t, index, c.change).put(kinesis("495", `{"n":1}`), kinesis("496", `{"n":2}`))
		}
		if got := documents(t, index); len(got) != c.want {
			t.Errorf("%s: %d documents, want %d", index, len(got), c.want)
		}
	}
}

func TestANodeThatIsAwayGetsItsDocumentsLater(t *testing.T) {
	d := deliver(t, "away", func(_ *types.AmazonopensearchserviceDestinationDescription, o *firehose.Options) {
		away := 3
		o.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if away--; away >= 0 {
				return nil, errors.New("connection refused")
			}
			return client.Transport.RoundTrip(r)
		})}
	})
	d.put(records(`{"n":1}`)...)
	if got := documents(t, "away"); len(got) != 1 || got[0].Version != 1 || d.Stats().Errors != 3 {
		t.Errorf("%+v, stats %+v", got, d.Stats())
	}
}

func TestAllRecordsAreBackedUpBesideTheirDocuments(t *testing.T) {
	d := deliver(t, "backed-up", func(x *types.AmazonopensearchserviceDestinationDescription, _ *firehose.Options) {
		x.S3BackupMode = types.AmazonopensearchserviceS3BackupModeAllDocuments
	})
	d.put(records(`{"n":1}`, `oops`)...)
	var all []string
	for key, body := range d.bucket.objects {
		if strings.HasPrefix(key, "all/") {
			all = append(all, body)
		}
	}
	if diff := cmp.Diff([]string{`{"n":1}oops`}, all); diff != "" {
		t.Errorf("backup (-want +got):\n%s", diff)
	}
	if failed := d.bucket.failures(t); len(failed) != 1 || failed[0].RawData != "oops" || len(documents(t, "backed-up")) != 1 {
		t.Errorf("%+v", failed)
	}
}

// OpenSearch 2 knows no types any more: it refuses the whole request, which is why the
// constructs have no setting for one.
func TestATypeNameFailsEverything(t *testing.T) {
	d := deliver(t, "typed", func(x *types.AmazonopensearchserviceDestinationDescription, _ *firehose.Options) {
		x.TypeName = aws.String("t")
	})
	d.put(records(`{"n":1}`, `{"n":2}`)...)
	failed := d.bucket.failures(t)
	if len(failed) != 2 || failed[0].ErrorCode != "400" || !strings.Contains(failed[0].ErrorMessage, "unknown parameter [_type]") {
		t.Errorf("%+v", failed)
	}
}

// A collection names no documents, and its failed ones have fields of their own.
func TestServerless(t *testing.T) {
	index := "serverless"
	d := deliver(t, index, nil) // for its clock and bucket
	stream, err := firehose.New(&types.DeliveryStreamDescription{
		DeliveryStreamName: aws.String("d"),
		Destinations: []types.DestinationDescription{{AmazonOpenSearchServerlessDestinationDescription: &types.AmazonOpenSearchServerlessDestinationDescription{
			CollectionEndpoint: aws.String("https://collection"), IndexName: aws.String(index),
			S3DestinationDescription: &types.S3DestinationDescription{
				BucketARN: aws.String("arn:aws:s3:::b"), ErrorOutputPrefix: aws.String("errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/"), Prefix: aws.String("all/"),
			},
		}}},
	}, firehose.Options{S3: d.bucket, HTTP: client, Endpoint: node, Clock: d.clock, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	d.Stream = stream
	d.put(records(`{"n":1}`, `oops`)...)
	if got := documents(t, index); len(got) != 1 || len(got[0].ID) != 20 {
		t.Errorf("%+v", got)
	}
	failed := d.bucket.failures(t)
	if len(failed) != 1 || failed[0].OSIndexName != index || failed[0].ESIndexName != "" || failed[0].ErrorCode != "400" {
		t.Errorf("%+v, %v", failed, d.bucket.objects)
	}
}

// The constructs refuse exactly the names of indexes that OpenSearch refuses, but for
// the length, of which AWS takes less.
func TestTheConstructsKnowWhichIndexesOpenSearchTakes(t *testing.T) {
	if *classpath == "" {
		t.Skip("there is no OpenSearch node: use make test-opensearch")
	}
	var names []string
	for c := rune(' '); c <= '~'; c++ {
		switch {
		case c >= '1' && c <= '9', c >= 'B' && c <= 'Z', c >= 'b' && c <= 'z': // as 0, A and a
		default:
			names = append(names, "a"+string(c)+"b", string(c)+"b")
		}
	}
	names = append(names, ".", "..", "...", "é", "race-2026", strings.Repeat("n", 80))
	for _, name := range names {
		status, answer := request(t, "PUT", "/"+url.PathEscape(name), "")
		accepted := status == http.StatusOK
		exists := strings.Contains(fmt.Sprint(answer), "resource_already_exists_exception")
		taken := spec.OpenSearchDelivery{Index: name}.Validate("") == nil
		if slices.Contains([]string{".", ".."}, name) {
			accepted = false // a path, to HTTP
		}
		if taken != (accepted || exists) {
			t.Errorf("%q: the constructs take it: %v, OpenSearch: %d %v", name, taken, status, answer)
		}
		if accepted {
			call(t, "DELETE", "/"+url.PathEscape(name), "")
		}
	}
}
