package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/race"
)

func TestNoRaceYet(t *testing.T) {
	for name, want := range map[string]string{"": "no race yet", "monza": "no race monza"} {
		text, err := board(t.Context(), &fakePodiums{}, "podiums", name)
		if err != nil || !strings.Contains(text, want) || !strings.Contains(text, "millrace race") {
			t.Errorf("the board for race %q is %q, %v; want %q and what to do", name, text, err, want)
		}
	}
}

func TestAWatchedBoardIsPrintedWhenItChanges(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	table := &fakePodiums{}
	table.before = func(reads int) {
		switch reads {
		case 3:
			table.podiums = []race.Podium{{Race: "monza", Top: []race.Place{{Racer: "r-1", Seq: 1, Distance: 12, At: time.Now()}}}}
		case 6:
			cancel()
		}
	}
	var stdout bytes.Buffer
	p := Program{Stdout: &stdout, Stderr: &bytes.Buffer{}}
	if err := p.watch(ctx, table, "podiums", "", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	text := stdout.String()
	if strings.Count(text, "no race yet") != 1 || strings.Count(text, "12.0 m") != 1 {
		t.Errorf("the watched board printed\n%swant each state once", text)
	}
	if strings.Contains(text, "\x1b") {
		t.Error("there are control sequences although nobody watches")
	}
}

func TestAWatchedBoardEndsWithAnError(t *testing.T) {
	refused := errors.New("refused")
	p := Program{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
	if err := p.watch(t.Context(), &fakePodiums{err: refused}, "podiums", "", time.Millisecond); !errors.Is(err, refused) {
		t.Errorf("watch answered %v, want the table's error", err)
	}
}

type fakePodiums struct {
	podiums []race.Podium
	reads   int
	before  func(reads int)
	err     error
}

func (f *fakePodiums) Scan(ctx context.Context, _ *dynamodb.ScanInput, _ ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	f.reads++
	if f.before != nil {
		f.before(f.reads)
	}
	out := &dynamodb.ScanOutput{}
	for _, podium := range f.podiums {
		item, err := attributevalue.MarshalMap(podium)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, item)
	}
	return out, errors.Join(f.err, ctx.Err())
}

func (f *fakePodiums) GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return &dynamodb.GetItemOutput{Item: map[string]types.AttributeValue{}}, f.err
}
