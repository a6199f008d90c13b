package synth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/consumer"
	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/table"
	"github.com/millrace/millrace/constructs/watch"
	"github.com/millrace/millrace/stacks/race"
)

const someCode = "github.com/millrace/millrace/lambdas/standings"

func newStack(t *testing.T) (awscdk.App, awscdk.Stack) {
	t.Helper()
	app := newApp(t, false)
	return app, awscdk.NewStack(app, jsii.String("Test"), nil)
}

// Every construct reports bad settings as one *spec.Invalid, with its path, and
// before the CDK or jsii see them.
func TestConstructsRefuseBadSettings(t *testing.T) {
	code := gofunc.Package(someCode)
	for name, c := range map[string]struct {
		build func(scope constructs.Construct)
		want  []string
	}{
		"stream": {func(s constructs.Construct) {
			stream.New(s, "X", stream.Props{Stream: spec.Stream{Shards: 3, RetentionPeriod: time.Hour}})
		}, []string{"Test/X: Shards", "Test/X: RetentionPeriod"}},
		"table": {func(s constructs.Construct) { table.New(s, "X", table.Props{}) }, []string{"Test/X: PartitionKey"}},
		"table without changes": {func(s constructs.Construct) {
			table.New(s, "X", table.Props{Table: spec.Table{PartitionKey: "id"}}).Changes()
		}, []string{"Test/X: Stream"}},
		"function": {func(s constructs.Construct) {
			gofunc.New(s, "X", gofunc.Props{Function: spec.Function{Memory: 1}, Environment: map[string]*string{"1bad": jsii.String("x"), "GOOD": nil}})
		}, []string{"Test/X: Memory", "Test/X: Code", "Test/X: Environment", "Test/X: Environment.GOOD"}},
		"consumer without anything": {func(s constructs.Construct) { consumer.New(s, "X", consumer.Props{}) }, []string{"Test/X: Source"}},
		"consumer with a nil stream": {func(s constructs.Construct) {
			var forgotten *stream.Stream
			consumer.New(s, "X", consumer.Props{Source: forgotten, Code: code})
		}, []string{"Test/X: Source"}},
		"consumer": {func(s constructs.Construct) {
			consumer.New(s, "X", consumer.Props{
				Source: stream.New(s, "S", stream.Props{}), Code: code,
				Consumer: spec.Consumer{BatchSize: -4}, Function: spec.Function{Timeout: time.Hour},
				Environment: map[string]*string{"FAILURE_BUCKET": jsii.String("mine")},
			})
		}, []string{"Test/X: BatchSize", "Test/X: Timeout", "Test/X: Environment"}},
		"delivery without anything": {func(s constructs.Construct) { delivery.New(s, "X", delivery.Props{}) }, []string{"Test/X: Source", "Test/X: To"}},
		"delivery of a table's changes": {func(s constructs.Construct) {
			changes := table.New(s, "T", table.Props{Table: spec.Table{PartitionKey: "id", Stream: spec.NewImage}}).Changes()
			delivery.New(s, "X", delivery.Props{Source: changes, To: delivery.S3{}})
		}, []string{"Test/X: Source"}},
		"delivery": {func(s constructs.Construct) {
			delivery.New(s, "X", delivery.Props{
				Source:    stream.New(s, "S", stream.Props{}),
				To:        delivery.S3{S3Delivery: spec.S3Delivery{BufferSize: 1000}},
				Transform: &delivery.Transform{Code: code, Transform: spec.Transform{Retries: 500}, Function: spec.Function{Timeout: 10 * time.Minute}},
			})
		}, []string{"Test/X: BufferSize", "Test/X: Retries", "Test/X: Transform.Timeout"}},
		"no stream to take": {func(constructs.Construct) { stream.Of(nil, 0) }, []string{"stream.Of: existing is missing"}},
		"no table to take":  {func(constructs.Construct) { table.Of(nil) }, []string{"table.Of: existing is missing"}},
		"watch of what isn't there": {func(s constructs.Construct) {
			var none *gofunc.Function
			watch.New(s, "X", watch.Props{Signals: watch.All(none)})
		}, []string{"Test/X: Signals"}},
		"watch without signals": {func(s constructs.Construct) { watch.New(s, "X", watch.Props{Email: "nobody"}) }, []string{"Test/X: Signals", "Test/X: Email"}},
		"watch with a mute signal": {func(s constructs.Construct) {
			signal := watch.Signal{Owner: s, Name: "A"}
			watch.New(s, "X", watch.Props{Signals: []watch.Signal{signal, signal, {}}})
		}, []string{"Signals[0].Metric", "Signals[0].Missing", "Signals[1].Name", "Signals[2].Owner"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			defer func() {
				problem := recover()
				err, _ := problem.(error)
				var invalid *spec.Invalid
				if !errors.As(err, &invalid) {
					t.Fatalf("want a *spec.Invalid, got %T: %v", problem, problem)
				}
				for _, part := range c.want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%v\nlacks %q", err, part)
					}
				}
			}()
			c.build(stack)
		})
	}
}

func TestExistingResourcesFit(t *testing.T) {
	app, stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("Key"), nil)
	theirs := awskinesis.NewStream(stack, jsii.String("Theirs"), &awskinesis.StreamProps{
		Encryption: awskinesis.StreamEncryption_KMS, EncryptionKey: key,
	})
	bucket := awss3.NewBucket(stack, jsii.String("Bucket"), &awss3.BucketProps{EncryptionKey: key})
	items := awsdynamodb.TableV2_FromTableArn(stack, jsii.String("Items"), jsii.String("arn:aws:dynamodb:eu-west-1:111122223333:table/items"))

	source := stream.Of(theirs, 24*time.Hour)
	c := consumer.New(stack, "Consumer", consumer.Props{Source: source, Code: gofunc.Package(someCode), OnFailure: consumer.S3{Bucket: bucket}})
	table.Of(items).Grant(c.GrantPrincipal(), "dynamodb:UpdateItem")
	secret := table.New(stack, "Secret", table.Props{Table: spec.Table{PartitionKey: "id"}, Key: key})
	secret.Grant(c.GrantPrincipal(), "dynamodb:PutItem")
	d := delivery.New(stack, "Delivery", delivery.Props{Source: source, To: delivery.S3{Bucket: bucket}})
	watch.New(stack, "Watch", watch.Props{Signals: watch.All(source, c, d)})
	if c.FailureBucket() != awss3.IBucket(bucket) || d.Bucket() != awss3.IBucket(bucket) {
		t.Error("the given bucket wasn't used")
	}

	template := synth(t, app, "Test")
	if n := len(template.OfType("AWS::S3::Bucket")); n != 1 {
		t.Errorf("%d buckets: another one was made", n)
	}
	// A customer key on either side has to be usable by whoever reads or writes.
	for role, want := range map[string][]string{
		"Consumer": {"kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"},
		"Delivery": {"kms:Decrypt", "kms:GenerateDataKey"},
	} {
		granted := map[string]bool{}
		for id, policy := range template.OfType("AWS::IAM::Policy") {
			if !strings.HasPrefix(id, role) {
				continue
			}
			for _, s := range at(policy.Properties, "PolicyDocument", "Statement").([]any) {
				for _, a := range list(at(s, "Action")) {
					granted[a.(string)] = true
				}
			}
		}
		for _, action := range want {
			if !granted[action] {
				t.Errorf("%s lacks %s", role, action)
			}
		}
	}
	_, encrypted := template.Only(t, "AWS::DynamoDB::GlobalTable")
	if refers(at(encrypted.Properties, "Replicas", 0, "SSESpecification", "KMSMasterKeyId")) == "" || at(encrypted.Properties, "SSESpecification", "SSEType") != "KMS" {
		t.Errorf("the table doesn't use its key: %v", encrypted.Properties)
	}
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	if at(firehose.Properties, "ExtendedS3DestinationConfiguration", "EncryptionConfiguration", "KMSEncryptionConfig", "AWSKMSKeyARN") == nil {
		t.Error("Firehose isn't told the bucket's key")
	}
}

func TestMetricsOfTheCDKCanBeWatched(t *testing.T) {
	app, stack := newStack(t)
	theirs := awskinesis.NewStream(stack, jsii.String("Theirs"), nil)
	metric := watch.Of(theirs.MetricIncomingRecords(&awscloudwatch.MetricOptions{Statistic: jsii.String("Sum")}))
	watch.New(stack, "Watch", watch.Props{Signals: []watch.Signal{{
		Owner: theirs, Name: "Silence", Graph: "Records", Metric: metric, Below: true, Threshold: 1,
		From: "the shop never sleeps", Why: "Nothing arrives.", Do: "Look at the shop.", Runbook: "https://wiki.example.com/silence", Missing: watch.Breaching, Severity: watch.Critical,
	}}})
	template := synth(t, app, "Test")
	id, _ := template.Only(t, "AWS::Kinesis::Stream")
	_, alarm := template.Only(t, "AWS::CloudWatch::Alarm")
	p := alarm.Properties
	if p["MetricName"] != "IncomingRecords" || p["Statistic"] != "Sum" || p["TreatMissingData"] != "breaching" ||
		p["ComparisonOperator"] != "LessThanThreshold" || refers(at(p, "Dimensions", 0, "Value")) != id {
		t.Errorf("alarm: %v", p)
	}
}

func TestTheStackFitsIntoStages(t *testing.T) {
	app := newApp(t, false)
	names := map[string]bool{}
	for _, stage := range []string{"Beta", "Prod"} {
		r := race.New(awscdk.NewStage(app, jsii.String(stage), nil), race.Config{})
		names[*r.Stack.StackName()] = true
		if got := *r.Watch.Alarms()[0].AlarmName(); got != stage+"-MillraceRace-Watch-Telemetry-IteratorAgeWarning" {
			t.Errorf("alarm %s", got)
		}
	}
	app.Synth(nil)
	if !names["Beta-MillraceRace"] || !names["Prod-MillraceRace"] {
		t.Errorf("two stages in one account clash: %v", names)
	}
}

func TestEscapeHatchesReachTheResources(t *testing.T) {
	app, stack := newStack(t)
	s := stream.New(stack, "Stream", stream.Props{})
	s.Resource().AddPropertyOverride(jsii.String("MaxRecordSizeInKiB"), 2048)
	table.New(stack, "Table", table.Props{Table: spec.Table{PartitionKey: "id"}}).Resource().AddPropertyOverride(jsii.String("TimeToLiveSpecification.Enabled"), false)
	c := consumer.New(stack, "Consumer", consumer.Props{Source: s, Code: gofunc.Package(someCode)})
	c.Mapping().SetTumblingWindowInSeconds(jsii.Number(30))
	c.Function().Resource().AddPropertyOverride(jsii.String("Description"), "ours")
	awscdk.Tags_Of(s.Construct()).Add(jsii.String("team"), jsii.String("race"), nil)
	c.Construct().Node().AddDependency(s.Construct())

	template := synth(t, app, "Test")
	_, kinesis := template.Only(t, "AWS::Kinesis::Stream")
	if kinesis.Properties["MaxRecordSizeInKiB"] != 2048.0 || at(kinesis.Properties, "Tags", 0, "Value") != "race" {
		t.Errorf("stream: %v", kinesis.Properties)
	}
	_, mapping := template.Only(t, "AWS::Lambda::EventSourceMapping")
	if mapping.Properties["TumblingWindowInSeconds"] != 30.0 {
		t.Errorf("mapping: %v", mapping.Properties)
	}
	_, function := template.Only(t, "AWS::Lambda::Function")
	if function.Properties["Description"] != "ours" {
		t.Errorf("function: %v", function.Properties)
	}
}
