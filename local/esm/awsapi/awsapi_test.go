package awsapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/millrace/millrace/local/esm"
)

func described(change func(*lambda.GetEventSourceMappingOutput)) *lambda.GetEventSourceMappingOutput {
	d := &lambda.GetEventSourceMappingOutput{
		UUID: aws.String("mapping"), EventSourceArn: aws.String("arn:aws:kinesis:eu-west-1:111122223333:stream/orders"),
		FunctionArn: aws.String("arn:aws:lambda:eu-west-1:111122223333:function:bill"), StartingPosition: lambdatypes.EventSourcePositionTrimHorizon,
	}
	change(d)
	return d
}

func TestADescriptionBecomesSettings(t *testing.T) {
	s, err := Settings(described(func(d *lambda.GetEventSourceMappingOutput) {
		d.BatchSize, d.MaximumBatchingWindowInSeconds, d.ParallelizationFactor = aws.Int32(500), aws.Int32(20), aws.Int32(3)
		d.BisectBatchOnFunctionError, d.MaximumRetryAttempts, d.MaximumRecordAgeInSeconds = aws.Bool(true), aws.Int32(7), aws.Int32(3600)
		d.FunctionResponseTypes = []lambdatypes.FunctionResponseType{lambdatypes.FunctionResponseTypeReportBatchItemFailures}
		d.DestinationConfig = &lambdatypes.DestinationConfig{OnFailure: &lambdatypes.OnFailure{Destination: aws.String("arn:aws:s3:::failures")}}
		d.FilterCriteria = &lambdatypes.FilterCriteria{Filters: []lambdatypes.Filter{{Pattern: aws.String(`{"data": {"kind": ["sale"]}}`)}, {Pattern: aws.String(`{"partitionKey": ["vip"]}`)}}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	for data, passes := range map[string]bool{`{"kind":"sale"}`: true, `{"kind":"refund"}`: false, `no JSON`: false} {
		if s.Filter.Match(&esm.Record{Key: "k", Data: []byte(data)}) != passes {
			t.Errorf("%s passes: %v", data, !passes)
		}
	}
	if !s.Filter.Match(&esm.Record{Key: "vip", Data: []byte(`no JSON`)}) {
		t.Error("a filter on the key alone looks at the data")
	}
	s.Filter = nil
	want := esm.Settings{
		UUID: "mapping", SourceARN: "arn:aws:kinesis:eu-west-1:111122223333:stream/orders", FunctionARN: "arn:aws:lambda:eu-west-1:111122223333:function:bill",
		Region: "eu-west-1", Start: esm.Position{Type: "TRIM_HORIZON"}, BatchSize: 500, Window: 20 * time.Second, Parallelization: 3,
		Bisect: true, Partial: true, MaximumRetryAttempts: 7, MaximumRecordAge: time.Hour, OnFailure: "arn:aws:s3:::failures",
	}
	if *s != want {
		t.Errorf("got  %+v\nwant %+v", *s, want)
	}
}

func TestWithoutLimitsThereAreNone(t *testing.T) {
	s, err := Settings(described(func(d *lambda.GetEventSourceMappingOutput) {
		d.EventSourceArn = aws.String("arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026-01-01T00:00:00.000")
		d.MaximumRecordAgeInSeconds, d.MaximumRetryAttempts = aws.Int32(-1), aws.Int32(-1)
	}))
	if err != nil || s.Kind != esm.DynamoDB || s.MaximumRecordAge != esm.Unlimited || s.MaximumRetryAttempts != esm.Unlimited || s.BatchSize != 100 || s.Parallelization != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWhatIsNotReadHereIsRefusedByName(t *testing.T) {
	for want, change := range map[string]func(*lambda.GetEventSourceMappingOutput){
		"enhanced fan-out": func(d *lambda.GetEventSourceMappingOutput) {
			d.EventSourceArn = aws.String("arn:aws:kinesis:eu-west-1:111122223333:stream/orders/consumer/bill:1")
		},
		"sqs isn't read here": func(d *lambda.GetEventSourceMappingOutput) {
			d.EventSourceArn = aws.String("arn:aws:sqs:eu-west-1:111122223333:orders")
		},
		"no ARN of a source": func(d *lambda.GetEventSourceMappingOutput) { d.EventSourceArn = nil },
		"FilterCriteria can't be read: AccessDenied": func(d *lambda.GetEventSourceMappingOutput) {
			d.FilterCriteriaError = &lambdatypes.FilterCriteriaError{ErrorCode: aws.String("AccessDenied"), Message: aws.String("the key")}
		},
		"no StartingPositionTimestamp": func(d *lambda.GetEventSourceMappingOutput) {
			d.StartingPosition = lambdatypes.EventSourcePositionAtTimestamp
		},
		`"kafka://failures" is not the ARN of a bucket, queue or topic`: func(d *lambda.GetEventSourceMappingOutput) {
			d.DestinationConfig = &lambdatypes.DestinationConfig{OnFailure: &lambdatypes.OnFailure{Destination: aws.String("kafka://failures")}}
		},
		"failures.fifo\" is FIFO": func(d *lambda.GetEventSourceMappingOutput) {
			d.DestinationConfig = &lambdatypes.DestinationConfig{OnFailure: &lambdatypes.OnFailure{Destination: aws.String("arn:aws:sqs:eu-west-1:111122223333:failures.fifo")}}
		},
		"BatchSize is 20000": func(d *lambda.GetEventSourceMappingOutput) { d.BatchSize = aws.Int32(20_000) },
		"filter 1: eventID: filters are on data here": func(d *lambda.GetEventSourceMappingOutput) {
			d.FilterCriteria = &lambdatypes.FilterCriteria{Filters: []lambdatypes.Filter{{Pattern: aws.String(`{"$or": [{"partitionKey": ["a"]}, {"eventID": [{"prefix": "shardId-"}]}], "data": {"kind": ["sale"]}}`)}}}
		},
		"data.kind": func(d *lambda.GetEventSourceMappingOutput) {
			d.FilterCriteria = &lambdatypes.FilterCriteria{Filters: []lambdatypes.Filter{{Pattern: aws.String(`{"data": {"kind": "sale"}}`)}}}
		},
	} {
		if _, err := Settings(described(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestFiltersAskForWhatIsThere(t *testing.T) {
	record := esm.Record{Sequence: "7", Key: "eu-1", Data: []byte(`{"kind": "sale"}`)}
	for pattern, want := range map[string]bool{
		`{"data.kind": ["sale"]}`: true, `{"data": {"kind": ["return"]}}`: false,
		`{"partitionKey": [{"prefix": "eu-"}], "sequenceNumber": ["7"]}`:      true,
		`{"$or": [{"partitionKey": ["us-1"]}, {"data": {"kind": ["sale"]}}]}`: true,
	} {
		f, err := NewFilter(esm.Kinesis, []string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match(&record); got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}

func TestAChangeIsTheEventThatHandlersKnow(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)
	record, err := change(streamtypes.Record{
		EventID: aws.String("e1"), EventName: streamtypes.OperationTypeModify, EventVersion: aws.String("1.1"), EventSource: aws.String("aws:dynamodb"), AwsRegion: aws.String("eu-west-1"),
		Dynamodb: &streamtypes.StreamRecord{
			ApproximateCreationDateTime: aws.Time(at), SequenceNumber: aws.String("42"), SizeBytes: aws.Int64(99), StreamViewType: streamtypes.StreamViewTypeNewImage,
			Keys: map[string]streamtypes.AttributeValue{"id": &streamtypes.AttributeValueMemberS{Value: "a"}},
			NewImage: map[string]streamtypes.AttributeValue{
				"id": &streamtypes.AttributeValueMemberS{Value: "a"}, "n": &streamtypes.AttributeValueMemberN{Value: "1.5"}, "b": &streamtypes.AttributeValueMemberB{Value: []byte{1, 2}},
				"t": &streamtypes.AttributeValueMemberBOOL{Value: true}, "z": &streamtypes.AttributeValueMemberNULL{Value: true},
				"ss": &streamtypes.AttributeValueMemberSS{Value: []string{"x"}}, "ns": &streamtypes.AttributeValueMemberNS{Value: []string{"7"}}, "bs": &streamtypes.AttributeValueMemberBS{Value: [][]byte{{3}}},
				"l": &streamtypes.AttributeValueMemberL{Value: []streamtypes.AttributeValue{&streamtypes.AttributeValueMemberM{Value: map[string]streamtypes.AttributeValue{"k": &streamtypes.AttributeValueMemberS{Value: "v"}}}}},
			},
		},
	})
	if err != nil || record.Sequence != "42" || record.Key != `{"id":{"S":"a"}}` || !record.Arrival.Equal(at.Truncate(time.Second)) {
		t.Fatalf("%+v, %v", record, err)
	}
	batch := esm.Batch{Settings: &esm.Settings{Kind: esm.DynamoDB, SourceARN: "arn:stream"}, Shard: "s", Records: []esm.Record{record}}
	var event events.DynamoDBEvent
	if err := json.Unmarshal(batch.Payload(), &event); err != nil {
		t.Fatalf("%v in %s", err, batch.Payload())
	}
	got := event.Records[0]
	image := got.Change.NewImage
	if got.EventID != "e1" || got.EventName != "MODIFY" || got.EventSourceArn != "arn:stream" || got.Change.SequenceNumber != "42" || got.Change.StreamViewType != "NEW_IMAGE" ||
		!got.Change.ApproximateCreationDateTime.Equal(at.Truncate(time.Second)) || image["n"].Number() != "1.5" || string(image["b"].Binary()) != "\x01\x02" || !image["t"].Boolean() ||
		!image["z"].IsNull() || image["ss"].StringSet()[0] != "x" || image["ns"].NumberSet()[0] != "7" || image["bs"].BinarySet()[0][0] != 3 || image["l"].List()[0].Map()["k"].String() != "v" {
		t.Errorf("%+v", got)
	}
}
