package throttle

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// maxRead is the most bytes that a call of GetRecords returns.
const maxRead = 10 << 20

// place is what an iterator reads.
type place struct {
	stream stream
	shard  string
}

// iterator answers GetShardIterator, and remembers what the iterator reads.
func (p *Proxy) iterator(c *call) {
	var in struct {
		named
		ShardID string `json:"ShardId"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		c.fail(codeMalformed, "the request can't be read: "+err.Error())
		return
	}
	p.forward(c, c.body, func(answer []byte) ([]byte, error) {
		var out struct{ ShardIterator string }
		if err := json.Unmarshal(answer, &out); err != nil {
			return nil, err
		}
		p.iterators.add(out.ShardIterator, place{in.stream(c.region), in.ShardID})
		return answer, nil
	})
}

// get answers GetRecords. An iterator that isn't known isn't the emulator's either,
// or too old for it: it says so.
func (p *Proxy) get(c *call) {
	var in struct{ ShardIterator string }
	if err := json.Unmarshal(c.body, &in); err != nil {
		c.fail(codeMalformed, "the request can't be read: "+err.Error())
		return
	}
	at, known := p.iterators.get(in.ShardIterator)
	if !known {
		p.forward(c, c.body, func(answer []byte) ([]byte, error) { return answer, nil })
		return
	}
	if !p.meter.read(at.stream, at.shard) {
		c.fail(codeThrottled, p.throttled(at.stream, at.shard))
		return
	}
	p.forward(c, c.body, func(answer []byte) ([]byte, error) {
		var out struct {
			Records []struct {
				PartitionKey                string
				SequenceNumber              string
				Data                        []byte
				ApproximateArrivalTimestamp float64
			}
			NextShardIterator string
		}
		if err := json.Unmarshal(answer, &out); err != nil {
			return nil, err
		}
		total, n := 0, 0
		for _, r := range out.Records {
			size := len(r.PartitionKey) + len(r.Data)
			if n > 0 && total+size > maxRead && p.o.Limits.ReadBytes > 0 {
				break
			}
			total, n = total+size, n+1
		}
		if n < len(out.Records) {
			next, err := p.o.API.GetShardIterator(c.r.Context(), &kinesis.GetShardIteratorInput{
				StreamName: aws.String(at.stream.name), ShardId: aws.String(at.shard),
				ShardIteratorType:      types.ShardIteratorTypeAfterSequenceNumber,
				StartingSequenceNumber: aws.String(out.Records[n-1].SequenceNumber),
			}, at.stream.inRegion)
			if err != nil {
				return nil, err
			}
			out.NextShardIterator = aws.ToString(next.ShardIterator)
			behind := p.o.Now().UnixMilli() - int64(1000*out.Records[n].ApproximateArrivalTimestamp)
			if answer, err = cut(answer, n, out.NextShardIterator, max(0, behind)); err != nil {
				return nil, err
			}
		}
		p.iterators.add(out.NextShardIterator, at)
		p.meter.gave(at.stream, at.shard, total)
		return answer, nil
	})
}

// cut is an answer with its first n records only.
func cut(answer []byte, n int, next string, behind int64) ([]byte, error) {
	var out map[string]json.RawMessage
	var records []json.RawMessage
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out["Records"], &records); err != nil {
		return nil, err
	}
	whole := map[string]any{}
	for name, value := range out {
		whole[name] = value
	}
	whole["Records"], whole["NextShardIterator"], whole["MillisBehindLatest"] = records[:n], next, behind
	return json.Marshal(whole)
}

// iteratorAge is how long the emulator's and Kinesis' iterators live.
const iteratorAge = 5 * time.Minute

// iterators remembers what iterators read, for iteratorAge at least and twice that
// at most.
type iterators struct {
	now func() time.Time

	mu         sync.Mutex
	young, old map[string]place
	until      time.Time // when the young ones are the old ones
}

func (i *iterators) add(iterator string, at place) {
	if iterator == "" { // the end of a closed shard
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if now := i.now(); i.young == nil || !now.Before(i.until) {
		i.young, i.old, i.until = map[string]place{}, i.young, now.Add(iteratorAge)
	}
	i.young[iterator] = at
}

func (i *iterators) get(iterator string) (place, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at, known := i.young[iterator]
	if !known {
		at, known = i.old[iterator]
	}
	return at, known
}
