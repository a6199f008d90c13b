// Package bucket defines the bucket that constructs make where none is given.
package bucket

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/removal"
	"github.com/millrace/millrace/constructs/spec"
)

// Props of [New]. The zero value is a good bucket.
type Props struct {
	// Key encrypts the objects; nil means S3's own key.
	Key awskms.IKey
	// AccessLogs is the bucket that S3 writes the access logs to; nil means none.
	AccessLogs awss3.IBucket
	// Expiration deletes objects of that age, in whole days; 0 keeps them.
	Expiration time.Duration
	// Transitions move objects to other classes by age; none by default.
	Transitions []spec.Transition
	// RemovalPolicy is RETAIN by default.
	RemovalPolicy awscdk.RemovalPolicy
}

// Check notes in c when access logs can't be written where they should.
func (p Props) Check(c *spec.Check) {
	if p.AccessLogs != nil && p.AccessLogs.EncryptionKey() != nil {
		c.Add("AccessLogs", "a bucket with a customer key", "S3 writes access logs only to a bucket that is encrypted with S3's own key",
			"pass a bucket with SSE-S3")
	}
}

// New defines a bucket that is encrypted, versioned, closed to the public and to
// plain HTTP, and retained unless its policy says otherwise. Even then
// CloudFormation refuses to delete it while it holds an object.
//
// Old versions go after 30 days and parts of broken uploads after 7: neither is
// reachable by the name that a reader knows. Current objects are kept for ever,
// unless Expiration is set.
func New(scope constructs.Construct, id string, props Props) awss3.Bucket {
	rule := &awss3.LifecycleRule{
		AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(jsii.Number(7)),
		NoncurrentVersionExpiration:         awscdk.Duration_Days(jsii.Number(30)),
	}
	l2 := &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        jsii.Bool(true),
		Versioned:         jsii.Bool(true),
		RemovalPolicy:     removal.Or(props.RemovalPolicy),
		LifecycleRules:    &[]*awss3.LifecycleRule{rule},
	}
	findings := []accept.Finding{accept.Because(
		"The stream keeps what fails to arrive here, and versions keep what is overwritten; pass a bucket with replication if another region must have a copy.",
		"NIST.800.53.R5-S3BucketReplicationEnabled")}
	if props.Expiration > 0 {
		rule.Expiration = awscdk.Duration_Days(jsii.Number(props.Expiration.Hours() / 24))
	}
	if len(props.Transitions) > 0 {
		transitions := []*awss3.Transition{}
		for _, t := range props.Transitions {
			transitions = append(transitions, &awss3.Transition{
				StorageClass: awss3.NewStorageClass(jsii.String(string(t.To))), TransitionAfter: awscdk.Duration_Days(jsii.Number(t.After.Hours() / 24)),
			})
		}
		rule.Transitions = &transitions
	}
	if props.Key != nil {
		// One data key for many objects: writers ask KMS much less often.
		l2.Encryption, l2.EncryptionKey, l2.BucketKeyEnabled = awss3.BucketEncryption_KMS, props.Key, jsii.Bool(true)
	} else {
		findings = append(findings, accept.Because(
			"Objects are encrypted with S3's own key, at no price per request; a customer key is a setting, or that of a bucket that is passed.",
			"NIST.800.53.R5-S3DefaultEncryptionKMS"))
	}
	if props.AccessLogs != nil {
		// Account, region and bucket are in each log's name: many can share the bucket.
		l2.ServerAccessLogsBucket = props.AccessLogs
		l2.TargetObjectKeyFormat = awss3.TargetObjectKeyFormat_PartitionedPrefix(awss3.PartitionDateSource_EVENT_TIME)
	} else {
		findings = append(findings, accept.Because(
			"Access logs need a second bucket, for which an account has its own policy; it is a setting, or that of a bucket that is passed.",
			"AwsSolutions-S1", "NIST.800.53.R5-S3BucketLoggingEnabled", "CKV_AWS_18"))
	}
	b := awss3.NewBucket(scope, jsii.String(id), l2)
	accept.On(b.Node().DefaultChild().(awss3.CfnBucket), findings...)
	return b
}
