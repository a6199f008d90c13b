package firehose

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

type splunk struct {
	url, token string
	raw        bool
	ackTimeout time.Duration
}

// ackPoll is how often Splunk is asked whether it indexed a batch.
const ackPoll = 2 * time.Second

func (r *reader) splunk(x *types.SplunkDestinationDescription) {
	const path = "SplunkDestinationDescription"
	sp := &splunk{
		url:        r.endpoint(path+".HECEndpoint", aws.ToString(x.HECEndpoint)),
		token:      aws.ToString(x.HECToken),
		raw:        x.HECEndpointType != types.HECEndpointTypeEvent,
		ackTimeout: seconds(x.HECAcknowledgmentTimeoutInSeconds, 180*time.Second),
	}
	if r.o.Credential != "" {
		sp.token = r.o.Credential
	}
	if sp.token == "" {
		r.refuse("%s.HECToken: the description doesn't tell it; Options.Credential gives it", path)
	}
	r.hints = newHints(nil, nil, 5, 60)
	if x.BufferingHints != nil {
		r.hints = newHints(x.BufferingHints.SizeInMBs, x.BufferingHints.IntervalInSeconds, 5, 60)
	}
	var retry *int32
	if x.RetryOptions != nil {
		retry = x.RetryOptions.DurationInSeconds
	}
	r.deliver = deliverTo(sp, seconds(retry, 3600*time.Second), "splunk-failed")
	r.failures(path, x.S3DestinationDescription, x.S3BackupMode == types.SplunkS3BackupModeAllEvents)
	r.processing(path, x.ProcessingConfiguration, 256<<10)
}

// acking is a batch that Splunk took and hasn't acknowledged yet.
type acking struct {
	id    int64
	since time.Time
}

func (sp *splunk) send(ctx context.Context, b *batch) reply {
	s := b.stream
	header := http.Header{}
	header.Set("Authorization", "Splunk "+sp.token)
	header.Set("X-Splunk-Request-Channel", b.id)
	if wait, ok := b.state.(acking); ok {
		return sp.poll(ctx, b, wait, header)
	}
	path := "/services/collector/event?channel="
	if sp.raw {
		path = "/services/collector/raw?channel="
	}
	var body []byte
	for _, e := range b.entries {
		body = append(body, e.data...)
	}
	status, answer, err := s.call(ctx, sp.url+path+b.id, header, body)
	if err != nil {
		return reply{problem: &problem{"Splunk.ConnectionClosed", err.Error()}}
	}
	var got struct {
		Code  int    `json:"code"`
		AckID *int64 `json:"ackId"`
	}
	err = json.Unmarshal(answer, &got)
	switch {
	case status != http.StatusOK || err == nil && got.Code != 0:
		return reply{problem: &problem{splunkCode(status, got.Code), clipped(answer)}}
	case err != nil || got.AckID == nil:
		return reply{problem: &problem{"Splunk.DisabledAck", "Indexer acknowledgement is disabled for the HEC token. " + clipped(answer)}}
	}
	b.state = acking{id: *got.AckID, since: s.clock.Now()}
	return reply{wait: ackPoll}
}

// poll asks for an acknowledgement.
func (sp *splunk) poll(ctx context.Context, b *batch, wait acking, header http.Header) reply {
	s := b.stream
	header.Set("Content-Type", "application/json")
	status, answer, err := s.call(ctx, sp.url+"/services/collector/ack?channel="+b.id, header, fmt.Appendf(nil, `{"acks":[%d]}`, wait.id))
	if err == nil && status == http.StatusOK {
		var got struct {
			Acks map[string]bool `json:"acks"`
		}
		if json.Unmarshal(answer, &got) == nil && got.Acks[strconv.FormatInt(wait.id, 10)] {
			return reply{}
		}
	}
	if s.clock.Now().Sub(wait.since) < sp.ackTimeout {
		return reply{wait: ackPoll}
	}
	b.state = nil
	return reply{problem: &problem{"Splunk.AckTimeout", "Did not receive an acknowledgement from HEC before the HEC acknowledgement timeout expired. Despite the acknowledgement timeout, it's possible the data was indexed successfully in Splunk. Amazon Data Firehose backs up in Amazon S3 data for which the acknowledgement timeout expired."}}
}

func (sp *splunk) document(_ *batch, e entry, f *failure) { f.splunkEvent = e.rec.eventID() }

// splunkCode is Firehose's name for an answer of Splunk's: by Splunk's own code, or
// its status where something else answered. IndexerBusy isn't in AWS's list, but was
// seen.
func splunkCode(status, code int) string {
	switch code {
	case 1:
		return "Splunk.DisabledToken"
	case 2, 3, 4, 16:
		return "Splunk.InvalidToken"
	case 5, 6, 10, 11, 12, 13, 15:
		return "Splunk.InvalidDataFormat"
	case 7:
		return "Splunk.InvalidIndex"
	case 9:
		return "Splunk.IndexerBusy"
	case 14:
		return "Splunk.DisabledAck"
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "Splunk.InvalidToken"
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return "Splunk.IndexerBusy"
	case status < 500:
		return "Splunk.InvalidDataFormat"
	}
	return "Splunk.ServerError"
}
