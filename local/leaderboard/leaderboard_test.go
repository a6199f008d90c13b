package leaderboard_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/local/leaderboard"
)

var at = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func place(racer string, distance, speed float64) race.Place {
	return race.Place{Racer: racer, Seq: 3, At: at, Distance: distance, Speed: speed}
}

func ExampleWrite() {
	_ = leaderboard.Write(os.Stdout, []race.Podium{
		{Race: "monza", Top: []race.Place{place("r-0007", 1234.56, 14.2), place("r-12", 1200, 9)}},
		{Race: "spa", Top: []race.Place{place("r-1", 0, 0)}},
	})
	// Output:
	// monza
	//      RACER   DISTANCE      GAP     SPEED
	//   1  r-0007  1234.6 m   leader  14.2 m/s
	//   2  r-12    1200.0 m  +34.6 m   9.0 m/s
	//
	// spa
	//      RACER  DISTANCE     GAP    SPEED
	//   1  r-1       0.0 m  leader  0.0 m/s
}

func TestReadAllRacesOverAllPages(t *testing.T) {
	table := &fakeTable{pages: []any{
		race.Podium{Race: "spa", Version: 2, Top: []race.Place{place("b", 2, 1)}},
		race.Podium{Race: "monza", Version: 1, Top: []race.Place{place("a", 1, 1)}},
	}}
	got, err := leaderboard.Read(t.Context(), table, "podiums", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Race != "monza" || got[1].Race != "spa" || !got[1].Top[0].At.Equal(at) {
		t.Errorf("Read = %+v, want monza and spa in this order", got)
	}
}

func TestReadOneRace(t *testing.T) {
	table := &fakeTable{pages: []any{race.Podium{Race: "spa", Top: []race.Place{place("b", 2, 1)}}}}
	if got, err := leaderboard.Read(t.Context(), table, "podiums", "spa"); err != nil || len(got) != 1 || got[0].Race != "spa" {
		t.Errorf("Read = %+v, %v", got, err)
	}
	if got, err := leaderboard.Read(t.Context(), table, "podiums", "none"); err != nil || len(got) != 0 {
		t.Errorf("Read of a race that isn't there = %+v, %v, want nothing", got, err)
	}
}

func TestReadErrorsNameTheTable(t *testing.T) {
	refused := errors.New("refused")
	for name, table := range map[string]*fakeTable{
		"the service's": {err: refused},
		"an item's":     {pages: []any{map[string]any{"race": "spa", "top": "nobody"}}},
	} {
		if _, err := leaderboard.Read(t.Context(), table, "podiums-1", ""); err == nil || !strings.Contains(err.Error(), "podiums-1") {
			t.Errorf("%s error is %v, want one that names the table", name, err)
		}
	}
}

// fakeTable answers each item as a page of its own.
type fakeTable struct {
	pages []any
	err   error
}

func (f *fakeTable) Scan(_ context.Context, in *dynamodb.ScanInput, _ ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	if f.err != nil {
		return nil, f.err
	}
	page := len(in.ExclusiveStartKey)
	item, err := attributevalue.MarshalMap(f.pages[page])
	if err != nil {
		return nil, err
	}
	out := &dynamodb.ScanOutput{Items: []map[string]types.AttributeValue{item}}
	if page+1 < len(f.pages) {
		out.LastEvaluatedKey = map[string]types.AttributeValue{"race": item["race"]}
	}
	return out, nil
}

func (f *fakeTable) GetItem(_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	want := in.Key["race"].(*types.AttributeValueMemberS).Value
	for _, page := range f.pages {
		if p, ok := page.(race.Podium); ok && p.Race == want {
			item, err := attributevalue.MarshalMap(p)
			return &dynamodb.GetItemOutput{Item: item}, err
		}
	}
	return &dynamodb.GetItemOutput{}, nil
}
