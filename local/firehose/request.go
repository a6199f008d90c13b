package firehose

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

// sender delivers a batch to a destination with an HTTP API.
type sender interface {
	send(ctx context.Context, b *batch) reply
	// document adds what the destination's error documents have besides.
	document(b *batch, e entry, f *failure)
}

// reply is what a destination made of a batch.
type reply struct {
	// wait is until it is asked again for the outcome, 0 if this is it.
	wait time.Duration
	// problem is why no record of the batch was taken, nil if that isn't so.
	problem *problem
	// some are the problems of single records, by their place in the batch.
	some map[int]problem
	// permanent is that it is no use to try again.
	permanent bool
}

// problem is an error of a destination.
type problem struct{ code, message string }

// batch is records on their way to such a destination.
type batch struct {
	stream  *Stream
	sender  sender
	retry   time.Duration // how long it is tried, after the first failure
	failing string        // the errors' type, for the error prefix
	entries []entry

	id       string // the same in all attempts
	attempts int
	failed   time.Time // when it failed first
	state    any       // of the sender, between attempts
	reply    reply
	ended    time.Time
}

func (b *batch) run(ctx context.Context) {
	if b.id == "" {
		id, err := uuid(b.stream.random)
		if err != nil {
			b.reply = reply{problem: &problem{"Firehose.InternalError", err.Error()}}
			return
		}
		b.id = id
	}
	b.reply = b.sender.send(ctx, b)
	b.ended = b.stream.clock.Now()
}

func (b *batch) settle(s *Stream, now time.Time) (time.Duration, bool) {
	if b.reply.wait > 0 {
		return b.reply.wait, false
	}
	b.attempts++
	if b.reply.problem == nil && len(b.reply.some) == 0 {
		for _, e := range b.entries {
			s.settled(e.rec, &s.stats.Delivered)
		}
		return 0, true
	}
	problems := b.reply.some
	if all := b.reply.problem; all != nil {
		problems = make(map[int]problem, len(b.entries))
		for i := range b.entries {
			problems[i] = *all
		}
	}
	var left []entry
	var why []problem
	for i, e := range b.entries {
		if p, bad := problems[i]; bad {
			left, why = append(left, e), append(why, p)
		} else {
			s.settled(e.rec, &s.stats.Delivered)
		}
	}
	b.entries = left
	s.erred("destination", fmt.Errorf("%s: %s", why[0].code, why[0].message))
	if b.failed.IsZero() {
		b.failed = now
	}
	if end := b.failed.Add(b.retry); now.Before(end) && !b.reply.permanent {
		return min(backoff(b.attempts), end.Sub(now)), false
	}
	for i, e := range left {
		f := failure{kind: b.failing, code: why[i].code, message: why[i].message, raw: e.data, attempts: b.attempts, ended: b.ended}
		b.sender.document(b, e, &f)
		s.fail(e.rec, f, now)
	}
	return 0, true
}

// deliverTo is the delivery to a destination with an HTTP API.
func deliverTo(to sender, retry time.Duration, failing string) func(*Stream, *buffer) job {
	return func(s *Stream, b *buffer) job {
		return &batch{stream: s, sender: to, retry: retry, failing: failing, entries: b.entries}
	}
}

// largestAnswer is how much of an answer is read; Firehose allows 1 MiB, a bulk
// answer can be longer.
const largestAnswer = 64 << 20

// call makes a request and reads its answer.
func (s *Stream) call(ctx context.Context, url string, header http.Header, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	return resp.StatusCode, answer, nil
}

// ---- HTTP endpoint

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
	return r.id + ".0"
}

// ---- OpenSearch

type openSearch struct {
	name, failures           string
	endpoint                 string
	index, rotation, docType string
	noID                     bool
}

func (r *reader) openSearch(o openSearch, size, interval, retry *int32, x *types.S3DestinationDescription, mode string, processing *types.ProcessingConfiguration) {
	o.endpoint = r.endpoint(o.name+".ClusterEndpoint", o.endpoint)
	if o.index == "" {
		r.refuse("%s.IndexName: there is none", o.name)
	}
	switch o.rotation {
	case "", "NoRotation", "OneHour", "OneDay", "OneWeek", "OneMonth":
	default:
		r.refuse("%s.IndexRotationPeriod: %s isn't known", o.name, o.rotation)
	}
	r.hints = newHints(size, interval, 5, 300)
	r.deliver = deliverTo(&o, seconds(retry, 300*time.Second), o.failures)
	r.failures(o.name, x, mode == "AllDocuments")
	r.processing(o.name, processing, 1<<20)
}

// indexOf is the index of a record that arrived at a time. The weeks are those of
// the USA, as AWS's text says; the example beside that text counts ISO weeks.
func (o *openSearch) indexOf(arrival time.Time) string {
	at := arrival.UTC()
	switch o.rotation {
	case "OneHour":
		return o.index + at.Format("-2006-01-02-15")
	case "OneDay":
		return o.index + at.Format("-2006-01-02")
	case "OneWeek":
		year, week := usWeek(at)
		return fmt.Sprintf("%s-%d-w%02d", o.index, year, week)
	case "OneMonth":
		return o.index + at.Format("-2006-01")
	}
	return o.index
}

// action is the line before a document in a bulk request.
type action struct {
	Index string `json:"_index"`
	Type  string `json:"_type,omitempty"`
	ID    string `json:"_id,omitempty"`
}

func (o *openSearch) action(e entry) action {
	a := action{Index: o.indexOf(e.rec.arrival), Type: o.docType}
	if !o.noID {
		a.ID = e.rec.eventID() // the same in every attempt: no document twice
	}
	return a
}

func (o *openSearch) send(ctx context.Context, b *batch) reply {
	var body []byte
	for _, e := range b.entries {
		line, err := json.Marshal(map[string]action{"index": o.action(e)})
		if err != nil {
			return reply{problem: &problem{"OS.InternalError", err.Error()}}
		}
		body = append(append(body, line...), '\n')
		// The protocol's lines end documents, so one can't hold a new line.
		body = append(append(body, oneLine(e.data)...), '\n')
	}
	header := http.Header{}
	header.Set("Content-Type", "application/x-ndjson")
	status, answer, err := b.stream.call(ctx, o.endpoint+"/_bulk", header, body)
	switch {
	case err != nil:
		return reply{problem: &problem{"OS.ServiceUnavailable", err.Error()}}
	case status >= 300:
		return reply{problem: &problem{strconv.Itoa(status), clipped(answer)}}
	}
	var bulk struct {
		Errors bool `json:"errors"`
		Items  []map[string]struct {
			Status int             `json:"status"`
			Error  json.RawMessage `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer, &bulk); err != nil || len(bulk.Items) != len(b.entries) {
		return reply{problem: &problem{"OS.BulkResponseInvalid", fmt.Sprintf("The answer doesn't have %d items. %.1000s", len(b.entries), answer)}}
	}
	some := map[int]problem{}
	for i, item := range bulk.Items {
		one, ok := item["index"]
		if !ok || one.Status < 200 || one.Status >= 300 {
			some[i] = problem{strconv.Itoa(one.Status), clipped(one.Error)}
		}
	}
	return reply{some: some}
}

func (o *openSearch) document(_ *batch, e entry, f *failure) {
	a := o.action(e)
	f.index, f.docID, f.docType = a.Index, a.ID, a.Type
}

// oneLine is a JSON document without new lines.
func oneLine(data []byte) []byte {
	data = bytes.TrimSpace(data)
	if bytes.IndexByte(data, '\n') < 0 {
		return data
	}
	var out bytes.Buffer
	if json.Compact(&out, data) != nil {
		// The server must refuse it, but only it.
		return bytes.ReplaceAll(data, []byte("\n"), []byte(" "))
	}
	return out.Bytes()
}

// clipped is the beginning of an answer.
func clipped(answer []byte) string { return fmt.Sprintf("%.8192s", answer) }

// ---- Splunk

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
	if status != http.StatusOK {
		return reply{problem: &problem{splunkCode(status), clipped(answer)}}
	}
	var got struct {
		AckID *int64 `json:"ackId"`
	}
	if json.Unmarshal(answer, &got) != nil || got.AckID == nil {
		return reply{problem: &problem{"Splunk.AckIdNotFound", "The response has no ackId: the token must have indexer acknowledgement enabled. " + clipped(answer)}}
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

// splunkCode is Firehose's name for a status of Splunk.
func splunkCode(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "Splunk.InvalidToken"
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return "Splunk.ServerBusy"
	case status < 500:
		return "Splunk.InvalidDataFormat"
	}
	return "Splunk.ServerError"
}

// ---- Redshift

func (r *reader) redshift(x *types.RedshiftDestinationDescription) {
	const path = "RedshiftDestinationDescription"
	if x.S3DestinationDescription == nil {
		r.refuse("%s.S3DestinationDescription: there is none", path)
		return
	}
	r.target = r.s3(path+".S3DestinationDescription", x.S3DestinationDescription, false)
	r.hints = r.target.hints
	if text := aws.ToString(x.S3DestinationDescription.Prefix); strings.Contains(text, "!{") {
		r.refuse("%s.S3DestinationDescription.Prefix: for Redshift it can't hold expressions", path)
	}
	if aws.ToString(x.S3DestinationDescription.ErrorOutputPrefix) != "" {
		r.refuse("%s.S3DestinationDescription.ErrorOutputPrefix: for Redshift there can't be one", path)
	}
	switch x.S3DestinationDescription.CompressionFormat {
	case types.CompressionFormatSnappy, types.CompressionFormatHadoopSnappy, types.CompressionFormatZip:
		r.refuse("%s.S3DestinationDescription.CompressionFormat: COPY can't read %s", path, x.S3DestinationDescription.CompressionFormat)
	}
	if x.S3BackupMode == types.RedshiftS3BackupModeEnabled {
		if x.S3BackupDescription == nil {
			r.refuse("%s.S3BackupDescription: the backup is enabled and has none", path)
		} else {
			r.backup = r.s3(path+".S3BackupDescription", x.S3BackupDescription, true)
		}
	}
	if x.CopyCommand == nil || aws.ToString(x.CopyCommand.DataTableName) == "" {
		r.refuse("%s.CopyCommand.DataTableName: there is none", path)
		return
	}
	if r.o.Copy == nil {
		r.refuse("Options.Copy: %s needs it", path)
	}
	var retry *int32
	if x.RetryOptions != nil {
		retry = x.RetryOptions.DurationInSeconds
	}
	rs := &redshift{
		url: aws.ToString(x.ClusterJDBCURL), user: aws.ToString(x.Username), role: aws.ToString(x.RoleARN),
		table: aws.ToString(x.CopyCommand.DataTableName), columns: aws.ToString(x.CopyCommand.DataTableColumns),
		options: aws.ToString(x.CopyCommand.CopyOptions), retry: seconds(retry, 3600*time.Second),
		before: aws.ToString(x.S3DestinationDescription.Prefix),
	}
	r.deliver = func(s *Stream, b *buffer) job {
		return &copying{object: object{stream: s, target: s.target, buffer: b, purpose: delivered}, redshift: rs}
	}
	r.processing(path, x.ProcessingConfiguration, 1<<20)
}

type redshift struct {
	url, user, role         string
	table, columns, options string
	before                  string // the prefix of manifests
	retry                   time.Duration
}

// statement is the COPY of a manifest's objects.
func (r *redshift) statement(bucket, manifest string) string {
	columns, options := "", ""
	if r.columns != "" {
		columns = " (" + r.columns + ")"
	}
	if r.options != "" {
		options = " " + r.options
	}
	return fmt.Sprintf("COPY %s%s FROM '%s' CREDENTIALS 'aws_iam_role=%s' MANIFEST%s;",
		r.table, columns, sqlText("s3://"+bucket+"/"+manifest), sqlText(r.role), options)
}

func sqlText(s string) string { return strings.ReplaceAll(s, "'", "''") }

// The steps of a delivery to Redshift, each until it succeeded.
const (
	putObject = iota
	putManifest
	copyObject
	putErrorManifest
)

// copying is an intermediate object, its manifest, and their COPY. After the retry
// time the manifest is put under errors/, for a copy by hand.
type copying struct {
	object
	redshift *redshift
	step     int
	first    time.Time // when the COPY failed first
}

func (c *copying) run(ctx context.Context) {
	s := c.stream
	switch c.step {
	case putObject:
		c.object.run(ctx)
	case putManifest:
		c.err = s.store(ctx, c.target, c.manifestKey(""), c.manifestBody(), "")
	case copyObject:
		m := c.manifestKey("")
		c.err = s.copier.Copy(ctx, Copy{
			JDBCURL: c.redshift.url, User: c.redshift.user, Statement: c.redshift.statement(c.target.bucket, m),
			Bucket: c.target.bucket, Object: c.key, Manifest: m,
		})
	case putErrorManifest:
		c.err = s.store(ctx, c.target, c.manifestKey("errors/"), c.manifestBody(), "")
	}
}

// manifestKey is the object's name under manifests/ and the hour.
func (c *copying) manifestKey(under string) string {
	name := c.key[strings.LastIndexByte(c.key, '/')+1:]
	hour := c.buffer.oldest.In(c.target.zone).Format("2006/01/02/15/")
	return c.redshift.before + under + "manifests/" + hour + strings.TrimSuffix(name, c.target.extension)
}

func (c *copying) manifestBody() []byte {
	type item struct {
		URL       string `json:"url"`
		Mandatory bool   `json:"mandatory"`
	}
	body, err := json.Marshal(map[string][]item{"entries": {{"s3://" + c.target.bucket + "/" + c.key, true}}})
	if err != nil {
		panic(err) // strings always encode
	}
	return body
}

func (c *copying) settle(s *Stream, now time.Time) (time.Duration, bool) {
	if c.err != nil {
		c.failed++
		s.erred("redshift", c.err)
		if c.step != copyObject {
			return backoff(c.failed), false
		}
		if c.first.IsZero() {
			c.first = now
		}
		if end := c.first.Add(c.redshift.retry); now.Before(end) {
			return min(backoff(c.failed), end.Sub(now)), false
		}
		c.step, c.failed = putErrorManifest, 0
		return 0, false
	}
	counter := &s.stats.Delivered
	switch c.step {
	case putObject, putManifest:
		s.stats.Objects++
		c.body = nil
		c.step, c.failed = c.step+1, 0
		return 0, false
	case putErrorManifest:
		s.stats.Objects++
		counter = &s.stats.Failed
	}
	for _, e := range c.buffer.entries {
		s.settled(e.rec, counter)
	}
	return 0, true
}
