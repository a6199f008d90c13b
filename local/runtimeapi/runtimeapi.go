// Package runtimeapi runs a built function, the bootstrap that is deployed to
// Lambda, as real processes behind the Lambda Runtime API (2018-06-01), with
// Lambda's rules: warm processes are used again, initialization, timeout, memory,
// payload sizes and concurrency are limited, and failures look like Lambda's.
//
// What differs from Lambda: processes aren't frozen between invocations, nor
// confined (they see the machine's files and network), and extensions aren't
// run. The clock is the real one.
package runtimeapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/local/invoke"
)

// Lambda's limits, in bytes.
const (
	MaxRequest  = 6 << 20
	MaxResponse = 6<<20 + 100
)

// initLimit is how long a function may take until it asks for its first
// invocation. If it takes longer, Lambda starts it once more, with the function's
// timeout as the limit.
const initLimit = 10 * time.Second

// memoryInterval is how often the memory of a busy process is looked at.
const memoryInterval = 20 * time.Millisecond

// closeGrace is how long processes have to end after SIGTERM.
const closeGrace = 500 * time.Millisecond

var (
	// ErrClosed is the answer to invocations of a function that was closed.
	ErrClosed = errors.New("runtimeapi: the function was closed")
	// ErrRequestTooLarge is the answer to payloads over MaxRequest, Lambda's
	// RequestTooLargeException.
	ErrRequestTooLarge = fmt.Errorf("request must be smaller than %d bytes for the InvokeFunction operation", MaxRequest)
)

// Options say which function to run, and how.
type Options struct {
	// Path is the executable. Required. It runs in its own folder.
	Path string
	// Env is what the function finds in its environment beside Lambda's own
	// variables: its configuration, credentials, AWS_ENDPOINT_URL. Of this
	// process's environment it gets PATH alone.
	Env map[string]string
	// MemoryMB is the memory limit, 128 to 10,240; default 128. It is compared
	// with the resident memory of the process every 20 ms and its peak after every
	// invocation; only on Linux.
	MemoryMB int
	// Timeout limits an invocation, up to 900 s; default 3 s.
	Timeout time.Duration
	// Concurrency is how many processes run at most, each with one invocation at a
	// time; default 10. Invocations beyond that are throttled.
	Concurrency int
	// FunctionName is the name in logs and environment; default "function".
	FunctionName string
	// ARN is default arn:aws:lambda:<region>:000000000000:function:<name>.
	ARN string
	// Region is default us-east-1.
	Region string
	// Handler is handed to the function as _HANDLER; default "bootstrap".
	Handler string
	// Log gets what the function writes and Lambda's START, END and REPORT lines.
	// It is never written to by two at a time. What the function writes may come a
	// little later than its REPORT. Nil discards all.
	Log io.Writer
	// JSONLog makes Lambda's own lines JSON, as its JSON log format does.
	JSONLog bool

	// For tests.
	initLimit      time.Duration
	memoryInterval time.Duration
}

// reserved are the variables that are this package's to set.
var reserved = []string{
	"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
	"AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
	"AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_MAX_CONCURRENCY",
	"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "TZ",
}

const version = "$LATEST"

func (o *Options) resolve() error {
	var problems []error
	failf := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("runtimeapi: "+format, args...))
	}
	if o.Path == "" {
		failf("Path is missing: the executable to run")
	} else if info, err := os.Stat(o.Path); err != nil {
		failf("Path: %w", err)
	} else if info.IsDir() || info.Mode()&0o111 == 0 {
		failf("Path: %s is no executable file", o.Path)
	} else if o.Path, err = filepath.Abs(o.Path); err != nil {
		failf("Path: %w", err)
	}
	defaults(&o.MemoryMB, 128)
	if o.MemoryMB < 128 || o.MemoryMB > 10240 {
		failf("MemoryMB is %d: Lambda has 128 to 10240", o.MemoryMB)
	}
	defaults(&o.Timeout, 3*time.Second)
	if o.Timeout < 0 || o.Timeout > 900*time.Second {
		failf("Timeout is %v: Lambda has up to 15 minutes", o.Timeout)
	}
	defaults(&o.Concurrency, 10)
	if o.Concurrency < 0 {
		failf("Concurrency is %d: at least one process is needed", o.Concurrency)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Env)) {
		if slices.Contains(reserved, name) {
			failf("Env: %s is set by Lambda itself", name)
		}
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(o.Env[name], "\x00") {
			failf("Env: %q can't be set", name)
		}
	}
	defaults(&o.FunctionName, "function")
	defaults(&o.Region, "us-east-1")
	defaults(&o.ARN, "arn:aws:lambda:"+o.Region+":000000000000:function:"+o.FunctionName)
	defaults(&o.Handler, "bootstrap")
	defaults(&o.initLimit, initLimit)
	defaults(&o.memoryInterval, memoryInterval)
	return errors.Join(problems...)
}

func defaults[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// environment is that of a process which talks to the API at the address.
func (o *Options) environment(api string) []string {
	env := map[string]string{
		"PATH":                            os.Getenv("PATH"),
		"LANG":                            "en_US.UTF-8",
		"TZ":                              ":UTC",
		"_HANDLER":                        o.Handler,
		"AWS_REGION":                      o.Region,
		"AWS_DEFAULT_REGION":              o.Region,
		"AWS_LAMBDA_FUNCTION_NAME":        o.FunctionName,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(o.MemoryMB),
		"AWS_LAMBDA_FUNCTION_VERSION":     version,
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + o.FunctionName,
		"AWS_LAMBDA_LOG_STREAM_NAME":      time.Now().UTC().Format("2006/01/02/") + "[" + version + "]" + random(16),
		"AWS_LAMBDA_LOG_FORMAT":           "Text",
		"AWS_LAMBDA_RUNTIME_API":          api,
		"LAMBDA_TASK_ROOT":                filepath.Dir(o.Path),
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
	}
	if o.JSONLog {
		env["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
	}
	maps.Copy(env, o.Env)
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

// Function is a function with its processes. It may be used concurrently.
type Function struct {
	options Options
	log     *logger

	mu     sync.Mutex
	idle   []*instance // the last one used is used next
	count  int         // processes, and places taken for one
	closed bool

	closing chan struct{}
	running sync.WaitGroup // invocations and watchers of processes
}

var _ invoke.Invoker = (*Function)(nil)

// New prepares a function. Processes start when they are needed. The error names
// everything that is wrong with the options.
func New(options Options) (*Function, error) {
	options.Env = maps.Clone(options.Env)
	if err := options.resolve(); err != nil {
		return nil, err
	}
	return &Function{
		options: options,
		log:     &logger{to: options.Log, json: options.JSONLog, memory: options.MemoryMB},
		closing: make(chan struct{}),
	}, nil
}

// Invoke runs the function once, in a process that waits for work or in a new
// one. Errors: invoke.ErrThrottled if Concurrency is used up, ErrRequestTooLarge,
// ErrClosed, or the context's cause. As on Lambda, the function runs on if the
// context ends before it. The payload isn't used after Invoke has returned.
func (f *Function) Invoke(ctx context.Context, payload []byte) (invoke.Result, error) {
	if err := context.Cause(ctx); err != nil {
		return invoke.Result{}, err
	}
	if len(payload) > MaxRequest {
		return invoke.Result{}, ErrRequestTooLarge
	}
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	i, err := f.acquire()
	if err != nil {
		return invoke.Result{}, err
	}
	inv := newInvocation(payload)
	var result invoke.Result
	done := make(chan struct{})
	go func() {
		defer f.running.Done()
		defer close(done)
		result, err = f.run(i, inv)
	}()
	select {
	case <-done:
		return result, err
	case <-ctx.Done():
		inv.abandon()
		return invoke.Result{}, context.Cause(ctx)
	}
}

// Close ends all processes, gently at first, and returns when none is left.
// Invocations under way answer ErrClosed.
func (f *Function) Close() error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.closing)
	}
	idle := f.idle
	f.idle = nil
	f.mu.Unlock()
	var stopping sync.WaitGroup
	for _, i := range idle {
		stopping.Go(func() { i.stop(closeGrace) })
	}
	stopping.Wait()
	f.running.Wait()
	return nil
}

// acquire returns a process that is free, or nil with a place for a new one. It
// counts the invocation as running.
func (f *Function) acquire() (*instance, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var i *instance
	switch last := len(f.idle) - 1; {
	case f.closed:
		return nil, ErrClosed
	case last >= 0:
		i, f.idle = f.idle[last], f.idle[:last]
	case f.count >= f.options.Concurrency:
		return nil, invoke.ErrThrottled
	default:
		f.count++
	}
	f.running.Add(1)
	return i, nil
}

// release gives the process back, or its place if it is nil.
func (f *Function) release(i *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case i == nil:
		f.count--
	case f.closed:
		// Close waits for the invocation that is ending here.
		f.running.Go(func() { i.stop(closeGrace) })
	default:
		f.idle = append(f.idle, i)
	}
}

// forget removes a process that has ended while it was idle.
func (f *Function) forget(i *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := slices.Index(f.idle, i); at >= 0 {
		f.idle = slices.Delete(f.idle, at, at+1)
		f.count--
	}
}

// run makes one invocation, in the process if it isn't nil.
func (f *Function) run(i *instance, inv *invocation) (invoke.Result, error) {
	r := report{id: inv.id, version: version}
	defer func() {
		inv.abandon() // returns at once, or when a killed process's connection is closed
		f.release(i)
	}()
	for {
		left := f.options.Timeout
		if i == nil {
			started, failed, err := f.boot(inv, &r)
			if err != nil {
				return invoke.Result{}, err
			}
			if failed != nil {
				f.log.end(&r)
				return f.result(inv, failed), nil
			}
			i = started
			left -= r.duration
		}
		over, err := i.invoke(inv, left, f.log, &r)
		switch {
		case errors.Is(err, errGone):
			// It ended while nobody looked: that is no failure of this invocation.
			i = nil
			continue
		case err != nil:
			i.stop(closeGrace)
			i = nil
			return invoke.Result{}, err
		case over:
			i = nil
		}
		result := f.result(inv, r.failure)
		r.functionError = result.FunctionError != ""
		f.log.end(&r)
		return result, nil
	}
}

// result is what the function has answered, or else how it failed.
func (f *Function) result(inv *invocation, failed *failure) invoke.Result {
	result := invoke.Result{ExecutedVersion: version, RequestID: inv.id}
	payload, functionError, answered := inv.answer()
	if answered || failed == nil {
		result.Payload, result.FunctionError = payload, functionError
		return result
	}
	result.FunctionError = "Unhandled"
	if result.Payload = failed.Payload; result.Payload == nil {
		result.Payload, _ = json.Marshal(failed)
	}
	return result
}

// boot starts a process and waits until it asks for work. If that fails, Lambda
// tries once more, as part of the invocation.
func (f *Function) boot(inv *invocation, r *report) (*instance, *failure, error) {
	limit := f.options.initLimit
	for _, phase := range []string{"init", "invoke"} {
		begin := time.Now()
		i, failed, err := f.start(inv, limit)
		if err != nil {
			return nil, nil, err
		}
		took := time.Since(begin)
		if failed == nil {
			if phase == "init" {
				r.init = took
			} else {
				r.duration = took
			}
			return i, nil, nil
		}
		f.log.initReport(phase, took, failed)
		limit = f.options.Timeout
		if phase == "invoke" {
			f.log.start(r)
			r.duration, r.failure = took, failed
			if failed.Type == timedOut {
				r.duration = limit
			}
			return nil, failed, nil
		}
	}
	panic("unreachable")
}

// failure is how an invocation ended that the function didn't answer.
type failure struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
	// Payload is what the function said itself, with /init/error.
	Payload json.RawMessage `json:"-"`
}

const (
	timedOut    = "Sandbox.Timedout"
	exited      = "Runtime.ExitError"
	outOfMemory = "Runtime.OutOfMemory"
	noEntry     = "Runtime.InvalidEntrypoint"
	tooLarge    = "Function.ResponseSizeTooLarge"
)

func fail(inv *invocation, kind, format string, args ...any) *failure {
	return &failure{Type: kind, Message: "RequestId: " + inv.id + " Error: " + fmt.Sprintf(format, args...)}
}

// exit describes a process that has ended by itself.
func exit(inv *invocation, err error) *failure {
	if err == nil {
		return fail(inv, exited, "Runtime exited without providing a reason")
	}
	return fail(inv, exited, "Runtime exited with error: %v", err)
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func newID() string {
	h := []byte(random(16))
	h[12] = '4'
	h[16] = "89ab"[h[16]&3]
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}
