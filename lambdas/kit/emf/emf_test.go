package emf_test

import (
	"os"
	"time"

	"github.com/millrace/millrace/lambdas/kit/emf"
)

func ExampleCount() {
	emf.Count(os.Stdout, time.UnixMilli(1795255200123), "standings", emf.RejectedRecords, 2)
	// Output: {"FunctionName":"standings","RejectedRecords":2,"_aws":{"Timestamp":1795255200123,"CloudWatchMetrics":[{"Namespace":"Millrace","Dimensions":[["FunctionName"]],"Metrics":[{"Name":"RejectedRecords","Unit":"Count"}]}]}}
}
