// Package bucket defines the bucket that constructs make where none is given.
package bucket

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/removal"
)

// New defines a bucket that is encrypted (SSE-S3), versioned, closed to the
// public and to plain HTTP, and retained unless policy says otherwise. Even
// then CloudFormation refuses to delete it while it holds an object.
//
// Old versions go after 30 days and parts of broken uploads after 7: neither is
// reachable by the name that a reader knows. Current objects are kept for ever.
func New(scope constructs.Construct, id string, policy awscdk.RemovalPolicy) awss3.Bucket {
	return awss3.NewBucket(scope, jsii.String(id), &awss3.BucketProps{
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
}
