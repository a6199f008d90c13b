package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/migrate/migration"
)

type applies func(ctx context.Context, t migration.Table) error

func (f applies) Apply(ctx context.Context, t migration.Table) error { return f(ctx, t) }

// event is CloudFormation's, with the properties of a template: what was a number or a
// boolean is text.
const event = `{
	"RequestType": "Create", "RequestId": "r", "StackId": "s", "LogicalResourceId": "OrdersTable", "ResourceType": "Custom::RedshiftTable",
	"ResourceProperties": {
		"ServiceToken": "arn", "ServiceTimeout": "3600", "WorkgroupName": "wg", "Database": "dev", "Schema": "shop", "Table": "orders",
		"AdminSecret": "admin", "UserSecret": "user", "User": "loader", "OwnUser": "true", "CreateTable": "CREATE TABLE …",
		"Columns": [{"Name": "shop", "Definition": "shop varchar(64)", "Type": "character varying(64)"}],
		"Migrations": [{"Name": "0001.sql", "Statements": ["select 1", "select 2"]}]
	}
}`

// handled sends an event to a program and returns CloudFormation's answer, if there was
// one.
func handled(t *testing.T, change func(*cfn.Event), status int, apply applies) (answer map[string]any, log string, err error) {
	t.Helper()
	cloudFormation := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPut || r.Header.Get("Content-Type") != "" || json.Unmarshal(body, &answer) != nil {
			t.Errorf("%s %v %s", r.Method, r.Header, body)
		}
		w.WriteHeader(status)
	}))
	defer cloudFormation.Close()
	var e cfn.Event
	if err := json.Unmarshal([]byte(event), &e); err != nil {
		t.Fatal(err)
	}
	e.ResponseURL = cloudFormation.URL + "/?Signature=secret"
	change(&e)
	var out bytes.Buffer
	p := &program{migrator: apply, http: http.DefaultClient, log: slog.New(slog.NewTextHandler(&out, nil))}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = p.handle(ctx, e)
	return answer, out.String(), err
}

func TestCloudFormationIsAnswered(t *testing.T) {
	ok := func(context.Context, migration.Table) error { return nil }
	fails := func(context.Context, migration.Table) error {
		return &migration.Refused{Why: strings.Repeat("no ", 2000)}
	}
	never := func(context.Context, migration.Table) error { t.Error("something is made"); return nil }
	for name, c := range map[string]struct {
		change           func(*cfn.Event)
		apply            applies
		status, physical string
		reason           string
	}{
		"a table that is new":    {func(*cfn.Event) {}, ok, "SUCCESS", "OrdersTable", ""},
		"a table that changes":   {func(e *cfn.Event) { e.RequestType, e.PhysicalResourceID = cfn.RequestUpdate, "before" }, ok, "SUCCESS", "before", ""},
		"a table that can't be":  {func(*cfn.Event) {}, fails, "FAILED", "OrdersTable", "no no"},
		"a table that goes":      {func(e *cfn.Event) { e.RequestType, e.PhysicalResourceID = cfn.RequestDelete, "before" }, never, "SUCCESS", "before", ""},
		"a bad one that goes":    {func(e *cfn.Event) { e.RequestType, e.ResourceProperties = cfn.RequestDelete, nil }, never, "SUCCESS", "OrdersTable", ""},
		"a property is missing":  {func(e *cfn.Event) { delete(e.ResourceProperties, "UserSecret") }, never, "FAILED", "OrdersTable", "UserSecret is missing"},
		"a property is unknown":  {func(e *cfn.Event) { e.ResourceProperties["Password"] = "x" }, never, "FAILED", "OrdersTable", "unknown field"},
		"a property isn't right": {func(e *cfn.Event) { e.ResourceProperties["Migrations"] = "x" }, never, "FAILED", "OrdersTable", "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, _, err := handled(t, c.change, 200, c.apply)
			if err != nil || answer["Status"] != c.status || answer["PhysicalResourceId"] != c.physical || answer["StackId"] != "s" || answer["RequestId"] != "r" || answer["LogicalResourceId"] != "OrdersTable" {
				t.Errorf("%v: %v", err, answer)
			}
			text, _ := answer["Reason"].(string)
			if !strings.Contains(text, c.reason) || len(text) > 2100 {
				t.Errorf("the reason is %q", text)
			}
		})
	}
}

func TestThePropertiesArrive(t *testing.T) {
	var got migration.Table
	_, _, err := handled(t, func(*cfn.Event) {}, 200, func(ctx context.Context, table migration.Table) error {
		got = table
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Minute-margin {
			t.Error("no time is kept for the answer")
		}
		return nil
	})
	want := migration.Table{
		WorkgroupName: "wg", Database: "dev", Schema: "shop", Table: "orders", AdminSecret: "admin", UserSecret: "user", User: "loader", OwnUser: true,
		CreateTable: "CREATE TABLE …", Columns: []migration.Column{{Name: "shop", Definition: "shop varchar(64)", Type: "character varying(64)"}},
		Migrations: []migration.Migration{{Name: "0001.sql", Statements: []string{"select 1", "select 2"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Lambda invokes again when an invocation ends in an error and nothing was answered.
func TestWhatIsntDoneInTimeIsContinued(t *testing.T) {
	answer, _, err := handled(t, func(*cfn.Event) {}, 200, func(context.Context, migration.Table) error {
		return &migration.Unfinished{What: "0001.sql", Err: context.DeadlineExceeded}
	})
	if answer != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("answered %v, error %v", answer, err)
	}
}

// The address that is answered to is signed: whoever has it can answer.
func TestTheAddressIsKeptOutOfLogs(t *testing.T) {
	ok := func(context.Context, migration.Table) error { return nil }
	for name, change := range map[string]func(*cfn.Event){
		"nobody listens": func(e *cfn.Event) { e.ResponseURL = "http://127.0.0.1:1/?Signature=secret" },
		"no address":     func(e *cfn.Event) { e.ResponseURL = "http://\x7f/?Signature=secret" },
		"a refusal":      func(*cfn.Event) {},
	} {
		_, log, err := handled(t, change, 403, ok)
		if err == nil || strings.Contains(err.Error()+log, "secret") {
			t.Errorf("%s: %v, log %s", name, err, log)
		}
	}
}
