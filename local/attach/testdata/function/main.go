// Command function does what the records say.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	lambda.Start(function{dynamodb.NewFromConfig(cfg)}.handle)
}

type function struct{ table *dynamodb.Client }

func (f function) handle(ctx context.Context, event events.KinesisEvent) (events.KinesisEventResponse, error) {
	var response events.KinesisEventResponse
	for _, record := range event.Records {
		if err := f.do(ctx, string(record.Kinesis.Data)); errors.Is(err, errBad) {
			return response, err
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "failed:", err)
			response.BatchItemFailures = append(response.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: record.Kinesis.SequenceNumber})
			return response, nil
		}
	}
	return response, nil
}

var errBad = errors.New("a bad record")

func (f function) do(ctx context.Context, what string) error {
	what, of, _ := strings.Cut(what, " ")
	key := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: of}}
	switch what {
	case "read":
		_, err := f.table.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("t"), Key: key})
		return err
	case "write":
		_, err := f.table.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("t"), Item: key})
		return err
	case "try": // nobody learns that it failed
		_, _ = f.table.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("t"), Item: key})
	case "bad":
		return errBad
	case "fail":
		return errors.New("it fails")
	case "environment":
		fmt.Fprintln(os.Stderr, strings.Join(os.Environ(), "\n"))
	case "hang":
		fmt.Fprintln(os.Stderr, "hangs")
		select {}
	}
	return nil
}
