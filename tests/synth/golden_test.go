package synth

import (
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/stacks/race"
)

// configs are the stacks whose whole templates must not drift unseen.
var configs = map[string]race.Config{
	"default": {},
	"local":   {Local: true},
	"provisioned": {
		Stream:     spec.Stream{Mode: spec.Provisioned, Shards: 4},
		Standings:  spec.Consumer{BatchSize: 1000, ParallelizationFactor: 2},
		AlarmEmail: "oncall@example.com",
	},
	"redshift":       {Redshift: race.RedshiftServerless, Region: "eu-west-1"},
	"redshift-local": {Redshift: race.RedshiftServerless, Local: true},
}

func TestTemplatesMatchTheGoldens(t *testing.T) {
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			var redactions []func(string) string
			if config.Local {
				redactions = append(redactions, thisMachine)
			}
			synthRace(t, config).Match(t, "testdata/"+name+".template.json", redactions...)
		})
	}
}

var hostArch = regexp.MustCompile(`"(arm64|x86_64)"`)

// thisMachine redacts the architecture of the machine, which the functions of the
// local profile carry.
func thisMachine(snapshot string) string { return hostArch.ReplaceAllString(snapshot, `"arm64"`) }

// The destinations of a delivery, with all that can be set of them.
func TestDestinationsMatchTheGoldens(t *testing.T) {
	for name, build := range fullest {
		if !strings.HasPrefix(name, "delivery-") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			stack := awscdk.NewStack(newApp(t, false), jsii.String("Fullest"), nil)
			build(stack)
			snapshot.Of(t, stack).Match(t, "testdata/"+name+".template.json")
		})
	}
}
