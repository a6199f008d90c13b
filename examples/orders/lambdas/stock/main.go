// Command stock is the function that reserves stock for orders: each order once,
// out of a stream that repeats.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/reject"
)

func main() {
	slog.SetDefault(boot.Logger(os.Stderr))
	handler, err := newHandler()
	if err != nil {
		slog.Error("stock can't start", "error", err.Error())
		os.Exit(1)
	}
	lambda.Start(handler)
}

func newHandler() (lambda.Handler, error) {
	env, err := boot.Environment(os.Getenv, "STOCK_TABLE", "BOOKED_TABLE")
	if err != nil {
		return nil, err
	}
	cfg, err := boot.Config(os.Getenv)
	if err != nil {
		return nil, err
	}
	rejects, err := reject.FromEnvironment(cfg, os.Getenv)
	if err != nil {
		return nil, err
	}
	p := &program{db: dynamodb.NewFromConfig(cfg), stock: env["STOCK_TABLE"], booked: env["BOOKED_TABLE"]}
	return p.handler(rejects), nil
}
