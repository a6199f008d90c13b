package attach

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/local/attach/guard"
	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/proc"
	"github.com/millrace/millrace/local/runtimeapi"
)

// processes is how many processes of the function run at most, each with one
// invocation. Further batches wait.
const processes = 10

// stopGrace is how long go build has to end before it is killed.
const stopGrace = 2 * time.Second

// build compiles a package for this machine, to dir/bootstrap. Paths in stack traces
// and symbols stay, for debuggers.
func build(ctx context.Context, in, pkg, dir string) error {
	output, err := os.Create(filepath.Join(dir, "build.log"))
	if err != nil {
		return err
	}
	defer output.Close()
	program := filepath.Join(dir, "bootstrap")
	cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", program, pkg)
	cmd.Dir = in
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as on Lambda
	cmd.Stdout, cmd.Stderr = output, output
	err = proc.Run(ctx, cmd, stopGrace)
	if err == nil {
		if info, err := os.Stat(program); err != nil || info.Mode()&0o111 == 0 { // go build compiles any package
			return fmt.Errorf("%s is no program: name the directory of the function's main package", pkg)
		}
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no go in PATH: install it from https://go.dev/dl")
	}
	text, readErr := os.ReadFile(output.Name())
	if readErr != nil || len(bytes.TrimSpace(text)) == 0 {
		return fmt.Errorf("go build %s: %w", pkg, err)
	}
	return fmt.Errorf("go build %s failed:\n%s", pkg, bytes.TrimSpace(text))
}

// deployed takes over what a deployed function has and o doesn't set.
func (o *Options) deployed(ctx context.Context) error {
	out, err := lambda.NewFromConfig(o.Config).GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(o.EnvFrom)})
	if err != nil {
		return fmt.Errorf("the configuration of function %s: %w", o.EnvFrom, err)
	}
	o.name, o.arn = aws.ToString(out.FunctionName), aws.ToString(out.FunctionArn)
	o.Timeout = cmp.Or(o.Timeout, time.Duration(aws.ToInt32(out.Timeout))*time.Second)
	o.Memory = cmp.Or(o.Memory, int(aws.ToInt32(out.MemorySize)))
	if out.Environment == nil {
		return nil
	}
	if failed := out.Environment.Error; failed != nil {
		return fmt.Errorf("the environment of function %s can't be had: %s: %s: allow these credentials kms:Decrypt on its key, or name the variables one by one",
			o.EnvFrom, aws.ToString(failed.ErrorCode), aws.ToString(failed.Message))
	}
	env := maps.Clone(out.Environment.Variables)
	maps.DeleteFunc(env, func(name, _ string) bool {
		if guard.Owns(name) {
			o.leftOut = append(o.leftOut, name)
			return true
		}
		return false
	})
	slices.Sort(o.leftOut)
	maps.Copy(env, o.Env)
	o.Env = env
	return nil
}

// identify names the function and sets what neither o nor a deployed one has.
func (o *Options) identify() error {
	dir, err := filepath.Abs(filepath.Join(o.Dir, o.Package))
	if err != nil {
		return err
	}
	o.name = cmp.Or(o.name, filepath.Base(dir))
	of := strings.Split(o.Stream, ":")
	o.arn = cmp.Or(o.arn, strings.Join([]string{"arn", of[1], "lambda", of[3], of[4], "function", o.name}, ":"))
	defaults := spec.Function{}.WithDefaults()
	o.Timeout, o.Memory = cmp.Or(o.Timeout, defaults.Timeout), cmp.Or(o.Memory, defaults.Memory)
	return nil
}

// worker is a process of the function, with a name of its own at the guard: so what
// is refused is known to be of its one invocation.
type worker struct {
	*runtimeapi.Function
	caller *guard.Caller
}

// function is the function with its processes.
type function struct {
	guard   *guard.Guard
	options runtimeapi.Options
	report  *report
	writes  bool // are allowed

	places chan struct{}
	mu     sync.Mutex
	idle   []worker
	all    []worker
}

var _ esm.Function = (*function)(nil)

// newFunction is the executable as a function. It names all that is wrong with o.
func newFunction(o *Options, executable string, g *guard.Guard, r *report) (*function, error) {
	log := o.Log
	if log == nil {
		log = io.Discard
	}
	f := &function{
		guard: g, report: r, writes: o.AllowWrites, places: make(chan struct{}, processes),
		options: runtimeapi.Options{
			Path: executable, Env: o.Env, MemoryMB: o.Memory, Timeout: o.Timeout, Concurrency: 1,
			FunctionName: o.name, ARN: o.arn, Region: o.Config.Region, Log: &whole{to: log},
		},
	}
	w, err := f.start()
	if err != nil {
		return nil, err
	}
	f.idle = append(f.idle, w)
	return f, nil
}

// start is a further worker. Its process starts when it is first invoked.
func (f *function) start() (worker, error) {
	w := worker{caller: f.guard.Admit()}
	options := f.options
	options.Env = maps.Clone(options.Env)
	if options.Env == nil {
		options.Env = map[string]string{}
	}
	maps.Copy(options.Env, w.caller.Environment())
	var err error
	if w.Function, err = runtimeapi.New(options); err == nil {
		f.all = append(f.all, w)
	}
	return w, err
}

func (f *function) acquire(ctx context.Context) (worker, error) {
	select {
	case f.places <- struct{}{}:
	case <-ctx.Done():
		return worker{}, context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := len(f.idle) - 1; last >= 0 {
		w := f.idle[last]
		f.idle = f.idle[:last]
		return w, nil
	}
	return f.start()
}

func (f *function) release(w worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, w)
	<-f.places
}

// Close ends all processes.
func (f *function) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var stopping sync.WaitGroup
	for _, w := range f.all {
		stopping.Go(func() { _ = w.Close() }) // it has no error
	}
	stopping.Wait()
	return nil
}

// Invoke runs the function and shows what came of it. To the mapping, a batch that
// failed with writes refused is done: it can't do better, however often it is tried.
func (f *function) Invoke(ctx context.Context, batch *esm.Batch) esm.Outcome {
	w, err := f.acquire(ctx)
	if err != nil {
		return esm.Outcome{Err: err}
	}
	defer f.release(w)
	begin := time.Now()
	result, err := w.Invoke(ctx, batch.Payload())
	if err != nil {
		return esm.Outcome{Err: err}
	}
	i := invocation{batch: batch, took: time.Since(begin), at: begin, refused: w.caller.Refused()}
	i.outcome = esm.Outcome{
		FunctionError: result.FunctionError, Payload: result.Payload, ExecutedVersion: result.ExecutedVersion, RequestID: result.RequestID,
	}
	i.from, i.failed = batch.Failed(i.outcome)
	f.report.invoked(&i)
	if i.inVain() {
		return esm.Outcome{ExecutedVersion: result.ExecutedVersion, RequestID: result.RequestID}
	}
	return i.outcome
}

// whole keeps the lines of several writers apart.
type whole struct {
	mu sync.Mutex
	to io.Writer
}

func (w *whole) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(line)
}
