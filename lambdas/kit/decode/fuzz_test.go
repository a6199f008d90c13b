package decode_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/kit/decode"
)

func FuzzKinesis(f *testing.F) {
	addFiles(f, "kinesis*.json")
	f.Fuzz(func(t *testing.T, payload []byte) {
		sameKinesis(t, payload)
		sameKinesis(t, unknown(payload))
	})
}

func FuzzDynamoDB(f *testing.F) {
	addFiles(f, "dynamodb*.json")
	f.Fuzz(func(t *testing.T, payload []byte) {
		sameDynamoDB(t, payload)
		sameDynamoDB(t, unknown(payload))
	})
}

func sameKinesis(t *testing.T, payload []byte) {
	t.Helper()
	same(t, payload, kinesisMembers, kinesisWant, func(payload []byte) (decode.KinesisEvent, error) {
		event, err := decode.Kinesis(payload)
		if len(event.Records) == 0 {
			event.Records = nil
		}
		return event, err
	})
}

func sameDynamoDB(t *testing.T, payload []byte) {
	t.Helper()
	same(t, payload, dynamoDBMembers, dynamoDBWant, func(payload []byte) (decode.DynamoDBEvent, error) {
		event, err := decode.DynamoDB(payload)
		if len(event.Records) == 0 {
			event.Records = nil
		}
		return event, err
	})
}

// unknown puts any bytes where an event has a member that nobody knows.
func unknown(value []byte) []byte {
	return append(append([]byte(`{"Records":[],"x":`), value...), '}')
}

func addFiles(f *testing.F, pattern string) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || files == nil {
		f.Fatalf("no %s in testdata: %v", pattern, err)
	}
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
}

// same checks that the package and encoding/json take the same payloads and read
// the same from them.
func same[E any](t *testing.T, payload []byte, members []string, want, read func([]byte) (E, error)) {
	t.Helper()
	before := string(payload)
	got, err := read(payload)
	if string(payload) != before {
		t.Fatal("the payload was written to")
	}
	if typed := (*decode.Error)(nil); err != nil && !errors.As(err, &typed) {
		t.Fatalf("an error of type %T: %v", err, err)
	} else if err != nil && (typed.Offset < 0 || typed.Offset > len(payload)) {
		t.Fatalf("offset %d of %d", typed.Offset, len(payload))
	}
	strict := json.Valid(payload) && utf8.Valid(payload)
	if !strict && err == nil {
		t.Fatalf("took what is no JSON in UTF-8: %.2000q", payload)
	}
	if !strict || !comparable(payload, members) {
		return
	}
	expected, refusal := want(payload)
	if errors.Is(refusal, errSkip) {
		return
	}
	if (err == nil) != (refusal == nil) {
		t.Fatalf("%.2000q\ngot error      %v\nencoding/json: %v", payload, err, refusal)
	}
	if err == nil && !reflect.DeepEqual(expected, got) {
		t.Fatalf("%.2000q (-encoding/json +got)\n%.2000s", payload, cmp.Diff(expected, got, attributes))
	}
}
