package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/lambdas/race/simulator"
)

func newRace(t *testing.T, f raceFlags) (raceFlags, *simulator.Simulator) {
	t.Helper()
	f.given = map[string]bool{"records": f.records > 0, "seed": true}
	if err := f.resolve(); err != nil {
		t.Fatal(err)
	}
	sim, err := simulator.New(simulator.Options{Seed: f.seed, Racers: f.racers, Races: f.races, Step: f.step()})
	if err != nil {
		t.Fatal(err)
	}
	return f, sim
}

func TestARaceReportsWhatWasAcknowledged(t *testing.T) {
	stream := &fakeStream{refuse: 3}
	var stdout, stderr bytes.Buffer
	p := Program{Stdout: &stdout, Stderr: &stderr}
	f, sim := newRace(t, raceFlags{racers: 4, races: 2, records: 25, seed: 7, seconds: 10})
	if err := p.send(t.Context(), f, sim, stream, target{name: "s"}); err != nil {
		t.Fatal(err)
	}
	if want := "25 records acknowledged in "; !strings.HasPrefix(stdout.String(), want) || !strings.Contains(stdout.String(), ", 3 sent again") {
		t.Errorf("the report is %q, want 25 records with 3 sent again", stdout.String())
	}
	if len(stream.records) != 25 || stream.largest > 500 {
		t.Errorf("the stream took %d records in calls of up to %d, want 25 and at most 500", len(stream.records), stream.largest)
	}
	for _, record := range stream.records {
		if record.Race != "seed7.race-01" && record.Race != "seed7.race-02" {
			t.Errorf("a record is of race %q, want the seed in its name", record.Race)
		}
	}
}

func TestARaceShowsWhichShardIsHot(t *testing.T) {
	hot, cold, busy := "shardId-000000000001", "shardId-000000000000", 5
	stream := putRecords(func(in *kinesis.PutRecordsInput) (*kinesis.PutRecordsOutput, error) {
		out := &kinesis.PutRecordsOutput{FailedRecordCount: aws.Int32(0)}
		for _, entry := range in.Records {
			switch record, err := race.Parse(entry.Data); {
			case err != nil:
				return nil, err
			case record.Race != "seed7.race-01":
				out.Records = append(out.Records, types.PutRecordsResultEntry{ShardId: &cold})
			case busy > 0:
				busy--
				*out.FailedRecordCount++
				out.Records = append(out.Records, types.PutRecordsResultEntry{
					ErrorCode:    aws.String("ProvisionedThroughputExceededException"),
					ErrorMessage: aws.String("Rate exceeded for shard " + hot + " in stream s under account 111122223333."),
				})
			default:
				out.Records = append(out.Records, types.PutRecordsResultEntry{ShardId: &hot})
			}
		}
		return out, nil
	})
	var stdout bytes.Buffer
	p := Program{Stdout: &stdout, Stderr: &bytes.Buffer{}}
	f, sim := newRace(t, raceFlags{racers: 4, races: 2, records: 40, seed: 7, seconds: 10})
	if err := p.send(t.Context(), f, sim, stream, target{name: "s"}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(stdout.String()), " ")
	if want := cold + " 20 acknowledged 0 times throttled " + hot + " 20 acknowledged 5 times throttled"; !strings.HasSuffix(got, want) {
		t.Errorf("the report is\n%swant\n%s", stdout.String(), want)
	}
}

// putRecords is a stream that answers as the function does.
type putRecords func(*kinesis.PutRecordsInput) (*kinesis.PutRecordsOutput, error)

func (f putRecords) PutRecords(_ context.Context, in *kinesis.PutRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	return f(in)
}

func TestTheSameSeedGivesTheSameRecords(t *testing.T) {
	var runs [2]fakeStream
	for i := range runs {
		f, sim := newRace(t, raceFlags{racers: 3, races: 1, records: 30, seed: 9, seconds: 10})
		p := Program{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
		if err := p.send(t.Context(), f, sim, &runs[i], target{name: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(runs[0].records) != fmt.Sprint(runs[1].records) {
		t.Error("two runs with one seed differ")
	}
}

func TestAnInterruptedRaceStillReports(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("Ctrl-C")
	stream := &fakeStream{after: func(calls int) {
		if calls == 2 {
			cancel(why)
		}
	}}
	var stdout bytes.Buffer
	p := Program{Stdout: &stdout, Stderr: &bytes.Buffer{}}
	f, sim := newRace(t, raceFlags{racers: 4, races: 1, records: 2000, seconds: 10})
	err := p.send(ctx, f, sim, stream, target{name: "s"})
	if !errors.Is(err, why) || !strings.HasPrefix(stdout.String(), "1000 records acknowledged") {
		t.Errorf("send answered %v and reported %q, want the cause and the 1000 records of two calls", err, stdout.String())
	}
}

func TestTheClockEndsARaceWithoutARate(t *testing.T) {
	stream := &fakeStream{}
	p := Program{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
	f, sim := newRace(t, raceFlags{racers: 4, races: 1, seconds: 0.02})
	if err := p.send(t.Context(), f, sim, stream, target{name: "s"}); err != nil {
		t.Fatal(err)
	}
	if len(stream.records) == 0 {
		t.Error("no record was sent")
	}
}

func TestRateAndSecondsMakeTheCount(t *testing.T) {
	f := raceFlags{racers: 1000, races: 5, rate: 500, seconds: 4}
	if err := f.resolve(); err != nil || f.records != 2000 || f.step() != 2*time.Second {
		t.Errorf("%d records, one of a racer every %v, %v; want 2000, 2s", f.records, f.step(), err)
	}
}

// fakeStream takes everything but the first records that it refuses once.
type fakeStream struct {
	records []race.Record
	refuse  int
	calls   int
	largest int
	after   func(calls int)
}

func (f *fakeStream) PutRecords(ctx context.Context, in *kinesis.PutRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.PutRecordsOutput, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f.calls++
	f.largest = max(f.largest, len(in.Records))
	out := &kinesis.PutRecordsOutput{FailedRecordCount: aws.Int32(0)}
	for _, entry := range in.Records {
		if f.refuse > 0 {
			f.refuse--
			*out.FailedRecordCount++
			out.Records = append(out.Records, types.PutRecordsResultEntry{ErrorCode: aws.String("InternalFailure")})
			continue
		}
		record, err := race.Parse(entry.Data)
		if err != nil {
			return nil, err
		}
		if record.PartitionKey() != *entry.PartitionKey {
			return nil, fmt.Errorf("partition key %s on a record of %s", *entry.PartitionKey, record.PartitionKey())
		}
		f.records = append(f.records, record)
		out.Records = append(out.Records, types.PutRecordsResultEntry{})
	}
	if f.after != nil {
		f.after(f.calls)
	}
	return out, nil
}
