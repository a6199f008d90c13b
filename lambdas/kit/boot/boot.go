// Package boot is what a function does once, when its process starts: read its
// environment, set up its log, load the AWS configuration.
package boot

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Concurrency is how many calls a function keeps in flight at a time.
const Concurrency = 16

// Environment reads the named variables through getenv (os.Getenv). The error
// names every one that is missing or empty.
func Environment(getenv func(string) string, names ...string) (map[string]string, error) {
	values := make(map[string]string, len(names))
	var missing []error
	for _, name := range names {
		if values[name] = getenv(name); values[name] == "" {
			missing = append(missing, fmt.Errorf("environment variable %s is not set", name))
		}
	}
	return values, errors.Join(missing...)
}

// Logger logs JSON lines whose keys are those of Lambda's JSON log format
// (timestamp, level, message), so that its log levels filter them.
func Logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch a.Key {
			case slog.TimeKey:
				a.Key = "timestamp"
			case slog.MessageKey:
				a.Key = "message"
			}
			return a
		},
	}))
}
