// Package spec holds the settings of every construct as plain Go values, AWS's
// limits on them as a table, and their validation. It needs neither the CDK nor
// Node.js: a test, a planner or a command line can check settings with it.
//
// Conventions that hold for every settings type:
//
//   - The zero value of a field means its default. Where zero itself is a legal
//     setting, [Zero] says so; where AWS knows "without limit", [Forever] does.
//   - WithDefaults returns a copy in which every default is written out.
//   - Validate returns every problem at once, as an [*Invalid].
package spec

import (
	"fmt"
	"math"
	"strings"
	"time"
)

const (
	// Zero is a literal zero in a field whose zero value stands for the default:
	// MaximumRetryAttempts: spec.Zero means no retry. It fits int and
	// time.Duration fields alike.
	Zero = math.MinInt32

	// Forever lifts a limit that AWS lets one lift: MaximumRetryAttempts and
	// MaximumRecordAge of a consumer. It fits int and time.Duration fields alike.
	Forever = -1
)

// number is what a setting with a range is made of.
type number interface{ ~int | ~int64 | ~float64 }

// or returns value, or def where value is its type's zero; [Zero] becomes 0.
func or[T number](value, def T) T {
	switch value {
	case 0:
		return def
	case Zero:
		return 0
	}
	return value
}

// orText returns value, or def where value is empty.
func orText[T ~string](value, def T) T {
	if value == "" {
		return def
	}
	return value
}

// Invalid is an error that lists every problem of one validation.
type Invalid struct{ Problems []Problem }

// Problem is one setting that AWS, or we, would refuse.
type Problem struct {
	Path  string // path of the construct, such as "MillraceRace/Telemetry"
	Field string // name of the setting, such as "RetentionPeriod"
	Value string // what was given
	Want  string // what is accepted, and why
	Fix   string // what to do
}

// String is one line: path, field, value, accepted range, fix.
func (p Problem) String() string {
	return fmt.Sprintf("%s: %s is %s, but %s: %s", p.Path, p.Field, p.Value, p.Want, p.Fix)
}

// Error lists the problems, one a line.
func (e *Invalid) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("1 invalid setting:")
	} else {
		fmt.Fprintf(&b, "%d invalid settings:", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// Check collects the problems of one construct.
type Check struct {
	path     string
	problems []Problem
}

// At starts the check of the construct at path.
func At(path string) *Check { return &Check{path: path} }

// Add notes a problem. Strings are quoted in the message, other values are
// printed as Go prints them.
func (c *Check) Add(field string, value any, want, fix string) {
	text := fmt.Sprint(value)
	switch v := value.(type) {
	case nil:
		text = "missing"
	case string:
		text = fmt.Sprintf("%q", v)
	case time.Duration:
		if text = plain(v); v == Forever {
			text = "Forever"
		}
	case fmt.Stringer, error:
	default:
		if k := fmt.Sprintf("%q", text); fmt.Sprintf("%#v", value) == k {
			text = k // a typed string
		}
	}
	c.problems = append(c.problems, Problem{Path: c.path, Field: field, Value: text, Want: want, Fix: fix})
}

// Email notes a problem when address is given and is no e-mail address.
func (c *Check) Email(field, address string) {
	if address != "" && !IsToken(address) && strings.Count(address, "@") != 1 {
		c.Add(field, address, "SNS sends to an address like name@example.com", "correct it, or leave it out")
	}
}

// Expiration notes a problem when S3 can't delete objects at that age; 0 and
// [Forever] keep them.
func (c *Check) Expiration(field string, age time.Duration) {
	if age == 0 || age == Forever {
		return
	}
	within(c, field, age, S3Expiration)
	if age > 0 && age%(24*time.Hour) != 0 {
		c.Add(field, age, "S3's lifecycle rules count whole days", "use a multiple of 24 h")
	}
}

// Merge adds the problems of err, when it is an [*Invalid], to c's.
func (c *Check) Merge(err error) {
	if e, ok := err.(*Invalid); ok {
		c.problems = append(c.problems, e.Problems...)
	} else if err != nil {
		c.Add("settings", err, "they must be readable", "see the message")
	}
}

// Within runs check, and puts field before the fields of what it notes.
func (c *Check) Within(field string, check func(*Check)) {
	own := At(c.path)
	check(own)
	for i := range own.problems {
		own.problems[i].Field = field + "." + own.problems[i].Field
	}
	c.problems = append(c.problems, own.problems...)
}

// Err is nil or an [*Invalid] with every problem noted.
func (c *Check) Err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return &Invalid{Problems: c.problems}
}

// Locate gives path to the problems that have none yet.
func (c *Check) Locate(path string) {
	for i := range c.problems {
		if c.problems[i].Path == "" {
			c.problems[i].Path = path
		}
	}
}

// within notes a problem when value is outside limit.
func within[T number](c *Check, field string, value T, limit Limit[T]) {
	if isNumberToken(value) {
		c.Add(field, "a token", "its value has to be known when the app is synthesized, to be checked: "+limit.String(),
			"pass a plain number, from your configuration or from the CDK's context")
		return
	}
	if value < limit.Min || value > limit.Max {
		c.Add(field, value, limit.String(), fmt.Sprintf("set it to a value from %s to %s", show(limit.Min), show(limit.Max)))
	}
}

// oneOf notes a problem when value is none of the options.
func oneOf[T ~string](c *Check, field string, value T, options ...T) {
	names := make([]string, len(options))
	for i, o := range options {
		if value == o {
			return
		}
		names[i] = string(o)
	}
	fix := "use one of them, or leave it empty for " + names[0]
	if IsToken(string(value)) {
		fix = "a token is known only at deployment; " + fix
	}
	c.Add(field, string(value), "it must be one of "+strings.Join(names, ", "), fix)
}

// IsToken tells whether s holds a CDK token: a value known only at deployment,
// which checks of its text must skip.
func IsToken(s string) bool { return strings.Contains(s, "${Token[") }

// isNumberToken tells whether value was made from a CDK number token, which is
// an enormous negative number; converted to an integer it is the least one.
func isNumberToken[T number](value T) bool {
	return float64(value) <= math.MinInt64
}

// plain prints a duration without its zero units: 24h, not 24h0m0s.
func plain(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func show(v any) string {
	if d, ok := v.(time.Duration); ok {
		return plain(d)
	}
	return fmt.Sprint(v)
}
