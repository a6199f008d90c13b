package firehose

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// hints say when a buffer is full.
type hints struct {
	size     int // bytes
	records  int // 0: any number
	interval time.Duration
}

// target is a place in S3.
type target struct {
	bucket       string
	good, errors prefix
	codec        codec
	extension    string
	hints        hints
	kms          string // a key's ARN
	zone         *time.Location
}

// entry is a record in a buffer, with the data that is to be written for it.
type entry struct {
	rec  *record
	data []byte
}

// buffer is what goes away together.
type buffer struct {
	entries   []entry
	bytes     int
	weight    int       // of the request that they make, for the transform
	opened    time.Time // when the first came
	oldest    time.Time // the earliest arrival
	partition string
	keys      partitionKeys
}

// What an object holds.
const (
	delivered = iota
	failed
	backedUp
)

// object is an S3 object that is to be written. Its key and its bytes are made
// once, so that a put which failed after all but its answer writes the same again.
type object struct {
	stream    *Stream
	target    *target
	buffer    *buffer
	purpose   int
	errorType string

	key       string
	body      []byte
	converted *converted // of a stream with a format
	failed    int
	err       error
}

func (o *object) run(ctx context.Context) {
	if o.body == nil {
		if o.err = o.build(ctx); o.err != nil {
			return
		}
	}
	encoding := o.target.codec.encoding
	if c := o.converted; c != nil {
		if c.body == nil {
			return // no record became a row
		}
		encoding = o.stream.conversion.encoding
	}
	o.err = o.stream.store(ctx, o.target, o.key, o.body, encoding)
}

func (o *object) build(ctx context.Context) error {
	s, t := o.stream, o.target
	if o.purpose == delivered && s.conversion != nil {
		var err error
		if o.converted, err = s.convert(ctx, o.buffer); err != nil {
			return err
		}
	}
	delimiter := o.purpose == delivered && s.delimiter
	text := t.good
	if o.purpose == failed {
		text = t.errors
	}
	at := o.buffer.oldest.In(t.zone).Truncate(time.Second)
	before, err := text.evaluate(evaluation{at: at, errorType: o.errorType, query: o.buffer.keys.query, lambda: o.buffer.keys.lambda, random: s.random})
	if err != nil {
		return err
	}
	name, err := s.objectName(at)
	if err != nil {
		return err
	}
	if c := o.converted; c != nil {
		if o.key, o.body = before+name+t.extension, c.body; o.body == nil {
			o.body = []byte{}
		}
		for i := range o.buffer.entries {
			if c.failed[i] == nil {
				o.buffer.entries[i].data = nil
			}
		}
		return nil
	}
	var raw bytes.Buffer
	raw.Grow(o.buffer.bytes)
	for i, e := range o.buffer.entries {
		if i > 0 && delimiter {
			// Between records only, as others recorded it.
			raw.WriteByte('\n')
		}
		raw.Write(e.data)
	}
	body, err := t.codec.compress(name, raw.Bytes())
	if err != nil {
		return err
	}
	if body == nil {
		body = []byte{}
	}
	o.key, o.body = before+name+t.extension, body
	for i := range o.buffer.entries {
		o.buffer.entries[i].data = nil
	}
	return nil
}

// objectName is a name without its extension.
func (s *Stream) objectName(at time.Time) (string, error) {
	id, err := uuid(s.random)
	if err != nil {
		return "", err
	}
	return s.name + "-" + s.version + "-" + at.Format("2006-01-02-15-04-05") + "-" + id, nil
}

// putTime is how long one put may take.
const putTime = 5 * time.Minute

// store puts one object.
func (s *Stream) store(ctx context.Context, t *target, key string, body []byte, encoding string) error {
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	in := &s3.PutObjectInput{
		Bucket:      aws.String(t.bucket),
		Key:         aws.String(key),
		Body:        bytes.NewReader(body),
		ContentType: aws.String("application/octet-stream"),
	}
	if encoding != "" {
		in.ContentEncoding = aws.String(encoding)
	}
	if t.kms != "" {
		in.ServerSideEncryption = s3types.ServerSideEncryptionAwsKms
		in.SSEKMSKeyId = aws.String(t.kms)
	}
	_, err := s.s3.PutObject(ctx, in)
	return err
}

func (o *object) settle(s *Stream, now time.Time) (time.Duration, bool) {
	if o.err != nil {
		o.failed++
		s.erred("s3://"+o.target.bucket, o.err)
		return backoff(o.failed), false
	}
	if c := o.converted; c == nil || c.body != nil {
		s.stats.Objects++
	}
	if o.purpose == backedUp {
		s.stats.BackupPending -= int64(len(o.buffer.entries))
		return 0, true
	}
	counter := &s.stats.Delivered
	if o.purpose == failed {
		counter = &s.stats.Failed
	} else if key := o.buffer.partition; s.active[key] > 1 {
		s.active[key]--
	} else {
		delete(s.active, key)
	}
	for i, e := range o.buffer.entries {
		if c := o.converted; c != nil && c.failed[i] != nil {
			s.fail(e.rec, failure{
				kind: "format-conversion-failed", code: c.failed[i].code, message: c.failed[i].message, raw: e.data,
				attempts: 1, ended: c.ended, table: &s.conversion.table,
			}, now)
			continue
		}
		s.settled(e.rec, counter)
	}
	return 0, true
}

// deliverS3 is the delivery to S3.
func deliverS3(s *Stream, b *buffer) job {
	return &object{stream: s, target: s.target, buffer: b, purpose: delivered}
}

// failure is why a record goes to the error prefix.
type failure struct {
	kind          string // firehose:error-output-type
	code, message string
	raw           []byte // what rawData holds, by default the record as it came
	attempts      int
	ended         time.Time
	lambdaARN     string
	splunkEvent   string
	dataID        string
	index, docID  string
	docType       string
	table         *catalogTable // of a conversion
	osIndex       string
	osDocID       string
}

// document is a failed record as Firehose writes it: the fields' names, their
// order and the numbers are as others recorded them against the service, which
// writes lambdaARN where its documentation has lambdaArn, and numbers where that
// has strings.
type document struct {
	RawData                string `json:"rawData"`
	ErrorCode              string `json:"errorCode"`
	ErrorMessage           string `json:"errorMessage"`
	AttemptsMade           int    `json:"attemptsMade"`
	ArrivalTimestamp       int64  `json:"arrivalTimestamp"`
	AttemptEndingTimestamp int64  `json:"attemptEndingTimestamp"`
	LambdaARN              string `json:"lambdaARN,omitempty"`
	EventID                string `json:"EventId,omitempty"`
	SubsequenceNumber      *int64 `json:"subsequenceNumber,omitempty"`
	DataID                 string `json:"dataId,omitempty"`
	ESDocumentID           string `json:"esDocumentId,omitempty"`
	ESIndexName            string `json:"esIndexName,omitempty"`
	ESTypeName             string `json:"esTypeName,omitempty"`
	OSDocumentID           string `json:"osDocumentId,omitempty"`
	OSIndexName            string `json:"osIndexName,omitempty"`
}

// conversionDocument is a record that couldn't be converted, with the names that
// others recorded; AWS's documentation has ErrorCode and ErrorMessage.
type conversionDocument struct {
	AttemptsMade           int           `json:"attemptsMade"`
	ArrivalTimestamp       int64         `json:"arrivalTimestamp"`
	LastErrorCode          string        `json:"lastErrorCode"`
	LastErrorMessage       string        `json:"lastErrorMessage"`
	AttemptEndingTimestamp int64         `json:"attemptEndingTimestamp"`
	RawData                string        `json:"rawData"`
	SequenceNumber         string        `json:"sequenceNumber,omitempty"`
	SubSequenceNumber      *int64        `json:"subSequenceNumber,omitempty"`
	DataCatalogTable       *catalogTable `json:"dataCatalogTable"`
}

// fail buffers a record's error document.
func (s *Stream) fail(r *record, f failure, now time.Time) {
	switch {
	case r.packed != nil:
		f.raw = r.packed
	case f.raw == nil:
		f.raw = r.source
	}
	var written any
	doc := document{
		RawData:                base64.StdEncoding.EncodeToString(f.raw),
		ErrorCode:              f.code,
		ErrorMessage:           f.message,
		AttemptsMade:           f.attempts,
		ArrivalTimestamp:       r.arrival.UnixMilli(),
		AttemptEndingTimestamp: f.ended.UnixMilli(),
		LambdaARN:              f.lambdaARN,
		EventID:                f.splunkEvent,
		DataID:                 f.dataID,
		ESDocumentID:           f.docID,
		ESIndexName:            f.index,
		ESTypeName:             f.docType,
		OSDocumentID:           f.osDocID,
		OSIndexName:            f.osIndex,
	}
	if f.dataID != "" {
		doc.SubsequenceNumber = new(int64)
		if r.kinesis != nil {
			*doc.SubsequenceNumber = r.kinesis.SubsequenceNumber
		}
	}
	written = doc
	if f.table != nil {
		own := conversionDocument{
			AttemptsMade: doc.AttemptsMade, ArrivalTimestamp: doc.ArrivalTimestamp, LastErrorCode: f.code, LastErrorMessage: f.message,
			AttemptEndingTimestamp: doc.AttemptEndingTimestamp, RawData: doc.RawData, DataCatalogTable: f.table,
		}
		if r.kinesis != nil {
			own.SequenceNumber, own.SubSequenceNumber = r.kinesis.SequenceNumber, &r.kinesis.SubsequenceNumber
		}
		written = own
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line) // ends it with a new line
	enc.SetEscapeHTML(false)
	if err := enc.Encode(written); err != nil {
		panic(err) // strings and numbers always encode
	}
	b := s.failures[f.kind]
	if b == nil {
		b = &buffer{}
		s.failures[f.kind] = b
		s.types = append(s.types, f.kind)
	}
	s.put(b, entry{rec: r, data: line.Bytes()}, now)
	if b.bytes >= s.target.hints.size {
		s.sealFailure(f.kind)
	}
}
