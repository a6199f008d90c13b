package firehose

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/local/invoke"
)

// largestPayload is the most bytes of an invocation's request and of its answer.
const largestPayload = 6 << 20

// envelopeSize is room for what a request has besides its records.
const envelopeSize = 1 << 10

// invokeTime is how long Firehose waits for an invocation.
const invokeTime = 5 * time.Minute

// The error codes and messages of Firehose, as it documents them or was recorded
// to write them.
const (
	codeFunction   = "Lambda.FunctionError"
	codeJSON       = "Lambda.JsonProcessingException"
	codeMissing    = "Lambda.MissingRecordId"
	codeDuplicated = "Lambda.DuplicatedRecordId"
	codeFormat     = "Lambda.InvalidReturnFormat"
	codeStatus     = "Lambda.ProcessingFailedStatus"
	codeThrottled  = "Lambda.InvokeLimitExceeded"
	codeTimeout    = "Lambda.FunctionTimedOut"
	codeInvoke     = "Lambda.InternalServerError"
	codeTooLarge   = "Lambda.RequestTooLarge" // AWS's own isn't known

	messageFunction   = "The Lambda function was successfully invoked but it returned an error result."
	messageFormat     = "Check your function and make sure the output is in required format. In addition to that, make sure the processed records contain valid result status of Dropped, Ok, or ProcessingFailed"
	messageJSON       = "There was an error parsing returned records from the Lambda function. Ensure that the returned records follow the status model required by Firehose."
	messageMissing    = "One or more record Ids were not returned. Ensure that the Lambda function returns all received record Ids."
	messageDuplicated = "Multiple records were returned with the same record Id. Ensure that the Lambda function returns a unique record Id for each record."
	messageNoData     = "The data field cannot be null when the SourceType is DirectPut or KinesisStreamAsSource and processing result is Ok. The value field cannot be null when the SourceType is MSKAsSource and processing result is Ok."
	messageStatus     = "ProcessingFailed status set for record"
	messageThrottled  = "The Lambda concurrent execution limit is exceeded. Increase the concurrent execution limit."
	messageTimeout    = "The Lambda function invocation timed out. Increase the Timeout setting in the Lambda function."
)

// verdict is what the transform answered for one record.
type verdict struct {
	code, message string // of a failure
	dropped       bool
	data          []byte
	keys          map[string]string
}

// invocation is a batch on its way through the transform.
type invocation struct {
	stream  *Stream
	entries []entry

	attempts int
	answers  []verdict // of a final outcome, one for each entry
	err      error     // of an attempt that can be repeated
	problem  verdict   // the same, as it is written
	ended    time.Time
}

func (v *invocation) run(ctx context.Context) {
	v.attempts++
	v.answers, v.err = nil, nil
	defer func() { v.ended = v.stream.clock.Now() }()
	payload, err := v.stream.event(v.entries)
	if err != nil {
		v.err, v.problem = err, verdict{code: codeInvoke, message: err.Error()}
		return
	}
	if len(payload) > largestPayload {
		// Only a record that is too large for any request comes here.
		v.answers = everyone(v.entries, verdict{code: codeTooLarge, message: fmt.Sprintf("The request has %d bytes, the most is %d.", len(payload), largestPayload)})
		return
	}
	within, cancel := context.WithTimeout(ctx, invokeTime)
	defer cancel()
	result, err := v.stream.transformer.Invoke(within, payload)
	switch {
	case err != nil && ctx.Err() != nil:
		// The process stops: that is no fault of the function.
		v.err, v.problem = err, verdict{code: codeInvoke, message: err.Error()}
		v.attempts--
	case errors.Is(err, invoke.ErrThrottled):
		v.err, v.problem = err, verdict{code: codeThrottled, message: messageThrottled}
	case errors.Is(err, context.DeadlineExceeded):
		v.err, v.problem = err, verdict{code: codeTimeout, message: messageTimeout}
	case err != nil:
		v.err, v.problem = err, verdict{code: codeInvoke, message: err.Error()}
	case result.FunctionError != "":
		v.err = fmt.Errorf("%s function error: %.300s", result.FunctionError, result.Payload)
		v.problem = verdict{code: codeFunction, message: messageFunction}
	case len(result.Payload) > largestPayload:
		v.err = fmt.Errorf("the answer has %d bytes, the most is %d", len(result.Payload), largestPayload)
		v.problem = verdict{code: codeFunction, message: messageFunction}
	default:
		ids := make([]string, len(v.entries))
		for i := range v.entries {
			ids[i] = v.entries[i].rec.id()
		}
		// However wrong an answer is, Firehose doesn't ask again.
		v.answers = decodeAnswer(result.Payload, ids)
	}
}

func (v *invocation) settle(s *Stream, now time.Time) (time.Duration, bool) {
	s.stats.Invocations++
	if v.err != nil {
		s.erred("transform", v.err)
		if v.attempts <= s.transform.retries {
			return backoff(v.attempts), false
		}
		v.answers = everyone(v.entries, v.problem)
	}
	for i, e := range v.entries {
		a := &v.answers[i]
		switch {
		case a.code != "":
			s.fail(e.rec, failure{kind: "processing-failed", code: a.code, message: a.message, attempts: v.attempts, ended: v.ended, lambdaARN: s.transform.arn}, now)
		case a.dropped:
			s.settled(e.rec, &s.stats.Dropped)
		default:
			e.rec.lambda = a.keys
			s.route(e.rec, a.data, now)
		}
	}
	return 0, true
}

// everyone gives each entry the same verdict.
func everyone(entries []entry, v verdict) []verdict {
	all := make([]verdict, len(entries))
	for i := range all {
		all[i] = v
	}
	return all
}

// decodeAnswer reads a transform's answer for the records with these ids, in
// their order. Ids that weren't asked for are ignored.
func decodeAnswer(payload []byte, ids []string) []verdict {
	verdicts := make([]verdict, len(ids))
	all := func(v verdict) []verdict {
		for i := range verdicts {
			verdicts[i] = v
		}
		return verdicts
	}
	// Maps keep the fields' case, which counts for AWS and not for encoding/json's
	// structs.
	var answer map[string]json.RawMessage
	var records []map[string]json.RawMessage
	if err := json.Unmarshal(payload, &answer); err != nil {
		return all(verdict{code: codeJSON, message: messageJSON})
	}
	if raw := answer["records"]; raw != nil {
		if err := json.Unmarshal(raw, &records); err != nil {
			return all(verdict{code: codeJSON, message: messageJSON})
		}
	}
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	seen := make([]bool, len(ids))
	for _, r := range records {
		id, given := text(r["recordId"])
		n, asked := at[id]
		if !given || !asked {
			continue
		}
		if seen[n] {
			verdicts[n] = verdict{code: codeDuplicated, message: messageDuplicated}
			continue
		}
		seen[n] = true
		result, _ := text(r["result"])
		switch result {
		case "Dropped":
			verdicts[n].dropped = true
		case "ProcessingFailed":
			verdicts[n] = verdict{code: codeStatus, message: messageStatus}
		case "Ok":
			encoded, given := text(r["data"])
			if !given {
				verdicts[n] = verdict{code: codeFormat, message: messageNoData}
				continue
			}
			data, err := base64.StdEncoding.Strict().DecodeString(encoded)
			if err != nil || strings.ContainsAny(encoded, "\r\n") {
				return all(verdict{code: codeFunction, message: messageFormat})
			}
			verdicts[n].data = data
			verdicts[n].keys = partitionKeysOf(r["metadata"])
		default:
			// One such result fails the whole batch.
			return all(verdict{code: codeFunction, message: messageFormat})
		}
	}
	for n := range seen {
		if !seen[n] {
			verdicts[n] = verdict{code: codeMissing, message: messageMissing}
		}
	}
	return verdicts
}

// text is a JSON string; false if raw is absent or anything else.
func text(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", false
	}
	return s, true
}

// partitionKeysOf are a transform's partition keys; what isn't a plain value is
// left out and so fails the record.
func partitionKeysOf(raw json.RawMessage) map[string]string {
	var metadata map[string]json.RawMessage
	var given map[string]any
	if json.Unmarshal(raw, &metadata) != nil || json.Unmarshal(metadata["partitionKeys"], &given) != nil {
		return nil
	}
	keys := make(map[string]string, len(given))
	for name, v := range given {
		switch v := v.(type) {
		case string:
			keys[name] = v
		case bool:
			keys[name] = strconv.FormatBool(v)
		case float64:
			keys[name] = strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	return keys
}

// eventSize is at most how many bytes a record takes in a request.
func eventSize(r *record) int {
	n := len(`{"recordId":"","approximateArrivalTimestamp":,"data":""},`) + idLength + 20 + base64.StdEncoding.EncodedLen(len(r.source))
	if k := r.kinesis; k != nil {
		// A byte of a key takes at most six in JSON.
		n += len(`"kinesisRecordMetadata":{"sequenceNumber":"","subsequenceNumber":,"partitionKey":"","shardId":"","approximateArrivalTimestamp":},`) +
			len(k.SequenceNumber) + 40 + 6*len(k.PartitionKey) + len(k.ShardID)
	}
	return n
}

// event is a request: Firehose's event for a transform.
func (s *Stream) event(entries []entry) ([]byte, error) {
	id, err := uuid(s.random)
	if err != nil {
		return nil, err
	}
	size := envelopeSize
	for i := range entries {
		size += eventSize(entries[i].rec)
	}
	b := make([]byte, 0, size)
	b = append(b, `{"invocationId":"`...)
	b = append(b, id...)
	if s.kinesisARN != "" {
		b = append(b, `","sourceKinesisStreamArn":"`...)
		b = append(b, s.kinesisARN...)
	}
	b = append(b, `","deliveryStreamArn":"`...)
	b = append(b, s.arn...)
	b = append(b, `","region":"`...)
	b = append(b, s.region...)
	b = append(b, `","records":[`...)
	for i := range entries {
		r := entries[i].rec
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"recordId":"`...)
		b = append(b, r.id()...)
		b = append(b, `","approximateArrivalTimestamp":`...)
		b = strconv.AppendInt(b, r.arrival.UnixMilli(), 10)
		b = append(b, `,"data":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.source)
		b = append(b, '"')
		if k := r.kinesis; k != nil {
			key, err := json.Marshal(k.PartitionKey)
			if err != nil {
				return nil, err
			}
			b = append(b, `,"kinesisRecordMetadata":{"sequenceNumber":"`...)
			b = append(b, k.SequenceNumber...)
			b = append(b, `","subsequenceNumber":`...)
			b = strconv.AppendInt(b, k.SubsequenceNumber, 10)
			b = append(b, `,"partitionKey":`...)
			b = append(b, key...)
			b = append(b, `,"shardId":"`...)
			b = append(b, k.ShardID...)
			b = append(b, `","approximateArrivalTimestamp":`...)
			b = strconv.AppendInt(b, r.arrival.UnixMilli(), 10)
			b = append(b, '}')
		}
		b = append(b, '}')
	}
	return append(b, "]}"...), nil
}
