package snapshot_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/stream"
)

// A test of a stack: its template as a whole, and what must hold for each stream
// that it ever has.
func ExampleTemplate_Match() {
	_ = func(t *testing.T) { // func TestOrders(t *testing.T) {
		app := awscdk.NewApp(&awscdk.AppProps{Outdir: jsii.String(t.TempDir())})
		stack := awscdk.NewStack(app, jsii.String("Orders"), nil)
		stream.New(stack, "Orders", stream.Props{})

		template := snapshot.Of(t, stack)
		template.Match(t, "testdata/orders.json")
		template.Each(t, "AWS::Kinesis::Stream", func(id string, stream snapshot.Resource) {
			if stream.At("StreamEncryption", "EncryptionType") != "KMS" {
				t.Errorf("%s isn't encrypted", id)
			}
		})
	}
}
