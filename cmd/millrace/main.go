// Command millrace runs the pipeline on this machine, sends races through it,
// here or on AWS, and shows their standings.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/millrace/millrace/cmd/millrace/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A second signal ends the program at once. What it started ends with it.
	context.AfterFunc(ctx, stop)
	program := cli.Program{Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	os.Exit(program.Run(ctx, os.Args[1:]))
}
