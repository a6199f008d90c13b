// Command orders is a CDK app that is not the race: a web shop's orders reserve
// stock, and the rides of its rental bikes are archived. It lives in a module of
// its own, as your app does.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

func main() { os.Exit(run()) }

// run synthesizes the app. Constructs report bad settings and code that doesn't
// compile as panics, like the CDK; only a mistake in this program shows its stack.
func run() (code int) {
	defer closeQuietly()
	defer func() {
		problem := recover()
		if bug, ok := problem.(runtime.Error); ok {
			panic(bug)
		}
		if problem != nil {
			fmt.Fprintf(os.Stderr, "\norders: %v\n\n", problem)
			code = 1
		}
	}()
	app := awscdk.NewApp(nil)
	newShop(app, StackName)
	app.Synth(nil)
	return 0
}

// closeQuietly ends the CDK's process. jsii waits for it in two places at once,
// and the one that comes second prints an alarming line that means nothing.
func closeQuietly() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	jsii.Close()
}
