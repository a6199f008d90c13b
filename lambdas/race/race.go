// Package race holds the telemetry record of the reference workload and the
// rules of the race: what a valid record is, how records fold into standings
// and how standings make a podium. It is pure: no clock, no I/O, no AWS.
package race

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// Record is one telemetry reading of one racer. The tags name its fields in
// JSON and in the standings table, whose item is a racer's newest record, and
// say what their columns in Redshift are like.
type Record struct {
	// Race is the race's name: 1 to 64 characters of A-Z a-z 0-9 . _ -
	Race string `json:"race" dynamodbav:"race" redshift:",varchar(64),notnull,distkey"`
	// Racer is the racer's name within the race, same rules as Race.
	Racer string `json:"racer" dynamodbav:"racer" redshift:",varchar(64),notnull"`
	// Seq counts the racer's records up by one from 1.
	Seq int64 `json:"seq" dynamodbav:"seq" redshift:",,notnull"`
	// At is the time of the reading, in UTC.
	At time.Time `json:"at" dynamodbav:"at" redshift:",,notnull,sortkey"`
	// Distance is the way covered since the start, in metres: 0 to 1e12.
	Distance float64 `json:"distance" dynamodbav:"distance"`
	// Speed is in metres per second: 0 to 1e12.
	Speed float64 `json:"speed" dynamodbav:"speed"`
	// Power is the racer's output in watts: 0 to 1e12.
	Power float64 `json:"power" dynamodbav:"power"`
}

// ErrKeepAlive is what Parse answers to an empty or blank payload: a
// producer's sign of life that carries no record.
var ErrKeepAlive = errors.New("keep-alive: an empty payload, no record")

// MalformedError says why a payload is no record. Its text names fields and
// rules but never quotes the payload, so it may be logged.
type MalformedError struct {
	// Problems holds everything that is wrong, one sentence each.
	Problems []string
}

func (e *MalformedError) Error() string {
	return "malformed record: " + strings.Join(e.Problems, "; ")
}

// Parse reads a record from its JSON. The error is ErrKeepAlive or a
// *MalformedError. All fields are required and their names are case-sensitive;
// unknown fields are accepted.
func Parse(data []byte) (Record, error) {
	var record Record
	err := ParseInto(data, &record)
	return record, err
}

// ParseInto is Parse into a record that is there. It keeps the names of one that
// has the same, so that the records of a racer share them. After an error the
// record is zero.
func ParseInto(data []byte, record *Record) error {
	if scan(data, record) {
		return nil
	}
	var err error
	*record, err = parse(data)
	return err
}

func parse(data []byte) (Record, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return Record{}, ErrKeepAlive
	}
	if !utf8.Valid(data) {
		return Record{}, &MalformedError{Problems: []string{"the payload is not UTF-8"}}
	}
	// A map rather than the struct: encoding/json would match names in any
	// case, take null for zero, and stop at the first field of a wrong type.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || fields == nil {
		return Record{}, &MalformedError{Problems: []string{"the payload is not a JSON object"}}
	}
	var record Record
	var problems []string
	for _, rule := range rules {
		raw, ok := fields[rule.field]
		switch {
		case !ok || string(raw) == "null":
			problems = append(problems, rule.field+": missing")
		case json.Unmarshal(raw, rule.of(&record)) != nil || !rule.valid(&record):
			problems = append(problems, rule.problem())
		}
	}
	if problems != nil {
		return Record{}, &MalformedError{Problems: problems}
	}
	record.At = record.At.UTC()
	return record, nil
}

// Validate reports everything that is wrong with the record's values as one
// *MalformedError.
func (r Record) Validate() error {
	var problems []string
	for _, rule := range rules {
		if !rule.valid(&r) {
			problems = append(problems, rule.problem())
		}
	}
	if problems != nil {
		return &MalformedError{Problems: problems}
	}
	return nil
}

// PartitionKey is the record's Kinesis partition key. One key per racer keeps a
// racer's records in order within one shard and spreads a race over all shards.
func (r Record) PartitionKey() string { return r.Race + "/" + r.Racer }

// Key identifies the racer that the record belongs to.
func (r Record) Key() Key { return Key{Race: r.Race, Racer: r.Racer} }

type rule struct {
	field string
	want  string
	of    func(*Record) any
	valid func(*Record) bool
}

func (r rule) problem() string { return r.field + ": must be " + r.want }

const (
	wantName   = "a string of 1 to 64 characters of A-Z a-z 0-9 . _ -"
	wantNumber = "a number from 0 to 1e12, and at least 1e-100 unless 0"
)

var rules = []rule{
	{"race", wantName, func(r *Record) any { return &r.Race }, func(r *Record) bool { return isName(r.Race) }},
	{"racer", wantName, func(r *Record) any { return &r.Racer }, func(r *Record) bool { return isName(r.Racer) }},
	{"seq", "a whole number from 1", func(r *Record) any { return &r.Seq }, func(r *Record) bool { return r.Seq >= 1 }},
	{"at", "an RFC 3339 time in UTC", func(r *Record) any { return &r.At }, func(r *Record) bool { return isUTC(r.At) }},
	{"distance", wantNumber, func(r *Record) any { return &r.Distance }, func(r *Record) bool { return isAmount(r.Distance) }},
	{"speed", wantNumber, func(r *Record) any { return &r.Speed }, func(r *Record) bool { return isAmount(r.Speed) }},
	{"power", wantNumber, func(r *Record) any { return &r.Power }, func(r *Record) bool { return isAmount(r.Power) }},
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 64
}

func isUTC(t time.Time) bool {
	_, offset := t.Zone()
	return !t.IsZero() && offset == 0 && t.Year() >= 0 && t.Year() <= 9999
}

// isAmount bounds a number to what a DynamoDB number holds (1e-130 to 1e126)
// with room to spare: a finite float64 outside of it would fail its write again
// and again and so block its shard. NaN fails every comparison.
func isAmount(v float64) bool { return v == 0 || 1e-100 <= v && v <= 1e12 }
