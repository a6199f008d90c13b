package runtimeapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"
)

// report is what Lambda says about an invocation in its log.
type report struct {
	id       string
	version  string
	started  bool
	init     time.Duration // zero in a process that was there
	duration time.Duration
	memory   int64
	failure  *failure
	// answered with an error of its own: the JSON log says so, the text doesn't.
	functionError bool
}

func (r *report) status() string {
	switch {
	case r.failure == nil:
		return "success"
	case r.failure.Type == timedOut:
		return "timeout"
	default:
		return "error"
	}
}

// logger writes the lines of all processes, one at a time.
type logger struct {
	mu     sync.Mutex
	to     io.Writer
	json   bool
	memory int
}

func (l *logger) write(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.to.Write(line)
}

// copyLines logs what a process writes. Very long lines come in pieces.
func (l *logger) copyLines(from io.Reader) {
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if err == io.EOF {
				line = append(line, '\n') // the next line isn't its end
			}
			l.write(line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// record writes a line of Lambda's own in its JSON format.
func (l *logger) record(kind string, record any) {
	line, _ := json.Marshal(struct {
		Time   string `json:"time"`
		Type   string `json:"type"`
		Record any    `json:"record"`
	}{time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), kind, record})
	l.write(append(line, '\n'))
}

func (l *logger) start(r *report) {
	if l.to == nil || r.started {
		return
	}
	r.started = true
	if l.json {
		l.record("platform.start", map[string]any{"requestId": r.id, "version": r.version})
		return
	}
	l.write(fmt.Appendf(nil, "START RequestId: %s Version: %s\n", r.id, r.version))
}

// timedOut is a line that Lambda writes before the end.
func (l *logger) timedOut(r *report) {
	if l.to == nil || l.json {
		return
	}
	l.write(fmt.Appendf(nil, "%s %s Task timed out after %.2f seconds\n\n",
		time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), r.id, r.duration.Seconds()))
}

func (l *logger) end(r *report) {
	if l.to == nil {
		return
	}
	billed := int64(math.Ceil(milliseconds(r.duration + r.init)))
	used := (r.memory + 1<<20 - 1) >> 20
	if l.json {
		metrics := map[string]any{
			"durationMs": milliseconds(r.duration), "billedDurationMs": billed,
			"memorySizeMB": l.memory, "maxMemoryUsedMB": used,
		}
		if r.init > 0 {
			metrics["initDurationMs"] = milliseconds(r.init)
		}
		status := r.status()
		if status == "success" && r.functionError {
			status = "error"
		}
		record := map[string]any{"requestId": r.id, "metrics": metrics, "status": status}
		if r.failure != nil {
			record["errorType"] = r.failure.Type
		}
		l.record("platform.report", record)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "END RequestId: %s\n", r.id)
	fmt.Fprintf(&b, "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		r.id, milliseconds(r.duration), billed, l.memory, used)
	if r.init > 0 {
		fmt.Fprintf(&b, "Init Duration: %.2f ms\t", milliseconds(r.init))
	}
	b.WriteString(describe(r.status(), r.failure))
	b.WriteByte('\n')
	l.write([]byte(b.String()))
}

// initReport tells of an initialization that failed.
func (l *logger) initReport(phase string, took time.Duration, failed *failure) {
	if l.to == nil {
		return
	}
	status := (&report{failure: failed}).status()
	if l.json {
		l.record("platform.initReport", map[string]any{
			"initializationType": "on-demand", "phase": phase, "status": status, "errorType": failed.Type,
			"metrics": map[string]any{"durationMs": milliseconds(took)},
		})
		return
	}
	l.write(fmt.Appendf(nil, "INIT_REPORT Init Duration: %.2f ms\tPhase: %s\t%s\n", milliseconds(took), phase, describe(status, failed)))
}

func describe(status string, failed *failure) string {
	switch status {
	case "success":
		return ""
	case "timeout":
		return "Status: timeout"
	default:
		return "Status: error\tError Type: " + failed.Type
	}
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Millisecond)*100) / 100
}
