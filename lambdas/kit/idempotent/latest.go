package idempotent

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// PutItemAPI is what a Latest needs of a DynamoDB client.
type PutItemAPI interface {
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
}

var _ PutItemAPI = (*dynamodb.Client)(nil)

// Latest keeps the newest version of each item. An attribute of the item says how new
// it is, and an older or equal one never replaces it: the outcome is the same in
// whatever order, however often and in whatever batches versions come. It needs
// nothing of the mapping.
//
// The attribute is best a number that the producer counts per item, or its time of
// the change: then a record that the producer put twice or late does no harm either.
// If there is none, it is [Position.Mark]: the last in the stream counts, for items
// whose records all have the same partition key.
//
// Nothing may delete the items: an older version would come back. Mark them as deleted
// instead, and let the table expire them after more than the stream's retention.
//
// Latest is safe for concurrent use.
type Latest struct {
	// Client, Table and Guard are required. Guard is the name of the attribute, a
	// number, string or binary, of the same type in all versions.
	Client PutItemAPI
	Table  string
	Guard  string
}

// Put replaces the item unless the table holds a version as new; false means that it
// does, which is success. Put only the newest of each item in a batch: a write costs
// a unit even when it is refused.
func (l *Latest) Put(ctx context.Context, item map[string]types.AttributeValue) (bool, error) {
	if l.Client == nil || l.Table == "" || l.Guard == "" {
		return false, errors.New("idempotent: Client, Table and Guard are required")
	}
	version := item[l.Guard]
	switch version.(type) {
	case *types.AttributeValueMemberN, *types.AttributeValueMemberS, *types.AttributeValueMemberB:
	default:
		return false, fmt.Errorf("idempotent: the item's %s is %T: must be a number, string or binary", l.Guard, version)
	}
	_, err := l.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                 aws.String(l.Table),
		Item:                      item,
		ConditionExpression:       aws.String("attribute_not_exists(#g) OR #g < :g"),
		ExpressionAttributeNames:  map[string]string{"#g": l.Guard},
		ExpressionAttributeValues: map[string]types.AttributeValue{":g": version},

		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if newer := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &newer) {
		// Values of different types are never less: no version would get through again.
		if held := newer.Item[l.Guard]; held != nil && reflect.TypeOf(held) != reflect.TypeOf(version) {
			return false, fmt.Errorf("idempotent: the item's %s is %T, but %s holds one with %T: versions of one item have one type", l.Guard, version, l.Table, held)
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("idempotent: put an item of %s: %w", l.Table, err)
	}
	return true, nil
}
