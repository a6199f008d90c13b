package decode

import (
	"bytes"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// KinesisEvent is what the mapping of a Kinesis stream sends.
type KinesisEvent struct {
	// Records are in the stream's order, as many as AWS sent: a record may come
	// again, in this event or in another.
	Records []Record
	// Window is zero unless the mapping has a tumbling window.
	Window TumblingWindow
}

// Record is a record of a Kinesis stream. What AWS didn't send is zero.
type Record struct {
	// SequenceNumber is never empty.
	SequenceNumber string
	PartitionKey   string
	// Data is never nil. It may be empty.
	Data []byte
	// ApproximateArrivalTimestamp is when the stream took the record: in UTC, to
	// the millisecond.
	ApproximateArrivalTimestamp time.Time
	// EncryptionType is NONE or KMS.
	EncryptionType       string
	KinesisSchemaVersion string
	// EventID is the shard's id, a colon, and the sequence number.
	EventID           string
	EventName         string
	EventSource       string
	EventSourceARN    string
	EventVersion      string
	AWSRegion         string
	InvokeIdentityARN string
}

// ShardID is the part of the event's id before the colon: "shardId-…:4959…".
func (r Record) ShardID() string {
	shard, _, _ := strings.Cut(r.EventID, ":")
	return shard
}

// Event is the record as the type of Lambda's Go library. It shares Data.
func (r Record) Event() events.KinesisEventRecord {
	return events.KinesisEventRecord{
		AwsRegion:         r.AWSRegion,
		EventID:           r.EventID,
		EventName:         r.EventName,
		EventSource:       r.EventSource,
		EventSourceArn:    r.EventSourceARN,
		EventVersion:      r.EventVersion,
		InvokeIdentityArn: r.InvokeIdentityARN,
		Kinesis: events.KinesisRecord{
			ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: r.ApproximateArrivalTimestamp},
			Data:                        r.Data,
			EncryptionType:              r.EncryptionType,
			PartitionKey:                r.PartitionKey,
			SequenceNumber:              r.SequenceNumber,
			KinesisSchemaVersion:        r.KinesisSchemaVersion,
		},
	}
}

// Kinesis reads the event of a Kinesis stream. The error is an *Error: the
// payload isn't strict JSON or not such an event, or a record is without
// sequence number or data. An event with an empty Records is one.
//
// The records share a few allocations: whoever keeps one of them for long holds
// the memory of all, or clones its fields.
func Kinesis(payload []byte) (KinesisEvent, error) {
	return new(Decoder).Kinesis(payload)
}

// Decoder reads the events of Kinesis streams, one after the other, into memory
// that it uses again: as much as the largest of them took. The zero value is
// ready. It is not safe for concurrent use: a function that handles several
// invocations at a time needs one for each.
type Decoder struct {
	records []Record
	data    []byte
	want    int // bytes of data
}

// Kinesis is like the function Kinesis, but Records and every record's Data are
// valid only until the next call. Strings stay valid.
func (d *Decoder) Kinesis(payload []byte) (KinesisEvent, error) {
	if len(d.data) < d.want {
		d.data = make([]byte, d.want)
	}
	s := scanner{in: payload, blobs: blobs{free: d.data}}
	var event KinesisEvent
	var form form
	d.clear()
	err := s.event(&event.Window, d.clear, func() *Error {
		d.records = grow(d.records, &s)
		return form.read(&s, &d.records[len(d.records)-1])
	})
	if err != nil {
		return KinesisEvent{}, err
	}
	d.want = max(d.want, s.blobs.used)
	event.Records = d.records
	return event, nil
}

// clear lets go of the strings of the last event.
func (d *Decoder) clear() {
	clear(d.records)
	d.records = d.records[:0]
}

// form is how a record stands in the payload but for the values of some members,
// its gaps. Lambda writes all records of an event in one form.
type form struct {
	record Record // what is outside of the gaps
	gaps   []gap
	end    []byte // what comes after the last gap
	from   int    // where the last gap ended
}

type gap struct {
	before []byte // what comes between this gap and the one before it
	value  func(*scanner, *Record) *Error
}

// read reads a record: in the form of the one before it if it has it.
func (f *form) read(s *scanner, r *Record) *Error {
	begin, blobs := s.pos, s.blobs
	if f.fill(s, r) && s.sequenced(r) && r.Data != nil {
		return nil
	}
	s.pos, s.blobs, s.sequence = begin, blobs, nil
	*f = form{gaps: f.gaps[:0], from: begin}
	*r = Record{}
	err := s.object(func(name []byte) *Error {
		switch string(name) {
		case "kinesis":
			return f.kinesis(s, r).in("kinesis")
		case "eventID":
			return f.gap(s, r, (*scanner).eventID)
		case "eventName":
			return s.string(&r.EventName).in("eventName")
		case "eventSource":
			return s.string(&r.EventSource).in("eventSource")
		case "eventSourceARN":
			return s.string(&r.EventSourceARN).in("eventSourceARN")
		case "eventVersion":
			return s.string(&r.EventVersion).in("eventVersion")
		case "awsRegion":
			return s.string(&r.AWSRegion).in("awsRegion")
		case "invokeIdentityArn":
			return s.string(&r.InvokeIdentityARN).in("invokeIdentityArn")
		}
		return s.skip()
	})
	switch {
	case err != nil:
		return err
	case !s.sequenced(r):
		return s.fail(missing).in("kinesis.sequenceNumber")
	case r.Data == nil:
		return s.fail(missing).in("kinesis.data")
	}
	f.record, f.end = *r, s.in[f.from:s.pos]
	f.record.SequenceNumber, f.record.PartitionKey, f.record.EventID = "", "", ""
	f.record.Data, f.record.ApproximateArrivalTimestamp = nil, time.Time{}
	return nil
}

func (f *form) kinesis(s *scanner, r *Record) *Error {
	if null, err := s.null(); null || err != nil {
		return err
	}
	return s.object(func(name []byte) *Error {
		switch string(name) {
		case "sequenceNumber":
			return f.gap(s, r, (*scanner).sequenceNumber)
		case "partitionKey":
			return f.gap(s, r, (*scanner).partitionKey)
		case "data":
			return f.gap(s, r, (*scanner).recordData)
		case "approximateArrivalTimestamp":
			return f.gap(s, r, (*scanner).arrival)
		case "encryptionType":
			return s.string(&r.EncryptionType).in("encryptionType")
		case "kinesisSchemaVersion":
			return s.string(&r.KinesisSchemaVersion).in("kinesisSchemaVersion")
		}
		return s.skip()
	})
}

// gap reads a value that differs from record to record.
func (f *form) gap(s *scanner, r *Record, value func(*scanner, *Record) *Error) *Error {
	f.gaps = append(f.gaps, gap{s.in[f.from:s.pos], value})
	err := value(s, r)
	f.from = s.pos
	return err
}

// fill reads a record of this form. If it is false the record has another one,
// or is no record.
func (f *form) fill(s *scanner, r *Record) bool {
	if f.end == nil {
		return false
	}
	*r, s.sequence = f.record, nil
	for _, gap := range f.gaps {
		if !s.skipText(gap.before) || gap.value(s, r) != nil {
			return false
		}
	}
	return s.skipText(f.end)
}

func (s *scanner) skipText(text []byte) bool {
	if !bytes.HasPrefix(s.in[s.pos:], text) {
		return false
	}
	s.pos += len(text)
	return true
}

func (s *scanner) eventID(r *Record) *Error {
	return s.string(&r.EventID).in("eventID")
}

func (s *scanner) sequenceNumber(*Record) *Error {
	return s.text(&s.sequence).in("sequenceNumber")
}

// sequenced sets the sequence number that was read, if there is one. It mostly ends
// the event's id, of which it then is a part.
func (s *scanner) sequenced(r *Record) bool {
	if rest := len(r.EventID) - len(s.sequence); rest > 0 && r.EventID[rest:] == string(s.sequence) {
		r.SequenceNumber = r.EventID[rest:]
	} else {
		r.SequenceNumber = s.texts.keep(s.sequence, s)
	}
	return r.SequenceNumber != ""
}

func (s *scanner) partitionKey(r *Record) *Error {
	return s.string(&r.PartitionKey).in("partitionKey")
}

func (s *scanner) recordData(r *Record) *Error {
	return s.base64(&r.Data).in("data")
}

func (s *scanner) arrival(r *Record) *Error {
	return s.epoch(&r.ApproximateArrivalTimestamp).in("approximateArrivalTimestamp")
}
