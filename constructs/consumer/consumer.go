// Package consumer defines a Go function that reads a stream through an event
// source mapping: Kinesis, or the change stream of a table. A batch that keeps
// failing ends in a bucket with its payload, before the stream forgets it.
package consumer

import (
	"fmt"
	"maps"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/bucket"
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
	// Function are the settings of the function.
	spec.Function
	// Source that is read.
	Source Source
	// Code of the function: a main package whose handler takes the source's event
	// and, unless NoPartialResponse is set, answers with batchItemFailures.
	Code gofunc.Code
	// Environment variables, besides FAILURE_BUCKET.
	Environment map[string]*string
	// Failures is the bucket for failed batches and rejected records; nil defines
	// one. Several consumers can share one.
	Failures awss3.IBucket
	// RemovalPolicy of what is defined here (logs, failure bucket); RETAIN by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Consumer is a function with its event source mapping.
type Consumer struct {
	construct constructs.Construct
	source    Source
	function  *gofunc.Function
	mapping   awslambda.CfnEventSourceMapping
	failures  awss3.IBucket
	settings  spec.Consumer
}

// New defines a consumer. It panics with a [*spec.Invalid] when a setting is
// invalid; [spec.Consumer.Validate] and [spec.Function.Validate] tell beforehand.
func New(scope constructs.Construct, id string, props Props) *Consumer {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	retention := spec.StreamRetention.Min
	if valid.Missing(props.Source) {
		check.Add("Source", nil, "a consumer reads something", "set it to a *stream.Stream or to a table's Changes()")
	} else {
		retention = props.Source.Retention()
	}
	check.Merge(props.Consumer.Validate("", retention))
	function := gofunc.Props{
		Function: props.Function, Code: props.Code, Environment: props.Environment, RemovalPolicy: props.RemovalPolicy,
	}
	function.Check(check)
	if _, taken := props.Environment[FailureBucketVariable]; taken {
		check.Add("Environment", FailureBucketVariable, "the consumer sets this one itself", "set Failures to the bucket that you want")
	}
	valid.Must(this, check)

	c := &Consumer{construct: this, source: props.Source, failures: props.Failures, settings: props.Consumer.WithDefaults(retention)}
	if c.failures == nil {
		c.failures = bucket.New(this, "Failures", props.RemovalPolicy)
	}
	function.Environment = map[string]*string{FailureBucketVariable: c.failures.BucketName()}
	maps.Copy(function.Environment, props.Environment)
	c.function = gofunc.New(this, "Function", function)
	c.mapping = c.newMapping()
	for _, grant := range c.grants() {
		// Lambda checks when it creates the mapping that the function's role can
		// read the source, and starts to invoke at once.
		grant.ApplyBefore(c.mapping)
	}
	return c
}

// Construct is the node that holds everything defined here.
func (c *Consumer) Construct() constructs.Construct { return c.construct }

// Function that is invoked. Grant it what its code does.
func (c *Consumer) Function() *gofunc.Function { return c.function }

// Mapping is the event source mapping, a CloudFormation resource.
func (c *Consumer) Mapping() awslambda.CfnEventSourceMapping { return c.mapping }

// Failures is the bucket for failed batches and rejected records.
func (c *Consumer) Failures() awss3.IBucket { return c.failures }

// Settings are the mapping's, with defaults written out.
func (c *Consumer) Settings() spec.Consumer { return c.settings }

// GrantPrincipal is whom to grant what the function's code does:
// standings.Grant(consumer.GrantPrincipal(), "dynamodb:UpdateItem").
func (c *Consumer) GrantPrincipal() awsiam.IGrantable { return c.function.Function() }

func (c *Consumer) newMapping() awslambda.CfnEventSourceMapping {
	s := c.settings
	age := s.MaximumRecordAge.Seconds()
	if s.MaximumRecordAge == spec.Forever {
		age = spec.Forever // AWS's own -1
	}
	props := &awslambda.CfnEventSourceMappingProps{
		FunctionName:               c.function.Function().FunctionArn(),
		EventSourceArn:             c.source.Arn(),
		StartingPosition:           jsii.String(string(s.StartingPosition)),
		BatchSize:                  jsii.Number(s.BatchSize),
		ParallelizationFactor:      jsii.Number(s.ParallelizationFactor),
		BisectBatchOnFunctionError: !s.NoBisect,
		MaximumRetryAttempts:       jsii.Number(s.MaximumRetryAttempts),
		MaximumRecordAgeInSeconds:  jsii.Number(age),
		DestinationConfig: &awslambda.CfnEventSourceMapping_DestinationConfigProperty{
			OnFailure: &awslambda.CfnEventSourceMapping_OnFailureProperty{Destination: c.failures.BucketArn()},
		},
		MetricsConfig: &awslambda.CfnEventSourceMapping_MetricsConfigProperty{Metrics: jsii.Strings("EventCount")},
	}
	if s.BatchingWindow > 0 {
		props.MaximumBatchingWindowInSeconds = jsii.Number(s.BatchingWindow.Seconds())
	}
	if !s.NoPartialResponse {
		props.FunctionResponseTypes = jsii.Strings("ReportBatchItemFailures")
	}
	return awslambda.NewCfnEventSourceMapping(c.construct, jsii.String("Resource"), props)
}

// grants gives the function's role what the mapping does in its name: read the
// source, and write failed batches. ListBucket is what Lambda asks for to see
// that the bucket is there.
func (c *Consumer) grants() []awsiam.Grant {
	role := c.GrantPrincipal()
	grants := []awsiam.Grant{
		allow.On(role, []*string{c.failures.BucketArn()}, "s3:ListBucket"),
		allow.On(role, []*string{
			c.failures.ArnForObjects(jsii.String(FailedPrefix + "*")),
			c.failures.ArnForObjects(jsii.String(RejectedPrefix + "*")),
		}, "s3:PutObject"),
	}
	grants = append(grants, c.source.GrantRead(role))
	if key := c.failures.EncryptionKey(); key != nil {
		grants = append(grants, key.Grant(role, jsii.String("kms:GenerateDataKey")))
	}
	return grants
}

// Signals of the consumer: how far it is behind, batches that it gave up, and
// its function's.
func (c *Consumer) Signals() []watch.Signal {
	function := map[string]*string{"FunctionName": c.function.Function().FunctionName()}
	mapping := map[string]*string{"EventSourceMappingUUID": c.mapping.AttrId()}
	signals := watch.Age(c.construct, "IteratorAge", "Age of the last record processed (ms)",
		watch.Metric{Namespace: "AWS/Lambda", Name: "IteratorAge", Statistic: "Maximum", Dimensions: function}, c.source.Retention(),
		"consumer-iterator-age", "See the function's errors, throttles and duration; else raise the batch size or the parallelization factor, or add shards.")
	givenUp := func(name, graph, metric, runbook, why, do string) watch.Signal {
		return watch.Signal{
			Owner: c.construct, Name: name, Graph: graph, Metric: watch.Metric{Namespace: "AWS/Lambda", Name: metric, Statistic: "Sum", Dimensions: mapping},
			From: "a healthy consumer gives up none", Why: why, Do: do, Runbook: runbook, Missing: watch.NotBreaching, Severity: watch.Critical,
		}
	}
	// The metrics of a function and of its mapping are silent when nothing is read:
	// disabled, or denied the stream or its key, a consumer would fall behind unseen.
	stopped := watch.Signal{
		Owner: c.construct, Name: "Stopped", Graph: "Records arrive and none is read",
		Metric: watch.Metric{
			Expression: "(FILL(m0, 0) > 0) * (FILL(m1, 0) == 0)", Label: "Stopped",
			Using: []watch.Metric{
				c.source.Incoming(),
				{Namespace: "AWS/Lambda", Name: "PolledEventCount", Statistic: "Sum", Dimensions: mapping},
			},
		},
		From: "in each of 15 minutes", Why: "Lambda polls nothing from a source that has something: the mapping is off, or may not read the source or use its key.",
		Do:      "Look at the mapping's state and last result; enable it, or mend the role's and the key's policies. The source keeps its records until its retention ends.",
		Runbook: "consumer-stopped",
		Periods: 15, Missing: watch.NotBreaching, Severity: watch.Critical,
	}
	budget := "its retries"
	if n := c.settings.MaximumRetryAttempts; n >= 0 {
		budget = fmt.Sprintf("%d retries", n)
	}
	return append(append(signals, stopped,
		givenUp("FailedBatches", "Records in failed batches", "OnFailureDestinationDeliveredEventCount", "consumer-failed-batches",
			"Lambda gave batches up after "+budget+" or at the maximum age and wrote them to the failure bucket.",
			"Find the cause in the function's log, mend it, then process the objects under "+FailedPrefix+" of the failure bucket again."),
		givenUp("DroppedRecords", "Records dropped", "DroppedEventCount", "consumer-dropped-records",
			"Lambda gave records up without writing them to the failure bucket.",
			"Read them from the stream while it still has them; check that the failure bucket exists and that the function's role can write to it."),
	), c.function.Signals()...)
}
