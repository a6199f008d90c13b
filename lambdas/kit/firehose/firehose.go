// Package firehose makes the Lambda transform of a Firehose delivery stream out
// of a function over one record. Every record is answered exactly once, in order;
// an answer that would outgrow Lambda's limit, which fails a whole batch three
// times over, is cut down in time.
package firehose

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Record is what Firehose hands over.
type Record struct {
	ID   string
	Data []byte
	// Arrival is when Firehose, or the Kinesis stream, took the record.
	Arrival time.Time
	// Kinesis is where the record stands in its stream, Kafka where it stands in its
	// topic, of a delivery stream that reads one; nil for direct puts.
	Kinesis *Position
	Kafka   *Offset
}

// Position of a record in a Kinesis stream. SubsequenceNumber counts the records
// that the KPL had put into one.
type Position struct {
	ShardID, PartitionKey, SequenceNumber string
	SubsequenceNumber                     int64
}

// Offset of a record in a partition of an Amazon MSK topic.
type Offset struct{ PartitionID, Offset int64 }

// Error says why a payload is no event of Firehose. It never quotes the payload. The
// invocation fails with it, and Firehose hands over the same batch again.
type Error struct {
	// Record is the position of the record in the event, or -1 if what is wrong is
	// outside of any.
	Record int
	// Member is the name of the member that is wrong, such as "data"; "" is the event
	// itself.
	Member string
	// Reason is the rule that is broken.
	Reason string
}

func (e *Error) Error() string {
	path := cmp.Or(e.Member, "the event")
	if e.Record >= 0 {
		path = fmt.Sprintf("records[%d].%s", e.Record, e.Member)
	}
	return fmt.Sprintf("firehose: %s: %s", path, e.Reason)
}

// Answer is what becomes of a record: [Ok] or [Drop].
type Answer struct {
	drop  bool
	data  []byte
	keys  map[string]string
	table *table
}

type table struct {
	Database  string `json:"destinationDatabaseName"`
	Table     string `json:"destinationTableName"`
	Operation string `json:"operation,omitempty"`
}

// Ok delivers the data. Firehose puts nothing between records: data that is read
// line by line ends with a new line.
func Ok(data []byte) Answer { return Answer{data: data} }

// Drop leaves the record out, on purpose: it is delivered nowhere.
func Drop() Answer { return Answer{drop: true} }

// Partition sets the keys of dynamic partitioning, which the prefix names by
// !{partitionKeyFromLambda:key}.
func (a Answer) Partition(keys map[string]string) Answer {
	a.keys = keys
	return a
}

// Table routes the record to an Iceberg table. Operation is insert, update or
// delete; empty means insert.
func (a Answer) Table(database, name, operation string) Answer {
	a.table = &table{database, name, operation}
	return a
}

// Reingester puts records back into the stream that they came from.
type Reingester interface {
	// Reingest puts them all or returns an error.
	Reingest(ctx context.Context, records []Record) error
}

// Options of a transform. The zero value is good.
type Options struct {
	// Reingest takes the records for whose data the answer has no room: they are
	// dropped here and come again. By default they are answered ProcessingFailed, and
	// Firehose puts their payload under the error prefix.
	Reingest Reingester
	// Failed is told how many records of a batch were answered ProcessingFailed, for a
	// metric.
	Failed func(ctx context.Context, n int)
	// Log takes one line a batch and one for each failed record; nil means
	// slog.Default(). It never gets a record's data.
	Log *slog.Logger

	limit int // of the answer, in tests
}

// MaximumAnswer is the most bytes of an answer; Lambda and Firehose say 6 MB.
const MaximumAnswer = 6_000_000

// Transform is a handler that calls f for every record. An error or a panic of f
// is that record's failure: it is answered ProcessingFailed, and Firehose puts its
// payload under the error prefix. Firehose doesn't ask again for it. A payload that is
// no event of Firehose is an [*Error]: members that aren't known are skipped; one that
// is missing or unreadable, or an id that comes twice, fails the invocation.
func Transform(f func(ctx context.Context, r Record) (Answer, error), o Options) lambda.Handler {
	o.limit = cmp.Or(o.limit, MaximumAnswer)
	return &transform{f, o}
}

type transform struct {
	f func(context.Context, Record) (Answer, error)
	Options
}

// Invoke implements [lambda.Handler].
func (t *transform) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	log := cmp.Or(t.Log, slog.Default())
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		log = log.With("requestId", lc.AwsRequestID)
	}
	defer func() {
		if p := recover(); p != nil { // of Reingest or Failed
			log.ErrorContext(ctx, "the batch panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			answer, err = nil, fmt.Errorf("firehose: it panicked outside of a record: %v", p)
		}
	}()
	if t.f == nil {
		return nil, errors.New("firehose: the transform has no function")
	}
	stream, records, err := read(payload)
	if err != nil {
		return nil, err
	}
	out := answers{room: t.limit - len(`{"records":[]}`)}
	for i := range records {
		out.room -= envelope + len(records[i].member()) + textSize(records[i].ID)
	}
	out.text = make([]byte, 0, len(payload))
	out.text = append(out.text, `{"records":[`...)

	var failed, dropped int
	var again []Record
	for _, r := range records {
		answer, err := t.call(ctx, log, r)
		switch {
		case err != nil:
			log.ErrorContext(ctx, "record failed", "recordId", r.ID, "error", err.Error())
			failed++
			out.failed(r)
		case answer.drop:
			dropped++
			out.drop(r)
		case out.ok(r, answer):
		case t.Reingest != nil:
			again = append(again, r)
			out.drop(r)
		default:
			failed++
			log.ErrorContext(ctx, "record failed: the answer has no room for its data", "recordId", r.ID, "bytes", len(answer.data))
			out.failed(r)
		}
	}
	if len(again) > 0 {
		if err := t.Reingest.Reingest(ctx, again); err != nil {
			// Without an answer, Firehose hands over the same batch again.
			return nil, fmt.Errorf("firehose: put back %d records that the answer had no room for: %w", len(again), err)
		}
	}
	if failed > 0 && t.Failed != nil {
		t.Failed(ctx, failed)
	}
	log.InfoContext(ctx, "batch", "deliveryStream", stream, "records", len(records), "dropped", dropped, "failed", failed, "reingested", len(again))
	return append(out.text, `]}`...), nil
}

func (t *transform) call(ctx context.Context, log *slog.Logger, r Record) (answer Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.ErrorContext(ctx, "the transform panicked", "panic", fmt.Sprint(p), "recordId", r.ID, "stack", string(debug.Stack()))
			err = fmt.Errorf("the transform panicked: %v", p)
		}
	}()
	answer, err = t.f(ctx, r)
	if err == nil && !answer.drop && answer.data == nil {
		err = errors.New("the transform answered neither data nor Drop")
	}
	return answer, err
}

// member is what the record's data is called, in the event and in the answer.
func (r *Record) member() string {
	if r.Kafka != nil {
		return "kafkaRecordValue"
	}
	return "data"
}

// envelope is what a record costs in the answer besides its id, its data and what
// that is called.
const envelope = len(`{"recordId":"","result":"ProcessingFailed","":""},`)

// textSize bounds the bytes of a string in JSON.
func textSize(s string) int {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return 6 * len(s)
		}
	}
	return len(s)
}

// answers are written as they come. Room is what is left for data and metadata:
// that of every record's envelope is kept free from the beginning.
type answers struct {
	text []byte
	room int
}

func (a *answers) begin(r Record, result string) {
	if len(a.text) > len(`{"records":[`) {
		a.text = append(a.text, ',')
	}
	quoted, _ := json.Marshal(r.ID) // of a string: it can't fail
	a.text = append(append(a.text, `{"recordId":`...), quoted...)
	a.text = append(append(a.text, `,"result":"`...), result...)
	a.text = append(append(a.text, `","`...), r.member()...)
	a.text = append(a.text, `":"`...)
}

// ok reports false, and adds nothing, if there is no room.
func (a *answers) ok(r Record, answer Answer) bool {
	metadata := answer.metadata()
	size := base64.StdEncoding.EncodedLen(len(answer.data)) + len(metadata)
	if size > a.room {
		return false
	}
	a.room -= size
	a.begin(r, "Ok")
	a.text = base64.StdEncoding.AppendEncode(a.text, answer.data)
	a.text = append(append(a.text, '"'), metadata...)
	a.text = append(a.text, '}')
	return true
}

func (a *answers) drop(r Record) {
	a.begin(r, "Dropped")
	a.text = append(a.text, `"}`...)
}

// failed hands the data back as far as there is room; Firehose has it anyway.
func (a *answers) failed(r Record) {
	a.begin(r, "ProcessingFailed")
	if size := base64.StdEncoding.EncodedLen(len(r.Data)); size <= a.room {
		a.room -= size
		a.text = base64.StdEncoding.AppendEncode(a.text, r.Data)
	}
	a.text = append(a.text, `"}`...)
}

// metadata is that member of an answer, with the comma before it, or empty.
func (a Answer) metadata() []byte {
	if a.keys == nil && a.table == nil {
		return nil
	}
	text, _ := json.Marshal(struct {
		Keys  map[string]string `json:"partitionKeys,omitempty"`
		Table *table            `json:"otfMetadata,omitempty"`
	}{a.keys, a.table}) // of strings: it can't fail
	return append([]byte(`,"metadata":`), text...)
}
