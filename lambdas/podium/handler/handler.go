// Package handler keeps the top ten of each race, out of the change stream of the
// standings table.
package handler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/race"
)

// attempts is how often a podium is merged anew because somebody else wrote it
// in between. Only the invocations of different shards meet at one race.
const attempts = 8

// Handler is the function. It is safe for concurrent use.
type Handler struct {
	lambda.Handler
	// Pause is how long to wait before an attempt that follows another one; random
	// by default, so that two writers get out of each other's way.
	Pause func(attempt int) time.Duration

	tables tables
}

// New is the function. It reads the environment through getenv (os.Getenv); the
// error names every variable that is missing.
func New(getenv func(string) string, db DynamoDBAPI, rejects batch.Rejects) (*Handler, error) {
	env, err := boot.Environment(getenv, "STANDINGS_TABLE", "PODIUMS_TABLE")
	if err != nil {
		return nil, err
	}
	h := &Handler{
		Pause:  func(attempt int) time.Duration { return rand.N(10 * time.Millisecond << attempt) },
		tables: tables{db: db, standings: env["STANDINGS_TABLE"], podiums: env["PODIUMS_TABLE"]},
	}
	// A race that fails doesn't keep the others from being up to date: a change may be
	// merged again.
	h.Handler = batch.Keys(batch.DynamoDB, raceOf, h.changes, batch.Options{Concurrency: boot.Concurrency, KeepGoing: true, Rejects: rejects})
	return h, nil
}

// changes brings the podium of a race up to date.
func (h *Handler) changes(ctx context.Context, records []decode.Change) error {
	var problems []error
	var changes []race.Change
	first := 0
	for i, r := range records {
		change, err := readChange(r)
		switch {
		case err != nil:
			problems = append(problems, batch.At(i, batch.Permanent(err)))
			continue
		case len(changes) == 0:
			first = i
		}
		changes = append(changes, change)
	}
	if len(changes) > 0 {
		name := raceOf(records[first])
		if err := h.update(ctx, name, changes); err != nil {
			problems = append(problems, batch.At(first, fmt.Errorf("podium of race %s: %w", name, err)))
		}
	}
	return errors.Join(problems...)
}

// update merges the changes into the race's podium, on the condition that
// nobody else writes it meanwhile.
func (h *Handler) update(ctx context.Context, name string, changes []race.Change) error {
	var err error
	for attempt := range attempts {
		if err = h.pause(ctx, attempt); err != nil {
			return err
		}
		if err = h.tryUpdate(ctx, name, changes); !errors.Is(err, errConflict) {
			return err
		}
	}
	return err
}

// pause waits before an attempt. The first one doesn't wait.
func (h *Handler) pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(h.Pause(attempt))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (h *Handler) tryUpdate(ctx context.Context, name string, changes []race.Change) error {
	held, err := h.tables.podium(ctx, name)
	if err != nil {
		return err
	}
	next, err := held.Update(changes, standings{ctx, h.tables, name})
	if err != nil {
		return err
	}
	if held.Version > 0 && next.Equal(held) {
		return nil
	}
	return h.tables.write(ctx, next)
}
