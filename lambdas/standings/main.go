// Command standings is the function that keeps the standings table: each
// racer's newest record, out of a stream that repeats and reorders.
package main

import (
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
	cfg, err := boot.Config(os.Getenv)
	if err != nil {
		fatal(err)
	}
	rejects, err := reject.FromEnvironment(cfg, os.Getenv)
	if err != nil {
		fatal(err)
	}
	h, err := handler.New(os.Getenv, dynamodb.NewFromConfig(cfg), rejects)
	if err != nil {
		fatal(err)
	}
	lambda.Start(h)
}

func fatal(err error) {
	slog.Error("standings can't start", "error", err.Error())
	os.Exit(1)
}
