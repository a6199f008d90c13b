package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/local/esm"
)

func TestWhereToBegin(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)
	for at, want := range map[string]esm.Position{
		"latest":                    {Type: "LATEST"},
		"TRIM_HORIZON":              {Type: "TRIM_HORIZON"},
		"15m":                       {Type: "AT_TIMESTAMP", Time: time.Date(2026, 1, 2, 2, 49, 5, 0, time.UTC)},
		"2025-12-31T23:00:00+01:00": {Type: "AT_TIMESTAMP", Time: time.Date(2025, 12, 31, 22, 0, 0, 0, time.UTC)},
	} {
		got, err := position(at, now)
		if err != nil || got.Type != want.Type || !got.Time.Equal(want.Time) {
			t.Errorf("%s is %+v (%v), want %+v", at, got, err, want)
		}
	}
	for _, at := range []string{"", "-15m", "0s", "yesterday", "2026-01-02"} {
		if got, err := position(at, now); err == nil {
			t.Errorf("%q is %+v", at, got)
		}
	}
}

// The account's answers are played; what attach asks it is not.
func TestAttachAsksTheStreamsRegionWithTheUsersCredentials(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Header.Get("X-Amz-Target")+" "+r.Header.Get("Authorization")+" "+string(body))
		w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer service.Close()
	dir := t.TempDir()
	profiles := filepath.Join(dir, "config")
	if err := os.WriteFile(profiles, []byte(`[profile live]
aws_access_key_id = AKIDLIVE
aws_secret_access_key = secret
region = us-west-2

[profile mixed]
services = here
aws_access_key_id = AKIDLIVE
aws_secret_access_key = secret

[services here]
dynamodb =
  endpoint_url = http://127.0.0.1:8000
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": profiles, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_ENDPOINT_URL": "",
	} {
		t.Setenv(name, value)
	}
	const arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/telemetry"
	attach := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, append([]string{"local", "attach", "--stream", arn, "--package", "."}, args...)...)
		if code != codeFailed || stdout != "" {
			t.Errorf("%v ended with %d and %q", args, code, stdout)
		}
		return stderr
	}
	if stderr := attach("--aws-profile", "live", "--endpoint", service.URL); !strings.Contains(stderr, "ResourceNotFoundException") || !strings.Contains(stderr, arn) {
		t.Errorf("it says %q", stderr)
	}
	if len(asked) != 1 || !strings.Contains(asked[0], "ListShards") || !strings.Contains(asked[0], "Credential=AKIDLIVE/") || !strings.Contains(asked[0], "/eu-west-1/kinesis/") || !strings.Contains(asked[0], arn) {
		t.Errorf("asked %q", asked)
	}
	// A write to the wrong DynamoDB would be worse than none.
	if stderr := attach("--aws-profile", "mixed", "--endpoint", service.URL); !strings.Contains(stderr, "endpoints of single services (here)") {
		t.Errorf("it says %q", stderr)
	}
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000")
	if stderr := attach("--aws-profile", "live", "--endpoint", service.URL); !strings.Contains(stderr, "AWS_ENDPOINT_URL_DYNAMODB") {
		t.Errorf("it says %q", stderr)
	}
	if len(asked) != 1 {
		t.Errorf("then asked %q", asked[1:])
	}
}
