package pattern

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

type kind byte

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// value is as much of a record as a pattern looks at.
type value struct {
	kind   kind
	text   string  // a string's content, a number as it was written, true or false
	number float64 // NaN if the number has no exact float64, see exact
	list   []value
	fields []entry
}

type entry struct {
	step  *step
	value value
}

// place returns where the value of the field belongs, or nil if the pattern
// doesn't mention it. A name with dots stands for nested objects.
func (v *value) place(name string, at *step) (*value, *step) {
	for {
		head, rest, dotted := strings.Cut(name, ".")
		next := at.child(head)
		if next == nil {
			return nil, nil
		}
		v.fields = append(v.fields, entry{step: next})
		v = &v.fields[len(v.fields)-1].value
		if !dotted {
			return v, next
		}
		v.kind = kindObject
		name, at = rest, next
	}
}

func (v *value) setNumber(text string) {
	v.kind, v.text, v.number = kindNumber, text, exact(text)
}

func viewAny(v *value, record any, at *step) {
	switch r := record.(type) {
	case nil:
		v.kind = kindNull
	case bool:
		v.kind, v.text = kindBool, strconv.FormatBool(r)
	case string:
		v.kind, v.text = kindString, r
	case json.Number:
		v.setNumber(r.String())
	case float64:
		v.kind, v.number = kindNumber, r
	case []any:
		v.kind, v.list = kindArray, make([]value, len(r))
		for i := range r {
			viewAny(&v.list[i], r[i], at)
		}
	case map[string]any:
		v.kind = kindObject
		for name, member := range r {
			if place, next := v.place(name, at); place != nil {
				viewAny(place, member, next)
			}
		}
	case int:
		v.setNumber(strconv.Itoa(r))
	case int64:
		v.setNumber(strconv.FormatInt(r, 10))
	default:
		// Not what JSON decodes to, but nothing to fail on: its text.
		v.kind, v.text = kindString, fmt.Sprint(r)
	}
}

// viewJSON reports whether the text is valid JSON. Checking that first keeps the
// scanner free of every other check.
func viewJSON(v *value, text []byte, at *step) bool {
	if !json.Valid(text) {
		return false
	}
	s := scanner{text: text}
	s.view(v, at)
	return true
}

// scanner reads valid JSON and keeps only what a pattern mentions.
type scanner struct {
	text []byte
	at   int
}

// next skips white space and returns the byte there.
func (s *scanner) next() byte {
	for {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
}

func (s *scanner) view(v *value, at *step) {
	switch s.next() {
	case '{':
		v.kind = kindObject
		s.at++
		for s.next() != '}' {
			if s.text[s.at] == ',' {
				s.at++
				s.next()
			}
			name := s.raw()
			s.next()
			s.at++ // the colon
			place, next := s.place(v, name, at)
			if place == nil {
				s.skip()
				continue
			}
			s.view(place, next)
		}
		s.at++
	case '[':
		v.kind = kindArray
		s.at++
		for s.next() != ']' {
			if s.text[s.at] == ',' {
				s.at++
			}
			v.list = append(v.list, value{})
			s.view(&v.list[len(v.list)-1], at)
		}
		s.at++
	case '"':
		v.kind, v.text = kindString, s.content(s.raw())
	case 't':
		v.kind, v.text = kindBool, "true"
		s.at += 4
	case 'f':
		v.kind, v.text = kindBool, "false"
		s.at += 5
	case 'n':
		v.kind = kindNull
		s.at += 4
	default:
		start := s.at
		s.scalar()
		v.setNumber(string(s.text[start:s.at]))
	}
}

// place is value.place without a copy of the names that aren't mentioned.
func (s *scanner) place(v *value, raw []byte, at *step) (*value, *step) {
	if bytes.IndexByte(raw, '\\') >= 0 || bytes.IndexByte(raw, '.') >= 0 || !utf8.Valid(raw) {
		return v.place(s.content(raw), at)
	}
	for _, next := range at.under {
		if next.name == string(raw[1:len(raw)-1]) {
			v.fields = append(v.fields, entry{step: next})
			return &v.fields[len(v.fields)-1].value, next
		}
	}
	return nil, nil
}

// raw returns the string at this place with its quotes.
func (s *scanner) raw() []byte {
	start := s.at
	for s.at++; ; s.at++ {
		at := bytes.IndexByte(s.text[s.at:], '"')
		s.at += at
		// An odd number of backslashes before it escapes the quote.
		slashes := 0
		for s.text[s.at-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			s.at++
			return s.text[start:s.at]
		}
	}
}

// content decodes a string. Most need no decoding.
func (s *scanner) content(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var text string
	_ = json.Unmarshal(raw, &text) // valid, as the whole text is
	return text
}

// scalar skips a number or a literal.
func (s *scanner) scalar() {
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return
		}
	}
}

// skip skips a whole value.
func (s *scanner) skip() {
	switch s.next() {
	case '"':
		s.raw()
	case '{', '[':
		depth := 0
		for {
			switch s.text[s.at] {
			case '"':
				s.raw()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			s.at++
			if depth == 0 {
				return
			}
		}
	default:
		s.scalar()
	}
}

// exact returns the number, or NaN if float64 can't tell it from its neighbours.
// AWS compares such numbers by their text only.
func exact(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.NaN() // out of range
	}
	if len(text) <= 15 && !strings.ContainsAny(text, "eE") {
		return f // no more digits than any float64 keeps apart
	}
	digits, exponent := canonical(text)
	backDigits, backExponent := canonical(strconv.FormatFloat(f, 'e', -1, 64))
	if digits != backDigits || exponent != backExponent {
		return math.NaN()
	}
	return f
}

// canonical splits a number into its significant digits, without zeros on either
// side, and the power of ten that they count. Signs don't matter here.
func canonical(text string) (digits string, exponent int) {
	text = strings.TrimPrefix(text, "-")
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		exponent, _ = strconv.Atoi(strings.TrimPrefix(text[at+1:], "+"))
		text = text[:at]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	exponent -= len(fraction)
	digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	if trimmed == "" {
		return "", 0
	}
	return trimmed, exponent
}
