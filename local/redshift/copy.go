package redshift

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/lib/pq"

	sqltext "github.com/millrace/millrace/constructs/spec/sql"
	"github.com/millrace/millrace/local/firehose"
)

// Copier runs the COPY statements of a delivery stream, each as a transaction of the
// user whose credentials the delivery stream names.
type Copier struct {
	Warehouse *Warehouse
	// Objects and Secrets are read as the delivery stream's role.
	Objects Objects
	Secrets Secrets
}

var _ firehose.Copier = (*Copier)(nil)

// Copy copies the objects that a manifest names into a table, all rows or none.
func (c *Copier) Copy(ctx context.Context, copied firehose.Copy) error {
	s, err := parseCopy(copied.Statement)
	if err != nil {
		return fmt.Errorf("the stand-in for Redshift can't run %s: %w", copied.Statement, err)
	}
	if database, ok := databaseOf(copied.JDBCURL); !ok || database != c.Warehouse.options.Database {
		return fmt.Errorf("%s doesn't lead to the database %s", copied.JDBCURL, c.Warehouse.options.Database)
	}
	user, password, err := credentials(ctx, c.Secrets, copied.Secret)
	if err != nil {
		return fmt.Errorf("the secret %s: %w", copied.Secret, err)
	}
	if err := c.Warehouse.authenticate(ctx, user, password); err != nil {
		return err
	}
	columns, err := c.Warehouse.columns(ctx, s)
	if err != nil {
		return err
	}
	if err := c.paths(ctx, s, columns); err != nil {
		return err
	}
	rows, err := c.rows(ctx, s, columns)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	return c.Warehouse.as(ctx, user, func(tx *sql.Tx) error { return insert(ctx, tx, s, columns, rows) })
}

// databaseOf is the last part of a JDBC URL.
func databaseOf(jdbc string) (string, bool) {
	u, err := url.Parse(strings.TrimPrefix(jdbc, "jdbc:"))
	if err != nil || u.Host == "" {
		return "", false
	}
	return strings.TrimPrefix(u.Path, "/"), true
}

// authenticate compares a password with the digest that CREATE USER was given.
func (w *Warehouse) authenticate(ctx context.Context, user, password string) error {
	rows, err := w.Query(ctx, "SELECT rolpassword FROM pg_authid WHERE rolcanlogin AND rolname = "+pq.QuoteLiteral(user))
	if err != nil {
		return err
	}
	sum := md5.Sum([]byte(password + user))
	if len(rows) != 1 || rows[0][0] != "md5"+hex.EncodeToString(sum[:]) {
		return fmt.Errorf("password authentication failed for user %q", user)
	}
	return nil
}

// copying is a COPY statement, read.
type copying struct {
	schema, table string
	columns       []string
	manifest      string
	gzip          bool
	jsonPaths     string // address of their object, "" for 'auto'
	ignoreCase    bool
	timeFormat    string
	truncate      bool
	blanks, empty bool // as NULL
}

// parseCopy reads a statement as Firehose writes it.
func parseCopy(statement string) (*copying, error) {
	tokens, err := sqltext.Tokens(statement)
	if err != nil {
		return nil, err
	}
	p := &parser{}
	for _, t := range tokens {
		if t.Kind != sqltext.Space && t.Kind != sqltext.Comment && t.Text != ";" {
			p.tokens = append(p.tokens, t)
		}
	}
	s := &copying{schema: "public", timeFormat: "YYYY-MM-DD HH:MI:SS"}
	p.words("COPY")
	s.table = p.name()
	if p.symbol(".") {
		s.schema, s.table = s.table, p.name()
	}
	if p.symbol("(") {
		for {
			s.columns = append(s.columns, p.name())
			if !p.symbol(",") {
				break
			}
		}
		p.need(p.symbol(")"), ")")
	}
	p.words("FROM")
	s.manifest = p.text()
	p.words("CREDENTIALS")
	p.text()
	p.words("MANIFEST")
	format := false
	for p.err == nil && len(p.tokens) > 0 {
		switch word := p.word(); word {
		case "FORMAT":
			p.optional("AS")
		case "AS":
		case "JSON":
			format = true
			p.optional("AS")
			switch option := p.text(); {
			case option == "auto":
			case option == "auto ignorecase":
				s.ignoreCase = true
			case strings.HasPrefix(option, "s3://"):
				s.jsonPaths = option
			default:
				p.fail("JSON '%s' isn't supported", option)
			}
		case "GZIP":
			s.gzip = true
		case "TIMEFORMAT":
			p.optional("AS")
			if s.timeFormat = p.text(); !slices.Contains([]string{"auto", "epochsecs", "epochmillisecs"}, s.timeFormat) {
				p.fail("TIMEFORMAT '%s' isn't supported", s.timeFormat)
			}
		case "DATEFORMAT":
			p.optional("AS")
			if f := p.text(); f != "auto" {
				p.fail("DATEFORMAT '%s' isn't supported", f)
			}
		case "TRUNCATECOLUMNS":
			s.truncate = true
		case "BLANKSASNULL":
			s.blanks = true
		case "EMPTYASNULL":
			s.empty = true
		case "COMPUPDATE", "STATUPDATE": // of no use here
			p.optional("ON", "OFF", "TRUE", "FALSE", "PRESET")
		case "REGION":
			p.optional("AS")
			p.text()
		case "MAXERROR":
			p.optional("AS")
			if n := p.word(); n != "0" {
				p.fail("MAXERROR %s isn't supported", n)
			}
		default:
			p.fail("%s isn't supported", word)
		}
	}
	if p.err == nil && !format {
		p.fail("only JSON is supported")
	}
	return s, p.err
}

// parser takes tokens off one by one, until something isn't as it should be.
type parser struct {
	tokens []sqltext.Token
	err    error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *parser) need(ok bool, what string) {
	if !ok {
		p.fail("there is no %s where it should be", what)
	}
}

func (p *parser) take(is func(sqltext.Token) bool) (sqltext.Token, bool) {
	if p.err != nil || len(p.tokens) == 0 || !is(p.tokens[0]) {
		return sqltext.Token{}, false
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t, true
}

func (p *parser) symbol(s string) bool {
	_, ok := p.take(func(t sqltext.Token) bool { return t.Kind == sqltext.Symbol && t.Text == s })
	return ok
}

func (p *parser) word() string {
	t, ok := p.take(func(t sqltext.Token) bool { return t.Kind == sqltext.Word })
	p.need(ok, "word")
	return strings.ToUpper(t.Text)
}

func (p *parser) words(word string) {
	if w := p.word(); p.err == nil && w != word {
		p.fail("there is %s where %s should be", w, word)
	}
}

func (p *parser) optional(words ...string) {
	p.take(func(t sqltext.Token) bool {
		return t.Kind == sqltext.Word && slices.Contains(words, strings.ToUpper(t.Text))
	})
}

func (p *parser) name() string {
	t, ok := p.take(func(t sqltext.Token) bool { return t.Kind == sqltext.Word || t.Kind == sqltext.Name })
	if p.need(ok, "name"); t.Kind == sqltext.Name {
		return strings.ToLower(strings.ReplaceAll(t.Text[1:len(t.Text)-1], `""`, `"`))
	}
	return strings.ToLower(t.Text)
}

func (p *parser) text() string {
	t, ok := p.take(func(t sqltext.Token) bool { return t.Kind == sqltext.Text && t.Text[0] == '\'' })
	if p.need(ok, "text"); !ok {
		return ""
	}
	return strings.ReplaceAll(t.Text[1:len(t.Text)-1], "''", "'")
}

// column is one that is loaded.
type column struct {
	name, kind string
	most       int   // bytes; 0 for any number
	path       []any // to its value: names and indexes
}

// columns are those that a COPY loads.
func (w *Warehouse) columns(ctx context.Context, s *copying) ([]column, error) {
	rows, err := w.Query(ctx, "SELECT column_name, COALESCE(domain_name, data_type), character_maximum_length FROM information_schema.columns WHERE table_schema = "+
		pq.QuoteLiteral(s.schema)+" AND table_name = "+pq.QuoteLiteral(s.table)+" ORDER BY ordinal_position")
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf(`relation "%s.%s" does not exist`, s.schema, s.table)
	}
	all, names := map[string]column{}, []string(nil)
	for _, row := range rows {
		most, _ := strconv.Atoi(row[2])
		all[row[0]] = column{name: row[0], kind: row[1], most: most, path: []any{row[0]}}
		names = append(names, row[0])
	}
	if s.columns != nil {
		names = s.columns
	}
	var columns []column
	for _, name := range names {
		c, ok := all[name]
		if !ok {
			return nil, fmt.Errorf(`column "%s" of relation "%s" does not exist`, name, s.table)
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// object reads an object.
func (c *Copier) object(ctx context.Context, address string, zipped bool) ([]byte, error) {
	bucket, key, ok := strings.Cut(strings.TrimPrefix(address, "s3://"), "/")
	if !ok {
		return nil, fmt.Errorf("%s is no object", address)
	}
	out, err := c.Objects.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	defer out.Body.Close()
	var body io.Reader = out.Body
	if zipped {
		if body, err = gzip.NewReader(out.Body); err != nil {
			return nil, fmt.Errorf("%s: %w", address, err)
		}
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return data, nil
}

// paths gives columns the paths of the JSONPaths object, in their order.
func (c *Copier) paths(ctx context.Context, s *copying, columns []column) error {
	if s.jsonPaths == "" {
		return nil
	}
	data, err := c.object(ctx, s.jsonPaths, false)
	if err != nil {
		return err
	}
	var file struct{ JSONPaths []string }
	if err := json.Unmarshal(data, &file); err != nil {
		return fmt.Errorf("%s: %w", s.jsonPaths, err)
	}
	if len(file.JSONPaths) != len(columns) {
		return fmt.Errorf("%s has %d JSONPaths, and there are %d columns", s.jsonPaths, len(file.JSONPaths), len(columns))
	}
	for i, text := range file.JSONPaths {
		if columns[i].path, err = parsePath(text); err != nil {
			return fmt.Errorf("%s: %w", s.jsonPaths, err)
		}
	}
	return nil
}

var pathStep = regexp.MustCompile(`^(?:\.([^.\[\]']+)|\['([^']*)'\]|\[(\d+)\])`)

func parsePath(text string) ([]any, error) {
	rest, ok := strings.CutPrefix(text, "$")
	path := []any{}
	for ok && rest != "" {
		m := pathStep.FindStringSubmatch(rest)
		switch {
		case m == nil:
			ok = false
			continue
		case m[3] != "":
			n, _ := strconv.Atoi(m[3])
			path = append(path, n)
		default:
			path = append(path, m[1]+m[2])
		}
		rest = rest[len(m[0]):]
	}
	if !ok {
		return nil, fmt.Errorf("%s is no JSONPath that COPY knows", text)
	}
	return path, nil
}

// rows are the values of all records, as SQL.
func (c *Copier) rows(ctx context.Context, s *copying, columns []column) ([]string, error) {
	text, err := c.object(ctx, s.manifest, false)
	if err != nil {
		return nil, err
	}
	var manifest struct {
		Entries []struct {
			URL       string
			Mandatory bool
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("the manifest %s: %w", s.manifest, err)
	}
	var rows []string
	for _, entry := range manifest.Entries {
		data, err := c.object(ctx, entry.URL, s.gzip)
		if err != nil {
			return nil, err
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		for n := 1; ; n++ {
			var record any
			if err := decoder.Decode(&record); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s, record %d: %w", entry.URL, n, err)
			}
			row, err := s.row(record, columns)
			if err != nil {
				return nil, fmt.Errorf("%s, record %d: %w", entry.URL, n, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// row is the values of one record.
func (s *copying) row(record any, columns []column) (string, error) {
	var b strings.Builder
	for i, c := range columns {
		value := record
		if list, ok := record.([]any); ok && s.jsonPaths == "" {
			value = nil // a record that is an array has its values in the columns' order
			if i < len(list) {
				value = list[i]
			}
		} else {
			for _, step := range c.path {
				value = at(value, step, s.ignoreCase)
			}
		}
		text, err := s.value(value, c)
		if err != nil {
			return "", fmt.Errorf("column %s: %w", c.name, err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func at(value, step any, ignoreCase bool) any {
	switch v := value.(type) {
	case map[string]any:
		name, _ := step.(string)
		if inner, ok := v[name]; ok || !ignoreCase {
			return inner
		}
		for key, inner := range v {
			if strings.EqualFold(key, name) {
				return inner
			}
		}
	case []any:
		if n, ok := step.(int); ok && n < len(v) {
			return v[n]
		}
	}
	return nil
}

// The form of times where no TIMEFORMAT says otherwise.
var plainTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$`)

// value is a value as SQL.
func (s *copying) value(value any, c column) (string, error) {
	if value == nil {
		return "NULL", nil
	}
	if c.kind == "super" {
		text, err := json.Marshal(value)
		return quote(string(text)), err
	}
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = strconv.FormatBool(v)
	default: // an object or an array, which goes into text as it is
		raw, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		text = string(raw)
	}
	if isText := strings.HasPrefix(c.kind, "character"); s.empty && isText && text == "" || s.blanks && isText && strings.TrimSpace(text) == "" || !isText && strings.TrimSpace(text) == "" {
		return "NULL", nil
	}
	if c.most > 0 && len(text) > c.most {
		if !s.truncate {
			return "", errors.New("string length exceeds DDL length")
		}
		for text = text[:c.most]; !utf8.ValidString(text); {
			text = text[:len(text)-1]
		}
	}
	if strings.HasPrefix(c.kind, "timestamp") {
		switch s.timeFormat {
		case "auto":
		case "epochsecs", "epochmillisecs":
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return "", fmt.Errorf("%q is no number of seconds", text)
			}
			if s.timeFormat == "epochmillisecs" {
				n /= 1000
			}
			text = time.UnixMicro(int64(n * 1e6)).UTC().Format("2006-01-02 15:04:05.999999")
		default:
			if !plainTime.MatchString(text) {
				return "", fmt.Errorf("invalid timestamp format or value [%s]", s.timeFormat)
			}
		}
	}
	return quote(text), nil
}

// quote is a text as SQL where a backslash escapes.
func quote(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", "''") + "'"
}

// atOnce is how many rows go into one statement.
const atOnce = 1000

// insert puts rows into the table.
func insert(ctx context.Context, tx *sql.Tx, s *copying, columns []column, rows []string) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = pq.QuoteIdentifier(c.name)
	}
	head := fmt.Sprintf("INSERT INTO %s.%s (%s) VALUES ", pq.QuoteIdentifier(s.schema), pq.QuoteIdentifier(s.table), strings.Join(names, ","))
	for some := range slices.Chunk(rows, atOnce) {
		if _, err := tx.ExecContext(ctx, head+"("+strings.Join(some, "),(")+")"); err != nil {
			return fmt.Errorf("load into table '%s' failed: %s", s.table, message(err))
		}
	}
	return nil
}
