package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/local"
)

// downWithin is how long `local down` waits for the machine's end.
const downWithin = 30 * time.Second

func (p *Program) local() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "local",
		Short: "The pipeline on this machine",
		Long: `local runs the pipeline on this machine, with no AWS account: an emulator on
127.0.0.1 that enforces IAM, and in it the same stack that goes to AWS.

It needs the tools that ` + "`make install`" + ` puts into the checkout and writes to
build/local in it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.localUp(), p.localDown(), p.localStatus(), p.localAttach())
	return cmd
}

func (p *Program) localUp() *cobra.Command {
	var port int
	var dir string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start it and deploy the stack, until Ctrl-C",
		Long: `up starts the emulator, bootstraps it, deploys the stack with the CDK and stays
until Ctrl-C or ` + "`millrace local down`" + `. It then stops everything that it started;
nothing in the emulator is kept.`,
		Example: "  millrace local up\n  millrace local up --port 4566",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkPort(port); err != nil {
				return usageError(cmd, err)
			}
			return p.up(cmd.Context(), local.Options{Dir: dir, Port: port})
		},
	}
	portFlag(cmd, &port)
	dirFlag(cmd, &dir)
	return cmd
}

func (p *Program) up(ctx context.Context, o local.Options) error {
	o.Log = p.progress()
	machine, err := local.Up(ctx, o)
	if err != nil {
		return err
	}
	defer machine.Close()
	describeMachine(p.Stdout, machine)
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.Stderr, "stopping …")
		return machine.Close()
	case <-machine.Done():
		return fmt.Errorf("the emulator ended by itself; its log is %s", machine.LogFile())
	}
}

func describeMachine(w io.Writer, m *local.Machine) {
	fmt.Fprintf(w, "\nThe pipeline runs at %s\n", m.Endpoint)
	if len(m.Profile) > 0 {
		fmt.Fprintln(w, "\nWhat differs from the stack on AWS:")
		for _, line := range m.Profile {
			fmt.Fprintf(w, "  - %s\n", line)
		}
	}
	fmt.Fprintln(w, "\nIts resources:")
	writeOutputs(w, m.Outputs)
	fmt.Fprintln(w, "\nPoint any AWS client at it (S3 with path-style addressing):")
	for _, variable := range local.Environment(m.Endpoint) {
		fmt.Fprintf(w, "  export %s\n", variable)
	}
	fmt.Fprint(w, "\nIn another terminal: `millrace race`, `millrace standings --watch`\nCtrl-C, or `millrace local down`, stops it.\n")
}

func (p *Program) localDown() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop it from another terminal",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), downWithin)
			defer cancel()
			state, err := local.Down(ctx, dir)
			if errors.Is(err, local.ErrNotRunning) {
				// What was asked for is the case.
				fmt.Fprintln(p.Stdout, "No local machine is running.")
				return nil
			} else if err != nil {
				return err
			}
			fmt.Fprintf(p.Stdout, "Stopped the local machine at %s.\n", state.Endpoint)
			return nil
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

func (p *Program) localStatus() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether it runs and where",
		Long:  "status shows whether the local machine runs, where, since when, and its stack's\noutputs. The exit code is 3 if none runs.",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			state, err := local.Status(dir)
			if errors.Is(err, local.ErrNotRunning) {
				return &exitError{codeNotRunning, err}
			} else if err != nil {
				return err
			}
			describeState(p.Stdout, state)
			return nil
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

func describeState(w io.Writer, s local.State) {
	status := "running"
	if !s.Ready() {
		status = "starting"
	}
	fmt.Fprintf(w, "status    %s\n", status)
	if s.Endpoint != "" {
		fmt.Fprintf(w, "endpoint  %s\n", s.Endpoint)
	}
	fmt.Fprintf(w, "since     %s (%s)\n", s.Started.Local().Format(time.DateTime), time.Since(s.Started).Round(time.Second))
	fmt.Fprintf(w, "process   %d\n", s.PID)
	if s.Ready() {
		fmt.Fprintln(w, "outputs")
		writeOutputs(w, s.Outputs)
	}
}

func writeOutputs(w io.Writer, outputs map[string]string) {
	width := 0
	for name := range outputs {
		width = max(width, len(name))
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		fmt.Fprintf(w, "  %-*s  %s\n", width, name, outputs[name])
	}
}

func portFlag(cmd *cobra.Command, port *int) {
	cmd.Flags().IntVar(port, "port", 0, "where the emulator listens on 127.0.0.1 (default: any free port)")
}

func checkPort(port int) error {
	if port < 0 || port > 65535 {
		return fmt.Errorf("--port %d: must be 1 to 65535, or 0 for a free one", port)
	}
	return nil
}

func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", "the checkout (default: the one that the working directory is in)")
}
