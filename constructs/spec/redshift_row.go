package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RedshiftColumn is a column of a table in Redshift.
type RedshiftColumn struct {
	// Name of the column.
	Name string
	// Key of its value in a record's JSON.
	Key string
	// Type in Redshift's words, such as "varchar(64)".
	Type string
	// NotNull, DistributionKey and SortKey are the field's options.
	NotNull, DistributionKey, SortKey bool

	field string // where it is in the struct
}

// Definition is the column as in CREATE TABLE.
func (c RedshiftColumn) Definition() string {
	if c.NotNull {
		return c.Name + " " + c.Type + " NOT NULL"
	}
	return c.Name + " " + c.Type
}

// CatalogType is the type as Redshift's catalog has it, with its size, such as
// "character varying(64)"; empty where the catalog's words aren't known.
func (c RedshiftColumn) CatalogType() string {
	base, size, scale := c.Type, "", "0"
	if m := sizedType.FindStringSubmatch(c.Type); m != nil {
		base, size = m[1], m[2]
		scale = orText(m[3], scale)
	}
	known, ok := catalogTypes[base]
	switch {
	case !ok:
		return ""
	case known.size == "":
		return known.name
	case known.name == "numeric":
		return "numeric(" + orText(size, known.size) + "," + scale + ")"
	case size == "max":
		size = "65535"
	}
	return known.name + "(" + orText(size, known.size) + ")"
}

// catalogTypes are the catalog's names of types, with the size of those that have one
// and aren't given it.
var catalogTypes = func() map[string]struct{ name, size string } {
	all := map[string]struct{ name, size string }{}
	for _, t := range []struct{ name, size, words string }{
		{"smallint", "", "smallint,int2"},
		{"integer", "", "integer,int,int4"},
		{"bigint", "", "bigint,int8"},
		{"real", "", "real,float4"},
		{"double precision", "", "double precision,float8,float"},
		{"numeric", "18", "decimal,numeric"},
		{"boolean", "", "boolean,bool"},
		{"date", "", "date"},
		{"timestamp without time zone", "", "timestamp,timestamp without time zone"},
		{"timestamp with time zone", "", "timestamptz,timestamp with time zone"},
		{"time without time zone", "", "time,time without time zone"},
		{"time with time zone", "", "timetz,time with time zone"},
		{"character", "1", "char,character,nchar"},
		{"character", "256", "bpchar"},
		{"character varying", "256", "varchar,character varying,nvarchar,text"},
	} {
		for _, word := range strings.Split(t.words, ",") {
			all[word] = struct{ name, size string }{t.name, t.size}
		}
	}
	return all
}()

// RedshiftColumns are the columns that the fields of row, a struct or a pointer to
// one, stand for; see [RedshiftDelivery]. Fields of embedded structs are the row's
// own, as encoding/json has it. The error is an [*Invalid].
func RedshiftColumns(row any) ([]RedshiftColumn, error) {
	c := At("")
	t := reflect.TypeOf(row)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return nil, nil
	case t.Kind() != reflect.Struct:
		c.Add("Row", t.String(), "its fields are the columns", "set it to a struct")
		return nil, c.Err()
	}
	columns := rowColumns(c, t, "Row")
	if len(columns) == 0 {
		c.Add("Row", t.String(), "it has no field that JSON has", "export its fields")
	}
	names, keys := map[string]string{}, 0
	for _, column := range columns {
		if before, twice := names[column.Name]; twice {
			c.Add(column.field, column.Name, before+" is a column of that name, too", "name one of them otherwise in its tag")
		}
		if names[column.Name] = column.field; column.DistributionKey {
			if keys++; keys == 2 {
				c.Add(column.field, "distkey", "a table has one distribution key", "leave one of them out")
			}
		}
	}
	return columns, c.Err()
}

// CreateTable is the statement that makes the table of Row; empty without one.
func (r RedshiftDelivery) CreateTable() string {
	columns, err := RedshiftColumns(r.Row)
	if err != nil || r.Row == nil {
		return ""
	}
	var definitions, sorted []string
	keys := ""
	for _, c := range columns {
		definitions = append(definitions, "  "+c.Definition())
		if c.DistributionKey {
			keys = " DISTKEY (" + c.Name + ")"
		}
		if c.SortKey {
			sorted = append(sorted, c.Name)
		}
	}
	if len(sorted) > 0 {
		keys += " SORTKEY (" + strings.Join(sorted, ", ") + ")"
	}
	return "CREATE TABLE IF NOT EXISTS " + r.DataTable() + " (\n" + strings.Join(definitions, ",\n") + "\n)" + keys
}

func (r RedshiftDelivery) checkRow(c *Check) {
	if r.Row == nil {
		return
	}
	columns, err := RedshiftColumns(r.Row)
	c.Merge(err)
	if err != nil {
		return
	}
	if n := len(columns); n > RedshiftTableColumns.Max {
		c.Add("Row", fmt.Sprintf("%d columns", n), RedshiftTableColumns.String(), "leave fields out")
	}
	sorted := 0
	for _, column := range columns {
		c.redshiftName(column.field, column.Name)
		if column.SortKey {
			sorted++
		}
		if len(r.JSONPaths) > 0 && strings.ContainsAny(column.Key, "'[]") {
			c.Add(column.field, column.Key, "a path to that key can't be written for COPY", "name the key otherwise in its json tag")
		}
	}
	if sorted > RedshiftSortKeys.Max {
		c.Add("Row", fmt.Sprintf("%d sort keys", sorted), RedshiftSortKeys.String(), "leave some out")
	}
}

// rowColumns are the columns of t, which is at path.
func rowColumns(c *Check, t reflect.Type, path string) []RedshiftColumn {
	var columns []RedshiftColumn
	for i := range t.NumField() {
		f := t.Field(i)
		field := path + "." + f.Name
		tag, tagged := f.Tag.Lookup("redshift")
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		for inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case tag == "-" || f.Tag.Get("json") == "-":
			if tagged && tag != "-" {
				c.Add(field, tag, "JSON leaves this field out, so nothing would be loaded", `take the json tag "-" or the redshift tag away`)
			}
			continue
		case f.Anonymous && key == "" && !tagged && inner.Kind() == reflect.Struct && inner != timeType:
			columns = append(columns, rowColumns(c, inner, field)...)
			continue
		case !f.IsExported():
			if tagged {
				c.Add(field, tag, "JSON leaves unexported fields out, so nothing would be loaded", "export it")
			}
			continue
		}
		column := RedshiftColumn{Key: orText(key, f.Name), field: field}
		parts := tagParts(tag)
		column.Name = orText(parts[0], orText(key, strings.ToLower(f.Name)))
		if len(parts) > 1 && parts[1] != "" {
			column.Type = strings.ToLower(parts[1])
			if why := redshiftTypeProblem(column.Type); why != "" {
				c.Add(field, parts[1], why, "write a type of Redshift into the tag's second part")
			}
		} else if column.Type = redshiftType(inner); column.Type == "" {
			c.Add(field, f.Type.String(), "no type of Redshift follows from it", `write one into its tag, as in redshift:",varchar(64)"`)
		}
		for _, option := range parts[min(2, len(parts)):] {
			switch option {
			case "notnull":
				column.NotNull = true
			case "distkey":
				column.DistributionKey = true
			case "sortkey":
				column.SortKey = true
			default:
				c.Add(field, option, "the options are notnull, distkey and sortkey", "correct the tag's parts after name and type")
			}
		}
		if (column.DistributionKey || column.SortKey) && slices.Contains([]string{"super", "geometry", "geography", "hllsketch"}, column.Type) {
			c.Add(field, column.Type, "Redshift takes no such column as a key", "take distkey and sortkey away")
		}
		columns = append(columns, column)
	}
	return columns
}

// tagParts are the parts of a tag between commas that aren't in parentheses.
func tagParts(tag string) []string {
	parts, depth := []string{""}, 0
	for _, r := range tag {
		switch {
		case r == ',' && depth == 0:
			parts = append(parts, "")
			continue
		case r == '(':
			depth++
		case r == ')':
			depth--
		}
		parts[len(parts)-1] += string(r)
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// redshiftType is the type for values of t as JSON has them; empty if there is none.
func redshiftType(t reflect.Type) string {
	switch {
	case t == timeType:
		return "timestamptz"
	case t == rawType:
		return "super"
	case t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()):
		return "" // its JSON may be anything
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int8, reflect.Int16, reflect.Uint8:
		return "smallint"
	case reflect.Int32, reflect.Uint16:
		return "integer"
	case reflect.Int, reflect.Int64, reflect.Uint32:
		return "bigint"
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return "decimal(20,0)"
	case reflect.Float32:
		return "real"
	case reflect.Float64:
		return "double precision"
	case reflect.String:
		return "varchar(256)"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "" // base64 in JSON, of no length that is known
		}
		return "super"
	case reflect.Map, reflect.Struct, reflect.Interface:
		return "super"
	}
	return ""
}

// redshiftTypes are the types that have no size, and redshiftSized those with one,
// with what it may be at most; a decimal has two.
var (
	redshiftTypes = []string{
		"smallint", "int2", "integer", "int", "int4", "bigint", "int8", "real", "float4", "double precision", "float8", "float",
		"decimal", "numeric", "boolean", "bool", "date", "timestamp", "timestamp without time zone", "timestamptz", "timestamp with time zone",
		"time", "time without time zone", "timetz", "time with time zone", "char", "character", "nchar", "bpchar", "varchar", "character varying",
		"nvarchar", "text", "varbyte", "varbinary", "binary varying", "super", "geometry", "geography", "hllsketch",
	}
	redshiftSized = map[string]int{
		"char": 4_096, "character": 4_096, "nchar": 4_096,
		"varchar": 65_535, "character varying": 65_535, "nvarchar": 65_535,
		"varbyte": 16_777_216, "varbinary": 16_777_216, "binary varying": 16_777_216,
		"decimal": 38, "numeric": 38,
	}
	sizedType = regexp.MustCompile(`^([a-z][a-z ]*[a-z]) ?\( ?(\d{1,9}|max) ?(?:, ?(\d{1,3}) ?)?\)$`)
)

// redshiftTypeProblem says why Redshift wouldn't take t for a column, or is empty.
func redshiftTypeProblem(t string) string {
	if slices.Contains(redshiftTypes, t) {
		return ""
	}
	m := sizedType.FindStringSubmatch(t)
	if m == nil {
		return "Redshift has no such type"
	}
	most, sized := redshiftSized[m[1]]
	decimal := m[1] == "decimal" || m[1] == "numeric"
	size, _ := strconv.Atoi(m[2])
	scale, _ := strconv.Atoi(m[3])
	switch {
	case !sized && slices.Contains(redshiftTypes, m[1]):
		return m[1] + " has no size"
	case !sized:
		return "Redshift has no such type"
	case m[2] == "max" && strings.Contains(m[1], "var") && !strings.HasPrefix(m[1], "varb"):
		return ""
	case size < 1 || size > most:
		return fmt.Sprintf("%s takes 1 to %d", m[1], most)
	case m[3] != "" && !decimal:
		return m[1] + " takes one size"
	case decimal && (scale > 37 || scale > size):
		return "a decimal's scale is at most 37, and its precision"
	}
	return ""
}
