package spec

import (
	"reflect"
	"testing"
	"time"
)

func TestTablesThatDynamoDBTakes(t *testing.T) {
	team := []Key{{Name: "team"}}
	for name, s := range map[string]Table{
		"numbers":               {PartitionKey: "id", PartitionKeyType: NumberKey, SortKey: "at", SortKeyType: NumberKey},
		"an expiry as a key":    {PartitionKey: "id", SortKey: "expires", SortKeyType: NumberKey, TimeToLive: "expires"},
		"an index's expiry":     {PartitionKey: "id", TimeToLive: "at", GlobalIndexes: []GlobalIndex{{Name: "byAge", PartitionKeys: []Key{{Name: "at", Type: NumberKey}}}}},
		"an index by the key":   {PartitionKey: "id", GlobalIndexes: []GlobalIndex{{Name: "one", PartitionKeys: team, SortKeys: []Key{{Name: "id"}}}}},
		"literally no cooldown": {PartitionKey: "id", Billing: ProvisionedCapacity, ReadCapacity: Capacity{Fixed: 1}, WriteCapacity: Capacity{Min: 3, Max: 3, ScaleInCooldown: Zero}},
		"token as a name":       {PartitionKey: someToken, Name: someToken},
		"one day":               {PartitionKey: "id", RecoveryPeriodInDays: 1},
		"strong with a witness": {PartitionKey: "id", Consistency: Strong, WitnessRegion: "eu-west-2", Replicas: []Replica{{Region: "eu-west-3"}}},
		"strong with a stream":  {PartitionKey: "id", Consistency: Strong, Stream: KeysOnly, Replicas: []Replica{{Region: "eu-west-2"}, {Region: "eu-west-3"}}},
	} {
		if err := s.Validate("p"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIndexesAndReplicasTakeTheTablesSettings(t *testing.T) {
	given := Table{
		PartitionKey: "id", Billing: ProvisionedCapacity, ReadCapacity: Capacity{Max: 10}, WriteCapacity: Capacity{Max: 20}, Insights: ThrottledKeys, Class: InfrequentAccess,
		GlobalIndexes: []GlobalIndex{{Name: "one", PartitionKeys: []Key{{Name: "team"}}}, {Name: "two", ReadCapacity: Capacity{Fixed: 5}, Insights: NoInsights}},
		LocalIndexes:  []LocalIndex{{Name: "three", SortKey: Key{Name: "at"}}},
		Replicas:      []Replica{{Region: "eu-west-1"}, {Region: "eu-west-2", Class: StandardClass, ReadCapacity: Capacity{Min: 2, Max: 4}}},
	}
	before := reflect.ValueOf(given).Interface().(Table)
	before.GlobalIndexes = append([]GlobalIndex(nil), given.GlobalIndexes...)
	d := given.WithDefaults()
	scaled := func(low, high int) Capacity { return Capacity{Min: low, Max: high, TargetUtilization: 70} }
	for what, c := range map[string][2]any{
		"reads":                   {d.ReadCapacity, scaled(1, 10)},
		"an index's reads":        {d.GlobalIndexes[0].ReadCapacity, scaled(1, 10)},
		"an index's writes":       {d.GlobalIndexes[0].WriteCapacity, scaled(1, 20)},
		"an index's own reads":    {d.GlobalIndexes[1].ReadCapacity, Capacity{Fixed: 5}},
		"an index's insights":     {d.GlobalIndexes[0].Insights, ThrottledKeys},
		"an index's own insights": {d.GlobalIndexes[1].Insights, NoInsights},
		"an index's key":          {d.GlobalIndexes[0].PartitionKeys[0], Key{"team", StringKey}},
		"a local index":           {d.LocalIndexes[0].SortKey, Key{"at", StringKey}},
		"a replica's reads":       {d.Replicas[0].ReadCapacity, scaled(1, 10)},
		"a replica's own reads":   {d.Replicas[1].ReadCapacity, scaled(2, 4)},
		"a replica's class":       {d.Replicas[0].Class, InfrequentAccess},
		"a replica's own class":   {d.Replicas[1].Class, StandardClass},
		"recovery":                {d.RecoveryPeriodInDays, 35},
	} {
		if !reflect.DeepEqual(c[0], c[1]) {
			t.Errorf("%s: %+v, want %+v", what, c[0], c[1])
		}
	}
	if !reflect.DeepEqual(before.GlobalIndexes, given.GlobalIndexes) || given.GlobalIndexes[0].PartitionKeys[0].Type != "" || given.Replicas[0].Class != "" {
		t.Error("the caller's settings were changed")
	}
	if again := d.WithDefaults(); !reflect.DeepEqual(again, d) {
		t.Errorf("defaults of defaults differ: %+v", again)
	}
}

func TestZeroCooldownIsMeant(t *testing.T) {
	if d := (Capacity{Max: 5, ScaleInCooldown: Zero, ScaleOutCooldown: time.Minute}).WithDefaults(); d.ScaleInCooldown != 0 || d.ScaleOutCooldown != time.Minute {
		t.Errorf("got %+v", d)
	}
}
