package synth

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"

	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/stacks/race"
)

// templates is for the checkers that read files: `make lint` runs them over it.
var templates = flag.String("templates", "", "directory to write the template of every checked stack to")

// packs of cdk-nag, by the name that begins their rules.
var packs = map[string]func(*cdknag.NagPackProps) awscdk.IAspect{
	"AwsSolutions":   func(p *cdknag.NagPackProps) awscdk.IAspect { return cdknag.NewAwsSolutionsChecks(p) },
	"Serverless":     func(p *cdknag.NagPackProps) awscdk.IAspect { return cdknag.NewServerlessChecks(p) },
	"NIST.800.53.R5": func(p *cdknag.NagPackProps) awscdk.IAspect { return cdknag.NewNIST80053R5Checks(p) },
}

// checked are the stacks that no checker finds anything in: the race as it is
// deployed, and each construct with all that can be set of it.
func checked() map[string]func(awscdk.App) {
	all := map[string]func(awscdk.App){}
	for _, name := range []string{"default", "provisioned", "redshift"} {
		all["race-"+name] = func(app awscdk.App) { race.New(app, configs[name]) }
	}
	for name, build := range fullest {
		all[name] = func(app awscdk.App) {
			build(awscdk.NewStack(app, jsii.String("Fullest"), &awscdk.StackProps{Description: jsii.String("every setting of " + name)}))
		}
	}
	return all
}

// nagLine is one of cdk-nag's report.
type nagLine struct{ RuleID, RuleInfo, ResourceID, Compliance, ExceptionReason string }

// examined is what the checkers of the CDK say of an app.
type examined struct {
	// open findings, one a line: where, which, and what it says.
	open []string
	// suppressed is cdk-nag's account, and the CDK's, of what was found and accepted.
	suppressed []nagLine
	// template of the app's only stack, and the paths of its resources.
	template *snapshot.Template
	paths    map[string]string
}

// examine synthesizes what build defines, under every pack of cdk-nag and, unless
// CDK_VALIDATION is false, under the CDK's own rules.
func examine(t *testing.T, build func(awscdk.App), ignore cdknag.INagSuppressionIgnore) examined {
	t.Helper()
	app := newApp(t, false)
	build(app)
	for _, pack := range packs {
		awscdk.Aspects_Of(app).Add(pack(&cdknag.NagPackProps{
			Reports: jsii.Bool(true), ReportFormats: &[]cdknag.NagReportFormat{cdknag.NagReportFormat_JSON},
			SuppressionIgnoreCondition: ignore,
		}), nil)
	}
	dir := *app.Outdir()
	func() {
		// Where something is found the synthesis fails, after the reports were written.
		defer func() {
			if problem := recover(); problem != nil && !strings.Contains(fmt.Sprint(problem), "alidation failed") {
				panic(problem)
			}
		}()
		app.Synth(nil)
	}()

	var r examined
	var violated []nagLine
	for name := range packs {
		found, _ := filepath.Glob(filepath.Join(dir, name+"-*-NagReport.json"))
		if len(found) != 1 {
			t.Fatalf("%d reports of %s: cdk-nag didn't run", len(found), name)
		}
		var lines struct{ Lines []nagLine }
		decode(t, found[0], &lines)
		for _, l := range lines.Lines {
			switch l.Compliance {
			case "Suppressed":
				r.suppressed = append(r.suppressed, l)
			case "Compliant", "N/A":
			default:
				violated = append(violated, l)
			}
		}
	}
	var validation struct {
		PluginReports []struct {
			Violations, SuppressedViolations []struct {
				RuleName, Description, AcknowledgedID, Reason string
				ViolatingConstructs                           []struct{ ConstructPath string }
			}
		}
	}
	// Without the CDK's own rules there is one only where something was found.
	file := filepath.Join(dir, "validation-report.json")
	if _, err := os.Stat(file); err == nil {
		decode(t, file, &validation)
	}
	for _, plugin := range validation.PluginReports {
		for _, v := range plugin.SuppressedViolations {
			for _, where := range v.ViolatingConstructs {
				r.suppressed = append(r.suppressed, nagLine{RuleID: v.AcknowledgedID, ResourceID: where.ConstructPath, ExceptionReason: v.Reason})
			}
		}
		for _, v := range plugin.Violations {
			for _, where := range v.ViolatingConstructs {
				rule := v.RuleName + ": "
				if strings.HasPrefix(rule, "Annotation::") {
					rule = "" // cdk-nag's own is in its text
				}
				r.open = append(r.open, where.ConstructPath+": "+rule+strings.TrimSpace(v.Description))
			}
		}
	}
	for _, l := range violated {
		head := l.ResourceID + ": " + l.RuleID
		if !slices.ContainsFunc(r.open, func(o string) bool { return strings.HasPrefix(o, head) }) {
			r.open = append(r.open, head+": "+l.RuleInfo)
		}
	}
	slices.Sort(r.open)
	stack := onlyStack(t, dir)
	r.template = snapshot.Read(t, *app.Outdir(), stack)
	r.paths = map[string]string{}
	var metadata map[string][]struct {
		Type string
		Data any
	}
	decode(t, filepath.Join(dir, stack+".metadata.json"), &metadata)
	for path, entries := range metadata {
		for _, e := range entries {
			if id, ok := e.Data.(string); ok && e.Type == "aws:cdk:logicalId" {
				r.paths[id] = strings.TrimPrefix(path, "/")
			}
		}
	}
	return r
}

// onlyStack is the name of the only stack in an assembly.
func onlyStack(tb testing.TB, dir string) string {
	tb.Helper()
	found, _ := filepath.Glob(filepath.Join(dir, "*.template.json"))
	if len(found) != 1 {
		tb.Fatalf("want one stack, got %v", found)
	}
	return strings.TrimSuffix(filepath.Base(found[0]), ".template.json")
}

func decode(tb testing.TB, file string, into any) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
}

// acceptance is a finding that a template's metadata accepts.
type acceptance struct {
	resource   string // logical id
	id, reason string
	parts      []string // of a finding of cdk-nag, where only these are accepted
}

// acceptances are all of a template, in every checker's notation.
func acceptances(t *snapshot.Template) []acceptance {
	var all []acceptance
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		metadata := t.Resources[id].Metadata
		for _, rule := range list(at(metadata, "cdk_nag", "rules_to_suppress")) {
			a := acceptance{resource: id}
			a.id, _ = at(rule, "id").(string)
			a.reason, _ = at(rule, "reason").(string)
			for _, p := range list(at(rule, "applies_to")) {
				if regex, ok := at(p, "regex").(string); ok {
					p = regex
				}
				a.parts = append(a.parts, p.(string))
			}
			all = append(all, a)
		}
		for _, other := range []struct{ tool, key, reason string }{
			{"checkov", "skip", "comment"}, {"cfn-lint", "reasons", "reason"}, {"cdk_validation", "acknowledged", "reason"},
		} {
			for _, rule := range list(at(metadata, other.tool, other.key)) {
				a := acceptance{resource: id}
				a.id, _ = at(rule, "id").(string)
				a.reason, _ = at(rule, other.reason).(string)
				all = append(all, a)
			}
		}
	}
	return all
}

// Zero unexplained findings: cdk-nag's three packs, and the CDK's own rules where
// they aren't switched off, over every checked stack.
func TestNothingIsFoundThatIsNotAccepted(t *testing.T) {
	for name, build := range checked() {
		t.Run(name, func(t *testing.T) {
			r := examine(t, build, nil)
			for _, finding := range r.open {
				t.Error(finding)
			}
			for _, stale := range unneeded(r) {
				t.Error(stale)
			}
			if *templates != "" {
				writeTemplate(t, filepath.Join(*templates, name+".template.json"), r.template)
			}
			if golden, ok := strings.CutPrefix(name, "race-"); ok && !updating() {
				want, err := os.ReadFile(filepath.Join("testdata", golden+".template.json"))
				if err != nil {
					t.Fatal(err)
				}
				if string(r.template.Snapshot()) != string(want) {
					t.Error("the template isn't the golden one: a checker changes what it looks at")
				}
			}
		})
	}
}

// unneeded are acceptances of what cdk-nag and the CDK don't find. Where two accept the same,
// cdk-nag names the first one's reason only.
func unneeded(r examined) []string {
	type place struct{ path, id string }
	reasons, found := map[place][]string{}, map[place][]string{}
	for _, a := range acceptances(r.template) {
		at := place{r.paths[a.resource], a.id}
		reasons[at] = append(reasons[at], a.reason)
	}
	for _, l := range r.suppressed {
		at := place{l.ResourceID, l.RuleID}
		part := l.ExceptionReason // "[part] reason" where the acceptance names parts
		for _, reason := range reasons[at] {
			part = strings.TrimSuffix(part, "] "+reason)
		}
		found[at] = append(found[at], strings.TrimPrefix(part, "["))
	}
	var all []string
	for _, a := range acceptances(r.template) {
		switch family, _, qualified := strings.Cut(a.id, "::"); {
		case qualified && (family == "Annotation" || os.Getenv("CDK_VALIDATION") == "false"):
			continue // the CDK doesn't say which warnings it kept back, nor what it didn't check
		case !qualified && !strings.Contains(a.id, "-"):
			continue // tests/checks tells which of them checkov doesn't find
		}
		at := place{r.paths[a.resource], a.id}
		if a.parts == nil && len(found[at]) == 0 {
			a.parts = []string{""}
		}
		for _, part := range a.parts {
			if !slices.ContainsFunc(found[at], func(f string) bool {
				if regex, ok := strings.CutPrefix(part, "/"); ok {
					return regexp.MustCompile(regex[:strings.LastIndex(regex, "/")]).MatchString(f)
				}
				return f == part
			}) {
				all = append(all, fmt.Sprintf("%s: %s %s is accepted and not found: take the acceptance away", at.path, a.id, part))
			}
		}
	}
	return all
}

func writeTemplate(t *testing.T, file string, template *snapshot.Template) {
	t.Helper()
	text := template.Text()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

var sentence = regexp.MustCompile(`^[A-Z][ -~]{20,}\.$`)

func TestReasonsAreSentences(t *testing.T) {
	for name := range checked() {
		t.Run(name, func(t *testing.T) {
			for _, a := range acceptances(templateOf(t, name)) {
				if !sentence.MatchString(a.reason) || strings.Count(a.reason, " ") < 4 {
					t.Errorf("%s accepts %s because %q: that is no sentence", a.resource, a.id, a.reason)
				}
			}
		})
	}
}

// synthesized are the templates of the checked stacks, each made once.
var synthesized = map[string]*snapshot.Template{}

// templateOf is the template of a checked stack.
func templateOf(t *testing.T, name string) *snapshot.Template {
	t.Helper()
	if synthesized[name] == nil {
		app := newApp(t, false)
		checked()[name](app)
		app.Synth(nil)
		synthesized[name] = snapshot.Read(t, *app.Outdir(), onlyStack(t, *app.Outdir()))
	}
	return synthesized[name]
}

// withoutResources are actions for which AWS has no resource-level permission:
// they may be allowed on "*".
var withoutResources = map[string]string{
	"xray:PutTraceSegments":    "X-Ray has no resource that a trace is put to",
	"xray:PutTelemetryRecords": "X-Ray has no resource that telemetry is put to",

	"lakeformation:GetDataAccess": "Lake Formation checks its own grants of the table",

	"ec2:DescribeNetworkInterfaces": "EC2 describes all or none",
	"ec2:DescribeSecurityGroups":    "EC2 describes all or none",
	"ec2:DescribeSubnets":           "EC2 describes all or none",
	"ec2:DescribeVpcs":              "EC2 describes all or none",
}

// byCondition are actions that may be allowed on "*" where a condition names what
// the resource would.
var byCondition = map[string]string{
	"elasticfilesystem:ClientMount": "the CDK's file systems name the access point in a condition",

	"redshift-data:DescribeStatement":  "a condition names whose statements they are",
	"redshift-data:GetStatementResult": "a condition names whose statements they are",
}

// wildcards are actions with a wildcard that may be allowed, on named resources.
var wildcards = map[string]string{
	"kms:GenerateDataKey*": "DynamoDB's documentation asks for it by this name, for whoever writes to a table with a customer key",
	"kms:ReEncrypt*":       "it is ReEncryptFrom and ReEncryptTo, which DynamoDB wants together",
}

// Our own rule, stricter than the checkers': what is allowed is allowed by name.
func TestNoStatementAllowsEverything(t *testing.T) {
	statements := 0
	for name := range checked() {
		t.Run(name, func(t *testing.T) {
			for id, r := range templateOf(t, name).Resources {
				if r.Type == "AWS::KMS::Key" {
					continue // in a key's own policy "*" is the key
				}
				for _, s := range allowStatements(r.Properties) {
					statements++
					for _, problem := range tooWide(s) {
						t.Errorf("%s %s: %s", r.Type, id, problem)
					}
				}
			}
		})
	}
	if statements == 0 {
		t.Error("no statement was found")
	}
}

// allowStatements are the statements of every policy in properties that allow something.
func allowStatements(properties any) []any {
	var all []any
	switch v := properties.(type) {
	case map[string]any:
		if v["Effect"] == "Allow" {
			return []any{v}
		}
		for _, inner := range v {
			all = append(all, allowStatements(inner)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, allowStatements(inner)...)
		}
	}
	return all
}

// tooWide says what of a statement isn't named.
func tooWide(statement any) []string {
	var all []string
	actions := list(at(statement, "Action"))
	for _, a := range actions {
		if action := fmt.Sprint(a); strings.Contains(action, "*") && wildcards[action] == "" {
			all = append(all, action+" isn't one action: name those that are needed")
		}
	}
	for _, key := range []string{"NotAction", "NotResource"} {
		if at(statement, key) != nil {
			all = append(all, key+" allows what nobody thought of: name what is needed")
		}
	}
	if !slices.ContainsFunc(list(at(statement, "Resource")), func(r any) bool { return r == "*" }) {
		return all
	}
	for _, a := range actions {
		action := fmt.Sprint(a)
		if withoutResources[action] == "" && (byCondition[action] == "" || at(statement, "Condition") == nil) {
			all = append(all, action+` on "*": name the resource; if AWS has no resource-level permission for it, add it to withoutResources`)
		}
	}
	return all
}

func TestWideStatementsAreSeen(t *testing.T) {
	for name, c := range map[string]struct {
		statement map[string]any
		problems  int
	}{
		"named":                  {map[string]any{"Action": "s3:GetObject", "Resource": map[string]any{"Ref": "Bucket"}}, 0},
		"everything":             {map[string]any{"Action": "*", "Resource": "*"}, 2},
		"all of a service":       {map[string]any{"Action": []any{"s3:*", "s3:GetObject"}, "Resource": "arn:aws:s3:::x/*"}, 1},
		"any resource":           {map[string]any{"Action": "s3:GetObject", "Resource": []any{"arn:aws:s3:::x", "*"}}, 1},
		"all but":                {map[string]any{"NotAction": "iam:PassRole", "Resource": "arn:aws:s3:::x"}, 1},
		"no resource to name":    {map[string]any{"Action": "xray:PutTraceSegments", "Resource": "*"}, 0},
		"a known wildcard":       {map[string]any{"Action": "kms:ReEncrypt*", "Resource": map[string]any{"Fn::GetAtt": []any{"Key", "Arn"}}}, 0},
		"a known one, any where": {map[string]any{"Action": "kms:ReEncrypt*", "Resource": "*"}, 1},
		"on a condition":         {map[string]any{"Action": "elasticfilesystem:ClientMount", "Resource": "*", "Condition": map[string]any{}}, 0},
		"without the condition":  {map[string]any{"Action": "elasticfilesystem:ClientMount", "Resource": "*"}, 1},
	} {
		if got := tooWide(c.statement); len(got) != c.problems {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// theirs are what the fullest stacks define beside the constructs of this module,
// by the ids below the stack: what is accepted there is the test's own.
var theirs = regexp.MustCompile(`^(AccessLogs)`)

// docs/design/findings.md is what a reviewer reads; it has to be all, and true.
func TestThePageListsWhatIsAccepted(t *testing.T) {
	page, err := os.ReadFile("../../docs/design/findings.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range strings.Split(string(page), "\n") {
		if cells := strings.Split(row, "|"); len(cells) == 6 {
			for _, id := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				listed[id[1]] = true
			}
		}
	}
	accepted := map[string]bool{}
	for name := range checked() {
		for _, a := range acceptances(templateOf(t, name)) {
			if theirs.MatchString(a.resource) {
				continue
			}
			if accepted[a.id] = true; !listed[a.id] {
				t.Errorf("%s is accepted (%s: %s) and not in the page's table", a.id, name, a.resource)
			}
		}
	}
	for id := range listed {
		if !accepted[id] {
			t.Errorf("the page lists %s, which is accepted nowhere", id)
		}
	}
}

// An auditor who takes nobody's word switches every acceptance off.
func TestAnAuditorSeesEverything(t *testing.T) {
	const name = "race-default"
	always := cdknag.NewSuppressionIgnoreAlways(jsii.String("an audit"))
	all := strings.Join(examine(t, checked()[name], always).open, "\n")
	for _, a := range acceptances(templateOf(t, name)) {
		if strings.Contains(a.id, "-") && !strings.Contains(all, a.id) {
			t.Errorf("%s stays hidden", a.id)
		}
	}
}

// An acceptance has to be found whole: its rule, where it is, and each of its parts.
func TestStaleAcceptancesAreSeen(t *testing.T) {
	on := func(rules ...any) *snapshot.Template {
		return &snapshot.Template{Resources: map[string]snapshot.Resource{"Policy": {Metadata: map[string]any{
			"cdk_nag": map[string]any{"rules_to_suppress": rules},
		}}}}
	}
	whole := map[string]any{"id": "AwsSolutions-S1", "reason": "first"}
	parts := map[string]any{"id": "AwsSolutions-IAM5", "reason": "second", "applies_to": []any{"Resource::*", map[string]any{"regex": `/^Action::s3:.*$/`}}}
	again := map[string]any{"id": "AwsSolutions-IAM5", "reason": "third", "applies_to": []any{"Resource::*"}}
	found := func(id, reason string) nagLine {
		return nagLine{RuleID: id, ResourceID: "Test/Policy", ExceptionReason: reason}
	}
	for name, c := range map[string]struct {
		template   *snapshot.Template
		suppressed []nagLine
		stale      int
	}{
		"found":                  {on(whole), []nagLine{found("AwsSolutions-S1", "first")}, 0},
		"not found":              {on(whole), nil, 1},
		"found elsewhere":        {on(whole), []nagLine{{RuleID: "AwsSolutions-S1", ResourceID: "Test/Other", ExceptionReason: "first"}}, 1},
		"another rule":           {on(whole), []nagLine{found("AwsSolutions-S10", "first")}, 1},
		"all parts":              {on(parts), []nagLine{found("AwsSolutions-IAM5", "[Resource::*] second"), found("AwsSolutions-IAM5", "[Action::s3:Get*] second")}, 0},
		"one part":               {on(parts), []nagLine{found("AwsSolutions-IAM5", "[Resource::*] second")}, 1},
		"no part":                {on(parts), nil, 2},
		"a part with two causes": {on(again, parts), []nagLine{found("AwsSolutions-IAM5", "[Resource::*] third"), found("AwsSolutions-IAM5", "[Action::s3:Get*] second")}, 0},
	} {
		if got := unneeded(examined{template: c.template, suppressed: c.suppressed, paths: map[string]string{"Policy": "Test/Policy"}}); len(got) != c.stale {
			t.Errorf("%s: %q", name, got)
		}
	}
}
