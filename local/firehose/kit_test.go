package firehose

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/local/invoke"
)

// fakeClock moves only when it is told to, or when somebody waits for it.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

var began = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)

func newClock() *fakeClock { return &fakeClock{now: began} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.move(max(d, 0))
	ch := make(chan time.Time, 1)
	ch <- c.Now()
	return ch
}

// stored is an object of the fake S3.
type stored struct {
	body     string
	encoding string
	kms      string
}

// fakeS3 keeps objects; errs are the next puts' errors.
type fakeS3 struct {
	mu      sync.Mutex
	objects map[string]stored // by bucket/key
	errs    []error
	puts    int
}

func newS3(errs ...error) *fakeS3 { return &fakeS3{objects: map[string]stored{}, errs: errs} }

func (f *fakeS3) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts++
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		if err != nil {
			return nil, err
		}
	}
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	f.objects[aws.ToString(in.Bucket)+"/"+aws.ToString(in.Key)] = stored{body: string(body), encoding: aws.ToString(in.ContentEncoding), kms: aws.ToString(in.SSEKMSKeyId)}
	return &s3.PutObjectOutput{}, nil
}

func (f *fakeS3) keys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := []string{}
	for k := range f.objects {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// bodies are the objects' contents by key, without UUIDs in the keys.
func (f *fakeS3) bodies() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for k, o := range f.objects {
		body := o.body
		if o.encoding == "gzip" {
			body = gunzip(body)
		}
		out[k] += body
	}
	return out
}

func gunzip(text string) string {
	r, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return string(body)
}

// counter is a source of bytes that aren't random: the n-th UUID says n.
type counter struct{ n byte }

func (c *counter) Read(p []byte) (int, error) {
	c.n++
	clear(p)
	p[len(p)-1] = c.n
	return len(p), nil
}

// id is the n-th UUID.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// function is a transform in the process.
type function func(event event) (any, error)

// event is what a transform is sent.
type event struct {
	InvocationID, DeliveryStreamArn, Region, SourceKinesisStreamArn string
	Records                                                         []struct {
		RecordID                    string
		Data                        []byte
		ApproximateArrivalTimestamp int64
		KinesisRecordMetadata       *struct {
			SequenceNumber, PartitionKey, ShardID string
			SubsequenceNumber                     int64
		}
	}
}

func (f function) Invoke(_ context.Context, payload []byte) (invoke.Result, error) {
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		return invoke.Result{}, err
	}
	answer, err := f(e)
	if err != nil {
		return invoke.Result{}, err
	}
	if r, ok := answer.(invoke.Result); ok {
		return r, nil
	}
	if text, ok := answer.(string); ok {
		return invoke.Result{Payload: []byte(text)}, nil
	}
	out, err := json.Marshal(map[string]any{"records": answer})
	return invoke.Result{Payload: out}, err
}

// answered is one record of an answer.
type answered struct {
	RecordID string  `json:"recordId,omitempty"`
	Result   string  `json:"result,omitempty"`
	Data     *string `json:"data,omitempty"`
	Metadata any     `json:"metadata,omitempty"`
}

func ok(id, data string) answered {
	return answered{RecordID: id, Result: "Ok", Data: aws.String(base64.StdEncoding.EncodeToString([]byte(data)))}
}

// upper answers every record in capitals.
func upper(e event) (any, error) {
	var out []answered
	for _, r := range e.Records {
		out = append(out, ok(r.RecordID, strings.ToUpper(string(r.Data))))
	}
	return out, nil
}

// described is a delivery stream to S3 with some changes.
func described(change func(*types.ExtendedS3DestinationDescription)) *Description {
	x := &types.ExtendedS3DestinationDescription{
		BucketARN:         aws.String("arn:aws:s3:::b"),
		BufferingHints:    &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(60)},
		CompressionFormat: types.CompressionFormatUncompressed,
	}
	if change != nil {
		change(x)
	}
	return wrapped(types.DestinationDescription{ExtendedS3DestinationDescription: x})
}

func wrapped(d types.DestinationDescription) *Description {
	return &Description{
		DeliveryStreamARN:  aws.String("arn:aws:firehose:eu-west-1:123456789012:deliverystream/s"),
		DeliveryStreamName: aws.String("s"),
		VersionId:          aws.String("3"),
		Destinations:       []types.DestinationDescription{d},
	}
}

// fromKinesis makes a description one with a Kinesis source.
func fromKinesis(d *Description) *Description {
	d.DeliveryStreamType = types.DeliveryStreamTypeKinesisStreamAsSource
	d.Source = &types.SourceDescription{KinesisStreamSourceDescription: &types.KinesisStreamSourceDescription{
		KinesisStreamARN: aws.String("arn:aws:kinesis:eu-west-1:123456789012:stream/k"), DeliveryStartTimestamp: aws.Time(began.Add(-time.Minute)),
	}}
	return d
}

// lambdaProcessor is the processor of a transform, with parameters by name.
func lambdaProcessor(parameters ...string) types.Processor {
	return processor(types.ProcessorTypeLambda, append([]string{"LambdaArn", "arn:aws:lambda:eu-west-1:123456789012:function:t"}, parameters...)...)
}

func processor(kind types.ProcessorType, parameters ...string) types.Processor {
	p := types.Processor{Type: kind}
	for i := 0; i < len(parameters); i += 2 {
		p.Parameters = append(p.Parameters, types.ProcessorParameter{ParameterName: types.ProcessorParameterName(parameters[i]), ParameterValue: aws.String(parameters[i+1])})
	}
	return p
}

func processing(p ...types.Processor) *types.ProcessingConfiguration {
	return &types.ProcessingConfiguration{Enabled: aws.Bool(true), Processors: p}
}

// bench is a stream with its fakes.
type bench struct {
	*Stream
	t     *testing.T
	clock *fakeClock
	s3    *fakeS3
}

// start makes a reproducible stream.
func start(t *testing.T, d *Description, o Options) *bench {
	t.Helper()
	b := &bench{t: t, clock: newClock(), s3: newS3()}
	o.Clock, o.Random, o.Concurrency = b.clock, &counter{}, 1
	if o.S3 == nil {
		o.S3 = b.s3
	}
	s, err := New(d, o)
	if err != nil {
		t.Fatal(err)
	}
	b.Stream = s
	return b
}

// add adds records of now.
func (b *bench) add(data ...string) {
	b.t.Helper()
	for _, d := range data {
		if err := b.Add(Record{Data: []byte(d)}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// after moves the clock and ticks.
func (b *bench) after(d time.Duration) {
	b.clock.move(d)
	b.Tick(context.Background())
}

// want compares the objects with a map from key to content.
func (b *bench) want(objects map[string]string) {
	b.t.Helper()
	got := b.s3.bodies()
	for k, body := range objects {
		if actual, there := got[k]; !there {
			b.t.Errorf("no object %s", k)
		} else if actual != body {
			b.t.Errorf("object %s\n got %q\nwant %q", k, actual, body)
		}
		delete(got, k)
	}
	for k, body := range got {
		b.t.Errorf("unexpected object %s: %q", k, body)
	}
	if b.t.Failed() {
		b.t.Logf("stats: %+v", b.Stats())
	}
}

// balanced checks that the numbers add up.
func (b *bench) balanced() {
	b.t.Helper()
	st := b.Stats()
	if st.Accepted != st.Buffered+st.Delivered+st.Dropped+st.Failed {
		b.t.Errorf("the numbers don't add up: %+v", st)
	}
}

// documents are the lines of an error object.
func documents(t *testing.T, body string) []document {
	t.Helper()
	var out []document
	dec := json.NewDecoder(bytes.NewReader([]byte(body)))
	for {
		var d document
		if err := dec.Decode(&d); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("an error document: %v\n%s", err, body)
		}
		out = append(out, d)
	}
}
