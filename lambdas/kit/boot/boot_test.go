package boot_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/millrace/millrace/lambdas/kit/boot"
)

func TestEnvironmentNamesEveryMissingVariable(t *testing.T) {
	getenv := func(name string) string { return map[string]string{"A": "1"}[name] }
	_, err := boot.Environment(getenv, "A", "B", "C")
	if err == nil || !strings.Contains(err.Error(), "B is not set") || !strings.Contains(err.Error(), "C is not set") || strings.Contains(err.Error(), "A is") {
		t.Errorf("got %v", err)
	}
	if env, err := boot.Environment(getenv, "A"); err != nil || env["A"] != "1" {
		t.Errorf("got %v, %v", env, err)
	}
}

func TestLoggerWritesTheKeysOfLambda(t *testing.T) {
	var out bytes.Buffer
	boot.Logger(&out).Warn("hello")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["message"] != "hello" || line["level"] != "WARN" || line["timestamp"] == nil {
		t.Errorf("got %v", line)
	}
}
