package kpl

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// HashRange is the hash keys of a shard, from its starting to its ending hash key,
// both included. The zero value holds only the hash key 0.
type HashRange struct{ starting, ending hashKey }

// NewHashRange makes a range of decimal hash keys as ListShards gives them: 0 to
// 2^128-1, the ending one not below the starting one.
func NewHashRange(startingHashKey, endingHashKey string) (h HashRange, err error) {
	var problems []error
	for _, end := range []struct {
		name, key string
		to        *hashKey
	}{{"startingHashKey", startingHashKey, &h.starting}, {"endingHashKey", endingHashKey, &h.ending}} {
		key, ok := parseHashKey(end.key)
		if !ok {
			problems = append(problems, fmt.Errorf("kpl: the %s is %q: must be a decimal number from 0 to 2^128-1", end.name, end.key))
		}
		*end.to = key
	}
	if len(problems) == 0 && h.ending.compare(h.starting) < 0 {
		problems = append(problems, fmt.Errorf("kpl: the endingHashKey %s is below the startingHashKey %s: swap them", endingHashKey, startingHashKey))
	}
	return h, errors.Join(problems...)
}

// Holds says if the hash keys of all the records are in the range: of each the
// explicit one, or else its partition key's MD5. An explicit hash key that isn't
// a number from 0 to 2^128-1 is in no range.
func (h HashRange) Holds(records ...Record) bool {
	for i := range records {
		r := &records[i]
		if key, ok := hashOf(r.PartitionKey, r.ExplicitHashKey, r.ExplicitHashKey != nil); !ok || !h.holds(key) {
			return false
		}
	}
	return true
}

func (h HashRange) holds(key hashKey) bool {
	return h.starting.compare(key) <= 0 && key.compare(h.ending) <= 0
}

// hashKey is a number below 2^128.
type hashKey struct{ high, low uint64 }

func (k hashKey) compare(other hashKey) int {
	return cmp.Or(cmp.Compare(k.high, other.high), cmp.Compare(k.low, other.low))
}

// hashOf is what decides on a record's shard.
func hashOf[T string | []byte](partitionKey, explicitHashKey T, explicit bool) (hashKey, bool) {
	if explicit {
		return parseHashKey(explicitHashKey)
	}
	sum := checksum([]byte(partitionKey))
	return hashKey{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[md5.Size/2:])}, true
}

func parseHashKey[T string | []byte](decimal T) (k hashKey, ok bool) {
	for i := range len(decimal) {
		digit := uint64(decimal[i]) - '0'
		if digit > 9 {
			return hashKey{}, false
		}
		over, high := bits.Mul64(k.high, 10)
		carry, low := bits.Mul64(k.low, 10)
		var c uint64
		k.low, c = bits.Add64(low, digit, 0)
		if k.high, c = bits.Add64(high, carry, c); over+c > 0 {
			return hashKey{}, false
		}
	}
	return k, len(decimal) > 0
}
