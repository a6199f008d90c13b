package iam

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/lambdas/kit/reject"
	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/local"
)

// flow is something that goes through the pipeline, and what has to become of it.
type flow struct {
	p        *machine
	name     string
	function string // the one that does it, and whose log says why it can't
	begin    func(*testing.T)
	effect   func() error // nil once it is there
}

// standings: a record put into the stream stands in the table.
func standings(p *machine, name string) flow {
	return flow{
		p, "a record reaches the standings", "UpdateStandingsFunction",
		func(t *testing.T) { p.send(t, name, record(name)) },
		func() error {
			return p.item(p.Outputs[local.OutputStandings], map[string]dbtypes.AttributeValue{"race": text(name), "racer": text("r1")})
		},
	}
}

// podiums: a record put into the stream is on its race's podium, by way of the
// table and its change stream.
func podiums(p *machine, name string) flow {
	return flow{
		p, "a record reaches the podium", "UpdatePodiumsFunction",
		func(t *testing.T) { p.send(t, name, record(name)) },
		func() error {
			return p.item(p.Outputs[local.OutputPodiums], map[string]dbtypes.AttributeValue{"race": text(name)})
		},
	}
}

// rejects: a record that can't be parsed is set aside, whole.
func rejects(p *machine, name string) flow {
	name += "-malformed"
	payload := `{"race":"` + name + `","racer":`
	return flow{
		p, "a malformed record is set aside", "UpdateStandingsFunction",
		func(t *testing.T) { p.send(t, name, payload) },
		func() error { return p.rejected("UpdateStandings", payload) },
	}
}

// rejectedChanges: a change of the table that can't be read is set aside.
func rejectedChanges(p *machine, name string) flow {
	name += "-unreadable"
	return flow{
		p, "an unreadable change is set aside", "UpdatePodiumsFunction",
		func(t *testing.T) {
			_, err := p.dynamodb.PutItem(t.Context(), &dynamodb.PutItemInput{
				TableName: aws.String(p.Outputs[local.OutputStandings]),
				Item:      map[string]dbtypes.AttributeValue{"race": text(name), "racer": text("r1"), "seq": text("one")},
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		func() error { return p.rejected("UpdatePodiums", name) },
	}
}

// archive: a record is delivered to the bucket, by way of the transform, which puts
// it on one line.
func archive(p *machine, name string) flow {
	name += "-archived"
	spread := strings.ReplaceAll(record(name), ",", " , ")
	return flow{
		p, "a record is transformed and delivered", "ArchiveTransform",
		func(t *testing.T) { p.send(t, name, spread) },
		func() error {
			return p.object(p.Outputs[local.OutputArchive], "archive/", func(body string) bool { return strings.Contains(body, record(name)+"\n") })
		},
	}
}

// alarm: an alarm that rings is told by the topic.
func alarm(p *machine, name string) flow {
	return flow{
		p, "an alarm is told", "",
		func(t *testing.T) {
			alarms, err := p.alarms.DescribeAlarms(t.Context(), nil)
			if err != nil || len(alarms.MetricAlarms) == 0 {
				t.Fatalf("alarms: %v", err)
			}
			for _, state := range []cwtypes.StateValue{cwtypes.StateValueOk, cwtypes.StateValueAlarm} {
				if _, err := p.alarms.SetAlarmState(t.Context(), &cloudwatch.SetAlarmStateInput{
					AlarmName: alarms.MetricAlarms[0].AlarmName, StateValue: state, StateReason: aws.String("tried: " + name + "."),
				}); err != nil {
					t.Fatal(err)
				}
			}
		},
		func() error {
			if !p.inbox.holds("tried: " + name + ".") {
				return errors.New("the topic sent nothing")
			}
			return nil
		},
	}
}

func text(s string) dbtypes.AttributeValue { return &dbtypes.AttributeValueMemberS{Value: s} }

func record(name string) string {
	data, err := json.Marshal(race.Record{
		Race: name, Racer: "r1", Seq: 1, Distance: 1, Speed: 10, Power: 300, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		panic(err)
	}
	return string(data)
}

// send puts one payload into the stream.
func (p *machine) send(t *testing.T, key, payload string) {
	t.Helper()
	if _, err := p.kinesis.PutRecord(t.Context(), &kinesis.PutRecordInput{
		StreamName: aws.String(p.Outputs[local.OutputStream]), PartitionKey: aws.String(key), Data: []byte(payload),
	}); err != nil {
		t.Fatal(err)
	}
}

func (p *machine) item(table string, key map[string]dbtypes.AttributeValue) error {
	out, err := p.dynamodb.GetItem(context.Background(), &dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true)})
	if err == nil && out.Item == nil {
		err = fmt.Errorf("%s doesn't hold it", table)
	}
	return err
}

// rejected looks for a document of a function with this text in its data.
func (p *machine) rejected(function, text string) error {
	return p.object(p.Outputs[local.OutputFailures], reject.Prefix, func(body string) bool {
		var d reject.Document
		return json.Unmarshal([]byte(body), &d) == nil && strings.Contains(d.Function, function) && strings.Contains(string(d.Data), text)
	})
}

// read is an object's text, of archived ones unzipped.
func read(object io.ReadCloser) (string, error) {
	defer object.Close()
	body, err := io.ReadAll(object)
	if err != nil || !bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		return string(body), err
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	body, err = io.ReadAll(unzipped)
	return string(body), err
}

// object looks for an object.
func (p *machine) object(bucket, prefix string, is func(body string) bool) error {
	ctx := context.Background()
	list, err := p.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		return err
	}
	for _, object := range list.Contents {
		out, err := p.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: object.Key})
		if err != nil {
			return err
		}
		body, err := read(out.Body)
		if err != nil {
			return fmt.Errorf("%s: %w", *object.Key, err)
		}
		if is(body) {
			return nil
		}
	}
	return fmt.Errorf("it isn't among the %d objects under %s%s", len(list.Contents), bucket, "/"+prefix)
}
