package firehose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

// WithConfiguration is d with the source and the destination of a configuration:
// the properties of an AWS::KinesisFirehose::DeliveryStream with all references
// resolved, or the JSON of a CreateDeliveryStream request; they have the same
// names. It is for emulators, whose descriptions leave settings out. Credentials
// are passed over, as descriptions don't tell them either: see
// [Options.Credential].
func WithConfiguration(d *Description, configuration []byte) (*Description, error) {
	var properties map[string]json.RawMessage
	if err := json.Unmarshal(configuration, &properties); err != nil {
		return nil, fmt.Errorf("firehose: the configuration: %w", err)
	}
	destinations := map[string]any{}
	full := *d
	for name, raw := range properties {
		switch {
		case name == "DeliveryStreamType":
			if err := json.Unmarshal(raw, &full.DeliveryStreamType); err != nil {
				return nil, fmt.Errorf("firehose: %s: %w", name, err)
			}
		case name == "KinesisStreamSourceConfiguration":
			source := types.KinesisStreamSourceDescription{}
			if d.Source != nil && d.Source.KinesisStreamSourceDescription != nil {
				source = *d.Source.KinesisStreamSourceDescription // it has the beginning
			}
			if err := strictly(raw, &source); err != nil {
				return nil, fmt.Errorf("firehose: %s: %w", name, err)
			}
			full.Source = &types.SourceDescription{KinesisStreamSourceDescription: &source}
		case strings.HasSuffix(name, "DestinationConfiguration"):
			var value any
			if err := json.Unmarshal(raw, &value); err != nil {
				return nil, fmt.Errorf("firehose: %s: %w", name, err)
			}
			destinations[strings.TrimSuffix(name, "Configuration")+"Description"] = renamed(value)
		}
	}
	if len(destinations) != 1 {
		return nil, fmt.Errorf("firehose: the configuration has %d destinations, not one", len(destinations))
	}
	text, err := json.Marshal(destinations)
	if err != nil {
		return nil, fmt.Errorf("firehose: the configuration: %w", err)
	}
	var destination types.DestinationDescription
	if err := strictly(text, &destination); err != nil {
		return nil, fmt.Errorf("firehose: the configuration: %w", err)
	}
	full.Destinations = []types.DestinationDescription{destination}
	return &full, nil
}

// strictly decodes JSON and refuses names that it doesn't know.
func strictly(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// descriptions are the names that a configuration and a description have for the
// same thing; "" is what a description leaves out.
var descriptions = map[string]string{
	"S3Configuration":       "S3DestinationDescription",
	"S3BackupConfiguration": "S3BackupDescription",
	"VpcConfiguration":      "VpcConfigurationDescription",
	"AccessKey":             "",
	"Password":              "",
}

// renamed is a configuration's value with a description's names.
func renamed(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			other, differs := descriptions[name]
			switch {
			case !differs:
				out[name] = renamed(inner)
			case other != "":
				out[other] = renamed(inner)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = renamed(v[i])
		}
		return out
	}
	return value
}
