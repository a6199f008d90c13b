package firehose

import (
	"strings"
	"testing"
	"time"
)

// at is an instant in Firehose's own example, and one with all digits different.
var at = time.Date(2018, 8, 7, 15, 4, 9, 0, time.UTC)

func TestTimestamps(t *testing.T) {
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		pattern string
		zone    *time.Location
		want    string
	}{
		{"yyyy/MM/dd/HH", time.UTC, "2018/08/07/15"},
		{"'year='yyyy'/month='MM", time.UTC, "year=2018/month=08"},
		{"yyyy''MM", time.UTC, "2018'08"},
		{"'it''s' d", time.UTC, "it's 7"},
		{"y yy yyy yyyyy u", time.UTC, "2018 18 2018 02018 2018"},
		{"M MM MMM MMMM MMMMM L", time.UTC, "8 08 Aug August A 8"},
		{"d dd D DDD", time.UTC, "7 07 219 219"},
		{"E EEE EEEE EEEEE e ee c", time.UTC, "Tue Tue Tuesday T 3 03 3"},
		{"H h hh K k a", time.UTC, "15 3 03 3 15 PM"},
		{"m mm s ss SSS n", time.UTC, "4 04 9 09 000 0"},
		{"A", time.UTC, "54249000"},
		{"Q QQ QQQ QQQQ", time.UTC, "3 03 Q3 3rd quarter"},
		{"YYYY-'w'ww W F", time.UTC, "2018-w32 2 1"},
		{"G", time.UTC, "AD"},
		{"HH'h'[mm]", time.UTC, "15h04"},
		{"dd HH", tokyo, "08 00"},
		{"VV z O OOOO X XX XXX x xx xxx Z ZZZZ ZZZZZ", tokyo, "Asia/Tokyo JST GMT+9 GMT+09:00 +09 +0900 +09:00 +09 +0900 +09:00 +0900 GMT+09:00 +09:00"},
		{"VV X XXX x xxx Z O", time.UTC, "UTC Z Z +00 +00:00 +0000 GMT"},
		{"HH X z", newYork, "11 -04 EDT"},
	}
	for _, test := range tests {
		layout, err := parseLayout(test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		if got := formatTime(layout, at.In(test.zone)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.pattern, got, test.want)
		}
	}
}

func TestWeeksOfTheUSA(t *testing.T) {
	tests := []struct {
		day        string
		year, week int
	}{
		{"2016-01-02", 2016, 1},
		{"2016-01-03", 2016, 2},
		{"2016-12-31", 2016, 53},
		{"2017-12-31", 2018, 1}, // a Sunday
		{"2020-08-12", 2020, 33},
		{"2022-01-01", 2022, 1}, // a Saturday
	}
	for _, test := range tests {
		day, err := time.Parse(time.DateOnly, test.day)
		if err != nil {
			t.Fatal(err)
		}
		if year, week := usWeek(day); year != test.year || week != test.week {
			t.Errorf("%s: got %d w%d, want %d w%d", test.day, year, week, test.year, test.week)
		}
	}
}

func TestPrefixes(t *testing.T) {
	tests := []struct {
		name, good, failing  string
		wantGood, wantFailed string
	}{
		{"nothing", "", "", "2018/08/07/15/", "processing-failed/2018/08/07/15/"},
		{"literal", "p/", "", "p/2018/08/07/15/", "p/processing-failed/2018/08/07/15/"},
		{"no slash", "p", "", "p2018/08/07/15/", "pprocessing-failed/2018/08/07/15/"},
		{"literal error prefix", "", "e/", "2018/08/07/15/", "e/processing-failed/2018/08/07/15/"},
		{"error type without a time", "", "f/!{firehose:error-output-type}/", "2018/08/07/15/", "f/processing-failed/"},
		{"random", "r=!{firehose:random-string}/!{timestamp:yyyy}", "f/!{firehose:error-output-type}/!{timestamp:dd}", "r=00000000-00/2018", "f/processing-failed/07"},
		{"no timestamp beside an expression", "!{firehose:random-string}/", "!{firehose:error-output-type}", "00000000-00/2018/08/07/15/", "processing-failed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			good, err := goodPrefix(test.good)
			if err != nil {
				t.Fatal(err)
			}
			failing, err := errorPrefix(test.failing, test.good)
			if err != nil {
				t.Fatal(err)
			}
			e := evaluation{at: at, errorType: "processing-failed", random: &counter{}}
			if got, err := good.evaluate(e); err != nil || got != test.wantGood {
				t.Errorf("prefix %q, %v, want %q", got, err, test.wantGood)
			}
			if got, err := failing.evaluate(e); err != nil || got != test.wantFailed {
				t.Errorf("error prefix %q, %v, want %q", got, err, test.wantFailed)
			}
		})
	}
}

func TestWrongPrefixes(t *testing.T) {
	for _, text := range []string{
		"!{timestamp:yyyy", "!{timestamp}", "!{timestamp:}", "!{firehose:shard}", "!{other:x}", "!{", "!{timestamp:b}",
		"!{timestamp:ddd}", "!{timestamp:'x}", "!{timestamp:V}", "!{timestamp:#}", "!{timestamp:]}", "!{firehose:error-output-type}/",
		"!{partitionKeyFromQuery:!{x}}",
	} {
		if _, err := goodPrefix(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
	for _, pair := range [][2]string{
		{"", "!{timestamp:yyyy}/"},
		{"e/!{timestamp:yyyy}/", ""},
		{"e/!{firehose:error-output-type}/!{partitionKeyFromQuery:a}/", ""},
	} {
		if _, err := errorPrefix(pair[0], pair[1]); err == nil {
			t.Errorf("error prefix %q beside %q was taken", pair[0], pair[1])
		}
	}
}

func FuzzPrefix(f *testing.F) {
	for _, text := range []string{"a/!{timestamp:yyyy/MM/dd/HH}/", "!{firehose:random-string}!{partitionKeyFromQuery:k}", "!{timestamp:'q'''[E]}", "!{", "!{timestamp:SSSSSSSSS XXXXX OOOO VV}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePrefix(text)
		if err != nil {
			return
		}
		got, err := p.evaluate(evaluation{at: at, random: zeros{}})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "!{") && got != text {
			t.Errorf("%q became %q", text, got)
		}
		if _, err := goodPrefix(text); err == nil && strings.Contains(text, "error-output-type}") && p.has(errorTypePart) {
			t.Errorf("%q was taken as a prefix", text)
		}
	})
}
