// Package watch turns signals into CloudWatch alarms and one dashboard.
//
// A [Signal] is something that a construct knows of itself: which metric tells
// that it is unwell, with which dimensions, from which value on, why that
// matters and what to do. Every construct of this module lists its own
// (Signals); the thresholds come from its configuration. [New] makes an alarm of
// each, sends them all to one SNS topic, and draws a dashboard in the order of
// the signals, which is the order of the data.
//
// Signals and metrics are plain values: only [New] talks to the CDK.
package watch

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Severity says how soon a person should look.
type Severity string

const (
	// Warning: look within the working day.
	Warning Severity = "WARNING"
	// Critical: data is being lost, or will be.
	Critical Severity = "CRITICAL"
)

// Missing says what an alarm makes of a minute without data.
type Missing string

const (
	// NotBreaching is for counts: no data means that nothing was counted.
	NotBreaching Missing = "notBreaching"
	// Breaching is for what must never be silent.
	Breaching Missing = "breaching"
	// Unknown leaves the alarm in INSUFFICIENT_DATA; for ages and delays, where no
	// data says nothing about the delay.
	Unknown Missing = "missing"
)

// Signal is a metric of a construct, with the value from which it matters.
type Signal struct {
	// Owner is the construct that the signal is about.
	Owner constructs.IConstruct
	// Name is unique among the owner's signals; it becomes the alarm's id:
	// renaming it replaces the alarm.
	Name string
	// Graph is the title of the dashboard's graph; signals of one owner with the
	// same Graph share one, each with its threshold drawn in.
	Graph string
	// Metric with all its dimensions.
	Metric Metric
	// Below raises the alarm under the threshold; by default it is raised above.
	Below bool
	// Threshold is the last value that is still well.
	Threshold float64
	// From says where the threshold comes from.
	From string
	// Why it matters, as one sentence.
	Why string
	// Do says what to do, as one sentence or a few.
	Do string
	// Runbook is the page that helps further: the name of one in docs/runbooks,
	// without .md, or an address.
	Runbook string
	// Periods that are looked at, 1 by default, and Breaching, how many of them
	// must be beyond the threshold; all by default.
	Periods, Breaching int
	// OnAlarm, if set, is called with the alarm that watches the signal; for a
	// construct that acts on its own alarms.
	OnAlarm func(awscloudwatch.CfnAlarm)
	// Missing data: written out for every signal.
	Missing Missing
	// Severity: Warning or Critical.
	Severity Severity
}

// All gathers the signals of parts, in their order: streams, consumers, tables,
// deliveries and functions are parts; nil is none, as the Transform of a delivery
// without one. Call it after the last Grant on a table, which watches the
// operations that were granted.
func All(parts ...interface{ Signals() []Signal }) []Signal {
	var all []Signal
	for _, p := range parts {
		if !valid.Missing(p) {
			all = append(all, p.Signals()...)
		}
	}
	return all
}

// Metric is a CloudWatch metric, or an expression over some, in periods of one
// minute.
type Metric struct {
	// Namespace, Name and Statistic are CloudWatch's own words, such as
	// "AWS/Kinesis", "IncomingRecords" and "Sum", "Maximum", "Average" or "p99".
	Namespace, Name, Statistic string
	// Dimensions name the resource; values may be tokens.
	Dimensions map[string]*string
	// Expression over the metrics in Using, by their ids; the fields above are
	// empty then. Label is its name in graphs.
	Expression, Label string
	Using             []Metric // their ids are m0, m1, …
}

// Of takes a metric of the CDK's own constructs.
func Of(m awscloudwatch.Metric) Metric {
	dimensions := map[string]*string{}
	if all := m.Dimensions(); all != nil {
		for name, value := range *all {
			if text, ok := value.(string); ok {
				dimensions[name] = jsii.String(text)
			}
		}
	}
	return Metric{Namespace: *m.Namespace(), Name: *m.MetricName(), Statistic: *m.Statistic(), Dimensions: dimensions}
}

// Age returns the two signals that every reader of a stream has: it warns at a
// tenth of the retention and is critical at half of it. Metric is in milliseconds.
func Age(owner constructs.IConstruct, name, graph string, metric Metric, retention time.Duration, do string) []Signal {
	at := func(severity Severity, share float64) Signal {
		suffix := map[Severity]string{Warning: "Warning", Critical: "Critical"}[severity]
		return Signal{
			Owner: owner, Name: name + suffix, Graph: graph, Metric: metric,
			Threshold: share * float64(retention.Milliseconds()),
			From:      fmt.Sprintf("%.4g h, %.4g %% of the source's retention of %g h", share*retention.Hours(), 100*share, retention.Hours()),
			Why:       "The oldest unread record is this old; records that reach the retention are gone.", Do: do,
			Periods: 5, Breaching: 3, Missing: Unknown, Severity: severity,
		}
	}
	return []Signal{at(Warning, .1), at(Critical, .5)}
}

// Props of [New].
type Props struct {
	// Signals to watch, in the order of the data; at least one: watch.All(stream,
	// consumer, …).
	Signals []Signal
	// Topic that alarms are sent to when they are raised and when they are well
	// again; nil defines one that takes only TLS.
	Topic awssns.ITopic
	// Email that is subscribed to the topic; its owner has to confirm. None by default.
	Email string
}

// Watch holds the alarms, their topic and the dashboard.
type Watch struct {
	construct constructs.Construct
	topic     awssns.ITopic
	dashboard awscloudwatch.CfnDashboard
	alarms    []awscloudwatch.CfnAlarm
}

// New defines an alarm for each signal and a dashboard of them all. It panics
// with a [*spec.Invalid] when a signal lacks what an alarm needs.
func New(scope constructs.Construct, id string, props Props) *Watch {
	this := constructs.NewConstruct(scope, jsii.String(id))
	stack := awscdk.Stack_Of(this)
	owners := paths(props.Signals, *stack.Node().Path()+"/")
	valid.Must(this, check(props, owners))

	w := &Watch{construct: this, topic: props.Topic}
	if w.topic == nil {
		w.topic = newTopic(this)
	}
	if props.Email != "" {
		w.topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(jsii.String(props.Email), nil))
	}
	// Names that say what rings. The stack's is unique in its account and region.
	prefix := *stack.StackName() + "-" + id + "-"
	actions := &[]any{w.topic.TopicArn()}
	names := make([]string, len(props.Signals))
	for i, s := range props.Signals {
		owner := owners[s.Owner]
		names[i] = prefix + owner + "-" + s.Name
		alarm := newAlarm(this, owner, names[i], s, actions)
		if s.OnAlarm != nil {
			s.OnAlarm(alarm)
		}
		w.alarms = append(w.alarms, alarm)
	}
	w.dashboard = w.newDashboard(props.Signals, owners, names)
	return w
}

// Construct is the node that holds everything defined here.
func (w *Watch) Construct() constructs.Construct { return w.construct }

// Topic is where the alarms are sent to.
func (w *Watch) Topic() awssns.ITopic { return w.topic }

// Dashboard shows every signal with its threshold; a CloudFormation resource.
func (w *Watch) Dashboard() awscloudwatch.CfnDashboard { return w.dashboard }

// Alarms are all alarms, in the order of the signals; CloudFormation resources.
func (w *Watch) Alarms() []awscloudwatch.CfnAlarm { return w.alarms }

// paths are the owners' paths below the stack, as ids. An owner is asked once:
// each question is a round trip to Node.js.
func paths(signals []Signal, stack string) map[constructs.IConstruct]string {
	owners := map[constructs.IConstruct]string{}
	for _, s := range signals {
		if !valid.Missing(s.Owner) && owners[s.Owner] == "" {
			path := strings.TrimPrefix(*s.Owner.Node().Path(), stack)
			owners[s.Owner] = strings.ReplaceAll(path, "/", "-")
		}
	}
	return owners
}

func check(props Props, owners map[constructs.IConstruct]string) *spec.Check {
	c := spec.At("")
	if len(props.Signals) == 0 {
		c.Add("Signals", nil, "there is nothing to watch", "pass what the constructs' Signals methods return")
	}
	c.Email("Email", props.Email)
	seen := map[string]bool{}
	for i, s := range props.Signals {
		field := fmt.Sprintf("Signals[%d]", i)
		if valid.Missing(s.Owner) {
			c.Add(field+".Owner", nil, "a signal belongs to a construct", "set it")
			continue
		}
		if key := owners[s.Owner] + "/" + s.Name; seen[key] {
			c.Add(field+".Name", s.Name, owners[s.Owner]+" already has a signal of this name", "rename it, or pass each construct's signals once")
		} else {
			seen[key] = true
		}
		for _, part := range []struct {
			name    string
			missing bool
		}{
			{"Name", s.Name == ""},
			{"Graph", s.Graph == ""},
			{"Metric", s.Metric.Name == "" && s.Metric.Expression == ""},
			{"From", s.From == ""},
			{"Why", s.Why == ""},
			{"Do", s.Do == ""},
			{"Missing", s.Missing == ""},
			{"Severity", s.Severity == ""},
		} {
			if part.missing {
				c.Add(field+"."+part.name, nil, "every alarm says what it means and what to do", "set it")
			}
		}
		if s.Breaching > max(s.Periods, 1) {
			c.Add(field+".Breaching", s.Breaching, fmt.Sprintf("only %d periods are looked at", max(s.Periods, 1)), "lower it, or raise Periods")
		}
	}
	return c
}

// newTopic defines the topic. It isn't encrypted with a key: CloudWatch can't
// publish to a topic under SNS's own key, and a customer key costs a dollar a
// month to hide texts that hold no data; pass a Topic to have one. Its policy
// admits CloudWatch by name, since a policy of our own (TLS only) replaces the
// default one that would.
func newTopic(this constructs.Construct) awssns.ITopic {
	topic := awssns.NewTopic(this, jsii.String("Topic"), &awssns.TopicProps{EnforceSSL: jsii.Bool(true)})
	stack := awscdk.Stack_Of(this)
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("AlarmsOfThisAccount"),
		Actions:    jsii.Strings("sns:Publish"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("cloudwatch.amazonaws.com"), nil)},
		Resources:  &[]*string{topic.TopicArn()},
		Conditions: &map[string]any{
			"StringEquals": map[string]any{"aws:SourceAccount": stack.Account()},
			"ArnLike": map[string]any{"aws:SourceArn": stack.FormatArn(&awscdk.ArnComponents{
				Service: jsii.String("cloudwatch"), Resource: jsii.String("alarm"), ResourceName: jsii.String("*"),
				ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
			})},
		},
	}))
	return topic
}

func newAlarm(scope constructs.Construct, owner, name string, s Signal, actions *[]any) awscloudwatch.CfnAlarm {
	comparison := "GreaterThanThreshold"
	if s.Below {
		comparison = "LessThanThreshold"
	}
	periods := max(s.Periods, 1)
	breaching := s.Breaching
	if breaching == 0 {
		breaching = periods
	}
	props := &awscloudwatch.CfnAlarmProps{
		AlarmName:          jsii.String(name),
		AlarmDescription:   jsii.String(describe(owner, s)),
		ComparisonOperator: jsii.String(comparison),
		Threshold:          jsii.Number(s.Threshold),
		EvaluationPeriods:  jsii.Number(periods),
		DatapointsToAlarm:  jsii.Number(breaching),
		TreatMissingData:   jsii.String(string(s.Missing)),
		AlarmActions:       actions,
		OkActions:          actions,
	}
	m := s.Metric
	switch {
	case m.Expression != "":
		query := &awscloudwatch.CfnAlarm_MetricDataQueryProperty{
			Id: jsii.String("expression"), Expression: jsii.String(m.Expression), Label: jsii.String(m.Label), ReturnData: jsii.Bool(true),
		}
		if len(m.Using) == 0 {
			query.Period = jsii.Number(period) // a query (SELECT …) has no metrics to take it from
		}
		queries := []any{query}
		for i, part := range m.Using {
			queries = append(queries, &awscloudwatch.CfnAlarm_MetricDataQueryProperty{
				Id: jsii.String(fmt.Sprintf("m%d", i)), ReturnData: jsii.Bool(false),
				MetricStat: &awscloudwatch.CfnAlarm_MetricStatProperty{
					Metric: &awscloudwatch.CfnAlarm_MetricProperty{
						Namespace: jsii.String(part.Namespace), MetricName: jsii.String(part.Name), Dimensions: part.dimensions(),
					},
					Period: jsii.Number(period), Stat: jsii.String(part.Statistic),
				},
			})
		}
		props.Metrics = &queries
	default:
		props.Namespace, props.MetricName, props.Period = jsii.String(m.Namespace), jsii.String(m.Name), jsii.Number(period)
		props.Dimensions = m.dimensions()
		if strings.HasPrefix(m.Statistic, "p") {
			props.ExtendedStatistic = jsii.String(m.Statistic)
		} else {
			props.Statistic = jsii.String(m.Statistic)
		}
	}
	return awscloudwatch.NewCfnAlarm(scope, jsii.String(owner+"-"+s.Name), props)
}

// period of every metric, in seconds.
const period = 60

func (m Metric) dimensions() *[]any {
	all := []any{}
	for _, name := range slices.Sorted(maps.Keys(m.Dimensions)) {
		all = append(all, &awscloudwatch.CfnAlarm_DimensionProperty{Name: jsii.String(name), Value: m.Dimensions[name]})
	}
	return &all
}

// describe is what a person reads at 3 a.m.
func describe(owner string, s Signal) string {
	side := "above"
	if s.Below {
		side = "below"
	}
	threshold := strconv.FormatFloat(s.Threshold, 'f', -1, 64)
	return fmt.Sprintf("%s in %s: %s: %s %s (%s). %s %s", s.Severity, owner, s.Graph, side, threshold, s.From, s.Why, s.Do)
}
