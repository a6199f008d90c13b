package dynamo

import (
	"bytes"
	"cmp"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB's expressions, as far as handlers have used them: comparisons,
// attribute_exists, attribute_not_exists, AND, OR, NOT and parentheses; SET with +,
// - and if_not_exists, REMOVE, ADD to a number or a set of strings. Attributes are those of the item
// itself, not of maps in it. Anything else is an error that says so.

// Env is what an expression is evaluated with: the item as it is, nil for none, and
// what the placeholders stand for.
type Env struct {
	Item   Item
	Names  map[string]string
	Values Item
}

type (
	condition func(Env) (bool, error)
	operand   func(Env) (types.AttributeValue, error) // nil where there is none
	assigns   func(e Env, into Item) error
)

// Expressions are few, and used often.
var conditions, updates sync.Map

// Condition is a condition expression, to be evaluated.
func Condition(text string) (func(Env) (bool, error), error) {
	if c, ok := conditions.Load(text); ok {
		return c.(condition), nil
	}
	p := newParser(text)
	c := p.or()
	if err := p.end(); err != nil {
		return nil, err
	}
	conditions.Store(text, c)
	return c, nil
}

// Update is an update expression, to be applied to a copy of the item. Its error says
// what can't be done with this one.
func Update(text string) (func(e Env, into Item) error, error) {
	if a, ok := updates.Load(text); ok {
		return a.(assigns), nil
	}
	p := newParser(text)
	a := p.update()
	if err := p.end(); err != nil {
		return nil, err
	}
	updates.Store(text, a)
	return a, nil
}

type parser struct {
	text   string
	tokens []string
	failed error
}

var token = regexp.MustCompile(`[#:][A-Za-z0-9_]+|[A-Za-z_][A-Za-z0-9_.-]*|<>|<=|>=|[=<>(),+-]|\S`)

func newParser(text string) *parser {
	return &parser{text: text, tokens: token.FindAllString(text, -1)}
}

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

// take takes the next token if it is this one, in any case.
func (p *parser) take(want string) bool {
	if strings.EqualFold(p.peek(), want) && want != "" {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *parser) need(want string) {
	if !p.take(want) {
		p.fail()
	}
}

func (p *parser) fail() {
	if p.failed == nil {
		p.failed = invalid("tests/dynamo doesn't know %q, at %q", p.text, p.peek())
	}
	p.tokens = nil
}

func (p *parser) end() error {
	if len(p.tokens) > 0 {
		p.fail()
	}
	return p.failed
}

func (p *parser) or() condition {
	left := p.and()
	for p.take("OR") {
		a, b := left, p.and()
		left = func(e Env) (bool, error) {
			x, err := a(e)
			y, other := b(e)
			return x || y, cmp.Or(err, other)
		}
	}
	return left
}

func (p *parser) and() condition {
	left := p.not()
	for p.take("AND") {
		a, b := left, p.not()
		left = func(e Env) (bool, error) {
			x, err := a(e)
			y, other := b(e)
			return x && y, cmp.Or(err, other)
		}
	}
	return left
}

func (p *parser) not() condition {
	switch {
	case p.take("NOT"):
		c := p.not()
		return func(e Env) (bool, error) { ok, err := c(e); return !ok, err }
	case p.take("("):
		c := p.or()
		p.need(")")
		return c
	case p.take("attribute_exists"):
		o := p.exists()
		return func(e Env) (bool, error) { v, err := o(e); return v != nil, err }
	case p.take("attribute_not_exists"):
		o := p.exists()
		return func(e Env) (bool, error) { v, err := o(e); return v == nil, err }
	}
	a := p.operand()
	op := p.peek()
	if op == "" || !strings.Contains("= <> < <= > >=", op) {
		p.fail()
		return nil
	}
	p.take(op)
	b := p.operand()
	return func(e Env) (bool, error) {
		x, err := a(e)
		y, other := b(e)
		if err := cmp.Or(err, other); err != nil || x == nil || y == nil {
			return false, err
		}
		return compares(x, op, y)
	}
}

func (p *parser) exists() operand {
	p.need("(")
	o := p.operand()
	p.need(")")
	return o
}

// operand is an attribute or a value.
func (p *parser) operand() operand {
	name := p.peek()
	switch {
	case name == "" || strings.Contains(name, ".") || !strings.ContainsAny(name[:1], "#:_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"):
		p.fail()
		return nil
	case p.take("if_not_exists"):
		p.need("(")
		attribute := p.operand()
		p.need(",")
		value := p.operand()
		p.need(")")
		return func(e Env) (types.AttributeValue, error) {
			if v, err := attribute(e); v != nil || err != nil {
				return v, err
			}
			return value(e)
		}
	}
	p.take(name)
	return func(e Env) (types.AttributeValue, error) {
		if name[0] == ':' {
			if v, ok := e.Values[name]; ok {
				return v, nil
			}
			return nil, invalid("the value %s isn't given", name)
		}
		attribute, err := e.name(name)
		return e.Item[attribute], err
	}
}

func (e Env) name(name string) (string, error) {
	if name[0] != '#' {
		return name, nil
	}
	attribute, ok := e.Names[name]
	if !ok {
		return "", invalid("the name %s isn't given", name)
	}
	return attribute, nil
}

// update is SET …, REMOVE …, ADD …, in any order.
func (p *parser) update() assigns {
	var all []action
	for p.peek() != "" {
		clause := strings.ToUpper(p.peek())
		if clause != "SET" && clause != "REMOVE" && clause != "ADD" {
			p.fail()
			break
		}
		p.take(clause)
		for more := true; more; more = p.take(",") {
			all = append(all, p.action(clause))
		}
	}
	if len(all) == 0 {
		p.fail()
	}
	return func(e Env, into Item) error {
		changed := map[string]bool{}
		for _, a := range all {
			name, err := e.name(a.name)
			if err != nil {
				return err
			}
			if changed[name] {
				return invalid("Two document paths overlap with each other: %s", name)
			}
			changed[name] = true
			if err := a.assign(e, into); err != nil {
				return err
			}
		}
		return nil
	}
}

// action is what an update does to an attribute.
type action struct {
	name   string
	assign assigns
}

func (p *parser) action(clause string) action {
	name := p.peek()
	if name == "" || name[0] == ':' || strings.Contains(name, ".") {
		p.fail()
		return action{}
	}
	p.take(name)
	var value operand
	switch clause {
	case "SET":
		p.need("=")
		value = p.operand()
		for op := p.peek(); op == "+" || op == "-"; op = p.peek() {
			p.take(op)
			a, b := value, p.operand()
			value = func(e Env) (types.AttributeValue, error) { return sum(e, a, op, b) }
		}
	case "ADD":
		b := p.operand()
		value = func(e Env) (types.AttributeValue, error) {
			attribute, err := e.name(name)
			if err != nil {
				return nil, err
			}
			held := e.Item[attribute]
			more, err := b(e)
			if set, ok := more.(*types.AttributeValueMemberSS); ok {
				return union(held, set)
			}
			if held == nil {
				held = &types.AttributeValueMemberN{Value: "0"}
			}
			return sum(e, constant(held, nil), "+", constant(more, err))
		}
	}
	return action{name, func(e Env, into Item) error {
		attribute, err := e.name(name)
		if err != nil {
			return err
		}
		if value == nil {
			delete(into, attribute)
			return nil
		}
		v, err := value(e)
		if err == nil && v == nil {
			err = invalid("an operand for %s isn't in the item", attribute)
		}
		into[attribute] = v
		return err
	}}
}

func sum(e Env, a operand, op string, b operand) (types.AttributeValue, error) {
	x, err := a(e)
	y, other := b(e)
	if err := cmp.Or(err, other); err != nil {
		return nil, err
	}
	m, ok := x.(*types.AttributeValueMemberN)
	n, too := y.(*types.AttributeValueMemberN)
	if !ok || !too {
		return nil, invalid("only numbers can be added")
	}
	r, s := rational(m.Value), rational(n.Value)
	if op == "-" {
		s.Neg(s)
	}
	r.Add(r, s)
	if r.IsInt() {
		return &types.AttributeValueMemberN{Value: r.RatString()}, nil
	}
	return &types.AttributeValueMemberN{Value: r.FloatString(20)}, nil
}

func constant(v types.AttributeValue, err error) operand {
	return func(Env) (types.AttributeValue, error) { return v, err }
}

// union adds to a set of strings, which needn't be there.
func union(held types.AttributeValue, more *types.AttributeValueMemberSS) (types.AttributeValue, error) {
	all := slices.Clone(more.Value)
	if held != nil {
		set, ok := held.(*types.AttributeValueMemberSS)
		if !ok {
			return nil, invalid("only a set can be added to a set")
		}
		all = append(all, set.Value...)
	}
	slices.Sort(all)
	return &types.AttributeValueMemberSS{Value: slices.Compact(all)}, nil
}

func rational(number string) *big.Rat {
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		panic("not a number: " + number)
	}
	return r
}

func compares(x types.AttributeValue, op string, y types.AttributeValue) (bool, error) {
	var c int
	switch a := x.(type) {
	case *types.AttributeValueMemberN:
		b, ok := y.(*types.AttributeValueMemberN)
		if !ok {
			return op == "<>", nil
		}
		c = compareNumbers(a.Value, b.Value)
	case *types.AttributeValueMemberS:
		b, ok := y.(*types.AttributeValueMemberS)
		if !ok {
			return op == "<>", nil
		}
		c = cmp.Compare(a.Value, b.Value)
	case *types.AttributeValueMemberB:
		b, ok := y.(*types.AttributeValueMemberB)
		if !ok {
			return op == "<>", nil
		}
		c = bytes.Compare(a.Value, b.Value)
	default:
		if op != "=" && op != "<>" {
			return false, invalid("%T has no order", x)
		}
		return reflect.DeepEqual(x, y) == (op == "="), nil
	}
	switch op {
	case "=":
		return c == 0, nil
	case "<>":
		return c != 0, nil
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

// compareNumbers compares whole positive numbers of few digits as texts, which most
// are.
func compareNumbers(a, b string) int {
	if plain(a) && plain(b) {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	}
	return rational(a).Cmp(rational(b))
}

func plain(number string) bool {
	for i := range len(number) {
		if number[i] < '0' || number[i] > '9' {
			return false
		}
	}
	return number != "" && (number[0] != '0' || len(number) == 1)
}
