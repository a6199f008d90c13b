package migration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// database is as much of one as the statements of this package need. A real one runs
// them in tests/redshift.
type database struct {
	schemas, users, grants map[string]string
	columns                map[string]string // type by name; nil without the table
	ledger                 map[string]string // checksum by line; nil without the table
	log                    []string          // statements of migrations, as they were committed
}

func (d *database) clone() *database {
	return &database{maps.Clone(d.schemas), maps.Clone(d.users), maps.Clone(d.grants), maps.Clone(d.columns), maps.Clone(d.ledger), slices.Clone(d.log)}
}

var forms = map[string]*regexp.Regexp{
	"schema": regexp.MustCompile(`^CREATE SCHEMA IF NOT EXISTS "(.*)"$`),
	"ledger": regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS millrace\.migrations `),
	"table":  regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS shop\.orders \((.*)\)$`),
	"column": regexp.MustCompile(`^ALTER TABLE shop\.orders ADD COLUMN (\w+) (.*)$`),
	"lock":   regexp.MustCompile(`^LOCK millrace\.migrations$`),
	"once":   regexp.MustCompile(`^SELECT 1 / \(1 - COUNT\(\*\)\) FROM millrace\.migrations WHERE target = 'shop\.orders' AND name = '(.*)'$`),
	"record": regexp.MustCompile(`^INSERT INTO millrace\.migrations .* VALUES \('shop\.orders', '(.*)', '(.*)', '.*'\)$`),
	"forget": regexp.MustCompile(`^DELETE FROM millrace\.migrations WHERE target = 'shop\.orders' AND name = '(.*)'$`),
	"create": regexp.MustCompile(`^CREATE USER "(.*)" PASSWORD '(.*)'$`),
	"alter":  regexp.MustCompile(`^ALTER USER "(.*)" PASSWORD '(.*)'$`),
	"grant":  regexp.MustCompile(`^GRANT (.*) TO "(.*)"$`),
}

// run runs a statement, or says what Redshift would.
func (d *database) run(sql string) error {
	for form, pattern := range forms {
		m := pattern.FindStringSubmatch(sql)
		if m == nil {
			continue
		}
		switch form {
		case "schema":
			d.schemas[m[1]] = ""
		case "ledger":
			if d.ledger == nil {
				d.ledger = map[string]string{}
			}
		case "table":
			if d.columns == nil {
				d.columns = map[string]string{}
				for _, c := range strings.Split(m[1], ", ") {
					name, kind, _ := strings.Cut(c, " ")
					d.columns[name] = kind
				}
			}
		case "column":
			if _, there := d.columns[m[1]]; there {
				return fmt.Errorf(`column "%s" of relation "orders" already exists`, m[1])
			}
			d.columns[m[1]] = m[2]
		case "once":
			if _, there := d.ledger[m[1]]; there {
				return errors.New("Divide by zero")
			}
		case "record":
			d.ledger[m[1]] = m[2]
		case "forget":
			delete(d.ledger, m[1])
		case "create":
			if _, there := d.users[m[1]]; there {
				return fmt.Errorf(`user "%s" already exists`, m[1])
			}
			d.users[m[1]] = m[2]
		case "alter":
			d.users[m[1]] = m[2]
		case "grant":
			if strings.HasPrefix(m[1], "INSERT") && d.columns == nil {
				return errors.New(`relation "shop.orders" does not exist`)
			}
			d.grants[m[1]] = m[2]
		}
		return nil
	}
	if strings.Contains(sql, "fail") {
		return errors.New("syntax error")
	}
	if strings.Contains(sql, "make the table") {
		d.columns = map[string]string{}
	}
	if strings.Contains(sql, "widen shop") {
		d.columns["shop"] = "character varying(128)"
	}
	d.log = append(d.log, sql)
	return nil
}

// query answers a query.
func (d *database) query(sql string) [][]string {
	var rows [][]string
	switch {
	case strings.Contains(sql, "pg_namespace"):
		for schema := range d.schemas {
			rows = append(rows, []string{schema})
		}
	case strings.Contains(sql, "information_schema.tables"):
		if d.ledger != nil {
			rows = append(rows, []string{"migrations"})
		}
	case strings.Contains(sql, "information_schema.columns"):
		for name, kind := range d.columns {
			rows = append(rows, []string{name, kind, "", "", ""})
		}
	case strings.Contains(sql, "pg_user"):
		for user := range d.users {
			rows = append(rows, []string{user})
		}
	case strings.HasPrefix(sql, "SELECT name, checksum FROM millrace.migrations"):
		for line, sum := range d.ledger {
			rows = append(rows, []string{line, sum})
		}
	default:
		panic("unknown query: " + sql)
	}
	return rows
}

// server is the Data API in front of a database.
type server struct {
	*database
	secret  string
	results map[string][][]string
	failed  map[string]*redshiftdata.DescribeStatementOutput
	ids     int
	sent    []string // every statement
	// before is called before each transaction, with its statements; an error is the
	// API's answer.
	before func(sqls []string) error
	// after is called when a transaction was committed; an error is the API's answer.
	after func(sqls []string) error
	// running is how often a statement is described as running first.
	running int
	// conflicts is how often a transaction loses against another one.
	conflicts int
}

func newServer() *server {
	return &server{
		database: &database{schemas: map[string]string{"shop": ""}, users: map[string]string{}, grants: map[string]string{}},
		secret:   `{"username":"loader","password":"Secret123"}`, results: map[string][][]string{}, failed: map[string]*redshiftdata.DescribeStatementOutput{},
	}
}

func (s *server) id() *string {
	s.ids++
	return aws.String(fmt.Sprint(s.ids))
}

func (s *server) ExecuteStatement(ctx context.Context, in *redshiftdata.ExecuteStatementInput, _ ...func(*redshiftdata.Options)) (*redshiftdata.ExecuteStatementOutput, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	id := s.id()
	s.sent = append(s.sent, *in.Sql)
	s.results[*id] = s.query(*in.Sql)
	return &redshiftdata.ExecuteStatementOutput{Id: id}, nil
}

func (s *server) BatchExecuteStatement(ctx context.Context, in *redshiftdata.BatchExecuteStatementInput, _ ...func(*redshiftdata.Options)) (*redshiftdata.BatchExecuteStatementOutput, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if *in.SecretArn != "admin" || *in.WorkgroupName != "wg" || in.ClusterIdentifier != nil || len(in.Sqls) > 40 {
		return nil, fmt.Errorf("%d statements to %+v", len(in.Sqls), in)
	}
	if s.before != nil {
		if err := s.before(in.Sqls); err != nil {
			return nil, err
		}
	}
	id := s.id()
	s.sent = append(s.sent, in.Sqls...)
	next := s.clone()
	for i, sql := range in.Sqls {
		err := next.run(sql)
		if err == nil && sql == "third" && s.conflicts > 0 {
			s.conflicts--
			err = errors.New("1023 DETAIL: Serializable isolation violation on table - 100")
		}
		if err != nil {
			subs := make([]types.SubStatementData, len(in.Sqls))
			for j := range subs {
				subs[j].Status = types.StatementStatusStringAborted
			}
			subs[i] = types.SubStatementData{Status: types.StatementStatusStringFailed, Error: aws.String("ERROR: " + err.Error())}
			s.failed[*id] = &redshiftdata.DescribeStatementOutput{Status: types.StatusStringFailed, Error: aws.String("Query #" + fmt.Sprint(i+1)), SubStatements: subs}
			return &redshiftdata.BatchExecuteStatementOutput{Id: id}, nil
		}
	}
	*s.database = *next
	if s.after != nil {
		if err := s.after(in.Sqls); err != nil {
			return nil, err
		}
	}
	return &redshiftdata.BatchExecuteStatementOutput{Id: id}, nil
}

func (s *server) DescribeStatement(_ context.Context, in *redshiftdata.DescribeStatementInput, _ ...func(*redshiftdata.Options)) (*redshiftdata.DescribeStatementOutput, error) {
	if s.running > 0 {
		s.running--
		return &redshiftdata.DescribeStatementOutput{Status: types.StatusStringStarted}, nil
	}
	if out := s.failed[*in.Id]; out != nil {
		return out, nil
	}
	_, rows := s.results[*in.Id]
	return &redshiftdata.DescribeStatementOutput{Status: types.StatusStringFinished, HasResultSet: aws.Bool(rows)}, nil
}

// GetStatementResult answers a row a page.
func (s *server) GetStatementResult(_ context.Context, in *redshiftdata.GetStatementResultInput, _ ...func(*redshiftdata.Options)) (*redshiftdata.GetStatementResultOutput, error) {
	rows, at := s.results[*in.Id], 0
	if in.NextToken != nil {
		_, _ = fmt.Sscan(*in.NextToken, &at)
	}
	out := &redshiftdata.GetStatementResultOutput{}
	if at < len(rows) {
		var record []types.Field
		for i, v := range rows[at] {
			if v == "" && i > 0 {
				record = append(record, &types.FieldMemberIsNull{Value: true})
			} else {
				record = append(record, &types.FieldMemberStringValue{Value: v})
			}
		}
		out.Records = [][]types.Field{record}
	}
	if at+1 < len(rows) {
		out.NextToken = aws.String(fmt.Sprint(at + 1))
	}
	return out, nil
}

func (s *server) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	if *in.SecretId != "user" {
		return nil, fmt.Errorf("no secret %s", *in.SecretId)
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(s.secret)}, nil
}

// orders is the table of the tests.
func orders() Table {
	return Table{
		WorkgroupName: "wg", Database: "dev", AdminSecret: "admin", UserSecret: "user", User: "loader", OwnUser: true, Schema: "shop", Table: "orders",
		CreateTable: "CREATE TABLE IF NOT EXISTS shop.orders (shop character varying(64), amount numeric(12,2))",
		Columns:     []Column{{"shop", "shop character varying(64)", "character varying(64)"}, {"amount", "amount numeric(12,2)", "numeric(12,2)"}},
		Migrations:  []Migration{{"0001_a.sql", []string{"first", "second"}}, {"0002_b.sql", []string{"third"}}},
	}
}

// apply applies t, on a clock that jumps, and returns what was logged.
func apply(t *testing.T, s *server, table Table) (string, error) {
	t.Helper()
	var log bytes.Buffer
	clock := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	m := &Migrator{
		Data: s, Secrets: s, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return clock },
		Sleep: func(ctx context.Context, d time.Duration) error {
			if clock = clock.Add(d); clock.Sub(time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)) > 15*time.Minute {
				cancel(context.DeadlineExceeded)
			}
			return ctx.Err()
		},
	}
	err := m.Apply(ctx, table)
	return log.String(), err
}

// made checks that the table is as orders asks for, everything done once.
func made(t *testing.T, s *server) {
	t.Helper()
	if diff := cmp.Diff([]string{"first", "second", "third"}, s.log); diff != "" {
		t.Errorf("the migrations' statements (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"shop": "character varying(64)", "amount": "numeric(12,2)"}, s.columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"0001_a.sql", "0002_b.sql", "user loader"}, slices.Sorted(maps.Keys(s.ledger))); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{`USAGE ON SCHEMA "shop"`: "loader", "INSERT ON shop.orders": "loader"}, s.grants); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestATableIsMadeOnce(t *testing.T) {
	s := newServer()
	delete(s.schemas, "shop")
	for range 3 {
		if _, err := apply(t, s, orders()); err != nil {
			t.Fatal(err)
		}
		made(t, s)
	}
	for _, sql := range s.sent {
		if strings.Contains(sql, "DROP") {
			t.Errorf("%s", sql)
		}
	}
}

// AWS's documentation has this very digest for user1 with the password ez.
func TestThePasswordItselfGoesNowhere(t *testing.T) {
	s := newServer()
	s.secret = `{"username":"user1","password":"ez"}`
	table := orders()
	table.User = "user1"
	log, err := apply(t, s, table)
	if err != nil || s.users["user1"] != "md5153c434b4b77c89e6b94f12c5393af5b" {
		t.Errorf("%v: %v", err, s.users)
	}
	s.secret = `{"username":"user1","password":"Wolke7Sieben"}`
	more, err := apply(t, s, table)
	if err != nil || s.users["user1"] == "md5153c434b4b77c89e6b94f12c5393af5b" {
		t.Errorf("a new password doesn't reach the user: %v, %v", err, s.users)
	}
	if all := log + more + strings.Join(s.sent, "\n"); strings.Contains(all, "Wolke7Sieben") || strings.Contains(log+more, "md5") {
		t.Errorf("the password or its digest is in %s", all)
	}
	sent := len(s.sent)
	if _, err := apply(t, s, table); err != nil || slices.ContainsFunc(s.sent[sent:], func(sql string) bool { return strings.Contains(sql, "USER") }) {
		t.Errorf("the same password is set again: %v, %q", err, s.sent[sent:])
	}
}

var errKilled = errors.New("the function was killed")

// Wherever the function is killed, also right after Redshift committed, the next
// invocation goes on and nothing is done twice.
func TestAFunctionThatIsKilledGoesOn(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		for n := 1; ; n++ {
			s := newServer()
			calls := 0
			kill := func([]string) error {
				if calls++; calls == n {
					return errKilled
				}
				return nil
			}
			if when == "before" {
				s.before = kill
			} else {
				s.after = kill
			}
			if _, err := apply(t, s, orders()); err == nil {
				if n < 5 {
					t.Errorf("there were only %d transactions", n-1)
				}
				break // it was done before it could be killed
			} else if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if _, err := apply(t, s, orders()); err != nil {
				t.Fatalf("killed %s transaction %d: %v", when, n, err)
			}
			made(t, s)
		}
	}
}

// Two runs at once, by duplicated events: the second one does everything between any
// two steps of the first.
func TestTwoRunsAtOnceDoEverythingOnce(t *testing.T) {
	for n := 1; n <= 6; n++ {
		s := newServer()
		calls := 0
		s.before = func([]string) error {
			if calls++; calls == n {
				if _, err := apply(t, s, orders()); err != nil {
					t.Errorf("the second run, before transaction %d: %v", n, err)
				}
			}
			return nil
		}
		if _, err := apply(t, s, orders()); err != nil {
			t.Errorf("the first run, overtaken before transaction %d: %v", n, err)
		}
		made(t, s)
	}
}

func TestNewColumnsAreAddedAndNoneIsDropped(t *testing.T) {
	s := newServer()
	if _, err := apply(t, s, orders()); err != nil {
		t.Fatal(err)
	}
	next := orders()
	next.Columns = next.Columns[1:]
	for i := range 50 {
		next.Columns = append(next.Columns, Column{fmt.Sprint("c", i), fmt.Sprint("c", i, " integer"), "integer"})
	}
	if _, err := apply(t, s, next); err != nil {
		t.Fatal(err)
	}
	if len(s.columns) != 52 || s.columns["c49"] != "integer" || s.columns["shop"] == "" {
		t.Errorf("columns: %v", s.columns)
	}
}

func TestWhatCantBeRunIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *server, t *Table)
		want   string
	}{
		"a file that changed": {func(_ *server, t *Table) { t.Migrations[0].Statements = []string{"first"} }, "0001_a.sql was run with other statements"},
		"a file between": {func(_ *server, t *Table) {
			t.Migrations = slices.Insert(t.Migrations, 1, Migration{"0001_b.sql", []string{"late"}})
		}, "0001_b.sql comes before 0002_b.sql"},
		"two at once": {func(_ *server, t *Table) {
			t.Migrations[0].Statements, t.Migrations[1].Statements = nil, nil
		}, "0001_a.sql was run with other statements than it has now: restore it, and put what is to change into a new file; 0002_b.sql was"},
		"a column of another type": {func(_ *server, t *Table) {
			t.Columns[0].Type = "integer"
		}, "shop is character varying(64) and should be integer"},
		"a user of somebody else": {func(s *server, t *Table) {
			s.users["admin"], s.secret, t.User = "x", `{"username":"admin","password":"y"}`, "admin"
		}, "the user admin is there already"},
		"a secret of another user":    {func(_ *server, t *Table) { t.User = "other" }, "is of the user loader, and the delivery's is other"},
		"a secret that is none":       {func(s *server, _ *Table) { s.secret = "Secret123" }, `isn't {"username"`},
		"a secret without a password": {func(s *server, _ *Table) { s.secret = `{"username":"loader","pass":"Secret123"}` }, `isn't {"username"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			if _, err := apply(t, s, orders()); err != nil {
				t.Fatal(err)
			}
			table, before := orders(), s.clone()
			c.change(s, &table)
			_, err := apply(t, s, table)
			var refused *Refused
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "Secret123") {
				t.Errorf("got %v", err)
			}
			if len(s.log) != len(before.log) || !maps.Equal(s.ledger, before.ledger) {
				t.Errorf("something was run: %q", s.log)
			}
		})
	}
}

// A file that fails leaves nothing of itself behind, those before it stay, and taking
// the deployment back works.
func TestAFailedUpdateIsTakenBack(t *testing.T) {
	s := newServer()
	if _, err := apply(t, s, orders()); err != nil {
		t.Fatal(err)
	}
	next := orders()
	next.Migrations = append(next.Migrations, Migration{"0003_c.sql", []string{"widen shop"}}, Migration{"0004_d.sql", []string{"fifth", "this will fail", "sixth"}})
	next.Columns[0].Type = "character varying(128)"
	_, err := apply(t, s, next)
	var statement *StatementError
	if !errors.As(err, &statement) || err.Error() != "0004_d.sql, statement 2: ERROR: syntax error" {
		t.Errorf("got %v", err)
	}
	if s.log[len(s.log)-1] != "widen shop" || s.ledger["0004_d.sql"] != "" {
		t.Errorf("run: %q; ledger: %v", s.log, s.ledger)
	}
	if log, err := apply(t, s, orders()); err != nil || !strings.Contains(log, "0003_c.sql") {
		t.Errorf("the old properties are refused: %v", err)
	}
	next.Migrations[3].Statements[1] = "mended"
	if _, err := apply(t, s, next); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"first", "second", "third", "widen shop", "fifth", "mended", "sixth"}, s.log); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMigrationsCanMakeTheTable(t *testing.T) {
	table := orders()
	table.CreateTable, table.Columns, table.OwnUser = "", nil, false
	s := newServer()
	if _, err := apply(t, s, table); err == nil || !strings.Contains(err.Error(), "one of them has to make it") {
		t.Errorf("without a table: %v", err)
	}
	table.Migrations = append(table.Migrations, Migration{"0003_c.sql", []string{"make the table"}})
	s.users["loader"] = "theirs"
	delete(s.ledger, "user loader")
	if _, err := apply(t, s, table); err != nil || s.users["loader"] != "theirs" || s.grants["INSERT ON shop.orders"] != "loader" {
		t.Errorf("%v, users %v, grants %v", err, s.users, s.grants)
	}
}

// A user that was dropped by hand comes back, with its grants.
func TestADroppedUserComesBack(t *testing.T) {
	s := newServer()
	for range 2 {
		delete(s.users, "loader")
		if _, err := apply(t, s, orders()); err != nil || s.users["loader"] == "" || s.ledger["user loader"] == "" {
			t.Errorf("%v: %v", err, s.users)
		}
	}
}

func TestPatience(t *testing.T) {
	busy := func(times int, err error) func([]string) error {
		return func([]string) error {
			if times--; times >= 0 {
				return err
			}
			return nil
		}
	}
	denied := &types.QueryTimeoutException{Message: aws.String("no")}
	for name, c := range map[string]struct {
		before  func([]string) error
		running int
		want    any
	}{
		"too many statements":         {before: busy(20, &types.ActiveStatementsExceededException{})},
		"a warehouse that wakes up":   {before: busy(20, &types.DatabaseConnectionException{})},
		"a role that isn't known yet": {before: busy(5, &apiError{"AccessDeniedException"})},
		"a role that may not":         {before: busy(50, &apiError{"AccessDeniedException"}), want: new(*apiError)},
		"another answer":              {before: busy(1, denied), want: new(*types.QueryTimeoutException)},
		"a long statement":            {running: 50},
		"too long a statement":        {running: 5000, want: new(*Unfinished)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			s.before, s.running = c.before, c.running
			_, err := apply(t, s, orders())
			if (c.want == nil) != (err == nil) || c.want != nil && !errors.As(err, c.want) {
				t.Errorf("got %v", err)
			}
			if c.want == nil {
				made(t, s)
			}
		})
	}
}

// A conflict with another transaction is no fault of the statements.
func TestConflictsAreTriedAgain(t *testing.T) {
	for conflicts, ok := range map[int]bool{3: true, 100: false} {
		s := newServer()
		s.conflicts = conflicts
		_, err := apply(t, s, orders())
		if (err == nil) != ok {
			t.Errorf("%d conflicts: %v", conflicts, err)
		}
		if ok {
			made(t, s)
		}
	}
}

// apiError is an error of an AWS service that its model doesn't name.
type apiError struct{ code string }

func (e *apiError) Error() string                 { return e.code }
func (e *apiError) ErrorCode() string             { return e.code }
func (e *apiError) ErrorMessage() string          { return e.code }
func (e *apiError) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }
