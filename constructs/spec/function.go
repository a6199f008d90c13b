package spec

import (
	"fmt"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"
)

// Architecture is the instruction set of a function.
type Architecture string

const (
	// ARM64 is AWS Graviton, a fifth cheaper per GB-second than X86.
	ARM64 Architecture = "arm64"
	// X86 is x86_64.
	X86 Architecture = "x86_64"
)

// LogFormat is the form of a function's log.
type LogFormat string

const (
	// JSONLogs are lines of JSON, Lambda's own too; log levels filter them.
	JSONLogs LogFormat = "JSON"
	// TextLogs are lines as the code prints them.
	TextLogs LogFormat = "Text"
)

// LogLevel is the least severe level that a log keeps.
type LogLevel string

// The levels of a log, in Lambda's own words.
const (
	LevelTrace LogLevel = "TRACE"
	LevelDebug LogLevel = "DEBUG"
	LevelInfo  LogLevel = "INFO"
	LevelWarn  LogLevel = "WARN"
	LevelError LogLevel = "ERROR"
	LevelFatal LogLevel = "FATAL"
)

// Tracing says which invocations X-Ray traces.
type Tracing string

const (
	// TracingOff gives the function no right to send traces; Lambda still passes a
	// caller's trace header on.
	TracingOff Tracing = "Off"
	// TracingActive lets Lambda sample invocations: the first of each second and 5 % of
	// the others.
	TracingActive Tracing = "Active"
	// TracingPassThrough traces what the caller has sampled.
	TracingPassThrough Tracing = "PassThrough"
)

// Function are the settings of a Lambda function that is written in Go.
type Function struct {
	// Name of the function, 1 to 64 letters, digits, hyphens and underscores; by
	// default CloudFormation makes one. A function with a name can't be replaced
	// by an update that has to; renaming replaces it.
	Name string
	// Description, at most 256 characters; none by default.
	Description string
	// Architecture: ARM64 (default) or X86.
	Architecture Architecture
	// Memory in MB, 128 to 10,240; 256 by default. CPU grows with it: 1,769 MB is one vCPU.
	Memory int
	// EphemeralStorage is the size of /tmp in MB, 512 (default) to 10,240. What is
	// above 512 is billed.
	EphemeralStorage int
	// Timeout of an invocation, 1 s to 900 s in whole seconds; 30 s by default.
	Timeout time.Duration
	// ReservedConcurrency is how many invocations run at once at most, and are kept
	// free for this function out of the account's quota (1,000 unless raised; 100
	// stay unreserved). By default none are reserved and the account's quota is the
	// limit. Zero stops the function: its sources keep their records and retry.
	ReservedConcurrency int
	// Tracing with X-Ray: TracingOff (default), TracingActive or TracingPassThrough.
	Tracing Tracing
	// LogFormat: JSONLogs (default) or TextLogs.
	LogFormat LogFormat
	// ApplicationLogLevel is the least level of the code's own lines that is kept,
	// if they are JSON with timestamp and level (lambdas/kit/boot.Logger): LevelTrace,
	// LevelDebug, LevelInfo (Lambda's default), LevelWarn, LevelError or LevelFatal. JSON only.
	ApplicationLogLevel LogLevel
	// SystemLogLevel is the least level of Lambda's own lines that is kept: LevelDebug,
	// LevelInfo (Lambda's default) or LevelWarn. JSON only.
	SystemLogLevel LogLevel
	// LogRetentionDays is how long CloudWatch Logs keeps the function's logs; 30
	// by default, else one of the package's LogRetentionDays.
	LogRetentionDays int
}

// functionName is what Lambda takes as a function's name.
var functionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// WithDefaults returns f with its defaults written out; ReservedConcurrency is
// [Forever] where none is reserved.
func (f Function) WithDefaults() Function {
	f.Architecture = orText(f.Architecture, ARM64)
	f.Memory = or(f.Memory, 256)
	f.EphemeralStorage = or(f.EphemeralStorage, FunctionStorage.Min)
	f.Timeout = or(f.Timeout, 30*time.Second)
	f.ReservedConcurrency = or(f.ReservedConcurrency, Forever)
	f.Tracing = orText(f.Tracing, TracingOff)
	f.LogFormat = orText(f.LogFormat, JSONLogs)
	f.LogRetentionDays = or(f.LogRetentionDays, 30)
	return f
}

// Validate returns every problem of f as an [*Invalid], with path before each.
func (f Function) Validate(path string) error {
	c, d := At(path), f.WithDefaults()
	if d.Name != "" && !IsToken(d.Name) && !functionName.MatchString(d.Name) {
		c.Add("Name", d.Name, "a function's name is 1 to 64 letters, digits, hyphens and underscores", "rename it, or leave it out")
	}
	if n := utf8.RuneCountInString(d.Description); n > FunctionDescription.Max && !IsToken(d.Description) {
		c.Add("Description", fmt.Sprintf("%d characters long", n), FunctionDescription.String(), "shorten it")
	}
	oneOf(c, "Architecture", d.Architecture, ARM64, X86)
	within(c, "Memory", d.Memory, FunctionMemory)
	within(c, "EphemeralStorage", d.EphemeralStorage, FunctionStorage)
	within(c, "Timeout", d.Timeout, FunctionTimeout)
	wholeSeconds(c, "Timeout", d.Timeout)
	if d.ReservedConcurrency != Forever {
		within(c, "ReservedConcurrency", d.ReservedConcurrency, FunctionConcurrency)
	}
	oneOf(c, "Tracing", d.Tracing, TracingOff, TracingActive, TracingPassThrough)
	oneOf(c, "LogFormat", d.LogFormat, JSONLogs, TextLogs)
	logLevel(c, "ApplicationLogLevel", d.ApplicationLogLevel, d.LogFormat, LevelInfo, LevelTrace, LevelDebug, LevelWarn, LevelError, LevelFatal)
	logLevel(c, "SystemLogLevel", d.SystemLogLevel, d.LogFormat, LevelInfo, LevelDebug, LevelWarn)
	if !slices.Contains(LogRetentionDays, d.LogRetentionDays) {
		c.Add("LogRetentionDays", d.LogRetentionDays, "CloudWatch Logs takes only certain numbers of days", "use one of spec.LogRetentionDays: 1, 3, 5, 7, 14, 30, 60, 90, …")
	}
	return c.Err()
}

// logLevel notes a problem when level is given and Lambda wouldn't take it.
func logLevel(c *Check, field string, level LogLevel, format LogFormat, levels ...LogLevel) {
	if level == "" {
		return
	}
	oneOf(c, field, level, levels...)
	if format == TextLogs {
		c.Add(field, level, "Lambda filters by level in JSON logs only", "leave LogFormat out, or the level")
	}
}

// wholeSeconds notes a problem when d is no number of seconds, AWS's unit.
func wholeSeconds(c *Check, field string, d time.Duration) {
	if d != Forever && d%time.Second != 0 {
		c.Add(field, d, "AWS counts it in whole seconds", "round it to seconds")
	}
}
