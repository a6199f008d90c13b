package firehose

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The kinds of expression in a prefix.
const (
	literalPart = iota
	timestampPart
	errorTypePart
	randomPart
	queryPart
	lambdaPart
)

// part is a piece of a prefix: literal text, or an expression.
type part struct {
	kind   int
	text   string // the literal, or the name of the partition key
	layout []field
}

// prefix is a parsed prefix of objects' keys.
type prefix []part

// longestPrefix is AWS's limit on a prefix after it was evaluated.
const longestPrefix = 512

// parsePrefix reads a prefix with Firehose's expressions, !{namespace:value}.
func parsePrefix(text string) (prefix, error) {
	var p prefix
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "!{")
		if before != "" {
			p = append(p, part{kind: literalPart, text: before})
		}
		if !found {
			break
		}
		body, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("!{%s isn't closed", after)
		}
		namespace, value, _ := strings.Cut(body, ":")
		switch {
		case value == "" || strings.Contains(value, "!{"):
			return nil, fmt.Errorf("!{%s} isn't !{namespace:value}", body)
		case namespace == "timestamp":
			layout, err := parseLayout(value)
			if err != nil {
				return nil, fmt.Errorf("!{%s}: %w", body, err)
			}
			p = append(p, part{kind: timestampPart, text: value, layout: layout})
		case namespace == "firehose" && value == "error-output-type":
			p = append(p, part{kind: errorTypePart})
		case namespace == "firehose" && value == "random-string":
			p = append(p, part{kind: randomPart})
		case namespace == "partitionKeyFromQuery":
			p = append(p, part{kind: queryPart, text: value})
		case namespace == "partitionKeyFromLambda":
			p = append(p, part{kind: lambdaPart, text: value})
		default:
			return nil, fmt.Errorf("!{%s} is no expression of Firehose", body)
		}
		rest = tail
	}
	return p, nil
}

// has tells whether p has an expression of a kind.
func (p prefix) has(kind int) bool {
	for i := range p {
		if p[i].kind == kind {
			return true
		}
	}
	return false
}

// longZone tells whether p has a time zone's name, which Go doesn't know.
func (p prefix) longZone() bool {
	for i := range p {
		for _, f := range p[i].layout {
			if f.letter == 'z' && f.count == 4 {
				return true
			}
		}
	}
	return false
}

// dynamic tells whether p has expressions at all.
func (p prefix) dynamic() bool {
	for i := range p {
		if p[i].kind != literalPart {
			return true
		}
	}
	return false
}

// hourly is what Firehose appends to a prefix without a timestamp.
const hourly = "!{timestamp:yyyy/MM/dd/HH/}"

// goodPrefix is the prefix of delivered objects, with what AWS adds to it.
func goodPrefix(text string) (prefix, error) {
	p, err := parsePrefix(text)
	if err != nil {
		return nil, err
	}
	if p.has(errorTypePart) {
		return nil, errors.New("!{firehose:error-output-type} is only for the error prefix")
	}
	if !p.has(timestampPart) {
		p, err = parsePrefix(text + hourly)
	}
	return p, err
}

// errorPrefix is the prefix of error objects. One without any expression gets the
// error's type and the hour; without one at all, the prefix of the good objects
// stands before them.
func errorPrefix(text, good string) (prefix, error) {
	if text == "" {
		text = good
		if p, err := parsePrefix(good); err != nil || p.dynamic() {
			return nil, errors.New("a prefix with expressions needs an error prefix")
		}
	}
	p, err := parsePrefix(text)
	if err != nil {
		return nil, err
	}
	if !p.dynamic() {
		return parsePrefix(text + "!{firehose:error-output-type}/" + hourly)
	}
	if !p.has(errorTypePart) {
		return nil, errors.New("an error prefix with expressions needs !{firehose:error-output-type}")
	}
	if p.has(queryPart) || p.has(lambdaPart) {
		return nil, errors.New("the error prefix can't hold partition keys")
	}
	return p, nil
}

// evaluation is what a prefix's expressions stand for in one object.
type evaluation struct {
	at        time.Time // in the delivery's time zone
	errorType string
	query     map[string]string
	lambda    map[string]string
	random    io.Reader
}

// evaluate is the prefix of one object.
func (p prefix) evaluate(e evaluation) (string, error) {
	var out strings.Builder
	for i := range p {
		switch p[i].kind {
		case literalPart:
			out.WriteString(p[i].text)
		case timestampPart:
			out.WriteString(formatTime(p[i].layout, e.at))
		case errorTypePart:
			out.WriteString(e.errorType)
		case randomPart:
			text, err := uuid(e.random)
			if err != nil {
				return "", err
			}
			out.WriteString(text[:11])
		case queryPart:
			out.WriteString(e.query[p[i].text])
		case lambdaPart:
			out.WriteString(e.lambda[p[i].text])
		}
	}
	return out.String(), nil
}

// uuid is a random UUID of version 4.
func uuid(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("random bytes: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// field is a piece of a timestamp: a pattern letter and how often it stands
// there, or literal text (letter 0).
type field struct {
	letter byte
	count  int
	text   string
}

// widest says how often a letter of Java's DateTimeFormatter may be repeated.
// Letters that aren't here are refused.
var widest = map[byte]int{
	'G': 5, 'u': 19, 'y': 19, 'D': 3, 'M': 5, 'L': 5, 'd': 2, 'Q': 5, 'q': 5,
	'Y': 19, 'w': 2, 'W': 1, 'E': 5, 'e': 5, 'c': 5, 'F': 1, 'a': 1, 'h': 2,
	'K': 2, 'k': 2, 'H': 2, 'm': 2, 's': 2, 'S': 9, 'A': 19, 'n': 19, 'N': 19,
	'V': 2, 'z': 4, 'O': 4, 'X': 5, 'x': 5, 'Z': 5,
}

// parseLayout reads a pattern of Java's DateTimeFormatter.
func parseLayout(pattern string) ([]field, error) {
	var fields []field
	literal := func(text string) {
		if n := len(fields); n > 0 && fields[n-1].letter == 0 {
			fields[n-1].text += text
			return
		}
		fields = append(fields, field{text: text})
	}
	depth := 0
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(pattern) && pattern[i+n] == c {
				n++
			}
			most, known := widest[c]
			switch {
			case !known:
				return nil, fmt.Errorf("the pattern letter %c isn't supported", c)
			case n > most, c == 'V' && n != 2, c == 'O' && n != 1 && n != 4, c == 'c' && n == 2:
				return nil, fmt.Errorf("the pattern letter %c can't stand there %d times", c, n)
			}
			fields = append(fields, field{letter: c, count: n})
			i += n
		case c == '\'':
			end := i + 1
			var text strings.Builder
			for {
				if end >= len(pattern) {
					return nil, errors.New("a quote isn't closed")
				}
				if pattern[end] == '\'' {
					if end+1 < len(pattern) && pattern[end+1] == '\'' {
						text.WriteByte('\'')
						end += 2
						continue
					}
					break
				}
				text.WriteByte(pattern[end])
				end++
			}
			if end == i+1 { // '' outside of quotes is a quote
				text.WriteByte('\'')
			}
			literal(text.String())
			i = end + 1
		case c == '[':
			depth++
			i++
		case c == ']':
			if depth == 0 {
				return nil, errors.New("a ] without its [")
			}
			depth--
			i++
		case c == '{' || c == '#':
			return nil, fmt.Errorf("%c is reserved", c)
		default:
			literal(pattern[i : i+1])
			i++
		}
	}
	return fields, nil
}

// formatTime writes t as Java's DateTimeFormatter does in English. Firehose's
// timestamps have whole seconds.
func formatTime(layout []field, t time.Time) string {
	var b []byte
	for _, f := range layout {
		switch f.letter {
		case 0:
			b = append(b, f.text...)
		case 'G':
			b = append(b, pick(f.count, "AD", "Anno Domini", "A")...)
		case 'u', 'y':
			b = year(b, t.Year(), f.count)
		case 'Y':
			y, _ := usWeek(t)
			b = year(b, y, f.count)
		case 'w':
			_, w := usWeek(t)
			b = padded(b, w, f.count)
		case 'W': // of the month, by weeks from Sunday
			first := int(t.AddDate(0, 0, 1-t.Day()).Weekday())
			b = padded(b, (t.Day()-1+first)/7+1, f.count)
		case 'F':
			b = padded(b, (t.Day()-1)/7+1, f.count)
		case 'D':
			b = padded(b, t.YearDay(), f.count)
		case 'M', 'L':
			if f.count <= 2 {
				b = padded(b, int(t.Month()), f.count)
				break
			}
			name := t.Month().String()
			b = append(b, pick(f.count, name[:3], name, name[:1])...)
		case 'Q', 'q':
			quarter := (int(t.Month())-1)/3 + 1
			if f.count <= 2 {
				b = padded(b, quarter, f.count)
				break
			}
			digit := strconv.Itoa(quarter)
			ordinal := [...]string{"1st", "2nd", "3rd", "4th"}[quarter-1]
			b = append(b, pick(f.count, "Q"+digit, ordinal+" quarter", digit)...)
		case 'd':
			b = padded(b, t.Day(), f.count)
		case 'E', 'e', 'c':
			if f.letter != 'E' && f.count <= 2 {
				b = padded(b, int(t.Weekday())+1, f.count)
				break
			}
			name := t.Weekday().String()
			b = append(b, pick(f.count, name[:3], name, name[:1])...)
		case 'a':
			b = append(b, t.Format("PM")...)
		case 'h':
			b = padded(b, (t.Hour()+11)%12+1, f.count)
		case 'K':
			b = padded(b, t.Hour()%12, f.count)
		case 'k':
			b = padded(b, (t.Hour()+23)%24+1, f.count)
		case 'H':
			b = padded(b, t.Hour(), f.count)
		case 'm':
			b = padded(b, t.Minute(), f.count)
		case 's':
			b = padded(b, t.Second(), f.count)
		case 'S':
			b = append(b, strings.Repeat("0", f.count)...)
		case 'n':
			b = padded(b, 0, f.count)
		case 'A', 'N':
			of := t.Hour()*3600 + t.Minute()*60 + t.Second()
			if f.letter == 'A' {
				of *= 1000
			} else {
				of *= 1_000_000_000
			}
			b = padded(b, of, f.count)
		case 'V':
			b = append(b, zoneID(t)...)
		case 'z':
			name, _ := t.Zone()
			if f.count == 4 && name == "UTC" {
				name = "Coordinated Universal Time"
			}
			b = append(b, name...)
		case 'O', 'X', 'x', 'Z':
			b = offset(b, t, f)
		}
	}
	return string(b)
}

// pick is the short, the full or the narrow form of a text.
func pick(count int, short, full, narrow string) string {
	switch count {
	case 4:
		return full
	case 5:
		return narrow
	}
	return short
}

// year is a year with two digits if two letters ask for it.
func year(b []byte, y, count int) []byte {
	if count == 2 {
		return padded(b, y%100, 2)
	}
	return padded(b, y, count)
}

func padded(b []byte, n, width int) []byte {
	digits := strconv.Itoa(n)
	for range width - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...)
}

// usWeek is the week-based year and the week of t in the USA: weeks begin on
// Sunday, and the one with January 1st is the first.
func usWeek(t time.Time) (year, week int) {
	saturday := t.AddDate(0, 0, int(time.Saturday-t.Weekday()))
	return saturday.Year(), (saturday.YearDay()-1)/7 + 1
}

func zoneID(t time.Time) string {
	if name := t.Location().String(); name != "UTC" {
		return name
	}
	return "UTC"
}

// offset writes a zone's offset in the forms of O, X, x and Z.
func offset(b []byte, t time.Time, f field) []byte {
	_, seconds := t.Zone()
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	hours, minutes, rest := seconds/3600, seconds/60%60, seconds%60
	switch {
	case f.letter == 'O' || f.letter == 'Z' && f.count == 4:
		b = append(b, "GMT"...)
		if seconds == 0 {
			return b
		}
		if f.letter == 'O' && f.count == 1 {
			b = padded(append(b, sign), hours, 1)
			if minutes > 0 {
				b = padded(append(b, ':'), minutes, 2)
			}
			return b
		}
		return padded(append(padded(append(b, sign), hours, 2), ':'), minutes, 2)
	case seconds == 0 && (f.letter == 'X' || f.letter == 'Z' && f.count == 5):
		return append(b, 'Z')
	}
	count := f.count
	if f.letter == 'Z' && count < 4 {
		count = 2
	}
	b = padded(append(b, sign), hours, 2)
	if count == 1 && minutes == 0 {
		return b
	}
	colon := count == 3 || count == 5
	if colon {
		b = append(b, ':')
	}
	b = padded(b, minutes, 2)
	if count >= 4 && rest > 0 {
		if colon {
			b = append(b, ':')
		}
		b = padded(b, rest, 2)
	}
	return b
}
