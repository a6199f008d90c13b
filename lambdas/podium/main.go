// Command podium is the function that keeps the top ten of each race, out of
// the change stream of the standings table.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/podium/handler"
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
	slog.Error("podium can't start", "error", err.Error())
	os.Exit(1)
}
