package esm

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"time"
)

// Failure is the document that Lambda sends to a failure destination.
type Failure struct {
	RequestContext  RequestContext   `json:"requestContext"`
	ResponseContext *ResponseContext `json:"responseContext,omitempty"`
	Version         string           `json:"version"`
	Payload         string           `json:"payload,omitempty"` // the event; for a bucket only
	Timestamp       string           `json:"timestamp"`
	Kinesis         *BatchInfo       `json:"KinesisBatchInfo,omitempty"`
	DynamoDB        *BatchInfo       `json:"DDBStreamBatchInfo,omitempty"`
	TimeWindow      *TimeWindowInfo  `json:"timeWindowInfo,omitempty"` // of a mapping with windows

	at time.Time
}

// RequestContext says what was invoked and why it was given up.
type RequestContext struct {
	RequestID              string `json:"requestId"`
	FunctionARN            string `json:"functionArn"`
	Condition              string `json:"condition"`
	ApproximateInvokeCount int    `json:"approximateInvokeCount"`
}

// ResponseContext is the last answer; records that weren't handed over have none.
type ResponseContext struct {
	StatusCode      int     `json:"statusCode"`
	ExecutedVersion string  `json:"executedVersion"`
	FunctionError   *string `json:"functionError"`
}

// BatchInfo says where the records are in the stream. A window's last invocation
// has none: there are only ShardID and StreamARN.
type BatchInfo struct {
	ShardID      string `json:"shardId"`
	Start        string `json:"startSequenceNumber,omitempty"`
	End          string `json:"endSequenceNumber,omitempty"`
	ArrivalFirst string `json:"approximateArrivalOfFirstRecord,omitempty"`
	ArrivalLast  string `json:"approximateArrivalOfLastRecord,omitempty"`
	BatchSize    int    `json:"batchSize,omitempty"`
	StreamARN    string `json:"streamArn"`
}

// TimeWindowInfo is the window that an invocation was for.
type TimeWindowInfo struct {
	Window struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"window"`
	Final bool `json:"isFinalInvokeForWindow"`
	Early bool `json:"isWindowTerminatedEarly"`
}

// newFailure is the document on a batch. The outcome is nil of one that wasn't
// handed over.
func (s *Shard) newFailure(condition string, l *lane, batch *attempt, invokes int, o *Outcome, now time.Time) *Failure {
	f := &Failure{
		RequestContext: RequestContext{FunctionARN: s.settings.FunctionARN, Condition: condition, ApproximateInvokeCount: invokes},
		Version:        "1.0", Timestamp: now.UTC().Format("2006-01-02T15:04:05.000Z"), at: now,
	}
	info := &BatchInfo{ShardID: s.ID, BatchSize: len(batch.records), StreamARN: s.settings.SourceARN}
	layout := "2006-01-02T15:04:05.000Z"
	if s.settings.Kind == DynamoDB {
		layout = "2006-01-02T15:04:05Z"
		f.DynamoDB = info
	} else {
		f.Kinesis = info
	}
	if n := len(batch.records); n > 0 {
		first, last := batch.records[0], batch.records[n-1]
		info.Start, info.End = first.Sequence, last.Sequence
		info.ArrivalFirst, info.ArrivalLast = first.Arrival.UTC().Format(layout), last.Arrival.UTC().Format(layout)
	}
	if w := l.window; w != nil {
		f.TimeWindow = &TimeWindowInfo{Final: batch.final, Early: w.Early}
		f.TimeWindow.Window.Start, f.TimeWindow.Window.End = w.Start.UTC().Format(time.RFC3339), w.End.UTC().Format(time.RFC3339)
	}
	if o == nil {
		// Lambda gives what it didn't hand over an id of its own.
		sum := md5.Sum([]byte(s.settings.UUID + s.ID + info.Start + f.Timestamp))
		f.RequestContext.RequestID = fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:])
		return f
	}
	f.RequestContext.RequestID = o.RequestID
	f.ResponseContext = &ResponseContext{StatusCode: 200, ExecutedVersion: o.ExecutedVersion}
	if o.FunctionError != "" {
		f.ResponseContext.FunctionError = &o.FunctionError
	}
	return f
}

// Object is the name and the content of the object that Lambda writes to a bucket:
// the document with the batch's payload, as text. The id is a UUID.
func (f *Failure) Object(mapping, shard, id string, payload []byte) (key string, body []byte) {
	at := f.at.UTC()
	key = fmt.Sprintf("aws/lambda/%s/%s/%s/%s-%s", mapping, shard, at.Format("2006/01/02"), at.Format("2006-01-02T15.04.05"), id)
	whole := *f
	whole.Payload = string(payload)
	body, err := json.Marshal(&whole)
	if err != nil {
		panic(err) // plain text always marshals
	}
	return key, body
}
