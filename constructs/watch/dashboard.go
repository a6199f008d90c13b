package watch

import (
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
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

// newDashboard draws all alarms on top and below them a row per owner, in the
// order of the signals. The body is CloudWatch's own JSON: written here it is one
// round trip to Node.js rather than two per line drawn.
func (w *Watch) newDashboard(signals []Signal, owners map[constructs.IConstruct]string, alarms []string) awscloudwatch.CfnDashboard {
	var graphs []*graph
	for _, s := range signals {
		i := slices.IndexFunc(graphs, func(g *graph) bool { return g.owner == owners[s.Owner] && g.title == s.Graph })
		if i < 0 {
			i, graphs = len(graphs), append(graphs, &graph{owner: owners[s.Owner], title: s.Graph})
		}
		graphs[i].signals = append(graphs[i].signals, s)
	}

	stack := awscdk.Stack_Of(w.construct)
	region := stack.Region()
	prefix := *stack.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("cloudwatch"), Resource: jsii.String("alarm"), ResourceName: jsii.String(""),
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	arns := make([]string, len(alarms))
	for i, name := range alarms {
		arns[i] = prefix + name
	}
	y := 2 + (len(arns)+3)/4
	widgets := []any{widget("alarm", 0, 0, columns, y, map[string]any{"title": "Alarms", "alarms": arns})}
	for len(graphs) > 0 {
		owner, x := graphs[0].owner, 0
		widgets = append(widgets, widget("text", 0, y, columns, 1, map[string]any{"markdown": "## " + owner}))
		y++
		for ; len(graphs) > 0 && graphs[0].owner == owner; graphs = graphs[1:] {
			if x == columns {
				x, y = 0, y+graphHeight
			}
			widgets = append(widgets, widget("metric", x, y, graphWidth, graphHeight, graphs[0].properties(region)))
			x += graphWidth
		}
		y += graphHeight
	}
	body := stack.ToJsonString(map[string]any{"start": "-PT3H", "widgets": widgets}, nil)
	return awscloudwatch.NewCfnDashboard(w.construct, jsii.String("Dashboard"), &awscloudwatch.CfnDashboardProps{DashboardBody: body})
}

func widget(kind string, x, y, width, height int, properties map[string]any) map[string]any {
	return map[string]any{"type": kind, "x": x, "y": y, "width": width, "height": height, "properties": properties}
}

// properties are those of a graph widget: its metrics, and a line per threshold.
func (g *graph) properties(region *string) map[string]any {
	var metrics, lines []any
	drawn := map[string]bool{}
	for _, s := range g.signals {
		color := "#ff7f0e" // CloudWatch's orange
		if s.Severity == Critical {
			color = "#d62728" // and its red
		}
		lines = append(lines, map[string]any{"value": s.Threshold, "label": string(s.Severity), "color": color})
		if key := s.Metric.Namespace + s.Metric.Name + s.Metric.Statistic + s.Metric.Expression; !drawn[key] {
			drawn[key] = true
			metrics = append(metrics, s.Metric.rows()...)
		}
	}
	return map[string]any{
		"view": "timeSeries", "title": g.title, "region": region, "period": period,
		"metrics": metrics, "yAxis": map[string]any{"left": map[string]any{"min": 0}},
		"annotations": map[string]any{"horizontal": lines},
	}
}

// rows are the metric in a dashboard's notation: namespace, name, each dimension
// and its value, and the options.
func (m Metric) rows() []any {
	if m.Expression != "" {
		rows := []any{[]any{map[string]any{"expression": m.Expression, "label": m.Label, "period": period}}}
		for i, part := range m.Using {
			row := part.row()
			options := row[len(row)-1].(map[string]any)
			options["id"], options["visible"] = fmt.Sprintf("m%d", i), false
			rows = append(rows, row)
		}
		return rows
	}
	return []any{m.row()}
}

func (m Metric) row() []any {
	row := []any{m.Namespace, m.Name}
	for _, name := range slices.Sorted(maps.Keys(m.Dimensions)) {
		row = append(row, name, m.Dimensions[name])
	}
	return append(row, map[string]any{"stat": m.Statistic})
}
