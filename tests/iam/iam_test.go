// Package iam shows that no policy of the stack grants an action that nothing needs,
// as far as the emulator can tell: it deploys the stack on this machine's emulator,
// which enforces IAM, takes every action away that a policy allows, one at a time,
// resource by resource, and looks for what then fails.
//
// What stands in decisions_test.go says which of three things has to happen:
//
//   - pipeline: a record put into the stream doesn't get where it belongs, and the
//     function's log says which action it was denied. When the policy is whole again
//     the record arrives: nothing was lost, and it was the action that was missing.
//   - call: AWS's services use the role themselves on AWS, to poll a stream, deliver an
//     object or write a failed batch; the emulator does these things without asking
//     IAM. So the test makes the service's call itself with the role's credentials. It
//     succeeds with the policy and is refused, by name, without the action.
//   - nothing: the emulator doesn't evaluate it in either way.
//
// The last two make no difference to the pipeline on the emulator, and that is checked
// too: all of them are taken away at once, and everything still works. When an emulator
// begins to evaluate one, this fails and says so; the table can't hide a gap. Nor can it
// grow old: an action that isn't in it fails the test, and so does a row without an action.
//
// It proves that each action is effective on the resource that it names and covered by
// no other statement, and for those of the functions' own code that they are needed. That
// AWS's services need the others is AWS's word; the table names the page. The
// emulator's template differs from AWS's in the profile of stacks/race/local.go, but in
// no action that is allowed; that is checked as well.
package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/millrace/millrace/local"
)

func TestEveryActionIsNeeded(t *testing.T) {
	p := start(t)
	grants := p.grants(t)
	table := decided(t, grants)

	t.Run("everything works with the policies as they are", func(t *testing.T) { p.everything(t, "whole") })

	verdicts := map[grant]string{}
	for _, g := range slices.SortedFunc(maps.Keys(grants), byText) {
		t.Run(g.String(), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					verdicts[g] = "FAILED"
				}
			}()
			switch d := table[g]; d.without {
			case pipeline:
				d.flow(p, g).failsWithout(t, g, grants[g])
				verdicts[g] = "the pipeline fails"
			case call:
				p.refusedWithout(t, g, grants[g])
				verdicts[g] = "the service's call is refused"
			case nothing:
				p.notEvaluated(t, g, grants[g])
				verdicts[g] = "not evaluated"
			}
		})
	}

	t.Run("what isn't evaluated makes no difference to the pipeline", func(t *testing.T) {
		var without []grant
		for _, g := range slices.SortedFunc(maps.Keys(table), byText) {
			if table[g].without == nothing {
				without = append(without, g)
			}
		}
		restore := p.takeAway(t, grants, without...)
		defer restore()
		if !p.tryEverything(t, "without", time.Minute) {
			for i, g := range without {
				restore()
				restore = p.takeAway(t, grants, g)
				if !p.tryEverything(t, fmt.Sprintf("without-%d", i), 20*time.Second) {
					t.Errorf("%s is now evaluated by the emulator's pipeline: take it off the list, write an exercise that needs it", g)
				}
			}
			t.Error("something that was taken away is needed, see above")
		}
	})
	t.Run("everything works afterwards", func(t *testing.T) { p.everything(t, "after") })

	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nWITHOUT\tACTION\tON\tBY")
	count := map[string]int{}
	for _, g := range slices.SortedFunc(maps.Keys(grants), byText) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", verdicts[g], g.action, g.resource, g.holder)
		count[verdicts[g]]++
	}
	w.Flush()
	t.Logf("%s\n%d grants: %v", &out, len(grants), count)
}

// The policies that are tested are those that go to AWS.
func TestTheLocalProfileAllowsWhatAWSGets(t *testing.T) {
	want := allowed(t, readTemplate(t, "../synth/testdata/default.template.json"))
	got := allowed(t, readTemplate(t, "../synth/testdata/local.template.json"))
	for g := range want {
		if _, ok := got[g]; !ok {
			t.Errorf("%s isn't in the local template", g)
		}
	}
	for g := range got {
		if _, ok := want[g]; !ok {
			t.Errorf("%s is in the local template only", g)
		}
	}
	if len(want) < 30 {
		t.Errorf("only %d grants found", len(want))
	}
}

// decided finds the decision of every grant, and complains of grants without a
// decision and decisions without a grant.
func decided(t *testing.T, grants map[grant]place) map[grant]decision {
	t.Helper()
	table := map[grant]decision{}
	for _, d := range decisions {
		for _, g := range d.grants() {
			if _, twice := table[g]; twice {
				t.Errorf("two decisions on %s", g)
			}
			if len(d.why) < 20 {
				t.Errorf("no reason for %s", g)
			}
			table[g] = d
		}
	}
	for g := range table {
		if _, ok := grants[g]; !ok {
			t.Errorf("there is a decision on %s, which no policy allows: take it out", g)
			delete(table, g)
		}
	}
	for g := range grants {
		if _, ok := table[g]; !ok {
			t.Errorf("nothing is decided on %s: decide in decisions_test.go what fails without it", g)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return table
}

// failsWithout takes g away, starts the flow, waits until the function is denied
// g's action, sees that the effect is missing, puts g back and sees the effect.
func (f flow) failsWithout(t *testing.T, g grant, at place) {
	t.Helper()
	restore := f.p.takeAway(t, map[grant]place{g: at}, g)
	defer restore()
	since := time.Now()
	f.begin(t)
	refusal := "not authorized to perform: " + g.action + " "
	works := false
	if err := within(time.Minute, func() error {
		if works = f.effect() == nil; works {
			return nil
		}
		return f.p.logged(t, f.function, since, "assumed-role/"+at.role+"/", refusal)
	}); err != nil {
		t.Fatal(err)
	}
	if works {
		t.Fatal("works without it: nothing needs it, or the emulator no longer evaluates it")
	}
	if err := f.effect(); err == nil {
		t.Error("there is an effect without it, although it was denied")
	}
	restore()
	if err := within(time.Minute, f.effect); err != nil {
		t.Errorf("with the policy whole again: %v", err)
	}
}

// refusedWithout makes the call that an AWS service makes, as the role.
func (p *machine) refusedWithout(t *testing.T, g grant, at place) {
	t.Helper()
	made := calls[g.action]
	if made == nil {
		t.Fatalf("there is no call for %s in calls_test.go", g.action)
	}
	as := p.as(t, at.role)
	if err := made(p, as, at.arn); err != nil {
		t.Fatalf("with the policy: %v", err)
	}
	restore := p.takeAway(t, map[grant]place{g: at}, g)
	defer restore()
	if err := made(p, as, at.arn); !denied(err, g.action) {
		t.Errorf("without it: %v, want access denied", err)
	}
	restore()
	if err := made(p, as, at.arn); err != nil {
		t.Errorf("with the policy whole again: %v", err)
	}
}

// notEvaluated sees that a call is refused whatever the policy says, if there is one.
func (p *machine) notEvaluated(t *testing.T, g grant, at place) {
	t.Helper()
	made := calls[g.action]
	if made == nil || at.role == "" {
		return
	}
	if err := made(p, p.as(t, at.role), at.arn); !denied(err, g.action) {
		t.Errorf("with the policy: %v; the emulator evaluates it now: take it off the list, let it be checked by its call", err)
	}
}

// everything is the whole pipeline, end to end.
func (p *machine) everything(t *testing.T, name string) {
	t.Helper()
	for _, err := range p.runEverything(t, name, time.Minute) {
		t.Error(err)
	}
}

func (p *machine) tryEverything(t *testing.T, name string, limit time.Duration) bool {
	t.Helper()
	problems := p.runEverything(t, name, limit)
	for _, err := range problems {
		t.Log(err)
	}
	return len(problems) == 0
}

func (p *machine) runEverything(t *testing.T, name string, limit time.Duration) []error {
	t.Helper()
	var problems []error
	flows := []flow{podiums(p, name), rejects(p, name), rejectedChanges(p, name), archive(p, name), alarm(p, name)}
	for _, f := range flows {
		f.begin(t)
	}
	for _, f := range flows {
		if err := within(limit, f.effect); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	return problems
}

// within tries check until it passes.
func within(limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func byText(a, b grant) int { return strings.Compare(a.String(), b.String()) }

// takeAway takes grants out of the deployed policies. What it returns puts the
// policies back as they were; calling that again does nothing.
func (p *machine) takeAway(t *testing.T, all map[grant]place, gone ...grant) (restore func()) {
	t.Helper()
	policies := map[*policy][]place{}
	for _, g := range gone {
		policies[all[g].policy] = append(policies[all[g].policy], all[g])
	}
	for pol, places := range policies {
		p.put(t, pol, without(t, pol.document, places))
	}
	return func() {
		for pol := range policies {
			p.put(t, pol, pol.document)
		}
		policies = nil
	}
}

// without is a document without what the places name. Each statement falls apart
// into one for each action and resource, which means the same.
func without(t *testing.T, document string, gone []place) string {
	t.Helper()
	statements := parse(t, document)
	left := []map[string]any{}
	for i, s := range statements {
		if s["Effect"] != "Allow" {
			left = append(left, s)
			continue
		}
		resources := texts(s["Resource"])
		if resources == nil { // a trust policy
			resources = []any{nil}
		}
		for _, action := range texts(s["Action"]) {
			for k, resource := range resources {
				one := maps.Clone(s)
				one["Action"] = action
				if resource != nil {
					one["Resource"] = resource
				}
				if slices.ContainsFunc(gone, func(at place) bool { return at.statement == i && at.action == action && at.resource == k }) {
					if resource != nil {
						continue
					}
					// A role must trust somebody: here a service that plays no part.
					one["Principal"] = map[string]string{"Service": "ec2.amazonaws.com"}
				}
				left = append(left, one)
			}
		}
	}
	if len(left) == 0 {
		return ""
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": left})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// as is the configuration of a client that has assumed the role.
func (p *machine) as(t *testing.T, role string) aws.Config {
	t.Helper()
	if p.assumed[role] == nil {
		config := local.Config(p.Endpoint)
		config.Credentials = p.assume(t, role)
		p.assumed[role] = &config
	}
	return *p.assumed[role]
}
