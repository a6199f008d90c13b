//go:build linux || darwin

package runtimeapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/local/invoke"
)

// bootstrap is the path of the function in testdata, built once.
var bootstrap string

func TestMain(m *testing.M) {
	if file := os.Getenv("RUNTIMEAPI_TEST_PARENT"); file != "" {
		parent(file)
		return
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "runtimeapi")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if bootstrap, err = filepath.EvalSymlinks(dir); err == nil {
		bootstrap = filepath.Join(bootstrap, "bootstrap")
		build := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", bootstrap, "./testdata/function")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// parent is the process that a test kills: its function hangs in an invocation.
func parent(file string) {
	f, err := New(Options{Path: os.Getenv("RUNTIMEAPI_TEST_BOOTSTRAP"), Timeout: time.Minute})
	if err == nil {
		_, err = f.Invoke(context.Background(), request("stubborn", "File", file, "MS", 60_000))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestASuccessfulInvocation(t *testing.T) {
	t.Setenv("RUNTIMEAPI_TEST_SECRET", "this process's own")
	f := open(t, Options{
		FunctionName: "standings", Region: "eu-west-1", MemoryMB: 256, Timeout: 20 * time.Second,
		Env: map[string]string{"TABLE": "Standings", "AWS_ACCESS_KEY_ID": "test"},
	})
	result := invoked(t, f, request(""))
	if result.FunctionError != "" || result.ExecutedVersion != "$LATEST" {
		t.Errorf("the result is %+v", result)
	}
	answer := answerOf(t, result)
	if answer.ID != result.RequestID || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(answer.ID) {
		t.Errorf("the request id is %q in the function and %q in the result", answer.ID, result.RequestID)
	}
	if answer.ARN != "arn:aws:lambda:eu-west-1:000000000000:function:standings" {
		t.Errorf("the ARN is %q", answer.ARN)
	}
	if answer.Left < 15_000 || answer.Left > 20_000 {
		t.Errorf("%d ms are left of 20 s", answer.Left)
	}
	if !regexp.MustCompile(`^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0$`).MatchString(answer.Trace) {
		t.Errorf("the trace id is %q", answer.Trace)
	}
	if answer.Dir != filepath.Dir(bootstrap) {
		t.Errorf("it runs in %s", answer.Dir)
	}
	env := map[string]string{}
	for _, one := range answer.Env {
		name, value, _ := strings.Cut(one, "=")
		env[name] = value
	}
	if !strings.HasPrefix(env["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:") || env["_X_AMZN_TRACE_ID"] != answer.Trace {
		t.Errorf("the API is at %q, the trace id is %q", env["AWS_LAMBDA_RUNTIME_API"], env["_X_AMZN_TRACE_ID"])
	}
	if !regexp.MustCompile(`^\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}$`).MatchString(env["AWS_LAMBDA_LOG_STREAM_NAME"]) {
		t.Errorf("the log stream is %q", env["AWS_LAMBDA_LOG_STREAM_NAME"])
	}
	for _, name := range []string{"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID", "PWD"} {
		delete(env, name) // exec.Cmd sets PWD when it sets the folder
	}
	want := map[string]string{
		"PATH": os.Getenv("PATH"), "LANG": "en_US.UTF-8", "TZ": ":UTC", "_HANDLER": "bootstrap",
		"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_LAMBDA_FUNCTION_NAME": "standings",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/standings",
		"AWS_LAMBDA_LOG_FORMAT": "Text", "LAMBDA_TASK_ROOT": filepath.Dir(bootstrap), "LAMBDA_RUNTIME_DIR": "/var/runtime",
		"TABLE": "Standings", "AWS_ACCESS_KEY_ID": "test",
	}
	if !maps.Equal(env, want) {
		t.Errorf("the environment is\n%v, want\n%v", env, want)
	}
}

func TestAWarmProcessIsUsedAgain(t *testing.T) {
	f := open(t, Options{})
	first := answerOf(t, invoked(t, f, request("")))
	for range 20 {
		if again := answerOf(t, invoked(t, f, request(""))); again.PID != first.PID {
			t.Fatalf("process %d after process %d", again.PID, first.PID)
		}
	}
}

func TestAnEmptyPayloadIsAnEmptyObject(t *testing.T) {
	if result := invoked(t, open(t, Options{}), nil); result.FunctionError != "" {
		t.Errorf("the result is %s", result.Payload)
	}
}

func TestMoreProcessesUpToTheConcurrency(t *testing.T) {
	f := open(t, Options{Concurrency: 3, Timeout: time.Minute})
	results := make(chan invoke.Result, 3)
	for range 3 {
		go func() {
			result, err := f.Invoke(t.Context(), request("sleep", "MS", 1500))
			if err != nil {
				t.Error(err)
			}
			results <- result
		}()
	}
	for f.places() < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := f.Invoke(t.Context(), request("")); !errors.Is(err, invoke.ErrThrottled) {
		t.Errorf("one too many answers %v, want ErrThrottled", err)
	}
	pids := map[int]bool{}
	for range 3 {
		pids[answerOf(t, <-results).PID] = true
	}
	if len(pids) != 3 {
		t.Errorf("%d processes ran, want 3", len(pids))
	}
	again := answerOf(t, invoked(t, f, request("")))
	if !pids[again.PID] || f.places() != 3 {
		t.Errorf("process %d wasn't there before, there are %d", again.PID, f.places())
	}
	if last := answerOf(t, invoked(t, f, request(""))); last.PID != again.PID {
		t.Error("it isn't the process used last that is used next")
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      []byte
		kind    string
		message string // "ID" is the request's
		dies    bool
		report  string
	}{
		{"an error", request("error"), "errorString", "it failed", false, ""},
		{"a panic", request("panic"), "string", "it panicked", true, "Status: error\tError Type: Runtime.ExitError"},
		{"an exit", request("exit", "MS", 3), "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 3", true, "Status: error\tError Type: Runtime.ExitError"},
		{"an exit with code 0", request("exit"), "Runtime.ExitError", "RequestId: ID Error: Runtime exited without providing a reason", true, "Status: error\tError Type: Runtime.ExitError"},
		{"a kill", request("kill"), "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: signal: killed", true, "Status: error\tError Type: Runtime.ExitError"},
		{"a timeout", request("sleep", "MS", 60_000), "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 1.25 seconds", true, "Status: timeout"},
		{"a response that breaks off", request("broken"), "errorString", "the source broke", false, ""},
		{"a response that is too large", request("size", "Size", MaxResponse-1), "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (6291556 bytes).", true, "Status: error\tError Type: Runtime.ExitError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &syncBuffer{}
			f := open(t, Options{Timeout: 1250 * time.Millisecond, Log: log})
			before := answerOf(t, invoked(t, f, request("")))
			log.Reset()
			result := invoked(t, f, c.do)
			var failed struct{ ErrorType, ErrorMessage string }
			if err := json.Unmarshal(result.Payload, &failed); err != nil {
				t.Fatal(err)
			}
			if result.FunctionError != "Unhandled" || failed.ErrorType != c.kind || failed.ErrorMessage != strings.Replace(c.message, "ID", result.RequestID, 1) {
				t.Errorf("the result is %s %s", result.FunctionError, result.Payload)
			}
			if got := log.String(); !strings.Contains(got, "END RequestId: "+result.RequestID+"\nREPORT RequestId: "+result.RequestID) || !strings.HasSuffix(got, "\t"+c.report+"\n") {
				t.Errorf("the log is\n%s", got)
			}
			if c.dies && running(before.PID) {
				t.Errorf("process %d is still there", before.PID)
			}
			after := answerOf(t, invoked(t, f, request("")))
			if died := after.PID != before.PID; died != c.dies {
				t.Errorf("the next invocation is in process %d, this one was in %d", after.PID, before.PID)
			}
			if f.places() != 1 {
				t.Errorf("%d processes, want 1", f.places())
			}
		})
	}
}

func TestTheLargestPayloadsPass(t *testing.T) {
	f := open(t, Options{Timeout: time.Minute, MemoryMB: 1024})
	// Two quotes belong to it.
	if result := invoked(t, f, request("size", "Size", MaxResponse-2)); result.FunctionError != "" || len(result.Payload) != MaxResponse {
		t.Errorf("the largest response: %s, %d bytes", result.FunctionError, len(result.Payload))
	}
	large := append(request(""), bytes.Repeat([]byte(" "), MaxRequest)...)
	if result := invoked(t, f, large[:MaxRequest]); result.FunctionError != "" {
		t.Errorf("the largest request: %s", result.Payload)
	}
	if _, err := f.Invoke(t.Context(), large[:MaxRequest+1]); !errors.Is(err, ErrRequestTooLarge) {
		t.Errorf("a larger request answers %v", err)
	}
}

func TestInitializationsThatFail(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(garbage, []byte("\x7fELF no more"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		how     string
		options Options
		payload string
		reports []string
	}{
		{
			"it says why", "init error",
			Options{},
			`{"errorType":"Config.Missing","errorMessage":"no table"}`,
			[]string{"Phase: init\tStatus: error\tError Type: Config.Missing", "Phase: invoke\tStatus: error\tError Type: Config.Missing"},
		},
		{
			"it exits", "init exit",
			Options{},
			`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 3"}`,
			[]string{"Phase: init\tStatus: error\tError Type: Runtime.ExitError", "Phase: invoke\tStatus: error\tError Type: Runtime.ExitError"},
		},
		{
			"it hangs", "init hang",
			Options{Timeout: 200 * time.Millisecond},
			`{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: ID Error: Task timed out after 0.20 seconds"}`,
			[]string{"Phase: init\tStatus: timeout", "Phase: invoke\tStatus: timeout"},
		},
		{
			"it is no program", "",
			Options{Path: garbage},
			`{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: ID Error: fork/exec ` + garbage + `: exec format error"}`,
			[]string{"Phase: init\tStatus: error\tError Type: Runtime.InvalidEntrypoint", "Phase: invoke\tStatus: error\tError Type: Runtime.InvalidEntrypoint"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &syncBuffer{}
			c.options.Log, c.options.initLimit = log, 300*time.Millisecond
			c.options.Env = map[string]string{"HOW": c.how}
			f := open(t, c.options)
			for range 2 { // nothing of the first is left
				log.Reset()
				result := invoked(t, f, request(""))
				if got, want := string(result.Payload), strings.Replace(c.payload, "ID", result.RequestID, 1); got != want || result.FunctionError != "Unhandled" {
					t.Errorf("the result is %s %s, want %s", result.FunctionError, got, want)
				}
				var reports []string
				for line := range strings.Lines(log.String()) {
					if rest, ok := strings.CutPrefix(line, "INIT_REPORT Init Duration: "); ok {
						_, rest, _ = strings.Cut(strings.TrimSpace(rest), "\t")
						reports = append(reports, rest)
					}
				}
				if !slices.Equal(reports, c.reports) {
					t.Errorf("the log is\n%s", log)
				}
				if f.places() != 0 {
					t.Errorf("%d processes are left", f.places())
				}
			}
		})
	}
}

func TestAnInitializationThatSucceedsTheSecondTime(t *testing.T) {
	log := &syncBuffer{}
	f := open(t, Options{
		Log: log, initLimit: 300 * time.Millisecond, Timeout: 30 * time.Second,
		Env: map[string]string{"HOW": "init slow once", "FILE": filepath.Join(t.TempDir(), "once")},
	})
	if result := invoked(t, f, request("")); result.FunctionError != "" {
		t.Errorf("the result is %s", result.Payload)
	}
	if !strings.Contains(log.String(), "INIT_REPORT") || strings.Contains(log.String(), "Phase: invoke") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestTheProtocol(t *testing.T) {
	f := open(t, Options{Env: map[string]string{"HOW": "protocol"}})
	if result := invoked(t, f, request("")); string(result.Payload) != "1" {
		t.Errorf("the first response is %s", result.Payload)
	}
	result := invoked(t, f, request(""))
	var got map[string]int
	if err := json.Unmarshal(result.Payload, &got); err != nil {
		t.Fatalf("%s: %v", result.Payload, err)
	}
	want := map[string]int{
		"wrong id": 400, "error for a wrong id": 400, "unknown path": 404, "extensions": 404, "get of a response": 404,
		"init error when up": 403, "response": 202, "second response": 403, "error after it": 403, "old id": 400,
	}
	if !maps.Equal(got, want) {
		t.Errorf("the status codes are %v, want %v", got, want)
	}
}

func TestTheNextInvocationNeedsAnAnswerToTheLast(t *testing.T) {
	f := open(t, Options{Env: map[string]string{"HOW": "no answer"}})
	if result := invoked(t, f, request("")); string(result.Payload) != "403" {
		t.Errorf("the response is %s", result.Payload)
	}
}

func TestTheLog(t *testing.T) {
	log := &syncBuffer{}
	f := open(t, Options{Log: log, MemoryMB: 512})
	first := invoked(t, f, request("say", "File", "hello"))
	second := invoked(t, f, request(""))
	waitFor(t, func() bool { return strings.Contains(log.String(), "it says hello\n") })
	memory := `Memory Size: 512 MB\tMax Memory Used: \d+ MB\t`
	for _, want := range []string{
		`(?m)^START RequestId: ` + first.RequestID + ` Version: \$LATEST$`,
		`(?m)^END RequestId: ` + first.RequestID + `\nREPORT RequestId: ` + first.RequestID + `\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\t` + memory + `Init Duration: \d+\.\d\d ms\t$`,
		`(?m)^END RequestId: ` + second.RequestID + `\nREPORT RequestId: ` + second.RequestID + `\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\t` + memory + `$`,
	} {
		if !regexp.MustCompile(want).MatchString(log.String()) {
			t.Errorf("%s isn't in the log:\n%s", want, log)
		}
	}
}

func TestTheJSONLog(t *testing.T) {
	log := &syncBuffer{}
	f := open(t, Options{Log: log, JSONLog: true, Timeout: 500 * time.Millisecond})
	answer := answerOf(t, invoked(t, f, request("")))
	if !slices.Contains(answer.Env, "AWS_LAMBDA_LOG_FORMAT=JSON") {
		t.Error("the function isn't told of the JSON log")
	}
	invoked(t, f, request("error"))
	invoked(t, f, request("sleep", "MS", 60_000))
	var kinds []string
	for line := range strings.Lines(log.String()) {
		if !strings.HasPrefix(line, `{"time":`) {
			continue // of aws-lambda-go
		}
		var event struct {
			Time   time.Time
			Type   string
			Record struct {
				Status, ErrorType string
				Metrics           struct{ DurationMS, MemorySizeMB float64 }
			}
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		kinds = append(kinds, strings.TrimSpace(event.Type+" "+event.Record.Status+" "+event.Record.ErrorType))
		if event.Type == "platform.report" && (event.Record.Metrics.MemorySizeMB != 128 || event.Record.Metrics.DurationMS <= 0) {
			t.Errorf("the report is %s", line)
		}
	}
	want := []string{"platform.start", "platform.report success", "platform.start", "platform.report error", "platform.start", "platform.report timeout Sandbox.Timedout"}
	if !slices.Equal(kinds, want) {
		t.Errorf("the log is %q, want %q", kinds, want)
	}
}

func TestMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory of processes is known on Linux only")
	}
	log := &syncBuffer{}
	f := open(t, Options{Log: log, Timeout: 20 * time.Second})
	invoked(t, f, request("memory", "Size", 60<<20))
	used := regexp.MustCompile(`Max Memory Used: (\d+) MB`).FindStringSubmatch(log.String())
	if mb, _ := strconv.Atoi(used[1]); mb < 60 || mb > 128 {
		t.Errorf("Max Memory Used is %s MB for 60 MB and a little", used[1])
	}
	for name, c := range map[string]struct {
		interval time.Duration
		do       []byte
	}{
		"over the limit for long":          {0, request("memory", "Size", 200<<20, "MS", 60_000)},
		"over the limit between two looks": {time.Hour, request("memory", "Size", 140<<20)},
	} {
		log.Reset()
		f := open(t, Options{Log: log, Timeout: 20 * time.Second, memoryInterval: c.interval})
		before := answerOf(t, invoked(t, f, request("")))
		result := invoked(t, f, c.do)
		want := `{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: ` + result.RequestID + ` Error: Runtime exited with error: signal: killed"}`
		if string(result.Payload) != want || result.FunctionError != "Unhandled" {
			t.Errorf("%s: the result is %s %s", name, result.FunctionError, result.Payload)
		}
		if !strings.HasSuffix(log.String(), "\tStatus: error\tError Type: Runtime.OutOfMemory\n") {
			t.Errorf("%s: the log is\n%s", name, log)
		}
		if after := answerOf(t, invoked(t, f, request(""))); after.PID == before.PID {
			t.Errorf("%s: process %d is still there", name, after.PID)
		}
	}
}

func TestTheFunctionRunsOnWhenNobodyWaits(t *testing.T) {
	f := open(t, Options{Concurrency: 1, Timeout: time.Minute})
	before := answerOf(t, invoked(t, f, request("")))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	payload := request("sleep", "MS", 500)
	if _, err := f.Invoke(ctx, payload); err == nil || err.Error() != "enough" {
		t.Errorf("Invoke answers %v, want the context's cause", err)
	}
	clear(payload) // it isn't used any more
	if _, err := f.Invoke(t.Context(), request("")); !errors.Is(err, invoke.ErrThrottled) {
		t.Errorf("the process isn't busy: %v", err)
	}
	var after invoke.Result
	waitFor(t, func() bool {
		var err error
		after, err = f.Invoke(t.Context(), request(""))
		return err == nil
	})
	if answerOf(t, after).PID != before.PID {
		t.Error("it didn't run on")
	}
	if _, err := f.Invoke(ctx, nil); err == nil || err.Error() != "enough" {
		t.Errorf("with a context that has ended, Invoke answers %v", err)
	}
}

func TestAPayloadIsNotUsedAfterInvoke(t *testing.T) {
	f := open(t, Options{Concurrency: 1, Timeout: time.Minute, Env: map[string]string{"HOW": "slow reader"}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	payload := bytes.Repeat([]byte("x"), MaxRequest)
	if _, err := f.Invoke(ctx, payload); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Invoke answers %v", err)
	}
	clear(payload)
	waitFor(t, func() bool {
		result, err := f.Invoke(t.Context(), request(""))
		if err == nil && string(result.Payload) != strconv.Itoa(MaxRequest) {
			t.Errorf("the function got %s of %d bytes", result.Payload, MaxRequest)
		}
		return err == nil
	})
}

func TestAProcessThatDiesWhileItIsIdleIsReplaced(t *testing.T) {
	f := open(t, Options{Concurrency: 1})
	pid := answerOf(t, invoked(t, f, request(""))).PID
	dead := f.idle[0]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return f.places() == 0 })
	// It may also be found dead only when it is needed.
	f.idle, f.count = append(f.idle, dead), 1
	if again := answerOf(t, invoked(t, f, request(""))); again.PID == pid || f.places() != 1 {
		t.Errorf("process %d answers after the end of process %d, there are %d", again.PID, pid, f.places())
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	f := open(t, Options{Timeout: time.Minute})
	file := filepath.Join(t.TempDir(), "pids")
	idle := answerOf(t, invoked(t, f, request(""))).PID
	done := make(chan error)
	go func() {
		_, err := f.Invoke(context.Background(), request("stubborn", "File", file, "MS", 60_000))
		done <- err
	}()
	pids := append(readPIDs(t, file), idle)
	begin := time.Now()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
	for _, pid := range pids {
		waitFor(t, func() bool { return !running(pid) })
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("the invocation under way answers %v", err)
	}
	if _, err := f.Invoke(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed function answers %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnInvocationThatIsJustOverWhenAllIsClosed(t *testing.T) {
	f := open(t, Options{})
	pid := answerOf(t, invoked(t, f, request(""))).PID
	i, err := f.acquire()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		_ = f.Close()
		close(closed)
	}()
	<-f.closing
	f.release(i)
	f.running.Done()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close doesn't return")
	}
	if running(pid) {
		t.Errorf("process %d is still there", pid)
	}
}

func TestATimeoutEndsDescendantsToo(t *testing.T) {
	f := open(t, Options{Timeout: 2 * time.Second})
	file := filepath.Join(t.TempDir(), "pids")
	if result := invoked(t, f, request("stubborn", "File", file, "MS", 60_000)); !strings.Contains(string(result.Payload), "Sandbox.Timedout") {
		t.Errorf("the result is %s", result.Payload)
	}
	for _, pid := range readPIDs(t, file) {
		waitFor(t, func() bool { return !running(pid) })
	}
}

func TestNothingSurvivesTheKillOfItsParent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RUNTIMEAPI_TEST_PARENT="+file, "RUNTIMEAPI_TEST_BOOTSTRAP="+bootstrap)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := readPIDs(t, file)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range pids {
		waitFor(t, func() bool { return !running(pid) })
	}
}

func TestManyAtOnce(t *testing.T) {
	f := open(t, Options{Concurrency: 3, Log: &syncBuffer{}, Timeout: 30 * time.Second})
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for n := range 30 {
				do := request("")
				if n%10 == 9 {
					do = request("exit", "MS", 1)
				}
				result, err := f.Invoke(t.Context(), do)
				if errors.Is(err, invoke.ErrThrottled) {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n%10 != 9 && answerOf(t, result).ID != result.RequestID {
					t.Error("the answer to another request")
				}
			}
		})
	}
	all.Wait()
	if n := f.places(); n > 3 {
		t.Errorf("%d processes, want at most 3", n)
	}
}

func TestWrongOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		options Options
		says    []string
	}{
		{"no path", Options{}, []string{"Path is missing"}},
		{"no file", Options{Path: "/no/such/file"}, []string{"no such file"}},
		{"not executable", Options{Path: file}, []string{"no executable file"}},
		{"a folder", Options{Path: filepath.Dir(file)}, []string{"no executable file"}},
		{"little memory", Options{Path: bootstrap, MemoryMB: 64}, []string{"MemoryMB is 64"}},
		{"much memory", Options{Path: bootstrap, MemoryMB: 10241}, []string{"MemoryMB is 10241"}},
		{"a long timeout", Options{Path: bootstrap, Timeout: time.Hour}, []string{"Timeout is 1h"}},
		{"a negative timeout", Options{Path: bootstrap, Timeout: -1}, []string{"Timeout is -1ns"}},
		{"no processes", Options{Path: bootstrap, Concurrency: -1}, []string{"Concurrency is -1"}},
		{"Lambda's variables", Options{Path: bootstrap, Env: map[string]string{"TZ": "x", "_HANDLER": "y"}}, []string{"TZ is set by Lambda", "_HANDLER is set by Lambda"}},
		{"odd variables", Options{Path: bootstrap, Env: map[string]string{"A=B": "x"}}, []string{`"A=B" can't be set`}},
		{"all at once", Options{MemoryMB: 1, Timeout: -1}, []string{"Path", "MemoryMB", "Timeout"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := New(c.options)
			if err == nil || f != nil {
				t.Fatal("it is taken")
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q doesn't say %q", err, says)
				}
			}
		})
	}
}

// FuzzAPI sends requests that no runtime would.
func FuzzAPI(f *testing.F) {
	f.Add("GET", "/2018-06-01/runtime/invocation/next/x", "")
	f.Add("POST", "/2018-06-01/runtime/invocation//response", "{}")
	f.Add("POST", "/2018-06-01/runtime/invocation/current/error", "")
	f.Add("POST", "/2018-06-01/runtime/invocation/current/response", "1")
	f.Add("POST", "/2018-06-01/runtime/init/error", "null")
	f.Add("PUT", "//", "\x00")
	f.Fuzz(func(t *testing.T, method, path, body string) {
		for _, busy := range []bool{false, true} {
			i := &instance{options: &Options{}, next: make(chan *invocation), asked: make(chan struct{}, 1), broke: make(chan *failure, 1)}
			inv := newInvocation(nil)
			inv.id = "current"
			if busy {
				i.up, i.current = true, inv
			}
			request, err := http.NewRequest(method, "http://127.0.0.1", strings.NewReader(body))
			if err != nil {
				t.Skip()
			}
			request.URL.Path = path
			request.Header = http.Header{}
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // next doesn't wait
			w := httptest.NewRecorder()
			i.ServeHTTP(w, request.WithContext(ctx))
			switch {
			case method == "GET" && path == "/2018-06-01/runtime/invocation/next":
			case busy && method == "POST" && (path == "/2018-06-01/runtime/invocation/current/response" || path == "/2018-06-01/runtime/invocation/current/error"):
				if payload, _, ok := inv.answer(); !ok || w.Code != http.StatusAccepted || len(body) > 0 && string(payload) != body {
					t.Errorf("an answer gets %d", w.Code)
				}
			case method == "POST" && path == "/2018-06-01/runtime/init/error":
				if want := map[bool]int{true: http.StatusForbidden, false: http.StatusAccepted}[busy]; w.Code != want {
					t.Errorf("init/error gets %d, want %d", w.Code, want)
				}
			default:
				if _, _, ok := inv.answer(); ok || w.Code != http.StatusNotFound && w.Code != http.StatusBadRequest {
					t.Errorf("%s %s gets %d", method, path, w.Code)
				}
			}
		}
	})
}

// BenchmarkRecords puts batches of 1,000 Kinesis records of 100 B through a real
// process: "decoded" with a handler of aws-lambda-go as users write them, "raw"
// with one that doesn't decode its event.
func BenchmarkRecords(b *testing.B) {
	batch := kinesisBatch(1000, 100)
	for _, c := range []struct {
		name, how string
		processes int
	}{{"decoded", "kinesis", 1}, {"decoded in 2 processes", "kinesis", 2}, {"raw", "raw", 1}} {
		b.Run(c.name, func(b *testing.B) {
			f, err := New(Options{Path: bootstrap, Env: map[string]string{"HOW": c.how}, Timeout: time.Minute, Concurrency: c.processes})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			work := make(chan struct{})
			var all sync.WaitGroup
			for range c.processes {
				all.Go(func() {
					for range work {
						if result, err := f.Invoke(b.Context(), batch); err != nil || result.FunctionError != "" {
							b.Errorf("%v %s", err, result.Payload)
						}
					}
				})
			}
			for range c.processes * 3 {
				work <- struct{}{} // the processes start
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(batch)))
			b.ResetTimer()
			own, theirs := cpuTimes(f)
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
			b.StopTimer()
			own2, theirs2 := cpuTimes(f)
			// What doesn't depend on how busy the machine is.
			b.ReportMetric(float64((own2-own).Microseconds())/float64(b.N), "own-cpu-µs/op")
			b.ReportMetric(float64((theirs2-theirs).Microseconds())/float64(b.N), "function-cpu-µs/op")
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// cpuTimes are the processor time of this process and, on Linux, of f's idle ones.
func cpuTimes(f *Function) (own, theirs time.Duration) {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.idle {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", i.group.PID()))
		if fields := strings.Fields(string(stat)); len(fields) > 14 {
			user, _ := strconv.Atoi(fields[13])
			system, _ := strconv.Atoi(fields[14])
			theirs += time.Duration(user+system) * 10 * time.Millisecond // clock ticks
		}
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), theirs
}

// BenchmarkInvoke is a small payload to a process that is up.
func BenchmarkInvoke(b *testing.B) {
	f, err := New(Options{Path: bootstrap, Env: map[string]string{"HOW": "raw"}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Invoke(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkColdStart is a process's start, first invocation and end.
func BenchmarkColdStart(b *testing.B) {
	for b.Loop() {
		f, err := New(Options{Path: bootstrap})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Invoke(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

func kinesisBatch(records, size int) []byte {
	data := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), size))
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i := range records {
		if i > 0 {
			b.WriteByte(',')
		}
		number := fmt.Sprintf("495903382714902566085596925383615710959215759891365%05d", i)
		fmt.Fprintf(&b, `{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"racer-%04d","sequenceNumber":"%s","data":"%s","approximateArrivalTimestamp":1545084650.987},`+
			`"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000006:%s","eventName":"aws:kinesis:record",`+
			`"invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role","awsRegion":"us-east-2","eventSourceARN":"arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"}`,
			i, number, data, number)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

type answer struct {
	PID                 int
	Env                 []string
	Dir, ID, ARN, Trace string
	Left                int
}

func answerOf(t *testing.T, result invoke.Result) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(result.Payload, &a); err != nil || result.FunctionError != "" {
		t.Fatalf("the result is %s %s", result.FunctionError, result.Payload)
	}
	return a
}

// request is a payload for the function in testdata.
func request(do string, more ...any) []byte {
	fields := map[string]any{"Do": do}
	for i := 0; i < len(more); i += 2 {
		fields[more[i].(string)] = more[i+1]
	}
	payload, _ := json.Marshal(fields)
	return payload
}

func open(t *testing.T, options Options) *Function {
	t.Helper()
	if options.Path == "" {
		options.Path = bootstrap
	}
	f, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func invoked(t *testing.T, f *Function, payload []byte) invoke.Result {
	t.Helper()
	result, err := f.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (f *Function) places() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it doesn't happen")
}

func readPIDs(t *testing.T, file string) (pids []int) {
	t.Helper()
	var data []byte
	waitFor(t, func() bool {
		var err error
		data, err = os.ReadFile(file)
		return err == nil
	})
	for _, field := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// running reports whether the process exists and isn't a mere zombie.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Reset()
}
