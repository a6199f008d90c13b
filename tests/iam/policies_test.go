package iam

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/millrace/millrace/local"
)

// grant is one action that a policy allows on one resource. Names are logical ids
// without their hash.
type grant struct{ holder, action, resource string }

func (g grant) String() string { return g.holder + ": " + g.action + " on " + g.resource }

// policy is a deployed one.
type policy struct {
	kind     kind
	role     string // physical name, "" for a topic's
	name     string // of an inline policy
	topic    string // ARN
	document string // as deployed
}

type kind int

const (
	inline kind = iota // what a role may do
	trust              // who may assume it
	topic              // a topic's own policy
)

// place is where a grant stands among the deployed policies.
type place struct {
	policy    *policy
	statement int
	action    string
	resource  int    // position in the statement
	role      string // physical name; "" where it isn't a role that may
	arn       string // the resource, resolved
}

// source is where a grant stands in a template.
type source struct {
	id                  string // the resource's logical id
	property            string // that holds the document
	statement, resource int
}

type template struct {
	Resources map[string]resource
}

type resource struct {
	Type       string
	Properties map[string]any
}

func readTemplate(t *testing.T, file string) template {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var read template
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return read
}

// allowed finds every action that any policy in the template allows, whatever the
// type of the resource that it belongs to.
func allowed(t *testing.T, from template) map[grant]source {
	t.Helper()
	found := map[grant]source{}
	for id, r := range from.Resources {
		if r.Type == "AWS::Lambda::Permission" || r.Properties["ManagedPolicyArns"] != nil {
			t.Errorf("%s: permissions of functions and managed policies have no place in this test yet: find a way to check them", id)
		}
		holder := logical(id)
		if roles := texts(r.Properties["Roles"]); r.Type == "AWS::IAM::Policy" {
			if len(roles) != 1 {
				t.Errorf("%s belongs to %d roles, this test wants 1", id, len(roles))
				continue
			}
			holder = render(roles[0])
		}
		documents(r.Properties, "", func(property string, statements []any) {
			for i, s := range statements {
				statement := s.(map[string]any)
				if statement["Effect"] != "Allow" {
					continue // it takes away
				}
				if statement["NotAction"] != nil || statement["NotResource"] != nil {
					t.Errorf("%s allows by exclusion: name what is allowed", id)
				}
				resources := texts(statement["Resource"])
				if resources == nil {
					resources = []any{"trusting " + principal(statement)}
				}
				for _, action := range texts(statement["Action"]) {
					for k, on := range resources {
						g := grant{holder, action.(string), render(on)}
						if strings.Contains(g.action, "*") {
							t.Errorf("%s isn't one action", g)
						}
						if _, twice := found[g]; twice {
							t.Errorf("%s is granted twice", g)
						}
						found[g] = source{id, property, i, k}
					}
				}
			}
		})
	}
	return found
}

// documents calls visit with the statements of every policy document below node.
func documents(node any, property string, visit func(property string, statements []any)) {
	switch node := node.(type) {
	case map[string]any:
		if statements, ok := node["Statement"]; ok {
			visit(property, texts(statements))
			return
		}
		for name, child := range node {
			documents(child, name, visit)
		}
	case []any:
		for _, child := range node {
			documents(child, property, visit)
		}
	}
}

// texts is a value that may stand alone or in a list; nil if there is none.
func texts(value any) []any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		return value
	default:
		return []any{value}
	}
}

func principal(statement map[string]any) string {
	of, _ := statement["Principal"].(map[string]any)
	return fmt.Sprint(of["Service"])
}

var hash = regexp.MustCompile(`[0-9A-F]{8}$`)

// logical is a logical id without its hash.
func logical(id string) string { return hash.ReplaceAllString(id, "") }

// render is a resource of a statement by logical ids.
func render(value any) string {
	of, ok := value.(map[string]any)
	if !ok {
		return fmt.Sprint(value)
	}
	if id, ok := of["Ref"].(string); ok {
		return logical(id)
	}
	if of, ok := of["Fn::GetAtt"].([]any); ok {
		if of[1] == "Arn" {
			return logical(of[0].(string))
		}
		return fmt.Sprintf("%s.%s", logical(of[0].(string)), of[1])
	}
	if join, ok := of["Fn::Join"].([]any); ok {
		var parts []string
		for _, part := range join[1].([]any) {
			parts = append(parts, render(part))
		}
		return strings.Join(parts, join[0].(string))
	}
	return fmt.Sprint(value)
}

// grants finds every grant of the stack's template in the deployed policies. There
// has to be as much in them as in the template.
func (p *machine) grants(t *testing.T) map[grant]place {
	t.Helper()
	from := readTemplate(t, "../../build/local/cdk.out/"+local.StackName+".template.json")
	ids := p.physical(t)
	deployed := map[string]*policy{} // by logical id and property
	found := map[grant]place{}
	for g, at := range allowed(t, from) {
		key := at.id + "." + at.property
		if deployed[key] == nil {
			deployed[key] = p.policy(t, ids, from.Resources[at.id], at)
		}
		of := deployed[key]
		statement := parse(t, of.document)[at.statement]
		to := place{policy: of, statement: at.statement, action: g.action, resource: at.resource}
		if resources := texts(statement["Resource"]); resources != nil {
			to.arn = resources[at.resource].(string)
		}
		if !slices.Contains(texts(statement["Action"]), any(g.action)) {
			t.Fatalf("%s: the deployed statement is %v", g, statement)
		}
		if of.kind == inline {
			to.role = of.role
		}
		found[g] = to
	}
	if len(found) == 0 {
		t.Fatal("no grants found")
	}
	p.noOtherPolicies(t, slices.Collect(maps.Values(deployed)))
	return found
}

// policy reads a deployed one.
func (p *machine) policy(t *testing.T, ids map[string]string, r resource, at source) *policy {
	t.Helper()
	switch {
	case r.Type == "AWS::IAM::Policy":
		of := &policy{kind: inline, role: ids[texts(r.Properties["Roles"])[0].(map[string]any)["Ref"].(string)], name: r.Properties["PolicyName"].(string)}
		out, err := p.iam.GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: &of.role, PolicyName: &of.name})
		if err != nil {
			t.Fatalf("%s: %v", at.id, err)
		}
		of.document = unescape(t, out.PolicyDocument)
		return of
	case r.Type == "AWS::IAM::Role" && at.property == "AssumeRolePolicyDocument":
		of := &policy{kind: trust, role: ids[at.id]}
		out, err := p.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: &of.role})
		if err != nil {
			t.Fatalf("%s: %v", at.id, err)
		}
		of.document = unescape(t, out.Role.AssumeRolePolicyDocument)
		return of
	case r.Type == "AWS::SNS::TopicPolicy":
		of := &policy{kind: topic, topic: ids[texts(r.Properties["Topics"])[0].(map[string]any)["Ref"].(string)]}
		of.document = p.topicPolicy(t, of.topic)
		return of
	}
	t.Fatalf("%s: don't know where the %s of an %s is deployed: teach this test", at.id, at.property, r.Type)
	return nil
}

// put deploys another document; "" takes an inline policy away.
func (p *machine) put(t *testing.T, of *policy, document string) {
	t.Helper()
	var err error
	switch {
	case of.kind == topic:
		_, err = p.query("sns", "2010-03-31", "SetTopicAttributes", "TopicArn", of.topic, "AttributeName", "Policy", "AttributeValue", document)
	case of.kind == trust:
		_, err = p.iam.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: &of.role, PolicyDocument: &document})
	case document == "":
		_, err = p.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &of.role, PolicyName: &of.name})
	default:
		_, err = p.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &of.role, PolicyName: &of.name, PolicyDocument: &document})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// noOtherPolicies sees that the stack's roles have no policies but the known ones.
func (p *machine) noOtherPolicies(t *testing.T, known []*policy) {
	t.Helper()
	roles := map[string]bool{}
	for _, of := range known {
		if of.kind == trust {
			roles[of.role] = true
		}
	}
	list, err := p.iam.ListRoles(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Roles {
		if !strings.HasPrefix(*r.RoleName, local.StackName) {
			continue
		}
		if !roles[*r.RoleName] {
			t.Errorf("the role %s isn't in the template", *r.RoleName)
		}
		in, err := p.iam.ListRolePolicies(t.Context(), &iam.ListRolePoliciesInput{RoleName: r.RoleName})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range in.PolicyNames {
			if !slices.ContainsFunc(known, func(of *policy) bool { return of.kind == inline && of.role == *r.RoleName && of.name == name }) {
				t.Errorf("%s has a policy %s that isn't in the template", *r.RoleName, name)
			}
		}
		attached, err := p.iam.ListAttachedRolePolicies(t.Context(), &iam.ListAttachedRolePoliciesInput{RoleName: r.RoleName})
		if err != nil {
			t.Fatal(err)
		}
		if len(attached.AttachedPolicies) > 0 {
			t.Errorf("%s has managed policies", *r.RoleName)
		}
	}
}

// unescape decodes a document as the IAM API gives it.
func unescape(t *testing.T, document *string) string {
	t.Helper()
	text, err := url.PathUnescape(aws.ToString(document))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// parse reads the statements of a document.
func parse(t *testing.T, document string) []map[string]any {
	t.Helper()
	var read struct{ Statement []map[string]any }
	if err := json.Unmarshal([]byte(document), &read); err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	return read.Statement
}
