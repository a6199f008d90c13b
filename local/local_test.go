//go:build linux || darwin

package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/throttle"
)

// TestMain doubles as the emulator and as another process that runs a machine.
func TestMain(m *testing.M) {
	switch os.Getenv("LOCAL_TEST_ROLE") {
	case "emulator":
		fmt.Println("emulator:", serveHealth())
		os.Exit(1)
	case "up":
		machine, err := local.Up(context.Background(), local.Options{Dir: os.Getenv("LOCAL_TEST_DIR")})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready", machine.Endpoint)
		if os.Getenv("LOCAL_TEST_OBEDIENT") != "" {
			wait := make(chan os.Signal, 1)
			signal.Notify(wait, syscall.SIGTERM)
			<-wait
			_ = machine.Close()
			os.Exit(0)
		}
		select {}
	}
	os.Exit(m.Run())
}

// closing is a body as the SDK's: its WriteTo fails once it is closed.
type closing struct {
	*strings.Reader
	written bool
}

func (c *closing) WriteTo(io.Writer) (int64, error) {
	c.written = true
	return 0, io.EOF
}

func (*closing) Close() error { return nil }

func TestARequestThatWasServedIsNotRepeated(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer server.Close()
	body := &closing{Reader: strings.NewReader("records")}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = int64(body.Len())
	response, err := local.Config(server.URL).HTTPClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); string(text) != "records" || err != nil || body.written {
		t.Errorf("%q, %v; WriteTo was called: %v", text, err, body.written)
	}
}

func TestUpDeploysAndCloseLeavesNothing(t *testing.T) {
	dir := fakeCheckout(t)
	m, err := local.Up(t.Context(), local.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Outputs[local.OutputStream]; got != "telemetry" {
		t.Errorf("the stream's output is %q, want telemetry", got)
	}
	if len(m.Profile) != 2 || m.Profile[0] != "no fan-out: not supported" || !strings.Contains(m.Profile[1], "2s") {
		t.Errorf("Profile = %q, want the template's and what the pollers cut", m.Profile)
	}
	if _, err := local.ReadActivity(dir); err != nil {
		t.Errorf("the activity: %v", err)
	}
	state, err := local.Status(dir)
	if err != nil {
		t.Fatal(err)
	}
	if state.PID != os.Getpid() || state.Port != m.Port || state.Endpoint != m.Endpoint || !state.Ready() ||
		!state.Started.Equal(m.Started) {
		t.Errorf("Status = %+v, doesn't agree with the machine at %s", state, m.Endpoint)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	waitGone(t, state.EmulatorPID)
	if _, err := local.Status(dir); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("Status after Close: %v, want ErrNotRunning", err)
	}
	if _, err := local.ReadActivity(dir); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("the activity after Close: %v, want ErrNotRunning", err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "build/local/tmp")); !errors.Is(err, os.ErrNotExist) {
		t.Error("Close left the temporary files")
	}
}

func TestLimitsStandBeforeTheEmulator(t *testing.T) {
	dir := fakeCheckout(t)
	for _, limits := range []throttle.Limits{{}, {WriteRecords: 5}} {
		m, err := local.Up(t.Context(), local.Options{Dir: dir, Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Get(m.Endpoint + "/_ministack/health")
		if err != nil {
			t.Fatal(err)
		}
		var emulator struct{ Endpoint, Port string }
		err = json.NewDecoder(response.Body).Decode(&emulator)
		response.Body.Close()
		if err != nil || emulator.Endpoint != m.Endpoint {
			t.Errorf("limits %q: functions see %s, want the machine's endpoint %s; %v", limits, emulator.Endpoint, m.Endpoint, err)
		}
		if behind := emulator.Port != strconv.Itoa(m.Port); behind != (limits != throttle.Limits{}) {
			t.Errorf("limits %q: the emulator is at port %s, the machine at %d", limits, emulator.Port, m.Port)
		}
		if state, err := local.Status(dir); err != nil || state.Limits != limits.String() || state.Endpoint != m.Endpoint {
			t.Errorf("limits %q: Status = %+v, %v", limits, state, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := http.Get(m.Endpoint); err == nil {
			t.Errorf("limits %q: after Close something is at %s", limits, m.Endpoint)
		}
	}
	if _, err := local.Up(t.Context(), local.Options{Dir: dir, Limits: throttle.Limits{WriteRecords: -1}}); err == nil || !strings.Contains(err.Error(), "WriteRecords is -1") {
		t.Errorf("Up with a bad limit: %v", err)
	}
}

func TestTheCheckoutIsFoundFromAFolderInIt(t *testing.T) {
	dir := fakeCheckout(t)
	inside := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Status(inside); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("Status in a folder of the checkout: %v", err)
	}
	if _, err := local.Status(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("Status outside of a checkout: %v, want how to name one", err)
	}
}

func TestASecondUpSaysWhatRuns(t *testing.T) {
	dir := fakeCheckout(t)
	m, err := local.Up(t.Context(), local.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = local.Up(t.Context(), local.Options{Dir: dir})
	var running *local.RunningError
	if !errors.As(err, &running) {
		t.Fatalf("the second Up answered %v, want a RunningError", err)
	}
	for _, want := range []string{m.Endpoint, strconv.Itoa(os.Getpid()), m.Started.Format("15:04"), "millrace local down"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't say %q", err, want)
		}
	}
	if state, err := local.Status(dir); err != nil || state.Endpoint != m.Endpoint {
		t.Errorf("the second Up changed the first one's state: %+v, %v", state, err)
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	dir := fakeCheckout(t)
	_, err = local.Up(t.Context(), local.Options{Dir: dir, Port: port})
	var taken *local.PortError
	if !errors.As(err, &taken) || !strings.Contains(err.Error(), strconv.Itoa(port)) || !strings.Contains(err.Error(), "--port") {
		t.Errorf("Up answered %v, want a PortError that names the port and the fix", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "build/local/emulator.log")); err == nil {
		t.Error("the emulator was started all the same")
	}
	if _, err := local.Status(dir); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("Status after it: %v", err)
	}
}

func TestAFailingStepShowsItsOwnOutput(t *testing.T) {
	for _, failing := range []struct{ command, step string }{
		{"synth", "synthesize the stack"},
		{"bootstrap", "bootstrap the CDK"},
		{"deploy", "deploy the stack"},
	} {
		t.Run(failing.command, func(t *testing.T) {
			t.Setenv("FAKE_FAILS", failing.command)
			dir := fakeCheckout(t)
			_, err := local.Up(t.Context(), local.Options{Dir: dir})
			var step *local.StepError
			if !errors.As(err, &step) {
				t.Fatalf("Up answered %v, want a StepError", err)
			}
			if step.Step != failing.step || !strings.Contains(err.Error(), "no "+failing.command+" today") {
				t.Errorf("the error is %q, want the step %q and what it printed", err, failing.step)
			}
			waitGone(t, emulatorPID(t, dir))
		})
	}
}

func TestAnEmulatorThatDoesNotStart(t *testing.T) {
	t.Setenv("FAKE_HANGS", "synth")
	dir := fakeCheckout(t)
	script(t, dir, ".venv/bin/python", "echo no module named ministack; exit 1")
	_, err := local.Up(t.Context(), local.Options{Dir: dir})
	var step *local.StepError
	if !errors.As(err, &step) || !strings.Contains(err.Error(), "no module named ministack") {
		t.Errorf("Up answered %v, want the emulator's output", err)
	}
}

func TestUpEndsWithItsContextInEveryStep(t *testing.T) {
	for _, command := range []string{"synth", "bootstrap", "deploy"} {
		t.Run(command, func(t *testing.T) {
			t.Setenv("FAKE_HANGS", command)
			dir := fakeCheckout(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("Ctrl-C")
			go func() {
				waitFor(t, func() bool {
					return exists(filepath.Join(dir, command+".pid")) && exists(filepath.Join(dir, "emulator.pid"))
				})
				cancel(why)
			}()
			_, err := local.Up(ctx, local.Options{Dir: dir})
			if !errors.Is(err, why) {
				t.Errorf("Up answered %v, want the context's cause", err)
			}
			waitGone(t, pidIn(t, filepath.Join(dir, command+".pid")))
			waitGone(t, emulatorPID(t, dir))
		})
	}
}

func TestMissingToolsAreListedTogether(t *testing.T) {
	dir := fakeCheckout(t)
	for _, tool := range []string{"node_modules/.bin/cdk", ".venv"} {
		if err := os.RemoveAll(filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	script(t, dir, "node_modules/.bin/node", "echo v18.20.1")
	t.Setenv("PATH", "/nowhere")
	_, err := local.Up(t.Context(), local.Options{Dir: dir})
	var missing *local.MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("Up answered %v, want a MissingError", err)
	}
	for _, want := range []string{"Go is not", "CDK command line", "Python environment", "Node 18 is too old", "make install"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't say %q", err, want)
		}
	}
}

func TestDownStopsAnotherProcessesMachine(t *testing.T) {
	dir := fakeCheckout(t)
	up := upProcess(t, dir, "LOCAL_TEST_OBEDIENT=1")
	before, err := local.Status(dir)
	if err != nil {
		t.Fatal(err)
	}
	if before.PID != up.Process.Pid {
		t.Errorf("Status says process %d, want %d", before.PID, up.Process.Pid)
	}
	state, err := local.Down(t.Context(), dir)
	if err != nil || state.Endpoint != before.Endpoint {
		t.Errorf("Down answered %+v, %v", state, err)
	}
	waitGone(t, before.EmulatorPID)
	if _, err := local.Down(t.Context(), dir); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("a second Down answered %v, want ErrNotRunning", err)
	}
}

func TestDownGivesUpWithItsContext(t *testing.T) {
	dir := fakeCheckout(t)
	// A process that is stopped handles no signal and keeps its lock.
	up := upProcess(t, dir, "LOCAL_TEST_OBEDIENT=1")
	if err := up.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := local.Down(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Down answered %v, want that its time was up", err)
	}
}

func TestAStateLeftByAKilledProcessIsStale(t *testing.T) {
	dir := fakeCheckout(t)
	up := upProcess(t, dir)
	state, err := local.Status(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = up.Wait()
	waitGone(t, state.EmulatorPID)
	if !exists(filepath.Join(dir, "build/local/state.json")) {
		t.Fatal("the test needs the state to be left behind")
	}
	if _, err := local.Status(dir); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("Status answered %v, want ErrNotRunning", err)
	}
	m, err := local.Up(t.Context(), local.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestAStateThatCantBeReadIsTold(t *testing.T) {
	dir := fakeCheckout(t)
	m, err := local.Up(t.Context(), local.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	file := filepath.Join(dir, "build/local/state.json")
	for name, damage := range map[string]func() error{
		"cut off": func() error { return os.WriteFile(file, []byte(`{"pid": 12`), 0o644) },
		"gone":    func() error { return os.Remove(file) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		_, up := local.Up(t.Context(), local.Options{Dir: dir})
		_, status := local.Status(dir)
		_, down := local.Down(t.Context(), dir)
		for what, err := range map[string]error{"Up": up, "Status": status, "Down": down} {
			if err == nil || errors.Is(err, local.ErrNotRunning) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "Ctrl-C") {
				t.Errorf("%s: %s answered %v, want the file and what to do", name, what, err)
			}
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestAMachineNoticesTheEndOfItsEmulator(t *testing.T) {
	dir := fakeCheckout(t)
	m, err := local.Up(t.Context(), local.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := syscall.Kill(emulatorPID(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Done():
	case <-time.After(10 * time.Second):
		t.Error("Done wasn't closed")
	}
}

func TestAPortOutOfRange(t *testing.T) {
	for _, port := range []int{-1, 65536} {
		if _, err := local.Up(t.Context(), local.Options{Dir: fakeCheckout(t), Port: port}); err == nil {
			t.Errorf("Up took port %d", port)
		}
	}
}

// fakeCheckout is a checkout whose tools are scripts. FAKE_FAILS and FAKE_HANGS
// name the CDK command that does so.
func fakeCheckout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"node_modules/.bin", ".venv/bin", ".venv/lib/python3.11/site-packages/ministack", ".venv/lib/python3.11/site-packages/cbor2"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cdk.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	script(t, dir, "node_modules/.bin/node", "echo v24.1.0")
	script(t, dir, ".venv/bin/python", fmt.Sprintf("cd '%s'; echo $$ > emulator.new; mv emulator.new emulator.pid; LOCAL_TEST_ROLE=emulator exec '%s'", dir, os.Args[0]))
	script(t, dir, "node_modules/.bin/cdk", strings.ReplaceAll(`
command=$3
echo $$ > "DIR/$command.new" && mv "DIR/$command.new" "DIR/$command.pid"
if [ "$FAKE_HANGS" = "$command" ]; then while :; do sleep 0.1; done; fi
if [ "$FAKE_FAILS" = "$command" ]; then
	# Let the emulator come up: its end is what the test looks at.
	while [ ! -f DIR/emulator.pid ]; do sleep 0.01; done
	echo "no $command today"; exit 1
fi
case $command in
synth)
	mkdir -p DIR/build/local/cdk.out
	echo '{"Metadata":{"Millrace::LocalProfile":["no fan-out: not supported"]}}' > DIR/build/local/cdk.out/MillraceRace.template.json ;;
bootstrap) ;;
deploy) echo '{"MillraceRace":{"StreamName":"telemetry"}}' > DIR/build/local/outputs.json ;;
*) echo "unknown command $command"; exit 2 ;;
esac`, "DIR", dir))
	return dir
}

func script(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// upProcess runs a machine in a process of its own, up to its readiness.
func upProcess(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	up := exec.Command(os.Args[0])
	up.Env = append(os.Environ(), append(env, "LOCAL_TEST_ROLE=up", "LOCAL_TEST_DIR="+dir)...)
	out, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = up.Process.Kill()
		_ = up.Wait()
	})
	line := make([]byte, 1000)
	n, _ := out.Read(line)
	if !strings.HasPrefix(string(line[:n]), "ready ") {
		t.Fatalf("the process said %q, want that it is ready", line[:n])
	}
	return up
}

func serveHealth() error {
	http.HandleFunc("/_ministack/health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"edition":%q,"endpoint":%q,"port":%q}`, os.Getenv("MINISTACK_EDITION"), os.Getenv("AWS_ENDPOINT_URL"), os.Getenv("GATEWAY_PORT"))
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".ListDeliveryStreams") {
			_, _ = w.Write([]byte(`{"DeliveryStreamNames":[],"HasMoreDeliveryStreams":false}`))
			return
		}
		http.NotFound(w, r)
	})
	http.HandleFunc("/2015-03-31/event-source-mappings", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"EventSourceMappings":[]}`)
	})
	return http.ListenAndServe(os.Getenv("BIND_HOST")+":"+os.Getenv("GATEWAY_PORT"), nil)
}

func emulatorPID(t *testing.T, dir string) int {
	t.Helper()
	return pidIn(t, filepath.Join(dir, "emulator.pid"))
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	waitFor(t, func() bool {
		if syscall.Kill(pid, 0) != nil {
			return true
		}
		stat, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
		return err != nil || strings.HasPrefix(strings.TrimSpace(string(stat)), "Z")
	})
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for range 1000 {
		if what() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it didn't happen in ten seconds")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
