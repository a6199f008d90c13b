package throttle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits are what a shard takes and gives in a second; 0 is no limit.
type Limits struct {
	// WriteRecords are records put: 1 to 1,000,000.
	WriteRecords int
	// WriteBytes are bytes put, data and partition keys: 1 KB to 1,024 MB.
	WriteBytes int
	// ReadTransactions are calls of GetRecords, of all readers: 1 to 1,000.
	ReadTransactions int
	// ReadBytes are bytes read, by all readers: 1 KB to 1,024 MB. A limit bounds a
	// single call, too, by 10 MB.
	ReadBytes int
}

// AWS are the limits of a shard on AWS. Kinesis' megabyte is a MiB.
var AWS = Limits{WriteRecords: 1000, WriteBytes: 1 << 20, ReadTransactions: 5, ReadBytes: 2 << 20}

// Grammar is how a profile is written, for a command's help.
const Grammar = `shard=1000r/s      records a second that a shard takes, 1 to 1000000
shard=1MB/s        bytes a second that it takes, 1KB/s to 1024MB/s
read=5t/s          transactions (calls of GetRecords) a second of all readers
                   of a shard, 1 to 1000
read=2MB/s         bytes a second that they get, 1KB/s to 1024MB/s
shard=aws          a shard's limits on AWS: shard=1000r/s,1MB/s,read=5t/s,2MB/s`

const allAWS = "shard=aws"

// quantity is a limit as a profile writes it.
type quantity struct {
	name, unit string
	size       int // of the unit
	max        int
	of         func(*Limits) *int
}

func (q quantity) String() string { return fmt.Sprintf("%s=<n>%s", q.name, q.unit) }

var quantities = []quantity{
	{"shard", "r/s", 1, 1_000_000, func(l *Limits) *int { return &l.WriteRecords }},
	{"shard", "MB/s", 1 << 20, 1024, func(l *Limits) *int { return &l.WriteBytes }},
	{"shard", "KB/s", 1 << 10, 1 << 20, func(l *Limits) *int { return &l.WriteBytes }},
	{"read", "t/s", 1, 1000, func(l *Limits) *int { return &l.ReadTransactions }},
	{"read", "MB/s", 1 << 20, 1024, func(l *Limits) *int { return &l.ReadBytes }},
	{"read", "KB/s", 1 << 10, 1 << 20, func(l *Limits) *int { return &l.ReadBytes }},
}

// Parse reads profiles in the form of Grammar, each a list with commas. The error
// names everything that is wrong.
func Parse(profiles ...string) (Limits, error) {
	var l Limits
	var problems []error
	for _, profile := range profiles {
		name := ""
		for item := range strings.SplitSeq(profile, ",") {
			item = strings.TrimSpace(item)
			if before, after, found := strings.Cut(item, "="); found {
				name, item = before, after
			}
			if err := l.set(name, item); err != nil {
				problems = append(problems, fmt.Errorf("--profile %q: %w", profile, err))
			}
		}
	}
	if problems != nil {
		return Limits{}, errors.Join(problems...)
	}
	return l, nil
}

func (l *Limits) set(name, text string) error {
	if name+"="+text == allAWS {
		if *l != (Limits{}) {
			return errors.New("shard=aws sets every limit: leave the others out")
		}
		*l = AWS
		return nil
	}
	var forms []string
	for _, q := range quantities {
		if q.name != name {
			continue
		}
		forms = append(forms, q.String())
		digits, found := strings.CutSuffix(text, q.unit)
		n, err := strconv.Atoi(digits)
		switch limit := q.of(l); {
		case !found || strings.Trim(digits, "+-0123456789") != "" || digits == "":
			continue
		case err != nil || n < 1 || n > q.max:
			return fmt.Errorf("%s=%s: the number must be 1 to %d", name, text, q.max)
		case *limit != 0:
			return fmt.Errorf("%s=%s: this is limited already: leave one of them out", name, text)
		default:
			*limit = n * q.size
			return nil
		}
	}
	switch {
	case forms != nil && name == "shard":
		forms = append(forms, allAWS)
	case forms == nil && name == "":
		return fmt.Errorf("%q has no name: must be shard=… or read=…, as in shard=1000r/s,1MB/s", text)
	case forms == nil:
		return fmt.Errorf("%q is unknown: must be shard or read, as in shard=1000r/s,1MB/s", name)
	}
	return fmt.Errorf("%s=%s: must be %s, with a whole number <n>", name, text, strings.Join(forms, " or "))
}

// String is the profile of the limits; "" for none.
func (l Limits) String() string {
	if l == AWS {
		return allAWS
	}
	var items []string
	last := ""
	add := func(name string, n int, unit string) {
		item := fmt.Sprintf("%d%s", n, unit)
		if name != last {
			item = name + "=" + item
		}
		items, last = append(items, item), name
	}
	for _, q := range quantities {
		n := *q.of(&l)
		// Bytes are whole MB or, if they aren't, KB.
		if n > 0 && (q.size == 1 || (n%(1<<20) == 0) == (q.size == 1<<20)) {
			add(q.name, n/q.size, q.unit)
		}
	}
	return strings.Join(items, ",")
}

func (l Limits) validate() error {
	var problems []error
	for _, field := range []struct {
		name     string
		n        int
		min, max int
	}{
		{"WriteRecords", l.WriteRecords, 1, 1_000_000},
		{"WriteBytes", l.WriteBytes, 1 << 10, 1 << 30},
		{"ReadTransactions", l.ReadTransactions, 1, 1000},
		{"ReadBytes", l.ReadBytes, 1 << 10, 1 << 30},
	} {
		if field.n != 0 && (field.n < field.min || field.n > field.max) {
			problems = append(problems, fmt.Errorf("throttle: %s is %d: must be %d to %d, or 0 for no limit", field.name, field.n, field.min, field.max))
		}
	}
	return errors.Join(problems...)
}
