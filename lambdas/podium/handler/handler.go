// Package handler keeps the top ten of each race, out of the change stream of the
// standings table.
package handler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/kit/partial"
	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/race"
)

// attempts is how often a podium is merged anew because somebody else wrote it
// in between. Only the invocations of different shards meet at one race.
const attempts = 8

// Handler is the function. It is safe for concurrent use.
type Handler struct {
	// Rejects takes the changes that can't be read.
	Rejects *reject.Writer
	// Pause is how long to wait before an attempt that follows another one; random
	// by default, so that two writers get out of each other's way.
	Pause func(attempt int) time.Duration

	tables tables
}

// New reads the function's environment through getenv (os.Getenv). The error names
// every variable that is missing.
func New(getenv func(string) string, db DynamoDBAPI, bucket reject.PutObjectAPI) (*Handler, error) {
	env, err := boot.Environment(getenv, "STANDINGS_TABLE", "PODIUMS_TABLE", "FAILURE_BUCKET", "AWS_LAMBDA_FUNCTION_NAME")
	if err != nil {
		return nil, err
	}
	return &Handler{
		Pause:  func(attempt int) time.Duration { return rand.N(10 * time.Millisecond << attempt) },
		tables: tables{db: db, standings: env["STANDINGS_TABLE"], podiums: env["PODIUMS_TABLE"]},
		Rejects: &reject.Writer{
			Client:   bucket,
			Bucket:   env["FAILURE_BUCKET"],
			Function: env["AWS_LAMBDA_FUNCTION_NAME"],
		},
	}, nil
}

// raceChanges are one race's changes in an event.
type raceChanges struct {
	first   int // the lowest position in the event
	changes []race.Change
}

// Handle brings the podium of every race in the event up to date. A race that
// fails doesn't keep the others; what failed is retried from the lowest position
// concerned.
func (h *Handler) Handle(ctx context.Context, event events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	ctx, cancel := partial.Context(ctx)
	defer cancel()

	races, unreadable := read(event)
	var failures partial.Failures
	var group errgroup.Group // not WithContext: a failure must not cancel the rest
	group.SetLimit(boot.Concurrency)
	for position, reason := range unreadable {
		group.Go(func() error {
			if err := h.Rejects.Write(ctx, document(event.Records[position], reason)); err != nil {
				failures.Add(position, err)
			}
			return nil
		})
	}
	for name, r := range races {
		group.Go(func() error {
			if err := h.update(ctx, name, r.changes); err != nil {
				failures.Add(r.first, fmt.Errorf("podium of race %s: %w", name, err))
			}
			return nil
		})
	}
	_ = group.Wait()

	slog.InfoContext(ctx, "batch", "records", len(event.Records), "races", len(races), "unreadable", len(unreadable))
	return answer(ctx, event, &failures)
}

func read(event events.DynamoDBEvent) (races map[string]*raceChanges, unreadable map[int]error) {
	races, unreadable = make(map[string]*raceChanges), make(map[int]error)
	for position := range event.Records {
		name, change, err := readChange(event.Records[position])
		if err != nil {
			unreadable[position] = err
			continue
		}
		if races[name] == nil {
			races[name] = &raceChanges{first: position}
		}
		races[name].changes = append(races[name].changes, change)
	}
	return races, unreadable
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

func answer(ctx context.Context, event events.DynamoDBEvent, failures *partial.Failures) (events.DynamoDBEventResponse, error) {
	response := events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
	first, failed := failures.First()
	if !failed {
		return response, nil
	}
	record := event.Records[first.Position]
	slog.ErrorContext(ctx, "records failed: the batch will be retried from here", "failures", first.Count,
		"error", first.Err.Error(), "eventId", record.EventID, "sequenceNumber", record.Change.SequenceNumber)
	if err := first.BatchError(); err != nil {
		return response, err
	}
	response.BatchItemFailures = append(response.BatchItemFailures,
		events.DynamoDBBatchItemFailure{ItemIdentifier: record.Change.SequenceNumber})
	return response, nil
}
