package delivery

import (
	"fmt"
	"time"

	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// checkFailed notes the problems of a destination's bucket for what failed, and of
// having all records written to it.
func (s S3) checkFailed(c *spec.Check, props Props, all bool) {
	c.Within("Failed", func(c *spec.Check) {
		s.validatePlain(c)
		s.BackupInterval(c)
		s.destinationOnly(c)
	})
	if all && props.MSK != nil {
		c.Add("BackupAll", true, notOfMSK, "leave it out: the topic has the records")
	}
}

// https://docs.aws.amazon.com/firehose/latest/dev/create-configure-backup.html
const notOfMSK = "Firehose backs up records of Kinesis streams and of producers only, and the source is MSK"

// backupMode is which records are written to S3, in a destination's own words.
func backupMode(all bool, everything, failed string) *string {
	if all {
		return jsii.String(everything)
	}
	return jsii.String(failed)
}

// kept is a metric of what is written to S3 beside a destination: AWS publishes it by
// the one name or the other, which differs by destination and by what is kept, and
// for HTTP endpoints isn't documented.
func (d *Delivery) kept(name, statistic, worse, graph string) watch.Metric {
	return watch.Metric{Label: graph, Expression: worse + "([m0, m1])", Using: []watch.Metric{
		d.metric("DeliveryToS3."+name, statistic), d.metric("BackupToS3."+name, statistic),
	}}
}

// backedUp are the signals of the bucket of a destination that isn't S3. While neither
// the destination nor the bucket takes records, Firehose delivers none.
func (d *Delivery) backedUp(s S3, all bool) []watch.Signal {
	const success, freshness = "Writes to the backup bucket (share)", "Age of the oldest record not in the backup bucket (s)"
	const page, do = "delivery-backup", "Read the delivery's log; check the bucket's policy and key and Firehose's role."
	signals := []watch.Signal{{
		Owner: d.construct, Name: "BackupSuccess", Graph: success, Metric: d.kept("Success", "Average", "MIN", success),
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
		Owner: d.construct, Name: "BackupFreshness", Graph: freshness, Metric: d.kept("DataFreshness", "Maximum", "MAX", freshness),
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
