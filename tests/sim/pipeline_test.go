package sim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	archive "github.com/millrace/millrace/lambdas/archive/handler"
	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/kit/reject"
	pace "github.com/millrace/millrace/lambdas/pace/handler"
	podium "github.com/millrace/millrace/lambdas/podium/handler"
	"github.com/millrace/millrace/lambdas/race"
	standings "github.com/millrace/millrace/lambdas/standings/handler"
	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/tests/sim"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// TestPipeline: whatever breaks between the telemetry and the podiums, the standings
// end up with each racer's newest record, the podiums with the top ten of the
// standings, and every record is applied, superseded, or whole in the failure
// bucket, from where it can be handed over again.
func TestPipeline(t *testing.T) {
	sim.Check(t, func() sim.Scenario { return &pipeline{} }, sim.Options{})
}

// pipeline is that of the stack: telemetry → standings → podiums. In monza, many
// racers lead on; in spa, which just fills its podium, distances go up and down; imola
// doesn't fill it. An administrator enters guests and removes them, in spa, in a race
// of their own and in heats that begin any time. Some were there before the podiums
// were, and some items are none that a podium could hold.
type pipeline struct {
	standings, podiums, paces *sim.Table
	update, climb, laps       *sim.Function
	archive                   *sim.Delivery // in some runs: it makes them longer
	archived                  bool          // in this one for sure
	names, keys               [racers]string
	seqs                      [racers]int64
	guests                    [guests]int64
	heats                     int
	made                      []race.Record // by their i; a keep-alive has no seq
	seed                      uint64
	wants                     map[part]*want
}

const (
	racers = 28
	guests = 14
)

func (p *pipeline) Setup(w *sim.World) {
	p.seed = w.Rand().Uint64()
	p.standings, p.podiums = w.Table("STANDINGS_TABLE", "race", "racer"), w.Table("PODIUMS_TABLE", "race")
	p.paces = w.Table("PACES_TABLE", "race", "window")
	p.standings.Refuses = func(item sim.Item) bool { return !w.Mended() && whole(item["power"]) == cursed }
	p.standings.Watch, p.podiums.Watch = seqRises, versionRises
	for i := range racers {
		p.names[i] = "r" + strconv.Itoa(10+i)
		p.keys[i] = raceOf(i) + "/" + p.names[i]
	}
	for i := range guests / 2 {
		p.guests[i]++
		p.standings.Seed(p.guest(i))
	}
	getenv := func(name string) string { return name }
	p.update = w.Add(&sim.Function{Name: "standings", Settings: w.Settings(esm.Kinesis), Start: func(c *sim.Client) lambda.Handler {
		return must(standings.New(getenv, c, rejects(c, "standings")))
	}})
	p.climb = w.Add(&sim.Function{Name: "podium", Changes: p.standings, Settings: w.Settings(esm.DynamoDB), Start: func(c *sim.Client) lambda.Handler {
		h := must(podium.New(getenv, c, rejects(c, "podium")))
		h.Pause = func(attempt int) time.Duration { return c.Pause(10 * time.Millisecond << attempt) }
		return h
	}})
	settings := w.Settings(esm.Kinesis)
	settings.Tumbling, settings.Parallelization = []time.Duration{time.Second, 30 * time.Second, 30 * time.Second}[w.Rand().IntN(3)], 1
	if w.Rand().IntN(6) == 0 {
		settings.MaximumRecordAge = time.Minute // a window that is made again may lack records
	}
	p.laps = w.Add(&sim.Function{Name: "pace", Settings: settings, Start: func(c *sim.Client) lambda.Handler {
		return must(pace.New(getenv, c, rejects(c, "pace")))
	}})
	if p.archived || p.seed%deliveries == 0 {
		p.archive = w.Deliver(&sim.Delivery{ErrorPrefix: failedPrefix, Start: func(metrics io.Writer) lambda.Handler {
			return must(archive.New(getenv, metrics))
		}})
	}
}

func rejects(c *sim.Client, function string) *reject.Writer {
	return &reject.Writer{Client: c, Bucket: "failures", Function: function, Reporter: reject.Reporter{Metrics: c.Metrics()}}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// cursed is a power that the table refuses.
const cursed = 13

// raceOf a racer.
func raceOf(racer int) string {
	switch {
	case racer < 15:
		return "monza"
	case racer < 24:
		return "spa"
	}
	return "imola"
}

// record of a racer: it is a function of its seq.
func (p *pipeline) record(racer string, name string, seq int64) race.Record {
	draw := rand.New(rand.NewPCG(p.seed^uint64(seq), uint64(racer[0])<<16|uint64(racer[1])<<8|uint64(racer[2])))
	r := race.Record{
		Race: name, Racer: racer, Seq: seq, At: time.Date(2026, 1, 1, 0, 0, int(seq), 0, time.UTC),
		Distance: float64(10*seq) + float64(draw.IntN(50)), Speed: 12.5, Power: 100 + float64(draw.IntN(200)),
	}
	if name != "monza" {
		r.Distance = float64(draw.IntN(5000))
	}
	switch draw.IntN(1000) {
	case 0:
		r.Power = cursed
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20:
		r.Distance /= 2 // a correction
	}
	return r
}

func (p *pipeline) Record(n int, r *rand.Rand) (string, []byte) {
	i := r.IntN(racers)
	racer, key := p.names[i], p.keys[i]
	p.made = append(p.made, make([]race.Record, n+1-len(p.made))...)
	if r.IntN(50) == 0 {
		return key, nil // a keep-alive
	}
	p.seqs[i]++
	v := p.record(racer, raceOf(i), p.seqs[i])
	p.made[n] = v
	data := make([]byte, 0, 128)
	data = append(append(append(append(data, `{"race":"`...), v.Race...), `","racer":"`...), racer...)
	data = strconv.AppendInt(append(data, `","seq":`...), v.Seq, 10)
	data = v.At.AppendFormat(append(data, `,"at":"`...), time.RFC3339)
	data = strconv.AppendFloat(append(data, `","distance":`...), v.Distance, 'f', -1, 64)
	data = strconv.AppendFloat(append(data, `,"speed":12.5,"power":`...), v.Power, 'f', -1, 64)
	return key, append(data, '}')
}

// Act enters guests in a race and removes them.
func (p *pipeline) Act(_ *sim.World, r *rand.Rand) {
	i := r.IntN(guests)
	p.guests[i]++
	switch item := p.guest(i); r.IntN(10) {
	case 0, 1, 2:
		p.standings.Delete(item)
	case 3, 4:
		item["racer"] = &types.AttributeValueMemberS{Value: "broken" + strconv.Itoa(r.IntN(3))}
		item["distance"] = &types.AttributeValueMemberS{Value: "far"}
		p.standings.Put(item)
	case 5:
		p.heats++
		for racer := range 4 {
			heat := p.record("h"+strconv.Itoa(10+racer), "heat"+strconv.Itoa(p.heats), 1)
			p.standings.Put(itemOf(heat))
		}
	default:
		p.standings.Put(item)
	}
}

// guest is the item of a guest's present state.
func (p *pipeline) guest(i int) sim.Item {
	return itemOf(p.record("g"+strconv.Itoa(10+i), []string{"spa", "guests"}[i%2], p.guests[i]))
}

func itemOf(r race.Record) sim.Item {
	item, err := attributevalue.MarshalMap(r)
	if err != nil {
		panic(err)
	}
	return item
}

// seqRises: a racer's newest record is never replaced by an older one or written
// twice. Guests are the administrator's.
func seqRises(before, after sim.Item) error {
	if before == nil || after == nil || value(after["racer"])[0] != 'r' {
		return nil
	}
	if held, written := whole(before["seq"]), whole(after["seq"]); written <= held {
		return fmt.Errorf("seq %d is written over %d", written, held)
	}
	return nil
}

// versionRises: no podium is written by somebody who hadn't seen the last version.
func versionRises(before, after sim.Item) error {
	if held, written := whole(before["version"]), whole(after["version"]); written != held+1 {
		return fmt.Errorf("version %d is written over %d", written, held)
	}
	return nil
}

func (p *pipeline) Check(w *sim.World) error {
	newest := map[string]int64{}
	for i, put := range w.Puts() {
		switch {
		case p.update.Failed(i):
		case put.Malformed:
			if err := rejected(w, "standings", put.Shard, put.Sequence, put.Data); err != nil {
				return err
			}
		default:
			newest[put.Key] = max(newest[put.Key], p.made[put.Made].Seq)
		}
	}
	races := map[string][]race.Place{}
	for _, item := range p.standings.Items() {
		if _, broken := item["distance"].(*types.AttributeValueMemberS); broken {
			continue
		}
		var r race.Record
		if err := attributevalue.UnmarshalMap(item, &r); err != nil {
			return err
		}
		races[r.Race] = append(races[r.Race], r.Place())
		if r.Racer[0] != 'r' {
			continue
		}
		// A record that failed may have been written before: newer is fine.
		if r.Seq < newest[r.PartitionKey()] {
			return fmt.Errorf("%s: the table holds seq %d, and %d was put", r.PartitionKey(), r.Seq, newest[r.PartitionKey()])
		}
		if want := p.record(r.Racer, r.Race, r.Seq); r != want {
			return fmt.Errorf("%s: the table holds %+v, and %+v was put", r.PartitionKey(), r, want)
		}
		delete(newest, r.PartitionKey())
	}
	for key, seq := range newest {
		if seq == 0 {
			continue // keep-alives only
		}
		return fmt.Errorf("%s is lost: seq %d was put", key, seq)
	}
	failed, changed := map[string]bool{}, map[string]bool{}
	for i, change := range p.standings.Changes() {
		item := change.After
		if item == nil {
			item = change.Before
		}
		name := value(item["race"])
		if p.climb.Failed(i) {
			failed[name] = true
		} else if _, far := change.After["distance"].(*types.AttributeValueMemberS); far {
			if err := rejectedChange(w, change); err != nil {
				return err
			}
		} else {
			changed[name] = true
		}
	}
	for _, item := range p.podiums.Items() {
		var got race.Podium
		if err := attributevalue.UnmarshalMap(item, &got); err != nil {
			return err
		}
		if want := got.Of(races[got.Race]); !failed[got.Race] && !want.Equal(got) {
			return fmt.Errorf("the podium of %s holds %+v, and the standings make %+v", got.Race, got.Top, want.Top)
		}
		delete(races, got.Race)
	}
	for name := range races {
		if changed[name] && !failed[name] {
			return fmt.Errorf("%s has no podium", name)
		}
	}
	if p.archive != nil {
		if err := p.checkArchive(w); err != nil {
			return err
		}
	}
	return p.checkPaces(w)
}

// rejected checks that a function has set a record aside, whole.
func rejected(w *sim.World, function, shard, sequence string, data []byte) error {
	var d reject.Document
	object := "rejected/" + function + "/" + shard + "/" + sequence + ".json"
	if err := json.Unmarshal(w.Object(object), &d); err != nil || string(d.Data) != string(data) {
		return fmt.Errorf("record %s can't be read, and isn't whole in %s: %w", sequence, object, err)
	}
	return nil
}

// rejectedChange checks that the podium's function has set a change aside, whole.
func rejectedChange(w *sim.World, c sim.Change) error {
	var d reject.Document
	object := fmt.Sprintf("rejected/podium/%d/%056d.json", c.Number+1, c.Number+1)
	if err := json.Unmarshal(w.Object(object), &d); err != nil {
		return fmt.Errorf("change %d can't be read, and isn't in %s: %w", c.Number+1, object, err)
	}
	// As DynamoDB writes it: the one way to read it is that of the payload.
	var held struct {
		EventName      string `json:"eventName"`
		SequenceNumber string
	}
	if err := json.Unmarshal(d.Data, &held); err != nil {
		return err
	}
	event, err := decode.DynamoDB(fmt.Appendf(nil, `{"Records":[{"eventName":%q,"dynamodb":%s}]}`, held.EventName, d.Data))
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	if r := event.Records[0]; !reflect.DeepEqual(r.NewImage, c.After) || !reflect.DeepEqual(r.OldImage, c.Before) {
		return fmt.Errorf("%s holds %s, and this was the change: %+v", object, d.Data, c)
	}
	return nil
}

// value is a text.
func value(v types.AttributeValue) string { return v.(*types.AttributeValueMemberS).Value }

// whole is the value of a whole number, 0 if there is none.
func whole(v types.AttributeValue) int {
	n, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	i, err := strconv.Atoi(n.Value)
	if err != nil {
		panic(err)
	}
	return i
}

// A run is the same every time, whatever the order of the handlers' goroutines.
func TestARunIsTheSameEveryTime(t *testing.T) {
	for seed := uint64(1); seed <= 12; seed++ {
		var traces [2][]string
		for i := range traces {
			err := sim.Run(t, seed, &pipeline{archived: seed%4 == 0}, sim.Options{Records: 3000, Trace: &traces[i]})
			traces[i] = append(traces[i], fmt.Sprint(err))
		}
		if !reflect.DeepEqual(traces[0], traces[1]) {
			for i := range traces[0] {
				if i >= len(traces[1]) || traces[0][i] != traces[1][i] {
					t.Fatalf("seed %d, line %d of %d and %d:\n%s\n%s", seed, i, len(traces[0]), len(traces[1]), traces[0][i], traces[1][min(i, len(traces[1])-1)])
				}
			}
		}
	}
}
