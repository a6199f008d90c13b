package pattern_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/local/esm/pattern"
)

func TestPatterns(t *testing.T) {
	const order = `{"record": 12345, "order": {"type": "buy", "stock": "ANYCO", "quantity": 1000}}`
	for _, c := range []struct {
		name    string
		pattern string
		record  string
		want    bool
	}{
		// AWS's own list of comparisons.
		{"null", `{"UserID": [null]}`, `{"UserID": null}`, true},
		{"null isn't a missing field", `{"UserID": [null]}`, `{}`, false},
		{"null isn't the text null", `{"UserID": [null]}`, `{"UserID": "null"}`, false},
		{"an empty text", `{"LastName": [""]}`, `{"LastName": ""}`, true},
		{"an empty text isn't null", `{"LastName": [""]}`, `{"LastName": null}`, false},
		{"equal", `{"Name": ["Alice"]}`, `{"Name": "Alice"}`, true},
		{"equal in other letters", `{"Name": ["Alice"]}`, `{"Name": "alice"}`, false},
		{"equal, ignoring the case", `{"Name": [{"equals-ignore-case": "aLICE"}]}`, `{"Name": "Alice"}`, true},
		{"true", `{"a": [true]}`, `{"a": true}`, true},
		{"true isn't the text true", `{"a": [true]}`, `{"a": "true"}`, false},
		{"and", `{"Location": ["New York"], "Day": ["Monday"]}`, `{"Location": "New York", "Day": "Monday"}`, true},
		{"and, one is missing", `{"Location": ["New York"], "Day": ["Monday"]}`, `{"Location": "New York"}`, false},
		{"or", `{"PaymentType": ["Credit", "Debit"]}`, `{"PaymentType": "Debit"}`, true},
		{"or, none", `{"PaymentType": ["Credit", "Debit"]}`, `{"PaymentType": "Cash"}`, false},
		{"not", `{"Weather": [{"anything-but": ["Raining"]}]}`, `{"Weather": "Sunny"}`, true},
		{"not, but it is", `{"Weather": [{"anything-but": ["Raining"]}]}`, `{"Weather": "Raining"}`, false},
		{"not, and nothing is there", `{"Weather": [{"anything-but": ["Raining"]}]}`, `{}`, false},
		{"not, and it is null", `{"Weather": [{"anything-but": "Raining"}]}`, `{"Weather": null}`, true},
		{"not a number", `{"n": [{"anything-but": 100}]}`, `{"n": 100.0}`, false},
		{"not a number, but a text", `{"n": [{"anything-but": [100, 200]}]}`, `{"n": "100"}`, true},
		{"numeric", `{"Price": [{"numeric": ["=", 100]}]}`, `{"Price": 1e2}`, true},
		{"numeric isn't for texts", `{"Price": [{"numeric": ["=", 100]}]}`, `{"Price": "100"}`, false},
		{"a range, its lower end", `{"Price": [{"numeric": [">", 10, "<=", 20]}]}`, `{"Price": 10}`, false},
		{"a range, inside", `{"Price": [{"numeric": [">", 10, "<=", 20]}]}`, `{"Price": 10.000001}`, true},
		{"a range, its upper end", `{"Price": [{"numeric": [">", 10, "<=", 20]}]}`, `{"Price": 20}`, true},
		{"a range, above", `{"Price": [{"numeric": [">", 10, "<=", 20]}]}`, `{"Price": 20.1}`, false},
		{"at least", `{"n": [{"numeric": [">=", -3]}]}`, `{"n": -3}`, true},
		{"less", `{"n": [{"numeric": ["<", -3]}]}`, `{"n": -3}`, false},
		{"exists", `{"ProductName": [{"exists": true}]}`, `{"ProductName": null}`, true},
		{"exists, but doesn't", `{"ProductName": [{"exists": true}]}`, `{"Product": 1}`, false},
		{"doesn't exist", `{"ProductName": [{"exists": false}]}`, `{"Product": 1}`, true},
		{"doesn't exist, but does", `{"ProductName": [{"exists": false}]}`, `{"ProductName": null}`, false},
		{"exists is for leaves only", `{"a": [{"exists": true}]}`, `{"a": {"b": 1}}`, false},
		{"an object is no leaf", `{"a": [{"exists": false}]}`, `{"a": {"b": 1}}`, true},
		{"an empty array has no leaf", `{"a": [{"exists": false}]}`, `{"a": []}`, true},
		{"missing with all around it", `{"a": {"b": {"c": [{"exists": false}]}}}`, `{"x": 1}`, true},
		{"missing or one of", `{"a": [{"exists": false}, "x"]}`, `{"a": "x"}`, true},
		{"missing or one of, but another", `{"a": [{"exists": false}, "x"]}`, `{"a": "y"}`, false},
		{"begins with", `{"Region": [{"prefix": "us-"}]}`, `{"Region": "us-east-1"}`, true},
		{"begins with, but doesn't", `{"Region": [{"prefix": "us-"}]}`, `{"Region": "eu-west-1"}`, false},
		{"begins with, in any case", `{"a": [{"prefix": {"equals-ignore-case": "ÄB"}}]}`, `{"a": "äbc"}`, true},
		{"ends with", `{"FileName": [{"suffix": ".png"}]}`, `{"FileName": "a.png"}`, true},
		{"ends with, in any case", `{"FileName": [{"suffix": {"equals-ignore-case": ".PNG"}}]}`, `{"FileName": "a.png"}`, true},
		{"ends with, too short", `{"FileName": [{"suffix": {"equals-ignore-case": ".PNG"}}]}`, `{"FileName": "png"}`, false},
		{"or over several fields", `{"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]}`, `{"Location": "Rome", "Day": "Monday"}`, true},
		{"or over several fields, none", `{"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]}`, `{"Location": "Rome", "Day": "Friday"}`, false},
		{"or and and", `{"c": [1], "$or": [{"a": [1]}, {"b": [2]}]}`, `{"b": 2}`, false},
		{"or in or", `{"$or": [{"a": [1]}, {"b": [2], "$or": [{"c": [3]}, {"d": [4]}]}]}`, `{"b": 2, "d": 4}`, true},
		{"or within an object", `{"o": {"$or": [{"a": [1]}, {"b": [2]}]}}`, `{"o": {"b": 2}}`, true},

		{"anything but a prefix", `{"a": [{"anything-but": {"prefix": ["x", "y"]}}]}`, `{"a": "yes"}`, false},
		{"anything but a suffix", `{"a": [{"anything-but": {"suffix": "x"}}]}`, `{"a": "xy"}`, true},
		{"anything but, in any case", `{"a": [{"anything-but": {"equals-ignore-case": ["x", "y"]}}]}`, `{"a": "Y"}`, false},
		{"anything but a wildcard", `{"a": [{"anything-but": {"wildcard": "*/lib/*"}}]}`, `{"a": "/usr/lib/x"}`, false},
		{"a wildcard", `{"a": [{"wildcard": "arn:*:stream/*"}]}`, `{"a": "arn:aws:kinesis:eu:1:stream/x"}`, true},
		{"a wildcard may stand for nothing", `{"a": [{"wildcard": "a*b*c"}]}`, `{"a": "abc"}`, true},
		{"a wildcard's ends don't overlap", `{"a": [{"wildcard": "aba*aba"}]}`, `{"a": "aba"}`, false},
		{"a wildcard's last piece is the last", `{"a": [{"wildcard": "*ab*b"}]}`, `{"a": "xab"}`, false},
		{"a star as such", `{"a": [{"wildcard": "a\\*b\\\\*"}]}`, `{"a": "a*b\\c"}`, true},
		{"a star as such isn't a wildcard", `{"a": [{"wildcard": "a\\*b"}]}`, `{"a": "axb"}`, false},
		{"a network", `{"a": [{"cidr": "10.0.0.0/24"}]}`, `{"a": "10.0.0.255"}`, true},
		{"outside of a network", `{"a": [{"cidr": "10.0.0.0/24"}]}`, `{"a": "10.0.1.0"}`, false},
		{"a network of IPv6", `{"a": [{"cidr": "2001:db8::/32"}]}`, `{"a": "2001:db8::1"}`, true},
		{"no address", `{"a": [{"cidr": "10.0.0.0/24"}]}`, `{"a": "ten"}`, false},

		// Numbers: by value, against what the documentation says (recorded).
		{"300 is 300.0", `{"n": [300]}`, `{"n": 300.0}`, true},
		{"300 is 3.0e2", `{"n": [300]}`, `{"n": 3.0e2}`, true},
		{"300 isn't a text", `{"n": [300]}`, `{"n": "300"}`, false},
		{"numbers beyond float64 differ", `{"n": [12345678901234567890]}`, `{"n": 12345678901234567891}`, false},
		{"numbers beyond float64 are equal", `{"n": [12345678901234567890]}`, `{"n": 12345678901234567890}`, true},
		{"zero in every form", `{"n": [0]}`, `{"n": -0.0e5}`, true},

		// Arrays and nesting.
		{"any element", `{"a": ["x"]}`, `{"a": ["y", "x"]}`, true},
		{"any element of arrays in arrays", `{"a": ["x"]}`, `{"a": [["y"], [["x"]]]}`, true},
		{"any element but", `{"a": [{"anything-but": "x"}]}`, `{"a": ["x", "y"]}`, true},
		{"no element", `{"a": [null]}`, `{"a": []}`, false},
		{"one object of an array", `{"o": {"a": [1], "b": [2]}}`, `{"o": [{"a": 1}, {"a": 1, "b": 2}]}`, true},
		{"not two objects of an array together", `{"o": {"a": [1], "b": [2]}}`, `{"o": [{"a": 1}, {"b": 2}]}`, false},
		{"missing means in no object of the array", `{"o": {"b": [{"exists": false}]}}`, `{"o": [{"a": 1}, {"b": 2}]}`, false},
		{"missing in all objects of the array", `{"o": {"a": [1], "c": [{"exists": false}]}}`, `{"o": [{"a": 1}, {"b": 2}]}`, true},
		{"missing in an empty array", `{"o": {"b": [{"exists": false}]}}`, `{"o": []}`, true},
		{"not missing in an empty array", `{"o": {"b": [{"exists": true}]}}`, `{"o": []}`, false},
		{"nested", `{"order": {"type": ["buy"]}}`, order, true},
		{"nested, another value", `{"order": {"type": ["sell"]}}`, order, false},
		{"nested, with a number", `{"order": {"quantity": [{"numeric": [">", 500]}]}}`, order, true},
		{"JSON in a text isn't looked into", `{"order": {"type": ["buy"]}}`, `{"order": "{\"type\":\"buy\"}"}`, false},
		{"a dot in the record", `{"a": {"b": [1]}}`, `{"a.b": 1}`, true},
		{"a dot in the pattern", `{"a.b": [1]}`, `{"a": {"b": 1}}`, true},
		{"a dot in both", `{"a.b": [1]}`, `{"a.b": 1}`, true},
		{"a dot is no wildcard", `{"a.b": {"b": [1]}}`, `{"a": {"b": 1}}`, false},
		{"escaped names and values", `{"n\u00e4me": ["\u0022x"]}`, `{"n\u00e4me": "\"x"}`, true},
		{"a name twice in the record", `{"a": [2]}`, `{"a": 1, "a": 2}`, true},
		{"an array isn't a record", `{"a": [1]}`, `[{"a": 1}]`, false},
		{"a text isn't a record", `{"a": [{"exists": false}]}`, `"a"`, false},
		{"white space", `{"b": [1]}`, " {\n\t\"a\" : [ { \"b\" : \"}]\\\\\" } ] , \"b\" :\r1 } ", true},

		// DynamoDB.
		{
			"a DynamoDB key",
			`{"dynamodb": {"Keys": {"Id": {"N": ["101"]}}}}`,
			`{"eventName": "INSERT", "dynamodb": {"Keys": {"Id": {"N": "101"}}, "NewImage": {"Id": {"N": "101"}}}}`, true,
		},
		{
			"a DynamoDB event", `{"eventName": ["INSERT", "MODIFY"]}`,
			`{"eventName": "REMOVE", "dynamodb": {"Keys": {"Id": {"N": "101"}}}}`, false,
		},
		{
			"a DynamoDB attribute that isn't there",
			`{"dynamodb": {"NewImage": {"homemade": {"S": [{"anything-but": ["x"]}, {"exists": false}]}}}}`,
			`{"dynamodb": {"NewImage": {"purchased": {"N": "789"}}}}`, true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := pattern.Compile(c.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.MatchJSON([]byte(c.record)); got != c.want {
				t.Errorf("MatchJSON(%s) of %s = %v", c.record, c.pattern, got)
			}
			if c.name == "a name twice in the record" {
				return // a map has it once
			}
			if got := p.Match(decode(t, c.record)); got != c.want {
				t.Errorf("Match(%s) of %s = %v", c.record, c.pattern, got)
			}
		})
	}
}

func TestWhatIsNotJSONDoesNotMatch(t *testing.T) {
	p, err := pattern.Compile(`{"a": [{"exists": false}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range []string{"", "hello", `{"b": 1`, `{"b": 1}}`, "{'b': 1}", "\x1f\x8b\x08"} {
		if p.MatchJSON([]byte(record)) {
			t.Errorf("%q matches", record)
		}
	}
}

func TestWrongPatterns(t *testing.T) {
	for _, c := range []struct {
		name    string
		pattern string
		where   []string // one for each problem
		says    string
	}{
		{"no JSON", `{"a": [1}`, []string{""}, "at byte 8"},
		{"half of it", `{"a": [1]`, []string{""}, "ends too early"},
		{"nothing", ``, []string{""}, "ends too early"},
		{"more than it", `{"a": [1]} {}`, []string{""}, "after the end"},
		{"an array", `[{"a": [1]}]`, []string{""}, "a pattern is an object, not an array"},
		{"an empty object", `{}`, []string{""}, "empty object"},
		{"an empty object within", `{"a": {}}`, []string{"a"}, "empty object"},
		{"a value without its array", `{"a": {"b": "c"}}`, []string{"a.b"}, `["c"]`},
		{"no value", `{"a": []}`, []string{"a"}, "empty array"},
		{"an array as a value", `{"a": [[1]]}`, []string{"a[0]"}, "not an array"},
		{"an unknown operator", `{"a": [1, {"Prefix": "x"}]}`, []string{"a[1].Prefix"}, "no operator"},
		{"two operators at once", `{"a": [{"prefix": "x", "suffix": "y"}]}`, []string{"a[0]"}, "several objects"},
		{"no operator", `{"a": [{}]}`, []string{"a[0]"}, "one operator"},
		{"a prefix of a number", `{"a": [{"prefix": 1}]}`, []string{"a[0].prefix"}, "takes a text, not 1"},
		{"a list of suffixes", `{"a": [{"suffix": ["x"]}]}`, []string{"a[0].suffix"}, "not an array"},
		{"a suffix in any case, a number", `{"a": [{"suffix": {"equals-ignore-case": 1}}]}`, []string{"a[0].suffix.equals-ignore-case"}, "not 1"},
		{"exists with a text", `{"a": [{"exists": "true"}]}`, []string{"a[0].exists"}, "true or false"},
		{"numeric without an array", `{"a": [{"numeric": 1}]}`, []string{"a[0].numeric"}, "isn't an array"},
		{"numeric without a number", `{"a": [{"numeric": [">", "1"]}]}`, []string{"a[0].numeric"}, `"1" isn't a number`},
		{"numeric with an odd comparison", `{"a": [{"numeric": ["!=", 1]}]}`, []string{"a[0].numeric"}, `"!=" isn't a comparison`},
		{"numeric with too few", `{"a": [{"numeric": [">", 1, "<"]}]}`, []string{"a[0].numeric"}, "3 elements"},
		{"no range", `{"a": [{"numeric": ["<", 1, ">", 0]}]}`, []string{"a[0].numeric"}, "make no range"},
		{"an empty range", `{"a": [{"numeric": [">", 1, "<", 1]}]}`, []string{"a[0].numeric"}, "no number is between"},
		{"too exact", `{"a": [{"numeric": ["=", 0.12345678901234567890]}]}`, []string{"a[0].numeric"}, "more digits"},
		{"anything but null", `{"a": [{"anything-but": [null]}]}`, []string{"a[0].anything-but[0]"}, "not null"},
		{"anything but texts and numbers", `{"a": [{"anything-but": ["x", 1]}]}`, []string{"a[0].anything-but[1]"}, "of one kind"},
		{"anything but nothing", `{"a": [{"anything-but": []}]}`, []string{"a[0].anything-but"}, "at least one"},
		{"anything but no prefix", `{"a": [{"anything-but": {"prefix": []}}]}`, []string{"a[0].anything-but.prefix"}, "at least one"},
		{"anything but every prefix", `{"a": [{"anything-but": {"prefix": ["x", ""]}}]}`, []string{"a[0].anything-but.prefix[1]"}, "of every text"},
		{"anything but exists", `{"a": [{"anything-but": {"exists": true}}]}`, []string{"a[0].anything-but.exists"}, "anything-but takes"},
		{"two stars", `{"a": [{"wildcard": "a**"}]}`, []string{"a[0].wildcard"}, "two stars in a row at 1"},
		{"a lonely backslash", `{"a": [{"wildcard": "a\\b"}]}`, []string{"a[0].wildcard"}, "the backslash at 1"},
		{"an address without a mask", `{"a": [{"cidr": "10.0.0.1"}]}`, []string{"a[0].cidr"}, "10.0.0.0/24"},
		{"or of one", `{"$or": [{"a": [1]}]}`, []string{"$or"}, "at least two"},
		{"or of values", `{"$or": [1, {"a": [1]}]}`, []string{"$or[0]"}, "not 1"},
		{"or of operators", `{"$or": [{"prefix": ["x"]}, {"a": [1]}]}`, []string{"$or[0].prefix"}, "operator"},
		{"a field twice", `{"a": [1], "a": [2]}`, []string{"a"}, "already"},
		{"a field twice, by a dot", `{"a": {"b": [1]}, "a.b": [2]}`, []string{"a.b"}, "at a.b already"},
		{"a field again within or", `{"$or": [{"a": [1]}, {"b": [1]}], "a": [2]}`, []string{"$or[0].a"}, "at a already"},
		{"a field in two or", `{"$or": [{"a": [1]}, {"b": [1]}], "$or": [{"c": [1]}, {"a": [2]}]}`, []string{"$or[1].a"}, "at $or[0].a already"},
		{"several problems", `{"a": 1, "b": [], "c": {"d": [{"x": 1}]}}`, []string{"a", "b", "c.d[0].x"}, ""},
		{"too long", `{"a": ["` + strings.Repeat("x", 4096) + `"]}`, []string{""}, "4096"},
		{
			"too many combinations", `{` + ors(5), []string{""}, "combinations",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := pattern.Compile(c.pattern)
			if err == nil || p != nil {
				t.Fatalf("%s compiles", c.pattern)
			}
			problems := []error{err}
			if several, ok := err.(interface{ Unwrap() []error }); ok {
				problems = several.Unwrap()
			}
			var where []string
			for _, one := range problems {
				where = append(where, one.(*pattern.Problem).Path)
			}
			if fmt.Sprint(where) != fmt.Sprint(c.where) {
				t.Errorf("problems at %q, want %q: %v", where, c.where, err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q doesn't say %q", err, c.says)
			}
		})
	}
}

// ors are the fields of an object, n with four alternatives each.
func ors(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"f%d": {"$or": [{"a": [1]}, {"b": [1]}, {"c": [1]}, {"d": [1]}]},`, i)
	}
	return strings.TrimSuffix(b.String(), ",") + "}"
}

func TestKinesisFilters(t *testing.T) {
	meta := map[string]any{"partitionKey": "1", "eventID": "shardId-000000000006:4959", "data": "ignored"}
	for _, c := range []struct {
		name    string
		filters []string
		data    string
		want    bool
	}{
		{"no filters", nil, "\xff", true},
		{"data", []string{`{"data": {"order": {"type": ["buy"]}}}`}, `{"order": {"type": "buy"}}`, true},
		{"other data", []string{`{"data": {"order": {"type": ["buy"]}}}`}, `{"order": {"type": "sell"}}`, false},
		{"data and metadata", []string{`{"partitionKey": ["1"], "data": {"Location": ["Los Angeles"]}}`}, `{"Location": "Los Angeles"}`, true},
		{"data and other metadata", []string{`{"partitionKey": ["2"], "data": {"Location": ["Los Angeles"]}}`}, `{"Location": "Los Angeles"}`, false},
		{"metadata of data that isn't JSON", []string{`{"eventID": [{"prefix": "shardId-000000000006:"}]}`}, "\xff", true},
		{"data that isn't JSON", []string{`{"data": {"a": [{"exists": false}]}}`}, "hello", false},
		{"data that is JSON, but no object", []string{`{"data": {"a": [{"exists": true}]}}`}, `"a"`, false},
		{"data that is an array of objects", []string{`{"data": {"a": [1]}}`}, `[{"a": 2}, {"a": 1}]`, true},
		{"one of several", []string{`{"data": {"a": [1]}}`, `{"data": {"a": [2]}}`}, `{"a": 2}`, true},
		{"none of several", []string{`{"data": {"a": [1]}}`, `{"data": {"a": [2]}}`}, `{"a": 3}`, false},
		{"the metadata's filter passes what the data's drops", []string{`{"data": {"a": [1]}}`, `{"partitionKey": ["1"]}`}, `no`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := pattern.NewFilters(pattern.Kinesis, c.filters...)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.MatchKinesis([]byte(c.data), meta); got != c.want {
				t.Errorf("MatchKinesis(%q) of %q = %v", c.data, c.filters, got)
			}
		})
	}
}

func TestMetadataIsNoData(t *testing.T) {
	f, err := pattern.NewFilters(pattern.Kinesis, `{"data": {"a": [1]}, "partitionKey": ["1"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if f.MatchKinesis([]byte(`{"a": 2}`), map[string]any{"partitionKey": "1", "data": map[string]any{"a": 1.0}}) {
		t.Error("metadata with the name of the data is taken for it")
	}
}

func TestFiltersThatOnlyNeedTheData(t *testing.T) {
	for text, want := range map[string]bool{
		`{"data": {"a": [1]}}`: false, `{"data": {"a": [1]}, "partitionKey": ["1"]}`: true, `{"partitionKey": ["1"]}`: true,
	} {
		f, err := pattern.NewFilters(pattern.Kinesis, text)
		if err != nil {
			t.Fatal(err)
		}
		if f.UsesMetadata() != want {
			t.Errorf("UsesMetadata of %s = %v", text, !want)
		}
	}
	var none *pattern.Filters
	if none.UsesMetadata() || !none.Empty() || !none.MatchJSON([]byte("x")) || !none.Match(1) || !none.MatchKinesis(nil, nil) {
		t.Error("no filters don't pass everything")
	}
}

func TestDynamoDBFilters(t *testing.T) {
	f, err := pattern.NewFilters(pattern.DynamoDB, `{"eventName": ["REMOVE"]}`, `{"dynamodb": {"NewImage": {"Place": {"N": ["1"]}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	for record, want := range map[string]bool{
		`{"eventName": "INSERT", "dynamodb": {"NewImage": {"Place": {"N": "1"}}}}`:   true,
		`{"eventName": "INSERT", "dynamodb": {"NewImage": {"Place": {"N": "2"}}}}`:   false,
		`{"eventName": "REMOVE", "dynamodb": {"OldImage": {"Place": {"N": "2"}}}}`:   true,
		`{"eventName": "INSERT", "dynamodb": {"NewImage": {"Place": {"N": "1"}}}}}}`: false,
	} {
		if got := f.MatchJSON([]byte(record)); got != want {
			t.Errorf("MatchJSON(%s) = %v", record, got)
		}
		if strings.HasSuffix(record, "}}}}}}") {
			continue
		}
		if got := f.Match(decode(t, record)); got != want {
			t.Errorf("Match(%s) = %v", record, got)
		}
	}
}

func TestFiltersThatLambdaRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		source  pattern.Source
		filters []string
		says    string
	}{
		{"data as a plain text", pattern.Kinesis, []string{`{"data": ["hello"]}`}, "name its fields"},
		{"data as a plain text, in or", pattern.Kinesis, []string{`{"$or": [{"data": ["x"]}, {"partitionKey": ["y"]}]}`}, "name its fields"},
		{"dynamodb as a plain text", pattern.DynamoDB, []string{`{"dynamodb": ["x"]}`}, "name its fields"},
		{"too many", pattern.Kinesis, make([]string, 11), "11 filters"},
		{"the second is wrong", pattern.Kinesis, []string{`{"data": {"a": [1]}}`, `{"data": {"a": 1}}`}, "filter 2: pattern: at data.a"},
		{"another source", "body", nil, "Kinesis and DynamoDB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := pattern.NewFilters(c.source, c.filters...); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want %q in it", err, c.says)
			}
		})
	}
}

// FuzzPattern: nothing panics, and reading a record's JSON or its decoded form
// makes no difference.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a": [1, "x", null, {"prefix": "y"}]}`, `{"a": [1.0, {"b": "\u0022"}]}`},
		{`{"$or": [{"a.b": [{"exists": false}]}, {"c": {"d": [{"numeric": [">", 1, "<=", 1e3]}]}}]}`, `{"a": {"b": 1}, "c": [{"d": 2}]}`},
		{`{"a": [{"anything-but": {"wildcard": ["*x*", "y\\*"]}}, {"cidr": "::/0"}]}`, `{"a.": "\ud800", "a": "::1"}`},
		{`{"a": [{"suffix": {"equals-ignore-case": "ſK"}}, 1e400, -0.0]}`, `{"a": "skſ", "b": [[[]]], "c": -1E-7}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, record string) {
		p, err := pattern.Compile(text)
		if err != nil {
			_ = err.Error()
			return
		}
		got := p.MatchJSON([]byte(record))
		var decoded any
		d := json.NewDecoder(strings.NewReader(record))
		d.UseNumber()
		if d.Decode(&decoded) != nil || !json.Valid([]byte(record)) {
			if got {
				t.Fatalf("%q isn't JSON and matches", record)
			}
			return
		}
		if hasDuplicates(record) {
			return // a map has each name once, and which one wins isn't said
		}
		if want := p.Match(decoded); got != want {
			t.Fatalf("MatchJSON says %v, Match says %v", got, want)
		}
	})
}

// hasDuplicates compares the number of names in the text and after decoding.
func hasDuplicates(record string) bool {
	var v any
	_ = json.Unmarshal([]byte(record), &v)
	var count func(v any) int
	count = func(v any) int {
		n := 0
		switch v := v.(type) {
		case map[string]any:
			n = len(v)
			for _, m := range v {
				n += count(m)
			}
		case []any:
			for _, m := range v {
				n += count(m)
			}
		}
		return n
	}
	compact := &bytes.Buffer{}
	_ = json.Compact(compact, []byte(record))
	names, inText := 0, false
	for i, c := 0, compact.Bytes(); i < len(c); i++ {
		switch {
		case inText && c[i] == '\\':
			i++
		case c[i] == '"':
			inText = !inText
		case !inText && c[i] == ':':
			names++
		}
	}
	return names != count(v)
}

func decode(t *testing.T, record string) any {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(record))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func BenchmarkMatchJSON(b *testing.B) {
	record := []byte(`{"race":"race-01","racer":"racer-0017","seq":123,"at":"2026-11-21T12:00:00Z","distance":1162.9,"speed":13.0,"power":310}`)
	p, err := pattern.Compile(`{"speed": [{"numeric": [">", 10, "<=", 20]}], "race": [{"prefix": "race-"}]}`)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if !p.MatchJSON(record) {
			b.Fatal("no match")
		}
	}
}

func BenchmarkMatchKinesis(b *testing.B) {
	record := []byte(`{"race":"race-01","racer":"racer-0017","seq":123,"at":"2026-11-21T12:00:00Z","distance":1162.9,"speed":13.0,"power":310}`)
	f, err := pattern.NewFilters(pattern.Kinesis, `{"data": {"speed": [{"numeric": [">", 10, "<=", 20]}]}}`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !f.MatchKinesis(record, nil) {
			b.Fatal("no match")
		}
	}
}
