package spec

import (
	"fmt"
	"time"
)

// RolloutType is how traffic moves to a new version of a function.
type RolloutType string

const (
	// Canary moves Percentage first and, after Interval, the rest.
	Canary RolloutType = "Canary"
	// Linear moves Percentage after each Interval.
	Linear RolloutType = "Linear"
)

// Rollout are the settings of a gradual deployment by CodeDeploy: batches go to
// the new version by and by, and back to the old one when an alarm is raised.
type Rollout struct {
	// Type: Canary (default) or Linear.
	Type RolloutType
	// Percentage of the batches that move at a time, 1 to 99; 10 by default.
	Percentage int
	// Interval between two moves, 1 minute to 2 days in whole minutes; 5 minutes by
	// default. Linear moves over 100/Percentage intervals, two days in all at most.
	Interval time.Duration
}

// WithDefaults returns r with its defaults written out.
func (r Rollout) WithDefaults() Rollout {
	r.Type = orText(r.Type, Canary)
	r.Percentage = or(r.Percentage, 10)
	r.Interval = or(r.Interval, 5*time.Minute)
	return r
}

// Lasts is how long a deployment takes, from the first move to the last.
func (r Rollout) Lasts() time.Duration {
	if r.Type == Linear && r.Percentage > 0 {
		return r.Interval * time.Duration(99/r.Percentage)
	}
	return r.Interval
}

// Validate returns every problem of r as an [*Invalid], with path before each.
func (r Rollout) Validate(path string) error {
	c, d := At(path), r.WithDefaults()
	oneOf(c, "Rollout.Type", d.Type, Canary, Linear)
	within(c, "Rollout.Percentage", d.Percentage, RolloutPercentage)
	within(c, "Rollout.Interval", d.Interval, RolloutInterval)
	if d.Interval%time.Minute != 0 {
		c.Add("Rollout.Interval", d.Interval, "CodeDeploy counts it in whole minutes", "round it to minutes")
	}
	if d.Type == Linear && d.Interval <= RolloutInterval.Max && d.Lasts() > RolloutInterval.Max {
		c.Add("Rollout.Interval", d.Interval, fmt.Sprintf("%d %% at a time would last %s, and %s", d.Percentage, plain(d.Lasts()), RolloutInterval.Why),
			"shorten it, or raise Percentage")
	}
	return c.Err()
}
