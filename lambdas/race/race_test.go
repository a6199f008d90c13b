package race_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/race"
)

const good = `{"race":"monza","racer":"r-0007","seq":12,"at":"2026-11-21T10:00:00.123Z","distance":1234.5,"speed":14.2,"power":310}`

func TestParseReadsEveryField(t *testing.T) {
	got, err := race.Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := race.Record{
		Race: "monza", Racer: "r-0007", Seq: 12,
		At:       time.Date(2026, 11, 21, 10, 0, 0, 123e6, time.UTC),
		Distance: 1234.5, Speed: 14.2, Power: 310,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got.PartitionKey() != "monza/r-0007" {
		t.Errorf("partition key %q", got.PartitionKey())
	}
	if body, err := json.Marshal(got); err != nil || string(body) != good {
		t.Errorf("marshalled: %s, %v", body, err)
	}
}

func TestParseAcceptsUnknownFields(t *testing.T) {
	payload := strings.Replace(good, "{", `{"gear":{"front":2},"RACE":"spa",`, 1)
	got, err := race.Parse([]byte(payload))
	if err != nil || got.Race != "monza" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseTellsKeepAlivesApart(t *testing.T) {
	for _, payload := range []string{"", " ", "\r\n\t "} {
		if _, err := race.Parse([]byte(payload)); !errors.Is(err, race.ErrKeepAlive) {
			t.Errorf("payload %q: %v", payload, err)
		}
	}
}

func TestParseNamesEveryProblemAtOnce(t *testing.T) {
	with := func(old, replacement string) string { return strings.Replace(good, old, replacement, 1) }
	for name, c := range map[string]struct {
		payload string
		fields  []string // that have a problem
	}{
		"no JSON":                      {"%PDF-1.7", []string{"the payload"}},
		"JSON cut off":                 {good[:40], []string{"the payload"}},
		"two documents":                {good + good, []string{"the payload"}},
		"an array":                     {"[" + good + "]", []string{"the payload"}},
		"null":                         {"null", []string{"the payload"}},
		"not UTF-8":                    {with("{", "{\"x\":\"\xff\","), []string{"the payload"}},
		"nothing in it":                {"{}", []string{"race", "racer", "seq", "at", "distance", "speed", "power"}},
		"all of the wrong type":        {`{"race":1,"racer":[],"seq":"1","at":0,"distance":"1","speed":{},"power":true}`, []string{"race", "racer", "seq", "at", "distance", "speed", "power"}},
		"null is no value":             {with("14.2", "null"), []string{"speed"}},
		"names in another case":        {with(`"seq"`, `"Seq"`), []string{"seq"}},
		"an empty name":                {with("monza", ""), []string{"race"}},
		"a name of 65":                 {with("r-0007", strings.Repeat("x", 65)), []string{"racer"}},
		"a slash in a name":            {with("monza", "a/b"), []string{"race"}},
		"a letter beyond ASCII":        {with("monza", "mönza"), []string{"race"}},
		"seq 0":                        {with(":12", ":0"), []string{"seq"}},
		"seq with a fraction":          {with(":12", ":1.5"), []string{"seq"}},
		"seq too large":                {with(":12", ":9223372036854775808"), []string{"seq"}},
		"a time with an offset":        {with("123Z", "123+02:00"), []string{"at"}},
		"a time that isn't RFC 3339":   {with("2026-11-21T", "2026-11-21 "), []string{"at"}},
		"a negative distance":          {with("1234.5", "-0.1"), []string{"distance"}},
		"infinite":                     {with("1234.5", "1e999"), []string{"distance"}},
		"more than DynamoDB can hold":  {with("14.2", "1e200"), []string{"speed"}},
		"finer than DynamoDB can hold": {with("310", "1e-200"), []string{"power"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := race.Parse([]byte(c.payload))
			var malformed *race.MalformedError
			if !errors.As(err, &malformed) {
				t.Fatalf("error %v, want a MalformedError", err)
			}
			if len(malformed.Problems) != len(c.fields) {
				t.Fatalf("problems %q, want one for each of %q", malformed.Problems, c.fields)
			}
			for i, field := range c.fields {
				if !strings.HasPrefix(malformed.Problems[i], field) || !strings.Contains(err.Error(), malformed.Problems[i]) {
					t.Errorf("problem %q, want one of %s, and in %q", malformed.Problems[i], field, err)
				}
			}
		})
	}
}

func TestProblemsNeverQuoteThePayload(t *testing.T) {
	payload := `{"race":"SECRET/1","racer":"SECRET 2","seq":"SECRET3","at":"SECRET4","distance":-777,"speed":"SECRET5","power":-777}`
	_, err := race.Parse([]byte(payload))
	if err == nil || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "777") {
		t.Error(err)
	}
}

func TestValidateNamesEveryProblemAtOnce(t *testing.T) {
	var malformed *race.MalformedError
	err := race.Record{Distance: -1, At: time.Now().In(time.FixedZone("", 3600))}.Validate()
	if !errors.As(err, &malformed) || len(malformed.Problems) != 5 {
		t.Errorf("got %v", err)
	}
	record, err := race.Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if err := record.Validate(); err != nil {
		t.Error(err)
	}
}

// odd are payloads near the border of what is read in a hurry.
var odd = []string{
	strings.Replace(good, "1234.5", "01234.5", 1), strings.Replace(good, "1234.5", "1234.", 1), strings.Replace(good, "1234.5", ".5", 1),
	strings.Replace(good, "1234.5", "0.1234567890123456789", 1), strings.Replace(good, "1234.5", "123456789012345", 1),
	strings.Replace(good, "1234.5", "1e3", 1), strings.Replace(good, "1234.5", "-0", 1), strings.Replace(good, "1234.5", "0", 1),
	strings.Replace(good, ":12,", ":12.0,", 1), strings.Replace(good, ":12,", ":012,", 1), strings.Replace(good, ":12,", ":1234567890123456,", 1),
	strings.Replace(good, "monza", "mon\\u007aa", 1), strings.Replace(good, "monza", "mon\tza", 1), strings.Replace(good, "monza", "mon\x7fza", 1),
	strings.Replace(good, "123Z", "123+00:00", 1), strings.Replace(good, "123Z", "123z", 1), strings.Replace(good, "2026", "0000", 1),
	strings.Replace(good, "{", `{"race":"spa",`, 1), strings.Replace(good, "{", `{"x":1.50,"y":true,"z":null,"w":"v", "u" : false ,`, 1),
	strings.Replace(good, "{", `{"x":-1,`, 1), strings.Replace(good, "{", `{"x":truex,`, 1), strings.Replace(good, "{", `{"x":[],`, 1),
	strings.Replace(good, "{", `{"x":1e5,`, 1), strings.Replace(good, "{", `{"":0,`, 1), " \n" + good + "\t ", good + "x", good + ",", good[:len(good)-1],
	strings.Replace(good, "310", "310,", 1), strings.Replace(good, ":310", ":", 1),
}

func BenchmarkParse(b *testing.B) {
	for name, payload := range map[string]string{"200B": good, "1KB": strings.Replace(good, "{", `{"note":"`+strings.Repeat("x", 860)+`",`, 1)} {
		b.Run(name, func(b *testing.B) {
			var record race.Record
			for b.Loop() {
				if err := race.ParseInto([]byte(payload), &record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	for _, payload := range odd {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		record, err := race.Parse(payload)
		if slow, other := race.ParseSlowly(payload); slow != record || fmt.Sprint(other) != fmt.Sprint(err) {
			t.Fatalf("read in a hurry it is %+v (%v), and else %+v (%v)", record, err, slow, other)
		}
		if err != nil {
			var malformed *race.MalformedError
			if errors.Is(err, race.ErrKeepAlive) == errors.As(err, &malformed) {
				t.Fatalf("error %v is neither or both", err)
			}
			return
		}
		if err := record.Validate(); err != nil {
			t.Fatalf("parsed, but not valid: %v", err)
		}
		body, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		again, err := race.Parse(body)
		if err != nil || again != record {
			t.Fatalf("%s came back as %+v, %v", body, again, err)
		}
	})
}
