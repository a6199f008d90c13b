package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/cfn"

	"github.com/millrace/millrace/lambdas/migrate/migration"
)

// applier is what makes tables.
type applier interface {
	Apply(ctx context.Context, t migration.Table) error
}

type program struct {
	migrator applier
	http     interface {
		Do(*http.Request) (*http.Response, error)
	}
	log *slog.Logger
}

// margin is what is kept of an invocation's time, for the answer.
const margin = 10 * time.Second

// handle answers an event of CloudFormation at the address that it names, in good or
// bad.
//
// Statements can take longer than an invocation may. Then it ends in an error and
// without an answer: CloudFormation invokes functions asynchronously, so Lambda
// invokes again, two times, with the same event, and that goes on with what was done
// meanwhile.
func (p *program) handle(ctx context.Context, event cfn.Event) error {
	answer := cfn.NewResponse(&event)
	answer.PhysicalResourceID = event.PhysicalResourceID
	table, err := properties(event.ResourceProperties)
	if answer.PhysicalResourceID == "" {
		// It stays when properties change: nothing is ever replaced.
		answer.PhysicalResourceID = event.LogicalResourceID
	}
	switch {
	case event.RequestType == cfn.RequestDelete:
		// What was made stays, with its records, even if it was asked for in error.
		err = nil
	case err == nil:
		work, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			work, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		}
		err = p.migrator.Apply(work, table)
		cancel()
	}
	var unfinished *migration.Unfinished
	if errors.As(err, &unfinished) {
		p.log.Info("to be continued", "error", err.Error())
		return err
	}
	answer.Status = cfn.StatusSuccess
	if err != nil {
		p.log.Error("the table can't be made", "error", err.Error())
		answer.Status, answer.Reason = cfn.StatusFailed, reason(err)
	}
	return p.send(ctx, event.ResponseURL, answer)
}

// reason is an error as CloudFormation shows it; an answer has at most 4 KB.
func reason(err error) string {
	const most = 2000
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "… (the function's log has the rest)"
	}
	return text
}

func (p *program) send(ctx context.Context, url string, answer *cfn.Response) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return errors.New("CloudFormation's event names no address to answer to") // it is signed: not into the log
	}
	response, err := p.http.Do(request)
	if err != nil {
		return errors.New("CloudFormation can't be answered")
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		told, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("CloudFormation took the answer with %s: %s", response.Status, told)
	}
	return nil
}

// properties reads the resource's. CloudFormation makes texts of numbers and booleans.
func properties(all map[string]any) (migration.Table, error) {
	text, err := json.Marshal(all)
	if err != nil {
		return migration.Table{}, err
	}
	var p struct {
		ServiceToken, ServiceTimeout string
		migration.Table
		OwnUser string
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return migration.Table{}, fmt.Errorf("the properties: %w", err)
	}
	p.Table.OwnUser = p.OwnUser == "true"
	for _, needed := range []struct{ name, value string }{
		{"Database", p.Database},
		{"Schema", p.Schema},
		{"Table", p.Table.Table},
		{"AdminSecret", p.AdminSecret},
		{"UserSecret", p.UserSecret},
		{"User", p.User},
		{"WorkgroupName or ClusterIdentifier", p.WorkgroupName + p.ClusterIdentifier},
	} {
		if needed.value == "" {
			return migration.Table{}, fmt.Errorf("the properties: %s is missing", needed.name)
		}
	}
	return p.Table, nil
}
