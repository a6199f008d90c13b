package throttle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestACallWithoutSomeOfItsRecordsIsAsLongAndHoldsTheOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var entries, kept []entry
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			e := entry{
				PartitionKey: rapid.StringN(1, 20, -1).Draw(t, "key"),
				Data:         rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data"),
			}
			if rapid.Bool().Draw(t, "explicit") {
				e.ExplicitHashKey = fmt.Sprint(rapid.Uint64().Draw(t, "hash"))
			}
			entries = append(entries, e)
		}
		out := rapid.SliceOfN(rapid.Bool(), len(entries), len(entries)).Draw(t, "out")
		out[rapid.IntRange(0, len(out)-1).Draw(t, "at least")] = true
		for i, e := range entries {
			if !out[i] {
				kept = append(kept, e)
			}
		}
		call, err := json.Marshal(map[string]any{"StreamName": "s", "Records": entries, "Unknown": []any{nil, 1.5, "\u2028<"}})
		if err != nil {
			t.Fatal(err)
		}
		shorter, err := without(call, func(i int) bool { return out[i] })
		if err != nil || len(shorter) != len(call) {
			t.Fatalf("%d bytes, want %d; %v", len(shorter), len(call), err)
		}
		var got struct {
			StreamName string
			Records    []entry
		}
		if err := json.Unmarshal(shorter, &got); err != nil {
			t.Fatal(err)
		}
		same := func(a, b entry) bool {
			return a.PartitionKey == b.PartitionKey && a.ExplicitHashKey == b.ExplicitHashKey && bytes.Equal(a.Data, b.Data)
		}
		if got.StreamName != "s" || !slices.EqualFunc(got.Records, kept, same) {
			t.Errorf("%+v, want %+v", got, kept)
		}
	})
}

func TestWhatIsKeptOfACallDoesNotGrow(t *testing.T) {
	kept := `{"PartitionKey":"` + strings.Repeat("<\u2028", 128) + `","Data":""}`
	body := `{"StreamName":"s","Records":[` + kept + `,{"PartitionKey":"k","Data":""}]}`
	got, err := without([]byte(body), func(i int) bool { return i == 1 })
	if err != nil || len(got) != len(body) || !strings.Contains(string(got), kept) {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzWithout(f *testing.F) {
	f.Add([]byte(`{"StreamName":"s","Records":[{"PartitionKey":"k","Data":"AA=="},{}]}`))
	f.Fuzz(func(t *testing.T, call []byte) {
		shorter, err := without(call, func(i int) bool { return i == 0 })
		if err == nil && (len(shorter) != len(call) || !json.Valid(shorter)) {
			t.Errorf("%q became %q", call, shorter)
		}
	})
}
