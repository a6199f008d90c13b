package firehose

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

type httpEndpoint struct {
	url, key   string
	gzip       bool
	attributes string // the common attributes' header
}

// mostHTTPRecords is the most records of a request to an HTTP endpoint.
const mostHTTPRecords = 10_000

func (r *reader) httpEndpoint(x *types.HttpEndpointDestinationDescription) {
	const path = "HttpEndpointDestinationDescription"
	described := ""
	if x.EndpointConfiguration != nil {
		described = aws.ToString(x.EndpointConfiguration.Url)
	}
	h := &httpEndpoint{url: r.endpoint(path+".EndpointConfiguration.Url", described), key: r.o.Credential}
	if sm := x.SecretsManagerConfiguration; sm != nil && aws.ToBool(sm.Enabled) && h.key == "" {
		r.refuse("%s.SecretsManagerConfiguration: secrets aren't read; Options.Credential gives the access key", path)
	}
	if c := x.RequestConfiguration; c != nil {
		h.gzip = c.ContentEncoding == types.ContentEncodingGzip
		if len(c.CommonAttributes) > 0 {
			attributes := map[string]string{}
			for _, a := range c.CommonAttributes {
				attributes[aws.ToString(a.AttributeName)] = aws.ToString(a.AttributeValue)
			}
			text, err := json.Marshal(map[string]any{"commonAttributes": attributes})
			if err != nil {
				r.refuse("%s.RequestConfiguration.CommonAttributes: %v", path, err)
			}
			h.attributes = string(text)
		}
	}
	r.hints = newHints(nil, nil, 5, 300)
	if x.BufferingHints != nil {
		r.hints = newHints(x.BufferingHints.SizeInMBs, x.BufferingHints.IntervalInSeconds, 5, 300)
	}
	r.hints.records = mostHTTPRecords
	var retry *int32
	if x.RetryOptions != nil {
		retry = x.RetryOptions.DurationInSeconds
	}
	r.deliver = deliverTo(h, seconds(retry, 300*time.Second), "http-endpoint-failed")
	r.failures(path, x.S3DestinationDescription, x.S3BackupMode == types.HttpEndpointS3BackupModeAllData)
	r.processing(path, x.ProcessingConfiguration, 1<<20)
}

func (h *httpEndpoint) send(ctx context.Context, b *batch) reply {
	s := b.stream
	body := fmt.Appendf(nil, `{"requestId":%q,"timestamp":%d,"records":[`, b.id, s.clock.Now().UnixMilli())
	for i, e := range b.entries {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"data":"`...)
		body = base64.StdEncoding.AppendEncode(body, e.data)
		body = append(body, `"}`...)
	}
	body = append(body, "]}"...)
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("X-Amz-Firehose-Protocol-Version", "1.0")
	header.Set("X-Amz-Firehose-Request-Id", b.id)
	header.Set("X-Amz-Firehose-Source-Arn", s.arn)
	if h.key != "" {
		header.Set("X-Amz-Firehose-Access-Key", h.key)
	}
	if h.attributes != "" {
		header.Set("X-Amz-Firehose-Common-Attributes", h.attributes)
	}
	if h.gzip {
		packed, err := gzipped("", body)
		if err != nil {
			return reply{problem: &problem{"HttpEndpoint.RequestFailed", err.Error()}}
		}
		body = packed
		header.Set("Content-Encoding", "gzip")
	}
	status, answer, err := s.call(ctx, h.url, header, body)
	if err != nil {
		return reply{problem: &problem{"HttpEndpoint.ConnectionFailed", err.Error()}}
	}
	if status != http.StatusOK {
		// AWS loses the records of a 413; here they go to the error prefix too.
		return reply{
			problem:   &problem{"HttpEndpoint.DestinationException", fmt.Sprintf("Received the following response from the endpoint destination. Status code: %d. %.8192s", status, answer)},
			permanent: status == http.StatusRequestEntityTooLarge,
		}
	}
	var got struct {
		RequestID string          `json:"requestId"`
		Timestamp json.RawMessage `json:"timestamp"`
	}
	if json.Unmarshal(answer, &got) != nil || got.RequestID != b.id || len(got.Timestamp) == 0 {
		return reply{problem: &problem{"HttpEndpoint.InvalidResponseFromDestination", fmt.Sprintf("The response isn't recognized as valid: it needs the requestId %s and a timestamp. %.8192s", b.id, answer)}}
	}
	return reply{}
}

func (h *httpEndpoint) document(_ *batch, e entry, f *failure) { f.dataID = e.rec.eventID() }

// eventID names a record for Splunk and HTTP endpoints: its sequence number and
// what follows it for the records in an aggregated one.
func (r *record) eventID() string {
	if r.kinesis != nil {
		return r.kinesis.SequenceNumber + "." + strconv.FormatInt(r.kinesis.SubsequenceNumber, 10)
	}
	return r.id() + ".0"
}
