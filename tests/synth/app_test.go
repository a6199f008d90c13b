package synth

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The app as the CDK's command line runs it: a mistake is told in plain words.
func TestTheAppRefusesBadContextWithoutAStackTrace(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command("go", "build", "-o", binary, "../../stacks/app").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	app := exec.Command(binary)
	app.Env = append(os.Environ(),
		`CDK_CONTEXT_JSON={"race:shard": 3, "race:retentionHours": "12"}`,
		"CDK_OUTDIR="+t.TempDir(),
	)
	out, err := app.CombinedOutput()
	text := string(out)
	if code := app.ProcessState.ExitCode(); err == nil || code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"millrace: 2 invalid settings:", "race:shard", "MillraceRace/Telemetry: RetentionPeriod"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if strings.Contains(text, "goroutine") || strings.Contains(text, ".go:") {
		t.Errorf("a stack trace reaches the user:\n%s", text)
	}
}
