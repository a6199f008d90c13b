package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects may lie in each other; it is
// encoding/json's bound.
const maxDepth = 10_000

// Reasons that several places give.
const (
	early     = "the payload ends early"
	missing   = "is missing"
	notObject = "must be an object"
	notArray  = "must be an array"
	notString = "must be a string"
)

// scanner reads a JSON text from its begin to its end, one value at a time.
type scanner struct {
	in    []byte
	pos   int // of the next byte to read
	depth int

	done     progress
	texts    texts
	blobs    blobs
	sequence []byte // number of the record that is being read
}

func (s *scanner) fail(reason string) *Error {
	return &Error{Record: -1, Offset: s.pos, Reason: reason}
}

// unexpected is the failure if the next byte can't begin or follow a value.
func (s *scanner) unexpected(reason string) *Error {
	if s.pos >= len(s.in) {
		reason = early
	}
	return s.fail(reason)
}

// peek skips white space and returns the byte after it; 0, which no JSON text
// holds, at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.in) && s.in[s.pos] > ' ' {
		return s.in[s.pos]
	}
	return s.peekFar()
}

func (s *scanner) peekFar() byte {
	for ; s.pos < len(s.in); s.pos++ {
		switch c := s.in[s.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// begin reads the bracket that opens an object or array and, if it is empty, the
// one that closes it; more says that it isn't.
func (s *scanner) begin(open, end byte) (more bool, err *Error) {
	if s.peek() != open {
		if open == '{' {
			return false, s.unexpected(notObject)
		}
		return false, s.unexpected(notArray)
	}
	if s.depth++; s.depth > maxDepth {
		return false, s.fail("lies too deep: at most 10000 arrays and objects may lie in each other")
	}
	s.pos++
	if s.peek() == end {
		s.pos++
		s.depth--
		return false, nil
	}
	return true, nil
}

// next reads what follows a value in an object or array: a comma, or the bracket
// that closes it.
func (s *scanner) next(end byte) (more bool, err *Error) {
	switch s.peek() {
	case ',':
		s.pos++
		return true, nil
	case end:
		s.pos++
		s.depth--
		return false, nil
	}
	return false, s.unexpected("a value must be followed by a comma or the closing bracket")
}

// object reads an object and calls member for each of its members to read the
// value. The name is valid only until then.
func (s *scanner) object(member func(name []byte) *Error) *Error {
	more, err := s.begin('{', '}')
	for more && err == nil {
		var name []byte
		if name, err = s.name(); err != nil {
			break
		}
		if err = member(name); err == nil {
			more, err = s.next('}')
		}
	}
	return err
}

// array reads an array and calls element to read each of its elements.
func (s *scanner) array(element func() *Error) *Error {
	more, err := s.begin('[', ']')
	for more && err == nil {
		if err = element(); err == nil {
			more, err = s.next(']')
		}
	}
	return err
}

// name reads a member's name and the colon.
func (s *scanner) name() ([]byte, *Error) {
	if s.peek() != '"' {
		return nil, s.unexpected("a member must begin with its name, a string")
	}
	name, escaped, err := s.quoted()
	if err != nil {
		return nil, err
	}
	if escaped {
		name = unescape(nil, name)
	}
	if s.peek() != ':' {
		return nil, s.unexpected("a name must be followed by a colon")
	}
	s.pos++
	return name, nil
}

// skip reads any value and leaves it.
func (s *scanner) skip() *Error {
	switch c := s.peek(); c {
	case '"':
		_, _, err := s.quoted()
		return err
	case '{':
		return s.object(func([]byte) *Error { return s.skip() })
	case '[':
		return s.array(s.skip)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		if c == '-' || isDigit(c) {
			_, err := s.number()
			return err
		}
		return s.unexpected("no JSON value begins like this")
	}
}

func (s *scanner) literal(text string) *Error {
	rest := s.in[s.pos:]
	n := min(len(rest), len(text))
	if string(rest[:n]) != text[:n] {
		return s.fail("no JSON value begins like this")
	}
	if s.pos += n; n < len(text) {
		return s.fail(early)
	}
	return nil
}

// null reads the value if it is null.
func (s *scanner) null() (bool, *Error) {
	if s.peek() != 'n' {
		return false, nil
	}
	return true, s.literal("null")
}

// number reads a number.
func (s *scanner) number() ([]byte, *Error) {
	begin, ok := s.pos, true
	s.at('-', '-')
	if !s.at('0', '0') {
		ok = s.digits()
	}
	if ok && s.at('.', '.') {
		ok = s.digits()
	}
	if ok && s.at('e', 'E') {
		s.at('+', '-')
		ok = s.digits()
	}
	if !ok {
		return nil, s.unexpected("a number needs a digit here")
	}
	return s.in[begin:s.pos], nil
}

// at reads the next byte if it is one of the two.
func (s *scanner) at(a, b byte) bool {
	if s.pos < len(s.in) && (s.in[s.pos] == a || s.in[s.pos] == b) {
		s.pos++
		return true
	}
	return false
}

// digits reads digits, at least one.
func (s *scanner) digits() bool {
	begin := s.pos
	for s.pos < len(s.in) && isDigit(s.in[s.pos]) {
		s.pos++
	}
	return s.pos > begin
}

// quoted reads a string and returns what is between the quotes; escaped says
// that there are escapes in it.
func (s *scanner) quoted() (raw []byte, escaped bool, err *Error) {
	in, i, ascii := s.in[s.pos+1:], 0, true
	for {
		for len(in)-i >= 8 {
			if special := notPlain(binary.LittleEndian.Uint64(in[i:])); special != 0 {
				i += bits.TrailingZeros64(special) / 8
				break
			}
			i += 8
		}
		if i >= len(in) {
			s.pos = len(s.in)
			return nil, false, s.fail(early)
		}
		switch c := in[i]; {
		case c == '"':
			if !ascii && !utf8.Valid(in[:i]) {
				return nil, false, s.fail("is not UTF-8")
			}
			s.pos += i + 2
			return in[:i], escaped, nil
		case c == '\\':
			n, ok := escape(in[i:])
			if !ok {
				s.pos += 1 + i
				return nil, false, s.fail("a string must not hold this escape, or end within it")
			}
			escaped = true
			i += n
		case c < ' ':
			s.pos += 1 + i
			return nil, false, s.fail("a string must not hold a control character")
		default:
			ascii = ascii && c < utf8.RuneSelf
			i++
		}
	}
}

// notPlain marks the first of the eight bytes that can't be taken as it is: a
// quote, a backslash, a control character or one beyond ASCII. Marks after the
// first mean nothing.
func notPlain(w uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, backslash := w^ones*'"', w^ones*'\\'
	return (w | (quote-ones)&^quote | (backslash-ones)&^backslash | (w-ones*' ')&^w) & highs
}

// escape is the length of the escape that in begins with.
func escape(in []byte) (n int, ok bool) {
	if len(in) < 2 {
		return 0, false
	}
	switch in[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, true
	case 'u':
		if len(in) < 6 {
			return 0, false
		}
		for _, c := range in[2:6] {
			if !isDigit(c) && (c|' ' < 'a' || c|' ' > 'f') {
				return 0, false
			}
		}
		return 6, true
	}
	return 0, false
}

// unescape appends the text of a string that was read. Half a surrogate pair
// becomes U+FFFD, as with encoding/json.
func unescape(to, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(to, raw...)
		}
		to = append(to, raw[:i]...)
		switch c := raw[i+1]; c {
		case 'b':
			to = append(to, '\b')
		case 'f':
			to = append(to, '\f')
		case 'n':
			to = append(to, '\n')
		case 'r':
			to = append(to, '\r')
		case 't':
			to = append(to, '\t')
		case 'u':
			r := hex(raw[i+2:])
			if rest := raw[i+6:]; utf16.IsSurrogate(r) {
				r = utf8.RuneError
				if len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
					if r = utf16.DecodeRune(hex(raw[i+2:]), hex(rest[2:])); r != utf8.RuneError {
						i += 6
					}
				}
			}
			to = utf8.AppendRune(to, r)
			i += 4
		default:
			to = append(to, c)
		}
		raw = raw[i+2:]
	}
}

func hex(digits []byte) (r rune) {
	for _, c := range digits[:4] {
		if r <<= 4; isDigit(c) {
			r += rune(c - '0')
		} else {
			r += rune(c|' '-'a') + 10
		}
	}
	return r
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// string reads a string; null leaves it as it is.
func (s *scanner) string(into *string) *Error {
	var text []byte
	err := s.text(&text)
	if text != nil {
		*into = s.texts.keep(text, s)
	}
	return err
}

// text reads a string that isn't kept: it may be a part of the payload. null leaves
// it as it is.
func (s *scanner) text(into *[]byte) *Error {
	if s.peek() != '"' {
		return s.absent(notString)
	}
	raw, escaped, err := s.quoted()
	if err != nil {
		return err
	}
	if escaped {
		raw = unescape(nil, raw)
	}
	*into = raw
	return nil
}

// base64 reads bytes in base64: with padding, without line breaks, its unused
// bits zero. null makes them nil.
func (s *scanner) base64(into *[]byte) *Error {
	const not = "must be a string in base64, with padding and without line breaks"
	if s.peek() != '"' {
		*into = nil
		return s.absent(not)
	}
	begin := s.pos + 1
	// The base64 alphabet has no character that a JSON string would escape or
	// refuse, so what decodes up to the quote needs no look of its own.
	if n := bytes.IndexByte(s.in[begin:], '"'); n >= 0 {
		var ok bool
		if *into, ok = s.blobs.keep(s.in[begin:begin+n], s); ok {
			s.pos = begin + n + 1
			return nil
		}
	}
	raw, escaped, err := s.quoted()
	if err != nil {
		return err
	}
	if escaped {
		var ok bool
		if *into, ok = s.blobs.keep(unescape(nil, raw), s); ok {
			return nil
		}
	}
	s.pos = begin
	return s.fail(not)
}

// bool reads true or false; null leaves it as it is.
func (s *scanner) bool(into *bool) *Error {
	switch s.peek() {
	case 't':
		*into = true
		return s.literal("true")
	case 'f':
		*into = false
		return s.literal("false")
	}
	return s.absent("must be true or false")
}

// int reads a whole number; null leaves it as it is.
func (s *scanner) int(into *int64) *Error {
	const not = "must be a whole number from -2^63 to 2^63-1"
	if c := s.peek(); c != '-' && !isDigit(c) {
		return s.absent(not)
	}
	raw, err := s.number()
	if err != nil {
		return err
	}
	n, failed := strconv.ParseInt(string(raw), 10, 64)
	if failed != nil {
		return s.fail(not)
	}
	*into = n
	return nil
}

// raw keeps any value as it stands; null makes it nil.
func (s *scanner) raw(into *json.RawMessage) *Error {
	s.peek()
	begin := s.pos
	if err := s.skip(); err != nil {
		return err
	}
	if *into = nil; s.in[begin] != 'n' {
		*into = slices.Clone(s.in[begin:s.pos])
	}
	return nil
}

// rfc3339 reads a time; null leaves it as it is.
func (s *scanner) rfc3339(into *time.Time) *Error {
	const not = "must be a string with an RFC 3339 time"
	if s.peek() != '"' {
		return s.absent(not)
	}
	raw, escaped, err := s.quoted()
	if err != nil {
		return err
	}
	if escaped {
		raw = unescape(nil, raw)
	}
	if into.UnmarshalText(raw) != nil {
		return s.fail(not)
	}
	return nil
}

// absent reads null, which is no value; anything else fails.
func (s *scanner) absent(reason string) *Error {
	if null, err := s.null(); null {
		return err
	}
	return s.unexpected(reason)
}
