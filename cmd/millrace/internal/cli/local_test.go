package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/throttle"
)

func TestUpSaysWhatDiffersAndHowToPointAClientAtIt(t *testing.T) {
	var out bytes.Buffer
	describeMachine(&out, &local.Machine{
		Endpoint: "http://127.0.0.1:4566",
		Limits:   throttle.AWS,
		Profile:  []string{"No fan-out: the emulator refuses it."},
		Outputs:  map[string]string{local.OutputStream: "telemetry", local.OutputArchive: "bucket"},
	})
	for _, want := range []string{
		"runs at http://127.0.0.1:4566\nIts shards turn away what is beyond shard=aws\n",
		"  - No fan-out: the emulator refuses it.",
		"  ArchiveBucket  bucket\n  StreamName     telemetry\n",
		"  export AWS_ENDPOINT_URL=http://127.0.0.1:4566\n",
		"  export AWS_ACCESS_KEY_ID=test\n",
		"millrace local down",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it says\n%swithout %q", out.String(), want)
		}
	}
}

func TestStatusTellsStartingFromRunning(t *testing.T) {
	state := local.State{PID: 7, Started: time.Now().Add(-time.Minute)}
	var out bytes.Buffer
	describeState(&out, state)
	if !strings.Contains(out.String(), "starting") || strings.Contains(out.String(), "endpoint") {
		t.Errorf("before there is an endpoint, the status is\n%s", out.String())
	}
	state.Endpoint, state.Limits, state.Outputs = "http://127.0.0.1:4566", "shard=5r/s", map[string]string{local.OutputStream: "telemetry"}
	out.Reset()
	describeState(&out, state)
	for _, want := range []string{"running", "http://127.0.0.1:4566", "(1m0s)", "process   7", "limits    shard=5r/s", "telemetry"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the status is\n%swithout %q", out.String(), want)
		}
	}
}
