package demo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/millrace/millrace/lambdas/race"
)

// model is what was sent: every racer's acknowledged records by their seq.
type model map[race.Key]map[int64]race.Record

func (m model) add(r race.Record) {
	if m[r.Key()] == nil {
		m[r.Key()] = map[int64]race.Record{}
	}
	m[r.Key()][r.Seq] = r
}

func (m model) records() int {
	n := 0
	for _, records := range m {
		n += len(records)
	}
	return n
}

// podiums are the tops of all races at the end.
func (m model) podiums() map[string]race.Podium {
	racers := map[string][]race.Place{}
	for key, records := range m {
		newest := records[slices.Max(slices.Collect(maps.Keys(records)))]
		racers[key.Race] = append(racers[key.Race], newest.Place())
	}
	podiums := map[string]race.Podium{}
	for name, places := range racers {
		podiums[name] = race.Podium{Race: name}.Of(places)
	}
	return podiums
}

// id identifies a record.
type id struct {
	key race.Key
	seq int64
}

// archive is what was found in the archive's objects.
type archive struct {
	seen     map[id]race.Record
	again    int // occurrences of a record beyond its first
	problems []error
}

func newArchive() *archive { return &archive{seen: map[id]race.Record{}} }

// add takes an object in: JSON values one after the other, with anything or
// nothing between them, gzipped or plain whatever the object's name says. What
// isn't a record becomes a problem.
func (a *archive) add(name string, object io.Reader) {
	if err := a.read(object); err != nil {
		a.problems = append(a.problems, fmt.Errorf("archived object %s: %w", name, err))
	}
}

func (a *archive) read(object io.Reader) error {
	buffered := bufio.NewReader(object)
	object = buffered
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		object = unzipped
	}
	var problems []error
	decoder := json.NewDecoder(object)
	for {
		var value json.RawMessage
		if err := decoder.Decode(&value); errors.Is(err, io.EOF) {
			return errors.Join(problems...)
		} else if err != nil {
			return errors.Join(append(problems, err)...)
		}
		record, err := race.Parse(value)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		a.put(record)
	}
}

func (a *archive) put(record race.Record) {
	key := id{record.Key(), record.Seq}
	if _, ok := a.seen[key]; ok {
		a.again++
		return
	}
	a.seen[key] = record
}

// tally compares what was sent with the items of the standings table, with the
// archive, and with the rows in Redshift, which are nil if there is no table.
func tally(sent model, table []race.Record, stored, loaded *archive) Report {
	report := Report{Sent: sent.records(), Archived: len(stored.seen), Duplicates: stored.again}
	places := []struct {
		name string
		*archive
	}{{"archive", stored}}
	if loaded != nil {
		report.Warehouse, report.Loaded = true, len(loaded.seen)
		report.Duplicates += loaded.again
		places = append(places, struct {
			name string
			*archive
		}{"table in Redshift", loaded})
	}
	problem := func(format string, args ...any) {
		report.Problems = append(report.Problems, fmt.Sprintf(format, args...))
	}
	for _, place := range places {
		for _, err := range place.problems {
			problem("%v", err)
		}
	}

	held := map[race.Key]int64{}
	for _, item := range table {
		key := item.Key()
		sentOne, ok := sent[key][item.Seq]
		switch {
		case !ok:
			problem("the table holds record %d of %s/%s, which wasn't sent", item.Seq, key.Race, key.Racer)
			report.Duplicates++
		case !same(item, sentOne):
			problem("the table's record %d of %s/%s isn't the one that was sent", item.Seq, key.Race, key.Racer)
		default:
			held[key] = item.Seq
		}
	}

	for key, records := range sent {
		for seq, record := range records {
			applied := seq <= held[key]
			if applied {
				report.Applied++
			}
			everywhere := applied
			for _, place := range places {
				copied, found := place.seen[id{key, seq}]
				if found && !same(copied, record) {
					problem("record %d of %s/%s in the %s isn't the one that was sent", seq, key.Race, key.Racer, place.name)
					found = false
				}
				everywhere = everywhere && found
			}
			if !everywhere {
				report.Lost++
			}
		}
	}
	for _, place := range places {
		for found := range place.seen {
			if _, ok := sent[found.key][found.seq]; !ok {
				problem("the %s holds record %d of %s/%s, which wasn't sent", place.name, found.seq, found.key.Race, found.key.Racer)
			}
		}
	}
	slices.Sort(report.Problems)
	return report
}

func same(a, b race.Record) bool {
	if !a.At.Equal(b.At) {
		return false
	}
	a.At = b.At
	return a == b
}
