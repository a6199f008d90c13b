package batch

import (
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/decode"
)

// Source is a kind of stream: [Kinesis], [UserRecords] or [DynamoDB].
type Source[R any] struct {
	read     func(payload []byte) ([]R, decode.TumblingWindow, error)
	key      func(*R) string
	sequence func(*R) string
	shard    func(*R) string // nil if records don't tell
	rejected func(*R) Rejected
}

// Kinesis is a stream of Kinesis; its records' keys are their partition keys.
var Kinesis = Source[decode.Record]{
	read: func(payload []byte) ([]decode.Record, decode.TumblingWindow, error) {
		event, err := decode.Kinesis(payload)
		return event.Records, event.Window, err
	},
	key:      func(r *decode.Record) string { return r.PartitionKey },
	sequence: func(r *decode.Record) string { return r.SequenceNumber },
	shard:    func(r *decode.Record) string { return r.ShardID() },
	rejected: func(r *decode.Record) Rejected {
		return Rejected{
			EventSourceARN: r.EventSourceARN, ShardID: r.ShardID(), SequenceNumber: r.SequenceNumber,
			PartitionKey: r.PartitionKey, ApproximateArrivalTimestamp: r.ApproximateArrivalTimestamp, Data: r.Data,
		}
	},
}

// DynamoDB is a table's stream; its records' keys are those of their items.
var DynamoDB = Source[decode.Change]{
	read: func(payload []byte) ([]decode.Change, decode.TumblingWindow, error) {
		event, err := decode.DynamoDB(payload)
		return event.Records, event.Window, err
	},
	key:      func(c *decode.Change) string { return itemKey(c.Keys) },
	sequence: func(c *decode.Change) string { return c.SequenceNumber },
	rejected: func(c *decode.Change) Rejected {
		data, _ := json.Marshal(map[string]any{ // of plain values: it can't fail
			"eventName": c.EventName, "Keys": plainImage(c.Keys), "NewImage": plainImage(c.NewImage), "OldImage": plainImage(c.OldImage),
			"SequenceNumber": c.SequenceNumber, "ApproximateCreationDateTime": c.ApproximateCreationDateTime.Unix(),
		})
		return Rejected{
			EventSourceARN: c.EventSourceARN, ShardID: c.EventID, SequenceNumber: c.SequenceNumber,
			PartitionKey: itemKey(c.Keys), ApproximateArrivalTimestamp: c.ApproximateCreationDateTime, Data: data,
		}
	},
}

// itemKey tells items apart.
func itemKey(keys map[string]types.AttributeValue) string {
	if len(keys) == 1 {
		for _, value := range keys {
			if s, ok := value.(*types.AttributeValueMemberS); ok {
				return s.Value
			}
		}
	}
	text, _ := json.Marshal(plainImage(keys)) // in the order of the names
	return string(text)
}

// plainImage is an image as DynamoDB writes it in JSON.
func plainImage(image map[string]types.AttributeValue) map[string]any {
	if image == nil {
		return nil
	}
	out := make(map[string]any, len(image))
	for name, value := range image {
		out[name] = plain(value)
	}
	return out
}

func plain(value types.AttributeValue) map[string]any {
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *types.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *types.AttributeValueMemberB:
		return map[string]any{"B": v.Value}
	case *types.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}
	case *types.AttributeValueMemberNULL:
		return map[string]any{"NULL": v.Value}
	case *types.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}
	case *types.AttributeValueMemberNS:
		return map[string]any{"NS": v.Value}
	case *types.AttributeValueMemberBS:
		return map[string]any{"BS": v.Value}
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i := range v.Value {
			list[i] = plain(v.Value[i])
		}
		return map[string]any{"L": list}
	case *types.AttributeValueMemberM:
		return map[string]any{"M": plainImage(v.Value)}
	}
	return nil
}
