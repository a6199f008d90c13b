package synth

import "github.com/aws/aws-cdk-go/awscdk/v2"

// fullest has, per construct, a stack in which every setting of it is used that
// can be used together. The checkers and the goldens look at each.
var fullest = map[string]func(awscdk.Stack){}
