package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run runs the program in an otherwise empty checkout.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runIn(t, t.Context(), nil, args...)
}

func runIn(t *testing.T, ctx context.Context, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cdk.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	var out, errs bytes.Buffer
	program := Program{Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return env[name] }}
	code = program.Run(ctx, args)
	return code, out.String(), errs.String()
}

func TestHelpHasExamples(t *testing.T) {
	for _, command := range []string{"", "race", "standings", "demo", "local up", "local attach"} {
		code, stdout, _ := run(t, append(strings.Fields(command), "--help")...)
		if code != codeOK || !strings.Contains(stdout, "Examples:\n  millrace") || !strings.Contains(stdout, "Usage:") {
			t.Errorf("`millrace %s --help` ended with %d and\n%s", command, code, stdout)
		}
	}
	if code, stdout, _ := run(t); code != codeOK || !strings.Contains(stdout, "standings") {
		t.Errorf("`millrace` alone ended with %d and\n%s", code, stdout)
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := run(t, "--version"); code != codeOK || !strings.HasPrefix(stdout, "millrace version ") {
		t.Errorf("--version ended with %d and %q", code, stdout)
	}
}

func TestWrongUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"an unknown command":  {[]string{"rase"}, []string{`"rase"`, "millrace --help"}},
		"an unknown argument": {[]string{"race", "monza"}, []string{`"monza"`, "millrace race --help"}},
		"an unknown flag":     {[]string{"local", "up", "--prot", "1"}, []string{"--prot", "millrace local up --help"}},
		"no number":           {[]string{"race", "--racers", "many"}, []string{"--racers", "many"}},
		"all bad values of race": {
			[]string{"race", "--racers", "0", "--races", "7", "--rate", "-1", "--seconds", "0", "--name", "ä"},
			[]string{"--racers 0", "--races 7", "--rate -1", "--seconds 0", `--name "ä"`, "millrace race --help"},
		},
		"two ends":     {[]string{"race", "--records", "0", "--seconds", "1"}, []string{"--records 0", "only one"}},
		"a wrong rate": {[]string{"race", "--rate", "NaN"}, []string{"--rate NaN"}},
		"all bad values of demo": {
			[]string{"demo", "--records", "0", "--racers", "0", "--races", "2", "--port", "70000"},
			[]string{"--records 0", "--racers 0", "--races 2", "--port 70000"},
		},
		"all bad profiles": {
			[]string{"local", "up", "--profile", "shard=0r/s,5", "--profile", "speed=9", "--port", "-1"},
			[]string{"shard=0r/s: the number must be 1 to 1000000", "shard=5: must be shard=<n>r/s", `"speed" is unknown`, "--port -1", "millrace local up --help"},
		},
		"bad profiles of demo": {[]string{"demo", "--profile", "shard=1", "--records", "0"}, []string{"shard=1:", "--records 0"}},
		"a port out of range":  {[]string{"local", "up", "--port", "-1"}, []string{"--port -1", "65535"}},
		"all bad values of attach": {
			[]string{
				"local", "attach", "--stream", "telemetry", "--at", "soon", "--env", "TABLE", "--env", "AWS_ENDPOINT_URL=x", "--records", "0", "--for", "-1s",
				"--filter", `{"data":1}`, "--memory", "0", "--timeout", "1h", "--window", "6m", "--batch-size", "0", "--parallelization", "11", "--retries", "-2",
			},
			[]string{
				`--stream "telemetry": it must be an ARN`, "--package missing", `--at "soon"`, `--env "TABLE": must be NAME=value`, `--env "AWS_ENDPOINT_URL"`, "--records 0", "--for -1",
				"--filter", "--memory 0", "--timeout 1h", "--window 6m", "--batch-size 0", "--parallelization 11", "--retries -2", "millrace local attach --help",
			},
		},
		"attach to a consumer's fan-out": {
			[]string{"local", "attach", "--stream", "arn:aws:kinesis:eu-west-1:111122223333:stream/s/consumer/c:1", "--package", "."},
			[]string{"name the stream: arn:aws:kinesis:eu-west-1:111122223333:stream/s\n"},
		},
		"attach to a table's past": {
			[]string{"local", "attach", "--stream", "arn:aws:dynamodb:eu-west-1:111122223333:table/t/stream/2026-01-01T00:00:00.000", "--package", ".", "--at", "15m"},
			[]string{"--at", "DynamoDB streams can't be read from a time on", "TRIM_HORIZON"},
		},
		"attach to the future": {
			[]string{"local", "attach", "--stream", "arn:aws:kinesis:eu-west-1:111122223333:stream/s", "--package", ".", "--at", "2200-01-01T00:00:00Z"},
			[]string{"--at", "2200-01-01", "LATEST"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(t, c.args...)
			if code != codeUsage || stdout != "" {
				t.Errorf("it ended with %d, want %d, and printed %q", code, codeUsage, stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q doesn't say %q", stderr, want)
				}
			}
		})
	}
}

func TestWithoutALocalMachine(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"race":      {[]string{"race"}, codeFailed, []string{"millrace local up", "--stream", envStream}},
		"standings": {[]string{"standings"}, codeFailed, []string{"millrace local up", "--table", envPodiums}},
		"status":    {[]string{"local", "status"}, codeNotRunning, []string{"no local machine is running"}},
		"down":      {[]string{"local", "down"}, codeOK, []string{"No local machine is running"}},
		"up":        {[]string{"local", "up"}, codeFailed, []string{"make install", "CDK command line", "Python environment"}},
		"no checkout": {
			[]string{"local", "status", "--dir", "/"},
			codeFailed,
			[]string{"no checkout", "--dir"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(t, c.args...)
			if code != c.code {
				t.Errorf("it ended with %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("%q doesn't say %q", stdout+stderr, want)
				}
			}
		})
	}
}

func TestFlagsAndEnvironmentNameTheResourceOnAWS(t *testing.T) {
	var asked []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, string(body))
		w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer service.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": service.URL, "AWS_REGION": "eu-west-1",
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	env := map[string]string{envPodiums: "my-podiums", envStream: "my-stream"}
	for resource, args := range map[string][]string{
		"my-podiums":    {"standings"},
		"other-podiums": {"standings", "--table", "other-podiums"},
		"my-stream":     {"race", "--records", "1"},
		"other-stream":  {"race", "--records", "1", "--stream", "other-stream"},
	} {
		asked = nil
		code, stdout, stderr := runIn(t, t.Context(), env, args...)
		if code != codeFailed || !strings.Contains(stderr, "ResourceNotFoundException") {
			t.Errorf("%v ended with %d and %q, want the service's error", args, code, stderr)
		}
		if len(asked) != 1 || !strings.Contains(asked[0], `"`+resource+`"`) {
			t.Errorf("%v asked the service for %q, want %s once", args, asked, resource)
		}
		if args[0] == "race" && !strings.HasPrefix(stdout, "0 records acknowledged") {
			t.Errorf("%v reported %q, want 0 records", args, stdout)
		}
	}
}

func TestAnInterruptHasItsOwnExitCode(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupt signal received"))
	code, _, stderr := runIn(t, ctx, nil, "race", "--stream", "s")
	if code != codeInterrupted || !strings.Contains(stderr, "interrupt signal received") {
		t.Errorf("it ended with %d and %q, want %d and why", code, stderr, codeInterrupted)
	}
}
