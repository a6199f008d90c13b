// Package consumer starts a function of the consumer construct.
package consumer

import (
	"errors"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/reject"
)

// Start is what the function's main calls. It makes the log JSON, reads the
// configuration ([boot.Config]), calls newHandler with it and with the writer to the
// failure bucket ([reject.FromEnvironment]), and runs the handler for as long as the
// process lives. If something is missing it logs what, all at once, and ends the
// process with status 1.
func Start(newHandler func(cfg aws.Config, rejects batch.Rejects) (lambda.Handler, error)) {
	slog.SetDefault(boot.Logger(os.Stderr))
	cfg, err := boot.Config(os.Getenv)
	rejects, missing := reject.FromEnvironment(cfg, os.Getenv)
	var handler lambda.Handler
	if err = errors.Join(err, missing); err == nil {
		handler, err = newHandler(cfg, rejects)
	}
	if err != nil {
		slog.Error("the function can't start", "error", err.Error())
		os.Exit(1)
	}
	lambda.Start(handler)
}
