package kpl_test

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

var update = flag.Bool("update", false, "ask the reference implementations anew and write their answers")

// request is what the reference implementations are asked: to aggregate records,
// and to split data. testdata/README.md describes the files.
type request struct {
	Aggregate map[string][]user `json:"aggregate"`
	Split     map[string]split  `json:"split"`
}

// user is a user record.
type user struct {
	PartitionKey    string `json:"partitionKey"`
	ExplicitHashKey string `json:"explicitHashKey,omitempty"`
	Data            []byte `json:"data"`
	Sub             int    `json:"sub,omitempty"`
}

// split is data, and the hash range of the shard where the KCL is to find it.
type split struct {
	Data  []byte   `json:"data"`
	Range []string `json:"range,omitempty"`
}

type answer struct {
	Packages  string                `json:"packages"`
	Aggregate map[string]aggregated `json:"aggregate,omitempty"`
	Split     map[string]result     `json:"split,omitempty"`
}

type aggregated struct {
	PartitionKey    string `json:"partitionKey"`
	ExplicitHashKey string `json:"explicitHashKey,omitempty"`
	Data            []byte `json:"data"`
}

// result is how a split ended: with records, with the data passed on, or with an
// error.
type result struct {
	Records []user `json:"records,omitempty"`
	Raw     bool   `json:"raw,omitempty"`
	Error   string `json:"error,omitempty"`
}

// references are the implementations, the files of their answers, and how they are
// run where `make kpl-vectors` installed them.
var references = []struct {
	name string
	run  func(build, tests string) *exec.Cmd
}{
	{"kcl", java},
	{"aggregator", java},
	{"producer", java},
	{"python", func(build, tests string) *exec.Cmd {
		return exec.Command(filepath.Join(build, "bin", "python"), filepath.Join(tests, "reference.py"))
	}},
	{"npm", func(build, tests string) *exec.Cmd {
		cmd := exec.Command("node", filepath.Join(tests, "reference.cjs"))
		cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(build, "node_modules"))
		return cmd
	}},
}

func java(build, tests string) *exec.Cmd {
	return exec.Command("java", "-cp", filepath.Join(build, "*"), filepath.Join(tests, filepath.Base(build), "Reference.java"))
}

// What the reference implementations say today is what testdata says that they
// said. It needs `make kpl-vectors`.
func TestAnswersAreWhatTheReferencesSay(t *testing.T) {
	asked, err := json.Marshal(request{Aggregate: cases(), Split: splits(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, reference := range references {
		t.Run(reference.name, func(t *testing.T) {
			build, err := filepath.Abs("../../../build/kpl/" + reference.name)
			if err != nil {
				t.Fatal(err)
			}
			tests, _ := filepath.Abs("../../../tests/kpl")
			if _, err := os.Stat(build); err != nil && !*update {
				t.Skip("not installed: make kpl-vectors")
			}
			cmd := reference.run(build, tests)
			var complaints bytes.Buffer
			cmd.Stdin, cmd.Stderr = bytes.NewReader(asked), &complaints
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, complaints.String())
			}
			var got answer
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if reference.name == "producer" && !*update {
				// Its order is another every time.
				checkAggregated(t, reference.name, got.Aggregate)
				return
			}
			golden(t, reference.name, got)
		})
	}
}

// What they were asked is what the cases say and the aggregator makes.
func TestAggregatorMakesTheseBytes(t *testing.T) {
	golden(t, "request", request{Aggregate: cases(), Split: splits(t)})
}

// Where a reference implementation's aggregated record isn't, byte for byte, ours.
var aggregatesDiffer = map[string]map[string]string{
	"producer": {
		"one record": "it sends a record that is alone as it is",
	},
	"npm": {
		"keys that are whole numbers": "it writes the table in numerical order, not in that of the indexes",
	},
}

func TestOursAreTheReferencesBytes(t *testing.T) {
	for _, reference := range references {
		t.Run(reference.name, func(t *testing.T) {
			checkAggregated(t, reference.name, read[answer](t, reference.name).Aggregate)
		})
	}
}

func checkAggregated(t *testing.T, reference string, answers map[string]aggregated) {
	if reference != "kcl" && len(answers) != len(cases()) {
		t.Errorf("%d of %d answered", len(answers), len(cases()))
	}
	for name, theirs := range answers {
		records := cases()[name]
		switch {
		case reference == "aggregator":
			// It gives every record an explicit hash key.
			records = explicit(t, records, theirs)
		case reference == "producer" && len(records) > 1:
			records = ordered(t, records, theirs)
			// It puts the shortest partition key outside, and the hash key that
			// leads to the same shard.
			first := kpl.Record{PartitionKey: []byte(records[0].PartitionKey)}
			if key := records[0].ExplicitHashKey; key != "" {
				first.ExplicitHashKey = []byte(key)
			}
			if theirs.PartitionKey != "a" || !hashRange(t, theirs.ExplicitHashKey, theirs.ExplicitHashKey).Holds(first) {
				t.Errorf("%s: %q %q isn't where the first record belongs", name, theirs.PartitionKey, theirs.ExplicitHashKey)
			}
			theirs.PartitionKey, theirs.ExplicitHashKey = records[0].PartitionKey, records[0].ExplicitHashKey
		}
		ours := aggregate(t, records)
		_, differs := aggregatesDiffer[reference][name]
		if same := bytes.Equal(ours.Data, theirs.Data) && ours.PartitionKey == theirs.PartitionKey && ours.ExplicitHashKey == theirs.ExplicitHashKey; same == differs {
			t.Errorf("%s: the same is %v\nours   %q %q %x\ntheirs %q %q %x", name, same,
				ours.PartitionKey, ours.ExplicitHashKey, ours.Data, theirs.PartitionKey, theirs.ExplicitHashKey, theirs.Data)
		}
		if differs {
			continue
		}
		if diff := cmp.Diff(result{Records: numbered(records)}, splitted(theirs.Data)); diff != "" {
			t.Errorf("%s, split (-want +got):\n%s", name, diff)
		}
	}
}

// ordered is the records in the order in which the KPL, whose process has several
// threads, came to put them.
func ordered(t *testing.T, records []user, theirs aggregated) []user {
	t.Helper()
	found := splitted(theirs.Data).Records
	for i := range found {
		found[i].Sub = 0
	}
	if diff := cmp.Diff(records, found, cmpopts.SortSlices(func(a, b user) bool {
		return a.PartitionKey+string(a.Data) < b.PartitionKey+string(b.Data)
	})); diff != "" {
		t.Errorf("(-added +put):\n%s", diff)
	}
	return found
}

// explicit fills in the hash keys that the Java aggregator adds; that they are the
// partition keys' MD5 is what HashRange says, too.
func explicit(t *testing.T, records []user, theirs aggregated) []user {
	t.Helper()
	found, ok := kpl.Split(theirs.Data, nil)
	if !ok || len(found) != len(records) {
		t.Fatalf("%d of %d records (%v)", len(found), len(records), ok)
	}
	records = slices.Clone(records)
	for i := range records {
		if records[i].ExplicitHashKey == "" {
			records[i].ExplicitHashKey = string(found[i].ExplicitHashKey)
			at := hashRange(t, records[i].ExplicitHashKey, records[i].ExplicitHashKey)
			if !at.Holds(kpl.Record{PartitionKey: []byte(records[i].PartitionKey)}) {
				t.Errorf("the hash key of %q isn't %s", records[i].PartitionKey, records[i].ExplicitHashKey)
			}
		}
	}
	return records
}

// Where a reference implementation takes one of the cases for something else.
var splitsDiffer = map[string]map[string]string{
	"python": {"some explicit hash keys": "a record without one gets the first of the table"},
	"npm":    {"some explicit hash keys": "a record without one gets the first of the table"},
}

func TestTheReferencesSplitOurs(t *testing.T) {
	asked := read[request](t, "request")
	for _, reference := range references {
		answers := read[answer](t, reference.name).Split
		if answers == nil {
			continue // it only aggregates
		}
		for name, records := range cases() {
			if diff := cmp.Diff(result{Records: numbered(records)}, splitted(asked.Split[name].Data)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			_, differs := splitsDiffer[reference.name][name]
			if diff := cmp.Diff(result{Records: numbered(records)}, answers[name], none); (diff != "") != differs {
				t.Errorf("%s, %s: differs is %v (-want +got)\n%s", reference.name, name, !differs, diff)
			}
		}
	}
}

// Where the KCL splits otherwise than Split does, why, and what Split does.
const (
	loses   = "the KCL keeps the records before it, and loses the rest"
	drops   = "the KCL drops it, as of another shard"
	rewrite = "the KCL replaces what isn't UTF-8"
	cuts    = "the KCL takes the lower 32 bits for the index, and so another record's key"
)

var kclDiffers = map[string]struct {
	why     string
	records int // 0: passed on
}{
	"a partition key index beyond the table":      {loses, 0},
	"an index twice, the second beyond its table": {loses, 0},
	"no table of partition keys":                  {loses, 0},
	"an explicit hash key index beyond the table": {loses, 0},
	"no table of explicit hash keys":              {loses, 0},
	"a partition key index of 2^64-1":             {loses, 0},
	"a partition key index of 2^32":               {cuts, 0},
	"an explicit hash key that isn't a number":    {loses, 3},
	"an explicit hash key that is empty":          {loses, 3},
	"an explicit hash key below 0":                {drops, 3},
	"an explicit hash key of 2^128":               {drops, 3},
	"a record of the shard above":                 {drops, 2},
	"a record of the shard below":                 {drops, 2},
	"a hash key past the end of the shard":        {drops, 1},
	"a key that isn't UTF-8":                      {rewrite, 1},
}

func TestSplitAsTheKCL(t *testing.T) {
	asked, kcl := read[request](t, "request").Split, read[answer](t, "kcl").Split
	if len(kcl) != len(asked) {
		t.Errorf("%d of %d answered", len(kcl), len(asked))
	}
	for name, theirs := range kcl {
		ours := splitted(asked[name].Data)
		differs, listed := kclDiffers[name]
		if diff := cmp.Diff(theirs, ours, none); (diff != "") != listed {
			t.Errorf("%s: differs is %v (-KCL +Split)\n%s", name, !listed, diff)
		}
		if listed && (len(ours.Records) != differs.records || ours.Raw != (differs.records == 0)) {
			t.Errorf("%s: got %+v, want %d records", name, ours, differs.records)
		}
	}
}

// What the KCL drops or loses for its hash keys is what no range holds.
func TestHoldsAsTheKCL(t *testing.T) {
	asked, kcl := read[request](t, "request").Split, read[answer](t, "kcl").Split
	outside := 0
	for name, one := range asked {
		records, ok := kpl.Split(one.Data, nil)
		if !ok {
			continue
		}
		shard := hashRange(t, "0", "340282366920938463463374607431768211455")
		if one.Range != nil {
			shard = hashRange(t, one.Range[0], one.Range[1])
		}
		if holds := shard.Holds(records...); holds != (len(kcl[name].Records) == len(records)) {
			t.Errorf("%s: holds is %v, the KCL has %d of %d", name, holds, len(kcl[name].Records), len(records))
		} else if !holds {
			outside++
		}
	}
	if outside != 7 {
		t.Errorf("%d cases are outside of their shards, want 7", outside)
	}
}

// splitted is Split's result in the references' terms.
func splitted(data []byte) result {
	records, ok := kpl.Split(data, nil)
	if !ok {
		return result{Raw: true}
	}
	var found []user
	for _, r := range records {
		found = append(found, user{string(r.PartitionKey), string(r.ExplicitHashKey), append([]byte{}, r.Data...), r.Sub})
	}
	return result{Records: found}
}

// In JSON there is no telling no records from none.
var none = cmpopts.EquateEmpty()

func numbered(records []user) []user {
	records = slices.Clone(records)
	for i := range records {
		records[i].Sub = i
	}
	return records
}

// aggregate is one aggregated record of all the records.
func aggregate(t rapid.TB, records []user) *kpl.Aggregated {
	t.Helper()
	a, err := kpl.NewAggregator(kpl.Options{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if full, err := a.Add(r.PartitionKey, r.ExplicitHashKey, r.Data); err != nil || full != nil {
			t.Fatalf("full: %v, error: %v", full, err)
		}
	}
	all := a.Flush()
	if len(all) != 1 || all[0].Records != len(records) {
		t.Fatalf("got %+v", all)
	}
	return all[0]
}

func hashRange(t rapid.TB, starting, ending string) kpl.HashRange {
	t.Helper()
	h, err := kpl.NewHashRange(starting, ending)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// cases are records to aggregate.
func cases() map[string][]user {
	some := rand.New(rand.NewPCG(1, 2))
	var many []user
	for i := range 300 {
		many = append(many, user{PartitionKey: fmt.Sprint("racer-", some.IntN(200)), Data: fmt.Appendf(nil, "at %d", i)})
	}
	long := make([]byte, 20_000)
	for i := range long {
		long[i] = byte(some.Uint32())
	}
	keyed := func(keys ...string) (all []user) {
		for i, key := range keys {
			all = append(all, user{PartitionKey: key, Data: fmt.Appendf(nil, "data %d", i)})
		}
		return all
	}
	return map[string][]user{
		"one record":                  keyed("key"),
		"a key for all":               keyed("key", "key", "key"),
		"keys that come again":        keyed("a", "b", "a", "c", "b"),
		"keys of many alphabets":      keyed("Zürich", "東京", "🏁", "a\x00b\n"),
		"keys that are whole numbers": keyed("7", "10", "3"),
		"the longest key":             keyed(strings.Repeat("k", 256), strings.Repeat("ü", 256)),
		"no data":                     {{PartitionKey: "a", Data: []byte{}}, {PartitionKey: "b", Data: []byte("b")}, {PartitionKey: "a", Data: []byte{}}},
		"300 records of 150 keys":     many,
		"20,000 bytes of data":        {{PartitionKey: "a", Data: long}, {PartitionKey: "a", Data: long[:200]}},
		"explicit hash keys":          {{"a", "0", []byte("a"), 0}, {"b", "340282366920938463463374607431768211455", []byte("b"), 0}, {"a", "0", []byte("c"), 0}},
		"some explicit hash keys":     {{"a", "", []byte("a"), 0}, {"b", "98765432109876543210", []byte("b"), 0}, {"c", "", []byte("c"), 0}},
	}
}

// splits are the data to split: ours of each case, and what isn't quite, or not
// only, an aggregated record.
func splits(t testing.TB) map[string]split {
	all := map[string]split{}
	for name, records := range cases() {
		all[name] = split{Data: aggregate(t, records).Data}
	}
	add := func(name string, data []byte, shard ...string) {
		if _, taken := all[name]; taken {
			t.Fatalf("two cases are %q", name)
		}
		all[name] = split{Data: data, Range: shard}
	}

	// The frame.
	good := all["keys that come again"].Data
	changed := func(at int) []byte {
		data := slices.Clone(good)
		data[(at+len(data))%len(data)]++
		return data
	}
	add("nothing", []byte{})
	add("half a magic number", good[:2])
	add("a magic number", good[:4])
	add("a wrong magic number", changed(3))
	add("no magic number", good[4:])
	add("an empty message", seal(nil))
	add("a wrong message", changed(9))
	add("a wrong checksum", changed(-1))
	add("a checksum that is cut off", good[:len(good)-1])
	add("something after the checksum", append(slices.Clone(good), 0))
	add("text", []byte(`{"race":"spring","racer":"r1"}`))
	add("an aggregated record in an aggregated record", aggregate(t, []user{{PartitionKey: "outer", Data: good}, {PartitionKey: "outer", Data: []byte("plain")}}).Data)

	// Messages that are unusual, but right.
	key, index, data := value(1, "key"), number(1, 0), value(3, "data")
	record := value(3, join(index, data))
	add("records before the tables", seal(record, record, value(2, "7"), key))
	add("records between the tables", seal(value(1, "other"), value(3, join(number(1, 1), data)), key, record))
	add("fields of a record in another order", seal(key, value(3, join(data, index))))
	add("keys that no record uses", seal(key, value(1, "unused"), value(2, "7"), record))
	add("a key twice in the table", seal(key, key, record, value(3, join(number(1, 1), data))))
	add("an empty key", seal(value(1, ""), record))
	add("no records", seal(key))
	add("an index twice, the first beyond its table", seal(key, value(3, join(number(1, 9), index, data))))
	add("an index twice, the second beyond its table", seal(key, value(3, join(index, number(1, 9), data))))
	add("data twice", seal(key, value(3, join(index, value(3, "first"), data))))
	add("unknown fields", seal(key, number(15, 7), value(99, "x"), []byte{4<<3 | 1, 1, 2, 3, 4, 5, 6, 7, 8}, value(3, join(index, []byte{5<<3 | 5, 1, 2, 3, 4}, data, value(100_000, "y")))))
	add("fields of another wire type", seal(key, number(1, 5), []byte{3<<3 | 5, 1, 2, 3, 4}, number(3, 1), value(3, join(value(1, "x"), index, number(3, 1), data))))
	add("a group", seal(key, []byte{9<<3 | 3}, number(1, 1), []byte{8<<3 | 3, 8<<3 | 4}, value(2, "x"), []byte{9<<3 | 4}, value(3, join(index, []byte{9<<3 | 3, 9<<3 | 4}, data))))
	add("tags", seal(key, value(3, join(index, data, value(4, join(value(1, "tag"), value(2, "value"))), value(4, value(1, "tag"))))))
	add("a number in more bytes than it needs", seal(key, value(3, join([]byte{1 << 3, 0x80, 0x80, 0}, data))))

	// Messages that are wrong.
	add("a length beyond the end", seal(key, []byte{3<<3 | 2, 40}, index, data))
	add("a length beyond the end of a record", seal(key, value(3, join(index, []byte{3<<3 | 2, 5}, []byte("data")))))
	add("a length of 2^31", seal(key, []byte{3<<3 | 2, 0x80, 0x80, 0x80, 0x80, 0x08}, record))
	add("a length of 2^63", seal(key, []byte{3<<3 | 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, record))
	add("a field that is cut off", seal(key, record, []byte{1 << 3}))
	add("a fixed field that is cut off", seal(key, record, []byte{9<<3 | 1, 1, 2, 3}))
	add("a number without end", seal(key, record, bytes.Repeat([]byte{0xff}, 9)))
	add("a number of 11 bytes", seal(key, value(3, join([]byte{1 << 3}, bytes.Repeat([]byte{0x80}, 10), []byte{0}, data))))
	add("a number beyond 2^64", seal(key, value(3, join([]byte{1 << 3}, bytes.Repeat([]byte{0x80}, 9), []byte{2}, data))))
	add("a field number beyond 2^29", seal(key, []byte{0x80, 0x80, 0x80, 0x80, 0x20, 0}, record))
	add("a length of 2^32 and the right one", seal(key, []byte{3<<3 | 2, byte(len(record)-2) | 0x80, 0x80, 0x80, 0x80, 0x10}, record[2:]))
	add("a field with the number 0", seal(key, record, []byte{2, 0}))
	add("a field with the wire type 6", seal(key, record, []byte{9<<3 | 6, 0}))
	add("a group without end", seal(key, record, []byte{9<<3 | 3}))
	add("a group that another one ends", seal(key, record, []byte{9<<3 | 3, 8<<3 | 4}))
	add("the end of a group", seal(key, record, []byte{9<<3 | 4}))
	add("groups 100 deep", seal(key, record, bytes.Repeat([]byte{9<<3 | 3}, 100), bytes.Repeat([]byte{9<<3 | 4}, 100)))
	add("groups 101 deep", seal(key, record, bytes.Repeat([]byte{9<<3 | 3}, 101), bytes.Repeat([]byte{9<<3 | 4}, 101)))
	add("groups 99 deep in a record", seal(key, value(3, join(index, data, bytes.Repeat([]byte{9<<3 | 3}, 99), bytes.Repeat([]byte{9<<3 | 4}, 99)))))
	add("groups 100 deep in a record", seal(key, value(3, join(index, data, bytes.Repeat([]byte{9<<3 | 3}, 100), bytes.Repeat([]byte{9<<3 | 4}, 100)))))
	add("a record without partition key index", seal(key, record, value(3, data)))
	add("a record without data", seal(key, record, value(3, index)))
	add("an empty record", seal(key, record, value(3, "")))
	add("a tag without key", seal(key, value(3, join(index, data, value(4, value(2, "value"))))))
	add("a tag that is cut off", seal(key, value(3, join(index, data, value(4, join(value(1, "tag"), []byte{2<<3 | 2}))))))
	add("a key that isn't UTF-8", seal(value(1, "k\xffy"), record))

	// Indexes and hash keys.
	hashed := func(hashKey string) []byte {
		return seal(key, value(2, hashKey), record, value(3, join(index, number(2, 0), data)), record)
	}
	add("a partition key index beyond the table", seal(key, record, value(3, join(number(1, 1), data)), record))
	add("no table of partition keys", seal(record))
	add("an explicit hash key index beyond the table", seal(key, value(2, "7"), record, value(3, join(index, number(2, 1), data)), record))
	add("no table of explicit hash keys", seal(key, value(3, join(index, number(2, 0), data))))
	add("a partition key index of 2^32", seal(key, record, value(3, join(number(1, 1<<32), data))))
	add("a partition key index of 2^64-1", seal(key, record, value(3, join(number(1, 1<<64-1), data))))
	add("an explicit hash key that isn't a number", hashed("seven"))
	add("an explicit hash key that is empty", hashed(""))
	add("an explicit hash key below 0", hashed("-1"))
	add("an explicit hash key of 2^128", hashed("340282366920938463463374607431768211456"))
	add("an explicit hash key with leading zeros", hashed("007"))

	// Shards. The MD5 of "a" begins with 0x0c, that of "b" with 0x92.
	const half = "170141183460469231731687303715884105728"
	both := aggregate(t, []user{{PartitionKey: "a", Data: []byte("1")}, {PartitionKey: "b", Data: []byte("2")}}).Data
	add("records of one shard", aggregate(t, []user{{PartitionKey: "a", Data: []byte("1")}, {"b", "5", []byte("2"), 0}}).Data, "0", half)
	add("a record of the shard above", both, "0", half)
	add("a record of the shard below", both, half, "340282366920938463463374607431768211455")
	add("a hash key at the start of the shard", hashed("5"), "5", "340282366920938463463374607431768211455")
	add("a hash key at the end of the shard", aggregate(t, []user{{"a", "7", []byte("1"), 0}}).Data, "5", "7")
	add("a hash key past the end of the shard", aggregate(t, []user{{"a", "8", []byte("1"), 0}}).Data, "5", "7")
	return all
}

// seal makes an aggregated record of a message.
func seal(fields ...[]byte) []byte {
	message := bytes.Join(fields, nil)
	sum := md5.Sum(message)
	return join([]byte{0xF3, 0x89, 0x9A, 0xC2}, message, sum[:])
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// value is a length-delimited field, number a varint.
func value[T string | []byte](field int, v T) []byte {
	b := binary.AppendUvarint(nil, uint64(field)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func number(field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3), v)
}

// golden compares with a file of testdata, or writes it. The files have a case in
// a line.
func golden[T any](t *testing.T, name string, got T) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name+".json"), lines(t, got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read[T](t, name), got, none); diff != "" {
		t.Errorf("testdata/%s.json (-recorded +now):\n%s", name, diff)
	}
}

func read[T any](t testing.TB, name string) (v T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("testdata/%s.json: %v", name, err)
	}
	return v
}

// lines writes an object of objects with a member of the inner ones in a line.
func lines(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString("{")
	for i, part := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintf(&out, "%s\n%q: ", strings.Repeat(",", min(i, 1)), part)
		var members map[string]json.RawMessage
		if json.Unmarshal(parts[part], &members) != nil {
			out.Write(parts[part])
			continue
		}
		out.WriteString("{")
		for j, name := range slices.Sorted(maps.Keys(members)) {
			fmt.Fprintf(&out, "%s\n  %q: %s", strings.Repeat(",", min(j, 1)), name, members[name])
		}
		out.WriteString("\n}")
	}
	out.WriteString("\n}\n")
	if !utf8.Valid(out.Bytes()) {
		t.Fatal("not UTF-8")
	}
	return out.Bytes()
}
