// Package hive reads the types of columns in the AWS Glue Data Catalog, which are
// Apache Hive's: bigint, decimal(10,2), array<string>, struct<id:int,at:timestamp>.
package hive

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Kind is what a type is, without what it is made of.
type Kind string

// The kinds that tables of Parquet and ORC files have.
const (
	Boolean   Kind = "boolean"
	TinyInt   Kind = "tinyint"  // 8 bits
	SmallInt  Kind = "smallint" // 16 bits
	Int       Kind = "int"      // 32 bits
	BigInt    Kind = "bigint"   // 64 bits
	Float     Kind = "float"    // 32 bits
	Double    Kind = "double"
	Decimal   Kind = "decimal"
	String    Kind = "string"
	Char      Kind = "char"
	Varchar   Kind = "varchar"
	Binary    Kind = "binary"
	Date      Kind = "date"
	Timestamp Kind = "timestamp"
	Array     Kind = "array"
	Map       Kind = "map"
	Struct    Kind = "struct"
)

// Limits of Hive.
const (
	MostPrecision = 38
	MostChar      = 255
	MostVarchar   = 65_535
	// mostDepth is ours: nobody nests so far, and a parser must end.
	mostDepth = 32
)

// Type of a column.
type Type struct {
	Kind Kind
	// Precision and Scale of a decimal: digits in all, and after the point.
	Precision, Scale int
	// Length of a char or varchar, in characters.
	Length int
	// Key and Elem are a map's; an array has Elem only.
	Key, Elem *Type
	// Fields of a struct.
	Fields []Field
}

// Field of a struct.
type Field struct {
	Name string
	Type Type
}

// String is the type as Glue has it.
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case Char, Varchar:
		return fmt.Sprintf("%s(%d)", t.Kind, t.Length)
	case Array:
		return "array<" + t.Elem.String() + ">"
	case Map:
		return "map<" + t.Key.String() + "," + t.Elem.String() + ">"
	case Struct:
		fields := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = f.Name + ":" + f.Type.String()
		}
		return "struct<" + strings.Join(fields, ",") + ">"
	}
	return string(t.Kind)
}

// Name of a column or of a struct's field that Glue, Athena and Firehose all take:
// other services write it in lower case, so that it has to be so to be found again.
var Name = regexp.MustCompile(`^[a-z0-9_]{1,255}$`)

// Parse reads a type. Letters may be of either case, and spaces stand anywhere
// between its parts.
func Parse(text string) (Type, error) {
	p := parser{rest: strings.ToLower(text)}
	t, err := p.read(0)
	if err == nil && p.space() != "" {
		err = fmt.Errorf("%q follows the type", p.rest)
	}
	if err != nil {
		return Type{}, err
	}
	return t, nil
}

type parser struct{ rest string }

// space skips spaces and returns what is left.
func (p *parser) space() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	return p.rest
}

// take skips a character if it is next.
func (p *parser) take(c string) bool {
	rest, found := strings.CutPrefix(p.space(), c)
	p.rest = rest
	return found
}

func (p *parser) need(c string) error {
	if !p.take(c) {
		return fmt.Errorf("%q is missing before %q", c, p.rest)
	}
	return nil
}

// word is what stands before the next character with a meaning.
func (p *parser) word() string {
	p.space()
	end := strings.IndexAny(p.rest, "<>():, \t\r\n")
	if end < 0 {
		end = len(p.rest)
	}
	w := p.rest[:end]
	p.rest = p.rest[end:]
	return w
}

func (p *parser) number(of string, least, most int) (int, error) {
	text := p.word()
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s is %q, the range is %d to %d", of, text, least, most)
	}
	return n, nil
}

func (p *parser) read(depth int) (Type, error) {
	if depth > mostDepth {
		return Type{}, fmt.Errorf("more than %d types in each other", mostDepth)
	}
	word := p.word()
	switch kind := Kind(word); kind {
	case "integer":
		return Type{Kind: Int}, nil
	case Boolean, TinyInt, SmallInt, Int, BigInt, Float, Double, String, Binary, Date, Timestamp:
		return Type{Kind: kind}, nil
	case Decimal:
		return p.decimal()
	case Char, Varchar:
		most := MostChar
		if kind == Varchar {
			most = MostVarchar
		}
		if err := p.need("("); err != nil {
			return Type{}, err
		}
		n, err := p.number("the length", 1, most)
		return Type{Kind: kind, Length: n}, errors.Join(err, p.need(")"))
	case Array, Map, Struct:
		if err := p.need("<"); err != nil {
			return Type{}, err
		}
		t := Type{Kind: kind}
		err := p.parts(&t, depth+1)
		if err == nil {
			err = p.need(">")
		}
		return t, err
	}
	return Type{}, fmt.Errorf("%q is no type", word)
}

// decimal has ten digits and none after the point unless it says so.
func (p *parser) decimal() (Type, error) {
	t := Type{Kind: Decimal, Precision: 10}
	if !p.take("(") {
		return t, nil
	}
	var err error
	if t.Precision, err = p.number("the precision", 1, MostPrecision); err != nil {
		return t, err
	}
	if p.take(",") {
		if t.Scale, err = p.number("the scale", 0, t.Precision); err != nil {
			return t, err
		}
	}
	return t, p.need(")")
}

// parts reads what a nested type is made of.
func (p *parser) parts(t *Type, depth int) error {
	if t.Kind == Map {
		key, err := p.read(depth)
		if err != nil {
			return err
		}
		switch key.Kind {
		case Array, Map, Struct:
			return fmt.Errorf("a map's key is a %s", key.Kind)
		}
		if err := p.need(","); err != nil {
			return err
		}
		t.Key = &key
	}
	if t.Kind != Struct {
		elem, err := p.read(depth)
		t.Elem = &elem
		return err
	}
	for seen := map[string]bool{}; ; {
		name := p.word()
		if !Name.MatchString(name) {
			return fmt.Errorf("%q is no name of a field", name)
		}
		if seen[name] {
			return fmt.Errorf("the field %s is there twice", name)
		}
		seen[name] = true
		if err := p.need(":"); err != nil {
			return err
		}
		field, err := p.read(depth)
		if err != nil {
			return err
		}
		t.Fields = append(t.Fields, Field{name, field})
		if !p.take(",") {
			return nil
		}
	}
}
