package local

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestReferencesOfATemplateAreResolved(t *testing.T) {
	r := resolver{
		"Bucket": {"AWS::S3::Bucket", "records"}, "Role": {"AWS::IAM::Role", "deliver"},
		"Function": {"AWS::Lambda::Function", "transform"}, "Topic": {"AWS::SNS::Topic", "arn:aws:sns:us-east-1:000000000000:t"},
		"Table": {"AWS::DynamoDB::Table", "standings"},
	}
	for name, test := range map[string]struct{ in, want string }{
		"plain values":      {`{"a":[1,true,null,"x"]}`, `{"a":[1,true,null,"x"]}`},
		"a name":            {`{"Ref":"Bucket"}`, `"records"`},
		"a bucket's ARN":    {`{"Fn::GetAtt":["Bucket","Arn"]}`, `"arn:aws:s3:::records"`},
		"a role's ARN":      {`[{"Fn::GetAtt":["Role","Arn"]}]`, `["arn:aws:iam::000000000000:role/deliver"]`},
		"an id that is one": {`{"Fn::GetAtt":["Topic","Arn"]}`, `"arn:aws:sns:us-east-1:000000000000:t"`},
		"a joined ARN": {
			`{"x":{"Fn::Join":["",["arn:",{"Ref":"AWS::Partition"},":lambda:",{"Ref":"AWS::Region"},":",{"Ref":"AWS::AccountId"},":function:",{"Ref":"Function"}]]}}`,
			`{"x":"arn:aws:lambda:us-east-1:000000000000:function:transform"}`,
		},
		"an unknown resource":               {`{"Ref":"Nobody"}`, "Nobody"},
		"an unknown attribute":              {`{"Fn::GetAtt":["Bucket","DomainName"]}`, "DomainName"},
		"a type whose ARNs aren't known":    {`{"Fn::GetAtt":["Table","Arn"]}`, "Table"},
		"another function, deep inside":     {`{"a":[{"Fn::Sub":"${Bucket}"}]}`, "Fn::Sub"},
		"an unknown resource within a text": {`{"Fn::Join":["",["a",{"Ref":"Nobody"}]]}`, "Nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			var in any
			if err := json.Unmarshal([]byte(test.in), &in); err != nil {
				t.Fatal(err)
			}
			value, err := r.resolve(in)
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want an error that names %s", err, test.want)
				}
				return
			}
			if got, _ := json.Marshal(value); string(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
