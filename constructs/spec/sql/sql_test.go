package sql_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/constructs/spec/sql"
)

func TestStatements(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"none":                            {" ;\n;; -- nothing\n/* here */ ;", nil},
		"one without a semicolon":         {"select 1", []string{"select 1"}},
		"two":                             {"select 1;\nselect 2;\n", []string{"select 1", "select 2"}},
		"a semicolon in a text":           {"insert into t values ('a;b'); select 2", []string{"insert into t values ('a;b')", "select 2"}},
		"a doubled quotation mark":        {"select 'it''s; fine'; select 2", []string{"select 'it''s; fine'", "select 2"}},
		"an escaped quotation mark":       {`select 'it\'s; fine'; select 2`, []string{`select 'it\'s; fine'`, "select 2"}},
		"an escaped backslash":            {`select '\\'; select 2`, []string{`select '\\'`, "select 2"}},
		"a semicolon in a name":           {`select 1 as "a;""b"; select 2`, []string{`select 1 as "a;""b"`, "select 2"}},
		"no escapes in names":             {`select 1 as "a\"; select 2`, []string{`select 1 as "a\"`, "select 2"}},
		"a semicolon in a comment":        {"select 1 -- not; here\n+ 1; select /* nor; here */ 2", []string{"select 1 -- not; here\n+ 1", "select /* nor; here */ 2"}},
		"nested comments":                 {"select /* a /* b; */ c; */ 1; select 2", []string{"select /* a /* b; */ c; */ 1", "select 2"}},
		"comments around":                 {"-- first\nselect 1 -- after\n; /* second */ select 2 /* end */", []string{"select 1", "select 2"}},
		"a procedure":                     {"create procedure p() as $$ begin; end; $$ language plpgsql; call p()", []string{"create procedure p() as $$ begin; end; $$ language plpgsql", "call p()"}},
		"a tag around a procedure":        {"do $body$ select '$$;'; $body$; select 2", []string{"do $body$ select '$$;'; $body$", "select 2"}},
		"a dollar in a name":              {"select a$b$c; select d$b$e", []string{"select a$b$c", "select d$b$e"}},
		"a parameter is no tag":           {"select $1; select $2", []string{"select $1", "select $2"}},
		"a quotation mark in a comment":   {"select 1 -- don't\n; select 2 /* don't */", []string{"select 1", "select 2"}},
		"a comment's beginning in a text": {"select '--'; select '/*'; select 3", []string{"select '--'", "select '/*'", "select 3"}},
		"a division":                      {"select 4/2; select 4 - -2", []string{"select 4/2", "select 4 - -2"}},
		"letters beyond ASCII":            {"select 'Zürich;' as größe; select 2", []string{"select 'Zürich;' as größe", "select 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sql.Statements(c.text)
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestWhatDoesntEnd(t *testing.T) {
	for text, want := range map[string]string{
		"select 1;\nselect 'a": "the text that begins in line 2 doesn't end",
		`select 'a\'`:          "the text that begins in line 1 doesn't end",
		"\n\ndo $x$ $$":        "the text that begins in line 3 doesn't end",
		`select "a""`:          "the name that begins in line 1 doesn't end",
		"/* a /* b */":         "the comment that begins in line 1 doesn't end",
		"/*/":                  "the comment that begins in line 1 doesn't end",
	} {
		_, err := sql.Statements(text)
		var open *sql.Unterminated
		if !errors.As(err, &open) || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"create /* a */ table t": "CREATE TABLE",
		"truncate t":             "TRUNCATE T",
		`drop "table" x`:         "DROP",
		"(select 1)":             "",
		"begin":                  "BEGIN",
	} {
		if got := sql.Words(text, 2); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Nothing is lost, and statements that are put together come apart again.
func TestStatementsComeApartAsTheyWerePutTogether(t *testing.T) {
	piece := rapid.OneOf(
		rapid.StringMatching(`[a-z]+[a-z0-9_$]*`),
		rapid.Map(rapid.StringMatching(`[a-z;"/*$ \n-]*`), func(s string) string { return "'" + s + "'" }),
		rapid.Map(rapid.StringMatching(`[a-z;'/*$ \n-]*`), func(s string) string { return `"` + s + `"` }),
		rapid.Map(rapid.StringMatching(`[a-z;'"/* \n-]*`), func(s string) string { return "$$" + s + "$$" }),
		rapid.SampledFrom([]string{"(", ")", ",", "=", "1.5", "/* ; */", "-- ;\n"}),
	)
	statement := rapid.Custom(func(t *rapid.T) string {
		return "select " + strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), " ") + " end"
	})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(statement, 1, 5).Draw(t, "statements")
		text := strings.Join(want, rapid.SampledFrom([]string{";", " ;\n", ";; /* x; */ "}).Draw(t, "between"))
		tokens, err := sql.Tokens(text)
		if err != nil {
			t.Fatal(err)
		}
		var whole strings.Builder
		for _, token := range tokens {
			whole.WriteString(token.Text)
		}
		if whole.String() != text {
			t.Fatalf("the tokens of %q are %q", text, whole.String())
		}
		got, err := sql.Statements(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func FuzzTokens(f *testing.F) {
	for _, s := range []string{"select 1; select 'a;b'", "do $x$ ; $x$", "/* /* */ */", `"a""b"`, "-- x", "'\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := sql.Tokens(text)
		if err != nil {
			return
		}
		size := 0
		for _, token := range tokens {
			size += len(token.Text)
			if token.Text == "" {
				t.Fatal("an empty token")
			}
		}
		if size != len(text) {
			t.Fatalf("%d of %d bytes", size, len(text))
		}
		statements, err := sql.Statements(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statements {
			again, err := sql.Statements(s)
			if err != nil || len(again) != 1 || again[0] != s {
				t.Fatalf("%q comes apart again: %q, %v", s, again, err)
			}
		}
	})
}
