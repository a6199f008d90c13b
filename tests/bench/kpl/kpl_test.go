// Package kpl measures and checks lambdas/kit/kpl beside the Go module of awslabs
// and the protobuf runtime of Go, in a module of its own: who uses millrace doesn't
// get them.
package kpl

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/awslabs/kinesis-aggregation/go/v2/deaggregator"
	"github.com/awslabs/kinesis-aggregation/go/v2/records"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

var magic = []byte{0xF3, 0x89, 0x9A, 0xC2}

// user is a user record, as far as awslabs hands it out.
type user struct {
	PartitionKey string
	Data         []byte
}

func split(data []byte) (all []user, aggregated bool) {
	found, aggregated := kpl.Split(data, nil)
	for _, r := range found {
		all = append(all, user{string(r.PartitionKey), append([]byte{}, r.Data...)})
	}
	return all, aggregated
}

// awslabs is what the awslabs module makes of the data; err may be its panic.
func awslabs(data []byte) (all []user, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	outer := "outer"
	found, err := deaggregator.DeaggregateRecords([]types.Record{{Data: data, PartitionKey: &outer}})
	for _, r := range found {
		all = append(all, user{*r.PartitionKey, append([]byte{}, r.Data...)})
	}
	return all, err
}

// Where the awslabs module does otherwise: an error, a panic or other records. For
// data that Split passes on it may fail; that isn't in the list.
var differs = map[string]string{
	"a number beyond 2^64":                        "Go's protobuf refuses what the KCL cuts",
	"a length of 2^32 and the right one":          "Go's protobuf refuses what the KCL cuts",
	"groups 101 deep":                             "Go's protobuf goes deeper than the KCL's",
	"groups 100 deep in a record":                 "Go's protobuf goes deeper than the KCL's",
	"no table of explicit hash keys":              "it doesn't look at explicit hash keys",
	"an explicit hash key index beyond the table": "it doesn't look at explicit hash keys",
}

func TestSplitAsAWSLabs(t *testing.T) {
	var request struct {
		Split map[string]struct{ Data []byte }
	}
	file, err := os.ReadFile("../../../lambdas/kit/kpl/testdata/request.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &request); err != nil || len(request.Split) < 70 {
		t.Fatalf("%d cases: %v", len(request.Split), err)
	}
	for name, one := range request.Split {
		want, whole := split(one.Data)
		if !whole {
			want = []user{{"outer", append([]byte{}, one.Data...)}}
		}
		got, err := awslabs(one.Data)
		same := err == nil && cmp.Equal(want, got) || err != nil && !whole
		if _, listed := differs[name]; same == listed {
			t.Errorf("%s: the same is %v, error %v\n%s", name, same, err, cmp.Diff(want, got))
		}
	}
}

// seal makes an aggregated record of a message.
func seal(message []byte) []byte {
	sum := md5.Sum(message)
	return slices.Concat(magic, message, sum[:])
}

// aggregated makes an aggregated record with Go's protobuf, as the awslabs module's
// own tests do: n records of size bytes, each of another racer.
func aggregated(t testing.TB, n, size int) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(size)))
	message := &records.AggregatedRecord{}
	for i := range n {
		data := make([]byte, size)
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		index := uint64(i)
		message.PartitionKeyTable = append(message.PartitionKeyTable, fmt.Sprintf("racer-%04d", i))
		message.Records = append(message.Records, &records.Record{PartitionKeyIndex: &index, Data: data})
	}
	encoded, err := proto.Marshal(protoadapt.MessageV2Of(message))
	if err != nil {
		t.Fatal(err)
	}
	return seal(encoded)
}

// BenchmarkDeaggregate takes apart one aggregated record of 100 records. md5 is the
// checksum alone, which no implementation can do without: MD5 is a chain, so its
// time is what one core's latency makes it.
func BenchmarkDeaggregate(b *testing.B) {
	const n = 100
	run := func(name string, size int) {
		data := aggregated(b, n, size)
		measure := func(who string, once func() int) {
			b.Run(name+who, func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if once() != n {
						b.Fatal("not split")
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
			})
		}
		var dst []kpl.Record
		measure("millrace", func() int {
			dst, _ = kpl.Split(data, dst[:0])
			return len(dst)
		})
		key := "outer"
		batch := []types.Record{{Data: data, PartitionKey: &key}}
		measure("awslabs", func() int {
			all, _ := deaggregator.DeaggregateRecords(batch)
			return len(all)
		})
		measure("md5", func() int {
			if md5.Sum(data[4:len(data)-16]) != [16]byte(data[len(data)-16:]) {
				return 0
			}
			return n
		})
	}
	run("", 200)
	for _, size := range []int{50, 1_000, 10_000} {
		run(fmt.Sprintf("%dB/", size), size)
	}
}

// FuzzSplitAsProtobuf compares with Go's protobuf runtime, which knows all about
// the wire format.
func FuzzSplitAsProtobuf(f *testing.F) {
	for _, size := range []int{0, 1, 200} {
		data := aggregated(f, 3, size)
		f.Add(data[4 : len(data)-16])
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		got, ok := split(seal(message))
		var want records.AggregatedRecord
		if err := proto.Unmarshal(message, protoadapt.MessageV2Of(&want)); err != nil || len(message) == 0 {
			if ok && !wide(message) {
				t.Fatalf("split what protobuf says is broken: %v", err)
			}
			return
		}
		var all []user
		for _, r := range want.Records {
			if r.GetPartitionKeyIndex() >= uint64(len(want.PartitionKeyTable)) ||
				r.ExplicitHashKeyIndex != nil && *r.ExplicitHashKeyIndex >= uint64(len(want.ExplicitHashKeyTable)) {
				if ok {
					t.Fatal("split with an index beyond its table")
				}
				return
			}
			all = append(all, user{want.PartitionKeyTable[r.GetPartitionKeyIndex()], append([]byte{}, r.Data...)})
		}
		if !ok && len(message) < 200 { // too short for a hundred groups
			t.Fatalf("not split; protobuf has %d records", len(all))
		}
		if diff := cmp.Diff(all, got); ok && diff != "" {
			t.Fatalf("(-protobuf +Split):\n%s", diff)
		}
	})
}

// wide says if a number may be in the message that is wider than it may be: the KCL
// cuts those, and so does Split; Go's protobuf refuses them.
func wide(message []byte) bool {
	run := 0
	for _, b := range message {
		if run++; b < 0x80 {
			run = 0
		}
		if run >= 4 {
			return true
		}
	}
	return false
}
