package decode_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/decode"
)

// Events that are nearly AWS's: members left out, doubled, unknown, null, of
// another type or in another order, escapes, white space, now and then a byte
// that is wrong.
func TestAnyEventReadsAsWithEncodingJSON(t *testing.T) {
	kinesis := corrupted(event(object(
		member{"kinesis", object(
			member{"kinesisSchemaVersion", text()},
			member{"partitionKey", text()},
			member{"sequenceNumber", text()},
			member{"data", binary()},
			member{"approximateArrivalTimestamp", number()},
			member{"encryptionType", text()},
		)},
		member{"eventID", text()},
		member{"eventName", text()},
		member{"eventSourceARN", text()},
		member{"awsRegion", text()},
	)))
	dynamoDB := corrupted(event(object(
		member{"eventName", text()},
		member{"eventID", text()},
		member{"userIdentity", object(member{"type", text()}, member{"principalId", text()})},
		member{"dynamodb", object(
			member{"ApproximateCreationDateTime", number()},
			member{"Keys", item()},
			member{"NewImage", item()},
			member{"OldImage", item()},
			member{"SequenceNumber", text()},
			member{"SizeBytes", rapid.SampledFrom([]string{"0", "140", "-1", "1.0", "1e2", "9223372036854775807", "9223372036854775808"})},
			member{"StreamViewType", text()},
		)},
	)))
	t.Run("Kinesis", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { sameKinesis(t, []byte(kinesis.Draw(r, "event"))) })
	})
	t.Run("DynamoDB", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { sameDynamoDB(t, []byte(dynamoDB.Draw(r, "event"))) })
	})
}

type member struct {
	name  string
	value *rapid.Generator[string]
}

// rarely is what is drawn instead, once in n draws.
func rarely(n int, instead, mostly *rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.Custom(func(r *rapid.T) string {
		if rapid.IntRange(0, n-1).Draw(r, "rarely") == n-1 {
			return instead.Draw(r, "instead")
		}
		return mostly.Draw(r, "mostly")
	})
}

func event(record *rapid.Generator[string]) *rapid.Generator[string] {
	window := object(
		member{"start", rarely(20, anything(), rapid.Just(`"2020-12-09T07:04:00Z"`))},
		member{"end", rarely(20, anything(), rapid.Just(`"2020-12-09T07:06:00+01:00"`))},
	)
	records := rapid.Custom(func(r *rapid.T) string {
		return "[" + strings.Join(rapid.SliceOfN(record, 0, 5).Draw(r, "records"), ",") + "]"
	})
	plain := rapid.Custom(func(r *rapid.T) string { return `{"Records":` + records.Draw(r, "records") + `}` })
	return rapid.OneOf(plain, plain, object(
		member{"Records", records},
		member{"window", window},
		member{"state", anything()},
		member{"shardId", text()},
		member{"isFinalInvokeForWindow", rapid.SampledFrom([]string{"true", "false", "null", `"true"`})},
	))
}

// object has the members, in this order as a rule, with something odd about one
// in thirty of them.
func object(members ...member) *rapid.Generator[string] {
	return rarely(30, anything(), rapid.Custom(func(r *rapid.T) string {
		var parts []string
		for _, m := range members {
			part := fmt.Sprintf("%q:%s", m.name, m.value.Draw(r, m.name))
			switch rapid.IntRange(0, 150).Draw(r, "oddity") {
			case 1: // left out
			case 2:
				parts = append(parts, part, fmt.Sprintf("%q:%s", m.name, m.value.Draw(r, m.name)))
			case 3:
				parts = append([]string{part}, parts...)
			case 4:
				parts = append(parts, part, `"unknown":`+anything().Draw(r, "unknown"))
			case 5:
				parts = append(parts, fmt.Sprintf(" \"\\u%04x%s\" :\n\t%s ", m.name[0], m.name[1:], m.value.Draw(r, m.name)))
			default:
				parts = append(parts, part)
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}))
}

// text is a string as a rule.
func text() *rapid.Generator[string] {
	quoted := rapid.Custom(func(r *rapid.T) string {
		b, err := json.Marshal(rapid.StringN(0, 40, -1).Draw(r, "text"))
		if err != nil {
			r.Fatal(err)
		}
		return string(b)
	})
	ascii := rapid.Custom(func(r *rapid.T) string { return `"` + rapid.StringMatching(`[a-z0-9:/-]{0,30}`).Draw(r, "text") + `"` })
	odd := rapid.SampledFrom([]string{`"\ud800"`, `"a\udc00\ud83d\ude00\ud83d\n"`, `"\/\b\f"`, `"\x"`, "\"\x01\"", "\"\xff\"", "\"\u2028é\"", "null", "1", "[]"})
	return rarely(20, odd, rarely(3, quoted, ascii))
}

// binary is a string in base64 as a rule.
func binary() *rapid.Generator[string] {
	odd := rapid.SampledFrom([]string{`"AA"`, `"AB=="`, `"AAA"`, `"A==="`, `"AA\n=="`, `"AAAA\n\n\n\n"`, `"\u0041\/\/A"`, `"AA==AAAA"`, `"-_-_"`, `[1,2]`, "null", `"====="`, `"é==="`})
	return rarely(20, odd, rapid.Custom(func(r *rapid.T) string {
		return `"` + base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(r, "bytes")) + `"`
	}))
}

// number is a time as a rule.
func number() *rapid.Generator[string] {
	odd := rapid.OneOf(anything(), rapid.SampledFrom([]string{"-0", "-1", "0.0", "1.", ".5", "01", "+1", "1e", "1e400", "1e-400", "253402300799.9999999999", "253402300800", "1545084650987E-3", "1.545084650987e+9", "0.15e10"}))
	return rarely(15, odd, rapid.Custom(func(r *rapid.T) string {
		return fmt.Sprintf("%d.%03d", rapid.Int64Range(0, 1<<34).Draw(r, "seconds"), rapid.IntRange(0, 999).Draw(r, "milliseconds"))
	}))
}

// item is an image as a rule.
func item() *rapid.Generator[string] {
	var attribute *rapid.Generator[string]
	list := func(element func() *rapid.Generator[string]) *rapid.Generator[string] {
		return rapid.Custom(func(r *rapid.T) string {
			return "[" + strings.Join(rapid.SliceOfN(element(), 0, 3).Draw(r, "elements"), ",") + "]"
		})
	}
	object := rapid.Custom(func(r *rapid.T) string {
		var members []string
		for range rapid.IntRange(0, 4).Draw(r, "attributes") {
			name, err := json.Marshal(rapid.StringN(0, 5, -1).Draw(r, "name"))
			if err != nil {
				r.Fatal(err)
			}
			members = append(members, string(name)+":"+attribute.Draw(r, "attribute"))
		}
		return "{" + strings.Join(members, ",") + "}"
	})
	kinds := map[string]func() *rapid.Generator[string]{
		"S": text, "N": text, "B": binary,
		"BOOL": func() *rapid.Generator[string] { return rapid.SampledFrom([]string{"true", "false", "true", "null"}) },
		"NULL": func() *rapid.Generator[string] { return rarely(20, anything(), rapid.Just("true")) },
		"M":    func() *rapid.Generator[string] { return object },
		"L":    func() *rapid.Generator[string] { return list(func() *rapid.Generator[string] { return attribute }) },
		"SS":   func() *rapid.Generator[string] { return list(text) },
		"NS":   func() *rapid.Generator[string] { return list(text) },
		"BS":   func() *rapid.Generator[string] { return list(binary) },
	}
	attribute = rarely(40, anything(), rapid.Custom(func(r *rapid.T) string {
		kind := rapid.SampledFrom([]string{"S", "N", "B", "BOOL", "NULL", "S", "N", "M", "L", "SS", "NS", "BS"}).Draw(r, "kind")
		value := kinds[kind]().Draw(r, "value")
		if rapid.IntRange(0, 60).Draw(r, "oddity") == 60 {
			return fmt.Sprintf(`{%q:%s,%q:%s}`, kind, value, rapid.SampledFrom([]string{kind, "S", "X"}).Draw(r, "second"), value)
		}
		return fmt.Sprintf(`{%q:%s}`, kind, value)
	}))
	return rarely(30, rapid.Just("null"), object)
}

// anything is any JSON, or nearly.
func anything() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"null", "true", "false", "0", "-1.5e+3", `""`, `"a\u00e9\n"`, "{}", "[]", "tru", "01", "nul", "[1,]", `{"a"}`, `{"a":1,}`, `{"a":[{"b":"\ud800"}, 2 ,{}]}`, "\"\t\"", "\"\xff\"", "-", ""}),
		rapid.Custom(func(r *rapid.T) string {
			n := rapid.IntRange(1, 20).Draw(r, "depth")
			return strings.Repeat(`[{"x":`, n) + "1" + strings.Repeat("}]", n)
		}),
	)
}

// corrupted has a wrong byte at times, or ends early.
func corrupted(whole *rapid.Generator[string]) *rapid.Generator[string] {
	return rarely(10, rapid.Custom(func(r *rapid.T) string {
		text := whole.Draw(r, "whole")
		if text == "" {
			return text
		}
		i := rapid.IntRange(0, len(text)-1).Draw(r, "place")
		wrong := rapid.SampledFrom([]string{"", "\"", "\\", "{", "}", "[", "]", ",", ":", "\x00", "\xff", " ", "0", "e", "n"}).Draw(r, "wrong")
		return text[:i] + rapid.SampledFrom([]string{wrong + text[i:], wrong + text[i+1:], wrong}).Draw(r, "rest")
	}), whole)
}

func TestTimesKeepTheirNanoseconds(t *testing.T) {
	read := func(t rapid.TB, number string) time.Time {
		t.Helper()
		event, err := decode.Kinesis([]byte(strings.Replace(kinesis(record), "1545084650.987", number, 1)))
		if err != nil {
			t.Fatalf("%s: %v", number, err)
		}
		return event.Records[0].ApproximateArrivalTimestamp
	}
	for number, want := range map[string]time.Time{
		"1545084650.987":            time.Unix(1545084650, 987e6),
		"1.545084650987E9":          time.Unix(1545084650, 987e6),
		"1545084650.123456789999":   time.Unix(1545084650, 123456789),
		"154508465012345678999e-11": time.Unix(1545084650, 123456789),
		"1e9":                       time.Unix(1e9, 0),
		"0.00000000001e11":          time.Unix(1, 0),
		"0.000000001":               time.Unix(0, 1),
		"0e9999999999":              time.Unix(0, 0),
		"1e-9999999999":             time.Unix(0, 0),
		"-0.0":                      time.Unix(0, 0),
		"253402300799.999999999":    time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		if got := read(t, number); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%s: %v, want %v", number, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		number := fmt.Sprintf("%d.%se%d", rapid.Int64Range(0, 1e11).Draw(r, "seconds"),
			rapid.StringMatching(`[0-9]{1,15}`).Draw(r, "fraction"), rapid.IntRange(-12, 0).Draw(r, "exponent"))
		exact, _ := new(big.Rat).SetString(number)
		ns := exact.Mul(exact, big.NewRat(1e9, 1))
		want := new(big.Int).Quo(ns.Num(), ns.Denom())
		got := read(r, number)
		if n := new(big.Int).Add(new(big.Int).Mul(big.NewInt(got.Unix()), big.NewInt(1e9)), big.NewInt(int64(got.Nanosecond()))); n.Cmp(want) != 0 {
			r.Fatalf("%s: %v ns, want %v", number, n, want)
		}
	})
}

// What is fast in base64 handles many characters at a time, and its ends in other
// ways: every length, and a wrong character in every place.
func TestBase64OfEveryLength(t *testing.T) {
	read := func(text string) ([]byte, error) {
		event, err := decode.Kinesis([]byte(strings.Replace(kinesis(record), "SGVsbG8=", text, 1)))
		if err != nil {
			return nil, err
		}
		return event.Records[0].Data, nil
	}
	for n := range 200 {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(i * 151)
		}
		text := base64.StdEncoding.EncodeToString(want)
		if got, err := read(text); err != nil || string(got) != string(want) {
			t.Fatalf("%d bytes: %x, %v", n, got, err)
		}
		for i := range text {
			for _, wrong := range []string{"=", "-", "_", " ", ".", "@", "[", "`", "{", "\x7f", "é", `\n`} {
				broken := text[:i] + wrong + text[i+1:]
				_, err := read(broken)
				_, refusal := decodeStrictly(strings.ReplaceAll(broken, `\n`, "\n"))
				if (err == nil) != (refusal == nil) {
					t.Fatalf("%s: %v, the standard library: %v", broken, err, refusal)
				}
			}
		}
	}
}
