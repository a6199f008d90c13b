package esmtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/millrace/millrace/local/esm"
)

var trimHorizon = esm.Position{Type: "TRIM_HORIZON"}

// sourceTests are what a source must do by itself.
func sourceTests() []suiteTest {
	return []suiteTest{
		{"a new stream's shards have no parents", nil, newShards},
		{"records are read as they were put, in their order", nil, asPut},
		{"an empty shard has nothing, and goes on", nil, emptyShard},
		{"LATEST begins with what comes after", nil, latest},
		{"AT_TIMESTAMP begins with what arrived then", kinesisOnly, atTimestamp},
		{"reading goes on after a sequence number", nil, afterSequence},
		{"after a record that is gone, the oldest comes", nil, afterGone},
		{"a limit holds, and nothing is skipped by it", nil, limit},
		{"an iterator can be used again", nil, again},
		{"an expired iterator is told", nil, expired},
		{"a shard that isn't there is told", nil, noShard},
		{"a split shard has two children that name it", resharderOnly, split},
		{"merged shards have one child that names both", resharderOnly, merge},
		{"a closed shard is listed while it has records", resharderOnly, closedListed},
		{"a closed shard is read to its end", resharderOnly, closedRead},
		{"LATEST of a closed shard is its end", resharderOnly, closedLatest},
		{"a table's stream that is disabled is read to its end", tableOnly, disabled},
		{"a change is the event that Lambda hands over", tableOnly, changes},
	}
}

func newShards(e *env) {
	infos := e.shards()
	want := 2
	if e.Kind() == esm.DynamoDB {
		want = 1
	}
	if len(infos) != want {
		e.Errorf("%d shards: %+v", len(infos), infos)
	}
	for _, info := range infos {
		if info.ID == "" || len(info.Parents) > 0 {
			e.Errorf("%+v", info)
		}
	}
}

func asPut(e *env) {
	type record struct{ key, data string }
	puts := []record{
		{"k", "a"},
		{"k", "\x00"},
		{"k", "\xff\xfe not UTF-8"},
		{"k", `{"json": true}`},
		{"naïve ключ", "b"},
		{strings.Repeat("k", 256), "c"},
		{`with "quotes" \ and / <angles> &`, "d"},
		{"k", strings.Repeat("large", 20_000)},
		{"k", ""},
	}
	began := time.Now()
	var want []string
	for _, p := range puts {
		e.must(e.Put(p.key, []byte(p.data)))
		want = append(want, fmt.Sprintf("%q %q", e.key(p.key), p.data))
	}
	var got []string
	for _, shard := range e.shards() {
		iterator, err := e.Iterator(e.ctx, shard.ID, trimHorizon, "")
		e.must(err)
		records, _ := e.read(iterator, 1000)
		last := ""
		for i := range records {
			r := &records[i]
			got = append(got, fmt.Sprintf("%q %q", r.Key, e.data(r)))
			if len(r.Sequence) < len(last) || len(r.Sequence) == len(last) && r.Sequence <= last {
				e.Errorf("%s comes after %s", r.Sequence, last)
			}
			last = r.Sequence
			// A table counts in seconds.
			if r.Arrival.Before(began.Add(-time.Second)) || r.Arrival.After(time.Now().Add(time.Second)) {
				e.Errorf("arrival %v, put since %v", r.Arrival, began)
			}
		}
		var ofKey []string // of the key with several records
		for i := range records {
			if records[i].Key == e.key("k") {
				ofKey = append(ofKey, e.data(&records[i]))
			}
		}
		if len(ofKey) > 0 && (len(ofKey) != 6 || ofKey[0] != "a" || ofKey[1] != "\x00" || ofKey[5] != "") {
			e.Errorf("out of order: %.200q", ofKey)
		}
	}
	e.same("records", got, want)
}

// key is a record's key for what was put: itself, or a table's key as JSON.
func (e *env) key(key string) string {
	if e.Kind() == esm.Kinesis {
		return key
	}
	text, err := json.Marshal(map[string]any{"id": map[string]any{"S": key}})
	e.must(err)
	return string(text)
}

func emptyShard(e *env) {
	shard := e.shards()[0].ID
	for _, from := range []string{"TRIM_HORIZON", "LATEST"} {
		iterator, err := e.Iterator(e.ctx, shard, esm.Position{Type: from}, "")
		e.must(err)
		records, next := e.read(iterator, 10)
		if len(records) != 0 || next == "" {
			e.Errorf("from %s: %d records, then %q", from, len(records), next)
		}
	}
}

func latest(e *env) {
	e.fill(6, 6)
	iterators := map[string]string{}
	for _, shard := range e.shards() {
		iterator, err := e.Iterator(e.ctx, shard.ID, esm.Position{Type: "LATEST"}, "")
		e.must(err)
		_, iterators[shard.ID] = e.read(iterator, 10)
	}
	var want, got []string
	for i := range 6 {
		data := fmt.Sprint("later ", i)
		e.must(e.Put(fmt.Sprint("key-", i), []byte(data)))
		want = append(want, data)
	}
	for _, iterator := range iterators {
		records, _ := e.read(iterator, 10)
		got = append(got, e.dataOf(records)...)
	}
	e.same("records", got, want)
}

func atTimestamp(e *env) {
	e.fill(6, 6)
	time.Sleep(20 * time.Millisecond)
	then := time.Now()
	time.Sleep(20 * time.Millisecond)
	var want []string
	for i := range 6 {
		data := fmt.Sprint("later ", i)
		e.must(e.Put(fmt.Sprint("key-", i), []byte(data)))
		want = append(want, data)
	}
	e.same("records since then", e.dataOf(e.readFrom(esm.Position{Type: "AT_TIMESTAMP", Time: then}, "")), want)
	e.same("records since the end", e.dataOf(e.readFrom(esm.Position{Type: "AT_TIMESTAMP", Time: time.Now().Add(time.Second)}, "")), nil)
}

func afterSequence(e *env) {
	e.fill(8, 1)
	for _, shard := range e.shards() {
		iterator, err := e.Iterator(e.ctx, shard.ID, trimHorizon, "")
		e.must(err)
		all, _ := e.read(iterator, 1000)
		for i := range all {
			// The position doesn't matter then.
			iterator, err := e.Iterator(e.ctx, shard.ID, esm.Position{Type: "LATEST"}, all[i].Sequence)
			e.must(err)
			rest, _ := e.read(iterator, 1000)
			if want := e.dataOf(all[i+1:]); !slices.Equal(e.dataOf(rest), want) {
				e.Errorf("after %s: got %q, want %q", all[i].Sequence, e.dataOf(rest), want)
			}
		}
	}
}

func afterGone(e *env) {
	want := e.fill(4, 4)
	e.same("records", e.dataOf(e.readFrom(esm.Position{Type: "LATEST"}, strings.Repeat("0", 21))), want)
}

func limit(e *env) {
	want := e.fill(10, 1)
	var got []string
	for _, shard := range e.shards() {
		iterator, err := e.Iterator(e.ctx, shard.ID, trimHorizon, "")
		e.must(err)
		records, _ := e.read(iterator, 3)
		got = append(got, e.dataOf(records)...)
	}
	if !slices.Equal(got, want) {
		e.Errorf("got %q, want %q", got, want)
	}
}

func again(e *env) {
	e.fill(4, 4)
	for _, shard := range e.shards() {
		iterator, err := e.Iterator(e.ctx, shard.ID, trimHorizon, "")
		e.must(err)
		once, _ := e.read(iterator, 10)
		twice, _ := e.read(iterator, 10)
		if !slices.Equal(e.dataOf(once), e.dataOf(twice)) {
			e.Errorf("got %q, and then %q", e.dataOf(once), e.dataOf(twice))
		}
	}
}

func expired(e *env) {
	e.fill(1, 1)
	for _, shard := range e.shards() {
		iterator, err := e.Expired(e.ctx, shard.ID)
		e.must(err)
		if records, _, err := e.Read(e.ctx, iterator, 10); !errors.Is(err, esm.ErrIteratorExpired) {
			e.Errorf("%d records, %v", len(records), err)
		}
	}
}

func noShard(e *env) {
	id := e.shards()[0].ID
	if iterator, err := e.Iterator(e.ctx, id[:len(id)-1]+"7", trimHorizon, ""); !errors.Is(err, esm.ErrNoShard) {
		e.Errorf("%q, %v", iterator, err)
	}
}

func (e *env) split() {
	e.Helper()
	e.must(e.Stream.(Resharder).Split())
}

func (e *env) merge() {
	e.Helper()
	e.must(e.Stream.(Resharder).Merge())
}

// children of any of the shards.
func children(infos []esm.ShardInfo, of ...string) (found []esm.ShardInfo) {
	for _, info := range infos {
		if slices.ContainsFunc(info.Parents, func(parent string) bool { return slices.Contains(of, parent) }) {
			found = append(found, info)
		}
	}
	return found
}

func split(e *env) {
	parent := e.shards()[0].ID
	e.split()
	found := children(e.shards(), parent)
	if len(found) != 2 || len(found[0].Parents) != 1 || len(found[1].Parents) != 1 {
		e.Errorf("children of %s: %+v", parent, found)
	}
}

func merge(e *env) {
	before := e.shards()
	e.merge()
	found := children(e.shards(), before[0].ID)
	if len(found) != 1 || !slices.Equal(slices.Sorted(slices.Values(found[0].Parents)), []string{before[0].ID, before[1].ID}) {
		e.Errorf("children of %+v: %+v", before, found)
	}
}

func closedListed(e *env) {
	e.fill(10, 10)
	before := e.shards()
	e.split()
	after := e.shards()
	for _, info := range before {
		if !slices.ContainsFunc(after, func(a esm.ShardInfo) bool { return a.ID == info.ID }) {
			e.Errorf("%s is no longer among %+v", info.ID, after)
		}
	}
}

func closedRead(e *env) {
	want := e.fill(20, 20)
	before := e.shards()
	iterators := map[string]string{}
	for _, shard := range before {
		iterator, err := e.Iterator(e.ctx, shard.ID, trimHorizon, "")
		e.must(err)
		iterators[shard.ID] = iterator
	}
	e.merge()
	var got []string
	for _, shard := range before {
		fresh, err := e.Iterator(e.ctx, shard.ID, trimHorizon, "")
		e.must(err)
		records, next := e.read(fresh, 3)
		if next != "" {
			e.Errorf("%s goes on with %q", shard.ID, next)
		}
		earlier, _ := e.read(iterators[shard.ID], 3)
		if !slices.Equal(e.dataOf(records), e.dataOf(earlier)) {
			e.Errorf("%s by an iterator from before: %q, from after: %q", shard.ID, e.dataOf(earlier), e.dataOf(records))
		}
		got = append(got, e.dataOf(records)...)
	}
	e.same("records", got, want)
}

func closedLatest(e *env) {
	parent := e.shards()[0].ID
	e.fill(10, 10)
	e.split()
	iterator, err := e.Iterator(e.ctx, parent, esm.Position{Type: "LATEST"}, "")
	e.must(err)
	if records, next := e.read(iterator, 10); len(records) > 0 || next != "" {
		e.Errorf("%d records, then %q", len(records), next)
	}
}

func disabled(e *env) {
	want := e.fill(5, 2)
	shard := e.shards()[0].ID
	iterator, err := e.Iterator(e.ctx, shard, trimHorizon, "")
	e.must(err)
	e.must(e.Stream.(Table).Disable())
	records, next := e.read(iterator, 2)
	if !slices.Equal(e.dataOf(records), want) || next != "" {
		e.Errorf("got %q, then %q, want %q", e.dataOf(records), next, want)
	}
}

func changes(e *env) {
	e.must(e.Put("a", []byte("one")))
	e.must(e.Put("a", []byte("one"))) // no change
	e.must(e.Put("a", []byte("two")))
	e.must(e.Stream.(Table).Delete("a"))
	records := e.readFrom(trimHorizon, "")
	batch := esm.Batch{Settings: e.settings(), Shard: e.shards()[0].ID, Records: records}
	var event events.DynamoDBEvent
	e.must(json.Unmarshal(batch.Payload(), &event))
	if len(event.Records) != 3 {
		e.Fatalf("%d changes in %s", len(event.Records), batch.Payload())
	}
	image := func(of map[string]events.DynamoDBAttributeValue) string {
		if of == nil {
			return "none"
		}
		return of["id"].String() + " " + string(of["data"].Binary())
	}
	want := []string{"INSERT none a one", "MODIFY a one a two", "REMOVE a two none"}
	for i, r := range event.Records {
		if got := r.EventName + " " + image(r.Change.OldImage) + " " + image(r.Change.NewImage); got != want[i] {
			e.Errorf("got %q, want %q", got, want[i])
		}
		if r.EventSource != "aws:dynamodb" || r.EventSourceArn != e.ARN() || r.EventVersion != "1.1" || r.EventID == "" || r.AWSRegion == "" ||
			r.Change.Keys["id"].String() != "a" || r.Change.SequenceNumber != records[i].Sequence || r.Change.StreamViewType != "NEW_AND_OLD_IMAGES" ||
			!r.Change.ApproximateCreationDateTime.Equal(records[i].Arrival) || records[i].Arrival.Nanosecond() != 0 || records[i].Key != records[0].Key {
			e.Errorf("%+v", r)
		}
	}
}
