package kpl_test

import (
	"bytes"
	"crypto/fips140"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

func TestSplitAppends(t *testing.T) {
	first := kpl.Record{PartitionKey: []byte("there before"), Sub: 7}
	dst := append(make([]kpl.Record, 0, 8), first)
	data := aggregate(t, cases()["keys that come again"]).Data
	got, ok := kpl.Split(data, dst)
	if !ok || len(got) != 6 || &got[0] != &dst[0] || !cmp.Equal(got[0], first) {
		t.Fatalf("got %v, %+v", ok, got)
	}
	for i, r := range got[1:] {
		if r.Sub != i {
			t.Errorf("record %d has the subsequence number %d", i, r.Sub)
		}
	}
	// A record that is wrong takes those before it with it.
	key, index := value(1, "k"), number(1, 0)
	wrong := seal(key, value(3, join(index, value(3, "good"))), value(3, index))
	if got, ok := kpl.Split(wrong, dst); ok || !cmp.Equal(got, dst) {
		t.Errorf("got %v, %+v", ok, got)
	}
}

func TestRecordsPointIntoTheData(t *testing.T) {
	data := aggregate(t, []user{{"key", "42", []byte("data"), 0}, {"other", "", []byte("more"), 0}}).Data
	before := slices.Clone(data)
	records, ok := kpl.Split(data, nil)
	if !ok {
		t.Fatal("not split")
	}
	r := records[0]
	for _, b := range [][]byte{r.PartitionKey, r.ExplicitHashKey, r.Data} {
		_ = append(b, "over and over"...)
	}
	if !bytes.Equal(data, before) {
		t.Error("appending to a record's slice wrote into the data")
	}
	copy(r.Data, "DATA")
	if !bytes.Contains(data, []byte("DATA")) {
		t.Error("the record is a copy")
	}
	if records[1].ExplicitHashKey != nil {
		t.Errorf("got the explicit hash key %q", records[1].ExplicitHashKey)
	}
}

// A handler that keeps its slice of records allocates nothing.
func TestSplitAllocatesNothing(t *testing.T) {
	var records []user
	for i := range 100 {
		records = append(records, user{fmt.Sprint("racer-", i), fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 200), 0})
	}
	data := aggregate(t, records).Data
	var dst []kpl.Record
	allocations := testing.AllocsPerRun(10, func() {
		var ok bool
		if dst, ok = kpl.Split(data, dst[:0]); !ok || len(dst) != len(records) {
			t.Fatal("not split")
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// Groups nest without end in a few bytes each.
func TestDeepNestingEnds(t *testing.T) {
	if _, ok := kpl.Split(seal(value(1, "k"), bytes.Repeat([]byte{9<<3 | 3}, 1<<20)), nil); ok {
		t.Error("a message of a million beginnings is whole")
	}
}

// A stream can be set to records of 10 MiB.
func TestLargeAggregatedRecords(t *testing.T) {
	for name, c := range map[string]struct{ records, size int }{
		"10,000 records":     {10_000, 100},
		"a record of 1 MiB":  {1, 1 << 20},
		"a record of 10 MiB": {1, 10 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			message := [][]byte{value(1, "k")}
			for i := range c.records {
				message = append(message, value(3, join(number(1, 0), value(3, bytes.Repeat([]byte{byte(i)}, c.size)))))
			}
			data := seal(message...)
			records, ok := kpl.Split(data, nil)
			if !ok || len(records) != c.records {
				t.Fatalf("%d records, %v", len(records), ok)
			}
			for i, r := range records {
				if r.Sub != i || string(r.PartitionKey) != "k" || len(r.Data) != c.size || bytes.Count(r.Data, []byte{byte(i)}) != c.size {
					t.Fatalf("record %d is number %d of %d bytes", i, r.Sub, len(r.Data))
				}
			}
			for _, at := range []int{4, len(data) / 2, len(data) - 1} {
				data[at]++
				if records, ok := kpl.Split(data, nil); ok || records != nil {
					t.Errorf("with byte %d changed there are %d records", at, len(records))
				}
				data[at]--
			}
		})
	}
}

// A process that allows only approved cryptography panics when it uses MD5.
func TestWithApprovedCryptographyOnly(t *testing.T) {
	if fips140.Enforced() {
		data := aggregate(t, cases()["one record"]).Data
		if _, ok := kpl.Split(data, nil); !ok {
			t.Error("not split")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

func FuzzSplit(f *testing.F) {
	for _, one := range read[request](f, "request").Split {
		if len(one.Data) < 1<<10 {
			f.Add(one.Data)
			f.Add(bytes.TrimPrefix(one.Data, []byte{0xF3, 0x89, 0x9A, 0xC2})[:max(0, len(one.Data)-20)])
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// As it is, and as a message with the right frame.
		for _, data := range [][]byte{data, seal(data)} {
			before := slices.Clone(data)
			dst := []kpl.Record{{Sub: -1}}
			records, ok := kpl.Split(data, dst)
			if !bytes.Equal(data, before) {
				t.Fatal("the data was changed")
			}
			if !ok && len(records) != 1 || records[0].Sub != -1 {
				t.Fatalf("what was there before is now %+v", records)
			}
			var again []user
			for i, r := range records[1:] {
				if r.Sub != i || cap(r.Data) != len(r.Data) || cap(r.PartitionKey) != len(r.PartitionKey) {
					t.Fatalf("record %d is %+v", i, r)
				}
				again = append(again, user{string(r.PartitionKey), string(r.ExplicitHashKey), r.Data, i})
			}
			// What an aggregator takes comes out again as it went in.
			a, err := kpl.NewAggregator(kpl.Options{Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			for i := range again {
				if full, err := a.Add(again[i].PartitionKey, again[i].ExplicitHashKey, again[i].Data); err != nil || full != nil {
					return // a key that Kinesis wouldn't take, or too much of it
				}
			}
			if all := a.Flush(); len(again) > 0 {
				if diff := cmp.Diff(result{Records: again}, splitted(all[0].Data), none); diff != "" {
					t.Fatal(diff)
				}
			}
		}
	})
}
