package firehose

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/millrace/millrace/lambdas/kit/producer"
)

// ToStream puts records back into the Kinesis stream that they came from, under
// their own partition keys. They come after what was put meanwhile, also what has
// the same key. Records of direct puts go back with package directput, a topic's messages
// not at all.
func ToStream(p *producer.Producer) Reingester { return &toStream{producer: p} }

type toStream struct {
	mu       sync.Mutex // a producer isn't for concurrent use
	producer *producer.Producer
}

func (t *toStream) Reingest(ctx context.Context, records []Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.producer == nil {
		return errors.New("ToStream has no producer")
	}
	for _, r := range records {
		if r.Kinesis == nil {
			return fmt.Errorf("record %s comes from no Kinesis stream", r.ID)
		}
		if err := t.producer.Add(ctx, producer.Record{PartitionKey: r.Kinesis.PartitionKey, Data: r.Data}); err != nil {
			return err
		}
	}
	return t.producer.Flush(ctx)
}
