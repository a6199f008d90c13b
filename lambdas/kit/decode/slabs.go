package decode

import (
	"slices"
	"strings"

	"github.com/segmentio/asm/base64"
)

// texts keeps copies of strings, many in one allocation.
type texts struct {
	b    strings.Builder
	used int // in all builders
}

func (t *texts) keep(raw []byte, s *scanner) string {
	if free := t.b.Cap() - t.b.Len(); free < len(raw) {
		t.b = strings.Builder{}
		t.b.Grow(max(len(raw), s.forecast(s.done.texts), 1024))
	}
	begin := t.b.Len()
	t.b.Write(raw)
	t.used += len(raw)
	return t.b.String()[begin:]
}

// blobs keeps decoded bytes, many in one allocation.
type blobs struct {
	free []byte
	used int
}

var strict = base64.StdEncoding.Strict()

// keep decodes base64. It is false if it isn't base64, or not strictly.
func (b *blobs) keep(raw []byte, s *scanner) ([]byte, bool) {
	if len(raw)%4 != 0 {
		return nil, false
	}
	if len(raw) == 0 {
		return []byte{}, true
	}
	size := len(raw) / 4 * 3
	if len(b.free) < size {
		b.free = make([]byte, max(size, s.forecast(s.done.blobs)))
	}
	// The library skips line breaks: then fewer bytes come out than should.
	want := size
	for i := len(raw); i > 0 && want > size-2 && raw[i-1] == '='; i-- {
		want--
	}
	n, err := strict.Decode(b.free[:size], raw)
	if err != nil || n != want {
		return nil, false
	}
	blob := b.free[:n:n]
	b.free = b.free[n:]
	b.used += n
	return blob, true
}

// progress is how far the records were read whole, and what they took.
type progress struct{ pos, texts, blobs int }

// forecast is how much the records to come take, going by what those before took,
// and a little more.
func (s *scanner) forecast(taken int) int {
	if s.done.pos == 0 {
		return 0
	}
	need := taken * (len(s.in) - s.done.pos) / s.done.pos
	return need + need/64
}

// grow makes a slice longer by one record, which may hold anything.
func grow[T any](records []T, s *scanner) []T {
	n := len(records)
	if n == cap(records) {
		records = slices.Grow(records, 1+s.forecast(n))
	}
	return records[:n+1]
}
