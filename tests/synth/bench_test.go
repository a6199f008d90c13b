package synth

import (
	"testing"

	"github.com/millrace/millrace/stacks/race"
)

// BenchmarkSynth is the second and later synthesis of the stack in a process,
// functions not compiled. Set CDK_VALIDATION=false to leave the CDK's own rules
// out, as `make unit` does.
func BenchmarkSynth(b *testing.B) {
	synthRace(b, race.Config{})
	for b.Loop() {
		app := newApp(b, false)
		race.New(app, race.Config{})
		app.Synth(nil)
	}
}
