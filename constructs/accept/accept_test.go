package accept_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/spec"
)

const reason = "It is no danger here, and this says why."

func TestKnownIDsAreTaken(t *testing.T) {
	for _, id := range []string{
		"AwsSolutions-S1", "NIST.800.53.R5-S3BucketLoggingEnabled", "Serverless-LambdaDLQ", "AwsSolutions-IAM5[Resource::<A.Arn>/*]",
		"CKV_AWS_18", "CKV2_AWS_5", "W3005", "E3002", "I3011", "Annotation::@aws-cdk/aws-s3:policy", "CloudFormation-Validate::W3045",
	} {
		if err := accept.Validate(accept.Because(reason, id)); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := accept.Validate(accept.Finding{Reason: reason, IDs: []string{"AwsSolutions-IAM5", "CKV_AWS_111"}, AppliesTo: []string{"Action::s3:*"}}); err != nil {
		t.Error(err)
	}
}

func TestBadAcceptancesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		finding accept.Finding
		fields  string
	}{
		"no reason":                    {accept.Because("", "CKV_AWS_18"), "Reason"},
		"a reason of blanks":           {accept.Because("                  ", "CKV_AWS_18"), "Reason"},
		"a short reason":               {accept.Because("because", "CKV_AWS_18"), "Reason"},
		"no id":                        {accept.Because(reason), "IDs"},
		"an empty id":                  {accept.Because(reason, ""), "IDs"},
		"an id in words":               {accept.Because(reason, "S3 bucket logging"), "IDs"},
		"an id of another form":        {accept.Because(reason, "CKV_AWS_"), "IDs"},
		"a part without its rule":      {accept.Because(reason, "[Resource::*]"), "IDs"},
		"a namespace without its rule": {accept.Because(reason, "Annotation::"), "IDs"},
		"two bad ids":                  {accept.Because(reason, "x", "CKV_AWS_18", "y z"), "IDs IDs"},
		"parts of checkov":             {accept.Finding{Reason: reason, IDs: []string{"CKV_AWS_111"}, AppliesTo: []string{"Action::s3:*"}}, "AppliesTo"},
		"parts twice":                  {accept.Finding{Reason: reason, IDs: []string{"AwsSolutions-IAM5[Action::s3:*]"}, AppliesTo: []string{"Action::s3:*"}}, "AppliesTo"},
		"everything":                   {accept.Finding{AppliesTo: []string{"Action::s3:*"}}, "Reason IDs"},
	} {
		t.Run(name, func(t *testing.T) {
			var invalid *spec.Invalid
			if err := accept.Validate(accept.Because(reason, "CKV_AWS_1"), c.finding); !errors.As(err, &invalid) {
				t.Fatalf("want a *spec.Invalid, got %v", err)
			}
			var fields []string
			for _, p := range invalid.Problems {
				fields = append(fields, p.Field)
				if p.Path != "accept.On" || p.Value == "" || p.Want == "" || p.Fix == "" {
					t.Errorf("incomplete: %+v", p)
				}
			}
			if got := strings.Join(fields, " "); got != c.fields {
				t.Errorf("refused %s, want %s", got, c.fields)
			}
		})
	}
}
