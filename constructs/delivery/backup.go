package delivery

import (
	"fmt"
	"time"

	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// validateIn notes the problems of a bucket that is a field of a destination.
func (s S3) validateIn(field string, _ Props, c *spec.Check) {
	own := spec.At("")
	s.validatePlain(own)
	s.destinationOnly(own)
	if invalid, ok := own.Err().(*spec.Invalid); ok {
		for i := range invalid.Problems {
			invalid.Problems[i].Field = field + "." + invalid.Problems[i].Field
		}
		c.Merge(invalid)
	}
}

// backupMode is which records are written to S3, in a destination's own words.
func backupMode(all bool, everything, failed string) *string {
	if all {
		return jsii.String(everything)
	}
	return jsii.String(failed)
}

// backedUp are the signals of the bucket of a destination that isn't S3; metrics is
// what the names of its metrics begin with. While neither the destination nor the
// bucket takes records, Firehose delivers none.
func (d *Delivery) backedUp(metrics string, s S3, all bool) []watch.Signal {
	const page, do = "delivery-backup", "Read the delivery's log; check the bucket's policy and key and Firehose's role."
	signals := []watch.Signal{{
		Owner: d.construct, Name: "BackupSuccess", Graph: "Writes to the backup bucket (share)", Metric: d.metric(metrics+".Success", "Average"),
		Below: true, Threshold: 1, From: "every write should succeed",
		Why:     "What the destination refused can't be written to its bucket, and delivery pauses until it can.",
		Do:      do,
		Runbook: page,
		Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
	}}
	if !all {
		return signals
	}
	interval := s.WithDefaults().BufferInterval
	fresh := max(3*interval.Seconds(), (3 * time.Minute).Seconds())
	return append(signals, watch.Signal{
		Owner: d.construct, Name: "BackupFreshness", Graph: "Age of the oldest record not in the backup bucket (s)", Metric: d.metric("BackupToS3.DataFreshness", "Maximum"),
		Threshold: fresh, From: fmt.Sprintf("three times the bucket's buffer interval of %g s, at least 180 s", interval.Seconds()),
		Why:     "Records wait longer for their backup than its buffer explains.",
		Do:      do,
		Runbook: page,
		Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
	})
}

// onPage is signals with the page of a destination, which knows its errors.
func onPage(page string, signals []watch.Signal) []watch.Signal {
	for i := range signals {
		signals[i].Runbook = page
	}
	return signals
}
