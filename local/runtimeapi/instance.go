package runtimeapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/local/proc"
)

// errGone: the process has ended before it got the invocation.
var errGone = errors.New("the process is gone")

// invocation is one on its way through a process.
type invocation struct {
	id       string
	trace    string
	deadline time.Time

	mu       sync.Mutex
	payload  []byte
	taken    bool          // a process gets or has the payload
	written  chan struct{} // closed when the payload isn't needed any more
	gone     bool          // nobody waits for it, and it wasn't taken
	answered bool
	response []byte
	failed   string // FunctionError
}

func newInvocation(payload []byte) *invocation {
	return &invocation{
		id: newID(), payload: payload, written: make(chan struct{}),
		trace: fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", time.Now().Unix(), random(12), random(8)),
	}
}

// take hands out the payload, unless nobody waits for an answer any more.
func (inv *invocation) take() ([]byte, bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.taken = true
	return inv.payload, !inv.gone
}

// abandon withdraws the invocation if no process has it yet. It returns when the
// payload isn't used any more: a process that has it reads it, or ends.
func (inv *invocation) abandon() {
	inv.mu.Lock()
	inv.gone = !inv.taken
	wait := inv.taken
	inv.mu.Unlock()
	if wait {
		<-inv.written
	}
}

func (inv *invocation) answer() (payload []byte, functionError string, ok bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.response, inv.failed, inv.answered
}

// setAnswer keeps the first answer and reports whether this was it.
func (inv *invocation) setAnswer(payload []byte, functionError string) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.answered {
		return false
	}
	inv.answered, inv.response, inv.failed = true, payload, functionError
	return true
}

// drop takes the answer back.
func (inv *invocation) drop() {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.answered = false
}

// instance is a process and the API that it talks to.
type instance struct {
	options *Options
	group   *proc.Group
	server  *http.Server
	output  chan struct{} // closed when all its output was logged
	closing <-chan struct{}

	next  chan *invocation
	asked chan struct{} // the process has asked for work: it is up, or done
	broke chan *failure // it says that its initialization failed

	mu      sync.Mutex
	up      bool
	current *invocation
}

// start starts a process and waits until it asks for work.
func (f *Function) start(inv *invocation, limit time.Duration) (*instance, *failure, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("runtimeapi: %w", err)
	}
	i := &instance{
		options: &f.options,
		output:  make(chan struct{}),
		closing: f.closing,
		next:    make(chan *invocation),
		asked:   make(chan struct{}, 1),
		broke:   make(chan *failure, 1),
	}
	i.server = &http.Server{Handler: i, ErrorLog: log.New(io.Discard, "", 0)}
	f.running.Go(func() { _ = i.server.Serve(listener) })
	cmd := exec.Command(f.options.Path)
	cmd.Dir = filepath.Dir(f.options.Path)
	cmd.Env = f.options.environment(listener.Addr().String())
	if err := i.run(cmd, f); err != nil {
		_ = i.server.Close()
		if errors.Is(err, proc.ErrUnsupported) {
			return nil, nil, err
		}
		return nil, fail(inv, noEntry, "%v", err), nil
	}
	f.running.Go(func() {
		<-i.group.Done()
		_ = i.server.Close()
		f.forget(i)
	})
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	memory := time.NewTicker(i.options.memoryInterval)
	defer memory.Stop()
	for {
		select {
		case <-i.asked:
			return i, nil, nil
		case failed := <-i.broke:
			i.stop(0)
			return nil, failed, nil
		case <-i.group.Done():
			<-i.output
			select {
			case failed := <-i.broke: // and then it has ended
				return nil, failed, nil
			default:
				return nil, exit(inv, i.group.Err()), nil
			}
		case <-timeout.C:
			i.stop(0)
			return nil, fail(inv, timedOut, "Task timed out after %.2f seconds", limit.Seconds()), nil
		case <-memory.C:
			if now, _ := memoryOf(i.group.PID()); now > i.limit() {
				i.stop(0)
				return nil, fail(inv, outOfMemory, "Runtime exited with error: signal: killed"), nil
			}
		case <-f.closing:
			i.stop(closeGrace)
			return nil, nil, ErrClosed
		}
	}
}

// run starts the command with its output going to the log.
func (i *instance) run(cmd *exec.Cmd, f *Function) error {
	if f.log.to == nil {
		close(i.output)
		group, err := proc.Start(cmd)
		i.group = group
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = w, w
	i.group, err = proc.Start(cmd)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return err
	}
	f.running.Go(func() {
		defer close(i.output)
		defer func() { _ = r.Close() }()
		f.log.copyLines(r)
	})
	return nil
}

func (i *instance) limit() int64 { return int64(i.options.MemoryMB) << 20 }

// stop ends the process and returns when it is gone and its output logged.
func (i *instance) stop(grace time.Duration) {
	i.group.Stop(grace)
	<-i.output
}

// invoke hands the invocation to the process and waits until it asks for the
// next one. over says that the process is gone.
func (i *instance) invoke(inv *invocation, left time.Duration, to *logger, r *report) (over bool, err error) {
	begin := time.Now()
	inv.deadline = begin.Add(left)
	timeout := time.NewTimer(left)
	defer timeout.Stop()
	to.start(r)
	select {
	case i.next <- inv:
	case <-i.group.Done():
		<-i.output
		return true, errGone
	case <-i.closing:
		return true, ErrClosed
	}
	memory := time.NewTicker(i.options.memoryInterval)
	defer memory.Stop()
	before := r.duration // of an initialization that was part of the invocation
	for {
		select {
		case <-i.asked:
			r.duration = before + time.Since(begin)
			_, r.memory = memoryOf(i.group.PID())
			if r.memory > i.limit() {
				i.stop(0)
				inv.drop()
				r.failure = fail(inv, outOfMemory, "Runtime exited with error: signal: killed")
				return true, nil
			}
			return false, nil
		case <-i.group.Done():
			<-i.output
			r.duration = before + time.Since(begin)
			r.failure = exit(inv, i.group.Err())
			return true, nil
		case <-timeout.C:
			_, r.memory = memoryOf(i.group.PID())
			i.stop(0)
			r.duration = i.options.Timeout
			r.failure = fail(inv, timedOut, "Task timed out after %.2f seconds", i.options.Timeout.Seconds())
			to.timedOut(r)
			return true, nil
		case <-memory.C:
			now, peak := memoryOf(i.group.PID())
			r.memory = max(r.memory, peak)
			if now > i.limit() {
				i.stop(0)
				r.duration = before + time.Since(begin)
				r.failure = fail(inv, outOfMemory, "Runtime exited with error: signal: killed")
				return true, nil
			}
		case <-i.closing:
			return true, ErrClosed
		}
	}
}

// ServeHTTP is the Runtime API of one process.
func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/2018-06-01/runtime/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	rest, of := strings.CutPrefix(path, "invocation/")
	id, what, _ := strings.Cut(rest, "/")
	switch {
	case r.Method == http.MethodGet && path == "invocation/next":
		i.serveNext(w, r)
	case r.Method == http.MethodPost && path == "init/error":
		i.serveInitError(w, r)
	case r.Method == http.MethodPost && of && (what == "response" || what == "error"):
		i.serveAnswer(w, r, id, what)
	default:
		http.NotFound(w, r)
	}
}

// serveNext answers with the next invocation once there is one.
func (i *instance) serveNext(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	busy := false
	if !i.up {
		i.up = true
		i.asked <- struct{}{}
	} else if i.current != nil {
		if _, _, answered := i.current.answer(); answered {
			i.current = nil
			i.asked <- struct{}{}
		} else {
			busy = true
		}
	}
	i.mu.Unlock()
	if busy {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the invocation before has no response yet")
		return
	}
	for {
		select {
		case inv := <-i.next:
			payload, wanted := inv.take()
			if !wanted {
				i.asked <- struct{}{}
				continue
			}
			defer close(inv.written)
			i.mu.Lock()
			i.current = inv
			i.mu.Unlock()
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Content-Length", strconv.Itoa(len(payload)))
			h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
			h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
			h.Set("Lambda-Runtime-Invoked-Function-Arn", i.options.ARN)
			h.Set("Lambda-Runtime-Trace-Id", inv.trace)
			_, _ = w.Write(payload) // a process that doesn't read it times out
			return
		case <-r.Context().Done():
			return
		}
	}
}

// serveAnswer takes the response or the error of the current invocation.
func (i *instance) serveAnswer(w http.ResponseWriter, r *http.Request, id, what string) {
	i.mu.Lock()
	inv := i.current
	i.mu.Unlock()
	if inv == nil || inv.id != id {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	if _, _, answered := inv.answer(); answered {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the invocation has a response already")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxResponse+1))
	if err != nil {
		refuse(w, http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated")
		return
	}
	failed := ""
	if what == "error" {
		failed = "Unhandled"
		if len(body) == 0 {
			body, _ = json.Marshal(failure{Type: r.Header.Get("Lambda-Runtime-Function-Error-Type")})
		}
	} else if late := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); late != "" {
		// It failed while it was sending its response.
		failed = "Unhandled"
		if body, err = base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body")); err != nil || len(body) == 0 {
			body, _ = json.Marshal(failure{Type: late})
		}
	}
	over := len(body) > MaxResponse
	if over {
		_, _ = io.CopyN(io.Discard, r.Body, 64<<20) // so that the client reads the answer
		failed = "Unhandled"
		body, _ = json.Marshal(failure{
			Type:    tooLarge,
			Message: fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", MaxResponse),
		})
	}
	switch {
	case !inv.setAnswer(body, failed):
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the invocation has a response already")
	case over:
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", MaxResponse))
	default:
		accept(w)
	}
}

// serveInitError takes the reason why the process can't be initialized.
func (i *instance) serveInitError(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	up := i.up
	i.mu.Unlock()
	if up {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "the initialization is over")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxResponse))
	if err != nil {
		refuse(w, http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated")
		return
	}
	failed := &failure{Type: r.Header.Get("Lambda-Runtime-Function-Error-Type")}
	if json.Valid(body) {
		_ = json.Unmarshal(body, failed) // what isn't an object says no type
		failed.Payload = body
	}
	if failed.Type == "" {
		failed.Type = "Runtime.Unknown"
	}
	select {
	case i.broke <- failed:
	default: // it was said before
	}
	accept(w)
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, "{\"status\":\"OK\"}\n")
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(failure{Type: kind, Message: message})
}
