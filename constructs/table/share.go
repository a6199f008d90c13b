package table

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Share lets another account, or a role or user of it, do these actions with the
// table in this region, and with its indexes as far as they read them: with is a
// number of 12 digits or an ARN. It is half of what it takes: that account's own
// policies have to allow them too.
//
// The table needs a customer key or a key that AWS owns, as DynamoDB's key in your
// account can't be used by another one; a customer key's policy allows what the
// actions need through DynamoDB. Share panics with a [*spec.Invalid] otherwise, and
// for a table that was imported: its owner shares it.
func (t *Table) Share(with string, actions ...string) {
	check := spec.At("")
	check.Pattern("with", with, spec.Principal)
	allow.Check(check, "dynamodb", actions)
	resource := t.Resource()
	switch {
	case resource == nil || t.settings.PartitionKey == "":
		check.Add("Table", "imported", "the policy of a table belongs to the stack that defines it", "share it there")
	case t.key == nil && !t.settings.AWSOwnedKey:
		check.Add("Key", nil, "DynamoDB's key in your account can't be used by another one", "set it to a customer key, or set AWSOwnedKey")
	}
	valid.Must(t.construct, check)

	if t.policy == nil {
		t.policy = awsiam.NewPolicyDocument(nil)
		resource.AddPropertyOverride(jsii.String("Replicas.0.ResourcePolicy"), map[string]any{"PolicyDocument": t.policy})
	}
	t.policy.AddStatements(allow.To(with, t.shared(""), nil, actions...))
	if reads := indexReads(actions); len(reads) > 0 && t.settings.Name != "" {
		for _, suffix := range t.indexes {
			t.policy.AddStatements(allow.To(with, t.shared(suffix), nil, reads...))
		}
	}
	if t.key != nil {
		allow.Key(t.construct, t.key, "dynamodb", with, keyUses(actions)...)
	}
}

// shared is the table in its own policy. A resource can't refer to itself, so the
// ARN of a table without a name of its own can't be written there: in a table's
// policy, * is that table with its indexes.
func (t *Table) shared(suffix string) *string {
	if t.settings.Name == "" {
		return jsii.String("*")
	}
	return awscdk.Stack_Of(t.construct).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("dynamodb"), Resource: jsii.String("table"), ResourceName: jsii.String(t.settings.Name + suffix),
	})
}
