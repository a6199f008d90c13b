// Package migration makes a table in Amazon Redshift through its Data API: the
// table's columns, SQL files that are run once each, and the user that loads it. It
// can be called again at any time, also at once with itself or after it was killed:
// it goes on where it was. It drops nothing.
//
// What was run is written down in a ledger, the table millrace.migrations of the same
// database. Each file is one transaction together with its line in the ledger, behind
// a lock on it: so either both are there or none.
package migration

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Table is what has to be there.
type Table struct {
	// WorkgroupName or ClusterIdentifier is where, Database in which database.
	WorkgroupName, ClusterIdentifier, Database string
	// AdminSecret is the secret's ARN or name of whoever may make schemas, tables and
	// users; UserSecret that of the user that loads the table.
	AdminSecret, UserSecret string
	// User is whose the UserSecret is.
	User string
	// OwnUser tells that nobody else knows the user's password, so that a user of the
	// same name who is there already must be somebody else's.
	OwnUser bool
	// Schema and Table are plain names.
	Schema, Table string
	// CreateTable is the statement that makes the table, if it isn't there; empty where
	// Migrations make it.
	CreateTable string
	// Columns of the table; those that it lacks are added.
	Columns []Column
	// Migrations in their order.
	Migrations []Migration
}

// Column of a table.
type Column struct {
	Name string
	// Definition as in ADD COLUMN.
	Definition string
	// Type as the catalog has it, with its size: "character varying(64)"; empty if it
	// isn't to be compared.
	Type string
}

// Migration is a file of SQL.
type Migration struct {
	Name       string
	Statements []string
}

// sum tells a file from one with other statements.
func (m Migration) sum() string {
	h := sha256.New()
	for _, s := range m.Statements {
		fmt.Fprintf(h, "%d:%s;", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (t Table) name() string { return t.Schema + "." + t.Table }

// SecretsAPI is what is needed of Secrets Manager; *secretsmanager.Client is one.
type SecretsAPI interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

var _ SecretsAPI = (*secretsmanager.Client)(nil)

// Migrator makes tables.
type Migrator struct {
	Data    DataAPI
	Secrets SecretsAPI
	Log     *slog.Logger
	// Now and Sleep stand in for the clock in tests; nil means the real one.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
}

// Refused is that a table can't be made as it is asked for, and will not be if it is
// asked again.
type Refused struct{ Why string }

func (e *Refused) Error() string { return e.Why }

// Apply brings the table to what t says. The error is a [*Refused], a
// [*StatementError], or an [*Unfinished] when ctx is over first: then Redshift goes on
// with what it was doing, and Apply, called again, too.
func (m *Migrator) Apply(ctx context.Context, t Table) error {
	r := &run{Migrator: m, Table: t, began: m.now()}
	user, err := r.user(ctx)
	if err != nil {
		return err
	}
	if err := r.until(ctx, "the ledger", r.planLedger); err != nil {
		return err
	}
	if err := r.until(ctx, "the columns of "+t.name(), r.planColumns); err != nil {
		return err
	}
	if err := r.until(ctx, "the migrations", r.planMigrations); err != nil {
		return err
	}
	if err := r.verify(ctx); err != nil {
		return err
	}
	if err := r.until(ctx, "the user "+user.name, func(ctx context.Context) (*plan, error) { return r.planUser(ctx, user) }); err != nil {
		return err
	}
	return r.grant(ctx, user)
}

// run is one call of Apply.
type run struct {
	*Migrator
	Table
	began time.Time
}

// plan is the statements of one transaction. offset is how many come before those of
// what.
type plan struct {
	what       string
	offset     int
	statements []string
}

// mostStatements is what the Data API takes in a transaction.
const mostStatements = 40

// until makes plans and runs them until there is nothing left to do. A plan that fails
// is made anew: if it has become another one, somebody else was faster.
func (r *run) until(ctx context.Context, what string, next func(context.Context) (*plan, error)) error {
	var before *plan
	var failed error
	for again := 0; ; {
		p, err := next(ctx)
		if err != nil || p == nil {
			return err
		}
		if before != nil && slices.Equal(before.statements, p.statements) {
			switch {
			case failed == nil:
				return fmt.Errorf("%s: the statements succeeded and changed nothing: %s", what, p.what)
			case !conflict(failed) || again == 5:
				return failed
			}
			again++ // with a transaction that is over by now
		}
		if failed = r.transaction(ctx, p); failed != nil {
			var statement *StatementError
			if !errors.As(failed, &statement) {
				return failed
			}
		} else {
			r.Log.Info("done", "table", r.name(), "what", p.what)
		}
		before = p
	}
}

const ledger = "millrace.migrations"

// planLedger makes the ledger, and the table's schema.
func (r *run) planLedger(ctx context.Context) (*plan, error) {
	schemas, err := r.query(ctx, "SELECT nspname FROM pg_namespace WHERE nspname IN ('millrace', "+text(r.Schema)+")")
	if err != nil {
		return nil, err
	}
	tables, err := r.query(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'millrace' AND table_name = 'migrations'")
	if err != nil {
		return nil, err
	}
	p := &plan{what: "the ledger and the schema"}
	for _, schema := range []string{"millrace", r.Schema} {
		if !slices.ContainsFunc(schemas, func(row []string) bool { return row[0] == schema }) {
			p.statements = append(p.statements, "CREATE SCHEMA IF NOT EXISTS "+name(schema))
		}
	}
	if len(tables) == 0 {
		p.statements = append(p.statements, "CREATE TABLE IF NOT EXISTS "+ledger+
			" (target varchar(256) NOT NULL, name varchar(256) NOT NULL, checksum varchar(64) NOT NULL, applied varchar(32) NOT NULL)")
	}
	if len(p.statements) == 0 {
		return nil, nil
	}
	return p, nil
}

// applied are the ledger's lines of this table: the checksums by their names.
func (r *run) applied(ctx context.Context) (map[string]string, error) {
	rows, err := r.query(ctx, "SELECT name, checksum FROM "+ledger+" WHERE target = "+text(r.name()))
	if err != nil {
		return nil, err
	}
	lines := map[string]string{}
	for _, row := range rows {
		lines[row[0]] = row[1]
	}
	return lines, nil
}

// once are the statements that let a transaction fail if the ledger has such a line:
// nobody else can add one after them, as they lock it.
func (r *run) once(line string) []string {
	return []string{
		"LOCK " + ledger,
		"SELECT 1 / (1 - COUNT(*)) FROM " + ledger + " WHERE target = " + text(r.name()) + " AND name = " + text(line),
	}
}

func (r *run) record(line, sum string) string {
	return fmt.Sprintf("INSERT INTO %s (target, name, checksum, applied) VALUES (%s, %s, %s, %s)",
		ledger, text(r.name()), text(line), text(sum), text(r.began.UTC().Format(time.RFC3339)))
}

// types are the columns that the table has, with their types; none if there is no
// table.
func (r *run) types(ctx context.Context) (map[string]string, error) {
	rows, err := r.query(ctx, "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale FROM information_schema.columns"+
		" WHERE table_schema = "+text(r.Schema)+" AND table_name = "+text(r.Table.Table))
	if err != nil {
		return nil, err
	}
	types := map[string]string{}
	for _, row := range rows {
		kind := row[1]
		switch {
		case kind == "numeric" && row[3] != "":
			kind = fmt.Sprintf("numeric(%s,%s)", row[3], row[4])
		case row[2] != "":
			kind = fmt.Sprintf("%s(%s)", kind, row[2])
		}
		types[row[0]] = kind
	}
	return types, nil
}

// planColumns makes the table, or the columns that it lacks.
func (r *run) planColumns(ctx context.Context) (*plan, error) {
	if r.CreateTable == "" {
		return nil, nil
	}
	types, err := r.types(ctx)
	if err != nil {
		return nil, err
	}
	if len(types) == 0 {
		return &plan{what: "make " + r.name(), statements: []string{r.CreateTable}}, nil
	}
	p := &plan{statements: []string{"LOCK " + ledger}, offset: 1}
	var added []string
	for _, c := range r.Columns {
		if _, there := types[c.Name]; !there && len(p.statements) < mostStatements {
			p.statements = append(p.statements, "ALTER TABLE "+r.name()+" ADD COLUMN "+c.Definition)
			added = append(added, c.Name)
		}
	}
	if len(added) == 0 {
		return nil, nil
	}
	p.what = "add " + strings.Join(added, ", ") + " to " + r.name()
	return p, nil
}

// planMigrations is the first file that wasn't run.
func (r *run) planMigrations(ctx context.Context) (*plan, error) {
	applied, err := r.applied(ctx)
	if err != nil {
		return nil, err
	}
	var problems []string
	var pending *Migration
	for i := range r.Migrations {
		m := &r.Migrations[i]
		sum, done := applied[m.Name]
		switch {
		case done && sum != m.sum():
			problems = append(problems, m.Name+" was run with other statements than it has now: restore it, and put what is to change into a new file")
		case !done:
			for _, later := range slices.Sorted(maps.Keys(applied)) {
				if strings.HasSuffix(later, ".sql") && later > m.Name {
					problems = append(problems, m.Name+" comes before "+later+", which was run already: rename it so that it comes after")
					break
				}
			}
			if pending == nil {
				pending = m
			}
		}
	}
	if problems != nil {
		return nil, &Refused{"the migrations of " + r.name() + " can't be run: " + strings.Join(problems, "; ")}
	}
	if pending == nil {
		return nil, nil
	}
	before := r.once(pending.Name)
	return &plan{
		what: pending.Name, offset: len(before),
		statements: slices.Concat(before, pending.Statements, []string{r.record(pending.Name, pending.sum())}),
	}, nil
}

// verify refuses columns that are of another type than they should be.
func (r *run) verify(ctx context.Context) error {
	applied, err := r.applied(ctx)
	if err != nil {
		return err
	}
	for _, m := range r.Migrations {
		delete(applied, m.Name)
	}
	for line := range applied {
		if strings.HasSuffix(line, ".sql") {
			// The database is further than these files: a deployment is being taken back,
			// and what it changed stays.
			r.Log.Info("the columns aren't compared: a migration was run that isn't here", "table", r.name(), "migration", line)
			return nil
		}
	}
	types, err := r.types(ctx)
	if err != nil {
		return err
	}
	var problems []string
	for _, c := range r.Columns {
		if is := types[c.Name]; c.Type != "" && is != c.Type {
			problems = append(problems, fmt.Sprintf("%s is %s and should be %s", c.Name, is, c.Type))
		}
	}
	if problems != nil {
		return &Refused{"the table " + r.name() + " differs from its row: " + strings.Join(problems, "; ") + ": change the row back, or change the column by a migration"}
	}
	return nil
}

// loader is the user that loads the table.
type loader struct{ name, hash string }

// user reads the credentials. The password goes no further than this: Redshift takes
// its digest, salted with the user's name.
func (r *run) user(ctx context.Context) (loader, error) {
	var out *secretsmanager.GetSecretValueOutput
	err := r.patiently(ctx, "read the user's secret", func() (err error) {
		out, err = r.Secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(r.UserSecret)})
		return err
	})
	if err != nil {
		return loader{}, err
	}
	var secret struct{ Username, Password string }
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &secret) != nil || secret.Username == "" || secret.Password == "" {
		// Not the decoder's error: it could quote the secret.
		return loader{}, &Refused{"the secret " + r.UserSecret + ` isn't {"username": …, "password": …}`}
	}
	if secret.Username != r.User {
		return loader{}, &Refused{fmt.Sprintf("the secret %s is of the user %s, and the delivery's is %s: set User to the one that the secret is of", r.UserSecret, secret.Username, r.User)}
	}
	sum := md5.Sum([]byte(secret.Password + secret.Username))
	return loader{secret.Username, "md5" + hex.EncodeToString(sum[:])}, nil
}

// planUser makes the user, or gives it its new password.
func (r *run) planUser(ctx context.Context, user loader) (*plan, error) {
	rows, err := r.query(ctx, "SELECT usename FROM pg_user WHERE usename = "+text(user.name))
	if err != nil {
		return nil, err
	}
	applied, err := r.applied(ctx)
	if err != nil {
		return nil, err
	}
	line, verb := "user "+user.name, "CREATE"
	hashed := sha256.Sum256([]byte(user.hash))
	sum := hex.EncodeToString(hashed[:])
	before, ours := applied[line]
	statements := []string{"LOCK " + ledger}
	switch {
	case len(rows) == 0 && !ours:
		statements = r.once(line)
	case len(rows) == 0:
		// Somebody dropped it.
		statements = append(statements, "DELETE FROM "+ledger+" WHERE target = "+text(r.name())+" AND name = "+text(line))
	case ours && before == sum:
		return nil, nil
	case ours:
		verb = "ALTER"
		statements = append(statements, "DELETE FROM "+ledger+" WHERE target = "+text(r.name())+" AND name = "+text(line))
	case r.OwnUser:
		return nil, &Refused{"the user " + user.name + " is there already and wasn't made for " + r.name() + ": name another User, or pass that user's Credentials"}
	default:
		return nil, nil // it belongs to somebody, whose secret this is
	}
	p := &plan{what: strings.ToLower(verb) + " the user " + user.name, offset: len(statements)}
	p.statements = append(statements, verb+" USER "+name(user.name)+" PASSWORD "+text(user.hash), r.record(line, sum))
	return p, nil
}

// grant lets the user load the table, and do nothing else.
func (r *run) grant(ctx context.Context, user loader) error {
	err := r.transaction(ctx, &plan{what: "grants to " + user.name, statements: []string{
		"GRANT USAGE ON SCHEMA " + name(r.Schema) + " TO " + name(user.name),
		"GRANT INSERT ON " + r.name() + " TO " + name(user.name),
	}})
	var statement *StatementError
	if errors.As(err, &statement) && len(r.Columns) == 0 && strings.Contains(statement.Message, "does not exist") {
		return &Refused{"the table " + r.name() + " isn't there after the migrations: one of them has to make it (" + statement.Message + ")"}
	}
	return err
}

func (m *Migrator) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

func (m *Migrator) sleep(ctx context.Context, d time.Duration) error {
	if m.Sleep != nil {
		return m.Sleep(ctx, d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// text is s as SQL.
func text(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", "''") + "'"
}

// name is s as SQL.
func name(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
