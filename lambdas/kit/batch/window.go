package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// Window is a tumbling window: all records of a shard that arrived in it are
// handed over, in one batch or in several, then it ends with a final invocation.
type Window struct {
	// Start and End bound the window; they come again for a shard only when records
	// are processed anew.
	Start, End time.Time
	// ShardID and EventSourceARN name the shard and its stream.
	ShardID, EventSourceARN string
	// Final is the last invocation for the window, with what is left of its records,
	// mostly none: the state is what there is to write. It is made again until it
	// succeeds, so that what it writes must bear repeating.
	Final bool
	// Early says that Lambda ends the window before its time as its state had
	// outgrown [MaximumState]. Another window of the same bounds begins with an empty
	// state: add to what was written for the first.
	Early bool
}

// MaximumState is the most bytes of a window's state as JSON: 1 MB a shard, says
// Lambda's documentation.
const MaximumState = 1 << 20

// maximumAnswer is the most bytes of a function's answer: 6 MB.
const maximumAnswer = 6 << 20

// Windows is a handler for a mapping with a tumbling window: f adds the records to
// the state, which is S's zero value at first and travels as JSON, and writes it
// out when w.Final is set.
//
// A state over [MaximumState] is an error in the log, not of the invocation: that would
// get the same records with the same state again, for ever, while Lambda helps itself
// by ending the window early. A state that doesn't fit into an answer is an error.
//
// An error fails the whole invocation: Lambda hands over the same records with the
// same state again. Records that can never succeed are to be named by [At] and
// [Permanent]: with Rejects they are set aside, and the state that f left counts.
// The mapping's parallelization factor must be 1.
func Windows[R, S any](s Source[R], f func(ctx context.Context, w Window, state *S, records []R) error, o Options) lambda.Handler {
	return guard(&windows[R, S]{handler: newHandler(s, o, s.key, false, nil), f: f}, s, f == nil, o)
}

type windows[R, S any] struct {
	*handler[R]
	f func(context.Context, Window, *S, []R) error
}

// Invoke implements [lambda.Handler].
func (h *windows[R, S]) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	records, w, err := h.source.read(payload)
	if err != nil {
		return nil, err
	}
	if w.Start.IsZero() {
		return nil, errors.New("batch: the event has no window: the mapping has no tumbling window (TumblingWindowInSeconds)")
	}
	var state S
	if len(w.State) > 0 {
		if err := json.Unmarshal(w.State, &state); err != nil {
			return nil, fmt.Errorf("batch: the state of window %s of shard %s isn't that of this function: %w", w.Start.Format(time.RFC3339), w.ShardID, err)
		}
	}
	ctx, cancel := inTime(ctx)
	defer cancel()
	r, all := h.begin(ctx, records), group{0, len(records)}
	window := Window{
		Start: w.Start, End: w.End, ShardID: w.ShardID, EventSourceARN: w.EventSourceARN,
		Final: w.IsFinalInvokeForWindow, Early: w.IsWindowTerminatedEarly,
	}
	err = r.call(ctx, func(ctx context.Context, records []R) error { return h.f(ctx, window, &state, records) }, all)
	if err != nil && len(records) > 0 {
		r.settle(ctx, err, all)
		err = r.err // nil if all that failed is set aside
	}
	if err != nil {
		return nil, fmt.Errorf("window %s of shard %s: %w", w.Start.Format(time.RFC3339), w.ShardID, err)
	}
	text, err := json.Marshal(struct {
		State    S     `json:"state"`
		Failures []int `json:"batchItemFailures"`
	}{state, []int{}})
	if err != nil {
		return nil, fmt.Errorf("batch: the state of window %s: %w", w.Start.Format(time.RFC3339), err)
	}
	log := r.log.With("shardId", w.ShardID, "window", w.Start, "records", len(records), "rejected", r.rejected, "final", window.Final, "stateBytes", len(text))
	if n := len(records); n > 0 {
		log = log.With("from", r.sequences[0], "to", r.sequences[n-1])
	}
	switch {
	case len(text) > maximumAnswer:
		return nil, fmt.Errorf("batch: the state of window %s has %d bytes, an answer at most %d: keep less in it", w.Start.Format(time.RFC3339), len(text), maximumAnswer)
	case len(text) > MaximumState && !window.Final:
		log.ErrorContext(ctx, "the window's state is over 1 MB: Lambda ends the window early, and another one begins: keep less in it", "maximum", MaximumState)
	default:
		log.InfoContext(ctx, "batch")
	}
	return text, nil
}
