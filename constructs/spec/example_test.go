package spec_test

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/constructs/spec"
)

// Settings can be checked without the CDK, and all problems come at once.
func Example() {
	err := spec.Stream{Shards: 4, RetentionPeriod: 12 * time.Hour}.Validate("Shop/Orders")
	fmt.Println(err)
	// Output:
	// 2 invalid settings:
	//   Shop/Orders: Shards is 4, but an on-demand stream has no shard count: leave it out, or set Mode to spec.Provisioned
	//   Shop/Orders: RetentionPeriod is 12h, but the range is 24h to 8760h (Kinesis keeps records for 1 to 365 days): set it to a value from 24h to 8760h
}
