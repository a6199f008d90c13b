package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/tests/sim"
)

// TestStandingsInSimulation: whatever breaks, the table ends up with each racer's
// newest record that isn't set aside, and every record that was put is in the
// table, superseded there, or whole in a failure destination.
func TestStandingsInSimulation(t *testing.T) {
	sim.Check(t, func() sim.Scenario { return newScenario(guards{}) }, sim.Options{})
}

// Each guard of the handler, taken away, is caught.
func TestTheSimulationCatchesEveryMissingGuard(t *testing.T) {
	for name, g := range map[string]guards{
		"writes without the condition on seq":          {noCondition: true},
		"failed writes taken for success":              {noWriteErrors: true},
		"failed rejects taken for success":             {noRejectErrors: true},
		"the highest failure reported, not the lowest": {highest: true},
		"malformed records skipped":                    {noRejects: true},
		"an old record beats a newer one in a batch":   {lastWins: true},
	} {
		t.Run(name, func(t *testing.T) {
			if seed := sim.Find(func() sim.Scenario { return newScenario(g) }, sim.Options{Records: 2000}, 100); seed == 0 {
				t.Error("a hundred seeds pass without it")
			}
		})
	}
}

// guards of the handler that are taken away.
type guards struct {
	noCondition, noWriteErrors, noRejectErrors, highest, noRejects, lastWins bool
}

// scenario is a race of fifty, out of order here and there, with some records
// that are none.
type scenario struct {
	guards  guards
	program *Handler
	mu      sync.Mutex
	fails   func(string) bool // of the invocation in work
	items   map[string]map[string]types.AttributeValue
	objects map[string][]byte
	seqs    map[string]int64
	made    []made // what was put, by its number
	at      time.Time
}

// made is what a record says: a racer's seq, nothing, or nonsense.
type made struct {
	racer     string
	seq       int64
	malformed bool
}

func newScenario(g guards) *scenario {
	s := &scenario{
		guards: g, items: map[string]map[string]types.AttributeValue{}, objects: map[string][]byte{}, seqs: map[string]int64{},
		at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	s.program = &Handler{
		table: "standings", db: s,
		Rejects: &reject.Writer{Client: s, Bucket: "failures", Function: "standings", Metrics: io.Discard},
	}
	return s
}

func (s *scenario) Record(i int, r *rand.Rand) (string, []byte) {
	racer := fmt.Sprintf("r%02d", r.IntN(50))
	key := "monza/" + racer
	switch r.IntN(50) {
	case 0:
		s.made = append(s.made, made{malformed: true})
		return key, fmt.Appendf(nil, `{"race":"monza","racer":%q,"seq":"no. %d"}`, racer, i)
	case 1:
		s.made = append(s.made, made{})
		return key, nil // a keep-alive
	}
	s.seqs[racer]++
	seq := s.seqs[racer]
	if r.IntN(20) == 0 && seq > 3 {
		seq -= 2 // a producer that sends again
	}
	s.made = append(s.made, made{racer: racer, seq: seq})
	data := fmt.Appendf(nil, `{"race":"monza","racer":%q,"seq":%d,"at":%q,"distance":%d,"speed":12.5,"power":300}`,
		racer, seq, s.at.Add(time.Duration(seq)*time.Second).Format(time.RFC3339), 10*seq)
	return key, data
}

func (s *scenario) Invoke(ctx context.Context, batch *esm.Batch, fails func(string) bool) esm.Outcome {
	s.fails = fails
	event := sim.KinesisEvent(batch)
	if s.guards.noRejects {
		event = withoutMalformed(event)
	}
	if s.guards.lastWins {
		event = onlyLast(event)
	}
	response, err := s.program.Handle(ctx, event)
	if s.guards.highest && (err != nil || len(response.BatchItemFailures) > 0) && len(batch.Records) > 0 {
		response.BatchItemFailures = []events.KinesisBatchItemFailure{{ItemIdentifier: batch.Records[len(batch.Records)-1].Sequence}}
		err = nil
	}
	return sim.Answer(response, err)
}

func withoutMalformed(event events.KinesisEvent) events.KinesisEvent {
	var kept events.KinesisEvent
	for _, r := range event.Records {
		if _, err := race.Parse(r.Kinesis.Data); err == nil {
			kept.Records = append(kept.Records, r)
		}
	}
	return kept
}

// onlyLast keeps a racer's last record of an event instead of its newest.
func onlyLast(event events.KinesisEvent) events.KinesisEvent {
	last := map[string]int{}
	for i, r := range event.Records {
		if record, err := race.Parse(r.Kinesis.Data); err == nil {
			last[record.Racer] = i
		}
	}
	var kept events.KinesisEvent
	for i, r := range event.Records {
		if record, err := race.Parse(r.Kinesis.Data); err != nil || last[record.Racer] == i {
			kept.Records = append(kept.Records, r)
		}
	}
	return kept
}

// UpdateItem is the table.
func (s *scenario) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	racer := text(in.Key["racer"])
	if s.fails("update " + racer) {
		if s.guards.noWriteErrors {
			return &dynamodb.UpdateItemOutput{}, nil
		}
		return nil, errors.New("throttled")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.items[racer]; ok && !s.guards.noCondition && number(held["seq"]) >= number(in.ExpressionAttributeValues[":seq"]) {
		return nil, &types.ConditionalCheckFailedException{}
	}
	item := map[string]types.AttributeValue{}
	for assignment := range strings.SplitSeq(strings.TrimPrefix(aws.ToString(in.UpdateExpression), "SET "), ", ") {
		name, value, _ := strings.Cut(assignment, " = ")
		item[in.ExpressionAttributeNames[name]] = in.ExpressionAttributeValues[value]
	}
	s.items[racer] = item
	return &dynamodb.UpdateItemOutput{}, nil
}

// PutObject is the failure bucket.
func (s *scenario) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	if s.fails("put " + aws.ToString(in.Key)) {
		if s.guards.noRejectErrors {
			return &s3.PutObjectOutput{}, nil
		}
		return nil, errors.New("slow down")
	}
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[aws.ToString(in.Key)] = body
	return &s3.PutObjectOutput{}, nil
}

func (s *scenario) Check(put []sim.Put, failed map[string]bool) error {
	rejected := map[string][]byte{}
	for key, body := range s.objects {
		var d reject.Document
		if err := json.Unmarshal(body, &d); err != nil {
			return fmt.Errorf("object %s: %w", key, err)
		}
		rejected[d.SequenceNumber] = d.Data
	}
	newest := map[string]int64{}
	for i, p := range put {
		switch m := s.made[i]; {
		case failed[p.Sequence]:
			// whole, with its payload
		case m.malformed:
			if string(rejected[p.Sequence]) != string(p.Data) {
				return fmt.Errorf("malformed record %s is lost", p.Sequence)
			}
		case m.racer != "":
			newest[m.racer] = max(newest[m.racer], m.seq)
		}
	}
	for racer, seq := range newest {
		held := s.items[racer]
		// A record that failed may have been written before: newer is fine.
		if held == nil || int64(number(held["seq"])) < seq {
			return fmt.Errorf("racer %s is lost: the table holds %v, and %d was put", racer, held["seq"], seq)
		}
		if got := text(held["at"]); got != s.at.Add(time.Duration(number(held["seq"]))*time.Second).Format(time.RFC3339Nano) {
			return fmt.Errorf("racer %s: seq %d has the time %s", racer, number(held["seq"]), got)
		}
	}
	return nil
}
