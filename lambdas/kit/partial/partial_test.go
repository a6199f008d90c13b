package partial_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/lambdas/kit/partial"
)

func TestTheLowestPositionCounts(t *testing.T) {
	var failures partial.Failures
	if first, failed := failures.First(); failed || first.BatchError() != nil {
		t.Errorf("nothing failed, yet %+v", first)
	}
	lowest := errors.New("at 3")
	var group sync.WaitGroup
	for position := 9; position >= 3; position-- {
		group.Go(func() {
			err := errors.New("higher up")
			if position == 3 {
				err = lowest
			}
			failures.Add(position, err)
		})
	}
	group.Wait()
	first, failed := failures.First()
	if !failed || first.Position != 3 || !errors.Is(first.Err, lowest) || first.Count != 7 || first.BatchError() != nil {
		t.Errorf("got %+v", first)
	}
}

func TestTheFirstRecordFailsTheBatch(t *testing.T) {
	var failures partial.Failures
	cause := errors.New("cause")
	failures.Add(0, cause)
	failures.Add(4, errors.New("another"))
	first, _ := failures.First()
	if err := first.BatchError(); !errors.Is(err, cause) || !strings.Contains(err.Error(), "failures: 2") {
		t.Errorf("got %v", err)
	}
}

func TestContextEndsBeforeTheDeadline(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		30 * time.Second: time.Second,
		2 * time.Second:  200 * time.Millisecond,
	} {
		parent, cancel := context.WithTimeout(t.Context(), left)
		defer cancel()
		ctx, cancel := partial.Context(parent)
		defer cancel()
		end, _ := parent.Deadline()
		got, ok := ctx.Deadline()
		if margin := end.Sub(got); !ok || margin > want || margin < want*9/10 {
			t.Errorf("%v left: margin %v, want %v", left, margin, want)
		}
	}
	ctx, cancel := partial.Context(t.Context())
	defer cancel()
	if _, ok := ctx.Deadline(); ok || ctx.Err() != nil {
		t.Error("a context without deadline got one")
	}
}
