package dynamo_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/tests/dynamo"
)

func s(text string) types.AttributeValue { return &types.AttributeValueMemberS{Value: text} }

func n(number string) types.AttributeValue { return &types.AttributeValueMemberN{Value: number} }

func TestConditions(t *testing.T) {
	item := dynamo.Item{"seq": n("10"), "name": s("b"), "at": s("2026")}
	values := dynamo.Item{":nine": n("9"), ":ten": n("1e1"), ":b": s("b"), ":tenth": n("0.1")}
	names := map[string]string{"#seq": "seq", "#none": "none"}
	for text, want := range map[string]bool{
		"#seq > :nine":                             true,
		"seq = :ten":                               true,
		"seq <> :ten":                              false,
		"#seq < :tenth":                            false,
		"name >= :b":                               true,
		"name < :nine":                             false, // of another type
		"#none < :nine":                            false,
		"NOT #none < :nine":                        true,
		"attribute_not_exists(#none)":              true,
		"attribute_exists(#none) OR seq > :nine":   true,
		"attribute_exists(seq) and name <> :b":     false,
		"(seq < :nine or name = :b) AND seq=:ten":  true,
		"seq < :nine or name = :b AND seq < :nine": false,
	} {
		holds, err := dynamo.Condition(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := holds(dynamo.Env{Item: item, Names: names, Values: values}); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "seq", "seq >", "seq > :nine OR", "begins_with(name, :b)", "a.b = :nine", "seq > :nine)", "size(name) > :nine", "seq > other.thing"} {
		if _, err := dynamo.Condition(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	holds, err := dynamo.Condition("#missing = :nine")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holds(dynamo.Env{Item: item, Names: names, Values: values}); err == nil {
		t.Error("a name that isn't given is accepted")
	}
}

func TestUpdates(t *testing.T) {
	values := dynamo.Item{":1": n("2"), ":set": &types.AttributeValueMemberSS{Value: []string{"b", "a"}}, ":more": &types.AttributeValueMemberSS{Value: []string{"c", "a"}}}
	names := map[string]string{"#1": "seq", "#seq": "seq"}
	for text, want := range map[string]string{
		"SET #1 = :1":               "name=b seq=2",
		"ADD #1 :1, tags :set":      "name=b seq=12 tags=[a b]",
		"REMOVE name ADD fresh :1":  "fresh=2 seq=10",
		"SET #1 = :1 ADD #seq :1":   "", // one attribute, twice
		"ADD name :set":             "", // no set
		"ADD name :1":               "", // no number
		"SET #2 = :1":               "",
		"SET #1 = :2":               "",
		"SET tags = :set ADD #1 :1": "name=b seq=12 tags=[b a]",
	} {
		into := dynamo.Item{"seq": n("10"), "name": s("b")}
		update, err := dynamo.Update(text)
		if err == nil {
			err = update(dynamo.Env{Item: dynamo.Item{"seq": n("10"), "name": s("b")}, Names: names, Values: values}, into)
		}
		if (err != nil) != (want == "") || err == nil && dynamo.Text(into) != want {
			t.Errorf("%s: %s (%v), want %s", text, dynamo.Text(into), err, want)
		}
	}
	update, err := dynamo.Update("ADD tags :more")
	if err != nil {
		t.Fatal(err)
	}
	held := dynamo.Item{"tags": values[":set"]}
	into := dynamo.Item{}
	if err := update(dynamo.Env{Item: held, Values: values}, into); err != nil || dynamo.Text(into) != "tags=[a b c]" || dynamo.Text(held) != "tags=[b a]" {
		t.Errorf("%s of %s (%v)", dynamo.Text(into), dynamo.Text(held), err)
	}
}
