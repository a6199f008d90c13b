package throttle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

const (
	maxPutRecords = 500
	maxKey        = 256 // characters
)

// entry is a record to put.
type entry struct {
	PartitionKey    string
	ExplicitHashKey string
	Data            []byte
}

// result is what became of a record: a failed one has a code and a message.
type result struct {
	ShardID        string `json:"ShardId,omitempty"`
	SequenceNumber string `json:",omitempty"`
	ErrorCode      string `json:",omitempty"`
	ErrorMessage   string `json:",omitempty"`
}

// results is the answer to PutRecords.
type results struct {
	FailedRecordCount int
	Records           []result
	EncryptionType    string `json:",omitempty"`
}

// put answers PutRecord and PutRecords. The records that their shards take go on to
// the emulator, in their order; the others are answered here.
func (p *Proxy) put(c *call) {
	var in struct {
		named
		entry
		Records []entry
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		c.fail(codeMalformed, "the request can't be read: "+err.Error())
		return
	}
	single := strings.HasSuffix(c.r.Header.Get("X-Amz-Target"), ".PutRecord")
	if single {
		in.Records = []entry{in.entry}
	}
	s := in.stream(c.region)
	keys, code, problem := check(s, in.Records)
	if code != "" {
		c.fail(code, problem)
		return
	}
	shards, err := p.streams.shards(c.r.Context(), s, keys)
	if err != nil {
		c.failed(err)
		return
	}
	claims := make([]claim, len(shards))
	for i, r := range in.Records {
		claims[i] = claim{shard: shards[i], bytes: len(r.PartitionKey) + len(r.Data)}
	}
	taken := p.meter.write(s, claims)

	if single {
		if !taken[0] {
			c.fail(codeThrottled, p.throttled(s, shards[0]))
			return
		}
		status := p.forward(c, c.body, func(answer []byte) ([]byte, error) {
			var r result
			if err := json.Unmarshal(answer, &r); err != nil {
				return nil, err
			}
			p.settle(s, claims[0], r)
			return answer, nil
		})
		p.refused(s, claims, taken, status)
		return
	}

	out := results{Records: make([]result, len(claims))}
	for i, ok := range taken {
		if !ok {
			out.Records[i] = result{ErrorCode: codeThrottled, ErrorMessage: p.throttled(s, shards[i])}
			out.FailedRecordCount++
		}
	}
	body := c.body
	switch out.FailedRecordCount {
	case 0:
	case len(claims):
		c.reply(http.StatusOK, out)
		return
	default:
		if body, err = without(c.body, func(i int) bool { return !taken[i] }); err != nil {
			p.refused(s, claims, taken, http.StatusBadRequest)
			c.fail(codeMalformed, "the request can't be read: "+err.Error())
			return
		}
	}
	status := p.forward(c, body, func(answer []byte) ([]byte, error) {
		var got results
		if err := json.Unmarshal(answer, &got); err != nil {
			return nil, err
		}
		if want := len(claims) - out.FailedRecordCount; len(got.Records) != want {
			return nil, fmt.Errorf("%d records in the answer to %d", len(got.Records), want)
		}
		next := 0
		for i, ok := range taken {
			if ok {
				out.Records[i] = got.Records[next]
				p.settle(s, claims[i], got.Records[next])
				next++
			}
		}
		if out.FailedRecordCount == 0 {
			return answer, nil
		}
		out.FailedRecordCount += got.FailedRecordCount
		out.EncryptionType = got.EncryptionType
		return json.Marshal(out)
	})
	p.refused(s, claims, taken, status)
}

// settle counts a record by the emulator's answer.
func (p *Proxy) settle(s stream, c claim, r result) {
	if r.ErrorCode != "" {
		p.meter.giveBack(s, c)
		return
	}
	if r.ShardID != c.shard {
		p.streams.forget() // the stream was resharded without our seeing it
		c.shard = r.ShardID
	}
	p.meter.wrote(s, c)
}

// refused gives back what a call took that the emulator refused as a whole. One
// without an answer keeps it: its records may be in the stream.
func (p *Proxy) refused(s stream, claims []claim, taken []bool, status int) {
	if status == 0 || status == http.StatusOK {
		return
	}
	for i, ok := range taken {
		if ok {
			p.meter.giveBack(s, claims[i])
		}
	}
}

// without is a PutRecords call without the records that are out, and as long as
// before.
func without(call []byte, out func(i int) bool) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(call, &fields); err != nil {
		return nil, err
	}
	var records, kept []json.RawMessage
	if err := json.Unmarshal(fields["Records"], &records); err != nil {
		return nil, err
	}
	for i, record := range records {
		if !out(i) {
			kept = append(kept, record)
		}
	}
	whole := map[string]any{}
	for name, value := range fields {
		whole[name] = value
	}
	whole["Records"] = kept
	var shorter bytes.Buffer
	encoder := json.NewEncoder(&shorter)
	encoder.SetEscapeHTML(false) // what is kept must not grow
	if err := encoder.Encode(whole); err != nil {
		return nil, err
	}
	if shorter.Len() > len(call) {
		return nil, fmt.Errorf("%d bytes without some of the records, %d with them", shorter.Len(), len(call))
	}
	return append(shorter.Bytes(), bytes.Repeat([]byte(" "), len(call)-shorter.Len())...), nil
}

// check refuses what Kinesis refuses as a whole, as the emulator may not get to see
// all of it. The code is empty if there is nothing wrong.
func check(s stream, records []entry) (keys []hashKey, code, problem string) {
	switch {
	case s.name == "":
		return nil, codeValidation, "1 validation error detected: the call names no stream: StreamName or StreamARN must not be null"
	case len(records) == 0 || len(records) > maxPutRecords:
		return nil, codeValidation, fmt.Sprintf("1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length between 1 and %d", maxPutRecords)
	}
	keys = make([]hashKey, len(records))
	for i, r := range records {
		if n := utf8.RuneCountInString(r.PartitionKey); n == 0 || n > maxKey {
			return nil, codeValidation, fmt.Sprintf("1 validation error detected: Value at 'partitionKey' of record %d failed to satisfy constraint: Member must have length between 1 and %d", i+1, maxKey)
		}
		var err error
		if keys[i], err = hashOf(r.PartitionKey, r.ExplicitHashKey); err != nil {
			return nil, "InvalidArgumentException", fmt.Sprintf("Invalid ExplicitHashKey of record %d: %v", i+1, err)
		}
	}
	return keys, "", ""
}
