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
	source   Source
	patterns []*Pattern
	metadata bool
}

// NewFilters compiles the patterns of a mapping. The error names each wrong one.
func NewFilters(source Source, patterns ...string) (*Filters, error) {
	if source != Kinesis && source != DynamoDB {
		return nil, fmt.Errorf("pattern: records of %q aren't filtered here, only those of Kinesis and DynamoDB", string(source))
	}
	if len(patterns) > MaxFilters {
		return nil, fmt.Errorf("pattern: %d filters are more than the %d that Lambda takes", len(patterns), MaxFilters)
	}
	f := &Filters{source: source}
	var problems []error
	for i, text := range patterns {
		p, err := Compile(text)
		if err == nil {
			err = f.check(p)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("filter %d: %w", i+1, err))
			continue
		}
		f.patterns = append(f.patterns, p)
		f.metadata = f.metadata || len(p.steps.under) > 1 || !p.uses(string(source))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return f, nil
}

// check refuses what Lambda refuses when a mapping is created: rules for the
// data itself instead of its fields, as if it weren't JSON.
func (f *Filters) check(p *Pattern) error {
	data := p.steps.child(string(f.source))
	if data != nil && p.root.hasRules(data) {
		return &Problem{
			Path:   string(f.source),
			Reason: fmt.Sprintf("the data is JSON: name its fields, {%q: {\"field\": […]}}, not values for the whole", string(f.source)),
		}
	}
	return nil
}

func (o *object) hasRules(s *step) bool {
	for _, f := range o.fields {
		if f.step == s && f.rules != nil {
			return true
		}
	}
	for _, group := range o.ors {
		for _, alternative := range group {
			if alternative.hasRules(s) {
				return true
			}
		}
	}
	return false
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
	for _, p := range f.patterns {
		if p.Match(record) {
			return true
		}
	}
	return false
}

// MatchJSON reports whether a record given as JSON passes. One that isn't valid
// JSON doesn't, unless there are no filters.
func (f *Filters) MatchJSON(record []byte) bool {
	if f.Empty() {
		return true
	}
	for _, p := range f.patterns {
		if p.MatchJSON(record) {
			return true
		}
	}
	return false
}

// MatchKinesis reports whether a Kinesis record passes: its data, as it was put,
// and what else there is of it, by the names of the event and without the level
// "kinesis". If the data isn't valid JSON, no filter on the data matches, not
// even one for the absence of a field; filters on metadata alone are asked.
func (f *Filters) MatchKinesis(data []byte, metadata map[string]any) bool {
	if f.Empty() {
		return true
	}
	for _, p := range f.patterns {
		v := value{kind: kindObject}
		if f.metadata {
			for name, m := range metadata {
				if name == string(Kinesis) {
					continue
				}
				if place, next := v.place(name, p.steps); place != nil {
					viewAny(place, m, next)
				}
			}
		}
		if p.uses(string(Kinesis)) {
			place, next := v.place(string(Kinesis), p.steps)
			if !viewJSON(place, data, next) {
				continue
			}
		}
		if p.match(&v) {
			return true
		}
	}
	return false
}
