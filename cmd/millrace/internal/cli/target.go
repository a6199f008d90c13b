package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/millrace/millrace/local"
)

// What names the resources to work on, besides flags and the local machine.
const (
	envStream  = "MILLRACE_STREAM"
	envPodiums = "MILLRACE_PODIUMS_TABLE"
)

// target is a resource and how to reach it.
type target struct {
	name string
	cfg  aws.Config
}

// wanted says what may name a resource.
type wanted struct {
	flag, env, output string
}

var (
	wantedStream  = wanted{flag: "stream", env: envStream, output: local.OutputStream}
	wantedPodiums = wanted{flag: "table", env: envPodiums, output: local.OutputPodiums}
)

// find takes the flag's value, the environment's or the local machine's, in
// this order.
func (p *Program) find(ctx context.Context, w wanted, value, dir string) (target, error) {
	if value == "" {
		value = p.Getenv(w.env)
	}
	if value != "" {
		cfg, err := config.LoadDefaultConfig(ctx)
		return target{name: value, cfg: cfg}, err
	}
	state, err := local.Status(dir)
	switch {
	case err == nil && !state.Ready():
		return target{}, errors.New("the local machine is still starting: try again when its stack stands")
	case err == nil && state.Outputs[w.output] == "":
		return target{}, fmt.Errorf("the local machine's stack has no output %s: name the resource with --%s", w.output, w.flag)
	case errors.Is(err, local.ErrNotRunning):
		return target{}, fmt.Errorf("%w: start one with `millrace local up`, or name the resource with --%s or %s", err, w.flag, w.env)
	case err != nil:
		return target{}, err
	}
	return target{name: state.Outputs[w.output], cfg: local.Config(state.Endpoint)}, nil
}
