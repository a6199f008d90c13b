package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/local/demo"
	"github.com/millrace/millrace/local/throttle"
)

func (p *Program) demo() *cobra.Command {
	var o demo.Options
	var profiles []string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything once, locally, and account for every record",
		Long: `demo starts the local machine, deploys the stack, sends a seeded race through it,
waits until table, podiums and archive hold it, shows the leaderboard and a
closing report, and stops.

What was applied and archived is counted from the table and from the objects in
the bucket and compared with the simulated race, record by record. The report
goes to build/demo.json, too. The exit code is 1 if anything was lost.

With -c race:redshift=serverless the stack also delivers to Redshift, which a
PostgreSQL stands in for, and its rows are counted as well.

` + profileHelp,
		Example: "  millrace demo\n  millrace demo --records 500 --seed 7 --keep\n  millrace demo -c race:redshift=serverless",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var problems []error
			check := func(ok bool, format string, args ...any) {
				if !ok {
					problems = append(problems, fmt.Errorf(format, args...))
				}
			}
			check(o.Records >= 1 && o.Records <= demo.MaximumRecords, "--records %d: must be 1 to %d", o.Records, demo.MaximumRecords)
			check(o.Racers >= 1 && o.Racers <= 10_000, "--racers %d: must be 1 to 10000", o.Racers)
			check(o.Races >= 1 && o.Races <= max(o.Racers, 1), "--races %d: must be 1 to the number of racers, %d", o.Races, o.Racers)
			limits, err := throttle.Parse(profiles...)
			if err := errors.Join(append(problems, err, checkPort(o.Port))...); err != nil {
				return usageError(cmd, err)
			}
			o.Limits, o.Out, o.Log = limits, p.Stdout, p.progress()
			_, err = demo.Run(cmd.Context(), o)
			return err
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Records, "records", 100_000, "how many records to send, 1 to 1000000")
	flags.IntVar(&o.Racers, "racers", 1000, "racers in all races together")
	flags.IntVar(&o.Races, "races", 5, "races, at most one per racer")
	flags.Uint64Var(&o.Seed, "seed", 1, "the course of the races")
	flags.StringVar(&o.File, "out", "", "where the report goes (default: build/demo.json in the checkout)")
	flags.BoolVar(&o.Keep, "keep", false, "leave it running after the report, until Ctrl-C")
	contextFlag(cmd, &o.Context)
	portFlag(cmd, &o.Port)
	profileFlag(cmd, &profiles)
	dirFlag(cmd, &o.Dir)
	return cmd
}
