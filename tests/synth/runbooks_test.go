package synth

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/stacks/race"
)

// unused are pages that no alarm links yet: for alarms that users make of
// resources which millrace's constructs define or can be given.
var unused = []string{
	"consumer-failure-queue", "consumer-failure-topic", "stream-fan-out-age", "stream-fan-out-throttled",
	"table-capacity", "table-kinesis-failed", "table-replication-latency",
}

// runbookPages are the texts of docs/runbooks by the pages' names.
func runbookPages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil || len(files) < 2 {
		t.Fatalf("there are no runbooks: %v, %v", files, err)
	}
	pages := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pages[strings.TrimSuffix(filepath.Base(file), ".md")] = string(text)
	}
	return pages
}

// linkedPages are those that alarms link: of the race stack, of the fullest
// stacks, and wherever a construct names one.
func linkedPages(t *testing.T) map[string]string {
	t.Helper()
	linked := map[string]string{} // page: who links it
	templates := map[string]*snapshot.Template{"race": synthRace(t, race.Config{})}
	for name, build := range fullest {
		stack := awscdk.NewStack(newApp(t, false), jsii.String("Fullest"), nil)
		build(stack)
		templates["fullest "+name] = snapshot.Of(t, stack)
	}
	address := regexp.MustCompile(`Runbook: https?://\S+/([a-z0-9-]+)\.md$`)
	for name, template := range templates {
		for _, kind := range []string{"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"} {
			for id, alarm := range template.OfType(kind) {
				text, _ := alarm.At("AlarmDescription").(string)
				if page := address.FindStringSubmatch(text); page != nil {
					linked[page[1]] = name + ": " + id
				} else if !strings.Contains(text, "Runbook: https://") {
					t.Errorf("%s: %s links no runbook: %q", name, id, text)
				}
			}
		}
	}
	sources, err := filepath.Glob("../../constructs/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	page := regexp.MustCompile(`"((?:stream|consumer|gofunc|table|delivery|watch)-[a-z0-9-]+)"`)
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range page.FindAllStringSubmatch(string(text), -1) {
			linked[match[1]] = file
		}
	}
	return linked
}

func TestEveryAlarmHasItsRunbookAndEveryRunbookItsAlarm(t *testing.T) {
	pages, linked := runbookPages(t), linkedPages(t)
	for page, by := range linked {
		if _, ok := pages[page]; !ok {
			t.Errorf("%s links docs/runbooks/%s.md, which doesn't exist", by, page)
		}
	}
	if len(linked) < 20 {
		t.Errorf("only %d pages are linked", len(linked))
	}
	for page := range pages {
		if page != "README" && linked[page] == "" && !slices.Contains(unused, page) {
			t.Errorf("no alarm links docs/runbooks/%s.md: remove it, or list it as unused", page)
		}
	}
	for _, page := range unused {
		if pages[page] == "" {
			t.Errorf("%s is listed as unused and doesn't exist", page)
		}
	}
}

func TestRunbooksAnswerWhatOneAsksAtNight(t *testing.T) {
	sections := []string{"## Is data at risk?", "## Confirm", "## Causes and fixes", "## Recover", "## Avoid"}
	pages := runbookPages(t)
	for name, text := range pages {
		if name == "README" {
			continue
		}
		if !strings.HasPrefix(text, "# ") || !regexp.MustCompile(`(?m)^Alarms?: .+\.$`).MatchString(text) {
			t.Errorf("%s doesn't begin with its title and its alarm", name)
		}
		var got []string
		for _, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "## ") {
				got = append(got, line)
			}
		}
		if !slices.Equal(got, sections) {
			t.Errorf("%s has the sections %q, want %q", name, got, sections)
			continue
		}
		for i, section := range sections {
			_, body, _ := strings.Cut(text, section+"\n")
			if i+1 < len(sections) {
				body, _, _ = strings.Cut(body, sections[i+1])
			}
			if len(strings.TrimSpace(body)) < 10 {
				t.Errorf("%s says nothing under %s", name, section)
			}
			if section == "## Confirm" && !regexp.MustCompile(`(?m)^(aws|metric|for|ITERATOR=)`).MatchString(body) {
				t.Errorf("%s has no command under %s", name, section)
			}
		}
		if !strings.Contains(pages["README"], "["+name+"]("+name+".md)") {
			t.Errorf("%s isn't in the index", name)
		}
	}
}

func TestRunbooksLinksLeadSomewhereAndTheirVariablesAreSet(t *testing.T) {
	pages := runbookPages(t)
	anchors := map[string]bool{}
	for _, line := range strings.Split(pages["README"], "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			anchors[strings.ReplaceAll(strings.ToLower(title), " ", "-")] = true
		}
	}
	set := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^(?:read -r -p ".*" )?([A-Z_]+)(?:=|$)`).FindAllStringSubmatch(pages["README"], -1) {
		set[match[1]] = true
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(pages[name], -1) {
			page, anchor, _ := strings.Cut(link[1], "#")
			if _, ok := pages[strings.TrimSuffix(page, ".md")]; !ok || anchor != "" && !anchors[anchor] {
				t.Errorf("%s links %s, which doesn't exist", name, link[1])
			}
		}
		own := maps.Clone(set)
		for _, match := range regexp.MustCompile(`(?m)^(?:read -r -p ".*" )?([A-Z_]+)(?:=|$)`).FindAllStringSubmatch(pages[name], -1) {
			own[match[1]] = true
		}
		for _, match := range regexp.MustCompile(`\$([A-Z][A-Z_]+)`).FindAllStringSubmatch(pages[name], -1) {
			if !own[match[1]] {
				t.Errorf("%s uses $%s, which nothing sets", name, match[1])
			}
		}
	}
}
