// Package esm runs event source mappings on one machine as Lambda runs them:
// batches, windows, retries, bisecting, partial answers, age limits,
// parallelization per partition key, tumbling windows and failure destinations,
// over any stream that looks like Kinesis or like DynamoDB Streams.
//
// [Shard] is the core: a value without goroutines, clock or network, which is told
// what was read and what became of a task, and says what to do next. [Mapping]
// drives shards in real time; a simulation drives them with a clock of its own.
//
// What differs from AWS is in docs/design/event-source-mapping.md.
package esm

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// Record of a shard.
type Record struct {
	// Sequence is the record's sequence number.
	Sequence string
	// Key keeps records in order under parallelization: the partition key, or the
	// item's key in a table.
	Key string
	// Arrival is when the source took the record.
	Arrival time.Time
	// Data is the record's payload. Of a DynamoDB stream it is the whole record as
	// JSON, as Lambda hands it over, without its eventSourceARN.
	Data []byte

	index int64 // position among all records that the shard was offered
}

// MaximumPayload is the size at which Lambda ends a batch: an invocation takes 6 MB.
const MaximumPayload = 6 << 20

// Batch is what one invocation gets.
type Batch struct {
	Settings *Settings
	Shard    string
	Records  []Record
	// Window of a mapping with tumbling windows, or nil.
	Window *Window
}

// Window is a tumbling window, with the state that the last invocation left.
type Window struct {
	Start, End time.Time
	State      json.RawMessage // "{}" at first
	// Final is the last invocation for the window. Early says that the state
	// outgrew its megabyte.
	Final, Early bool

	after string // the checkpoint when it opened
}

// envelope is what the JSON of a Kinesis record takes besides its data and names.
const envelope = 330

// size is about what r takes in a payload, never less than it does.
func (s *Settings) size(shard string, r *Record) int {
	if s.Kind == DynamoDB {
		return len(r.Data) + len(s.SourceARN) + 24
	}
	return envelope + base64.StdEncoding.EncodedLen(len(r.Data)) + 2*len(r.Sequence) + 6*len(r.Key) + len(shard) + len(s.Region) + len(s.SourceARN) + len(s.RoleARN)
}

// Payload is the event as Lambda hands it to the function.
func (b *Batch) Payload() []byte { return b.AppendPayload(nil) }

// AppendPayload appends the event to out.
func (b *Batch) AppendPayload(out []byte) []byte {
	size := 256
	for i := range b.Records {
		size += b.Settings.size(b.Shard, &b.Records[i])
	}
	out = append(slices.Grow(out, size), `{"Records":[`...)
	for i := range b.Records {
		if i > 0 {
			out = append(out, ',')
		}
		out = b.Settings.appendRecord(out, b.Shard, &b.Records[i])
	}
	out = append(out, ']')
	if w := b.Window; w != nil {
		out = append(out, `,"shardId":`...)
		out = appendText(out, b.Shard)
		out = append(out, `,"eventSourceARN":`...)
		out = appendText(out, b.Settings.SourceARN)
		out = append(out, `,"window":{"start":"`...)
		out = w.Start.UTC().AppendFormat(out, time.RFC3339)
		out = append(out, `","end":"`...)
		out = w.End.UTC().AppendFormat(out, time.RFC3339)
		out = append(out, `"},"state":`...)
		out = append(out, w.State...)
		out = append(out, `,"isFinalInvokeForWindow":`...)
		out = strconv.AppendBool(out, w.Final)
		out = append(out, `,"isWindowTerminatedEarly":`...)
		out = strconv.AppendBool(out, w.Early)
	}
	return append(out, '}')
}

func (s *Settings) appendRecord(out []byte, shard string, r *Record) []byte {
	if s.Kind == DynamoDB {
		// Data is an object: the ARN goes in before its closing brace.
		out = append(out, r.Data[:len(r.Data)-1]...)
		if len(r.Data) > 2 {
			out = append(out, ',')
		}
		out = append(out, `"eventSourceARN":`...)
		return append(appendText(out, s.SourceARN), '}')
	}
	out = append(out, `{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":`...)
	out = appendText(out, r.Key)
	out = append(out, `,"sequenceNumber":"`...)
	out = append(out, r.Sequence...)
	out = append(out, `","data":"`...)
	out = base64.StdEncoding.AppendEncode(out, r.Data)
	out = append(out, `","approximateArrivalTimestamp":`...)
	millis := r.Arrival.UnixMilli()
	out = strconv.AppendInt(out, millis/1000, 10)
	out = append(out, '.', byte('0'+millis/100%10), byte('0'+millis/10%10), byte('0'+millis%10))
	out = append(out, `},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"`...)
	out = append(out, shard...)
	out = append(out, ':')
	out = append(out, r.Sequence...)
	out = append(out, `","eventName":"aws:kinesis:record"`...)
	if s.RoleARN != "" {
		out = appendText(append(out, `,"invokeIdentityArn":`...), s.RoleARN)
	}
	out = append(out, `,"awsRegion":"`...)
	out = append(out, s.Region...)
	out = append(out, `","eventSourceARN":`...)
	return append(appendText(out, s.SourceARN), '}')
}

// appendText appends s as JSON text; most is plain and needs no encoder.
func appendText(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always marshals
			}
			return append(out, text...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}
