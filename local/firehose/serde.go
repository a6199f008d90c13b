package firehose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// column of a table, or a field of a struct, with the JSON's key of it.
type column struct {
	name, key string
	kind      hive.Type
}

// malformed is data that doesn't fit its column, told as Firehose tells it.
type malformed struct{ code, message string }

func (m *malformed) Error() string { return m.message }

// The codes of records that can't be converted, and what others recorded the
// service to say of them.
const (
	codeParse     = "DataFormatConversion.ParseError"
	codeMalformed = "DataFormatConversion.MalformedData"
	codeNoTable   = "DataFormatConversion.EntityNotFound"
	codeSchema    = "DataFormatConversion.InvalidSchema"

	messageMismatch  = "Data does not match the schema. "
	messageEmpty     = "The record was empty or contained only whitespace."
	messagePrimitive = "The input JSON contained a primitive at the top level. The top level must be an object or array."
	messageNoTable   = "The specified table/database could not be found. Please ensure that the table/database exists and that the values provided in the schema configuration are correct, especially with regards to casing."
)

func mismatch(format string, args ...any) error {
	return &malformed{codeMalformed, messageMismatch + fmt.Sprintf(format, args...)}
}

// forInput is what a Java parser says of a text, and Firehose after it.
func forInput(text string) error { return mismatch("For input string: %q", text) }

// serde reads JSON as Firehose's deserializers do: OpenX's JSON SerDe, or Hive's
// where it has timestamp formats.
type serde struct {
	caseSensitive bool
	dots          bool              // are underscores in columns
	keys          map[string]string // the JSON's of columns with another name
	hive          bool
	layouts       []string // Go's, of Hive's timestamps; "" is milliseconds
}

// documents are the JSON objects of a record: one, or several in a row.
func (s *serde) documents(data []byte) ([]map[string]any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &malformed{codeMalformed, messageEmpty}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var all []map[string]any
	for {
		var value any
		if err := dec.Decode(&value); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, &malformed{codeParse, "Encountered malformed JSON. " + err.Error()}
		}
		switch value := value.(type) {
		case map[string]any:
			all = append(all, value)
		case []any:
			return nil, mismatch("A JSON object is required.")
		default:
			return nil, &malformed{codeMalformed, messagePrimitive}
		}
	}
}

// values are those of columns in an object; what it lacks is nil, what it has
// besides is left out.
func (s *serde) values(columns []column, object map[string]any) ([]any, error) {
	index := make(map[string]any, len(object))
	for key, value := range object {
		index[s.fold(key)] = value
	}
	row := make([]any, len(columns))
	for i := range columns {
		c := &columns[i]
		value, there := object[c.key]
		if !there {
			value = index[s.fold(c.key)]
		}
		if value == nil {
			continue
		}
		var err error
		if row[i], err = s.value(&c.kind, value); err != nil {
			return nil, err
		}
	}
	return row, nil
}

// fold is a key as columns are looked up by.
func (s *serde) fold(key string) string {
	if s.dots {
		key = strings.ReplaceAll(key, ".", "_")
	}
	if s.caseSensitive {
		return key
	}
	return strings.ToLower(key)
}

// pair is an entry of a map: its key and its value.
type pair = [2]any

// value is v, which isn't null, as a column's type: bool, int32 (up to int, and
// days since 1970 for a date), int64, float32, float64, *big.Int (a decimal's units),
// string, time.Time, []any (of a list or a struct) or []pair.
func (s *serde) value(t *hive.Type, v any) (any, error) {
	switch t.Kind {
	case hive.Boolean:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		text, err := scalar(v)
		if err != nil {
			return nil, err
		}
		switch strings.ToLower(text) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, forInput(text)
	case hive.TinyInt:
		return integer[int32](v, 8)
	case hive.SmallInt:
		return integer[int32](v, 16)
	case hive.Int:
		return integer[int32](v, 32)
	case hive.BigInt:
		return integer[int64](v, 64)
	case hive.Float:
		f, err := floating(v, 32)
		return float32(f), err
	case hive.Double:
		return floating(v, 64)
	case hive.Decimal:
		return units(t, v)
	case hive.String, hive.Char, hive.Varchar:
		text := asText(v)
		if n := t.Length; n > 0 {
			if all := []rune(text); len(all) > n {
				text = string(all[:n]) // as Hive does
			} else if t.Kind == hive.Char {
				text = strings.TrimRight(text, " ") // it counts for nothing in one
			}
		}
		return text, nil
	case hive.Date:
		text, err := scalar(v)
		if err != nil {
			return nil, err
		}
		at, err := time.Parse("2006-1-2", text)
		if err != nil {
			return nil, forInput(text)
		}
		return int32(at.Unix() / 86_400), nil
	case hive.Timestamp:
		return s.timestamp(v)
	case hive.Array:
		list, ok := v.([]any)
		if !ok {
			return nil, mismatch("A JSON array is required.")
		}
		all := make([]any, len(list))
		for i, one := range list {
			if one == nil {
				continue
			}
			var err error
			if all[i], err = s.value(t.Elem, one); err != nil {
				return nil, err
			}
		}
		return all, nil
	case hive.Map:
		return s.pairs(t, v)
	case hive.Struct:
		object, ok := v.(map[string]any)
		if !ok {
			return nil, mismatch("A JSON object is required.")
		}
		return s.values(fieldsOf(t), object)
	}
	return nil, mismatch("A %s can't be read.", t.Kind)
}

// fieldsOf are a struct's as columns.
func fieldsOf(t *hive.Type) []column {
	columns := make([]column, len(t.Fields))
	for i, f := range t.Fields {
		columns[i] = column{name: f.Name, key: f.Name, kind: f.Type}
	}
	return columns
}

func (s *serde) pairs(t *hive.Type, v any) (any, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, mismatch("A JSON object is required.")
	}
	all := []pair{}
	for _, key := range sortedKeys(object) {
		name, err := s.value(t.Key, key)
		if err != nil {
			return nil, err
		}
		p := pair{name}
		if value := object[key]; value != nil {
			if p[1], err = s.value(t.Elem, value); err != nil {
				return nil, err
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// scalar is a value's text; lists and objects have none.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", mismatch("A value is required, no list and no object.")
}

// asText is what a column of text gets of a value, JSON of lists and objects.
func asText(v any) string {
	if text, err := scalar(v); err == nil {
		return text
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // it was decoded from JSON
	return strings.TrimSuffix(b.String(), "\n")
}

func integer[T int32 | int64](v any, bits int) (any, error) {
	text, err := scalar(v)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, bits)
	if err != nil {
		return nil, forInput(text)
	}
	return T(n), nil
}

func floating(v any, bits int) (float64, error) {
	text, err := scalar(v)
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(text), bits)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || strings.ContainsAny(text, "xX_") {
		return 0, forInput(text)
	}
	return f, nil
}

// longestNumber is how many digits a decimal may be written with, with its zeros.
const longestNumber = 400

// units are how many of a decimal's smallest units a value is, rounded half up.
func units(t *hive.Type, v any) (any, error) {
	text, err := scalar(v)
	if err != nil {
		return nil, err
	}
	trimmed := strings.TrimSpace(text)
	if _, exponent, found := strings.Cut(strings.ToLower(trimmed), "e"); found {
		// An exponent can name a number that fills the memory.
		if e, err := strconv.Atoi(exponent); err != nil || e > longestNumber || e < -longestNumber {
			return nil, forInput(text)
		}
	}
	r, ok := new(big.Rat).SetString(trimmed)
	if !ok || strings.ContainsAny(trimmed, "/xXoObBpP_") || len(trimmed) > longestNumber {
		return nil, forInput(text)
	}
	ten := big.NewInt(10)
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(ten, big.NewInt(int64(t.Scale)), nil)))
	// Half up is away from zero, as Java's HALF_UP.
	double := new(big.Int).Mul(new(big.Int).Abs(r.Num()), big.NewInt(2))
	double.Add(double, r.Denom())
	n := double.Quo(double, new(big.Int).Mul(r.Denom(), big.NewInt(2)))
	if r.Sign() < 0 {
		n.Neg(n)
	}
	if n.CmpAbs(new(big.Int).Exp(ten, big.NewInt(int64(t.Precision)), nil)) >= 0 {
		return nil, mismatch("%s doesn't fit %s.", text, t)
	}
	return n, nil
}

// The timestamps that others recorded the service to take, of OpenX's SerDe: with a
// T strictly, with a space leniently.
var (
	strictTime  = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(\.\d{1,9})?Z?$`)
	lenientTime = regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,9})?$`)
)

func (s *serde) timestamp(v any) (any, error) {
	text, err := scalar(v)
	if err != nil {
		return nil, err
	}
	if s.hive {
		return s.hiveTimestamp(text)
	}
	if m := strictTime.FindStringSubmatch(text); m != nil {
		if at, err := time.Parse("2006-01-02 15:04:05", m[1]+" "+m[2]+m[3]); err == nil {
			return at, nil
		}
		return nil, forInput(text)
	}
	if lenientTime.MatchString(text) {
		if at, err := time.Parse("2006-1-2 15:4:5", text); err == nil {
			return at, nil
		}
		return nil, forInput(text)
	}
	return epoch(text)
}

// epoch reads seconds since 1970, or milliseconds from 10^12 on.
func epoch(text string) (any, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.Abs(f) >= math.MaxInt64/1e6 {
		return nil, forInput(text)
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
		if n < 1e12 && n > -1e12 {
			return time.Unix(n, 0), nil
		}
		return time.UnixMilli(n), nil
	}
	if math.Abs(f) < 1e12 {
		f *= 1000
	}
	return time.UnixMilli(int64(math.Round(f))), nil
}

// hiveTimestamp reads a timestamp of Hive's SerDe.
func (s *serde) hiveTimestamp(text string) (any, error) {
	for _, layout := range s.layouts {
		if layout == "" {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				return time.UnixMilli(n), nil
			}
		} else if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	// What java.sql.Timestamp takes, it takes without formats too.
	if lenientTime.MatchString(text) {
		if at, err := time.Parse("2006-1-2 15:4:5", text); err == nil {
			return at, nil
		}
	}
	return nil, forInput(text)
}

// jodaLayouts are Go's layouts for patterns of Joda-Time.
var jodaLayouts = map[string]string{
	"y": "2006", "yyyy": "2006", "yy": "06", "M": "1", "MM": "01", "MMM": "Jan", "MMMM": "January", "d": "2", "dd": "02",
	"H": "15", "HH": "15", "h": "3", "hh": "03", "m": "4", "mm": "04", "s": "5", "ss": "05", "a": "PM",
	"E": "Mon", "EEE": "Mon", "EEEE": "Monday", "Z": "-0700", "ZZ": "-07:00",
}

// jodaLayout is a pattern of Joda-Time as Go's layout, "" for "millis".
func jodaLayout(pattern string) (string, error) {
	if pattern == "millis" {
		return "", nil
	}
	fields, err := parseLayout(pattern)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range fields {
		if f.letter == 0 {
			if strings.ContainsAny(f.text, "0123456789_") {
				return "", fmt.Errorf("%q: digits in a text aren't supported", f.text)
			}
			b.WriteString(f.text)
			continue
		}
		letters := strings.Repeat(string(f.letter), f.count)
		if f.letter == 'S' && strings.HasSuffix(b.String(), ".") {
			b.WriteString(strings.Repeat("0", f.count))
			continue
		}
		layout, known := jodaLayouts[letters]
		if !known {
			return "", fmt.Errorf("%s isn't supported", letters)
		}
		b.WriteString(layout)
	}
	return b.String(), nil
}
