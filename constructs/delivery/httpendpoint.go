package delivery

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// HTTPEndpoint delivers to an HTTP endpoint that takes requests in Firehose's form.
// URL is required. [Datadog], [NewRelic], [Dynatrace] and [Honeycomb] are such
// endpoints, with the settings that their makers ask for.
type HTTPEndpoint struct {
	// HTTPEndpointDelivery are the settings.
	spec.HTTPEndpointDelivery
	// AccessKey that Firehose sends along in the header X-Amz-Firehose-Access-Key, as
	// a secret {"api_key": "…"}; nil for none.
	AccessKey awssecretsmanager.ISecret
	// Failed is where records are written that the endpoint refused to the end, or
	// all records (BackupAll); by default a new bucket.
	Failed S3
}

var _ Destination = HTTPEndpoint{}

func (h HTTPEndpoint) validate(props Props, c *spec.Check) {
	c.Merge(h.HTTPEndpointDelivery.Validate(""))
	h.Failed.checkFailed(c, props, h.BackupAll)
}

func (h HTTPEndpoint) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(h.Failed)
	settings := h.WithDefaults()
	attributes := []any{}
	for _, name := range slices.Sorted(maps.Keys(settings.CommonAttributes)) {
		attributes = append(attributes, &awskinesisfirehose.CfnDeliveryStream_HttpEndpointCommonAttributeProperty{
			AttributeName: jsii.String(name), AttributeValue: jsii.String(settings.CommonAttributes[name]),
		})
	}
	request := &awskinesisfirehose.CfnDeliveryStream_HttpEndpointRequestConfigurationProperty{ContentEncoding: jsii.String(string(settings.ContentEncoding))}
	if len(attributes) > 0 {
		request.CommonAttributes = &attributes
	}
	endpoint := &awskinesisfirehose.CfnDeliveryStream_HttpEndpointDestinationConfigurationProperty{
		EndpointConfiguration: &awskinesisfirehose.CfnDeliveryStream_HttpEndpointConfigurationProperty{
			Url: jsii.String(settings.URL), Name: jsii.String(settings.Name),
		},
		RoleArn:              d.role.RoleArn(),
		RequestConfiguration: request,
		BufferingHints: &awskinesisfirehose.CfnDeliveryStream_BufferingHintsProperty{
			SizeInMBs: jsii.Number(settings.BufferSize), IntervalInSeconds: jsii.Number(settings.BufferInterval.Seconds()),
		},
		RetryOptions:             &awskinesisfirehose.CfnDeliveryStream_RetryOptionsProperty{DurationInSeconds: jsii.Number(settings.Retry.Seconds())},
		S3BackupMode:             backupMode(settings.BackupAll, "AllData", "FailedDataOnly"),
		S3Configuration:          d.failed(h.Failed),
		CloudWatchLoggingOptions: d.logging("HttpEndpoint"),
		ProcessingConfiguration:  d.processing(),
	}
	if h.AccessKey != nil {
		endpoint.SecretsManagerConfiguration = d.secret(h.AccessKey)
	}
	props.HttpEndpointDestinationConfiguration = endpoint
}

func (h HTTPEndpoint) signals(d *Delivery) []watch.Signal {
	settings := h.WithDefaults()
	signals := onPage("delivery-http-endpoint", d.delivered("DeliveryToHttpEndpoint", settings.Name, settings.BufferInterval,
		"Read the delivery's log, which has the endpoint's own answers; check its access key and that it is up."))
	return append(signals, d.backedUp(h.Failed, settings.BackupAll)...)
}

// DatadogSite is where an organization has its data in Datadog.
type DatadogSite string

// Datadog's sites with their addresses for logs, which are those that the CDK has
// (awskinesisfirehose.DatadogEndpoint); a test compares them.
const (
	DatadogUS1 DatadogSite = "https://aws-kinesis-http-intake.logs.datadoghq.com/v1/input"
	DatadogUS3 DatadogSite = "https://aws-kinesis-http-intake.logs.us3.datadoghq.com/api/v2/logs?dd-protocol=aws-kinesis-firehose"
	DatadogUS5 DatadogSite = "https://aws-kinesis-http-intake.logs.us5.datadoghq.com/api/v2/logs?dd-protocol=aws-kinesis-firehose"
	DatadogEU  DatadogSite = "https://aws-kinesis-http-intake.logs.datadoghq.eu/v1/input"
	DatadogAP1 DatadogSite = "https://aws-kinesis-http-intake.logs.ap1.datadoghq.com/api/v2/logs?dd-protocol=aws-kinesis-firehose"
	DatadogGov DatadogSite = "https://aws-kinesis-http-intake.logs.ddog-gov.com/v1/input"
)

// Datadog takes records as logs; key is an API key as a secret {"api_key": "…"}.
// Datadog recommends buffers of 4 MiB, says Firehose's documentation:
// https://docs.aws.amazon.com/firehose/latest/dev/basic-deliver.html
func Datadog(site DatadogSite, key awssecretsmanager.ISecret) HTTPEndpoint {
	return HTTPEndpoint{AccessKey: key, HTTPEndpointDelivery: spec.HTTPEndpointDelivery{
		URL: string(site), Name: "Datadog", BufferSize: 4, BufferInterval: time.Minute,
	}}
}

// NewRelicRegion is where an account has its data in New Relic.
type NewRelicRegion string

// New Relic's data centers with their addresses for logs:
// https://docs.newrelic.com/docs/logs/forward-logs/stream-logs-using-kinesis-data-firehose/
// That page couldn't be read when this was written; the addresses are those in
// public modules that name it.
const (
	NewRelicUS NewRelicRegion = "https://aws-api.newrelic.com/firehose/v1"
	NewRelicEU NewRelicRegion = "https://aws-api.eu.newrelic.com/firehose/v1"
)

// NewRelic takes records as logs; key is a license key as a secret
// {"api_key": "…"}. New Relic recommends buffers of 1 MiB, says Firehose's
// documentation: https://docs.aws.amazon.com/firehose/latest/dev/basic-deliver.html
func NewRelic(region NewRelicRegion, key awssecretsmanager.ISecret) HTTPEndpoint {
	return HTTPEndpoint{AccessKey: key, HTTPEndpointDelivery: spec.HTTPEndpointDelivery{
		URL: string(region), Name: "New Relic", BufferSize: 1, BufferInterval: time.Minute,
	}}
}

// Dynatrace takes records as logs. Environment is the address of an environment or
// an ActiveGate on port 443, such as "https://abc12345.live.dynatrace.com"; key is an
// API token that may ingest logs, as a secret {"api_key": "…"}. The path, the buffer
// of 1 MiB or 60 s and 900 s of retries are Dynatrace's:
// https://docs.dynatrace.com/docs/ingest-from/amazon-web-services/integrate-with-aws/aws-logs-ingest/lma-stream-logs-with-firehose
// The attribute dt-url is Firehose's documentation's:
// https://docs.aws.amazon.com/firehose/latest/dev/create-destination.html
func Dynatrace(environment string, key awssecretsmanager.ISecret) HTTPEndpoint {
	environment = strings.TrimRight(environment, "/")
	endpoint := HTTPEndpoint{AccessKey: key, HTTPEndpointDelivery: spec.HTTPEndpointDelivery{
		Name: "Dynatrace", BufferSize: 1, BufferInterval: time.Minute, Retry: 900 * time.Second,
	}}
	if environment != "" {
		endpoint.URL = environment + "/api/v2/logs/ingest/aws_firehose"
		endpoint.CommonAttributes = map[string]string{"dt-url": environment}
	}
	return endpoint
}

// HoneycombRegion is where a team has its data in Honeycomb.
type HoneycombRegion string

// Honeycomb's regions with their addresses:
// https://docs.honeycomb.io/api/kinesis-events/create-kinesis-events
const (
	HoneycombUS HoneycombRegion = "https://api.honeycomb.io/1/kinesis_events/"
	HoneycombEU HoneycombRegion = "https://api.eu1.honeycomb.io/1/kinesis_events/"
)

// Honeycomb takes records as events of a dataset, which is named by its slug; key is
// an ingest key as a secret {"api_key": "…"}.
func Honeycomb(region HoneycombRegion, dataset string, key awssecretsmanager.ISecret) HTTPEndpoint {
	endpoint := HTTPEndpoint{AccessKey: key, HTTPEndpointDelivery: spec.HTTPEndpointDelivery{Name: "Honeycomb", BufferInterval: time.Minute}}
	if dataset != "" {
		endpoint.URL = string(region) + dataset
	}
	return endpoint
}
