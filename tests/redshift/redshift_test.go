package redshift

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/lambdas/migrate/migration"
	"github.com/millrace/millrace/local/firehose"
)

// order is a record of the tests, and a row.
type order struct {
	Shop  string    `json:"shop" redshift:",varchar(8),notnull,distkey"`
	At    time.Time `json:"placed_at" redshift:",,sortkey"`
	Total float64   `json:"total" redshift:",decimal(12,2)"`
	Items []string  `json:"items"`
	Paid  bool      `json:"paid"`
	Count int       `json:"count"`
}

var records = []any{
	order{"north", time.Date(2026, 11, 21, 9, 0, 0, 5e8, time.UTC), 12.25, []string{"a", "it's; \\ fine"}, true, 1},
	order{"süd", time.Date(2026, 11, 21, 9, 1, 0, 0, time.FixedZone("", 3600)), 0.1, nil, false, 1 << 40},
	`{"shop":"west","total":"3","unknown":{"a":1}}`,
}

const inTheTable = "SELECT shop, placed_at, total, items, paid, count FROM %s ORDER BY total"

var wantRows = []string{
	"süd 2026-11-21T08:01:00Z 0.10  false 1099511627776",
	"west  3.00   ",
	`north 2026-11-21T09:00:00.5Z 12.25 ["a", "it's; \\ fine"] true 1`,
}

func TestRecordsBecomeRows(t *testing.T) {
	for name, compression := range map[string]spec.Compression{"GZIP": "", "uncompressed": spec.Uncompressed} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
			p.compressed = compression
			p.migrated()
			stream := p.deliver(records...)

			objects := p.bucket.under("objects/orders/2026/11/21/10/Orders-1-2026-11-21-10-00-00-")
			manifests := p.bucket.under("objects/orders/manifests/2026/11/21/10/Orders-1-2026-11-21-10-00-00-")
			if len(objects) != 1 || len(manifests) != 1 {
				t.Fatalf("objects: %q", p.bucket.under(""))
			}
			object := p.bucket.objects["objects/orders/2026/11/21/10/Orders-1-2026-11-21-10-00-00-"+objects[0]]
			text := string(object)
			if compression == "" {
				text = unzipped(t, object)
			}
			if n := strings.Count(text, "\n"); n != len(records) {
				t.Errorf("the object has %d lines:\n%s", n, text)
			}
			manifest := "objects/orders/manifests/2026/11/21/10/Orders-1-2026-11-21-10-00-00-" + manifests[0]
			if got, want := string(p.bucket.objects[manifest]), fmt.Sprintf(`{"entries":[{"url":"s3://objects/orders/2026/11/21/10/Orders-1-2026-11-21-10-00-00-%s","mandatory":true}]}`, objects[0]); got != want {
				t.Errorf("the manifest is %s, want %s", got, want)
			}
			gzip := ""
			if compression == "" {
				gzip = " GZIP"
			}
			want := []string{fmt.Sprintf("COPY %s.orders (shop,placed_at,total,items,paid,count) FROM 's3://%s' CREDENTIALS 'aws_iam_role=arn:aws:iam::000000000000:role/firehose' MANIFEST JSON 'auto'%s TIMEFORMAT 'auto';",
				p.settings.Schema, manifest, gzip)}
			if diff := cmp.Diff(want, p.copied); diff != "" {
				t.Errorf("COPY (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantRows, p.rows(inTheTable)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if st := stream.Stats(); st.Delivered != 3 || st.Failed != 0 || st.Errors != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// renamed has other names in JSON than its columns.
type renamed struct {
	Shop  string `json:"Shop" redshift:"shop"`
	Rider struct {
		Name string `json:"name"`
	} `json:"rider"`
	First string `json:"-"`
}

func TestColumnsAreFoundByPath(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "rides", Row: renamed{}})
	p.migrated()
	p.deliver(`{"Shop":"north","rider":{"name":"Kim"}}`, `{"shop":"not this","rider":null}`)
	if diff := cmp.Diff([]string{` `, `north {"name": "Kim"}`}, p.rows("SELECT shop, rider FROM %s ORDER BY shop NULLS FIRST")); diff != "" {
		t.Errorf("by the names in JSON (-want +got):\n%s", diff)
	}

	p = newPath(t, spec.RedshiftDelivery{
		Table: "deep", Migrations: fstest.MapFS{"1.sql": {Data: []byte("SELECT 1")}}, Columns: []string{"name", "lap"}, JSONPaths: []string{"$.rider.name", "$.laps[1]"},
		Row: struct {
			Name string `json:"name"`
			Lap  int    `json:"lap"`
			Else int    `json:"more"`
		}{},
	})
	p.migrated()
	p.deliver(`{"rider":{"name":"Kim"},"laps":[7,8],"more":9}`)
	if diff := cmp.Diff([]string{"Kim 8 "}, p.rows("SELECT name, lap, more FROM %s")); diff != "" {
		t.Errorf("by paths of the settings (-want +got):\n%s", diff)
	}
}

func TestOptionsOfCopy(t *testing.T) {
	type row struct {
		A string    `json:"a" redshift:",varchar(4)"`
		T time.Time `json:"t" redshift:",timestamp"`
	}
	const long, milli = `{"a":"zürich"}`, `{"t":1763719200123}`
	for name, c := range map[string]struct {
		options []string
		record  string
		want    string // row, or error
	}{
		"a text that is too long":     {nil, long, "string length exceeds DDL length"},
		"cut, at a whole letter":      {[]string{"TRUNCATECOLUMNS"}, long, "zür "},
		"milliseconds":                {[]string{"TIMEFORMAT 'epochmillisecs'"}, milli, " 2025-11-21T10:00:00.123Z"},
		"a time of another form":      {[]string{"TIMEFORMAT 'epochsecs'"}, `{"t":"yesterday"}`, `"yesterday" is no number`},
		"blanks":                      {[]string{"BLANKSASNULL"}, `{"a":"  "}`, " "},
		"an option that isn't known":  {[]string{"IGNOREHEADER 1"}, `{}`, "IGNOREHEADER isn't supported"},
		"an option without any sense": {[]string{"COMPUPDATE OFF", "STATUPDATE ON"}, `{"a":"x"}`, "x "},
		"no JSON":                     {nil, `a|b`, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, spec.RedshiftDelivery{Table: "t", Row: row{}, Options: c.options, RetryDuration: spec.Zero})
			p.migrated()
			p.deliver(c.record)
			got := p.rows("SELECT a, t FROM %s")
			if err := p.errs[0]; err != nil {
				if got = append(got, err.Error()); !strings.Contains(got[0], c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			} else if len(got) != 1 || got[0] != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestACopyThatFailsIsTriedAgainAndThenGivenUp(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}, RetryDuration: 60 * time.Second})
	p.migrated()
	began := p.clock.Now()
	stream := p.deliver(records[0], `{"shop":null}`) // NULL in a column that is NOT NULL
	if len(p.copied) < 4 || p.clock.Now().Sub(began) < 60*time.Second {
		t.Errorf("%d attempts in %s", len(p.copied), p.clock.Now().Sub(began))
	}
	if err := p.errs[0]; err == nil || !strings.Contains(err.Error(), `null value in column "shop"`) {
		t.Errorf("the error is %v", err)
	}
	if n := len(p.rows("SELECT * FROM %s")); n != 0 {
		t.Errorf("%d rows of a COPY that failed are in the table", n)
	}
	manifests := p.bucket.under("objects/orders/errors/manifests/2026/11/21/10/")
	if st := stream.Stats(); len(manifests) != 1 || st.Failed != 2 || st.Delivered != 0 {
		t.Fatalf("%+v; objects %q", st, p.bucket.under(""))
	}

	// As the runbook says: mend the table, then copy what was given up by hand.
	if _, err := warehouse.Query(t.Context(), "ALTER TABLE "+p.settings.DataTable()+" ALTER COLUMN shop DROP NOT NULL"); err != nil {
		t.Fatal(err)
	}
	statement, _, _ := strings.Cut(p.copied[0], " FROM ")
	_, after, _ := strings.Cut(p.copied[0], " CREDENTIALS ")
	err := p.Copy(t.Context(), firehose.Copy{
		JDBCURL: "jdbc:redshift://wg:5439/dev", Secret: p.secret,
		Statement: statement + " FROM 's3://objects/orders/errors/manifests/2026/11/21/10/" + manifests[0] + "' CREDENTIALS " + after,
	})
	if n := len(p.rows("SELECT * FROM %s")); err != nil || n != 2 {
		t.Errorf("%v: %d rows", err, n)
	}
}

func TestACopyThatSucceedsInTheEndIsInTheTableOnce(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
	p.migrated()
	p.fail = func(n int) error {
		if n <= 5 {
			return errors.New("Redshift.ConnectionFailed")
		}
		return nil
	}
	stream := p.deliver(records...)
	if st := stream.Stats(); st.Delivered != 3 || st.Failed != 0 || len(p.copied) != 6 {
		t.Errorf("%d attempts: %+v", len(p.copied), st)
	}
	if diff := cmp.Diff(wantRows, p.rows(inTheTable)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if given := p.bucket.under("objects/orders/errors/"); len(given) > 0 {
		t.Errorf("given up: %q", given)
	}
}

var files = fstest.MapFS{
	"0001_rates.sql": {Data: []byte(`
		-- Redshift's own words, and what a splitter has to mind.
		CREATE TABLE rates (currency VARCHAR(3) ENCODE zstd, rate DECIMAL(12, 6), note VARCHAR(MAX), at TIMESTAMP DEFAULT SYSDATE)
			DISTSTYLE ALL COMPOUND SORTKEY (currency, at);
		INSERT INTO rates (currency, rate, note) VALUES ('EUR', 1, 'it''s; "fine"'), ('CHF', 0.95, 'a\\b');
	`)},
	"0002_view.sql": {Data: []byte("CREATE VIEW large AS SELECT * FROM orders WHERE total > 10;")},
	// Nothing but the ledger keeps this from being run twice.
	"0003_more.sql": {Data: []byte("INSERT INTO rates (currency, rate) VALUES ('USD', 1.15)")},
}

// inSchema is files with the schema of a path in their statements.
func inSchema(p *path, all fstest.MapFS) fstest.MapFS {
	out := fstest.MapFS{}
	for name, file := range all {
		text := string(file.Data)
		for _, table := range []string{"rates", "large", "orders"} {
			text = strings.ReplaceAll(text, " "+table+" ", " "+p.settings.Schema+"."+table+" ")
		}
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// state is what migrations can have changed of a path's schema.
func (p *path) state() []string {
	p.t.Helper()
	return slices.Concat(
		p.rows("SELECT table_name, column_name, data_type, character_maximum_length, column_default FROM information_schema.columns WHERE table_schema = '"+p.settings.Schema+"' ORDER BY 1, ordinal_position"),
		p.rows("SELECT name, checksum, applied FROM millrace.migrations WHERE target = '"+p.settings.DataTable()+"' ORDER BY 1"),
		p.rows("SELECT table_name, privilege_type FROM information_schema.table_privileges WHERE grantee = '"+p.settings.User+"' ORDER BY 1, 2"),
	)
}

func TestMigrationsAreAppliedTwiceAndRunOnce(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
	p.settings.Migrations = inSchema(p, files)
	p.migrated()
	first := p.state()
	p.migrated()
	if diff := cmp.Diff(first, p.state()); diff != "" {
		t.Errorf("the second time changed (-first +second):\n%s", diff)
	}
	rates := strings.ReplaceAll("SELECT currency, rate, note FROM %s.rates ORDER BY rate", "%s", p.settings.Schema)
	if diff := cmp.Diff([]string{`CHF 0.950000 a\b`, `EUR 1.000000 it's; "fine"`, "USD 1.150000 "}, p.rows(rates)); diff != "" {
		t.Errorf("rates (-want +got):\n%s", diff)
	}
	if grants := p.rows("SELECT table_name, privilege_type FROM information_schema.table_privileges WHERE grantee = '" + p.settings.User + "'"); !slices.Equal(grants, []string{"orders INSERT"}) {
		t.Errorf("grants: %q", grants)
	}
	p.deliver(records...)
	if diff := cmp.Diff([]string{"12.25"}, p.rows("SELECT total FROM "+p.settings.Schema+".large")); diff != "" {
		t.Errorf("the view (-want +got):\n%s", diff)
	}
}

func TestMigrationsThatAreKilledAnywhereGoOn(t *testing.T) {
	for n := 1; ; n++ {
		p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
		p.settings.Migrations = inSchema(p, files)
		api := &interrupted{DataAPI: data}
		kill := func(now int) error {
			if now == n {
				return errKilled
			}
			return nil
		}
		if n%2 == 0 {
			api.before = kill
		} else {
			api.after = kill // and Redshift goes on
		}
		err := p.migrate(api)
		if err == nil {
			if n < 5 {
				t.Errorf("there were only %d transactions", n-1)
			}
			return
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		p.migrated()
		p.deliver(records...)
		if diff := cmp.Diff(wantRows, p.rows(inTheTable)); diff != "" {
			t.Errorf("killed at transaction %d, rows (-want +got):\n%s", n, diff)
		}
		if rates := p.rows("SELECT count(*) FROM " + p.settings.Schema + ".rates"); rates[0] != "3" {
			t.Errorf("killed at transaction %d: %s rates, want 3", n, rates[0])
		}
	}
}

// The second run is between any two transactions of the first, as duplicated events
// bring it.
func TestMigrationsThatOvertakeEachOtherRunOnce(t *testing.T) {
	for n := 1; n <= 6; n++ {
		p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
		p.settings.Migrations = inSchema(p, files)
		err := p.migrate(&interrupted{DataAPI: data, before: func(now int) error {
			if now == n {
				p.migrated()
			}
			return nil
		}})
		if rates := p.rows("SELECT count(*) FROM " + p.settings.Schema + ".rates"); err != nil || rates[0] != "3" {
			t.Errorf("overtaken before transaction %d: %v, %s rates", n, err, rates[0])
		}
	}
}

func TestAMigrationThatFailsLeavesNothing(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
	p.settings.Migrations = inSchema(p, files)
	p.migrated()
	before, good := p.state(), p.settings.Migrations
	p.settings.Migrations = inSchema(p, fstest.MapFS{
		"0001_rates.sql": files["0001_rates.sql"], "0002_view.sql": files["0002_view.sql"], "0003_more.sql": files["0003_more.sql"],
		"0004_bad.sql": {Data: []byte("ALTER TABLE orders ADD COLUMN half INT; DELETE FROM rates ; ALTER TABLE missing ADD COLUMN x INT")},
	})
	err := p.migrate(nil)
	var statement *migration.StatementError
	if !errors.As(err, &statement) || statement.What != "0004_bad.sql" || statement.Number != 3 || !strings.Contains(statement.Message, `"missing" does not exist`) {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff(before, p.state()); diff != "" {
		t.Errorf("what is left of it (-before +after):\n%s", diff)
	}
	if rates := p.rows("SELECT count(*) FROM " + p.settings.Schema + ".rates"); rates[0] != "3" {
		t.Errorf("%s rates are left", rates[0])
	}
	p.settings.Migrations = good // CloudFormation takes the update back
	p.migrated()
}

func TestATableGrowsWithItsStruct(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: struct {
		Shop string `json:"shop" redshift:",varchar(8)"`
	}{}})
	p.migrated()
	p.deliver(`{"shop":"north"}`)
	p.settings.Row = order{} // NOT NULL in it doesn't matter: the column is there
	p.migrated()
	p.deliver(records[1])
	if diff := cmp.Diff([]string{"north ", "süd 0.10"}, p.rows("SELECT shop, total FROM %s ORDER BY shop")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p.settings.Row = struct {
		Shop int `json:"shop"`
	}{}
	var refused *migration.Refused
	if err := p.migrate(nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "shop is character varying(8) and should be bigint") {
		t.Errorf("another type: %v", err)
	}
	if n := len(p.rows("SELECT total FROM %s")); n != 2 {
		t.Errorf("%d rows are left", n)
	}
}

// The user of the delivery may load its table, and nothing else.
func TestTheUserMayDoNothingElse(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
	p.settings.Migrations = inSchema(p, files)
	p.migrated()
	secrets.put("as-"+p.secret, "admin", "none")
	for _, statement := range []string{
		"SELECT * FROM %s", "DELETE FROM %s", "DROP TABLE %s", "ALTER TABLE %s ADD COLUMN x INT", "INSERT INTO millrace.migrations VALUES ('a', 'b', 'c', 'd')",
		"CREATE TABLE " + p.settings.Schema + ".mine (a INT)", "CREATE USER other PASSWORD 'Password1'", "SELECT * FROM " + p.settings.Schema + ".rates",
	} {
		statement = strings.ReplaceAll(statement, "%s", p.settings.DataTable())
		_, err := warehouse.Query(t.Context(), "SET LOCAL ROLE "+p.settings.User+"; "+statement)
		if err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "must be owner") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

func TestANewPasswordReachesRedshiftByTheNextDeployment(t *testing.T) {
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}, RetryDuration: spec.Zero})
	p.migrated()
	secrets.put(p.secret, p.settings.User, "Another1Password")
	p.deliver(records[0])
	if err := p.errs[0]; err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("with another password: %v", err)
	}
	p.migrated()
	p.deliver(records[0])
	if n := len(p.rows("SELECT * FROM %s")); n != 1 {
		t.Errorf("after the deployment: %d rows, %v", n, p.errs)
	}
}

// The SDK's client, against the stand-in.
func TestTheDataAPIIsAmazons(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]struct {
		in   redshiftdata.ExecuteStatementInput
		want string
	}{
		"an unknown secret":   {redshiftdata.ExecuteStatementInput{SecretArn: aws.String("?"), WorkgroupName: aws.String("wg"), Database: aws.String("dev")}, "no secret"},
		"another database":    {redshiftdata.ExecuteStatementInput{SecretArn: aws.String("admin"), WorkgroupName: aws.String("wg"), Database: aws.String("x")}, "the database dev"},
		"no warehouse":        {redshiftdata.ExecuteStatementInput{SecretArn: aws.String("admin"), Database: aws.String("dev")}, "one workgroup or cluster"},
		"something it hasn't": {redshiftdata.ExecuteStatementInput{SecretArn: aws.String("admin"), WorkgroupName: aws.String("wg"), Database: aws.String("dev"), SessionKeepAliveSeconds: aws.Int32(1)}, "can't read the request"},
	} {
		c.in.Sql = aws.String("SELECT 1")
		if _, err := data.ExecuteStatement(ctx, &c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := data.ListDatabases(ctx, &redshiftdata.ListDatabasesInput{Database: aws.String("dev")}); err == nil || !strings.Contains(err.Error(), "has no ListDatabases") {
		t.Errorf("another operation: %v", err)
	}
	// More rows than a page has.
	p := newPath(t, spec.RedshiftDelivery{Table: "orders", Row: order{}})
	out, err := data.ExecuteStatement(ctx, &redshiftdata.ExecuteStatementInput{
		Sql: aws.String("SELECT n FROM generate_series(1, 2500) AS s(n)"), SecretArn: aws.String("admin"), ClusterIdentifier: aws.String("c"), Database: aws.String("dev"),
	})
	if err != nil {
		t.Fatal(err)
	}
	done := false
	for !done {
		described, err := data.DescribeStatement(ctx, &redshiftdata.DescribeStatementInput{Id: out.Id})
		if err != nil || described.Status == "FAILED" {
			t.Fatal(err, aws.ToString(described.Error))
		}
		done = described.Status == "FINISHED"
	}
	n := 0
	for pages := redshiftdata.NewGetStatementResultPaginator(data, &redshiftdata.GetStatementResultInput{Id: out.Id}); pages.HasMorePages(); {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Records)
	}
	if n != 2500 {
		t.Errorf("%d rows", n)
	}
	_ = p
}
