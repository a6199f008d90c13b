package watch

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/constructs-go/constructs/v10"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// plan is everything about the alarms that is known without the CDK.
type plan struct {
	props  Props
	owners map[constructs.IConstruct]owner
	prefix string   // of the alarms' names
	names  []string // of the alarms, as the signals
}

func newPlan(props Props, owners map[constructs.IConstruct]owner, prefix string) *plan {
	p := &plan{props: props, owners: owners, prefix: prefix}
	for _, s := range props.Signals {
		p.names = append(p.names, p.name(owners[s.Owner].id+"-"+s.Name))
	}
	return p
}

// name of an alarm. One that is too long for CloudWatch ends in its hash.
func (p *plan) name(text string) string {
	text = p.prefix + text
	if longest := spec.AlarmName.Max; len(text) > longest && !spec.IsToken(text) {
		text = text[:longest-9] + "-" + hash(text)
	}
	return text
}

func (p *plan) composite() string { return p.name("Unhealthy") }

// rule of the composite alarm; empty if there is to be none.
func (p *plan) rule() string {
	var parts []string
	for i, s := range p.props.Signals {
		if s.Severity == Critical {
			parts = append(parts, fmt.Sprintf("ALARM(%q)", p.names[i]))
		}
	}
	if p.props.NoComposite {
		return ""
	}
	return strings.Join(parts, " OR ")
}

// runbook is the address of a page.
func (p *plan) runbook(page string) string {
	if address.MatchString(page) {
		return page
	}
	return strings.TrimSuffix(p.props.Runbooks, "/") + "/" + page + ".md"
}

// describe is what a person reads at 3 a.m.
func (p *plan) describe(s Signal) string {
	beyond := "above " + number(s.Threshold)
	switch {
	case s.Anomaly > 0 && s.Outside:
		beyond = fmt.Sprintf("outside what is expected by more than %s standard deviations", number(s.Anomaly))
	case s.Anomaly > 0 && s.Below:
		beyond = fmt.Sprintf("below what is expected by more than %s standard deviations", number(s.Anomaly))
	case s.Anomaly > 0:
		beyond = fmt.Sprintf("above what is expected by more than %s standard deviations", number(s.Anomaly))
	case s.Below:
		beyond = "below " + number(s.Threshold)
	}
	return fmt.Sprintf("%s in %s: %s: %s (%s). %s %s Runbook: %s", s.Severity, p.owners[s.Owner].id, s.Graph, beyond, s.From, s.Why, s.Do, p.runbook(s.Runbook))
}

// UnhealthyPage is the runbook of the composite alarm.
const UnhealthyPage = "watch-unhealthy"

func (p *plan) describeComposite() string {
	return "CRITICAL: at least one critical alarm of this pipeline is raised: data is being lost, or will be. " +
		"Open the dashboard, find the raised alarm that comes first in the order of the data, and follow its description; later ones often follow from it. " +
		"Runbook: " + p.runbook(UnhealthyPage)
}

var (
	address   = regexp.MustCompile(`^https?://\S+$`)
	page      = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	plainName = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	// statistics are CloudWatch's plain ones; the others are extended.
	statistics = []string{"Average", "Maximum", "Minimum", "SampleCount", "Sum"}
	extended   = regexp.MustCompile(`^((p|tm|tc|ts|wm)(\d{1,2}(\.\d{1,10})?|100(\.0+)?)|IQM|(PR|TC|TM|TS|WM)\([^()]*:[^()]*\))$`)
	metricID   = regexp.MustCompile(`\bm\d+\b`)
)

// check looks at everything before anything is defined. Each rule keeps an alarm
// from being one that can't fire, or can't be understood.
func (p *plan) check() *spec.Check {
	c := spec.At("")
	if len(p.props.Signals) == 0 {
		c.Add("Signals", nil, "there is nothing to watch", "pass what the constructs' Signals methods return")
	}
	c.Email("Email", p.props.Email)
	if r := p.props.Runbooks; !address.MatchString(r) && !spec.IsToken(r) {
		c.Add("Runbooks", r, "it is the address below which the runbooks are", "start it with https://, or leave it out")
	}
	if p.props.Key != nil && !valid.Missing(p.props.Topic) {
		c.Add("Key", "a key", "it encrypts the topic that is defined here, and a Topic is given", "leave one of them out; encrypt the Topic where it is defined")
	}
	seen := map[string]bool{}
	for i, s := range p.props.Signals {
		field := fmt.Sprintf("Signals[%d]", i)
		if valid.Missing(s.Owner) {
			c.Add(field+".Owner", nil, "a signal belongs to a construct", "set it")
			continue
		}
		owner := p.owners[s.Owner]
		if key := owner.path + "/" + s.Name; seen[key] {
			c.Add(field+".Name", s.Name, owner.id+" already has a signal of this name", "rename it, or pass each construct's signals once")
		} else {
			seen[key] = true
		}
		p.checkSignal(c, field, s)
	}
	p.checkComposite(c)
	p.checkDashboard(c)
	return c
}

func (p *plan) checkSignal(c *spec.Check, field string, s Signal) {
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"Name", s.Name == ""},
		{"Graph", s.Graph == ""},
		{"Metric", s.Metric.Name == "" && s.Metric.Expression == ""},
		{"From", s.From == ""},
		{"Why", s.Why == ""},
		{"Do", s.Do == ""},
		{"Runbook", s.Runbook == ""},
		{"Missing", s.Missing == ""},
		{"Severity", s.Severity == ""},
	} {
		if part.missing {
			c.Add(field+"."+part.name, nil, "every alarm says what it means and what to do", "set it")
		}
	}
	if s.Name != "" && !plainName.MatchString(s.Name) {
		c.Add(field+".Name", s.Name, "it is a part of ids and names: letters, digits and underscores", "rename it")
	}
	if s.Runbook != "" && !page.MatchString(s.Runbook) && !address.MatchString(s.Runbook) {
		c.Add(field+".Runbook", s.Runbook, "it names a page of docs/runbooks without .md, in lower case and dashes, or is an address", `write it like "consumer-iterator-age" or "https://…"`)
	}
	if s.Missing != "" && !slices.Contains([]Missing{NotBreaching, Breaching, Unknown, Ignore}, s.Missing) {
		c.Add(field+".Missing", string(s.Missing), "CloudWatch knows notBreaching, breaching, missing and ignore", "use one of this package's constants")
	}
	if s.Severity != "" && s.Severity != Warning && s.Severity != Critical {
		c.Add(field+".Severity", string(s.Severity), "an alarm is a WARNING or CRITICAL", "use watch.Warning or watch.Critical")
	}
	if s.Periods < 0 {
		c.Add(field+".Periods", s.Periods, "an alarm looks at one period or more", "set it to 1 or more, or leave it out for 1")
	}
	periods, breaching := s.periods()
	if breaching < 1 || breaching > periods {
		c.Add(field+".Breaching", s.Breaching, fmt.Sprintf("it is how many of %d periods must be beyond the threshold", periods), "set it from 1 to Periods, or leave it out for all")
	}
	if math.IsNaN(s.Threshold) || math.IsInf(s.Threshold, 0) {
		c.Add(field+".Threshold", s.Threshold, "CloudWatch compares with a number", "correct what it is computed from")
	}
	if a := s.Anomaly; a != 0 && !(a >= spec.AnomalyBand.Min && a <= spec.AnomalyBand.Max) {
		c.Add(field+".Anomaly", a, spec.AnomalyBand.String(), "set it to 2, or leave it out for a Threshold")
	}
	if s.Anomaly != 0 && s.Threshold != 0 {
		c.Add(field+".Threshold", s.Threshold, "anomaly detection takes no threshold", "leave out Threshold or Anomaly")
	}
	if s.Outside && s.Anomaly == 0 {
		c.Add(field+".Outside", s.Outside, "it speaks of the band of anomaly detection", "set Anomaly, or leave it out")
	}
	window := s.Metric.checkPeriods(c, field+".Metric") * time.Duration(max(periods, 1))
	limit := spec.AlarmWindow
	if s.Metric.longest() >= time.Hour {
		limit = spec.AlarmLongWindow
	}
	if window > limit.Max {
		c.Add(field+".Periods", s.Periods, fmt.Sprintf("that is %s, and %s", window, limit), "lower it, or lengthen the metric's Period")
	}
	s.Metric.check(c, field+".Metric")
	if description := p.describe(s); utf8.RuneCountInString(description) > spec.AlarmDescription.Max {
		c.Add(field+".Do", fmt.Sprintf("a description of %d characters", utf8.RuneCountInString(description)), spec.AlarmDescription.String(),
			"shorten From, Why and Do; what is longer belongs into the runbook")
	}
}

// longest period of the metric, or of what its expression uses.
func (m Metric) longest() time.Duration {
	if len(m.Using) == 0 {
		return m.period()
	}
	var longest time.Duration
	for _, part := range m.Using {
		longest = max(longest, m.of(part).period())
	}
	return longest
}

// checkPeriods notes periods that CloudWatch doesn't know and returns the longest.
func (m Metric) checkPeriods(c *spec.Check, field string) time.Duration {
	check := func(field string, period time.Duration) {
		short := period == 10*time.Second || period == 20*time.Second || period == 30*time.Second
		if period != 0 && !short && (period < time.Minute || period%time.Minute != 0 || period > spec.AlarmPeriod.Max) {
			c.Add(field+".Period", period, spec.AlarmPeriod.String(), "round it to minutes, or leave it out for one minute")
		}
	}
	check(field, m.Period)
	for i, part := range m.Using {
		check(fmt.Sprintf("%s.Using[%d]", field, i), part.Period)
	}
	return m.longest()
}

// check notes what keeps CloudWatch from having data for the metric.
func (m Metric) check(c *spec.Check, field string) {
	if m.Expression == "" {
		if m.Name != "" {
			m.checkPlain(c, field)
		}
		if len(m.Using) > 0 {
			c.Add(field+".Using", len(m.Using), "only an expression uses other metrics", "set Expression, or leave it out")
		}
		return
	}
	if m.Namespace != "" || m.Name != "" || m.Statistic != "" || len(m.Dimensions) > 0 {
		c.Add(field+".Expression", m.Expression, "a metric is an expression or has a name, not both", "put the metric into Using")
	}
	if n := utf8.RuneCountInString(m.Expression); n > spec.AlarmExpression.Max {
		c.Add(field+".Expression", fmt.Sprintf("%d characters", n), spec.AlarmExpression.String(), "shorten it, or split the signal")
	}
	if n := len(m.Using); n > spec.AlarmMetrics.Max {
		c.Add(field+".Using", n, spec.AlarmMetrics.String(), "split the signal into several")
	}
	if len(m.Using) == 0 && !strings.HasPrefix(strings.ToUpper(strings.TrimSpace(m.Expression)), "SELECT ") {
		c.Add(field+".Using", nil, "an expression is computed from metrics", "name them here, and call them m0, m1, … in Expression")
	}
	for _, id := range metricID.FindAllString(m.Expression, -1) {
		if i, err := strconv.Atoi(id[1:]); err != nil || i >= len(m.Using) {
			c.Add(field+".Expression", m.Expression, fmt.Sprintf("%s is none of the %d metrics in Using", id, len(m.Using)), "count from m0")
			break
		}
	}
	for i, part := range m.Using {
		part.checkPlain(c, fmt.Sprintf("%s.Using[%d]", field, i))
	}
}

func (m Metric) checkPlain(c *spec.Check, field string) {
	if m.Expression != "" {
		c.Add(field+".Expression", m.Expression, "an expression uses metrics, not expressions", "write it into the outer one")
		return
	}
	if m.Name == "" {
		c.Add(field+".Name", nil, "a metric has a name", "set it")
	}
	if m.Namespace == "" || strings.HasPrefix(m.Namespace, ":") {
		c.Add(field+".Namespace", m.Namespace, "a metric is in a namespace, which doesn't begin with a colon", `set it, to "AWS/Kinesis" for example`)
	}
	if !slices.Contains(statistics, m.Statistic) && !extended.MatchString(m.Statistic) {
		c.Add(field+".Statistic", m.Statistic, "CloudWatch has "+strings.Join(statistics, ", ")+", percentiles such as p99, and tm, tc, ts, wm, IQM, PR, TC, TM, TS and WM", "use one of them")
	}
	switch n := len(m.Dimensions); {
	case n == 0 && !m.WholeAccount:
		c.Add(field+".Dimensions", nil, "without dimensions CloudWatch finds no data, and the alarm never fires", "name the resource, or set WholeAccount for a metric that has none")
	case n > 0 && m.WholeAccount:
		c.Add(field+".WholeAccount", true, "a metric of the whole account has no dimensions", "leave one of them out")
	case n > spec.AlarmDimensions.Max:
		c.Add(field+".Dimensions", n, spec.AlarmDimensions.String(), "leave out those that the metric isn't published with")
	}
	for _, name := range slices.Sorted(maps.Keys(m.Dimensions)) {
		if value := m.Dimensions[name]; name == "" || value == nil || *value == "" {
			c.Add(field+".Dimensions", name, "a dimension has a name and a value", "set both; for a resource's name use its attribute")
		}
	}
}

func (p *plan) checkComposite(c *spec.Check) {
	rule := p.rule()
	if rule == "" {
		return
	}
	const fix = "split the signals over several watches, or set NoComposite"
	if n := strings.Count(rule, "ALARM("); n > spec.CompositeAlarms.Max {
		c.Add("Signals", fmt.Sprintf("%d of them critical", n), spec.CompositeAlarms.String(), fix)
	} else if len(rule) > spec.CompositeRule.Max && !spec.IsToken(rule) {
		c.Add("Signals", fmt.Sprintf("a rule of %d characters over the critical ones", len(rule)), spec.CompositeRule.String(), fix)
	}
}
