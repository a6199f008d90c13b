package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/millrace/millrace/local/proc"
)

// PortError says that the port asked for can't be had.
type PortError struct {
	Port int
	Err  error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("port %d on 127.0.0.1 can't be had (%v): choose another one with --port, or leave --port out for a free one", e.Port, e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// choosePort is the port asked for if it is free, or any free one for 0.
func choosePort(port int) (int, error) {
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, &PortError{Port: port, Err: err}
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func endpointOf(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// startEmulator starts MiniStack on the port and waits until it answers. The
// functions in it see the endpoint, and variables besides the usual ones.
func startEmulator(ctx context.Context, p paths, port int, endpoint string, variables ...string) (*proc.Group, error) {
	out, err := os.Create(p.log("emulator"))
	if err != nil {
		return nil, err
	}
	defer out.Close()

	cmd := exec.Command(p.python(), "-m", "ministack")
	cmd.Dir = p.tmp
	cmd.Stdout, cmd.Stderr = out, out
	nonce := fmt.Sprintf("millrace-%d-%d", os.Getpid(), time.Now().UnixNano())
	cmd.Env = append(emulatorEnv(p, port, endpoint, nonce), variables...)
	group, err := proc.Start(cmd)
	if err != nil {
		return nil, err
	}
	if err := waitHealthy(ctx, group, endpointOf(port), nonce); err != nil {
		group.Stop(stopGrace)
		return nil, err
	}
	return group, nil
}

// Emulator is the emulator by itself, with no stack in it: for tests of what talks
// to AWS's APIs.
type Emulator struct {
	Endpoint string
	group    *proc.Group
	tmp      string
}

// StartEmulator starts an emulator on a free port and returns when it answers. Dir
// is the checkout, "" for the one that the working directory is in; nothing is
// written to it.
func StartEmulator(ctx context.Context, dir string) (_ *Emulator, err error) {
	if dir, err = Checkout(dir); err != nil {
		return nil, err
	}
	p := pathsOf(dir)
	if !exists(p.python()) || !hasPackage(p, "ministack") {
		return nil, &MissingError{Problems: []string{"the emulator, MiniStack, is missing in " + filepath.Join(p.dir, ".venv")}}
	}
	port, err := choosePort(0)
	if err != nil {
		return nil, err
	}
	if p.root, err = os.MkdirTemp("", "millrace-emulator-"); err != nil {
		return nil, err
	}
	p.tmp = p.root
	group, err := startEmulator(ctx, p, port, endpointOf(port))
	if err != nil {
		log, _ := os.ReadFile(p.log("emulator"))
		return nil, errors.Join(fmt.Errorf("start the emulator: %w\n%s", err, log), os.RemoveAll(p.root))
	}
	return &Emulator{Endpoint: endpointOf(port), group: group, tmp: p.root}, nil
}

// Close stops the emulator with everything in it.
func (e *Emulator) Close() error {
	e.group.Stop(stopGrace)
	return os.RemoveAll(e.tmp)
}

// emulatorEnv is all that the emulator and the functions in it see: nothing of
// the caller's environment, whose settings and credentials could leak in.
func emulatorEnv(p paths, port int, endpoint, nonce string) []string {
	return append(Environment(endpoint),
		"PATH="+os.Getenv("PATH"),
		"HOME="+p.tmp,
		"TMPDIR="+p.tmp, // the functions' code and a PID file land here
		"LANG=C.UTF-8",
		"AUTH=true", // IAM is enforced
		"BIND_HOST=127.0.0.1",
		"GATEWAY_PORT="+strconv.Itoa(port),
		"MINISTACK_ACCOUNT_ID="+Account,
		"MINISTACK_REGION="+Region,
		// Health reports it back: so it's known to be this one that answers.
		"MINISTACK_EDITION="+nonce,
		// Nothing is kept, and these say where nothing would be.
		"PERSIST_STATE=0",
		"S3_PERSIST=0",
		"STATE_DIR="+filepath.Join(p.tmp, "state"),
		"S3_DATA_DIR="+filepath.Join(p.tmp, "s3"),
		// Further listeners on fixed ports, which no part of the pipeline uses.
		"SFTP_ENABLED=0",
		"IOT_MTLS_ENABLED=0",
		// It would remove the containers of other emulators on the machine.
		"DOCKER_HOST=unix://"+filepath.Join(p.tmp, "no-docker.sock"),
		"PYTHONUNBUFFERED=1",
	)
}

// waitHealthy polls until the emulator answers. There is no time limit but its
// end and ctx's: the very first start compiles its Python code.
func waitHealthy(ctx context.Context, group *proc.Group, endpoint, nonce string) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-group.Done():
			return fmt.Errorf("it ended before it answered: %w", ended(group))
		case <-time.After(50 * time.Millisecond):
		}
		if edition(ctx, client, endpoint) == nonce {
			return nil
		}
	}
}

func edition(ctx context.Context, client *http.Client, endpoint string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/_ministack/health", nil)
	if err != nil {
		return ""
	}
	response, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var health struct {
		Edition string `json:"edition"`
	}
	if json.NewDecoder(response.Body).Decode(&health) != nil {
		return ""
	}
	return health.Edition
}

// ended is how a group ended, as an error even if it ended well.
func ended(group *proc.Group) error {
	if err := group.Err(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}
