package table

import (
	"fmt"
	"strings"

	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Signals of the table and its global indexes: throttling, capacity that is nearly
// used up, replicas and a Kinesis stream that fall behind, and errors of DynamoDB
// itself on the operations that were granted. Take them after the last Grant.
// DynamoDB counts requests that were wrong (UserErrors) per account and region
// only: no table can be told by them.
func (t *Table) Signals() []watch.Signal {
	signals := []watch.Signal{
		t.throttled("WriteThrottled", "WriteThrottleEvents", "writes", ""),
		t.throttled("ReadThrottled", "ReadThrottleEvents", "reads", ""),
	}
	signals = append(signals, t.used("", t.settings.ReadCapacity, t.settings.WriteCapacity)...)
	for _, x := range t.settings.GlobalIndexes {
		signals = append(signals,
			t.throttled("IndexWriteThrottled", "WriteThrottleEvents", "writes", x.Name),
			t.throttled("IndexReadThrottled", "ReadThrottleEvents", "reads", x.Name))
		signals = append(signals, t.used(x.Name, x.ReadCapacity, x.WriteCapacity)...)
	}
	signals = append(signals, t.replicated()...)
	if t.kinesis {
		signals = append(signals, t.streamed()...)
	}
	if len(t.operations) > 0 {
		signals = append(signals, t.systemErrors())
	}
	return signals
}

// throttled is about the table, or about one of its indexes.
func (t *Table) throttled(name, metric, verb, index string) watch.Signal {
	s := watch.Signal{
		Owner: t.construct, Name: name, Graph: "Throttled " + verb, Metric: t.Metric(metric, "Sum"),
		Runbook: "table-" + strings.ToLower(verb[:len(verb)-1]) + "-throttled",
		From:    "a table on demand throttles only beyond twice its former peak, or 1,000 writes or 3,000 reads a second of one partition",
		Why:     "DynamoDB turns " + verb + " away; consumers retry and fall behind.",
		Do:      "Look for a hot partition key; else wait for the table to scale, or set warm throughput.",
		Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
	}
	if t.settings.Billing == spec.ProvisionedCapacity {
		s.From = "a table with enough capacity turns away nothing, within 1,000 writes or 3,000 reads a second of one partition"
		s.Do = "Look for a hot partition key; else raise the capacity's minimum and maximum, or lower its target utilization."
	}
	if index != "" {
		s.Name, s.Graph, s.Metric = name+"_"+plain(index), s.Graph+" of "+index, t.IndexMetric(index, metric, "Sum")
		s.Why = "DynamoDB turns " + verb + " of the index away; a throttled index holds up writes to the table."
	}
	return s
}

// used are the alarms on provisioned capacity of the table or an index.
func (t *Table) used(index string, read, write spec.Capacity) []watch.Signal {
	var signals []watch.Signal
	for _, part := range []struct {
		name, metric, verb string
		capacity           spec.Capacity
	}{
		{"WriteCapacity", "ConsumedWriteCapacityUnits", "write", write},
		{"ReadCapacity", "ConsumedReadCapacityUnits", "read", read},
	} {
		most := part.capacity.Most()
		if most == 0 {
			continue
		}
		s := watch.Signal{
			Owner: t.construct, Name: part.name, Graph: "Consumed " + part.verb + " units (a minute)", Metric: t.Metric(part.metric, "Sum"),
			Runbook:   "table-capacity",
			Threshold: .8 * float64(most) * 60,
			From:      fmt.Sprintf("80 %% of the %d units a second that the capacity reaches at most", most),
			Why:       "Nearly all capacity that may be provisioned is used; beyond it DynamoDB turns requests away.",
			Do:        "Raise the capacity's maximum, or bill the table on demand.",
			Periods:   5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		}
		if index != "" {
			s.Name, s.Graph, s.Metric = "Index"+part.name+"_"+plain(index), s.Graph+" of "+index, t.IndexMetric(index, part.metric, "Sum")
		}
		signals = append(signals, s)
	}
	return signals
}

// replicated are the alarms on the table's copies in other regions. A strongly
// consistent table publishes no latency: it answers when the copy is made.
func (t *Table) replicated() []watch.Signal {
	var signals []watch.Signal
	for _, r := range t.settings.Replicas {
		if t.settings.Consistency == spec.Strong {
			break
		}
		m := t.Metric("ReplicationLatency", "Average")
		m.Dimensions["ReceivingRegion"] = jsii.String(r.Region)
		signals = append(signals, watch.Signal{
			Owner: t.construct, Name: "ReplicationLatency_" + plain(r.Region), Graph: "Behind in " + r.Region + " (ms)", Metric: m,
			Runbook: "table-replication-latency", Threshold: 180_000, From: "AWS calls for a look from three minutes on; a second is usual",
			Why:     "The copy in that region falls behind; should this region fail, what isn't there yet is missing there.",
			Do:      "See AWS's health of both regions; lead traffic to the region that is well.",
			Periods: 15, Missing: watch.Unknown, Severity: watch.Warning,
		})
	}
	return signals
}

// streamed are the alarms on the Kinesis stream that gets the table's changes. AWS
// names the dimension DelegatedOperation of their metrics but none of its values,
// so they are selected by the table.
func (t *Table) streamed() []watch.Signal {
	query := func(function, metric string) watch.Metric {
		return watch.Metric{
			Label:      metric,
			Expression: fmt.Sprintf(`SELECT %s(%s) FROM SCHEMA("AWS/DynamoDB", DelegatedOperation, TableName) WHERE TableName = '%s'`, function, metric, *t.Name()),
		}
	}
	age := watch.Age(t.construct, "KinesisAge", "Age of the oldest change not in Kinesis (ms)", query("MAX", "AgeOfOldestUnreplicatedRecord"), spec.ChangeRetention,
		"table-kinesis-failed", "See whether the Kinesis stream turns writes away, and whether its key or the service-linked role has changed; DynamoDB tries again meanwhile.")
	return append(age, watch.Signal{
		Owner: t.construct, Name: "KinesisFailed", Graph: "Changes that can't go to Kinesis (records)", Metric: query("SUM", "FailedToReplicateRecordCount"),
		Runbook: "table-kinesis-failed", From: "DynamoDB skips only what doesn't fit",
		Why:     "A change was larger than the stream's record may be, as items beyond some 34 KB can become; DynamoDB skipped it for good.",
		Do:      "Find the large items and read them from the table; raise the stream's MaximumRecordSize, or keep items small.",
		Missing: watch.NotBreaching, Severity: watch.Critical,
	})
}

// systemErrors is one sum over the operations in use: DynamoDB publishes them per
// operation only.
func (t *Table) systemErrors() watch.Signal {
	sum := watch.Metric{Label: "SystemErrors"}
	var terms []string
	for i, op := range t.operations {
		terms = append(terms, fmt.Sprintf("FILL(m%d, 0)", i))
		m := t.Metric("SystemErrors", "Sum")
		m.Dimensions["Operation"] = jsii.String(op)
		sum.Using = append(sum.Using, m)
	}
	sum.Expression = strings.Join(terms, " + ")
	return watch.Signal{
		Owner: t.construct, Name: "SystemErrors", Graph: "DynamoDB's own errors", Metric: sum, Runbook: "table-system-errors",
		From: "AWS counts none on a healthy table", Why: "DynamoDB answered with HTTP 500; consumers retry.",
		Do:      "Wait and watch the consumers' age; open a case with AWS if it lasts.",
		Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
	}
}

// plain is an index's or a region's name as part of a signal's.
func plain(name string) string { return strings.NewReplacer("-", "_", ".", "__").Replace(name) }
