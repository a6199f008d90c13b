package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

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

type program struct {
	tables  tables
	rejects *reject.Writer
}

func newProgram(getenv func(string) string, db dynamoAPI, bucket reject.PutObjectAPI) (*program, error) {
	env, err := boot.Environment(getenv, "STANDINGS_TABLE", "PODIUMS_TABLE", "FAILURE_BUCKET", "AWS_LAMBDA_FUNCTION_NAME")
	if err != nil {
		return nil, err
	}
	return &program{
		tables: tables{db: db, standings: env["STANDINGS_TABLE"], podiums: env["PODIUMS_TABLE"]},
		rejects: &reject.Writer{
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

// handle brings the podium of every race in the event up to date. A race that
// fails doesn't keep the others; what failed is retried from the lowest position
// concerned.
func (p *program) handle(ctx context.Context, event events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	ctx, cancel := partial.Context(ctx)
	defer cancel()

	races, unreadable := read(event)
	var failures partial.Failures
	var group errgroup.Group // not WithContext: a failure must not cancel the rest
	group.SetLimit(boot.Concurrency)
	for position, reason := range unreadable {
		group.Go(func() error {
			if err := p.rejects.Write(ctx, document(event.Records[position], reason)); err != nil {
				failures.Add(position, err)
			}
			return nil
		})
	}
	for name, r := range races {
		group.Go(func() error {
			if err := p.update(ctx, name, r.changes); err != nil {
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
func (p *program) update(ctx context.Context, name string, changes []race.Change) error {
	var err error
	for attempt := range attempts {
		if err = pause(ctx, attempt); err != nil {
			return err
		}
		if err = p.tryUpdate(ctx, name, changes); !errors.Is(err, errConflict) {
			return err
		}
	}
	return err
}

func (p *program) tryUpdate(ctx context.Context, name string, changes []race.Change) error {
	held, err := p.tables.podium(ctx, name)
	if err != nil {
		return err
	}
	next, rebuild := held.Merge(changes)
	if rebuild || held.Version == 0 { // the race may be older than its podium
		racers, err := p.tables.racers(ctx, name)
		if err != nil {
			return err
		}
		next = held.Of(racers)
	}
	if held.Version > 0 && next.Equal(held) {
		return nil
	}
	return p.tables.write(ctx, next)
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
