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
