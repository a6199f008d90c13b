package firehose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/local/invoke"
)

// flakyS3 fails when it is told to, sometimes after it stored the object.
type flakyS3 struct {
	*fakeS3
	mu    sync.Mutex
	fault func() string
}

func (f *flakyS3) PutObject(ctx context.Context, in *s3.PutObjectInput, opts ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	f.mu.Lock()
	fault := f.fault()
	f.mu.Unlock()
	if fault == "before" {
		return nil, errors.New("unavailable")
	}
	out, err := f.fakeS3.PutObject(ctx, in, opts...)
	if fault == "after" {
		return nil, errors.New("the answer was lost")
	}
	return out, err
}

// numbered is a record that tells which one it is.
type numbered struct {
	N int    `json:"n"`
	K string `json:"k"`
}

func TestEveryRecordEndsInOnePlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.Bool().Draw(t, "partitions")
		withTransform := rapid.Bool().Draw(t, "transform")
		withBackup := rapid.Bool().Draw(t, "backup")
		withHTTP := !partitions && rapid.Bool().Draw(t, "http")
		faults := true
		draw := func(label string, of ...string) string {
			if !faults {
				return of[0]
			}
			return rapid.SampledFrom(of).Draw(t, label)
		}

		var processors []types.Processor
		if withTransform {
			processors = append(processors, lambdaProcessor(
				"BufferIntervalInSeconds", rapid.SampledFrom([]string{"0", "5", "60"}).Draw(t, "transform interval"),
				"NumberOfRetries", rapid.SampledFrom([]string{"0", "1", "3"}).Draw(t, "retries")))
		}
		x := &types.ExtendedS3DestinationDescription{
			BucketARN:         aws.String("arn:aws:s3:::b"),
			BufferingHints:    &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(int32(rapid.SampledFrom([]int{0, 10, 60}).Draw(t, "interval")))},
			CompressionFormat: types.CompressionFormatGzip,
			Prefix:            aws.String("good/"), ErrorOutputPrefix: aws.String("bad/!{firehose:error-output-type}/"),
		}
		if partitions {
			x.Prefix = aws.String("good/!{partitionKeyFromQuery:k}/")
			x.DynamicPartitioningConfiguration = &types.DynamicPartitioningConfiguration{Enabled: aws.Bool(true)}
			processors = append(processors, processor(types.ProcessorTypeMetadataExtraction, "JsonParsingEngine", "JQ-1.6", "MetadataExtractionQuery", "{k:.k}"))
		}
		if withBackup {
			x.S3BackupMode = types.S3BackupModeEnabled
			x.S3BackupDescription = &types.S3DestinationDescription{BucketARN: aws.String("arn:aws:s3:::backup"), CompressionFormat: types.CompressionFormatGzip}
		}
		x.ProcessingConfiguration = processing(processors...)
		d := wrapped(types.DestinationDescription{ExtendedS3DestinationDescription: x})
		inHTTP := map[int]int{}
		if withHTTP {
			h := &types.HttpEndpointDestinationDescription{
				EndpointConfiguration: &types.HttpEndpointDescription{Url: aws.String("https://x")}, BufferingHints: &types.HttpEndpointBufferingHints{IntervalInSeconds: aws.Int32(10)},
				RetryOptions: &types.HttpEndpointRetryOptions{DurationInSeconds: aws.Int32(3)}, ProcessingConfiguration: x.ProcessingConfiguration,
				S3DestinationDescription: &types.S3DestinationDescription{BucketARN: x.BucketARN, Prefix: x.Prefix, ErrorOutputPrefix: x.ErrorOutputPrefix, CompressionFormat: types.CompressionFormatGzip},
			}
			withBackup = false
			d = wrapped(types.DestinationDescription{HttpEndpointDestinationDescription: h})
		}

		store := &flakyS3{fakeS3: newS3(), fault: func() string { return draw("S3", "", "before", "after") }}
		dropped := map[int]bool{}
		clock := newClock()
		stream, err := New(d, Options{
			S3: store, Clock: clock, Random: &counter{}, Concurrency: 1, ActivePartitions: 2, MaxBuffered: 20_000,
			HTTP: &server{answer: func(_ int, r *http.Request, body string) (int, string) {
				if draw("HTTP", "ok", "fail", "fail", "fail") == "fail" {
					return 500, ""
				}
				var in struct{ Records []struct{ Data []byte } }
				if err := json.Unmarshal([]byte(body), &in); err != nil {
					t.Fatal(err)
				}
				for _, one := range in.Records {
					var n numbered
					if err := json.Unmarshal(one.Data, &n); err != nil {
						t.Fatal(err)
					}
					inHTTP[n.N]++
				}
				return 200, accepted(r)
			}},
			Transform: function(func(e event) (any, error) {
				// What fails a whole batch is drawn for the batch, so that there are
				// batches without it.
				whole := draw("invocation", "answer", "answer", "answer", "answer", "throttled", "function error", "garbage", "bad base64", "unknown")
				switch whole {
				case "throttled":
					return nil, invoke.ErrThrottled
				case "function error":
					return invoke.Result{FunctionError: "Unhandled"}, nil
				case "garbage":
					return "{", nil
				}
				var out []answered
				for _, r := range e.Records {
					good := ok(r.RecordID, string(r.Data))
					switch draw("result", "ok", "ok", "ok", "drop", "fail", "missing", "twice", "no data", "stranger") {
					case "ok":
						out = append(out, good)
					case "drop":
						var n numbered
						if err := json.Unmarshal(r.Data, &n); err != nil {
							t.Fatal(err)
						}
						dropped[n.N] = true
						out = append(out, answered{RecordID: r.RecordID, Result: "Dropped"})
					case "fail":
						out = append(out, answered{RecordID: r.RecordID, Result: "ProcessingFailed"})
					case "twice":
						out = append(out, good, good)
					case "no data":
						out = append(out, answered{RecordID: r.RecordID, Result: "Ok"})
					case "stranger":
						out = append(out, ok("x"+r.RecordID, "stranger"))
					}
				}
				switch last := e.Records[len(e.Records)-1].RecordID; whole {
				case "bad base64":
					out = append(out, answered{RecordID: last, Result: "Ok", Data: aws.String("?")})
				case "unknown":
					out = append(out, answered{RecordID: last, Result: "Perhaps"})
				}
				return out, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}

		next := 0
		balanced := func() {
			if st := stream.Stats(); st.Accepted != int64(next) || st.Accepted != st.Buffered+st.Delivered+st.Dropped+st.Failed || st.BackupPending < 0 || st.BufferedBytes < 0 {
				t.Fatalf("%d records were taken, the numbers are %+v", next, st)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				for range rapid.IntRange(1, 20).Draw(t, "records") {
					data, err := json.Marshal(numbered{N: next, K: rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "key")})
					if err != nil {
						t.Fatal(err)
					}
					if err := stream.Add(Record{Data: data}); errors.Is(err, ErrFull) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
					next++
				}
			} else {
				clock.move(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
				stream.Tick(context.Background())
			}
			balanced()
		}
		faults = false
		if err := stream.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		balanced()

		ends, backups := map[int]int{}, map[int]int{}
		maps.Copy(ends, inHTTP)
		count := func(into map[int]int, body string) {
			dec := json.NewDecoder(strings.NewReader(body))
			for {
				var n numbered
				if err := dec.Decode(&n); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					t.Fatalf("%v in %q", err, body)
				}
				into[n.N]++
			}
		}
		bodies := store.bodies()
		for _, key := range slices.Sorted(maps.Keys(bodies)) {
			switch {
			case strings.HasPrefix(key, "b/bad/"):
				dec := json.NewDecoder(strings.NewReader(bodies[key]))
				for dec.More() {
					var doc struct{ RawData []byte }
					if err := dec.Decode(&doc); err != nil {
						t.Fatal(err)
					}
					count(ends, string(doc.RawData))
				}
			case strings.HasPrefix(key, "b/good/"):
				count(ends, bodies[key])
			case strings.HasPrefix(key, "backup/"):
				count(backups, bodies[key])
			default:
				t.Fatalf("object %s", key)
			}
		}
		absent := 0
		for n := range next {
			switch {
			case ends[n] == 0 && dropped[n]:
				absent++
			case ends[n] != 1:
				t.Fatalf("record %d is in %d places", n, ends[n])
			}
			if withBackup && backups[n] != 1 {
				t.Fatalf("record %d is %d times in the backup", n, backups[n])
			}
		}
		if st := stream.Stats(); st.Dropped != int64(absent) || st.Buffered != 0 || st.BackupPending != 0 || st.BufferedBytes != 0 {
			t.Fatalf("%d records were dropped, the numbers are %+v", absent, st)
		}
	})
}

// TestDriver runs the loop with the system's clock and several jobs at once.
func TestDriver(t *testing.T) {
	store := newS3()
	d := described(func(x *types.ExtendedS3DestinationDescription) {
		x.BufferingHints.IntervalInSeconds = aws.Int32(0)
		x.ProcessingConfiguration = processing(lambdaProcessor("BufferIntervalInSeconds", "0", "BufferSizeInMBs", "0.2"), processor(types.ProcessorTypeAppendDelimiterToRecord))
	})
	s, err := New(d, Options{S3: store, Transform: function(upper)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { s.Run(ctx); close(stopped) }()
	var producers sync.WaitGroup
	for p := range 4 {
		producers.Go(func() {
			for i := range 500 {
				if err := s.Put(Record{Data: fmt.Appendf(nil, "p%d-%d", p, i)}); err != nil {
					t.Error(err)
				}
				s.Stats()
			}
		})
	}
	producers.Wait()
	for end := time.Now().Add(10 * time.Second); s.Stats().Delivered < 2000 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-stopped
	if st := s.Stats(); st.Delivered != 2000 {
		t.Fatalf("the loop delivered %+v", st)
	}
	seen := map[string]int{}
	for _, body := range store.bodies() {
		for line := range strings.SplitSeq(body, "\n") {
			seen[line]++
		}
	}
	for p := range 4 {
		for i := range 500 {
			if n := seen[fmt.Sprintf("P%d-%d", p, i)]; n != 1 {
				t.Fatalf("record %d of %d was delivered %d times", i, p, n)
			}
		}
	}
}

// TestASlowInvocationDelaysNobodyElse is why Run doesn't use Tick.
func TestASlowInvocationDelaysNobodyElse(t *testing.T) {
	release := make(chan struct{})
	first := make(chan struct{})
	var once sync.Once
	slow := function(func(e event) (any, error) {
		wait := false
		once.Do(func() { wait = true })
		if wait {
			close(first)
			<-release
		}
		return upper(e)
	})
	store := newS3()
	s, err := New(described(func(x *types.ExtendedS3DestinationDescription) {
		x.BufferingHints.IntervalInSeconds = aws.Int32(0)
		x.ProcessingConfiguration = processing(lambdaProcessor("BufferIntervalInSeconds", "0"))
	}), Options{S3: store, Transform: slow})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { s.Run(ctx); close(stopped) }()
	add := func(text string) {
		if err := s.Add(Record{Data: []byte(text)}); err != nil {
			t.Error(err)
		}
	}
	add("slow")
	<-first
	add("fast")
	for end := time.Now().Add(10 * time.Second); s.Stats().Delivered < 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if st := s.Stats(); st.Delivered != 1 {
		t.Errorf("stats %+v", st)
	}
	// Flush waits for what the loop has begun.
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush(context.Background()) }()
	select {
	case err := <-flushed:
		t.Errorf("flushed before the invocation ended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-flushed; err != nil || s.Stats().Delivered != 2 {
		t.Errorf("error %v, stats %+v", err, s.Stats())
	}
	cancel()
	<-stopped
}
