// Command app synthesizes the stacks: it reads the Config from the CDK's context,
// refuses what is invalid with a plain message, and writes the cloud assembly.
// `cdk synth` and `cdk deploy` run it.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/stacks/race"
)

func main() { os.Exit(run()) }

func run() (code int) {
	defer closeQuietly()
	defer func() {
		if problem := recover(); problem != nil {
			report(problem)
			code = 1
		}
	}()
	app := awscdk.NewApp(nil)
	context, _ := app.Node().GetAllContext(nil).(map[string]any)
	config, err := race.ReadConfig(context)
	if err != nil {
		panic(err)
	}
	race.New(app, config)
	app.Synth(nil)
	return 0
}

// closeQuietly ends jsii's process. jsii waits for it in two places at once, and
// the one that comes second prints an alarming line; nobody needs to read it.
func closeQuietly() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	jsii.Close()
}

// report prints what stopped the synthesis. Constructs and jsii report their
// errors as panics; only a mistake in this program shows its stack.
func report(problem any) {
	if bug, ok := problem.(runtime.Error); ok {
		panic(bug)
	}
	fmt.Fprintf(os.Stderr, "\nmillrace: %v\n\n", problem)
}
