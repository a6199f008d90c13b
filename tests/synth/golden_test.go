package synth

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/stacks/race"
)

var update = flag.Bool("update", false, "write the goldens anew; read their diff before you commit it")

// configs are the stacks whose whole templates must not drift unseen.
var configs = map[string]race.Config{
	"default": {},
	"local":   {Local: true},
	"provisioned": {
		Stream:     spec.Stream{Mode: spec.Provisioned, Shards: 4},
		Standings:  spec.Consumer{BatchSize: 1000, ParallelizationFactor: 2},
		AlarmEmail: "oncall@example.com",
	},
}

func TestTemplatesMatchTheGoldens(t *testing.T) {
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			got := redact(t, synthRace(t, config).raw)
			file := filepath.Join("testdata", name+".template.json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the template differs from %s (-golden +now); if that is meant, run `make golden` and read the diff:\n%s", file, diff)
			}
		})
	}
}

var (
	assetHash = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	// Functions of the local profile carry the architecture of the machine.
	hostArch = regexp.MustCompile(`"(arm64|x86_64)"`)
)

// redact is the template as text with sorted keys, without what changes with the
// functions' code or the machine.
func redact(t *testing.T, raw map[string]any) []byte {
	t.Helper()
	text, err := json.MarshalIndent(raw, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text = assetHash.ReplaceAll(text, []byte("ASSET"))
	if at(raw, "Metadata", race.LocalProfile) != nil {
		text = hostArch.ReplaceAll(text, []byte(`"arm64"`))
	}
	return append(text, '\n')
}
