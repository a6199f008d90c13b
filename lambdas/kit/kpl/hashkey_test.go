package kpl_test

import (
	"crypto/md5"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

func TestNewHashRangeSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ name, starting, ending, want string }{
		{"nothing", "", "", `startingHashKey is ""`},
		{"both wrong, both told", "-1", "x", `endingHashKey is "x"`},
		{"one too many", "0", "340282366920938463463374607431768211456", "endingHashKey"},
		{"ten times too many", "0", "3402823669209384634633746074317682114550", "endingHashKey"},
		{"the wrong way round", "8", "7", "the endingHashKey 7 is below the startingHashKey 8: swap them"},
	} {
		if _, err := kpl.NewHashRange(test.starting, test.ending); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

func TestTheEmptyRangeHoldsZero(t *testing.T) {
	var zero kpl.HashRange
	if !zero.Holds(kpl.Record{ExplicitHashKey: []byte("0")}) || zero.Holds(kpl.Record{ExplicitHashKey: []byte("1")}) {
		t.Error("the zero value doesn't hold just the 0")
	}
	if zero.Holds(kpl.Record{ExplicitHashKey: []byte{}}) || !zero.Holds() {
		t.Error("an empty hash key is a number, or no records are outside")
	}
}

// A range says what numbers of any size would.
func TestRangesAreOfNumbers(t *testing.T) {
	end := new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(t *rapid.T) {
		number := func(name string) *big.Int {
			// Short ones and long ones, and a few beyond the end.
			b := rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, name)
			n := new(big.Int).SetBytes(b)
			return n.Add(n, big.NewInt(rapid.Int64Range(0, 1).Draw(t, name+" more")))
		}
		starting, ending, key := number("starting"), number("ending"), number("key")
		h, err := kpl.NewHashRange(starting.String(), ending.String())
		if valid := starting.Cmp(ending) <= 0 && ending.Cmp(end) < 0; valid != (err == nil) {
			t.Fatalf("%v to %v: %v", starting, ending, err)
		} else if !valid {
			return
		}
		if want := starting.Cmp(key) <= 0 && key.Cmp(ending) <= 0; h.Holds(kpl.Record{ExplicitHashKey: []byte(key.String())}) != want {
			t.Fatalf("%v in %v to %v is %v", key, starting, ending, !want)
		}
		partitionKey := rapid.String().Draw(t, "partition key")
		sum := md5.Sum([]byte(partitionKey))
		key.SetBytes(sum[:])
		if want := starting.Cmp(key) <= 0 && key.Cmp(ending) <= 0; h.Holds(kpl.Record{PartitionKey: []byte(partitionKey)}) != want {
			t.Fatalf("%q, %v, in %v to %v is %v", partitionKey, key, starting, ending, !want)
		}
	})
}
