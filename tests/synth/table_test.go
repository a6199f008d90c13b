package synth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/table"
	"github.com/millrace/millrace/constructs/watch"
)

const euKey = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"

// everyTable has every setting of a table on demand.
func everyTable(key awskms.IKey, changes *stream.Stream) table.Props {
	return table.Props{
		Table: spec.Table{
			PartitionKey: "race", SortKey: "seq", SortKeyType: spec.NumberKey,
			GlobalIndexes: []spec.GlobalIndex{
				{
					Name: "byTeam", PartitionKeys: []spec.Key{{Name: "team"}, {Name: "country"}}, SortKeys: []spec.Key{{Name: "points", Type: spec.NumberKey}, {Name: "raw", Type: spec.BinaryKey}},
					Projection: spec.ProjectInclude, NonKeyAttributes: []string{"speed", "power"},
					MaximumRequests: spec.Throughput{Read: 50, Write: 60}, WarmThroughput: spec.Throughput{Read: 13_000, Write: 5_000}, Insights: spec.ThrottledKeys,
				},
				{Name: "bySpeed", PartitionKeys: []spec.Key{{Name: "speed", Type: spec.NumberKey}}, Projection: spec.ProjectKeysOnly},
			},
			LocalIndexes: []spec.LocalIndex{
				{Name: "byTime", SortKey: spec.Key{Name: "at", Type: spec.NumberKey}},
				{Name: "byPower", SortKey: spec.Key{Name: "power"}, Projection: spec.ProjectInclude, NonKeyAttributes: []string{"speed"}},
			},
			Stream: spec.NewAndOldImages, KinesisPrecision: spec.Microsecond, TimeToLive: "expires",
			MaximumRequests: spec.Throughput{Read: 100, Write: 200}, WarmThroughput: spec.Throughput{Read: 12_000, Write: 4_000},
			Replicas: []spec.Replica{
				{Region: "eu-west-1", KeyARN: euKey, MaximumReads: 70, Class: spec.InfrequentAccess, Insights: spec.ThrottledKeys, KinesisStreamARN: "arn:aws:kinesis:eu-west-1:111122223333:stream/changes"},
			},
			Class: spec.StandardClass, Insights: spec.AccessedAndThrottledKeys, Name: "standings", RecoveryPeriodInDays: 7, NoDeletionProtection: true,
		},
		Key: key, KinesisStream: changes.Stream(), Tags: map[string]string{"team": "race"}, RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	}
}

func provisionedTable() spec.Table {
	return spec.Table{
		PartitionKey: "id", PartitionKeyType: spec.BinaryKey, Billing: spec.ProvisionedCapacity,
		ReadCapacity: spec.Capacity{Min: 5, Max: 100, TargetUtilization: 50, Seed: 10, ScaleInCooldown: time.Minute, ScaleOutCooldown: 30 * time.Second, NoScaleIn: true}, WriteCapacity: spec.Capacity{Max: 40},
		GlobalIndexes: []spec.GlobalIndex{
			{Name: "own", PartitionKeys: []spec.Key{{Name: "a"}}, ReadCapacity: spec.Capacity{Fixed: 9}, WriteCapacity: spec.Capacity{Min: 2, Max: 20, TargetUtilization: 90}},
			{Name: "tables", PartitionKeys: []spec.Key{{Name: "b"}}},
		},
		Stream: spec.NewAndOldImages,
		Replicas: []spec.Replica{
			{Region: "eu-west-1", ReadCapacity: spec.Capacity{Fixed: 3}},
		},
	}
}

func init() {
	fullest["table"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		changes := stream.New(stack, "Changes", stream.Props{Key: key})
		t := table.New(stack, "Table", everyTable(key, changes))
		t.Share("111122223333", "dynamodb:Query", "dynamodb:PutItem")
		provisioned := table.New(stack, "Provisioned", table.Props{Table: provisionedTable()})
		strong := table.New(stack, "Strong", table.Props{Table: spec.Table{
			PartitionKey: "id", Consistency: spec.Strong, Replicas: []spec.Replica{{Region: "us-west-2"}}, WitnessRegion: "us-east-2", AWSOwnedKey: true,
		}})
		imported := table.FromArn(stack, "Imported", "arn:aws:dynamodb:eu-west-1:111122223333:table/orders", table.Attributes{
			StreamARN: "arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026-01-01T00:00:00.000", Key: key, GlobalIndexes: []string{"byTeam"}, LocalIndexes: []string{"byTime"},
		})
		named := table.FromName(stack, "Named", "orders", table.Attributes{})
		role := storageRole(stack)
		t.Grant(role, "dynamodb:Query", "dynamodb:UpdateItem")
		t.Changes().GrantRead(role)
		provisioned.Grant(role, "dynamodb:GetItem")
		strong.Grant(role, "dynamodb:PutItem")
		imported.Grant(role, "dynamodb:Query")
		imported.Changes().GrantRead(role)
		named.Grant(role, "dynamodb:GetItem")
		storageAccept(role)
	}
}

// replicasOf are a table's copies by region; its own is "".
func replicasOf(t *testing.T, properties map[string]any) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, r := range list(properties["Replicas"]) {
		region, _ := at(r, "Region").(string)
		all[region] = r.(map[string]any)
		delete(all[region], "Region")
	}
	return all
}

// In a stack without a region, where the CDK's own table refuses keys and replicas.
func TestTableSettingsReachTheResource(t *testing.T) {
	app, stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("Key"), nil)
	changes := stream.New(stack, "Changes", stream.Props{})
	table.New(stack, "Every", everyTable(key, changes))
	awscdk.Tags_Of(stack).Add(jsii.String("app"), jsii.String("shop"), nil)
	tmpl := synth(t, app, "Test")
	keyID, _ := tmpl.Only(t, "AWS::KMS::Key")
	changesID, _ := tmpl.Only(t, "AWS::Kinesis::Stream")
	_, every := tmpl.Only(t, "AWS::DynamoDB::GlobalTable")
	if every.DeletionPolicy != "Delete" {
		t.Errorf("deletion policy %s", every.DeletionPolicy)
	}
	got := every.Properties
	replicas := replicasOf(t, got)
	delete(got, "Replicas")
	key1 := func(name, kind string) map[string]any {
		return map[string]any{"AttributeName": name, "KeyType": kind}
	}
	definition := func(name, kind string) map[string]any {
		return map[string]any{"AttributeName": name, "AttributeType": kind}
	}
	want := map[string]any{
		"TableName": "standings", "BillingMode": "PAY_PER_REQUEST", "MultiRegionConsistency": "EVENTUAL",
		"KeySchema": []any{key1("race", "HASH"), key1("seq", "RANGE")},
		"AttributeDefinitions": []any{
			definition("race", "S"), definition("seq", "N"), definition("team", "S"), definition("country", "S"), definition("points", "N"), definition("raw", "B"),
			definition("speed", "N"), definition("at", "N"), definition("power", "S"),
		},
		"GlobalSecondaryIndexes": []any{
			map[string]any{
				"IndexName": "byTeam", "KeySchema": []any{key1("team", "HASH"), key1("country", "HASH"), key1("points", "RANGE"), key1("raw", "RANGE")},
				"Projection":                      map[string]any{"ProjectionType": "INCLUDE", "NonKeyAttributes": []any{"speed", "power"}},
				"WarmThroughput":                  map[string]any{"ReadUnitsPerSecond": 13_000.0, "WriteUnitsPerSecond": 5_000.0},
				"WriteOnDemandThroughputSettings": map[string]any{"MaxWriteRequestUnits": 60.0},
			},
			map[string]any{"IndexName": "bySpeed", "KeySchema": []any{key1("speed", "HASH")}, "Projection": map[string]any{"ProjectionType": "KEYS_ONLY"}},
		},
		"LocalSecondaryIndexes": []any{
			map[string]any{"IndexName": "byTime", "KeySchema": []any{key1("race", "HASH"), key1("at", "RANGE")}, "Projection": map[string]any{"ProjectionType": "ALL"}},
			map[string]any{"IndexName": "byPower", "KeySchema": []any{key1("race", "HASH"), key1("power", "RANGE")}, "Projection": map[string]any{"ProjectionType": "INCLUDE", "NonKeyAttributes": []any{"speed"}}},
		},
		"SSESpecification":                map[string]any{"SSEEnabled": true, "SSEType": "KMS"},
		"StreamSpecification":             map[string]any{"StreamViewType": "NEW_AND_OLD_IMAGES"},
		"TimeToLiveSpecification":         map[string]any{"AttributeName": "expires", "Enabled": true},
		"WarmThroughput":                  map[string]any{"ReadUnitsPerSecond": 12_000.0, "WriteUnitsPerSecond": 4_000.0},
		"WriteOnDemandThroughputSettings": map[string]any{"MaxWriteRequestUnits": 200.0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	common := func(keyARN, streamARN any, reads float64, insights, class string) map[string]any {
		all := map[string]any{
			"DeletionProtectionEnabled":        false,
			"PointInTimeRecoverySpecification": map[string]any{"PointInTimeRecoveryEnabled": true, "RecoveryPeriodInDays": 7.0},
			"ContributorInsightsSpecification": map[string]any{"Enabled": true, "Mode": insights},
			"ReadOnDemandThroughputSettings":   map[string]any{"MaxReadRequestUnits": reads},
			"KinesisStreamSpecification":       map[string]any{"StreamArn": streamARN, "ApproximateCreationDateTimePrecision": "MICROSECOND"},
			"SSESpecification":                 map[string]any{"KMSMasterKeyId": keyARN},
			"GlobalSecondaryIndexes": []any{
				map[string]any{
					"IndexName": "byTeam", "ReadOnDemandThroughputSettings": map[string]any{"MaxReadRequestUnits": 50.0},
					"ContributorInsightsSpecification": map[string]any{"Enabled": true, "Mode": "THROTTLED_KEYS"},
				},
				map[string]any{"IndexName": "bySpeed", "ContributorInsightsSpecification": map[string]any{"Enabled": true, "Mode": "ACCESSED_AND_THROTTLED_KEYS"}},
			},
			"Tags": []any{map[string]any{"Key": "app", "Value": "shop"}, map[string]any{"Key": "team", "Value": "race"}},
		}
		if class != "" {
			all["TableClass"] = class
		}
		return all
	}
	attr := func(id string) any { return map[string]any{"Fn::GetAtt": []any{id, "Arn"}} }
	wantReplicas := map[string]map[string]any{
		"":          common(attr(keyID), attr(changesID), 100, "ACCESSED_AND_THROTTLED_KEYS", ""),
		"eu-west-1": common(euKey, "arn:aws:kinesis:eu-west-1:111122223333:stream/changes", 70, "THROTTLED_KEYS", "STANDARD_INFREQUENT_ACCESS"),
	}
	if diff := cmp.Diff(wantReplicas, replicas); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
}

// Settings that the CDK's own table takes leave it as it is; in any combination the
// rest of its defaults stays.
func TestATableKeepsItsDefaults(t *testing.T) {
	app, stack := newStack(t)
	for id, s := range map[string]spec.Table{
		"Plain":   {PartitionKey: "id"},
		"Tagged":  {PartitionKey: "id", Class: spec.InfrequentAccess, RecoveryPeriodInDays: 1},
		"Watched": {PartitionKey: "id", Insights: spec.ThrottledKeys},
		"Owned":   {PartitionKey: "id", AWSOwnedKey: true, NoPointInTimeRecovery: true, NoDeletionProtection: true, SortKey: "n", SortKeyType: spec.BinaryKey},
	} {
		props := table.Props{Table: s}
		if id == "Tagged" {
			props.Tags = map[string]string{"k": "v"}
		}
		table.New(stack, id, props)
	}
	got := map[string]map[string]any{}
	for id, r := range synth(t, app, "Test").OfType("AWS::DynamoDB::GlobalTable") {
		if r.DeletionPolicy != "Retain" {
			t.Errorf("%s: deletion policy %s", id, r.DeletionPolicy)
		}
		if ref := at(r.Properties, "Replicas", 0, "Region", "Ref"); ref != "AWS::Region" || len(list(r.Properties["Replicas"])) != 1 {
			t.Errorf("%s: replicas %v", id, r.Properties["Replicas"])
		}
		got[name(id)] = replicasOf(t, r.Properties)[""]
		got[name(id)]["sse"] = at(r.Properties, "SSESpecification", "SSEEnabled")
	}
	safe := func(recovery map[string]any, more map[string]any) map[string]any {
		all := map[string]any{"DeletionProtectionEnabled": true, "PointInTimeRecoverySpecification": recovery, "sse": true}
		maps.Copy(all, more)
		return all
	}
	on := map[string]any{"PointInTimeRecoveryEnabled": true}
	want := map[string]map[string]any{
		"Plain": safe(on, nil),
		"Tagged": safe(map[string]any{"PointInTimeRecoveryEnabled": true, "RecoveryPeriodInDays": 1.0}, map[string]any{
			"TableClass": "STANDARD_INFREQUENT_ACCESS", "Tags": []any{map[string]any{"Key": "k", "Value": "v"}},
		}),
		"Watched": safe(on, map[string]any{"ContributorInsightsSpecification": map[string]any{"Enabled": true, "Mode": "THROTTLED_KEYS"}}),
		"Owned":   {"DeletionProtectionEnabled": false, "PointInTimeRecoverySpecification": map[string]any{"PointInTimeRecoveryEnabled": false}, "sse": false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("own replicas (-want +got):\n%s", diff)
	}
}

func TestProvisionedCapacityIsScaled(t *testing.T) {
	app, stack := newStack(t)
	provisioned := table.New(stack, "Provisioned", table.Props{Table: provisionedTable()})
	watch.New(stack, "Watch", watch.Props{Signals: provisioned.Signals()})
	tmpl := synth(t, app, "Test")
	_, r := tmpl.Only(t, "AWS::DynamoDB::GlobalTable")
	p := r.Properties
	target := func(of any) string {
		c := at(of, "TargetTrackingScalingPolicyConfiguration")
		return fmt.Sprint(at(of, "MinCapacity"), "-", at(of, "MaxCapacity"), " seed ", at(of, "SeedCapacity"), " at ", at(c, "TargetValue"), " % in ", at(c, "ScaleInCooldown"), " out ", at(c, "ScaleOutCooldown"), " stays ", at(c, "DisableScaleIn"))
	}
	replicas := replicasOf(t, p)
	own, eu := replicas[""], replicas["eu-west-1"]
	for what, c := range map[string][2]any{
		"billing":                     {p["BillingMode"], "PROVISIONED"},
		"writes":                      {target(at(p, "WriteProvisionedThroughputSettings", "WriteCapacityAutoScalingSettings")), "1-40 seed <nil> at 70 % in 0 out 0 stays false"},
		"reads":                       {target(at(own, "ReadProvisionedThroughputSettings", "ReadCapacityAutoScalingSettings")), "5-100 seed 10 at 50 % in 60 out 30 stays true"},
		"reads in Europe":             {at(eu, "ReadProvisionedThroughputSettings", "ReadCapacityUnits"), 3.0},
		"writes of an index":          {target(at(p, "GlobalSecondaryIndexes", 0, "WriteProvisionedThroughputSettings", "WriteCapacityAutoScalingSettings")), "2-20 seed <nil> at 90 % in 0 out 0 stays false"},
		"writes as the table's":       {target(at(p, "GlobalSecondaryIndexes", 1, "WriteProvisionedThroughputSettings", "WriteCapacityAutoScalingSettings")), "1-40 seed <nil> at 70 % in 0 out 0 stays false"},
		"reads of an index":           {at(own, "GlobalSecondaryIndexes", 0, "ReadProvisionedThroughputSettings", "ReadCapacityUnits"), 9.0},
		"reads of it in Europe":       {at(eu, "GlobalSecondaryIndexes", 0, "ReadProvisionedThroughputSettings", "ReadCapacityUnits"), 9.0},
		"reads as the table's":        {target(at(own, "GlobalSecondaryIndexes", 1, "ReadProvisionedThroughputSettings", "ReadCapacityAutoScalingSettings")), "5-100 seed 10 at 50 % in 60 out 30 stays true"},
		"index's name in the replica": {at(own, "GlobalSecondaryIndexes", 1, "IndexName"), "tables"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %v, want %v", what, c[0], c[1])
		}
	}
	// 80 % of what a minute's capacity can reach, from the configuration.
	for suffix, want := range map[string]struct {
		metric, index string
		threshold     float64
	}{
		"WriteCapacity":             {"ConsumedWriteCapacityUnits", "", .8 * 40 * 60},
		"ReadCapacity":              {"ConsumedReadCapacityUnits", "", .8 * 100 * 60},
		"IndexReadCapacity_own":     {"ConsumedReadCapacityUnits", "own", .8 * 9 * 60},
		"IndexWriteCapacity_tables": {"ConsumedWriteCapacityUnits", "tables", .8 * 40 * 60},
		"IndexWriteThrottled_own":   {"WriteThrottleEvents", "own", 0},
		"IndexReadThrottled_tables": {"ReadThrottleEvents", "tables", 0},
	} {
		a := storageAlarm(t, tmpl, "Test-Watch-Provisioned-"+suffix)
		dimensions := map[string]any{}
		for _, d := range list(a["Dimensions"]) {
			dimensions[at(d, "Name").(string)] = at(d, "Value")
		}
		index, _ := dimensions["GlobalSecondaryIndexName"].(string)
		if a["MetricName"] != want.metric || a["Statistic"] != "Sum" || a["Threshold"] != want.threshold || index != want.index || refers(dimensions["TableName"]) == "" {
			t.Errorf("%s: %v", suffix, a)
		}
	}
}

func TestACopyInAnotherRegionIsWatched(t *testing.T) {
	app, stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("Key"), nil)
	eventual := table.New(stack, "Eventual", everyTable(key, stream.New(stack, "Changes", stream.Props{})))
	strong := table.New(stack, "Strong", table.Props{Table: spec.Table{
		PartitionKey: "id", Consistency: spec.Strong, Replicas: []spec.Replica{{Region: "us-west-2"}, {Region: "us-east-2"}},
	}})
	witnessed := table.New(stack, "Witnessed", table.Props{Table: spec.Table{
		PartitionKey: "id", Consistency: spec.Strong, Replicas: []spec.Replica{{Region: "us-west-2"}}, WitnessRegion: "us-east-2",
	}})
	watch.New(stack, "Watch", watch.Props{Signals: watch.All(eventual, strong, witnessed)})
	tmpl := synth(t, app, "Test")

	latency := storageAlarm(t, tmpl, "Test-Watch-Eventual-ReplicationLatency_eu_west_1")
	if latency["MetricName"] != "ReplicationLatency" || latency["Statistic"] != "Average" || latency["Threshold"] != 180_000.0 || latency["EvaluationPeriods"] != 15.0 ||
		latency["TreatMissingData"] != "missing" || at(latency, "Dimensions", 0, "Name") != "ReceivingRegion" || at(latency, "Dimensions", 0, "Value") != "eu-west-1" {
		t.Errorf("latency: %v", latency)
	}
	for _, alarm := range tmpl.OfType("AWS::CloudWatch::Alarm") {
		if name := alarm.Properties["AlarmName"].(string); strings.Contains(name, "ReplicationLatency") && !strings.Contains(name, "Eventual") {
			t.Errorf("%s: a strongly consistent table publishes no latency", name)
		}
	}
	for suffix, want := range map[string]struct {
		query     string
		threshold float64
	}{
		"KinesisAgeCritical": {"SELECT MAX(AgeOfOldestUnreplicatedRecord) FROM", 12 * 3_600_000},
		"KinesisFailed":      {"SELECT SUM(FailedToReplicateRecordCount) FROM", 0},
	} {
		a := storageAlarm(t, tmpl, "Test-Watch-Eventual-"+suffix)
		query := fmt.Sprint(at(a, "Metrics", 0, "Expression"))
		if !strings.Contains(query, want.query) || !strings.Contains(query, "WHERE TableName = '") || at(a, "Metrics", 0, "Period") != 60.0 || a["Threshold"] != want.threshold {
			t.Errorf("%s: %v", suffix, a)
		}
	}
	for id, r := range tmpl.OfType("AWS::DynamoDB::GlobalTable") {
		switch name(id) {
		case "Strong":
			if r.Properties["MultiRegionConsistency"] != "STRONG" || len(list(r.Properties["Replicas"])) != 3 || r.Properties["GlobalTableWitnesses"] != nil {
				t.Errorf("strong: %v", r.Properties)
			}
		case "Witnessed":
			if at(r.Properties, "GlobalTableWitnesses", 0, "Region") != "us-east-2" || len(list(r.Properties["Replicas"])) != 2 {
				t.Errorf("witnessed: %v", r.Properties)
			}
		}
	}
}

// Actions that read indexes reach them, others don't; imported tables have those
// indexes that are named.
func TestGrantsReachTheIndexesThatTheyRead(t *testing.T) {
	app, stack := newStack(t)
	indexed := spec.Table{PartitionKey: "id", GlobalIndexes: []spec.GlobalIndex{{Name: "byTeam", PartitionKeys: []spec.Key{{Name: "team"}}}}}
	own := table.New(stack, "Own", table.Props{Table: indexed})
	plain := table.New(stack, "Plain", table.Props{Table: spec.Table{PartitionKey: "id"}})
	const foreign = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders"
	attributes := table.Attributes{GlobalIndexes: []string{"byTeam"}, LocalIndexes: []string{"byTime"}}
	byArn := table.FromArn(stack, "ByArn", foreign, attributes)
	byName := table.FromName(stack, "ByName", "orders", table.Attributes{})
	wrapped := table.Of(own.Table(), "byTeam")
	grants := map[string]func(awsiam.IGrantable){
		"Own":     func(g awsiam.IGrantable) { own.Grant(g, "dynamodb:Query", "dynamodb:GetItem", "dynamodb:PutItem") },
		"OwnRaw":  func(g awsiam.IGrantable) { own.Grant(g, "dynamodb:PutItem") },
		"OwnOnly": func(g awsiam.IGrantable) { own.GrantIndex(g, "byTeam", "dynamodb:Query") },
		"Plain":   func(g awsiam.IGrantable) { plain.Grant(g, "dynamodb:Scan") },
		"ByArn":   func(g awsiam.IGrantable) { byArn.Grant(g, "dynamodb:Scan", "dynamodb:DeleteItem") },
		"ByName":  func(g awsiam.IGrantable) { byName.Grant(g, "dynamodb:Query") },
		"Wrapped": func(g awsiam.IGrantable) { wrapped.Grant(g, "dynamodb:Query") },
		"TheCDKs": func(g awsiam.IGrantable) { own.Table().GrantReadData(g) },
	}
	for id, grant := range grants {
		grant(storageRole(constructs.NewConstruct(stack, jsii.String("For"+id))))
	}
	tmpl := synth(t, app, "Test")
	for id, want := range map[string][]string{
		"Own":     {"dynamodb:GetItem Own", "dynamodb:PutItem Own", "dynamodb:Query Own", "dynamodb:Query Own/index/byTeam"},
		"OwnRaw":  {"dynamodb:PutItem Own"},
		"OwnOnly": {"dynamodb:Query Own/index/byTeam"},
		"Plain":   {"dynamodb:Scan Plain"},
		"ByArn":   {"dynamodb:DeleteItem " + foreign, "dynamodb:Scan " + foreign, "dynamodb:Scan " + foreign + "/index/byTeam", "dynamodb:Scan " + foreign + "/index/byTime"},
		"Wrapped": {"dynamodb:Query Own", "dynamodb:Query Own/index/byTeam"},
	} {
		if diff := cmp.Diff(want, storageGranted(tmpl, "For"+id+"Role")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	if got := storageGranted(tmpl, "ForByNameRole"); len(got) != 1 || !strings.Contains(got[0], ":table/orders") {
		t.Errorf("ByName: %v", got)
	}
	// Users of the CDK's own interface reach the indexes, too.
	if got := storageGranted(tmpl, "ForTheCDKsRole"); !slices.Contains(got, "dynamodb:Query Own/index/*") {
		t.Errorf("the CDK's own grant: %v", got)
	}
}

func TestTablesAreImported(t *testing.T) {
	app, stack := newStack(t)
	const foreign = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders"
	key := awskms.Key_FromKeyArn(stack, jsii.String("Key"), jsii.String(euKey))
	byArn := table.FromArn(stack, "ByArn", foreign, table.Attributes{StreamARN: foreign + "/stream/2026-01-01T00:00:00.000", Key: key, GlobalIndexes: []string{"byTeam"}})
	token := table.FromArn(stack, "ByToken", *awscdk.NewCfnParameter(stack, jsii.String("Arn"), nil).ValueAsString(), table.Attributes{})
	if *byArn.Name() != "orders" || *byArn.Arn() != foreign || *byArn.Changes().Arn() != foreign+"/stream/2026-01-01T00:00:00.000" || byArn.Resource() != nil || byArn.Key() != key {
		t.Errorf("by ARN: %v", byArn)
	}
	role := storageRole(stack)
	byArn.Changes().GrantRead(role)
	token.Grant(role, "dynamodb:GetItem")
	var names []string
	for _, s := range byArn.Signals() {
		names = append(names, s.Name)
	}
	if want := []string{"WriteThrottled", "ReadThrottled", "IndexWriteThrottled_byTeam", "IndexReadThrottled_byTeam"}; !slices.Equal(names, want) {
		t.Errorf("signals %v", names)
	}
	got := storageGranted(synth(t, app, "Test"), "Role")
	for _, want := range []string{"kms:Decrypt " + euKey, "dynamodb:GetRecords " + foreign + "/stream/2026-01-01T00:00:00.000"} {
		if !slices.Contains(got, want) {
			t.Errorf("%v lacks %s", got, want)
		}
	}
}

func TestATableIsSharedWithItsKey(t *testing.T) {
	app, stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("Key"), nil)
	named := table.New(stack, "Named", table.Props{Key: key, Table: spec.Table{
		PartitionKey: "id", Name: "orders", GlobalIndexes: []spec.GlobalIndex{{Name: "byTeam", PartitionKeys: []spec.Key{{Name: "team"}}}},
	}})
	named.Share("111122223333", "dynamodb:Query", "dynamodb:PutItem")
	named.Share("arn:aws:iam::444455556666:role/reader", "dynamodb:GetItem")
	table.New(stack, "Owned", table.Props{Table: spec.Table{PartitionKey: "id", AWSOwnedKey: true}}).Share("111122223333", "dynamodb:GetItem")
	tmpl := synth(t, app, "Test")
	got := map[string][]string{}
	for id, r := range tmpl.OfType("AWS::DynamoDB::GlobalTable") {
		for _, st := range list(at(r.Properties, "Replicas", 0, "ResourcePolicy", "PolicyDocument", "Statement")) {
			resource := arn(at(st, "Resource"))
			_, resource, _ = strings.Cut(":"+resource, ":table/")
			if at(st, "Resource") == "*" {
				resource = "*"
			}
			got[name(id)] = append(got[name(id)], fmt.Sprintf("%v: %v on %s", at(st, "Principal", "AWS"), at(st, "Action"), resource))
		}
	}
	want := map[string][]string{
		"Named": {
			"111122223333: [dynamodb:PutItem dynamodb:Query] on orders", "111122223333: dynamodb:Query on orders/index/byTeam",
			"arn:aws:iam::444455556666:role/reader: dynamodb:GetItem on orders",
		},
		"Owned": {"111122223333: dynamodb:GetItem on *"},
	}
	sorted := cmp.Transformer("sort", func(in []string) []string { return slices.Sorted(slices.Values(in)) })
	if diff := cmp.Diff(want, got, cmp.FilterValues(func(a, b []string) bool { return !slices.IsSorted(a) || !slices.IsSorted(b) }, sorted)); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	_, r := tmpl.Only(t, "AWS::KMS::Key")
	uses := map[string]string{}
	for _, st := range at(r.Properties, "KeyPolicy", "Statement").([]any) {
		if principal, ok := at(st, "Principal", "AWS").(string); ok {
			uses[principal] = fmt.Sprint(at(st, "Action"), strings.Contains(fmt.Sprint(at(st, "Condition", "StringEquals", "kms:ViaService")), "dynamodb."))
		}
	}
	if want := map[string]string{
		"111122223333":                          "[kms:Decrypt kms:DescribeKey kms:Encrypt kms:GenerateDataKey kms:GenerateDataKeyWithoutPlaintext kms:ReEncryptFrom kms:ReEncryptTo] true",
		"arn:aws:iam::444455556666:role/reader": "[kms:Decrypt kms:DescribeKey] true",
	}; !maps.Equal(uses, want) {
		t.Errorf("the key may be used by %v", uses)
	}
}

func TestMetricsOfATableHaveAllTheirDimensions(t *testing.T) {
	_, stack := newStack(t)
	orders := table.FromName(stack, "Orders", "orders", table.Attributes{})
	want := watch.Metric{
		Namespace: "AWS/DynamoDB", Name: "ReadThrottleEvents", Statistic: "Sum",
		Dimensions: map[string]*string{"TableName": jsii.String("orders"), "GlobalSecondaryIndexName": jsii.String("byTeam")},
	}
	if diff := cmp.Diff(want, orders.IndexMetric("byTeam", "ReadThrottleEvents", "Sum")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	delete(want.Dimensions, "GlobalSecondaryIndexName")
	if diff := cmp.Diff(want, orders.Metric("ReadThrottleEvents", "Sum")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
