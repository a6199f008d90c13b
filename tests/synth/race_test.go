package synth

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/stacks/race"
)

func TestEveryStatementNamesItsActionsAndResources(t *testing.T) {
	// What each role may do, exactly. A new line here is a decision.
	want := map[string][]string{
		"UpdateStandings": {
			"dynamodb:UpdateItem Standings",
			"kinesis:DescribeStream Telemetry", "kinesis:DescribeStreamSummary Telemetry", "kinesis:GetRecords Telemetry",
			"kinesis:GetShardIterator Telemetry", "kinesis:ListShards Telemetry",
			"logs:CreateLogStream UpdateStandingsFunctionLogs", "logs:PutLogEvents UpdateStandingsFunctionLogs",
			"s3:ListBucket UpdateStandingsFailures",
			"s3:PutObject UpdateStandingsFailures/aws/lambda/*", "s3:PutObject UpdateStandingsFailures/rejected/*",
		},
		"UpdatePodiums": {
			"dynamodb:DescribeStream Standings", "dynamodb:GetItem Podiums", "dynamodb:GetRecords Standings",
			"dynamodb:GetShardIterator Standings", "dynamodb:ListStreams Standings", "dynamodb:PutItem Podiums", "dynamodb:Query Standings",
			"logs:CreateLogStream UpdatePodiumsFunctionLogs", "logs:PutLogEvents UpdatePodiumsFunctionLogs",
			"s3:ListBucket UpdateStandingsFailures",
			"s3:PutObject UpdateStandingsFailures/aws/lambda/*", "s3:PutObject UpdateStandingsFailures/rejected/*",
		},
		"UpdatePaces": {
			"dynamodb:UpdateItem Paces", "kinesis:DescribeStream Telemetry", "kinesis:DescribeStreamSummary Telemetry", "kinesis:GetRecords Telemetry",
			"kinesis:GetShardIterator Telemetry", "kinesis:ListShards Telemetry",
			"logs:CreateLogStream UpdatePacesFunctionLogs", "logs:PutLogEvents UpdatePacesFunctionLogs",
			"s3:ListBucket UpdateStandingsFailures",
			"s3:PutObject UpdateStandingsFailures/aws/lambda/*", "s3:PutObject UpdateStandingsFailures/rejected/*",
		},
		"ArchiveTransform": {
			"logs:CreateLogStream ArchiveTransformLogs", "logs:PutLogEvents ArchiveTransformLogs",
		},
		"Archive": {
			"kinesis:DescribeStream Telemetry", "kinesis:GetRecords Telemetry", "kinesis:GetShardIterator Telemetry", "kinesis:ListShards Telemetry",
			"lambda:InvokeFunction ArchiveTransform", "lambda:InvokeFunction ArchiveTransform:$LATEST",
			"logs:PutLogEvents ArchiveLogs",
			"s3:AbortMultipartUpload ArchiveBucket/*", "s3:GetBucketLocation ArchiveBucket", "s3:GetObject ArchiveBucket/*",
			"s3:ListBucket ArchiveBucket", "s3:ListBucketMultipartUploads ArchiveBucket", "s3:PutObject ArchiveBucket/*",
		},
	}
	got := map[string][]string{}
	for id, policy := range synthRace(t, race.Config{}).OfType("AWS::IAM::Policy") {
		role := name(strings.Replace(strings.Replace(id, "FunctionRoleDefaultPolicy", "", 1), "RoleDefaultPolicy", "", 1))
		for _, statement := range policy.Properties["PolicyDocument"].(map[string]any)["Statement"].([]any) {
			for _, action := range list(at(statement, "Action")) {
				for _, r := range list(at(statement, "Resource")) {
					got[role] = append(got[role], fmt.Sprintf("%s %s", action, arn(r)))
				}
			}
		}
		slices.Sort(got[role])
	}
	for role := range want {
		slices.Sort(want[role])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
}

func TestNoRoleTakesAManagedPolicyOrAnotherService(t *testing.T) {
	for id, role := range synthRace(t, race.Config{}).OfType("AWS::IAM::Role") {
		if role.Properties["ManagedPolicyArns"] != nil {
			t.Errorf("%s has managed policies: they grant more than is used", id)
		}
		statements := at(role.Properties, "AssumeRolePolicyDocument", "Statement").([]any)
		service := at(statements[0], "Principal", "Service")
		if len(statements) != 1 || service != "lambda.amazonaws.com" && service != "firehose.amazonaws.com" {
			t.Errorf("%s may be assumed by %v", id, statements)
		}
	}
}

func TestDataIsEncryptedAndPrivate(t *testing.T) {
	template := synthRace(t, race.Config{})
	_, stream := template.Only(t, "AWS::Kinesis::Stream")
	if got := at(stream.Properties, "StreamEncryption", "EncryptionType"); got != "KMS" {
		t.Errorf("stream encryption is %v", got)
	}
	for id, table := range template.OfType("AWS::DynamoDB::GlobalTable") {
		if at(table.Properties, "SSESpecification", "SSEEnabled") != true {
			t.Errorf("%s isn't encrypted with a KMS key", id)
		}
		if at(table.Properties, "Replicas", 0, "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled") != true {
			t.Errorf("%s has no point-in-time recovery", id)
		}
		if at(table.Properties, "Replicas", 0, "DeletionProtectionEnabled") != true {
			t.Errorf("%s isn't protected from deletion", id)
		}
	}
	buckets := template.OfType("AWS::S3::Bucket")
	for id, bucket := range buckets {
		for _, block := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
			if at(bucket.Properties, "PublicAccessBlockConfiguration", block) != true {
				t.Errorf("%s: %s isn't set", id, block)
			}
		}
		if at(bucket.Properties, "BucketEncryption", "ServerSideEncryptionConfiguration", 0) == nil {
			t.Errorf("%s isn't encrypted", id)
		}
		if at(bucket.Properties, "VersioningConfiguration", "Status") != "Enabled" {
			t.Errorf("%s isn't versioned", id)
		}
	}
	// Plain HTTP is refused by each bucket and by the topic.
	closed := map[string]bool{}
	for _, kind := range []string{"AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy"} {
		for _, policy := range template.OfType(kind) {
			for _, statement := range at(policy.Properties, "PolicyDocument", "Statement").([]any) {
				if at(statement, "Effect") == "Deny" && at(statement, "Condition", "Bool", "aws:SecureTransport") == "false" {
					closed[refers(policy.Properties["Bucket"])+refers(at(policy.Properties, "Topics", 0))] = true
				}
			}
		}
	}
	topic, _ := template.Only(t, "AWS::SNS::Topic")
	for _, id := range append(slices.Collect(maps.Keys(buckets)), topic) {
		if !closed[id] {
			t.Errorf("%s takes plain HTTP", id)
		}
	}
}

func TestCloudWatchMayPublishToTheTopic(t *testing.T) {
	// The policy that refuses plain HTTP replaces the default one, which lets
	// alarms publish: without a statement of its own no alarm would arrive.
	_, policy := synthRace(t, race.Config{}).Only(t, "AWS::SNS::TopicPolicy")
	for _, s := range at(policy.Properties, "PolicyDocument", "Statement").([]any) {
		if at(s, "Effect") == "Allow" && at(s, "Action") == "sns:Publish" && at(s, "Principal", "Service") == "cloudwatch.amazonaws.com" {
			if at(s, "Condition", "StringEquals", "aws:SourceAccount") == nil {
				t.Error("any account's alarms may publish")
			}
			return
		}
	}
	t.Error("CloudWatch may not publish to the topic")
}

func TestDataIsRetainedUnlessTwoSwitchesSayOtherwise(t *testing.T) {
	stateful := []string{"AWS::Kinesis::Stream", "AWS::DynamoDB::GlobalTable", "AWS::S3::Bucket"}
	policies := func(config race.Config) map[string]bool {
		seen := map[string]bool{}
		template := synthRace(t, config)
		for _, kind := range stateful {
			for _, r := range template.OfType(kind) {
				seen[r.DeletionPolicy] = true
				seen[r.UpdateReplacePolicy] = true
			}
		}
		return seen
	}
	if got := policies(race.Config{}); !maps.Equal(got, map[string]bool{"Retain": true}) {
		t.Errorf("by default, deletion policies are %v", got)
	}
	if got := policies(race.Config{Destroy: true, ConfirmDestroy: race.StackName}); !maps.Equal(got, map[string]bool{"Delete": true}) {
		t.Errorf("with both switches, deletion policies are %v", got)
	}
	if err := (race.Config{Destroy: true}).Validate(); err == nil {
		t.Error("one switch is enough to delete the data")
	}
}

func TestMappingsLoseNothing(t *testing.T) {
	template := synthRace(t, race.Config{})
	mappings := template.OfType("AWS::Lambda::EventSourceMapping")
	if len(mappings) != 3 {
		t.Fatalf("%d mappings", len(mappings))
	}
	for id, m := range mappings {
		p := m.Properties
		if p["StartingPosition"] != "TRIM_HORIZON" || p["BisectBatchOnFunctionError"] != true ||
			p["MaximumRetryAttempts"] != 10.0 || p["MaximumRecordAgeInSeconds"] != 23*3600.0 {
			t.Errorf("%s: %v", id, p)
		}
		if got := list(p["FunctionResponseTypes"]); !slices.Equal(got, []any{"ReportBatchItemFailures"}) {
			t.Errorf("%s: responses %v", id, got)
		}
		bucket := refers(at(p, "DestinationConfig", "OnFailure", "Destination"))
		if template.Resources[bucket].Type != "AWS::S3::Bucket" {
			t.Errorf("%s: failed batches go to %q", id, bucket)
		}
		// The mapping waits for the policy with which it reads and reports.
		if !slices.ContainsFunc(m.DependsOn, func(d string) bool { return template.Resources[d].Type == "AWS::IAM::Policy" }) {
			t.Errorf("%s doesn't wait for its role's policy: %v", id, m.DependsOn)
		}
	}
}

func TestFirehoseWaitsForItsRole(t *testing.T) {
	template := synthRace(t, race.Config{})
	_, delivery := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	if !slices.ContainsFunc(delivery.DependsOn, func(d string) bool { return template.Resources[d].Type == "AWS::IAM::Policy" }) {
		t.Errorf("a first deployment races IAM: %v", delivery.DependsOn)
	}
	s3 := delivery.Properties["ExtendedS3DestinationConfiguration"]
	if at(s3, "CloudWatchLoggingOptions", "Enabled") != true || at(s3, "CompressionFormat") != "GZIP" {
		t.Errorf("delivery: %v", s3)
	}
	if prefix := at(s3, "ErrorOutputPrefix").(string); !strings.Contains(prefix, "!{firehose:error-output-type}") {
		t.Errorf("error prefix %q", prefix)
	}
}

func TestEveryAlarmCanFireAndSaysWhatToDo(t *testing.T) {
	// What the dimensions of a namespace have to name.
	owners := map[string]map[string]string{
		"AWS/Kinesis":  {"StreamName": "AWS::Kinesis::Stream"},
		"AWS/Lambda":   {"FunctionName": "AWS::Lambda::Function", "EventSourceMappingUUID": "AWS::Lambda::EventSourceMapping"},
		"AWS/DynamoDB": {"TableName": "AWS::DynamoDB::GlobalTable"},
		"AWS/Firehose": {"DeliveryStreamName": "AWS::KinesisFirehose::DeliveryStream"},
		"Millrace":     {"FunctionName": "AWS::Lambda::Function"},
	}
	template := synthRace(t, race.Config{})
	topic, _ := template.Only(t, "AWS::SNS::Topic")
	watched := map[string]bool{}
	check := func(id string, metric map[string]any) {
		namespace, _ := metric["Namespace"].(string)
		named := 0
		for _, d := range list(metric["Dimensions"]) {
			key := at(d, "Name").(string)
			if kind := owners[namespace][key]; kind != "" {
				owner := refers(at(d, "Value"))
				if template.Resources[owner].Type != kind {
					t.Errorf("%s: dimension %s of %s names %v, not a %s", id, key, namespace, at(d, "Value"), kind)
				}
				watched[owner] = true
				named++
			}
		}
		if named != 1 {
			t.Errorf("%s: metric %s/%v names no resource of this stack: it can't fire", id, namespace, metric["MetricName"])
		}
	}
	alarms := template.OfType("AWS::CloudWatch::Alarm")
	for id, alarm := range alarms {
		p := alarm.Properties
		if actions := list(p["AlarmActions"]); len(actions) != 1 || refers(actions[0]) != topic {
			t.Errorf("%s: actions %v", id, actions)
		}
		if len(list(p["OKActions"])) != 1 {
			t.Errorf("%s doesn't tell when it is well again", id)
		}
		if missing := p["TreatMissingData"]; missing != "notBreaching" && missing != "missing" {
			t.Errorf("%s: missing data is treated as %v", id, missing)
		}
		if age := strings.Contains(id, "Age"); age != (p["TreatMissingData"] == "missing") {
			t.Errorf("%s: an idle stream must neither page nor hide a lag: %v", id, p["TreatMissingData"])
		}
		text, _ := p["AlarmDescription"].(string)
		threshold := strconv.FormatFloat(p["Threshold"].(float64), 'f', -1, 64)
		if !strings.HasPrefix(text, "WARNING in ") && !strings.HasPrefix(text, "CRITICAL in ") || !strings.Contains(text, " "+threshold+" (") {
			t.Errorf("%s: description %q", id, text)
		}
		if len(text) > 1024 {
			t.Errorf("%s: CloudWatch takes 1,024 characters, this description has %d", id, len(text))
		}
		if metrics := list(p["Metrics"]); len(metrics) > 0 {
			for _, m := range metrics {
				if metric, ok := at(m, "MetricStat", "Metric").(map[string]any); ok {
					check(id, metric)
				}
			}
		} else {
			check(id, p)
		}
	}
	for _, kind := range []string{"AWS::Kinesis::Stream", "AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping", "AWS::DynamoDB::GlobalTable", "AWS::KinesisFirehose::DeliveryStream"} {
		for id := range template.OfType(kind) {
			if !watched[id] {
				t.Errorf("nothing watches %s", id)
			}
		}
	}
}

func TestThresholdsFollowTheConfiguration(t *testing.T) {
	config := race.Config{}
	config.Stream.RetentionPeriod = 48 * time.Hour
	config.Archive.BufferInterval = 100 * time.Second
	want := map[string]float64{
		"IteratorAgeWarning of Telemetry":  .1 * 48 * 3600 * 1000,
		"IteratorAgeCritical of Telemetry": .5 * 48 * 3600 * 1000,
		"Freshness of Archive":             480, // with the transform's 60 s
		"Duration of UpdateStandings":      24_000,
		"Duration of ArchiveTransform":     48_000,
	}
	alarms := synthRace(t, config).OfType("AWS::CloudWatch::Alarm")
	for what, threshold := range want {
		signal, owner, _ := strings.Cut(what, " of ")
		found := 0
		for id, alarm := range alarms {
			if strings.HasPrefix(id, "Watch"+owner) && strings.Contains(id, signal) && !strings.HasPrefix(id, "WatchArchiveTransform"+signal) != (owner == "ArchiveTransform") {
				found++
				if got := alarm.Properties["Threshold"]; got != threshold {
					t.Errorf("%s is %v, want %v", id, got, threshold)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d alarms for %s", found, what)
		}
	}
}

func TestFunctionsLogAndRunAsDocumented(t *testing.T) {
	template := synthRace(t, race.Config{})
	for id, f := range template.OfType("AWS::Lambda::Function") {
		p := f.Properties
		if p["Runtime"] != "provided.al2023" || !slices.Equal(list(p["Architectures"]), []any{"arm64"}) || p["MemorySize"] != 256.0 {
			t.Errorf("%s: %v", id, p)
		}
		group := template.Resources[refers(at(p, "LoggingConfig", "LogGroup"))]
		if group.Type != "AWS::Logs::LogGroup" || group.Properties["RetentionInDays"] != 30.0 {
			t.Errorf("%s logs to %v", id, group)
		}
	}
}

func TestLocalProfileIsTheOnlyDifference(t *testing.T) {
	template := synthRace(t, race.Config{Local: true})
	lines := list(template.Metadata[race.LocalProfile])
	if len(lines) == 0 {
		t.Error("the local profile doesn't say what it changes")
	}
	host := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	for id, f := range template.OfType("AWS::Lambda::Function") {
		if got := at(f.Properties, "Architectures", 0); got != host {
			t.Errorf("%s is built for %v, this machine is %s", id, got, host)
		}
	}
	for id, alarm := range template.OfType("AWS::CloudWatch::Alarm") {
		if alarm.Properties["Metrics"] != nil {
			t.Errorf("%s is on metric math, which the emulator refuses", id)
		}
	}
	cloud := synthRace(t, race.Config{})
	if cloud.Metadata[race.LocalProfile] != nil {
		t.Error("the stack for AWS has the local profile's metadata")
	}
	// Everything but what the profile names is there in both.
	for id, r := range cloud.Resources {
		if _, ok := template.Resources[id]; !ok && r.Properties["Metrics"] == nil && r.Type != "AWS::S3::BucketPolicy" && r.Type != "AWS::CloudWatch::CompositeAlarm" {
			t.Errorf("the local profile lacks %s, a %s", id, r.Type)
		}
	}
}

// list is v as a list: CloudFormation writes lists of one as the one.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

// name is a logical id without the hash at its end.
func name(logicalID string) string {
	if len(logicalID) > 8 {
		return logicalID[:len(logicalID)-8]
	}
	return logicalID
}

// arn is a policy's resource in short: the logical id's name and what follows it.
func arn(v any) string {
	if id := refers(v); id != "" {
		return name(id)
	}
	if parts, ok := at(v, "Fn::Join", 1).([]any); ok {
		var b strings.Builder
		for _, p := range parts {
			if text, ok := p.(string); ok {
				b.WriteString(text)
			} else {
				b.WriteString(name(refers(p)))
			}
		}
		return b.String()
	}
	return fmt.Sprint(v)
}

func TestTheDashboardDrawsEveryAlarm(t *testing.T) {
	template := synthRace(t, race.Config{})
	_, dashboard := template.Only(t, "AWS::CloudWatch::Dashboard")
	// CloudFormation joins text and references; put the references' names in.
	var body strings.Builder
	for _, part := range at(dashboard.Properties["DashboardBody"], "Fn::Join", 1).([]any) {
		if text, ok := part.(string); ok {
			body.WriteString(text)
		} else {
			body.WriteString(refers(part))
		}
	}
	var drawn struct {
		Widgets []struct {
			Type                string
			X, Y, Width, Height int
			Properties          struct {
				Title       string
				Alarms      []string
				Metrics     [][]any
				Annotations struct {
					Horizontal []struct{ Value float64 }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body.String()), &drawn); err != nil {
		t.Fatalf("the body isn't JSON: %v\n%s", err, body.String())
	}
	alarms := template.OfType("AWS::CloudWatch::Alarm")
	lines, listed, taken := map[string]bool{}, 0, map[[2]int]string{}
	for _, w := range drawn.Widgets {
		for x := w.X; x < w.X+w.Width; x++ {
			for y := w.Y; y < w.Y+w.Height; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q or beyond the edge", w.Properties.Title, other)
				}
				taken[[2]int{x, y}] = w.Type + w.Properties.Title
			}
		}
		listed += len(w.Properties.Alarms)
		for _, m := range w.Properties.Metrics {
			for _, a := range w.Properties.Annotations.Horizontal {
				lines[fmt.Sprint(m[:len(m)-1], a.Value)] = true
			}
		}
	}
	if all := len(alarms) + len(template.OfType("AWS::CloudWatch::CompositeAlarm")); listed != all {
		t.Errorf("%d of %d alarms are on the dashboard", listed, all)
	}
	for id, alarm := range alarms {
		p := alarm.Properties
		if p["Metrics"] != nil {
			continue
		}
		row := []any{p["Namespace"], p["MetricName"]}
		for _, d := range list(p["Dimensions"]) {
			row = append(row, at(d, "Name"), refers(at(d, "Value")))
		}
		if !lines[fmt.Sprint(row, p["Threshold"])] {
			t.Errorf("%s: no graph draws %v with the threshold %v", id, row, p["Threshold"])
		}
	}
}
