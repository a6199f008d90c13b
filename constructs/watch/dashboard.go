package watch

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
)

// A dashboard is 24 columns wide.
const (
	columns     = 24
	graphWidth  = 6
	graphHeight = 6
)

// graph is what the signals of one owner that share a title are drawn in.
type graph struct {
	owner, title string
	signals      []Signal
}

// graphs are the signals by owner and title, in the order of the signals.
func (p *plan) graphs() []*graph {
	var graphs []*graph
	for _, s := range p.props.Signals {
		id := p.owners[s.Owner].id
		i := slices.IndexFunc(graphs, func(g *graph) bool { return g.owner == id && g.title == s.Graph })
		if i < 0 {
			i, graphs = len(graphs), append(graphs, &graph{owner: id, title: s.Graph})
		}
		graphs[i].signals = append(graphs[i].signals, s)
	}
	return graphs
}

// checkDashboard notes what doesn't fit on a dashboard.
func (p *plan) checkDashboard(c *spec.Check) {
	const fix = "split the signals over several watches"
	graphs := p.graphs()
	widgets, metrics, owner := len(graphs)+(len(p.names)+spec.WidgetAlarms.Max-1)/spec.WidgetAlarms.Max, 0, ""
	for _, g := range graphs {
		if g.owner != owner {
			owner, widgets = g.owner, widgets+1
		}
		n := len(g.rows())
		if n > spec.WidgetMetrics.Max {
			c.Add("Signals", fmt.Sprintf("%d metrics in the graph %q", n, g.title), spec.WidgetMetrics.String(), "give some of the signals another Graph")
		}
		metrics += n
	}
	if widgets > spec.DashboardWidgets.Max {
		c.Add("Signals", fmt.Sprintf("%d widgets", widgets), spec.DashboardWidgets.String(), fix)
	}
	if metrics > spec.DashboardMetrics.Max {
		c.Add("Signals", fmt.Sprintf("%d metrics", metrics), spec.DashboardMetrics.String(), fix)
	}
}

// newDashboard draws all alarms on top and below them a row per owner with its
// runbooks, in the order of the signals. The body is CloudWatch's own JSON:
// written here it is one round trip to Node.js rather than two per line drawn.
func (w *Watch) newDashboard(p *plan) awscloudwatch.CfnDashboard {
	stack := awscdk.Stack_Of(w.construct)
	region := stack.Region()
	prefix := *stack.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("cloudwatch"), Resource: jsii.String("alarm"), ResourceName: jsii.String(""),
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	var arns []string
	if w.composite != nil {
		arns = append(arns, prefix+p.composite())
	}
	for _, name := range p.names {
		arns = append(arns, prefix+name)
	}
	var widgets []any
	y := 0
	for some := range slices.Chunk(arns, spec.WidgetAlarms.Max) {
		height := 2 + (len(some)+3)/4
		widgets = append(widgets, widget("alarm", 0, y, columns, height, map[string]any{"title": "Alarms", "alarms": some}))
		y += height
	}
	for graphs := p.graphs(); len(graphs) > 0; {
		owner, x := graphs[0].owner, 0
		heading := widget("text", 0, y, columns, 2, nil)
		widgets = append(widgets, heading)
		y += 2
		var links []string
		for ; len(graphs) > 0 && graphs[0].owner == owner; graphs = graphs[1:] {
			if x == columns {
				x, y = 0, y+graphHeight
			}
			widgets = append(widgets, widget("metric", x, y, graphWidth, graphHeight, graphs[0].properties(region)))
			x += graphWidth
			for _, s := range graphs[0].signals {
				if link := fmt.Sprintf("[%s](%s)", graphs[0].title, p.runbook(s.Runbook)); !slices.Contains(links, link) {
					links = append(links, link)
				}
			}
		}
		y += graphHeight
		heading["properties"] = map[string]any{"markdown": "## " + owner + "\nRunbooks: " + strings.Join(links, " · ")}
	}
	body := stack.ToJsonString(map[string]any{"start": "-PT3H", "widgets": widgets}, nil)
	return awscloudwatch.NewCfnDashboard(w.construct, jsii.String("Dashboard"), &awscloudwatch.CfnDashboardProps{DashboardBody: body})
}

func widget(kind string, x, y, width, height int, properties map[string]any) map[string]any {
	return map[string]any{"type": kind, "x": x, "y": y, "width": width, "height": height, "properties": properties}
}

// properties are those of a graph widget: its metrics, and a line per threshold.
func (g *graph) properties(region *string) map[string]any {
	var lines []any
	for _, s := range g.signals {
		if s.Anomaly > 0 {
			continue // its band is drawn with the metric
		}
		color := "#ff7f0e" // CloudWatch's orange
		if s.Severity == Critical {
			color = "#d62728" // and its red
		}
		lines = append(lines, map[string]any{"value": s.Threshold, "label": string(s.Severity), "color": color})
	}
	properties := map[string]any{
		"view": "timeSeries", "title": g.title, "region": region, "period": time.Minute.Seconds(),
		"metrics": g.rows(), "yAxis": map[string]any{"left": map[string]any{"min": 0}},
	}
	if len(lines) > 0 {
		properties["annotations"] = map[string]any{"horizontal": lines}
	}
	return properties
}

// rows are the graph's metrics in a dashboard's notation: namespace, name, each
// dimension and its value, and the options. Each metric is drawn once, with the
// bands that are expected of it; ids are unique within the graph.
func (g *graph) rows() []any {
	var rows []any
	drawn := map[string]string{} // ids of metrics
	next := 0
	id := func() string { next++; return fmt.Sprintf("m%d", next-1) }
	add := func(m Metric, options map[string]any) {
		if m.Period != 0 {
			options["period"] = m.Period.Seconds()
		}
		rows = append(rows, append(m.names(), options))
	}
	for _, s := range g.signals {
		m := s.Metric
		key := m.key()
		if drawn[key] == "" {
			if m.Expression == "" {
				drawn[key] = id()
				options := map[string]any{"stat": m.Statistic}
				if g.banded(key) {
					options["id"] = drawn[key]
				}
				add(m, options)
			} else {
				ids := make([]string, len(m.Using))
				for i := range m.Using {
					ids[i] = id()
				}
				expression := metricID.ReplaceAllStringFunc(m.Expression, func(name string) string {
					i, err := strconv.Atoi(name[1:])
					if err != nil || i >= len(ids) {
						return name // the check has told
					}
					return ids[i]
				})
				drawn[key] = fmt.Sprintf("e%d", len(rows))
				options := map[string]any{"expression": expression, "label": m.Label, "period": m.longest().Seconds()}
				if g.banded(key) {
					options["id"] = drawn[key]
				}
				rows = append(rows, []any{options})
				for i, part := range m.Using {
					part = m.of(part)
					add(part, map[string]any{"stat": part.Statistic, "id": ids[i], "visible": false})
				}
			}
		}
		if s.Anomaly > 0 {
			rows = append(rows, []any{map[string]any{"expression": s.band(drawn[key]), "label": "Expected"}})
		}
	}
	return rows
}

// banded tells whether a signal of the graph compares this metric with its band.
func (g *graph) banded(key string) bool {
	return slices.ContainsFunc(g.signals, func(s Signal) bool { return s.Anomaly > 0 && s.Metric.key() == key })
}

// names are what a row begins with.
func (m Metric) names() []any {
	row := []any{m.Namespace, m.Name}
	for _, name := range slices.Sorted(maps.Keys(m.Dimensions)) {
		row = append(row, name, m.Dimensions[name])
	}
	return row
}

// key is the same for equal metrics.
func (m Metric) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s\x00%s\x00%s\x00%s", m.Namespace, m.Name, m.Statistic, m.Expression, m.period())
	for _, name := range slices.Sorted(maps.Keys(m.Dimensions)) {
		value := ""
		if v := m.Dimensions[name]; v != nil {
			value = *v
		}
		fmt.Fprintf(&b, "\x00%s\x00%s", name, value)
	}
	for _, part := range m.Using {
		b.WriteString("\x01" + part.key())
	}
	return b.String()
}
