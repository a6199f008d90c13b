// Package table defines a DynamoDB table: on demand, encrypted, with continuous
// backups and protected from deletion, and its change stream as a source of
// consumers.
package table

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/removal"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Props of [New]. Only the partition key is required.
type Props struct {
	// Table are the settings.
	spec.Table
	// Key encrypts the table; nil means DynamoDB's key in your account.
	Key awskms.IKey
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
	operations []string // that were granted: their system errors are watched
}

// New defines a table. It panics with a [*spec.Invalid] when a setting is
// invalid; [spec.Table.Validate] tells beforehand.
func New(scope constructs.Construct, id string, props Props) *Table {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Merge(props.Validate(""))
	valid.Must(this, check)

	settings := props.WithDefaults()
	l2 := &awsdynamodb.TablePropsV2{
		PartitionKey:                     text(settings.PartitionKey),
		Billing:                          awsdynamodb.Billing_OnDemand(nil),
		Encryption:                       awsdynamodb.TableEncryptionV2_AwsManagedKey(),
		DeletionProtection:               jsii.Bool(!settings.NoDeletionProtection),
		PointInTimeRecoverySpecification: &awsdynamodb.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: jsii.Bool(!settings.NoPointInTimeRecovery)},
		RemovalPolicy:                    removal.Or(props.RemovalPolicy),
	}
	if settings.SortKey != "" {
		l2.SortKey = text(settings.SortKey)
	}
	if settings.Stream != spec.NoStream {
		l2.DynamoStream = awsdynamodb.StreamViewType(settings.Stream)
	}
	if settings.TimeToLive != "" {
		l2.TimeToLiveAttribute = jsii.String(settings.TimeToLive)
	}
	t := Of(awsdynamodb.NewTableV2(this, jsii.String("Resource"), l2))
	t.construct, t.key, t.stream = this, props.Key, settings.Stream != spec.NoStream
	if props.Key != nil {
		// The CDK's own way to set a key fails at synthesis in a stack without a region.
		t.Resource().AddPropertyOverride(jsii.String("Replicas.0.SSESpecification.KMSMasterKeyId"), props.Key.KeyArn())
	}
	return t
}

// Of takes a table that is defined elsewhere, by any construct or import.
func Of(existing awsdynamodb.ITableV2) *Table {
	valid.Need("table.Of", "existing", existing)
	return &Table{
		construct: existing, table: existing, name: existing.TableName(),
		key: existing.EncryptionKey(), stream: existing.TableStreamArn() != nil,
	}
}

func text(name string) *awsdynamodb.Attribute {
	return &awsdynamodb.Attribute{Name: jsii.String(name), Type: awsdynamodb.AttributeType_STRING}
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

// Name of the table, for a function's environment.
func (t *Table) Name() *string { return t.name }

// Grant allows exactly these actions ("dynamodb:UpdateItem") on the table, and
// what the table's key needs for them.
func (t *Table) Grant(grantee awsiam.IGrantable, actions ...string) awsiam.Grant {
	for _, a := range actions {
		if op := strings.TrimPrefix(a, "dynamodb:"); !slices.Contains(t.operations, op) {
			t.operations = append(t.operations, op)
		}
	}
	grantKey(t.key, grantee, actions...)
	return allow.On(grantee, []*string{t.table.TableArn()}, actions...)
}

// grantKey lets a caller use the table's customer key as these actions need it:
// DynamoDB encrypts and decrypts in the caller's name.
func grantKey(key awskms.IKey, grantee awsiam.IGrantable, actions ...string) {
	if key == nil {
		return
	}
	uses := jsii.Strings("kms:Decrypt", "kms:DescribeKey")
	if slices.ContainsFunc(actions, writes) {
		*uses = append(*uses, *jsii.Strings("kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")...)
	}
	key.Grant(grantee, *uses...)
}

// writes tells whether an action stores items.
func writes(action string) bool {
	switch strings.TrimPrefix(action, "dynamodb:") {
	case "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete":
		return true
	}
	return false
}

// Changes is the table's change stream, as a consumer's source. It panics with a
// [*spec.Invalid] when the table has none.
func (t *Table) Changes() *Changes {
	if !t.stream {
		c := spec.At("")
		c.Add("Stream", string(spec.NoStream), "a consumer reads the table's change stream", "set Stream to spec.NewAndOldImages or another view")
		valid.Must(t.construct, c)
	}
	return &Changes{t}
}

// Changes is a table's change stream. It keeps a change for 24 hours.
type Changes struct{ table *Table }

// Arn of the change stream.
func (c *Changes) Arn() *string { return c.table.table.TableStreamArn() }

// Kind is spec.DynamoDB.
func (c *Changes) Kind() spec.SourceKind { return spec.DynamoDB }

// Retention is 24 h; DynamoDB fixes it.
func (c *Changes) Retention() time.Duration { return spec.ChangeRetention }

// Shards is 0: DynamoDB splits them as it likes.
func (c *Changes) Shards() int { return 0 }

// GrantRead allows what an event source mapping does with a change stream.
func (c *Changes) GrantRead(grantee awsiam.IGrantable) awsiam.Grant {
	// Lambda's own check names ListStreams among the four; it looks at this stream.
	return c.Grant(grantee, "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams")
}

// Incoming counts the table's writes, in write units.
func (c *Changes) Incoming() watch.Metric {
	return watch.Metric{
		Namespace: "AWS/DynamoDB", Name: "ConsumedWriteCapacityUnits", Statistic: "Sum",
		Dimensions: map[string]*string{"TableName": c.table.Name()},
	}
}

// Grant allows exactly these actions ("dynamodb:GetRecords") on the change
// stream, and to decrypt with the table's key.
func (c *Changes) Grant(grantee awsiam.IGrantable, actions ...string) awsiam.Grant {
	grantKey(c.table.key, grantee)
	return allow.On(grantee, []*string{c.Arn()}, actions...)
}

// Signals of the table: throttling, and errors of DynamoDB itself on the
// operations that were granted. Take them after the last Grant.
func (t *Table) Signals() []watch.Signal {
	throttled := func(name, metric, verb, runbook string) watch.Signal {
		return watch.Signal{
			Owner: t.construct, Name: name, Graph: "Throttled " + verb,
			Metric:  watch.Metric{Namespace: "AWS/DynamoDB", Name: metric, Statistic: "Sum", Dimensions: map[string]*string{"TableName": t.Name()}},
			From:    "a table on demand throttles only beyond twice its former peak, or 1,000 writes or 3,000 reads a second of one partition",
			Why:     "DynamoDB turns " + verb + " away; consumers retry and fall behind.",
			Do:      "Look for a hot partition key; else wait for the table to scale, or set warm throughput.",
			Runbook: runbook,
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		}
	}
	signals := []watch.Signal{
		throttled("WriteThrottled", "WriteThrottleEvents", "writes", "table-write-throttled"),
		throttled("ReadThrottled", "ReadThrottleEvents", "reads", "table-read-throttled"),
	}
	if len(t.operations) == 0 {
		return signals
	}
	// DynamoDB publishes SystemErrors per operation only: one sum over those in use.
	sum := watch.Metric{Label: "SystemErrors"}
	var terms []string
	for i, op := range t.operations {
		terms = append(terms, fmt.Sprintf("FILL(m%d, 0)", i))
		sum.Using = append(sum.Using, watch.Metric{
			Namespace: "AWS/DynamoDB", Name: "SystemErrors", Statistic: "Sum",
			Dimensions: map[string]*string{"TableName": t.Name(), "Operation": jsii.String(op)},
		})
	}
	sum.Expression = strings.Join(terms, " + ")
	return append(signals, watch.Signal{
		Owner: t.construct, Name: "SystemErrors", Graph: "DynamoDB's own errors", Metric: sum,
		From: "AWS counts none on a healthy table", Why: "DynamoDB answered with HTTP 500; consumers retry.",
		Do:      "Wait and watch the consumers' age; open a case with AWS if it lasts.",
		Runbook: "table-system-errors",
		Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
	})
}
