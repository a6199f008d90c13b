// Package leaderboard reads the podiums of races from their table and draws
// them as text.
package leaderboard

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/race"
)

// API is what Read needs of a DynamoDB client.
type API interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

var _ API = (*dynamodb.Client)(nil)

// Read reads the podium of the named race, or for "" of every race, by name.
// It is empty if there is none yet.
func Read(ctx context.Context, api API, table, name string) ([]race.Podium, error) {
	items, err := read(ctx, api, table, name)
	if err != nil {
		return nil, fmt.Errorf("leaderboard: table %s: %w", table, err)
	}
	var podiums []race.Podium
	if err := attributevalue.UnmarshalListOfMaps(items, &podiums); err != nil {
		return nil, fmt.Errorf("leaderboard: table %s holds an item that is no podium: %w", table, err)
	}
	slices.SortFunc(podiums, func(a, b race.Podium) int { return cmp.Compare(a.Race, b.Race) })
	return podiums, nil
}

func read(ctx context.Context, api API, table, name string) ([]map[string]types.AttributeValue, error) {
	if name != "" {
		out, err := api.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: aws.String(table),
			Key:       map[string]types.AttributeValue{"race": &types.AttributeValueMemberS{Value: name}},
		})
		if err != nil || len(out.Item) == 0 {
			return nil, err
		}
		return []map[string]types.AttributeValue{out.Item}, nil
	}
	var items []map[string]types.AttributeValue
	pages := dynamodb.NewScanPaginator(api, &dynamodb.ScanInput{TableName: aws.String(table)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
	}
	return items, nil
}

// Write draws the podiums, one below the other: position, racer, distance, gap
// to the leader and speed.
func Write(w io.Writer, podiums []race.Podium) error {
	var b strings.Builder
	for i, p := range podiums {
		if i > 0 {
			b.WriteByte('\n')
		}
		writePodium(&b, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writePodium(b *strings.Builder, p race.Podium) {
	rows := [][]string{{"", "RACER", "DISTANCE", "GAP", "SPEED"}}
	for i, place := range p.Top {
		gap := "leader"
		if i > 0 {
			gap = fmt.Sprintf("+%.1f m", p.Top[0].Distance-place.Distance)
		}
		rows = append(rows, []string{
			fmt.Sprint(i + 1),
			place.Racer,
			fmt.Sprintf("%.1f m", place.Distance),
			gap,
			fmt.Sprintf("%.1f m/s", place.Speed),
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for c, cell := range row {
			widths[c] = max(widths[c], len(cell))
		}
	}
	fmt.Fprintln(b, p.Race)
	for _, row := range rows {
		// Names to the left, numbers to the right.
		fmt.Fprintf(b, "  %*s  %-*s  %*s  %*s  %*s\n", widths[0], row[0], widths[1], row[1],
			widths[2], row[2], widths[3], row[3], widths[4], row[4])
	}
}
