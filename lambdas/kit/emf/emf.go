// Package emf writes CloudWatch metrics as lines of the log, in the embedded metric
// format: no call, no permission, no wait. Lambda carries the lines to CloudWatch.
package emf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// Namespace is the CloudWatch namespace of all metrics of millrace.
	Namespace = "Millrace"
	// RejectedRecords counts records that can never be processed and were set
	// aside, again when a batch is replayed. Dimension: FunctionName.
	RejectedRecords = "RejectedRecords"
)

// The format's limits: of the metrics of a line, of the values of a metric, of the
// dimensions of a metric.
const (
	MaximumMetrics    = 100
	MaximumValues     = 100
	MaximumDimensions = 30
)

// Unit of a metric, in CloudWatch's words.
type Unit string

// The units that functions use; every other one that CloudWatch knows is good too.
const (
	UnitCount        Unit = "Count"
	UnitMilliseconds Unit = "Milliseconds"
	UnitBytes        Unit = "Bytes"
	UnitPercent      Unit = "Percent"
	UnitNone         Unit = "None"
)

// Metrics collects values and writes them out, a line for each hundred. It is safe
// for concurrent use. Each further dimension's value is another metric to CloudWatch,
// and costs as one.
type Metrics struct {
	w          io.Writer
	namespace  string
	names      []string
	dimensions map[string]string

	mu     sync.Mutex
	order  []string
	values map[string]*metric
}

type metric struct {
	unit   Unit
	values []float64
}

// New is a collector for a namespace and up to 30 dimensions, all of which every
// metric has. The error names everything that CloudWatch would refuse, silently.
func New(w io.Writer, namespace string, dimensions map[string]string) (*Metrics, error) {
	var problems []error
	if w == nil {
		problems = append(problems, errors.New("emf: there is no writer: a function's is os.Stdout"))
	}
	if n := utf8.RuneCountInString(namespace); n < 1 || n > 256 || strings.HasPrefix(namespace, "AWS/") {
		problems = append(problems, fmt.Errorf("emf: namespace %q: must have 1 to 256 characters and not begin with AWS/", namespace))
	}
	if len(dimensions) > MaximumDimensions {
		problems = append(problems, fmt.Errorf("emf: %d dimensions: CloudWatch takes %d", len(dimensions), MaximumDimensions))
	}
	m := &Metrics{w: w, namespace: namespace, dimensions: dimensions, values: map[string]*metric{}}
	for name, value := range dimensions {
		m.names = append(m.names, name)
		if name == "" || len(name) > 255 || strings.HasPrefix(name, ":") {
			problems = append(problems, fmt.Errorf("emf: dimension %q: its name must have 1 to 255 characters and not begin with a colon", name))
		}
		if value == "" || len(value) > 1024 {
			problems = append(problems, fmt.Errorf("emf: dimension %s: its value must have 1 to 1024 characters", name))
		}
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	slices.Sort(m.names)
	return m, nil
}

// Put adds a value to a metric, whose name has 1 to 1024 characters. Other names, that
// of a dimension, NaN and the infinities, all of which CloudWatch refuses, are left out.
func (m *Metrics) Put(name string, unit Unit, value float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.dimensions[name]; taken || name == "" || len(name) > 1024 || math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	one := m.values[name]
	if one != nil && len(one.values) == MaximumValues || one == nil && len(m.order) == MaximumMetrics {
		m.flush(time.Now())
		one = nil
	}
	if one == nil {
		one = &metric{unit: unit}
		m.values[name] = one
		m.order = append(m.order, name)
	}
	one.values = append(one.values, value)
}

// Flush writes what was collected, as of now. Call it at the end of each invocation:
// Lambda freezes a process in between.
func (m *Metrics) Flush() { m.FlushAt(time.Now()) }

// FlushAt writes what was collected, as of the given time: at most two weeks ago and
// two hours ahead.
func (m *Metrics) FlushAt(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flush(at)
}

// flush drops a write error: a lost count must not fail the work that it counts.
func (m *Metrics) flush(at time.Time) {
	if len(m.order) == 0 {
		return
	}
	type definition struct {
		Name string
		Unit Unit
	}
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []definition
	}
	type metadata struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}
	one := directive{Namespace: m.namespace, Dimensions: [][]string{m.names}}
	if m.names == nil {
		one.Dimensions = [][]string{{}}
	}
	line := make(map[string]any, len(m.order)+len(m.names)+1)
	for name, value := range m.dimensions {
		line[name] = value
	}
	for _, name := range m.order {
		one.Metrics = append(one.Metrics, definition{name, m.values[name].unit})
		if values := m.values[name].values; len(values) == 1 {
			line[name] = values[0]
		} else {
			line[name] = values
		}
	}
	line["_aws"] = metadata{Timestamp: at.UnixMilli(), CloudWatchMetrics: []directive{one}}
	if text, err := json.Marshal(line); err == nil {
		_, _ = m.w.Write(append(text, '\n')) // in one go: whole lines only
	}
	m.order, m.values = nil, map[string]*metric{}
}

// Count writes one line that adds n to a function's metric of millrace.
func Count(w io.Writer, at time.Time, function, name string, n int) {
	m, err := New(w, Namespace, map[string]string{"FunctionName": function})
	if err != nil {
		return // outside of Lambda there is no function
	}
	m.Put(name, UnitCount, float64(n))
	m.FlushAt(at)
}
