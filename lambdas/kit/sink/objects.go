package sink

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// PutObjectAPI is what Objects needs of an S3 client.
type PutObjectAPI interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

var _ PutObjectAPI = (*s3.Client)(nil)

// NoLayout is the Layout of keys without a time.
const NoLayout = "-"

// Objects writes a batch of a shard's records as one GZIP object, whose key says what
// is in it:
//
//	<prefix>2026/11/21/17/shardId-000000000000/<first>-<last>.gz
//
// The numbers are the sequence numbers of the first and the last record, the time is
// when the first one arrived, in UTC. So a batch that comes again as it was overwrites
// its object with the same bytes, and no object ever takes another's place: nothing is
// lost, however late a write lands.
//
// A batch that comes again in other pieces overlaps the object that it wrote the first
// time. That happens if the object was written, and then the invocation failed, and the
// mapping split the batch (BisectBatchOnFunctionError); or if a poller began again at
// its checkpoint. Then records are in two objects, whose keys show it: [Cover] tells
// what of them to read. So write the object last of all, and no more records than the
// answer says are done: all, or those before the first failure; and of a batch leave the
// same records out every time, if any.
//
// Cover needs the mapping's parallelization factor to be 1: with more, the batches of a
// shard interleave, and their keys, which differ all the same, don't tell an overlap.
//
// A put costs $0.005 per 1,000: the mapping's batching window decides how many there
// are. Objects is safe for concurrent use.
type Objects struct {
	// Client and Bucket are required.
	Client PutObjectAPI
	Bucket string
	// Prefix begins the keys.
	Prefix string
	// Layout is the time in the keys, as time.Format has it; "" means "2006/01/02/15/",
	// NoLayout none.
	Layout string
	// Encode appends a record to the object; nil means its Data and, if that doesn't
	// end in one, a line feed. It must make the same of the same record every time.
	Encode func(object []byte, r Record) ([]byte, error)
}

// Record of a shard.
type Record struct {
	// Sequence is the sequence number, a decimal number. Of an aggregated record all
	// user records have the same.
	Sequence string
	// Arrival is when the stream took the record. It is only in the key, and only that
	// of the first record.
	Arrival time.Time
	Data    []byte
}

// Write writes the records, which must be of that shard and in its order, and returns
// the object's key; of no records it writes no object, and the key is "". The events of
// a table's stream name no shard, unless the mapping has a tumbling window: give the
// table's name, if the parallelization factor is 1. Then objects of different shards
// may look as if they overlapped, and Cover doesn't apply.
func (o *Objects) Write(ctx context.Context, shard string, records []Record) (string, error) {
	if len(records) == 0 {
		return "", nil
	}
	if err := o.check(shard, records); err != nil {
		return "", err
	}
	first, last := records[0], records[len(records)-1]
	key := o.Prefix
	if o.Layout != NoLayout {
		key += first.Arrival.UTC().Format(cmp.Or(o.Layout, "2006/01/02/15/"))
	}
	key += shard + "/" + first.Sequence + "-" + last.Sequence + ".gz"

	body, err := o.body(records)
	if err != nil {
		return "", fmt.Errorf("sink: s3://%s/%s: %w", o.Bucket, key, err)
	}
	_, err = o.Client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(o.Bucket), Key: aws.String(key), Body: bytes.NewReader(body), ContentType: aws.String("application/gzip"),
	})
	if err != nil {
		return "", fmt.Errorf("sink: put s3://%s/%s: %w", o.Bucket, key, err)
	}
	return key, nil
}

func (o *Objects) check(shard string, records []Record) error {
	var problems []error
	if o.Client == nil || o.Bucket == "" {
		problems = append(problems, errors.New("sink: Client and Bucket are required"))
	}
	if shard == "" || strings.Contains(shard, "/") {
		problems = append(problems, fmt.Errorf("sink: the shard is %q: must be a name without a slash", shard))
	}
	for i, r := range records {
		if !isNumber(r.Sequence) {
			problems = append(problems, fmt.Errorf("sink: record %d has the sequence number %q: must be decimal digits", i, r.Sequence))
		} else if i > 0 && compare(r.Sequence, records[i-1].Sequence) < 0 {
			problems = append(problems, fmt.Errorf("sink: record %d (%s) comes before record %d (%s): write them in the shard's order", i, r.Sequence, i-1, records[i-1].Sequence))
		}
	}
	return errors.Join(problems...)
}

func (o *Objects) body(records []Record) ([]byte, error) {
	encode := o.Encode
	if encode == nil {
		encode = line
	}
	var plain []byte
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	for i, r := range records {
		var err error
		if plain, err = encode(plain[:0], r); err != nil {
			return nil, fmt.Errorf("record %d (%s): %w", i, r.Sequence, err)
		}
		if _, err := z.Write(plain); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return body.Bytes(), err
}

func line(object []byte, r Record) ([]byte, error) {
	object = append(object, r.Data...)
	if !bytes.HasSuffix(r.Data, []byte{'\n'}) {
		object = append(object, '\n')
	}
	return object, nil
}

// Part is what to read of an object.
type Part struct {
	Key string
	// After is the sequence number up to which the object's records are in other
	// parts: read those above it. "" means the whole object.
	After string
}

// Cover tells what to read of the objects with these keys, in any order, to get every
// record once: by shard, each in its order. Objects whose records all are in others are
// left out. A part that isn't whole needs the records' sequence numbers, which Encode
// can put into them; after a batch that was only split, all parts are whole. The error
// names the keys that aren't those of Objects.
//
// Cover has to see all objects of a shard that can overlap: begin and end where the
// stream was idle, or take what is an hour older and newer than is to be read.
func Cover(keys []string) ([]Part, error) {
	type object struct{ key, shard, first, last string }
	var objects []object
	var problems []error
	for _, key := range keys {
		folder, name := "", key
		if at := strings.LastIndexByte(key, '/'); at >= 0 {
			folder, name = key[:at], key[at+1:]
		}
		span, gz := strings.CutSuffix(name, ".gz")
		first, last, _ := strings.Cut(span, "-")
		shard := folder[strings.LastIndexByte(folder, '/')+1:]
		if !gz || shard == "" || !isNumber(first) || !isNumber(last) || compare(first, last) > 0 {
			problems = append(problems, fmt.Errorf("sink: the key %q isn't one of Objects: must end in <shard>/<first>-<last>.gz", key))
			continue
		}
		objects = append(objects, object{key, shard, first, last})
	}
	// Of those that begin alike, the longest comes first, and makes the others needless.
	slices.SortFunc(objects, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.shard, b.shard), compare(a.first, b.first), compare(b.last, a.last), cmp.Compare(a.key, b.key))
	})
	var parts []Part
	shard, covered := "", ""
	for _, o := range objects {
		if o.shard != shard {
			shard, covered = o.shard, ""
		}
		switch {
		case covered == "" || compare(o.first, covered) > 0:
			parts = append(parts, Part{Key: o.key})
		case compare(o.last, covered) > 0:
			parts = append(parts, Part{Key: o.key, After: covered})
		default:
			continue
		}
		covered = o.last
	}
	return parts, errors.Join(problems...)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// compare compares decimal numbers of any length.
func compare(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
