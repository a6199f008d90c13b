// Package gofunc defines Lambda functions that are written in Go: compiled
// without Docker, all of an app in one `go build`, with a role that can write the
// function's own logs and nothing else until it is granted more.
package gofunc

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

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
type Props struct {
	// Function are the settings.
	spec.Function
	// Code of the function: a main package that calls lambda.Start.
	Code Code
	// Environment variables. Values may be tokens, such as a table's name.
	Environment map[string]*string
	// Role of the function; nil defines one. A role that is given gets the grants
	// of the function added.
	Role awsiam.IRole
	// RemovalPolicy of the logs; RETAIN by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Function is a Lambda function.
type Function struct {
	construct constructs.Construct
	function  awslambda.Function
	logs      awslogs.LogGroup
	settings  spec.Function
}

// variable is what Lambda takes as an environment variable's name.
var variable = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]+$`)

// Check notes every problem of p in c. Constructs that define a function call it
// with their own, so that all come together.
func (p Props) Check(c *spec.Check) {
	c.Merge(p.Validate(""))
	switch p.Code.pkg {
	case "":
		c.Add("Code", nil, "a function needs code", `set it to gofunc.Package("./path/to/main")`)
	case ".", "./":
		c.Add("Code", p.Code.pkg, "the root of a module is its app, not a function", "move the function's main package into a folder of its own")
	}
	names := make([]string, 0, len(p.Environment))
	for name := range p.Environment {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case !variable.MatchString(name):
			c.Add("Environment", name, "a variable's name is a letter, then letters, digits and underscores", "rename it")
		case p.Environment[name] == nil:
			c.Add("Environment."+name, nil, "a variable needs a value", `use jsii.String("…")`)
		}
	}
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
	}
	group := logs.New(this, "Logs", settings.LogRetentionDays, nil, props.RemovalPolicy)
	var executes awsiam.IRole = props.Role
	if executes == nil {
		executes = role.New(this, "Role", "lambda.amazonaws.com")
	}
	allow.On(executes, []*string{group.LogGroupArn()}, "logs:CreateLogStream", "logs:PutLogEvents")
	role.Accept(executes)
	environment := props.Environment
	function := awslambda.NewFunction(this, jsii.String("Resource"), &awslambda.FunctionProps{
		Runtime:       awslambda.Runtime_PROVIDED_AL2023(),
		Architecture:  architecture(settings.Architecture),
		Handler:       jsii.String("bootstrap"),
		Code:          asset(this, props.Code, settings.Architecture),
		MemorySize:    jsii.Number(settings.Memory),
		Timeout:       awscdk.Duration_Seconds(jsii.Number(settings.Timeout.Seconds())),
		Environment:   &environment,
		Role:          executes,
		LogGroup:      group,
		LoggingFormat: awslambda.LoggingFormat_JSON,
	})
	return &Function{this, function, group, settings}
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

// Logs is the group that the function writes to.
func (f *Function) Logs() awslogs.LogGroup { return f.logs }

// Settings are the function's, with defaults written out.
func (f *Function) Settings() spec.Function { return f.settings }

// Signals of the function: errors, throttles, a duration near the timeout, and
// records that its code rejected.
func (f *Function) Signals() []watch.Signal {
	dimensions := map[string]*string{"FunctionName": f.function.FunctionName()}
	count := func(namespace, name, graph, runbook, from, why, do string) watch.Signal {
		return watch.Signal{
			Owner: f.construct, Name: name, Graph: graph, Metric: watch.Metric{Namespace: namespace, Name: name, Statistic: "Sum", Dimensions: dimensions},
			From: from, Why: why, Do: do, Runbook: runbook, Missing: watch.NotBreaching, Severity: watch.Warning,
		}
	}
	throttles := count("AWS/Lambda", "Throttles", "Throttled invocations", "gofunc-throttles", "none are expected under the account's concurrency",
		"Lambda has no concurrency left for the function.", "Raise the account's concurrency quota, or lower another function's share.")
	throttles.Periods, throttles.Breaching = 5, 3
	near := .8 * float64(f.settings.Timeout.Milliseconds())
	return []watch.Signal{
		count("AWS/Lambda", "Errors", "Failed invocations", "gofunc-errors", "every error makes the source retry",
			"An invocation ended in an error, was killed at its timeout or ran out of memory.",
			"Read the function's log around that minute; look at what was deployed last."),
		throttles,
		{
			Owner: f.construct, Name: "Duration", Graph: "Duration, p99 (ms)", Metric: watch.Metric{Namespace: "AWS/Lambda", Name: "Duration", Statistic: "p99", Dimensions: dimensions},
			Threshold: near, From: fmt.Sprintf("80 %% of the timeout of %g s", f.settings.Timeout.Seconds()),
			Why:     "Invocations are about to be killed at the timeout, and their batches retried.",
			Do:      "Look for a slow dependency; else raise the memory or the timeout, or lower the batch size.",
			Runbook: "gofunc-duration",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		},
		// The namespace and name are lambdas/kit/emf's.
		count("Millrace", "RejectedRecords", "Records rejected by the code", "gofunc-rejected-records", "a producer that keeps to the format has none",
			"Records couldn't be understood and were set aside with their reason.",
			"The function's log says where each one is; find the producer by its partition key, and correct it."),
	}
}

// asset is the compiled code, or a stand-in where the app isn't bundled: for
// stacks that aren't selected, and in tests that set aws:cdk:bundling-stacks.
func asset(scope constructs.Construct, code Code, arch spec.Architecture) awslambda.Code {
	if !*awscdk.Stack_Of(scope).BundlingRequired() {
		return awslambda.Code_FromAsset(jsii.String(must(stub())), nil)
	}
	goos := "linux"
	if forThisMachine(scope) {
		goos = runtime.GOOS
	}
	out := *awscdk.Stage_Of(scope).AssetOutdir()
	return awslambda.Code_FromAsset(jsii.String(must(build(code.pkg, out, goos, arch))), nil)
}

func must(dir string, err error) string {
	if err != nil {
		panic(err)
	}
	return dir
}

// stub is a directory with a bootstrap that says what it is.
func stub() (string, error) {
	dir := filepath.Join(os.TempDir(), "millrace-gofunc-stub")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	const text = "#!/bin/sh\necho 'this stack was synthesized without its code' >&2\nexit 1\n"
	return dir, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(text), 0o755)
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
