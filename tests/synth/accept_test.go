package synth

import (
	"errors"
	"os"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

const why = "It is no danger here, and this says why."

func TestAcceptancesAreInEachCheckersNotation(t *testing.T) {
	app, stack := newStack(t)
	bucket := awss3.NewCfnBucket(stack, jsii.String("Bucket"), nil)
	bucket.AddMetadata(jsii.String("team"), "race")
	accept.On(bucket, accept.Because(why, "AwsSolutions-S1", "CKV_AWS_18", "W3045", "CloudFormation-Validate::W3005"))
	accept.On(bucket,
		accept.Because(why, "E3001", "CKV2_AWS_6"),
		accept.Finding{Reason: why, IDs: []string{"AwsSolutions-IAM5"}, AppliesTo: []string{"Action::s3:*", `/^Resource::.*\/\*$/`}},
		accept.Because(why, "AwsSolutions-IAM5[Resource::<A.Arn>/*]"))
	_, got := synth(t, app, "Test").Only(t, "AWS::S3::Bucket")
	want := map[string]any{
		"team":    "race",
		"checkov": map[string]any{"skip": []any{map[string]any{"id": "CKV_AWS_18", "comment": why}, map[string]any{"id": "CKV2_AWS_6", "comment": why}}},
		"cfn-lint": map[string]any{"config": map[string]any{
			"ignore_checks": []any{"W3045", "E3001"},
		}, "reasons": []any{map[string]any{"id": "W3045", "reason": why}, map[string]any{"id": "E3001", "reason": why}}},
		"cdk_nag": map[string]any{"rules_to_suppress": []any{
			map[string]any{"id": "AwsSolutions-S1", "reason": why},
			map[string]any{"id": "AwsSolutions-IAM5", "reason": why, "applies_to": []any{"Action::s3:*", map[string]any{"regex": `/^Resource::.*\/\*$/`}}},
			map[string]any{"id": "AwsSolutions-IAM5", "reason": why, "applies_to": []any{"Resource::<A.Arn>/*"}},
		}},
		"cdk_validation": map[string]any{"acknowledged": []any{map[string]any{"id": "CloudFormation-Validate::W3005", "reason": why}}},
	}
	if diff := cmp.Diff(want, got.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

// Ours, a user's, and a user's by cdk-nag's own means stand side by side.
func TestUsersAcceptTheirFindingsBesideOurs(t *testing.T) {
	r := examine(t, func(app awscdk.App) {
		stack := awscdk.NewStack(app, jsii.String("Test"), nil)
		b := awss3.NewBucket(stack, jsii.String("Bucket"), &awss3.BucketProps{
			EnforceSSL: jsii.Bool(true), BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		})
		cfn := b.Node().DefaultChild().(awss3.CfnBucket)
		cdknag.NagSuppressions_AddResourceSuppressions(b, &[]*cdknag.NagPackSuppression{
			{Id: jsii.String("NIST.800.53.R5-S3BucketVersioningEnabled"), Reason: jsii.String(why)},
		}, nil)
		accept.On(cfn, accept.Because(why, "AwsSolutions-S1", "NIST.800.53.R5-S3BucketLoggingEnabled"))
		cdknag.NagSuppressions_AddResourceSuppressions(b, &[]*cdknag.NagPackSuppression{
			{Id: jsii.String("NIST.800.53.R5-S3BucketReplicationEnabled"), Reason: jsii.String(why)},
		}, nil)
		accept.On(cfn, accept.Because(why, "NIST.800.53.R5-S3DefaultEncryptionKMS"))
	}, nil)
	if len(r.open) > 0 || len(r.suppressed) != 5 {
		t.Errorf("open: %q; %d suppressed", r.open, len(r.suppressed))
	}
}

// A construct's warning, and, where they aren't switched off, the CDK's own rules.
func TestTheCDKsValidationHeedsAcceptances(t *testing.T) {
	open := func(ids ...string) int {
		return len(examine(t, func(app awscdk.App) {
			stack := awscdk.NewStack(app, jsii.String("Test"), nil)
			bucket := awscdk.NewCfnResource(stack, jsii.String("Bucket"), &awscdk.CfnResourceProps{
				Type: jsii.String("AWS::S3::Bucket"),
				Properties: &map[string]any{
					"AccessControl":     "PublicRead", // which the CDK calls deprecated: W3045
					"OwnershipControls": map[string]any{"Rules": []any{map[string]any{"ObjectOwnership": "ObjectWriter"}}},
				},
			})
			awscdk.Annotations_Of(bucket).AddWarningV2(jsii.String("Ours"), jsii.String("a warning"))
			if len(ids) > 0 {
				accept.On(bucket, accept.Because(why, ids...))
			}
		}, nil).open)
	}
	all := 2
	if os.Getenv("CDK_VALIDATION") == "false" {
		all = 1
	}
	if n := open(); n != all {
		t.Errorf("%d findings, want %d", n, all)
	}
	if n := open("Annotation::Ours"); n != all-1 {
		t.Errorf("%d findings beside the warning, want %d", n, all-1)
	}
	if n := open("Annotation::Ours", "CloudFormation-Validate::W3045"); n != 0 {
		t.Errorf("%d findings in spite of all", n)
	}
}

func TestWhatCantBeAcceptedIsRefused(t *testing.T) {
	_, stack := newStack(t)
	imported := stream.Of(awskinesis.Stream_FromStreamArn(stack, jsii.String("Theirs"), jsii.String("arn:aws:kinesis:eu-west-1:111122223333:stream/s")), 0)
	bucket := awss3.NewCfnBucket(stack, jsii.String("Bucket"), nil)
	for name, call := range map[string]func(){
		"nothing":              func() { accept.On(nil, accept.Because(why, "CKV_AWS_18")) },
		"an imported resource": func() { accept.On(imported.Resource(), accept.Because(why, "CKV_AWS_18")) },
		"no reason":            func() { accept.On(bucket, accept.Because("", "CKV_AWS_18")) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				err, _ := recover().(error)
				var invalid *spec.Invalid
				if !errors.As(err, &invalid) || len(invalid.Problems) != 1 {
					t.Errorf("want a *spec.Invalid, got %v", err)
				}
			}()
			call()
		})
	}
}
