// Package invoke is what the local pollers know of a Lambda function.
package invoke

import (
	"context"
	"errors"
)

// ErrThrottled says that the function takes no further invocation at the
// moment. Lambda answers TooManyRequestsException then.
var ErrThrottled = errors.New("throttled")

// Result is the answer to an invocation that was made, whether the function
// succeeded or not.
type Result struct {
	Payload []byte
	// FunctionError is empty if the function succeeded, otherwise "Unhandled" or
	// "Handled", as in the header X-Amz-Function-Error.
	FunctionError   string
	ExecutedVersion string
	RequestID       string
}

// Invoker invokes a function synchronously. An error means that the invocation
// couldn't be made (throttled, network); a function that fails is a Result with
// a FunctionError.
type Invoker interface {
	Invoke(ctx context.Context, payload []byte) (Result, error)
}
