// Package handler makes each record one line of JSON for the delivery stream's
// archive, and turns away what is no record.
package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/emf"
	"github.com/millrace/millrace/lambdas/kit/firehose"
	"github.com/millrace/millrace/lambdas/race"
)

// New makes the transform of the archive. It answers every record of the event
// once, in order:
//   - a record: Ok, its own JSON with all fields on one line;
//   - a keep-alive: Dropped;
//   - anything else: ProcessingFailed, which makes Firehose put the payload it
//     had under the error prefix.
//
// It reads AWS_LAMBDA_FUNCTION_NAME from the environment, through getenv (os.Getenv),
// and writes its metrics to metrics (os.Stdout).
func New(getenv func(string) string, metrics io.Writer) (lambda.Handler, error) {
	env, err := boot.Environment(getenv, "AWS_LAMBDA_FUNCTION_NAME")
	if err != nil {
		return nil, err
	}
	return firehose.Transform(transform, firehose.Options{Failed: func(_ context.Context, n int) {
		emf.Count(metrics, time.Now(), env["AWS_LAMBDA_FUNCTION_NAME"], emf.RejectedRecords, n)
	}}), nil
}

func transform(_ context.Context, r firehose.Record) (firehose.Answer, error) {
	switch _, err := race.Parse(r.Data); {
	case errors.Is(err, race.ErrKeepAlive):
		return firehose.Drop(), nil
	case err != nil:
		return firehose.Answer{}, err
	}
	// The payload itself, not the record made of it: fields that this code
	// doesn't know belong to the archive too.
	var line bytes.Buffer
	line.Grow(len(r.Data) + 1)
	if err := json.Compact(&line, r.Data); err != nil {
		return firehose.Answer{}, err
	}
	line.WriteByte('\n')
	return firehose.Ok(line.Bytes()), nil
}
