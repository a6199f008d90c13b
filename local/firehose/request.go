package firehose

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// sender delivers a batch to a destination with an HTTP API.
type sender interface {
	send(ctx context.Context, b *batch) reply
	// document adds what the destination's error documents have besides.
	document(b *batch, e entry, f *failure)
}

// reply is what a destination made of a batch.
type reply struct {
	// wait is until it is asked again for the outcome, 0 if this is it.
	wait time.Duration
	// problem is why no record of the batch was taken, nil if that isn't so.
	problem *problem
	// some are the problems of single records, by their place in the batch.
	some map[int]problem
	// permanent is that it is no use to try again.
	permanent bool
}

// problem is an error of a destination.
type problem struct{ code, message string }

// batch is records on their way to such a destination.
type batch struct {
	stream  *Stream
	sender  sender
	retry   time.Duration // how long it is tried, after the first failure
	failing string        // the errors' type, for the error prefix
	entries []entry

	id       string // the same in all attempts
	attempts int
	failed   time.Time // when it failed first
	state    any       // of the sender, between attempts
	reply    reply
	ended    time.Time
}

func (b *batch) run(ctx context.Context) {
	if b.id == "" {
		id, err := uuid(b.stream.random)
		if err != nil {
			b.reply = reply{problem: &problem{"Firehose.InternalError", err.Error()}}
			return
		}
		b.id = id
	}
	b.reply = b.sender.send(ctx, b)
	if b.reply.problem != nil && ctx.Err() != nil {
		// The process stops: that is no fault of the destination.
		b.reply = reply{wait: firstBackoff}
	}
	b.ended = b.stream.clock.Now()
}

func (b *batch) settle(s *Stream, now time.Time) (time.Duration, bool) {
	if b.reply.wait > 0 {
		return b.reply.wait, false
	}
	b.attempts++
	if b.reply.problem == nil && len(b.reply.some) == 0 {
		for _, e := range b.entries {
			s.settled(e.rec, &s.stats.Delivered)
		}
		return 0, true
	}
	problems := b.reply.some
	if all := b.reply.problem; all != nil {
		problems = make(map[int]problem, len(b.entries))
		for i := range b.entries {
			problems[i] = *all
		}
	}
	var left []entry
	var why []problem
	for i, e := range b.entries {
		if p, bad := problems[i]; bad {
			left, why = append(left, e), append(why, p)
		} else {
			s.settled(e.rec, &s.stats.Delivered)
		}
	}
	b.entries = left
	s.erred("destination", fmt.Errorf("%s: %s", why[0].code, why[0].message))
	if b.failed.IsZero() {
		b.failed = now
	}
	if end := b.failed.Add(b.retry); now.Before(end) && !b.reply.permanent {
		return min(backoff(b.attempts), end.Sub(now)), false
	}
	for i, e := range left {
		f := failure{kind: b.failing, code: why[i].code, message: why[i].message, raw: e.data, attempts: b.attempts, ended: b.ended}
		b.sender.document(b, e, &f)
		s.fail(e.rec, f, now)
	}
	return 0, true
}

// deliverTo is the delivery to a destination with an HTTP API.
func deliverTo(to sender, retry time.Duration, failing string) func(*Stream, *buffer) job {
	return func(s *Stream, b *buffer) job {
		return &batch{stream: s, sender: to, retry: retry, failing: failing, entries: b.entries}
	}
}

// largestAnswer is how much of an answer is read; Firehose allows 1 MiB, a bulk
// answer can be longer.
const largestAnswer = 64 << 20

// call makes a request and reads its answer.
func (s *Stream) call(ctx context.Context, url string, header http.Header, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	return resp.StatusCode, answer, nil
}
