package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/awsapi"
)

// What is given up arrives where the mapping says, as the document that AWS writes.
func TestFailureDestinations(t *testing.T) {
	destinations := &awsapi.Destinations{
		S3:  s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }),
		SQS: sqs.NewFromConfig(config), SNS: sns.NewFromConfig(config),
	}
	queueURL, queueARN := newQueue(t, destinations.SQS)
	topicQueueURL, topicQueueARN := newQueue(t, destinations.SQS)
	topic, err := destinations.SNS.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(name("topic"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := destinations.SNS.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: &topicQueueARN, Attributes: map[string]string{"RawMessageDelivery": "true"},
	}); err != nil {
		t.Fatal(err)
	}
	bucket := name("bucket")
	if _, err := destinations.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name, arn string
		received  func() (string, error)
	}{
		{"a queue", queueARN, func() (string, error) { return receive(destinations.SQS, queueURL) }},
		{"a topic", *topic.TopicArn, func() (string, error) { return receive(destinations.SQS, topicQueueURL) }},
		{"a bucket", "arn:aws:s3:::" + bucket, func() (string, error) { return object(t, destinations.S3, bucket) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStream(t)
			if err := s.Put("key", []byte("poison")); err != nil {
				t.Fatal(err)
			}
			mapping, err := esm.New(&esm.Settings{
				UUID: "00000000-0000-0000-0000-000000000001", SourceARN: s.arn, FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:fails",
				Region: "us-east-1", Start: esm.Position{Type: "TRIM_HORIZON"}, BatchSize: 10, Parallelization: 1, MaximumRecordAge: esm.Unlimited, OnFailure: c.arn,
			}, esm.Options{Source: s, Function: fails{}, OnFailure: destinations, Problem: func(shard string, err error) { t.Errorf("%s: %v", shard, err) }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			var running sync.WaitGroup
			running.Go(func() { _ = mapping.Run(ctx) })
			defer running.Wait()
			defer cancel()

			var text string
			for text == "" {
				if text, err = c.received(); err != nil {
					t.Fatal(err)
				}
				if ctx.Err() != nil {
					t.Fatal("nothing arrived")
				}
			}
			var document esm.Failure
			if err := json.Unmarshal([]byte(text), &document); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if document.RequestContext.Condition != "RetryAttemptsExhausted" || *document.ResponseContext.FunctionError != "Unhandled" || document.Kinesis.BatchSize != 1 || document.Kinesis.StreamARN != s.arn {
				t.Errorf("%s", text)
			}
			if c.name != "a bucket" {
				if document.Payload != "" {
					t.Errorf("it holds the records: %s", text)
				}
				return
			}
			var event events.KinesisEvent
			if err := json.Unmarshal([]byte(document.Payload), &event); err != nil || string(event.Records[0].Kinesis.Data) != "poison" {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
}

// fails is a function that always does.
type fails struct{}

func (fails) Invoke(context.Context, *esm.Batch) esm.Outcome {
	return esm.Outcome{FunctionError: "Unhandled", ExecutedVersion: "$LATEST", RequestID: "request"}
}

func newQueue(t *testing.T, client *sqs.Client) (url, arn string) {
	t.Helper()
	queue, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name("queue"))})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: queue.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn}})
	if err != nil {
		t.Fatal(err)
	}
	arn = out.Attributes["QueueArn"]
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":%q}]}`, arn)
	if _, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: queue.QueueUrl, Attributes: map[string]string{"Policy": policy}}); err != nil {
		t.Fatal(err)
	}
	return *queue.QueueUrl, arn
}

// receive waits a second for a message.
func receive(client *sqs.Client, url string) (string, error) {
	out, err := client.ReceiveMessage(context.Background(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 1})
	if err != nil || len(out.Messages) == 0 {
		return "", err
	}
	return *out.Messages[0].Body, nil
}

var objectKey = regexp.MustCompile(`^aws/lambda/00000000-0000-0000-0000-000000000001/shardId-\d{12}/\d{4}/\d\d/\d\d/` +
	`\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func object(t *testing.T, client *s3.Client, bucket string) (string, error) {
	t.Helper()
	list, err := client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil || len(list.Contents) == 0 {
		time.Sleep(20 * time.Millisecond)
		return "", err
	}
	if key := *list.Contents[0].Key; !objectKey.MatchString(key) {
		return "", errors.New("an object " + key)
	}
	out, err := client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: list.Contents[0].Key})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	text, err := io.ReadAll(out.Body)
	return string(text), err
}
