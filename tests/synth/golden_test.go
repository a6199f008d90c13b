package synth

import (
	"regexp"
	"testing"

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
