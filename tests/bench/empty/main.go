// Command empty is the smallest CDK app in Go: one stack with nothing in it but the
// placeholder without which CloudFormation, and so the CDK's own rules, refuse a stack.
// What it takes is the price of the CDK itself; make bench-synth compares with it.
package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

func main() {
	defer jsii.Close()
	app := awscdk.NewApp(nil)
	stack := awscdk.NewStack(app, jsii.String("Empty"), nil)
	awscdk.NewCfnWaitConditionHandle(stack, jsii.String("Nothing"), nil)
	app.Synth(nil)
}
