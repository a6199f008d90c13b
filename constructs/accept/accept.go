// Package accept records beside a resource which findings of security checkers
// are accepted, and why. The record is the resource's metadata in the template,
// in each checker's own notation, so that a checker stays silent about exactly
// these findings and a reader of the template finds the reason.
//
// The constructs of this module use it for their own defaults; where a setting
// answers the finding (a VPC, a customer key, a bucket for access logs), setting
// it removes the finding and its acceptance together. docs/design/findings.md
// lists them all.
package accept

import (
	"regexp"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Finding is one reason, and the findings that it answers.
type Finding struct {
	// Reason, at least ten characters: why the finding is no danger here.
	Reason string
	// IDs as the checkers print them: "AwsSolutions-S1" and the like of cdk-nag,
	// also with a part, "AwsSolutions-IAM5[Action::s3:*]"; "CKV_AWS_18" of checkov;
	// "W3005" of cfn-lint. Of the CDK's own validation after the name of what
	// checks: "CloudFormation-Validate::W3045", "Annotation::…".
	IDs []string
	// AppliesTo narrows those findings of cdk-nag that have parts, such as
	// "Action::s3:*"; a part between slashes is a regular expression. Empty means
	// all parts.
	AppliesTo []string
}

// Because is a finding for the usual case.
func Because(reason string, ids ...string) Finding { return Finding{Reason: reason, IDs: ids} }

var (
	checkov = regexp.MustCompile(`^CKV2?_[A-Z]+_[0-9]+$`)
	lint    = regexp.MustCompile(`^[EWI][0-9]{4}$`)
	nag     = regexp.MustCompile(`^([A-Za-z0-9.]+-[A-Za-z0-9]+)(?:\[(.+)\])?$`)
	cdk     = regexp.MustCompile(`^[A-Za-z][A-Za-z-]*::[^:].*$`)
)

// On adds findings to those accepted on resource. It panics with a [*spec.Invalid]
// when a reason is missing or an id is of no known checker, or resource is nil: a
// resource that was imported has no template to carry the record.
func On(resource awscdk.CfnResource, findings ...Finding) {
	valid.Need("accept.On", "resource", resource)
	if err := Validate(findings...); err != nil {
		panic(err)
	}
	options := resource.CfnOptions()
	all := map[string]any{}
	if before := options.Metadata(); before != nil {
		all = *before
	}
	for _, f := range findings {
		for _, id := range f.IDs {
			switch {
			case checkov.MatchString(id):
				extend(all, "checkov", "skip", map[string]any{"id": id, "comment": f.Reason})
			case lint.MatchString(id):
				extend(all, "cfn-lint", "config", nil)
				config := all["cfn-lint"].(map[string]any)["config"].(map[string]any)
				ignored, _ := config["ignore_checks"].([]any)
				config["ignore_checks"] = append(ignored, id)
				// cfn-lint has no place for a reason, and reads only config.
				extend(all, "cfn-lint", "reasons", map[string]any{"id": id, "reason": f.Reason})
			case nag.MatchString(id):
				name, applies := nag.FindStringSubmatch(id), f.AppliesTo
				if name[2] != "" {
					applies = []string{name[2]}
				}
				entry := map[string]any{"id": name[1], "reason": f.Reason}
				if len(applies) > 0 {
					entry["applies_to"] = parts(applies)
				}
				extend(all, "cdk_nag", "rules_to_suppress", entry)
			default:
				// The CDK keeps this one out of the template: it is noted there too.
				awscdk.Validations_Of(resource).Acknowledge(&awscdk.Acknowledgment{Id: jsii.String(id), Reason: jsii.String(f.Reason)})
				extend(all, "cdk_validation", "acknowledged", map[string]any{"id": id, "reason": f.Reason})
			}
		}
	}
	options.SetMetadata(&all)
}

// Validate returns every problem of findings as a [*spec.Invalid].
func Validate(findings ...Finding) error {
	c := spec.At("accept.On")
	for _, f := range findings {
		if len(strings.TrimSpace(f.Reason)) < 10 {
			c.Add("Reason", f.Reason, "an accepted finding needs a reason of ten characters or more", "say why it is no danger here")
		}
		if len(f.IDs) == 0 {
			c.Add("IDs", nil, "a reason answers at least one finding", "name it as the checker prints it")
		}
		hasParts := false
		for _, id := range f.IDs {
			ofNag := nag.FindStringSubmatch(id)
			switch {
			case ofNag != nil && ofNag[2] != "" && len(f.AppliesTo) > 0:
				c.Add("AppliesTo", strings.Join(f.AppliesTo, " "), id+" names its part itself", "leave one of them out")
				hasParts = true
			case ofNag != nil:
				hasParts = true
			case !checkov.MatchString(id) && !lint.MatchString(id) && !cdk.MatchString(id):
				c.Add("IDs", id, "it is no id of cdk-nag, checkov, cfn-lint or the CDK", "copy it from the checker's output")
			}
		}
		if len(f.AppliesTo) > 0 && len(f.IDs) > 0 && !hasParts {
			c.Add("AppliesTo", strings.Join(f.AppliesTo, " "), "only findings of cdk-nag have parts", "leave it out")
		}
	}
	return c.Err()
}

// extend appends entry to the list at all[tool][key]; a nil entry makes it a map.
func extend(all map[string]any, tool, key string, entry any) {
	section, _ := all[tool].(map[string]any)
	if section == nil {
		section = map[string]any{}
		all[tool] = section
	}
	if entry == nil {
		if _, ok := section[key].(map[string]any); !ok {
			section[key] = map[string]any{}
		}
		return
	}
	list, _ := section[key].([]any)
	section[key] = append(list, entry)
}

// parts are AppliesTo in cdk-nag's notation.
func parts(texts []string) []any {
	all := make([]any, len(texts))
	for i, t := range texts {
		if all[i] = t; len(t) > 1 && t[0] == '/' && t[len(t)-1] == '/' {
			all[i] = map[string]any{"regex": t}
		}
	}
	return all
}
