package spec

import "regexp"

// StreamView is what a table's change stream carries of a changed item.
type StreamView string

// The views that DynamoDB has. NoStream is the default.
const (
	NoStream        StreamView = "NONE"
	NewAndOldImages StreamView = "NEW_AND_OLD_IMAGES"
	NewImage        StreamView = "NEW_IMAGE"
	OldImage        StreamView = "OLD_IMAGE"
	KeysOnly        StreamView = "KEYS_ONLY"
)

// Table are the settings of a DynamoDB table. Keys are strings.
type Table struct {
	// PartitionKey is the name of the partition key's attribute, 1 to 255 characters; required.
	PartitionKey string
	// SortKey is the name of the sort key's attribute, 1 to 255 characters; none by default.
	SortKey string
	// Stream turns the change stream on: NoStream by default.
	Stream StreamView
	// TimeToLive names the attribute with the epoch second after which DynamoDB
	// deletes an item; none by default.
	TimeToLive string
	// NoPointInTimeRecovery turns continuous backups off. They are on by default
	// and restore any second of the last 35 days.
	NoPointInTimeRecovery bool
	// NoDeletionProtection lets the table be deleted. It is one of the two switches
	// that deleting takes; the construct's RemovalPolicy is the other.
	NoDeletionProtection bool
}

// WithDefaults returns t with its defaults written out.
func (t Table) WithDefaults() Table {
	t.Stream = orText(t.Stream, NoStream)
	return t
}

// attribute is what CloudFormation takes as an attribute's name.
var attribute = regexp.MustCompile(`^.{1,255}$`)

// Validate returns every problem of t as an [*Invalid], with path before each.
func (t Table) Validate(path string) error {
	c, d := At(path), t.WithDefaults()
	name := func(field, value string, required bool) {
		switch {
		case value == "" && required:
			c.Add(field, value, "every table needs one", "name the attribute that items are spread by")
		case value != "" && !IsToken(value) && !attribute.MatchString(value):
			c.Add(field, value, "an attribute's name has 1 to 255 characters", "shorten it")
		}
	}
	name("PartitionKey", d.PartitionKey, true)
	name("SortKey", d.SortKey, false)
	name("TimeToLive", d.TimeToLive, false)
	if d.SortKey != "" && d.SortKey == d.PartitionKey {
		c.Add("SortKey", d.SortKey, "it must differ from PartitionKey", "leave it out, or name another attribute")
	}
	if d.TimeToLive != "" && (d.TimeToLive == d.PartitionKey || d.TimeToLive == d.SortKey) {
		c.Add("TimeToLive", d.TimeToLive, "a key is text and can't hold an epoch second", "name an attribute of its own")
	}
	oneOf(c, "Stream", d.Stream, NoStream, NewAndOldImages, NewImage, OldImage, KeysOnly)
	return c.Err()
}
