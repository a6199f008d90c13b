package kpl

import (
	"encoding/binary"
	"math/bits"
)

// Wire types of protobuf.
const (
	varint = iota
	fixed64
	lengthDelimited
	startGroup
	endGroup
	fixed32
)

// The fields of the messages: their numbers and wire types, as they stand on the
// wire.
const (
	keyTable     = 1<<3 | lengthDelimited // of the aggregated record
	hashKeyTable = 2<<3 | lengthDelimited
	records      = 3<<3 | lengthDelimited

	keyIndex     = 1 << 3 // of a record
	hashKeyIndex = 2 << 3
	recordData   = 3<<3 | lengthDelimited
	recordTags   = 4<<3 | lengthDelimited

	tagKey = 1<<3 | lengthDelimited // of a tag
)

// maxDepth is how deep messages and groups may be nested, as in the KCL's parser.
const maxDepth = 100

// field is a field of a protobuf message: its number and wire type as they stand
// on the wire, and what it holds. Only varints have a number, only length-delimited
// fields a value.
type field struct {
	tag    uint32
	number uint64
	value  []byte
}

// next reads the first field of a message and says what follows it; false if
// there is none. Tags and lengths are 32 bits of whatever stands there, as for the
// KCL's parser.
func next(message []byte, depth int) (f field, rest []byte, ok bool) {
	v, message, ok := uvarint(message)
	if f.tag = uint32(v); !ok || f.tag>>3 == 0 {
		return f, nil, false
	}
	size := 0
	switch f.tag & 7 {
	case varint:
		f.number, rest, ok = uvarint(message)
		return f, rest, ok
	case lengthDelimited:
		if v, message, ok = uvarint(message); !ok {
			return f, nil, false
		}
		size = int(int32(v))
	case fixed64:
		size = 8
	case fixed32:
		size = 4
	case startGroup:
		rest, ok = skipGroup(message, f.tag-startGroup+endGroup, depth-1)
		return f, rest, ok
	default:
		return f, nil, false
	}
	if size < 0 || size > len(message) {
		return f, nil, false
	}
	if f.tag&7 == lengthDelimited {
		f.value = message[:size:size]
	}
	return f, message[size:], true
}

// skipGroup is what follows the end of a group. Groups are long out of use, but a
// parser skips them as it does any field that it doesn't know.
func skipGroup(message []byte, end uint32, depth int) (rest []byte, ok bool) {
	for depth >= 0 {
		if tag, rest, ok := uvarint(message); ok && uint32(tag) == end {
			return rest, true
		}
		if _, message, ok = next(message, depth); !ok {
			return nil, false
		}
	}
	return nil, false
}

// uvarint reads a number of up to 10 bytes and drops the bits beyond 64.
func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	return longUvarint(b)
}

func longUvarint(b []byte) (v uint64, rest []byte, ok bool) {
	for i := range min(len(b), 10) {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

// sizeUvarint is how many bytes a number takes.
func sizeUvarint(v int) int { return (bits.Len(uint(v)|1) + 6) / 7 }

// appendBytes appends a length-delimited field.
func appendBytes[T string | []byte](b []byte, tag byte, value T) []byte {
	b = binary.AppendUvarint(append(b, tag), uint64(len(value)))
	return append(b, value...)
}
