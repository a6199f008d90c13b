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

func TestStatusShowsEachShardAndDeliveryStream(t *testing.T) {
	var out bytes.Buffer
	describeActivity(&out, local.Activity{
		Consumers: []local.Consumer{{Function: "standings", LastError: "shard-0: invoke: no", Shards: []local.Shard{
			{Shard: "shard-0", Position: "49590338271490256608559692538361571095921575989136588898", IteratorAgeSeconds: 1.26, Waiting: 3, Records: 1000, Batches: 12, Errors: 2, Failed: 40, OnFailure: 5},
			{Shard: "shard-1", Closed: true, Dropped: 7},
		}}},
		Deliveries: []local.Delivery{{Name: "archive", Accepted: 100, Buffered: 60, Bytes: 9000, Delivered: 30, Failed: 10, Errors: 1, LastError: "transform: no", ReadError: "shard-1: away"}},
	})
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"consumer standings", "shard-0 …75989136588898 1.3s 3 1000 12 2 40 5 ", "shard-1 (closed) - 0s 0 0 0 0 0 7, 7 lost",
		"delivery stream archive", "100 60 9000 0s 30 0 10 0 1", "the last error: shard-0: invoke: no delivery stream", "the last error: transform: no the last error of reading: shard-1: away",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the status is\n%swithout %q", out.String(), want)
		}
	}
}
