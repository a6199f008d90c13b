package firehose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

type openSearch struct {
	name, failures           string
	endpoint                 string
	index, rotation, docType string
	noID                     bool
	serverless               bool // failed documents name their fields otherwise
}

// openSearch reads what the three descriptions have in common, in types that only
// their names tell apart.
func (r *reader) openSearch(o openSearch, buffer *types.ElasticsearchBufferingHints, retry *types.ElasticsearchRetryOptions, x *types.S3DestinationDescription, mode string, processing *types.ProcessingConfiguration) {
	o.endpoint = r.endpoint(o.name+".ClusterEndpoint", o.endpoint)
	if o.index == "" {
		r.refuse("%s.IndexName: there is none", o.name)
	}
	switch o.rotation {
	case "", "NoRotation", "OneHour", "OneDay", "OneWeek", "OneMonth":
	default:
		r.refuse("%s.IndexRotationPeriod: %s isn't known", o.name, o.rotation)
	}
	r.hints = newHints(nil, nil, 5, 300)
	if buffer != nil {
		r.hints = newHints(buffer.SizeInMBs, buffer.IntervalInSeconds, 5, 300)
	}
	again := 300 * time.Second
	if retry != nil {
		again = seconds(retry.DurationInSeconds, again)
	}
	r.deliver = deliverTo(&o, again, o.failures)
	r.failures(o.name, x, mode == "AllDocuments")
	r.processing(o.name, processing, 1<<20)
}

// indexOf is the index of a record that arrived at a time. The weeks are those of
// the USA, as AWS's text says; the example beside that text counts ISO weeks.
func (o *openSearch) indexOf(arrival time.Time) string {
	at := arrival.UTC()
	switch o.rotation {
	case "OneHour":
		return o.index + at.Format("-2006-01-02-15")
	case "OneDay":
		return o.index + at.Format("-2006-01-02")
	case "OneWeek":
		year, week := usWeek(at)
		return fmt.Sprintf("%s-%d-w%02d", o.index, year, week)
	case "OneMonth":
		return o.index + at.Format("-2006-01")
	}
	return o.index
}

// action is the line before a document in a bulk request.
type action struct {
	Index string `json:"_index"`
	Type  string `json:"_type,omitempty"`
	ID    string `json:"_id,omitempty"`
}

func (o *openSearch) action(e entry) action {
	a := action{Index: o.indexOf(e.rec.arrival), Type: o.docType}
	if !o.noID {
		a.ID = e.rec.eventID() // the same in every attempt: no document twice
	}
	return a
}

func (o *openSearch) send(ctx context.Context, b *batch) reply {
	var body []byte
	for _, e := range b.entries {
		line, err := json.Marshal(map[string]action{"index": o.action(e)})
		if err != nil {
			return reply{problem: &problem{"OS.InternalError", err.Error()}}
		}
		body = append(append(body, line...), '\n')
		// The protocol's lines end documents, so one can't hold a new line.
		body = append(append(body, oneLine(e.data)...), '\n')
	}
	header := http.Header{}
	header.Set("Content-Type", "application/x-ndjson")
	status, answer, err := b.stream.call(ctx, o.endpoint+"/_bulk", header, body)
	switch {
	case err != nil:
		return reply{problem: &problem{"OS.ServiceUnavailable", err.Error()}}
	case status >= 300:
		return reply{problem: &problem{strconv.Itoa(status), clipped(answer)}}
	}
	var bulk struct {
		Errors bool `json:"errors"`
		Items  []map[string]struct {
			Status int             `json:"status"`
			Error  json.RawMessage `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer, &bulk); err != nil || len(bulk.Items) != len(b.entries) {
		return reply{problem: &problem{"OS.BulkResponseInvalid", fmt.Sprintf("The answer doesn't have %d items. %.1000s", len(b.entries), answer)}}
	}
	some := map[int]problem{}
	for i, item := range bulk.Items {
		one, ok := item["index"]
		if !ok || one.Status < 200 || one.Status >= 300 {
			some[i] = problem{strconv.Itoa(one.Status), clipped(one.Error)}
		}
	}
	return reply{some: some}
}

func (o *openSearch) document(_ *batch, e entry, f *failure) {
	a := o.action(e)
	if o.serverless {
		f.osIndex, f.osDocID = a.Index, a.ID
		return
	}
	f.index, f.docID, f.docType = a.Index, a.ID, a.Type
}

// oneLine is a JSON document without new lines.
func oneLine(data []byte) []byte {
	data = bytes.TrimSpace(data)
	if bytes.IndexByte(data, '\n') < 0 {
		return data
	}
	var out bytes.Buffer
	if json.Compact(&out, data) != nil {
		// The server must refuse it, but only it. A space would mend a text with a new
		// line in it; no JSON holds a NUL.
		return bytes.ReplaceAll(data, []byte("\n"), []byte{0})
	}
	return out.Bytes()
}

// clipped is the beginning of an answer.
func clipped(answer []byte) string { return fmt.Sprintf("%.8192s", answer) }
