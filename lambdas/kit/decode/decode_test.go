package decode_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millrace/millrace/lambdas/kit/decode"
)

// attributes lets cmp look into the SDK's attribute values.
var attributes = cmpopts.IgnoreUnexported(
	types.AttributeValueMemberS{}, types.AttributeValueMemberN{}, types.AttributeValueMemberB{}, types.AttributeValueMemberBOOL{},
	types.AttributeValueMemberNULL{}, types.AttributeValueMemberM{}, types.AttributeValueMemberL{}, types.AttributeValueMemberSS{},
	types.AttributeValueMemberNS{}, types.AttributeValueMemberBS{},
)

func file(t *testing.T, name string) []byte {
	t.Helper()
	payload, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func TestKinesisReadsEveryField(t *testing.T) {
	event, err := decode.Kinesis(file(t, "kinesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	first := decode.Record{
		SequenceNumber:              "49656821355432865074579363216256757001924711567851540001",
		PartitionKey:                "monza/r-0001",
		Data:                        []byte("Hello, this is a test."),
		ApproximateArrivalTimestamp: time.Date(2018, 12, 17, 22, 10, 50, 987e6, time.UTC),
		EncryptionType:              "NONE",
		KinesisSchemaVersion:        "1.0",
		EventID:                     "shardId-000000000006:49656821355432865074579363216256757001924711567851540001",
		EventName:                   "aws:kinesis:record",
		EventSource:                 "aws:kinesis",
		EventSourceARN:              "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
		EventVersion:                "1.0",
		AWSRegion:                   "us-east-2",
		InvokeIdentityARN:           "arn:aws:iam::123456789012:role/lambda-role",
	}
	// It differs where records of one event differ.
	second := first
	second.SequenceNumber = "49656821355432865074579363216256757001924711567851540002"
	second.EventID = "shardId-000000000006:" + second.SequenceNumber
	second.PartitionKey = "müller"
	second.Data = []byte{}
	second.ApproximateArrivalTimestamp = time.Date(2018, 12, 17, 22, 10, 51, 0, time.UTC)
	if diff := cmp.Diff(decode.KinesisEvent{Records: []decode.Record{first, second}}, event); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if event.Records[1].ShardID() != "shardId-000000000006" {
		t.Errorf("shard %q", event.Records[1].ShardID())
	}
}

func TestARecordAsTheTypeOfLambdasLibrary(t *testing.T) {
	var want events.KinesisEvent
	if err := json.Unmarshal(file(t, "kinesis.json"), &want); err != nil {
		t.Fatal(err)
	}
	event, err := decode.Kinesis(file(t, "kinesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got events.KinesisEvent
	for _, record := range event.Records {
		got.Records = append(got.Records, record.Event())
	}
	// Theirs went through a float64.
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(time.Microsecond)); diff != "" {
		t.Errorf("(-encoding/json +got)\n%s", diff)
	}
}

func TestKinesisReadsTheTumblingWindow(t *testing.T) {
	event, err := decode.Kinesis(file(t, "kinesis-window.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := decode.TumblingWindow{
		Start:                   time.Date(2020, 12, 9, 7, 4, 0, 0, time.UTC),
		End:                     time.Date(2020, 12, 9, 7, 6, 0, 0, time.UTC),
		State:                   []byte(`{"1": 282, "2": 715}`), // which Lambda's own type refuses
		ShardID:                 "shardId-000000000006",
		EventSourceARN:          "arn:aws:kinesis:us-east-1:123456789012:stream/lambda-stream",
		IsFinalInvokeForWindow:  true,
		IsWindowTerminatedEarly: true,
	}
	if diff := cmp.Diff(want, event.Window); diff != "" || len(event.Records) != 1 {
		t.Errorf("%d records; (-want +got)\n%s", len(event.Records), diff)
	}
}

func TestDynamoDBReadsEveryField(t *testing.T) {
	event, err := decode.DynamoDB(file(t, "dynamodb.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := func(value string) types.AttributeValue { return &types.AttributeValueMemberS{Value: value} }
	n := func(value string) types.AttributeValue { return &types.AttributeValueMemberN{Value: value} }
	all := map[string]types.AttributeValue{
		"race":    s("monza"),
		"seq":     n("12"),
		"photo":   &types.AttributeValueMemberB{Value: []byte("Hello")},
		"done":    &types.AttributeValueMemberBOOL{Value: true},
		"retired": &types.AttributeValueMemberBOOL{Value: false},
		"sponsor": &types.AttributeValueMemberNULL{Value: true},
		"laps":    &types.AttributeValueMemberL{Value: []types.AttributeValue{n("61.5"), s("pit"), &types.AttributeValueMemberL{Value: []types.AttributeValue{}}}},
		"bike":    &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"gear": n("2"), "tyres": &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{}}}},
		"teams":   &types.AttributeValueMemberSS{Value: []string{"a", "ü"}},
		"splits":  &types.AttributeValueMemberNS{Value: []string{"1", "2.5"}},
		"keys":    &types.AttributeValueMemberBS{Value: [][]byte{{0}, {1, 2}}},
	}
	change := decode.Change{
		SequenceNumber:              "44215845000000000174500001",
		EventName:                   decode.Insert,
		Keys:                        map[string]types.AttributeValue{"race": s("monza"), "seq": n("12")},
		NewImage:                    all,
		StreamViewType:              types.StreamViewTypeNewAndOldImages,
		ApproximateCreationDateTime: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC),
		SizeBytes:                   140,
		EventID:                     "c4ca4238a0b923820dcc509a6f750001",
		EventSource:                 "aws:dynamodb",
		EventSourceARN:              "arn:aws:dynamodb:us-east-1:000000000000:table/standings/stream/2026-11-21T09:00:00.000",
		EventVersion:                "1.1",
		AWSRegion:                   "us-east-1",
	}
	modified, expired := change, change
	modified.EventName, modified.SequenceNumber = decode.Modify, "44215845000000000174500002"
	modified.NewImage = map[string]types.AttributeValue{"race": s("monza"), "seq": n("13")}
	modified.OldImage = map[string]types.AttributeValue{"race": s("monza"), "seq": n("12")}
	expired.EventName, expired.SequenceNumber = decode.Remove, "44215845000000000174500003"
	expired.NewImage, expired.OldImage = nil, modified.OldImage
	expired.UserIdentity = decode.UserIdentity{Type: "Service", PrincipalID: "dynamodb.amazonaws.com"}
	if diff := cmp.Diff(decode.DynamoDBEvent{Records: []decode.Change{change, modified, expired}}, event, attributes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for i, want := range []bool{false, false, true} {
		if event.Records[i].Expired() != want {
			t.Errorf("record %d: expired is %v", i, !want)
		}
	}
}

func TestDynamoDBReadsTheTumblingWindow(t *testing.T) {
	event, err := decode.DynamoDB([]byte(`{"Records":[],"window":{"start":"2020-12-09T07:04:00Z","end":"2020-12-09T07:06:00Z"},"state":{},"shardId":"shard123"}`))
	if err != nil || event.Window.Start.Minute() != 4 || event.Window.ShardID != "shard123" || string(event.Window.State) != "{}" {
		t.Errorf("%+v, %v", event.Window, err)
	}
}

// The parts of a record, to write it with something else in one of them.
const (
	sequenceNumber = `"sequenceNumber":"49656821355432865074579363216256757001924711567851540001"`
	data           = `"data":"SGVsbG8="`
	record         = `{"kinesis":{"partitionKey":"k",` + sequenceNumber + `,` + data + `,"approximateArrivalTimestamp":1545084650.987},"eventID":"shardId-000000000000:1"}`
)

func kinesis(records ...string) string { return `{"Records":[` + strings.Join(records, ",") + `]}` }

func TestKinesisRefuses(t *testing.T) {
	with := func(old, replacement string) string {
		if !strings.Contains(record, old) {
			t.Fatalf("no %s in the record", old)
		}
		return kinesis(record, strings.Replace(record, old, replacement, 1))
	}
	window := func(members string) string { return `{"Records":[],"window":{` + members + `}}` }
	for name, c := range map[string]struct {
		payload string
		record  int
		member  string
	}{
		"nothing":                              {"", -1, ""},
		"blanks":                               {" \n", -1, ""},
		"no JSON":                              {"%PDF-1.7", -1, ""},
		"null":                                 {"null", -1, ""},
		"an array":                             {"[]", -1, ""},
		"an event of nothing known":            {`{"key1":"value1"}`, -1, "Records"},
		"an event of another case":             {`{"records":[]}`, -1, "Records"},
		"records that are null":                {`{"Records":null}`, -1, "Records"},
		"records that become null":             {`{"Records":[],"Records":null}`, -1, "Records"},
		"records that are an object":           {`{"Records":{}}`, -1, "Records"},
		"an event cut off":                     {kinesis(record)[:60], 0, "kinesis.sequenceNumber"},
		"an event cut off after a record":      {`{"Records":[` + record, -1, "Records"},
		"an event cut off in a literal":        {`{"Records":[],"x":tru`, -1, ""},
		"an event cut off in an escape":        {`{"Records":[],"x":"\u12`, -1, ""},
		"two events":                           {kinesis() + kinesis(), -1, ""},
		"a comma too many":                     {`{"Records":[` + record + `,]}`, 1, ""},
		"a comma too few":                      {`{"Records":[` + record + record + `]}`, -1, "Records"},
		"a comma at the end":                   {`{"Records":[],}`, -1, ""},
		"a name without quotes":                {`{Records:[]}`, -1, ""},
		"a name without a value":               {`{"Records"}`, -1, ""},
		"a record that is null":                {kinesis(record, "null"), 1, ""},
		"a record that is a string":            {kinesis(record, `"x"`), 1, ""},
		"a record of nothing":                  {kinesis(record, `{}`), 1, "kinesis.sequenceNumber"},
		"a record whose kinesis is null":       {kinesis(record, `{"kinesis":null}`), 1, "kinesis.sequenceNumber"},
		"a record of a table":                  {kinesis(`{"dynamodb":{"SequenceNumber":"1"}}`), 0, "kinesis.sequenceNumber"},
		"no sequence number":                   {with(sequenceNumber+",", ""), 1, "kinesis.sequenceNumber"},
		"a sequence number that is null":       {with(sequenceNumber, `"sequenceNumber":null`), 1, "kinesis.sequenceNumber"},
		"a sequence number that is empty":      {with(sequenceNumber, `"sequenceNumber":""`), 1, "kinesis.sequenceNumber"},
		"a sequence number that is a number":   {with(sequenceNumber, `"sequenceNumber":1`), 1, "kinesis.sequenceNumber"},
		"no data":                              {with(data+",", ""), 1, "kinesis.data"},
		"data in another case":                 {with(`"data"`, `"Data"`), 1, "kinesis.data"},
		"data that is null":                    {with(data, `"data":null`), 1, "kinesis.data"},
		"data that becomes null":               {with(data, data+`,"data":null`), 1, "kinesis.data"},
		"data that is an array":                {with(data, `"data":[72]`), 1, "kinesis.data"},
		"data that is no base64":               {with(data, `"data":"SGVs!G8="`), 1, "kinesis.data"},
		"data of another alphabet":             {with(data, `"data":"SGVs_-8="`), 1, "kinesis.data"},
		"data without padding":                 {with(data, `"data":"SGVsbG8"`), 1, "kinesis.data"},
		"data padded within":                   {with(data, `"data":"SGU=bG8="`), 1, "kinesis.data"},
		"data that is padding":                 {with(data, `"data":"===="`), 1, "kinesis.data"},
		"data whose unused bits aren't zero":   {with(data, `"data":"SGVsbG9="`), 1, "kinesis.data"},
		"data with a line break":               {with(data, `"data":"SGVs\nbG8="`), 1, "kinesis.data"},
		"data with line breaks to fill up":     {with(data, `"data":"SGVs\n\n\n\n"`), 1, "kinesis.data"},
		"data with a bare line break":          {with(data, "\"data\":\"SGVs\n\n\n\nbG8=\""), 1, "kinesis.data"},
		"data that doesn't end":                {`{"Records":[{"kinesis":{"data":"SGVs`, 0, "kinesis.data"},
		"an arrival in quotes":                 {with("1545084650.987", `"1545084650.987"`), 1, "kinesis.approximateArrivalTimestamp"},
		"an arrival before 1970":               {with("1545084650.987", "-1.5"), 1, "kinesis.approximateArrivalTimestamp"},
		"an arrival after the year 9999":       {with("1545084650.987", "253402300800"), 1, "kinesis.approximateArrivalTimestamp"},
		"an arrival out of all proportion":     {with("1545084650.987", "1e9999999999"), 1, "kinesis.approximateArrivalTimestamp"},
		"a number that ends in a point":        {with("1545084650.987", "1545084650."), 1, "kinesis.approximateArrivalTimestamp"},
		"a number that begins with 0":          {with("1545084650.987", "01545084650"), 1, "kinesis"},
		"a partition key that is no text":      {with(`"k"`, `true`), 1, "kinesis.partitionKey"},
		"a partition key that isn't UTF-8":     {with(`"k"`, "\"\xff\""), 1, "kinesis.partitionKey"},
		"an unknown escape":                    {with(`"k"`, `"\x41"`), 1, "kinesis.partitionKey"},
		"a control character in a string":      {with(`"k"`, "\"a\tb\""), 1, "kinesis.partitionKey"},
		"an unknown member that is no JSON":    {with(`"eventID"`, `"x":[1,{"y":nul}],"eventID"`), 1, ""},
		"an unknown member that isn't UTF-8":   {with(`"eventID"`, "\"x\":\"\xed\xa0\x80\",\"eventID\""), 1, ""},
		"an unknown member that lies too deep": {`{"Records":[],"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, -1, ""},
		"a record that isn't whole in the Records that don't count": {`{"Records":[{}],"Records":[` + record + `]}`, 0, "kinesis.sequenceNumber"},
		"half a window":                       {window(`"start":"2020-12-09T07:04:00Z"`), -1, "window.end"},
		"the other half":                      {window(`"end":"2020-12-09T07:04:00Z"`), -1, "window.start"},
		"a window that begins at no time":     {window(`"start":"today"`), -1, "window.start"},
		"a final invocation that is a string": {`{"Records":[],"isFinalInvokeForWindow":"true"}`, -1, "isFinalInvokeForWindow"},
	} {
		t.Run(name, func(t *testing.T) {
			event, err := decode.Kinesis([]byte(c.payload))
			check(t, err, c.record, c.member, len(c.payload))
			if event.Records != nil {
				t.Errorf("with an error it still gave %d records", len(event.Records))
			}
		})
	}
}

func check(t *testing.T, err error, record int, member string, size int) {
	t.Helper()
	var typed *decode.Error
	if !errors.As(err, &typed) {
		t.Fatalf("error %v, want a *decode.Error", err)
	}
	if typed.Record != record || typed.Member != member || typed.Offset < 0 || typed.Offset > size || typed.Reason == "" {
		t.Errorf("%+v, want record %d, member %q", *typed, record, member)
	}
	if !strings.Contains(err.Error(), typed.Reason) || !strings.Contains(err.Error(), member) ||
		record >= 0 && !strings.Contains(err.Error(), fmt.Sprintf("Records[%d]", record)) {
		t.Errorf("the text leaves something out: %v", err)
	}
}

func TestDynamoDBRefuses(t *testing.T) {
	const change = `{"eventName":"INSERT","dynamodb":{"Keys":{"race":{"S":"monza"}},"NewImage":{"a":{"N":"1"}},"SequenceNumber":"1","SizeBytes":12}}`
	with := func(old, replacement string) string {
		if !strings.Contains(change, old) {
			t.Fatalf("no %s in the change", old)
		}
		return kinesis(change, strings.Replace(change, old, replacement, 1))
	}
	attribute := func(value string) string { return with(`{"N":"1"}`, value) }
	for name, c := range map[string]struct {
		payload string
		record  int
		member  string
	}{
		"nothing":                              {"", -1, ""},
		"an event cut off":                     {kinesis(change)[:60], 0, "dynamodb.Keys"},
		"a record of a stream":                 {kinesis(record), 0, "eventName"},
		"a change without a name":              {with(`"eventName":"INSERT",`, ""), 1, "eventName"},
		"a change without a sequence number":   {with(`"SequenceNumber":"1",`, ""), 1, "dynamodb.SequenceNumber"},
		"a change without keys":                {with(`"Keys":{"race":{"S":"monza"}},`, ""), 1, "dynamodb.Keys"},
		"a change whose keys are null":         {with(`{"race":{"S":"monza"}}`, "null"), 1, "dynamodb.Keys"},
		"a change that is null":                {with(`{"Keys":{"race":{"S":"monza"}},"NewImage":{"a":{"N":"1"}},"SequenceNumber":"1","SizeBytes":12}`, "null"), 1, "dynamodb.SequenceNumber"},
		"an image that is an array":            {with(`{"a":{"N":"1"}}`, `[]`), 1, "dynamodb.NewImage"},
		"a size with a fraction":               {with("12", "12.0"), 1, "dynamodb.SizeBytes"},
		"a size beyond 64 bits":                {with("12", "9223372036854775808"), 1, "dynamodb.SizeBytes"},
		"a creation time that is a string":     {with(`"SizeBytes"`, `"ApproximateCreationDateTime":"1","SizeBytes"`), 1, "dynamodb.ApproximateCreationDateTime"},
		"a user identity that is a string":     {with(`"eventName"`, `"userIdentity":"Service","eventName"`), 1, "userIdentity"},
		"an attribute that is null":            {attribute(`null`), 1, "dynamodb.NewImage"},
		"an attribute that is a string":        {attribute(`"a"`), 1, "dynamodb.NewImage"},
		"an attribute of no type":              {attribute(`{}`), 1, "dynamodb.NewImage"},
		"an attribute of two types":            {attribute(`{"S":"1","N":"1"}`), 1, "dynamodb.NewImage"},
		"an attribute of an unknown type":      {attribute(`{"DATE":"1"}`), 1, "dynamodb.NewImage"},
		"an attribute of a type in lower case": {attribute(`{"s":"1"}`), 1, "dynamodb.NewImage"},
		"a string that is null":                {attribute(`{"S":null}`), 1, "dynamodb.NewImage"},
		"a number that isn't in quotes":        {attribute(`{"N":1}`), 1, "dynamodb.NewImage"},
		"a binary that is no base64":           {attribute(`{"B":"SGVsbG8"}`), 1, "dynamodb.NewImage"},
		"a boolean in quotes":                  {attribute(`{"BOOL":"true"}`), 1, "dynamodb.NewImage"},
		"a NULL that is false":                 {attribute(`{"NULL":false}`), 1, "dynamodb.NewImage"},
		"a list of bare values":                {attribute(`{"L":["a"]}`), 1, "dynamodb.NewImage"},
		"a list that is an object":             {attribute(`{"L":{}}`), 1, "dynamodb.NewImage"},
		"a map of bare values":                 {attribute(`{"M":{"a":"b"}}`), 1, "dynamodb.NewImage"},
		"a set with null in it":                {attribute(`{"SS":["a",null]}`), 1, "dynamodb.NewImage"},
		"a number set of numbers":              {attribute(`{"NS":[1]}`), 1, "dynamodb.NewImage"},
		"a binary set of numbers":              {attribute(`{"BS":[1]}`), 1, "dynamodb.NewImage"},
	} {
		t.Run(name, func(t *testing.T) {
			event, err := decode.DynamoDB([]byte(c.payload))
			check(t, err, c.record, c.member, len(c.payload))
			if event.Records != nil {
				t.Errorf("with an error it still gave %d records", len(event.Records))
			}
		})
	}
}

// What is odd but taken, each with what comes of it.
func TestKinesisTakes(t *testing.T) {
	with := func(old, replacement string) string {
		if !strings.Contains(record, old) {
			t.Fatalf("no %s in the record", old)
		}
		return kinesis(record, strings.Replace(record, old, replacement, 1))
	}
	for name, c := range map[string]struct {
		payload string
		of      func(decode.Record) any // of the last record
		want    any
	}{
		"members in another order":         {`{"Records":[{"eventID":"s:1","kinesis":{` + data + `,` + sequenceNumber + `}}]}`, func(r decode.Record) any { return r.ShardID() + string(r.Data) }, "sHello"},
		"unknown members":                  {with(`"eventID"`, `"x":{"y":[1,-2.5e+3,true,false,null,"\u00e9"]},"eventID"`), func(r decode.Record) any { return r.EventID }, "shardId-000000000000:1"},
		"unknown members that lie deep":    {with(`"eventID"`, `"x":`+strings.Repeat("[", 9_997)+strings.Repeat("]", 9_997)+`,"eventID"`), func(r decode.Record) any { return r.EventID }, "shardId-000000000000:1"},
		"white space everywhere":           {strings.NewReplacer(`"k"`, `"k"`, ":", " :\t", ",", "\r\n,  ", "{", " {\n", "}", "\n}").Replace(strings.Replace(kinesis(record, record), "shardId-000000000000:1", "x", 2)), func(r decode.Record) any { return r.EventID + string(r.Data) }, "xHello"},
		"escapes":                          {with(`"k"`, `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`), func(r decode.Record) any { return r.PartitionKey }, "\"\\/\b\f\n\r\té😀"},
		"half a surrogate pair":            {with(`"k"`, `"a\ud83dx\ude00\ud83d\ud83d\ude00"`), func(r decode.Record) any { return r.PartitionKey }, "a\ufffdx\ufffd\ufffd😀"},
		"escapes in a name":                {with(`"partitionKey"`, `"partition\u004bey"`), func(r decode.Record) any { return r.PartitionKey }, "k"},
		"escapes in base64":                {with(data, `"data":"\/\u002b\/\/"`), func(r decode.Record) any { return string(r.Data) }, "\xff\xef\xff"},
		"empty data":                       {with(data, `"data":""`), func(r decode.Record) any { return r.Data != nil && len(r.Data) == 0 }, true},
		"no partition key":                 {with(`"partitionKey":"k",`, ""), func(r decode.Record) any { return r.PartitionKey }, ""},
		"a partition key that is null":     {with(`"k"`, "null"), func(r decode.Record) any { return r.PartitionKey }, ""},
		"a member that comes twice":        {with(`"partitionKey":"k"`, `"partitionKey":"old","partitionKey":"new"`), func(r decode.Record) any { return r.PartitionKey }, "new"},
		"null after a value":               {with(`"partitionKey":"k"`, `"partitionKey":"k","partitionKey":null`), func(r decode.Record) any { return r.PartitionKey }, "k"},
		"kinesis in two parts":             {with(`,`+data, `},"kinesis":{`+data), func(r decode.Record) any { return r.PartitionKey + string(r.Data) }, "kHello"},
		"no event id":                      {with(`,"eventID":"shardId-000000000000:1"`, ""), func(r decode.Record) any { return r.ShardID() }, ""},
		"no arrival":                       {with(`,"approximateArrivalTimestamp":1545084650.987`, ""), func(r decode.Record) any { return r.ApproximateArrivalTimestamp.IsZero() }, true},
		"an arrival that is null":          {with("1545084650.987", "null"), func(r decode.Record) any { return r.ApproximateArrivalTimestamp.IsZero() }, true},
		"another form from then on":        {kinesis(record, `{"eventSource":"aws:kinesis","kinesis":{"encryptionType":"KMS",`+data+`,`+sequenceNumber+`}}`), func(r decode.Record) any { return r.EncryptionType + r.EventID + r.EventSource }, "KMSaws:kinesis"},
		"the same record again":            {kinesis(record, record), func(r decode.Record) any { return r.SequenceNumber }, "49656821355432865074579363216256757001924711567851540001"},
		"records of different streams":     {kinesis(record, strings.Replace(record, `"eventID"`, `"eventSourceARN":"b","eventID"`, 1)), func(r decode.Record) any { return r.EventSourceARN }, "b"},
		"an empty event id after full one": {with(`"shardId-000000000000:1"`, `""`), func(r decode.Record) any { return r.EventID }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			event, err := decode.Kinesis([]byte(c.payload))
			if err != nil || len(event.Records) == 0 {
				t.Fatalf("%d records, %v", len(event.Records), err)
			}
			if got := c.of(event.Records[len(event.Records)-1]); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			// Whatever comes second, the record before it reads as if it were alone.
			if strings.HasPrefix(c.payload, `{"Records":[`+record+`,`) {
				alone, err := decode.Kinesis([]byte(kinesis(record)))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(alone.Records[0], event.Records[0]); diff != "" {
					t.Errorf("the first record (-alone +got)\n%s", diff)
				}
			}
		})
	}
}

func TestEventsWithoutRecords(t *testing.T) {
	const window = `"window":{"start":"2020-12-09T07:04:00Z","end":"2020-12-09T07:06:00Z"},"isFinalInvokeForWindow":true`
	for name, payload := range map[string]string{
		"an empty batch":                         kinesis(),
		"a window's last, with an empty batch":   `{"Records":[],` + window + `}`,
		"a window's last, without Records":       `{` + window + `}`,
		"a window's last, whose Records is null": `{"Records":null,` + window + `}`,
		"a second Records that is empty":         `{"Records":[` + record + `],"Records":[]}`,
	} {
		event, err := decode.Kinesis([]byte(payload))
		if err != nil || len(event.Records) != 0 || event.Window.IsFinalInvokeForWindow != strings.Contains(payload, "window") {
			t.Errorf("%s: %+v, %v", name, event, err)
		}
		// Nor does a decoder show records of an event before.
		var d decode.Decoder
		if _, err := d.Kinesis([]byte(kinesis(record, record))); err != nil {
			t.Fatal(err)
		}
		if event, err := d.Kinesis([]byte(payload)); err != nil || len(event.Records) != 0 {
			t.Errorf("%s: %+v, %v", name, event, err)
		}
	}
}

func TestErrorsNeverQuoteThePayload(t *testing.T) {
	for _, payload := range []string{
		`{"SECRET":SECRET}`, `{"Records":"SECRET"}`, `SECRET`, `{"Records":[{"SECRET":"\SECRET"}]}`,
		kinesis(`{"kinesis":{"data":"SECRET!"}}`), kinesis(`{"kinesis":{"approximateArrivalTimestamp":"SECRET"}}`),
		`{"window":{"start":"SECRET"}}`,
	} {
		if _, err := decode.Kinesis([]byte(payload)); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", payload, err)
		}
	}
	for _, payload := range []string{`{"SECRET":{"S":1}}`, `{"a":{"SECRET":1}}`, `{"a":{"S":"SECRET","N":"1"}}`, `{"a":{"M":{"SECRET":{}}}}`} {
		if _, err := decode.DynamoDB([]byte(kinesis(`{"dynamodb":{"NewImage":` + payload + `}}`))); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// Lambda's Go runtime uses the payload's memory again after the answer.
func TestNothingOfThePayloadIsKept(t *testing.T) {
	overwrite := func(payload []byte) { copy(payload, bytes.Repeat([]byte("?"), len(payload))) }
	for _, name := range []string{"kinesis.json", "kinesis-window.json"} {
		payload := file(t, name)
		event, err := decode.Kinesis(payload)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(payload)
		again, err := decode.Kinesis(file(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(again, event); diff != "" {
			t.Errorf("%s: (-before +after)\n%s", name, diff)
		}
	}
	payload := file(t, "dynamodb.json")
	event, err := decode.DynamoDB(payload)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(payload)
	again, err := decode.DynamoDB(file(t, "dynamodb.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(again, event, attributes); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

func TestAppendingToDataLeavesTheOthersAlone(t *testing.T) {
	payload := batch(20, func(int) int { return 30 })
	event, err := decode.Kinesis(payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range event.Records {
		_ = append(record.Data, "overwritten"...)
	}
	untouched, err := decode.Kinesis(payload)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(untouched, event); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

func TestADecoderReadsOneEventAfterTheOther(t *testing.T) {
	var d decode.Decoder
	var key string
	for _, n := range []int{3, 1, 40, 0, 7, 40} {
		payload := batch(n, func(i int) int { return (i * 37) % 500 })
		want, err := decode.Kinesis(payload)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Kinesis(payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%d records: (-alone +again)\n%s", n, diff)
		}
		if key == "" {
			key = got.Records[2].PartitionKey
		}
		if _, err := d.Kinesis(payload[:len(payload)/2]); err == nil {
			t.Fatal("no error for half an event")
		}
	}
	if key != "key 2" {
		t.Errorf("a string of the first event became %q", key)
	}
}

// A decoder that kept a record of each event would keep all strings of it.
func TestADecoderLetsGoOfTheLastEvent(t *testing.T) {
	var d decode.Decoder
	collected := make(chan struct{})
	func() {
		event, err := d.Kinesis(batch(100, func(int) int { return 0 }))
		if err != nil {
			t.Fatal(err)
		}
		runtime.AddCleanup(unsafe.StringData(event.Records[99].EventID), func(struct{}) { close(collected) }, struct{}{})
	}()
	if _, err := d.Kinesis([]byte(kinesis(record))); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		runtime.GC()
	}
	select {
	case <-collected:
	case <-time.After(10 * time.Second):
		t.Error("a string of the event before is still there")
	}
	runtime.KeepAlive(&d)
}

// batch is an event as Lambda sends it, with n records of so many bytes each.
func batch(n int, size func(int) int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		content := make([]byte, size(i))
		for j := range content {
			content[j] = byte(i*7 + j*j)
		}
		fmt.Fprintf(&b, `{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"key %d","sequenceNumber":"%056d","data":"%s","approximateArrivalTimestamp":1795255200.%03d},`+
			`"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000000:%056d","eventName":"aws:kinesis:record",`+
			`"invokeIdentityArn":"arn:aws:iam::000000000000:role/standings","awsRegion":"us-east-1","eventSourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/telemetry"}`,
			i, i, base64.StdEncoding.EncodeToString(content), i%1000, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func TestLargeEvents(t *testing.T) {
	for name, c := range map[string]struct{ records, size int }{
		"10,000 records":     {10_000, 256},
		"a record of 1 MiB":  {1, 1 << 20},
		"a record of 10 MiB": {1, 10 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			sameKinesis(t, batch(c.records, func(int) int { return c.size }))
		})
	}
}

func TestRecordsOfEverySize(t *testing.T) {
	// The sizes go up and down, so that no forecast of the memory holds.
	sameKinesis(t, batch(600, func(i int) int { return i * i % 601 }))
	sameKinesis(t, batch(300, func(i int) int { return i / 299 * 50_000 }))
	sameKinesis(t, batch(300, func(i int) int { return (300 - i) / 300 * 50_000 }))
}

func TestNoAllocationPerRecord(t *testing.T) {
	count := func(n int, read func([]byte) (decode.KinesisEvent, error)) float64 {
		payload := batch(n, func(i int) int { return 900 + i%200 })
		return testing.AllocsPerRun(5, func() {
			if _, err := read(payload); err != nil {
				t.Fatal(err)
			}
		})
	}
	var d decode.Decoder
	for name, read := range map[string]func([]byte) (decode.KinesisEvent, error){"a call": decode.Kinesis, "a decoder": d.Kinesis} {
		if few, many := count(10, read), count(3000, read); many > 20 {
			t.Errorf("%s: %v allocations for 10 records, %v for 3,000", name, few, many)
		}
	}
}
