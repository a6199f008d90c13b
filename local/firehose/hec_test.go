package firehose

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// collector is a server that speaks the protocol of Splunk's HTTP Event Collector: its
// addresses, headers, channels, acknowledgements and error codes are those of
// https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data.
// There is no Splunk behind it: what is indexed when is the test's to say.
type collector struct {
	tokens map[string]hecToken
	// indexed tells whether an acknowledgement that is asked for the n-th time, from
	// 1, is given; nil gives it at once.
	indexed func(asked int) bool
	// refuse is the code that the n-th request with data, from 1, is refused with, 0
	// for none.
	refuse func(n int) int
	// lose tells whether the n-th answer to data is lost after Splunk took it.
	lose func(n int) bool

	mu       sync.Mutex
	events   []string
	channels map[string][]*acknowledgement
	posts    int
}

type hecToken struct{ disabled, noAck bool }

type acknowledgement struct {
	asked int
	given bool
}

const hecTokenValue = "11111111-2222-3333-4444-555555555555"

func newCollector() *collector {
	return &collector{tokens: map[string]hecToken{hecTokenValue: {}}, channels: map[string][]*acknowledgement{}}
}

// hecAnswer is one of the collector's answers.
type hecAnswer struct {
	status int
	text   string
	code   int
}

// The collector's answers, by their codes.
var hecAnswers = []hecAnswer{
	0: {200, "Success", 0}, 1: {403, "Token disabled", 1}, 2: {401, "Token is required", 2}, 3: {401, "Invalid authorization", 3}, 4: {403, "Invalid token", 4},
	5: {400, "No data", 5}, 6: {400, "Invalid data format", 6}, 7: {400, "Incorrect index", 7}, 8: {500, "Internal server error", 8}, 9: {503, "Server is busy", 9},
	10: {400, "Data channel is missing", 10}, 11: {400, "Invalid data channel", 11}, 12: {400, "Event field is required", 12}, 13: {400, "Event field cannot be blank", 13},
	14: {400, "ACK is disabled", 14},
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	token, code := c.admit(r)
	channel := r.Header.Get("X-Splunk-Request-Channel")
	if channel == "" {
		channel = r.URL.Query().Get("channel")
	}
	if code == 0 && !token.noAck {
		if channel == "" {
			code = 10
		} else if !guid.MatchString(channel) {
			code = 11
		}
	}
	if code > 0 || r.Method != http.MethodPost {
		c.answer(w, code, nil)
		return
	}
	var events []string
	switch r.URL.Path {
	case "/services/collector", "/services/collector/event", "/services/collector/event/1.0":
		events, code = hecEvents(body)
	case "/services/collector/raw", "/services/collector/raw/1.0":
		events, code = hecLines(body)
	case "/services/collector/ack":
		c.acknowledge(w, token, channel, body)
		return
	default:
		http.NotFound(w, r)
		return
	}
	c.posts++
	if code == 0 && c.refuse != nil {
		code = c.refuse(c.posts)
	}
	if code > 0 {
		c.answer(w, code, nil)
		return
	}
	c.events = append(c.events, events...)
	if token.noAck {
		c.answer(w, 0, nil)
		return
	}
	id := len(c.channels[channel]) // they are counted by channel
	c.channels[channel] = append(c.channels[channel], &acknowledgement{})
	if c.lose != nil && c.lose(c.posts) {
		panic(http.ErrAbortHandler)
	}
	c.answer(w, 0, &id)
}

// admit checks the request's token.
func (c *collector) admit(r *http.Request) (hecToken, int) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return hecToken{}, 2
	}
	value, found := strings.CutPrefix(header, "Splunk ")
	if !found {
		return hecToken{}, 3
	}
	token, known := c.tokens[value]
	switch {
	case !known:
		return token, 4
	case token.disabled:
		return token, 1
	}
	return token, 0
}

func (c *collector) answer(w http.ResponseWriter, code int, id *int) {
	a := hecAnswers[code]
	out := map[string]any{"text": a.text, "code": a.code}
	if id != nil {
		out["ackId"] = *id
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(out)
}

// acknowledge answers which of the asked for acknowledgements are given. One that was
// told is forgotten.
func (c *collector) acknowledge(w http.ResponseWriter, token hecToken, channel string, body []byte) {
	if token.noAck {
		c.answer(w, 14, nil)
		return
	}
	var asked struct{ Acks []int }
	if json.Unmarshal(body, &asked) != nil {
		c.answer(w, 6, nil)
		return
	}
	acks := map[string]bool{}
	for _, id := range asked.Acks {
		given := false
		if all := c.channels[channel]; id >= 0 && id < len(all) && !all[id].given {
			all[id].asked++
			given = c.indexed == nil || c.indexed(all[id].asked)
			all[id].given = given
		}
		acks[fmt.Sprint(id)] = given
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"acks": acks})
}

// hecEvents are the events of JSON objects one after the other.
func hecEvents(body []byte) (events []string, code int) {
	dec := json.NewDecoder(bytes.NewReader(body))
	for {
		var envelope struct {
			Event json.RawMessage
			Index string
		}
		switch err := dec.Decode(&envelope); {
		case err == io.EOF && len(events) == 0:
			return nil, 5
		case err == io.EOF:
			return events, 0
		case err != nil:
			return nil, 6
		case envelope.Event == nil:
			return nil, 12
		case string(envelope.Event) == `""`:
			return nil, 13
		case envelope.Index == "forbidden":
			return nil, 7
		}
		events = append(events, string(envelope.Event))
	}
}

// hecLines are the events of text, as a source type with a line for each has them.
func hecLines(body []byte) (events []string, code int) {
	for _, line := range strings.Split(string(body), "\n") {
		if line != "" {
			events = append(events, line)
		}
	}
	if len(events) == 0 {
		return nil, 5
	}
	return events, 0
}

func (c *collector) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// toCollector is a delivery stream to c, over HTTP, with some changes.
func toCollector(t *testing.T, c http.Handler, change func(*types.SplunkDestinationDescription, *Options)) *bench {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	d := splunkStream(types.HECEndpointTypeRaw)
	x := d.Destinations[0].SplunkDestinationDescription
	x.HECToken = aws.String(hecTokenValue)
	o := Options{Endpoint: server.URL, HTTP: server.Client()}
	if change != nil {
		change(x, &o)
	}
	return start(t, d, o)
}

func asEvents(x *types.SplunkDestinationDescription, _ *Options) {
	x.HECEndpointType = types.HECEndpointTypeEvent
}

// flushed delivers everything, and checks that the numbers add up.
func (b *bench) flushed() {
	b.t.Helper()
	if err := b.Flush(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	b.balanced()
}

// splunkFailures are the documents of what Splunk didn't take.
func (b *bench) splunkFailures() []document {
	b.t.Helper()
	var all []document
	bodies := b.s3.bodies()
	for _, key := range slices.Sorted(maps.Keys(bodies)) {
		if strings.HasPrefix(key, "b/back/splunk-failed/2026/03/04/05/") {
			all = append(all, documents(b.t, bodies[key])...)
		}
	}
	return all
}

func TestCollectorsAreSentTextOrEvents(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*types.SplunkDestinationDescription, *Options)
		records []string
		want    []string
	}{
		"lines":                  {nil, []string{"one\n", "two\n", "three"}, []string{"one", "two", "three"}},
		"text without new lines": {nil, []string{"one", "two"}, []string{"onetwo"}},
		"several lines a record": {nil, []string{"one\ntwo\n", "three\n"}, []string{"one", "two", "three"}},
		"events":                 {asEvents, []string{`{"event":"one"}`, `{"event":{"n":2},"index":"main"}`}, []string{`"one"`, `{"n":2}`}},
		"events with new lines":  {asEvents, []string{"{\"event\":1}\n", "{\"event\":2}\n"}, []string{"1", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			splunk := newCollector()
			b := toCollector(t, splunk, c.change)
			b.add(c.records...)
			b.flushed()
			if diff := cmp.Diff(c.want, splunk.all()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if st := b.Stats(); st.Delivered != int64(len(c.records)) || st.Errors != 0 {
				t.Errorf("stats %+v", st)
			}
			b.want(nil)
		})
	}
}

func TestRecordsAreDeliveredOnceSplunkHasIndexedThem(t *testing.T) {
	splunk := newCollector()
	splunk.indexed = func(asked int) bool { return asked == 3 }
	b := toCollector(t, splunk, nil)
	b.add("one\n")
	b.after(time.Minute)
	for asked := range 4 {
		if st := b.Stats(); (st.Delivered == 1) != (asked == 3) {
			t.Fatalf("asked %d times: %+v", asked, st)
		}
		b.after(ackPoll)
	}
	if got := splunk.all(); len(got) != 1 {
		t.Errorf("Splunk has %q", got)
	}
}

// Splunk counts acknowledgements by channel: batches that share none can't take each
// other's.
func TestEveryBatchHasAChannelOfItsOwn(t *testing.T) {
	splunk := newCollector()
	splunk.indexed = func(asked int) bool { return asked > 1 }
	b := toCollector(t, splunk, nil)
	for i := range 3 {
		b.add(fmt.Sprintf("%d\n", i))
		b.after(time.Minute)
	}
	b.flushed()
	if len(splunk.channels) != 3 || b.Stats().Delivered != 3 {
		t.Errorf("%d channels, stats %+v", len(splunk.channels), b.Stats())
	}
	for channel, acks := range splunk.channels {
		if len(acks) != 1 {
			t.Errorf("channel %s has %d batches", channel, len(acks))
		}
	}
}

func TestALateAcknowledgementMakesDuplicates(t *testing.T) {
	splunk := newCollector()
	asked := 0
	splunk.indexed = func(int) bool { asked++; return asked > 100 } // after 200 s; the timeout is 180 s
	b := toCollector(t, splunk, nil)
	b.add("one\n")
	b.flushed()
	if diff := cmp.Diff([]string{"one", "one"}, splunk.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if st := b.Stats(); st.Delivered != 1 || st.Failed != 0 || !strings.Contains(st.LastError, "Splunk.AckTimeout") {
		t.Errorf("stats %+v", st)
	}
}

// AWS says it: data whose acknowledgement timed out is in S3, and may be in Splunk.
func TestWhatIsNeverAcknowledgedIsInBothPlaces(t *testing.T) {
	splunk := newCollector()
	splunk.indexed = func(int) bool { return false }
	b := toCollector(t, splunk, func(x *types.SplunkDestinationDescription, _ *Options) {
		x.RetryOptions.DurationInSeconds = aws.Int32(0)
		x.HECAcknowledgmentTimeoutInSeconds = aws.Int32(600)
	})
	b.add("one\n", "two\n")
	b.flushed()
	failed := b.splunkFailures()
	if len(failed) != 2 || failed[0].ErrorCode != "Splunk.AckTimeout" || failed[0].AttemptsMade != 1 || failed[0].EventID == "" {
		t.Errorf("%+v", failed)
	}
	if tried := b.clock.Now().Sub(began); tried < 600*time.Second {
		t.Errorf("given up after %s", tried)
	}
	if got := splunk.all(); len(got) != 2 {
		t.Errorf("Splunk has %q", got)
	}
}

func TestCollectorsThatRefuse(t *testing.T) {
	lines := []string{"one\n", "two\n"}
	for name, c := range map[string]struct {
		splunk  func(*collector)
		change  func(*types.SplunkDestinationDescription, *Options)
		records []string
		code    string
		text    string
	}{
		"an unknown token":        {func(c *collector) { c.tokens = nil }, nil, lines, "Splunk.InvalidToken", "Invalid token"},
		"a disabled token":        {func(c *collector) { c.tokens[hecTokenValue] = hecToken{disabled: true} }, nil, lines, "Splunk.DisabledToken", "Token disabled"},
		"no acknowledgements":     {func(c *collector) { c.tokens[hecTokenValue] = hecToken{noAck: true} }, nil, lines, "Splunk.DisabledAck", "Success"},
		"too much to do":          {func(c *collector) { c.refuse = func(int) int { return 9 } }, nil, lines, "Splunk.IndexerBusy", "Server is busy"},
		"text where events go":    {nil, asEvents, lines, "Splunk.InvalidDataFormat", "Invalid data format"},
		"JSON without an event":   {nil, asEvents, []string{`{"n":1}`}, "Splunk.InvalidDataFormat", "Event field is required"},
		"a blank event":           {nil, asEvents, []string{`{"event":""}`}, "Splunk.InvalidDataFormat", "Event field cannot be blank"},
		"an index it may not use": {nil, asEvents, []string{`{"event":1,"index":"forbidden"}`}, "Splunk.InvalidIndex", "Incorrect index"},
		"nothing at all":          {nil, nil, []string{"\n"}, "Splunk.InvalidDataFormat", "No data"},
	} {
		t.Run(name, func(t *testing.T) {
			splunk := newCollector()
			if c.splunk != nil {
				c.splunk(splunk)
			}
			b := toCollector(t, splunk, c.change)
			b.add(c.records...)
			b.flushed()
			failed := b.splunkFailures()
			if len(failed) != len(c.records) || b.Stats().Failed != int64(len(c.records)) {
				t.Fatalf("failed: %+v, stats %+v", failed, b.Stats())
			}
			for i, f := range failed {
				if f.ErrorCode != c.code || !strings.Contains(f.ErrorMessage, c.text) || f.AttemptsMade < 3 || f.RawData != base64.StdEncoding.EncodeToString([]byte(c.records[i])) {
					t.Errorf("%+v", f)
				}
			}
			if got := splunk.all(); len(got) > 0 && name != "no acknowledgements" {
				t.Errorf("Splunk has %q", got)
			}
		})
	}
}

func TestWhatSplunkRefusesForAWhileArrivesOnce(t *testing.T) {
	for _, code := range []int{1, 8, 9} {
		t.Run(hecAnswers[code].text, func(t *testing.T) {
			splunk := newCollector()
			splunk.refuse = func(n int) int {
				if n < 4 {
					return code
				}
				return 0
			}
			b := toCollector(t, splunk, nil)
			b.add("one\n", "two\n")
			b.flushed()
			if diff := cmp.Diff([]string{"one", "two"}, splunk.all()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if st := b.Stats(); st.Delivered != 2 || st.Errors != 3 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// Behind a load balancer without sticky sessions the question for an acknowledgement
// goes to a collector that doesn't have it.
func TestALoadBalancerWithoutStickySessionsLosesAcknowledgements(t *testing.T) {
	first, second := newCollector(), newCollector()
	b := toCollector(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/ack") {
			second.ServeHTTP(w, r)
			return
		}
		first.ServeHTTP(w, r)
	}), nil)
	b.add("one\n")
	b.flushed()
	if failed := b.splunkFailures(); len(failed) != 1 || failed[0].ErrorCode != "Splunk.AckTimeout" || failed[0].AttemptsMade != 2 {
		t.Errorf("%+v", failed)
	}
	if got := first.all(); len(got) != 2 {
		t.Errorf("Splunk has %q", got)
	}
}

func TestALostAnswerOfSplunkMakesDuplicates(t *testing.T) {
	splunk := newCollector()
	splunk.lose = func(n int) bool { return n == 1 }
	b := toCollector(t, splunk, nil)
	b.add("one\n", "two\n")
	b.flushed()
	if diff := cmp.Diff([]string{"one", "two", "one", "two"}, splunk.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if st := b.Stats(); st.Delivered != 2 || !strings.Contains(st.LastError, "Splunk.ConnectionClosed") {
		t.Errorf("stats %+v", st)
	}
}

func TestAllEventsAreBackedUp(t *testing.T) {
	b := toCollector(t, newCollector(), func(x *types.SplunkDestinationDescription, _ *Options) {
		x.S3BackupMode = types.SplunkS3BackupModeAllEvents
	})
	b.add("one\n", "two\n")
	b.flushed()
	bodies := slices.Collect(maps.Values(b.s3.bodies()))
	if diff := cmp.Diff([]string{"one\ntwo\n"}, bodies); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever Splunk does, a record ends in Splunk or in S3; and where Splunk's answers
// and acknowledgements arrived, in one of them, once.
func TestNothingIsLostOnTheWayToSplunk(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		busy := rapid.SliceOfN(rapid.Bool(), 30, 30).Draw(r, "busy")
		lost := rapid.SliceOfN(rapid.IntRange(0, 9), 30, 30).Draw(r, "lost")
		slow := rapid.SliceOfN(rapid.IntRange(0, 120), 30, 30).Draw(r, "asked before it is acknowledged")
		retry := rapid.Int32Range(0, 400).Draw(r, "retry")
		n := rapid.IntRange(1, 20).Draw(r, "records")
		splunk := newCollector()
		splunk.refuse = func(n int) int {
			if busy[n%30] {
				return 9
			}
			return 0
		}
		splunk.lose = func(n int) bool { return lost[n%30] == 0 }
		splunk.indexed = func(asked int) bool { return asked > slow[splunk.posts%30] }
		server := httptest.NewServer(splunk)
		defer server.Close()
		d := splunkStream(types.HECEndpointTypeRaw)
		x := d.Destinations[0].SplunkDestinationDescription
		x.HECToken, x.RetryOptions.DurationInSeconds = aws.String(hecTokenValue), aws.Int32(retry)
		b := &bench{clock: newClock(), s3: newS3()}
		stream, err := New(d, Options{Endpoint: server.URL, HTTP: server.Client(), Clock: b.clock, Random: &counter{}, S3: b.s3, Concurrency: 1})
		if err != nil {
			r.Fatal(err)
		}
		want := map[string]bool{}
		for i := range n {
			text := fmt.Sprintf("record %d", i)
			want[text] = true
			if err := stream.Add(Record{Data: []byte(text + "\n")}); err != nil {
				r.Fatal(err)
			}
			if rapid.Bool().Draw(r, "a batch ends") {
				b.clock.move(time.Minute)
				stream.Tick(context.Background())
			}
		}
		if err := stream.Flush(context.Background()); err != nil {
			r.Fatal(err)
		}
		seen := map[string]int{}
		for _, e := range splunk.all() {
			seen[e]++
		}
		for _, body := range b.s3.bodies() {
			for dec := json.NewDecoder(strings.NewReader(body)); ; {
				var f document
				if err := dec.Decode(&f); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					r.Fatal(err)
				}
				data, err := base64.StdEncoding.DecodeString(f.RawData)
				if err != nil {
					r.Fatal(err)
				}
				seen[strings.TrimSuffix(string(data), "\n")]++
			}
		}
		// What wasn't acknowledged may be there twice.
		doubtful := false
		for _, acks := range splunk.channels {
			for i, ack := range acks {
				doubtful = doubtful || !ack.given
				if ack.given && i+1 < len(acks) {
					r.Error("what was acknowledged is sent again")
				}
			}
		}
		for text := range want {
			if seen[text] == 0 {
				r.Errorf("%q is lost", text)
			}
			if !doubtful && seen[text] != 1 {
				r.Errorf("%q is there %d times", text, seen[text])
			}
			delete(seen, text)
		}
		if len(seen) > 0 {
			r.Errorf("what was never sent: %v", seen)
		}
		if st := stream.Stats(); st.Accepted != int64(n) || st.Delivered+st.Failed != int64(n) {
			r.Errorf("stats %+v", st)
		}
	})
}
