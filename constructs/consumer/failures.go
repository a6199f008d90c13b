package consumer

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/bucket"
	"github.com/millrace/millrace/constructs/internal/removal"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Destination is where batches go that are given up: [S3] (the default), [SQS] or
// [SNS]. Only S3 gets the records themselves; the others get where they were in
// the stream, which forgets them.
type Destination interface {
	validate(c *spec.Check)
	// attach defines what the destination needs, and grants the function's role to
	// write there: Lambda acts with that role.
	attach(c *Consumer, policy awscdk.RemovalPolicy) (arn *string, grants []awsiam.Grant)
	// noun and recover complete the alarms' texts.
	noun() string
	recover() string
	signals(c *Consumer) []watch.Signal
}

// S3 is a bucket. Lambda writes failed batches with their payload below
// [FailedPrefix], and the function may write records that its code rejects below
// [RejectedPrefix]; the function finds the bucket's name in [FailureBucketVariable].
type S3 struct {
	// Bucket to write to; nil defines one. Several consumers can share one.
	Bucket awss3.IBucket
	// Key encrypts the bucket that is defined here; nil means S3's own key.
	Key awskms.IKey
	// AccessLogs is the bucket that S3 writes the access logs of the bucket defined
	// here to; nil means none.
	AccessLogs awss3.IBucket
	// Expiration deletes objects of that age from the bucket that is defined here,
	// in whole days of at least one; 0 (default) keeps them until somebody does.
	Expiration time.Duration
}

var _ Destination = S3{}

func (s S3) validate(c *spec.Check) {
	c.Expiration("OnFailure.Expiration", s.Expiration)
	s.bucket("").Check(c)
	if given := s.Key != nil || s.AccessLogs != nil || s.Expiration != 0; given && s.Bucket != nil {
		c.Add("OnFailure.Bucket", "a bucket", "Key, AccessLogs and Expiration are for the bucket that is defined here, and one was given", "leave them out, or Bucket")
	}
}

func (s S3) bucket(policy awscdk.RemovalPolicy) bucket.Props {
	return bucket.Props{Key: s.Key, AccessLogs: s.AccessLogs, Expiration: s.Expiration, RemovalPolicy: policy}
}

func (s S3) attach(c *Consumer, policy awscdk.RemovalPolicy) (*string, []awsiam.Grant) {
	if c.bucket = s.Bucket; c.bucket == nil {
		c.bucket = bucket.New(c.construct, "Failures", s.bucket(policy))
	}
	executes := c.GrantPrincipal()
	grants := []awsiam.Grant{
		// What Lambda asks for to see that the bucket is there.
		allow.On(executes, []*string{c.bucket.BucketArn()}, "s3:ListBucket"),
		allow.On(executes, []*string{
			c.bucket.ArnForObjects(jsii.String(FailedPrefix + "*")),
			c.bucket.ArnForObjects(jsii.String(RejectedPrefix + "*")),
		}, "s3:PutObject"),
	}
	role.Also(c.function.Role(), accept.Finding{
		Reason:    "Lambda makes the names of the objects itself, below these two prefixes of the failure bucket.",
		IDs:       []string{"AwsSolutions-IAM5"},
		AppliesTo: []string{"/^Resource::.*/" + FailedPrefix + `\*$/`, "/^Resource::.*/" + RejectedPrefix + `\*$/`},
	})
	return c.bucket.BucketArn(), append(grants, useKey(c.bucket.EncryptionKey(), executes, "kms:GenerateDataKey")...)
}

func (S3) noun() string { return "the failure bucket" }

func (S3) recover() string {
	return "process the objects under " + FailedPrefix + " of the failure bucket again"
}

func (S3) signals(*Consumer) []watch.Signal { return nil }

// SQS is a queue that gets a message for each batch that is given up: where its
// records are in the stream, not the records. Read them from there before the
// stream forgets them. A queue that is defined here is encrypted, takes only TLS
// and keeps messages for 14 days, SQS's longest.
//
// The function gets no [FailureBucketVariable]: code that rejects single records
// needs a bucket of its own.
type SQS struct {
	// Queue to send to; nil defines one. A FIFO queue is refused, as Lambda does.
	Queue awssqs.IQueue
	// Key encrypts the queue that is defined here; nil means SQS's own key.
	Key awskms.IKey
}

var _ Destination = SQS{}

func (s SQS) validate(c *spec.Check) {
	if !valid.Missing(s.Queue) && *s.Queue.Fifo() {
		c.Add("OnFailure.Queue", "a FIFO queue", "Lambda sends failed batches to standard queues only", "pass a standard queue, or nil to define one")
	}
	if !valid.Missing(s.Queue) && !valid.Missing(s.Key) {
		c.Add("OnFailure.Key", "a key", "it encrypts the queue that is defined here, and one was given", "leave Key out, or Queue")
	}
}

func (s SQS) attach(c *Consumer, policy awscdk.RemovalPolicy) (*string, []awsiam.Grant) {
	if c.queue = s.Queue; c.queue == nil {
		props := &awssqs.QueueProps{
			Encryption: awssqs.QueueEncryption_SQS_MANAGED, EnforceSSL: jsii.Bool(true),
			RetentionPeriod: awscdk.Duration_Days(jsii.Number(14)), RemovalPolicy: removal.Or(policy),
		}
		if s.Key != nil {
			props.Encryption, props.EncryptionMasterKey = awssqs.QueueEncryption_KMS, s.Key
		}
		queue := awssqs.NewQueue(c.construct, jsii.String("Failures"), props)
		findings := []accept.Finding{accept.Because("This queue is where failures end: nothing consumes it but people, and an alarm tells when it has a message.",
			"AwsSolutions-SQS3", "Serverless-SQSRedrivePolicy")}
		if s.Key == nil {
			findings = append(findings, accept.Because("SQS encrypts the queue with its own key, and the messages hold positions in a stream, no records; a customer key is a setting.",
				"CKV_AWS_27"))
		}
		accept.On(queue.Node().DefaultChild().(awssqs.CfnQueue), findings...)
		c.queue = queue
	}
	role := c.GrantPrincipal()
	grants := []awsiam.Grant{allow.On(role, []*string{c.queue.QueueArn()}, "sqs:SendMessage")}
	return c.queue.QueueArn(), append(grants, useKey(c.queue.EncryptionMasterKey(), role, "kms:Decrypt", "kms:GenerateDataKey")...)
}

func (SQS) noun() string { return "the failure queue" }

func (SQS) recover() string { return recoverFromStream("queue") }

func (SQS) signals(c *Consumer) []watch.Signal {
	return []watch.Signal{{
		Owner: c.construct, Name: "FailureQueue", Graph: "Failed batches waiting (messages)", Runbook: "consumer-failure-queue",
		Metric: watch.Metric{
			Namespace: "AWS/SQS", Name: "ApproximateNumberOfMessagesVisible", Statistic: "Maximum",
			Dimensions: map[string]*string{"QueueName": c.queue.QueueName()},
		},
		From: "a healthy consumer gives up none", Why: "Batches were given up and nobody has dealt with them; the stream forgets their records.",
		Do:      "Find the cause in the function's log, mend it, then " + SQS{}.recover() + "; delete the messages.",
		Missing: watch.NotBreaching, Severity: watch.Critical,
	}}
}

// SNS is a topic that gets a message for each batch that is given up: where its
// records are in the stream, not the records. Without a subscriber it is lost,
// which is why the topic has to be given.
//
// The function gets no [FailureBucketVariable]: code that rejects single records
// needs a bucket of its own.
type SNS struct {
	// Topic to send to; required. A FIFO topic is refused, as Lambda does.
	Topic awssns.ITopic
	// Key that the topic is encrypted with, if it is a customer key: a topic doesn't tell.
	Key awskms.IKey
}

var _ Destination = SNS{}

func (s SNS) validate(c *spec.Check) {
	if valid.Missing(s.Topic) {
		c.Add("OnFailure.Topic", nil, "a topic without a subscriber loses what it gets, so none is defined here", "pass a topic that somebody has subscribed to, or use consumer.S3{}")
	} else if *s.Topic.Fifo() {
		c.Add("OnFailure.Topic", "a FIFO topic", "Lambda sends failed batches to standard topics only", "pass a standard topic")
	}
}

func (s SNS) attach(c *Consumer, _ awscdk.RemovalPolicy) (*string, []awsiam.Grant) {
	c.topic = s.Topic
	role := c.GrantPrincipal()
	grants := []awsiam.Grant{allow.On(role, []*string{s.Topic.TopicArn()}, "sns:Publish")}
	return s.Topic.TopicArn(), append(grants, useKey(s.Key, role, "kms:Decrypt", "kms:GenerateDataKey")...)
}

func (SNS) noun() string { return "the failure topic" }

func (SNS) recover() string { return recoverFromStream("topic") }

func (SNS) signals(c *Consumer) []watch.Signal {
	return []watch.Signal{{
		Owner: c.construct, Name: "FailureTopic", Graph: "Failed notifications", Runbook: "consumer-failure-topic",
		Metric: watch.Metric{
			Namespace: "AWS/SNS", Name: "NumberOfNotificationsFailed", Statistic: "Sum",
			Dimensions: map[string]*string{"TopicName": c.topic.TopicName()},
		},
		From: "every subscriber should take what it is sent", Why: "A subscriber of the failure topic didn't get a message: it may have been about a batch that was given up.",
		Do:      "Mend the subscription; see the consumer's FailedBatches graph for what was sent meanwhile.",
		Missing: watch.NotBreaching, Severity: watch.Critical,
	}}
}

// recoverFromStream is what to do about messages that only say where records are.
func recoverFromStream(of string) string {
	return "read the records that the " + of + "'s messages name from the stream before it forgets them, and process them again"
}

// useKey lets role use key, if there is one, in these ways.
func useKey(key awskms.IKey, role awsiam.IGrantable, actions ...string) []awsiam.Grant {
	if key == nil {
		return nil
	}
	return []awsiam.Grant{key.Grant(role, *jsii.Strings(actions...)...)}
}
