// Package removal says what becomes of data when its stack is deleted.
package removal

import "github.com/aws/aws-cdk-go/awscdk/v2"

// Or is policy, or RETAIN where none was given: data is kept by default.
func Or(policy awscdk.RemovalPolicy) awscdk.RemovalPolicy {
	if policy == "" {
		return awscdk.RemovalPolicy_RETAIN
	}
	return policy
}
