package handler

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/race"
)

// raceOf is the race that a change is about, or empty.
func raceOf(c decode.Change) string { return text(c.Keys["race"]) }

// readChange reads what an event of the standings table's stream says. Its
// error never quotes the image.
func readChange(c decode.Change) (race.Change, error) {
	switch c.EventName {
	case decode.Insert, decode.Modify:
		record, err := readItem(c.NewImage)
		if err == nil && record.Race != raceOf(c) {
			err = errors.New("the item's race isn't the one of its key")
		}
		return race.Change{Place: record.Place()}, err
	case decode.Remove:
		// The keys are enough: who is gone has no place, whatever it was.
		racer := text(c.Keys["racer"])
		if raceOf(c) == "" || racer == "" {
			return race.Change{}, errors.New("the removed item's key is not a race and a racer")
		}
		return race.Change{Place: race.Place{Racer: racer}, Removed: true}, nil
	default:
		return race.Change{}, errors.New("the event is no INSERT, MODIFY or REMOVE")
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

// text is a string attribute, "" if there is none.
func text(value types.AttributeValue) string {
	if s, ok := value.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}
