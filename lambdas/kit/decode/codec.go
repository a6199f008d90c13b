package decode

import "github.com/go-json-experiment/json"

// Codec decodes a record's data into the user's type. It must not keep data.
type Codec[T any] func(data []byte, into *T) error

// JSON is the Codec of JSON: encoding/json/v2, as a module until every supported
// Go has it. It is strict where encoding/json isn't: names count in their case,
// must not come twice, and strings must be UTF-8. Unknown members are left alone.
// The error may quote names and values of the data.
func JSON[T any](data []byte, into *T) error {
	return json.Unmarshal(data, into)
}
