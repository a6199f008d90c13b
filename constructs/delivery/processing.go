package delivery

import (
	"fmt"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// CloudWatchLogs says that a delivery's records are those of a subscription filter
// of CloudWatch Logs, and nothing else: Firehose decompresses them first.
type CloudWatchLogs struct {
	// MessagesOnly leaves of a record nothing but the messages of its log events, one
	// a line; by default it is a JSON document with owner, group, stream and events.
	MessagesOnly bool
}

// processor changes records in a delivery stream; parameters are by name.
type processor struct {
	kind       string
	parameters [][2]string
}

// processorsOrder is the order in which Firehose applies them, whatever it is told.
var processorsOrder = []string{"Decompression", "CloudWatchLogProcessing", "RecordDeAggregation", "Lambda", "MetadataExtraction", "AppendDelimiterToRecord"}

// processing are the delivery's processors and a destination's own, as the
// destination's configuration has them, or nil.
func (d *Delivery) processing(own ...processor) *awskinesisfirehose.CfnDeliveryStream_ProcessingConfigurationProperty {
	all := slices.Clone(own)
	if logs := d.props.CloudWatchLogs; logs != nil {
		all = append(all, processor{"Decompression", [][2]string{{"CompressionFormat", "GZIP"}}})
		if logs.MessagesOnly {
			all = append(all, processor{"CloudWatchLogProcessing", [][2]string{{"DataMessageExtraction", "true"}}})
		}
	}
	if d.transform != nil {
		t := d.props.Transform.Transform.WithDefaults()
		all = append(all, processor{"Lambda", [][2]string{
			{"LambdaArn", *d.transform.Function().FunctionArn()},
			{"NumberOfRetries", fmt.Sprint(t.Retries)},
			{"BufferSizeInMBs", fmt.Sprint(t.BufferSize)},
			{"BufferIntervalInSeconds", fmt.Sprint(t.BufferInterval.Seconds())},
			{"RoleArn", *d.role.RoleArn()},
		}})
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b processor) int {
		return slices.Index(processorsOrder, a.kind) - slices.Index(processorsOrder, b.kind)
	})
	processors := []any{}
	for _, p := range all {
		property := &awskinesisfirehose.CfnDeliveryStream_ProcessorProperty{Type: jsii.String(p.kind)}
		if len(p.parameters) > 0 {
			parameters := []any{}
			for _, of := range p.parameters {
				parameters = append(parameters, &awskinesisfirehose.CfnDeliveryStream_ProcessorParameterProperty{
					ParameterName: jsii.String(of[0]), ParameterValue: jsii.String(of[1]),
				})
			}
			property.Parameters = &parameters
		}
		processors = append(processors, property)
	}
	return &awskinesisfirehose.CfnDeliveryStream_ProcessingConfigurationProperty{Enabled: jsii.Bool(true), Processors: &processors}
}

// processors are those that only a delivery to S3 has.
func (s S3) processors() []processor {
	var own []processor
	p := s.Partitioning
	switch p.Deaggregation {
	case spec.JSONRecords:
		own = append(own, processor{"RecordDeAggregation", [][2]string{{"SubRecordType", string(spec.JSONRecords)}}})
	case spec.DelimitedRecords:
		own = append(own, processor{"RecordDeAggregation", [][2]string{{"SubRecordType", string(spec.DelimitedRecords)}, {"Delimiter", p.EncodedDelimiter()}}})
	}
	if len(p.FromQuery) > 0 {
		own = append(own, processor{"MetadataExtraction", [][2]string{{"MetadataExtractionQuery", p.Query()}, {"JsonParsingEngine", "JQ-1.6"}}})
	}
	if s.NewLines {
		own = append(own, processor{"AppendDelimiterToRecord", nil})
	}
	return own
}

// decompressed is the signal of CloudWatchLogs.
func (d *Delivery) decompressed() watch.Signal {
	return watch.Signal{
		Owner: d.construct, Name: "DecompressionFailed", Graph: "Records that couldn't be decompressed", Metric: d.metric("OutputDecompressedRecords.Failed", "Sum"), Runbook: "delivery-decompression",
		From:    "all records should be CloudWatch Logs'",
		Why:     "Records aren't those of a subscription filter of CloudWatch Logs; they go to the error prefix.",
		Do:      "Find who puts other records, and give them a delivery of their own.",
		Periods: 3, Breaching: 1, Missing: watch.NotBreaching, Severity: watch.Warning,
	}
}

// partitions is the signal of dynamic partitioning.
func (d *Delivery) partitions() watch.Signal {
	return watch.Signal{
		Owner: d.construct, Name: "PartitionsExceeded", Graph: "More partitions than the quota", Metric: d.metric("PartitionCountExceeded", "Maximum"), Runbook: "delivery-partitions",
		From:    "buffers should hold fewer partitions than the quota, which is 500 until AWS raises it",
		Why:     "Records of further partitions go to the error prefix.",
		Do:      "Partition by keys with fewer values, or shorten the buffer's interval; ask for a higher quota.",
		Periods: 3, Breaching: 1, Missing: watch.NotBreaching, Severity: watch.Warning,
	}
}
