// Command standings is the function that keeps the standings table: each
// racer's newest record, out of a stream that repeats and reorders.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/standings/handler"
)

func main() {
	slog.SetDefault(boot.Logger(os.Stderr))
	cfg, err := boot.Config(context.Background())
	if err != nil {
		fatal(err)
	}
	h, err := handler.New(os.Getenv, dynamodb.NewFromConfig(cfg), reject.NewS3(cfg, os.Getenv))
	if err != nil {
		fatal(err)
	}
	lambda.Start(h.Handle)
}

func fatal(err error) {
	slog.Error("standings can't start", "error", err.Error())
	os.Exit(1)
}
