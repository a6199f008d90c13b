// Command stock is the function that reserves stock for orders: each order once,
// out of a stream that repeats.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/reject"
)

func main() {
	slog.SetDefault(boot.Logger(os.Stderr))
	p, err := newProgram()
	if err != nil {
		slog.Error("stock can't start", "error", err.Error())
		os.Exit(1)
	}
	lambda.Start(p.handle)
}

func newProgram() (*program, error) {
	env, err := boot.Environment(os.Getenv, "STOCK_TABLE", "BOOKED_TABLE", "FAILURE_BUCKET", "AWS_LAMBDA_FUNCTION_NAME")
	if err != nil {
		return nil, err
	}
	cfg, err := boot.Config(context.Background())
	if err != nil {
		return nil, err
	}
	return &program{
		db: dynamodb.NewFromConfig(cfg), stock: env["STOCK_TABLE"], booked: env["BOOKED_TABLE"],
		rejects: &reject.Writer{Client: reject.NewS3(cfg, os.Getenv), Bucket: env["FAILURE_BUCKET"], Function: env["AWS_LAMBDA_FUNCTION_NAME"]},
	}, nil
}
