// Package consumer defines a Go function that reads a stream through an event
// source mapping: Kinesis, or the change stream of a table. A batch that keeps
// failing ends in a bucket with its payload, before the stream forgets it.
package consumer

import (
	"cmp"
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscodedeploy"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/internal/tags"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Source is what an event source mapping reads: a *stream.Stream (stream.Of
// takes any IStream), or a table's Changes.
type Source interface {
	// Arn of the stream.
	Arn() *string
	// Kind says which service's stream it is.
	Kind() spec.SourceKind
	// Retention is how long the stream keeps a record.
	Retention() time.Duration
	// Shards is how many shards the source has, or 0 where that isn't known
	// beforehand: on demand, imported, or a table's changes.
	Shards() int
	// GrantRead allows what an event source mapping does with the source, and to
	// decrypt what it reads.
	GrantRead(grantee awsiam.IGrantable) awsiam.Grant
	// Incoming is a count of what arrives, in any unit: it tells whether there is
	// something to read.
	Incoming() watch.Metric
}

// FailureBucketVariable is the environment variable that names the failure
// bucket to the function, for records that its code rejects.
const FailureBucketVariable = "FAILURE_BUCKET"

// Where failed batches and rejected records go in the failure bucket: Lambda
// writes below the first, the function may write below the second.
const (
	FailedPrefix   = "aws/lambda/"
	RejectedPrefix = "rejected/"
)

// Props of [New]. Source and Code are required.
type Props struct {
	// Consumer are the settings of the event source mapping.
	spec.Consumer
	// Function are the settings of the function. Its timeout is by default 30 s, or
	// what BatchingWindow and BatchSize need if that is more: see
	// [spec.Consumer.LeastTimeout].
	spec.Function
	// Resources that the function is connected to: a role, a VPC, keys, …
	gofunc.Resources
	// Source that is read.
	Source Source
	// Code of the function: a main package whose handler takes the source's event
	// and, unless NoPartialResponse is set, answers with batchItemFailures.
	Code gofunc.Code
	// Environment variables, besides FAILURE_BUCKET.
	Environment map[string]*string
	// OnFailure is where batches go that are given up; nil means [S3] with a bucket
	// of its own.
	OnFailure Destination
	// FilterKey encrypts Filters; nil means Lambda's own key.
	FilterKey awskms.IKey
	// Alias is the name of an alias of the function that the mapping points to, so
	// that it runs a version that doesn't change under it; none by default, "live"
	// with a Rollout. Setting it later replaces nothing: the mapping keeps its
	// position.
	Alias string
	// Rollout deploys new versions by and by, and goes back when an alarm of the
	// consumer is raised; nil deploys at once.
	Rollout *Rollout
	// Tags of the mapping; the CDK's awscdk.Tags_Of reaches it too.
	Tags map[string]string
	// RemovalPolicy of what is defined here (logs, failure bucket or queue); RETAIN
	// by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Consumer is a function with its event source mapping.
type Consumer struct {
	construct constructs.Construct
	source    Source
	function  *gofunc.Function
	alias     awslambda.Alias
	rolling   *rolling
	mapping   awslambda.CfnEventSourceMapping
	onFailure Destination
	bucket    awss3.IBucket
	queue     awssqs.IQueue
	topic     awssns.ITopic
	settings  spec.Consumer
}

// New defines a consumer. It panics with a [*spec.Invalid] when a setting is
// invalid; [spec.Consumer.Validate] and [spec.Function.Validate] tell beforehand.
func New(scope constructs.Construct, id string, props Props) *Consumer {
	this := constructs.NewConstruct(scope, jsii.String(id))
	if props.OnFailure == nil {
		props.OnFailure = S3{}
	}
	from := spec.Source{Kind: spec.Kinesis, Retention: spec.StreamRetention.Min}
	if !valid.Missing(props.Source) {
		from = spec.Source{Kind: props.Source.Kind(), Retention: props.Source.Retention(), Shards: props.Source.Shards()}
	}
	settings := props.Consumer.WithDefaults(from)
	if props.Timeout == 0 {
		props.Timeout = max(props.Function.WithDefaults().Timeout, settings.LeastTimeout())
	}
	function := gofunc.Props{
		Function: props.Function, Resources: props.Resources, Code: props.Code, Environment: props.Environment, RemovalPolicy: props.RemovalPolicy,
	}
	valid.Must(this, check(props, from, function))

	c := &Consumer{construct: this, source: props.Source, onFailure: props.OnFailure, settings: settings}
	c.function = gofunc.New(this, "Function", function)
	failures, grants := props.OnFailure.attach(c, props.RemovalPolicy)
	if c.bucket != nil {
		c.function.Function().AddEnvironment(jsii.String(FailureBucketVariable), c.bucket.BucketName(), nil)
	}
	grants = append(grants, c.source.GrantRead(c.GrantPrincipal()))
	if props.Alias != "" || props.Rollout != nil {
		c.alias = c.function.Alias(cmp.Or(props.Alias, "live"))
	}
	if props.Rollout != nil {
		c.rolling = newRollout(this, c.alias, *props.Rollout)
	}
	c.mapping = c.newMapping(failures, props)
	for _, grant := range grants {
		// Lambda checks when it creates the mapping that the function's role can
		// read the source, and starts to invoke at once.
		grant.ApplyBefore(c.mapping)
	}
	return c
}

func check(props Props, from spec.Source, function gofunc.Props) *spec.Check {
	c := spec.At("")
	if valid.Missing(props.Source) {
		c.Add("Source", nil, "a consumer reads something", "set it to a *stream.Stream or to a table's Changes()")
	}
	c.Merge(props.Consumer.Validate("", from))
	function.Check(c)
	c.Merge(props.Consumer.ValidateWith("", from, props.Function))
	if _, ours := props.OnFailure.(S3); ours {
		if _, taken := props.Environment[FailureBucketVariable]; taken {
			c.Add("Environment", FailureBucketVariable, "the consumer sets this one itself", "set OnFailure to consumer.S3 with the bucket that you want")
		}
	}
	props.OnFailure.validate(c)
	if !valid.Missing(props.FilterKey) && len(props.Filters) == 0 {
		c.Add("FilterKey", "a key", "there are no Filters to encrypt", "leave it out, or set Filters")
	}
	if props.Alias != "" {
		gofunc.CheckAlias(c, props.Alias)
	}
	if props.Rollout != nil {
		c.Merge(props.Rollout.Validate(""))
	}
	c.Tags("Tags", props.Tags, 256)
	return c
}

// Construct is the node that holds everything defined here.
func (c *Consumer) Construct() constructs.Construct { return c.construct }

// Function that is invoked. Grant it what its code does.
func (c *Consumer) Function() *gofunc.Function { return c.function }

// Alias that the mapping points to, or nil.
func (c *Consumer) Alias() awslambda.Alias { return c.alias }

// DeploymentGroup of the Rollout, a CloudFormation resource, or nil.
func (c *Consumer) DeploymentGroup() awscodedeploy.CfnDeploymentGroup {
	if c.rolling == nil {
		return nil
	}
	return c.rolling.group
}

// Mapping is the event source mapping, a CloudFormation resource.
func (c *Consumer) Mapping() awslambda.CfnEventSourceMapping { return c.mapping }

// FailureBucket is the bucket for failed batches and rejected records, or nil
// where OnFailure isn't an [S3].
func (c *Consumer) FailureBucket() awss3.IBucket { return c.bucket }

// FailureQueue is the queue for failed batches, or nil where OnFailure isn't an [SQS].
func (c *Consumer) FailureQueue() awssqs.IQueue { return c.queue }

// Settings are the mapping's, with defaults written out.
func (c *Consumer) Settings() spec.Consumer { return c.settings }

// GrantPrincipal is whom to grant what the function's code does:
// standings.Grant(consumer.GrantPrincipal(), "dynamodb:UpdateItem").
func (c *Consumer) GrantPrincipal() awsiam.IGrantable { return c.function.Function() }

func (c *Consumer) newMapping(failures *string, props Props) awslambda.CfnEventSourceMapping {
	s := c.settings
	age := s.MaximumRecordAge.Seconds()
	if s.MaximumRecordAge == spec.Forever {
		age = spec.Forever // AWS's own -1
	}
	target := c.function.Function().FunctionArn()
	if c.alias != nil {
		target = c.alias.FunctionArn()
	}
	mapping := &awslambda.CfnEventSourceMappingProps{
		FunctionName:               target,
		EventSourceArn:             c.source.Arn(),
		StartingPosition:           jsii.String(string(s.StartingPosition)),
		BatchSize:                  jsii.Number(s.BatchSize),
		ParallelizationFactor:      jsii.Number(s.ParallelizationFactor),
		BisectBatchOnFunctionError: !s.NoBisect,
		MaximumRetryAttempts:       jsii.Number(s.MaximumRetryAttempts),
		MaximumRecordAgeInSeconds:  jsii.Number(age),
		DestinationConfig: &awslambda.CfnEventSourceMapping_DestinationConfigProperty{
			OnFailure: &awslambda.CfnEventSourceMapping_OnFailureProperty{Destination: failures},
		},
		Tags: tags.Of(props.Tags),
	}
	if s.StartingPosition == spec.AtTimestamp {
		mapping.StartingPositionTimestamp = jsii.Number(s.StartingPositionTimestamp.Unix())
	}
	if s.Disabled {
		mapping.Enabled = jsii.Bool(false)
	}
	if s.BatchingWindow > 0 {
		mapping.MaximumBatchingWindowInSeconds = jsii.Number(s.BatchingWindow.Seconds())
	}
	if s.TumblingWindow > 0 {
		mapping.TumblingWindowInSeconds = jsii.Number(s.TumblingWindow.Seconds())
	}
	if len(s.Filters) > 0 {
		filters := []any{}
		for _, pattern := range s.Filters {
			filters = append(filters, &awslambda.CfnEventSourceMapping_FilterProperty{Pattern: jsii.String(pattern)})
		}
		mapping.FilterCriteria = &awslambda.CfnEventSourceMapping_FilterCriteriaProperty{Filters: &filters}
	}
	if props.FilterKey != nil {
		mapping.KmsKeyArn = props.FilterKey.KeyArn()
		c.letLambdaDecrypt(props.FilterKey)
	}
	if !s.NoPartialResponse {
		mapping.FunctionResponseTypes = jsii.Strings("ReportBatchItemFailures")
	}
	if !s.NoMetrics {
		mapping.MetricsConfig = &awslambda.CfnEventSourceMapping_MetricsConfigProperty{Metrics: jsii.Strings("EventCount")}
	}
	return awslambda.NewCfnEventSourceMapping(c.construct, jsii.String("Resource"), mapping)
}

// letLambdaDecrypt lets Lambda itself, not the function, read the filters of this
// account's functions. It names no one function, as the key may encrypt that
// function's own settings too, which would close a circle.
func (c *Consumer) letLambdaDecrypt(key awskms.IKey) {
	functions := awscdk.Stack_Of(c.construct).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("lambda"), Resource: jsii.String("function"), ResourceName: jsii.String("*"),
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Actions:    jsii.Strings("kms:Decrypt"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil)},
		Resources:  jsii.Strings("*"), // in a key's policy: this key
		Conditions: &map[string]any{"ArnLike": map[string]any{"kms:EncryptionContext:aws:lambda:FunctionArn": functions}},
	}), nil)
}

// Signals of the consumer: how far it is behind, batches that it gave up, and
// its function's.
func (c *Consumer) Signals() []watch.Signal {
	function := map[string]*string{"FunctionName": c.function.Function().FunctionName()}
	signals := watch.Age(c.construct, "IteratorAge", "Age of the last record processed (ms)",
		watch.Metric{Namespace: "AWS/Lambda", Name: "IteratorAge", Statistic: "Maximum", Dimensions: function}, c.source.Retention(),
		"consumer-iterator-age", "See the function's errors, throttles and duration; else raise the batch size or the parallelization factor, or add shards.")
	if !c.settings.NoMetrics {
		signals = append(signals, c.mappingSignals()...)
	}
	signals = append(signals, c.onFailure.signals(c)...)
	for _, s := range c.function.Signals() {
		if c.rolling != nil && rollback[s.Name] {
			s.OnAlarm = c.rolling.watchedBy
		}
		signals = append(signals, s)
	}
	return signals
}

// mappingSignals are those that need the mapping's own metrics.
func (c *Consumer) mappingSignals() []watch.Signal {
	mapping := map[string]*string{"EventSourceMappingUUID": c.mapping.AttrId()}
	givenUp := func(name, graph, metric, runbook, why, do string) watch.Signal {
		return watch.Signal{
			Owner: c.construct, Name: name, Graph: graph, Runbook: runbook,
			Metric: watch.Metric{Namespace: "AWS/Lambda", Name: metric, Statistic: "Sum", Dimensions: mapping},
			From:   "a healthy consumer gives up none", Why: why, Do: do, Missing: watch.NotBreaching, Severity: watch.Critical,
		}
	}
	budget := "its retries"
	if n := c.settings.MaximumRetryAttempts; n >= 0 {
		budget = fmt.Sprintf("%d retries", n)
	}
	noun := c.onFailure.noun()
	signals := []watch.Signal{
		givenUp("FailedBatches", "Records in failed batches", "OnFailureDestinationDeliveredEventCount", "consumer-failed-batches",
			"Lambda gave batches up after "+budget+" or at the maximum age and wrote them to "+noun+".",
			"Find the cause in the function's log, mend it, then "+c.onFailure.recover()+"."),
		givenUp("DroppedRecords", "Records dropped", "DroppedEventCount", "consumer-dropped-records",
			"Lambda gave records up without writing them to "+noun+".",
			"Read them from the stream while it still has them; check that "+noun+" exists and that the function's role can write to it."),
	}
	if c.settings.Disabled {
		return signals // it reads nothing on purpose
	}
	// The metrics of a function and of its mapping are silent when nothing is read:
	// disabled by hand, or denied the stream or its key, a consumer would fall
	// behind unseen.
	stopped := watch.Signal{
		Owner: c.construct, Name: "Stopped", Graph: "Records arrive and none is read", Runbook: "consumer-stopped",
		Metric: watch.Metric{
			Expression: "(FILL(m0, 0) > 0) * (FILL(m1, 0) == 0)", Label: "Stopped",
			Using: []watch.Metric{
				c.source.Incoming(),
				{Namespace: "AWS/Lambda", Name: "PolledEventCount", Statistic: "Sum", Dimensions: mapping},
			},
		},
		From: "in each of 15 minutes", Why: "Lambda polls nothing from a source that has something: the mapping is off, or may not read the source or use its key.",
		Do:      "Look at the mapping's state and last result; enable it, or mend the role's and the key's policies. The source keeps its records until its retention ends.",
		Periods: 15, Missing: watch.NotBreaching, Severity: watch.Critical,
	}
	return append([]watch.Signal{stopped}, signals...)
}
