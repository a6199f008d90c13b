package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/firehose"
	"github.com/millrace/millrace/local/throttle"
)

// Activity is what the pipeline of a machine has done and has before it.
type Activity struct {
	At         time.Time  `json:"at"`
	Consumers  []Consumer `json:"consumers"`
	Deliveries []Delivery `json:"deliveries"`
	// Limited are the shards' reads and writes where they have limits.
	Limited []throttle.Shard `json:"limited,omitempty"`
}

// Consumer is an event source mapping.
type Consumer struct {
	Function string  `json:"function"`
	Source   string  `json:"source"` // ARN of the stream
	Shards   []Shard `json:"shards"`
	// LastError went wrong outside of the function, and was or is tried again: a read,
	// an invocation that couldn't be made, a report to the failure destination.
	LastError string `json:"lastError,omitempty"`
}

// Shard is a consumer's position in a shard and what it did there.
type Shard struct {
	Shard string `json:"shard"`
	// Position is the sequence number up to which everything is dealt with; empty
	// before the first record.
	Position string `json:"position"`
	// IteratorAgeSeconds is how old the last record of the last batch was when its
	// invocation ended, as in Lambda's metric.
	IteratorAgeSeconds float64 `json:"iteratorAgeSeconds"`
	Waiting            int     `json:"waiting"` // records that were read and aren't dealt with
	Records            int64   `json:"records"` // that were read
	Batches            int64   `json:"batches"` // invocations
	Errors             int64   `json:"errors"`  // invocations that failed as a whole
	// Failed is how often a record was in a batch, or in the part of one, that failed.
	Failed int64 `json:"failed"`
	// OnFailure and Dropped are records that were given up: sent to the failure
	// destination, and lost as there is none.
	OnFailure int64 `json:"onFailure"`
	Dropped   int64 `json:"dropped"`
	Closed    bool  `json:"closed"` // split or merged, and dealt with to its end
}

// Delivery is a delivery stream; the numbers are of records, but for Bytes,
// Objects and Errors.
type Delivery struct {
	Name      string  `json:"name"`
	Accepted  int64   `json:"accepted"`
	Buffered  int64   `json:"buffered"`
	Bytes     int64   `json:"bytes"` // of the buffered ones
	Delivered int64   `json:"delivered"`
	Dropped   int64   `json:"dropped"`             // by the transform's own answer
	Failed    int64   `json:"failed"`              // under the error prefix
	Objects   int64   `json:"objects"`             // written to S3
	Errors    int64   `json:"errors"`              // attempts that failed
	LastError string  `json:"lastError,omitempty"` // of an attempt
	ReadError string  `json:"readError,omitempty"` // the last one of reading the stream
	Lag       float64 `json:"lagSeconds"`          // age of the oldest buffer that isn't away
}

// publishPause is how often a machine writes its activity down.
const publishPause = time.Second

// publish writes the activity to a file again and again.
func (p *pipeline) publish(ctx context.Context, file string) {
	failed, read := make([]int64, len(p.deliveries)), make([]string, len(p.deliveries))
	for {
		activity := p.activity(time.Now())
		for i, d := range activity.Deliveries {
			if d.Errors > failed[i] {
				failed[i] = d.Errors
				p.note(d.Name, fmt.Sprintf("%d failed attempts, the last one: %s", d.Errors, d.LastError))
			}
			if d.ReadError != read[i] {
				read[i] = d.ReadError
				p.note(d.Name, d.ReadError)
			}
		}
		if err := replaceJSON(file, activity); err != nil {
			p.note("status", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(publishPause):
		}
	}
}

func (p *pipeline) activity(now time.Time) Activity {
	a := Activity{At: now, Limited: p.shards()}
	for _, c := range p.consumers {
		one := Consumer{Function: c.function, Source: c.Settings().SourceARN}
		for _, s := range c.Status() {
			one.Shards = append(one.Shards, shardOf(s))
		}
		if problem := c.problem.Load(); problem != nil {
			one.LastError = *problem
		}
		a.Consumers = append(a.Consumers, one)
	}
	for _, d := range p.deliveries {
		a.Deliveries = append(a.Deliveries, deliveryOf(d.name, d.stream.Stats(), d.poller.Err(), now))
	}
	return a
}

func shardOf(s esm.Status) Shard {
	return Shard{
		Shard: s.Shard, Position: s.Checkpoint, Waiting: s.Waiting,
		Records: s.PolledEventCount, Batches: s.Invocations, Errors: s.Errors, Failed: s.FailedInvokeEventCount,
		OnFailure: s.OnFailureDestinationDeliveredEventCount, Dropped: s.DroppedEventCount, Closed: s.Drained,
		IteratorAgeSeconds: s.IteratorAge.Seconds(),
	}
}

func deliveryOf(name string, s firehose.Stats, err error, now time.Time) Delivery {
	d := Delivery{
		Name: name, Accepted: s.Accepted, Buffered: s.Buffered, Bytes: s.BufferedBytes, Delivered: s.Delivered,
		Dropped: s.Dropped, Failed: s.Failed, Objects: s.Objects, Errors: s.Errors, LastError: s.LastError,
	}
	if err != nil {
		d.ReadError = err.Error()
	}
	if !s.Oldest.IsZero() {
		d.Lag = now.Sub(s.Oldest).Seconds()
	}
	return d
}

// ReadActivity is the activity of the machine that runs in the checkout dir is in,
// at most about a second old; it is empty until the stack stands. The error is
// ErrNotRunning if there is no machine.
func ReadActivity(dir string) (Activity, error) {
	dir, err := Checkout(dir)
	if err != nil {
		return Activity{}, err
	}
	p := pathsOf(dir)
	if _, err := readState(p); err != nil {
		return Activity{}, err
	}
	data, err := os.ReadFile(p.activity)
	if errors.Is(err, os.ErrNotExist) {
		return Activity{}, nil
	} else if err != nil {
		return Activity{}, err
	}
	var a Activity
	if err := json.Unmarshal(data, &a); err != nil {
		return Activity{}, fmt.Errorf("the activity of the running machine in %s: %w", p.activity, err)
	}
	return a, nil
}

// replaceJSON replaces a file in one go, so that nobody reads half of it.
func replaceJSON(file string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	next := file + ".new"
	if err := os.WriteFile(next, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(next, file)
}
