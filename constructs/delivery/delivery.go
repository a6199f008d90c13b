// Package delivery defines a Firehose delivery stream that carries a Kinesis
// stream's records to a destination, through a Go function if wanted. There is
// one file per destination.
//
// It is built on the CloudFormation resource: the CDK's own construct reaches
// fewer destinations, adds a table of network ranges to every template, and
// grants more of S3 than Firehose needs.
package delivery

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsglue"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/logs"
	"github.com/millrace/millrace/constructs/internal/removal"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Destination is where records are delivered to: an [S3], [OpenSearch],
// [OpenSearchServerless], [Splunk], [HTTPEndpoint], [Iceberg], [Snowflake] or a table
// in [Redshift].
type Destination interface {
	// validate notes what is wrong with it, in a delivery with these props.
	validate(props Props, c *spec.Check)
	// attach defines what the destination needs and puts its configuration into props.
	attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps)
	signals(d *Delivery) []watch.Signal
}

// Transform is a Go function that changes records on their way: its handler
// takes a Firehose event and answers every record with Ok, Dropped or
// ProcessingFailed.
type Transform struct {
	// Transform are the settings of the hand-over.
	spec.Transform
	// Function are the settings of the function; its timeout is at most 5 minutes
	// here and 60 s by default.
	spec.Function
	// Resources that the function is connected to: a role, a VPC, keys, …
	gofunc.Resources
	// Code of the function.
	Code gofunc.Code
	// Environment variables of the function.
	Environment map[string]*string
}

// function is the transform's, with the timeout that is the default here.
func (t *Transform) function() gofunc.Props {
	p := gofunc.Props{Function: t.Function, Resources: t.Resources, Code: t.Code, Environment: t.Environment}
	if p.Timeout == 0 {
		p.Timeout = 60 * time.Second
	}
	return p
}

// Props of [New]. To is required, and one of Source, DirectPut and MSK.
type Props struct {
	// Source that is delivered.
	Source Source
	// DirectPut takes the records of producers, instead of a Source.
	DirectPut *DirectPut
	// MSK is a topic that is delivered, instead of a Source.
	MSK *MSK
	// To is the destination.
	To Destination
	// CloudWatchLogs, if the records are a subscription's of CloudWatch Logs; nil
	// delivers records as they come.
	CloudWatchLogs *CloudWatchLogs
	// Transform that records pass; none by default.
	Transform *Transform
	// LogKey encrypts the delivery's own log; nil means CloudWatch Logs' key. A key
	// of this app is opened to CloudWatch Logs; an imported one has to be already.
	LogKey awskms.IKey
	// RemovalPolicy of what is defined here (bucket, logs); RETAIN by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Delivery is a Firehose delivery stream.
type Delivery struct {
	construct constructs.Construct
	props     Props
	role      awsiam.Role
	logs      awslogs.LogGroup
	transform *gofunc.Function
	bucket    awss3.IBucket
	grants    []awsiam.Grant
	before    []awscdk.CfnResource // what has to be there first, besides
	resource  awskinesisfirehose.CfnDeliveryStream

	connections awsec2.Connections
	database    awsglue.CfnDatabase
	table       awsglue.CfnTable
	backup      awss3.IBucket
	redshift    *RedshiftResources
}

// New defines a delivery. It panics with a [*spec.Invalid] when a setting is invalid.
func New(scope constructs.Construct, id string, props Props) *Delivery {
	this := constructs.NewConstruct(scope, jsii.String(id))
	valid.Must(this, validate(props))

	props.RemovalPolicy = removal.Or(props.RemovalPolicy)
	d := &Delivery{construct: this, props: props}
	d.role = role.New(this, "Role", "firehose.amazonaws.com")
	d.logs = logs.New(this, "Logs", 30, props.LogKey, props.RemovalPolicy)
	d.allow([]*string{d.logs.LogGroupArn()}, "logs:PutLogEvents")
	cfn := &awskinesisfirehose.CfnDeliveryStreamProps{}
	d.attachSource(cfn)
	if t := props.Transform; t != nil {
		function := t.function()
		function.RemovalPolicy = props.RemovalPolicy
		d.transform = gofunc.New(this, "Transform", function)
		arn := *d.transform.Function().FunctionArn()
		// Firehose may address the function with or without its version.
		d.allow([]*string{jsii.String(arn), jsii.String(arn + ":$LATEST")}, "lambda:InvokeFunction")
	}

	props.To.attach(d, cfn)
	d.resource = awskinesisfirehose.NewCfnDeliveryStream(this, jsii.String("Resource"), cfn)
	role.Accept(d.role, accept.Finding{
		Reason:    "Firehose writes objects whose keys it makes itself, anywhere in its own bucket; the actions are six, by name.",
		IDs:       []string{"AwsSolutions-IAM5"},
		AppliesTo: []string{`/^Resource::.*\/\*$/`},
	})
	d.acceptSource()
	for _, grant := range d.grants {
		// Firehose tries its role when it is created: a first deployment would race IAM.
		grant.ApplyBefore(d.resource)
	}
	for _, first := range d.before {
		d.resource.AddResourceDependency(first, nil)
	}
	return d
}

func validate(props Props) *spec.Check {
	c := spec.At("")
	props.checkSource(c)
	if valid.Missing(props.To) {
		c.Add("To", nil, "a delivery has a destination", "set it to delivery.S3{} or another destination")
	} else {
		props.To.validate(props, c)
	}
	if t := props.Transform; t != nil {
		c.Merge(t.Transform.Validate(""))
		t.function().Check(c)
		if t.Timeout > spec.TransformTimeout.Max {
			c.Add("Transform.Timeout", t.Timeout, spec.TransformTimeout.String(), "set it to five minutes or less")
		}
	}
	return c
}

// Construct is the node that holds everything defined here.
func (d *Delivery) Construct() constructs.Construct { return d.construct }

// Resource is the delivery stream, a CloudFormation resource.
func (d *Delivery) Resource() awskinesisfirehose.CfnDeliveryStream { return d.resource }

// Name of the delivery stream.
func (d *Delivery) Name() *string { return d.resource.Ref() }

// Role that Firehose acts with.
func (d *Delivery) Role() awsiam.Role { return d.role }

// Logs is the group that Firehose writes delivery errors to.
func (d *Delivery) Logs() awslogs.LogGroup { return d.logs }

// Bucket that the delivery writes to, whether it was given or defined here.
func (d *Delivery) Bucket() awss3.IBucket { return d.bucket }

// Backup is the bucket that an S3's Backup is written to, or nil.
func (d *Delivery) Backup() awss3.IBucket { return d.backup }

// Database is the Glue database of an S3's Schema, or nil if its table is Existing.
func (d *Delivery) Database() awsglue.CfnDatabase { return d.database }

// Table is the Glue table of an S3's Schema, or nil if that is Existing.
func (d *Delivery) Table() awsglue.CfnTable { return d.table }

// Transform is the function that records pass, or nil.
func (d *Delivery) Transform() *gofunc.Function { return d.transform }

// Signals of the delivery: how far it is behind its source, what its destination
// tells, and its transform's.
func (d *Delivery) Signals() []watch.Signal {
	signals := d.sourceSignals()
	signals = append(signals, d.props.To.signals(d)...)
	if d.props.CloudWatchLogs != nil {
		signals = append(signals, d.decompressed())
	}
	if d.transform != nil {
		signals = append(signals, watch.Signal{
			Owner: d.construct, Name: "TransformFailed", Graph: "Transform success (share)", Metric: d.metric("ExecuteProcessing.Success", "Average"), Runbook: "delivery-transform-failed",
			Below: true, Threshold: 1, From: "every invocation should succeed",
			Why:     "Invocations of the transform failed; after the retries their records go to the error prefix.",
			Do:      "Read the transform's log; deliver the objects under the error prefix again once it is mended.",
			Periods: 3, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		})
		signals = append(signals, d.transform.Signals()...)
	}
	return signals
}

// delivered are the signals of every destination: metrics is what the names of its
// metrics begin with, where what graphs and texts call it, interval its buffer's.
func (d *Delivery) delivered(metrics, where string, interval time.Duration, do string) []watch.Signal {
	if t := d.props.Transform; t != nil {
		interval += t.Transform.WithDefaults().BufferInterval
	}
	// Without a buffer, a delivery still takes a while.
	fresh := max(3*interval.Seconds(), 180)
	return []watch.Signal{
		{
			Owner: d.construct, Name: "Freshness", Graph: "Age of the oldest record not in " + where + " (s)", Metric: d.metric(metrics+".DataFreshness", "Maximum"),
			Threshold: fresh, From: fmt.Sprintf("three times the buffer intervals of %g s in all, at least 180 s", interval.Seconds()),
			Why:     "Records wait in Firehose longer than their buffer explains; after 24 hours it gives them up.",
			Do:      do,
			Runbook: "delivery-freshness",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Critical,
		},
		{
			Owner: d.construct, Name: "Success", Graph: "Delivery success (share)", Metric: d.metric(metrics+".Success", "Average"),
			Below: true, Threshold: 1, From: "every delivery should succeed",
			Why:     "Firehose couldn't deliver to " + where + " and tries again.",
			Do:      do,
			Runbook: "delivery-success",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		},
	}
}

func (d *Delivery) metric(name, statistic string) watch.Metric {
	return watch.Metric{Namespace: "AWS/Firehose", Name: name, Statistic: statistic, Dimensions: map[string]*string{"DeliveryStreamName": d.Name()}}
}

// allow grants Firehose's role exactly these actions, before the delivery stream.
func (d *Delivery) allow(resources []*string, actions ...string) {
	d.keep(allow.On(d.role, resources, actions...))
}

func (d *Delivery) keep(grant awsiam.Grant) { d.grants = append(d.grants, grant) }

// logging tells Firehose where to write a destination's errors. The stream in
// the log group has to exist: Firehose may not make it. A bucket that is written to
// twice has one.
func (d *Delivery) logging(id string) *awskinesisfirehose.CfnDeliveryStream_CloudWatchLoggingOptionsProperty {
	stream, defined := d.construct.Node().TryFindChild(jsii.String(id)).(awslogs.LogStream)
	if !defined {
		stream = awslogs.NewLogStream(d.construct, jsii.String(id), &awslogs.LogStreamProps{LogGroup: d.logs, RemovalPolicy: d.props.RemovalPolicy})
	}
	return &awskinesisfirehose.CfnDeliveryStream_CloudWatchLoggingOptionsProperty{
		Enabled: jsii.Bool(true), LogGroupName: d.logs.LogGroupName(), LogStreamName: stream.LogStreamName(),
	}
}
