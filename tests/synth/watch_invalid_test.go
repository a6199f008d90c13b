package synth

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

func TestWatchRefusesWhatCouldNeverRing(t *testing.T) {
	// signal changes the one signal of an otherwise good watch.
	signal := func(change func(s *watch.Signal)) func(awscdk.Stack, *watch.Props) {
		return func(_ awscdk.Stack, p *watch.Props) { change(&p.Signals[0]) }
	}
	metric := func(change func(m *watch.Metric)) func(awscdk.Stack, *watch.Props) {
		return signal(func(s *watch.Signal) { change(&s.Metric) })
	}
	expression := func(text string, using ...watch.Metric) func(awscdk.Stack, *watch.Props) {
		return signal(func(s *watch.Signal) { s.Metric = watch.Metric{Expression: text, Using: using} })
	}
	for name, c := range map[string]struct {
		change func(stack awscdk.Stack, p *watch.Props)
		want   []string // fields, all of them
	}{
		"no signals":             {func(_ awscdk.Stack, p *watch.Props) { p.Signals = nil }, []string{"Signals"}},
		"an address without @":   {func(_ awscdk.Stack, p *watch.Props) { p.Email = "oncall" }, []string{"Email"}},
		"runbooks in a folder":   {func(_ awscdk.Stack, p *watch.Props) { p.Runbooks = "docs/runbooks" }, []string{"Runbooks"}},
		"a signal twice":         {func(_ awscdk.Stack, p *watch.Props) { p.Signals = append(p.Signals, p.Signals[0]) }, []string{"Signals[1].Name"}},
		"a signal of nobody":     {signal(func(s *watch.Signal) { s.Owner = nil }), []string{"Signals[0].Owner"}},
		"no name":                {signal(func(s *watch.Signal) { s.Name = "" }), []string{"Signals[0].Name"}},
		"a name with a slash":    {signal(func(s *watch.Signal) { s.Name = "A/B" }), []string{"Signals[0].Name"}},
		"no graph":               {signal(func(s *watch.Signal) { s.Graph = "" }), []string{"Signals[0].Graph"}},
		"no metric":              {signal(func(s *watch.Signal) { s.Metric = watch.Metric{} }), []string{"Signals[0].Metric"}},
		"no source of threshold": {signal(func(s *watch.Signal) { s.From = "" }), []string{"Signals[0].From"}},
		"no why":                 {signal(func(s *watch.Signal) { s.Why = "" }), []string{"Signals[0].Why"}},
		"nothing to do":          {signal(func(s *watch.Signal) { s.Do = "" }), []string{"Signals[0].Do"}},
		"no runbook":             {signal(func(s *watch.Signal) { s.Runbook = "" }), []string{"Signals[0].Runbook"}},
		"a runbook's file":       {signal(func(s *watch.Signal) { s.Runbook = "Orders.md" }), []string{"Signals[0].Runbook"}},
		"no treatment of missing data": {
			signal(func(s *watch.Signal) { s.Missing = "" }), []string{"Signals[0].Missing"},
		},
		"an unknown treatment":     {signal(func(s *watch.Signal) { s.Missing = "notbreaching" }), []string{"Signals[0].Missing"}},
		"no severity":              {signal(func(s *watch.Signal) { s.Severity = "" }), []string{"Signals[0].Severity"}},
		"an unknown severity":      {signal(func(s *watch.Signal) { s.Severity = "INFO" }), []string{"Signals[0].Severity"}},
		"fewer than no periods":    {signal(func(s *watch.Signal) { s.Periods = -1 }), []string{"Signals[0].Periods"}},
		"more breaching than seen": {signal(func(s *watch.Signal) { s.Periods, s.Breaching = 2, 3 }), []string{"Signals[0].Breaching"}},
		"breaching below nothing":  {signal(func(s *watch.Signal) { s.Breaching = -1 }), []string{"Signals[0].Breaching"}},
		"a threshold of nothing":   {signal(func(s *watch.Signal) { s.Threshold = math.NaN() }), []string{"Signals[0].Threshold"}},
		"an endless threshold":     {signal(func(s *watch.Signal) { s.Threshold = math.Inf(1) }), []string{"Signals[0].Threshold"}},
		"a negative band":          {signal(func(s *watch.Signal) { s.Anomaly = -2 }), []string{"Signals[0].Anomaly"}},
		"a band that is no number": {signal(func(s *watch.Signal) { s.Anomaly = math.NaN() }), []string{"Signals[0].Anomaly"}},
		"a band and a threshold":   {signal(func(s *watch.Signal) { s.Anomaly, s.Threshold = 2, 5 }), []string{"Signals[0].Threshold"}},
		"both sides of no band":    {signal(func(s *watch.Signal) { s.Outside = true }), []string{"Signals[0].Outside"}},
		"more than a day of minutes": {
			signal(func(s *watch.Signal) { s.Periods, s.Breaching = 1441, 1 }), []string{"Signals[0].Periods"},
		},
		"more than seven days of hours": {
			signal(func(s *watch.Signal) { s.Periods, s.Metric.Period = 169, time.Hour }), []string{"Signals[0].Periods"},
		},
		"a description too long":       {signal(func(s *watch.Signal) { s.Do = strings.Repeat("ä", 1000) }), []string{"Signals[0].Do"}},
		"a period of 45 seconds":       {metric(func(m *watch.Metric) { m.Period = 45 * time.Second }), []string{"Signals[0].Metric.Period"}},
		"a period of 90 seconds":       {metric(func(m *watch.Metric) { m.Period = 90 * time.Second }), []string{"Signals[0].Metric.Period"}},
		"no dimensions":                {metric(func(m *watch.Metric) { m.Dimensions = nil }), []string{"Signals[0].Metric.Dimensions"}},
		"a dimension of nothing":       {metric(func(m *watch.Metric) { m.Dimensions = map[string]*string{"Shop": nil} }), []string{"Signals[0].Metric.Dimensions"}},
		"dimensions of an account":     {metric(func(m *watch.Metric) { m.WholeAccount = true }), []string{"Signals[0].Metric.WholeAccount"}},
		"no namespace":                 {metric(func(m *watch.Metric) { m.Namespace = "" }), []string{"Signals[0].Metric.Namespace"}},
		"a statistic that isn't there": {metric(func(m *watch.Metric) { m.Statistic = "Max" }), []string{"Signals[0].Metric.Statistic"}},
		"a percentile above all":       {metric(func(m *watch.Metric) { m.Statistic = "p101" }), []string{"Signals[0].Metric.Statistic"}},
		"metrics of no expression": {
			metric(func(m *watch.Metric) { m.Using = []watch.Metric{someMetric("A")} }), []string{"Signals[0].Metric.Using"},
		},
		"31 dimensions": {metric(func(m *watch.Metric) {
			for i := range 30 {
				m.Dimensions[fmt.Sprint("D", i)] = jsii.String("x")
			}
		}), []string{"Signals[0].Metric.Dimensions"}},
		"an expression over nothing": {expression("1 + 1"), []string{"Signals[0].Metric.Using"}},
		"an expression over eleven metrics": {
			expression("SUM(METRICS())", slices.Repeat([]watch.Metric{someMetric("A")}, 11)...), []string{"Signals[0].Metric.Using"},
		},
		"an expression over another metric": {expression("m0 + m1", someMetric("A")), []string{"Signals[0].Metric.Expression"}},
		"an expression that is too long": {
			expression("m0"+strings.Repeat(" + m0", 500), someMetric("A")), []string{"Signals[0].Metric.Expression"},
		},
		"an expression in an expression": {
			expression("m0", watch.Metric{Expression: "m0"}), []string{"Signals[0].Metric.Using[0].Expression"},
		},
		"an expression with a name": {
			metric(func(m *watch.Metric) { m.Expression, m.Using = "m0", []watch.Metric{someMetric("A")} }), []string{"Signals[0].Metric.Expression"},
		},
		"a used metric without dimensions": {
			expression("m0", watch.Metric{Namespace: "Shop", Name: "A", Statistic: "Sum"}), []string{"Signals[0].Metric.Using[0].Dimensions"},
		},
		"a used metric with nothing": {
			expression("m0", watch.Metric{Period: time.Second}),
			[]string{
				"Signals[0].Metric.Using[0].Dimensions", "Signals[0].Metric.Using[0].Name", "Signals[0].Metric.Using[0].Namespace",
				"Signals[0].Metric.Using[0].Period", "Signals[0].Metric.Using[0].Statistic",
			},
		},
		"a key for somebody's topic": {func(stack awscdk.Stack, p *watch.Props) {
			p.Key = awskms.NewKey(stack, jsii.String("Key"), nil)
			p.Topic = awssns.NewTopic(stack, jsii.String("Topic"), nil)
		}, []string{"Key"}},
		"more critical ones than a rule takes": {func(stack awscdk.Stack, p *watch.Props) {
			p.Signals = nil
			for i := range 101 {
				s := someSignal(stack, fmt.Sprint("S", i))
				s.Severity = watch.Critical
				p.Signals = append(p.Signals, s)
			}
		}, []string{"Signals"}},
		"longer names than a rule takes": {func(stack awscdk.Stack, p *watch.Props) {
			p.Signals = nil
			for i := range 60 {
				s := someSignal(stack, strings.Repeat("S", 200)+fmt.Sprint(i))
				s.Severity = watch.Critical
				p.Signals = append(p.Signals, s)
			}
		}, []string{"Signals"}},
		"more graphs than a dashboard takes": {func(stack awscdk.Stack, p *watch.Props) {
			p.Signals = nil
			for i := range 500 {
				s := someSignal(stack, fmt.Sprint("S", i))
				s.Graph = s.Name
				p.Signals = append(p.Signals, s)
			}
		}, []string{"Signals"}},
		"more metrics than a graph takes": {func(stack awscdk.Stack, p *watch.Props) {
			p.Signals = nil
			for i := range 501 {
				s := someSignal(stack, fmt.Sprint("S", i))
				s.Metric.Name = s.Name
				p.Signals = append(p.Signals, s)
			}
		}, []string{"Signals"}},
		"several at once": {func(_ awscdk.Stack, p *watch.Props) {
			p.Email, p.Signals[0].Why, p.Signals[0].Metric.Statistic = "nobody", "", "Median"
		}, []string{"Email", "Signals[0].Metric.Statistic", "Signals[0].Why"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			props := watch.Props{Signals: []watch.Signal{someSignal(stack, "Waiting")}}
			c.change(stack, &props)
			defer func() {
				problem := recover()
				err, _ := problem.(error)
				var invalid *spec.Invalid
				if !errors.As(err, &invalid) {
					t.Fatalf("want a *spec.Invalid, got %T: %v", problem, problem)
				}
				var got []string
				for _, p := range invalid.Problems {
					got = append(got, p.Field)
					if p.Path != "Test/Watch" || p.Value == "" || p.Want == "" || p.Fix == "" {
						t.Errorf("it doesn't say enough: %+v", p)
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("refused %q, want %q:\n%v", got, c.want, err)
				}
			}()
			watch.New(stack, "Watch", props)
		})
	}
}

// What is at the edge of CloudWatch's ranges is taken.
func TestWatchTakesWhatCloudWatchTakes(t *testing.T) {
	_, stack := newStack(t)
	n := 0
	with := func(change func(s *watch.Signal)) watch.Signal {
		n++
		s := someSignal(stack, fmt.Sprint("S", n))
		change(&s)
		return s
	}
	watch.New(stack, "Watch", watch.Props{Signals: []watch.Signal{
		with(func(s *watch.Signal) { s.Periods = 1440 }),
		with(func(s *watch.Signal) { s.Periods, s.Metric.Period = 168, time.Hour }),
		with(func(s *watch.Signal) { s.Metric.Period = 10 * time.Second }),
		with(func(s *watch.Signal) { s.Metric.Statistic = "IQM" }),
		with(func(s *watch.Signal) { s.Metric.Statistic = "p100" }),
		with(func(s *watch.Signal) { s.Metric.Statistic = "PR(0:500)" }),
		with(func(s *watch.Signal) { s.Metric.Statistic = "wm95" }),
		with(func(s *watch.Signal) { s.Metric = watch.Metric{Expression: `SELECT MAX(Waiting) FROM "Shop"`} }),
		with(func(s *watch.Signal) {
			s.Metric = watch.Metric{Expression: "SUM(METRICS())", Using: slices.Repeat([]watch.Metric{someMetric("A")}, 10)}
		}),
	}})
}
