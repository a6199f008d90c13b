package table

import (
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/removal"
	"github.com/millrace/millrace/constructs/spec"
)

// The CDK's TableV2 is the frame: it keeps the logical id, takes tags from the
// whole app and gives users its interface. What it can't do in a stack without a
// region (customer keys, replicas) or at all is set on the CloudFormation resource,
// in one piece for each property.

func replicaField(i int, name string) string { return fmt.Sprintf("Replicas[%d].%s", i, name) }

// l2 is what the CDK's own table takes as it is.
func (props Props) l2(s spec.Table) *awsdynamodb.TablePropsV2 {
	recovery := &awsdynamodb.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: jsii.Bool(!s.NoPointInTimeRecovery)}
	if props.RecoveryPeriodInDays != 0 {
		recovery.RecoveryPeriodInDays = jsii.Number(s.RecoveryPeriodInDays)
	}
	l2 := &awsdynamodb.TablePropsV2{
		PartitionKey:                     attribute(spec.Key{Name: s.PartitionKey, Type: s.PartitionKeyType}),
		Billing:                          awsdynamodb.Billing_OnDemand(nil),
		DeletionProtection:               jsii.Bool(!s.NoDeletionProtection),
		PointInTimeRecoverySpecification: recovery,
		RemovalPolicy:                    removal.Or(props.RemovalPolicy),
	}
	if s.AWSOwnedKey {
		l2.Encryption = awsdynamodb.TableEncryptionV2_DynamoOwnedKey()
	} else {
		l2.Encryption = awsdynamodb.TableEncryptionV2_AwsManagedKey()
	}
	if s.SortKey != "" {
		l2.SortKey = attribute(spec.Key{Name: s.SortKey, Type: s.SortKeyType})
	}
	if s.Stream != spec.NoStream {
		l2.DynamoStream = awsdynamodb.StreamViewType(s.Stream)
	}
	if s.TimeToLive != "" {
		l2.TimeToLiveAttribute = jsii.String(s.TimeToLive)
	}
	if s.Name != "" {
		l2.TableName = jsii.String(s.Name)
	}
	if s.Class != spec.StandardClass {
		l2.TableClass = awsdynamodb.TableClass(s.Class)
	}
	if s.WarmThroughput != (spec.Throughput{}) {
		l2.WarmThroughput = &awsdynamodb.WarmThroughput{ReadUnitsPerSecond: some(s.WarmThroughput.Read), WriteUnitsPerSecond: some(s.WarmThroughput.Write)}
	}
	var global []*awsdynamodb.GlobalSecondaryIndexPropsV2
	for _, x := range s.GlobalIndexes {
		index := &awsdynamodb.GlobalSecondaryIndexPropsV2{
			IndexName: jsii.String(x.Name), PartitionKeys: attributes(x.PartitionKeys), ProjectionType: awsdynamodb.ProjectionType(x.Projection),
			NonKeyAttributes: names(x.NonKeyAttributes),
		}
		if len(x.SortKeys) > 0 {
			index.SortKeys = attributes(x.SortKeys)
		}
		if x.WarmThroughput != (spec.Throughput{}) {
			index.WarmThroughput = &awsdynamodb.WarmThroughput{ReadUnitsPerSecond: some(x.WarmThroughput.Read), WriteUnitsPerSecond: some(x.WarmThroughput.Write)}
		}
		global = append(global, index)
	}
	if len(global) > 0 {
		l2.GlobalSecondaryIndexes = &global
	}
	var local []*awsdynamodb.LocalSecondaryIndexProps
	for _, x := range s.LocalIndexes {
		local = append(local, &awsdynamodb.LocalSecondaryIndexProps{
			IndexName: jsii.String(x.Name), SortKey: attribute(x.SortKey), ProjectionType: awsdynamodb.ProjectionType(x.Projection),
			NonKeyAttributes: names(x.NonKeyAttributes),
		})
	}
	if len(local) > 0 {
		l2.LocalSecondaryIndexes = &local
	}
	return l2
}

// render sets what the CDK's own table doesn't.
func (t *Table) render(props Props, l2 awsdynamodb.TableV2) {
	s := t.settings
	provisioned := s.Billing == spec.ProvisionedCapacity
	own := t.replica(spec.Replica{
		ReadCapacity: s.ReadCapacity, MaximumReads: s.MaximumRequests.Read, Class: s.Class, Insights: s.Insights,
	})
	if t.key != nil {
		own["sseSpecification"] = map[string]any{"kmsMasterKeyId": t.key.KeyArn()}
	}
	if t.kinesis {
		own["kinesisStreamSpecification"] = kinesis(props.KinesisStream.StreamArn(), props.KinesisPrecision)
	}
	plain := !provisioned && len(s.Replicas) == 0 && s.Insights == spec.NoInsights && t.key == nil && !t.kinesis && s.MaximumRequests.Read == 0
	cfn := awsdynamodb.CfnGlobalTable(nil)
	resource := func() awsdynamodb.CfnGlobalTable {
		if cfn == nil {
			cfn = t.Resource()
		}
		return cfn
	}
	override := func(property string, value any) {
		resource().AddPropertyOverride(jsii.String(property), value)
	}
	for i, x := range s.GlobalIndexes {
		plain = plain && x.MaximumRequests.Read == 0 && x.Insights == spec.NoInsights
		at := fmt.Sprintf("GlobalSecondaryIndexes.%d.", i)
		if provisioned {
			override(at+"WriteProvisionedThroughputSettings", map[string]any{"WriteCapacityAutoScalingSettings": upper(scaling(x.WriteCapacity))})
		} else if x.MaximumRequests.Write != 0 {
			override(at+"WriteOnDemandThroughputSettings", map[string]any{"MaxWriteRequestUnits": x.MaximumRequests.Write})
		}
	}
	if provisioned {
		override("BillingMode", string(s.Billing))
		override("WriteProvisionedThroughputSettings", map[string]any{"WriteCapacityAutoScalingSettings": upper(scaling(s.WriteCapacity))})
	} else if s.MaximumRequests.Write != 0 {
		override("WriteOnDemandThroughputSettings", map[string]any{"MaxWriteRequestUnits": s.MaximumRequests.Write})
	}
	if len(s.Replicas) > 0 {
		override("MultiRegionConsistency", string(s.Consistency))
	}
	if s.WitnessRegion != "" {
		override("GlobalTableWitnesses", []any{map[string]any{"Region": s.WitnessRegion}})
	}
	if len(props.Tags) == 0 && plain {
		return
	}
	tags := l2.Tags()
	for _, key := range slices.Sorted(maps.Keys(props.Tags)) {
		tags.SetTag(jsii.String(key), jsii.String(props.Tags[key]), nil, nil)
	}
	if plain {
		return
	}
	own["region"], own["tags"] = awscdk.Stack_Of(t.construct).Region(), tags.RenderedTags()
	replicas := []any{own}
	for _, r := range s.Replicas {
		other := t.replica(r)
		other["region"], other["tags"] = r.Region, own["tags"]
		if r.KeyARN != "" {
			other["sseSpecification"] = map[string]any{"kmsMasterKeyId": r.KeyARN}
		}
		if r.KinesisStreamARN != "" {
			other["kinesisStreamSpecification"] = kinesis(jsii.String(r.KinesisStreamARN), props.KinesisPrecision)
		}
		replicas = append(replicas, other)
	}
	resource().SetReplicas(awscdk.Token_AsAny(&replicas))
}

// replica is the part of a copy of the table that doesn't name its region's
// resources. The first copy is always the stack's own.
func (t *Table) replica(r spec.Replica) map[string]any {
	s := t.settings
	recovery := map[string]any{"pointInTimeRecoveryEnabled": !s.NoPointInTimeRecovery}
	if s.RecoveryPeriodInDays != spec.TableRecoveryPeriod.Max {
		recovery["recoveryPeriodInDays"] = s.RecoveryPeriodInDays
	}
	all := map[string]any{"deletionProtectionEnabled": !s.NoDeletionProtection, "pointInTimeRecoverySpecification": recovery}
	if r.Class != spec.StandardClass {
		all["tableClass"] = string(r.Class)
	}
	reads := func(of map[string]any, capacity spec.Capacity, most int) {
		switch {
		case capacity.Fixed != 0:
			of["readProvisionedThroughputSettings"] = map[string]any{"readCapacityUnits": capacity.Fixed}
		case capacity != spec.Capacity{}:
			of["readProvisionedThroughputSettings"] = map[string]any{"readCapacityAutoScalingSettings": scaling(capacity)}
		case most != 0:
			of["readOnDemandThroughputSettings"] = map[string]any{"maxReadRequestUnits": most}
		}
	}
	insights := func(of map[string]any, mode spec.Insights) {
		if mode != spec.NoInsights {
			of["contributorInsightsSpecification"] = map[string]any{"enabled": true, "mode": string(mode)}
		}
	}
	reads(all, r.ReadCapacity, r.MaximumReads)
	insights(all, r.Insights)
	var indexes []any
	for _, x := range s.GlobalIndexes {
		index := map[string]any{"indexName": x.Name}
		reads(index, x.ReadCapacity, x.MaximumRequests.Read)
		insights(index, x.Insights)
		if len(index) > 1 {
			indexes = append(indexes, index)
		}
	}
	if len(indexes) > 0 {
		all["globalSecondaryIndexes"] = indexes
	}
	return all
}

// scaling is a capacity that is scaled, as CloudFormation has it.
func scaling(c spec.Capacity) map[string]any {
	target := map[string]any{
		"targetValue": c.TargetUtilization, "disableScaleIn": c.NoScaleIn,
		"scaleInCooldown": c.ScaleInCooldown.Seconds(), "scaleOutCooldown": c.ScaleOutCooldown.Seconds(),
	}
	all := map[string]any{"minCapacity": c.Min, "maxCapacity": c.Max, "targetTrackingScalingPolicyConfiguration": target}
	if c.Seed != 0 {
		all["seedCapacity"] = c.Seed
	}
	return all
}

// upper spells the names of properties as CloudFormation does, for overrides: what
// is set on a resource's properties begins with a small letter.
func upper(properties map[string]any) map[string]any {
	all := map[string]any{}
	for name, value := range properties {
		if inner, ok := value.(map[string]any); ok {
			value = upper(inner)
		}
		all[string(name[0]-'a'+'A')+name[1:]] = value
	}
	return all
}

func kinesis(arn *string, precision spec.Precision) map[string]any {
	all := map[string]any{"streamArn": arn}
	if precision != "" {
		all["approximateCreationDateTimePrecision"] = string(precision)
	}
	return all
}

// attributeTypes are the CDK's names of spec's key types.
var attributeTypes = map[spec.KeyType]awsdynamodb.AttributeType{
	spec.StringKey: awsdynamodb.AttributeType_STRING,
	spec.NumberKey: awsdynamodb.AttributeType_NUMBER,
	spec.BinaryKey: awsdynamodb.AttributeType_BINARY,
}

func attribute(k spec.Key) *awsdynamodb.Attribute {
	return &awsdynamodb.Attribute{Name: jsii.String(k.Name), Type: attributeTypes[k.Type]}
}

func attributes(keys []spec.Key) *[]*awsdynamodb.Attribute {
	all := make([]*awsdynamodb.Attribute, len(keys))
	for i, k := range keys {
		all[i] = attribute(k)
	}
	return &all
}

func names(texts []string) *[]*string {
	if len(texts) == 0 {
		return nil
	}
	return jsii.Strings(texts...)
}

// some is n, or nil for 0.
func some(n int) *float64 {
	if n == 0 {
		return nil
	}
	return jsii.Number(n)
}
