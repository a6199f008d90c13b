package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// KeyType is the type of a key's attribute.
type KeyType string

// The types that DynamoDB takes for keys. StringKey is the default.
const (
	StringKey KeyType = "S"
	NumberKey KeyType = "N"
	BinaryKey KeyType = "B"
)

// Key is an attribute that is part of an index's key.
type Key struct {
	// Name of the attribute, 1 to 255 characters; required.
	Name string
	// Type: StringKey (default), NumberKey or BinaryKey.
	Type KeyType
}

// StreamView is what a table's change stream carries of a changed item.
type StreamView string

// The views that DynamoDB has. NoStream is the default.
const (
	NoStream        StreamView = "NONE"
	NewAndOldImages StreamView = "NEW_AND_OLD_IMAGES"
	NewImage        StreamView = "NEW_IMAGE"
	OldImage        StreamView = "OLD_IMAGE"
	KeysOnly        StreamView = "KEYS_ONLY"
)

// Precision is that of the creation time in the records which a table writes to
// a Kinesis stream.
type Precision string

// The precisions that DynamoDB has. Millisecond is the default.
const (
	Millisecond Precision = "MILLISECOND"
	Microsecond Precision = "MICROSECOND"
)

// Projection is what an index holds of an item besides its keys.
type Projection string

// The projections that DynamoDB has. ProjectAll is the default.
const (
	ProjectAll      Projection = "ALL"
	ProjectKeysOnly Projection = "KEYS_ONLY"
	ProjectInclude  Projection = "INCLUDE"
)

// TableClass says how storage and requests are priced.
type TableClass string

const (
	// StandardClass is the default.
	StandardClass TableClass = "STANDARD"
	// InfrequentAccess has cheaper storage and dearer requests: for tables whose
	// storage is more than a third of their bill.
	InfrequentAccess TableClass = "STANDARD_INFREQUENT_ACCESS"
)

// Insights is what CloudWatch Contributor Insights reports of a table or index:
// the keys that are asked for most, in plain text. It costs by the event.
type Insights string

// The modes that DynamoDB has. NoInsights is the default.
const (
	NoInsights               Insights = "NONE"
	ThrottledKeys            Insights = "THROTTLED_KEYS"
	AccessedAndThrottledKeys Insights = "ACCESSED_AND_THROTTLED_KEYS"
)

// BillingMode says how a table's throughput is bought.
type BillingMode string

const (
	// PayPerRequest bills each request; the table scales with its traffic.
	PayPerRequest BillingMode = "PAY_PER_REQUEST"
	// ProvisionedCapacity bills the capacity that is set, in units a second,
	// whether it is used or not; DynamoDB turns away what exceeds it.
	ProvisionedCapacity BillingMode = "PROVISIONED"
)

// Consistency of the replicas of a table in several regions.
type Consistency string

const (
	// Eventual brings a write to the other regions within a second or so; the last
	// writer wins.
	Eventual Consistency = "EVENTUAL"
	// Strong answers a write when another region has it. It takes three regions, of
	// which one may be a witness, and knows neither time to live nor local indexes
	// nor transactions.
	Strong Consistency = "STRONG"
)

// Capacity of a table or index whose billing mode is ProvisionedCapacity: scaled
// by DynamoDB between a minimum and a maximum, or fixed. Its units are a second's:
// a read of 4 KB (two, when it needs no consistency) or a write of 1 KB.
type Capacity struct {
	// Min and Max, 1 or more, of a capacity that is scaled. Min is 1 by default,
	// Max is required. An account has 40,000 for a table until AWS raises it.
	Min, Max int
	// TargetUtilization in percent, 20 to 90; 70 by default.
	TargetUtilization int
	// Seed is the capacity that a table gets when it changes its billing mode,
	// until scaling begins: required for a table that may ever change it.
	Seed int
	// ScaleInCooldown and ScaleOutCooldown are how long no further capacity is
	// taken away or added after the last time, in whole seconds; 0 s by default.
	ScaleInCooldown, ScaleOutCooldown time.Duration
	// NoScaleIn leaves the capacity at what it has reached.
	NoScaleIn bool
	// Fixed is a capacity that isn't scaled, for reads only: AWS wants the writes
	// of such a table scaled. It stands alone.
	Fixed int
}

// WithDefaults returns c with its defaults written out; no capacity stays none.
func (c Capacity) WithDefaults() Capacity {
	if c == (Capacity{}) || c.Fixed != 0 {
		return c
	}
	c.Min = or(c.Min, 1)
	c.TargetUtilization = or(c.TargetUtilization, 70)
	c.ScaleInCooldown = or(c.ScaleInCooldown, 0)
	c.ScaleOutCooldown = or(c.ScaleOutCooldown, 0)
	return c
}

// Most is the capacity that can be reached, in units a second.
func (c Capacity) Most() int { return max(c.Max, c.Fixed) }

func (c Capacity) validate(check *Check, field string, mayBeFixed bool) {
	d := c.WithDefaults()
	switch {
	case d.Fixed != 0 && !mayBeFixed:
		check.Add(field+".Fixed", d.Fixed, "AWS wants the writes of a provisioned table scaled", "set Min and Max; both alike make it a fixed one")
		return
	case d.Fixed != 0:
		within(check, field+".Fixed", d.Fixed, TableUnits)
		if (c != Capacity{Fixed: c.Fixed}) {
			check.Add(field+".Fixed", d.Fixed, "a fixed capacity isn't scaled", "leave Fixed or the others out")
		}
		return
	}
	within(check, field+".Min", d.Min, TableUnits)
	within(check, field+".Max", d.Max, TableUnits)
	if d.Max >= TableUnits.Min && d.Min > d.Max {
		check.Add(field+".Min", d.Min, fmt.Sprintf("it is above Max, %d", d.Max), "set Min to Max or less")
	}
	within(check, field+".TargetUtilization", d.TargetUtilization, TableUtilization)
	if d.Seed != 0 {
		within(check, field+".Seed", d.Seed, TableUnits)
	}
	cooldown := func(name string, value time.Duration) {
		within(check, field+name, value, TableScalingCooldown)
		wholeSeconds(check, field+name, value)
	}
	cooldown(".ScaleInCooldown", d.ScaleInCooldown)
	cooldown(".ScaleOutCooldown", d.ScaleOutCooldown)
}

// Throughput in units a second; 0 leaves one of them as it is.
type Throughput struct{ Read, Write int }

// GlobalIndex is a global secondary index: it has a key of its own, and the
// throughput of its own that such a table's billing mode gives.
type GlobalIndex struct {
	// Name, 3 to 255 of a-z A-Z 0-9 _ . -; required, unique in its table.
	Name string
	// PartitionKeys, one to four attributes; required.
	PartitionKeys []Key
	// SortKeys, none by default, up to four attributes.
	SortKeys []Key
	// Projection: ProjectAll (default), ProjectKeysOnly or ProjectInclude.
	Projection Projection
	// NonKeyAttributes that ProjectInclude projects besides the keys, 1 to 20.
	NonKeyAttributes []string
	// ReadCapacity and WriteCapacity of a table with ProvisionedCapacity; by
	// default those of the table.
	ReadCapacity, WriteCapacity Capacity
	// MaximumRequests are the most units a second that are taken on demand; no
	// limit by default.
	MaximumRequests Throughput
	// WarmThroughput that the index takes at once; by default what its traffic has
	// taught it.
	WarmThroughput Throughput
	// Insights: those of the table by default.
	Insights Insights
}

// LocalIndex is a local secondary index: another order of the items with the
// same partition key, which then hold 10 GB together at most. It can't be added
// to an existing table.
type LocalIndex struct {
	// Name, 3 to 255 of a-z A-Z 0-9 _ . -; required, unique in its table.
	Name string
	// SortKey is its sort key; required.
	SortKey Key
	// Projection: ProjectAll (default), ProjectKeysOnly or ProjectInclude.
	Projection Projection
	// NonKeyAttributes that ProjectInclude projects besides the keys, 1 to 20.
	NonKeyAttributes []string
}

// Replica is a copy of a table in another region, which reads and writes as the
// table does. Backups, protection from deletion and tags are set as the table's.
type Replica struct {
	// Region, such as "eu-west-1"; required, and known when the app is synthesized.
	Region string
	// KeyARN of the region's own key, when the table has a customer key; required
	// then. Its policy lets the replica's callers use it: this stack can't.
	KeyARN string
	// ReadCapacity of a table with ProvisionedCapacity; the table's by default.
	ReadCapacity Capacity
	// MaximumReads a second on demand; the table's by default.
	MaximumReads int
	// Class: the table's by default.
	Class TableClass
	// Insights: the table's by default.
	Insights Insights
	// KinesisStreamARN of a stream in the region that the replica's changes are
	// written to; none by default.
	KinesisStreamARN string
}

// Table are the settings of a DynamoDB table.
type Table struct {
	// PartitionKey is the name of the partition key's attribute, 1 to 255 characters; required.
	PartitionKey string
	// SortKey is the name of the sort key's attribute, 1 to 255 characters; none by default.
	SortKey string
	// PartitionKeyType and SortKeyType: StringKey (default), NumberKey or BinaryKey.
	PartitionKeyType, SortKeyType KeyType
	// GlobalIndexes are global secondary indexes, up to 20; CloudFormation adds or
	// removes one in an update.
	GlobalIndexes []GlobalIndex
	// LocalIndexes are local secondary indexes, up to 5, of a table with a sort key.
	LocalIndexes []LocalIndex
	// Stream turns the change stream on: NoStream by default. A table with
	// replicas of Eventual consistency needs NewAndOldImages.
	Stream StreamView
	// KinesisPrecision of the records written to a Kinesis stream: Millisecond
	// (default) or Microsecond.
	KinesisPrecision Precision
	// TimeToLive names the attribute with the epoch second after which DynamoDB
	// deletes an item; none by default.
	TimeToLive string
	// Billing: PayPerRequest (default) or ProvisionedCapacity.
	Billing BillingMode
	// ReadCapacity and WriteCapacity of a table with ProvisionedCapacity; required
	// there, refused otherwise.
	ReadCapacity, WriteCapacity Capacity
	// MaximumRequests are the most units a second that are taken on demand, which
	// keeps a runaway client from a runaway bill; no limit by default.
	MaximumRequests Throughput
	// WarmThroughput that the table takes at once, 12,000 reads and 4,000 writes a
	// second or more; by default what its traffic has taught it. It can't be lowered
	// afterwards.
	WarmThroughput Throughput
	// Replicas in other regions; none by default. CloudFormation adds or removes
	// one in an update.
	Replicas []Replica
	// Consistency of replicas: Eventual (default) or Strong. It can't be changed.
	Consistency Consistency
	// WitnessRegion takes the third region's part for Strong consistency, with one
	// replica; none by default.
	WitnessRegion string
	// Class: StandardClass (default) or InfrequentAccess.
	Class TableClass
	// Insights: NoInsights (default), ThrottledKeys or AccessedAndThrottledKeys.
	Insights Insights
	// Name of the table, 3 to 255 of a-z A-Z 0-9 _ . -, unique in its account and
	// region; by default CloudFormation makes one up. Changing it replaces the
	// table; CloudFormation refuses other updates that would replace a named one.
	Name string
	// RecoveryPeriodInDays of the continuous backups, 1 to 35; 35 by default.
	RecoveryPeriodInDays int
	// NoPointInTimeRecovery turns continuous backups off. They are on by default
	// and restore any second of the recovery period.
	NoPointInTimeRecovery bool
	// NoDeletionProtection lets the table be deleted. It is one of the two switches
	// that deleting takes; the construct's RemovalPolicy is the other.
	NoDeletionProtection bool
	// AWSOwnedKey encrypts the table with a key that DynamoDB owns, for no price and
	// without a trace in your account; by default with DynamoDB's key in your
	// account, or with the customer key that the construct is given.
	AWSOwnedKey bool
}

// WithDefaults returns t with its defaults written out.
func (t Table) WithDefaults() Table {
	t.PartitionKeyType = orText(t.PartitionKeyType, StringKey)
	t.SortKeyType = orText(t.SortKeyType, StringKey)
	t.Stream = orText(t.Stream, NoStream)
	t.KinesisPrecision = orText(t.KinesisPrecision, Millisecond)
	t.Billing = orText(t.Billing, PayPerRequest)
	t.ReadCapacity, t.WriteCapacity = t.ReadCapacity.WithDefaults(), t.WriteCapacity.WithDefaults()
	t.Consistency = orText(t.Consistency, Eventual)
	t.Class = orText(t.Class, StandardClass)
	t.Insights = orText(t.Insights, NoInsights)
	t.RecoveryPeriodInDays = or(t.RecoveryPeriodInDays, TableRecoveryPeriod.Max)
	t.GlobalIndexes = slices.Clone(t.GlobalIndexes)
	for i := range t.GlobalIndexes {
		x := &t.GlobalIndexes[i]
		x.PartitionKeys, x.SortKeys = typed(x.PartitionKeys), typed(x.SortKeys)
		x.Projection = orText(x.Projection, ProjectAll)
		x.ReadCapacity, x.WriteCapacity = x.ReadCapacity.WithDefaults(), x.WriteCapacity.WithDefaults()
		if t.Billing == ProvisionedCapacity {
			x.ReadCapacity, x.WriteCapacity = x.ReadCapacity.or(t.ReadCapacity), x.WriteCapacity.or(t.WriteCapacity)
		}
		x.Insights = orText(x.Insights, t.Insights)
	}
	t.LocalIndexes = slices.Clone(t.LocalIndexes)
	for i := range t.LocalIndexes {
		x := &t.LocalIndexes[i]
		x.SortKey = typed([]Key{x.SortKey})[0]
		x.Projection = orText(x.Projection, ProjectAll)
	}
	t.Replicas = slices.Clone(t.Replicas)
	for i := range t.Replicas {
		x := &t.Replicas[i]
		x.ReadCapacity = x.ReadCapacity.WithDefaults().or(t.ReadCapacity)
		x.MaximumReads = or(x.MaximumReads, t.MaximumRequests.Read)
		x.Class, x.Insights = orText(x.Class, t.Class), orText(x.Insights, t.Insights)
	}
	return t
}

// or is c, or def where c is none.
func (c Capacity) or(def Capacity) Capacity {
	if c == (Capacity{}) {
		return def
	}
	return c
}

// typed is keys with their types written out.
func typed(keys []Key) []Key {
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i].Type = orText(keys[i].Type, StringKey)
	}
	return keys
}

// What CloudFormation takes as names and ARNs.
var (
	attributeName = Pattern{regexp.MustCompile(`^.{1,255}$`), "an attribute's name has 1 to 255 characters"}
	TableName     = Pattern{regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`), "a table's name has 3 to 255 of a-z A-Z 0-9 _ . -"}
	IndexName     = Pattern{regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`), "an index's name has 3 to 255 of a-z A-Z 0-9 _ . -"}
	TableARN      = Pattern{
		regexp.MustCompile(`^arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{12}:table/[a-zA-Z0-9_.-]{3,255}$`),
		"a table's ARN is arn:aws:dynamodb:<region>:<account>:table/<name>",
	}
	TableStreamARN = Pattern{
		regexp.MustCompile(`^arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{12}:table/[a-zA-Z0-9_.-]{3,255}/stream/.+$`),
		"a change stream's ARN is arn:aws:dynamodb:<region>:<account>:table/<name>/stream/<time>",
	}
	KeyARN = Pattern{
		regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-zA-Z0-9-]+$`),
		"a key's ARN is arn:aws:kms:<region>:<account>:key/<id>",
	}
	Region = Pattern{regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`), "a region is named like eu-west-1"}
)

// Validate returns every problem of t as an [*Invalid], with path before each.
func (t Table) Validate(path string) error {
	c, d := At(path), t.WithDefaults()
	d.keys(c)
	oneOf(c, "Stream", d.Stream, NoStream, NewAndOldImages, NewImage, OldImage, KeysOnly)
	oneOf(c, "KinesisPrecision", d.KinesisPrecision, Millisecond, Microsecond)
	oneOf(c, "Class", d.Class, StandardClass, InfrequentAccess)
	oneOf(c, "Insights", d.Insights, NoInsights, ThrottledKeys, AccessedAndThrottledKeys)
	oneOf(c, "Consistency", d.Consistency, Eventual, Strong)
	if d.Name != "" {
		c.Pattern("Name", d.Name, TableName)
	}
	within(c, "RecoveryPeriodInDays", d.RecoveryPeriodInDays, TableRecoveryPeriod)
	if d.NoPointInTimeRecovery && t.RecoveryPeriodInDays != 0 {
		c.Add("RecoveryPeriodInDays", d.RecoveryPeriodInDays, "without point-in-time recovery there is nothing to keep", "leave it or NoPointInTimeRecovery out")
	}
	t.throughput(c, d)
	d.indexes(c)
	d.regions(c)
	return c.Err()
}

// keys checks the table's keys and the attributes of all keys together: each has
// one type.
func (t Table) keys(c *Check) {
	if t.PartitionKey == "" {
		c.Add("PartitionKey", t.PartitionKey, "every table needs one", "name the attribute that items are spread by")
	}
	if t.SortKey != "" && t.SortKey == t.PartitionKey {
		c.Add("SortKey", t.SortKey, "it must differ from PartitionKey", "leave it out, or name another attribute")
	}
	types := map[string]KeyType{}
	key := func(nameField, typeField string, k Key) {
		if k.Name == "" {
			return
		}
		c.Pattern(nameField, k.Name, attributeName)
		oneOf(c, typeField, k.Type, StringKey, NumberKey, BinaryKey)
		if first, seen := types[k.Name]; seen && first != k.Type {
			c.Add(typeField, string(k.Type), fmt.Sprintf("%s is of type %s in another key of this table", k.Name, first), "give it one type, or another name")
		}
		types[k.Name] = k.Type
	}
	key("PartitionKey", "PartitionKeyType", Key{t.PartitionKey, t.PartitionKeyType})
	if t.SortKey != t.PartitionKey {
		key("SortKey", "SortKeyType", Key{t.SortKey, t.SortKeyType})
	}
	for i, x := range t.GlobalIndexes {
		for j, k := range x.PartitionKeys {
			field := fmt.Sprintf("GlobalIndexes[%d].PartitionKeys[%d]", i, j)
			key(field+".Name", field+".Type", k)
		}
		for j, k := range x.SortKeys {
			field := fmt.Sprintf("GlobalIndexes[%d].SortKeys[%d]", i, j)
			key(field+".Name", field+".Type", k)
		}
	}
	for i, x := range t.LocalIndexes {
		field := fmt.Sprintf("LocalIndexes[%d].SortKey", i)
		key(field+".Name", field+".Type", x.SortKey)
	}
	if t.TimeToLive == "" {
		return
	}
	c.Pattern("TimeToLive", t.TimeToLive, attributeName)
	if kind, isKey := types[t.TimeToLive]; isKey && kind != NumberKey {
		c.Add("TimeToLive", t.TimeToLive, "it is a key that isn't a number and can't hold an epoch second", "name an attribute of its own")
	}
}

// throughput checks how the table's and its indexes' is bought. What was left out
// is told apart from what an index or a replica takes from the table.
func (t Table) throughput(c *Check, d Table) {
	oneOf(c, "Billing", d.Billing, PayPerRequest, ProvisionedCapacity)
	check := func(field string, read, write Capacity, requests, warm Throughput, required bool) {
		for _, part := range []struct {
			field    string
			capacity Capacity
			requests int
			fixed    bool
		}{
			{"Read", read, requests.Read, true},
			{"Write", write, requests.Write, false},
		} {
			name, limit := field+part.field+"Capacity", field+"MaximumRequests."+part.field
			none := part.capacity == Capacity{}
			switch d.Billing {
			case ProvisionedCapacity:
				if none && required {
					c.Add(name, nil, "a table with provisioned capacity needs it", "set its Max, or leave Billing out for a table on demand")
				} else if !none {
					part.capacity.validate(c, name, part.fixed)
				}
				if part.requests != 0 {
					c.Add(limit, part.requests, "provisioned capacity is its own limit", "leave it out, or leave Billing out for a table on demand")
				}
			case PayPerRequest:
				if !none {
					c.Add(name, part.capacity.Most(), "a table on demand has no capacity", "leave it out, or set Billing to spec.ProvisionedCapacity")
				}
				if part.requests != 0 {
					within(c, limit, part.requests, TableUnits)
				}
			}
		}
		if warm.Read != 0 {
			within(c, field+"WarmThroughput.Read", warm.Read, TableWarmReads)
		}
		if warm.Write != 0 {
			within(c, field+"WarmThroughput.Write", warm.Write, TableWarmWrites)
		}
	}
	check("", t.ReadCapacity, t.WriteCapacity, t.MaximumRequests, t.WarmThroughput, true)
	for i, x := range t.GlobalIndexes {
		check(fmt.Sprintf("GlobalIndexes[%d].", i), x.ReadCapacity, x.WriteCapacity, x.MaximumRequests, x.WarmThroughput, false)
	}
	for i, x := range t.Replicas {
		field := fmt.Sprintf("Replicas[%d].", i)
		check(field, x.ReadCapacity, Capacity{}, Throughput{}, Throughput{}, false)
		switch {
		case x.MaximumReads == 0:
		case d.Billing == ProvisionedCapacity:
			c.Add(field+"MaximumReads", x.MaximumReads, "provisioned capacity is its own limit", "leave it out, or leave Billing out for a table on demand")
		default:
			within(c, field+"MaximumReads", x.MaximumReads, TableUnits)
		}
	}
}

func (t Table) indexes(c *Check) {
	if n := len(t.GlobalIndexes); n > TableGlobalIndexes.Max {
		c.Add("GlobalIndexes", n, TableGlobalIndexes.String(), fmt.Sprintf("keep %d of them", TableGlobalIndexes.Max))
	}
	if n := len(t.LocalIndexes); n > TableLocalIndexes.Max {
		c.Add("LocalIndexes", n, TableLocalIndexes.String(), fmt.Sprintf("keep %d of them", TableLocalIndexes.Max))
	}
	if len(t.LocalIndexes) > 0 && t.SortKey == "" {
		c.Add("LocalIndexes", len(t.LocalIndexes), "a local index is another order of items that a sort key tells apart, and the table has none", "set SortKey, or make them global indexes")
	}
	names, projected := map[string]bool{}, 0
	index := func(field, name string, projection Projection, attributes []string) {
		switch {
		case names[name]:
			c.Add(field+"Name", name, "another index of the table has this name", "rename one of them")
		case IsToken(name):
			c.Add(field+"Name", name, "an index's name has to be known when the app is synthesized", "pass plain text")
		default:
			c.Pattern(field+"Name", name, IndexName)
		}
		names[name] = true
		oneOf(c, field+"Projection", projection, ProjectAll, ProjectKeysOnly, ProjectInclude)
		n := len(attributes)
		switch {
		case projection != ProjectInclude && n > 0:
			c.Add(field+"NonKeyAttributes", n, "only spec.ProjectInclude projects named attributes", "leave them out, or set Projection to it")
		case projection == ProjectInclude:
			projected += n
			within(c, field+"NonKeyAttributes", n, IndexNonKeyAttributes)
		}
		for i, a := range attributes {
			c.Pattern(fmt.Sprintf("%sNonKeyAttributes[%d]", field, i), a, attributeName)
			if slices.Contains(attributes[:i], a) {
				c.Add(fmt.Sprintf("%sNonKeyAttributes[%d]", field, i), a, "it is listed twice", "list it once")
			}
		}
	}
	for i, x := range t.GlobalIndexes {
		field := fmt.Sprintf("GlobalIndexes[%d].", i)
		index(field, x.Name, x.Projection, x.NonKeyAttributes)
		within(c, field+"PartitionKeys", len(x.PartitionKeys), IndexKeys)
		if len(x.SortKeys) > 0 {
			within(c, field+"SortKeys", len(x.SortKeys), IndexKeys)
		}
		keys := slices.Concat(x.PartitionKeys, x.SortKeys)
		for j, k := range keys {
			if k.Name == "" {
				c.Add(field+"PartitionKeys", nil, "a key names an attribute", "set the Name of each key")
			} else if slices.ContainsFunc(keys[:j], func(o Key) bool { return o.Name == k.Name }) {
				c.Add(field+"SortKeys", k.Name, "an attribute is part of an index's key once", "name another attribute")
			}
		}
		oneOf(c, field+"Insights", x.Insights, NoInsights, ThrottledKeys, AccessedAndThrottledKeys)
	}
	for i, x := range t.LocalIndexes {
		field := fmt.Sprintf("LocalIndexes[%d].", i)
		index(field, x.Name, x.Projection, x.NonKeyAttributes)
		if x.SortKey.Name == "" || x.SortKey.Name == t.PartitionKey {
			c.Add(field+"SortKey.Name", x.SortKey.Name, "a local index has a sort key of its own besides the table's partition key", "name another attribute")
		}
	}
	if projected > TableNonKeyAttributes.Max {
		c.Add("GlobalIndexes", projected, TableNonKeyAttributes.String(), "project fewer attributes, or all with spec.ProjectAll")
	}
}

// regions checks the replicas.
func (t Table) regions(c *Check) {
	regions := map[string]bool{}
	region := func(field, name string) {
		switch {
		case regions[name]:
			c.Add(field, name, "a region has one copy of a table", "name each region once")
		case IsToken(name):
			c.Add(field, name, "a replica's region has to be known when the app is synthesized", "pass plain text")
		default:
			c.Pattern(field, name, Region)
		}
		regions[name] = true
	}
	for i, x := range t.Replicas {
		field := fmt.Sprintf("Replicas[%d].", i)
		region(field+"Region", x.Region)
		oneOf(c, field+"Class", x.Class, StandardClass, InfrequentAccess)
		oneOf(c, field+"Insights", x.Insights, NoInsights, ThrottledKeys, AccessedAndThrottledKeys)
		local := func(name, arn string, pattern Pattern) {
			if arn == "" {
				return
			}
			c.Pattern(field+name, arn, pattern)
			if parts := strings.Split(arn, ":"); pattern.Text.MatchString(arn) && parts[3] != x.Region {
				c.Add(field+name, arn, "it is in another region than the replica, "+x.Region, "name one in that region")
			}
		}
		local("KeyARN", x.KeyARN, KeyARN)
		local("KinesisStreamARN", x.KinesisStreamARN, StreamARN)
	}
	switch t.Consistency {
	case Eventual:
		if t.WitnessRegion != "" {
			c.Add("WitnessRegion", t.WitnessRegion, "only strong consistency has a witness", "leave it out, or set Consistency to spec.Strong")
		}
		if len(t.Replicas) > 0 && t.Stream != NewAndOldImages {
			c.Add("Stream", string(t.Stream), "DynamoDB replicates from a change stream with both images", "set it to spec.NewAndOldImages")
		}
	case Strong:
		copies := 1 + len(t.Replicas)
		if t.WitnessRegion != "" {
			region("WitnessRegion", t.WitnessRegion)
			copies++
		}
		if copies != 3 || len(t.Replicas) == 0 {
			c.Add("Replicas", len(t.Replicas), "strong consistency takes exactly three regions, this one among them", "name two replicas, or one and a WitnessRegion")
		}
		areas := map[string]bool{}
		for name := range regions {
			area, _, _ := strings.Cut(name, "-")
			areas[area] = true
		}
		if len(areas) > 1 {
			c.Add("Replicas", len(t.Replicas), "the regions of a strongly consistent table are all in the US, in Europe or in Asia Pacific", "choose regions of one of them")
		}
		if t.TimeToLive != "" {
			c.Add("TimeToLive", t.TimeToLive, "a strongly consistent table has no time to live", "leave it out, or set Consistency to spec.Eventual")
		}
		if len(t.LocalIndexes) > 0 {
			c.Add("LocalIndexes", len(t.LocalIndexes), "a strongly consistent table has no local indexes", "make them global, or set Consistency to spec.Eventual")
		}
	}
}
