package memory

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/millrace/millrace/local/esm"
)

// Item is an item of a [Table] without its key: attributes in DynamoDB's JSON,
// such as {"score": {"N": "3"}}.
type Item map[string]any

// Table is a table in memory whose key is the text "id". Its Stream has every
// change with both images, as Lambda hands them over, in one shard at a time.
type Table struct {
	Stream *Stream
	region string
	items  map[string]Item
}

// NewTable is an empty table.
func NewTable(region string) *Table {
	return &Table{Stream: New(1), region: region, items: map[string]Item{}}
}

// Put replaces the item of that id. One that is as it was is no change.
func (t *Table) Put(now time.Time, id string, item Item) {
	whole := Item{"id": map[string]any{"S": id}}
	for name, value := range item {
		whole[name] = value
	}
	t.change(now, id, whole)
}

// Delete removes an item, if there is one.
func (t *Table) Delete(now time.Time, id string) { t.change(now, id, nil) }

// Roll closes the open shard and opens its child, as DynamoDB does every few hours.
func (t *Table) Roll() { t.Stream.Roll(0) }

// Disable ends the stream: its shard is closed and has no child. Nothing may be put
// after that.
func (t *Table) Disable() {
	s := t.Stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh := s.open(0); sh != nil {
		sh.closed = true
	}
}

func (t *Table) change(now time.Time, id string, item Item) {
	s := t.Stream
	s.mu.Lock()
	defer s.mu.Unlock()
	old := t.items[id]
	if reflect.DeepEqual(old, item) {
		return
	}
	sh, sequence := s.route(id)
	arrival := now.Truncate(time.Second)
	keys := map[string]any{"id": map[string]any{"S": id}}
	body := map[string]any{
		"ApproximateCreationDateTime": json.RawMessage(fmt.Sprintf("%d.0", arrival.Unix())),
		"Keys":                        keys, "SequenceNumber": sequence, "StreamViewType": "NEW_AND_OLD_IMAGES",
	}
	name := "MODIFY"
	if old == nil {
		name = "INSERT"
	} else {
		body["OldImage"] = old
	}
	if item == nil {
		name = "REMOVE"
		delete(t.items, id)
	} else {
		body["NewImage"] = item
		t.items[id] = item
	}
	data, err := json.Marshal(map[string]any{
		"eventID": sequence, "eventName": name, "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": t.region, "dynamodb": body,
	})
	if err != nil {
		panic(fmt.Sprintf("the item %s isn't JSON: %v", id, err))
	}
	key, err := json.Marshal(keys)
	if err != nil {
		panic(err) // a text always marshals
	}
	sh.records = append(sh.records, esm.Record{Sequence: sequence, Key: string(key), Arrival: arrival, Data: data})
}
