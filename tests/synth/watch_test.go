package synth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/watch"
	"github.com/millrace/millrace/stacks/race"
)

// someSignal is a good one, of a metric that needs nothing else.
func someSignal(owner constructs.IConstruct, name string) watch.Signal {
	return watch.Signal{
		Owner: owner, Name: name, Graph: "Orders", From: "we said so", Why: "Orders wait.", Do: "Look at the shop.",
		Runbook: "watch-unhealthy", Missing: watch.NotBreaching, Severity: watch.Warning, Metric: someMetric("Waiting"),
	}
}

func someMetric(name string) watch.Metric {
	return watch.Metric{Namespace: "Shop", Name: name, Statistic: "Sum", Dimensions: map[string]*string{"Shop": jsii.String("Berlin")}}
}

// everyKindOfSignal is what signals can differ in.
func everyKindOfSignal(owner constructs.IConstruct) []watch.Signal {
	with := func(name string, change func(*watch.Signal)) watch.Signal {
		s := someSignal(owner, name)
		change(&s)
		return s
	}
	return []watch.Signal{
		with("Plain", func(s *watch.Signal) { s.Threshold, s.Severity = 5, watch.Critical }),
		with("Below", func(s *watch.Signal) { s.Below, s.Periods, s.Breaching, s.Missing = true, 5, 3, watch.Breaching }),
		with("Percentile", func(s *watch.Signal) { s.Metric.Statistic, s.Missing = "p99.9", watch.Unknown }),
		with("Trimmed", func(s *watch.Signal) {
			s.Metric.Statistic, s.Metric.Period, s.Missing = "TM(10%:90%)", 5*time.Minute, watch.Ignore
		}),
		with("Sum", func(s *watch.Signal) {
			s.Graph, s.Severity = "Sums", watch.Critical
			s.Metric = watch.Metric{Expression: "m0 + m1", Label: "Sum", Using: []watch.Metric{someMetric("A"), someMetric("B")}}
		}),
		with("Difference", func(s *watch.Signal) {
			s.Graph = "Sums"
			s.Metric = watch.Metric{Expression: "m1 - m0", Label: "Difference", Period: 5 * time.Minute, Using: []watch.Metric{someMetric("C"), someMetric("D")}}
		}),
		with("Expected", func(s *watch.Signal) { s.Graph, s.Anomaly = "Expected", 2 }),
		with("ExpectedMore", func(s *watch.Signal) { s.Graph, s.Anomaly, s.Below = "Expected", 2.5, true }),
		with("ExpectedSum", func(s *watch.Signal) {
			s.Graph, s.Anomaly, s.Outside = "Expected", 3, true
			s.Metric = watch.Metric{Expression: "m0 / m1", Label: "Share", Using: []watch.Metric{someMetric("A"), someMetric("B")}}
		}),
		with("Everywhere", func(s *watch.Signal) {
			s.Graph, s.Runbook = "Everywhere", "https://wiki.example.com/concurrency"
			s.Metric = watch.Metric{Namespace: "AWS/Lambda", Name: "ConcurrentExecutions", Statistic: "Maximum", WholeAccount: true}
		}),
	}
}

func init() {
	fullest["watch"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		// The other topics are somebody else's, as those of a company mostly are.
		theirs := func(name string) awssns.ITopic {
			arn := stack.FormatArn(&awscdk.ArnComponents{Service: jsii.String("sns"), Resource: jsii.String(name)})
			return awssns.Topic_FromTopicArn(stack, jsii.String(name), arn)
		}
		watch.New(stack, "Watch", watch.Props{
			Signals: everyKindOfSignal(stack), Key: key, Email: "oncall@example.com",
			Warnings: theirs("Warnings"), Pager: theirs("Pager"), Runbooks: "https://wiki.example.com/runbooks",
		})
	}
}

func watchEverything(t *testing.T) *snapshot.Template {
	t.Helper()
	_, stack := newStack(t)
	fullest["watch"](stack)
	return snapshot.Of(t, stack)
}

// alarmsByName are the alarms of a stack by the name of their signal.
func alarmsByName(template *snapshot.Template) map[string]snapshot.Resource {
	alarms := map[string]snapshot.Resource{}
	for _, alarm := range template.OfType("AWS::CloudWatch::Alarm") {
		name := alarm.Properties["AlarmName"].(string)
		alarms[name[strings.LastIndex(name, "-")+1:]] = alarm
	}
	return alarms
}

func TestEveryKindOfSignalBecomesItsAlarm(t *testing.T) {
	alarms := alarmsByName(watchEverything(t))
	for name, want := range map[string]map[string]any{
		"Plain":      {"Statistic": "Sum", "Threshold": 5.0, "Period": 60.0, "EvaluationPeriods": 1.0, "DatapointsToAlarm": 1.0, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching"},
		"Below":      {"EvaluationPeriods": 5.0, "DatapointsToAlarm": 3.0, "ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching"},
		"Percentile": {"ExtendedStatistic": "p99.9", "Statistic": nil, "TreatMissingData": "missing"},
		"Trimmed":    {"ExtendedStatistic": "TM(10%:90%)", "Period": 300.0, "TreatMissingData": "ignore"},
		"Sum":        {"Threshold": 0.0, "MetricName": nil, "Period": nil, "Statistic": nil},
		"Expected":   {"Threshold": nil, "ThresholdMetricId": "band", "ComparisonOperator": "GreaterThanUpperThreshold", "MetricName": nil},
		"ExpectedMore": {
			"ThresholdMetricId": "band", "ComparisonOperator": "LessThanLowerThreshold",
		},
		"ExpectedSum": {"ThresholdMetricId": "band", "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold"},
		"Everywhere":  {"Dimensions": nil, "MetricName": "ConcurrentExecutions"},
	} {
		p := alarms[name].Properties
		for property, value := range want {
			if fmt.Sprint(p[property]) != fmt.Sprint(value) && !(value == nil && len(list(p[property])) == 0) {
				t.Errorf("%s: %s is %v, want %v", name, property, p[property], value)
			}
		}
	}
	// What an expression or a band is made of: ids, periods, and what is watched.
	for name, want := range map[string][]string{
		"Sum":          {"expression=m0 + m1 true", "m0=A Sum 60 false", "m1=B Sum 60 false"},
		"Difference":   {"expression=m1 - m0 true", "m0=C Sum 300 false", "m1=D Sum 300 false"},
		"Expected":     {"m0=Waiting Sum 60 true", "band=ANOMALY_DETECTION_BAND(m0, 2) true"},
		"ExpectedMore": {"m0=Waiting Sum 60 true", "band=ANOMALY_DETECTION_BAND(m0, 2.5) true"},
		"ExpectedSum":  {"expression=m0 / m1 true", "m0=A Sum 60 false", "m1=B Sum 60 false", "band=ANOMALY_DETECTION_BAND(expression, 3) true"},
	} {
		var got []string
		for _, m := range list(alarms[name].Properties["Metrics"]) {
			if at(m, "Expression") != nil {
				got = append(got, fmt.Sprintf("%v=%v %v", at(m, "Id"), at(m, "Expression"), at(m, "ReturnData")))
			} else {
				got = append(got, fmt.Sprintf("%v=%v %v %v %v", at(m, "Id"), at(m, "MetricStat", "Metric", "MetricName"), at(m, "MetricStat", "Stat"), at(m, "MetricStat", "Period"), at(m, "ReturnData")))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: metrics %q, want %q", name, got, want)
		}
	}
}

func TestAlarmsGoWhereTheirSeveritySays(t *testing.T) {
	template := watchEverything(t)
	topic, _ := template.Only(t, "AWS::SNS::Topic")
	to := func(actions any) string {
		all := list(actions)
		if len(all) != 1 {
			t.Fatalf("%d actions: %v", len(all), all)
		}
		if refers(all[0]) == topic {
			return "Topic"
		}
		text, _ := json.Marshal(all[0])
		for _, name := range []string{"Warnings", "Pager"} {
			if strings.Contains(string(text), ":"+name+`"`) {
				return name
			}
		}
		return string(text)
	}
	for name, alarm := range alarmsByName(template) {
		want := "Warnings"
		if name == "Plain" || name == "Sum" {
			want = "Topic"
		}
		if got := to(alarm.At("AlarmActions")); got != want || to(alarm.At("OKActions")) != want {
			t.Errorf("%s goes to %s, want %s", name, got, want)
		}
	}
	_, composite := template.Only(t, "AWS::CloudWatch::CompositeAlarm")
	if got := to(composite.At("AlarmActions")); got != "Pager" || to(composite.At("OKActions")) != "Pager" {
		t.Errorf("the composite alarm goes to %s", got)
	}
}

func TestTheCompositeAlarmIsOverTheCriticalOnes(t *testing.T) {
	template := synthRace(t, race.Config{})
	id, composite := template.Only(t, "AWS::CloudWatch::CompositeAlarm")
	var want, ids []string
	for id, alarm := range template.OfType("AWS::CloudWatch::Alarm") {
		if strings.HasPrefix(alarm.At("AlarmDescription").(string), "CRITICAL") {
			want = append(want, fmt.Sprintf("ALARM(%q)", alarm.At("AlarmName")))
			ids = append(ids, id)
		}
	}
	got := strings.Split(composite.At("AlarmRule").(string), " OR ")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) < 5 {
		t.Errorf("the rule is over %q, want %q", got, want)
	}
	// CloudWatch refuses a rule that names what isn't there.
	for _, alarm := range ids {
		if !slices.Contains(composite.DependsOn, alarm) {
			t.Errorf("%s doesn't wait for %s", id, alarm)
		}
	}
	text := composite.At("AlarmDescription").(string)
	if !strings.HasSuffix(text, "Runbook: "+watch.RunbookPages+watch.UnhealthyPage+".md") || len(text) > 1024 {
		t.Errorf("description %q", text)
	}

	_, stack := newStack(t)
	critical := someSignal(stack, "A")
	critical.Severity = watch.Critical
	for i, props := range []watch.Props{
		{Signals: []watch.Signal{critical}, NoComposite: true},
		{Signals: []watch.Signal{someSignal(stack, "A")}}, // none is critical
	} {
		if w := watch.New(stack, fmt.Sprintf("Watch%d", i), props); w.Composite() != nil {
			t.Errorf("%d: a composite alarm is defined", i)
		}
	}
}

func TestEveryDescriptionLinksItsRunbook(t *testing.T) {
	for name, alarm := range alarmsByName(watchEverything(t)) {
		want := "Runbook: https://wiki.example.com/runbooks/watch-unhealthy.md"
		if name == "Everywhere" {
			want = "Runbook: https://wiki.example.com/concurrency"
		}
		if text := alarm.At("AlarmDescription").(string); !strings.HasSuffix(text, want) || !strings.Contains(text, "Look at the shop.") {
			t.Errorf("%s: %q doesn't end in %q", name, text, want)
		}
	}
}

func TestTheTopicsKeyLetsCloudWatchIn(t *testing.T) {
	template := watchEverything(t)
	id, key := template.Only(t, "AWS::KMS::Key")
	_, topic := template.Only(t, "AWS::SNS::Topic")
	if got, _, _ := template.Target(topic.At("KmsMasterKeyId")); got != id {
		t.Errorf("the topic's key is %v", topic.At("KmsMasterKeyId"))
	}
	if topic.Metadata["checkov"] != nil {
		t.Error("the finding that the key answers is accepted all the same")
	}
	found := false
	for _, s := range list(key.At("KeyPolicy", "Statement")) {
		if at(s, "Principal", "Service") == "cloudwatch.amazonaws.com" && at(s, "Effect") == "Allow" {
			found = slices.Equal(list(at(s, "Action")), []any{"kms:Decrypt", "kms:GenerateDataKey*"})
		}
	}
	if !found {
		t.Errorf("CloudWatch may not use the key: %v", key.At("KeyPolicy"))
	}
}

func TestOwnersWhosePathsReadTheSameAreToldApart(t *testing.T) {
	names := func(ids ...string) map[string]string {
		_, stack := newStack(t)
		var signals []watch.Signal
		for _, id := range ids {
			parent := constructs.Construct(stack)
			if outer, inner, ok := strings.Cut(id, "/"); ok {
				parent, id = constructs.NewConstruct(stack, jsii.String(outer)), inner
			}
			signals = append(signals, someSignal(constructs.NewConstruct(parent, jsii.String(id)), "Waiting"))
		}
		watch.New(stack, "Watch", watch.Props{Signals: signals})
		found := map[string]string{}
		for id, alarm := range snapshot.Of(t, stack).OfType("AWS::CloudWatch::Alarm") {
			found[alarm.At("AlarmName").(string)] = id
		}
		return found
	}
	alone, both, turned := names("A-B", "C"), names("A-B", "A/B", "C"), names("C", "A/B", "A-B")
	if len(both) != 3 {
		t.Fatalf("%v", both)
	}
	for name, id := range alone {
		if both[name] != id {
			t.Errorf("another owner changes the alarm %s", name)
		}
	}
	if fmt.Sprint(both) != fmt.Sprint(turned) {
		t.Errorf("the order of the signals changes ids: %v, %v", both, turned)
	}
}

func TestNamesFitIntoCloudWatch(t *testing.T) {
	_, stack := newStack(t)
	long := strings.Repeat("x", 120)
	owner := constructs.NewConstruct(constructs.NewConstruct(stack, jsii.String(long)), jsii.String(long+"y"))
	w := watch.New(stack, "Watch", watch.Props{Signals: []watch.Signal{someSignal(owner, "WaitingAAAAAAAAAAAAAAAA"), someSignal(owner, "WaitingAAAAAAAAAAAAAAAB")}})
	a, b := *w.Alarms()[0].AlarmName(), *w.Alarms()[1].AlarmName()
	if len(a) != 255 || len(b) != 255 || a == b {
		t.Errorf("%d and %d characters: %s, %s", len(a), len(b), a, b)
	}
}

func TestAnOwnerLearnsOfItsAlarm(t *testing.T) {
	_, stack := newStack(t)
	owner := constructs.NewConstruct(stack, jsii.String("Owner"))
	var told awscloudwatch.CfnAlarm
	signal := someSignal(owner, "Waiting")
	signal.OnAlarm = func(alarm awscloudwatch.CfnAlarm) { told = alarm }
	w := watch.New(stack, "Watch", watch.Props{Signals: []watch.Signal{someSignal(stack, "Waiting"), signal}})
	if told == nil || told != w.Alarms()[1] || w.Alarm(owner, "Waiting") != told {
		t.Errorf("told of %v, found %v", told, w.Alarm(owner, "Waiting"))
	}
	if w.Alarm(owner, "Other") != nil || w.Alarm(nil, "Waiting") != nil {
		t.Error("there is no such alarm")
	}
}

func TestTheDashboardDrawsExpressionsAndBands(t *testing.T) {
	_, dashboard := watchEverything(t).Only(t, "AWS::CloudWatch::Dashboard")
	var body strings.Builder
	for _, part := range at(dashboard.Properties["DashboardBody"], "Fn::Join", 1).([]any) {
		if text, ok := part.(string); ok {
			body.WriteString(text)
		}
	}
	var drawn struct {
		Widgets []struct {
			Type       string
			Properties struct {
				Title, Markdown string
				Metrics         [][]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body.String()), &drawn); err != nil {
		t.Fatal(err)
	}
	expressions := map[string][]string{}
	for _, w := range drawn.Widgets {
		if w.Type == "text" && !strings.Contains(w.Properties.Markdown, "[Everywhere](https://wiki.example.com/concurrency)") {
			t.Errorf("a heading without its runbooks: %q", w.Properties.Markdown)
		}
		ids := map[string]bool{}
		for _, m := range w.Properties.Metrics {
			options := m[len(m)-1].(map[string]any)
			if id, ok := options["id"].(string); ok {
				if ids[id] {
					t.Errorf("%s has the id %s twice", w.Properties.Title, id)
				}
				ids[id] = true
			}
			if text, ok := options["expression"].(string); ok {
				expressions[w.Properties.Title] = append(expressions[w.Properties.Title], text)
			}
		}
		for _, text := range expressions[w.Properties.Title] {
			for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !strings.ContainsRune("me0123456789", r) }) {
				if len(word) > 1 && strings.ContainsAny(word[:1], "me") && !ids[word] {
					t.Errorf("%s: %q speaks of %s, which isn't drawn", w.Properties.Title, text, word)
				}
			}
		}
	}
	want := map[string][]string{
		"Sums":     {"m0 + m1", "m3 - m2"},
		"Expected": {"ANOMALY_DETECTION_BAND(m0, 2)", "ANOMALY_DETECTION_BAND(m0, 2.5)", "m1 / m2", "ANOMALY_DETECTION_BAND(e3, 3)"},
	}
	if fmt.Sprint(expressions) != fmt.Sprint(want) {
		t.Errorf("drawn: %q, want %q", expressions, want)
	}
}

func TestMoreAlarmsThanAWidgetListsAreAllListed(t *testing.T) {
	_, stack := newStack(t)
	var signals []watch.Signal
	for i := range 150 {
		signals = append(signals, someSignal(stack, fmt.Sprintf("Waiting%d", i)))
	}
	watch.New(stack, "Watch", watch.Props{Signals: signals})
	_, dashboard := snapshot.Of(t, stack).Only(t, "AWS::CloudWatch::Dashboard")
	text, _ := json.Marshal(dashboard.Properties)
	if n := strings.Count(string(text), `\"type\":\"alarm\"`); n != 2 {
		t.Errorf("%d alarm widgets", n)
	}
}
