package throttle

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// asked is a record that a shard took or turned away.
type asked struct {
	at    time.Duration
	bytes int
	taken bool
}

// A shard is the rule: in no span of time does it take more than the limit times
// the span and one second's worth; and it turns away nothing else.
func TestAShardTakesWhatFitsAndTurnsAwayExactlyTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			WriteRecords: rapid.OneOf(rapid.Just(0), rapid.IntRange(1, 30)).Draw(t, "records a second"),
			WriteBytes:   rapid.OneOf(rapid.Just(0), rapid.IntRange(1024, 4096)).Draw(t, "bytes a second"),
		}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		now := start
		m := newMeter(limits, func() time.Time { return now })
		s := stream{name: "s"}
		history := map[string][]asked{}
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.OneOf(
				rapid.Int64Range(0, int64(time.Millisecond)), rapid.Int64Range(0, int64(time.Second)), rapid.Int64Range(0, int64(time.Hour)),
			).Draw(t, "pause")))
			var claims []claim
			for range rapid.IntRange(1, 20).Draw(t, "entries") {
				claims = append(claims, claim{
					shard: rapid.SampledFrom([]string{"hot", "hot", "hot", "cold"}).Draw(t, "shard"),
					bytes: rapid.IntRange(1, 1024).Draw(t, "bytes"),
				})
			}
			for i, taken := range m.write(s, claims) {
				c := claims[i]
				one := asked{now.Sub(start), c.bytes, taken}
				past := history[c.shard]
				fits := fits(past, one, limits.WriteRecords, func(asked) int { return 1 }) &&
					fits(past, one, limits.WriteBytes, func(a asked) int { return a.bytes })
				if taken != fits {
					t.Fatalf("at %v the shard %s took %+v: %v, but that it fits is %v; before it were %+v", one.at, c.shard, c, taken, fits, past)
				}
				history[c.shard] = append(past, one)
			}
		}
	})
}

// fits tells whether a shard may take one more, from its history alone.
func fits(past []asked, one asked, limit int, size func(asked) int) bool {
	if limit == 0 {
		return true
	}
	sum := size(one)
	if sum > limit {
		return false
	}
	for i := len(past) - 1; i >= 0; i-- {
		if past[i].taken {
			sum += size(past[i])
		}
		span := int64(one.at - past[i].at)
		if int64(sum)*int64(time.Second) > int64(limit)*(span+int64(time.Second)) {
			return false
		}
	}
	return true
}

func TestWhatIsGivenBackWasNeverTaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{WriteRecords: rapid.IntRange(1, 20).Draw(t, "records"), WriteBytes: rapid.IntRange(1024, 4096).Draw(t, "bytes")}
		now := time.Unix(0, 0)
		clock := func() time.Time { return now }
		m, untouched, s := newMeter(limits, clock), newMeter(limits, clock), stream{name: "s"}
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")))
			claims := []claim{{"a", rapid.IntRange(1, 6000).Draw(t, "bytes")}}
			if rapid.Bool().Draw(t, "refused") {
				if m.write(s, claims)[0] {
					now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "answer after")))
					m.giveBack(s, claims[0])
				}
				continue
			}
			if got, want := m.write(s, claims)[0], untouched.write(s, claims)[0]; got != want {
				t.Fatalf("took a record: %v; without the refused ones: %v", got, want)
			}
		}
	})
}

func TestARecordOfMoreThanASecondsWorthGoesAndIsOwed(t *testing.T) {
	now := time.Unix(0, 0)
	m := newMeter(Limits{WriteBytes: 1000 << 10}, func() time.Time { return now })
	s := stream{name: "s"}
	put := func(kib int) bool { return m.write(s, []claim{{"a", kib << 10}})[0] }
	if !put(5000) {
		t.Fatal("a full shard turned a record of five seconds' worth away: it would never go")
	}
	now = now.Add(4 * time.Second)
	if put(1) {
		t.Error("four seconds after five seconds' worth it took one more")
	}
	now = now.Add(100 * time.Millisecond)
	if !put(100) || put(1) {
		t.Error("it didn't take a tenth of a second's worth, and no more, a tenth of a second later")
	}
	if put(5000) {
		t.Error("an empty shard took five seconds' worth")
	}
}

func TestReadsAreCountedAsAWSDoes(t *testing.T) {
	now := time.Unix(0, 0)
	m := newMeter(AWS, func() time.Time { return now })
	s := stream{name: "s"}
	read := func(bytes int) bool {
		ok := m.read(s, "a")
		if ok {
			m.gave(s, "a", bytes)
		}
		return ok
	}
	for i := range 5 {
		if !read(100) {
			t.Errorf("call %d of a second was turned away", i+1)
		}
	}
	if read(100) {
		t.Error("a sixth call in the same moment was answered")
	}
	now = now.Add(time.Second)
	if !read(10 << 20) {
		t.Fatal("a call that returns 10 MB was turned away")
	}
	for _, c := range []struct {
		later time.Duration
		want  bool
	}{{time.Millisecond, false}, {4998 * time.Millisecond, false}, {time.Millisecond, true}} {
		now = now.Add(c.later)
		if read(1) != c.want {
			t.Errorf("%v later, is a call answered? want %v", c.later, c.want)
		}
	}
	got := m.stats()
	if want := (Shard{Stream: "s", Shard: "a", Reads: 7, ReadBytes: 501 + 10<<20, ThrottledReads: 3}); len(got) != 1 || got[0] != want {
		t.Errorf("it counts %+v, want %+v", got, want)
	}
}

func TestAClockThatGoesBackwardsGivesNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	m := newMeter(Limits{WriteRecords: 1}, func() time.Time { return now })
	one := []claim{{"a", 1}}
	m.write(stream{}, one)
	now = time.Unix(900, 0)
	if m.write(stream{}, one)[0] {
		t.Error("it took a record before its time")
	}
	now = time.Unix(1001, 0)
	if !m.write(stream{}, one)[0] {
		t.Error("it turned a record away at its time")
	}
}
