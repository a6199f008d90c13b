// Package invoke is what the local pollers know of a Lambda function.
package invoke

import (
	"context"
	"errors"
)

// ErrThrottled is that an invocation was refused for want of concurrency.
var ErrThrottled = errors.New("throttled")

// Result is what an invocation answered.
type Result struct {
	Payload         []byte
	FunctionError   string // "", "Unhandled" or "Handled"
	ExecutedVersion string
	RequestID       string
}

// Invoker invokes one function and waits for its answer. An error means that the
// invocation could not be made (throttled, network); a function that fails is a
// Result with a FunctionError.
type Invoker interface {
	Invoke(ctx context.Context, payload []byte) (Result, error)
}
