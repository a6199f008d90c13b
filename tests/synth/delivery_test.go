package synth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

func init() {
	fullest["delivery"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Archive", delivery.Props{
			Source: stream.New(stack, "Orders", stream.Props{Key: key}),
			To: delivery.S3{
				S3Delivery: spec.S3Delivery{
					Prefix: "orders/!{timestamp:yyyy/MM/dd}/", ErrorPrefix: "failed/!{firehose:error-output-type}/",
					BufferSize: 64, BufferInterval: time.Minute, Compression: spec.Snappy, Expiration: 365 * 24 * time.Hour,
				},
				Key: key, AccessLogs: logsBucket(stack),
			},
			Transform: &delivery.Transform{
				Transform: spec.Transform{BufferSize: 2, BufferInterval: 30 * time.Second, Retries: 5},
				Function:  spec.Function{Memory: 512, Timeout: 2 * time.Minute, LogRetentionDays: 90},
				Code:      gofunc.Package(someCode),
			},
			LogKey: key,
		})
	}
	fullest["direct-put"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Archive", delivery.Props{
			DirectPut: &delivery.DirectPut{Key: key}, To: delivery.S3{Key: key, AccessLogs: logsBucket(stack)}, LogKey: key,
		})
	}
}

func TestProducersCanPutToADelivery(t *testing.T) {
	for name, c := range map[string]struct {
		key     bool
		want    string
		signals string
	}{
		"with Firehose's key": {false, "AWS_OWNED_CMK", "Quota PutThrottled Freshness Success"},
		"with a customer key": {true, "CUSTOMER_MANAGED_CMK", "Quota PutThrottled KeyFailed Freshness Success"},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			direct := &delivery.DirectPut{}
			if c.key {
				direct.Key = awskms.NewKey(stack, jsii.String("Key"), nil)
			}
			d := delivery.New(stack, "D", delivery.Props{DirectPut: direct, To: delivery.S3{}})
			producer := awsiam.NewRole(stack, jsii.String("Producer"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()})
			d.GrantPut(producer)
			// There is no source to watch.
			if got := names(d.Signals()); got != c.signals {
				t.Errorf("signals %s, want %s", got, c.signals)
			}
			if c.key {
				if s := signal(t, d, "KeyFailed"); len(s.Metric.Using) != 4 || s.Metric.Using[0].Name != "KMSKeyAccessDenied" || s.Metric.Using[3].Name != "KMSKeyNotFound" {
					t.Errorf("%+v", s)
				}
				watch.New(stack, "Watch", watch.Props{Signals: d.Signals()}) // takes it
			}
			template := synth(t, app, "Test")
			_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
			encryption := firehose.Properties["DeliveryStreamEncryptionConfigurationInput"]
			if firehose.Properties["DeliveryStreamType"] != "DirectPut" || at(encryption, "KeyType") != c.want || (at(encryption, "KeyARN") != nil) != c.key {
				t.Errorf("%v", firehose.Properties)
			}
			for id, policy := range template.OfType("AWS::IAM::Policy") {
				if text := fmt.Sprint(policy.Properties); strings.Contains(text, "kinesis:") || strings.HasPrefix(id, "Producer") != strings.Contains(text, "firehose:PutRecordBatch") {
					t.Errorf("%s: %s", id, text)
				}
			}
		})
	}
}

func TestADeliveryRefusesTwoSourcesAndNone(t *testing.T) {
	_, stack := newStack(t)
	s := stream.New(stack, "S", stream.Props{})
	// Encryption of its own on a delivery of a stream is what Firehose refuses.
	refused(t, "Test/Both", "DirectPut", func() {
		delivery.New(stack, "Both", delivery.Props{Source: s, DirectPut: &delivery.DirectPut{Key: awskms.NewKey(stack, jsii.String("Key"), nil)}, To: delivery.S3{}})
	})
	refused(t, "Test/None", "Source", func() { delivery.New(stack, "None", delivery.Props{To: delivery.S3{}}) })
	refused(t, "Test/Transform", "Retries Memory Timeout Transform.Timeout", func() {
		delivery.New(stack, "Transform", delivery.Props{Source: s, To: delivery.S3{}, Transform: &delivery.Transform{
			Code: gofunc.Package(someCode), Transform: spec.Transform{Retries: 301}, Function: spec.Function{Memory: 127, Timeout: time.Hour},
		}})
	})
}

// logsBucket takes the access logs of other buckets; it has none of its own, as
// those would be logged too.
func logsBucket(stack awscdk.Stack) awss3.Bucket {
	b := awss3.NewBucket(stack, jsii.String("AccessLogs"), &awss3.BucketProps{
		Encryption: awss3.BucketEncryption_S3_MANAGED, EnforceSSL: jsii.Bool(true), Versioned: jsii.Bool(true),
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
	})
	accept.On(b.Node().DefaultChild().(awss3.CfnBucket),
		accept.Because("This bucket holds the access logs of others; logging itself it would never come to rest.", "CKV_AWS_18"),
		accept.Because("S3 writes access logs only to buckets with its own key.", "NIST.800.53.R5-S3DefaultEncryptionKMS"),
		accept.Because("Access logs can be lost with their region; what they tell of is gone then too.", "NIST.800.53.R5-S3BucketReplicationEnabled"))
	return b
}

func TestADeliverysBucketTakesKeyAccessLogsAndExpiration(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery"](stack)
	template := synth(t, app, "Test")
	keyID, key := template.Only(t, "AWS::KMS::Key")
	logsID, archive := "", map[string]any{}
	for id, b := range template.OfType("AWS::S3::Bucket") {
		if strings.HasPrefix(id, "AccessLogs") {
			logsID = id
		} else {
			archive = b.Properties
		}
	}
	encryption := at(archive, "BucketEncryption", "ServerSideEncryptionConfiguration", 0)
	if refers(at(encryption, "ServerSideEncryptionByDefault", "KMSMasterKeyID")) != keyID || at(encryption, "BucketKeyEnabled") != true {
		t.Errorf("encryption: %v", encryption)
	}
	if refers(at(archive, "LoggingConfiguration", "DestinationBucketName")) != logsID {
		t.Errorf("access logs: %v", archive["LoggingConfiguration"])
	}
	if at(archive, "LifecycleConfiguration", "Rules", 0, "ExpirationInDays") != 365.0 {
		t.Errorf("lifecycle: %v", archive["LifecycleConfiguration"])
	}
	// Firehose writes with the key.
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	if refers(at(firehose.Properties, "ExtendedS3DestinationConfiguration", "EncryptionConfiguration", "KMSEncryptionConfig", "AWSKMSKeyARN")) != keyID {
		t.Error("Firehose isn't told the key")
	}
	granted := map[any]bool{}
	for id, policy := range template.OfType("AWS::IAM::Policy") {
		for _, s := range list(at(policy.Properties, "PolicyDocument", "Statement")) {
			if strings.HasPrefix(id, "ArchiveRole") && refers(at(s, "Resource")) == keyID {
				for _, action := range list(at(s, "Action")) {
					granted[action] = true
				}
			}
		}
	}
	if len(granted) != 2 || !granted["kms:Decrypt"] || !granted["kms:GenerateDataKey"] {
		t.Errorf("Firehose may do %v with the key", granted)
	}
	// The log group's service may use it, for log groups of this account only.
	admitted := false
	for _, s := range list(at(key.Properties, "KeyPolicy", "Statement")) {
		admitted = admitted || at(s, "Principal", "Service") != nil && at(s, "Condition", "ArnLike", "kms:EncryptionContext:aws:logs:arn") != nil
	}
	if !admitted {
		t.Errorf("CloudWatch Logs may not use the key: %v", key.Properties["KeyPolicy"])
	}
	for id, group := range template.OfType("AWS::Logs::LogGroup") {
		if strings.HasPrefix(id, "ArchiveLogs") && refers(group.Properties["KmsKeyId"]) != keyID {
			t.Errorf("%s isn't encrypted with the key", id)
		}
	}
}

func TestDeliveriesRefuseBucketSettingsThatCantHold(t *testing.T) {
	for name, c := range map[string]struct {
		to   func(stack awscdk.Stack) delivery.S3
		want []string
	}{
		"settings of a bucket beside a bucket": {func(stack awscdk.Stack) delivery.S3 {
			return delivery.S3{
				Bucket: awss3.NewBucket(stack, jsii.String("Theirs"), nil), Key: awskms.NewKey(stack, jsii.String("Key"), nil),
				AccessLogs: logsBucket(stack), S3Delivery: spec.S3Delivery{Expiration: 24 * time.Hour},
			}
		}, []string{"Key", "AccessLogs", "Expiration"}},
		"access logs into a bucket with a customer key": {func(stack awscdk.Stack) delivery.S3 {
			return delivery.S3{AccessLogs: awss3.NewBucket(stack, jsii.String("Theirs"), &awss3.BucketProps{Encryption: awss3.BucketEncryption_KMS})}
		}, []string{"AccessLogs"}},
		"an expiration of less than a day": {func(awscdk.Stack) delivery.S3 {
			return delivery.S3{S3Delivery: spec.S3Delivery{Expiration: time.Hour}}
		}, []string{"Expiration", "Expiration"}},
		"an expiration of a day and a half": {func(awscdk.Stack) delivery.S3 {
			return delivery.S3{S3Delivery: spec.S3Delivery{Expiration: 36 * time.Hour}}
		}, []string{"Expiration"}},
		"an expiration below nothing": {func(awscdk.Stack) delivery.S3 {
			return delivery.S3{S3Delivery: spec.S3Delivery{Expiration: -48 * time.Hour}}
		}, []string{"Expiration"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			to := c.to(stack)
			defer func() {
				err, _ := recover().(error)
				var invalid *spec.Invalid
				if !errors.As(err, &invalid) {
					t.Fatalf("want a *spec.Invalid, got %v", err)
				}
				var fields []string
				for _, p := range invalid.Problems {
					fields = append(fields, p.Field)
					if p.Path != "Test/X" || p.Value == "" || p.Want == "" || p.Fix == "" {
						t.Errorf("incomplete: %+v", p)
					}
				}
				if strings.Join(fields, " ") != strings.Join(c.want, " ") {
					t.Errorf("refused %v, want %v", fields, c.want)
				}
			}()
			delivery.New(stack, "X", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: to})
		})
	}
}

// What a setting answers isn't accepted beside it; and nothing is accepted in
// the name of whoever passes a bucket.
func TestADeliverysSettingsTakeItsAcceptancesAway(t *testing.T) {
	const replication, inline, wildcard, source = "NIST.800.53.R5-S3BucketReplicationEnabled", "NIST.800.53.R5-IAMNoInlinePolicy", "AwsSolutions-IAM5", "AwsSolutions-KDF1"
	for name, c := range map[string]struct {
		props func(stack awscdk.Stack) delivery.Props
		want  map[string][]string // by the beginning of the logical id
	}{
		"nothing set": {func(awscdk.Stack) delivery.Props { return delivery.Props{To: delivery.S3{}} }, map[string][]string{
			"DBucket": {
				"AwsSolutions-S1", "CKV_AWS_18", "NIST.800.53.R5-S3BucketLoggingEnabled", replication, "NIST.800.53.R5-S3DefaultEncryptionKMS",
			},
			"DLogs": {"CKV_AWS_158", "NIST.800.53.R5-CloudWatchLogGroupEncrypted"},
		}},
		"all set": {func(stack awscdk.Stack) delivery.Props {
			key := awskms.NewKey(stack, jsii.String("Key"), nil)
			return delivery.Props{To: delivery.S3{Key: key, AccessLogs: logsBucket(stack)}, LogKey: key}
		}, map[string][]string{"DBucket": {replication}}},
		"a bucket given": {func(stack awscdk.Stack) delivery.Props {
			return delivery.Props{To: delivery.S3{Bucket: awss3.NewBucket(stack, jsii.String("Theirs"), nil)}}
		}, map[string][]string{"DLogs": {"CKV_AWS_158", "NIST.800.53.R5-CloudWatchLogGroupEncrypted"}}},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			props := c.props(stack)
			props.Source = stream.New(stack, "S", stream.Props{})
			delivery.New(stack, "D", props)
			c.want["DRoleDefaultPolicy"], c.want["D"] = []string{wildcard, inline}, []string{source}
			got := map[string][]string{}
			for _, a := range acceptances(synth(t, app, "Test")) {
				id := a.resource[:len(a.resource)-8] // without its hash
				if id != "AccessLogs" && id != "S" {
					got[id] = append(got[id], a.id)
				}
			}
			for id := range got {
				slices.Sort(got[id])
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("accepted (-want +got):\n%s", diff)
			}
		})
	}
}

// An organisation's own bucket for access logs is one from elsewhere. The CDK's
// warning that it can't open it is for its user to acknowledge.
func TestAnImportedBucketTakesAccessLogs(t *testing.T) {
	for _, acknowledged := range []bool{false, true} {
		r := examine(t, func(app awscdk.App) {
			stack := awscdk.NewStack(app, jsii.String("Test"), nil)
			d := delivery.New(stack, "D", delivery.Props{
				Source: stream.New(stack, "S", stream.Props{}),
				To:     delivery.S3{AccessLogs: awss3.Bucket_FromBucketName(stack, jsii.String("Logs"), jsii.String("our-access-logs"))},
			})
			if acknowledged {
				awscdk.Annotations_Of(d.Bucket()).AcknowledgeWarning(jsii.String("@aws-cdk/aws-s3:accessLogsPolicyNotAdded"), nil)
			}
		}, nil)
		if warned := len(r.open) > 0; warned == acknowledged {
			t.Errorf("acknowledged %v: %q", acknowledged, r.open)
		}
		_, bucket := r.template.Only(t, "AWS::S3::Bucket")
		if at(bucket.Properties, "LoggingConfiguration", "DestinationBucketName") != "our-access-logs" {
			t.Errorf("logging: %v", bucket.Properties["LoggingConfiguration"])
		}
	}
}
