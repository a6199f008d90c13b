// Package table defines a DynamoDB table: on demand, encrypted, with continuous
// backups and protected from deletion, and its change stream as a source of
// consumers.
package table

import (
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Props of [New]. Only the partition key is required.
type Props struct {
	// Table are the settings.
	spec.Table
	// Key encrypts the table; nil means DynamoDB's key in your account, which other
	// accounts can't use. Each replica needs a key of its region then: its KeyARN.
	Key awskms.IKey
	// KinesisStream gets every change of the table, in no particular order and
	// perhaps twice; none by default. DynamoDB writes with a service-linked role of
	// its own, so nothing has to be granted; it keeps for 24 h what the stream turns
	// away. A customer key of the stream has to let IAM policies of the account
	// decide, as keys do by default.
	KinesisStream awskinesis.IStream
	// Tags of the table and its replicas, up to 50, besides those of the CDK's Tags;
	// none by default. A key has 1 to 128 characters and doesn't begin with aws:, a
	// value has up to 256.
	Tags map[string]string
	// RemovalPolicy of the table with its items; RETAIN by default. To delete it
	// with its stack set DESTROY and NoDeletionProtection.
	RemovalPolicy awscdk.RemovalPolicy
}

// Table is a DynamoDB table.
type Table struct {
	construct  constructs.IConstruct
	table      awsdynamodb.ITableV2
	name       *string
	key        awskms.IKey
	stream     bool
	indexes    []string              // what follows the table's ARN in those of its indexes
	settings   spec.Table            // empty for a table that is defined elsewhere
	kinesis    bool                  // changes go to a Kinesis stream
	policy     awsiam.PolicyDocument // once it is shared
	operations []string              // that were granted: their system errors are watched
}

// New defines a table. It panics with a [*spec.Invalid] when a setting is
// invalid; [spec.Table.Validate] tells beforehand.
func New(scope constructs.Construct, id string, props Props) *Table {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Merge(props.Validate(""))
	props.validate(this, check)
	valid.Must(this, check)

	settings := props.WithDefaults()
	l2 := awsdynamodb.NewTableV2(this, jsii.String("Resource"), props.l2(settings))
	t := &Table{
		construct: this, table: l2, name: l2.TableName(), stream: settings.Stream != spec.NoStream,
		settings: settings, kinesis: !valid.Missing(props.KinesisStream),
	}
	if !valid.Missing(props.Key) {
		t.key = props.Key
	}
	for _, x := range settings.GlobalIndexes {
		t.addIndexes(x.Name)
	}
	for _, x := range settings.LocalIndexes {
		t.addIndexes(x.Name)
	}
	t.render(props, l2)
	return t
}

// validate checks what the collaborators and the stack make of the settings.
func (props Props) validate(this constructs.Construct, c *spec.Check) {
	c.Tags("Tags", props.Tags, spec.TableTagValue.Max)
	keyed := !valid.Missing(props.Key)
	if keyed && props.AWSOwnedKey {
		c.Add("AWSOwnedKey", true, "a table has one key", "leave it or Key out")
	}
	if valid.Missing(props.KinesisStream) && props.KinesisPrecision != "" {
		c.Add("KinesisPrecision", string(props.KinesisPrecision), "it is that of records in a Kinesis stream", "set KinesisStream, or leave it out")
	}
	if len(props.Replicas) == 0 {
		return
	}
	for i, r := range props.Replicas {
		field := replicaField(i, "KeyARN")
		switch {
		case keyed && r.KeyARN == "":
			c.Add(field, nil, "a table with a customer key has one in each of its regions", "set it to the ARN of a key in "+r.Region)
		case !keyed && r.KeyARN != "":
			c.Add(field, r.KeyARN, "a table has customer keys in all of its regions or in none", "set Key too, or leave it out")
		}
	}
	home := *awscdk.Stack_Of(this).Region()
	if spec.IsToken(home) {
		return
	}
	area, _, _ := strings.Cut(home, "-")
	for i, r := range props.Replicas {
		if r.Region == home {
			c.Add(replicaField(i, "Region"), r.Region, "the table itself is in that region", "leave it out")
		} else if props.Consistency == spec.Strong && !strings.HasPrefix(r.Region, area+"-") {
			c.Add(replicaField(i, "Region"), r.Region, "the regions of a strongly consistent table are all in the US, in Europe or in Asia Pacific, as this stack's, "+home, "choose another")
		}
	}
	if props.WitnessRegion == home {
		c.Add("WitnessRegion", props.WitnessRegion, "the table itself is in that region", "choose another")
	}
}

// Construct is the node that holds everything defined here.
func (t *Table) Construct() constructs.IConstruct { return t.construct }

// Table is the CDK's own table.
func (t *Table) Table() awsdynamodb.ITableV2 { return t.table }

// Resource is the CloudFormation resource, to set what this package doesn't; nil
// for a table that was imported.
func (t *Table) Resource() awsdynamodb.CfnGlobalTable {
	if child := t.table.Node().DefaultChild(); child != nil {
		cfn, _ := child.(awsdynamodb.CfnGlobalTable)
		return cfn
	}
	return nil
}

// Arn of the table.
func (t *Table) Arn() *string { return t.table.TableArn() }

// Name of the table, for a function's environment.
func (t *Table) Name() *string { return t.name }

// Key that encrypts the table; nil for DynamoDB's own.
func (t *Table) Key() awskms.IKey { return t.key }

// Metric is one of the table's: CloudWatch's own words, such as
// "ConsumedReadCapacityUnits" and "Sum".
func (t *Table) Metric(name, statistic string) watch.Metric {
	return watch.Metric{
		Namespace: "AWS/DynamoDB", Name: name, Statistic: statistic,
		Dimensions: map[string]*string{"TableName": t.Name()},
	}
}

// IndexMetric is one of a global index's.
func (t *Table) IndexMetric(index, name, statistic string) watch.Metric {
	m := t.Metric(name, statistic)
	m.Dimensions["GlobalSecondaryIndexName"] = jsii.String(index)
	return m
}

// Grant allows exactly these actions ("dynamodb:UpdateItem") on the table, those
// that read indexes (Query, Scan, PartiQLSelect) on its indexes too, and what the
// table's key needs for them. Replicas aren't included: a function uses the copy
// of its own region.
func (t *Table) Grant(grantee awsiam.IGrantable, actions ...string) awsiam.Grant {
	check := spec.At("")
	allow.Check(check, "dynamodb", actions)
	valid.Must(t.construct, check)
	for _, a := range actions {
		if op := strings.TrimPrefix(a, "dynamodb:"); !slices.Contains(t.operations, op) {
			t.operations = append(t.operations, op)
		}
	}
	grantKey(t.key, grantee, actions...)
	arn := t.Arn()
	grant := allow.On(grantee, []*string{arn}, actions...)
	if reads := indexReads(actions); len(t.indexes) > 0 && len(reads) > 0 {
		var arns []*string
		for _, suffix := range t.indexes {
			arns = append(arns, jsii.String(*arn+suffix))
		}
		grant = grant.Combine(allow.On(grantee, arns, reads...))
	}
	return grant
}

// GrantIndex allows exactly these actions ("dynamodb:Query") on one index, and what
// the table's key needs for them.
func (t *Table) GrantIndex(grantee awsiam.IGrantable, index string, actions ...string) awsiam.Grant {
	check := spec.At("")
	allow.Check(check, "dynamodb", actions)
	if check.Err() == nil {
		allow.Only(check, onIndexes, actions, "an index is only read")
	}
	if !slices.Contains(t.indexes, "/index/"+index) {
		check.Add("index", index, "the table has no such index", "name one of its indexes")
	}
	valid.Must(t.construct, check)
	grantKey(t.key, grantee, actions...)
	return allow.On(grantee, []*string{jsii.String(*t.Arn() + "/index/" + index)}, actions...)
}

// onIndexes are the actions that read indexes.
var onIndexes = []string{"dynamodb:PartiQLSelect", "dynamodb:Query", "dynamodb:Scan"}

func indexReads(actions []string) (reads []string) {
	for _, a := range actions {
		if slices.Contains(onIndexes, a) {
			reads = append(reads, a)
		}
	}
	return reads
}

// grantKey lets a caller use the table's customer key as these actions need it:
// DynamoDB encrypts and decrypts in the caller's name.
func grantKey(key awskms.IKey, grantee awsiam.IGrantable, actions ...string) {
	if key != nil {
		key.Grant(grantee, *jsii.Strings(keyUses(actions)...)...)
	}
}

func keyUses(actions []string) []string {
	uses := []string{"kms:Decrypt", "kms:DescribeKey"}
	if slices.ContainsFunc(actions, writes) {
		uses = append(uses, "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo")
	}
	return uses
}

// writes tells whether an action stores items.
func writes(action string) bool {
	switch strings.TrimPrefix(action, "dynamodb:") {
	case "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete":
		return true
	}
	return false
}
