package awsapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/pattern"
	"github.com/millrace/millrace/local/invoke"
)

// Settings reads the description of a mapping.
func Settings(d *lambda.GetEventSourceMappingOutput) (*esm.Settings, error) {
	s := &esm.Settings{
		UUID: aws.ToString(d.UUID), SourceARN: aws.ToString(d.EventSourceArn), FunctionARN: aws.ToString(d.FunctionArn),
		Start:     esm.Position{Type: string(d.StartingPosition), Time: aws.ToTime(d.StartingPositionTimestamp)},
		BatchSize: int(or(d.BatchSize, 100)), Window: seconds(or(d.MaximumBatchingWindowInSeconds, 0)),
		Parallelization: int(or(d.ParallelizationFactor, 1)), Bisect: aws.ToBool(d.BisectBatchOnFunctionError),
		MaximumRetryAttempts: int(or(d.MaximumRetryAttempts, -1)), MaximumRecordAge: esm.Unlimited,
		Tumbling: seconds(or(d.TumblingWindowInSeconds, 0)),
	}
	parts := strings.Split(s.SourceARN, ":")
	if len(parts) < 6 {
		return nil, fmt.Errorf("event source mapping %s: %q is no ARN of a source", s.UUID, s.SourceARN)
	}
	switch parts[2] {
	case "kinesis":
		if strings.Contains(parts[5], "/consumer/") {
			return nil, fmt.Errorf("event source mapping %s: enhanced fan-out (%s) isn't read here: it needs SubscribeToShard", s.UUID, s.SourceARN)
		}
	case "dynamodb":
		s.Kind = esm.DynamoDB
	default:
		return nil, fmt.Errorf("event source mapping %s: %s isn't read here, only Kinesis and DynamoDB streams are", s.UUID, parts[2])
	}
	s.Region = parts[3]
	if age := or(d.MaximumRecordAgeInSeconds, -1); age >= 0 {
		s.MaximumRecordAge = seconds(age)
	}
	for _, t := range d.FunctionResponseTypes {
		s.Partial = s.Partial || t == lambdatypes.FunctionResponseTypeReportBatchItemFailures
	}
	if d.DestinationConfig != nil && d.DestinationConfig.OnFailure != nil {
		s.OnFailure = aws.ToString(d.DestinationConfig.OnFailure.Destination)
		if _, _, err := destination(s.OnFailure); s.OnFailure != "" && err != nil {
			return nil, fmt.Errorf("event source mapping %s: OnFailure: %w", s.UUID, err)
		}
	}
	if e := d.FilterCriteriaError; e != nil {
		// Its key can't be used: without its filters the mapping would pass everything.
		return nil, fmt.Errorf("event source mapping %s: FilterCriteria can't be read: %s: %s", s.UUID, aws.ToString(e.ErrorCode), aws.ToString(e.Message))
	}
	if d.FilterCriteria != nil && len(d.FilterCriteria.Filters) > 0 {
		var patterns []string
		for _, f := range d.FilterCriteria.Filters {
			patterns = append(patterns, aws.ToString(f.Pattern))
		}
		var err error
		if s.Filter, err = NewFilter(s.Kind, patterns); err != nil {
			return nil, fmt.Errorf("event source mapping %s: %w", s.UUID, err)
		}
	}
	return s, s.Validate()
}

// filter matches records as Lambda's filter criteria do.
type filter struct {
	*pattern.Filters
	kind esm.Kind
}

// NewFilter compiles a mapping's filter criteria. The error names each wrong one.
func NewFilter(kind esm.Kind, patterns []string) (esm.Filter, error) {
	of := pattern.Kinesis
	if kind == esm.DynamoDB {
		of = pattern.DynamoDB
	}
	compiled, err := pattern.NewFilters(of, patterns...)
	if err != nil {
		return nil, err
	}
	var problems []error
	for i, text := range patterns {
		for _, name := range names([]byte(text)) {
			if kind == esm.Kinesis && name != string(of) && !slices.Contains(metadata, name) {
				problems = append(problems, fmt.Errorf("filter %d: %s: filters are on data here, or on %s", i+1, name, strings.Join(metadata, ", ")))
			}
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return filter{compiled, kind}, nil
}

// metadata are what a filter can ask of a Kinesis record beside its data: a name that
// a record doesn't have would drop everything.
var metadata = []string{"partitionKey", "sequenceNumber", "kinesisSchemaVersion", "approximateArrivalTimestamp"}

// names are the fields of a record that a pattern asks for.
func names(pattern []byte) (all []string) {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(pattern, &fields) // it is compiled already
	for name, value := range fields {
		var alternatives []json.RawMessage
		if name != "$or" || json.Unmarshal(value, &alternatives) != nil {
			name, _, _ = strings.Cut(name, ".") // as nested objects
			all = append(all, name)
		}
		for _, alternative := range alternatives {
			all = append(all, names(alternative)...)
		}
	}
	slices.Sort(all)
	return all
}

// Match implements [esm.Filter].
func (f filter) Match(r *esm.Record) bool {
	if f.kind == esm.DynamoDB {
		return f.MatchJSON(r.Data)
	}
	var about map[string]any
	if f.UsesMetadata() {
		about = map[string]any{
			"partitionKey": r.Key, "sequenceNumber": r.Sequence, "kinesisSchemaVersion": "1.0",
			"approximateArrivalTimestamp": float64(r.Arrival.UnixMilli()) / 1000,
		}
	}
	return f.MatchKinesis(r.Data, about)
}

func or(value *int32, def int32) int32 {
	if value == nil {
		return def
	}
	return *value
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// Invoker is the function of that ARN, invoked through Lambda's Invoke API.
func Invoker(client *lambda.Client, arn string) invoke.Invoker { return &invoker{client, arn} }

type invoker struct {
	client *lambda.Client
	arn    string
}

func (i *invoker) Invoke(ctx context.Context, payload []byte) (invoke.Result, error) {
	out, err := i.client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(i.arn), Payload: payload})
	if throttled := (*lambdatypes.TooManyRequestsException)(nil); errors.As(err, &throttled) {
		return invoke.Result{}, fmt.Errorf("%w: %w", invoke.ErrThrottled, err)
	} else if err != nil {
		return invoke.Result{}, err
	}
	id, _ := middleware.GetRequestIDMetadata(out.ResultMetadata)
	return invoke.Result{
		FunctionError: aws.ToString(out.FunctionError), Payload: out.Payload, ExecutedVersion: aws.ToString(out.ExecutedVersion), RequestID: id,
	}, nil
}

// Destinations sends failures to the destination that a mapping names.
type Destinations struct {
	S3  *s3.Client
	SQS *sqs.Client
	SNS *sns.Client
}

var _ esm.Destination = (*Destinations)(nil)

// Send implements [esm.Destination]. A bucket gets the document with the batch, a
// queue or a topic the document alone, as from Lambda.
func (d *Destinations) Send(ctx context.Context, task *esm.Task) error {
	arn := task.Settings.OnFailure
	service, name, err := destination(arn)
	if err != nil {
		return err
	}
	document, err := json.Marshal(task.Failure)
	if err != nil {
		return err
	}
	switch service {
	case "s3":
		key, body := task.Failure.Object(task.Settings.UUID, task.Shard, uuid(), task.Payload())
		_, err = d.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(name), Key: aws.String(key), Body: bytes.NewReader(body)})
	case "sqs":
		var url *sqs.GetQueueUrlOutput
		url, err = d.SQS.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(name), QueueOwnerAWSAccountId: aws.String(strings.Split(arn, ":")[4])})
		if err == nil {
			_, err = d.SQS.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url.QueueUrl, MessageBody: aws.String(string(document))})
		}
	case "sns":
		_, err = d.SNS.Publish(ctx, &sns.PublishInput{TopicArn: aws.String(arn), Message: aws.String(string(document))})
	}
	return err
}

// destination is the service and the name of a failure destination.
func destination(arn string) (service, name string, err error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[5] == "" || parts[2] != "s3" && parts[2] != "sqs" && parts[2] != "sns" {
		return "", "", fmt.Errorf("%q is not the ARN of a bucket, queue or topic, which are what failures are sent to here", arn)
	}
	if parts[2] != "s3" && strings.HasSuffix(arn, ".fifo") {
		return "", "", fmt.Errorf("%q is FIFO: Lambda takes standard queues and topics", arn)
	}
	return parts[2], parts[5], nil
}

// uuid is a random one.
func uuid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
