package consumer_test

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/consumer"
	"github.com/millrace/millrace/lambdas/kit/decode"
)

// main of a function that writes orders into a table, and sets aside what is no order.
func ExampleStart() {
	consumer.Start(func(cfg aws.Config, rejects batch.Rejects) (lambda.Handler, error) {
		db := dynamodb.NewFromConfig(cfg)
		return batch.Each(batch.Kinesis, func(ctx context.Context, r decode.Record) error {
			var order struct{ ID string }
			if err := json.Unmarshal(r.Data, &order); err != nil {
				return batch.Permanent(err)
			}
			_, err := db.PutItem(ctx, &dynamodb.PutItemInput{ /* … */ })
			return err
		}, batch.Options{Rejects: rejects}), nil
	})
}
