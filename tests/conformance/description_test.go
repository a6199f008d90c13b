package conformance

import (
	"archive/zip"
	"bytes"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/awsapi"
)

// What the emulator's descriptions of mappings lack, and how to tell.
var descriptionDeviations = map[string]func(*lambda.GetEventSourceMappingOutput, *lambda.CreateEventSourceMappingInput) bool{
	"BatchSize is 10 by default, not 100": func(d *lambda.GetEventSourceMappingOutput, in *lambda.CreateEventSourceMappingInput) bool {
		deviates := in.BatchSize == nil && *d.BatchSize == 10
		if deviates {
			d.BatchSize = aws.Int32(100)
		}
		return deviates
	},
	"StartingPositionTimestamp is forgotten": func(d *lambda.GetEventSourceMappingOutput, in *lambda.CreateEventSourceMappingInput) bool {
		deviates := in.StartingPositionTimestamp != nil && d.StartingPositionTimestamp == nil
		if deviates {
			d.StartingPositionTimestamp = in.StartingPositionTimestamp
		}
		return deviates
	},
	"TumblingWindowInSeconds is forgotten": func(d *lambda.GetEventSourceMappingOutput, in *lambda.CreateEventSourceMappingInput) bool {
		deviates := in.TumblingWindowInSeconds != nil && d.TumblingWindowInSeconds == nil
		if deviates {
			d.TumblingWindowInSeconds = in.TumblingWindowInSeconds
		}
		return deviates
	},
}

// A mapping's settings are those that it was created with, and its function's role.
func TestAMappingIsReadFromItsDescription(t *testing.T) {
	role, err := iam.NewFromConfig(config).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName:                 aws.String(name("role")),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	var code bytes.Buffer
	archive := zip.NewWriter(&code)
	if _, err := archive.Create("bootstrap"); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	client := lambda.NewFromConfig(config)
	function, err := client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String(name("function")), Role: role.Role.Arn, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Code: &types.FunctionCode{ZipFile: code.Bytes()},
	})
	if err != nil {
		t.Fatal(err)
	}
	stream, table := newStream(t), newTable(t)
	seen := map[string]bool{}
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		in   lambda.CreateEventSourceMappingInput
		want esm.Settings
	}{
		{
			lambda.CreateEventSourceMappingInput{EventSourceArn: &stream.arn, StartingPosition: types.EventSourcePositionTrimHorizon},
			esm.Settings{
				SourceARN: stream.arn, Start: esm.Position{Type: "TRIM_HORIZON"}, BatchSize: 100, Parallelization: 1,
				MaximumRetryAttempts: esm.Unlimited, MaximumRecordAge: esm.Unlimited,
			},
		},
		{
			lambda.CreateEventSourceMappingInput{
				EventSourceArn: &stream.arn, StartingPosition: types.EventSourcePositionAtTimestamp, StartingPositionTimestamp: &then,
				BatchSize: aws.Int32(500), MaximumBatchingWindowInSeconds: aws.Int32(20), ParallelizationFactor: aws.Int32(3),
				BisectBatchOnFunctionError: aws.Bool(true), MaximumRetryAttempts: aws.Int32(7), MaximumRecordAgeInSeconds: aws.Int32(3600),
				FunctionResponseTypes: []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures},
				DestinationConfig:     &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String("arn:aws:s3:::failures")}},
			},
			esm.Settings{
				SourceARN: stream.arn, Start: esm.Position{Type: "AT_TIMESTAMP", Time: then}, BatchSize: 500, Window: 20 * time.Second, Parallelization: 3,
				Bisect: true, Partial: true, MaximumRetryAttempts: 7, MaximumRecordAge: time.Hour, OnFailure: "arn:aws:s3:::failures",
			},
		},
		{
			lambda.CreateEventSourceMappingInput{EventSourceArn: &table.arn, StartingPosition: types.EventSourcePositionLatest, TumblingWindowInSeconds: aws.Int32(30)},
			esm.Settings{
				Kind: esm.DynamoDB, SourceARN: table.arn, Start: esm.Position{Type: "LATEST"}, BatchSize: 100, Parallelization: 1,
				MaximumRetryAttempts: esm.Unlimited, MaximumRecordAge: esm.Unlimited, Tumbling: 30 * time.Second,
			},
		},
	} {
		c.in.FunctionName, c.in.Enabled = function.FunctionName, aws.Bool(false)
		created, err := client.CreateEventSourceMapping(t.Context(), &c.in)
		if err != nil {
			t.Fatal(err)
		}
		described, err := client.GetEventSourceMapping(t.Context(), &lambda.GetEventSourceMappingInput{UUID: created.UUID})
		if err != nil {
			t.Fatal(err)
		}
		for deviation, deviates := range descriptionDeviations {
			if deviates(described, &c.in) {
				seen[deviation] = true
			}
		}
		got, err := awsapi.Settings(described)
		if err != nil {
			t.Fatal(err)
		}
		c.want.UUID, c.want.FunctionARN, c.want.Region = *created.UUID, *function.FunctionArn, "us-east-1"
		got.Start.Time = got.Start.Time.UTC()
		if *got != c.want {
			t.Errorf("got  %+v\nwant %+v", *got, c.want)
		}
	}
	for deviation := range descriptionDeviations {
		if !seen[deviation] {
			t.Errorf("the emulator no longer deviates: %s", deviation)
		}
	}
}
