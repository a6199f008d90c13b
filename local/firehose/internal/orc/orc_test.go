package orc

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// The examples of ORC's specification. Whole files are read back in tests/formats, by
// readers of others.
func TestTheSpecificationsExamples(t *testing.T) {
	old := integers{old: true}
	falling := make([]int64, 100)
	for i := range falling {
		falling[i] = int64(100 - i)
	}
	for name, c := range map[string]struct{ got, want []byte }{
		"a hundred zeros":        {appendBytes(nil, make([]byte, 100)), []byte{0x61, 0}},
		"two bytes":              {appendBytes(nil, []byte{0x44, 0x45}), []byte{0xfe, 0x44, 0x45}},
		"one true, seven false":  {appendBytes(nil, octets([]bool{true, false, false, false, false, false, false, false})), []byte{0xff, 0x80}},
		"a hundred sevens":       {old.append(nil, slices.Repeat([]int64{7}, 100)), []byte{0x61, 0, 7}},
		"a hundred down to one":  {old.append(nil, falling), []byte{0x61, 0xff, 0x64}},
		"numbers without a run":  {old.append(nil, []int64{2, 3, 6, 7, 11}), []byte{0xfb, 2, 3, 6, 7, 0xb}},
		"a short repeat":         {integers{}.append(nil, slices.Repeat([]int64{10_000}, 5)), []byte{0x0a, 0x27, 0x10}},
		"numbers of sixteen bit": {integers{}.append(nil, []int64{23713, 43806, 57005, 48879}), []byte{0x5e, 3, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef}},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: % x, want % x", name, c.got, c.want)
		}
	}
	c := newColumn(&hive.Type{Kind: hive.Timestamp})
	c.mark()
	c.add(time.Unix(0, 1_000))
	c.add(time.Unix(0, 100_000))
	if !slices.Equal(c.second, []int64{0x0a, 0x0c}) {
		t.Errorf("nanoseconds %x", c.second)
	}
	c = newColumn(&hive.Type{Kind: hive.String})
	c.mark()
	for _, state := range []string{"Nevada", "California", "Nevada", "California", "Florida"} {
		c.add(state)
	}
	if d := c.dictionary(1); string(d.data) != "CaliforniaFloridaNevada" || !slices.Equal(d.lengths, []int64{10, 7, 6}) || !slices.Equal(d.keys, []int64{2, 0, 2, 0, 1}) {
		t.Errorf("dictionary %s %v %v", d.data, d.lengths, d.keys)
	}
	if d := c.dictionary(0.5); d != nil {
		t.Errorf("three of five states are a dictionary: %s", d.data)
	}
	w := writer{Options: Options{Compression: Snappy}}
	if packed, _ := w.packed([]byte("abcde")); !bytes.HasPrefix(packed, []byte{0x0b, 0, 0}) {
		t.Errorf("five bytes are % x", packed)
	}
}
