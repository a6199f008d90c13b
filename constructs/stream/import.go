package stream

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Attributes are what an imported stream can't tell of itself.
type Attributes struct {
	// Mode of the stream, which limits its enhanced fan-out consumers; by default
	// it isn't known.
	Mode spec.StreamMode
	// Shards of a provisioned stream, 1 to 10,000; by default they aren't known.
	Shards int
	// RetentionPeriod is how long it keeps a record, 24 h (default) to 8,760 h. The
	// alarms on those who read it, and their oldest record, follow from it.
	RetentionPeriod time.Duration
	// Key that encrypts it, if that is a customer key: whoever reads or writes the
	// stream has to be allowed to use it.
	Key awskms.IKey
}

func (a Attributes) validate(c *spec.Check) {
	settings := spec.Stream{Mode: a.Mode, Shards: a.Shards, RetentionPeriod: a.RetentionPeriod}
	switch {
	case a.Mode == "" && a.Shards != 0:
		settings.Mode = spec.Provisioned
	case a.Mode == spec.Provisioned && a.Shards == 0:
		settings.Shards = spec.StreamShards.Min // not known
	}
	c.Merge(settings.Validate(""))
}

// Of takes a stream that is defined elsewhere, by any construct or import, which
// keeps its records for retention; 0 means 24 h, as Kinesis does.
func Of(existing awskinesis.IStream, retention time.Duration) *Stream {
	valid.Need("stream.Of", "existing", existing)
	return of(existing, existing.EncryptionKey(), Attributes{RetentionPeriod: retention})
}

func of(existing awskinesis.IStream, key awskms.IKey, a Attributes) *Stream {
	if valid.Missing(key) {
		key = nil
	}
	return &Stream{
		construct: existing, stream: existing, key: key, mode: a.Mode, shards: a.Shards,
		retention: spec.Stream{RetentionPeriod: a.RetentionPeriod}.WithDefaults().RetentionPeriod,
	}
}

// FromArn takes the stream with that ARN, of any account and region. It panics
// with a [*spec.Invalid] when the ARN isn't that of a stream.
func FromArn(scope constructs.Construct, id, arn string, attributes Attributes) *Stream {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Pattern("arn", arn, spec.StreamARN)
	return imported(this, check, attributes, func() *string { return jsii.String(arn) })
}

// FromName takes the stream of that name, of the stack's account and region. It
// panics with a [*spec.Invalid] when no stream can have that name.
func FromName(scope constructs.Construct, id, name string, attributes Attributes) *Stream {
	this := constructs.NewConstruct(scope, jsii.String(id))
	check := spec.At("")
	check.Pattern("name", name, spec.StreamName)
	return imported(this, check, attributes, func() *string {
		return awscdk.Stack_Of(this).FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("kinesis"), Resource: jsii.String("stream"), ResourceName: jsii.String(name),
		})
	})
}

func imported(this constructs.Construct, check *spec.Check, a Attributes, arn func() *string) *Stream {
	a.validate(check)
	valid.Must(this, check)
	existing := awskinesis.Stream_FromStreamAttributes(this, jsii.String("Resource"), &awskinesis.StreamAttributes{
		StreamArn: arn(), EncryptionKey: a.Key,
	})
	s := of(existing, a.Key, a)
	s.construct = this
	return s
}
