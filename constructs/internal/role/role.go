// Package role defines the roles of functions and deliveries.
package role

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
)

// New defines a role that service may assume.
func New(scope constructs.Construct, id, service string) awsiam.Role {
	return awsiam.NewRole(scope, jsii.String(id), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(jsii.String(service), nil),
	})
}

// Accept records why the role's own policy is as it is, with further findings.
// Call it after the first grant, which defines the policy; a role whose policies
// can't be changed has none.
func Accept(role awsiam.IRole, findings ...accept.Finding) {
	policy := policyOf(role)
	if policy == nil {
		return
	}
	accept.On(policy, append(findings, accept.Because(
		"The policy belongs to this one role and is deleted with it; as a managed policy it could be attached elsewhere.",
		"NIST.800.53.R5-IAMNoInlinePolicy"))...)
}

// Also records further findings, after Accept.
func Also(role awsiam.IRole, findings ...accept.Finding) {
	if policy := policyOf(role); policy != nil {
		accept.On(policy, findings...)
	}
}

// policyOf is the policy that grants to role end in, or nil.
func policyOf(role awsiam.IRole) awsiam.CfnPolicy {
	if child := role.Node().TryFindChild(jsii.String("DefaultPolicy")); child != nil {
		policy, _ := child.Node().DefaultChild().(awsiam.CfnPolicy)
		return policy
	}
	// The CDK gives the policy of an imported role a name of its own.
	for _, child := range *role.Node().Children() {
		if policy, ok := child.(awsiam.Policy); ok {
			cfn, _ := policy.Node().DefaultChild().(awsiam.CfnPolicy)
			return cfn
		}
	}
	return nil
}
