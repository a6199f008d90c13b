package batch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/aws/aws-lambda-go/lambda"
)

// guard is h as it is handed out: what it was made of without a source or a function
// fails its invocations, and so does a panic that is of no record, as of a Keys' by or
// of a state's own MarshalJSON. Lambda's runtime would end the process.
func guard[R any](h lambda.Handler, s Source[R], noFunction bool, o Options) lambda.Handler {
	var problems []error
	if s.read == nil {
		problems = append(problems, errors.New("batch: the source is none: use Kinesis, UserRecords or DynamoDB"))
	}
	if noFunction {
		problems = append(problems, errors.New("batch: the handler has no function"))
	}
	return &guarded{h, errors.Join(problems...), o}
}

type guarded struct {
	handler lambda.Handler
	wrong   error
	o       Options
}

// Invoke implements [lambda.Handler].
func (g *guarded) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	if g.wrong != nil {
		return nil, g.wrong
	}
	defer func() {
		if p := recover(); p != nil {
			logger(ctx, g.o.Log).ErrorContext(ctx, "the batch panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			answer, err = nil, fmt.Errorf("batch: it panicked outside of a record: %v", p)
		}
	}()
	return g.handler.Invoke(ctx, payload)
}
