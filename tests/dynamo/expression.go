package dynamo

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB's expressions, as far as the kit has them: comparisons,
// attribute_not_exists, attribute_exists, AND, OR and parentheses; SET of a value,
// ADD and REMOVE. Every attribute goes by a placeholder.

// env is what an expression is evaluated with.
type env struct {
	item   Item
	names  map[string]string
	values Item
}

var (
	token       = regexp.MustCompile(`[#:]?\w+|<>|<=|>=|\S`)
	placeholder = regexp.MustCompile(`[#:]\w+`)
)

// unused refuses names and values that no expression has, as DynamoDB does.
func (e env) unused(expressions string) error {
	used := map[string]bool{}
	for _, p := range placeholder.FindAllString(expressions, -1) {
		used[p] = true
	}
	for _, p := range slices.Concat(slices.Collect(maps.Keys(e.names)), slices.Collect(maps.Keys(e.values))) {
		if !used[p] {
			return invalid("Value provided in ExpressionAttributeNames or ExpressionAttributeValues unused in expressions: %s", p)
		}
	}
	return nil
}

func (e env) name(placeholder string) (string, error) {
	name, ok := e.names[placeholder]
	if !ok {
		return "", invalid("An expression attribute name used in the document path is not defined: %s", placeholder)
	}
	return name, nil
}

// operand is an attribute or a value; nil is an attribute that isn't there.
func (e env) operand(placeholder string) (types.AttributeValue, error) {
	if strings.HasPrefix(placeholder, ":") {
		value, ok := e.values[placeholder]
		if !ok {
			return nil, invalid("An expression attribute value used in expression is not defined: %s", placeholder)
		}
		return value, nil
	}
	name, err := e.name(placeholder)
	return e.item[name], err
}

type parser struct {
	env
	text   string
	tokens []string
	err    error
}

// evaluate is a condition's outcome.
func evaluate(text string, e env) (bool, error) {
	p := &parser{env: e, text: text, tokens: token.FindAllString(text, -1)}
	holds := p.or()
	if len(p.tokens) > 0 {
		p.fail()
	}
	return holds, p.err
}

func (p *parser) fail() {
	p.note(invalid("tests/dynamo doesn't know the expression %q, at %q", p.text, strings.Join(p.tokens, " ")))
	p.tokens = nil
}

func (p *parser) note(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	first := p.tokens[0]
	p.tokens = p.tokens[1:]
	return first
}

func (p *parser) take(want string) bool {
	if len(p.tokens) > 0 && p.tokens[0] == want {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *parser) or() bool {
	holds := p.and()
	for p.take("OR") {
		other := p.and()
		holds = holds || other
	}
	return holds
}

func (p *parser) and() bool {
	holds := p.comparison()
	for p.take("AND") {
		other := p.comparison()
		holds = holds && other
	}
	return holds
}

func (p *parser) comparison() bool {
	if p.take("(") {
		holds := p.or()
		if !p.take(")") {
			p.fail()
		}
		return holds
	}
	for function, exists := range map[string]bool{"attribute_exists": true, "attribute_not_exists": false} {
		if p.take(function) {
			if !p.take("(") {
				p.fail()
			}
			value := p.value()
			if !p.take(")") {
				p.fail()
			}
			return (value != nil) == exists
		}
	}
	a, op, b := p.value(), p.next(), p.value()
	if !slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, op) {
		p.fail()
	}
	if p.err != nil || a == nil || b == nil {
		return false
	}
	return compare(a, op, b)
}

func (p *parser) value() types.AttributeValue {
	word := p.next()
	if !placeholder.MatchString(word) {
		p.tokens = append([]string{word}, p.tokens...)
		p.fail()
		return nil
	}
	value, err := p.operand(word)
	if err != nil {
		p.note(err)
	}
	return value
}

func compare(a types.AttributeValue, op string, b types.AttributeValue) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return op == "<>"
	}
	var c int
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		c = cmp.Compare(a.Value, b.(*types.AttributeValueMemberS).Value)
	case *types.AttributeValueMemberB:
		c = bytes.Compare(a.Value, b.(*types.AttributeValueMemberB).Value)
	case *types.AttributeValueMemberN:
		c = rational(a.Value).Cmp(rational(b.(*types.AttributeValueMemberN).Value))
	default:
		return reflect.DeepEqual(a, b) == (op == "=") && (op == "=" || op == "<>")
	}
	return map[string]bool{"=": c == 0, "<>": c != 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[op]
}

// change is an item after an update.
func change(text string, e env, before, key Item) (Item, error) {
	after := maps.Clone(before)
	if after == nil {
		after = maps.Clone(key)
	}
	p := &parser{env: e, text: text, tokens: token.FindAllString(text, -1)}
	changed := map[string]bool{}
	for len(p.tokens) > 0 {
		clause := p.next()
		if clause != "SET" && clause != "ADD" && clause != "REMOVE" {
			p.fail()
		}
		for more := true; more && p.err == nil; more = p.take(",") {
			name, err := p.name(p.next())
			if err != nil {
				return nil, err
			}
			if changed[name] {
				return nil, invalid("Two document paths overlap with each other: %s", name)
			}
			changed[name] = true
			switch clause {
			case "REMOVE":
				delete(after, name)
			case "SET":
				if !p.take("=") {
					p.fail()
				}
				after[name] = p.value()
			case "ADD":
				sum, err := add(before[name], p.value())
				if err != nil {
					return nil, err
				}
				after[name] = sum
			}
		}
	}
	return after, p.err
}

func add(a, b types.AttributeValue) (types.AttributeValue, error) {
	switch b := b.(type) {
	case *types.AttributeValueMemberN:
		if a == nil {
			return b, nil
		}
		a, ok := a.(*types.AttributeValueMemberN)
		if !ok {
			break
		}
		sum := new(big.Rat).Add(rational(a.Value), rational(b.Value))
		if sum.IsInt() {
			return &types.AttributeValueMemberN{Value: sum.RatString()}, nil
		}
		return &types.AttributeValueMemberN{Value: strings.TrimRight(sum.FloatString(38), "0")}, nil
	case *types.AttributeValueMemberSS:
		if a == nil {
			return b, nil
		}
		a, ok := a.(*types.AttributeValueMemberSS)
		if !ok {
			break
		}
		all := slices.Concat(a.Value, b.Value)
		slices.Sort(all)
		return &types.AttributeValueMemberSS{Value: slices.Compact(all)}, nil
	}
	return nil, invalid("An operand in the update expression has an incorrect data type: %T and %T", a, b)
}

func rational(number string) *big.Rat {
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		panic(fmt.Sprintf("%q is no number", number))
	}
	return r
}
