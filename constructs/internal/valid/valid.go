// Package valid turns the problems that a construct found in its settings into
// the panic with which the CDK itself reports bad settings in Go; an app's main
// turns it into a plain message.
package valid

import (
	"reflect"

	"github.com/aws/constructs-go/constructs/v10"

	"github.com/millrace/millrace/constructs/spec"
)

// Must panics with the problems of check as a [*spec.Invalid], if there are any.
// The construct's path is asked for only then: it costs round trips to Node.js.
func Must(construct constructs.IConstruct, check *spec.Check) {
	if check.Err() == nil {
		return
	}
	check.Locate(*construct.Node().Path())
	panic(check.Err())
}

// Need panics with a [*spec.Invalid] when a collaborator of a function is missing.
func Need(function, argument string, collaborator any) {
	if Missing(collaborator) {
		check := spec.At(function)
		check.Add(argument, nil, "there is nothing to take", "pass the resource")
		panic(check.Err())
	}
}

// Missing tells whether a collaborator wasn't given: nil, or a nil pointer in an
// interface.
func Missing(collaborator any) bool {
	v := reflect.ValueOf(collaborator)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
