package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/tests/sim"
)

// TestWindows: a function that gathers the records of tumbling windows in the state
// that the mapping carries from one invocation to the next, and writes a window once
// it is over, has every record in exactly one window, or in the failure destination.
func TestWindows(t *testing.T) {
	sim.Check(t, func() sim.Scenario { return &windows{} }, sim.Options{})
}

type windows struct {
	table  *sim.Table
	gather *sim.Function
}

func (s *windows) Setup(w *sim.World) {
	s.table = w.Table("windows", "window", "key")
	settings := w.Settings(esm.Kinesis)
	settings.Tumbling, settings.Parallelization = []time.Duration{time.Second, 10 * time.Second, time.Minute}[w.Rand().IntN(3)], 1
	s.gather = w.Add(&sim.Function{Name: "gather", Settings: settings, Start: func(c *sim.Client) sim.Handler {
		return func(ctx context.Context, e *sim.Event) (any, error) { return gather(ctx, c, e) }
	}})
	// Another one reads the same stream, at its own pace and with its own failures.
	w.Add(&sim.Function{Name: "bystander", Settings: w.Settings(esm.Kinesis), Start: idle})
}

func (s *windows) Record(i int, r *rand.Rand) (string, []byte) {
	return "k" + strconv.Itoa(10+r.IntN(30)), []byte(strconv.Itoa(i))
}

// gather keeps the sequence numbers of every key's records in the window's state.
func gather(ctx context.Context, c *sim.Client, e *sim.Event) (any, error) {
	state := map[string]string{}
	if err := json.Unmarshal(e.Window.State, &state); err != nil {
		return nil, err
	}
	if !e.Window.Final {
		for _, r := range e.Kinesis.Records {
			state[r.Kinesis.PartitionKey] += strings.TrimLeft(r.Kinesis.SequenceNumber, "0") + " "
		}
		return map[string]any{"state": state, "batchItemFailures": []string{}}, nil
	}
	// The window and the shard make the item: written again, it is the same item.
	window := e.Window.Start.UTC().Format(time.RFC3339) + "/" + e.Shard
	var requests []types.WriteRequest
	for key, records := range state {
		requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: sim.Item{
			"window":  &types.AttributeValueMemberS{Value: window},
			"key":     &types.AttributeValueMemberS{Value: key},
			"records": &types.AttributeValueMemberS{Value: records},
		}}})
	}
	for len(requests) > 0 {
		n := min(25, len(requests))
		out, err := c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"windows": requests[:n]}})
		if err != nil {
			return nil, err
		}
		if len(out.UnprocessedItems) > 0 {
			return nil, errors.New("some items weren't written")
		}
		requests = requests[n:]
	}
	return nil, nil
}

func (s *windows) Check(w *sim.World) error {
	puts := w.Puts()
	times := make([]int, len(puts))
	for _, item := range s.table.Items() {
		last := 0
		for _, sequence := range strings.Fields(string(value(item["records"]))) {
			n, err := strconv.Atoi(sequence)
			if err != nil {
				return err
			}
			if n <= last || puts[n-1].Key != value(item["key"]) {
				return fmt.Errorf("window %s: record %d of key %s comes after %d of %s", value(item["window"]), n, puts[n-1].Key, last, value(item["key"]))
			}
			last = n
			times[n-1]++
		}
	}
	for n, seen := range times {
		// A window's state may lie in the failure bucket until it is handed over again.
		if seen > 1 || seen == 0 && w.Mended() && !s.gather.Failed(n) {
			return fmt.Errorf("record %d of %s is in %d windows", n+1, puts[n].Shard, seen)
		}
	}
	return nil
}

func value(v types.AttributeValue) string { return v.(*types.AttributeValueMemberS).Value }
