// Package step shows how a longer job gets on: each of its steps with a name,
// its elapsed time and how it ended. On a terminal one line at the bottom is
// redrawn; elsewhere every step is a line when it ends, and a long one says now
// and then that it still runs.
package step

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	frameEvery = 100 * time.Millisecond
	lineEvery  = 10 * time.Second
	nameWidth  = 32
)

// Log writes the progress of steps, several of which may run at once.
type Log struct {
	mu       sync.Mutex
	out      io.Writer
	width    func() int // of the terminal, nil for any other output
	drawn    bool
	frame    int
	running  []*Step
	lastLine time.Time
}

// Step is a step that runs.
type Step struct {
	log     *Log
	name    string
	started time.Time
	note    string
}

// New is a log that writes to out; nil discards everything.
func New(out io.Writer) *Log {
	if out == nil {
		out = io.Discard
	}
	l := &Log{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		l.width = func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return 80
		}
	}
	return l
}

// Run shows f as a step while it runs, and what became of it. It returns f's
// error as it is.
func (l *Log) Run(ctx context.Context, name string, f func(context.Context, *Step) error) error {
	s := &Step{log: l, name: name, started: time.Now()}
	l.begin(s)
	ticking, stop := context.WithCancel(context.Background())
	ticked := make(chan struct{})
	go func() {
		defer close(ticked)
		l.tick(ticking)
	}()
	err := f(ctx, s)
	stop()
	<-ticked
	l.end(s, err)
	return err
}

// Note says what the step is at, for example "120 of 200 records". It stays
// beside the step's name, also after its end.
func (s *Step) Note(format string, args ...any) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.note = fmt.Sprintf(format, args...)
}

func (l *Log) begin(s *Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.running) == 0 {
		l.lastLine = time.Now()
	}
	l.running = append(l.running, s)
	l.draw()
}

func (l *Log) tick(ctx context.Context) {
	ticker := time.NewTicker(frameEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			l.mu.Lock()
			l.frame++
			l.draw()
			if l.width == nil && now.Sub(l.lastLine) >= lineEvery {
				fmt.Fprintf(l.out, "  … %s\n", l.status())
				l.lastLine = now
			}
			l.mu.Unlock()
		}
	}
}

func (l *Log) end(s *Step, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = slices.DeleteFunc(l.running, func(other *Step) bool { return other == s })
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	l.erase()
	line := fmt.Sprintf("  %s %-*s %6.1f s", mark, nameWidth, s.name, time.Since(s.started).Seconds())
	if s.note != "" {
		line += "  " + s.note
	}
	fmt.Fprintln(l.out, line)
	l.lastLine = time.Now()
	l.draw()
}

// draw shows the line of what runs, on a terminal.
func (l *Log) draw() {
	if l.width == nil || len(l.running) == 0 {
		return
	}
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	line := []rune(fmt.Sprintf("  %c %s", frames[l.frame%len(frames)], l.status()))
	// A line that wraps couldn't be erased.
	line = line[:min(len(line), l.width()-1)]
	fmt.Fprintf(l.out, "\r\x1b[K%s", string(line))
	l.drawn = true
}

func (l *Log) erase() {
	if l.drawn {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.drawn = false
	}
}

func (l *Log) status() string {
	var parts []string
	for _, s := range l.running {
		part := fmt.Sprintf("%s %.0f s", s.name, time.Since(s.started).Seconds())
		if s.note != "" {
			part += ": " + s.note
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " · ")
}
