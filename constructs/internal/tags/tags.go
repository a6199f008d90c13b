// Package tags turns tags into CloudFormation's form.
package tags

import (
	"maps"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

// Of are tags in the order of their keys; nil where there are none.
func Of(tags map[string]string) *[]*awscdk.CfnTag {
	if len(tags) == 0 {
		return nil
	}
	var all []*awscdk.CfnTag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, &awscdk.CfnTag{Key: jsii.String(key), Value: jsii.String(tags[key])})
	}
	return &all
}
