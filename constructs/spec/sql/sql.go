// Package sql takes SQL apart as Amazon Redshift reads it: into tokens, and into
// statements. It knows no grammar beyond where text, names and comments end.
package sql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind is what a token is.
type Kind int

// The kinds of tokens.
const (
	Space   Kind = iota // blanks and line ends
	Comment             // from -- to the line's end, or between /* and */, which nest
	Word                // a keyword, a name or a number
	Name                // a name in double quotation marks
	Text                // between quotation marks, or between $$ and $$ or $tag$ and $tag$
	Symbol              // any other character
)

// Token is a piece of SQL. The texts of all tokens, one after the other, are the SQL.
type Token struct {
	Kind Kind
	Text string
}

// Unterminated is that SQL ends within a text, a name or a comment.
type Unterminated struct {
	Line int    // where it begins, from 1
	What string // "text", "name" or "comment"
}

func (e *Unterminated) Error() string {
	return fmt.Sprintf("the %s that begins in line %d doesn't end", e.What, e.Line)
}

// Tokens are the tokens of text. The error is an [*Unterminated].
func Tokens(text string) ([]Token, error) {
	var tokens []Token
	for at := 0; at < len(text); {
		kind, size := next(text[at:])
		if size < 0 {
			what := map[Kind]string{Comment: "comment", Name: "name", Text: "text"}[kind]
			return nil, &Unterminated{1 + strings.Count(text[:at], "\n"), what}
		}
		tokens = append(tokens, Token{kind, text[at : at+size]})
		at += size
	}
	return tokens, nil
}

// Statements are the statements of text, without the semicolons between them and
// the comments around them. The error is an [*Unterminated].
func Statements(text string) ([]string, error) {
	tokens, err := Tokens(text)
	if err != nil {
		return nil, err
	}
	var statements []string
	var statement strings.Builder
	end := 0 // of what is more than blanks and comments
	for _, t := range append(tokens, Token{Symbol, ";"}) {
		switch {
		case t == Token{Symbol, ";"}:
			if end > 0 {
				statements = append(statements, statement.String()[:end])
			}
			statement.Reset()
			end = 0
		case t.Kind == Space || t.Kind == Comment:
			if end > 0 {
				statement.WriteString(t.Text)
			}
		default:
			statement.WriteString(t.Text)
			end = statement.Len()
		}
	}
	return statements, nil
}

// Words are the first n words of a statement, in capitals and with one blank between
// them; fewer where something else comes first.
func Words(statement string, n int) string {
	tokens, err := Tokens(statement)
	if err != nil {
		return ""
	}
	var words []string
	for _, t := range tokens {
		if len(words) == n || t.Kind != Word && t.Kind != Space && t.Kind != Comment {
			break
		}
		if t.Kind == Word {
			words = append(words, strings.ToUpper(t.Text))
		}
	}
	return strings.Join(words, " ")
}

// next is the kind and the size of the token that s begins with; the size is -1 if
// the token doesn't end. s isn't empty.
func next(s string) (Kind, int) {
	switch c := s[0]; {
	case blank(c):
		return Space, span(s, blank)
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexByte(s, '\n'); end >= 0 {
			return Comment, end
		}
		return Comment, len(s)
	case strings.HasPrefix(s, "/*"):
		return Comment, comment(s)
	case c == '"':
		return Name, quoted(s, '"', false)
	case c == '\'':
		return Text, quoted(s, '\'', true)
	case c == '$':
		if tag := dollarTag(s); tag != "" {
			if end := strings.Index(s[len(tag):], tag); end >= 0 {
				return Text, end + 2*len(tag)
			}
			return Text, -1
		}
		return Symbol, 1
	case inWord(c):
		return Word, span(s, inWord)
	default:
		_, size := utf8.DecodeRuneInString(s)
		return Symbol, size
	}
}

func blank(c byte) bool { return strings.IndexByte(" \t\r\n\f\v", c) >= 0 }

// inWord tells whether c can be in a word; beyond its first character that is also a
// dollar sign, which therefore begins no text there.
func inWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= utf8.RuneSelf
}

func span(s string, in func(byte) bool) int {
	n := 1
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

// quoted is the size of what is between quotation marks; two of them stand for one,
// and in texts a backslash takes what follows it literally, as Redshift has it.
func quoted(s string, mark byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] != mark:
		case i+1 < len(s) && s[i+1] == mark:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return i + 1
		}
	}
	return -1
}

// dollarTag is $$ or $tag$ at the beginning of s, or empty.
func dollarTag(s string) string {
	end := strings.IndexByte(s[1:], '$')
	if end < 0 {
		return ""
	}
	tag := s[1 : end+1]
	for i := range len(tag) {
		if !inWord(tag[i]) || i == 0 && tag[i] >= '0' && tag[i] <= '9' {
			return ""
		}
	}
	return s[:end+2]
}
