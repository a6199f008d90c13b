// Command sdk starts as the SDK's documentation has it: with the clients of the
// standings, and the configuration out of every place that the SDK knows.
package main

import (
	"context"
	"encoding/json"
	"log"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	table, bucket := dynamodb.NewFromConfig(cfg), s3.NewFromConfig(cfg)
	lambda.Start(func(ctx context.Context, event json.RawMessage) (json.RawMessage, error) {
		if string(event) == `"write"` { // never: but it keeps in the binary what a function calls
			if _, err := table.UpdateItem(ctx, &dynamodb.UpdateItemInput{}); err != nil {
				return nil, err
			}
			if _, err := bucket.PutObject(ctx, &s3.PutObjectInput{}); err != nil {
				return nil, err
			}
		}
		return json.RawMessage(`{}`), nil
	})
}
