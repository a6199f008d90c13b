package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/spf13/cobra"

	"github.com/millrace/millrace/local/leaderboard"
)

// watchEvery is how often a watched leaderboard is read again.
const watchEvery = time.Second

func (p *Program) standings() *cobra.Command {
	var race, table, dir string
	var watch bool
	cmd := &cobra.Command{
		Use:   "standings",
		Short: "Show the leaderboard",
		Long:  "standings shows the top ten of one race or of all: position, racer, distance, gap\nto the leader and speed.",
		Example: `  millrace standings
  millrace standings --race seed7.race-01 --watch
  millrace standings --table my-podiums`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			from, err := p.find(ctx, wantedPodiums, table, dir)
			if err != nil {
				return err
			}
			api := dynamodb.NewFromConfig(from.cfg)
			if watch {
				return p.watch(ctx, api, from.name, race, watchEvery)
			}
			text, err := board(ctx, api, from.name, race)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(p.Stdout, text)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&race, "race", "", "the race to show (default: all)")
	flags.BoolVar(&watch, "watch", false, "show it again every second, until Ctrl-C")
	flags.StringVar(&table, "table", "", "the podiums table's name (default: $"+envPodiums+", or the local machine's)")
	dirFlag(cmd, &dir)
	return cmd
}

// watch redraws the board on a terminal, and elsewhere prints it when it has
// changed. Ctrl-C is its regular end.
func (p *Program) watch(ctx context.Context, api leaderboard.API, table, race string, every time.Duration) error {
	redraw := isTerminal(p.Stdout)
	last := ""
	for {
		text, err := board(ctx, api, table, race)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case redraw:
			// Home, each line with its rest erased, then everything below: a
			// cleared screen would flicker.
			fmt.Fprint(p.Stdout, "\x1b[H"+strings.ReplaceAll(text, "\n", "\x1b[K\n")+"\x1b[J")
		case text != last:
			fmt.Fprintf(p.Stdout, "%s\n%s\n", time.Now().Format(time.TimeOnly), text)
		}
		last = text
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// board is the leaderboard as text.
func board(ctx context.Context, api leaderboard.API, table, race string) (string, error) {
	podiums, err := leaderboard.Read(ctx, api, table, race)
	switch {
	case err != nil:
		return "", err
	case len(podiums) == 0 && race != "":
		return fmt.Sprintf("There is no race %s yet. Start races with `millrace race`, list them with `millrace standings`.\n", race), nil
	case len(podiums) == 0:
		return "There is no race yet. Start some with `millrace race`.\n", nil
	}
	var b strings.Builder
	err = leaderboard.Write(&b, podiums)
	return b.String(), err
}
