package firehose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// partitionKeys are the values that a prefix's partition expressions stand for.
type partitionKeys struct{ query, lambda map[string]string }

// noKeys is what Firehose says of a key without a value.
const noKeys = "partitionKeys values must not be null or empty"

// queryTime is how long one record's query may take: a query can loop for ever.
const queryTime = time.Second

// partition is the buffer that a record belongs to. If it belongs to none, problem
// says why.
func (s *Stream) partition(r *record, data []byte) (key string, keys partitionKeys, problem string) {
	if !s.partitioned {
		return "", keys, ""
	}
	if s.target.good.has(queryPart) {
		if keys.query, problem = s.extract(data); problem != "" {
			return "", keys, problem
		}
	}
	keys.lambda = r.lambda
	var id strings.Builder
	for i := range s.target.good {
		p := &s.target.good[i]
		value := ""
		switch p.kind {
		case queryPart:
			value = keys.query[p.text]
		case lambdaPart:
			value = keys.lambda[p.text]
		default:
			continue
		}
		if value == "" {
			return "", keys, noKeys
		}
		id.WriteString(strconv.Quote(value))
	}
	before, err := s.target.good.evaluate(evaluation{at: r.arrival.In(s.target.zone), query: keys.query, lambda: keys.lambda, random: zeros{}})
	if err == nil && len(before) > longestPrefix {
		return "", keys, fmt.Sprintf("The evaluated prefix has more than %d characters.", longestPrefix)
	}
	return id.String(), keys, ""
}

// zeros stands in for random bytes where only a length counts.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// extract runs the metadata query over a record.
func (s *Stream) extract(data []byte) (map[string]string, string) {
	var value any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&value); err != nil {
		return nil, "Non JSON record provided"
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, "Non JSON record provided"
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryTime)
	defer cancel()
	results := s.query.RunWithContext(ctx, value)
	result, ok := results.Next()
	if !ok {
		return nil, noKeys
	}
	if err, failed := result.(error); failed {
		return nil, err.Error()
	}
	object, ok := result.(map[string]any)
	if !ok {
		return nil, "The query's result is no object"
	}
	keys := make(map[string]string, len(object))
	for name, v := range object {
		switch v := v.(type) {
		case nil:
		case string:
			keys[name] = v
		case bool:
			keys[name] = strconv.FormatBool(v)
		case int:
			keys[name] = strconv.Itoa(v)
		case float64:
			keys[name] = strconv.FormatFloat(v, 'f', -1, 64)
		case *big.Int:
			keys[name] = v.String()
		case json.Number:
			keys[name] = v.String()
		default:
			return nil, fmt.Sprintf("The partition key %s is no string, number or boolean", name)
		}
	}
	return keys, ""
}
