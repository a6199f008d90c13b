package firehose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/local/invoke"
)

// nowhere takes objects and forgets them.
type nowhere struct{}

func (nowhere) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	_, err := io.Copy(io.Discard, in.Body)
	return &s3.PutObjectOutput{}, err
}

// echo answers every record Ok with its own data, without a JSON library: it is
// the stream that is to be measured.
type echo struct{}

func (echo) Invoke(_ context.Context, payload []byte) (invoke.Result, error) {
	out := make([]byte, 0, len(payload)+32)
	out = append(out, `{"records":[`...)
	rest := payload
	for first := true; ; first = false {
		_, after, found := bytes.Cut(rest, []byte(`{"recordId":"`))
		if !found {
			break
		}
		id, after, _ := bytes.Cut(after, []byte{'"'})
		_, after, _ = bytes.Cut(after, []byte(`"data":"`))
		data, after, _ := bytes.Cut(after, []byte{'"'})
		if !first {
			out = append(out, ',')
		}
		out = append(append(out, `{"recordId":"`...), id...)
		out = append(append(out, `","result":"Ok","data":"`...), data...)
		out = append(out, `"}`...)
		rest = after
	}
	return invoke.Result{Payload: append(out, "]}"...)}, nil
}

// BenchmarkStream is records of 200 bytes through a transform into GZIP objects.
func BenchmarkStream(b *testing.B) {
	for _, withTransform := range []bool{false, true} {
		b.Run(fmt.Sprintf("transform=%v", withTransform), func(b *testing.B) {
			d := described(func(x *types.ExtendedS3DestinationDescription) {
				x.CompressionFormat = types.CompressionFormatGzip
				x.BufferingHints = &types.BufferingHints{SizeInMBs: aws.Int32(5), IntervalInSeconds: aws.Int32(60)}
				if withTransform {
					x.ProcessingConfiguration = processing(lambdaProcessor())
				}
			})
			s, err := New(d, Options{S3: nowhere{}, Transform: echo{}})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			records := make([]Record, 500)
			b.SetBytes(200)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				// As a producer does: 500 records at once.
				records[n%500] = Record{Data: fmt.Appendf(nil, `{"racer":"racer-%06d","checkpoint":%d,"at":"2026-03-04T05:06:07.%03dZ","position":{"lat":%d.123456,"lon":4.654321},"heart":%d,"note":"%0100d"}`, n, n%50, n%1000, n%90, 60+n%100, n)[:200]}
				if n%500 != 499 {
					continue
				}
				if err := s.Add(records...); err != nil {
					b.Fatal(err)
				}
				s.Tick(ctx)
			}
			if err := s.Flush(ctx); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkRun is the same through the loop, as fast as a producer can put; it
// also tells how large the heap became.
func BenchmarkRun(b *testing.B) {
	d := described(func(x *types.ExtendedS3DestinationDescription) {
		x.CompressionFormat = types.CompressionFormatGzip
		x.BufferingHints = &types.BufferingHints{SizeInMBs: aws.Int32(5), IntervalInSeconds: aws.Int32(60)}
		x.ProcessingConfiguration = processing(lambdaProcessor())
	})
	s, err := New(d, Options{S3: nowhere{}, Transform: echo{}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { s.Run(ctx); close(stopped) }()
	records := make([]Record, 500)
	var peak uint64
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for n := 0; b.Loop(); n++ {
		records[n%500] = Record{Data: fmt.Appendf(nil, `{"racer":"racer-%06d","checkpoint":%d,"note":"%0160d"}`, n, n%50, n)[:200]}
		if n%500 != 499 {
			continue
		}
		for {
			err := s.Add(records...)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrFull) {
				b.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if n%50_000 == 49_999 {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
		}
	}
	cancel()
	<-stopped
	if err := s.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(peak)/(1<<20), "heap-MiB")
}
