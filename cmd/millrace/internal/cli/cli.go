// Package cli is the program behind the command millrace, with its outputs and
// environment handed in.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/millrace/millrace/local/step"
)

// The program's exit codes.
const (
	codeOK          = 0
	codeFailed      = 1
	codeUsage       = 2
	codeNotRunning  = 3
	codeInterrupted = 130
)

// Program is the command line. Results go to Stdout, progress and errors to
// Stderr.
type Program struct {
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// Run runs the program with the arguments after its name, until it is done or
// ctx ends, and returns its exit code.
func (p *Program) Run(ctx context.Context, args []string) int {
	root := p.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return codeOK
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		fmt.Fprintln(p.Stderr, "millrace: stopped:", context.Cause(ctx))
		return codeInterrupted
	case errors.As(err, &exit):
		fmt.Fprintln(p.Stderr, "millrace:", exit.err)
		return exit.code
	default:
		fmt.Fprintln(p.Stderr, "millrace:", err)
		return codeFailed
	}
}

// exitError is an error with its own exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

func (p *Program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "A real-time pipeline on AWS, and on your machine",
		Long: `millrace runs the pipeline on this machine, sends simulated races through it,
here or on AWS, and shows their standings.

Without further settings, race and standings work on the local machine that runs
in this checkout. With --stream, --table or the environment variables
` + envStream + ` and ` + envPodiums + ` they work on AWS, with the usual AWS
configuration (profile, region, AWS_ENDPOINT_URL).`,
		Example: `  millrace demo                       # everything once, locally, with a report

  millrace local up                   # the local machine, until Ctrl-C
  millrace race --seconds 20          # in another terminal
  millrace standings --watch`,
		Version: version(),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(cmd, err)
	})
	root.AddCommand(p.demo(), p.local(), p.race(), p.standings())
	return root
}

// noArgs refuses arguments, and for a command with subcommands unknown ones.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, fmt.Errorf("unknown command or argument %q", args[0]))
	}
	return nil
}

func usageError(cmd *cobra.Command, err error) error {
	return &exitError{codeUsage, fmt.Errorf("%w\nsee `%s --help`", err, cmd.CommandPath())}
}

func (p *Program) progress() *step.Log { return step.New(p.Stderr) }

// isTerminal reports whether somebody watches w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// version is what Go knows of the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
