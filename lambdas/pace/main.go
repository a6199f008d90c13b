// Command pace is the function that keeps how each race goes, in windows of time.
package main

import (
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/consumer"
	"github.com/millrace/millrace/lambdas/pace/handler"
)

func main() {
	consumer.Start(func(cfg aws.Config, rejects batch.Rejects) (lambda.Handler, error) {
		return handler.New(os.Getenv, dynamodb.NewFromConfig(cfg), rejects)
	})
}
