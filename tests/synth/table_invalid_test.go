package synth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/table"
)

func TestTablesRefuseWhatDynamoDBWould(t *testing.T) {
	settings := func(change func(*spec.Table)) func(constructs.Construct) {
		return func(scope constructs.Construct) {
			s := spec.Table{PartitionKey: "id"}
			change(&s)
			table.New(scope, "X", table.Props{Table: s})
		}
	}
	global := func(indexes ...spec.GlobalIndex) func(constructs.Construct) {
		return settings(func(s *spec.Table) { s.GlobalIndexes = indexes })
	}
	index := func(change func(*spec.GlobalIndex)) func(constructs.Construct) {
		x := spec.GlobalIndex{Name: "byTeam", PartitionKeys: []spec.Key{{Name: "team"}}}
		change(&x)
		return global(x)
	}
	local := func(indexes ...spec.LocalIndex) func(constructs.Construct) {
		return settings(func(s *spec.Table) { s.SortKey, s.LocalIndexes = "at", indexes })
	}
	provisioned := func(change func(*spec.Table)) func(constructs.Construct) {
		return settings(func(s *spec.Table) {
			s.Billing, s.ReadCapacity, s.WriteCapacity = spec.ProvisionedCapacity, spec.Capacity{Max: 10}, spec.Capacity{Max: 10}
			change(s)
		})
	}
	replicas := func(stream spec.StreamView, all ...spec.Replica) func(constructs.Construct) {
		return settings(func(s *spec.Table) { s.Stream, s.Replicas = stream, all })
	}
	strong := func(change func(*spec.Table)) func(constructs.Construct) {
		return settings(func(s *spec.Table) {
			s.Consistency, s.Replicas = spec.Strong, []spec.Replica{{Region: "us-west-2"}, {Region: "us-east-2"}}
			change(s)
		})
	}
	props := func(change func(constructs.Construct, *table.Props)) func(constructs.Construct) {
		return func(scope constructs.Construct) {
			p := table.Props{Table: spec.Table{PartitionKey: "id"}}
			change(scope, &p)
			table.New(scope, "X", p)
		}
	}
	at := func(region string, change func(*spec.Table)) func(constructs.Construct) {
		return func(scope constructs.Construct) {
			stack := awscdk.NewStack(scope, jsii.String("Stack"), &awscdk.StackProps{Env: &awscdk.Environment{Region: jsii.String(region)}})
			s := spec.Table{PartitionKey: "id", Stream: spec.NewAndOldImages}
			change(&s)
			table.New(stack, "X", table.Props{Table: s})
		}
	}
	keyed := func(scope constructs.Construct) *table.Table {
		return table.New(scope, "X", table.Props{Table: spec.Table{PartitionKey: "id"}, Key: awskms.NewKey(scope, jsii.String("Key"), nil)})
	}
	plain := func(scope constructs.Construct) *table.Table {
		return table.New(scope, "X", table.Props{Table: spec.Table{PartitionKey: "id"}})
	}
	fromArn := func(arn string, a table.Attributes) func(constructs.Construct) {
		return func(scope constructs.Construct) { table.FromArn(scope, "X", arn, a) }
	}
	number := func() int { return int(*awscdk.Token_AsNumber(map[string]any{"Ref": "Number"})) }
	text := func() string { return *awscdk.Token_AsString(map[string]any{"Ref": "Text"}, nil) }
	var twentyOne []spec.GlobalIndex
	for i := range 21 {
		twentyOne = append(twentyOne, spec.GlobalIndex{Name: fmt.Sprint("index", i), PartitionKeys: []spec.Key{{Name: "team"}}})
	}
	var six []spec.LocalIndex
	var six20 []spec.GlobalIndex
	for i := range 6 {
		six = append(six, spec.LocalIndex{Name: fmt.Sprint("index", i), SortKey: spec.Key{Name: "x"}})
		x := spec.GlobalIndex{Name: fmt.Sprint("index", i), PartitionKeys: []spec.Key{{Name: "team"}}, Projection: spec.ProjectInclude}
		for j := range 20 {
			x.NonKeyAttributes = append(x.NonKeyAttributes, fmt.Sprint("a", j))
		}
		six20 = append(six20, x)
	}
	team := []spec.Key{{Name: "team"}}
	const arn = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders"

	storageRefusals(t, map[string]storageCase{
		"no key":              {settings(func(s *spec.Table) { s.PartitionKey = "" }), "PartitionKey"},
		"keys alike":          {settings(func(s *spec.Table) { s.SortKey = "id" }), "SortKey"},
		"unknown key type":    {settings(func(s *spec.Table) { s.PartitionKeyType = "BOOL" }), "PartitionKeyType"},
		"key type of a token": {settings(func(s *spec.Table) { s.SortKey, s.SortKeyType = "at", spec.KeyType(text()) }), "SortKeyType"},
		"key's name too long": {settings(func(s *spec.Table) { s.SortKey = strings.Repeat("x", 256) }), "SortKey"},
		"expiry in a key":     {settings(func(s *spec.Table) { s.TimeToLive = "id" }), "TimeToLive"},
		"expiry in an index's text": {settings(func(s *spec.Table) {
			s.TimeToLive, s.GlobalIndexes = "team", []spec.GlobalIndex{{Name: "byTeam", PartitionKeys: team}}
		}), "TimeToLive"},
		"unknown view":                  {settings(func(s *spec.Table) { s.Stream = "SOME" }), "Stream"},
		"unknown class":                 {settings(func(s *spec.Table) { s.Class = "COLD" }), "Class"},
		"unknown insights":              {settings(func(s *spec.Table) { s.Insights = "ALL" }), "Insights"},
		"name too short":                {settings(func(s *spec.Table) { s.Name = "ab" }), "Name"},
		"name with a slash":             {settings(func(s *spec.Table) { s.Name = "a/b/c" }), "Name"},
		"name too long":                 {settings(func(s *spec.Table) { s.Name = strings.Repeat("x", 256) }), "Name"},
		"recovery of 36 days":           {settings(func(s *spec.Table) { s.RecoveryPeriodInDays = 36 }), "RecoveryPeriodInDays"},
		"recovery of literally no days": {settings(func(s *spec.Table) { s.RecoveryPeriodInDays = spec.Zero }), "RecoveryPeriodInDays"},
		"recovery of nothing":           {settings(func(s *spec.Table) { s.RecoveryPeriodInDays, s.NoPointInTimeRecovery = 7, true }), "RecoveryPeriodInDays"},
		"recovery of a token":           {settings(func(s *spec.Table) { s.RecoveryPeriodInDays = number() }), "RecoveryPeriodInDays"},
		"unknown billing":               {settings(func(s *spec.Table) { s.Billing = "FLAT" }), "Billing"},
		"billing of a token":            {settings(func(s *spec.Table) { s.Billing = spec.BillingMode(text()) }), "Billing"},
		"capacity on demand":            {settings(func(s *spec.Table) { s.ReadCapacity = spec.Capacity{Max: 5} }), "ReadCapacity"},
		"provisioned without capacity":  {settings(func(s *spec.Table) { s.Billing = spec.ProvisionedCapacity }), "ReadCapacity WriteCapacity"},
		"minimum above maximum":         {provisioned(func(s *spec.Table) { s.WriteCapacity = spec.Capacity{Min: 11, Max: 10} }), "WriteCapacity.Min"},
		"capacity without a maximum":    {provisioned(func(s *spec.Table) { s.WriteCapacity = spec.Capacity{Min: 5} }), "WriteCapacity.Max"},
		"target too low":                {provisioned(func(s *spec.Table) { s.WriteCapacity.TargetUtilization = 19 }), "WriteCapacity.TargetUtilization"},
		"target too high":               {provisioned(func(s *spec.Table) { s.ReadCapacity.TargetUtilization = 91 }), "ReadCapacity.TargetUtilization"},
		"fixed writes":                  {provisioned(func(s *spec.Table) { s.WriteCapacity = spec.Capacity{Fixed: 5} }), "WriteCapacity.Fixed"},
		"fixed and scaled reads":        {provisioned(func(s *spec.Table) { s.ReadCapacity.Fixed = 5 }), "ReadCapacity.Fixed"},
		"negative seed":                 {provisioned(func(s *spec.Table) { s.ReadCapacity.Seed = -1 }), "ReadCapacity.Seed"},
		"cooldown of half a second":     {provisioned(func(s *spec.Table) { s.ReadCapacity.ScaleInCooldown = time.Second / 2 }), "ReadCapacity.ScaleInCooldown"},
		"negative cooldown":             {provisioned(func(s *spec.Table) { s.ReadCapacity.ScaleOutCooldown = -time.Second }), "ReadCapacity.ScaleOutCooldown"},
		"capacity of a token":           {provisioned(func(s *spec.Table) { s.ReadCapacity.Fixed = 0; s.ReadCapacity.Min = number() }), "ReadCapacity.Min"},
		"limit with capacity":           {provisioned(func(s *spec.Table) { s.MaximumRequests.Write = 5 }), "MaximumRequests.Write"},
		"negative limit":                {settings(func(s *spec.Table) { s.MaximumRequests.Read = -1 }), "MaximumRequests.Read"},
		"warm reads below the start":    {settings(func(s *spec.Table) { s.WarmThroughput.Read = 11_999 }), "WarmThroughput.Read"},
		"warm writes below the start":   {settings(func(s *spec.Table) { s.WarmThroughput.Write = 3_999 }), "WarmThroughput.Write"},
		"index without a name":          {global(spec.GlobalIndex{PartitionKeys: team}), "GlobalIndexes[0].Name"},
		"index with a bad name":         {global(spec.GlobalIndex{Name: "a b", PartitionKeys: team}), "GlobalIndexes[0].Name"},
		"index's name of a token":       {global(spec.GlobalIndex{Name: text(), PartitionKeys: team}), "GlobalIndexes[0].Name"},
		"indexes of one name":           {global(spec.GlobalIndex{Name: "one", PartitionKeys: team}, spec.GlobalIndex{Name: "one", PartitionKeys: team}), "GlobalIndexes[1].Name"},
		"both kinds of one name": {settings(func(s *spec.Table) {
			s.SortKey, s.GlobalIndexes, s.LocalIndexes = "at", []spec.GlobalIndex{{Name: "one", PartitionKeys: team}}, []spec.LocalIndex{{Name: "one", SortKey: spec.Key{Name: "x"}}}
		}), "LocalIndexes[0].Name"},
		"index without a key": {global(spec.GlobalIndex{Name: "one"}), "GlobalIndexes[0].PartitionKeys"},
		"index with five keys": {index(func(x *spec.GlobalIndex) {
			x.SortKeys = []spec.Key{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}}
		}), "GlobalIndexes[0].SortKeys"},
		"index with a nameless key":        {index(func(x *spec.GlobalIndex) { x.SortKeys = []spec.Key{{}} }), "GlobalIndexes[0].PartitionKeys"},
		"index with one key twice":         {index(func(x *spec.GlobalIndex) { x.SortKeys = []spec.Key{{Name: "team"}} }), "GlobalIndexes[0].SortKeys"},
		"one attribute of two types":       {index(func(x *spec.GlobalIndex) { x.SortKeys = []spec.Key{{Name: "id", Type: spec.NumberKey}} }), "GlobalIndexes[0].SortKeys[0].Type"},
		"unknown projection":               {index(func(x *spec.GlobalIndex) { x.Projection = "SOME" }), "GlobalIndexes[0].Projection"},
		"including nothing":                {index(func(x *spec.GlobalIndex) { x.Projection = spec.ProjectInclude }), "GlobalIndexes[0].NonKeyAttributes"},
		"attributes of a whole projection": {index(func(x *spec.GlobalIndex) { x.NonKeyAttributes = []string{"a"} }), "GlobalIndexes[0].NonKeyAttributes"},
		"one attribute twice":              {index(func(x *spec.GlobalIndex) { x.Projection, x.NonKeyAttributes = spec.ProjectInclude, []string{"a", "a"} }), "GlobalIndexes[0].NonKeyAttributes[1]"},
		"120 attributes in all":            {global(six20...), "GlobalIndexes"},
		"21 global indexes":                {global(twentyOne...), "GlobalIndexes"},
		"index with capacity on demand":    {index(func(x *spec.GlobalIndex) { x.WriteCapacity = spec.Capacity{Max: 5} }), "GlobalIndexes[0].WriteCapacity"},
		"index with a limit, provisioned": {provisioned(func(s *spec.Table) {
			s.GlobalIndexes = []spec.GlobalIndex{{Name: "one", PartitionKeys: team, MaximumRequests: spec.Throughput{Read: 5}}}
		}), "GlobalIndexes[0].MaximumRequests.Read"},
		"index with unknown insights":      {index(func(x *spec.GlobalIndex) { x.Insights = "ALL" }), "GlobalIndexes[0].Insights"},
		"6 local indexes":                  {local(six...), "LocalIndexes"},
		"local index without a sort key":   {settings(func(s *spec.Table) { s.LocalIndexes = []spec.LocalIndex{{Name: "one", SortKey: spec.Key{Name: "x"}}} }), "LocalIndexes"},
		"local index by the partition key": {local(spec.LocalIndex{Name: "one", SortKey: spec.Key{Name: "id"}}), "LocalIndexes[0].SortKey.Name"},
		"local index by nothing":           {local(spec.LocalIndex{Name: "one"}), "LocalIndexes[0].SortKey.Name"},
		"replica without a stream":         {replicas("", spec.Replica{Region: "eu-west-1"}), "Stream"},
		"replica with half a stream":       {replicas(spec.KeysOnly, spec.Replica{Region: "eu-west-1"}), "Stream"},
		"replicas in one region":           {replicas(spec.NewAndOldImages, spec.Replica{Region: "eu-west-1"}, spec.Replica{Region: "eu-west-1"}), "Replicas[1].Region"},
		"replica nowhere":                  {replicas(spec.NewAndOldImages, spec.Replica{}), "Replicas[0].Region"},
		"replica in Ireland":               {replicas(spec.NewAndOldImages, spec.Replica{Region: "Ireland"}), "Replicas[0].Region"},
		"replica's region of a token":      {replicas(spec.NewAndOldImages, spec.Replica{Region: text()}), "Replicas[0].Region"},
		"replica in the table's region":    {at("eu-west-1", func(s *spec.Table) { s.Replicas = []spec.Replica{{Region: "eu-west-1"}} }), "Replicas[0].Region"},
		"replica with a stray stream":      {replicas(spec.NewAndOldImages, spec.Replica{Region: "eu-west-1", KinesisStreamARN: "arn:aws:kinesis:us-east-1:111122223333:stream/x"}), "Replicas[0].KinesisStreamARN"},
		"replica with capacity on demand":  {replicas(spec.NewAndOldImages, spec.Replica{Region: "eu-west-1", ReadCapacity: spec.Capacity{Max: 3}}), "Replicas[0].ReadCapacity"},
		"replica with a limit, provisioned": {provisioned(func(s *spec.Table) {
			s.Stream, s.Replicas = spec.NewAndOldImages, []spec.Replica{{Region: "eu-west-1", MaximumReads: 3}}
		}), "Replicas[0].MaximumReads"},
		"replica of an unknown class": {replicas(spec.NewAndOldImages, spec.Replica{Region: "eu-west-1", Class: "COLD"}), "Replicas[0].Class"},
		"unknown consistency":         {settings(func(s *spec.Table) { s.Consistency = "WEAK" }), "Consistency"},
		"witness of the eventual":     {settings(func(s *spec.Table) { s.WitnessRegion = "us-east-2" }), "WitnessRegion"},
		"strong in one region":        {strong(func(s *spec.Table) { s.Replicas = nil }), "Replicas"},
		"strong in two regions":       {strong(func(s *spec.Table) { s.Replicas = s.Replicas[:1] }), "Replicas"},
		"strong in four regions":      {strong(func(s *spec.Table) { s.WitnessRegion = "us-west-1" }), "Replicas"},
		"strong over an ocean":        {strong(func(s *spec.Table) { s.Replicas[1].Region = "eu-west-1" }), "Replicas"},
		"strong with an expiry":       {strong(func(s *spec.Table) { s.TimeToLive = "expires" }), "TimeToLive"},
		"strong with a local index": {strong(func(s *spec.Table) {
			s.SortKey, s.LocalIndexes = "at", []spec.LocalIndex{{Name: "one", SortKey: spec.Key{Name: "x"}}}
		}), "LocalIndexes"},
		"strong far from home": {at("eu-west-1", func(s *spec.Table) {
			s.Consistency, s.Replicas, s.WitnessRegion = spec.Strong, []spec.Replica{{Region: "us-west-2"}}, "us-east-2"
		}), "Replicas[0].Region"},
		"witness at home": {at("us-east-1", func(s *spec.Table) {
			s.Consistency, s.Replicas, s.WitnessRegion = spec.Strong, []spec.Replica{{Region: "us-west-2"}}, "us-east-1"
		}), "WitnessRegion"},
		"customer key here only": {props(func(s constructs.Construct, p *table.Props) {
			p.Stream, p.Replicas, p.Key = spec.NewAndOldImages, []spec.Replica{{Region: "eu-west-1"}}, awskms.NewKey(s, jsii.String("Key"), nil)
		}), "Replicas[0].KeyARN"},
		"customer key there only": {props(func(_ constructs.Construct, p *table.Props) {
			p.Stream, p.Replicas = spec.NewAndOldImages, []spec.Replica{{Region: "eu-west-1", KeyARN: euKey}}
		}), "Replicas[0].KeyARN"},
		"customer key of another region": {props(func(s constructs.Construct, p *table.Props) {
			p.Stream, p.Replicas, p.Key = spec.NewAndOldImages, []spec.Replica{{Region: "eu-central-1", KeyARN: euKey}}, awskms.NewKey(s, jsii.String("Key"), nil)
		}), "Replicas[0].KeyARN"},
		"two keys": {props(func(s constructs.Construct, p *table.Props) {
			p.AWSOwnedKey, p.Key = true, awskms.NewKey(s, jsii.String("Key"), nil)
		}), "AWSOwnedKey"},
		"precision of no stream": {props(func(_ constructs.Construct, p *table.Props) { p.KinesisPrecision = spec.Microsecond }), "KinesisPrecision"},
		"tag of AWS":             {props(func(_ constructs.Construct, p *table.Props) { p.Tags = map[string]string{"aws:x": "y"} }), `Tags["aws:x"]`},
		"tag's value of 257": {props(func(_ constructs.Construct, p *table.Props) {
			p.Tags = map[string]string{"k": strings.Repeat("v", 257)}
		}), `Tags["k"]`},
		"no changes":          {func(s constructs.Construct) { plain(s).Changes() }, "Stream"},
		"grant of a wildcard": {func(s constructs.Construct) { plain(s).Grant(storageRole(s), "dynamodb:*") }, "actions"},
		"grant of nothing":    {func(s constructs.Construct) { plain(s).Grant(storageRole(s)) }, "actions"},
		"grant on no index":   {func(s constructs.Construct) { plain(s).GrantIndex(storageRole(s), "byTeam", "dynamodb:Query") }, "index"},
		"grant of a write on an index": {func(s constructs.Construct) {
			table.FromName(s, "X", "orders", table.Attributes{GlobalIndexes: []string{"byTeam"}}).GrantIndex(storageRole(s), "byTeam", "dynamodb:PutItem")
		}, "actions"},
		"share without a key":  {func(s constructs.Construct) { plain(s).Share("111122223333", "dynamodb:GetItem") }, "Key"},
		"share with everybody": {func(s constructs.Construct) { keyed(s).Share("*", "dynamodb:GetItem") }, "with"},
		"share nothing":        {func(s constructs.Construct) { keyed(s).Share("111122223333") }, "actions"},
		"share an imported table": {func(s constructs.Construct) {
			table.FromName(s, "X", "orders", table.Attributes{}).Share("111122223333", "dynamodb:GetItem")
		}, "Table"},
		"import of a stream":           {fromArn("arn:aws:kinesis:eu-west-1:111122223333:stream/orders", table.Attributes{}), "arn"},
		"import of an index":           {fromArn(arn+"/index/byTeam", table.Attributes{}), "arn"},
		"import with a table's stream": {fromArn(arn, table.Attributes{StreamARN: arn}), "StreamARN"},
		"import with a bad index":      {fromArn(arn, table.Attributes{LocalIndexes: []string{"ok.", "*"}}), "LocalIndexes[1]"},
		"import of an ARN as a name":   {func(s constructs.Construct) { table.FromName(s, "X", arn, table.Attributes{}) }, "name"},
		"no table to take":             {func(constructs.Construct) { table.Of(nil) }, "existing"},
		"everything at once": {func(s constructs.Construct) {
			table.New(s, "X", table.Props{Table: spec.Table{Name: "?", Billing: "x", LocalIndexes: []spec.LocalIndex{{Name: "one", SortKey: spec.Key{Name: "x"}}}}, Tags: map[string]string{"": ""}})
		}, `PartitionKey Name Billing LocalIndexes Tags[""]`},
	})
}
