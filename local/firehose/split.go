package firehose

import (
	"bytes"
	"encoding/json"
	"io"
)

// mostSubRecords is how many pieces a record is split into; one with more passes
// whole.
const mostSubRecords = 500

// split is a record's sub-records, or the record itself if it can't be split.
func (c *config) split(data []byte) [][]byte {
	if c.deaggregation == nil {
		return [][]byte{data}
	}
	var pieces [][]byte
	if delimiter := c.deaggregation.delimiter; len(delimiter) > 0 {
		for piece := range bytes.SplitSeq(data, delimiter) {
			if len(piece) > 0 {
				pieces = append(pieces, piece)
			}
		}
	} else {
		pieces = values(data)
	}
	if len(pieces) == 0 || len(pieces) > mostSubRecords {
		return [][]byte{data}
	}
	return pieces
}

// values are the JSON objects that stand one after the other in data, nil if it
// holds anything else.
func values(data []byte) [][]byte {
	var found [][]byte
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err == io.EOF {
			return found
		} else if err != nil || raw[0] != '{' {
			return nil
		}
		found = append(found, raw)
	}
}
