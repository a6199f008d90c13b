package delivery

import (
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// MSK is a topic of Amazon MSK that is delivered, of a provisioned or a serverless
// cluster with IAM among its ways of access control. Cluster and Topic are required.
//
// A transform's event has other fields then: sourceMSKArn, and for each record
// kafkaRecordValue instead of data, which its answer has too, and mskRecordMetadata
// with offset, partitionId and approximateArrivalTimestamp instead of
// kinesisRecordMetadata. The kit's package firehose reads and answers either.
type MSK struct {
	// MSKTopic are the settings.
	spec.MSKTopic
	// Cluster is its ARN. Its policy, which is one for all and so isn't defined here,
	// has to let firehose.amazonaws.com do kafka:CreateVpcConnection (unless
	// Connectivity is Public), and, in another account, the delivery's Role read the
	// topic. Firehose tries it when it is created: make the delivery's Resource depend
	// on a policy of this app.
	Cluster *string
}

func (m *MSK) check(c *spec.Check) {
	c.Merge(m.Validate(""))
	if m.Cluster == nil || *m.Cluster == "" {
		c.Add("Cluster", nil, "a topic is read from a cluster", "set it to the cluster's ARN")
		return
	}
	c.Pattern("Cluster", *m.Cluster, spec.MSKClusterARN)
}

// attach puts the topic into cfn and lets Firehose's role read it:
// https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#firehose-assume-role
func (m *MSK) attach(d *Delivery, cfn *awskinesisfirehose.CfnDeliveryStreamProps) {
	settings := m.WithDefaults()
	d.allow([]*string{m.Cluster}, "kafka-cluster:Connect", "kafka:DescribeCluster", "kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers")
	d.allow([]*string{m.in("topic", settings.Topic)}, "kafka-cluster:DescribeTopic", "kafka-cluster:DescribeTopicDynamicConfiguration", "kafka-cluster:ReadData")
	d.allow([]*string{m.in("group", "*")}, "kafka-cluster:DescribeGroup")
	role.Also(d.role, accept.Finding{
		Reason:    "Firehose names its consumer group itself; it may describe those of one cluster.",
		IDs:       []string{"AwsSolutions-IAM5"},
		AppliesTo: []string{`/^Resource::.*:group\/.*\/\*$/`},
	})
	source := &awskinesisfirehose.CfnDeliveryStream_MSKSourceConfigurationProperty{
		MskClusterArn: m.Cluster, TopicName: jsii.String(settings.Topic),
		AuthenticationConfiguration: &awskinesisfirehose.CfnDeliveryStream_AuthenticationConfigurationProperty{
			Connectivity: jsii.String(string(settings.Connectivity)), RoleArn: d.role.RoleArn(),
		},
	}
	if !settings.ReadFrom.IsZero() {
		source.ReadFromTimestamp = jsii.String(settings.ReadFrom.UTC().Format(time.RFC3339))
	}
	cfn.DeliveryStreamType, cfn.MskSourceConfiguration = jsii.String("MSKAsSource"), source
}

// in is the ARN of a topic or a group of the cluster.
func (m *MSK) in(kind, name string) *string {
	head, tail, known := strings.Cut(*m.Cluster, ":cluster/")
	if !known {
		parts := awscdk.Fn_Split(jsii.String(":cluster/"), m.Cluster, nil)
		head, tail = *awscdk.Fn_Select(jsii.Number(0), parts), *awscdk.Fn_Select(jsii.Number(1), parts)
	}
	return jsii.String(head + ":" + kind + "/" + tail + "/" + name)
}

func (m *MSK) signals(d *Delivery) []watch.Signal {
	const page = "delivery-msk-source"
	settings := m.WithDefaults()
	var signals []watch.Signal
	if settings.Retention != spec.Forever {
		// A topic's lag is counted in records: at the pace of the last five minutes this
		// is the time until Firehose has read them; the one more is for when it reads
		// none. AWS doesn't say whether the lag is a partition's: then it is at least this.
		lag, read := d.metric("KafkaOffsetLag", "Maximum"), d.metric("DataReadFromSource.Records", "Sum")
		lag.Period, read.Period = 5*time.Minute, 5*time.Minute
		signals = watch.Age(d.construct, "SourceAge", "Behind the topic, at its pace (ms)", watch.Metric{
			Label: "Behind the topic, at its pace (ms)", Period: lag.Period, Expression: "300000 * m0 / (FILL(m1, 0) + 1)", Using: []watch.Metric{lag, read},
		}, settings.Retention, page, "See the delivery's own log and its destination's alarms; raise the topic's retention if it can't catch up in time.")
	}
	return append(signals, watch.Signal{
		Owner: d.construct, Name: "SourceBackpressured", Graph: "Reading is held back (1: yes)", Metric: d.metric("DataReadFromSource.Backpressured", "Maximum"),
		From: "Firehose reads as fast as records come", Why: "A partition has more than Firehose takes of one, or the destination is slow or has stopped.",
		Do:      "See the destination's alarms; spread records over more partitions, or ask for a higher limit of bytes for a partition.",
		Runbook: page,
		Periods: 15, Breaching: 10, Missing: watch.NotBreaching, Severity: watch.Warning,
	}, watch.Signal{
		Owner: d.construct, Name: "SourceInvalid", Graph: "Records that Firehose can't take", Metric: d.metric("FailedValidation.Records", "Sum"),
		From: "every record can be taken", Why: "Records of the topic failed Firehose's own validation.",
		Do:      "Read the delivery's log, which says why; look for records that are too big for Firehose or its transform.",
		Runbook: page,
		Periods: 5, Breaching: 1, Missing: watch.NotBreaching, Severity: watch.Warning,
	})
}
