package attach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/memory"
)

// account answers for AWS, and remembers what it was asked.
type account struct {
	*httptest.Server
	function string // GetFunctionConfiguration's answer

	mu    sync.Mutex
	asked []string
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		operation := r.Method + " " + r.URL.Path
		if target := r.Header.Get("X-Amz-Target"); target != "" {
			operation = target[strings.Index(target, ".")+1:] + " " + string(body)
		}
		a.mu.Lock()
		a.asked = append(a.asked, operation)
		a.mu.Unlock()
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIDREAL/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/configuration") {
			io.WriteString(w, a.function)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.Header().Set("X-Amz-Crc32", fmt.Sprint(crc32.ChecksumIEEE([]byte("{}"))))
		io.WriteString(w, "{}")
	}))
	t.Cleanup(a.Close)
	return a
}

// took counts the calls of an operation.
func (a *account) took(operation string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, asked := range a.asked {
		if strings.HasPrefix(asked, operation+" ") {
			n++
		}
	}
	return n
}

// stream has records that say what to do, in one shard.
func stream(what ...string) *memory.Stream {
	s := memory.New(1)
	for _, w := range what {
		s.Put(time.Now(), "key", []byte(w))
	}
	return s
}

// output of a run: the lines, and what the function wrote.
type output struct{ out, log buffer }

// buffer can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// attach runs the test's function, and checks that nothing is left of it.
func (o *output) attach(t *testing.T, ctx context.Context, a *account, from *memory.Stream, options Options) (*Summary, error) {
	t.Helper()
	left := t.TempDir()
	t.Setenv("TMPDIR", left)
	options.Config = aws.Config{
		Region: "eu-west-1", BaseEndpoint: aws.String(a.URL), Credentials: credentials.NewStaticCredentialsProvider("AKIDREAL", "real-secret", "real-session"),
	}
	options.Stream = "arn:aws:kinesis:eu-west-1:111122223333:stream/telemetry"
	if options.Package == "" {
		options.Package = "./testdata/function"
	}
	if options.Start.Type == "" {
		options.Start.Type = "TRIM_HORIZON"
	}
	options.Out, options.Log = &o.out, &o.log
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	summary, err := options.run(ctx, from)
	t.Logf("%s\n%s", &o.out, &o.log)
	if files, err := os.ReadDir(left); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if processes, err := exec.Command("ps", "-eo", "args").Output(); err != nil || bytes.Contains(processes, []byte(left)) {
		t.Errorf("still running (%v):\n%s", err, processes)
	}
	return summary, err
}

func TestReadOnly(t *testing.T) {
	a := newAccount(t)
	var o output
	s, err := o.attach(t, t.Context(), a, stream("read 1", "write 2", "read 3", "try 4", "environment"), Options{BatchSize: 3, Records: 5})
	if err != nil {
		t.Fatal(err)
	}
	if a.took("PutItem") != 0 || a.took("GetItem") != 1 {
		t.Errorf("the account was asked %q", a.asked)
	}
	got := s.Shards[0]
	if len(s.Shards) != 1 || got.Records != 5 || got.Invocations != 2 || got.Refused != 1 || got.Failed != 0 || got.GivenUp != 0 || s.Failed() != 0 || got.Last == "" {
		t.Errorf("%+v", s)
	}
	if s.Refused["dynamodb:PutItem"] != 2 {
		t.Errorf("refused %v", s.Refused)
	}
	for _, want := range []string{
		"writes    refused",
		"refused dynamodb:PutItem 1×; failed from record 2 on (",
		"ok, though refused dynamodb:PutItem 1×",
		"Ended: 5 records.",
		"Refused writes: dynamodb:PutItem 2×.",
	} {
		if !strings.Contains(o.out.String(), want) {
			t.Errorf("it doesn't say %q", want)
		}
	}
	// The function is told which call was refused, and how to let it pass.
	if log := o.log.String(); !strings.Contains(log, "AccessDeniedException: dynamodb:PutItem is refused") || !strings.Contains(log, "--allow-writes") {
		t.Error("the function's log doesn't say what was refused")
	}
	if strings.Contains(o.log.String(), "WARN") {
		t.Error("the function's clients complain about the guard")
	}
	if log := o.log.String(); strings.Contains(log, "AKIDREAL") || strings.Contains(log, "real-") || !strings.Contains(log, "AWS_ENDPOINT_URL=http://127.0.0.1:") {
		t.Error("the function has credentials of the account")
	}
}

func TestWritesAllowed(t *testing.T) {
	a := newAccount(t)
	var o output
	s, err := o.attach(t, t.Context(), a, stream("write 1", "write 2"), Options{Records: 2, AllowWrites: true})
	if err != nil || len(s.Refused) != 0 || s.Shards[0].Invocations != 1 || s.Failed() != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if a.took("PutItem") != 2 {
		t.Errorf("the account was asked %q", a.asked)
	}
	if text := o.out.String(); !strings.Contains(text, "writes    ALLOWED") || !strings.Contains(text, ";") || strings.Contains(text, "refused") {
		t.Errorf("it says\n%s", text)
	}
}

func TestABadRecordIsFoundAndPassedOver(t *testing.T) {
	a := newAccount(t)
	from := stream("read 1", "read 2", "bad", "read 4")
	for name, c := range map[string]struct {
		options             Options
		invocations, failed int64
		givenUp             int64
	}{
		// 4, then 2 and 2, then the bad one and another.
		"by halves":        {Options{}, 5, 3, 1},
		"whole":            {Options{NoBisect: true}, 1, 1, 4},
		"tried once again": {Options{NoBisect: true, Retries: 1}, 2, 2, 4},
	} {
		t.Run(name, func(t *testing.T) {
			var o output
			c.options.Records = 4
			s, err := o.attach(t, t.Context(), a, from, c.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Shards[0]; got.Invocations != c.invocations || got.Failed != c.failed || s.Failed() != c.failed || got.GivenUp != c.givenUp || got.Records != 4 {
				t.Errorf("%+v", got)
			}
			if !strings.Contains(o.out.String(), "error errorString: a bad record; ") {
				t.Error("the function's error isn't told")
			}
		})
	}
	var o output
	s, err := o.attach(t, t.Context(), a, stream("read 1", "fail", "read 3"), Options{NoPartial: true, Records: 3})
	if err != nil || s.Failed() != 0 {
		t.Errorf("a partial answer is heeded that is not to be: %+v, %v", s, err)
	}
}

func TestOnlySoManyRecordsThatPassTheFilter(t *testing.T) {
	a := newAccount(t)
	var what []string
	for i := range 50 {
		what = append(what, fmt.Sprintf(`{"n":%d}`, i))
	}
	var o output
	s, err := o.attach(t, t.Context(), a, stream(what...), Options{Records: 7, BatchSize: 3, Filters: []string{`{"data":{"n":[{"numeric":[">=",20]}]}}`}})
	if err != nil || s.Shards[0].Records != 7 || s.Shards[0].Invocations != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWhatEndsIt(t *testing.T) {
	drained, busy := esm.Status{Drained: true}, esm.Status{Waiting: 1}
	for name, c := range map[string]struct {
		options Options
		enough  bool
		shards  []esm.Status
		want    error
	}{
		"enough, and all is done":                    {Options{}, true, []esm.Status{{}, drained}, errEnough},
		"enough, but some isn't done":                {Options{}, true, []esm.Status{{}, busy}, nil},
		"one of the chosen shards at its end":        {Options{Shards: []string{"a", "b"}}, false, []esm.Status{drained, {}}, nil},
		"a chosen shard at its end, another unread":  {Options{Shards: []string{"a", "b"}}, false, []esm.Status{drained}, nil},
		"all chosen shards at their end":             {Options{Shards: []string{"a", "b"}}, false, []esm.Status{drained, drained}, errClosed},
		"all shards at their end, but more may come": {Options{}, false, []esm.Status{drained, drained}, nil},
	} {
		if got := c.options.over(c.enough, c.shards); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestChosenShardsToTheirEnd(t *testing.T) {
	a := newAccount(t)
	from := stream("read 1", "read 2")
	from.Split(0)
	from.Put(time.Now(), "key", []byte("bad")) // in a child, which isn't read
	var o output
	s, err := o.attach(t, t.Context(), a, from, Options{Shards: []string{"shardId-000000000000"}})
	if err != nil || len(s.Shards) != 1 || s.Shards[0].Records != 2 || s.Failed() != 0 || !strings.Contains(s.Ended, "read to its end") {
		t.Errorf("%+v, %v", s, err)
	}
	_, err = o.attach(t, t.Context(), a, from, Options{Shards: []string{"shardId-000000000007", "shardId-000000000008"}})
	if err == nil || !strings.Contains(err.Error(), "000007") || !strings.Contains(err.Error(), "000008") {
		t.Errorf("unknown shards: %v", err)
	}
}

func TestStoppingEndsAFunctionThatHangs(t *testing.T) {
	a := newAccount(t)
	ctx, stop := context.WithCancel(t.Context())
	var o output
	go func() {
		for !strings.Contains(o.log.String(), "hangs") && t.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
	}()
	s, err := o.attach(t, ctx, a, stream("read 1", "hang"), Options{BatchSize: 1})
	if err != nil || s.Ended != "stopped" || s.Shards[0].Records != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = o.attach(t, t.Context(), a, stream(), Options{For: time.Millisecond})
	if err != nil || s.Ended != "after 1ms" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := o.attach(t, ctx, a, stream(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped before it began: %v", err)
	}
}

func TestCodeThatDoesNotCompile(t *testing.T) {
	var o output
	_, err := o.attach(t, t.Context(), newAccount(t), stream(), Options{Package: "./testdata/broken"})
	if err == nil || !strings.Contains(err.Error(), "main.go:4:15: undefined: undefined") {
		t.Errorf("got %v", err)
	}
	_, err = o.attach(t, t.Context(), newAccount(t), stream(), Options{Package: "./guard"})
	if err == nil || !strings.Contains(err.Error(), "./guard is no program") {
		t.Errorf("got %v", err)
	}
	_, err = o.attach(t, t.Context(), newAccount(t), stream(), Options{Package: "./testdata/none"})
	if err == nil || !strings.Contains(err.Error(), "testdata/none") {
		t.Errorf("got %v", err)
	}
}

func TestADeployedFunctionsConfiguration(t *testing.T) {
	a := newAccount(t)
	a.function = `{"FunctionName":"bill","FunctionArn":"arn:aws:lambda:eu-west-1:111122223333:function:bill","Timeout":77,"MemorySize":512,
		"Environment":{"Variables":{"TABLE":"live","KIND":"deployed","AWS_ENDPOINT_URL_S3":"http://elsewhere"}}}`
	var o output
	_, err := o.attach(t, t.Context(), a, stream("environment"), Options{Records: 1, EnvFrom: "bill", Env: map[string]string{"TABLE": "mine"}, Memory: 1024})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nTABLE=mine\n", "\nKIND=deployed\n", "\nAWS_LAMBDA_FUNCTION_NAME=bill\n", "\nAWS_LAMBDA_FUNCTION_MEMORY_SIZE=1024\n"} {
		if !strings.Contains("\n"+o.log.String(), want) {
			t.Errorf("its environment is without %q", want)
		}
	}
	if strings.Contains(o.log.String(), "elsewhere") || !strings.Contains(o.out.String(), "without its AWS_ENDPOINT_URL_S3") || !strings.Contains(o.out.String(), "timeout 1m17s") {
		t.Error("an endpoint of its own gets past the guard, or isn't told of")
	}
	a.function = `{"FunctionName":"bill","Environment":{"Error":{"ErrorCode":"AccessDeniedException","Message":"not its key"}}}`
	if _, err := o.attach(t, t.Context(), a, stream(), Options{EnvFrom: "bill"}); err == nil || !strings.Contains(err.Error(), "not its key") {
		t.Errorf("an environment that can't be had: %v", err)
	}
	if _, err := o.attach(t, t.Context(), a, stream(), Options{Env: map[string]string{"_HANDLER": "x", "TZ": "y"}}); err == nil || !strings.Contains(err.Error(), "_HANDLER") || !strings.Contains(err.Error(), "TZ") {
		t.Errorf("variables that are Lambda's: %v", err)
	}
}

func TestRefusalsAreOfTheirOwnInvocation(t *testing.T) {
	a := newAccount(t)
	from := memory.New(4)
	for i := range 40 {
		from.Put(time.Now(), fmt.Sprint(i), fmt.Appendf(nil, "%s %d", []string{"read", "write"}[i%2], i))
	}
	var o output
	s, err := o.attach(t, t.Context(), a, from, Options{Records: 40, BatchSize: 1, Parallelization: 2})
	if err != nil {
		t.Fatal(err)
	}
	var refused int64
	for _, shard := range s.Shards {
		refused += shard.Refused
	}
	if refused != 20 || s.Failed() != 0 || s.Refused["dynamodb:PutItem"] != 20 || a.took("GetItem") != 20 || strings.Contains(o.out.String(), "though") {
		t.Errorf("%+v; %d reads", s, a.took("GetItem"))
	}
}
