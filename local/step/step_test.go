package step_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/millrace/millrace/local/step"
)

func TestEveryStepIsALineWithItsOutcome(t *testing.T) {
	var out bytes.Buffer
	log := step.New(&out)
	boom := errors.New("boom")
	if err := log.Run(t.Context(), "brew", func(_ context.Context, s *step.Step) error {
		s.Note("%d of %d cups", 2, 2)
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := log.Run(t.Context(), "pour", func(context.Context, *step.Step) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Run answered %v, want the step's own error", err)
	}
	want := `^  ✓ brew +\d+\.\d s  2 of 2 cups\n  ✗ pour +\d+\.\d s\n$`
	if !regexp.MustCompile(want).Match(out.Bytes()) {
		t.Errorf("the log is\n%swant it to match\n%s", out.String(), want)
	}
}

func TestANilWriterDiscards(t *testing.T) {
	if err := step.New(nil).Run(t.Context(), "x", func(context.Context, *step.Step) error { return nil }); err != nil {
		t.Error(err)
	}
}

func ExampleLog_Run() {
	log := step.New(nil) // os.Stderr in a program
	err := log.Run(context.Background(), "count to three", func(ctx context.Context, s *step.Step) error {
		for i := range 3 {
			s.Note("%d", i+1)
		}
		return ctx.Err()
	})
	fmt.Println(err)
	// Output: <nil>
}
