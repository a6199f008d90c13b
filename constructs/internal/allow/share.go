package allow

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// To is a statement of a resource's policy: with, an account or the ARN of a role or
// user, may do these actions.
func To(with string, resource *string, conditions map[string]any, actions ...string) awsiam.PolicyStatement {
	props := &awsiam.PolicyStatementProps{
		Principals: &[]awsiam.IPrincipal{awsiam.NewArnPrincipal(jsii.String(with))},
		Actions:    jsii.Strings(actions...),
		Resources:  &[]*string{resource},
	}
	if conditions != nil {
		props.Conditions = &conditions
	}
	return awsiam.NewPolicyStatement(props)
}

// Key lets another account use key for uses, through service only. The policy of a
// key that is imported can't be changed from here: a warning says what it needs.
func Key(at constructs.IConstruct, key awskms.IKey, service, with string, uses ...string) {
	stack := awscdk.Stack_Of(at)
	// In a key's policy, * is the key.
	added := key.AddToResourcePolicy(To(with, jsii.String("*"), map[string]any{
		"StringEquals": map[string]any{"kms:ViaService": service + "." + *stack.Region() + "." + *stack.UrlSuffix()},
	}, uses...), jsii.Bool(true))
	if !*added.StatementAdded {
		awscdk.Annotations_Of(at).AddWarningV2(jsii.String("millrace:imported-key"), jsii.String(fmt.Sprintf(
			"The key is imported and its policy isn't part of this app: let %s do %s in it, or what is shared can't be used.", with, strings.Join(uses, ", "))))
	}
}
