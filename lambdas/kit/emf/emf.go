// Package emf counts things in CloudWatch by lines in the log (embedded metric
// format): no call, no permission.
package emf

import (
	"encoding/json"
	"io"
	"time"
)

const (
	// Namespace is the CloudWatch namespace of all metrics.
	Namespace = "Millrace"
	// RejectedRecords counts records that can never be processed and were set
	// aside, again when a batch is replayed. Dimension: FunctionName.
	RejectedRecords = "RejectedRecords"
)

// Count writes one line that adds n to the function's metric at the given time.
// A write error is dropped: a lost count must not fail the work that it counts.
func Count(w io.Writer, at time.Time, function, metric string, n int) {
	type unit struct{ Name, Unit string }
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []unit
	}
	type metadata struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}
	line, err := json.Marshal(map[string]any{
		"_aws": metadata{
			Timestamp: at.UnixMilli(),
			CloudWatchMetrics: []directive{{
				Namespace:  Namespace,
				Dimensions: [][]string{{"FunctionName"}},
				Metrics:    []unit{{Name: metric, Unit: "Count"}},
			}},
		},
		"FunctionName": function,
		metric:         n,
	})
	if err == nil {
		_, _ = w.Write(append(line, '\n'))
	}
}
