package synth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

func init() {
	fullest["delivery-splunk"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Logs", delivery.Props{
			Source: stream.New(stack, "Orders", stream.Props{Key: key}),
			To: delivery.Splunk{
				SplunkDelivery: spec.SplunkDelivery{
					Endpoint: "https://http-inputs-firehose-shop.splunkcloud.com:443", EndpointType: spec.Event, AcknowledgmentTimeout: 5 * time.Minute,
					BufferSize: 1, BufferInterval: 30 * time.Second, Retry: 10 * time.Minute, BackupAll: true,
				},
				Token:  aSecret(stack, key),
				Failed: delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			},
			LogKey: key,
		})
	}
	fullest["delivery-http-endpoint"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Partner", delivery.Props{
			Source: stream.New(stack, "Orders", stream.Props{Key: key}),
			To: delivery.HTTPEndpoint{
				HTTPEndpointDelivery: spec.HTTPEndpointDelivery{
					URL: "https://partner.example.com/orders", Name: "Partner", ContentEncoding: spec.EncodingNone,
					CommonAttributes: map[string]string{"shop": "eu", "stage": "test"},
					BufferSize:       64, BufferInterval: 15 * time.Minute, Retry: spec.Zero, BackupAll: true,
				},
				AccessKey: aSecret(stack, key),
				Failed:    delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			},
			LogKey: key,
		})
	}
}

const secretARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:partner-AbCdEf"

func aSecret(stack awscdk.Stack, key awskms.IKey) awssecretsmanager.ISecret {
	return awssecretsmanager.Secret_FromSecretAttributes(stack, jsii.String("Secret"), &awssecretsmanager.SecretAttributes{
		SecretCompleteArn: jsii.String(secretARN), EncryptionKey: key,
	})
}

func aSplunk(stack awscdk.Stack, change func(*delivery.Splunk)) *delivery.Delivery {
	to := delivery.Splunk{SplunkDelivery: spec.SplunkDelivery{Endpoint: "https://splunk.example.com:8088"}}
	if change != nil {
		change(&to)
	}
	return delivery.New(stack, "D", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: to})
}

// withToken gives a Splunk the secret that it needs.
func withToken(stack awscdk.Stack) func(*delivery.Splunk) {
	return func(s *delivery.Splunk) { s.Token = aSecret(stack, nil) }
}

func anHTTPEndpoint(stack awscdk.Stack, to delivery.HTTPEndpoint) *delivery.Delivery {
	return delivery.New(stack, "D", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: to})
}

func TestASplunkDeliverysDefaultsAreWrittenOut(t *testing.T) {
	app, stack := newStack(t)
	d := aSplunk(stack, withToken(stack))
	got := destination(t, synth(t, app, "Test"), "SplunkDestinationConfiguration")
	want := map[string]any{
		"HECEndpoint": "https://splunk.example.com:8088", "HECEndpointType": "Raw", "HECAcknowledgmentTimeoutInSeconds": 600.0, "S3BackupMode": "FailedEventsOnly",
	}
	if diff := cmp.Diff(want, plain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at(got, "BufferingHints", "SizeInMBs") != 5.0 || at(got, "BufferingHints", "IntervalInSeconds") != 60.0 || at(got, "RetryOptions", "DurationInSeconds") != 300.0 {
		t.Errorf("%v", got)
	}
	if names(d.Signals()) != "SourceAgeWarning SourceAgeCritical SourceThrottled Freshness Success AckLatency BackupSuccess" {
		t.Errorf("signals %s", names(d.Signals()))
	}
	if s := signal(t, d, "AckLatency"); s.Metric.Name != "DeliveryToSplunk.DataAckLatency" || s.Threshold != 300 {
		t.Errorf("%+v", s)
	}
	watch.New(stack, "Watch", watch.Props{Signals: d.Signals()})
}

// As AWS has it; what is set stays, and what was passed isn't changed.
func TestATransformTowardSplunkIsHandedLessAtOnce(t *testing.T) {
	for _, c := range []struct {
		set  float64
		want string
	}{{0, "0.25"}, {2, "2"}} {
		app, stack := newStack(t)
		transform := &delivery.Transform{Code: gofunc.Package(someCode), Transform: spec.Transform{BufferSize: c.set}}
		to := delivery.Splunk{SplunkDelivery: spec.SplunkDelivery{Endpoint: "https://splunk.example.com:8088"}, Token: aSecret(stack, nil)}
		delivery.New(stack, "D", delivery.Props{DirectPut: &delivery.DirectPut{}, To: to, Transform: transform})
		got := at(destination(t, synth(t, app, "Test"), "SplunkDestinationConfiguration"), "ProcessingConfiguration", "Processors", 0, "Parameters")
		size := ""
		for _, p := range list(got) {
			if at(p, "ParameterName") == "BufferSizeInMBs" {
				size, _ = at(p, "ParameterValue").(string)
			}
		}
		if size != c.want || transform.BufferSize != c.set {
			t.Errorf("%g: %s, want %s", c.set, size, c.want)
		}
	}
}

func TestEverySettingOfSplunkAndHTTPReachesFirehose(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-splunk"](stack)
	got := destination(t, synth(t, app, "Test"), "SplunkDestinationConfiguration")
	want := map[string]any{
		"HECEndpoint": "https://http-inputs-firehose-shop.splunkcloud.com:443", "HECEndpointType": "Event", "HECAcknowledgmentTimeoutInSeconds": 300.0, "S3BackupMode": "AllEvents",
	}
	if diff := cmp.Diff(want, plain(got)); diff != "" {
		t.Errorf("Splunk (-want +got):\n%s", diff)
	}
	if at(got, "BufferingHints", "SizeInMBs") != 1.0 || at(got, "BufferingHints", "IntervalInSeconds") != 30.0 || at(got, "RetryOptions", "DurationInSeconds") != 600.0 {
		t.Errorf("%v", got)
	}
	app, stack = newStack(t)
	fullest["delivery-http-endpoint"](stack)
	got = destination(t, synth(t, app, "Test"), "HttpEndpointDestinationConfiguration")
	if at(got, "EndpointConfiguration", "Url") != "https://partner.example.com/orders" || at(got, "EndpointConfiguration", "Name") != "Partner" || at(got, "S3BackupMode") != "AllData" ||
		at(got, "BufferingHints", "SizeInMBs") != 64.0 || at(got, "BufferingHints", "IntervalInSeconds") != 900.0 || at(got, "RetryOptions", "DurationInSeconds") != 0.0 {
		t.Errorf("%v", got)
	}
	attributes := []any{map[string]any{"AttributeName": "shop", "AttributeValue": "eu"}, map[string]any{"AttributeName": "stage", "AttributeValue": "test"}}
	if diff := cmp.Diff(map[string]any{"ContentEncoding": "NONE", "CommonAttributes": attributes}, at(got, "RequestConfiguration")); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

// Credentials are in no template, and Firehose may read the one secret, with its key
// through Secrets Manager only.
func TestFirehoseReadsItsSecretAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		secret  func(stack awscdk.Stack) awssecretsmanager.ISecret
		on      string // what the role may read
		decrypt bool
	}{
		"by its ARN, with a customer key": {func(s awscdk.Stack) awssecretsmanager.ISecret {
			return aSecret(s, awskms.NewKey(s, jsii.String("Key"), nil))
		}, secretARN, true},
		"by its name": {func(s awscdk.Stack) awssecretsmanager.ISecret {
			return awssecretsmanager.Secret_FromSecretNameV2(s, jsii.String("Secret"), jsii.String("shop/partner"))
		}, "arn:<AWS::Partition>:secretsmanager:<AWS::Region>:<AWS::AccountId>:secret:shop/partner-??????", false},
		"defined here": {func(s awscdk.Stack) awssecretsmanager.ISecret {
			return awssecretsmanager.NewSecret(s, jsii.String("Secret"), nil)
		}, "<Secret", false},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			aSplunk(stack, func(s *delivery.Splunk) { s.Token = c.secret(stack) })
			template := synth(t, app, "Test")
			allowed := statements(t, template, "DRole")
			if got := allowed["secretsmanager:GetSecretValue"]; len(got) != 1 || !strings.HasPrefix(got[0], c.on) {
				t.Errorf("it may read %v, want %s", got, c.on)
			}
			for action := range allowed {
				if strings.HasPrefix(action, "secretsmanager:") && action != "secretsmanager:GetSecretValue" {
					t.Errorf("it may %s", action)
				}
			}
			configuration := at(destination(t, template, "SplunkDestinationConfiguration"), "SecretsManagerConfiguration")
			if at(configuration, "Enabled") != true || at(configuration, "RoleARN") == nil || at(configuration, "SecretARN") == nil {
				t.Errorf("%v", configuration)
			}
			via := false
			for _, policy := range template.OfType("AWS::IAM::Policy") {
				for _, s := range list(at(policy.Properties, "PolicyDocument", "Statement")) {
					via = via || strings.Contains(fmt.Sprint(at(s, "Condition")), "secretsmanager.") && strings.Contains(fmt.Sprint(at(s, "Action")), "kms:Decrypt")
				}
			}
			if via != c.decrypt {
				t.Errorf("kms:Decrypt through Secrets Manager: %v", via)
			}
		})
	}
}

func TestAnHTTPEndpointsDefaults(t *testing.T) {
	app, stack := newStack(t)
	d := anHTTPEndpoint(stack, delivery.HTTPEndpoint{HTTPEndpointDelivery: spec.HTTPEndpointDelivery{URL: "https://partner.example.com/in"}})
	got := destination(t, synth(t, app, "Test"), "HttpEndpointDestinationConfiguration")
	if at(got, "EndpointConfiguration", "Name") != "partner.example.com" || got["SecretsManagerConfiguration"] != nil || at(got, "EndpointConfiguration", "AccessKey") != nil ||
		at(got, "S3BackupMode") != "FailedDataOnly" || at(got, "BufferingHints", "SizeInMBs") != 5.0 || at(got, "BufferingHints", "IntervalInSeconds") != 300.0 || at(got, "RetryOptions", "DurationInSeconds") != 300.0 {
		t.Errorf("%v", got)
	}
	if diff := cmp.Diff(map[string]any{"ContentEncoding": "GZIP"}, at(got, "RequestConfiguration")); diff != "" {
		t.Error(diff)
	}
	if s := signal(t, d, "Success"); s.Metric.Name != "DeliveryToHttpEndpoint.Success" || s.Runbook != "delivery-http-endpoint" {
		t.Errorf("%+v", s)
	}
	if s := signal(t, d, "BackupSuccess"); worst(s) != "MIN DeliveryToS3.Success BackupToS3.Success" {
		t.Errorf("%+v", s)
	}
	watch.New(stack, "Watch", watch.Props{Signals: d.Signals()})
}

func TestDatadogsSitesAreThoseOfTheCDK(t *testing.T) {
	for site, theirs := range map[delivery.DatadogSite]awskinesisfirehose.DatadogEndpoint{
		delivery.DatadogUS1: awskinesisfirehose.DatadogEndpoint_LOGS_US1(), delivery.DatadogUS3: awskinesisfirehose.DatadogEndpoint_LOGS_US3(),
		delivery.DatadogUS5: awskinesisfirehose.DatadogEndpoint_LOGS_US5(), delivery.DatadogEU: awskinesisfirehose.DatadogEndpoint_LOGS_EU(),
		delivery.DatadogAP1: awskinesisfirehose.DatadogEndpoint_LOGS_AP1(), delivery.DatadogGov: awskinesisfirehose.DatadogEndpoint_LOGS_GOV(),
	} {
		if string(site) != *theirs.Url() {
			t.Errorf("%s, the CDK has %s", site, *theirs.Url())
		}
	}
}

func TestPartnersHaveTheSettingsTheyAskFor(t *testing.T) {
	for name, c := range map[string]struct {
		to                    func(awssecretsmanager.ISecret) delivery.HTTPEndpoint
		url                   string
		size, interval, retry float64
		attributes            any
	}{
		"Datadog": {
			func(k awssecretsmanager.ISecret) delivery.HTTPEndpoint {
				return delivery.Datadog(delivery.DatadogEU, k)
			},
			"https://aws-kinesis-http-intake.logs.datadoghq.eu/v1/input", 4, 60, 300, nil,
		},
		"New Relic": {
			func(k awssecretsmanager.ISecret) delivery.HTTPEndpoint {
				return delivery.NewRelic(delivery.NewRelicEU, k)
			},
			"https://aws-api.eu.newrelic.com/firehose/v1", 1, 60, 300, nil,
		},
		"Dynatrace": {
			func(k awssecretsmanager.ISecret) delivery.HTTPEndpoint {
				return delivery.Dynatrace("https://abc12345.live.dynatrace.com/", k)
			},
			"https://abc12345.live.dynatrace.com/api/v2/logs/ingest/aws_firehose", 1, 60, 900,
			[]any{map[string]any{"AttributeName": "dt-url", "AttributeValue": "https://abc12345.live.dynatrace.com"}},
		},
		"Honeycomb": {
			func(k awssecretsmanager.ISecret) delivery.HTTPEndpoint {
				return delivery.Honeycomb(delivery.HoneycombEU, "race", k)
			},
			"https://api.eu1.honeycomb.io/1/kinesis_events/race", 5, 60, 300, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			anHTTPEndpoint(stack, c.to(aSecret(stack, nil)))
			got := destination(t, synth(t, app, "Test"), "HttpEndpointDestinationConfiguration")
			if at(got, "EndpointConfiguration", "Name") != name || at(got, "EndpointConfiguration", "Url") != c.url || at(got, "BufferingHints", "SizeInMBs") != c.size ||
				at(got, "BufferingHints", "IntervalInSeconds") != c.interval || at(got, "RetryOptions", "DurationInSeconds") != c.retry || at(got, "SecretsManagerConfiguration", "SecretARN") != secretARN {
				t.Errorf("%v", got)
			}
			if at(got, "RequestConfiguration", "ContentEncoding") != "GZIP" {
				t.Error("it isn't compressed")
			}
			if diff := cmp.Diff(c.attributes, at(got, "RequestConfiguration", "CommonAttributes")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSplunkSettingsThatCantHoldAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*delivery.Splunk)
		fields string
	}{
		"nothing":                           {func(s *delivery.Splunk) { *s = delivery.Splunk{} }, "Endpoint Token"},
		"an endpoint without TLS":           {func(s *delivery.Splunk) { s.Endpoint = "http://splunk:8088" }, "Endpoint"},
		"an endpoint without a host":        {func(s *delivery.Splunk) { s.Endpoint = "https://" }, "Endpoint"},
		"an endpoint with credentials":      {func(s *delivery.Splunk) { s.Endpoint = "https://x:secret@splunk:8088" }, "Endpoint"},
		"an endpoint with a path":           {func(s *delivery.Splunk) { s.Endpoint = "https://splunk:8088/services/collector/raw" }, "Endpoint"},
		"an endpoint with a query":          {func(s *delivery.Splunk) { s.Endpoint = "https://splunk:8088?channel=1" }, "Endpoint"},
		"an endpoint that is too long":      {func(s *delivery.Splunk) { s.Endpoint = "https://" + strings.Repeat("s", 2048) }, "Endpoint"},
		"an unknown type":                   {func(s *delivery.Splunk) { s.EndpointType = "Metric" }, "EndpointType"},
		"a timeout that is too short":       {func(s *delivery.Splunk) { s.AcknowledgmentTimeout = 179 * time.Second }, "AcknowledgmentTimeout"},
		"a timeout that is too long":        {func(s *delivery.Splunk) { s.AcknowledgmentTimeout = 601 * time.Second }, "AcknowledgmentTimeout"},
		"a timeout of a part of a second":   {func(s *delivery.Splunk) { s.AcknowledgmentTimeout = 200*time.Second + 1 }, "AcknowledgmentTimeout"},
		"a buffer that is too big":          {func(s *delivery.Splunk) { s.BufferSize = 6 }, "BufferSize"},
		"an interval that is too long":      {func(s *delivery.Splunk) { s.BufferInterval = 61 * time.Second }, "BufferInterval"},
		"a retry that is too long":          {func(s *delivery.Splunk) { s.Retry = 7201 * time.Second }, "Retry"},
		"failures without a buffer":         {func(s *delivery.Splunk) { s.Failed.BufferInterval = spec.Zero }, "Failed.BufferInterval"},
		"failures every half minute":        {func(s *delivery.Splunk) { s.Failed.BufferInterval = 30 * time.Second }, "Failed.BufferInterval"},
		"failures every half hour":          {func(s *delivery.Splunk) { s.Failed.BufferInterval = 30 * time.Minute }, "Failed.BufferInterval"},
		"a prefix of failures too long":     {func(s *delivery.Splunk) { s.Failed.Prefix = strings.Repeat("p", 1_025) + "/" }, "Failed.Prefix"},
		"a bucket's setting":                {func(s *delivery.Splunk) { s.Failed.Prefix = "!{date:yyyy}/" }, "Failed.Prefix"},
		"everything wrong at once, at once": {func(s *delivery.Splunk) { s.Endpoint, s.BufferSize, s.Retry = "splunk", 9, -1*time.Second }, "Endpoint BufferSize Retry"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/D", c.fields, func() {
				aSplunk(stack, func(s *delivery.Splunk) {
					withToken(stack)(s)
					c.change(s)
				})
			})
		})
	}
}

func TestHTTPEndpointSettingsThatCantHoldAreRefused(t *testing.T) {
	with := func(s spec.HTTPEndpointDelivery) delivery.HTTPEndpoint {
		if s.URL == "" {
			s.URL = "https://partner.example.com/in"
		}
		return delivery.HTTPEndpoint{HTTPEndpointDelivery: s}
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("a", i)] = "x"
	}
	for name, c := range map[string]struct {
		to     delivery.HTTPEndpoint
		fields string
	}{
		"no URL":                        {delivery.HTTPEndpoint{}, "URL"},
		"a URL without TLS":             {with(spec.HTTPEndpointDelivery{URL: "http://example.com"}), "URL"},
		"a URL on another port":         {with(spec.HTTPEndpointDelivery{URL: "https://example.com:8443/in"}), "URL"},
		"a URL with credentials":        {with(spec.HTTPEndpointDelivery{URL: "https://me:secret@example.com/in"}), "URL"},
		"a URL that is too long":        {with(spec.HTTPEndpointDelivery{URL: "https://example.com/" + strings.Repeat("p", 1000)}), "URL"},
		"no site of Datadog":            {delivery.Datadog("eu", nil), "URL"},
		"no environment of Dynatrace":   {delivery.Dynatrace("", nil), "URL"},
		"no dataset of Honeycomb":       {delivery.Honeycomb(delivery.HoneycombUS, "", nil), "URL"},
		"a URL in capitals":             {with(spec.HTTPEndpointDelivery{URL: "HTTPS://example.com/in"}), "URL"},
		"a URL with a fragment":         {with(spec.HTTPEndpointDelivery{URL: "https://example.com/in#here"}), "URL"},
		"a name of two lines":           {with(spec.HTTPEndpointDelivery{Name: "my\nendpoint"}), "Name"},
		"an attribute of two lines":     {with(spec.HTTPEndpointDelivery{CommonAttributes: map[string]string{"a": "x\ny"}}), `CommonAttributes["a"]`},
		"an attribute's name of two":    {with(spec.HTTPEndpointDelivery{CommonAttributes: map[string]string{"a\nb": "x"}}), "CommonAttributes"},
		"a buffer for ever":             {with(spec.HTTPEndpointDelivery{BufferInterval: spec.Forever}), "BufferInterval"},
		"a blank name":                  {with(spec.HTTPEndpointDelivery{Name: " "}), "Name"},
		"a name that is too long":       {with(spec.HTTPEndpointDelivery{Name: strings.Repeat("n", 257)}), "Name"},
		"an unknown encoding":           {with(spec.HTTPEndpointDelivery{ContentEncoding: "BROTLI"}), "ContentEncoding"},
		"51 attributes":                 {with(spec.HTTPEndpointDelivery{CommonAttributes: many}), "CommonAttributes"},
		"an attribute without a name":   {with(spec.HTTPEndpointDelivery{CommonAttributes: map[string]string{"": "x"}}), "CommonAttributes"},
		"an attribute that is too long": {with(spec.HTTPEndpointDelivery{CommonAttributes: map[string]string{"a": strings.Repeat("x", 1025)}}), `CommonAttributes["a"]`},
		"a buffer that is too big":      {with(spec.HTTPEndpointDelivery{BufferSize: 65}), "BufferSize"},
		"an interval that is too long":  {with(spec.HTTPEndpointDelivery{BufferInterval: time.Hour}), "BufferInterval"},
		"a retry that is too long":      {with(spec.HTTPEndpointDelivery{Retry: 7201 * time.Second}), "Retry"},
		"a bucket's setting":            {delivery.HTTPEndpoint{HTTPEndpointDelivery: spec.HTTPEndpointDelivery{URL: "https://example.com"}, Failed: delivery.S3{S3Delivery: spec.S3Delivery{BufferSize: 129}}}, "Failed.BufferSize"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/D", c.fields, func() { anHTTPEndpoint(stack, c.to) })
		})
	}
}

// A message never repeats a password that was put where it doesn't belong.
func TestAPasswordInAnAddressIsntRepeated(t *testing.T) {
	_, stack := newStack(t)
	defer func() {
		if err := fmt.Sprint(recover()); !strings.Contains(err, "URL") || strings.Contains(err, "hunter2") {
			t.Error(err)
		}
	}()
	anHTTPEndpoint(stack, delivery.HTTPEndpoint{HTTPEndpointDelivery: spec.HTTPEndpointDelivery{URL: "https://me:hunter2@example.com:8443/in"}})
}
