package gofunc_test

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
)

// Packages that are named together are compiled by one `go build`.
var (
	orders  = gofunc.Package("./lambdas/orders")
	refunds = gofunc.Package("./lambdas/refunds")
)

func ExampleNew() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	gofunc.New(stack, "Orders", gofunc.Props{Code: orders})
	gofunc.New(stack, "Refunds", gofunc.Props{
		Code:        refunds,
		Function:    spec.Function{Memory: 512, Timeout: time.Minute},
		Environment: map[string]*string{"CURRENCY": jsii.String("EUR")},
	})
}

// Settings of go build are shared by the packages that are named with them.
func ExampleBuild() {
	release := gofunc.Build{Ldflags: "-X main.version=1.2.3", Env: map[string]string{"GOPRIVATE": "git.example.com"}}
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	gofunc.New(stack, "Orders", gofunc.Props{Code: release.Package("./lambdas/orders")})
}

// An executable that something else compiled, by `make build/orders` here.
func ExamplePrebuilt() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	gofunc.New(stack, "Orders", gofunc.Props{Code: gofunc.Prebuilt("build/orders")})
}

// What invokes an alias keeps to one version until a deployment moves it.
func ExampleFunction_Alias() {
	stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Shop"), nil)

	live := gofunc.New(stack, "Orders", gofunc.Props{Code: orders}).Alias("live")
	awscdk.NewCfnOutput(stack, jsii.String("Live"), &awscdk.CfnOutputProps{Value: live.FunctionArn()})
}
