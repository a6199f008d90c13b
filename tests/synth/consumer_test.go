package synth

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/consumer"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/table"
	"github.com/millrace/millrace/constructs/watch"
)

// fullConsumer uses every setting of a consumer that can be used together.
func fullConsumer(stack awscdk.Stack) *consumer.Consumer {
	key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
	orders := stream.New(stack, "Orders", stream.Props{Stream: spec.Stream{Mode: spec.Provisioned, Shards: 2}, Key: key})
	c := consumer.New(stack, "Bill", consumer.Props{
		Source: orders,
		Code:   gofunc.Package(someCode),
		Consumer: spec.Consumer{
			StartingPosition: spec.AtTimestamp, StartingPositionTimestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			BatchSize: 500, BatchingWindow: 20 * time.Second, TumblingWindow: time.Minute,
			Filters:              []string{`{"data": {"kind": ["sale"]}}`, `{"partitionKey": [{"prefix": "eu-"}]}`},
			MaximumRetryAttempts: 5, MaximumRecordAge: 6 * time.Hour, NoBisect: true,
		},
		Function:  spec.Function{Memory: 512, Timeout: time.Minute, ReservedConcurrency: 4},
		Resources: gofunc.Resources{Key: key, LogKey: key},
		OnFailure: consumer.SQS{Key: key}, FilterKey: key,
		Rollout: &consumer.Rollout{Rollout: spec.Rollout{Type: spec.Linear, Percentage: 20, Interval: 2 * time.Minute}},
		Tags:    map[string]string{"team": "billing", "cost": "42"},
	})
	watch.New(stack, "Watch", watch.Props{Signals: watch.All(orders, c)})
	return c
}

func init() { fullest["consumer"] = func(stack awscdk.Stack) { fullConsumer(stack) } }

func TestEverySettingOfAMappingReachesIt(t *testing.T) {
	app, stack := newStack(t)
	fullConsumer(stack)
	template := synth(t, app, "Test")
	_, m := template.Only(t, "AWS::Lambda::EventSourceMapping")
	for name, want := range map[string]any{
		"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": float64(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Unix()),
		"BatchSize": 500.0, "MaximumBatchingWindowInSeconds": 20.0, "TumblingWindowInSeconds": 60.0,
		"MaximumRetryAttempts": 5.0, "MaximumRecordAgeInSeconds": 6 * 3600.0, "BisectBatchOnFunctionError": false,
	} {
		if m.Properties[name] != want {
			t.Errorf("%s is %v, want %v", name, m.Properties[name], want)
		}
	}
	if got := at(m.Properties, "FilterCriteria", "Filters", 1, "Pattern"); got != `{"partitionKey": [{"prefix": "eu-"}]}` {
		t.Errorf("filter: %v", got)
	}
	if got := at(m.Properties, "Tags", 1, "Key"); got != "team" {
		t.Errorf("tags: %v", m.Properties["Tags"])
	}
	key, k := template.Only(t, "AWS::KMS::Key")
	if refers(m.Properties["KmsKeyArn"]) != key {
		t.Errorf("filters are encrypted with %v", m.Properties["KmsKeyArn"])
	}
	readable := slices.ContainsFunc(at(k.Properties, "KeyPolicy", "Statement").([]any), func(s any) bool {
		return at(s, "Principal", "Service") == "lambda.amazonaws.com" && at(s, "Action") == "kms:Decrypt" && at(s, "Condition", "ArnLike") != nil
	})
	if !readable {
		t.Error("Lambda may not decrypt the filters")
	}
}

func TestFailedBatchesGoWhereTheyAreTold(t *testing.T) {
	// Each with what the function's role needs there, and what it must not have.
	for name, c := range map[string]struct {
		to     func(constructs.Construct) consumer.Destination
		kind   string
		needs  []string
		lacks  string
		signal string
	}{
		"a bucket, by default": {
			func(constructs.Construct) consumer.Destination { return nil },
			"AWS::S3::Bucket",
			[]string{"s3:ListBucket", "s3:PutObject"},
			"sqs:", "",
		},
		"a queue": {
			func(constructs.Construct) consumer.Destination { return consumer.SQS{} },
			"AWS::SQS::Queue",
			[]string{"sqs:SendMessage"},
			"s3:", "FailureQueue",
		},
		"a queue with a customer key": {
			func(s constructs.Construct) consumer.Destination {
				return consumer.SQS{Key: awskms.NewKey(s, jsii.String("Key"), nil)}
			},
			"AWS::SQS::Queue",
			[]string{"sqs:SendMessage", "kms:GenerateDataKey", "kms:Decrypt"},
			"s3:", "FailureQueue",
		},
		"a topic": {
			func(s constructs.Construct) consumer.Destination {
				topic := awssns.NewTopic(s, jsii.String("Topic"), nil)
				topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(jsii.String("a@example.com"), nil))
				return consumer.SNS{Topic: topic}
			},
			"AWS::SNS::Topic",
			[]string{"sns:Publish"},
			"s3:", "FailureTopic",
		},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			con := consumer.New(stack, "C", consumer.Props{Source: stream.New(stack, "S", stream.Props{}), Code: gofunc.Package(someCode), OnFailure: c.to(stack)})
			var names []string
			for _, s := range con.Signals() {
				names = append(names, s.Name)
			}
			if c.signal != "" && !slices.Contains(names, c.signal) {
				t.Errorf("no signal %s in %v", c.signal, names)
			}
			template := synth(t, app, "Test")
			_, mapping := template.Only(t, "AWS::Lambda::EventSourceMapping")
			target := refers(at(mapping.Properties, "DestinationConfig", "OnFailure", "Destination"))
			if template.Resources[target].Type != c.kind {
				t.Errorf("failed batches go to %q, a %s", target, template.Resources[target].Type)
			}
			_, policy := template.Only(t, "AWS::IAM::Policy")
			var actions []string
			for _, s := range at(policy.Properties, "PolicyDocument", "Statement").([]any) {
				for _, a := range list(at(s, "Action")) {
					actions = append(actions, a.(string))
					if strings.HasPrefix(a.(string), c.lacks) {
						t.Errorf("the role may %s", a)
					}
				}
			}
			for _, a := range c.needs {
				if !slices.Contains(actions, a) {
					t.Errorf("the role may not %s: %v", a, actions)
				}
			}
			_, function := template.Only(t, "AWS::Lambda::Function")
			if bucket := at(function.Properties, "Environment", "Variables", consumer.FailureBucketVariable); (bucket != nil) != (c.kind == "AWS::S3::Bucket") {
				t.Errorf("%s is %v", consumer.FailureBucketVariable, bucket)
			}
			if c.kind == "AWS::SQS::Queue" {
				_, q := template.Only(t, "AWS::SQS::Queue")
				if q.DeletionPolicy != "Retain" || q.Properties["MessageRetentionPeriod"] != 14*86400.0 ||
					q.Properties["SqsManagedSseEnabled"] != true && q.Properties["KmsMasterKeyId"] == nil {
					t.Errorf("the queue: %+v", q)
				}
			}
		})
	}
}

func TestARolloutMovesTheAliasThatTheMappingReads(t *testing.T) {
	app, stack := newStack(t)
	fullConsumer(stack)
	template := synth(t, app, "Test")
	id, alias := template.Only(t, "AWS::Lambda::Alias")
	version, _ := template.Only(t, "AWS::Lambda::Version")
	if alias.Properties["Name"] != "live" || refers(at(alias.Properties, "FunctionVersion")) != version {
		t.Errorf("alias: %v", alias.Properties)
	}
	_, mapping := template.Only(t, "AWS::Lambda::EventSourceMapping")
	if refers(mapping.Properties["FunctionName"]) != id {
		t.Errorf("the mapping invokes %v, not the alias", mapping.Properties["FunctionName"])
	}
	groupID, group := template.Only(t, "AWS::CodeDeploy::DeploymentGroup")
	raw := at(alias.UpdatePolicy, "CodeDeployLambdaAliasUpdate")
	if refers(at(raw, "DeploymentGroupName")) != groupID {
		t.Errorf("the alias is updated by %v", raw)
	}
	var watched []string
	for _, a := range at(group.Properties, "AlarmConfiguration", "Alarms").([]any) {
		alarm := template.Resources[refers(at(a, "Name"))]
		watched = append(watched, alarm.Properties["MetricName"].(string))
		for _, d := range list(alarm.Properties["Dimensions"]) {
			if at(d, "Name") != "FunctionName" {
				t.Errorf("an alarm on %v waits for the mapping, which waits for the group: CloudFormation refuses the circle", at(d, "Name"))
			}
		}
	}
	slices.Sort(watched)
	if !slices.Equal(watched, []string{"Duration", "Errors", "RejectedRecords"}) {
		t.Errorf("it rolls back on %v", watched)
	}
	if got := list(at(group.Properties, "AutoRollbackConfiguration", "Events")); !slices.Contains(got, any("DEPLOYMENT_STOP_ON_ALARM")) {
		t.Errorf("events: %v", got)
	}
	_, config := template.Only(t, "AWS::CodeDeploy::DeploymentConfig")
	linear := at(config.Properties, "TrafficRoutingConfig", "TimeBasedLinear")
	if at(linear, "LinearPercentage") != 20.0 || at(linear, "LinearInterval") != 2.0 {
		t.Errorf("traffic: %v", config.Properties)
	}
	if circle := circle(template); circle != nil {
		t.Errorf("resources wait for each other: %v", circle)
	}
}

func TestARolloutThatNothingWatchesIsRefused(t *testing.T) {
	app, stack := newStack(t)
	consumer.New(stack, "C", consumer.Props{Source: stream.New(stack, "S", stream.Props{}), Code: gofunc.Package(someCode), Rollout: &consumer.Rollout{}})
	defer func() {
		problem := recover()
		err, _ := problem.(error)
		if err == nil || !strings.Contains(err.Error(), "no alarm watches this consumer") || !strings.Contains(err.Error(), "Test/C") {
			t.Errorf("got %v", problem)
		}
	}()
	app.Synth(nil)
	t.Error("it was synthesized")
}

func TestARolloutWithMoreAlarmsThanCodeDeployTakesIsRefused(t *testing.T) {
	app, stack := newStack(t)
	c := consumer.New(stack, "C", consumer.Props{Source: stream.New(stack, "S", stream.Props{}), Code: gofunc.Package(someCode), Rollout: &consumer.Rollout{}})
	for _, id := range []string{"A", "B", "D", "E"} { // three of its alarms each
		watch.New(stack, id, watch.Props{Signals: watch.All(c)})
	}
	defer func() {
		if err, _ := recover().(error); err == nil || !strings.Contains(err.Error(), "12 alarms, and CodeDeploy takes 10") {
			t.Errorf("got %v", err)
		}
	}()
	app.Synth(nil)
	t.Error("it was synthesized")
}

func TestAChangeOfCodeOrSettingsIsANewVersion(t *testing.T) {
	version := func(memory int) string {
		app, stack := newStack(t)
		consumer.New(stack, "C", consumer.Props{
			Source: stream.New(stack, "S", stream.Props{}), Code: gofunc.Package(someCode), Alias: "current",
			Function: spec.Function{Memory: memory},
		})
		id, _ := synth(t, app, "Test").Only(t, "AWS::Lambda::Version")
		return id
	}
	if a, b := version(256), version(256); a != b {
		t.Errorf("without a change there are two versions, %s and %s", a, b)
	}
	if a, b := version(256), version(512); a == b {
		t.Errorf("a version can't change, but %s has 256 and 512 MB", a)
	}
}

func TestTheTimeoutFollowsTheBatch(t *testing.T) {
	for _, c := range []struct {
		settings spec.Consumer
		want     time.Duration
	}{
		{spec.Consumer{}, 30 * time.Second},
		{spec.Consumer{BatchingWindow: 2 * time.Minute}, 2 * time.Minute},
		{spec.Consumer{BatchSize: 10_000, BatchingWindow: 5 * time.Minute}, 5 * time.Minute},
		{spec.Consumer{BatchSize: 40_00}, 30 * time.Second},
	} {
		_, stack := newStack(t)
		con := consumer.New(stack, "C", consumer.Props{Source: stream.New(stack, "S", stream.Props{}), Code: gofunc.Package(someCode), Consumer: c.settings})
		if got := con.Function().Settings().Timeout; got != c.want {
			t.Errorf("%+v: timeout %v, want %v", c.settings, got, c.want)
		}
	}
}

func TestADisabledMappingRingsNoAlarmForReadingNothing(t *testing.T) {
	app, stack := newStack(t)
	con := consumer.New(stack, "C", consumer.Props{Source: stream.New(stack, "S", stream.Props{}), Code: gofunc.Package(someCode), Consumer: spec.Consumer{Disabled: true}})
	for _, s := range con.Signals() {
		if s.Name == "Stopped" {
			t.Error("it is watched for what it does on purpose")
		}
	}
	_, m := synth(t, app, "Test").Only(t, "AWS::Lambda::EventSourceMapping")
	if m.Properties["Enabled"] != false {
		t.Errorf("Enabled is %v", m.Properties["Enabled"])
	}
}

// Each case names exactly the fields that are refused.
func TestAConsumerRefusesWhatAWSWould(t *testing.T) {
	code := gofunc.Package(someCode)
	with := func(s spec.Consumer) func(constructs.Construct) consumer.Props {
		return func(scope constructs.Construct) consumer.Props {
			return consumer.Props{Source: stream.New(scope, "S", stream.Props{}), Code: code, Consumer: s}
		}
	}
	of := func(change func(constructs.Construct, *consumer.Props)) func(constructs.Construct) consumer.Props {
		return func(scope constructs.Construct) consumer.Props {
			p := with(spec.Consumer{})(scope)
			change(scope, &p)
			return p
		}
	}
	changes := func(s spec.Consumer) func(constructs.Construct) consumer.Props {
		return func(scope constructs.Construct) consumer.Props {
			t := table.New(scope, "T", table.Props{Table: spec.Table{PartitionKey: "id", Stream: spec.NewImage}})
			return consumer.Props{Source: t.Changes(), Code: code, Consumer: s}
		}
	}
	token := int(*awscdk.Token_AsNumber(awscdk.Fn_Ref(jsii.String("Parameter"))))
	then := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		props  func(constructs.Construct) consumer.Props
		fields string
	}{
		"a batch of none":                        {with(spec.Consumer{BatchSize: spec.Zero}), "BatchSize"},
		"a batch that is a token":                {with(spec.Consumer{BatchSize: token}), "BatchSize"},
		"a position that is a token":             {with(spec.Consumer{StartingPosition: spec.StartingPosition(*awscdk.Fn_Ref(jsii.String("P")))}), "StartingPosition"},
		"a timestamp without AT_TIMESTAMP":       {with(spec.Consumer{StartingPositionTimestamp: then}), "StartingPositionTimestamp"},
		"AT_TIMESTAMP without a timestamp":       {with(spec.Consumer{StartingPosition: spec.AtTimestamp}), "StartingPositionTimestamp"},
		"a timestamp in the future":              {with(spec.Consumer{StartingPosition: spec.AtTimestamp, StartingPositionTimestamp: time.Now().Add(time.Hour)}), "StartingPositionTimestamp"},
		"a timestamp with nanoseconds":           {with(spec.Consumer{StartingPosition: spec.AtTimestamp, StartingPositionTimestamp: then.Add(1)}), "StartingPositionTimestamp"},
		"AT_TIMESTAMP of a table":                {changes(spec.Consumer{StartingPosition: spec.AtTimestamp, StartingPositionTimestamp: then}), "StartingPosition"},
		"a tumbling window over 15 minutes":      {with(spec.Consumer{TumblingWindow: 16 * time.Minute}), "TumblingWindow"},
		"a tumbling window of half a second":     {with(spec.Consumer{TumblingWindow: time.Second / 2}), "TumblingWindow"},
		"a tumbling window with parallelization": {with(spec.Consumer{TumblingWindow: time.Minute, ParallelizationFactor: 2}), "ParallelizationFactor"},
		"eleven filters":                         {with(spec.Consumer{Filters: slices.Repeat([]string{`{"data": {"a": [1]}}`}, 11)}), "Filters"},
		"a filter that is no JSON":               {with(spec.Consumer{Filters: []string{"kind = sale"}}), "Filters[0]"},
		"a filter that is a list":                {with(spec.Consumer{Filters: []string{`["sale"]`}}), "Filters[0]"},
		"an empty filter":                        {with(spec.Consumer{Filters: []string{`{}`}}), "Filters[0]"},
		"a filter with a bare value":             {with(spec.Consumer{Filters: []string{`{"data": {"kind": "sale"}}`}}), "Filters[0]"},
		"a filter with an empty list":            {with(spec.Consumer{Filters: []string{`{"data": {"kind": []}}`}}), "Filters[0]"},
		"a filter of a table on a stream":        {with(spec.Consumer{Filters: []string{`{"dynamodb": {"NewImage": {"a": {"S": ["b"]}}}}`}}), "Filters[0]"},
		"a filter of a stream on a table":        {changes(spec.Consumer{Filters: []string{`{"data": {"a": ["b"]}}`}}), "Filters[0]"},
		"a filter that is too long":              {with(spec.Consumer{Filters: []string{`{"data": {"a": ["` + strings.Repeat("x", 5000) + `"]}}`}}), "Filters[0]"},
		"a filter's key without filters":         {of(func(s constructs.Construct, p *consumer.Props) { p.FilterKey = awskms.NewKey(s, jsii.String("K"), nil) }), "FilterKey"},
		"retries and age without end":            {with(spec.Consumer{MaximumRetryAttempts: spec.Forever, MaximumRecordAge: spec.Forever}), "MaximumRecordAge"},
		"an age of the retention":                {with(spec.Consumer{MaximumRecordAge: 24 * time.Hour}), "MaximumRecordAge"},
		"an age of a table's retention":          {changes(spec.Consumer{MaximumRecordAge: 24 * time.Hour}), "MaximumRecordAge"},
		"an age shorter than the window":         {with(spec.Consumer{MaximumRecordAge: time.Minute, BatchingWindow: 2 * time.Minute}), "MaximumRecordAge"},
		"retries that outlast the stream":        {with(spec.Consumer{MaximumRetryAttempts: 10_000, MaximumRecordAge: spec.Forever}), "MaximumRetryAttempts"},
		"a timeout under the window": {of(func(_ constructs.Construct, p *consumer.Props) {
			p.BatchingWindow, p.Timeout = time.Minute, 30*time.Second
		}), "Timeout"},
		"a timeout too short for the batch":  {of(func(_ constructs.Construct, p *consumer.Props) { p.BatchSize, p.Timeout = 10_000, 5*time.Second }), "Timeout"},
		"too little concurrency for a shard": {of(func(_ constructs.Construct, p *consumer.Props) { p.ParallelizationFactor, p.ReservedConcurrency = 4, 3 }), "ReservedConcurrency"},
		"no concurrency at all":              {of(func(_ constructs.Construct, p *consumer.Props) { p.ReservedConcurrency = spec.Zero }), "ReservedConcurrency"},
		"too little concurrency for the shards": {of(func(s constructs.Construct, p *consumer.Props) {
			p.Source = stream.New(s, "Four", stream.Props{Stream: spec.Stream{Mode: spec.Provisioned, Shards: 4}})
			p.ParallelizationFactor, p.ReservedConcurrency = 5, 19
		}), "ReservedConcurrency"},
		"a FIFO queue for failures": {of(func(s constructs.Construct, p *consumer.Props) {
			p.OnFailure = consumer.SQS{Queue: awssqs.NewQueue(s, jsii.String("Q"), &awssqs.QueueProps{Fifo: jsii.Bool(true)})}
		}), "OnFailure.Queue"},
		"a queue and a key for another": {of(func(s constructs.Construct, p *consumer.Props) {
			p.OnFailure = consumer.SQS{Queue: awssqs.NewQueue(s, jsii.String("Q"), nil), Key: awskms.NewKey(s, jsii.String("K"), nil)}
		}), "OnFailure.Key"},
		"failed batches for half a day": {of(func(_ constructs.Construct, p *consumer.Props) { p.OnFailure = consumer.S3{Expiration: 12 * time.Hour} }), "OnFailure.Expiration OnFailure.Expiration"},
		"a bucket and a key for another": {of(func(s constructs.Construct, p *consumer.Props) {
			p.OnFailure = consumer.S3{Bucket: awss3.NewBucket(s, jsii.String("B"), nil), Key: awskms.NewKey(s, jsii.String("K"), nil)}
		}), "OnFailure.Bucket"},
		"no topic for failures": {of(func(_ constructs.Construct, p *consumer.Props) { p.OnFailure = consumer.SNS{} }), "OnFailure.Topic"},
		"a FIFO topic for failures": {of(func(s constructs.Construct, p *consumer.Props) {
			p.OnFailure = consumer.SNS{Topic: awssns.NewTopic(s, jsii.String("T"), &awssns.TopicProps{Fifo: jsii.Bool(true)})}
		}), "OnFailure.Topic"},
		"an alias that is a number": {of(func(_ constructs.Construct, p *consumer.Props) { p.Alias = "42" }), "Alias"},
		"an alias with a space":     {of(func(_ constructs.Construct, p *consumer.Props) { p.Alias = "the live one" }), "Alias"},
		"a rollout of everything at once": {of(func(_ constructs.Construct, p *consumer.Props) {
			p.Rollout = &consumer.Rollout{Rollout: spec.Rollout{Percentage: 100}}
		}), "Rollout.Percentage"},
		"a rollout of half a minute": {of(func(_ constructs.Construct, p *consumer.Props) {
			p.Rollout = &consumer.Rollout{Rollout: spec.Rollout{Interval: 90 * time.Second}}
		}), "Rollout.Interval"},
		"a rollout over a week": {of(func(_ constructs.Construct, p *consumer.Props) {
			p.Rollout = &consumer.Rollout{Rollout: spec.Rollout{Type: spec.Linear, Percentage: 1, Interval: time.Hour}}
		}), "Rollout.Interval"},
		"a rollout of an unknown kind": {of(func(_ constructs.Construct, p *consumer.Props) {
			p.Rollout = &consumer.Rollout{Rollout: spec.Rollout{Type: "Big bang"}}
		}), "Rollout.Type"},
		"a tag of AWS's": {of(func(_ constructs.Construct, p *consumer.Props) { p.Tags = map[string]string{"aws:team": "x"} }), `Tags["aws:team"]`},
		"our own variable": {of(func(_ constructs.Construct, p *consumer.Props) {
			p.Environment = map[string]*string{"FAILURE_BUCKET": jsii.String("x")}
		}), "Environment"},
		"much at once": {of(func(_ constructs.Construct, p *consumer.Props) {
			p.BatchSize, p.Memory, p.Alias, p.OnFailure = -1, 1, "1", consumer.SNS{}
		}), "BatchSize Memory OnFailure.Topic Alias"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/X", c.fields, func() { consumer.New(stack, "X", c.props(stack)) })
		})
	}
}

// refused checks that build panics with a *spec.Invalid that names exactly these
// fields of the construct at path, each with a value, what is wanted, and a fix.
func refused(t *testing.T, path, fields string, build func()) {
	t.Helper()
	defer func() {
		t.Helper()
		problem := recover()
		err, _ := problem.(error)
		var invalid *spec.Invalid
		if !errors.As(err, &invalid) {
			t.Fatalf("want a *spec.Invalid, got %T: %v", problem, problem)
		}
		var got []string
		for _, p := range invalid.Problems {
			got = append(got, p.Field)
			if p.Path != path || p.Value == "" || p.Want == "" || p.Fix == "" {
				t.Errorf("a message lacks a part: %+v", p)
			}
		}
		if strings.Join(got, " ") != fields {
			t.Errorf("refused %q, want %q:\n%v", strings.Join(got, " "), fields, err)
		}
	}()
	build()
}

// circle returns resources that wait for each other, or nil.
func circle(t *snapshot.Template) []string {
	var path []string
	done := map[string]bool{}
	var visit func(id string) []string
	visit = func(id string) []string {
		if i := slices.Index(path, id); i >= 0 {
			return path[i:]
		}
		if done[id] || t.Resources[id].Type == "" {
			return nil
		}
		path = append(path, id)
		for _, next := range append(snapshot.References([]any{t.Resources[id].Properties, t.Resources[id].UpdatePolicy}), t.Resources[id].DependsOn...) {
			if found := visit(next); found != nil {
				return found
			}
		}
		path, done[id] = path[:len(path)-1], true
		return nil
	}
	for id := range t.Resources {
		if found := visit(id); found != nil {
			return found
		}
	}
	return nil
}
