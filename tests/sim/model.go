package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/local/esm"
)

// model is what a mapping must have done, by what was seen to happen. Records go by
// their numbers in the journal.
type model struct {
	counts    esm.Counts
	dealt     []bool  // succeeded, or reported: the next of its key may come
	settled   []bool  // and never needed again: with windows, once the window is over
	succeeded []bool  // in an invocation at least
	prefix    []int32 // how many of a key's records are dealt with, from its first on
	inBatch   []int32 // of a key
	failed    []bool  // lies in the failure destination
	documents []document
}

// document of the failure destination.
type document struct {
	object  string
	payload []byte
	window  decode.TumblingWindow
}

// Failed tells whether a record, by its number, lies in the failure destination,
// whole.
func (f *Function) Failed(number int) bool {
	return number < len(f.model.failed) && f.model.failed[number]
}

func (m *model) grow(j *journal) {
	if n := len(j.puts) - len(m.dealt); n > 0 {
		m.dealt = append(m.dealt, make([]bool, n)...)
		m.settled = append(m.settled, make([]bool, n)...)
		m.succeeded = append(m.succeeded, make([]bool, n)...)
	}
	if n := len(j.byKey) - len(m.prefix); n > 0 {
		m.prefix = append(m.prefix, make([]int32, n)...)
		m.inBatch = append(m.inBatch, make([]int32, n)...)
	}
}

// deliver notes that records are handed over: those of a key never before the
// earlier ones are dealt with.
func (f *Function) deliver(b *begun) {
	m, j, records := &f.model, f.journal, b.task.Records
	m.counts.Invocations++
	m.counts.InvokedEventCount += int64(len(records))
	m.grow(j)
	b.numbers = make([]int, len(records))
	for i := range records {
		b.numbers[i] = j.number(records[i].Sequence)
		p := j.of[b.numbers[i]]
		switch next := m.prefix[p.key] + m.inBatch[p.key]; {
		case p.ordinal == next:
			m.inBatch[p.key]++
		case p.ordinal > next:
			f.world.blameLocked("%s gets record %s of key %s before an earlier one is dealt with", f.Name, short(records[i].Sequence), records[i].Key)
		}
	}
	for _, n := range b.numbers {
		m.inBatch[j.of[n].key] = 0
	}
}

// told reads an answer as the documentation has it.
func (f *Function) told(b *begun, o esm.Outcome) {
	m, records := &f.model, b.task.Records
	if o.Err != nil {
		m.counts.Invocations--
		m.counts.FailedInvokeEventCount += int64(len(records))
		return
	}
	if o.FunctionError != "" {
		m.counts.Errors++
	}
	lowest := len(records)
	if o.FunctionError == "" && bytes.Contains(o.Payload, []byte("itemIdentifier")) {
		var answer events.KinesisEventResponse
		if err := json.Unmarshal(o.Payload, &answer); err != nil {
			panic(err) // it is our handlers'
		}
		for _, failure := range answer.BatchItemFailures {
			lowest = min(lowest, max(0, slices.IndexFunc(records, func(r esm.Record) bool { return r.Sequence == failure.ItemIdentifier })))
		}
	}
	if o.FunctionError != "" || b.task.Window != nil && !b.task.Window.Final && !bytes.Contains(o.Payload, []byte(`"state":`)) {
		lowest = 0
	}
	m.counts.FailedInvokeEventCount += int64(len(records) - lowest)
	for _, n := range b.numbers[:lowest] {
		m.succeeded[n] = true
		f.deal(b.shard, n, b.task.Window == nil)
	}
	if most := f.Settings.MaximumRetryAttempts; lowest == 0 && len(records) > 0 {
		if n := b.shard.try(records); most != esm.Unlimited && n > most+1 {
			f.world.blameLocked("%s gets %s for the %dth time: it holds up its shard", f.Name, span(records), n)
		}
	}
	if b.task.Window != nil && b.task.Window.Final && o.FunctionError == "" {
		f.closeWindow(b.shard)
	}
}

// try counts how often the same batch was handed over in vain.
func (s *shard) try(records []esm.Record) int {
	t := tries{first: records[0].Sequence, last: records[len(records)-1].Sequence}
	if held := s.tries[t.first]; held.last == t.last {
		t = held
	}
	t.n++
	s.tries[t.first] = t
	return t.n
}

// closeWindow: its records aren't needed any more.
func (f *Function) closeWindow(s *shard) {
	for _, n := range s.open {
		f.model.settled[n] = true
	}
	s.open = nil
}

func (f *Function) reported(b *begun, err error) {
	if err != nil {
		f.model.counts.DestinationDeliveryFailures++
		return
	}
	if b.task.Window != nil && b.task.Window.Final {
		f.closeWindow(b.shard)
	}
	switch most := f.Settings.MaximumRetryAttempts; {
	case b.task.Failure.RequestContext.Condition != "RetryAttemptsExhausted":
		b.shard.expired = true // what it takes off a batch leaves the others' tries
	case len(b.task.Records) > 0 && !b.shard.expired:
		if n := b.shard.try(b.task.Records) - 1; n != most+1 {
			f.world.blameLocked("%s gives %s up after %d attempts, with %d retries", f.Name, span(b.task.Records), n, most)
		}
	}
	if n := int64(len(b.task.Records)); f.Settings.OnFailure == "" {
		f.model.counts.DroppedEventCount += n
	} else {
		f.model.counts.OnFailureDestinationDeliveredEventCount += n
	}
	for i := range b.task.Records {
		f.deal(b.shard, f.journal.number(b.task.Records[i].Sequence), true)
	}
}

// deal notes that a record is dealt with.
func (f *Function) deal(s *shard, n int, settled bool) {
	m := &f.model
	m.grow(f.journal)
	m.dealt[n] = true
	if settled {
		m.settled[n] = true
	} else {
		s.open = append(s.open, n)
	}
	key := f.journal.of[n].key
	for _, n := range f.journal.byKey[key][m.prefix[key]:] {
		if int(n) >= len(m.dealt) || !m.dealt[n] {
			break
		}
		m.prefix[key]++
	}
}

// checkpoint checks that a shard's checkpoint passes nothing that is still needed.
func (f *Function) checkpoint(s *shard) {
	f.model.grow(f.journal)
	after, numbers := s.Checkpoint(), f.journal.shards[s.ID]
	for ; s.checked < len(numbers) && f.journal.puts[numbers[s.checked]].Sequence <= after; s.checked++ {
		if n := numbers[s.checked]; !f.model.settled[n] {
			f.world.blameLocked("the checkpoint of %s for %s passes record %s, which isn't dealt with", s.ID, f.Name, short(f.journal.puts[n].Sequence))
		}
	}
}

// blameLocked is blame for the scheduler.
func (w *World) blameLocked(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blame(format, args...)
}

// check holds the mappings against their models, and asks the scenario.
func (w *World) check() error {
	var problems []error
	for _, f := range w.functions {
		problems = append(problems, f.check())
	}
	for _, d := range w.deliveries {
		problems = append(problems, d.check())
	}
	w.mu.Lock()
	if lines := bytes.Count(w.metrics.Bytes(), []byte("\n")); lines != w.rejected {
		problems = append(problems, fmt.Errorf("%d records were set aside, and %d counted", w.rejected, lines))
	}
	w.mu.Unlock()
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if err := w.scenario.Check(w); err != nil {
		return err
	}
	return w.problem()
}

func (f *Function) check() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	m := &f.model
	m.grow(f.journal)
	var counts esm.Counts
	for _, s := range f.order {
		f.checkpoint(s)
		if n := len(f.journal.shards[s.ID]); s.checked < n {
			problem("%s: %d records of %s are behind the checkpoint", f.Name, n-s.checked, s.ID)
		}
		for _, poller := range append(s.past, s.Shard) {
			add(&counts, poller.Counts)
		}
	}
	if counts != m.counts {
		problem("%s counts %+v, and this happened: %+v", f.Name, counts, m.counts)
	}
	if f.world.broken {
		if err := f.readFailures(); err != nil {
			problems = append(problems, err)
		}
		for n := range f.journal.puts {
			if !m.succeeded[n] && !f.Failed(n) {
				problem("%s: record %s succeeded nowhere, and isn't in the failure destination", f.Name, short(f.journal.puts[n].Sequence))
				break
			}
		}
	}
	return errors.Join(problems...)
}

func add(sum *esm.Counts, c esm.Counts) {
	sum.PolledEventCount += c.PolledEventCount
	sum.FilteredOutEventCount += c.FilteredOutEventCount
	sum.InvokedEventCount += c.InvokedEventCount
	sum.FailedInvokeEventCount += c.FailedInvokeEventCount
	sum.DroppedEventCount += c.DroppedEventCount
	sum.OnFailureDestinationDeliveredEventCount += c.OnFailureDestinationDeliveredEventCount
	sum.Invocations += c.Invocations
	sum.Errors += c.Errors
	sum.DestinationDeliveryFailures += c.DestinationDeliveryFailures
}

// failures are the function's documents in the failure destination.
func (f *Function) failures() []string {
	prefix := "aws/lambda/" + f.Settings.UUID + "/"
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(f.world.objects)), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

// read is what a reader makes of one: all records in it are those that were put.
func (f *Function) read(key string) (document, error) {
	var doc struct {
		KinesisBatchInfo   *esm.BatchInfo
		DDBStreamBatchInfo *esm.BatchInfo
		TimeWindowInfo     *esm.TimeWindowInfo
	}
	payload, rest, err := cutPayload(f.world.Object(key))
	if err == nil {
		err = json.Unmarshal(rest, &doc)
	}
	if err != nil {
		return document{}, fmt.Errorf("%s: %w", key, err)
	}
	d := document{object: key, payload: payload}
	info, records := doc.KinesisBatchInfo, 0
	if f.Changes != nil {
		info = doc.DDBStreamBatchInfo
		var e decode.DynamoDBEvent
		e, err = decode.DynamoDB(d.payload)
		records = len(e.Records)
		for i := range e.Records {
			err = errors.Join(err, f.isChange(&e.Records[i]))
		}
	} else {
		var e decode.KinesisEvent
		e, err = decode.Kinesis(d.payload)
		d.window, records = e.Window, len(e.Records)
		for i := range e.Records {
			err = errors.Join(err, f.wasPut(&e.Records[i]))
		}
	}
	switch {
	case err != nil:
		return document{}, fmt.Errorf("the payload of %s: %w", key, err)
	case info == nil || info.BatchSize != records:
		return document{}, fmt.Errorf("%s says %+v of %d records", key, info, records)
	case (doc.TimeWindowInfo != nil) != (f.Settings.Tumbling > 0) || doc.TimeWindowInfo != nil && doc.TimeWindowInfo.Final != d.window.IsFinalInvokeForWindow:
		return document{}, fmt.Errorf("%s says %+v of the window %+v", key, doc.TimeWindowInfo, d.window)
	}
	return d, nil
}

// cutPayload takes the payload, a text, out of a document: it is nearly all of it, and
// encoding/json reads it three times over.
func cutPayload(doc []byte) (payload, rest []byte, err error) {
	const name = `"payload":"`
	begin := bytes.Index(doc, []byte(name))
	if begin < 0 {
		return nil, doc, nil
	}
	text := doc[begin+len(name):]
	payload = make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return payload, slices.Concat(doc[:begin], []byte(name), text[i:]), nil
		case c < ' ':
			return nil, nil, fmt.Errorf("the payload holds the byte %d", c)
		case c != '\\':
			payload = append(payload, c)
		case i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
			payload = append(payload, text[i])
		default: // the other escapes are rare
			end := i + 2
			if i+1 < len(text) && text[i+1] == 'u' {
				end += 4
			}
			var one string
			if err := json.Unmarshal(slices.Concat([]byte{'"'}, text[i:min(end, len(text))], []byte{'"'}), &one); err != nil {
				return nil, nil, fmt.Errorf("the payload: %w", err)
			}
			payload = append(payload, one...)
			i = end - 1
		}
	}
	return nil, nil, errors.New("the payload has no end")
}

// wasPut notes that a record failed, and compares it with what was put.
func (f *Function) wasPut(r *decode.Record) error {
	n := f.journal.number(r.SequenceNumber)
	if p := f.journal.puts[max(n, 0)]; n < 0 || !bytes.Equal(p.Data, r.Data) || p.Key != r.PartitionKey || r.EventID != p.Shard+":"+p.Sequence {
		return fmt.Errorf("it holds %+v, and this was put: %+v", r, p)
	}
	f.model.failed[n] = true
	return nil
}

// isChange notes that a change failed, and compares it with what was changed.
func (f *Function) isChange(r *decode.Change) error {
	n := f.journal.number(r.SequenceNumber)
	if c := f.Changes.records[max(n, 0)]; n < 0 || !reflect.DeepEqual(r.NewImage, c.After) || !reflect.DeepEqual(r.OldImage, c.Before) || f.Changes.key(r.Keys) != c.key {
		return fmt.Errorf("it holds %+v, and this was the change: %+v", r, c)
	}
	f.model.failed[n] = true
	return nil
}

// readFailures reads what lies in the failure destination and compares it with what
// was put.
func (f *Function) readFailures() error {
	f.model.failed = make([]bool, len(f.journal.puts))
	for _, key := range f.failures() {
		d, err := f.read(key)
		if err != nil {
			return err
		}
		f.model.documents = append(f.model.documents, d)
	}
	return nil
}

// redrive mends everything and hands what lies in the failure destination over
// again, as an operator does, long after and in any order. Nothing may be missing
// then. Of windows only what their last invocations got is handed over: records for
// a window that is over have nowhere to go.
func (w *World) redrive() error {
	w.broken, w.gone = false, false
	for _, f := range w.functions {
		documents := f.model.documents
		w.rand.Shuffle(len(documents), func(i, j int) { documents[i], documents[j] = documents[j], documents[i] })
		for _, d := range documents {
			if f.Settings.Tumbling > 0 && !d.window.IsFinalInvokeForWindow {
				continue
			}
			w.trace("%s gets %s again", f.Name, d.object)
			answer, err := f.Start(&Client{world: w}).Invoke(context.Background(), d.payload)
			if err != nil || bytes.Contains(answer, []byte("itemIdentifier")) {
				return fmt.Errorf("%s, %s: %s, %w", f.Name, d.object, answer, err)
			}
			w.flush()
		}
		if f.Settings.Tumbling == 0 {
			f.model.failed = nil
		}
		if err := w.play(); err != nil {
			return err
		}
	}
	return w.check()
}
