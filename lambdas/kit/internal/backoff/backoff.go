// Package backoff waits between the attempts of a call.
package backoff

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Backoff bounds the waits: a random time below Base before the second attempt,
// below twice that before the third, and so on up to Max. At random, so that those
// who failed together don't come back together.
type Backoff struct{ Base, Max time.Duration }

// ErrNoTime is why nobody waits: the context would be over before the next attempt.
var ErrNoTime = errors.New("no time is left for another attempt")

// Ceiling is the most that is waited after so many attempts, 1 or more.
func (b Backoff) Ceiling(attempts int) time.Duration {
	ceiling := b.Base
	for range attempts - 1 {
		if ceiling >= b.Max/2 {
			return b.Max
		}
		ceiling *= 2
	}
	return min(ceiling, b.Max)
}

// Wait waits after so many attempts. It doesn't begin to wait for what would come
// after ctx's deadline: the caller can still tell how far it came.
func (b Backoff) Wait(ctx context.Context, attempts int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wait := time.Duration(rand.Float64() * float64(b.Ceiling(attempts)))
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Add(wait).Before(deadline) {
		return ErrNoTime
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
