package firehose

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
)

// kplMagic begins a record that the Kinesis Producer Library aggregated; the MD5
// of its protobuf message ends it.
var kplMagic = []byte{0xF3, 0x89, 0x9A, 0xC2}

// kplRecord is one of the records in an aggregated one.
type kplRecord struct {
	key  string
	data []byte
}

// deaggregateKPL is the records in an aggregated record; false if data isn't
// exactly one.
func deaggregateKPL(data []byte) ([]kplRecord, bool) {
	if len(data) < len(kplMagic)+md5.Size || !bytes.HasPrefix(data, kplMagic) {
		return nil, false
	}
	message, sum := data[len(kplMagic):len(data)-md5.Size], data[len(data)-md5.Size:]
	if actual := md5.Sum(message); !bytes.Equal(actual[:], sum) {
		return nil, false
	}
	var keys []string
	var raw [][]byte
	if !protoFields(message, func(number int, _ uint64, value []byte) {
		switch number {
		case 1:
			keys = append(keys, string(value))
		case 3:
			raw = append(raw, value)
		}
	}) {
		return nil, false
	}
	records := make([]kplRecord, 0, len(raw))
	for _, one := range raw {
		key, r, whole := -1, kplRecord{}, false
		if !protoFields(one, func(number int, varint uint64, value []byte) {
			switch number {
			case 1:
				if varint < uint64(len(keys)) {
					key = int(varint)
				}
			case 3:
				r.data, whole = value, true
			}
		}) || key < 0 || !whole {
			return nil, false
		}
		r.key = keys[key]
		records = append(records, r)
	}
	return records, len(records) > 0
}

// protoFields hands each field of a protobuf message to see; false if the message
// is broken.
func protoFields(message []byte, see func(number int, varint uint64, value []byte)) bool {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return false
		}
		message = message[n:]
		v, n := uint64(0), 0
		switch tag & 7 {
		case 0, 2:
			if v, n = binary.Uvarint(message); n <= 0 {
				return false
			}
			message = message[n:]
			if tag&7 == 0 {
				see(int(tag>>3), v, nil)
				continue
			}
		case 1:
			v = 8
		case 5:
			v = 4
		default:
			return false
		}
		if v > uint64(len(message)) {
			return false
		}
		if tag&7 == 2 {
			see(int(tag>>3), 0, message[:v:v])
		}
		message = message[v:]
	}
	return true
}
