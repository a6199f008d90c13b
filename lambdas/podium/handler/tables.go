package handler

import (
	"context"
	"errors"
	"log/slog"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/race"
)

// DynamoDBAPI is what the function needs of a DynamoDB client.
type DynamoDBAPI interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
}

var _ DynamoDBAPI = (*dynamodb.Client)(nil)

// errConflict says that the podium was written since it was read.
var errConflict = errors.New("the podium was written by somebody else in between")

type tables struct {
	db                 DynamoDBAPI
	standings, podiums string
}

// podium reads the race's podium; it has version 0 if there is none yet.
func (t tables) podium(ctx context.Context, name string) (race.Podium, error) {
	out, err := t.db.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      aws.String(t.podiums),
		Key:            map[string]types.AttributeValue{"race": &types.AttributeValueMemberS{Value: name}},
		ConsistentRead: aws.Bool(true),
	})
	podium := race.Podium{Race: name}
	if err != nil || out.Item == nil {
		return podium, err
	}
	return podium, attributevalue.UnmarshalMap(out.Item, &podium)
}

// write replaces the podium by its next version, or answers errConflict.
func (t tables) write(ctx context.Context, p race.Podium) error {
	put := &dynamodb.PutItemInput{
		TableName:                aws.String(t.podiums),
		ConditionExpression:      aws.String("attribute_not_exists(#version)"),
		ExpressionAttributeNames: map[string]string{"#version": "version"},
	}
	if p.Version > 0 {
		put.ConditionExpression = aws.String("#version = :held")
		put.ExpressionAttributeValues = map[string]types.AttributeValue{
			":held": &types.AttributeValueMemberN{Value: strconv.FormatInt(p.Version, 10)},
		}
	}
	p.Version++
	var err error
	if put.Item, err = attributevalue.MarshalMap(p); err != nil {
		return err
	}
	_, err = t.db.PutItem(ctx, put)
	if conflict := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &conflict) {
		return errConflict
	}
	return err
}

// standings are those of one race.
type standings struct {
	ctx    context.Context
	tables tables
	race   string
}

var _ race.Standings = standings{}

// Racer implements [race.Standings].
func (s standings) Racer(name string) (race.Place, bool, error) {
	places, err := s.query("#race = :race AND #racer = :racer", map[string]types.AttributeValue{":racer": &types.AttributeValueMemberS{Value: name}})
	if len(places) == 0 {
		return race.Place{}, false, err
	}
	return places[0], true, err
}

// Racers implements [race.Standings].
func (s standings) Racers() ([]race.Place, error) {
	return s.query("#race = :race", map[string]types.AttributeValue{})
}

func (s standings) query(condition string, values map[string]types.AttributeValue) ([]race.Place, error) {
	values[":race"] = &types.AttributeValueMemberS{Value: s.race}
	pages := dynamodb.NewQueryPaginator(s.tables.db, &dynamodb.QueryInput{
		TableName:              aws.String(s.tables.standings),
		ConsistentRead:         aws.Bool(true),
		KeyConditionExpression: aws.String(condition),
		ProjectionExpression:   aws.String("#race, #racer, #seq, #at, #distance, #speed"),
		ExpressionAttributeNames: map[string]string{
			"#race": "race", "#racer": "racer", "#seq": "seq", "#at": "at", "#distance": "distance", "#speed": "speed",
		},
		ExpressionAttributeValues: values,
	})
	var places []race.Place
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			record, err := readItem(item)
			if err != nil {
				// Its change was rejected when it came by: it must not stop the race.
				slog.WarnContext(s.ctx, "unreadable item left out of the podium", "race", s.race, "reason", err.Error())
				continue
			}
			places = append(places, record.Place())
		}
	}
	return places, nil
}
