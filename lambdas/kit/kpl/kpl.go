// Package kpl takes apart, and makes, the aggregated records of the Kinesis
// Producer Library (KPL): many user records in the data of one Kinesis record.
//
// A consumer that may see aggregated records calls [Split] on the data of each
// record, or has batch.UserRecords do it. Lambda counts in Kinesis records: a user record that fails is reported
// with the sequence number of the Kinesis record that it came in, and all user
// records of that one come again. A user record's identity is the pair of this
// sequence number and [Record.Sub].
//
// Data that isn't a whole aggregated record is somebody's data, and passed on as
// it is. That is what the Kinesis Client Library (KCL) does, too, if the magic
// number, the MD5 checksum or the protobuf message is wrong, or a required field
// is missing; Split was compared with the KCL 3.5.1 (testdata/README.md). It does
// otherwise where the KCL loses or changes records:
//   - A key index outside its table: the KCL delivers the records before it, and
//     loses the rest with a line in its log. An index of 2^32 or more it cuts to 32
//     bits, and finds another record's key. Here the Kinesis record is passed on.
//   - An explicit hash key that isn't a number: again the KCL loses the rest. Here
//     the records are delivered; their hash keys did what they were for.
//   - A hash key outside the shard: the KCL drops the Kinesis record silently,
//     because the KPL notices that it went to the wrong shard, as it may when the
//     stream is resharded, and sends its records again. Split doesn't know the shard
//     and delivers them; they come twice then, under two sequence numbers. A consumer
//     that knows its shard, and that a KPL wrote them, can drop a record that
//     [HashRange.Holds] says no to.
//   - A partition key that isn't UTF-8 is delivered as it is.
//
// An aggregated record inside an aggregated record is data, with the KCL and here.
package kpl

import (
	"bytes"
	"crypto/fips140"
	"crypto/md5"
)

// magic begins an aggregated record; the MD5 of the message between ends it.
var magic = []byte{0xF3, 0x89, 0x9A, 0xC2}

// overhead is what an aggregated record has besides its message.
const overhead = 4 + md5.Size

// Record is a user record. Its slices point into the data that was split: they
// are good for as long as this data is, which in a Lambda function may be the
// invocation. Append doesn't reach beyond them.
type Record struct {
	// PartitionKey is the key that the producer gave.
	PartitionKey []byte
	// ExplicitHashKey is the decimal hash key that the producer gave instead of
	// the partition key's MD5; nil if it gave none.
	ExplicitHashKey []byte
	// Data is the payload; it can be empty.
	Data []byte
	// Sub is the subsequence number: the record's index in the aggregated one.
	Sub int
}

// Split appends the user records of an aggregated record to dst. False means that
// data isn't an aggregated record, or not a whole one: it is to be processed as
// it is, and nothing was appended. It never panics, and allocates only what dst
// lacks and the tables of keys beyond 128.
func Split(data []byte, dst []Record) ([]Record, bool) {
	if len(data) <= overhead || !bytes.HasPrefix(data, magic) {
		return dst, false
	}
	end := len(data) - md5.Size
	message := data[len(magic):end]
	if checksum(message) != [md5.Size]byte(data[end:]) {
		return dst, false
	}
	// Protobuf lets fields stand in any order: records wait until both tables are
	// there.
	keys, hashKeys := make([][]byte, 0, 128), make([][]byte, 0, 128)
	all := dst
	for len(message) > 0 {
		f, rest, ok := next(message, maxDepth)
		if !ok {
			return dst, false
		}
		switch message = rest; f.tag {
		case keyTable:
			keys = append(keys, f.value)
		case hashKeyTable:
			hashKeys = append(hashKeys, f.value)
		case records:
			all = append(all, Record{Data: f.value, Sub: len(all) - len(dst)})
		}
	}
	for i := len(dst); i < len(all); i++ {
		if !all[i].parse(keys, hashKeys) {
			return dst, false
		}
	}
	return all, true
}

// parse reads a record from the message that is its data so far. Of a field that
// is there twice the last one counts, as everywhere in protobuf.
func (r *Record) parse(keys, hashKeys [][]byte) bool {
	var key, hashKey uint64
	var keyed, hashed, whole bool
	for message := r.Data; len(message) > 0; {
		f, rest, ok := next(message, maxDepth-1)
		if !ok {
			return false
		}
		switch message = rest; f.tag {
		case keyIndex:
			key, keyed = f.number, true
		case hashKeyIndex:
			hashKey, hashed = f.number, true
		case recordData:
			r.Data, whole = f.value, true
		case recordTags:
			if !isTag(f.value) {
				return false
			}
		}
	}
	if !whole || !keyed || key >= uint64(len(keys)) || hashed && hashKey >= uint64(len(hashKeys)) {
		return false
	}
	r.PartitionKey = keys[key]
	if hashed {
		r.ExplicitHashKey = hashKeys[hashKey]
	}
	return true
}

// isTag says if a message is a record's tag, of which only the key is required.
// The KPL doesn't write tags, and nothing reads them.
func isTag(message []byte) (keyed bool) {
	for len(message) > 0 {
		f, rest, ok := next(message, maxDepth-2)
		if !ok {
			return false
		}
		keyed = keyed || f.tag == tagKey
		message = rest
	}
	return keyed
}

// checksum is the MD5, which has nothing to do with security here: a process that
// allows approved cryptography only may have it.
func checksum(message []byte) [md5.Size]byte {
	if fips140.Enforced() {
		return unenforced(message)
	}
	return md5.Sum(message)
}

func unenforced(message []byte) (sum [md5.Size]byte) {
	fips140.WithoutEnforcement(func() { sum = md5.Sum(message) })
	return sum
}
