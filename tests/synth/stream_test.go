package synth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/consumer"
	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

func init() {
	fullest["stream"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		s := stream.New(stack, "Stream", stream.Props{
			Stream: spec.Stream{
				Mode: spec.OnDemandAdvantage, WarmThroughput: 100, RetentionPeriod: 7 * 24 * time.Hour, MaximumRecordSize: 10_240,
				ShardMetrics: []spec.ShardMetric{spec.AllShardMetrics}, Name: "telemetry",
			},
			Key: key, Tags: map[string]string{"team": "race", "cost centre": "42"}, RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		})
		fanOut := s.FanOut("Live", stream.FanOutProps{Name: "live", Tags: map[string]string{"team": "race"}})
		s.Share("111122223333", "kinesis:PutRecords", "kinesis:DescribeStreamSummary")
		fanOut.Share("arn:aws:iam::111122223333:role/reader")
		provisioned := stream.New(stack, "Provisioned", stream.Props{Stream: spec.Stream{
			Mode: spec.Provisioned, Shards: 4, ShardMetrics: []spec.ShardMetric{spec.ShardIncomingBytes, spec.ShardIteratorAgeMilliseconds},
		}})
		imported := stream.FromArn(stack, "Imported", "arn:aws:kinesis:eu-west-1:111122223333:stream/orders", stream.Attributes{
			Mode: spec.Provisioned, Shards: 2, RetentionPeriod: 48 * time.Hour, Key: key,
		})
		named := stream.FromName(stack, "Named", "orders", stream.Attributes{})
		role := storageRole(stack)
		s.GrantWrite(role)
		provisioned.GrantRead(role)
		fanOut.GrantRead(role)
		imported.GrantRead(role)
		named.Grant(role, "kinesis:ListShards")
		storageAccept(role)
	}
}

// storageAccept accepts what a test's own role has of findings.
func storageAccept(role awsiam.Role) {
	policy := role.Node().FindChild(jsii.String("DefaultPolicy")).Node().DefaultChild().(awsiam.CfnPolicy)
	accept.On(policy, accept.Because("The role stands for the users of what is tested.", "NIST.800.53.R5-IAMNoInlinePolicy"))
}

func storageRole(scope constructs.Construct) awsiam.Role {
	return awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil)})
}

// storageRefused returns what a call was refused for; nil if it wasn't.
func storageRefused(t *testing.T, call func()) (problems []spec.Problem) {
	t.Helper()
	defer func() {
		switch problem := recover().(type) {
		case nil:
		case error:
			var invalid *spec.Invalid
			if !errors.As(problem, &invalid) {
				t.Fatalf("want a *spec.Invalid, got %T: %v", problem, problem)
			}
			problems = invalid.Problems
		default:
			t.Fatalf("want a *spec.Invalid, got %T: %v", problem, problem)
		}
	}()
	call()
	return nil
}

// storageCase is a setting that must be refused, for these fields and no others.
type storageCase struct {
	call   func(constructs.Construct)
	fields string
}

func storageRefusals(t *testing.T, cases map[string]storageCase) {
	t.Helper()
	_, stack := newStack(t)
	for i, name := range slices.Sorted(maps.Keys(cases)) {
		scope := constructs.NewConstruct(stack, jsii.String(fmt.Sprintf("Case%d", i)))
		var fields []string
		for _, p := range storageRefused(t, func() { cases[name].call(scope) }) {
			fields = append(fields, p.Field)
			if p.Value == "" || p.Want == "" || p.Fix == "" || p.Path == "" {
				t.Errorf("%s: a message lacks a part: %+v", name, p)
			}
			if p.Path != "stream.Of" && p.Path != "table.Of" && !strings.HasPrefix(p.Path, "Test/Case") {
				t.Errorf("%s: the path is %q", name, p.Path)
			}
		}
		if got := strings.Join(fields, " "); got != cases[name].fields {
			t.Errorf("%s: refused %q, want %q", name, got, cases[name].fields)
		}
	}
}

// granted are the actions of a role's policy, each with its resource.
func storageGranted(tmpl *snapshot.Template, role string) []string {
	var all []string
	for id, policy := range tmpl.OfType("AWS::IAM::Policy") {
		if !strings.HasPrefix(id, role) {
			continue
		}
		for _, s := range at(policy.Properties, "PolicyDocument", "Statement").([]any) {
			for _, action := range list(at(s, "Action")) {
				for _, resource := range list(at(s, "Resource")) {
					all = append(all, fmt.Sprintf("%s %s", action, arn(resource)))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestStreamSettingsReachTheResource(t *testing.T) {
	app, stack := newStack(t)
	stream.New(stack, "Plain", stream.Props{})
	stream.New(stack, "Advantage", stream.Props{
		Stream: spec.Stream{
			Mode: spec.OnDemandAdvantage, WarmThroughput: 250, RetentionPeriod: 365 * 24 * time.Hour, MaximumRecordSize: 2048,
			ShardMetrics: []spec.ShardMetric{spec.AllShardMetrics}, Name: "a.b_c-1",
		},
		Tags: map[string]string{"team": "race", "empty": ""},
	})
	stream.New(stack, "Provisioned", stream.Props{
		Stream: spec.Stream{Mode: spec.Provisioned, Shards: 3, ShardMetrics: []spec.ShardMetric{spec.ShardIncomingBytes, spec.ShardReadProvisionedThroughputExceeded}},
	})
	awscdk.Tags_Of(stack).Add(jsii.String("app"), jsii.String("shop"), nil)
	token := awscdk.NewCfnParameter(stack, jsii.String("StreamName"), nil).ValueAsString()
	stream.New(stack, "Token", stream.Props{Stream: spec.Stream{Name: *token}, Tags: map[string]string{"named": *token}})

	streams := map[string]map[string]any{}
	for id, s := range synth(t, app, "Test").OfType("AWS::Kinesis::Stream") {
		streams[id[:len(id)-8]] = s.Properties
	}
	kinesis := map[string]any{"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
	shop := map[string]any{"Key": "app", "Value": "shop"}
	want := map[string]map[string]any{
		"Plain": {
			"RetentionPeriodHours": 24.0, "StreamEncryption": kinesis, "StreamModeDetails": map[string]any{"StreamMode": "ON_DEMAND"}, "Tags": []any{shop},
		},
		"Advantage": {
			"Name": "a.b_c-1", "RetentionPeriodHours": 8760.0, "StreamEncryption": kinesis, "StreamModeDetails": map[string]any{"StreamMode": "ON_DEMAND"},
			"WarmThroughputMiBps": 250.0, "MaxRecordSizeInKiB": 2048.0, "DesiredShardLevelMetrics": []any{"ALL"},
			"Tags": []any{shop, map[string]any{"Key": "empty", "Value": ""}, map[string]any{"Key": "team", "Value": "race"}},
		},
		"Provisioned": {
			"RetentionPeriodHours": 24.0, "StreamEncryption": kinesis, "StreamModeDetails": map[string]any{"StreamMode": "PROVISIONED"}, "ShardCount": 3.0,
			"DesiredShardLevelMetrics": []any{"IncomingBytes", "ReadProvisionedThroughputExceeded"}, "Tags": []any{shop},
		},
		"Token": {
			"Name": map[string]any{"Ref": "StreamName"}, "RetentionPeriodHours": 24.0, "StreamEncryption": kinesis,
			"StreamModeDetails": map[string]any{"StreamMode": "ON_DEMAND"}, "Tags": []any{shop, map[string]any{"Key": "named", "Value": map[string]any{"Ref": "StreamName"}}},
		},
	}
	if diff := cmp.Diff(want, streams); diff != "" {
		t.Errorf("streams (-want +got):\n%s", diff)
	}
}

// An enhanced fan-out consumer stands in the stream's place: Lambda reads it by its
// own ARN, may do what it takes, and its alarms name both.
func TestAFanOutIsAConsumersSource(t *testing.T) {
	app, stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("Key"), nil)
	s := stream.New(stack, "Orders", stream.Props{Key: key, Stream: spec.Stream{Mode: spec.Provisioned, Shards: 2, RetentionPeriod: 48 * time.Hour}})
	live := s.FanOut("Live", stream.FanOutProps{})
	if live.Kind() != spec.Kinesis || live.Shards() != 2 || live.Retention() != 48*time.Hour || live.Stream() != s {
		t.Error("the fan-out doesn't tell what its stream does")
	}
	if _, fits := any(live).(delivery.Source); fits {
		t.Error("a delivery would take the consumer for a stream, which Firehose refuses")
	}
	c := consumer.New(stack, "Update", consumer.Props{Source: live, Code: gofunc.Package(someCode)})
	watch.New(stack, "Watch", watch.Props{Signals: watch.All(live, c)})
	for i := range 6 {
		s.FanOut(fmt.Sprintf("More%d", i), stream.FanOutProps{})
	}
	// A stream that the CDK imported is no scope: its consumers are beside it.
	theirs := stream.Of(awskinesis.Stream_FromStreamArn(stack, jsii.String("Theirs"), jsii.String("arn:aws:kinesis:eu-west-1:111122223333:stream/orders")), 0)
	theirs.FanOut("Live", stream.FanOutProps{Name: "mine", Tags: map[string]string{"team": "race"}})

	tmpl := synth(t, app, "Test")
	ids, names := map[string]string{}, map[any]bool{}
	for id, r := range tmpl.OfType("AWS::Kinesis::StreamConsumer") {
		ids[name(id)] = id
		names[r.Properties["ConsumerName"]] = true
	}
	if len(names) != 8 {
		t.Errorf("names of consumers: %v", names)
	}
	if p := tmpl.Resources[ids["TheirsLive"]].Properties; p["ConsumerName"] != "mine" || p["StreamARN"] != "arn:aws:kinesis:eu-west-1:111122223333:stream/orders" || at(p, "Tags", 0, "Value") != "race" {
		t.Errorf("the consumer of their stream: %v", p)
	}
	// Kinesis registers five at a time.
	if got := tmpl.Resources[ids["OrdersMore4"]].DependsOn; !slices.Equal(got, []string{ids["OrdersLive"]}) {
		t.Errorf("the sixth consumer waits for %v", got)
	}
	if got := tmpl.Resources[ids["OrdersMore3"]].DependsOn; len(got) != 0 {
		t.Errorf("the fifth consumer waits for %v", got)
	}
	_, mapping := tmpl.Only(t, "AWS::Lambda::EventSourceMapping")
	if got := at(mapping.Properties, "EventSourceArn", "Fn::GetAtt"); !cmp.Equal(got, []any{ids["OrdersLive"], "ConsumerARN"}) {
		t.Errorf("the mapping reads %v", got)
	}
	got := slices.DeleteFunc(storageGranted(tmpl, "Update"), func(s string) bool { return !strings.HasPrefix(s, "kinesis:") && !strings.HasPrefix(s, "kms:") })
	want := []string{
		"kinesis:DescribeStream Orders", "kinesis:DescribeStreamConsumer OrdersLive", "kinesis:DescribeStreamSummary Orders", "kinesis:GetRecords Orders",
		"kinesis:GetShardIterator Orders", "kinesis:ListShards Orders", "kinesis:SubscribeToShard OrdersLive", "kms:Decrypt Key",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	for suffix, want := range map[string]struct {
		metric, statistic string
		threshold         float64
	}{
		"MillisBehindLatestWarning":  {"SubscribeToShardEvent.MillisBehindLatest", "Maximum", .1 * 48 * 3_600_000},
		"MillisBehindLatestCritical": {"SubscribeToShardEvent.MillisBehindLatest", "Maximum", .5 * 48 * 3_600_000},
		"SubscribeThrottled":         {"SubscribeToShard.RateExceeded", "Sum", 0},
	} {
		p := storageAlarm(t, tmpl, "Test-Watch-Orders-Live-"+suffix)
		consumerName, _ := at(p, "Dimensions", 0, "Value").(string)
		if p["MetricName"] != want.metric || p["Statistic"] != want.statistic || p["Threshold"] != want.threshold ||
			at(p, "Dimensions", 0, "Name") != "ConsumerName" || !names[consumerName] || consumerName == "" || refers(at(p, "Dimensions", 1, "Value")) == "" {
			t.Errorf("%s: %v", suffix, p)
		}
	}
}

func storageAlarm(t *testing.T, tmpl *snapshot.Template, name string) map[string]any {
	t.Helper()
	for _, alarm := range tmpl.OfType("AWS::CloudWatch::Alarm") {
		if alarm.Properties["AlarmName"] == name {
			return alarm.Properties
		}
	}
	t.Errorf("there is no alarm %s", name)
	return nil
}

// The key of a stream has to be usable by whoever reads or writes it, also a key
// that was imported, in a stack without a region.
func TestAStreamsKeyIsGrantedWithIt(t *testing.T) {
	for name, newKey := range map[string]func(awscdk.Stack) awskms.IKey{
		"own": func(s awscdk.Stack) awskms.IKey { return awskms.NewKey(s, jsii.String("Key"), nil) },
		"imported": func(s awscdk.Stack) awskms.IKey {
			return awskms.Key_FromKeyArn(s, jsii.String("Key"), jsii.String("arn:aws:kms:eu-west-1:111122223333:key/k"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			key := newKey(stack)
			secret := stream.New(stack, "Secret", stream.Props{Key: key})
			imported := stream.FromName(stack, "Imported", "orders", stream.Attributes{Key: key, Mode: spec.Provisioned})
			grants := map[string]func(awsiam.IGrantable){
				"Write":      func(g awsiam.IGrantable) { secret.GrantWrite(g) },
				"Read":       func(g awsiam.IGrantable) { secret.GrantRead(g) },
				"Look":       func(g awsiam.IGrantable) { secret.Grant(g, "kinesis:ListShards") },
				"WriteTheir": func(g awsiam.IGrantable) { imported.GrantWrite(g) },
				"ReadTheir":  func(g awsiam.IGrantable) { imported.GrantRead(g) },
			}
			for id, grant := range grants {
				grant(storageRole(constructs.NewConstruct(stack, jsii.String(id))))
			}
			tmpl := synth(t, app, "Test")
			_, s := tmpl.Only(t, "AWS::Kinesis::Stream")
			if at(s.Properties, "StreamEncryption", "EncryptionType") != "KMS" || at(s.Properties, "StreamEncryption", "KeyId") == "alias/aws/kinesis" {
				t.Errorf("encryption: %v", s.Properties["StreamEncryption"])
			}
			for id, want := range map[string]string{"Write": "kms:GenerateDataKey", "Read": "kms:Decrypt", "Look": "", "WriteTheir": "kms:GenerateDataKey", "ReadTheir": "kms:Decrypt"} {
				var uses []string
				for _, g := range storageGranted(tmpl, id+"Role") {
					if action, _, _ := strings.Cut(g, " "); strings.HasPrefix(action, "kms:") {
						uses = append(uses, action)
					}
				}
				if got := strings.Join(uses, " "); got != want {
					t.Errorf("%s may do %q with the key, want %q", id, got, want)
				}
			}
		})
	}
}

func TestAStreamIsSharedWithItsKey(t *testing.T) {
	app, stack := newStack(t)
	s := stream.New(stack, "Orders", stream.Props{Key: awskms.NewKey(stack, jsii.String("Key"), nil)})
	s.Share("111122223333", "kinesis:PutRecord", "kinesis:PutRecords")
	s.Share("444455556666", "kinesis:ListShards")
	s.FanOut("Live", stream.FanOutProps{}).Share("arn:aws:iam::777788889999:role/path/reader")
	tmpl := synth(t, app, "Test")

	statements := func(document any) (all []string) {
		for _, st := range list(at(document, "Statement")) {
			var actions []string
			for _, a := range list(at(st, "Action")) {
				actions = append(actions, a.(string))
			}
			all = append(all, fmt.Sprintf("%v: %s on %s", at(st, "Principal", "AWS"), strings.Join(actions, " "), arn(at(st, "Resource"))))
		}
		slices.Sort(all)
		return all
	}
	policies := map[string][]string{}
	for _, r := range tmpl.OfType("AWS::Kinesis::ResourcePolicy") {
		policies[arn(r.Properties["ResourceArn"])] = statements(r.Properties["ResourcePolicy"])
	}
	want := map[string][]string{
		"Orders": {
			"111122223333: kinesis:PutRecord kinesis:PutRecords on Orders", "444455556666: kinesis:ListShards on Orders",
			"arn:aws:iam::777788889999:role/path/reader: kinesis:DescribeStream kinesis:DescribeStreamSummary kinesis:ListShards on Orders",
		},
		"OrdersLive": {"arn:aws:iam::777788889999:role/path/reader: kinesis:DescribeStreamConsumer kinesis:SubscribeToShard on OrdersLive"},
	}
	if diff := cmp.Diff(want, policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	_, key := tmpl.Only(t, "AWS::KMS::Key")
	var foreign []string
	for _, st := range at(key.Properties, "KeyPolicy", "Statement").([]any) {
		if principal, ok := at(st, "Principal", "AWS").(string); ok {
			foreign = append(foreign, fmt.Sprint(principal, " ", at(st, "Action")))
			if via := fmt.Sprint(at(st, "Condition", "StringEquals", "kms:ViaService")); !strings.Contains(via, "kinesis.") || !strings.Contains(via, "AWS::Region") {
				t.Errorf("%s isn't bound to Kinesis: %s", principal, via)
			}
		}
	}
	slices.Sort(foreign)
	if want := []string{"111122223333 kms:GenerateDataKey", "arn:aws:iam::777788889999:role/path/reader kms:Decrypt"}; !slices.Equal(foreign, want) {
		t.Errorf("the key may be used by %v, want %v", foreign, want)
	}
}

func TestAnImportedKeyThatCantBeSharedIsTold(t *testing.T) {
	app, stack := newStack(t)
	key := awskms.Key_FromKeyArn(stack, jsii.String("Key"), jsii.String("arn:aws:kms:eu-west-1:111122223333:key/k"))
	stream.New(stack, "Orders", stream.Props{Key: key}).Share("444455556666", "kinesis:GetRecords")
	app.Synth(nil)
	found := assertions.Annotations_FromStack(stack).FindWarning(jsii.String("/Test/Orders"), assertions.Match_StringLikeRegexp(jsii.String("let 444455556666 do kms:Decrypt")))
	if len(*found) != 1 {
		t.Errorf("%d warnings", len(*found))
	}
}

func TestStreamsAreImported(t *testing.T) {
	app, stack := newStack(t)
	const foreign = "arn:aws-us-gov:kinesis:us-gov-west-1:111122223333:stream/orders"
	byArn := stream.FromArn(stack, "ByArn", foreign, stream.Attributes{Shards: 7, RetentionPeriod: 72 * time.Hour})
	byName := stream.FromName(stack, "ByName", "orders", stream.Attributes{Mode: spec.OnDemand})
	token := stream.FromArn(stack, "ByToken", *awscdk.NewCfnParameter(stack, jsii.String("Arn"), nil).ValueAsString(), stream.Attributes{})
	if *byArn.Arn() != foreign || *byArn.Name() != "orders" || byArn.Shards() != 7 || byArn.Retention() != 72*time.Hour || byArn.Resource() != nil {
		t.Errorf("by ARN: %v", byArn)
	}
	if *byName.Name() != "orders" || byName.Shards() != 0 || byName.Retention() != 24*time.Hour {
		t.Errorf("by name: %v", byName)
	}
	role := storageRole(stack)
	byName.Grant(role, "kinesis:ListShards")
	token.Grant(role, "kinesis:PutRecord")
	if m := byArn.Incoming(); *m.Dimensions["StreamName"] != "orders" {
		t.Errorf("metric: %v", m)
	}
	tmpl := synth(t, app, "Test")
	_, policy := tmpl.Only(t, "AWS::IAM::Policy")
	got := fmt.Sprint(at(policy.Properties, "PolicyDocument", "Statement"))
	for _, part := range []string{":stream/orders", "map[Ref:AWS::Region]", "map[Ref:AWS::AccountId]", "map[Ref:Arn]"} {
		if !strings.Contains(got, part) {
			t.Errorf("the grants lack %s: %s", part, got)
		}
	}
}

func TestMetricsOfAStreamHaveAllTheirDimensions(t *testing.T) {
	_, stack := newStack(t)
	s := stream.FromName(stack, "Orders", "orders", stream.Attributes{})
	for _, c := range []struct {
		got  watch.Metric
		want watch.Metric
	}{
		{s.Metric("PutRecords.ThrottledRecords", "Sum"), watch.Metric{Name: "PutRecords.ThrottledRecords", Statistic: "Sum", Dimensions: map[string]*string{"StreamName": jsii.String("orders")}}},
		{s.ShardMetric("shardId-000000000000", spec.ShardIncomingBytes, "Sum"), watch.Metric{Name: "IncomingBytes", Statistic: "Sum", Dimensions: map[string]*string{"StreamName": jsii.String("orders"), "ShardId": jsii.String("shardId-000000000000")}}},
		{s.FanOut("Live", stream.FanOutProps{Name: "live"}).Metric("SubscribeToShardEvent.Records", "Sum"), watch.Metric{Name: "SubscribeToShardEvent.Records", Statistic: "Sum", Dimensions: map[string]*string{"StreamName": jsii.String("orders"), "ConsumerName": jsii.String("live")}}},
	} {
		c.want.Namespace = "AWS/Kinesis"
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
