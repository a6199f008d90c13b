package delivery

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Splunk delivers to Splunk's HTTP Event Collector, over the internet. Endpoint and
// Token are required.
type Splunk struct {
	// SplunkDelivery are the settings.
	spec.SplunkDelivery
	// Token of the collector, as a secret {"hec_token": "…"}; it has to have indexer
	// acknowledgement enabled.
	Token awssecretsmanager.ISecret
	// Failed is where records are written that Splunk didn't acknowledge to the end,
	// or all records (BackupAll); by default a new bucket.
	Failed S3
}

var _ Destination = Splunk{}

func (s Splunk) validate(props Props, c *spec.Check) {
	c.Merge(s.SplunkDelivery.Validate(""))
	if valid.Missing(s.Token) {
		c.Add("Token", nil, "Splunk takes records with a token only", `set it to a secret {"hec_token": "…"} of Secrets Manager`)
	}
	s.Failed.checkFailed(c, props, s.BackupAll)
	if logs := props.CloudWatchLogs; logs != nil && !logs.MessagesOnly {
		c.Add("CloudWatchLogs.MessagesOnly", false, "Splunk can't read a document with several events", "set it")
	}
}

func (s Splunk) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(s.Failed)
	d.smallTransform()
	settings := s.WithDefaults()
	props.SplunkDestinationConfiguration = &awskinesisfirehose.CfnDeliveryStream_SplunkDestinationConfigurationProperty{
		HecEndpoint:                       jsii.String(settings.Endpoint),
		HecEndpointType:                   jsii.String(string(settings.EndpointType)),
		HecAcknowledgmentTimeoutInSeconds: jsii.Number(settings.AcknowledgmentTimeout.Seconds()),
		SecretsManagerConfiguration:       d.secret(s.Token),
		BufferingHints: &awskinesisfirehose.CfnDeliveryStream_SplunkBufferingHintsProperty{
			SizeInMBs: jsii.Number(settings.BufferSize), IntervalInSeconds: jsii.Number(settings.BufferInterval.Seconds()),
		},
		RetryOptions:             &awskinesisfirehose.CfnDeliveryStream_SplunkRetryOptionsProperty{DurationInSeconds: jsii.Number(settings.Retry.Seconds())},
		S3BackupMode:             backupMode(settings.BackupAll, "AllEvents", "FailedEventsOnly"),
		S3Configuration:          d.failed(s.Failed),
		CloudWatchLoggingOptions: d.logging("Splunk"),
		ProcessingConfiguration:  d.processing(),
	}
}

// smallTransform is AWS's default of what a transform is handed toward Splunk and
// Snowflake: 256 KiB.
func (d *Delivery) smallTransform() {
	if t := d.props.Transform; t != nil && t.BufferSize == 0 {
		small := *t
		small.BufferSize = .25
		d.props.Transform = &small
	}
}

func (s Splunk) signals(d *Delivery) []watch.Signal {
	settings := s.WithDefaults()
	const page = "delivery-splunk"
	signals := onPage(page, d.delivered("DeliveryToSplunk", "Splunk", settings.BufferInterval,
		"Read the delivery's log; check the token, that indexer acknowledgement is enabled for it, and the collector's certificate and load balancer."))
	half := settings.AcknowledgmentTimeout.Seconds() / 2
	signals = append(signals, watch.Signal{
		Owner: d.construct, Name: "AckLatency", Graph: "Until Splunk acknowledges (s)", Metric: d.metric("DeliveryToSplunk.DataAckLatency", "Maximum"),
		Threshold: half, From: fmt.Sprintf("half of the acknowledgement timeout of %g s", settings.AcknowledgmentTimeout.Seconds()),
		Why:     "Splunk's indexers fall behind; after the timeout records are sent again, and Splunk has them twice.",
		Do:      "Look at the queues of Splunk's indexers; add indexers, or send less.",
		Runbook: page,
		Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
	})
	return append(signals, d.backedUp(s.Failed, settings.BackupAll)...)
}
