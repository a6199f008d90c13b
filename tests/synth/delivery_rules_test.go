package synth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/constructs/snapshot"
)

// What Firehose's documentation asks for in every bucket, and what a destination
// asks for besides.
var (
	bucketActions = []string{
		"s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:PutObject",
	}
	moreBucketActions = map[string][]string{
		"IcebergDestinationConfiguration": {"s3:DeleteObject"}, // of commits that failed, in the warehouse
	}
)

// What holds for each delivery, whatever its destination.
func TestEveryDeliveryKeepsTheRules(t *testing.T) {
	streams, secrets := 0, 0
	for name := range checked() {
		t.Run(name, func(t *testing.T) {
			template := templateOf(t, name)
			for id, stream := range template.OfType("AWS::KinesisFirehose::DeliveryStream") {
				streams++
				var whole map[string]any
				if err := json.Unmarshal(template.Text(), &whole); err != nil {
					t.Fatal(err)
				}
				if whole["Mappings"] != nil {
					t.Errorf("there is a table of network ranges, or the like: %v", whole["Mappings"])
				}
				var destinations []string
				for property := range stream.Properties {
					if strings.HasSuffix(property, "DestinationConfiguration") {
						destinations = append(destinations, property)
					}
				}
				if len(destinations) != 1 {
					t.Fatalf("%s has the destinations %v", id, destinations)
				}
				secrets += len(valuesOf(stream.Properties, "SecretARN"))
				for _, problem := range broken(template, id, append(slices.Clone(bucketActions), moreBucketActions[destinations[0]]...)) {
					t.Errorf("%s: %s", id, problem)
				}
			}
		})
	}
	if streams < 8 || secrets < 3 {
		t.Errorf("only %d delivery streams and %d secrets were found", streams, secrets)
	}
}

// broken says what a delivery stream's role may do that it needn't, what it may not
// do that it has to, and what of it may come after the delivery stream.
func broken(template *snapshot.Template, id string, bucketActions []string) []string {
	var problems []string
	stream := template.Resources[id]
	roles := map[string]bool{}
	for _, role := range append(valuesOf(stream.Properties, "RoleARN"), valuesOf(stream.Properties, "RoleArn")...) {
		roles[refers(role)] = true
	}
	var granted []any
	for policyID, policy := range template.OfType("AWS::IAM::Policy") {
		if !slices.ContainsFunc(list(policy.Properties["Roles"]), func(r any) bool { return roles[refers(r)] }) {
			continue
		}
		if !slices.Contains(stream.DependsOn, policyID) {
			problems = append(problems, "it may be made before "+policyID)
		}
		granted = append(granted, list(at(policy.Properties, "PolicyDocument", "Statement"))...)
	}
	if len(granted) == 0 {
		return append(problems, "its role may do nothing")
	}
	may := func(action string, of func(statement any) bool) bool {
		return slices.ContainsFunc(granted, func(s any) bool { return slices.Contains(list(at(s, "Action")), any(action)) && of(s) })
	}
	for _, s := range granted {
		for _, action := range list(at(s, "Action")) {
			if text := fmt.Sprint(action); strings.HasPrefix(text, "s3:") && !slices.Contains(bucketActions, text) {
				problems = append(problems, "it may "+text)
			}
		}
	}
	for _, secret := range valuesOf(stream.Properties, "SecretARN") {
		if !may("secretsmanager:GetSecretValue", func(s any) bool {
			return slices.ContainsFunc(list(at(s, "Resource")), func(r any) bool { return strings.HasPrefix(joined(r), joined(secret)) })
		}) {
			problems = append(problems, "it may not read "+joined(secret))
		}
		key := at(template.Resources[refers(secret)].Properties, "KmsKeyId")
		// Secrets Manager's own key needs no grant, and an import doesn't tell its key.
		if key != nil && !may("kms:Decrypt", func(s any) bool {
			return slices.ContainsFunc(list(at(s, "Resource")), func(r any) bool { return refers(r) == refers(key) })
		}) {
			problems = append(problems, "it may not decrypt "+joined(secret))
		}
	}
	return problems
}

// valuesOf are all values under that name, however deep.
func valuesOf(properties any, name string) []any {
	var all []any
	switch v := properties.(type) {
	case map[string]any:
		for key, inner := range v {
			if key == name {
				all = append(all, inner)
			} else {
				all = append(all, valuesOf(inner, name)...)
			}
		}
	case []any:
		for _, inner := range v {
			all = append(all, valuesOf(inner, name)...)
		}
	}
	return all
}

// Each rule is broken in turn, and seen.
func TestBrokenRulesOfDeliveriesAreSeen(t *testing.T) {
	ref := func(id string) map[string]any { return map[string]any{"Fn::GetAtt": []any{id, "Arn"}} }
	made := func(dependsOn []string, statements ...any) *snapshot.Template {
		return &snapshot.Template{Resources: map[string]snapshot.Resource{
			"Stream": {Type: "AWS::KinesisFirehose::DeliveryStream", DependsOn: dependsOn, Properties: map[string]any{
				"SplunkDestinationConfiguration": map[string]any{"SecretsManagerConfiguration": map[string]any{"SecretARN": map[string]any{"Ref": "Secret"}, "RoleARN": ref("Role")}},
			}},
			"Secret": {Type: "AWS::SecretsManager::Secret", Properties: map[string]any{"KmsKeyId": ref("Key")}},
			"Policy": {Type: "AWS::IAM::Policy", Properties: map[string]any{
				"Roles": []any{map[string]any{"Ref": "Role"}}, "PolicyDocument": map[string]any{"Statement": statements},
			}},
		}}
	}
	allow := func(resource any, actions ...any) any {
		return map[string]any{"Effect": "Allow", "Action": actions, "Resource": resource}
	}
	read, decrypt, put := allow(map[string]any{"Ref": "Secret"}, "secretsmanager:GetSecretValue"), allow(ref("Key"), "kms:Decrypt"), allow("arn:aws:s3:::b/*", "s3:PutObject")
	first := []string{"Policy"}
	for name, c := range map[string]struct {
		template *snapshot.Template
		want     string
	}{
		"good":                     {made(first, read, decrypt, put), ""},
		"a race with its policy":   {made(nil, read, decrypt, put), "it may be made before Policy"},
		"an action too many":       {made(first, read, decrypt, allow("arn:aws:s3:::b/*", "s3:PutObject", "s3:DeleteObject")), "it may s3:DeleteObject"},
		"a secret it may not read": {made(first, decrypt, put), "it may not read <Secret>"},
		"another key":              {made(first, read, allow(ref("Other"), "kms:Decrypt")), "it may not decrypt <Secret>"},
		"no policy":                {made(first), "its role may do nothing"},
	} {
		if got := strings.Join(broken(c.template, "Stream", bucketActions), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
