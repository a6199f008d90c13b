package spec

import (
	"slices"
	"time"
)

// Architecture is the instruction set of a function.
type Architecture string

const (
	// ARM64 is AWS Graviton, a fifth cheaper per GB-second than X86.
	ARM64 Architecture = "arm64"
	// X86 is x86_64.
	X86 Architecture = "x86_64"
)

// Function are the settings of a Lambda function that is written in Go.
type Function struct {
	// Architecture: ARM64 (default) or X86.
	Architecture Architecture
	// Memory in MB, 128 to 10,240; 256 by default. CPU grows with it: 1,769 MB is one vCPU.
	Memory int
	// Timeout of an invocation, 1 s to 900 s in whole seconds; 30 s by default.
	Timeout time.Duration
	// LogRetentionDays is how long CloudWatch Logs keeps the function's logs; 30
	// by default, else one of the package's LogRetentionDays.
	LogRetentionDays int
}

// WithDefaults returns f with its defaults written out.
func (f Function) WithDefaults() Function {
	f.Architecture = orText(f.Architecture, ARM64)
	f.Memory = or(f.Memory, 256)
	f.Timeout = or(f.Timeout, 30*time.Second)
	f.LogRetentionDays = or(f.LogRetentionDays, 30)
	return f
}

// Validate returns every problem of f as an [*Invalid], with path before each.
func (f Function) Validate(path string) error {
	c, d := At(path), f.WithDefaults()
	oneOf(c, "Architecture", d.Architecture, ARM64, X86)
	within(c, "Memory", d.Memory, FunctionMemory)
	within(c, "Timeout", d.Timeout, FunctionTimeout)
	wholeSeconds(c, "Timeout", d.Timeout)
	if !slices.Contains(LogRetentionDays, d.LogRetentionDays) {
		c.Add("LogRetentionDays", d.LogRetentionDays, "CloudWatch Logs takes only certain numbers of days", "use one of spec.LogRetentionDays: 1, 3, 5, 7, 14, 30, 60, 90, …")
	}
	return c.Err()
}

// wholeSeconds notes a problem when d is no number of seconds, AWS's unit.
func wholeSeconds(c *Check, field string, d time.Duration) {
	if d%time.Second != 0 {
		c.Add(field, d, "AWS counts it in whole seconds", "round it to seconds")
	}
}
