package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"
)

// IcebergTable is a table that a delivery to Apache Iceberg tables writes to. It
// has to exist, in version 2 of the format: Firehose writes Parquet into it, and
// what it deletes or replaces it marks in files of its own (merge on read). A
// record's fields are its columns, by their exact names.
type IcebergTable struct {
	// Database and Table as the catalog has them, each 1 to 255 of a-z A-Z 0-9 _ and
	// dots. In S3 Tables the database is the namespace.
	Database, Table string
	// UniqueKeys are the columns that tell its rows apart, which updates and deletes
	// need; by default the table's own identifier fields, if it has any. Firehose
	// looks them up in the table when it is created. A delivery that only inserts
	// needs none.
	UniqueKeys []string
	// ErrorPrefix of the objects with the records that this table refused; by default
	// that of the bucket Failed. At most 1,024 characters.
	ErrorPrefix string
}

// IcebergRoute are three expressions of jq over a record, which say where it goes
// and what becomes of it there. A text is an expression, too: `"orders"`. A record
// that isn't a JSON object, or whose table there isn't, goes to the bucket Failed.
type IcebergRoute struct {
	// Database and Table of a record; by default those of the only table.
	Database, Table string
	// Operation is insert, update or delete for a record; by default every record is
	// inserted. An update of a row that there isn't inserts it.
	Operation string
}

// IcebergDelivery are the settings of a Firehose delivery to Apache Iceberg tables.
// Records reach a table in one of three ways: all of them the only one of Tables;
// each the one that its Route says; or each the one that the delivery's transform
// says in its answer, in metadata.otfMetadata with destinationDatabaseName,
// destinationTableName and operation. Firehose doesn't keep their order.
//
// That Firehose makes tables and changes their columns is a preview of AWS's, which
// may still change: it isn't offered here.
type IcebergDelivery struct {
	// Tables that are written to.
	Tables []IcebergTable
	// Databases whose tables may all be written to, beside Tables: where a record's
	// table isn't known beforehand.
	Databases []string
	// Route of each record; none by default.
	Route IcebergRoute
	// AppendOnly says that records are only ever inserted: Firehose then takes as
	// many as come. With DirectPut, updates and deletes hold it to 5 MiB/s in
	// us-east-1, us-west-2 and eu-west-1, and to 1 MiB/s elsewhere.
	AppendOnly bool
	// BufferSize in MiB at which rows are written, 1 to 128; 5 by default. Each time
	// is a commit to the table with files of its own, which have to be compacted.
	BufferSize int
	// BufferInterval after which rows are written, 0 s to 900 s; 300 s by default,
	// Zero for none.
	BufferInterval time.Duration
	// Retry is how long a commit is tried again, 0 s to 7,200 s; 300 s by default,
	// Zero for never. After that the records are written to the bucket Failed.
	Retry time.Duration
}

// WithDefaults returns i with its defaults written out.
func (i IcebergDelivery) WithDefaults() IcebergDelivery {
	i.BufferSize = or(i.BufferSize, 5)
	i.BufferInterval = or(i.BufferInterval, 300*time.Second)
	i.Retry = or(i.Retry, 300*time.Second)
	if i.Route != (IcebergRoute{}) && len(i.Tables) == 1 {
		i.Route.Database = orText(i.Route.Database, `"`+i.Tables[0].Database+`"`)
		i.Route.Table = orText(i.Route.Table, `"`+i.Tables[0].Table+`"`)
	}
	return i
}

// Validate returns every problem of i as an [*Invalid], with path before each.
func (i IcebergDelivery) Validate(path string) error {
	c, d := At(path), i.WithDefaults()
	if len(d.Tables)+len(d.Databases) == 0 {
		c.Add("Tables", nil, "Firehose writes to tables that there are", "name them, or the Databases that records are routed to")
	}
	for n, t := range d.Tables {
		field := fmt.Sprintf("Tables[%d]", n)
		c.Pattern(field+".Database", t.Database, IcebergName)
		c.Pattern(field+".Table", t.Table, IcebergName)
		if slices.ContainsFunc(d.Tables[:n], func(other IcebergTable) bool { return other.Database == t.Database && other.Table == t.Table }) {
			c.Add(field, t.Database+"."+t.Table, "Firehose takes a table once", "keep one of them")
		}
		for k, key := range t.UniqueKeys {
			at := fmt.Sprintf("%s.UniqueKeys[%d]", field, k)
			c.Pattern(at, key, IcebergColumn)
			if slices.Contains(t.UniqueKeys[:k], key) {
				c.Add(at, key, "Firehose takes a column once", "keep one of them")
			}
		}
		expressions(c, field+".ErrorPrefix", t.ErrorPrefix)
		if d.AppendOnly && len(t.UniqueKeys) > 0 {
			c.Add(field+".UniqueKeys", strings.Join(t.UniqueKeys, ", "), "an append-only delivery neither updates nor deletes", "leave them out, or AppendOnly")
		}
	}
	for n, database := range d.Databases {
		field := fmt.Sprintf("Databases[%d]", n)
		c.Pattern(field, database, IcebergName)
		if slices.Contains(d.Databases[:n], database) {
			c.Add(field, database, "it is listed twice", "list it once")
		}
	}
	d.route(c)
	buffered(c, d.BufferSize, S3BufferSize, d.BufferInterval, S3BufferInterval, d.Retry)
	return c.Err()
}

// route checks what becomes the query; d has its defaults.
func (i IcebergDelivery) route(c *Check) {
	r := i.Route
	if r == (IcebergRoute{}) {
		return
	}
	before := len(c.problems)
	for _, part := range []struct{ field, text string }{{"Route.Database", r.Database}, {"Route.Table", r.Table}, {"Route.Operation", r.Operation}} {
		query, err := gojq.Parse(part.text)
		if err == nil {
			_, err = gojq.Compile(query)
		}
		switch {
		case part.text == "" && part.field == "Route.Operation":
		case part.text == "":
			c.Add(part.field, nil, "without exactly one table, a route says the database and the table of each record", `set it to an expression of jq, such as .type or "orders"`)
		case IsToken(part.text):
			c.Add(part.field, part.text, "an expression of jq has to be known when the app is synthesized, to be checked", "pass plain text")
		case err != nil:
			c.Add(part.field, part.text, "it is no expression of jq: "+err.Error(), "correct it")
		}
	}
	if o := r.Operation; strings.HasPrefix(o, `"`) && jqTerm.MatchString(o) && !slices.Contains([]string{`"insert"`, `"update"`, `"delete"`}, o) {
		c.Add("Route.Operation", o, "an operation is insert, update or delete", "use one of them; an update inserts a row that there isn't")
	}
	if i.AppendOnly && r.Operation != "" {
		c.Add("Route.Operation", r.Operation, "an append-only delivery inserts every record", "leave it out, or AppendOnly")
	}
	if _, err := gojq.Parse(i.Query()); err != nil && len(c.problems) == before {
		c.Add("Route", i.Query(), "together its expressions are no query of jq: "+err.Error(), "leave comments and definitions out")
	}
	if n := len(i.Query()); n > IcebergQuery.Max {
		c.Add("Route", fmt.Sprintf("%d characters together", n), IcebergQuery.String(), "shorten the expressions, or route in the transform")
	}
}

// Query is the route as Firehose takes it, its MetadataExtractionQuery; empty
// without a route.
func (i IcebergDelivery) Query() string {
	r := i.WithDefaults().Route
	if r == (IcebergRoute{}) {
		return ""
	}
	query := "{destinationDatabaseName:" + operand(r.Database) + ",destinationTableName:" + operand(r.Table)
	if r.Operation != "" {
		query += ",operation:" + operand(r.Operation)
	}
	return query + "}"
}

var jqTerm = regexp.MustCompile(`^(\.[A-Za-z0-9_.]+|"[A-Za-z0-9_. -]*")$`)

// operand is an expression where jq takes one term only.
func operand(expression string) string {
	if jqTerm.MatchString(expression) {
		return expression
	}
	return "(" + expression + ")"
}

// Firehose's rules for names of Iceberg tables.
var (
	IcebergName   = Pattern{regexp.MustCompile(`^[a-zA-Z0-9._]{1,255}$`), "Firehose takes names of 1 to 255 of a-z A-Z 0-9 _ and dots"}
	IcebergColumn = Pattern{regexp.MustCompile(`^\S{1,1000}\S{0,24}$`), "a column's name has 1 to 1,024 characters and no space"}
)
