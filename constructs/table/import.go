package table

import (
	"fmt"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Attributes are what an imported table can't tell of itself.
type Attributes struct {
	// StreamARN of its change stream, for those who consume its changes.
	StreamARN string
	// Key that encrypts it, if that is a customer key: whoever uses the table has to
	// be allowed to use it.
	Key awskms.IKey
	// GlobalIndexes and LocalIndexes are the names of those that grants should
	// cover and, if global, alarms should watch.
	GlobalIndexes, LocalIndexes []string
}

// Of takes a table that is defined elsewhere, by any construct or import. Grants
// cover those of its indexes that are named.
func Of(existing awsdynamodb.ITableV2, indexes ...string) *Table {
	valid.Need("table.Of", "existing", existing)
	check := spec.At("")
	checkNames(check, "indexes", indexes)
	valid.Must(existing, check)
	t := &Table{
		construct: existing, table: existing, name: existing.TableName(),
		key: existing.EncryptionKey(), stream: existing.TableStreamArn() != nil,
	}
	t.addIndexes(indexes...)
	return t
}

// FromArn takes the table with that ARN, of any account and region. It panics with
// a [*spec.Invalid] when the ARN isn't that of a table.
func FromArn(scope constructs.Construct, id, arn string, attributes Attributes) *Table {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Pattern("arn", arn, spec.TableARN)
	return imported(this, check, attributes, func() *string { return jsii.String(arn) })
}

// FromName takes the table of that name, of the stack's account and region. It
// panics with a [*spec.Invalid] when no table can have that name.
func FromName(scope constructs.Construct, id, name string, attributes Attributes) *Table {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Pattern("name", name, spec.TableName)
	return imported(this, check, attributes, func() *string {
		return awscdk.Stack_Of(this).FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("dynamodb"), Resource: jsii.String("table"), ResourceName: jsii.String(name),
		})
	})
}

func imported(this constructs.Construct, check *spec.Check, a Attributes, arn func() *string) *Table {
	if a.StreamARN != "" {
		check.Pattern("StreamARN", a.StreamARN, spec.TableStreamARN)
	}
	checkNames(check, "GlobalIndexes", a.GlobalIndexes)
	checkNames(check, "LocalIndexes", a.LocalIndexes)
	valid.Must(this, check)

	attributes := &awsdynamodb.TableAttributesV2{
		TableArn: arn(), EncryptionKey: a.Key, GlobalIndexes: names(a.GlobalIndexes), LocalIndexes: names(a.LocalIndexes),
	}
	if a.StreamARN != "" {
		attributes.TableStreamArn = jsii.String(a.StreamARN)
	}
	existing := awsdynamodb.TableV2_FromTableAttributes(this, jsii.String("Resource"), attributes)
	t := &Table{construct: this, table: existing, name: existing.TableName(), stream: a.StreamARN != ""}
	if !valid.Missing(a.Key) {
		t.key = a.Key
	}
	t.addIndexes(slices.Concat(a.GlobalIndexes, a.LocalIndexes)...)
	for _, name := range a.GlobalIndexes {
		t.settings.GlobalIndexes = append(t.settings.GlobalIndexes, spec.GlobalIndex{Name: name})
	}
	return t
}

func (t *Table) addIndexes(names ...string) {
	for _, name := range names {
		t.indexes = append(t.indexes, "/index/"+name)
	}
}

func checkNames(c *spec.Check, field string, names []string) {
	for i, name := range names {
		c.Pattern(fmt.Sprintf("%s[%d]", field, i), name, spec.IndexName)
	}
}
