package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/local/esm/memory"
	"github.com/millrace/millrace/tests/dynamo"
)

// Item of a table. Once it is in a table it is never changed, but replaced.
type Item = map[string]types.AttributeValue

// Table is a DynamoDB table in memory, with a change stream.
type Table struct {
	// Watch is asked about every change; its error fails the run. A removed item has
	// no after.
	Watch func(before, after Item) error
	// Refuses tells which items can't be written: a fault that no retry mends.
	Refuses func(Item) bool

	world   *World
	name    string
	keys    []string // partition key, sort key
	items   map[string]Item
	journal *journal
	changes []Change // not in the stream yet
	records []Change // of the stream, by number
}

// Change of an item: there is no before of one that is new, no after of one that is
// removed.
type Change struct {
	// Number in the table's stream, from 0 on.
	Number        int
	Before, After Item

	at  time.Time
	key string
}

// Table defines one, with its partition key and its sort key, if it has one.
func (w *World) Table(name string, keys ...string) *Table {
	t := &Table{world: w, name: name, keys: keys, items: map[string]Item{}, journal: newJournal(memory.New(w.options.Shards))}
	w.tables[name] = t
	return t
}

// Items of the table, in the order of their keys.
func (t *Table) Items() []Item {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	items := make([]Item, 0, len(t.items))
	for _, key := range slices.Sorted(maps.Keys(t.items)) {
		items = append(items, t.items[key])
	}
	return items
}

// Seed enters an item that was there before the change stream was.
func (t *Table) Seed(item Item) { t.items[t.key(item)] = item }

// Put replaces an item, as an administrator does.
func (t *Table) Put(item Item) {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.set(t.key(item), item)
}

// Delete removes the item with the key of this one.
func (t *Table) Delete(item Item) {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.set(t.key(item), nil)
}

// Changes are the changes of the table so far, in their order.
func (t *Table) Changes() []Change { return t.records }

// key of an item, as a text.
func (t *Table) key(item Item) string {
	var b strings.Builder
	for i, name := range t.keys {
		if i > 0 {
			b.WriteByte('/')
		}
		switch v := item[name].(type) {
		case *types.AttributeValueMemberS:
			b.WriteString(v.Value)
		case *types.AttributeValueMemberN:
			b.WriteString(v.Value)
		default:
			panic(fmt.Sprintf("table %s: an item without its key %s", t.name, name))
		}
	}
	return b.String()
}

// set changes an item; a nil one is removed. The world's lock is held.
func (t *Table) set(key string, after Item) {
	before := t.items[key]
	if before == nil && after == nil {
		return
	}
	if after == nil {
		delete(t.items, key)
	} else {
		t.items[key] = after
	}
	t.changes = append(t.changes, Change{Before: before, After: after, at: time.Now(), key: key})
	if t.world.options.Trace != nil {
		t.world.note("%s %s: %s", t.name, key, text(after))
	}
	if t.Watch != nil {
		if err := t.Watch(before, after); err != nil {
			t.world.blame("table %s, %s: %v", t.name, key, err)
		}
	}
}

// flush makes records of the changes. Those of one item stay in their order; of
// several at one instant, the keys decide.
func (t *Table) flush() {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	if len(t.changes) == 0 {
		return
	}
	slices.SortStableFunc(t.changes, func(a, b Change) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.key, b.key)) })
	for _, c := range t.changes {
		c.Number = len(t.records)
		t.journal.put(Put{Key: c.key, Data: t.json(c)})
		t.records = append(t.records, c)
	}
	t.changes = t.changes[:0]
}

// json is a change as Lambda hands it over, without its eventSourceARN.
func (t *Table) json(c Change) []byte {
	name, item := "MODIFY", c.After
	switch {
	case c.Before == nil:
		name = "INSERT"
	case c.After == nil:
		name, item = "REMOVE", c.Before
	}
	out := append(make([]byte, 0, 1024), `{"eventID":"`...)
	out = strconv.AppendInt(out, int64(c.Number+1), 10)
	out = append(append(out, `","eventName":"`...), name...)
	out = append(out, `","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"us-east-1","dynamodb":{"ApproximateCreationDateTime":`...)
	out = strconv.AppendInt(out, c.at.Unix(), 10) // DynamoDB tells whole seconds
	out = append(out, `.0,"Keys":`...)
	keys := make(Item, len(t.keys))
	for _, name := range t.keys {
		keys[name] = item[name]
	}
	out = appendItem(out, keys)
	if c.After != nil {
		out = appendItem(append(out, `,"NewImage":`...), c.After)
	}
	if c.Before != nil {
		out = appendItem(append(out, `,"OldImage":`...), c.Before)
	}
	out = append(out, `,"SequenceNumber":"`...)
	out = append(out, t.journal.next()...)
	return append(out, `","SizeBytes":1,"StreamViewType":"NEW_AND_OLD_IMAGES"}}`...)
}

func appendItem(out []byte, item Item) []byte {
	separator := byte('{')
	names := make([]string, 0, len(item))
	for name := range item {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(appendText(append(out, separator), name), ':')
		out = appendValue(out, item[name])
		separator = ','
	}
	return append(out, '}')
}

func appendText(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuoteToASCII(out, s)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}

func appendValue(out []byte, value types.AttributeValue) []byte {
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		out = appendText(append(out, `{"S":`...), v.Value)
	case *types.AttributeValueMemberN:
		out = appendText(append(out, `{"N":`...), v.Value)
	case *types.AttributeValueMemberBOOL:
		out = strconv.AppendBool(append(out, `{"BOOL":`...), v.Value)
	case *types.AttributeValueMemberM:
		out = appendItem(append(out, `{"M":`...), v.Value)
	case *types.AttributeValueMemberL:
		out = append(out, `{"L":[`...)
		for i := range v.Value {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendValue(out, v.Value[i])
		}
		out = append(out, ']')
	default:
		panic(fmt.Sprintf("the simulation's tables don't know %T", value))
	}
	return append(out, '}')
}

// text of an item, for people.
func text(item Item) string {
	if item == nil {
		return "removed"
	}
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(item)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name + "=" + textOf(item[name]))
	}
	return b.String()
}

func textOf(value types.AttributeValue) string {
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberM:
		return "{" + text(v.Value) + "}"
	case *types.AttributeValueMemberL:
		texts := make([]string, len(v.Value))
		for i := range v.Value {
			texts[i] = textOf(v.Value[i])
		}
		return "[" + strings.Join(texts, ", ") + "]"
	}
	return fmt.Sprintf("%T", value)
}

func (t *Table) get(in *dynamodb.GetItemInput) *dynamodb.GetItemOutput {
	return &dynamodb.GetItemOutput{Item: t.items[t.key(in.Key)]}
}

func (t *Table) put(in *dynamodb.PutItemInput) (*dynamodb.PutItemOutput, error) {
	return &dynamodb.PutItemOutput{}, t.write(t.key(in.Item), in.Item, in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues)
}

func (t *Table) update(in *dynamodb.UpdateItemInput) (*dynamodb.UpdateItemOutput, error) {
	key := t.key(in.Key)
	assign, err := dynamo.Update(aws.ToString(in.UpdateExpression))
	if err != nil {
		return nil, err
	}
	before := t.items[key]
	after := maps.Clone(before)
	if after == nil {
		after = maps.Clone(in.Key)
	}
	if err := assign(dynamo.Env{Item: before, Names: in.ExpressionAttributeNames, Values: in.ExpressionAttributeValues}, after); err != nil {
		return nil, err
	}
	return &dynamodb.UpdateItemOutput{}, t.write(key, after, in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues)
}

// write sets an item if the condition holds.
func (t *Table) write(key string, after Item, expression *string, names map[string]string, values Item) error {
	if t.Refuses != nil && t.Refuses(after) {
		return fmt.Errorf("ValidationException: %s can't hold it", t.name)
	}
	if expression != nil {
		holds, err := dynamo.Condition(*expression)
		if err != nil {
			return err
		}
		if ok, err := holds(dynamo.Env{Item: t.items[key], Names: names, Values: values}); err != nil {
			return err
		} else if !ok {
			return &types.ConditionalCheckFailedException{}
		}
	}
	t.set(key, after)
	return nil
}

// page is how many items a query answers at a time: few, so that there are pages.
const page = 8

func (t *Table) query(in *dynamodb.QueryInput) (*dynamodb.QueryOutput, error) {
	matches, err := dynamo.Condition(aws.ToString(in.KeyConditionExpression))
	if err != nil {
		return nil, err
	}
	after := ""
	if in.ExclusiveStartKey != nil {
		after = t.key(in.ExclusiveStartKey)
	}
	out := &dynamodb.QueryOutput{}
	for _, key := range slices.Sorted(maps.Keys(t.items)) {
		item := t.items[key]
		ok, err := matches(dynamo.Env{Item: item, Names: in.ExpressionAttributeNames, Values: in.ExpressionAttributeValues})
		if err != nil {
			return nil, err
		}
		if !ok || key <= after {
			continue
		}
		out.Items = append(out.Items, project(item, aws.ToString(in.ProjectionExpression), in.ExpressionAttributeNames))
		if len(out.Items) == page {
			out.LastEvaluatedKey = Item{}
			for _, name := range t.keys {
				out.LastEvaluatedKey[name] = item[name]
			}
			break
		}
	}
	return out, nil
}

// project leaves out what wasn't asked for.
func project(item Item, expression string, names map[string]string) Item {
	if expression == "" {
		return item
	}
	out := Item{}
	for name := range strings.SplitSeq(expression, ",") {
		name = strings.TrimSpace(name)
		name = cmp.Or(names[name], name)
		if value, ok := item[name]; ok {
			out[name] = value
		}
	}
	return out
}
