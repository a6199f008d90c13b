package synth

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/jsii-runtime-go"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/millrace/millrace/constructs/consumer"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// The page shows what a user sees, word by word.
func TestThePageOfConstructsShowsARealError(t *testing.T) {
	page, err := os.ReadFile("../../docs/constructs.md")
	if err != nil {
		t.Fatal(err)
	}
	stack := awscdk.NewStack(newApp(t, false), jsii.String("Shop"), nil)
	defer func() {
		err, _ := recover().(error)
		if err == nil || !strings.Contains(string(page), err.Error()) {
			t.Errorf("the page doesn't have this error:\n%v", err)
		}
	}()
	consumer.New(stack, "Bill", consumer.Props{
		Source:   stream.New(stack, "Orders", stream.Props{}),
		Code:     gofunc.Package(someCode),
		Consumer: spec.Consumer{BatchSize: 20000, MaximumRecordAge: 24 * time.Hour},
		Function: spec.Function{Memory: 64},
	})
}
