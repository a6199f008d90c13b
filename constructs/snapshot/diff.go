package snapshot

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// compare lists what differs, below the resource or section it is in; "" if
// nothing does.
func compare(before, after map[string]any) string {
	if cmp.Equal(before, after) {
		return ""
	}
	text := report(flat(before).(map[string]any), flat(after).(map[string]any))
	if text == "" { // only the notation of a text differs
		text = report(before, after)
	}
	return text
}

func report(before, after map[string]any) string {
	r := &reporter{before: before, after: after}
	cmp.Equal(before, after, cmp.Reporter(r))
	return r.text.String()
}

// flat makes texts of joined ones, "arn:${AWS::Partition}:…", and trees of texts
// that are JSON, as a dashboard's body is: their differences are to be read.
func flat(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "{") {
			if tree, err := decode([]byte(v)); err == nil {
				return tree
			}
		}
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = flat(item)
		}
		return list
	case map[string]any:
		if text, ok := joined(v); ok {
			return flat(text)
		}
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[key] = flat(item)
		}
		return m
	}
	return v
}

// joined is an Fn::Join of texts and references as one text.
func joined(v map[string]any) (string, bool) {
	parts, ok := At(v, "Fn::Join", 1).([]any)
	if separator := At(v, "Fn::Join", 0); !ok || separator != "" {
		return "", false
	}
	var b strings.Builder
	for _, part := range parts {
		switch id := Refers(part); {
		case id != "" && At(part, "Ref") != nil:
			b.WriteString("${" + id + "}")
		case id != "":
			b.WriteString(fmt.Sprintf("${%s.%v}", id, At(part, "Fn::GetAtt", 1)))
		default:
			text, ok := part.(string)
			if !ok {
				return "", false
			}
			b.WriteString(text)
		}
	}
	return b.String(), true
}

// reporter turns cmp's findings into text. Maps come in the order of their keys,
// and lists are aligned: an entry put in front isn't a change of all others.
type reporter struct {
	before, after map[string]any
	path          cmp.Path
	place         string // that was named last
	text          strings.Builder
}

func (r *reporter) PushStep(step cmp.PathStep) { r.path = append(r.path, step) }
func (r *reporter) PopStep()                   { r.path = r.path[:len(r.path)-1] }

func (r *reporter) Report(result cmp.Result) {
	if result.Equal() {
		return
	}
	var steps []string
	for _, step := range r.path {
		switch step := step.(type) {
		case cmp.MapIndex:
			steps = append(steps, step.Key().String())
		case cmp.SliceIndex:
			i, j := step.SplitKeys()
			steps = append(steps, fmt.Sprintf("[%d]", max(i, j)))
		}
	}
	head := min(2, len(steps))
	place := strings.Join(steps[:head], ".")
	for _, in := range []map[string]any{r.after, r.before} {
		if kind, ok := At(in, "Resources", steps[head-1], "Type").(string); ok && steps[0] == "Resources" {
			place += " (" + kind + ")"
			break
		}
	}
	if place != r.place {
		r.place = place
		r.text.WriteString(place + "\n")
	}
	indent := "  "
	if rest := strings.ReplaceAll(strings.Join(steps[head:], "."), ".[", "["); rest != "" {
		r.text.WriteString(indent + rest + "\n")
		indent += "  "
	}
	old, new := r.path.Last().Values()
	was, is := "", ""
	if old.IsValid() && old.CanInterface() {
		was = show(old.Interface())
	}
	if new.IsValid() && new.CanInterface() {
		is = show(new.Interface())
	}
	was, is = shorten(was, is)
	for _, side := range []struct{ sign, text string }{{"- ", was}, {"+ ", is}} {
		if side.text != "" {
			r.text.WriteString(indent + side.sign + strings.ReplaceAll(side.text, "\n", "\n"+indent+side.sign) + "\n")
		}
	}
}

// show is a value as JSON: on one line if that is short.
func show(v any) string {
	text := strings.TrimSuffix(string(encode(v)), "\n")
	if short, err := json.Marshal(v); err == nil && strings.Contains(text, "\n") && len(short) <= 100 {
		return string(short)
	}
	return text
}

// shorten leaves of two long lines what surrounds their difference.
func shorten(a, b string) (string, string) {
	const long, around = 200, 60
	if len(a) <= long && len(b) <= long || strings.Contains(a, "\n") || strings.Contains(b, "\n") || a == "" || b == "" {
		return a, b
	}
	from := 0
	for from < min(len(a), len(b)) && a[from] == b[from] {
		from++
	}
	to := 0
	for to < min(len(a), len(b))-from && a[len(a)-1-to] == b[len(b)-1-to] {
		to++
	}
	cut := func(s string) string {
		start, end := max(from-around, 0), min(len(s)-to+around, len(s))
		middle := s[start:end]
		if start > 0 {
			middle = "…" + middle
		}
		if end < len(s) {
			middle += "…"
		}
		return strings.ToValidUTF8(middle, "")
	}
	return cut(a), cut(b)
}
