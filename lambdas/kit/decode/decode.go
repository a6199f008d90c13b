// Package decode reads the events that Lambda's event source mappings send for
// Kinesis streams and DynamoDB table streams straight from the invocation's
// payload. It refuses what a strict JSON parser refuses, allocates per event and
// not per record, and keeps no part of the payload, which Lambda's Go runtime
// overwrites after the answer.
//
// Member names count in the case in which AWS writes them, and a member that
// isn't known is skipped. null is no value: a member that is null reads as if it
// were missing. Of a member that comes twice the last value counts. Strings must
// be UTF-8.
package decode

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Error says why a payload is no event. Its text names members and rules but
// never quotes the payload, so it may be logged.
type Error struct {
	// Record is the position of the record in the event, or -1 if what is wrong
	// is outside of any.
	Record int
	// Member is the path of the member within its record, such as
	// "kinesis.data", or within the event, such as "window.start"; "" is the
	// record or the event itself. It goes no deeper than the members that this
	// package knows.
	Member string
	// Offset is the byte of the payload at which it was noticed.
	Offset int
	// Reason is the rule that is broken.
	Reason string
}

func (e *Error) Error() string {
	path := e.Member
	if e.Record >= 0 {
		path = strings.TrimSuffix(fmt.Sprintf("Records[%d].%s", e.Record, path), ".")
	}
	if path == "" {
		path = "the event"
	}
	return fmt.Sprintf("decode: %s, at byte %d: %s", path, e.Offset, e.Reason)
}

// in puts the name of the member that holds the wrong one before its path.
func (e *Error) in(member string) *Error {
	if e != nil {
		e.Member = strings.TrimSuffix(member+"."+e.Member, ".")
	}
	return e
}

// TumblingWindow is what a mapping with a tumbling window adds to its events. It
// is the zero value if the mapping has none.
type TumblingWindow struct {
	// Start and End bound the window: both are set, or neither.
	Start, End time.Time
	// State is what the function answered last for the window, as it stands in
	// the event; {} in the window's first event, nil if the event has none.
	State json.RawMessage
	// ShardID and EventSourceARN name the shard and the stream of the records.
	ShardID, EventSourceARN string
	// IsFinalInvokeForWindow says that no further event of the window comes.
	IsFinalInvokeForWindow bool
	// IsWindowTerminatedEarly says that Lambda closed the window before its end,
	// as its state had become too large.
	IsWindowTerminatedEarly bool
}

// event reads what both kinds of event have in common. A second Records takes
// the place of the first: restart is called before each.
func (s *scanner) event(w *TumblingWindow, restart func(), record func() *Error) *Error {
	var hasRecords bool
	err := s.object(func(name []byte) *Error {
		switch string(name) {
		case "Records":
			return s.records(&hasRecords, restart, record)
		case "window":
			return s.window(w).in("window")
		case "state":
			return s.raw(&w.State).in("state")
		case "shardId":
			return s.string(&w.ShardID).in("shardId")
		case "eventSourceARN":
			return s.string(&w.EventSourceARN).in("eventSourceARN")
		case "isFinalInvokeForWindow":
			return s.bool(&w.IsFinalInvokeForWindow).in("isFinalInvokeForWindow")
		case "isWindowTerminatedEarly":
			return s.bool(&w.IsWindowTerminatedEarly).in("isWindowTerminatedEarly")
		}
		return s.skip()
	})
	if err != nil {
		return err
	}
	if s.peek(); s.pos < len(s.in) {
		return s.fail("nothing may follow the event")
	}
	switch {
	case w.Start.IsZero() && !w.End.IsZero():
		return s.fail(missing).in("window.start")
	case w.End.IsZero() && !w.Start.IsZero():
		return s.fail(missing).in("window.end")
	// A window's last event holds up its shard until it succeeds, and there may be
	// no records left for it.
	case !hasRecords && w.Start.IsZero():
		return s.fail(missing).in("Records")
	}
	return nil
}

func (s *scanner) records(present *bool, restart func(), record func() *Error) *Error {
	restart()
	if null, err := s.null(); null || err != nil {
		*present = false
		return err.in("Records")
	}
	*present = true
	n := 0
	err := s.array(func() *Error {
		s.done = progress{s.pos, s.texts.used, s.blobs.used}
		err := record()
		if err != nil {
			err.Record = n
		}
		n++
		return err
	})
	if err != nil && err.Record < 0 {
		return err.in("Records")
	}
	return err
}

func (s *scanner) window(w *TumblingWindow) *Error {
	if null, err := s.null(); null || err != nil {
		return err
	}
	return s.object(func(name []byte) *Error {
		switch string(name) {
		case "start":
			return s.rfc3339(&w.Start).in("start")
		case "end":
			return s.rfc3339(&w.End).in("end")
		}
		return s.skip()
	})
}
