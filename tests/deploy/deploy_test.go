// Package deploy deploys every destination of a delivery on the emulator, each in a
// small stack of its own with the target beside it: CloudFormation's order, its types
// and the references between them are real there, if AWS isn't.
//
// A destination is a row in rows. What the emulator doesn't know is in unknown, with
// its own answer; when it learns something, the test fails until the row is gone.
package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	fhtypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/jsii-runtime-go"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/local"
)

func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

// rows define, by name, a target and a delivery to it. Functions aren't compiled
// here: leave transforms out.
var rows = map[string]func(stack awscdk.Stack){}

func TestEveryDestinationDeploys(t *testing.T) {
	templates := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		templates[name] = synthesized(t, rows[name])
	}
	for name := range unknown {
		if rows[name] == nil {
			t.Errorf("the emulator is said not to know %s, which there is no row of", name)
		}
	}

	machine, err := local.StartEmulator(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	config := local.Config(machine.Endpoint)
	e := emulator{cloudformation.NewFromConfig(config), firehose.NewFromConfig(config)}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		t.Run(name, func(t *testing.T) {
			// The emulator waits for ever for a resource that answers nothing.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			problem := e.deploy(ctx, name, templates[name])
			answer, excused := unknown[name]
			switch {
			case problem == nil && excused:
				t.Errorf("the emulator has learned it: remove it from unknown (%s)", answer)
			case problem != nil && !excused:
				t.Error(problem)
			case problem != nil && !strings.Contains(problem.Error(), answer):
				t.Errorf("the emulator answers otherwise than unknown says (%s): %v", answer, problem)
			case problem != nil:
				t.Logf("not on the emulator: %v", problem)
			}
		})
	}
}

// synthesized is the template of a stack that build defines.
func synthesized(t *testing.T, build func(awscdk.Stack)) string {
	t.Helper()
	file, err := os.ReadFile("../../cdk.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Context map[string]any }
	if err := json.Unmarshal(file, &config); err != nil {
		t.Fatal(err)
	}
	app := awscdk.NewApp(&awscdk.AppProps{Context: &config.Context, Outdir: jsii.String(t.TempDir())})
	// Nothing here is published beforehand.
	stack := awscdk.NewStack(app, jsii.String("Deployed"), &awscdk.StackProps{
		Synthesizer: awscdk.NewDefaultStackSynthesizer(&awscdk.DefaultStackSynthesizerProps{GenerateBootstrapVersionRule: jsii.Bool(false)}),
	})
	build(stack)
	app.Synth(nil)
	template, err := os.ReadFile(filepath.Join(*app.Outdir(), "Deployed.template.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(template)
}

type emulator struct {
	cfn      *cloudformation.Client
	firehose *firehose.Client
}

// deploy makes a stack, looks at its delivery streams, and deletes it again.
func (e emulator) deploy(ctx context.Context, name, template string) error {
	if _, err := e.cfn.CreateStack(ctx, &cloudformation.CreateStackInput{
		StackName: aws.String(name), TemplateBody: aws.String(template), Capabilities: []cfn.Capability{cfn.CapabilityCapabilityIam},
	}); err != nil {
		return err
	}
	if err := e.settled(ctx, name, cfn.StackStatusCreateComplete); err != nil {
		return err
	}
	if err := e.delivers(ctx, name); err != nil {
		return err
	}
	if _, err := e.cfn.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: aws.String(name)}); err != nil {
		return err
	}
	return e.settled(ctx, name, cfn.StackStatusDeleteComplete)
}

// settled waits until a stack is as wanted, or says why it isn't.
func (e emulator) settled(ctx context.Context, name string, want cfn.StackStatus) error {
	for {
		out, err := e.cfn.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(name)})
		var refused smithy.APIError
		if errors.As(err, &refused) && strings.Contains(refused.ErrorMessage(), "does not exist") && want == cfn.StackStatusDeleteComplete {
			return nil
		}
		if err != nil {
			return err
		}
		status := out.Stacks[0].StackStatus
		if status == want {
			return nil
		}
		if !strings.HasSuffix(string(status), "IN_PROGRESS") {
			return fmt.Errorf("%s is %s: %s", name, status, e.failures(ctx, name))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// failures are what events say of a stack that failed.
func (e emulator) failures(ctx context.Context, name string) string {
	out, err := e.cfn.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: aws.String(name)})
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, event := range out.StackEvents {
		if strings.HasSuffix(string(event.ResourceStatus), "FAILED") {
			all = append(all, fmt.Sprintf("%s (%s): %s", aws.ToString(event.LogicalResourceId), aws.ToString(event.ResourceType), aws.ToString(event.ResourceStatusReason)))
		}
	}
	return strings.Join(all, "; ")
}

// delivers checks that a stack's delivery streams are there and work.
func (e emulator) delivers(ctx context.Context, name string) error {
	out, err := e.cfn.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: aws.String(name)})
	if err != nil {
		return err
	}
	found := 0
	for _, r := range out.StackResources {
		if aws.ToString(r.ResourceType) != "AWS::KinesisFirehose::DeliveryStream" {
			continue
		}
		found++
		described, err := e.firehose.DescribeDeliveryStream(ctx, &firehose.DescribeDeliveryStreamInput{DeliveryStreamName: r.PhysicalResourceId})
		if err != nil {
			return err
		}
		d := described.DeliveryStreamDescription
		if d.DeliveryStreamStatus != fhtypes.DeliveryStreamStatusActive || len(d.Destinations) != 1 {
			return fmt.Errorf("%s is %s and has %d destinations", aws.ToString(r.PhysicalResourceId), d.DeliveryStreamStatus, len(d.Destinations))
		}
	}
	if found != 1 {
		return fmt.Errorf("%s has %d delivery streams", name, found)
	}
	return nil
}
