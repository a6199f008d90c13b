package demo

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/leaderboard"
	"github.com/millrace/millrace/local/redshift"
)

// archivePrefix is where the delivery puts what it archives.
const archivePrefix = "archive/"

// reader reads back what became of the records, by the services' public APIs.
type reader struct {
	outputs  map[string]string
	dynamodb *dynamodb.Client
	s3       *s3.Client
	alarms   *cloudwatch.Client

	archive *archive
	done    map[string]bool // the objects that are in archive already

	redshift *redshift.Warehouse // nil if the stack has no table there
	loaded   *archive
	rows     int // that loaded was read from
}

func newReader(m *local.Machine) *reader {
	cfg := m.Config()
	return &reader{
		outputs:  m.Outputs,
		dynamodb: dynamodb.NewFromConfig(cfg),
		s3:       s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
		alarms:   cloudwatch.NewFromConfig(cfg),
		archive:  newArchive(),
		done:     map[string]bool{},
		redshift: m.Warehouse(),
		loaded:   newArchive(),
	}
}

func (r *reader) table(ctx context.Context) ([]race.Record, error) {
	name := r.outputs[local.OutputStandings]
	var records []race.Record
	pages := dynamodb.NewScanPaginator(r.dynamodb, &dynamodb.ScanInput{
		TableName: aws.String(name), ConsistentRead: aws.Bool(true),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		var some []race.Record
		if err := attributevalue.UnmarshalListOfMaps(page.Items, &some); err != nil {
			return nil, fmt.Errorf("table %s holds an item that is no record: %w", name, err)
		}
		records = append(records, some...)
	}
	for _, record := range records {
		if err := record.Validate(); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
	}
	return records, nil
}

// readArchive adds the objects that came since the last time.
func (r *reader) readArchive(ctx context.Context) (*archive, error) {
	bucket := aws.String(r.outputs[local.OutputArchive])
	pages := s3.NewListObjectsV2Paginator(r.s3, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String(archivePrefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("bucket %s: %w", *bucket, err)
		}
		for _, object := range page.Contents {
			key := aws.ToString(object.Key)
			if r.done[key] {
				continue
			}
			out, err := r.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: object.Key})
			if err != nil {
				return nil, fmt.Errorf("bucket %s: %w", *bucket, err)
			}
			r.archive.add(key, out.Body)
			if err := out.Body.Close(); err != nil {
				return nil, fmt.Errorf("bucket %s: %w", *bucket, err)
			}
			r.done[key] = true
		}
	}
	return r.archive, nil
}

func (r *reader) podiums(ctx context.Context) ([]race.Podium, error) {
	return leaderboard.Read(ctx, r.dynamodb, r.outputs[local.OutputPodiums], "")
}

// warehouse are the records in Redshift, and how many rows there are; nil without it.
// The rows are read only when there are as many as were sent, or at last: COPYs wait
// while they are.
func (r *reader) warehouse(ctx context.Context, sent int, last bool) (*archive, int, error) {
	if r.redshift == nil {
		return nil, 0, nil
	}
	table := r.outputs[local.OutputWarehouseTable]
	count, err := r.redshift.Query(ctx, "SELECT count(*) FROM "+table)
	if err != nil {
		return nil, 0, fmt.Errorf("table %s: %w", table, err)
	}
	rows, err := strconv.Atoi(count[0][0])
	if err != nil || rows == r.rows || rows < sent && !last {
		return r.loaded, rows, err
	}
	all, err := r.redshift.Query(ctx, "SELECT row_to_json(t) FROM "+table+" AS t")
	if err != nil {
		return nil, 0, fmt.Errorf("table %s: %w", table, err)
	}
	r.loaded, r.rows = newArchive(), rows
	for _, row := range all {
		record, err := race.Parse([]byte(row[0]))
		if err != nil {
			r.loaded.problems = append(r.loaded.problems, fmt.Errorf("table %s: %w", table, err))
			continue
		}
		r.loaded.put(record)
	}
	return r.loaded, rows, nil
}

// ringing names the alarms that are in state ALARM.
func (r *reader) ringing(ctx context.Context) ([]string, error) {
	names := []string{}
	pages := cloudwatch.NewDescribeAlarmsPaginator(r.alarms, &cloudwatch.DescribeAlarmsInput{
		StateValue: cwtypes.StateValueAlarm,
		AlarmTypes: []cwtypes.AlarmType{cwtypes.AlarmTypeMetricAlarm, cwtypes.AlarmTypeCompositeAlarm},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("alarms: %w", err)
		}
		for _, alarm := range page.MetricAlarms {
			names = append(names, aws.ToString(alarm.AlarmName))
		}
		for _, alarm := range page.CompositeAlarms {
			names = append(names, aws.ToString(alarm.AlarmName))
		}
	}
	return names, nil
}

// needed checks the outputs that the demo reads.
func needed(outputs map[string]string) error {
	var missing []error
	for _, name := range []string{local.OutputStream, local.OutputStandings, local.OutputPodiums, local.OutputArchive} {
		if outputs[name] == "" {
			missing = append(missing, fmt.Errorf("the stack has no output %s", name))
		}
	}
	return errors.Join(missing...)
}
