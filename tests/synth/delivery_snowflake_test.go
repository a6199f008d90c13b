package synth

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

const snowflakeEndpoint = "com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0"

func init() {
	notLocal["delivery-snowflake"] = "SnowflakeDestinationDescription: Snowflake isn't supported"
	fullest["delivery-snowflake"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Warehouse", delivery.Props{
			Source: stream.New(stack, "Orders", stream.Props{Key: key}),
			To: delivery.Snowflake{
				SnowflakeDelivery: spec.SnowflakeDelivery{
					AccountURL: "https://xy12345.eu-west-1.snowflakecomputing.com", Database: "SHOP", Schema: "RAW", Table: "ORDERS",
					Loading: spec.VariantContentAndMetadata, ContentColumn: "RECORD", MetadataColumn: "META", Role: "INGEST", PrivateLink: snowflakeEndpoint,
					BufferSize: 16, BufferInterval: 30 * time.Second, Retry: 10 * time.Minute, BackupAll: true,
				},
				KeyPair: aSecret(stack, key),
				Failed:  delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			},
			Transform: &delivery.Transform{Code: gofunc.Package(someCode)},
			LogKey:    key,
		})
	}
}

func aSnowflake(stack awscdk.Stack, change func(*delivery.Snowflake)) *delivery.Delivery {
	to := delivery.Snowflake{
		SnowflakeDelivery: spec.SnowflakeDelivery{AccountURL: "xy12345.snowflakecomputing.com:443", Database: "SHOP", Schema: "RAW", Table: "ORDERS"},
		KeyPair:           aSecret(stack, nil),
	}
	if change != nil {
		change(&to)
	}
	return delivery.New(stack, "D", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: to})
}

func TestASnowflakeDeliverysDefaultsAreWrittenOut(t *testing.T) {
	app, stack := newStack(t)
	d := aSnowflake(stack, nil)
	got := destination(t, synth(t, app, "Test"), "SnowflakeDestinationConfiguration")
	// The key, its passphrase and the user are in the secret only.
	want := map[string]any{
		"AccountUrl": "xy12345.snowflakecomputing.com:443", "Database": "SHOP", "Schema": "RAW", "Table": "ORDERS",
		"DataLoadingOption": "JSON_MAPPING", "S3BackupMode": "FailedDataOnly",
	}
	if diff := cmp.Diff(want, plain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at(got, "BufferingHints", "SizeInMBs") != 128.0 || at(got, "BufferingHints", "IntervalInSeconds") != 0.0 || at(got, "RetryOptions", "DurationInSeconds") != 60.0 ||
		at(got, "SecretsManagerConfiguration", "SecretARN") != secretARN || at(got, "SnowflakeRoleConfiguration", "Enabled") != false || got["SnowflakeVpcConfiguration"] != nil {
		t.Errorf("%v", got)
	}
	if names(d.Signals()) != "SourceAgeWarning SourceAgeCritical SourceThrottled Freshness Success BackupSuccess" {
		t.Errorf("signals %s", names(d.Signals()))
	}
	if s := signal(t, d, "Freshness"); s.Metric.Name != "DeliveryToSnowflake.DataFreshness" || s.Threshold != 180 || s.Runbook != "delivery-snowflake" {
		t.Errorf("%+v", s)
	}
	watch.New(stack, "Watch", watch.Props{Signals: d.Signals()})
}

func TestEverySettingOfSnowflakeReachesFirehose(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-snowflake"](stack)
	got := destination(t, synth(t, app, "Test"), "SnowflakeDestinationConfiguration")
	want := map[string]any{
		"AccountUrl": "https://xy12345.eu-west-1.snowflakecomputing.com", "Database": "SHOP", "Schema": "RAW", "Table": "ORDERS",
		"DataLoadingOption": "VARIANT_CONTENT_AND_METADATA_MAPPING", "ContentColumnName": "RECORD", "MetaDataColumnName": "META", "S3BackupMode": "AllData",
	}
	if diff := cmp.Diff(want, plain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at(got, "BufferingHints", "SizeInMBs") != 16.0 || at(got, "BufferingHints", "IntervalInSeconds") != 30.0 || at(got, "RetryOptions", "DurationInSeconds") != 600.0 ||
		at(got, "SnowflakeVpcConfiguration", "PrivateLinkVpceId") != snowflakeEndpoint {
		t.Errorf("%v", got)
	}
	if diff := cmp.Diff(map[string]any{"Enabled": true, "SnowflakeRole": "INGEST"}, got["SnowflakeRoleConfiguration"]); diff != "" {
		t.Error(diff)
	}
	// A transform before Snowflake is handed AWS's 256 KiB, not the usual 1 MiB.
	size := any(nil)
	for _, p := range list(at(got, "ProcessingConfiguration", "Processors", 0, "Parameters")) {
		if at(p, "ParameterName") == "BufferSizeInMBs" {
			size = at(p, "ParameterValue")
		}
	}
	if size != "0.25" {
		t.Errorf("a transform is handed %v MiB", size)
	}
}

func TestSnowflakeSettingsThatCantHoldAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*delivery.Snowflake)
		fields string
	}{
		"nothing":                         {func(s *delivery.Snowflake) { *s = delivery.Snowflake{} }, "AccountURL Database Schema Table KeyPair"},
		"a blank table":                   {func(s *delivery.Snowflake) { s.Table = " " }, "Table"},
		"another site":                    {func(s *delivery.Snowflake) { s.AccountURL = "https://snowflake.example.com" }, "AccountURL"},
		"a site that only looks like it":  {func(s *delivery.Snowflake) { s.AccountURL = "https://xy12345.snowflakecomputing.com.example.org" }, "AccountURL"},
		"a URL without TLS":               {func(s *delivery.Snowflake) { s.AccountURL = "http://xy12345.snowflakecomputing.com" }, "AccountURL"},
		"a URL that is too long":          {func(s *delivery.Snowflake) { s.AccountURL = strings.Repeat("x", 2048) + ".snowflakecomputing.com" }, "AccountURL"},
		"a name that is too long":         {func(s *delivery.Snowflake) { s.Schema = strings.Repeat("S", 256) }, "Schema"},
		"a role that is too long":         {func(s *delivery.Snowflake) { s.Role = strings.Repeat("R", 256) }, "Role"},
		"an unknown loading":              {func(s *delivery.Snowflake) { s.Loading = "CSV" }, "Loading"},
		"a loading without its column":    {func(s *delivery.Snowflake) { s.Loading = spec.VariantContent }, "ContentColumn"},
		"a loading without both columns":  {func(s *delivery.Snowflake) { s.Loading = spec.VariantContentAndMetadata }, "ContentColumn MetadataColumn"},
		"columns that nothing is put in":  {func(s *delivery.Snowflake) { s.ContentColumn, s.MetadataColumn = "RECORD", "META" }, "ContentColumn MetadataColumn"},
		"an endpoint that is none":        {func(s *delivery.Snowflake) { s.PrivateLink = "vpce-0123456789abcdef0" }, "PrivateLink"},
		"a buffer that is too big":        {func(s *delivery.Snowflake) { s.BufferSize = 129 }, "BufferSize"},
		"an interval that is too long":    {func(s *delivery.Snowflake) { s.BufferInterval = 901 * time.Second }, "BufferInterval"},
		"an interval of part of a second": {func(s *delivery.Snowflake) { s.BufferInterval = 1500 * time.Millisecond }, "BufferInterval"},
		"a retry that is too long":        {func(s *delivery.Snowflake) { s.Retry = 7201 * time.Second }, "Retry"},
		"a bucket's setting":              {func(s *delivery.Snowflake) { s.Failed.Compression = "LZ4" }, "Failed.Compression"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/D", c.fields, func() { aSnowflake(stack, c.change) })
		})
	}
}
