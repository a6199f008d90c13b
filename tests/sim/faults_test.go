package sim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/tests/sim"
)

// naive is a function that isn't made for some fault.
type naive struct {
	shards   int
	settings func(*esm.Settings)
	start    func(c *sim.Client) sim.Handler
	check    func(n *naive, w *sim.World) error

	table    *sim.Table
	function *sim.Function
}

func (n *naive) Setup(w *sim.World) {
	n.table = w.Table("table", "key")
	settings := w.Settings(esm.Kinesis)
	settings.Parallelization, settings.MaximumRetryAttempts, settings.MaximumRecordAge = 1, 10, 23*time.Hour
	if n.settings != nil {
		n.settings(settings)
	}
	n.function = w.Add(&sim.Function{Name: "naive", Settings: settings, Start: n.start})
}

func (n *naive) Record(i int, r *rand.Rand) (string, []byte) {
	return "k" + strconv.Itoa(r.IntN(6)), []byte("no. " + strconv.Itoa(i))
}

func (n *naive) Check(w *sim.World) error { return n.check(n, w) }

// each calls f for every record of an event.
func each(f func(ctx context.Context, e *sim.Event, r events.KinesisRecord) error) sim.Handler {
	return func(ctx context.Context, e *sim.Event) (any, error) {
		for _, r := range e.Kinesis.Records {
			if err := f(ctx, e, r.Kinesis); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
}

// counting adds 1 to the key's item for every record, without looking whether it has
// done so before.
func counting(c *sim.Client) sim.Handler {
	return each(func(ctx context.Context, _ *sim.Event, r events.KinesisRecord) error {
		_, err := c.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: aws.String("table"), Key: keyOf(r.PartitionKey), UpdateExpression: aws.String("ADD records :one"),
			ExpressionAttributeValues: sim.Item{":one": numberOf(1)},
		})
		return err
	})
}

// remembering counts in its instance's memory, by something of the record, and puts
// the counts.
func remembering(by func(*sim.Event, events.KinesisRecord) string) func(c *sim.Client) sim.Handler {
	return func(c *sim.Client) sim.Handler {
		seen := map[string]int{}
		return each(func(ctx context.Context, e *sim.Event, r events.KinesisRecord) error {
			seen[by(e, r)]++
			return put(ctx, c, r.PartitionKey, seen[by(e, r)])
		})
	}
}

// latest puts the last record, without looking what is there.
func latest(c *sim.Client) sim.Handler {
	return each(func(ctx context.Context, _ *sim.Event, r events.KinesisRecord) error {
		n, err := strconv.Atoi(strings.TrimLeft(r.SequenceNumber, "0"))
		if err != nil {
			return err
		}
		return put(ctx, c, r.PartitionKey, n)
	})
}

// rereading adds the number of records to one item, which it reads and then puts.
func rereading(c *sim.Client) sim.Handler {
	return func(ctx context.Context, e *sim.Event) (any, error) {
		out, err := c.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("table"), Key: keyOf("all"), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return nil, err
		}
		return nil, put(ctx, c, "all", whole(out.Item["records"])+len(e.Kinesis.Records))
	}
}

// parsing refuses what isn't "no. …".
func parsing(*sim.Client) sim.Handler {
	return each(func(_ context.Context, _ *sim.Event, r events.KinesisRecord) error {
		_, err := fmt.Sscanf(string(r.Data), "no. %d", new(int))
		return err
	})
}

// keeping puts every record into the bucket, come what may.
func keeping(c *sim.Client) sim.Handler {
	return each(func(ctx context.Context, _ *sim.Event, r events.KinesisRecord) error {
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Key: aws.String(r.SequenceNumber), Body: strings.NewReader("")}); err == nil {
			_, err = c.Metrics().Write([]byte("kept\n"))
			return err
		}
		return nil
	})
}

func idle(*sim.Client) sim.Handler {
	return func(context.Context, *sim.Event) (any, error) { return nil, nil }
}

func keyOf(key string) sim.Item { return sim.Item{"key": &types.AttributeValueMemberS{Value: key}} }

func numberOf(n int) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.Itoa(n)}
}

func put(ctx context.Context, c *sim.Client, key string, n int) error {
	item := keyOf(key)
	item["records"] = numberOf(n)
	_, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("table"), Item: item})
	return err
}

// eachOnce: the items count every record that a producer made once.
func eachOnce(n *naive, w *sim.World) error {
	made := map[int]bool{}
	for _, p := range w.Puts() {
		made[p.Made] = true
	}
	sum := 0
	for _, item := range n.table.Items() {
		sum += whole(item["records"])
	}
	if sum != len(made) {
		return fmt.Errorf("%d records are counted as %d", len(made), sum)
	}
	return nil
}

// lastOfEach: the items hold the number of each key's last record.
func lastOfEach(n *naive, w *sim.World) error {
	last := map[string]int{}
	for i, p := range w.Puts() {
		last[p.Key] = i + 1
	}
	for _, item := range n.table.Items() {
		if key := value(item["key"]); whole(item["records"]) != last[key] {
			return fmt.Errorf("%s: record %d came after %d", key, last[key], whole(item["records"]))
		}
	}
	return nil
}

// noneFailed: no record went to the failure destination.
func noneFailed(n *naive, w *sim.World) error {
	for i := range w.Puts() {
		if n.function.Failed(i) {
			return fmt.Errorf("record %d failed", i+1)
		}
	}
	return nil
}

// noFailure: not even an attempt failed.
func noFailure(n *naive, _ *sim.World) error {
	if c := n.function.Counts(); c.FailedInvokeEventCount > 0 {
		return errors.New("there were attempts that failed")
	}
	return nil
}

func allKept(_ *naive, w *sim.World) error {
	for _, p := range w.Puts() {
		if w.Object(p.Sequence) == nil {
			return fmt.Errorf("%s isn't kept", p.Sequence)
		}
	}
	return nil
}

// Each fault breaks a function that isn't made for it, and that works without it.
func TestEachFaultBites(t *testing.T) {
	byKey := func(_ *sim.Event, r events.KinesisRecord) string { return r.PartitionKey }
	byShard := func(e *sim.Event, r events.KinesisRecord) string { return e.Shard + r.PartitionKey }
	young := func(s *esm.Settings) { s.MaximumRecordAge = time.Minute }
	lanes := func(s *esm.Settings) { s.Parallelization = 4 }
	nowhere := func(s *esm.Settings) { s.OnFailure = "" }
	for fault, n := range map[sim.Fault]naive{
		sim.Crash:     {start: counting, check: eachOnce},
		sim.Timeout:   {start: latest, check: lastOfEach},
		sim.CallFails: {start: counting, check: eachOnce},
		sim.Slow:      {start: rereading, check: eachOnce, settings: lanes},
		sim.Throttle:  {start: idle, check: noFailure},
		sim.Redeploy:  {start: remembering(byKey), check: eachOnce, shards: 1},
		sim.Restart:   {start: counting, check: eachOnce},
		sim.Late:      {start: idle, check: noneFailed, settings: young},
		sim.Duplicate: {start: counting, check: eachOnce},
		sim.Reshard:   {start: remembering(byShard), check: eachOnce, shards: 1},
		sim.Poison:    {start: idle, check: func(*naive, *sim.World) error { return nil }, settings: nowhere},
		sim.Malformed: {start: parsing, check: noneFailed},
		sim.Away:      {start: keeping, check: allKept},
		sim.Gone:      {start: keeping, check: allKept},
		sim.Behind:    {start: idle, check: noneFailed, settings: young},
	} {
		t.Run(fault.String(), func(t *testing.T) {
			scenario := func() sim.Scenario { scenario := n; return &scenario }
			if seed := sim.Find(t, scenario, sim.Options{Records: 1500, Shards: n.shards, Only: []sim.Fault{}}, 20); seed != 0 {
				t.Errorf("it doesn't take the fault: %s", sim.Explain(t, seed, scenario, sim.Options{Records: 1500, Shards: n.shards, Only: []sim.Fault{}}))
			}
			if seed := sim.Find(t, scenario, sim.Options{Records: 1500, Shards: n.shards, Only: []sim.Fault{fault}}, 100); seed == 0 {
				t.Error("a hundred seeds with it pass")
			}
		})
	}
}
