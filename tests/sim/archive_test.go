package sim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/millrace/millrace/tests/sim"
)

// deliveries is of how many seeds one has a delivery stream beside the functions.
const deliveries = 16

const failedPrefix = "failed/"

// checkArchive: every record is a line of the archive or lies whole in the error
// output, once for each time that it was put; keep-alives may be dropped.
func (p *pipeline) checkArchive(w *sim.World) error {
	lines, failed := map[string]int{}, map[string]int{}
	for key, body := range p.archive.Objects() {
		errors := strings.HasPrefix(key, failedPrefix)
		for line := range bytes.Lines(body) {
			if !errors {
				lines[string(line)]++
				continue
			}
			var d struct {
				RawData []byte `json:"rawData"`
			}
			if err := json.Unmarshal(line, &d); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			failed[string(d.RawData)]++
		}
	}
	keepAlives := 0
	for _, put := range w.Puts() {
		line := string(put.Data) + "\n"
		switch {
		case !put.Malformed && lines[line] > 0:
			lines[line]--
		case failed[string(put.Data)] > 0:
			failed[string(put.Data)]--
		case len(put.Data) == 0:
			keepAlives++
		default:
			return fmt.Errorf("record %s is neither in the archive nor in its error output", put.Sequence)
		}
	}
	for _, left := range []map[string]int{lines, failed} {
		for text, n := range left {
			if n > 0 {
				return fmt.Errorf("%q is in the archive %d times too often", text, n)
			}
		}
	}
	if dropped := p.archive.Dropped(); dropped != keepAlives {
		return fmt.Errorf("%d records were dropped, and %d keep-alives aren't in the error output", dropped, keepAlives)
	}
	return nil
}
