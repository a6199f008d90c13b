// Package partial answers a batch of stream records of which some failed
// (partial batch response): nothing failed is lost, nothing good blocks.
package partial

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Failures collects what failed in one batch. The zero value is ready; it is
// safe for concurrent use.
type Failures struct {
	mu    sync.Mutex
	first Failure
}

// Failure is the failed record with the lowest position in its batch. Positions
// decide, not sequence numbers, whose order as numbers is the stream's business.
type Failure struct {
	// Position is the record's index in the event: Lambda has to retry from it.
	Position int
	// Err is why it failed.
	Err error
	// Count is how many failures there were in the batch.
	Count int
}

// Add notes that the record at the position failed. Lambda retries everything
// from the lowest position on, so a caller whose unit of work spans several
// records adds the lowest of them.
func (f *Failures) Add(position int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first.Count == 0 || position < f.first.Position {
		f.first.Position, f.first.Err = position, err
	}
	f.first.Count++
}

// First is the failure with the lowest position; false if nothing failed.
func (f *Failures) First() (Failure, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first, f.first.Count > 0
}

// BatchError is what to answer if the batch has to be retried from position 0,
// instead of naming its first record; it is nil at any other position. Lambda
// retries the whole batch either way, but
//   - with bisecting on, an error halves the batch, and splitting costs no
//     retries: a record that can't get through is alone after a few rounds and
//     goes to the failure destination alone. A partial answer at position 0
//     splits nothing off; all its retries would be spent on the whole batch,
//     which would then go to the failure destination with its good records.
//   - the failed invocation shows in the function's Errors metric. A partial
//     answer doesn't.
//   - a poller that ignores partial answers retries too.
func (f Failure) BatchError() error {
	if f.Count == 0 || f.Position > 0 {
		return nil
	}
	return fmt.Errorf("the batch has to be retried from its first record (failures: %d): %w", f.Count, f.Err)
}

// Context ends shortly before the deadline of ctx (a tenth of the time left, at
// most 1 s), so that the function can still answer which records failed: killed
// at the deadline, it would have to do the whole batch again.
func Context(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	margin := min(time.Second, time.Until(deadline)/10)
	return context.WithDeadline(ctx, deadline.Add(-margin))
}
