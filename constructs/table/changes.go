package table

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Changes is the table's change stream, as a consumer's source. It panics with a
// [*spec.Invalid] when the table has none.
func (t *Table) Changes() *Changes {
	if !t.stream {
		c := spec.At("")
		c.Add("Stream", string(spec.NoStream), "a consumer reads the table's change stream",
			"set Stream to spec.NewAndOldImages or another view; for an imported table, tell its StreamARN")
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
func (c *Changes) Incoming() watch.Metric { return c.table.Metric("ConsumedWriteCapacityUnits", "Sum") }

// Grant allows exactly these actions ("dynamodb:GetRecords") on the change
// stream, and to decrypt with the table's key.
func (c *Changes) Grant(grantee awsiam.IGrantable, actions ...string) awsiam.Grant {
	check := spec.At("")
	allow.Check(check, "dynamodb", actions)
	valid.Must(c.table.construct, check)
	grantKey(c.table.key, grantee)
	return allow.On(grantee, []*string{c.Arn()}, actions...)
}
