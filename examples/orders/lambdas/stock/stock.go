package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/decode"
)

// order is what the shop puts into the stream.
type order struct {
	ID    string `json:"order"`
	Lines []line `json:"lines"`
}

type line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// maxLines is what a transaction of DynamoDB holds, 100 items, less the order.
const maxLines = 99

// parse reads an order. The error says what is wrong without quoting the order.
func parse(data []byte) (order, error) {
	var o order
	if err := json.Unmarshal(data, &o); err != nil {
		return o, errors.New("it is no order in JSON")
	}
	if o.ID == "" || len(o.Lines) == 0 || len(o.Lines) > maxLines {
		return o, fmt.Errorf("an order has a name and 1 to %d lines", maxLines)
	}
	seen := map[string]bool{}
	for _, l := range o.Lines {
		if l.SKU == "" || l.Quantity < 1 || seen[l.SKU] {
			return o, errors.New("a line has an article of its own and a quantity of one or more")
		}
		seen[l.SKU] = true
	}
	return o, nil
}

// transactions is what the program needs of a DynamoDB client.
type transactions interface {
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

var _ transactions = (*dynamodb.Client)(nil)

type program struct {
	db            transactions
	stock, booked string
}

// handler books the orders of a batch one after the other. It ends at the first
// that fails, which Lambda retries with all that follow, so that orders of one
// partition key stay in order. What is no order is set aside.
func (p *program) handler(rejects batch.Rejects) lambda.Handler {
	return batch.Each(batch.Kinesis, func(ctx context.Context, record decode.Record) error {
		o, err := parse(record.Data)
		if err != nil {
			return batch.Permanent(err)
		}
		return p.book(ctx, o)
	}, batch.Options{Rejects: rejects})
}

// book takes the order's articles out of stock and notes the order, both or
// neither. An order that is noted already was booked by an earlier delivery of
// its record: there is nothing to do.
func (p *program) book(ctx context.Context, o order) error {
	items := []types.TransactWriteItem{{Put: &types.Put{
		TableName:           &p.booked,
		Item:                map[string]types.AttributeValue{"order": &types.AttributeValueMemberS{Value: o.ID}},
		ConditionExpression: aws.String("attribute_not_exists(#order)"), ExpressionAttributeNames: map[string]string{"#order": "order"},
	}}}
	for _, l := range o.Lines {
		items = append(items, types.TransactWriteItem{Update: &types.Update{
			TableName:                 &p.stock,
			Key:                       map[string]types.AttributeValue{"sku": &types.AttributeValueMemberS{Value: l.SKU}},
			UpdateExpression:          aws.String("ADD reserved :n"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":n": &types.AttributeValueMemberN{Value: strconv.Itoa(l.Quantity)}},
		}})
	}
	_, err := p.db.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) && len(cancelled.CancellationReasons) > 0 && aws.ToString(cancelled.CancellationReasons[0].Code) == "ConditionalCheckFailed" {
		return nil
	}
	return err
}
