package esm

import (
	"encoding/json"
	"fmt"
	"time"
)

// Failure is the document that Lambda sends to a failure destination.
type Failure struct {
	RequestContext  RequestContext   `json:"requestContext"`
	ResponseContext *ResponseContext `json:"responseContext,omitempty"`
	Version         string           `json:"version"`
	Timestamp       string           `json:"timestamp"`
	Kinesis         *BatchInfo       `json:"KinesisBatchInfo,omitempty"`
	DynamoDB        *BatchInfo       `json:"DDBStreamBatchInfo,omitempty"`

	at      time.Time
	records []Record
}

// RequestContext says what was invoked and why it was given up.
type RequestContext struct {
	RequestID              string `json:"requestId"`
	FunctionARN            string `json:"functionArn"`
	Condition              string `json:"condition"`
	ApproximateInvokeCount int    `json:"approximateInvokeCount"`
}

// ResponseContext is the last answer; records that were too old have none.
type ResponseContext struct {
	StatusCode      int     `json:"statusCode"`
	ExecutedVersion string  `json:"executedVersion"`
	FunctionError   *string `json:"functionError"`
}

// BatchInfo says where the records are in the stream.
type BatchInfo struct {
	ShardID      string `json:"shardId"`
	Start        string `json:"startSequenceNumber"`
	End          string `json:"endSequenceNumber"`
	ArrivalFirst string `json:"approximateArrivalOfFirstRecord"`
	ArrivalLast  string `json:"approximateArrivalOfLastRecord"`
	BatchSize    int    `json:"batchSize"`
	StreamARN    string `json:"streamArn"`
}

func (s *Shard) newFailure(condition string, records []Record, invokes int, o *Outcome, now time.Time) *Failure {
	f := &Failure{
		RequestContext: RequestContext{FunctionARN: s.settings.FunctionARN, Condition: condition, ApproximateInvokeCount: invokes},
		Version:        "1.0", Timestamp: now.UTC().Format("2006-01-02T15:04:05.000Z"), at: now, records: records,
	}
	if o != nil {
		f.RequestContext.RequestID = o.RequestID
		f.ResponseContext = &ResponseContext{StatusCode: 200, ExecutedVersion: o.ExecutedVersion}
		if o.FunctionError != "" {
			f.ResponseContext.FunctionError = &o.FunctionError
		}
	}
	first, last := records[0], records[len(records)-1]
	info := &BatchInfo{ShardID: s.ID, Start: first.Sequence, End: last.Sequence, BatchSize: len(records), StreamARN: s.settings.SourceARN}
	layout := "2006-01-02T15:04:05.000Z"
	if s.settings.Kind == DynamoDB {
		layout = "2006-01-02T15:04:05Z"
		f.DynamoDB = info
	} else {
		f.Kinesis = info
	}
	info.ArrivalFirst, info.ArrivalLast = first.Arrival.UTC().Format(layout), last.Arrival.UTC().Format(layout)
	return f
}

// Object is the name and the content of the object that Lambda writes to a bucket:
// the document with the batch's payload, as text.
func (f *Failure) Object(mapping, shard, id string, payload []byte) (key string, body []byte) {
	at := f.at.UTC()
	key = fmt.Sprintf("aws/lambda/%s/%s/%s/%s-%s", mapping, shard, at.Format("2006/01/02"), at.Format("2006-01-02T15.04.05"), id)
	body, err := json.Marshal(struct {
		*Failure
		Payload string `json:"payload"`
	}{f, string(payload)})
	if err != nil {
		panic(err) // plain text always marshals
	}
	return key, body
}
