package idempotent

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// AWS's limits on positions.
const (
	maxDigits = 129       // of a sequence number, in the model of Kinesis; today's have 56, those of tables 21 to 40
	maxSub    = 9_999_999 // a record of 10 MiB can't hold two million others
)

// Position is where a record stands in its stream.
type Position struct {
	// Shard is the id of the record's shard, "shardId-000000000000". Ids are unique
	// in a stream only: if an item counts records of several, put the stream's name
	// before them.
	Shard string
	// Sequence is the record's sequence number, a decimal number of at most 129
	// digits.
	Sequence string
	// Sub is the index of a user record in the aggregated record that it came in
	// (kpl.Record.Sub), 0 to 9,999,999; 0 also for a record that came by itself.
	Sub int
}

// ID names the record within its stream: the shard, a colon, the sequence number,
// and the sub-sequence number if it isn't 0. Without the last it is the id of
// Lambda's Kinesis events.
func (p Position) ID() string {
	if p.Sub == 0 {
		return p.Shard + ":" + p.Sequence
	}
	return fmt.Sprintf("%s:%s.%d", p.Shard, p.Sequence, p.Sub)
}

// Mark is the position within the shard as a text that sorts as the records do, which
// a number in DynamoDB can't: it holds 38 digits. The text is the count of digits in
// three digits, then the digits, then the sub-sequence number if it isn't 0.
func (p Position) Mark() (string, error) {
	digits := strings.TrimLeft(p.Sequence, "0")
	switch {
	case p.Sequence == "" || strings.Trim(p.Sequence, "0123456789") != "" || len(digits) > maxDigits:
		return "", fmt.Errorf("idempotent: the sequence number is %q: must be 1 to %d decimal digits", p.Sequence, maxDigits)
	case p.Sub < 0 || p.Sub > maxSub:
		return "", fmt.Errorf("idempotent: Sub is %d: must be 0 to %d", p.Sub, maxSub)
	case p.Sub > 0:
		return fmt.Sprintf("%03d%s.%07d", len(digits), digits, p.Sub), nil
	}
	return fmt.Sprintf("%03d%s", len(digits), digits), nil
}

// marksOf are the marks of records, which must be of one shard and in its order.
func marksOf(at []Position) ([]string, error) {
	marks := make([]string, len(at))
	for i, p := range at {
		if p.Shard == "" {
			return nil, fmt.Errorf("idempotent: record %d names no shard", i)
		}
		if p.Shard != at[0].Shard {
			return nil, fmt.Errorf("idempotent: record %d is of shard %s, the first one of %s: apply the records of one shard at a time", i, p.Shard, at[0].Shard)
		}
		var err error
		if marks[i], err = p.Mark(); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		if i > 0 && marks[i] <= marks[i-1] {
			return nil, fmt.Errorf("idempotent: record %d (%s) doesn't come after record %d (%s): apply them in the stream's order, each once", i, p.ID(), i-1, at[i-1].ID())
		}
	}
	return marks, nil
}

// above is the index of the first mark that is above the one that an item holds. The
// records from the index from on were to be applied, and a mark forbade it.
func above(marks []string, from int, held map[string]types.AttributeValue, name string) (int, error) {
	mark, ok := held[name].(*types.AttributeValueMemberS)
	if !ok {
		return 0, fmt.Errorf("idempotent: the condition failed, but the answer holds no text in %s: ReturnValuesOnConditionCheckFailure isn't honored, or somebody else wrote the attribute", name)
	}
	next := sort.Search(len(marks), func(i int) bool { return marks[i] > mark.Value })
	if next <= from {
		return 0, fmt.Errorf("idempotent: the condition failed although %s is %q, below the first record", name, mark.Value)
	}
	return next, nil
}

// errNoClient is for a value whose required fields were forgotten, errNoFunction for an
// argument.
var (
	errNoClient   = errors.New("idempotent: Client and Table are required")
	errNoFunction = errors.New("idempotent: the function is nil")
)
