package firehose

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// LogEvent is an event of a CloudWatch log, with where it comes from.
type LogEvent struct {
	// Owner is the account of the log group.
	Owner, LogGroup, LogStream string
	// SubscriptionFilters are those that matched the event.
	SubscriptionFilters []string
	ID                  string
	Time                time.Time
	Message             string
}

// Logs is a transform for a subscription of CloudWatch Logs, whose records hold
// many events each, compressed: f is called for every event, and what it answers
// for those of a record is delivered as one, joined in order. A record without
// anything to deliver is dropped, as are CloudWatch's own control messages. An
// event whose f fails, fails its record. Partition keys and tables have to be the
// same for all events of a record: the last ones count.
func Logs(f func(ctx context.Context, e LogEvent) (Answer, error), o Options) lambda.Handler {
	if f == nil {
		return Transform(nil, o)
	}
	return Transform(func(ctx context.Context, r Record) (Answer, error) {
		payload, err := unpack(r.Data)
		if err != nil {
			return Answer{}, err
		}
		switch payload.MessageType {
		case "DATA_MESSAGE":
		case "CONTROL_MESSAGE":
			return Drop(), nil
		default:
			return Answer{}, fmt.Errorf("the messageType %.40q is neither DATA_MESSAGE nor CONTROL_MESSAGE", payload.MessageType)
		}
		out := Drop()
		for _, e := range payload.LogEvents {
			answer, err := f(ctx, LogEvent{
				Owner: payload.Owner, LogGroup: payload.LogGroup, LogStream: payload.LogStream, SubscriptionFilters: payload.SubscriptionFilters,
				ID: e.ID, Time: time.UnixMilli(e.Timestamp).UTC(), Message: e.Message,
			})
			switch {
			case err != nil:
				return Answer{}, fmt.Errorf("log event %s: %w", e.ID, err)
			case answer.drop:
				continue
			case answer.data == nil:
				return Answer{}, fmt.Errorf("log event %s: the transform answered neither data nor Drop", e.ID)
			}
			answer.data = append(out.data, answer.data...)
			out = answer
		}
		return out, nil
	}, o)
}

type logsPayload struct {
	MessageType         string   `json:"messageType"`
	Owner               string   `json:"owner"`
	LogGroup            string   `json:"logGroup"`
	LogStream           string   `json:"logStream"`
	SubscriptionFilters []string `json:"subscriptionFilters"`
	LogEvents           []struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	} `json:"logEvents"`
}

// largestLogs bounds what a record may unpack to: a record of 1 MB can hold
// gigabytes of zeros.
const largestLogs = 64 << 20

func unpack(data []byte) (*logsPayload, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("a record of CloudWatch Logs is compressed by GZIP, this one isn't: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(unzipped, largestLogs+1))
	if err != nil {
		return nil, fmt.Errorf("unpack a record of CloudWatch Logs: %w", err)
	}
	if len(text) > largestLogs {
		return nil, errors.New("a record of CloudWatch Logs unpacks to more than 64 MiB")
	}
	var payload logsPayload
	if err := json.Unmarshal(text, &payload); err != nil {
		return nil, errors.New("a record of CloudWatch Logs isn't its JSON")
	}
	return &payload, nil
}
