package firehose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// event is Firehose's. Of a delivery stream that reads Amazon MSK, the records' data
// has another name.
type event struct {
	DeliveryStreamARN string `json:"deliveryStreamArn"`
	Records           []struct {
		ID      string  `json:"recordId"`
		Arrival int64   `json:"approximateArrivalTimestamp"`
		Data    *string `json:"data"`
		Value   *string `json:"kafkaRecordValue"`
		Kinesis *struct {
			ShardID           string `json:"shardId"`
			PartitionKey      string `json:"partitionKey"`
			SequenceNumber    string `json:"sequenceNumber"`
			SubsequenceNumber whole  `json:"subsequenceNumber"`
		} `json:"kinesisRecordMetadata"`
		Kafka *struct {
			PartitionID whole `json:"partitionId"`
			Offset      whole `json:"offset"`
		} `json:"mskRecordMetadata"`
	} `json:"records"`
}

// whole is a number that comes as one or as a text: AWS's documentation has both. An
// empty text is 0.
type whole int64

func (w *whole) UnmarshalJSON(text []byte) error {
	digits := bytes.Trim(text, `"`)
	if len(digits) == 0 || string(digits) == "null" {
		return nil
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	*w = whole(n)
	if err != nil {
		return &json.UnmarshalTypeError{Value: "text", Type: reflect.TypeFor[int64]()}
	}
	return nil
}

// read reads an event. The error is an *Error.
func read(payload []byte) (deliveryStream string, records []Record, err error) {
	var in event
	if err := json.Unmarshal(payload, &in); err != nil {
		return "", nil, wrong(err)
	}
	if in.Records == nil {
		return "", nil, &Error{Record: -1, Member: "records", Reason: missing}
	}
	records = make([]Record, len(in.Records))
	known := make(map[string]int, len(in.Records))
	for i := range in.Records {
		r := &in.Records[i]
		if r.ID == "" {
			return "", nil, &Error{i, "recordId", missing}
		}
		if first, twice := known[r.ID]; twice {
			return "", nil, &Error{i, "recordId", fmt.Sprintf("it is that of records[%d], too: Firehose couldn't tell their answers apart", first)}
		}
		known[r.ID] = i
		one := Record{ID: r.ID, Data: []byte{}, Arrival: time.UnixMilli(r.Arrival).UTC()}
		if k := r.Kinesis; k != nil {
			one.Kinesis = &Position{k.ShardID, k.PartitionKey, k.SequenceNumber, int64(k.SubsequenceNumber)}
		}
		data := r.Data
		if r.Value != nil || r.Kafka != nil {
			one.Kafka, data = &Offset{}, r.Value
		}
		if r.Kafka != nil {
			*one.Kafka = Offset{int64(r.Kafka.PartitionID), int64(r.Kafka.Offset)}
		}
		if data == nil && one.Kafka == nil { // a message of a topic can have no value
			return "", nil, &Error{i, "data", missing}
		}
		if data != nil {
			if one.Data, err = base64.StdEncoding.Strict().DecodeString(*data); err != nil || strings.ContainsAny(*data, "\r\n") {
				return "", nil, &Error{i, one.member(), "must be base64 with padding, without line breaks"}
			}
		}
		records[i] = one
	}
	return in.DeliveryStreamARN, records, nil
}

// wrong is what encoding/json says, without the payload that it quotes.
func wrong(err error) *Error {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return &Error{Record: -1, Reason: fmt.Sprintf("it is no JSON, from byte %d on", syntax.Offset)}
	}
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		return &Error{Record: -1, Member: kind.Field, Reason: fmt.Sprintf("it is of another type than Firehose's, up to byte %d", kind.Offset)}
	}
	return &Error{Record: -1, Reason: "it is no event of Firehose"}
}

const missing = "it is missing"
