package kpl_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

func TestNewAggregatorSaysWhatIsWrong(t *testing.T) {
	low, high := hashRange(t, "0", "99"), hashRange(t, "99", "200")
	for _, test := range []struct {
		name string
		o    kpl.Options
		want []string
	}{
		{"too few bytes", kpl.Options{Bytes: 63}, []string{"Bytes is 63: must be 64 to RecordBytes, 1048576"}},
		{"more than a record", kpl.Options{Bytes: 2 << 20}, []string{"Bytes is 2097152"}},
		{"more than any stream takes", kpl.Options{RecordBytes: 10<<20 + 1}, []string{"RecordBytes is 10485761: must be 64 to 10485760"}},
		{"negative", kpl.Options{Bytes: -1}, []string{"Bytes is -1"}},
		{"shards that overlap", kpl.Options{Shards: []kpl.HashRange{high, hashRange(t, "300", "400"), low}}, []string{"Shards[2] and Shards[0] overlap"}},
		{"all of it", kpl.Options{Bytes: 1, RecordBytes: 100, Shards: []kpl.HashRange{low, low}}, []string{"Bytes is 1", "Shards[0] and Shards[1] overlap"}},
	} {
		_, err := kpl.NewAggregator(test.o)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", test.name, err, want)
			}
		}
	}
	// A stream of small records needs no second option.
	if _, err := kpl.NewAggregator(kpl.Options{RecordBytes: 1000}); err != nil {
		t.Error(err)
	}
}

func TestAddRefuses(t *testing.T) {
	for _, test := range []struct {
		name, partitionKey, explicitHashKey string
		data                                int
		want                                []string
	}{
		{"no partition key", "", "", 1, []string{"the partition key has 0 characters: must be 1 to 256"}},
		{"a partition key that is too long", strings.Repeat("ü", 257), "", 1, []string{"has 257 characters"}},
		{"a partition key that isn't UTF-8", "\xff", "", 1, []string{"isn't UTF-8"}},
		{"a hash key that isn't a number", "k", "x", 1, []string{`explicit hash key is "x"`}},
		{"a hash key with a leading zero", "k", "01", 1, []string{`explicit hash key is "01"`}},
		{"a hash key that is too large", "k", "340282366920938463463374607431768211456", 1, []string{"must be a decimal number from 0 to 2^128-1"}},
		{"a record that is too large", "k", "", 970, []string{"the record has 1002 bytes when aggregated, with its partition key: must be at most 1001 (RecordBytes)"}},
		{"all of it", "", "x", 2000, []string{"0 characters", `"x"`, "RecordBytes"}},
		{"a hash key of no shard", "k", "100", 1, []string{`partition key "k" and explicit hash key "100" is in none of the 1 Shards`}},
	} {
		a, err := kpl.NewAggregator(kpl.Options{RecordBytes: 1001, Shards: []kpl.HashRange{hashRange(t, "0", "99")}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Add("first", "0", []byte("data")); err != nil {
			t.Fatal(err)
		}
		full, err := a.Add(test.partitionKey, test.explicitHashKey, make([]byte, test.data))
		for _, want := range test.want {
			if err == nil || full != nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, %v, want %s", test.name, full, err, want)
			}
		}
		if left := a.Flush(); len(left) != 1 || left[0].Records != 1 || left[0].PartitionKey != "first" {
			t.Errorf("%s: %+v is left", test.name, left)
		}
	}
}

func TestTheDefaultSizeIsTheKPLs(t *testing.T) {
	a, err := kpl.NewAggregator(kpl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	added := 0
	var full *kpl.Aggregated
	for ; full == nil; added++ {
		if full, err = a.Add("key", "", make([]byte, 93)); err != nil {
			t.Fatal(err)
		}
	}
	// 25 bytes for the frame and the key, 99 for a record: 516 records, one more
	// would be 51,208 bytes.
	if len(full.Data) != 25+516*99 || full.Records != 516 || added != 517 {
		t.Errorf("%d bytes, %d records after %d", len(full.Data), full.Records, added)
	}
}

func TestALargeRecordGoesAlone(t *testing.T) {
	a, err := kpl.NewAggregator(kpl.Options{Bytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, size := range []int{10, 1 << 19, 10, 10} {
		full, err := a.Add("key", "", make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		if full != nil {
			sizes = append(sizes, full.Records, len(full.Data))
		}
	}
	// Each 16 bytes with its fields; 25 for the frame and the key.
	if want := []int{1, 25 + 16, 1, 1<<19 + 35}; !slices.Equal(sizes, want) {
		t.Errorf("got %v, want %v", sizes, want)
	}
	if left := a.Flush(); len(left) != 1 || left[0].Records != 2 {
		t.Errorf("%+v is left", left)
	}
	if left := a.Flush(); left != nil {
		t.Errorf("%+v is left after that", left)
	}
}

func TestShardsAreCopied(t *testing.T) {
	shards := []kpl.HashRange{hashRange(t, "0", "9"), hashRange(t, "10", "19")}
	a, err := kpl.NewAggregator(kpl.Options{Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	shards[0], shards[1] = shards[1], shards[0]
	if _, err := a.Add("key", "12", nil); err != nil {
		t.Fatal(err)
	}
	if all := a.Flush(); len(all) != 1 || all[0].Shard != 1 {
		t.Errorf("got %+v", all)
	}
}

func TestAddCopies(t *testing.T) {
	a, err := kpl.NewAggregator(kpl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all []*kpl.Aggregated
	data := make([]byte, 1)
	for i := range 3 {
		data[0] = 'a' + byte(i)
		if _, err := a.Add("key", "", data); err != nil {
			t.Fatal(err)
		}
		all = append(all, a.Flush()...)
	}
	for i, one := range all {
		if records, ok := kpl.Split(one.Data, nil); !ok || string(records[0].Data) != string(rune('a'+i)) {
			t.Errorf("%d is %+v", i, records)
		}
	}
}

// Whatever is added comes out again, once, in order per shard, in aggregated
// records that are as full as they may be.
func TestWhatIsAddedIsSplit(t *testing.T) {
	const last, half = "340282366920938463463374607431768211455", "170141183460469231731687303715884105728"
	upper, lower := hashRange(t, half, last), hashRange(t, "0", "170141183460469231731687303715884105727")
	record := rapid.Custom(func(t *rapid.T) user {
		return user{
			PartitionKey:    rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "a longer key"}), rapid.StringN(1, 256, -1)).Draw(t, "partition key"),
			ExplicitHashKey: rapid.SampledFrom([]string{"", "", "", "0", half, last}).Draw(t, "explicit hash key"),
			Data:            rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "data"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		o := kpl.Options{
			Bytes:       rapid.IntRange(64, 600).Draw(t, "bytes"),
			RecordBytes: rapid.IntRange(600, 2000).Draw(t, "record bytes"),
			Shards:      rapid.SampledFrom([][]kpl.HashRange{nil, {hashRange(t, "0", last)}, {upper, lower}}).Draw(t, "shards"),
		}
		a, err := kpl.NewAggregator(o)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make([][]user, max(1, len(o.Shards)))
		check := func(one *kpl.Aggregated, next *user) {
			want := waiting[one.Shard][:one.Records]
			waiting[one.Shard] = waiting[one.Shard][one.Records:]
			if diff := cmp.Diff(result{Records: numbered(want)}, splitted(one.Data), none); diff != "" {
				t.Fatalf("(-added +split):\n%s", diff)
			}
			if one.PartitionKey != want[0].PartitionKey || one.ExplicitHashKey != want[0].ExplicitHashKey {
				t.Fatalf("%q %q, want the first record's, %q %q", one.PartitionKey, one.ExplicitHashKey, want[0].PartitionKey, want[0].ExplicitHashKey)
			}
			if len(one.Data) > o.Bytes && one.Records > 1 || len(one.Data)+len(one.PartitionKey) > o.RecordBytes {
				t.Fatalf("%d records have %d bytes", one.Records, len(one.Data))
			}
			if records, _ := kpl.Split(one.Data, nil); o.Shards != nil && !o.Shards[one.Shard].Holds(records...) {
				t.Fatalf("not all of shard %d: %+v", one.Shard, want)
			}
			if next != nil {
				if more := aggregate(t, append(slices.Clone(want), *next)); len(more.Data) <= o.Bytes {
					t.Fatalf("the next would have fit: %d bytes", len(more.Data))
				}
			}
		}
		for _, r := range rapid.SliceOfN(record, 0, 30).Draw(t, "records") {
			full, err := a.Add(r.PartitionKey, r.ExplicitHashKey, r.Data)
			if err != nil {
				if len(r.Data) < 100 && len(r.PartitionKey) < 200 {
					t.Fatal(err)
				}
				continue
			}
			if full != nil {
				check(full, &r)
			}
			at := slices.IndexFunc(o.Shards, func(h kpl.HashRange) bool {
				one := kpl.Record{PartitionKey: []byte(r.PartitionKey)}
				if r.ExplicitHashKey != "" {
					one.ExplicitHashKey = []byte(r.ExplicitHashKey)
				}
				return h.Holds(one)
			})
			waiting[max(at, 0)] = append(waiting[max(at, 0)], r)
		}
		for _, one := range a.Flush() {
			check(one, nil)
		}
		for shard, left := range waiting {
			if len(left) > 0 {
				t.Fatalf("%d records of shard %d are missing", len(left), shard)
			}
		}
	})
}
