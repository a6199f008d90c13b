// The function that the tests run: its payload says how it behaves.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing/iotest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type request struct {
	Do      string
	MS      int
	Size    int
	File    string
	Records []json.RawMessage
}

var kept []byte

func handle(ctx context.Context, payload json.RawMessage) (any, error) {
	var r request
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, err
	}
	switch r.Do {
	case "error":
		return nil, errors.New("it failed")
	case "panic":
		panic("it panicked")
	case "exit":
		os.Exit(r.MS)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "broken":
		return io.MultiReader(strings.NewReader("so far"), iotest.ErrReader(errors.New("the source broke"))), nil
	case "sleep":
		time.Sleep(time.Duration(r.MS) * time.Millisecond)
	case "say":
		fmt.Println("it says", r.File)
	case "size":
		return strings.Repeat("x", r.Size), nil
	case "memory":
		kept = make([]byte, r.Size)
		for i := range kept {
			kept[i] = 1
		}
		time.Sleep(time.Duration(r.MS) * time.Millisecond)
	case "stubborn":
		// A grandchild that won't end, like this process, and their ids.
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		child := exec.Command("/bin/sh", "-c", "trap '' TERM INT; while :; do sleep 0.1; done")
		if err := child.Start(); err != nil {
			return nil, err
		}
		ids := fmt.Sprintf("%d %d", os.Getpid(), child.Process.Pid)
		if err := os.WriteFile(r.File+".new", []byte(ids), 0o600); err != nil {
			return nil, err
		}
		if err := os.Rename(r.File+".new", r.File); err != nil {
			return nil, err
		}
		time.Sleep(time.Duration(r.MS) * time.Millisecond)
	}
	deadline, _ := ctx.Deadline()
	lc, _ := lambdacontext.FromContext(ctx)
	trace, _ := ctx.Value("x-amzn-trace-id").(string)
	dir, _ := os.Getwd()
	return map[string]any{
		"pid": os.Getpid(), "env": os.Environ(), "dir": dir, "left": time.Until(deadline).Milliseconds(),
		"id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "trace": trace,
	}, nil
}

func main() {
	api := os.Getenv("AWS_LAMBDA_RUNTIME_API")
	switch how := os.Getenv("HOW"); how {
	case "":
		lambda.Start(handle)
	case "kinesis":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) (events.KinesisEventResponse, error) {
			bytes := 0
			for _, r := range e.Records {
				bytes += len(r.Kinesis.Data)
			}
			if bytes != 100*len(e.Records) {
				return events.KinesisEventResponse{}, fmt.Errorf("%d bytes in %d records", bytes, len(e.Records))
			}
			return events.KinesisEventResponse{}, nil
		})
	case "raw":
		lambda.Start(raw{})
	case "init error":
		body := strings.NewReader(`{"errorType":"Config.Missing","errorMessage":"no table"}`)
		if _, err := http.Post("http://"+api+"/2018-06-01/runtime/init/error", "application/json", body); err != nil {
			panic(err)
		}
		os.Exit(1)
	case "init exit":
		os.Exit(3)
	case "init hang":
		select {}
	case "init slow once":
		if _, err := os.Stat(os.Getenv("FILE")); err != nil {
			_ = os.WriteFile(os.Getenv("FILE"), nil, 0o600)
			select {}
		}
		lambda.Start(handle)
	case "no answer":
		// Asks for the next invocation without an answer to the first, then says how
		// that went.
		first := get(api)
		second := get(api)
		answer(api, first.Header.Get("Lambda-Runtime-Aws-Request-Id"), fmt.Sprint(second.StatusCode))
		get(api)
	case "slow reader":
		// Reads its first payload late, and answers the second with what that was.
		first, err := http.Get("http://" + api + "/2018-06-01/runtime/invocation/next")
		if err != nil {
			panic(err)
		}
		time.Sleep(500 * time.Millisecond)
		payload, _ := io.ReadAll(first.Body)
		answer(api, first.Header.Get("Lambda-Runtime-Aws-Request-Id"), "null")
		answer(api, get(api).Header.Get("Lambda-Runtime-Aws-Request-Id"), strconv.Itoa(strings.Count(string(payload), "x")))
		get(api)
	case "protocol":
		protocol(api)
	default:
		panic(how)
	}
}

// raw doesn't look at its payload: what is measured with it is the way here and
// back.
type raw struct{}

func (raw) Invoke(context.Context, []byte) ([]byte, error) { return []byte("null"), nil }

func get(api string) *http.Response {
	response, err := http.Get("http://" + api + "/2018-06-01/runtime/invocation/next")
	if err != nil {
		panic(err)
	}
	_ = response.Body.Close()
	return response
}

func answer(api, id, body string) *http.Response {
	return post(api, "invocation/"+id+"/response", body)
}

func post(api, path, body string) *http.Response {
	response, err := http.Post("http://"+api+"/2018-06-01/runtime/"+path, "application/json", strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	_ = response.Body.Close()
	return response
}

// protocol misuses the API and answers with the status codes.
func protocol(api string) {
	status := map[string]int{}
	id := get(api).Header.Get("Lambda-Runtime-Aws-Request-Id")
	status["wrong id"] = answer(api, "x", "1").StatusCode
	status["error for a wrong id"] = post(api, "invocation/x/error", "{}").StatusCode
	status["unknown path"] = post(api, "invocation/"+id+"/answer", "{}").StatusCode
	status["extensions"] = post(api, "../extension/register", "{}").StatusCode
	status["init error when up"] = post(api, "init/error", "{}").StatusCode
	response, err := http.Get("http://" + api + "/2018-06-01/runtime/invocation/" + id + "/response")
	if err != nil {
		panic(err)
	}
	_ = response.Body.Close()
	status["get of a response"] = response.StatusCode
	status["response"] = answer(api, id, "1").StatusCode
	status["second response"] = answer(api, id, "2").StatusCode
	status["error after it"] = post(api, "invocation/"+id+"/error", "{}").StatusCode
	next := get(api).Header.Get("Lambda-Runtime-Aws-Request-Id")
	status["old id"] = answer(api, id, "3").StatusCode
	body, _ := json.Marshal(status)
	answer(api, next, string(body))
	get(api)
}
