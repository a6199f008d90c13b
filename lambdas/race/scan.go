package race

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

// members are the names in the order in which Record writes them, and how they
// stand in its JSON.
var members = [...]string{`"race":`, `"racer":`, `"seq":`, `"at":`, `"distance":`, `"speed":`, `"power":`}

// scan reads the plain form in which producers write records, a tenth of the time
// that the general way takes. It reports false for anything else, valid or not:
// escapes, letters beyond ASCII, exponents, nested values, doubled names, and values
// that break a rule.
func scan(data []byte, r *Record) bool {
	s := scanner{in: data}
	var seen uint8
	if !s.byte('{') {
		return false
	}
	for next := 0; ; {
		member, ok := s.member(next)
		if !ok {
			return false
		}
		switch member {
		case 0:
			ok = s.name(&r.Race)
		case 1:
			ok = s.name(&r.Racer)
		case 2:
			ok = s.count(&r.Seq)
		case 3:
			ok = s.time(&r.At)
		case 4:
			ok = s.amount(&r.Distance)
		case 5:
			ok = s.amount(&r.Speed)
		case 6:
			ok = s.amount(&r.Power)
		default:
			ok = s.skip()
		}
		if member >= 0 {
			ok = ok && seen&(1<<member) == 0
			seen |= 1 << member
			next = member + 1
		}
		if !ok {
			return false
		}
		if s.byte(',') {
			continue
		}
		return s.byte('}') && s.blank() == len(s.in) && seen == 1<<len(members)-1
	}
}

type scanner struct {
	in []byte
	at int
}

// member reads a name and its colon: likely the next of members. It is -1 for one that
// isn't known.
func (s *scanner) member(next int) (int, bool) {
	if next < len(members) && s.begins(members[next]) {
		s.at += len(members[next])
		return next, true
	}
	name, ok := s.text()
	if !ok || !s.byte(':') {
		return 0, false
	}
	return slices.IndexFunc(members[:], func(m string) bool { return m[1:len(m)-2] == string(name) }), true
}

func (s *scanner) begins(text string) bool {
	return len(s.in)-s.at >= len(text) && string(s.in[s.at:s.at+len(text)]) == text
}

// blank goes to the next byte that isn't white space.
func (s *scanner) blank() int {
	for s.at < len(s.in) {
		switch s.in[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return s.at
		}
	}
	return s.at
}

func (s *scanner) byte(b byte) bool {
	if s.blank() < len(s.in) && s.in[s.at] == b {
		s.at++
		return true
	}
	return false
}

// text is a string of ASCII without escapes.
func (s *scanner) text() ([]byte, bool) {
	if !s.byte('"') {
		return nil, false
	}
	n := bytes.IndexByte(s.in[s.at:], '"')
	if n < 0 {
		return nil, false
	}
	text := s.in[s.at : s.at+n]
	s.at += n + 1
	return text, isPlain(text)
}

// isPlain looks at eight bytes at a time for one that is a control character, a
// backslash or beyond ASCII.
func isPlain(text []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(text) >= 8; text = text[8:] {
		w := binary.LittleEndian.Uint64(text)
		slash := w ^ ones*'\\'
		if (w|(w-ones*' ')&^w|(slash-ones)&^slash)&highs != 0 {
			return false
		}
	}
	for _, c := range text {
		if c < ' ' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

func (s *scanner) name(into *string) bool {
	text, ok := s.text()
	if !ok {
		return false
	}
	// Records of one racer mostly follow each other: r may hold the name already.
	if *into != string(text) {
		*into = string(text)
	}
	return isName(*into)
}

func (s *scanner) time(into *time.Time) bool {
	text, ok := s.text()
	// The general way takes offsets that are zero as well.
	if !ok || len(text) == 0 || text[len(text)-1] != 'Z' || into.UnmarshalText(text) != nil {
		return false
	}
	*into = into.UTC()
	return isUTC(*into)
}

// digits reads up to n digits and how many there were.
func (s *scanner) digits(value uint64, most int) (uint64, int) {
	n := 0
	for s.at < len(s.in) && n < most {
		d := s.in[s.at] - '0'
		if d > 9 {
			break
		}
		value = 10*value + uint64(d)
		s.at++
		n++
	}
	return value, n
}

// whole reads a whole number of at most 15 digits, which a float64 holds exactly.
func (s *scanner) whole() (value uint64, n int, ok bool) {
	begin := s.blank()
	value, n = s.digits(0, 15)
	return value, n, n > 0 && (n == 1 || s.in[begin] != '0') && !s.more()
}

// more tells whether another digit follows.
func (s *scanner) more() bool { return s.at < len(s.in) && s.in[s.at]-'0' <= 9 }

// ends tells whether a number is over: it has no fraction or exponent to come.
func (s *scanner) ends() bool {
	return s.at < len(s.in) && s.in[s.at] != '.' && s.in[s.at] != 'e' && s.in[s.at] != 'E'
}

func (s *scanner) count(into *int64) bool {
	value, _, ok := s.whole()
	*into = int64(value)
	return ok && s.ends() && *into >= 1
}

// powers of ten that a float64 holds exactly.
var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// amount reads a number of at most 15 digits in all: both it without its point and
// the power of ten are exact, so that their quotient is the nearest float64.
func (s *scanner) amount(into *float64) bool {
	value, n, ok := s.whole()
	if !ok {
		return false
	}
	fraction := 0
	if s.at < len(s.in) && s.in[s.at] == '.' {
		s.at++
		if value, fraction = s.digits(value, 15-n); fraction == 0 || s.more() {
			return false
		}
	}
	*into = float64(value) / powers[fraction]
	return s.ends() && isAmount(*into)
}

// skip passes over a value that this code doesn't know: a string, a number as
// above, or a word.
func (s *scanner) skip() bool {
	if s.blank() == len(s.in) {
		return false
	}
	switch c := s.in[s.at]; {
	case c == '"':
		_, ok := s.text()
		return ok
	case c-'0' <= 9:
		_, n, ok := s.whole()
		if ok && s.at < len(s.in) && s.in[s.at] == '.' {
			s.at++
			_, fraction := s.digits(0, 15-n)
			ok = fraction > 0 && !s.more()
		}
		return ok && s.ends()
	}
	for _, word := range []string{"true", "false", "null"} {
		if s.begins(word) {
			s.at += len(word)
			return true
		}
	}
	return false
}
