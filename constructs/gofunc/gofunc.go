// Package gofunc defines Lambda functions that are written in Go: compiled
// without Docker, all of an app in one `go build`, with a role that can write the
// function's own logs and nothing else until it is granted more.
package gofunc

import (
	"fmt"
	"regexp"
	"runtime"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/logs"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// ForThisMachine is a context key: set to true, functions are compiled for the
// operating system and the processor of the machine that synthesizes, for a
// target that runs them as plain processes.
const ForThisMachine = "millrace:functionsForThisMachine"

// Props of [New]. Only Code is required.
//
// What is left out has no use for a function that a stream or Firehose invokes: a
// dead-letter queue and the settings of asynchronous invocations (a mapping never
// uses them; its failures go to its own destination), SnapStart (not for Go),
// container images and managed instances. [Function.Resource] reaches them. Tags
// are set as on any construct: awscdk.Tags_Of(function.Construct()).
type Props struct {
	// Function are the settings.
	spec.Function
	// Code of the function: a main package that calls lambda.Start.
	Code Code
	// Environment variables, at most 4 KB of them. Values may be tokens, such as a
	// table's name.
	Environment map[string]*string
	// Resources that it is connected to.
	Resources
	// RemovalPolicy of the logs; RETAIN by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Resources are what a function is connected to, if anything. Whatever defines a
// function takes them.
type Resources struct {
	// Key encrypts the environment variables at rest; nil means Lambda's own key,
	// which is free. The role may decrypt with it.
	Key awskms.IKey
	// Role of the function; nil defines one. A role that is given gets the grants
	// of the function added.
	Role awsiam.IRole
	// LogGroup that the function writes to; nil defines one.
	LogGroup awslogs.ILogGroup
	// LogKey encrypts the log group that is defined here; nil means CloudWatch
	// Logs' own key, which is free. The key's policy then admits CloudWatch Logs;
	// that of an imported key has to do so already.
	LogKey awskms.IKey
	// VPC that the function is connected to; nil for none. The function reaches
	// AWS's services and the internet only as the VPC does, by endpoints or NAT.
	VPC awsec2.IVpc
	// Subnets of the VPC, 1 to 16, none of them public: a function has no public
	// address there. nil means the private ones.
	Subnets *awsec2.SubnetSelection
	// SecurityGroups of the function in the VPC, at most five; none defines one
	// that lets everything out and nothing in.
	SecurityGroups []awsec2.ISecurityGroup
	// IPv6 lets the function use IPv6 in subnets that have both.
	IPv6 bool
	// FileSystem that is mounted below /mnt/, in a VPC only; none by default.
	FileSystem awslambda.FileSystem
	// Layers, at most five, for provided.al2023; none by default.
	Layers []awslambda.ILayerVersion
}

// Function is a Lambda function.
type Function struct {
	construct constructs.Construct
	function  awslambda.Function
	logs      awslogs.ILogGroup
	settings  spec.Function
	aliases   map[string]awslambda.Alias
}

// New defines a function. It panics with a [*spec.Invalid] when a setting is
// invalid and with a [*BuildError] when the code doesn't compile.
func New(scope constructs.Construct, id string, props Props) *Function {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	props.Check(check)
	valid.Must(this, check)

	settings := props.WithDefaults()
	if forThisMachine(this) {
		settings.Architecture = spec.X86
		if runtime.GOARCH == "arm64" {
			settings.Architecture = spec.ARM64
		}
		props.Code.check(check, settings.Architecture)
		valid.Must(this, check)
	}
	f := &Function{construct: this, logs: props.LogGroup, settings: settings, aliases: map[string]awslambda.Alias{}}
	if f.logs == nil {
		f.logs = logs.New(this, "Logs", settings.LogRetentionDays, props.LogKey, props.RemovalPolicy)
	}
	var executes awsiam.IRole = props.Role
	if executes == nil {
		executes = role.New(this, "Role", "lambda.amazonaws.com")
	}
	f.grant(executes, props)
	f.function = awslambda.NewFunction(this, jsii.String("Resource"), f.l2(executes, props))
	accept.On(f.Resource(), findings(props)...)
	if props.FileSystem != nil && len(props.SecurityGroups) == 0 {
		awscdk.Validations_Of(f.function).Acknowledge(&awscdk.Acknowledgment{
			Id:     jsii.String("Annotation::@aws-cdk/aws-ec2:ipv4IgnoreEgressRule"),
			Reason: jsii.String("The security group that is defined here lets everything out, so also what reaches the file system."),
		})
	}
	return f
}

// grant lets the role do what Lambda does in its name. What the CDK adds by
// itself (to trace, to mount) comes on top.
func (f *Function) grant(executes awsiam.IRole, props Props) {
	allow.On(executes, []*string{f.logs.LogGroupArn()}, "logs:CreateLogStream", "logs:PutLogEvents")
	if props.Key != nil {
		props.Key.Grant(executes, jsii.String("kms:Decrypt"))
	}
	var wide []accept.Finding
	if props.VPC != nil {
		// Lambda makes and deletes the interfaces that connect the function. Their
		// names aren't known beforehand, and it refuses a role that may not delete
		// any: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
		interfaces := awscdk.Stack_Of(f.construct).FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("ec2"), Resource: jsii.String("*"), ResourceName: jsii.String("*"),
		})
		allow.On(executes, []*string{interfaces}, "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
			"ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")
		allow.On(executes, jsiiAll, "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")
		wide = append(wide, accept.Finding{
			Reason:    "Lambda connects the function to its VPC by network interfaces whose ids it makes itself; EC2 takes no resource for Describe actions.",
			IDs:       []string{"AwsSolutions-IAM5"},
			AppliesTo: []string{"Resource::*", `/^Resource::arn:.*:ec2:.*:\*\/\*$/`},
		})
	}
	if f.traced() {
		wide = append(wide, accept.Finding{
			Reason:    "X-Ray takes no resource for the two actions that send traces.",
			IDs:       []string{"AwsSolutions-IAM5"},
			AppliesTo: []string{"Resource::*"},
		})
	}
	if props.FileSystem != nil {
		wide = append(wide, accept.Finding{
			Reason:    "Mounting is allowed through one access point, which a condition names.",
			IDs:       []string{"AwsSolutions-IAM5"},
			AppliesTo: []string{"Resource::*"},
		})
	}
	role.Accept(executes, wide...)
}

// jsiiAll is every resource, for actions that AWS has no resource for.
var jsiiAll = []*string{jsii.String("*")}

// l2 is the function as the CDK's own construct takes it.
func (f *Function) l2(executes awsiam.IRole, props Props) *awslambda.FunctionProps {
	s := f.settings
	environment := props.Environment
	l2 := &awslambda.FunctionProps{
		Runtime:               awslambda.Runtime_PROVIDED_AL2023(),
		Architecture:          architecture(s.Architecture),
		Handler:               jsii.String("bootstrap"),
		Code:                  asset(f.construct, props.Code, s.Architecture),
		MemorySize:            jsii.Number(s.Memory),
		Timeout:               awscdk.Duration_Seconds(jsii.Number(s.Timeout.Seconds())),
		Environment:           &environment,
		Role:                  executes,
		LogGroup:              f.logs,
		LoggingFormat:         awslambda.LoggingFormat(s.LogFormat),
		ApplicationLogLevelV2: awslambda.ApplicationLogLevel(s.ApplicationLogLevel),
		SystemLogLevelV2:      awslambda.SystemLogLevel(s.SystemLogLevel),
		Filesystem:            props.FileSystem,
	}
	if s.LogFormat == spec.TextLogs {
		l2.LoggingFormat = awslambda.LoggingFormat_TEXT
	}
	if s.Name != "" {
		l2.FunctionName = jsii.String(s.Name)
	}
	if s.Description != "" {
		l2.Description = jsii.String(s.Description)
	}
	if s.EphemeralStorage != spec.FunctionStorage.Min {
		l2.EphemeralStorageSize = awscdk.Size_Mebibytes(jsii.Number(s.EphemeralStorage))
	}
	if s.ReservedConcurrency != spec.Forever {
		l2.ReservedConcurrentExecutions = jsii.Number(s.ReservedConcurrency)
	}
	switch s.Tracing {
	case spec.TracingActive:
		l2.Tracing = awslambda.Tracing_ACTIVE
	case spec.TracingPassThrough:
		l2.Tracing = awslambda.Tracing_PASS_THROUGH
	}
	if props.Key != nil {
		l2.EnvironmentEncryption = props.Key
	}
	if props.VPC != nil {
		l2.Vpc, l2.VpcSubnets = props.VPC, props.Subnets
		if len(props.SecurityGroups) > 0 {
			l2.SecurityGroups = &props.SecurityGroups
		}
		if props.IPv6 {
			l2.Ipv6AllowedForDualStack = jsii.Bool(true)
		}
	}
	if len(props.Layers) > 0 {
		l2.Layers = &props.Layers
	}
	return l2
}

func (f *Function) traced() bool { return f.settings.Tracing != spec.TracingOff }

// findings are those that the function's defaults raise; a setting that answers
// one takes it away.
func findings(props Props) []accept.Finding {
	all := []accept.Finding{accept.Because(
		"A dead-letter queue takes events of asynchronous invocations only. Event source mappings and Firehose wait for the answer and keep what failed themselves.",
		"Serverless-LambdaDLQ", "NIST.800.53.R5-LambdaDLQ", "CKV_AWS_116")}
	if props.VPC == nil {
		all = append(all, accept.Because("Functions call AWS by its public endpoints, over TLS and as their role; VPC connects one to private endpoints.",
			"NIST.800.53.R5-LambdaInsideVPC", "CKV_AWS_117"))
	}
	if props.ReservedConcurrency == 0 || props.ReservedConcurrency == spec.Forever {
		all = append(all, accept.Because("The shards of a stream bound how many invocations run at once; ReservedConcurrency sets a share apart.",
			"NIST.800.53.R5-LambdaConcurrency", "CKV_AWS_115"))
	}
	if props.WithDefaults().Tracing == spec.TracingOff {
		all = append(all, accept.Because("Tracing is paid for by the trace, and a batch of records is one trace; Tracing turns it on.",
			"Serverless-LambdaTracing"))
	}
	if props.Key == nil && len(props.Environment) > 0 {
		all = append(all, accept.Because("Lambda encrypts the variables at rest with a key of its own; Key sets a customer key.",
			"CKV_AWS_173"))
	}
	return all
}

// Construct is the node that holds everything defined here.
func (f *Function) Construct() constructs.Construct { return f.construct }

// Function is the CDK's own function.
func (f *Function) Function() awslambda.Function { return f.function }

// Resource is the CloudFormation resource, to set what this package doesn't.
func (f *Function) Resource() awslambda.CfnFunction {
	return f.function.Node().DefaultChild().(awslambda.CfnFunction)
}

// Role of the function.
func (f *Function) Role() awsiam.IRole { return f.function.Role() }

// Logs is the group that the function writes to, whether it was given or defined here.
func (f *Function) Logs() awslogs.ILogGroup { return f.logs }

// Version is the function as it is now, which no later deployment changes. A
// change of the code or of a setting defines the next one; the one before is
// deleted then, after every alias has left it.
func (f *Function) Version() awslambda.Version { return f.function.CurrentVersion() }

// Alias is a name for the current version: what invokes the alias keeps to one
// version until the deployment moves it to the next, at once or by a CodeDeploy
// deployment group. Called again with the same name it returns the same alias.
// It panics with a [*spec.Invalid] when Lambda wouldn't take the name.
func (f *Function) Alias(name string) awslambda.Alias {
	if alias, ok := f.aliases[name]; ok {
		return alias
	}
	check := spec.At("")
	CheckAlias(check, name)
	valid.Must(f.construct, check)
	// An alias is its name: another name is another resource, and ids tell the
	// aliases of one function apart.
	f.aliases[name] = awslambda.NewAlias(f.construct, jsii.String("Alias-"+name), &awslambda.AliasProps{
		AliasName: jsii.String(name), Version: f.Version(),
	})
	return f.aliases[name]
}

// CheckAlias notes a problem when Lambda wouldn't take name for an alias.
func CheckAlias(c *spec.Check, name string) {
	if !aliasName.MatchString(name) || onlyDigits.MatchString(name) {
		c.Add("Alias", name, "an alias has 1 to 128 letters, digits, hyphens and underscores, and not digits alone", `name it like "live"`)
	}
}

var (
	aliasName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	onlyDigits = regexp.MustCompile(`^[0-9]+$`)
)

// Settings are the function's, with defaults written out.
func (f *Function) Settings() spec.Function { return f.settings }

// Signals of the function: errors, throttles, a duration near the timeout, and
// records that its code rejected.
func (f *Function) Signals() []watch.Signal {
	dimensions := map[string]*string{"FunctionName": f.function.FunctionName()}
	count := func(namespace, name, runbook, graph, from, why, do string) watch.Signal {
		return watch.Signal{
			Owner: f.construct, Name: name, Runbook: runbook, Graph: graph, Metric: watch.Metric{Namespace: namespace, Name: name, Statistic: "Sum", Dimensions: dimensions},
			From: from, Why: why, Do: do, Missing: watch.NotBreaching, Severity: watch.Warning,
		}
	}
	throttles := count("AWS/Lambda", "Throttles", "gofunc-throttles", "Throttled invocations", "none are expected under the account's concurrency",
		"Lambda has no concurrency left for the function.", "Raise the account's concurrency quota, or lower another function's share.")
	if n := f.settings.ReservedConcurrency; n != spec.Forever {
		throttles.From = fmt.Sprintf("none are expected under the %d invocations at once that are reserved", n)
		throttles.Do = "Raise ReservedConcurrency; while it is 0 the function is stopped and its source waits."
	}
	throttles.Periods, throttles.Breaching = 5, 3
	near := .8 * float64(f.settings.Timeout.Milliseconds())
	return []watch.Signal{
		count("AWS/Lambda", "Errors", "gofunc-errors", "Failed invocations", "every error makes the source retry",
			"An invocation ended in an error, was killed at its timeout or ran out of memory.",
			"Read the function's log around that minute; look at what was deployed last."),
		throttles,
		{
			Owner: f.construct, Name: "Duration", Runbook: "gofunc-duration", Graph: "Duration, p99 (ms)", Metric: watch.Metric{Namespace: "AWS/Lambda", Name: "Duration", Statistic: "p99", Dimensions: dimensions},
			Threshold: near, From: fmt.Sprintf("80 %% of the timeout of %g s", f.settings.Timeout.Seconds()),
			Why:     "Invocations are about to be killed at the timeout, and their batches retried.",
			Do:      "Look for a slow dependency; else raise the memory or the timeout, or lower the batch size.",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		},
		// The namespace and name are lambdas/kit/emf's.
		count("Millrace", "RejectedRecords", "gofunc-rejected-records", "Records rejected by the code", "a producer that keeps to the format has none",
			"Records couldn't be understood and were set aside with their reason.",
			"The function's log says where each one is; find the producer by its partition key, and correct it."),
	}
}

func architecture(a spec.Architecture) awslambda.Architecture {
	if a == spec.X86 {
		return awslambda.Architecture_X86_64()
	}
	return awslambda.Architecture_ARM_64()
}

func forThisMachine(scope constructs.Construct) bool {
	switch v := scope.Node().TryGetContext(jsii.String(ForThisMachine)).(type) {
	case bool:
		return v
	case string:
		return v == "true"
	}
	return false
}
