// Package pattern filters records as Lambda's event source mappings do, with
// event patterns: {"data": {"speed": [{"numeric": [">", 10]}]}}.
//
// The language is that of Amazon EventBridge, which Lambda refers to. Where its
// documentation and its behaviour differ, the behaviour counts: 300 matches
// 300.0, and a field named "a.b" is the same as b within a.
package pattern

import (
	"net/netip"
	"strings"
)

// MaxLength is the length of a pattern, in bytes, that Lambda takes at most.
const MaxLength = 4096

// Pattern is a compiled event pattern. It may be used concurrently.
type Pattern struct {
	root *object
	// steps are all names that the pattern mentions, or one of those that it was
	// compiled with. Nothing else of a record is looked at.
	steps *step
}

// object is what a pattern demands of an object: everything of fields, and of
// each group of ors at least one.
type object struct {
	fields []field
	ors    [][]*object
}

type field struct {
	step *step
	// Exactly one of the two is set.
	object *object
	rules  *rules
}

// rules are the alternatives for one field's value.
type rules struct {
	tests []test
	// absent: the field may also be missing. That is asked of the record as a
	// whole, not of one element of an array.
	absent bool
	path   []*step
}

// test decides about a single value that is neither an object nor an array.
type test func(v *value) bool

// step is a name at its place in the records. Names with dots are several steps.
type step struct {
	name  string
	under []*step
}

func (s *step) child(name string) *step {
	for _, c := range s.under {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (s *step) add(name string) *step {
	c := s.child(name)
	if c == nil {
		c = &step{name: name}
		s.under = append(s.under, c)
	}
	return c
}

// Match reports whether the record matches: a JSON value as encoding/json
// decodes it into an any, numbers as float64 or json.Number.
func (p *Pattern) Match(record any) bool {
	var v value
	viewAny(&v, record, p.steps)
	return p.match(&v)
}

// MatchJSON reports whether the JSON text matches. What isn't valid JSON doesn't.
func (p *Pattern) MatchJSON(record []byte) bool {
	var v value
	return viewJSON(&v, record, p.steps) && p.match(&v)
}

func (p *Pattern) match(v *value) bool {
	// A record is an object. An array of them isn't searched.
	return v.kind == kindObject && p.root.match(v, v)
}

// match reports whether v, or if v is an array one of its elements, has all that
// the pattern demands. v is nil for what isn't there.
func (o *object) match(v, root *value) bool {
	if v != nil && v.kind == kindArray {
		for i := range v.list {
			if o.match(&v.list[i], root) {
				return true
			}
		}
		// All that is demanded may be the absence of something.
		return o.match(nil, root)
	}
	for i := range o.fields {
		if !o.fields[i].match(v, root) {
			return false
		}
	}
	for _, group := range o.ors {
		if !anyMatch(group, v, root) {
			return false
		}
	}
	return true
}

func anyMatch(alternatives []*object, v, root *value) bool {
	for _, o := range alternatives {
		if o.match(v, root) {
			return true
		}
	}
	return false
}

func (f *field) match(v, root *value) bool {
	found := false
	if v != nil && v.kind == kindObject {
		for i := range v.fields {
			if e := &v.fields[i]; e.step == f.step {
				found = true
				if f.matchValue(&e.value, root) {
					return true
				}
			}
		}
	}
	return !found && f.matchValue(nil, root)
}

func (f *field) matchValue(v, root *value) bool {
	if f.object != nil {
		return f.object.match(v, root)
	}
	if v != nil && f.rules.matchLeaf(v) {
		return true
	}
	return f.rules.absent && !root.hasLeaf(f.rules.path)
}

func (r *rules) matchLeaf(v *value) bool {
	switch v.kind {
	case kindObject:
		return false
	case kindArray:
		for i := range v.list {
			if r.matchLeaf(&v.list[i]) {
				return true
			}
		}
		return false
	}
	for _, t := range r.tests {
		if t(v) {
			return true
		}
	}
	return false
}

// hasLeaf reports whether there is a value that is neither an object nor an
// array at the path, anywhere in the arrays on the way.
func (v *value) hasLeaf(path []*step) bool {
	switch v.kind {
	case kindArray:
		for i := range v.list {
			if v.list[i].hasLeaf(path) {
				return true
			}
		}
		return false
	case kindObject:
		if len(path) == 0 {
			return false
		}
		for i := range v.fields {
			if v.fields[i].step == path[0] && v.fields[i].value.hasLeaf(path[1:]) {
				return true
			}
		}
		return false
	default:
		return len(path) == 0
	}
}

// wildcard is a text with stars: the pieces between them.
type wildcard []string

func (w wildcard) match(s string) bool {
	if len(w) == 1 {
		return s == w[0]
	}
	first, last := w[0], w[len(w)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, piece := range w[1 : len(w)-1] {
		at := strings.Index(s, piece)
		if at < 0 {
			return false
		}
		s = s[at+len(piece):]
	}
	return true
}

func inNetwork(network netip.Prefix) test {
	return func(v *value) bool {
		if v.kind != kindString {
			return false
		}
		address, err := netip.ParseAddr(v.text)
		return err == nil && network.Contains(address)
	}
}
