// Package bucket defines the bucket that constructs make where none is given.
package bucket

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/removal"
)

// New defines a bucket that is encrypted (SSE-S3), versioned, closed to the
// public and to plain HTTP, and retained unless policy says otherwise. Even
// then CloudFormation refuses to delete it while it holds an object.
//
// Old versions go after 30 days and parts of broken uploads after 7: neither is
// reachable by the name that a reader knows. Current objects are kept for ever.
func New(scope constructs.Construct, id string, policy awscdk.RemovalPolicy) awss3.Bucket {
	b := awss3.NewBucket(scope, jsii.String(id), &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        jsii.Bool(true),
		Versioned:         jsii.Bool(true),
		RemovalPolicy:     removal.Or(policy),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(jsii.Number(7)),
			NoncurrentVersionExpiration:         awscdk.Duration_Days(jsii.Number(30)),
		}},
	})
	accept.On(b.Node().DefaultChild().(awss3.CfnBucket),
		accept.Because("Access logs need a second bucket, which an account has its own policy for; pass a bucket that has them.",
			"AwsSolutions-S1", "NIST.800.53.R5-S3BucketLoggingEnabled", "CKV_AWS_18"),
		accept.Because("The stream keeps what fails to arrive here, and versions keep what is overwritten; pass a bucket with replication if another region must have a copy.",
			"NIST.800.53.R5-S3BucketReplicationEnabled"),
		accept.Because("Objects are encrypted with S3's own key, at no price per request; pass a bucket with a customer key to have that.",
			"NIST.800.53.R5-S3DefaultEncryptionKMS"))
	return b
}
