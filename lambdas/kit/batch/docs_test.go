package batch_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The function that docs/kit.md begins with compiles as it stands there, and tells what
// it lacks.
func TestTheFunctionOfThePage(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/kit.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(page), "```go\n")
	code, _, ok := strings.Cut(code, "```\n")
	if !ok {
		t.Fatal("docs/kit.md has no function")
	}
	dir := t.TempDir()
	source, overlay, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "orders")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "lambdas/orders/main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{source: []byte(code), overlay: replace} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", program, "./lambdas/orders")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("it doesn't compile: %v\n%s", err, out)
	}
	run := exec.Command(program)
	run.Env = []string{"AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_LAMBDA_FUNCTION_NAME=orders"}
	out, err := run.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `"message":"the function can't start","error":"environment variable FAILURE_BUCKET is not set"`) {
		t.Errorf("without a bucket: %v\n%s", err, out)
	}
}
