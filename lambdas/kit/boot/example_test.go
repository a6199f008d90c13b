package boot_test

import (
	"fmt"

	"github.com/millrace/millrace/lambdas/kit/boot"
)

// What main does first: all that is missing is told at once, in the log's format.
func ExampleEnvironment() {
	getenv := func(name string) string { return map[string]string{"ORDERS_TABLE": "orders"}[name] } // os.Getenv
	env, err := boot.Environment(getenv, "ORDERS_TABLE", "FAILURE_BUCKET", "AWS_LAMBDA_FUNCTION_NAME")
	fmt.Println(env["ORDERS_TABLE"])
	fmt.Println(err)
	// Output:
	// orders
	// environment variable FAILURE_BUCKET is not set
	// environment variable AWS_LAMBDA_FUNCTION_NAME is not set
}
