package spec

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// columnsOf are the columns of a Go struct.
func columnsOf(c *Check, row any) []Column {
	t := reflect.TypeOf(row)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		c.Add("Schema.Row", t.String(), "a row is a struct", "pass a value such as Order{}")
		return nil
	}
	return fields(c, t, "Schema.Row", []reflect.Type{t}, func(f goField) Column {
		return Column{Name: f.name, Type: f.kind, Key: f.key}
	})
}

// goField is a struct's field as Glue and JSON have it.
type goField struct{ name, kind, key string }

// fields are what make makes of each field of t. outer are the structs around.
func fields[T any](c *Check, t reflect.Type, path string, outer []reflect.Type, made func(goField) T) []T {
	var all []T
	for i := range t.NumField() {
		f := t.Field(i)
		at := path + "." + f.Name
		key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		name, kind, _ := strings.Cut(f.Tag.Get("glue"), ",")
		bare := f.Type
		for bare.Kind() == reflect.Pointer {
			bare = bare.Elem()
		}
		switch {
		case name == "-" || key == "-" && options == "":
			continue
		case f.Anonymous && key == "" && name == "" && kind == "" && bare.Kind() == reflect.Struct && !spelled(bare):
			// encoding/json writes its fields among the outer ones.
			if around(outer, bare) {
				c.Add(at, bare.String(), "a type can't hold itself in a table", "leave it out with `glue:\"-\"`")
				continue
			}
			all = append(all, fields(c, bare, at, append(outer, bare), made)...)
			continue
		case !f.IsExported():
			continue
		}
		if key == "" {
			key = f.Name
		}
		if name == "" {
			name = strings.ToLower(key)
		}
		if kind == "" {
			quoted := false
			for _, o := range strings.Split(options, ",") {
				quoted = quoted || o == "string"
			}
			if kind = kindOf(c, f.Type, at, outer); kind == "" {
				continue
			}
			if quoted {
				kind = string(hive.String)
			}
		} else if _, err := hive.Parse(kind); err != nil {
			c.Add(at, kind, "the tag's type has to be one of Hive's: "+err.Error(), "use one like bigint, string, timestamp or decimal(10,2)")
			continue
		}
		if strings.ToLower(key) == name {
			key = "" // Firehose finds it so
		}
		all = append(all, made(goField{name, kind, key}))
	}
	return all
}

// spelled tells whether a type writes its own JSON.
func spelled(t reflect.Type) bool {
	for _, m := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return true
		}
	}
	return false
}

func around(outer []reflect.Type, t reflect.Type) bool {
	for _, o := range outer {
		if o == t {
			return true
		}
	}
	return false
}

// kindOf is the column type of what encoding/json writes for a Go type; it notes
// in c when there is none.
func kindOf(c *Check, t reflect.Type, at string, outer []reflect.Type) string {
	unknown := func(why string) string {
		c.Add(at, t.String(), why, "name a type in the tag, such as `glue:\",string\"`, or leave the field out with `glue:\"-\"`")
		return ""
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return string(hive.Timestamp) // to be in UTC: Firehose reads no other offset
	case t == reflect.TypeFor[json.Number]():
		return unknown("a number of any kind has no one type")
	case t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()):
		return unknown("a type that writes its own JSON can be anything")
	case spelled(t):
		return string(hive.String)
	}
	switch t.Kind() {
	case reflect.Bool:
		return string(hive.Boolean)
	case reflect.Int8:
		return string(hive.TinyInt)
	case reflect.Int16, reflect.Uint8:
		return string(hive.SmallInt)
	case reflect.Int32, reflect.Uint16:
		return string(hive.Int)
	case reflect.Int, reflect.Int64, reflect.Uint32:
		return string(hive.BigInt)
	case reflect.Float32:
		return string(hive.Float)
	case reflect.Float64:
		return string(hive.Double)
	case reflect.String:
		return string(hive.String)
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return unknown("no column type has 64 bits and no sign")
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
			return unknown("encoding/json writes bytes as base64, which stays a string")
		}
		elem := kindOf(c, t.Elem(), at, outer)
		if elem == "" {
			return ""
		}
		return "array<" + elem + ">"
	case reflect.Map:
		if t.Key().Kind() != reflect.String && !spelled(t.Key()) {
			return unknown("a key in JSON is a string")
		}
		elem := kindOf(c, t.Elem(), at, outer)
		if elem == "" {
			return ""
		}
		return "map<string," + elem + ">"
	case reflect.Struct:
		if around(outer, t) {
			return unknown("a type can't hold itself in a table")
		}
		inner := fields(c, t, at, append(outer, t), func(f goField) string {
			if f.key != "" {
				c.Add(at, f.key, "Firehose renames no keys inside of others", "name it as the JSON does: "+strings.ToLower(f.key))
			}
			return f.name + ":" + f.kind
		})
		if len(inner) == 0 {
			return unknown("it has no field that is written")
		}
		return "struct<" + strings.Join(inner, ",") + ">"
	}
	return unknown(fmt.Sprintf("a %s has no JSON, or any", t.Kind()))
}
