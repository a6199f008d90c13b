package backoff_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/lambdas/kit/internal/backoff"
)

func TestCeilingsDoubleUpToTheMaximum(t *testing.T) {
	b := backoff.Backoff{Base: 100 * time.Millisecond, Max: time.Second}
	var got []time.Duration
	for attempts := 1; attempts <= 6; attempts++ {
		got = append(got, b.Ceiling(attempts))
	}
	if want := "[100ms 200ms 400ms 800ms 1s 1s]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if got := b.Ceiling(1 << 40); got != time.Second {
		t.Errorf("after many attempts: %v", got)
	}
	if got := (backoff.Backoff{Base: time.Hour, Max: time.Second}).Ceiling(1); got != time.Second {
		t.Errorf("a base above the maximum: %v", got)
	}
}

func TestWaitsAreRandomBelowTheCeiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff.Backoff{Base: time.Second, Max: time.Minute}
		different := map[time.Duration]bool{}
		for range 100 {
			began := time.Now()
			if err := b.Wait(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
			waited := time.Since(began)
			if waited >= 4*time.Second {
				t.Fatalf("waited %v", waited)
			}
			different[waited] = true
		}
		if len(different) < 50 {
			t.Errorf("only %d different waits of 100", len(different))
		}
	})
}

func TestNobodyWaitsBeyondTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		began := time.Now()
		if err := (backoff.Backoff{Base: time.Hour, Max: time.Hour}).Wait(ctx, 1); !errors.Is(err, backoff.ErrNoTime) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestCancellingEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Nanosecond, cancel)
		long := backoff.Backoff{Base: 1 << 60, Max: 1 << 60}
		if err := long.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := long.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
	})
}
