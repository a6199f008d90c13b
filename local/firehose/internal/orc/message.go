package orc

import (
	"encoding/binary"
	"math"
)

// message is one of Protocol Buffers, of which a file's descriptions of itself are.
type message []byte

// The wire types that ORC's messages use.
const (
	varint  = 0
	fixed64 = 1
	chunk   = 2
)

func (m *message) tag(field, wire uint64) { *m = binary.AppendUvarint(*m, field<<3|wire) }

func (m *message) uint(field, v uint64) {
	m.tag(field, varint)
	*m = binary.AppendUvarint(*m, v)
}

func (m *message) flag(field uint64, v bool) {
	var bit uint64
	if v {
		bit = 1
	}
	m.uint(field, bit)
}

func (m *message) sint(field uint64, v int64) { m.uint(field, zigzag(v)) }

func (m *message) double(field uint64, v float64) {
	m.tag(field, fixed64)
	*m = binary.LittleEndian.AppendUint64(*m, math.Float64bits(v))
}

func (m *message) text(field uint64, v string) {
	m.tag(field, chunk)
	*m = append(binary.AppendUvarint(*m, uint64(len(v))), v...)
}

func (m *message) add(field uint64, v message) { m.text(field, string(v)) }

func (m *message) packed(field uint64, all ...uint64) {
	var v message
	for _, one := range all {
		v = binary.AppendUvarint(v, one)
	}
	m.add(field, v)
}

// zigzag makes small numbers of those that are small but for their sign.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }
