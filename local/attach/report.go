package attach

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/local/esm"
)

// invocation is one that was made.
type invocation struct {
	batch   *esm.Batch
	at      time.Time
	took    time.Duration
	outcome esm.Outcome
	failed  bool
	from    int            // the first record that failed
	refused map[string]int // writes, by operation
}

// inVain tells whether it failed with writes refused.
func (i *invocation) inVain() bool { return i.failed && len(i.refused) > 0 }

// Summary is what an attached function has done.
type Summary struct {
	// Ended says why.
	Ended  string
	Shards []Shard
	// Refused are the writes that were refused, by operation.
	Refused map[string]int
}

// Shard is what came of one shard.
type Shard struct {
	ID string
	// Records were handed over and aren't tried again.
	Records int64
	// Invocations in all. Failed are those that failed by themselves, Refused those
	// that failed with writes refused.
	Invocations, Failed, Refused int64
	// GivenUp are records whose last try failed by itself.
	GivenUp int64
	// Last is the sequence number of the last record that was handed over, and Age how
	// long after its arrival: Lambda's IteratorAge. Both are empty if there was none.
	Last string
	Age  time.Duration
}

// Failed is how many invocations failed by themselves.
func (s *Summary) Failed() (n int64) {
	for _, shard := range s.Shards {
		n += shard.Failed
	}
	return n
}

// report writes what happens, line by line, and adds it up.
type report struct {
	mu      sync.Mutex
	out     io.Writer
	shards  map[string]*Shard
	refused map[string]int
}

func newReport(out io.Writer) *report {
	if out == nil {
		out = io.Discard
	}
	return &report{out: out, shards: map[string]*Shard{}, refused: map[string]int{}}
}

func (r *report) printf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format, args...)
}

// problem is told of what is tried again.
func (r *report) problem(of string, err error) {
	if of != "" {
		of += "  "
	}
	r.printf("%s  %sproblem: %v\n", time.Now().Format(time.TimeOnly), of, err)
}

func (r *report) invoked(i *invocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shards[i.batch.Shard]
	if s == nil {
		s = &Shard{ID: i.batch.Shard}
		r.shards[s.ID] = s
	}
	last := i.batch.Records[len(i.batch.Records)-1]
	s.Invocations++
	switch {
	case i.inVain():
		s.Refused++
	case i.failed:
		s.Failed++
	}
	if len(s.Last) < len(last.Sequence) || len(s.Last) == len(last.Sequence) && s.Last < last.Sequence {
		s.Last, s.Age = last.Sequence, i.at.Sub(last.Arrival)
	}
	for call, n := range i.refused {
		r.refused[call] += n
	}
	fmt.Fprintf(r.out, "%s  %s  %13s  %9s old  %8s  %s\n", i.at.Format(time.TimeOnly), s.ID, several(len(i.batch.Records), "record"),
		age(i.at.Sub(last.Arrival)), i.took.Round(time.Millisecond), i.result())
}

// result is what came of it, with what leads to the records and to the log.
func (i *invocation) result() string {
	var parts []string
	switch {
	case !i.failed && len(i.refused) > 0:
		parts = append(parts, "ok, though refused "+count(i.refused))
	case !i.failed:
		parts = append(parts, "ok")
	case i.inVain():
		parts = append(parts, "refused "+count(i.refused))
	}
	switch {
	case !i.failed:
	case i.outcome.FunctionError != "" && i.inVain():
		parts = append(parts, "the whole batch failed")
	case i.outcome.FunctionError != "":
		parts = append(parts, "error "+reason(i.outcome.Payload))
	case i.from > 0:
		parts = append(parts, fmt.Sprintf("failed from record %d on (%s)", i.from+1, i.batch.Records[i.from].Sequence))
	default:
		parts = append(parts, "failed from the first record on")
	}
	parts = append(parts, span(i.batch.Records))
	if i.failed {
		parts = append(parts, "request "+i.outcome.RequestID)
	}
	return strings.Join(parts, "; ")
}

// reason is the error that a function answered, as far as it fits a line: its log
// has the whole.
func reason(payload []byte) string {
	var failure struct{ ErrorType, ErrorMessage string }
	text := string(payload)
	if json.Unmarshal(payload, &failure) == nil && failure.ErrorType+failure.ErrorMessage != "" {
		text = strings.Trim(failure.ErrorType+": "+failure.ErrorMessage, ": ")
	}
	text = strings.Join(strings.Fields(text), " ")
	if most := []rune(text); len(most) > 400 {
		text = string(most[:400]) + "…"
	}
	return text
}

// span are the sequence numbers of a batch: the first one, and of the last one what
// differs.
func span(records []esm.Record) string {
	first, last := records[0].Sequence, records[len(records)-1].Sequence
	if len(records) == 1 {
		return first
	}
	same := 0
	if len(first) == len(last) {
		for same < len(last) && first[same] == last[same] {
			same++
		}
	}
	if same > 0 {
		return first + " to …" + last[same:]
	}
	return first + " to " + last
}

// count is a list of operations.
func count(calls map[string]int) string {
	var parts []string
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		parts = append(parts, fmt.Sprintf("%s %d×", call, calls[call]))
	}
	return strings.Join(parts, ", ")
}

// several counts things.
func several(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// age is to a tenth of a second.
func age(d time.Duration) string { return max(d, 0).Round(100 * time.Millisecond).String() }

// summary adds up what the mapping knows.
func (r *report) summary(ended string, statuses []esm.Status) *Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Summary{Ended: ended, Refused: r.refused}
	for _, status := range statuses {
		shard := r.shards[status.Shard]
		if shard == nil {
			shard = &Shard{ID: status.Shard}
		}
		shard.Records = status.PolledEventCount - status.FilteredOutEventCount - int64(status.Waiting)
		shard.GivenUp = status.DroppedEventCount
		s.Shards = append(s.Shards, *shard)
	}
	return s
}

// write draws the summary.
func (s *Summary) write(w io.Writer) {
	fmt.Fprintf(w, "\nEnded: %s.\n\n", s.Ended)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SHARD\tRECORDS\tINVOCATIONS\tFAILED\tREFUSED\tGIVEN UP\tAGE\tUP TO")
	for _, shard := range s.Shards {
		old := "-"
		if shard.Last != "" {
			old = age(shard.Age)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", shard.ID, shard.Records, shard.Invocations, shard.Failed, shard.Refused, shard.GivenUp, old, shard.Last)
	}
	_ = table.Flush()
	if len(s.Refused) > 0 {
		fmt.Fprintf(w, "\nRefused writes: %s.\n", count(s.Refused))
	}
}
