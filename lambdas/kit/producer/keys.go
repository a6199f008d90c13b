package producer

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"hash/fnv"
	mathrand "math/rand/v2"
	"strconv"
	"time"
)

// Field is the value of a field of a JSON object, for a partition key: the records of
// a value stay in their order. It must be a string, which isn't empty, or a number,
// which counts as it is written.
func Field(data []byte, name string) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return "", fmt.Errorf("producer: the field %s for the partition key: the data is no JSON object: %w", name, err)
	}
	value, ok := fields[name]
	if !ok {
		return "", fmt.Errorf("producer: the data has no field %s for the partition key", name)
	}
	var text string
	var number json.Number
	if err := json.Unmarshal(value, &text); err == nil && text != "" {
		return text, nil
	}
	if err := json.Unmarshal(value, &number); err == nil && number != "" && !bytes.HasPrefix(value, []byte{'"'}) {
		return number.String(), nil
	}
	return "", fmt.Errorf("producer: the field %s for the partition key must be a string that isn't empty, or a number", name)
}

// RandomKey is a partition key that no other record has: records spread evenly over
// the shards, in no order.
func RandomKey() string { return rand.Text() }

// TimeBucket is a partition key that changes with time: key, a slash, and when the
// bucket began that at is in, in Unix seconds. The records of key in a bucket stay in
// their order and come to one shard; the next bucket's to another, by chance, while the
// last one's may still be in work. It doesn't spread the load of a hot key at any one
// time; it moves it. Every is a second or more, and buckets begin at multiples of it.
func TimeBucket(key string, at time.Time, every time.Duration) string {
	seconds := max(1, int64(every/time.Second))
	began := at.Unix()
	began -= (began%seconds + seconds) % seconds
	return key + "/" + strconv.FormatInt(began, 10)
}

// Salted is one of so many partition keys that a hot key is spread over: key, a slash,
// and a number from 0 to salts-1. If by is "" it is a random one, and the key's records
// have no order any more; else it is the same for the same by, whose records keep
// theirs. Salts below 2 leave the key as it is. [Salts] lists all of them, for whoever
// puts the parts together.
func Salted(key, by string, salts int) string {
	if salts < 2 {
		return key
	}
	salt := mathrand.IntN(salts)
	if by != "" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(by))
		salt = int(h.Sum64() % uint64(salts))
	}
	return key + "/" + strconv.Itoa(salt)
}

// Salts are all partition keys that Salted makes of a key.
func Salts(key string, salts int) []string {
	if salts < 2 {
		return []string{key}
	}
	all := make([]string, salts)
	for i := range all {
		all[i] = key + "/" + strconv.Itoa(i)
	}
	return all
}
