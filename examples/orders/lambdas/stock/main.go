// Command stock is the function that reserves stock for orders: each order once,
// out of a stream that repeats.
package main

import (
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/consumer"
)

func main() {
	consumer.Start(func(cfg aws.Config, rejects batch.Rejects) (lambda.Handler, error) {
		env, err := boot.Environment(os.Getenv, "STOCK_TABLE", "BOOKED_TABLE")
		if err != nil {
			return nil, err
		}
		p := &program{db: dynamodb.NewFromConfig(cfg), stock: env["STOCK_TABLE"], booked: env["BOOKED_TABLE"]}
		return p.handler(rejects), nil
	})
}
