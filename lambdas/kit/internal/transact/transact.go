// Package transact makes transactions on DynamoDB, again as long as it is worth it.
package transact

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/lambdas/kit/internal/backoff"
)

// MaxWrites is how many writes AWS takes in a transaction, of 4 MB together.
const MaxWrites = 100

// API is what a transaction needs of a DynamoDB client.
type API interface {
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

// Attempts at most, for a call that conflicts with another one or is throttled.
const Attempts = 10

// Conflicts are over when the other transaction is, which takes milliseconds.
var Conflicts = backoff.Backoff{Base: 20 * time.Millisecond, Max: time.Second}

// Write makes all writes or none. Conflicts and throttling are tried again: the SDK
// doesn't, as they are one exception with conditions that failed. After the error that
// is left, of which Reasons tells more, nothing was written, unless it is of the network.
func Write(ctx context.Context, client API, writes []types.TransactWriteItem) error {
	in := &dynamodb.TransactWriteItemsInput{TransactItems: writes}
	for attempts := 1; ; attempts++ {
		_, err := client.TransactWriteItems(ctx, in)
		if err == nil || !passes(err) || attempts == Attempts {
			return err
		}
		if waitErr := Conflicts.Wait(ctx, attempts); waitErr != nil {
			return errors.Join(waitErr, err)
		}
	}
}

// passes tells a canceled transaction that may go through next time.
func passes(err error) bool {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return IsConflict(err)
	}
	passing := false
	for _, reason := range canceled.CancellationReasons {
		switch aws.ToString(reason.Code) {
		case "", "None":
		case "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
			passing = true
		default:
			return false
		}
	}
	return passing
}

// IsConflict says if a call failed because a transaction was at work on its item.
func IsConflict(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode() == "TransactionConflictException" || api.ErrorCode() == "TransactionInProgressException"
}

// Reasons adds to a cancellation which writes it was about, each by its name.
func Reasons(err error, name func(write int) string) error {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return err
	}
	all := []error{err}
	for i, reason := range canceled.CancellationReasons {
		if code := aws.ToString(reason.Code); code != "" && code != "None" {
			all = append(all, fmt.Errorf("%s: %s: %s", name(i), code, aws.ToString(reason.Message)))
		}
	}
	return errors.Join(all...)
}
