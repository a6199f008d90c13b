package sink_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/sink"
	"github.com/millrace/millrace/tests/redeliver"
)

// bucket is S3 in memory. Fault, if set, decides about each put: an error before or
// after it took effect.
type bucket struct {
	objects map[string][]byte
	puts    int
	fault   func() (before, after error)
}

func (b *bucket) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	var before, after error
	if b.fault != nil {
		before, after = b.fault()
	}
	if before != nil {
		return nil, before
	}
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	if b.objects == nil {
		b.objects = map[string][]byte{}
	}
	b.puts++
	b.objects[aws.ToString(in.Key)] = body
	return &s3.PutObjectOutput{}, errors.Join(after, ctx.Err())
}

// text of an object.
func (b *bucket) text(key string) string {
	z, err := gzip.NewReader(bytes.NewReader(b.objects[key]))
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

var arrival = time.Date(2026, 11, 21, 18, 59, 59, 0, time.FixedZone("CET", 3600))

func records(sequences ...int) []sink.Record {
	var all []sink.Record
	for i, s := range sequences {
		all = append(all, sink.Record{Sequence: fmt.Sprint(s), Arrival: arrival.Add(time.Duration(i) * time.Hour), Data: fmt.Appendf(nil, "record %d", s)})
	}
	return all
}

func TestABatchIsAnObjectWhoseKeyTellsWhatIsInIt(t *testing.T) {
	for name, test := range map[string]struct {
		objects sink.Objects
		records []sink.Record
		key     string
		text    string
	}{
		"as it comes":        {sink.Objects{}, records(98, 99, 101), "2026/11/21/17/shardId-7/98-101.gz", "record 98\nrecord 99\nrecord 101\n"},
		"one record":         {sink.Objects{Prefix: "telemetry/"}, records(98), "telemetry/2026/11/21/17/shardId-7/98-98.gz", "record 98\n"},
		"in Hive's style":    {sink.Objects{Prefix: "t/", Layout: "year=2006/month=01/"}, records(98), "t/year=2026/month=11/shardId-7/98-98.gz", "record 98\n"},
		"without a time":     {sink.Objects{Layout: sink.NoLayout}, records(98), "shardId-7/98-98.gz", "record 98\n"},
		"lines stay lines":   {sink.Objects{}, []sink.Record{{Sequence: "1", Arrival: arrival, Data: []byte("a\n")}, {Sequence: "1", Data: []byte("b")}, {Sequence: "2"}}, "2026/11/21/17/shardId-7/1-2.gz", "a\nb\n\n"},
		"in another form":    {sink.Objects{Encode: func(o []byte, r sink.Record) ([]byte, error) { return fmt.Appendf(o, "%s;", r.Sequence), nil }}, records(1, 2), "2026/11/21/17/shardId-7/1-2.gz", "1;2;"},
		"nothing":            {sink.Objects{}, nil, "", ""},
		"numbers of Kinesis": {sink.Objects{Layout: sink.NoLayout}, []sink.Record{{Sequence: "49590338271490256608559692538361571095921575989136588898"}}, "shardId-7/49590338271490256608559692538361571095921575989136588898-49590338271490256608559692538361571095921575989136588898.gz", "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bucket{}
			test.objects.Client, test.objects.Bucket = b, "archive"
			for range 2 { // again: the same object with the same bytes
				before := maps.Clone(b.objects)
				key, err := test.objects.Write(t.Context(), "shardId-7", test.records)
				if key != test.key || err != nil {
					t.Fatalf("the key is %q (%v), want %q", key, err, test.key)
				}
				if before != nil && !maps.EqualFunc(before, b.objects, bytes.Equal) {
					t.Error("the second write makes another object")
				}
			}
			if test.key == "" {
				if len(b.objects) != 0 {
					t.Error("there is an object")
				}
				return
			}
			if got := b.text(test.key); got != test.text {
				t.Errorf("the object is %q, want %q", got, test.text)
			}
			if _, err := sink.Cover([]string{test.key}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestObjectsRefuseWhatTheirKeysCantTell(t *testing.T) {
	b := &bucket{}
	for name, test := range map[string]struct {
		objects sink.Objects
		shard   string
		records []sink.Record
		says    []string
	}{
		"all at once":          {sink.Objects{}, "a/b", records(2, 1), []string{"Client and Bucket are required", `the shard is "a/b"`, "record 1 (1) comes before record 0 (2)"}},
		"no shard":             {sink.Objects{Client: b, Bucket: "x"}, "", records(1), []string{`the shard is ""`}},
		"no number":            {sink.Objects{Client: b, Bucket: "x"}, "s", []sink.Record{{Sequence: "x"}, {}}, []string{`record 0 has the sequence number "x"`, `record 1 has the sequence number ""`}},
		"by digits, not texts": {sink.Objects{Client: b, Bucket: "x"}, "s", records(10, 9), []string{"record 1 (9) comes before record 0 (10)"}},
		"an encoder's error": {
			sink.Objects{Client: b, Bucket: "x", Encode: func([]byte, sink.Record) ([]byte, error) { return nil, errors.New("no JSON") }},
			"s", records(5),
			[]string{"record 0 (5): no JSON"},
		},
	} {
		_, err := test.objects.Write(t.Context(), test.shard, test.records)
		for _, says := range test.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v doesn't say %q", name, err, says)
			}
		}
	}
	if b.puts > 0 {
		t.Error("something was written")
	}
	b.fault = func() (before, after error) { return errors.New("slow down"), nil }
	if key, err := (&sink.Objects{Client: b, Bucket: "x"}).Write(t.Context(), "s", records(5)); key != "" || err == nil || !strings.Contains(err.Error(), "put s3://x/2026/11/21/17/s/5-5.gz: slow down") {
		t.Errorf("%q, %v", key, err)
	}
}

func TestCover(t *testing.T) {
	for name, test := range map[string]struct{ keys, want string }{
		"one after the other":                   {"s/11-20 s/1-10", "s/1-10 s/11-20"},
		"split after it was written":            {"s/1-10 s/1-5 s/6-10", "s/1-10"},
		"split twice":                           {"s/1-10 s/1-5 s/6-7 s/8-10 s/11-12", "s/1-10 s/11-12"},
		"other batches after a restart":         {"s/1-10 s/11-20 s/6-15 s/16-25", "s/1-10 s/6-15>10 s/11-20>15 s/16-25>20"},
		"each shard by itself":                  {"s/1-10 t/1-10 s/5-6", "s/1-10 t/1-10"},
		"numbers, not texts":                    {"s/9-10 s/100-101", "s/9-10 s/100-101"},
		"other folders are of the same shard":   {"a/17/s/1-10 a/18/s/5-12", "a/17/s/1-10 a/18/s/5-12>10"},
		"one record":                            {"s/7-7 s/7-7", "s/7-7"},
		"the same range under two keys is once": {"b/s/1-2 a/s/1-2", "a/s/1-2"},
		"nothing":                               {"", ""},
	} {
		var keys []string
		for _, k := range strings.Fields(test.keys) {
			keys = append(keys, k+".gz")
		}
		parts, err := sink.Cover(keys)
		var got []string
		for _, p := range parts {
			text := strings.TrimSuffix(p.Key, ".gz")
			if p.After != "" {
				text += ">" + p.After
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != test.want || err != nil {
			t.Errorf("%s: %v (%v), want %s", name, got, err, test.want)
		}
	}
	_, err := sink.Cover([]string{"s/1-2.gz", "s/2-1.gz", "1-2.gz", "s/1-2.json", "s/1.gz", "s/a-b.gz", "s/"})
	for _, key := range []string{`"s/2-1.gz"`, `"1-2.gz"`, `"s/1-2.json"`, `"s/1.gz"`, `"s/a-b.gz"`, `"s/"`} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%v doesn't name %s", err, key)
		}
	}
}

// Whatever is delivered again, in whatever pieces, and whatever puts fail: the objects
// hold every record, and read by Cover each of them once.
func TestObjectsHoldEveryRecordAndCoverReadsItOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := redeliver.New(t, redeliver.Options{Keys: 5, Records: 100, Aggregated: rapid.Bool().Draw(t, "aggregated")})
		b := &bucket{objects: map[string][]byte{}}
		b.fault = func() (before, after error) {
			switch {
			case run.Chance("a put that fails", 10):
				return errors.New("slow down"), nil
			case run.Chance("a put whose answer gets lost", 10):
				return nil, errors.New("connection reset")
			}
			return nil, nil
		}
		o := &sink.Objects{Client: b, Bucket: "archive", Encode: func(object []byte, r sink.Record) ([]byte, error) {
			return fmt.Appendf(object, "%s %s\n", r.Sequence, r.Data), nil
		}}
		run.Deliver(func(batch []redeliver.Record) (int, error) {
			done := len(batch)
			if run.Chance("a record that fails", 10) {
				done = rapid.IntRange(0, len(batch)-1).Draw(t, "record")
			}
			var all []sink.Record
			for _, r := range batch[:done] {
				for sub, v := range r.Values {
					all = append(all, sink.Record{Sequence: r.Sequence, Arrival: arrival, Data: fmt.Appendf(nil, "%d %d", sub, v.N)})
				}
			}
			if _, err := o.Write(context.Background(), batch[0].Shard, all); err != nil {
				return 0, err
			}
			if done == 0 {
				return 0, errors.New("from the first record on")
			}
			return done, nil
		})
		var want []string
		for _, r := range run.Stream {
			for sub, v := range r.Values {
				want = append(want, fmt.Sprintf("%s %d %d", r.Sequence, sub, v.N))
			}
		}
		parts, err := sink.Cover(slices.Collect(maps.Keys(b.objects)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range parts {
			for line := range strings.Lines(b.text(p.Key)) {
				sequence, _, _ := strings.Cut(line, " ")
				if len(sequence) > len(p.After) || len(sequence) == len(p.After) && sequence > p.After {
					got = append(got, strings.TrimSuffix(line, "\n"))
				}
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("read were %d records, want %d:\n%q\n%q", len(got), len(want), got, want)
		}
	})
}

// A batch is written, and then its invocation fails: its halves are written as well.
func ExampleCover() {
	b := &bucket{} // in a function, s3.NewFromConfig(cfg)
	archive := sink.Objects{Client: b, Bucket: "archive", Prefix: "telemetry/"}
	ctx := context.Background()
	for _, batch := range [][]sink.Record{records(101, 104, 105, 109), records(101, 104), records(105, 109), records(112)} {
		key, err := archive.Write(ctx, "shardId-000000000000", batch)
		fmt.Println("wrote", key, err)
	}
	parts, err := sink.Cover(slices.Collect(maps.Keys(b.objects)))
	for _, p := range parts {
		fmt.Println("read", p.Key, p.After, err)
	}
	// Output:
	// wrote telemetry/2026/11/21/17/shardId-000000000000/101-109.gz <nil>
	// wrote telemetry/2026/11/21/17/shardId-000000000000/101-104.gz <nil>
	// wrote telemetry/2026/11/21/17/shardId-000000000000/105-109.gz <nil>
	// wrote telemetry/2026/11/21/17/shardId-000000000000/112-112.gz <nil>
	// read telemetry/2026/11/21/17/shardId-000000000000/101-109.gz  <nil>
	// read telemetry/2026/11/21/17/shardId-000000000000/112-112.gz  <nil>
}
