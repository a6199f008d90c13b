package decode_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/decode"
)

// The types here are what encoding/json is asked for the same event. Each
// UnmarshalJSON is one of the differences between the package and encoding/json
// with Lambda's own types; there are no others but those of comparable and unmarshal.

// kinesisWant is what encoding/json makes of the payload.
func kinesisWant(payload []byte) (decode.KinesisEvent, error) {
	var e struct {
		Records records[kinesisRecord]
		windowMembers
	}
	if err := unmarshal(payload, &e); err != nil {
		return decode.KinesisEvent{}, err
	}
	var event decode.KinesisEvent
	for _, r := range e.Records {
		event.Records = append(event.Records, decode.Record{
			SequenceNumber:              r.Kinesis.SequenceNumber,
			PartitionKey:                r.Kinesis.PartitionKey,
			Data:                        r.Kinesis.Data,
			ApproximateArrivalTimestamp: time.Time(r.Kinesis.ApproximateArrivalTimestamp),
			EncryptionType:              r.Kinesis.EncryptionType,
			KinesisSchemaVersion:        r.Kinesis.KinesisSchemaVersion,
			EventID:                     r.EventID,
			EventName:                   r.EventName,
			EventSource:                 r.EventSource,
			EventSourceARN:              r.EventSourceArn,
			EventVersion:                r.EventVersion,
			AWSRegion:                   r.AwsRegion,
			InvokeIdentityARN:           r.InvokeIdentityArn,
		})
	}
	var err error
	event.Window, err = e.window(e.Records != nil)
	return event, err
}

// dynamoDBWant is what encoding/json makes of the payload.
func dynamoDBWant(payload []byte) (decode.DynamoDBEvent, error) {
	var e struct {
		Records records[dynamoDBRecord]
		windowMembers
	}
	if err := unmarshal(payload, &e); err != nil {
		return decode.DynamoDBEvent{}, err
	}
	var event decode.DynamoDBEvent
	for _, r := range e.Records {
		change := decode.Change{
			SequenceNumber:              r.Change.SequenceNumber,
			EventName:                   r.EventName,
			Keys:                        r.Change.Keys.plain(),
			NewImage:                    r.Change.NewImage.plain(),
			OldImage:                    r.Change.OldImage.plain(),
			StreamViewType:              types.StreamViewType(r.Change.StreamViewType),
			ApproximateCreationDateTime: time.Time(r.Change.ApproximateCreationDateTime),
			SizeBytes:                   r.Change.SizeBytes,
			EventID:                     r.EventID,
			EventSource:                 r.EventSource,
			EventSourceARN:              r.EventSourceArn,
			EventVersion:                r.EventVersion,
			AWSRegion:                   r.AWSRegion,
		}
		if u := r.UserIdentity; u != nil {
			change.UserIdentity = decode.UserIdentity{Type: u.Type, PrincipalID: u.PrincipalID}
		}
		event.Records = append(event.Records, change)
	}
	var err error
	event.Window, err = e.window(e.Records != nil)
	return event, err
}

// unmarshal refuses what isn't UTF-8, which encoding/json replaces by U+FFFD.
func unmarshal(payload []byte, into any) error {
	if !utf8.Valid(payload) {
		return errors.New("not UTF-8")
	}
	return json.Unmarshal(payload, into)
}

type windowMembers struct {
	Window                  struct{ Start, End strictTime }
	State                   json.RawMessage
	ShardID                 string `json:"shardId"`
	EventSourceARN          string `json:"eventSourceARN"`
	IsFinalInvokeForWindow  bool   `json:"isFinalInvokeForWindow"`
	IsWindowTerminatedEarly bool   `json:"isWindowTerminatedEarly"`
}

func (m windowMembers) window(hasRecords bool) (decode.TumblingWindow, error) {
	w := decode.TumblingWindow{
		Start: time.Time(m.Window.Start), End: time.Time(m.Window.End), State: m.State,
		ShardID: m.ShardID, EventSourceARN: m.EventSourceARN,
		IsFinalInvokeForWindow: m.IsFinalInvokeForWindow, IsWindowTerminatedEarly: m.IsWindowTerminatedEarly,
	}
	if string(w.State) == "null" {
		w.State = nil
	}
	if w.Start.IsZero() != w.End.IsZero() {
		return w, errors.New("half a window")
	}
	if !hasRecords && w.Start.IsZero() {
		return w, errors.New("no Records")
	}
	return w, nil
}

// The members of the outer struct count, not those that they hide.
type kinesisRecord struct {
	events.KinesisEventRecord
	Kinesis struct {
		events.KinesisRecord
		Data                        strictBase64 `json:"data"`
		ApproximateArrivalTimestamp exactSeconds `json:"approximateArrivalTimestamp"`
	} `json:"kinesis"`
}

func (r kinesisRecord) complete() bool {
	return r.Kinesis.SequenceNumber != "" && r.Kinesis.Data != nil
}

type dynamoDBRecord struct {
	events.DynamoDBEventRecord
	Change struct {
		events.DynamoDBStreamRecord
		ApproximateCreationDateTime exactSeconds `json:"ApproximateCreationDateTime"`
		Keys                        image        `json:"Keys"`
		NewImage                    image        `json:"NewImage"`
		OldImage                    image        `json:"OldImage"`
	} `json:"dynamodb"`
}

func (r dynamoDBRecord) complete() bool {
	return r.Change.SequenceNumber != "" && r.EventName != "" && r.Change.Keys != nil
}

// records are complete, and forget what the member held before if it comes twice.
// encoding/json lets the old elements show through.
type records[T interface{ complete() bool }] []T

func (r *records[T]) UnmarshalJSON(b []byte) error {
	var elements []T
	if err := json.Unmarshal(b, &elements); err != nil {
		return err
	}
	for _, element := range elements {
		if !element.complete() {
			return errors.New("a record without what it must have")
		}
	}
	*r = elements
	return nil
}

// strictBase64 is a string without line breaks whose unused bits are zero.
// encoding/json takes line breaks, any unused bits, and an array of numbers.
type strictBase64 []byte

func (d *strictBase64) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if *d = nil; text == nil {
		return nil
	}
	var err error
	*d, err = decodeStrictly(*text)
	return err
}

func decodeStrictly(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("a line break in base64")
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// exactSeconds are seconds since 1970, not rounded to a float64, from 0 to the
// year 9999, null being no value instead of 0.
type exactSeconds time.Time

func (t *exactSeconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var theirs events.SecondsEpochTime
	if err := json.Unmarshal(b, &theirs); err != nil {
		return err
	}
	if _, exponent, _ := strings.Cut(strings.ToLower(string(b)), "e"); len(exponent) > 4 {
		return errSkip // too much for big.Rat; TestTimesKeepTheirNanoseconds has some of these
	}
	n, ok := new(big.Rat).SetString(string(b))
	if !ok {
		return fmt.Errorf("%s is no number to math/big", b)
	}
	n.Mul(n, big.NewRat(1e9, 1))
	ns := new(big.Int).Quo(n.Num(), n.Denom())
	seconds, rest := new(big.Int).QuoRem(ns, big.NewInt(1e9), new(big.Int))
	if ns.Sign() < 0 || seconds.Cmp(big.NewInt(253402300799)) > 0 {
		return errors.New("out of range")
	}
	ours := time.Unix(seconds.Int64(), rest.Int64()).UTC()
	// At these sizes a float64 is off by at most 2^-15 s.
	if d := ours.Sub(theirs.Time).Abs(); d > 31*time.Microsecond {
		return fmt.Errorf("%s is %v to Lambda's library, %v by exact arithmetic", b, theirs, ours)
	}
	*t = exactSeconds(ours)
	return nil
}

// errSkip says that an oracle can't tell.
var errSkip = errors.New("beyond the oracle")

// strictTime is an RFC 3339 time; Lambda's library takes a bit more than that.
type strictTime time.Time

func (t *strictTime) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil || text == nil {
		return err
	}
	return (*time.Time)(t).UnmarshalText([]byte(*text))
}

// image is an item. Its attributes are those of Lambda's library, with strict
// base64, and NULL being true: DynamoDB refuses false, Lambda's library takes
// anything.
type image map[string]attribute

func (i image) plain() map[string]types.AttributeValue {
	if i == nil {
		return nil
	}
	item := map[string]types.AttributeValue{}
	for name, value := range i {
		item[name] = plain(value.DynamoDBAttributeValue)
	}
	return item
}

type attribute struct{ events.DynamoDBAttributeValue }

func (a *attribute) UnmarshalJSON(b []byte) (err error) {
	// A binary set whose element is no string panics.
	defer func() {
		if recover() != nil {
			err = errors.New("Lambda's library panics")
		}
	}()
	if err := json.Unmarshal(b, &a.DynamoDBAttributeValue); err != nil {
		return err
	}
	var value map[string]any
	if err := json.Unmarshal(b, &value); err != nil {
		return err
	}
	return strictly(value)
}

// strictly finds what Lambda's library takes in an attribute and shouldn't.
func strictly(value map[string]any) error {
	var errs []error
	for kind, v := range value {
		switch kind {
		case "NULL":
			if v != true {
				errs = append(errs, errors.New("NULL is not true"))
			}
		case "B":
			_, err := decodeStrictly(v.(string))
			errs = append(errs, err)
		case "BS":
			for _, element := range v.([]any) {
				_, err := decodeStrictly(element.(string))
				errs = append(errs, err)
			}
		case "L":
			for _, element := range v.([]any) {
				errs = append(errs, strictly(element.(map[string]any)))
			}
		case "M":
			for _, element := range v.(map[string]any) {
				errs = append(errs, strictly(element.(map[string]any)))
			}
		}
	}
	return errors.Join(errs...)
}

func plain(v events.DynamoDBAttributeValue) types.AttributeValue {
	switch v.DataType() {
	case events.DataTypeString:
		return &types.AttributeValueMemberS{Value: v.String()}
	case events.DataTypeNumber:
		return &types.AttributeValueMemberN{Value: v.Number()}
	case events.DataTypeBinary:
		return &types.AttributeValueMemberB{Value: v.Binary()}
	case events.DataTypeBoolean:
		return &types.AttributeValueMemberBOOL{Value: v.Boolean()}
	case events.DataTypeNull:
		return &types.AttributeValueMemberNULL{Value: true}
	case events.DataTypeStringSet:
		return &types.AttributeValueMemberSS{Value: v.StringSet()}
	case events.DataTypeNumberSet:
		return &types.AttributeValueMemberNS{Value: v.NumberSet()}
	case events.DataTypeBinarySet:
		return &types.AttributeValueMemberBS{Value: v.BinarySet()}
	case events.DataTypeList:
		list := []types.AttributeValue{}
		for _, element := range v.List() {
			list = append(list, plain(element))
		}
		return &types.AttributeValueMemberL{Value: list}
	case events.DataTypeMap:
		item := map[string]types.AttributeValue{}
		for name, element := range v.Map() {
			item[name] = plain(element)
		}
		return &types.AttributeValueMemberM{Value: item}
	}
	panic("no type")
}

// The members that the package knows, by kind of event.
var (
	common          = []string{"Records", "window", "start", "end", "state", "shardId", "eventSourceARN", "isFinalInvokeForWindow", "isWindowTerminatedEarly", "eventID", "eventName", "eventSource", "eventVersion", "awsRegion"}
	kinesisMembers  = append(slices.Clone(common), "kinesis", "invokeIdentityArn", "sequenceNumber", "partitionKey", "data", "approximateArrivalTimestamp", "encryptionType", "kinesisSchemaVersion")
	dynamoDBMembers = append(slices.Clone(common), "dynamodb", "userIdentity", "type", "principalId", "ApproximateCreationDateTime", "Keys", "NewImage", "OldImage", "SequenceNumber", "SizeBytes", "StreamViewType")
)

// comparable is false for a JSON text that encoding/json reads differently in a
// way that no type can take back:
//   - it takes a known member's name in any case, the package only in AWS's;
//   - of a name that comes twice within an attribute, Lambda's library never looks
//     at the first value, where the package refuses any wrong one.
func comparable(text []byte, members []string) bool {
	ok := true
	d := json.NewDecoder(bytes.NewReader(text))
	var value func(inImage bool)
	value = func(inImage bool) {
		token, _ := d.Token()
		object := token == json.Delim('{')
		if !object && token != json.Delim('[') {
			return
		}
		var seen []string
		for d.More() {
			deeper := inImage
			if object {
				token, _ := d.Token()
				name := token.(string)
				ok = ok && !slices.ContainsFunc(members, func(member string) bool {
					return member != name && strings.EqualFold(member, name)
				})
				ok = ok && !(inImage && slices.Contains(seen, name))
				seen = append(seen, name)
				deeper = deeper || name == "Keys" || name == "NewImage" || name == "OldImage"
			}
			value(deeper)
		}
		_, _ = d.Token()
	}
	value(false)
	return ok
}
