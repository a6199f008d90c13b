package pattern

import (
	"errors"
	"fmt"
)

// MaxFilters is how many filters Lambda takes: 5, or 10 by a raised quota.
const MaxFilters = 10

// Source is what a filter's records come from.
type Source string

const (
	// Kinesis records are filtered as {"partitionKey", "sequenceNumber",
	// "approximateArrivalTimestamp", "eventID", …, "data"}, with data decoded.
	// AWS documents data as the only key to filter on.
	Kinesis Source = "data"
	// DynamoDB records are filtered as they are in the event: {"eventName",
	// "dynamodb": {"Keys", "NewImage", …}, …}. AWS documents dynamodb as the only
	// key to filter on.
	DynamoDB Source = "dynamodb"
)

// Filters are a mapping's filter criteria: a record passes if it matches one of
// them, or if there are none. A nil *Filters passes everything.
type Filters struct {
	steps    *step // of all patterns: a record is read once
	patterns []*Pattern
	data     []bool // by pattern: whether it mentions the data
	metadata bool   // whether one mentions anything else
}

// NewFilters compiles the patterns of a mapping. The error names each wrong one.
func NewFilters(source Source, patterns ...string) (*Filters, error) {
	if source != Kinesis && source != DynamoDB {
		return nil, fmt.Errorf("pattern: records of %q aren't filtered here, only those of Kinesis and DynamoDB", string(source))
	}
	if len(patterns) > MaxFilters {
		return nil, fmt.Errorf("pattern: %d filters are more than the %d that Lambda takes", len(patterns), MaxFilters)
	}
	f := &Filters{steps: &step{}}
	var problems []error
	for i, text := range patterns {
		p, err := compile(text, f.steps)
		if err != nil {
			problems = append(problems, fmt.Errorf("filter %d: %w", i+1, err))
			continue
		}
		uses := p.root.uses(f.steps.child(string(source)))
		if uses.rules {
			// Lambda refuses this when a mapping is created.
			err := &Problem{
				Path:   string(source),
				Reason: fmt.Sprintf("the data is JSON: name its fields, {%q: {\"field\": […]}}, not values for the whole", string(source)),
			}
			problems = append(problems, fmt.Errorf("filter %d: %w", i+1, err))
		}
		f.patterns = append(f.patterns, p)
		f.data = append(f.data, uses.data)
		f.metadata = f.metadata || uses.other
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return f, nil
}

type uses struct{ data, rules, other bool }

// uses reports how a pattern's top level deals with the data's step and whether
// it names others.
func (o *object) uses(data *step) (u uses) {
	for _, f := range o.fields {
		u.data = u.data || f.step == data
		u.rules = u.rules || f.step == data && f.rules != nil
		u.other = u.other || f.step != data
	}
	for _, group := range o.ors {
		for _, alternative := range group {
			inner := alternative.uses(data)
			u = uses{u.data || inner.data, u.rules || inner.rules, u.other || inner.other}
		}
	}
	return u
}

// Empty reports whether everything passes.
func (f *Filters) Empty() bool { return f == nil || len(f.patterns) == 0 }

// UsesMetadata reports whether a filter mentions anything beside the data. If
// not, MatchKinesis needs no metadata.
func (f *Filters) UsesMetadata() bool { return f != nil && f.metadata }

// Match reports whether a decoded record passes, see Pattern.Match.
func (f *Filters) Match(record any) bool {
	if f.Empty() {
		return true
	}
	var v value
	viewAny(&v, record, f.steps)
	return f.match(&v, true)
}

// MatchJSON reports whether a record given as JSON passes. One that isn't valid
// JSON doesn't, unless there are no filters.
func (f *Filters) MatchJSON(record []byte) bool {
	if f.Empty() {
		return true
	}
	var v value
	return viewJSON(&v, record, f.steps) && f.match(&v, true)
}

// MatchKinesis reports whether a Kinesis record passes: its data, as it was put,
// and what else there is of it, by the names of the event and without the level
// "kinesis". If the data isn't valid JSON, no filter on the data matches, not
// even one for the absence of a field; filters on metadata alone are asked.
func (f *Filters) MatchKinesis(data []byte, metadata map[string]any) bool {
	if f.Empty() {
		return true
	}
	v := value{kind: kindObject}
	if f.metadata {
		for name, m := range metadata {
			if name == string(Kinesis) {
				continue
			}
			if place, next := v.place(name, f.steps); place != nil {
				viewAny(place, m, next)
			}
		}
	}
	valid := true
	if f.steps.child(string(Kinesis)) != nil {
		place, next := v.place(string(Kinesis), f.steps)
		valid = viewJSON(place, data, next)
	}
	return f.match(&v, valid)
}

// match asks the patterns, without valid data only those on metadata.
func (f *Filters) match(v *value, valid bool) bool {
	for i, p := range f.patterns {
		if (valid || !f.data[i]) && p.match(v) {
			return true
		}
	}
	return false
}
