package demo

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/lambdas/race"
)

func record(racer string, seq int64) race.Record {
	return race.Record{
		Race: "monza", Racer: racer, Seq: seq, Speed: 10, Power: 300,
		At:       time.Date(2026, 11, 21, 10, 0, int(seq), 0, time.UTC),
		Distance: 10*float64(seq) + float64(len(racer)),
	}
}

// sentRecords are records 1 to 3 of racers a and bb.
func sentRecords() (model, []race.Record) {
	sent, all := model{}, []race.Record{}
	for seq := range int64(3) {
		for _, racer := range []string{"a", "bb"} {
			sent.add(record(racer, seq+1))
			all = append(all, record(racer, seq+1))
		}
	}
	return sent, all
}

func lines(records ...race.Record) []byte {
	var b bytes.Buffer
	for _, r := range records {
		_ = json.NewEncoder(&b).Encode(r)
	}
	return b.Bytes()
}

func zip(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func TestArchivedObjects(t *testing.T) {
	_, all := sentRecords()
	for name, c := range map[string]struct {
		objects  [][]byte
		want     int
		again    int
		problems string // all of them have to hold it
	}{
		"plain lines":             {objects: [][]byte{lines(all...)}, want: 6},
		"gzipped lines":           {objects: [][]byte{zip(lines(all...))}, want: 6},
		"two gzip members in one": {objects: [][]byte{append(zip(lines(all[:2]...)), zip(lines(all[2:]...))...)}, want: 6},
		"no newline at all":       {objects: [][]byte{bytes.ReplaceAll(lines(all...), []byte("\n"), nil)}, want: 6},
		"over several lines":      {objects: [][]byte{bytes.ReplaceAll(lines(all...), []byte(","), []byte(",\n"))}, want: 6},
		"an object per record, some twice": {
			objects: [][]byte{lines(all[0]), lines(all[1]), zip(lines(all[0], all[0]))}, want: 2, again: 2,
		},
		"an empty object":               {objects: [][]byte{nil, []byte("\n")}},
		"garbage":                       {objects: [][]byte{[]byte("\x00\x01 garbage")}, problems: "invalid character"},
		"a record cut off":              {objects: [][]byte{lines(all[0], all[1])[:150]}, want: 1, problems: "unexpected EOF"},
		"broken gzip":                   {objects: [][]byte{zip(lines(all...))[:40]}, problems: "unexpected EOF"},
		"JSON that is no record":        {objects: [][]byte{[]byte(`{"race":"monza"} 7 ` + string(lines(all[0])))}, want: 1, problems: "missing"},
		"the rest of a damaged archive": {objects: [][]byte{[]byte("{"), lines(all...)}, want: 6, problems: "object 0"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive()
			for i, object := range c.objects {
				a.add(fmt.Sprintf("object %d", i), bytes.NewReader(object))
			}
			if len(a.seen) != c.want || a.again != c.again {
				t.Errorf("%d records and %d copies, want %d and %d", len(a.seen), a.again, c.want, c.again)
			}
			if (c.problems != "") != (len(a.problems) > 0) {
				t.Errorf("the problems are %v", a.problems)
			}
			for _, err := range a.problems {
				if !strings.Contains(err.Error(), c.problems) {
					t.Errorf("problem %q, want one with %q", err, c.problems)
				}
			}
		})
	}
}

func TestTally(t *testing.T) {
	_, all := sentRecords()
	final := []race.Record{record("a", 3), record("bb", 3)}
	changed := record("bb", 3)
	changed.Distance++
	for name, c := range map[string]struct {
		table    []race.Record
		archived []race.Record
		want     Report
		problems int
	}{
		"everything arrived": {final, all, Report{Applied: 6, Archived: 6}, 0},
		"archived twice":     {final, slices.Concat(all, all[:2]), Report{Applied: 6, Archived: 6, Duplicates: 2}, 0},
		"nothing arrived":    {nil, nil, Report{Lost: 6}, 0},
		"the table is behind": {
			[]race.Record{record("a", 1), record("bb", 3)}, all, Report{Applied: 4, Archived: 6, Lost: 2}, 0,
		},
		"a racer isn't in the table":     {final[:1], all, Report{Applied: 3, Archived: 6, Lost: 3}, 0},
		"the archive lacks one":          {final, all[1:], Report{Applied: 6, Archived: 5, Lost: 1}, 0},
		"missing in both counts once":    {final[:1], all[:5], Report{Applied: 3, Archived: 5, Lost: 3}, 0},
		"another content in the table":   {[]race.Record{final[0], changed}, all, Report{Applied: 3, Archived: 6, Lost: 3}, 1},
		"another content in the archive": {final, slices.Concat(all[:5], []race.Record{changed}), Report{Applied: 6, Archived: 6, Lost: 1}, 1},
		"beyond what was sent in the table": {
			[]race.Record{record("a", 4), final[1]}, all, Report{Applied: 3, Archived: 6, Duplicates: 1, Lost: 3}, 1,
		},
		"a stranger in the table":   {slices.Concat(final, []race.Record{record("ccc", 1)}), all, Report{Applied: 6, Archived: 6, Duplicates: 1}, 1},
		"a stranger in the archive": {final, slices.Concat(all, []race.Record{record("ccc", 1)}), Report{Applied: 6, Archived: 7}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			stored := newArchive()
			stored.add("object", bytes.NewReader(lines(c.archived...)))
			sent, _ := sentRecords()
			got := tally(sent, c.table, stored, nil)
			c.want.Sent = 6
			if len(got.Problems) != c.problems {
				t.Errorf("the problems are %q, want %d", got.Problems, c.problems)
			}
			if want := c.want.Lost == 0 && c.problems == 0; got.OK() != want {
				t.Errorf("OK() = %v, want %v", got.OK(), want)
			}
			got.Problems = nil
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("the report is\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestADamagedArchiveIsReported(t *testing.T) {
	sent, all := sentRecords()
	stored := newArchive()
	stored.add("archive/x", strings.NewReader("garbage"))
	stored.add("archive/y", bytes.NewReader(lines(all...)))
	got := tally(sent, []race.Record{record("a", 3), record("bb", 3)}, stored, nil)
	if got.Lost != 0 || got.OK() || len(got.Problems) != 1 || !strings.Contains(got.String(), "archive/x") {
		t.Errorf("the report is\n%swant nothing lost, but the object reported", got)
	}
}

// Redshift is another place where everything has to be.
func TestTallyWithRedshift(t *testing.T) {
	sent, all := sentRecords()
	stored := newArchive()
	stored.add("object", bytes.NewReader(lines(all...)))
	other := record("a", 1)
	other.Power++
	for name, c := range map[string]struct {
		rows                          []race.Record
		loaded, lost, again, problems int
	}{
		"all of them":       {all, 6, 0, 0, 0},
		"some of them":      {all[:4], 4, 2, 0, 0},
		"one of them twice": {append(slices.Clone(all), all[0]), 6, 0, 1, 0},
		"one that differs":  {append(slices.Clone(all[1:]), other), 6, 1, 0, 1},
		"a stranger":        {append(slices.Clone(all), record("ccc", 1)), 7, 0, 0, 1},
		"none":              {nil, 0, 6, 0, 0},
	} {
		loaded := newArchive()
		for _, r := range c.rows {
			loaded.put(r)
		}
		got := tally(sent, []race.Record{record("a", 3), record("bb", 3)}, stored, loaded)
		if got.Loaded != c.loaded || got.Lost != c.lost || got.Duplicates != c.again || len(got.Problems) != c.problems {
			t.Errorf("%s:\n%s", name, got)
		}
		if !strings.Contains(got.String(), "different records in Redshift's table") {
			t.Errorf("%s: the report says nothing of Redshift:\n%s", name, got)
		}
	}
}

func TestPodiumsOfTheModel(t *testing.T) {
	sent, _ := sentRecords()
	want := sent.podiums()
	right := race.Podium{Race: "monza", Version: 9, Top: []race.Place{record("bb", 3).Place(), record("a", 3).Place()}}
	if agree([]race.Podium{right}, want) != 1 {
		t.Errorf("the model's podium is %+v, want the places of %+v", want, right)
	}
	older := race.Podium{Race: "monza", Top: []race.Place{record("bb", 3).Place(), record("a", 2).Place()}}
	stranger := race.Podium{Race: "spa", Top: right.Top}
	if agree([]race.Podium{older, stranger}, want) != 0 {
		t.Error("an outdated podium or one of another race agrees with the model")
	}
}

func TestTheReportsFile(t *testing.T) {
	data, err := json.Marshal(Report{Sent: 1, Applied: 2, Archived: 3, Duplicates: 4, Lost: 5, Alarms: 6, Seconds: 7.5, Problems: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"sent":1,"applied":2,"archived":3,"duplicates":4,"lost":5,"alarms":6,"seconds":7.5}`; string(data) != want {
		t.Errorf("the report is %s, want %s", data, want)
	}
}
