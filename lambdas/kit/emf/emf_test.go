package emf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/emf"
)

func ExampleCount() {
	emf.Count(os.Stdout, time.UnixMilli(1795255200123), "standings", emf.RejectedRecords, 2)
	// Output: {"FunctionName":"standings","RejectedRecords":2,"_aws":{"Timestamp":1795255200123,"CloudWatchMetrics":[{"Namespace":"Millrace","Dimensions":[["FunctionName"]],"Metrics":[{"Name":"RejectedRecords","Unit":"Count"}]}]}}
}

func ExampleMetrics() {
	metrics, err := emf.New(os.Stdout, "Shop", map[string]string{"Country": "fr"})
	if err != nil {
		panic(err)
	}
	metrics.Put("Orders", emf.UnitCount, 3)
	metrics.Put("Latency", emf.UnitMilliseconds, 12.5)
	metrics.Put("Latency", emf.UnitMilliseconds, 9)
	metrics.FlushAt(time.UnixMilli(1795255200123)) // Flush in a function
	// Output: {"Country":"fr","Latency":[12.5,9],"Orders":3,"_aws":{"Timestamp":1795255200123,"CloudWatchMetrics":[{"Namespace":"Shop","Dimensions":[["Country"]],"Metrics":[{"Name":"Orders","Unit":"Count"},{"Name":"Latency","Unit":"Milliseconds"}]}]}}
}

func TestWhatCloudWatchWouldRefuseIsTold(t *testing.T) {
	many := map[string]string{}
	for i := range 31 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, test := range map[string]struct {
		namespace  string
		dimensions map[string]string
		want       []string
	}{
		"no namespace":        {"", nil, []string{`namespace ""`}},
		"AWS's own":           {"AWS/Lambda", nil, []string{"AWS/"}},
		"too many dimensions": {"Shop", many, []string{"31 dimensions"}},
		"all at once":         {"", map[string]string{":x": "", "ok": strings.Repeat("y", 1025)}, []string{"namespace", `dimension ":x"`, "dimension :x", "dimension ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := emf.New(os.Stdout, test.namespace, test.dimensions)
			if m != nil {
				t.Error("there is a collector all the same")
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %v, want one with %s", err, want)
				}
			}
		})
	}
}

func TestMetricsNeedAWriter(t *testing.T) {
	if _, err := emf.New(nil, "Shop", nil); err == nil || !strings.Contains(err.Error(), "no writer") {
		t.Errorf("the error is %v", err)
	}
}

// Whatever is put, by whomever: every value comes out once, with its metric's unit,
// and no line is beyond CloudWatch's limits.
func TestEveryValueIsWrittenOnceWithinTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var out bytes.Buffer
		m, err := emf.New(&out, "Shop", map[string]string{"Country": "fr"})
		if err != nil {
			t.Fatal(err)
		}
		names := rapid.IntRange(1, 150).Draw(t, "names")
		puts := rapid.IntRange(0, 1000).Draw(t, "puts")
		var writers sync.WaitGroup
		for part := range 2 {
			writers.Go(func() {
				for i := part; i < puts; i += 2 {
					m.Put(fmt.Sprintf("m%d", i%names), emf.UnitBytes, float64(i))
				}
			})
		}
		m.Put("Country", emf.UnitCount, 1) // a dimension's name
		m.Put("nan", emf.UnitCount, math.NaN())
		m.Put("inf", emf.UnitCount, math.Inf(1))
		writers.Wait()
		m.Flush()
		m.Flush() // there is nothing left

		var got []int
		for line := range strings.Lines(out.String()) {
			var fields map[string]json.RawMessage
			var head struct {
				CloudWatchMetrics []struct{ Metrics []struct{ Name, Unit string } }
			}
			if json.Unmarshal([]byte(line), &fields) != nil || json.Unmarshal(fields["_aws"], &head) != nil {
				t.Fatalf("the line is %s", line)
			}
			metrics := head.CloudWatchMetrics[0].Metrics
			if len(metrics) > emf.MaximumMetrics || len(metrics)+2 != len(fields) {
				t.Fatalf("%d metrics and %d members in a line", len(metrics), len(fields))
			}
			for _, metric := range metrics {
				var values []int
				if json.Unmarshal(fields[metric.Name], &values) != nil {
					values = []int{0}
					_ = json.Unmarshal(fields[metric.Name], &values[0])
				}
				if len(values) > emf.MaximumValues || metric.Unit != "Bytes" {
					t.Fatalf("%s has %d values in %s", metric.Name, len(values), metric.Unit)
				}
				for _, v := range values {
					if metric.Name != fmt.Sprintf("m%d", v%names) {
						t.Fatalf("%d is a value of %s", v, metric.Name)
					}
				}
				got = append(got, values...)
			}
		}
		slices.Sort(got)
		for i, v := range got {
			if v != i {
				t.Fatalf("value %d is missing or there twice", i)
			}
		}
		if len(got) != puts {
			t.Fatalf("%d of %d values came out", len(got), puts)
		}
	})
}
