// Package kit_test measures the kit beside what else does the same work, in one
// run. It is a module of its own so that the peers stay out of the one that users
// import.
package kit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/bytedance/sonic"
	experiment "github.com/go-json-experiment/json"
	goccy "github.com/goccy/go-json"
	segmentio "github.com/segmentio/encoding/json"

	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/race"
)

// peers decode JSON into any Go type.
var peers = []struct {
	name      string
	unmarshal func([]byte, any) error
}{
	{"encodingjson", json.Unmarshal},
	{"jsonexperiment", func(data []byte, into any) error { return experiment.Unmarshal(data, into) }},
	{"goccy", goccy.Unmarshal},
	{"sonic", sonic.Unmarshal},
	{"segmentio", func(data []byte, into any) error { return segmentio.Unmarshal(data, into) }},
}

// records is how many there are in a benchmark's event: as many of 1 KB as fit
// into Lambda's payload of 6 MB, base64 included.
const records = 3000

func BenchmarkDecodeKinesis(b *testing.B) {
	payload := kinesis()
	run(b, "millrace", payload, func() error {
		event, err := decode.Kinesis(payload)
		return check(err, len(event.Records))
	})
	var decoder decode.Decoder
	run(b, "millrace-decoder", payload, func() error {
		event, err := decoder.Kinesis(payload)
		return check(err, len(event.Records))
	})
	for _, peer := range peers {
		run(b, peer.name, payload, func() error {
			var event events.KinesisEvent
			err := peer.unmarshal(payload, &event)
			return check(err, len(event.Records))
		})
	}
}

func BenchmarkDecodeDynamoDB(b *testing.B) {
	payload := dynamoDB()
	run(b, "millrace", payload, func() error {
		event, err := decode.DynamoDB(payload)
		return check(err, len(event.Records))
	})
	for _, peer := range peers {
		run(b, peer.name, payload, func() error {
			var event events.DynamoDBEvent
			err := peer.unmarshal(payload, &event)
			return check(err, len(event.Records))
		})
	}
}

// BenchmarkDecodeData decodes what is in the records, into the race's type.
func BenchmarkDecodeData(b *testing.B) {
	data := make([][]byte, records)
	for i := range data {
		data[i] = telemetry(i)
	}
	each := func(read func([]byte) error) func() error {
		return func() error {
			for _, d := range data {
				if err := read(d); err != nil {
					return err
				}
			}
			return nil
		}
	}
	all := bytes.Join(data, nil)
	run(b, "race.Parse", all, each(func(d []byte) error { _, err := race.Parse(d); return err }))
	for _, peer := range peers {
		var record race.Record
		run(b, peer.name, all, each(func(d []byte) error { return peer.unmarshal(d, &record) }))
	}
}

func check(err error, n int) error {
	if err == nil && n != records {
		err = fmt.Errorf("%d records", n)
	}
	return err
}

func run(b *testing.B, name string, payload []byte, decode func() error) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		if err := decode(); err != nil { // some compile for a type when they first see it
			b.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for b.Loop() {
			if err := decode(); err != nil {
				b.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		per := float64(b.N) * records
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/per, "ns/record")
		b.ReportMetric(float64(after.Mallocs-before.Mallocs)/per, "allocs/record")
		b.ReportMetric(0, "ns/op")
	})
}

// event is an event as Lambda sends it.
func event(record func(i int) string) []byte {
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i := range records {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(record(i))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func kinesis() []byte {
	random := rand.NewChaCha8([32]byte{})
	data := make([]byte, 1024)
	return event(func(i int) string {
		_, _ = random.Read(data)
		return fmt.Sprintf(`{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"monza/r-%04d","sequenceNumber":"%056d","data":"%s","approximateArrivalTimestamp":%d.%03d},`+
			`"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000000:%056d","eventName":"aws:kinesis:record",`+
			`"invokeIdentityArn":"arn:aws:iam::000000000000:role/race-StandingsFunctionServiceRole12345678-abcdefghijkl",`+
			`"awsRegion":"us-east-1","eventSourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/race-Telemetry12345678-abcdefghijkl"}`,
			i, i, base64.StdEncoding.EncodeToString(data), 1795255200+i/100, i%1000, i)
	})
}

func dynamoDB() []byte {
	return event(func(i int) string {
		image := func(seq int) string {
			return fmt.Sprintf(`{"race":{"S":"monza"},"racer":{"S":"r-%04d"},"seq":{"N":"%d"},"at":{"S":"2026-11-21T10:00:02.123Z"},`+
				`"distance":{"N":"500.25"},"speed":{"N":"14.2"},"power":{"N":"310"}}`, i, seq)
		}
		return fmt.Sprintf(`{"eventID":"%032x","eventName":"MODIFY","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"us-east-1",`+
			`"dynamodb":{"ApproximateCreationDateTime":1795255200,"Keys":{"race":{"S":"monza"},"racer":{"S":"r-%04d"}},"NewImage":%s,"OldImage":%s,`+
			`"SequenceNumber":"%026d","SizeBytes":140,"StreamViewType":"NEW_AND_OLD_IMAGES"},`+
			`"eventSourceARN":"arn:aws:dynamodb:us-east-1:000000000000:table/standings/stream/2026-11-21T09:00:00.000"}`,
			i, i, image(i+1), image(i), i)
	})
}

func telemetry(i int) []byte {
	at := time.Date(2026, 11, 21, 10, 0, 0, i*1e6, time.UTC)
	data, err := json.Marshal(race.Record{Race: "monza", Racer: fmt.Sprintf("r-%04d", i), Seq: int64(i + 1), At: at, Distance: float64(i) * 14.25, Speed: 14.2, Power: 310})
	if err != nil {
		panic(err)
	}
	return data
}
