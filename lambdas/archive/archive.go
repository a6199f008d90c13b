package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/emf"
	"github.com/millrace/millrace/lambdas/race"
)

// answerLimit is the most bytes of an answer. Lambda and Firehose allow 6 MB; a
// larger one fails the whole batch, three times over.
const answerLimit = 6_000_000

// envelope is what a record costs in the answer besides its id and its data.
const envelope = len(`{"recordId":"","result":"ProcessingFailed","data":""},`)

// answer is events.KinesisFirehoseResponse without the metadata, which that
// type always writes, 130 bytes a record.
type answer struct {
	Records []answerRecord `json:"records"`
}

type answerRecord struct {
	RecordID string `json:"recordId"`
	Result   string `json:"result"`
	Data     []byte `json:"data"`
}

type program struct {
	function string
	limit    int
	metrics  io.Writer
}

func newProgram(getenv func(string) string) (*program, error) {
	env, err := boot.Environment(getenv, "AWS_LAMBDA_FUNCTION_NAME")
	if err != nil {
		return nil, err
	}
	return &program{function: env["AWS_LAMBDA_FUNCTION_NAME"], limit: answerLimit, metrics: os.Stdout}, nil
}

// handle answers every record of the event once, in order:
//   - a record: Ok, its own JSON with all fields on one line;
//   - a keep-alive: Dropped;
//   - anything else: ProcessingFailed, which makes Firehose put the payload it
//     had under the error prefix;
//   - a record for whose data the answer has no room: ProcessingFailed as well.
//     That can't come from Firehose's own batches, at most 3 MB of data; if it
//     ever does, the data is safe under the error prefix.
func (p *program) handle(ctx context.Context, event events.KinesisFirehoseEvent) (answer, error) {
	room := p.limit - len(`{"records":[]}`)
	for i := range event.Records {
		room -= envelope + len(event.Records[i].RecordID)
	}
	out := answer{Records: make([]answerRecord, 0, len(event.Records))}
	var malformed, noRoom, dropped int
	for i := range event.Records {
		result, data, err := transform(event.Records[i].Data)
		size := base64.StdEncoding.EncodedLen(len(data))
		switch {
		case err != nil:
			malformed++
			slog.ErrorContext(ctx, "record failed", "recordId", event.Records[i].RecordID, "reason", err.Error())
		case result == events.KinesisFirehoseTransformedStateDropped:
			dropped++
		case size > room:
			noRoom++
			result = events.KinesisFirehoseTransformedStateProcessingFailed
		}
		if size > room {
			data, size = []byte{}, 0 // Firehose has the payload
		}
		room -= size
		out.Records = append(out.Records, answerRecord{RecordID: event.Records[i].RecordID, Result: result, Data: data})
	}
	if failed := malformed + noRoom; failed > 0 {
		emf.Count(p.metrics, time.Now(), p.function, emf.RejectedRecords, failed)
	}
	slog.InfoContext(ctx, "batch", "records", len(event.Records), "dropped", dropped, "malformed", malformed, "noRoom", noRoom)
	return out, nil
}

func transform(payload []byte) (result string, data []byte, err error) {
	switch _, err := race.Parse(payload); {
	case errors.Is(err, race.ErrKeepAlive):
		return events.KinesisFirehoseTransformedStateDropped, []byte{}, nil
	case err != nil:
		return events.KinesisFirehoseTransformedStateProcessingFailed, payload, err
	}
	// The payload itself, not the record made of it: fields that this code
	// doesn't know belong to the archive too.
	var line bytes.Buffer
	line.Grow(len(payload) + 1)
	if err := json.Compact(&line, payload); err != nil {
		return events.KinesisFirehoseTransformedStateProcessingFailed, payload, err
	}
	line.WriteByte('\n')
	return events.KinesisFirehoseTransformedStateOk, line.Bytes(), nil
}
