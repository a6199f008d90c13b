package kit_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/millrace/millrace/local/runtimeapi"
)

var initDuration = regexp.MustCompile(`Init Duration: ([0-9.]+) ms`)

// BenchmarkColdStart runs functions as a deployment builds them over the Runtime API.
// init-ms is what Lambda reports as Init Duration, from the start of the process until
// it asks for the first event, as the median; MB is the executable.
func BenchmarkColdStart(b *testing.B) {
	module, err := filepath.Abs("../../..")
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, module, pkg string }{
		{"bare", ".", "./bare"},
		{"sdk", ".", "./sdk"},
		{"standings", module, "./lambdas/standings"},
		{"podium", module, "./lambdas/podium"},
		{"pace", module, "./lambdas/pace"},
		{"archive", module, "./lambdas/archive"},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "bootstrap")
			// The flags are those of constructs/gofunc.
			build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w -B none", "-o", path, c.pkg)
			build.Dir, build.Env = c.module, append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			var took []float64
			for b.Loop() {
				took = append(took, coldStart(b, path))
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2], "init-ms")
			b.ReportMetric(float64(info.Size())/1e6, "MB")
		})
	}
}

// coldStart invokes a function once and returns its Init Duration in milliseconds.
func coldStart(b *testing.B, path string) float64 {
	var log bytes.Buffer
	f, err := runtimeapi.New(runtimeapi.Options{Path: path, Log: &log, MemoryMB: 256, Env: map[string]string{
		"AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
		"STANDINGS_TABLE": "standings", "PODIUMS_TABLE": "podiums", "PACES_TABLE": "paces", "FAILURE_BUCKET": "failures",
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Invoke(b.Context(), []byte(`{"Records":[]}`)); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	found := initDuration.FindSubmatch(log.Bytes())
	if found == nil {
		b.Fatalf("it didn't start:\n%s", log.Bytes())
	}
	ms, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return ms
}
