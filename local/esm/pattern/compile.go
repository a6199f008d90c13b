package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a pattern.
type Problem struct {
	Path   string // the place in the pattern: data.order.type[0].prefix
	Reason string
}

func (p *Problem) Error() string {
	if p.Path == "" {
		return "pattern: " + p.Reason
	}
	return fmt.Sprintf("pattern: at %s: %s", p.Path, p.Reason)
}

// maxCombinations is how many alternatives the $or of a pattern may multiply to.
const maxCombinations = 1000

// Compile reads an event pattern. The error holds a *Problem for each thing that
// is wrong with it.
func Compile(text string) (*Pattern, error) {
	return compile(text, &step{})
}

// compile adds what the pattern mentions to steps.
func compile(text string, steps *step) (*Pattern, error) {
	if len(text) > MaxLength {
		return nil, &Problem{Reason: fmt.Sprintf("%d bytes are more than the %d that Lambda takes", len(text), MaxLength)}
	}
	source, err := parse(text)
	if err != nil {
		return nil, err
	}
	c := compiler{seen: map[*step]string{}}
	p := &Pattern{steps: steps}
	if source.kind != kindObject {
		c.failf("", "a pattern is an object, not %s", source)
	} else {
		p.root = c.object(source, "", nil, p.steps, false)
	}
	if n := combinations(p.root); n > maxCombinations {
		c.failf("", "its $or make %d combinations, more than the %d that AWS takes", n, maxCombinations)
	}
	if len(c.problems) > 0 {
		return nil, errors.Join(c.problems...)
	}
	return p, nil
}

type compiler struct {
	problems []error
	// seen has the place where each field's rules are, outside of any $or and in
	// the alternatives of $or that lead here.
	seen map[*step]string
}

func (c *compiler) failf(path, format string, args ...any) {
	c.problems = append(c.problems, &Problem{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// reserved names can't be fields within $or.
var reserved = []string{
	"exactly", "equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "wildcard", "numeric", "cidr",
	"=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case",
	"date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range",
	"ip-address-in-range", "ip-address-not-in-range",
}

func (c *compiler) object(source *node, path string, steps []*step, at *step, inOr bool) *object {
	o := &object{}
	if len(source.names) == 0 {
		c.failf(path, "an empty object matches nothing: name a field, or leave it out")
	}
	// The rules of $or come last: what else the object names holds for each of
	// its alternatives.
	for i, name := range source.names {
		if name != "$or" {
			c.field(o, source.list[i], name, join(path, name), steps, at, inOr)
		}
	}
	for i, name := range source.names {
		if name == "$or" {
			o.ors = append(o.ors, c.or(source.list[i], join(path, name), steps, at))
		}
	}
	return o
}

func (c *compiler) field(o *object, source *node, name, path string, steps []*step, at *step, inOr bool) {
	if inOr && slices.Contains(reserved, name) {
		c.failf(path, "%q is an operator and can't be a field's name within $or", name)
	}
	// A name with dots is the same as nested objects.
	parts := strings.Split(name, ".")
	for _, part := range parts[:len(parts)-1] {
		at = at.add(part)
		steps = append(slices.Clip(steps), at)
		inner := &object{}
		o.fields = append(o.fields, field{step: at, object: inner})
		o = inner
	}
	at = at.add(parts[len(parts)-1])
	steps = append(slices.Clip(steps), at)
	f := field{step: at}
	switch source.kind {
	case kindObject:
		f.object = c.object(source, path, steps, at, inOr)
	case kindArray:
		if before, twice := c.seen[at]; twice {
			c.failf(path, "the field has rules at %s already: AWS lets the later ones win", before)
		}
		c.seen[at] = path
		f.rules = c.rules(source, path)
		f.rules.path = steps
	default:
		c.failf(path, "%s has to be in an array: [%s]", source, source)
		return
	}
	o.fields = append(o.fields, f)
}

func (c *compiler) or(source *node, path string, steps []*step, at *step) []*object {
	if source.kind != kindArray || len(source.list) < 2 {
		c.failf(path, "$or takes an array of at least two objects")
		return nil
	}
	var alternatives []*object
	before := c.seen
	after := map[*step]string{}
	for i, s := range source.list {
		here := fmt.Sprintf("%s[%d]", path, i)
		if s.kind != kindObject {
			c.failf(here, "$or takes objects, not %s", s)
			continue
		}
		c.seen = map[*step]string{}
		for k, v := range before {
			c.seen[k] = v
		}
		alternatives = append(alternatives, c.object(s, here, steps, at, true))
		for k, v := range c.seen {
			after[k] = v
		}
	}
	c.seen = after
	return alternatives
}

func (c *compiler) rules(source *node, path string) *rules {
	r := &rules{}
	if len(source.list) == 0 {
		c.failf(path, "an empty array matches nothing: give a value")
	}
	for i, s := range source.list {
		here := fmt.Sprintf("%s[%d]", path, i)
		switch s.kind {
		case kindObject:
			if len(s.names) != 1 {
				c.failf(here, "one operator is allowed, not %d: write several objects for alternatives", len(s.names))
				continue
			}
			c.operator(r, s.names[0], s.list[0], join(here, s.names[0]))
		case kindArray:
			c.failf(here, "a value is a text, a number, true, false, null or an operator, not an array")
		default:
			r.tests = append(r.tests, equals(s))
		}
	}
	return r
}

func (c *compiler) operator(r *rules, name string, operand *node, path string) {
	switch name {
	case "exists":
		switch {
		case operand.kind != kindBool:
			c.failf(path, "exists takes true or false, not %s", operand)
		case operand.text == "true":
			r.tests = append(r.tests, func(*value) bool { return true })
		default:
			r.absent = true
		}
	case "numeric":
		r.tests = append(r.tests, c.numeric(operand, path))
	case "cidr":
		network, err := netip.ParsePrefix(operand.text)
		if operand.kind != kindString || err != nil {
			c.failf(path, "cidr takes a block of addresses such as 10.0.0.0/24, not %s", operand)
			return
		}
		r.tests = append(r.tests, inNetwork(network))
	case "anything-but":
		r.tests = append(r.tests, c.anythingBut(operand, path))
	case "prefix", "suffix":
		if operand.kind == kindObject && len(operand.names) == 1 && operand.names[0] == "equals-ignore-case" {
			name += " equals-ignore-case"
			path = join(path, operand.names[0])
			operand = operand.list[0]
		}
		r.tests = append(r.tests, c.text(name, operand, path))
	case "equals-ignore-case", "wildcard":
		r.tests = append(r.tests, c.text(name, operand, path))
	default:
		c.failf(path, "there is no operator %q: prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists, cidr", name)
	}
}

// anythingBut matches every value that is there, except those of the operand.
func (c *compiler) anythingBut(operand *node, path string) test {
	var but []test
	if operand.kind == kindArray && len(operand.list) == 0 {
		c.failf(path, "anything-but takes at least one value")
		return nil
	}
	switch {
	case operand.kind == kindObject:
		if len(operand.names) != 1 {
			c.failf(path, "one operator is allowed, not %d", len(operand.names))
			return nil
		}
		name := operand.names[0]
		inner := operand.list[0]
		path = join(path, name)
		if inner.kind == kindArray && len(inner.list) == 0 {
			c.failf(path, "anything-but takes at least one value")
			return nil
		}
		if !slices.Contains([]string{"prefix", "suffix", "equals-ignore-case", "wildcard"}, name) {
			c.failf(path, "anything-but takes prefix, suffix, equals-ignore-case or wildcard, not %q", name)
			return nil
		}
		for i, one := range several(inner) {
			here := path
			if inner.kind == kindArray {
				here = fmt.Sprintf("%s[%d]", path, i)
			}
			if one.kind == kindString && one.text == "" && (name == "prefix" || name == "suffix") {
				c.failf(here, "an empty %s is that of every text", name)
			}
			but = append(but, c.text(name, one, here))
		}
	default:
		list := several(operand)
		for i, one := range list {
			if one.kind != kindString && one.kind != kindNumber || one.kind != list[0].kind {
				c.failf(fmt.Sprintf("%s[%d]", path, i), "anything-but takes texts or numbers, all of one kind, not %s", one)
				continue
			}
			but = append(but, equals(one))
		}
	}
	return func(v *value) bool {
		for _, t := range but {
			if t(v) {
				return false
			}
		}
		return true
	}
}

func several(n *node) []*node {
	if n.kind == kindArray {
		return n.list
	}
	return []*node{n}
}

// text makes the test of an operator that takes a text.
func (c *compiler) text(operator string, operand *node, path string) test {
	if operand.kind != kindString {
		c.failf(path, "%s takes a text, not %s", operator, operand)
		return nil
	}
	want := operand.text
	var match func(string) bool
	switch operator {
	case "prefix":
		match = func(s string) bool { return strings.HasPrefix(s, want) }
	case "suffix":
		match = func(s string) bool { return strings.HasSuffix(s, want) }
	case "equals-ignore-case":
		match = func(s string) bool { return strings.EqualFold(s, want) }
	case "prefix equals-ignore-case":
		match = func(s string) bool { return hasPrefixFold(s, want) }
	case "suffix equals-ignore-case":
		match = func(s string) bool { return hasSuffixFold(s, want) }
	case "wildcard":
		w, reason := parseWildcard(want)
		if reason != "" {
			c.failf(path, "%s", reason)
		}
		match = w.match
	}
	return func(v *value) bool { return v.kind == kindString && match(v.text) }
}

func (c *compiler) numeric(operand *node, path string) test {
	bad := func(format string, args ...any) test {
		c.failf(path, format+`: numeric takes ["=", 1], ["<", 1] or a range [">=", 0, "<", 1]`, args...)
		return nil
	}
	if operand.kind != kindArray {
		return bad("%s isn't an array", operand)
	}
	if n := len(operand.list); n != 2 && n != 4 {
		return bad("%d elements", n)
	}
	var ops []string
	var limits []float64
	for i := 0; i < len(operand.list); i += 2 {
		op, limit := operand.list[i], operand.list[i+1]
		if op.kind != kindString || !slices.Contains([]string{"=", "<", "<=", ">", ">="}, op.text) {
			return bad("%s isn't a comparison", op)
		}
		if limit.kind != kindNumber {
			return bad("%s isn't a number", limit)
		}
		f := exact(limit.text)
		if math.IsNaN(f) {
			return bad("%s has more digits than can be compared", limit.text)
		}
		ops, limits = append(ops, op.text), append(limits, f)
	}
	if len(ops) == 2 {
		if ops[0][0] != '>' || ops[1][0] != '<' {
			return bad("%s and %s make no range", ops[0], ops[1])
		}
		if limits[0] >= limits[1] {
			return bad("no number is between %v and %v", limits[0], limits[1])
		}
	}
	return func(v *value) bool {
		if v.kind != kindNumber {
			return false
		}
		for i, op := range ops {
			// Comparisons with NaN are false.
			if ok := op == "=" && v.number == limits[i] ||
				op == "<" && v.number < limits[i] || op == "<=" && v.number <= limits[i] ||
				op == ">" && v.number > limits[i] || op == ">=" && v.number >= limits[i]; !ok {
				return false
			}
		}
		return true
	}
}

// equals makes the test for one value as it is.
func equals(want *node) test {
	switch want.kind {
	case kindNumber:
		f := exact(want.text)
		return func(v *value) bool {
			return v.kind == kindNumber && (v.number == f || v.text == want.text)
		}
	case kindNull:
		return func(v *value) bool { return v.kind == kindNull }
	default:
		return func(v *value) bool { return v.kind == want.kind && v.text == want.text }
	}
}

func parseWildcard(text string) (w wildcard, reason string) {
	var piece strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i+1 == len(text) || text[i+1] != '*' && text[i+1] != '\\' {
				return nil, fmt.Sprintf(`the backslash at %d escapes nothing: only \* and \\ are allowed`, i)
			}
			i++
			piece.WriteByte(text[i])
		case '*':
			if i+1 < len(text) && text[i+1] == '*' {
				return nil, fmt.Sprintf("two stars in a row at %d: one is enough", i)
			}
			w = append(w, piece.String())
			piece.Reset()
		default:
			piece.WriteByte(text[i])
		}
	}
	return append(w, piece.String()), ""
}

func hasPrefixFold(s, prefix string) bool {
	for prefix != "" {
		if s == "" {
			return false
		}
		a, n := utf8.DecodeRuneInString(s)
		b, m := utf8.DecodeRuneInString(prefix)
		if !equalFold(a, b) {
			return false
		}
		s, prefix = s[n:], prefix[m:]
	}
	return true
}

func hasSuffixFold(s, suffix string) bool {
	for suffix != "" {
		if s == "" {
			return false
		}
		a, n := utf8.DecodeLastRuneInString(s)
		b, m := utf8.DecodeLastRuneInString(suffix)
		if !equalFold(a, b) {
			return false
		}
		s, suffix = s[:len(s)-n], suffix[:len(suffix)-m]
	}
	return true
}

func equalFold(a, b rune) bool {
	if a == b {
		return true
	}
	for r := unicode.SimpleFold(a); r != a; r = unicode.SimpleFold(r) {
		if r == b {
			return true
		}
	}
	return false
}

// combinations counts the patterns without $or that the pattern stands for.
func combinations(o *object) int {
	if o == nil {
		return 1
	}
	n := 1
	for _, f := range o.fields {
		n = min(n*combinations(f.object), maxCombinations+1)
	}
	for _, group := range o.ors {
		sum := 0
		for _, alternative := range group {
			sum += combinations(alternative)
		}
		n = min(n*max(sum, 1), maxCombinations+1)
	}
	return n
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// node is a pattern's JSON with the order of its fields and its numbers' text.
type node struct {
	kind  kind
	text  string
	names []string
	list  []*node // elements, or the values of names
}

func (n *node) String() string {
	switch n.kind {
	case kindNull:
		return "null"
	case kindString:
		return strconv.Quote(n.text)
	case kindArray:
		return "an array"
	case kindObject:
		return "an object"
	default:
		return n.text
	}
}

func parse(text string) (*node, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	n, err := parseNode(d)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is text after the end of the object")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	}
	if err != nil {
		return nil, &Problem{Reason: fmt.Sprintf("not valid JSON, at byte %d: %v", d.InputOffset(), err)}
	}
	return n, nil
}

func parseNode(d *json.Decoder) (*node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case bool:
		return &node{kind: kindBool, text: strconv.FormatBool(t)}, nil
	case json.Number:
		return &node{kind: kindNumber, text: t.String()}, nil
	case string:
		return &node{kind: kindString, text: t}, nil
	case json.Delim:
		n := &node{kind: kindArray}
		if t == '{' {
			n.kind = kindObject
		}
		for d.More() {
			if n.kind == kindObject {
				name, err := d.Token()
				if err != nil {
					return nil, err
				}
				n.names = append(n.names, name.(string)) // Token takes nothing else for a name
			}
			inner, err := parseNode(d)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, inner)
		}
		_, err := d.Token()
		return n, err
	default:
		return &node{kind: kindNull}, nil
	}
}
