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
	test       string // TestPipeline by default
}

// Each is a line without which something is lost, doubled, inverted or held up. If
// one isn't found in its file any more, change this list with it.
var guards = []mutant{
	// The standings' handler.
	{
		name: "writes without a condition", file: "lambdas/standings/handler/handler.go",
		from: `ConditionExpression: aws.String("attribute_not_exists(#seq) OR #seq < :seq"),`,
	},
	{
		name: "writes over an equal seq", file: "lambdas/standings/handler/handler.go",
		from: `OR #seq < :seq"`, to: `OR #seq <= :seq"`,
	},
	{
		name: "failed writes taken for success", file: "lambdas/standings/handler/handler.go",
		from: `failures.Add(b.first[key], fmt.Errorf("racer %s of race %s: %w", key.Racer, key.Race, err))`, to: `_ = fmt.Sprint(key)`,
	},
	{
		name: "failed rejects taken for success", file: "lambdas/standings/handler/handler.go",
		from: `failures.Add(position, err)`, to: `_ = err`,
	},
	{
		name: "malformed records skipped", file: "lambdas/standings/handler/handler.go",
		from: `b.malformed[position] = err`, to: `_ = err`,
	},
	{
		name: "retried from a racer's last record", file: "lambdas/standings/handler/handler.go",
		from: `if _, ok := b.first[record.Key()]; !ok {`, to: `{`,
	},
	{
		name: "an older state taken for a failure", file: "lambdas/standings/handler/handler.go",
		from: "errors.As(err, &newer) {\n\t\treturn false, nil", to: "errors.As(err, &newer) {\n\t\treturn false, err",
	},
	{
		name: "the last record of a batch wins", file: "lambdas/race/fold.go",
		from: `compareAge(r, held) > 0`, to: `compareAge(r, held) > -2`,
	},
	{
		name: "the highest failure reported, not the lowest", file: "lambdas/kit/partial/partial.go",
		from: `position < f.first.Position`, to: `position > f.first.Position`,
	},
	{
		name: "rejected records share a document", file: "lambdas/kit/reject/reject.go",
		from: `d.ShardID, d.SequenceNumber)`, to: `d.ShardID, "")`,
	},
	{
		name: "rejected records not counted", file: "lambdas/kit/reject/reject.go",
		from: "\tw.count()\n", to: "",
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
		from: `failures.Add(r.first, fmt.Errorf("podium of race %s: %w", name, err))`, to: `_ = fmt.Errorf`,
	},
	{
		name: "failed rejects of changes taken for success", file: "lambdas/podium/handler/handler.go",
		from: `failures.Add(position, err)`, to: `_ = err`,
	},
	{
		name: "unreadable changes skipped", file: "lambdas/podium/handler/handler.go",
		from: `unreadable[position] = err`, to: `_ = err`,
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
		name: "a window due in the past", file: "local/esm/shard.go", test: "TestWindows",
		from: "if l.window != nil && now.Before(l.window.End.Add(idleWindow)) {", to: "if l.window != nil {",
	},
	{
		name: "a window's state lost with its poller", file: "local/esm/shard.go", test: "TestWindows",
		from: "if w := s.lanes[0].window; w != nil {", to: "if w := s.lanes[0].window; false {",
	},
	{
		name: "a window ended that can't be read", file: "local/esm/shard.go", test: "TestWindows",
		from: " && !s.caught.Before(l.window.End)", to: "",
	},
	{
		name: "a window's state not carried on", file: "local/esm/shard.go", test: "TestWindows",
		from: "default:\n\t\tl.window.State = state", to: "default:",
	},
}

// TestEveryGuardIsMissed takes each guard out of the source, and expects a seed to
// fail.
func TestEveryGuardIsMissed(t *testing.T) {
	if !*mutants {
		t.Skip("make sim does it: it builds the tests once for each guard (-mutants)")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range guards {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(root, m.file)
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.from); n != 1 {
				t.Fatalf("%s has %q %d times", m.file, m.from, n)
			}
			changed := filepath.Join(dir, "changed.go")
			overlay := filepath.Join(dir, "overlay.json")
			replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string][]byte{changed: []byte(strings.Replace(string(source), m.from, m.to, 1)), overlay: replace} {
				if err := os.WriteFile(name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			binary := filepath.Join(dir, "mutant.test")
			if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("it doesn't build: %v\n%s", err, out)
			}
			test := "TestPipeline"
			if m.test != "" {
				test = m.test
			}
			out, err := exec.Command(binary, "-test.short", "-test.run", "^"+test+"$", "-seeds=1000", "-records=1500").CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("again: go test ./tests/sim")) {
				t.Fatalf("a thousand seeds don't miss it: %v\n%s", err, out)
			}
			t.Logf("%.400s", out)
		})
	}
}
