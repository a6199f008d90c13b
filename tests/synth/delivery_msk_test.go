package synth

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
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

const clusterARN = "arn:aws:kafka:eu-west-1:111122223333:cluster/shop/0a1b2c3d-4e5f-6789-abcd-ef0123456789-5"

func init() {
	notLocal["delivery-msk"] = "DeliveryStreamType: MSKAsSource isn't supported"
	fullest["delivery-msk"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Archive", delivery.Props{
			MSK: &delivery.MSK{Cluster: jsii.String(clusterARN), MSKTopic: spec.MSKTopic{
				Topic: "orders", Connectivity: spec.Public, ReadFrom: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Retention: 72 * time.Hour,
			}},
			To:        delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			Transform: &delivery.Transform{Code: gofunc.Package(someCode)},
			LogKey:    key,
		})
	}
}

func aTopicDelivery(stack awscdk.Stack, change func(*delivery.Props)) *delivery.Delivery {
	props := delivery.Props{MSK: &delivery.MSK{Cluster: jsii.String(clusterARN), MSKTopic: spec.MSKTopic{Topic: "orders"}}, To: delivery.S3{}}
	if change != nil {
		change(&props)
	}
	return delivery.New(stack, "D", props)
}

func TestATopicIsDelivered(t *testing.T) {
	app, stack := newStack(t)
	d := aTopicDelivery(stack, nil)
	template := synth(t, app, "Test")
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	source := firehose.Properties["MSKSourceConfiguration"]
	if firehose.Properties["DeliveryStreamType"] != "MSKAsSource" || firehose.Properties["DeliveryStreamEncryptionConfigurationInput"] != nil || firehose.Properties["KinesisStreamSourceConfiguration"] != nil {
		t.Errorf("%v", firehose.Properties)
	}
	if at(source, "MSKClusterARN") != clusterARN || at(source, "TopicName") != "orders" || at(source, "AuthenticationConfiguration", "Connectivity") != "PRIVATE" ||
		!strings.HasPrefix(refers(at(source, "AuthenticationConfiguration", "RoleARN")), "DRole") || at(source, "ReadFromTimestamp") != nil {
		t.Errorf("%v", source)
	}
	kafka := map[string][]string{}
	for action, on := range statements(t, template, "DRole") {
		if strings.HasPrefix(action, "kafka") {
			kafka[action] = on
		}
	}
	topic := strings.Replace(clusterARN, ":cluster/", ":topic/", 1) + "/orders"
	want := map[string][]string{
		"kafka:GetBootstrapBrokers": {clusterARN}, "kafka:DescribeCluster": {clusterARN}, "kafka:DescribeClusterV2": {clusterARN}, "kafka-cluster:Connect": {clusterARN},
		"kafka-cluster:DescribeTopic": {topic}, "kafka-cluster:DescribeTopicDynamicConfiguration": {topic}, "kafka-cluster:ReadData": {topic},
		"kafka-cluster:DescribeGroup": {strings.Replace(clusterARN, ":cluster/", ":group/", 1) + "/*"},
	}
	if diff := cmp.Diff(want, kafka); diff != "" {
		t.Errorf("it may (-want +got):\n%s", diff)
	}
	if got := names(d.Signals()); got != "SourceAgeWarning SourceAgeCritical SourceBackpressured SourceInvalid Freshness Success" {
		t.Errorf("signals %s", got)
	}
	if s := signal(t, d, "SourceAgeCritical"); s.Threshold != 84*3600*1000 || len(s.Metric.Using) != 2 || s.Metric.Using[0].Name != "KafkaOffsetLag" || s.Metric.Using[1].Name != "DataReadFromSource.Records" {
		t.Errorf("%+v", s)
	}
	watch.New(stack, "Watch", watch.Props{Signals: d.Signals()})
}

func TestWhereATopicIsReadFrom(t *testing.T) {
	for name, c := range map[string]struct {
		from time.Time
		want any
	}{
		"what comes":         {time.Time{}, nil},
		"the earliest":       {spec.Earliest, "1970-01-01T00:00:00Z"},
		"a time, in its UTC": {time.Date(2026, 3, 4, 6, 6, 7, 0, time.FixedZone("CET", 3600)), "2026-03-04T05:06:07Z"},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			aTopicDelivery(stack, func(p *delivery.Props) { p.MSK.ReadFrom = c.from })
			_, firehose := synth(t, app, "Test").Only(t, "AWS::KinesisFirehose::DeliveryStream")
			if got := at(firehose.Properties, "MSKSourceConfiguration", "ReadFromTimestamp"); got != c.want {
				t.Errorf("from %v, want %v", got, c.want)
			}
		})
	}
}

// A cluster of this app has an ARN that is known at deployment only.
func TestATopicOfAClusterThatIsDefinedHere(t *testing.T) {
	app, stack := newStack(t)
	cluster := awscdk.NewCfnResource(stack, jsii.String("Cluster"), &awscdk.CfnResourceProps{Type: jsii.String("AWS::MSK::Cluster")})
	aTopicDelivery(stack, func(p *delivery.Props) { p.MSK.Cluster, p.MSK.Retention = cluster.Ref(), spec.Forever })
	template := synth(t, app, "Test")
	found := false
	for _, policy := range template.OfType("AWS::IAM::Policy") {
		for _, s := range list(at(policy.Properties, "PolicyDocument", "Statement")) {
			split := func(n int) any {
				return map[string]any{"Fn::Select": []any{float64(n), map[string]any{"Fn::Split": []any{":cluster/", map[string]any{"Ref": "Cluster"}}}}}
			}
			want := map[string]any{"Fn::Join": []any{"", []any{split(0), ":topic/", split(1), "/orders"}}}
			found = found || cmp.Equal(want, at(s, "Resource"))
		}
	}
	if !found {
		t.Errorf("it may not read the topic: %v", template.OfType("AWS::IAM::Policy"))
	}
}

// A topic that keeps its records for ever has no age at which they are lost.
func TestATopicWithoutRetentionHasNoAge(t *testing.T) {
	_, stack := newStack(t)
	d := aTopicDelivery(stack, func(p *delivery.Props) { p.MSK.Retention = spec.Forever })
	if got := names(d.Signals()); got != "SourceBackpressured SourceInvalid Freshness Success" {
		t.Errorf("signals %s", got)
	}
}

func TestTopicsThatCantBeDeliveredAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(awscdk.Stack, *delivery.Props)
		fields string
	}{
		"nothing":                         {func(_ awscdk.Stack, p *delivery.Props) { p.MSK = &delivery.MSK{} }, "Topic Cluster"},
		"a topic beside producers":        {func(_ awscdk.Stack, p *delivery.Props) { p.DirectPut = &delivery.DirectPut{} }, "MSK"},
		"a topic beside a stream":         {func(s awscdk.Stack, p *delivery.Props) { p.Source = stream.New(s, "S", stream.Props{}) }, "MSK"},
		"a topic's name with a slash":     {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.Topic = "shop/orders" }, "Topic"},
		"a topic's name that is too long": {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.Topic = strings.Repeat("t", 256) }, "Topic"},
		"another service's ARN":           {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.Cluster = jsii.String(domainARN) }, "Cluster"},
		"a topic's ARN": {func(_ awscdk.Stack, p *delivery.Props) {
			p.MSK.Cluster = jsii.String(strings.Replace(clusterARN, "cluster", "topic", 1))
		}, "Cluster"},
		"copies of a topic's records": {func(_ awscdk.Stack, p *delivery.Props) {
			p.To = delivery.HTTPEndpoint{HTTPEndpointDelivery: spec.HTTPEndpointDelivery{URL: "https://example.com", BackupAll: true}}
		}, "BackupAll"},
		"copies of a topic's objects": {func(_ awscdk.Stack, p *delivery.Props) { p.To = delivery.S3{Backup: &delivery.Backup{}} }, "Backup"},
		"copies beside Redshift": {func(s awscdk.Stack, p *delivery.Props) {
			p.To = delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders"}, Backup: &spec.S3Delivery{},
				Warehouse:   delivery.ExistingCluster{Name: "c", Address: "c.abc.us-east-1.redshift.amazonaws.com"},
				Credentials: awssecretsmanager.NewSecret(s, jsii.String("Secret"), nil),
			}
		}, "Backup"},
		"an unknown way":                    {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.Connectivity = "VPN" }, "Connectivity"},
		"a time before time":                {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.ReadFrom = spec.Earliest.Add(-time.Second) }, "ReadFrom"},
		"a part of a second":                {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.ReadFrom = spec.Earliest.Add(time.Millisecond) }, "ReadFrom"},
		"a retention that is too short":     {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.Retention = time.Second }, "Retention"},
		"everything wrong at once, at once": {func(_ awscdk.Stack, p *delivery.Props) { p.MSK.Topic, p.MSK.Cluster, p.To = "", nil, nil }, "Topic Cluster To"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/D", c.fields, func() {
				aTopicDelivery(stack, func(p *delivery.Props) { c.change(stack, p) })
			})
		})
	}
}
