package allow

import (
	"slices"
	"strings"

	"github.com/millrace/millrace/constructs/spec"
)

// Check notes a problem for each of actions that isn't written out as an action of
// service: a wildcard would grant more than is used, and hides what a customer
// key has to allow along with it.
func Check(c *spec.Check, service string, actions []string) {
	if len(actions) == 0 {
		c.Add("actions", nil, "there is nothing to allow", "name what is called, such as "+service+":"+example[service])
	}
	for _, a := range actions {
		name, found := strings.CutPrefix(a, service+":")
		if !found || name == "" || strings.ContainsAny(name, "*?") {
			c.Add("actions", a, "each action of "+service+" is named, without wildcards", "write out what is called, such as "+service+":"+example[service])
		}
	}
}

// Only notes a problem for each of actions that isn't among those that known
// lists, for the reason why.
func Only(c *spec.Check, known, actions []string, why string) {
	for _, a := range actions {
		if !slices.Contains(known, a) {
			c.Add("actions", a, why, "use "+strings.Join(known, ", "))
		}
	}
}

var example = map[string]string{"kinesis": "PutRecords", "dynamodb": "UpdateItem"}
