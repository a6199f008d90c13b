package stream

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// shareable are the actions that Kinesis takes in the policy of a stream.
// DescribeStream is what Lambda asks for in an event source mapping of another
// account.
var shareable = []string{
	"kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator",
	"kinesis:ListShards", "kinesis:PutRecord", "kinesis:PutRecords",
}

// Share lets another account, or a role or user of it, do these actions with the
// stream: with is a number of 12 digits or an ARN. It is half of what it takes:
// that account's own policies have to allow them too.
//
// The stream needs a customer key, as Kinesis' own can't be used by another
// account; the key's policy allows what the actions need through Kinesis. Share
// panics with a [*spec.Invalid] without such a key, for a stream that was
// imported (its owner shares it), and for actions that Kinesis doesn't share.
// To admit principals of this account, grant; for other statements, use
// Stream().AddToResourcePolicy.
func (s *Stream) Share(with string, actions ...string) {
	check := spec.At("")
	s.checkSharing(check, with)
	allow.Check(check, "kinesis", actions)
	if check.Err() == nil {
		allow.Only(check, shareable, actions, "Kinesis shares a stream for certain actions only")
	}
	valid.Must(s.construct, check)
	s.shareKey(s.construct, with, actions)
	s.stream.AddToResourcePolicy(allow.To(with, s.Arn(), nil, actions...))
}

// Share lets another account, or a role or user of it, read the stream through
// this consumer: with is a number of 12 digits or an ARN. It shares what is asked
// of the stream meanwhile, too; see [Stream.Share] for what it takes.
func (f *FanOut) Share(with string) {
	check := spec.At("")
	f.stream.checkSharing(check, with)
	valid.Must(f.construct, check)
	f.stream.shareKey(f.construct, with, onConsumers)
	f.stream.stream.AddToResourcePolicy(allow.To(with, f.stream.Arn(), nil, "kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:ListShards"))
	if f.policy == nil {
		f.policy = awsiam.NewPolicyDocument(nil)
		awskinesis.NewCfnResourcePolicy(f.construct, jsii.String("Policy"), &awskinesis.CfnResourcePolicyProps{
			ResourceArn: f.Arn(), ResourcePolicy: f.policy,
		})
	}
	f.policy.AddStatements(allow.To(with, f.Arn(), nil, onConsumers...))
}

func (s *Stream) checkSharing(c *spec.Check, with string) {
	c.Pattern("with", with, spec.Principal)
	if s.Resource() == nil {
		c.Add("Stream", "imported", "the policy of a stream belongs to the stack that defines it", "share it there")
		return
	}
	if s.key == nil {
		c.Add("Key", nil, "Kinesis' own key can't be used by another account", "set it to a customer key")
	}
}

// shareKey lets another account use the stream's key for what these actions need,
// through Kinesis only.
func (s *Stream) shareKey(at constructs.IConstruct, with string, actions []string) {
	if uses := keyUses(actions); len(uses) > 0 {
		allow.Key(at, s.key, "kinesis", with, uses...)
	}
}
