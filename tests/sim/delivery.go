package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/firehose"
	"github.com/millrace/millrace/local/invoke"
)

// Delivery is a delivery stream that reads the world's stream and hands the records to
// a transform: the very one that `millrace local` runs, with a bucket of its own. Its
// chances are drawn beside the world's, so that a run with one is like that without.
//
// Its faults are transforms that crash, time out, are throttled, or always die of a
// batch; puts of objects that fail, some although they took effect; a bucket that is
// away, and a stream that can't be read.
type Delivery struct {
	// Start is a cold start of the transform.
	Start func(metrics io.Writer) lambda.Handler
	// ErrorPrefix begins the keys of what can't be delivered.
	ErrorPrefix string

	world   *World
	rand    *rand.Rand
	salt    uint64
	stream  *firehose.Stream
	shards  []*reading
	read    int       // records so far
	blind   time.Time // it can't read until then
	idle    lambda.Handler
	objects map[string][]byte
	metrics bytes.Buffer
	failing int // answers that failed a record
}

// reading of a shard.
type reading struct{ id, iterator string }

// Deliver defines a delivery stream.
func (w *World) Deliver(d *Delivery) *Delivery {
	d.world, d.rand = w, rand.New(rand.NewPCG(w.seed, 3))
	d.salt = d.rand.Uint64()
	d.objects = map[string][]byte{}
	interval := []int32{0, 1, 60}[d.rand.IntN(3)]
	parameter := func(name, value string) types.ProcessorParameter {
		return types.ProcessorParameter{ParameterName: types.ProcessorParameterName(name), ParameterValue: aws.String(value)}
	}
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(d.rand.Uint32())
	}
	stream, err := firehose.New(&firehose.Description{
		DeliveryStreamARN: aws.String("arn:aws:firehose:us-east-1:000000000000:deliverystream/sim"), DeliveryStreamName: aws.String("sim"),
		DeliveryStreamType: types.DeliveryStreamTypeKinesisStreamAsSource,
		Source: &types.SourceDescription{KinesisStreamSourceDescription: &types.KinesisStreamSourceDescription{
			KinesisStreamARN: aws.String("arn:aws:kinesis:us-east-1:000000000000:stream/sim"), DeliveryStartTimestamp: aws.Time(w.start),
		}},
		Destinations: []types.DestinationDescription{{ExtendedS3DestinationDescription: &types.ExtendedS3DestinationDescription{
			BucketARN: aws.String("arn:aws:s3:::archive"), ErrorOutputPrefix: aws.String(d.ErrorPrefix),
			BufferingHints:    &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32([]int32{0, 60, 300}[d.rand.IntN(3)])},
			CompressionFormat: types.CompressionFormatUncompressed,
			ProcessingConfiguration: &types.ProcessingConfiguration{Enabled: aws.Bool(true), Processors: []types.Processor{{
				Type: types.ProcessorTypeLambda, Parameters: []types.ProcessorParameter{
					parameter("LambdaArn", "arn:aws:lambda:us-east-1:000000000000:function:archive"),
					parameter("BufferIntervalInSeconds", fmt.Sprint(interval)),
				},
			}}},
		}}},
	}, firehose.Options{S3: d, Transform: d, Clock: clock{}, Random: rand.NewChaCha8(seed), Concurrency: 1})
	if err != nil {
		panic(err) // it is our own description
	}
	d.stream = stream
	w.deliveries = append(w.deliveries, d)
	return d
}

// clock is that of the bubble.
type clock struct{}

func (clock) Now() time.Time                         { return time.Now() }
func (clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Objects are those in its bucket.
func (d *Delivery) Objects() map[string][]byte { return d.objects }

// Dropped is how many records the transform dropped.
func (d *Delivery) Dropped() int { return int(d.stream.Stats().Dropped) }

func (d *Delivery) may(f Fault, p float64) bool {
	happens := d.rand.Float64() < p*d.world.rates[f]
	return happens && d.world.broken
}

// step reads what there is and does what is due.
func (d *Delivery) step() bool {
	did := d.poll()
	if next, any := d.stream.Next(); any && !next.After(time.Now()) {
		d.stream.Tick(context.Background())
		did = true
	}
	return did
}

func (d *Delivery) isBlind() bool { return d.world.broken && time.Now().Before(d.blind) }

func (d *Delivery) poll() bool {
	j := d.world.records
	if d.read == len(j.puts) || d.isBlind() {
		return false
	}
	if d.may(Behind, .02) {
		d.blind = time.Now().Add(time.Duration(d.rand.Int64N(int64(3 * time.Minute))))
		d.world.trace("the delivery stream can't read until %s", d.world.clock(d.blind))
		return false
	}
	ctx := context.Background()
	for _, info := range j.list()[len(d.shards):] {
		iterator, err := j.stream.Iterator(ctx, info.ID, esm.Position{Type: "TRIM_HORIZON"}, "")
		if err != nil {
			panic(err) // it is our own stream
		}
		d.shards = append(d.shards, &reading{info.ID, iterator})
	}
	for _, s := range d.shards {
		for s.iterator != "" {
			records, next, err := j.stream.Read(ctx, s.iterator, 500)
			if err != nil {
				panic(err)
			}
			s.iterator = next
			if len(records) == 0 {
				break
			}
			d.read += len(records)
			d.add(s.id, records)
		}
	}
	return true
}

func (d *Delivery) add(shard string, records []esm.Record) {
	all := make([]firehose.Record, len(records))
	for i, r := range records {
		all[i] = firehose.Record{Data: r.Data, Arrival: r.Arrival, Kinesis: &firehose.Position{ShardID: shard, PartitionKey: r.Key, SequenceNumber: r.Sequence}}
	}
	if err := d.stream.Add(all...); err != nil {
		panic(err) // it has room for more than a run puts
	}
}

// Invoke implements [invoke.Invoker]: it is the transform's function.
func (d *Delivery) Invoke(ctx context.Context, payload []byte) (invoke.Result, error) {
	switch {
	case d.may(Throttle, .02):
		d.world.trace("the transform is throttled")
		return invoke.Result{}, invoke.ErrThrottled
	case d.may(Timeout, .02):
		d.world.trace("the transform times out")
		return invoke.Result{}, context.DeadlineExceeded
	}
	if d.idle == nil || d.may(Redeploy, .05) {
		d.idle = d.Start(&d.metrics)
	}
	answer, err := d.idle.Invoke(ctx, payload)
	if bytes.Contains(answer, []byte("ProcessingFailed")) {
		d.failing++
	}
	why := err
	if d.may(Crash, .03) {
		d.idle, why = nil, errors.New("it crashed")
	} else if d.poisoned(payload) {
		why = errors.New("a record kills it")
	}
	d.world.trace("the transform gets %d bytes: %d, %v", len(payload), len(answer), cmp.Or(why, errors.New("taken")))
	if why != nil {
		return invoke.Result{FunctionError: "Unhandled", Payload: []byte(`{}`)}, nil
	}
	return invoke.Result{Payload: answer}, nil
}

// poisoned tells whether the function dies of the batch, by its first record's id: a
// retry has the same.
func (d *Delivery) poisoned(payload []byte) bool {
	_, rest, _ := bytes.Cut(payload, []byte(`"recordId":"`))
	id, _, _ := bytes.Cut(rest, []byte{'"'})
	return d.world.broken && draw(d.salt, string(id)) < .01*d.world.rates[Poison]
}

// PutObject implements [firehose.S3].
func (d *Delivery) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	fails, lost := d.may(CallFails, .05), d.rand.IntN(2) == 0
	switch {
	case d.world.unavailable():
		err = errors.New("the bucket is away")
	case fails && !lost:
		err = errThrottled
	default:
		d.objects[aws.ToString(in.Key)] = body
		if fails {
			err = errLost
		}
	}
	d.world.trace("put %s of %d bytes: %v", aws.ToString(in.Key), len(body), cmp.Or(err, errors.New("taken")))
	if err != nil {
		return nil, err
	}
	return &s3.PutObjectOutput{}, nil
}

func (d *Delivery) over() bool {
	_, any := d.stream.Next()
	return d.read == len(d.world.records.puts) && !any
}

// soonest is when there is something to do next.
func (d *Delivery) soonest() time.Time {
	next, _ := d.stream.Next()
	if d.read < len(d.world.records.puts) && d.isBlind() && (next.IsZero() || d.blind.Before(next)) {
		return d.blind
	}
	return next
}

// check holds the numbers against what was put.
func (d *Delivery) check() error {
	st := d.stream.Stats()
	if n := int64(len(d.world.records.puts)); st.Accepted != n || st.Delivered+st.Dropped+st.Failed != n {
		return fmt.Errorf("of %d records the delivery stream has taken %d, delivered %d, dropped %d, and failed %d", n, st.Accepted, st.Delivered, st.Dropped, st.Failed)
	}
	if lines := bytes.Count(d.metrics.Bytes(), []byte("\n")); lines != d.failing {
		return fmt.Errorf("%d of the transform's answers fail records, and %d are counted", d.failing, lines)
	}
	return nil
}
