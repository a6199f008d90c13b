package sim_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var mutants = flag.Bool("mutants", false, "build the handlers and the mapping with each of their guards removed, and see that the simulation finds out")

// mutant is a guard taken out of the source.
type mutant struct {
	name, file string
	from, to   string
	args       []string // what finds it more often than a run of 1,500 records with all faults
}

// Each is a line without which something is lost, doubled, inverted or held up. If
// one isn't found in its file any more, change this list with it.
var guards = []mutant{
	// What the functions have in common.
	{
		name: "the highest failure reported, not the lowest", file: "lambdas/kit/batch/batch.go",
		from: `int64(position) < r.lowest.Load()`, to: `int64(position) > r.lowest.Load() || r.err == nil`,
	},
	{
		name: "failures of keys taken for success", file: "lambdas/kit/batch/batch.go",
		from: "\t\tr.record(ctx, g.from+a.index, a.error)\n", to: "",
	},
	{
		name: "failed rejects taken for success", file: "lambdas/kit/batch/batch.go",
		from: `if problem == nil {`, to: `if true {`,
	},
	{
		name: "whatever fails set aside", file: "lambdas/kit/batch/batch.go",
		from: `r.Rejects != nil && isPermanent(err)`, to: `r.Rejects != nil`,
	},
	{
		name: "nothing ever set aside", file: "lambdas/kit/batch/batch.go",
		from: `r.Rejects != nil && isPermanent(err)`, to: `r.Rejects != nil && isPermanent(nil)`,
	},
	{
		name: "records of a key in any order", file: "lambdas/kit/batch/batch.go",
		from: "for i, n := range of {\n", to: "for i := len(of) - 1; i >= 0; i-- {\n\t\tn := of[i]\n",
	},
	// The standings' handler.
	{
		name: "writes without a condition", file: "lambdas/standings/handler/handler.go",
		from: `aws.String("attribute_not_exists(#seq) OR #seq < :seq")`, to: `nil`,
	},
	{
		name: "writes over an equal seq", file: "lambdas/standings/handler/handler.go",
		from: `OR #seq < :seq"`, to: `OR #seq <= :seq"`,
	},
	{
		name: "failed writes taken for success", file: "lambdas/standings/handler/handler.go",
		from: `problems = append(problems, batch.At(r.first,`, to: `_ = append(problems, batch.At(r.first,`,
	},
	{
		name: "malformed records skipped", file: "lambdas/standings/handler/handler.go",
		from: `problems = append(problems, batch.At(i, batch.Permanent(err)))`, to: `_ = i`,
	},
	{
		name: "malformed records retried", file: "lambdas/standings/handler/handler.go",
		from: `batch.At(i, batch.Permanent(err))`, to: `batch.At(i, err)`,
	},
	{
		name: "an older state taken for a failure", file: "lambdas/standings/handler/handler.go",
		from: "errors.As(err, &newer) {\n\t\treturn nil", to: "errors.As(err, &newer) {\n\t\treturn err",
	},
	{
		name: "the last record of a batch wins", file: "lambdas/race/fold.go",
		from: `compareAge(r, held) > 0`, to: `compareAge(r, held) > -2`,
	},
	// Rejected records.
	{
		name: "rejected records share a document", file: "lambdas/kit/reject/reject.go",
		from: `number := d.SequenceNumber`, to: `number := ""`,
	},
	{
		name: "rejected records not counted", file: "lambdas/kit/reject/reject.go",
		from: "\temf.Count(metrics, now(), d.Function, emf.RejectedRecords, 1)\n", to: "\t_, _, _ = emf.Count, metrics, now\n",
	},
	// The podiums' handler.
	{
		name: "podiums written without a condition", file: "lambdas/podium/handler/tables.go",
		from: `put.ConditionExpression = aws.String("#version = :held")`, to: `put.ConditionExpression = nil`,
	},
	{
		name: "first podiums written without a condition", file: "lambdas/podium/handler/tables.go",
		from: `aws.String("attribute_not_exists(#version)")`, to: `nil`,
	},
	{
		name: "conflicts taken for success", file: "lambdas/podium/handler/tables.go",
		from: `return errConflict`, to: `return nil`,
	},
	{
		name: "failed podiums taken for success", file: "lambdas/podium/handler/handler.go",
		from: `problems = append(problems, batch.At(first,`, to: `_ = append(problems, batch.At(first,`,
	},
	{
		name: "unreadable changes skipped", file: "lambdas/podium/handler/handler.go",
		from: `problems = append(problems, batch.At(i, batch.Permanent(err)))`, to: `_ = i`,
	},
	{
		name: "only a page of the race read", file: "lambdas/podium/handler/tables.go",
		from: `for pages.HasMorePages() {`, to: `for range 1 {`,
	},
	{
		name: "stale reads of the race", file: "lambdas/podium/handler/tables.go",
		from: "standings),\n\t\tConsistentRead:         aws.Bool(true)", to: "standings),\n\t\tConsistentRead:         aws.Bool(false)",
	},
	{
		name: "a place left to one who has fallen back", file: "lambdas/race/podium.go",
		from: "return member && full && compareRank", to: "return false && full && compareRank",
	},
	{
		name: "a place left to one who is gone", file: "lambdas/race/podium.go",
		from: "if change.Removed {\n\t\treturn member", to: "if change.Removed {\n\t\treturn false",
	},
	{
		name: "a late change lets somebody in", file: "lambdas/race/podium.go",
		from: "if len(entrants) == 0 {", to: "if true {",
	},
	{
		name: "a race taken for as young as its podium", file: "lambdas/race/podium.go",
		from: "if rebuild || p.Version == 0 {", to: "if rebuild {",
	},
	// The pace's handler.
	{
		name: "a window's state lost by the function", file: "lambdas/kit/batch/window.go",
		from: `if len(w.State) > 0 {`, to: `if false {`,
	},
	{
		name: "errors of a window's end swallowed", file: "lambdas/kit/batch/window.go",
		from: "if err != nil {\n\t\treturn nil, fmt.Errorf(\"window", to: "if false {\n\t\treturn nil, fmt.Errorf(\"window",
	},
	{
		name: "failed parts taken for success", file: "lambdas/pace/handler/handler.go",
		from: `problems[i] = fmt.Errorf`, to: `_, _ = i, fmt.Errorf`,
	},
	{
		name: "a window written only with records of its last invocation", file: "lambdas/pace/handler/handler.go",
		from: `if !w.Final {`, to: `if !w.Final || len(records) == 0 {`,
	},
	{
		name: "parts of all shards in one", file: "lambdas/pace/handler/handler.go",
		from: `PartPrefix + w.ShardID + "/"`, to: `PartPrefix + "shard/"`,
	},
	{
		name: "parts of each attempt side by side", file: "lambdas/pace/handler/handler.go",
		from: `"/" + state.First + "/" + state.Last`, to: `time.Now().Format("x150405.000") + "/" + state.First + "/" + state.Last`,
	},
	{
		name: "parts with records in common counted twice", file: "lambdas/pace/handler/handler.go",
		from: `compare(parts[before-1].last, p.first) >= 0`, to: `false`,
		args: []string{"-records=10000", "-faults=Restart,Late"},
	},
	{
		name: "malformed records left out of the pace", file: "lambdas/pace/handler/handler.go",
		from: `malformed = append(malformed, batch.At(i, batch.Permanent(err)))`, to: `_ = i`,
	},
	{
		name: "malformed records counted in the pace", file: "lambdas/pace/handler/handler.go",
		from: `malformed = append(malformed, batch.At(i, batch.Permanent(err)))`,
		to:   `malformed = append(malformed, batch.At(i, batch.Permanent(err))); state.Add(race.Record{Race: "monza", Racer: "r10"})`,
	},
	{
		name: "records counted as often as they come", file: "lambdas/race/pace.go",
		from: "case seq >= r.Seen[i][0] && seq <= r.Seen[i][1]:\n\t\treturn false", to: "case seq >= r.Seen[i][0] && seq <= r.Seen[i][1]:\n\t\treturn true",
	},
	// The archive's transform, and the delivery stream.
	{
		name: "malformed records dropped by the transform", file: "lambdas/archive/handler/handler.go",
		from: "case err != nil:\n\t\treturn firehose.Answer{}, err", to: "case err != nil:\n\t\treturn firehose.Drop(), nil",
	},
	{
		name: "lines of the archive without an end", file: "lambdas/archive/handler/handler.go",
		from: "\tline.WriteByte('\\n')\n", to: "",
	},
	{
		name: "failed records answered as dropped", file: "lambdas/kit/firehose/firehose.go",
		from: "failed++\n\t\t\tout.failed(r)\n\t\tcase answer.drop", to: "failed++\n\t\t\tout.drop(r)\n\t\tcase answer.drop",
	},
	{
		name: "failed records not told", file: "lambdas/kit/firehose/firehose.go",
		from: `t.Failed(ctx, failed)`, to: `_ = failed`,
	},
	{
		name: "a batch that the transform never took forgotten", file: "local/firehose/transform.go",
		from: `v.answers = everyone(v.entries, v.problem)`, to: `v.answers = everyone(v.entries, verdict{dropped: true})`,
	},
	{
		name: "objects that couldn't be put taken for delivered", file: "local/firehose/s3.go",
		from: "if o.err != nil {\n\t\to.failed++", to: "if false {\n\t\to.failed++",
	},
	{
		name: "an object made anew for another put", file: "local/firehose/s3.go",
		from: "func (o *object) run(ctx context.Context) {\n\tif o.body == nil {", to: "func (o *object) run(ctx context.Context) {\n\tif true {",
	},
	// The event source mapping.
	{
		name: "reports taken for delivered", file: "local/esm/shard.go",
		from: "if err != nil {\n\t\ts.Counts.DestinationDeliveryFailures++\n\t\ts.delay(l, now)\n\t\treturn\n\t}", to: "",
	},
	{
		name: "throttles take retries", file: "local/esm/shard.go",
		from: "head.invokes-- // it takes none of the budget", to: "",
	},
	{
		name: "the records of a key in several lanes", file: "local/esm/shard.go",
		from: "hash(r.Key)%uint64(n)", to: "uint64(r.index)%uint64(n)",
	},
	{
		name: "the checkpoint passes what is in work", file: "local/esm/shard.go",
		from: "\treturn s.last\n", to: "\tif n := len(s.seqs); n > 0 {\n\t\treturn s.seqs[n-1]\n\t}\n\treturn s.last\n",
	},
	{
		name: "a shard drained with an invocation in work", file: "local/esm/shard.go",
		from: "if l.busy || len(l.queue) > 0 || len(l.work) > 0 || l.window", to: "if len(l.queue) > 0 || l.window",
	},
	{
		name: "a split shard's parent forgotten", file: "local/esm/memory/memory.go",
		from: "Parents: sh.parents", to: "",
	},
	{
		name: "a poison record tried for ever", file: "local/esm/shard.go",
		from: "m == Unlimited || head.invokes <= m", to: "m == Unlimited || head.invokes >= 0",
	},
	{
		name: "failed attempts not counted", file: "local/esm/shard.go",
		from: "s.Counts.FailedInvokeEventCount += int64(len(head.records) - from)", to: "",
	},
	{
		name: "reports without the records", file: "local/esm/failure.go",
		from: "whole.Payload = string(payload)", to: `_ = payload; whole.Payload = "{}"`,
	},
	{
		name: "a window due in the past", file: "local/esm/shard.go",
		from: "if l.window != nil && now.Before(l.window.End.Add(idleWindow)) {", to: "if l.window != nil {",
	},
	{
		name: "a window's state lost with its poller", file: "local/esm/shard.go",
		from: "if w := s.lanes[0].window; w != nil {", to: "if w := s.lanes[0].window; false {",
	},
	{
		name: "a window ended that can't be read", file: "local/esm/shard.go",
		from: " && !s.caught.Before(l.window.End)", to: "",
	},
	{
		name: "a window's state not carried on", file: "local/esm/shard.go",
		from: "default:\n\t\tl.window.State = state", to: "default:",
	},
}

// read returns the guard's file: its absolute path, and its source, which has the
// guard once.
func (m mutant) read(t *testing.T) (path, source string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(content), m.from); n != 1 {
		t.Fatalf("%s has %q %d times: change the list of guards with the source", m.file, m.from, n)
	}
	return path, string(content)
}

// TestTheGuardsAreInTheSource says at once, not first where they are taken out, that a
// guard's line was changed.
func TestTheGuardsAreInTheSource(t *testing.T) {
	for _, m := range guards {
		t.Run(m.name, func(t *testing.T) { m.read(t) })
	}
}

// TestEveryGuardIsMissed takes each guard out of the source, and expects a seed to
// fail.
func TestEveryGuardIsMissed(t *testing.T) {
	if !*mutants {
		t.Skip("make sim does it: it builds the tests once for each guard (-mutants)")
	}
	for _, m := range guards {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, source := m.read(t)
			changed := filepath.Join(dir, "changed.go")
			overlay := filepath.Join(dir, "overlay.json")
			replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string][]byte{changed: []byte(strings.Replace(source, m.from, m.to, 1)), overlay: replace} {
				if err := os.WriteFile(name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			binary := filepath.Join(dir, "mutant.test")
			if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("it doesn't build: %v\n%s", err, out)
			}
			out, err := exec.Command(binary, append([]string{"-test.short", "-test.run", "^TestPipeline$", "-seeds=1000", "-records=1500"}, m.args...)...).CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("again: go test ./tests/sim")) {
				t.Fatalf("a thousand seeds don't miss it: %v\n%s", err, out)
			}
			t.Logf("%.400s", out)
		})
	}
}
