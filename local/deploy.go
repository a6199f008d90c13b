package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/local/proc"
	"github.com/millrace/millrace/local/step"
)

// profileKey is where the stack's template says how the local profile differs.
const profileKey = "Millrace::LocalProfile"

// start does the steps of Up. What it leaves running, Close stops.
func (m *Machine) start(ctx context.Context, o Options, log *step.Log) error {
	if err := checkTools(ctx, m.paths); err != nil {
		return err
	}
	port, err := choosePort(o.Port)
	if err != nil {
		return err
	}
	if err := m.clean(); err != nil {
		return err
	}
	m.Port, m.Endpoint = port, endpointOf(port)
	if port, err = m.limitShards(); err != nil {
		return err
	}
	if m.warehouse, err = listenForWarehouse(); err != nil {
		return err
	}

	// Neither the synthesis nor the emulator needs the other; the stack is
	// deployed once both are there.
	both, ctxBoth := errgroup.WithContext(ctx)
	both.Go(func() error { return m.runCDK(ctxBoth, log, "synthesize the stack", "synth", m.synth(o.Context)) })
	both.Go(func() error {
		if err := m.runEmulator(ctxBoth, log, port); err != nil {
			return err
		}
		return m.runCDK(ctxBoth, log, "bootstrap the CDK", "bootstrap", m.bootstrap)
	})
	if err := both.Wait(); err != nil {
		return err
	}
	if m.Profile, err = readProfile(m.paths); err != nil {
		return err
	}
	if err := m.startWarehouse(ctx, log); err != nil {
		return err
	}
	if err := m.runCDK(ctx, log, "deploy the stack", "deploy", m.deploy); err != nil {
		return err
	}
	if m.Outputs, err = readOutputs(m.paths); err != nil {
		return err
	}
	if err := m.takeOver(ctx, log); err != nil {
		return err
	}
	return m.writeState()
}

func (m *Machine) runEmulator(ctx context.Context, log *step.Log, port int) error {
	const name = "start the emulator"
	return log.Run(ctx, name, func(ctx context.Context, _ *step.Step) error {
		group, err := startEmulator(ctx, m.paths, port, m.Endpoint, m.warehouse.environment()...)
		if err != nil {
			return stepError(ctx, name, m.paths.log("emulator"), err)
		}
		m.emulator = group
		return m.writeState()
	})
}

// runCDK runs the CDK command line with what prepare makes of the command.
func (m *Machine) runCDK(ctx context.Context, log *step.Log, name, file string, prepare func(*exec.Cmd)) error {
	return log.Run(ctx, name, func(ctx context.Context, _ *step.Step) error {
		out, err := os.Create(m.paths.log(file))
		if err != nil {
			return err
		}
		defer out.Close()
		cmd := exec.Command(m.paths.cdk(), "--no-notices", "--no-color")
		cmd.Dir = m.paths.dir
		cmd.Env = m.cdkEnv(os.Environ())
		cmd.Stdout, cmd.Stderr = out, out
		prepare(cmd)
		if err := proc.Run(ctx, cmd, stopGrace); err != nil {
			return stepError(ctx, name, m.paths.log(file), err)
		}
		return nil
	})
}

// synth synthesizes with settings of the context.
func (m *Machine) synth(settings []string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		// Without credentials the CDK doesn't ask the emulator, which may not be up
		// yet, whose they are.
		cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=")
		cmd.Args = append(cmd.Args, "synth", StackName, "--quiet", "--output", m.paths.assembly)
		for _, setting := range append(settings[:len(settings):len(settings)], "race:local=true") {
			cmd.Args = append(cmd.Args, "--context", setting)
		}
	}
}

// bootstrap works in a folder without an app: the CDK would run it first,
// although the environment is named.
func (m *Machine) bootstrap(cmd *exec.Cmd) {
	cmd.Dir = m.paths.bootstrap
	cmd.Args = append(cmd.Args, "bootstrap", fmt.Sprintf("aws://%s/%s", Account, Region))
}

func (m *Machine) deploy(cmd *exec.Cmd) {
	cmd.Args = append(cmd.Args, "deploy", StackName, "--app", m.paths.assembly,
		"--require-approval", "never", "--progress", "events", "--outputs-file", m.paths.outputs)
}

// cdkEnv is the caller's environment, which the Go command needs, without its
// AWS settings, and with the checkout's Node.
func (m *Machine) cdkEnv(caller []string) []string {
	var env []string
	for _, variable := range caller {
		if !strings.HasPrefix(variable, "AWS_") && !strings.HasPrefix(variable, "CDK_") {
			env = append(env, variable)
		}
	}
	bin := filepath.Dir(m.paths.cdk())
	env = append(env, Environment(m.Endpoint)...)
	env = append(env,
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"TMPDIR="+m.paths.tmp,
		"NO_PROXY="+strings.TrimPrefix(os.Getenv("NO_PROXY")+",127.0.0.1", ","),
		// No profile of the user's, and nothing in the home folder.
		"AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"CDK_HOME="+m.paths.cdkHome,
		"CDK_DISABLE_VERSION_CHECK=true",
		"CDK_DISABLE_CLI_TELEMETRY=true",
	)
	if exists(m.paths.node()) {
		env = append(env, "JSII_NODE="+m.paths.node())
	}
	return env
}

func (m *Machine) clean() error {
	err := errors.Join(os.RemoveAll(m.paths.tmp), os.RemoveAll(m.paths.assembly), os.RemoveAll(m.paths.outputs), os.RemoveAll(m.paths.activity))
	return errors.Join(err, os.MkdirAll(m.paths.tmp, 0o755), os.MkdirAll(m.paths.bootstrap, 0o755))
}

func (m *Machine) writeState() error {
	return m.lock.write(State{
		PID: os.Getpid(), EmulatorPID: m.emulator.PID(),
		Port: m.Port, Endpoint: m.Endpoint, Limits: m.Limits.String(), Started: m.Started, Outputs: m.Outputs,
	})
}

// stepError adds the step's output to its error, unless the step was stopped.
func stepError(ctx context.Context, name, file string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	output, readErr := os.ReadFile(file)
	if readErr != nil {
		err = errors.Join(err, readErr)
	}
	return &StepError{Step: name, Output: strings.TrimSpace(string(output)), File: file, Err: err}
}

// readProfile is empty for a stack that deploys unchanged.
func readProfile(p paths) ([]string, error) {
	file := p.template()
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the synthesized template: %w", err)
	}
	var template struct {
		Metadata map[string]json.RawMessage
	}
	if err := json.Unmarshal(data, &template); err != nil {
		return nil, fmt.Errorf("the synthesized template %s: %w", file, err)
	}
	var lines []string
	if raw, ok := template.Metadata[profileKey]; ok {
		if err := json.Unmarshal(raw, &lines); err != nil {
			return nil, fmt.Errorf("%s in %s: %w", profileKey, file, err)
		}
	}
	return lines, nil
}

func readOutputs(p paths) (map[string]string, error) {
	data, err := os.ReadFile(p.outputs)
	if err != nil {
		return nil, fmt.Errorf("the outputs of the stack: %w", err)
	}
	var stacks map[string]map[string]string
	if err := json.Unmarshal(data, &stacks); err != nil {
		return nil, fmt.Errorf("the outputs of the stack in %s: %w", p.outputs, err)
	}
	outputs := stacks[StackName]
	if len(outputs) == 0 {
		return nil, fmt.Errorf("the stack has no outputs in %s", p.outputs)
	}
	return outputs, nil
}
