package migration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
	"github.com/aws/smithy-go"
)

// DataAPI is what is needed of Redshift's Data API; *redshiftdata.Client is one.
type DataAPI interface {
	ExecuteStatement(context.Context, *redshiftdata.ExecuteStatementInput, ...func(*redshiftdata.Options)) (*redshiftdata.ExecuteStatementOutput, error)
	BatchExecuteStatement(context.Context, *redshiftdata.BatchExecuteStatementInput, ...func(*redshiftdata.Options)) (*redshiftdata.BatchExecuteStatementOutput, error)
	DescribeStatement(context.Context, *redshiftdata.DescribeStatementInput, ...func(*redshiftdata.Options)) (*redshiftdata.DescribeStatementOutput, error)
	GetStatementResult(context.Context, *redshiftdata.GetStatementResultInput, ...func(*redshiftdata.Options)) (*redshiftdata.GetStatementResultOutput, error)
}

var _ DataAPI = (*redshiftdata.Client)(nil)

// StatementError is that Redshift refused a statement; its transaction was rolled back.
type StatementError struct {
	What    string // the statement is part of
	Number  int    // of the statement in it, from 1; 0 if that isn't known
	Message string // Redshift's
}

func (e *StatementError) Error() string {
	if e.Number > 0 {
		return fmt.Sprintf("%s, statement %d: %s", e.What, e.Number, e.Message)
	}
	return e.What + ": " + e.Message
}

// Unfinished is that Redshift is still at work when the time is over.
type Unfinished struct {
	What string
	Err  error
}

func (e *Unfinished) Error() string { return e.What + " isn't done yet: " + e.Err.Error() }
func (e *Unfinished) Unwrap() error { return e.Err }

// transaction runs a plan's statements, all or none.
func (r *run) transaction(ctx context.Context, p *plan) error {
	var out *redshiftdata.BatchExecuteStatementOutput
	err := r.patiently(ctx, p.what, func() (err error) {
		out, err = r.Data.BatchExecuteStatement(ctx, &redshiftdata.BatchExecuteStatementInput{
			Sqls: p.statements, Database: aws.String(r.Database), SecretArn: aws.String(r.AdminSecret),
			WorkgroupName: optional(r.WorkgroupName), ClusterIdentifier: optional(r.ClusterIdentifier), StatementName: aws.String("millrace"),
		})
		return err
	})
	if err != nil {
		return err
	}
	_, err = r.wait(ctx, p.what, p.offset, out.Id)
	return err
}

// query runs a statement and reads its rows; NULL is empty.
func (r *run) query(ctx context.Context, sql string) ([][]string, error) {
	const what = "read the catalog"
	var out *redshiftdata.ExecuteStatementOutput
	err := r.patiently(ctx, what, func() (err error) {
		out, err = r.Data.ExecuteStatement(ctx, &redshiftdata.ExecuteStatementInput{
			Sql: aws.String(sql), Database: aws.String(r.Database), SecretArn: aws.String(r.AdminSecret),
			WorkgroupName: optional(r.WorkgroupName), ClusterIdentifier: optional(r.ClusterIdentifier), StatementName: aws.String("millrace"),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	done, err := r.wait(ctx, what, 0, out.Id)
	if err != nil || !aws.ToBool(done.HasResultSet) {
		return nil, err
	}
	var rows [][]string
	for pages := redshiftdata.NewGetStatementResultPaginator(r.Data, &redshiftdata.GetStatementResultInput{Id: out.Id}); pages.HasMorePages(); {
		var page *redshiftdata.GetStatementResultOutput
		err := r.patiently(ctx, what, func() (err error) {
			page, err = pages.NextPage(ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, record := range page.Records {
			row := make([]string, len(record))
			for i := range record {
				if row[i], err = cell(record[i]); err != nil {
					return nil, err
				}
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func cell(field types.Field) (string, error) {
	switch v := field.(type) {
	case *types.FieldMemberStringValue:
		return v.Value, nil
	case *types.FieldMemberLongValue:
		return strconv.FormatInt(v.Value, 10), nil
	case *types.FieldMemberIsNull:
		return "", nil
	}
	return "", fmt.Errorf("a value of the catalog is a %T", field)
}

// The pauses between looks at a statement.
const (
	firstLook = 200 * time.Millisecond
	lastLook  = 5 * time.Second
)

// wait waits until a statement, or all of a transaction, is done.
func (r *run) wait(ctx context.Context, what string, offset int, id *string) (*redshiftdata.DescribeStatementOutput, error) {
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		var out *redshiftdata.DescribeStatementOutput
		err := r.patiently(ctx, what, func() (err error) {
			out, err = r.Data.DescribeStatement(ctx, &redshiftdata.DescribeStatementInput{Id: id})
			return err
		})
		if err != nil {
			return nil, err
		}
		switch out.Status {
		case types.StatusStringFinished:
			return out, nil
		case types.StatusStringFailed, types.StatusStringAborted:
			failed := &StatementError{What: what, Message: aws.ToString(out.Error)}
			for i, s := range out.SubStatements {
				if s.Status == types.StatementStatusStringFailed && i >= offset {
					failed.Number = i - offset + 1
					if s.Error != nil {
						failed.Message = *s.Error
					}
				}
			}
			if failed.Message == "" {
				failed.Message = "Redshift says only that it is " + string(out.Status)
			}
			return nil, failed
		}
		if err := r.sleep(ctx, pause); err != nil {
			return nil, &Unfinished{what, err}
		}
	}
}

// Roles and secrets that were made just before may take a while to be known.
const settling = time.Minute

// patiently calls until it isn't turned away for the moment.
func (r *run) patiently(ctx context.Context, what string, call func() error) error {
	for {
		err := call()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return &Unfinished{what, ctx.Err()}
		case !r.passing(err):
			return fmt.Errorf("%s: %w", what, err)
		}
		r.Log.Info("waiting", "table", r.name(), "what", what, "error", err.Error())
		if r.sleep(ctx, lastLook) != nil {
			return &Unfinished{what, err}
		}
	}
}

// passing tells whether an error may go away by itself.
func (r *run) passing(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "ActiveStatementsExceededException", "ActiveSessionsExceededException", "DatabaseConnectionException":
		return true
	case "AccessDeniedException", "ResourceNotFoundException":
		return r.now().Sub(r.began) < settling
	}
	return false
}

// conflict tells whether a statement failed because of another transaction.
func conflict(err error) bool {
	var failed *StatementError
	if !errors.As(err, &failed) {
		return false
	}
	message := strings.ToLower(failed.Message)
	for _, sign := range []string{"serializable isolation", "could not serialize", "deadlock", "concurrent transaction", "concurrently updated"} {
		if strings.Contains(message, sign) {
			return true
		}
	}
	return false
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}
