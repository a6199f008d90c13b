package hive

import (
	"strings"
	"testing"
)

func TestTypesAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]string{
		"boolean":             "boolean",
		"BIGINT":              "bigint",
		"integer":             "int",
		"decimal":             "decimal(10,0)",
		"decimal(5)":          "decimal(5,0)",
		"decimal( 38 , 38 )":  "decimal(38,38)",
		"char(255)":           "char(255)",
		"varchar(65535)":      "varchar(65535)",
		"array<string>":       "array<string>",
		" map<string , int> ": "map<string,int>",
		"struct<id:int,at:timestamp,lines:array<struct<sku:string,n:decimal(9,2)>>>": "struct<id:int,at:timestamp,lines:array<struct<sku:string,n:decimal(9,2)>>>",
		"map<date,map<string,array<binary>>>":                                        "map<date,map<string,array<binary>>>",
	} {
		got, err := Parse(text)
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

func TestWhatIsNoTypeIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, why string }{
		"nothing":             {"", "no type"},
		"another database's":  {"text", "no type"},
		"a union":             {"uniontype<int>", "no type"},
		"a list without type": {"array", "missing"},
		"an open list":        {"array<int", "missing"},
		"two types":           {"int int", "follows"},
		"too many digits":     {"decimal(39,2)", "precision"},
		"a scale too large":   {"decimal(5,6)", "scale"},
		"a char of nothing":   {"char(0)", "length"},
		"a char too long":     {"char(256)", "length"},
		"a char without any":  {"char", "missing"},
		"an open char":        {"varchar(3", "missing"},
		"a key of lists":      {"map<array<int>,int>", "key"},
		"a map of one":        {"map<int>", "missing"},
		"a field twice":       {"struct<a:int,a:int>", "twice"},
		"a field of no name":  {"struct<:int>", "no name"},
		"a field of no type":  {"struct<a>", "missing"},
		"an empty struct":     {"struct<>", "no name"},
		"no end of nesting":   {strings.Repeat("array<", 99) + "int" + strings.Repeat(">", 99), "in each other"},
	} {
		if got, err := Parse(c.text); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzType(f *testing.F) {
	for _, text := range []string{"int", "decimal(10,2)", "map<string,array<struct<a:int,b:char(3)>>>", "array<"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := Parse(text)
		if err != nil {
			return
		}
		second, err := Parse(first.String())
		if err != nil || second.String() != first.String() {
			t.Errorf("%q became %s, and that %s, %v", text, first, second, err)
		}
	})
}
