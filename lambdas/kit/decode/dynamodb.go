package decode

import (
	"bytes"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDBEvent is what the mapping of a table's stream sends.
type DynamoDBEvent struct {
	// Records are in the stream's order, as many as AWS sent: a change may come
	// again, in this event or in another.
	Records []Change
	// Window is zero unless the mapping has a tumbling window.
	Window TumblingWindow
}

// The values of Change.EventName.
const (
	Insert = "INSERT"
	Modify = "MODIFY"
	Remove = "REMOVE"
)

// Change is a record of a DynamoDB table's stream: what happened to one item.
// What AWS didn't send is zero.
type Change struct {
	// SequenceNumber is never empty.
	SequenceNumber string
	// EventName is Insert, Modify or Remove. It is never empty.
	EventName string
	// Keys is the item's primary key. It is never nil.
	Keys map[string]types.AttributeValue
	// NewImage and OldImage are the item after and before the change, as far as
	// the stream's view type holds them; else nil.
	NewImage, OldImage map[string]types.AttributeValue
	StreamViewType     types.StreamViewType
	// ApproximateCreationDateTime is when the change was made: in UTC, to the
	// second.
	ApproximateCreationDateTime time.Time
	// SizeBytes is the size of keys and images together.
	SizeBytes int64
	// UserIdentity says who made the change if that is AWS itself; see Expired.
	UserIdentity UserIdentity
	// EventID is unique in the stream. It isn't made of the sequence number.
	EventID        string
	EventSource    string
	EventSourceARN string
	EventVersion   string
	AWSRegion      string
}

// UserIdentity is the service that made a change.
type UserIdentity struct {
	Type, PrincipalID string
}

// Expired says that the item was deleted because its time to live was over.
func (c Change) Expired() bool {
	return c.EventName == Remove && c.UserIdentity == UserIdentity{"Service", "dynamodb.amazonaws.com"}
}

// DynamoDB reads the event of a table's stream. The error is an *Error: the
// payload isn't strict JSON or not such an event, or a record is without
// sequence number, event name or keys. An event without records is one.
//
// The records share a few allocations, so whoever keeps one of them for long
// clones its fields, or holds the memory of all.
func DynamoDB(payload []byte) (DynamoDBEvent, error) {
	var event DynamoDBEvent
	c := changes{scanner: scanner{in: payload}}
	var records []Change
	err := c.event(&event.Window, func() { records = records[:0] }, func() *Error {
		records = grow(records, &c.scanner)
		return c.change(&records[len(records)-1])
	})
	if err != nil {
		return DynamoDBEvent{}, err
	}
	event.Records = records
	return event, nil
}

// changes reads records of a table's stream.
type changes struct {
	scanner
	strings slab[types.AttributeValueMemberS]
	numbers slab[types.AttributeValueMemberN]
}

// slab makes values, many in one allocation.
type slab[T any] struct {
	free []T
	size int
}

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		s.size = min(max(16, 2*s.size), 1024)
		s.free = make([]T, s.size)
	}
	value := &s.free[0]
	s.free = s.free[1:]
	return value
}

func (c *changes) change(r *Change) *Error {
	*r = Change{}
	err := c.object(func(name []byte) *Error {
		switch string(name) {
		case "dynamodb":
			return c.dynamodb(r).in("dynamodb")
		case "userIdentity":
			return c.userIdentity(&r.UserIdentity).in("userIdentity")
		case "eventID":
			return c.string(&r.EventID).in("eventID")
		case "eventName":
			return c.string(&r.EventName).in("eventName")
		case "eventSource":
			return c.string(&r.EventSource).in("eventSource")
		case "eventSourceARN":
			return c.string(&r.EventSourceARN).in("eventSourceARN")
		case "eventVersion":
			return c.string(&r.EventVersion).in("eventVersion")
		case "awsRegion":
			return c.string(&r.AWSRegion).in("awsRegion")
		}
		return c.skip()
	})
	switch {
	case err != nil:
		return err
	case r.EventName == "":
		return c.fail(missing).in("eventName")
	case r.SequenceNumber == "":
		return c.fail(missing).in("dynamodb.SequenceNumber")
	case r.Keys == nil:
		return c.fail(missing).in("dynamodb.Keys")
	}
	return nil
}

func (c *changes) dynamodb(r *Change) *Error {
	if null, err := c.null(); null || err != nil {
		return err
	}
	return c.object(func(name []byte) *Error {
		switch string(name) {
		case "ApproximateCreationDateTime":
			return c.epoch(&r.ApproximateCreationDateTime).in("ApproximateCreationDateTime")
		case "Keys":
			return c.image(&r.Keys).in("Keys")
		case "NewImage":
			return c.image(&r.NewImage).in("NewImage")
		case "OldImage":
			return c.image(&r.OldImage).in("OldImage")
		case "SequenceNumber":
			return c.string(&r.SequenceNumber).in("SequenceNumber")
		case "SizeBytes":
			return c.int(&r.SizeBytes).in("SizeBytes")
		case "StreamViewType":
			return c.string((*string)(&r.StreamViewType)).in("StreamViewType")
		}
		return c.skip()
	})
}

// userIdentity reads who made the change; null makes it nobody.
func (c *changes) userIdentity(u *UserIdentity) *Error {
	if null, err := c.null(); null || err != nil {
		*u = UserIdentity{}
		return err
	}
	return c.object(func(name []byte) *Error {
		switch string(name) {
		case "type":
			return c.string(&u.Type).in("type")
		case "principalId":
			return c.string(&u.PrincipalID).in("principalId")
		}
		return c.skip()
	})
}

// image reads an item, into the map if there is one; null makes it nil.
func (c *changes) image(into *map[string]types.AttributeValue) *Error {
	if null, err := c.null(); null || err != nil {
		*into = nil
		return err
	}
	if *into == nil {
		*into = make(map[string]types.AttributeValue)
	}
	return c.object(func(name []byte) *Error {
		key := c.texts.keep(name, &c.scanner)
		value, err := c.attribute()
		(*into)[key] = value
		return err
	})
}

// attribute reads a value: an object whose one member is named after the type.
func (c *changes) attribute() (value types.AttributeValue, err *Error) {
	var kind []byte
	err = c.object(func(name []byte) *Error {
		if value != nil && !bytes.Equal(name, kind) {
			return c.fail("an attribute must have one type")
		}
		if c.peek() == 'n' {
			return c.fail("an attribute must not be null")
		}
		kind = name
		switch string(name) {
		case "S":
			v := c.strings.next()
			value = v
			return c.string(&v.Value)
		case "N":
			v := c.numbers.next()
			value = v
			return c.string(&v.Value)
		case "B":
			v := new(types.AttributeValueMemberB)
			value = v
			return c.base64(&v.Value)
		case "BOOL":
			v := new(types.AttributeValueMemberBOOL)
			value = v
			return c.bool(&v.Value)
		case "NULL":
			value = &types.AttributeValueMemberNULL{Value: true}
			if c.peek() != 't' {
				return c.unexpected("NULL must be true")
			}
			return c.literal("true")
		case "M":
			v := &types.AttributeValueMemberM{}
			value = v
			return c.image(&v.Value)
		case "L":
			v := &types.AttributeValueMemberL{Value: []types.AttributeValue{}}
			value = v
			return c.array(func() *Error {
				element, err := c.attribute()
				v.Value = append(v.Value, element)
				return err
			})
		case "SS":
			v := new(types.AttributeValueMemberSS)
			value = v
			return each(c, &v.Value, c.string)
		case "NS":
			v := new(types.AttributeValueMemberNS)
			value = v
			return each(c, &v.Value, c.string)
		case "BS":
			v := new(types.AttributeValueMemberBS)
			value = v
			return each(c, &v.Value, c.base64)
		}
		return c.fail("an attribute must be of type S, N, B, BOOL, NULL, M, L, SS, NS or BS")
	})
	if err == nil && value == nil {
		err = c.fail("an attribute must have one type")
	}
	return value, err
}

// each reads the elements of a set.
func each[T any](c *changes, set *[]T, element func(*T) *Error) *Error {
	*set = []T{}
	return c.array(func() *Error {
		if c.peek() == 'n' {
			return c.fail("an element of a set must not be null")
		}
		var value T
		err := element(&value)
		*set = append(*set, value)
		return err
	})
}
