package spec

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/constructs/spec/sql"
)

// RedshiftDelivery are the settings of a Firehose delivery to a table in Amazon
// Redshift: Firehose writes objects to an intermediate bucket and has Redshift COPY
// them into the table. There is no setting for a password: it is in Secrets Manager
// and nowhere else.
//
// Names (of database, schema, table, columns, user) are lower-case letters, digits,
// underscores and dollar signs, begin with a letter or an underscore, have at most
// 127 characters and are none of Redshift's reserved words.
type RedshiftDelivery struct {
	// Database with the table; "dev" by default, the one that Redshift makes.
	Database string
	// Schema with the table; "public" by default. Another one is made where Row or
	// Migrations are set.
	Schema string
	// Table that is loaded; required. Schema is a setting of its own.
	Table string
	// User that loads the table; by default the table's name with "_delivery". Where
	// Row or Migrations are set it is made, with the password of the delivery's
	// secret, and may load this table and do nothing else.
	User string

	// Row is a value of the struct that a record is the JSON of: the table is made
	// with a column for each field, and gets columns for fields that are new later.
	// Columns are never dropped or changed: do that with Migrations. A field's tag is
	// `redshift:"name,type,option…"`, each part may be left out: the name is then
	// that in its json tag, the type follows from Go's (string is varchar(256)), options
	// are notnull, distkey (one field) and sortkey (in the order of the fields). "-"
	// leaves a field out. nil: the table is there, or Migrations make it.
	Row any
	// Migrations are SQL files (*.sql, in folders too), such as an embed.FS or
	// os.DirFS("migrations"). Each is run once, in the order of the files' names, in one
	// transaction, after the table was made from Row. A file that was run must not
	// change, and a new one comes after all that were run. At most 37 statements a
	// file, of 100 KB each, and 100 KB in all.
	Migrations fs.FS

	// Columns that are loaded, in the order of JSONPaths; by default Row's, else all.
	Columns []string
	// Format of the records: "JSON 'auto'" (default), "JSON 's3://bucket/key'" with an
	// object that holds JSONPaths, or what else COPY knows: "CSV", "DELIMITER '|'", ….
	Format string
	// JSONPaths are where the columns' values are in a record, such as "$.rider.name"
	// or "$['rider']['name']"; one for each of Columns, all in the same notation. By
	// default each column is the record's top-level value of that name, or of the
	// name in the field's json tag.
	JSONPaths []string
	// Options of COPY besides, such as "TRUNCATECOLUMNS" or "MAXERROR 10". Of JSON,
	// TIMEFORMAT is 'auto' unless it is set here. What the other settings and Firehose
	// itself put into the statement is refused.
	Options []string

	// RetryDuration is how long Firehose tries a COPY again, 0 s to 7,200 s in whole
	// seconds; 3,600 s by default, Zero for none. After that the objects' manifest is
	// put under errors/, for a COPY by hand.
	RetryDuration time.Duration
}

// Redshift's defaults, which are what Firehose connects to.
const (
	redshiftDatabase = "dev"
	redshiftSchema   = "public"
)

// WithDefaults returns r with its defaults written out.
func (r RedshiftDelivery) WithDefaults() RedshiftDelivery {
	r.Database = orText(r.Database, redshiftDatabase)
	r.Schema = orText(r.Schema, redshiftSchema)
	if r.Table != "" {
		r.User = orText(r.User, r.Table[:min(len(r.Table), redshiftName-len("_delivery"))]+"_delivery")
	}
	r.fromRow()
	r.Format = orText(r.Format, "JSON 'auto'")
	r.RetryDuration = or(r.RetryDuration, 3600*time.Second)
	return r
}

// fromRow sets the columns and the paths that follow from Row.
func (r *RedshiftDelivery) fromRow() {
	columns, err := RedshiftColumns(r.Row)
	if err != nil || r.Row == nil {
		return
	}
	keys := map[string]string{}
	for _, c := range columns {
		keys[c.Name] = c.Key
	}
	if len(r.Columns) == 0 {
		for _, c := range columns {
			r.Columns = append(r.Columns, c.Name)
		}
	}
	named := func(column string) bool { return orText(keys[column], column) == column }
	if r.Format != "" || len(r.JSONPaths) > 0 || !slices.ContainsFunc(r.Columns, func(c string) bool { return !named(c) }) {
		return
	}
	// JSON 'auto' finds a value by the column's own name only.
	for _, c := range r.Columns {
		r.JSONPaths = append(r.JSONPaths, "$['"+orText(keys[c], c)+"']")
	}
}

// Defines tells whether the table, or what else is in the database, is made here.
func (r RedshiftDelivery) Defines() bool { return r.Row != nil || r.Migrations != nil }

// DataTable is the table as COPY names it.
func (r RedshiftDelivery) DataTable() string {
	r = r.WithDefaults()
	return r.Schema + "." + r.Table
}

// CopyOptions are what a COPY of objects with that compression has after MANIFEST.
// jsonPaths is the address of the object with JSONPaths, where there are some.
func (r RedshiftDelivery) CopyOptions(compression Compression, jsonPaths string) string {
	r = r.WithDefaults()
	format := r.Format
	if len(r.JSONPaths) > 0 {
		format = "JSON '" + jsonPaths + "'"
	}
	all := append([]string{format}, r.Options...)
	if orText(compression, GZIP) == GZIP {
		all = append(all, "GZIP")
	}
	timed := func(o string) bool { return sql.Words(o, 1) == "TIMEFORMAT" }
	if sql.Words(format, 1) == "JSON" && !slices.ContainsFunc(r.Options, timed) {
		all = append(all, "TIMEFORMAT 'auto'") // times as Go's and JavaScript's JSON has them
	}
	return strings.Join(all, " ")
}

// JSONPathsFile is the object that COPY takes JSONPaths from.
func (r RedshiftDelivery) JSONPathsFile() []byte {
	text, err := json.Marshal(map[string][]string{"jsonpaths": r.WithDefaults().JSONPaths})
	if err != nil {
		panic(err) // strings always encode
	}
	return text
}

// Validate returns every problem of r, of the settings of the intermediate bucket's
// objects, and of those of the backup, if there is one, as an [*Invalid], with path
// before each.
func (r RedshiftDelivery) Validate(path string, intermediate S3Delivery, backup *S3Delivery) error {
	c, d := At(path), r.WithDefaults()
	if d.Table == "" {
		c.Add("Table", nil, "records are delivered to a table", "name it")
	}
	for _, n := range []struct{ field, name string }{{"Database", d.Database}, {"Schema", d.Schema}, {"Table", d.Table}, {"User", d.User}} {
		if n.name != "" && (n.field != "User" || r.User != "") {
			c.redshiftName(n.field, n.name)
		}
	}
	if d.User == "public" {
		c.Add("User", d.User, "in Redshift that means everybody", "choose another name")
	}
	d.checkRow(c)
	c.Merge(checkMigrations(d.Migrations))
	d.checkCopy(c, r)
	within(c, "RetryDuration", d.RetryDuration, RedshiftRetry)
	wholeSeconds(c, "RetryDuration", d.RetryDuration)
	switch intermediate.Compression {
	case "", GZIP, Uncompressed:
	case Snappy, HadoopSnappy, ZIP:
		c.Add("Intermediate.Compression", string(intermediate.Compression), "Redshift's COPY can't read it", "use spec.GZIP, which is the default, or spec.Uncompressed")
	default:
		c.Add("Intermediate.Compression", string(intermediate.Compression), "it must be GZIP or UNCOMPRESSED", "leave it empty for GZIP")
	}
	prefix := intermediate.Prefix
	intermediate.Compression = ""
	c.besideRedshift("Intermediate", intermediate)
	if backup != nil {
		c.besideRedshift("Backup", *backup)
		c.Within("Backup", backup.BackupInterval)
		own, its := orText(backup.Prefix, "source/"), orText(prefix, d.Table+"/")
		if !IsToken(own) && !IsToken(its) && (strings.HasPrefix(own, its) || strings.HasPrefix(its, own)) {
			c.Add("Backup.Prefix", own, "records as they came would lie among the objects that are copied, under "+its, "begin it with something else, or set Intermediate.Prefix")
		}
		if backup.Expiration != 0 {
			c.Add("Backup.Expiration", backup.Expiration, "the backup is in the intermediate bucket", "set Intermediate.Expiration")
		}
	}
	return c.Err()
}

// besideRedshift notes what Firehose doesn't take of the settings of objects that it
// writes beside a delivery to Redshift:
// https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html
func (c *Check) besideRedshift(field string, s S3Delivery) {
	if strings.Contains(s.Prefix, "!{") && !IsToken(s.Prefix) {
		c.Add(field+".Prefix", s.Prefix, "in front of Redshift it is taken as it is: Firehose adds year, month, day and hour", "leave the expressions out")
	}
	plainPrefix(c, field+".Prefix", s.Prefix)
	if s.ErrorPrefix != "" {
		c.Add(field+".ErrorPrefix", s.ErrorPrefix, "Firehose takes none in front of Redshift", "leave it out; what fails is under processing-failed/ and errors/, after Prefix")
	}
	s.Prefix, s.ErrorPrefix = "", ""
	c.Within(field, func(c *Check) { c.Merge(s.Validate("")) })
}

// checkCopy notes what COPY wouldn't take, or would take otherwise than it looks;
// given are the settings without their defaults.
func (r RedshiftDelivery) checkCopy(c *Check, given RedshiftDelivery) {
	seen := map[string]bool{}
	for i, name := range given.Columns {
		field := fmt.Sprintf("Columns[%d]", i)
		c.redshiftName(field, name)
		if seen[name] {
			c.Add(field, name, "a column is loaded once", "leave one of them out")
		}
		seen[name] = true
	}
	if format := r.Format; IsToken(format) {
	} else if object, ok := strings.CutPrefix(format, "JSON 's3://"); ok {
		bucket, key, _ := strings.Cut(strings.TrimSuffix(object, "'"), "/")
		if bucket == "" || key == "" || strings.HasSuffix(key, "/") || !strings.HasSuffix(object, "'") {
			c.Add("Format", format, "JSONPaths are in one object", "name it whole, as in JSON 's3://bucket/paths.json'; or set JSONPaths, and the object is made")
		}
	} else if word := sql.Words(format, 1); !slices.Contains(copyFormats, word) || !oneClause(format) {
		c.Add("Format", format, "it begins with one of "+strings.Join(copyFormats, ", ")+" and is one clause of COPY", "write it as in JSON 'auto', and other options into Options")
	}
	if n := len(strings.Join(r.Columns, ",")); n > RedshiftCopy.Max {
		c.Add("Columns", fmt.Sprintf("%d characters together", n), RedshiftCopy.String(), "shorten the names, or load fewer")
	}
	r.checkPaths(c, given)
	options := map[string]bool{}
	for i, option := range r.Options {
		field, word := fmt.Sprintf("Options[%d]", i), sql.Words(option, 1)
		switch fix := copyRefused[word]; {
		case IsToken(option):
		case fix != "":
			c.Add(field, option, "it isn't an option here", fix)
		case !slices.Contains(copyOptions, word) || !oneClause(option):
			c.Add(field, option, "it begins with one of COPY's options: "+strings.Join(copyOptions, ", "), "correct it; one option each")
		case options[word]:
			c.Add(field, option, "COPY takes an option once", "leave one of them out")
		}
		options[word] = true
	}
	if n := len(r.CopyOptions("", "")); n > RedshiftCopy.Max {
		c.Add("Options", fmt.Sprintf("%d characters with Format", n), RedshiftCopy.String(), "leave some out")
	}
}

func (r RedshiftDelivery) checkPaths(c *Check, given RedshiftDelivery) {
	if len(r.JSONPaths) == 0 {
		return
	}
	if given.Format != "" {
		c.Add("JSONPaths", fmt.Sprintf("%d paths", len(r.JSONPaths)), "Format says where the values are, too", "leave one of them out")
	}
	if len(r.Columns) != len(r.JSONPaths) {
		c.Add("JSONPaths", fmt.Sprintf("%d paths", len(r.JSONPaths)), fmt.Sprintf("there is one for each column, and Columns has %d", len(r.Columns)), "name the columns in the same order")
	}
	notations := map[bool]bool{}
	for i, path := range r.JSONPaths {
		brackets := bracketPath.MatchString(path)
		if notations[brackets] = true; !brackets && !dotPath.MatchString(path) {
			c.Add(fmt.Sprintf("JSONPaths[%d]", i), path, "COPY knows names and indexes after $, no wildcards or filters", "write it like $.a.b[0] or $['a']['b'][0]")
		}
	}
	if len(notations) == 2 {
		c.Add("JSONPaths", strings.Join(r.JSONPaths, " "), "COPY takes one notation for all", "write all of them with dots, or all with brackets")
	}
}

var (
	bracketPath = regexp.MustCompile(`^\$(\['[^'\[\]]+'\]|\[\d+\])+$`)
	dotPath     = regexp.MustCompile(`^\$(\.[^'.\[\]\s*?@()]+(\[\d+\])*)+$`)

	copyFormats = []string{"JSON", "CSV", "DELIMITER", "FIXEDWIDTH", "AVRO"}
	// copyOptions are those of COPY that say how data is converted and loaded.
	copyOptions = []string{
		"ACCEPTANYDATE", "ACCEPTINVCHARS", "BLANKSASNULL", "COMPROWS", "COMPUPDATE", "DATEFORMAT", "EMPTYASNULL", "ENCODING", "ESCAPE", "EXPLICIT_IDS",
		"FILLRECORD", "IGNOREALLERRORS", "IGNOREBLANKLINES", "IGNOREHEADER", "MAXERROR", "NULL", "REGION", "REMOVEQUOTES", "ROUNDEC", "STATUPDATE",
		"TIMEFORMAT", "TRIMBLANKS", "TRUNCATECOLUMNS",
	}
	// copyRefused are those that something else says, with what to do instead.
	copyRefused = func() map[string]string {
		all := map[string]string{"NOLOAD": "leave it out: it loads nothing"}
		for word, fix := range map[string][]string{
			"leave it out: Firehose writes it into the statement":            {"MANIFEST", "FROM", "COPY"},
			"leave it out: Firehose authorizes the COPY with its own role":   {"CREDENTIALS", "IAM_ROLE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "AUTHORIZATION", "ENCRYPTED", "MASTER_SYMMETRIC_KEY"},
			"set Intermediate.Compression to spec.GZIP or spec.Uncompressed": {"GZIP", "BZIP2", "LZOP", "ZSTD"},
			"set Format": {"FORMAT", "JSON", "CSV", "DELIMITER", "FIXEDWIDTH", "AVRO"},
			"leave it out: Firehose doesn't write it in front of Redshift":      {"PARQUET", "ORC", "SHAPEFILE"},
			"leave it out: what the table lacks is told by a failure, not read": {"SSH", "READRATIO"},
		} {
			for _, w := range fix {
				all[w] = word
			}
		}
		return all
	}()
)

// oneClause tells whether text is a part of one statement: nothing ends it, and
// nothing in it is left out.
func oneClause(text string) bool {
	tokens, err := sql.Tokens(text)
	return err == nil && !slices.ContainsFunc(tokens, func(t sql.Token) bool { return t.Kind == sql.Comment || t.Text == ";" })
}

// redshiftName is the longest name in Redshift.
const redshiftName = 127

var redshiftPlain = regexp.MustCompile(`^[a-z_][a-z0-9_$]*$`)

// redshiftName notes a problem when name can't be written in SQL as it is.
func (c *Check) redshiftName(field, name string) {
	switch {
	case IsToken(name):
		c.Add(field, "a token", "it is written into SQL, and checked, when the app is synthesized", "pass the name itself")
	case strings.ToLower(name) != name:
		c.Add(field, name, "Redshift turns names into lower case, and JSON 'auto' finds a column in no other", "write it in lower case")
	case len(name) > redshiftName:
		c.Add(field, fmt.Sprintf("%d characters long", len(name)), "Redshift's names have at most 127", "shorten it")
	case !redshiftPlain.MatchString(name):
		c.Add(field, name, "a name is made of lower-case letters, digits, _ and $ and begins with a letter or _", "rename it; a schema is set with Schema")
	case redshiftReserved[name]:
		c.Add(field, name, "that is a reserved word of Redshift", "choose another name")
	}
}

// redshiftReserved are the words in
// https://docs.aws.amazon.com/redshift/latest/dg/r_pg_keywords.html
var redshiftReserved = func() map[string]bool {
	all := map[string]bool{}
	for _, word := range strings.Fields(`aes128 aes256 all allowoverwrite analyse analyze and any array as asc
		authorization az64 backup between binary blanksasnull both bytedict bzip2 case cast check collate column
		constraint create credentials cross current_date current_time current_timestamp current_user current_user_id
		default deferrable deflate defrag delta delta32k desc disable distinct do else emptyasnull enable encode
		encrypt encryption end except explicit false for foreign freeze from full globaldict256 globaldict64k grant
		group gzip having identity ignore ilike in initially inner intersect interval into is isnull join language
		leading left like limit localtime localtimestamp lun luns lzo lzop minus mostly13 mostly32 mostly8 natural
		new not notnull null nulls off offline offset oid old on only open or order outer overlaps parallel
		partition percent permissions placing primary raw readratio recover references rejectlog resort respect
		restore right select session_user similar snapshot some sysdate system table tag tdes text255 text32k then
		timestamp to top trailing true truncatecolumns union unique user using verbose wallet when where with without`) {
		all[word] = true
	}
	return all
}()
