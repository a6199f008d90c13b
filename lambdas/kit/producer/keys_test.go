package producer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/producer"
)

func TestField(t *testing.T) {
	for data, want := range map[string]string{
		`{"racer":"r-1","n":1}`:       "r-1",
		`{"racer":7}`:                 "7",
		`{"racer":1e3}`:               "1e3",
		`{"racer":12345678901234567}`: "12345678901234567",
		`{"racer":""}`:                "error: must be a string that isn't empty, or a number",
		`{"racer":null}`:              "error: must be a string",
		`{"racer":{"id":1}}`:          "error: must be a string",
		`{"racer":true}`:              "error: must be a string",
		`{"n":1}`:                     "error: the data has no field racer",
		`[1]`:                         "error: the data is no JSON object",
		``:                            "error: the data is no JSON object",
	} {
		got, err := producer.Field([]byte(data), "racer")
		says, fails := strings.CutPrefix(want, "error: ")
		if fails && (err == nil || got != "" || !strings.Contains(err.Error(), says)) || !fails && (got != want || err != nil) {
			t.Errorf("%s: %q (%v), want %s", data, got, err, want)
		}
	}
}

func TestTimeBucketsBeginAtMultiplesOfTheirLength(t *testing.T) {
	at := time.Date(2026, 11, 21, 17, 4, 59, 999, time.FixedZone("CET", 3600))
	for name, test := range map[string]struct {
		at    time.Time
		every time.Duration
		want  string
	}{
		"a minute":           {at, time.Minute, "k/1795277040"},
		"its next one":       {at.Add(time.Second), time.Minute, "k/1795277100"},
		"an hour":            {at, time.Hour, "k/1795276800"},
		"less than a second": {at, time.Millisecond, "k/1795277099"},
		"before 1970":        {time.Unix(-1, 0), time.Minute, "k/-60"},
		"the epoch":          {time.Unix(0, 0), time.Minute, "k/0"},
	} {
		if got := producer.TimeBucket("k", test.at, test.every); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestSaltsSpreadAKeyOverTheShards(t *testing.T) {
	// Of two shards each gets some of what all goes to one without.
	spread := func(key func(i int) string) (first int) {
		for i := range 1000 {
			if halves[0].Holds(kpl.Record{PartitionKey: []byte(key(i))}) {
				first++
			}
		}
		return first
	}
	plain := func(int) string { return "monza" }
	if n := spread(plain); n != 0 && n != 1000 {
		t.Fatalf("%d of one key", n)
	}
	for name, key := range map[string]func(i int) string{
		"random":            func(int) string { return producer.RandomKey() },
		"salted at random":  func(int) string { return producer.Salted("monza", "", 64) },
		"salted by a racer": func(i int) string { return producer.Salted("monza", fmt.Sprint("r", i), 64) },
		"time buckets":      func(i int) string { return producer.TimeBucket("monza", time.Unix(int64(60*i), 0), time.Minute) },
	} {
		if n := spread(key); n < 250 || n > 750 {
			t.Errorf("%s: %d of 1000 records are on the first of two shards", name, n)
		}
	}
	all := producer.Salts("monza", 8)
	if len(all) != 8 || len(slices.Compact(slices.Sorted(slices.Values(all)))) != 8 {
		t.Errorf("the salts are %q", all)
	}
	used := map[string]bool{}
	for i := range 1000 {
		for _, key := range []string{producer.Salted("monza", "", 8), producer.Salted("monza", fmt.Sprint(i), 8)} {
			if used[key] = true; !slices.Contains(all, key) {
				t.Fatalf("%s is none of %q", key, all)
			}
		}
		if a, b := producer.Salted("monza", fmt.Sprint(i), 8), producer.Salted("monza", fmt.Sprint(i), 8); a != b {
			t.Fatalf("%s and %s for one part", a, b)
		}
	}
	if len(used) != 8 {
		t.Errorf("only %d of 8 salts are used", len(used))
	}
	for _, few := range []int{-1, 0, 1} {
		if producer.Salted("monza", "", few) != "monza" || fmt.Sprint(producer.Salts("monza", few)) != "[monza]" {
			t.Errorf("%d salts change the key", few)
		}
	}
}

func ExampleSalted() {
	// The leader's fans are many: the records of each stay in order, on one of 16 keys.
	key := producer.Salted("monza/r-0001", "fan-77", 16)
	fmt.Println(slices.Contains(producer.Salts("monza/r-0001", 16), key))
	// Output: true
}
