// Command archive is the transform function of the delivery stream: it makes
// each record one line of JSON and turns away what is no record.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/millrace/millrace/lambdas/archive/handler"
	"github.com/millrace/millrace/lambdas/kit/boot"
)

func main() {
	slog.SetDefault(boot.Logger(os.Stderr))
	h, err := handler.New(os.Getenv, os.Stdout)
	if err != nil {
		slog.Error("archive can't start", "error", err.Error())
		os.Exit(1)
	}
	lambda.Start(h)
}
