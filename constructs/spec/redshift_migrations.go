package spec

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/constructs/spec/sql"
)

// Migration is a file of SQL that is run once.
type Migration struct {
	// Name of the file, without its folder.
	Name string
	// Statements of it.
	Statements []string
}

// Migrations reads the *.sql files of files, in the order of their names. The error
// is an [*Invalid] where a file can't be run.
func Migrations(files fs.FS) ([]Migration, error) {
	if files == nil {
		return nil, nil
	}
	c := At("")
	var all []Migration
	size := 0
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".sql" {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		m := Migration{Name: path.Base(name)}
		field := "Migrations[" + name + "]"
		if m.Statements, err = sql.Statements(string(text)); err != nil {
			c.Add(field, err, "SQL is taken apart into statements", "end it")
			return nil
		}
		m.check(c, field)
		for _, s := range m.Statements {
			size += len(s)
		}
		all = append(all, m)
		return nil
	})
	if err != nil {
		c.Add("Migrations", err, "its *.sql files are read when the app is synthesized", "pass files that are there, such as os.DirFS(\"migrations\")")
	}
	if len(all) == 0 && c.Err() == nil {
		c.Add("Migrations", "no *.sql file", "there is nothing to run", "name the files 0001_what.sql, and so on, or leave it out")
	}
	if size > RedshiftMigrations.Max {
		c.Add("Migrations", fmt.Sprintf("%d bytes", size), RedshiftMigrations.String(), "put the oldest ones together and shorten them")
	}
	slices.SortFunc(all, func(a, b Migration) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(all); i++ {
		if all[i].Name == all[i-1].Name {
			c.Add("Migrations", all[i].Name, "there are two files of that name, and it tells which were run", "rename one of them")
		}
	}
	return all, c.Err()
}

func checkMigrations(files fs.FS) error {
	_, err := Migrations(files)
	return err
}

var migrationName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,126}\.sql$`)

func (m Migration) check(c *Check, field string) {
	if !migrationName.MatchString(m.Name) {
		c.Add(field, m.Name, "its name is made of letters, digits, hyphens, dots and underscores, at most 131 characters", "rename it")
	}
	if n := len(m.Statements); n < RedshiftMigrationStatements.Min || n > RedshiftMigrationStatements.Max {
		c.Add(field, fmt.Sprintf("%d statements", n), RedshiftMigrationStatements.String(), "split it into two files; one with comments alone, leave out")
	}
	for i, s := range m.Statements {
		at := fmt.Sprintf("%s statement %d", field, i+1)
		if len(s) > RedshiftStatement.Max {
			c.Add(at, fmt.Sprintf("%d bytes", len(s)), RedshiftStatement.String(), "shorten it")
		}
		for words, why := range notInMigrations {
			if w := sql.Words(s, strings.Count(words, " ")+1); w == words {
				c.Add(at, w, why, "leave it out; what can't be in a transaction, run by hand")
			}
		}
	}
}

// notInMigrations are the beginnings of statements that would end the transaction
// that a migration is, or that Redshift refuses in one.
var notInMigrations = func() map[string]string {
	all := map[string]string{"TRUNCATE": "Redshift commits the transaction with it, and the rest of the file could fail alone"}
	for _, words := range []string{"BEGIN", "START TRANSACTION", "COMMIT", "END", "ROLLBACK", "ABORT"} {
		all[words] = "a file is one transaction already"
	}
	for _, words := range []string{
		"VACUUM", "CREATE DATABASE", "ALTER DATABASE", "DROP DATABASE", "CREATE EXTERNAL TABLE", "ALTER EXTERNAL", "CREATE LIBRARY", "DROP LIBRARY",
		"REBUILD CAT", "DROP EXTERNAL",
	} {
		all[words] = "Redshift runs it outside of transactions only"
	}
	return all
}()
