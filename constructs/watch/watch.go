// Package watch turns signals into CloudWatch alarms and one dashboard.
//
// A [Signal] is something that a construct knows of itself: which metric tells
// that it is unwell, with which dimensions, from which value on, why that
// matters and what to do. Every construct of this module lists its own
// (Signals); the thresholds come from its configuration. [New] makes an alarm of
// each, whose description links the page of a runbook, sends them to an SNS topic,
// makes one composite alarm of the critical ones, and draws a dashboard in the
// order of the signals, which is the order of the data.
//
// Signals and metrics are plain values: only [New] talks to the CDK.
package watch

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/valid"
)

// Severity says how soon a person should look.
type Severity string

const (
	// Warning: look within the working day.
	Warning Severity = "WARNING"
	// Critical: data is being lost, or will be.
	Critical Severity = "CRITICAL"
)

// Missing says what an alarm makes of a period without data. CloudWatch itself
// has alarms on metrics of AWS/DynamoDB always keep their state then, whatever is
// set here; an expression with FILL gives them data.
type Missing string

const (
	// NotBreaching is for counts: no data means that nothing was counted.
	NotBreaching Missing = "notBreaching"
	// Breaching is for what must never be silent.
	Breaching Missing = "breaching"
	// Unknown leaves the alarm in INSUFFICIENT_DATA; for ages and delays, where no
	// data says nothing about the delay.
	Unknown Missing = "missing"
	// Ignore keeps the alarm in the state that it has.
	Ignore Missing = "ignore"
)

// Signal is a metric of a construct, with the value from which it matters.
type Signal struct {
	// Owner is the construct that the signal is about.
	Owner constructs.IConstruct
	// Name is unique among the owner's signals: letters, digits and underscores. It
	// becomes the alarm's id: renaming it replaces the alarm.
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
	// Anomaly, instead of a Threshold, raises the alarm outside the band of what
	// CloudWatch expects from the metric's past two weeks, so many standard
	// deviations wide; 2 is usual, 0 (default) means no anomaly detection. Outside
	// raises it on both sides of the band, whatever Below says. Such an alarm costs
	// as much as three.
	Anomaly float64
	Outside bool
	// From says where the threshold comes from.
	From string
	// Why it matters, as one sentence.
	Why string
	// Do says what to do, as one sentence or a few.
	Do string
	// Runbook is the page that helps further: the name of one in docs/runbooks,
	// without .md, or an address (https://…). The alarm's description links it.
	Runbook string
	// Periods that are looked at, 1 by default, and Breaching, how many of them
	// must be beyond the threshold; all by default.
	Periods, Breaching int
	// Missing data: written out for every signal.
	Missing Missing
	// Severity: Warning or Critical.
	Severity Severity
	// OnAlarm is called with the alarm once it is defined, so that its owner can
	// make use of it: to roll a deployment back, for one. nil does nothing.
	OnAlarm func(awscloudwatch.CfnAlarm)
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

// Metric is a CloudWatch metric, or an expression over some.
type Metric struct {
	// Namespace, Name and Statistic are CloudWatch's own words, such as
	// "AWS/Kinesis", "IncomingRecords" and "Sum", "Maximum", "Average" or "p99".
	Namespace, Name, Statistic string
	// Dimensions name the resource; values may be tokens. A metric without any is
	// refused, since CloudWatch then has no data for it and its alarm never fires,
	// unless WholeAccount says that it counts over the account and region.
	Dimensions   map[string]*string
	WholeAccount bool
	// Period that values are gathered over: one minute by default; 10, 20 or 30
	// seconds for metrics that are published so often, or any number of minutes.
	Period time.Duration
	// Expression over the metrics in Using, by their ids; the fields above are
	// empty then, but Period may be set. Label is its name in graphs.
	Expression, Label string
	Using             []Metric // their ids are m0, m1, …; ten at most
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
// The two share a runbook and what to do.
func Age(owner constructs.IConstruct, name, graph string, metric Metric, retention time.Duration, runbook, do string) []Signal {
	at := func(severity Severity, share float64) Signal {
		suffix := map[Severity]string{Warning: "Warning", Critical: "Critical"}[severity]
		return Signal{
			Owner: owner, Name: name + suffix, Graph: graph, Metric: metric,
			Threshold: share * float64(retention.Milliseconds()),
			From:      fmt.Sprintf("%.4g h, %.4g %% of the source's retention of %g h", share*retention.Hours(), 100*share, retention.Hours()),
			Why:       "The oldest unread record is this old; records that reach the retention are gone.", Do: do, Runbook: runbook,
			Periods: 5, Breaching: 3, Missing: Unknown, Severity: severity,
		}
	}
	return []Signal{at(Warning, .1), at(Critical, .5)}
}

// RunbookPages is the default of Props.Runbooks.
const RunbookPages = "https://github.com/millrace/millrace/blob/main/docs/runbooks/"

// Props of [New].
type Props struct {
	// Signals to watch, in the order of the data; at least one: watch.All(stream,
	// consumer, …).
	Signals []Signal
	// Topic that alarms are sent to when they are raised and when they are well
	// again; nil defines one that takes only TLS.
	Topic awssns.ITopic
	// Warnings is the topic for alarms whose Severity is Warning, which can wait for
	// the morning; nil means Topic.
	Warnings awssns.ITopic
	// Pager is the topic for the composite alarm: connect to it what wakes a person.
	// Whatever goes wrong together then rings once; the single alarms, which say
	// what it is, still go to Topic, so that a second failure is not hidden by the
	// first. nil means Topic.
	Pager awssns.ITopic
	// Key encrypts the topic that is defined here; nil means none. CloudWatch is let
	// use it by the key's policy; the policy of an imported key, which the CDK can't
	// change, has to allow cloudwatch.amazonaws.com kms:Decrypt and
	// kms:GenerateDataKey* itself.
	Key awskms.IKey
	// Email that is subscribed to Topic; its owner has to confirm. None by default.
	Email string
	// Runbooks is the address below which the runbooks' pages are, each by its name
	// and .md; RunbookPages by default. This module isn't published yet: until it
	// is, have your copy of docs/runbooks somewhere and name it here.
	Runbooks string
	// NoComposite leaves out the composite alarm Unhealthy, which is raised while any
	// Critical alarm is; it costs as much as five alarms.
	NoComposite bool
}

// Watch holds the alarms, their topic and the dashboard.
type Watch struct {
	construct constructs.Construct
	topic     awssns.ITopic
	dashboard awscloudwatch.CfnDashboard
	alarms    []awscloudwatch.CfnAlarm
	named     map[string]awscloudwatch.CfnAlarm // by owner's path and signal's name
	composite awscloudwatch.CfnCompositeAlarm
}

// New defines an alarm for each signal, a composite alarm over the critical ones
// and a dashboard of them all. It panics with a [*spec.Invalid] when a signal
// lacks what an alarm needs, or could never raise it.
func New(scope constructs.Construct, id string, props Props) *Watch {
	this := constructs.NewConstruct(scope, jsii.String(id))
	stack := awscdk.Stack_Of(this)
	if props.Runbooks == "" {
		props.Runbooks = RunbookPages
	}
	owners := ownersOf(props.Signals, *stack.Node().Path()+"/")
	// Names that say what rings. The stack's is unique in its account and region.
	p := newPlan(props, owners, *stack.StackName()+"-"+id+"-")
	valid.Must(this, p.check())

	w := &Watch{construct: this, topic: props.Topic, named: map[string]awscloudwatch.CfnAlarm{}}
	if valid.Missing(w.topic) {
		w.topic = newTopic(this, props.Key)
	}
	arn := w.topic.TopicArn()
	if props.Email != "" {
		subscribe(this, arn, props.Email)
	}
	actions := func(topic awssns.ITopic) *[]any {
		if valid.Missing(topic) {
			return &[]any{arn}
		}
		return &[]any{topic.TopicArn()}
	}
	to := map[Severity]*[]any{Critical: actions(nil), Warning: actions(props.Warnings)}
	for i, s := range props.Signals {
		alarm := newAlarm(this, owners[s.Owner].id+"-"+s.Name, p.names[i], p.describe(s), s, to[s.Severity])
		w.alarms = append(w.alarms, alarm)
		w.named[owners[s.Owner].path+"/"+s.Name] = alarm
		if s.OnAlarm != nil {
			s.OnAlarm(alarm)
		}
	}
	if rule := p.rule(); rule != "" {
		w.composite = w.newComposite(p, rule, actions(props.Pager))
	}
	w.dashboard = w.newDashboard(p)
	return w
}

// Construct is the node that holds everything defined here.
func (w *Watch) Construct() constructs.Construct { return w.construct }

// Topic is where the alarms are sent to.
func (w *Watch) Topic() awssns.ITopic { return w.topic }

// Dashboard shows every signal with its threshold; a CloudFormation resource.
func (w *Watch) Dashboard() awscloudwatch.CfnDashboard { return w.dashboard }

// Alarms are all alarms on single signals, in the order of the signals;
// CloudFormation resources.
func (w *Watch) Alarms() []awscloudwatch.CfnAlarm { return w.alarms }

// Alarm is the one of an owner's signal, by the signal's name; nil if there is none.
func (w *Watch) Alarm(owner constructs.IConstruct, signal string) awscloudwatch.CfnAlarm {
	if valid.Missing(owner) {
		return nil
	}
	return w.named[*owner.Node().Path()+"/"+signal]
}

// Composite is the alarm over all critical ones; nil with NoComposite, or where no
// signal is critical.
func (w *Watch) Composite() awscloudwatch.CfnCompositeAlarm { return w.composite }

// owner of signals.
type owner struct {
	path string // in the app
	id   string // its path below the stack, as the beginning of ids and names
}

// ownersOf finds the owners. Each is asked for its path once: that is a round trip
// to Node.js.
func ownersOf(signals []Signal, stack string) map[constructs.IConstruct]owner {
	owners := map[constructs.IConstruct]owner{}
	paths := map[string][]string{} // by the id that they would get
	for _, s := range signals {
		if valid.Missing(s.Owner) || owners[s.Owner].path != "" {
			continue
		}
		path := *s.Owner.Node().Path()
		id := strings.ReplaceAll(strings.TrimPrefix(path, stack), "/", "-")
		owners[s.Owner] = owner{path, id}
		if !slices.Contains(paths[id], path) {
			paths[id] = append(paths[id], path)
		}
	}
	// "A/B" and "A-B" read the same with dashes: all but the first in the order of
	// the alphabet get a hash of their path.
	for construct, o := range owners {
		if same := paths[o.id]; len(same) > 1 && o.path != slices.Min(same) {
			o.id += "-" + hash(o.path)
			owners[construct] = o
		}
	}
	return owners
}

// hash is short, and always the same for a text.
func hash(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:8] }

// newTopic defines the topic. It is encrypted only with a key that is given:
// CloudWatch can't publish to a topic under SNS's own key, and a customer key
// costs a dollar a month to hide texts that hold no data. Its policy admits
// CloudWatch by name, since a policy of our own (TLS only) replaces the default
// one that would.
func newTopic(this constructs.Construct, key awskms.IKey) awssns.ITopic {
	topic := awssns.NewTopic(this, jsii.String("Topic"), &awssns.TopicProps{EnforceSSL: jsii.Bool(true), MasterKey: key})
	cloudwatch := awsiam.NewServicePrincipal(jsii.String("cloudwatch.amazonaws.com"), nil)
	if key == nil {
		accept.On(topic.Node().DefaultChild().(awssns.CfnTopic),
			accept.Because("CloudWatch can't publish to a topic under SNS's own key, and messages hold no data; a customer key is a setting.",
				"NIST.800.53.R5-SNSEncryptedKMS", "CKV_AWS_26"))
	} else {
		// Without a condition on the account, which AWS doesn't document for
		// CloudWatch's calls to KMS; the topic's policy has it.
		key.Grant(cloudwatch, jsii.String("kms:Decrypt"), jsii.String("kms:GenerateDataKey*"))
	}
	stack := awscdk.Stack_Of(this)
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("AlarmsOfThisAccount"),
		Actions:    jsii.Strings("sns:Publish"),
		Principals: &[]awsiam.IPrincipal{cloudwatch},
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

// subscribe defines the subscription itself: the CDK's has the address in its id.
func subscribe(this constructs.Construct, topic *string, email string) {
	subscription := awssns.NewCfnSubscription(this, jsii.String("Email"), &awssns.CfnSubscriptionProps{
		TopicArn: topic, Protocol: jsii.String("email"), Endpoint: jsii.String(email),
	})
	accept.On(subscription, accept.Because("What a mail server refuses is better read on the dashboard, and in the history of each alarm, than in a queue.",
		"Serverless-SNSRedrivePolicy"))
}

func newAlarm(scope constructs.Construct, id, name, description string, s Signal, actions *[]any) awscloudwatch.CfnAlarm {
	periods, breaching := s.periods()
	props := &awscloudwatch.CfnAlarmProps{
		AlarmName:          jsii.String(name),
		AlarmDescription:   jsii.String(description),
		ComparisonOperator: jsii.String(s.comparison()),
		EvaluationPeriods:  jsii.Number(periods),
		DatapointsToAlarm:  jsii.Number(breaching),
		TreatMissingData:   jsii.String(string(s.Missing)),
		AlarmActions:       actions,
		OkActions:          actions,
	}
	m := s.Metric
	switch {
	case s.Anomaly > 0 || m.Expression != "":
		queries := m.queries()
		if s.Anomaly > 0 {
			props.ThresholdMetricId = jsii.String("band")
			queries = append(queries, &awscloudwatch.CfnAlarm_MetricDataQueryProperty{
				Id: jsii.String("band"), Label: jsii.String("Expected"), ReturnData: jsii.Bool(true),
				Expression: jsii.String(s.band(m.watchedID())),
			})
		} else {
			props.Threshold = jsii.Number(s.Threshold)
		}
		props.Metrics = &queries
	default:
		props.Threshold = jsii.Number(s.Threshold)
		props.Namespace, props.MetricName, props.Period = jsii.String(m.Namespace), jsii.String(m.Name), jsii.Number(m.period().Seconds())
		props.Dimensions = m.dimensions()
		if slices.Contains(statistics, m.Statistic) {
			props.Statistic = jsii.String(m.Statistic)
		} else {
			props.ExtendedStatistic = jsii.String(m.Statistic)
		}
	}
	return awscloudwatch.NewCfnAlarm(scope, jsii.String(id), props)
}

// newComposite defines the alarm over the critical ones.
func (w *Watch) newComposite(p *plan, rule string, actions *[]any) awscloudwatch.CfnCompositeAlarm {
	composite := awscloudwatch.NewCfnCompositeAlarm(w.construct, jsii.String("Unhealthy"), &awscloudwatch.CfnCompositeAlarmProps{
		AlarmName:        jsii.String(p.composite()),
		AlarmDescription: jsii.String(p.describeComposite()),
		AlarmRule:        jsii.String(rule),
		AlarmActions:     actions,
		OkActions:        actions,
	})
	for i, s := range p.props.Signals {
		if s.Severity == Critical {
			// CloudWatch refuses a rule over an alarm that isn't there yet.
			composite.AddResourceDependency(w.alarms[i], nil)
		}
	}
	return composite
}

// periods that are looked at, and how many of them must be beyond the threshold.
func (s Signal) periods() (looked, breaching int) {
	looked, breaching = max(s.Periods, 1), s.Breaching
	if breaching == 0 {
		breaching = looked
	}
	return looked, breaching
}

func (s Signal) comparison() string {
	switch {
	case s.Anomaly > 0 && s.Outside:
		return "LessThanLowerOrGreaterThanUpperThreshold"
	case s.Anomaly > 0 && s.Below:
		return "LessThanLowerThreshold"
	case s.Anomaly > 0:
		return "GreaterThanUpperThreshold"
	case s.Below:
		return "LessThanThreshold"
	}
	return "GreaterThanThreshold"
}

// band is CloudWatch's function for what it expects of the metric with this id.
func (s Signal) band(id string) string {
	return fmt.Sprintf("ANOMALY_DETECTION_BAND(%s, %s)", id, number(s.Anomaly))
}

// period that values are gathered over.
func (m Metric) period() time.Duration {
	if m.Period == 0 {
		return time.Minute
	}
	return m.Period
}

// of is a part of m's expression, with m's period where it has none of its own.
func (m Metric) of(part Metric) Metric {
	if part.Period == 0 {
		part.Period = m.Period
	}
	return part
}

// watchedID is the id of what an alarm on m watches, in its queries.
func (m Metric) watchedID() string {
	if m.Expression != "" {
		return "expression"
	}
	return "m0"
}

// queries are the metric as an alarm's list of metrics.
func (m Metric) queries() []any {
	parts := m.Using
	var queries []any
	if m.Expression == "" {
		parts = []Metric{m}
	} else {
		query := &awscloudwatch.CfnAlarm_MetricDataQueryProperty{
			Id: jsii.String(m.watchedID()), Expression: jsii.String(m.Expression), Label: jsii.String(m.Label), ReturnData: jsii.Bool(true),
		}
		if len(parts) == 0 {
			query.Period = jsii.Number(m.period().Seconds())
		}
		queries = append(queries, query)
	}
	for i, part := range parts {
		part = m.of(part)
		queries = append(queries, &awscloudwatch.CfnAlarm_MetricDataQueryProperty{
			Id: jsii.String(fmt.Sprintf("m%d", i)), ReturnData: jsii.Bool(m.Expression == ""),
			MetricStat: &awscloudwatch.CfnAlarm_MetricStatProperty{
				Metric: &awscloudwatch.CfnAlarm_MetricProperty{
					Namespace: jsii.String(part.Namespace), MetricName: jsii.String(part.Name), Dimensions: part.dimensions(),
				},
				Period: jsii.Number(part.period().Seconds()), Stat: jsii.String(part.Statistic),
			},
		})
	}
	return queries
}

func (m Metric) dimensions() *[]any {
	all := []any{}
	for _, name := range slices.Sorted(maps.Keys(m.Dimensions)) {
		all = append(all, &awscloudwatch.CfnAlarm_DimensionProperty{Name: jsii.String(name), Value: m.Dimensions[name]})
	}
	return &all
}

// number is f as one writes it.
func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
