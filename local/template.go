package local

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
)

// deployedProperties are the properties, with references resolved, that the stack
// gives its resources of a type: JSON by physical id, of the named ones or of all.
// They tell what the emulator leaves out when it describes those.
func deployedProperties(ctx context.Context, config aws.Config, p paths, kind string, names ...string) (map[string][]byte, error) {
	file := p.template()
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the synthesized template: %w", err)
	}
	var template struct {
		Resources map[string]struct {
			Type       string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(data, &template); err != nil {
		return nil, fmt.Errorf("the synthesized template %s: %w", file, err)
	}
	out, err := cloudformation.NewFromConfig(config).DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: aws.String(StackName)})
	if err != nil {
		return nil, err
	}
	r := resolver{}
	for _, resource := range out.StackResources {
		r[aws.ToString(resource.LogicalResourceId)] = deployed{aws.ToString(resource.ResourceType), aws.ToString(resource.PhysicalResourceId)}
	}
	properties := map[string][]byte{}
	for id, resource := range template.Resources {
		if resource.Type != kind {
			continue
		}
		if len(names) > 0 {
			maps.DeleteFunc(resource.Properties, func(name string, _ any) bool { return !slices.Contains(names, name) })
		}
		value, err := r.resolve(resource.Properties)
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", id, file, err)
		}
		if properties[r[id].physical], err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	return properties, nil
}

// deployed is a resource by the ids that the deployment gave it.
type deployed struct{ kind, physical string }

// resolver resolves references of a template, by logical id.
type resolver map[string]deployed

// pseudo are the pseudo parameters of the local machine.
var pseudo = map[string]string{"AWS::AccountId": Account, "AWS::Region": Region, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}

func (r resolver) resolve(value any) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 1 {
			for name, argument := range v {
				if name == "Ref" || strings.HasPrefix(name, "Fn::") {
					return r.call(name, argument)
				}
			}
		}
		out := make(map[string]any, len(v))
		for name, inner := range v {
			resolved, err := r.resolve(inner)
			if err != nil {
				return nil, err
			}
			out[name] = resolved
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			resolved, err := r.resolve(v[i])
			if err != nil {
				return nil, err
			}
			out[i] = resolved
		}
		return out, nil
	}
	return value, nil
}

// call resolves the functions that the CDK writes for names and ARNs.
func (r resolver) call(name string, argument any) (any, error) {
	switch name {
	case "Ref":
		id, _ := argument.(string)
		if text, ok := pseudo[id]; ok {
			return text, nil
		}
		if resource, ok := r[id]; ok {
			return resource.physical, nil
		}
	case "Fn::GetAtt":
		if pair, ok := argument.([]any); ok && len(pair) == 2 {
			id, _ := pair[0].(string)
			if text, ok := r[id].arn(); ok && pair[1] == "Arn" {
				return text, nil
			}
			if secret := r[id]; secret.kind == "AWS::SecretsManager::Secret" && pair[1] == "Id" {
				return secret.physical, nil // its name, which serves as well
			}
		}
	case "Fn::Join":
		if pair, ok := argument.([]any); ok && len(pair) == 2 {
			parts, err := r.resolve(pair[1])
			if err != nil {
				return nil, err
			}
			list, _ := parts.([]any)
			texts := make([]string, len(list))
			for i := range list {
				texts[i] = fmt.Sprint(list[i])
			}
			return strings.Join(texts, fmt.Sprint(pair[0])), nil
		}
	}
	return nil, fmt.Errorf("%s of %v can't be resolved here", name, argument)
}

// arns are the ARNs of resources after their physical ids, less the partition.
var arns = map[string]string{
	"AWS::S3::Bucket":       "s3:::",
	"AWS::IAM::Role":        "iam::" + Account + ":role/",
	"AWS::Kinesis::Stream":  "kinesis:" + Region + ":" + Account + ":stream/",
	"AWS::Lambda::Function": "lambda:" + Region + ":" + Account + ":function:",
	"AWS::KMS::Key":         "kms:" + Region + ":" + Account + ":key/",
}

func (d deployed) arn() (string, bool) {
	if strings.HasPrefix(d.physical, "arn:") {
		return d.physical, true
	}
	before, ok := arns[d.kind]
	return "arn:aws:" + before + d.physical, ok
}
