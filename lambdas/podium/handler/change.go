package handler

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/race"
)

// readChange reads what an event of the standings table's stream says. Its
// error never quotes the image.
func readChange(r events.DynamoDBEventRecord) (name string, change race.Change, err error) {
	switch events.DynamoDBOperationType(r.EventName) {
	case events.DynamoDBOperationTypeInsert, events.DynamoDBOperationTypeModify:
		record, err := readItem(plain(r.Change.NewImage))
		return record.Race, race.Change{Place: record.Place()}, err
	case events.DynamoDBOperationTypeRemove:
		// The keys are enough: who is gone has no place, whatever it was.
		name, racer := keyText(r, "race"), keyText(r, "racer")
		if name == "" || racer == "" {
			return "", race.Change{}, errors.New("the removed item's key is not a race and a racer")
		}
		return name, race.Change{Place: race.Place{Racer: racer}, Removed: true}, nil
	default:
		return "", race.Change{}, errors.New("the event is no INSERT, MODIFY or REMOVE")
	}
}

// readItem reads an item of the standings table. Attributes that it doesn't
// know are left alone.
func readItem(item map[string]types.AttributeValue) (race.Record, error) {
	var record race.Record
	if err := attributevalue.UnmarshalMap(item, &record); err != nil {
		return race.Record{}, errors.New("an attribute of the item has the wrong type")
	}
	record.At = record.At.UTC()
	return record, record.Validate()
}

// plain converts the two kinds of attribute that a record has from the event's
// type to the SDK's.
func plain(image map[string]events.DynamoDBAttributeValue) map[string]types.AttributeValue {
	item := make(map[string]types.AttributeValue, len(image))
	for name, value := range image {
		switch value.DataType() {
		case events.DataTypeString:
			item[name] = &types.AttributeValueMemberS{Value: value.String()}
		case events.DataTypeNumber:
			item[name] = &types.AttributeValueMemberN{Value: value.Number()}
		}
	}
	return item
}

// keyText is a string attribute of the changed item's key, "" if there is none.
func keyText(r events.DynamoDBEventRecord, attribute string) string {
	if value, ok := r.Change.Keys[attribute]; ok && value.DataType() == events.DataTypeString {
		return value.String()
	}
	return ""
}

// document keeps the whole change as its data.
func document(r events.DynamoDBEventRecord, reason error) reject.Document {
	change, err := json.Marshal(r.Change)
	if err != nil {
		reason = fmt.Errorf("%w (and the change can't be kept: %w)", reason, err)
	}
	return reject.Document{
		EventSourceARN:              r.EventSourceArn,
		ShardID:                     r.EventID,
		SequenceNumber:              r.Change.SequenceNumber,
		PartitionKey:                keyText(r, "race"),
		ApproximateArrivalTimestamp: r.Change.ApproximateCreationDateTime.UTC(),
		Reason:                      reason.Error(),
		Data:                        change,
	}
}
