package memory_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/esmtest"
	"github.com/millrace/millrace/local/esm/memory"
)

func TestAStreamIsASource(t *testing.T) {
	esmtest.Run(t, func(*testing.T) esmtest.Stream { return stream{memory.New(2)} }, esmtest.Options{In: synctest.Test})
}

func TestATablesChangesAreASource(t *testing.T) {
	esmtest.Run(t, func(*testing.T) esmtest.Stream {
		table := memory.NewTable("us-east-1")
		return changes{table.Stream, table}
	}, esmtest.Options{In: synctest.Test})
}

type stream struct{ *memory.Stream }

var _ esmtest.Resharder = stream{}

func (stream) Kind() esm.Kind { return esm.Kinesis }

func (stream) ARN() string { return "arn:aws:kinesis:us-east-1:000000000000:stream/memory" }

func (s stream) Put(key string, data []byte) error {
	s.Stream.Put(time.Now(), key, data)
	return nil
}

func (s stream) Expired(ctx context.Context, shard string) (string, error) {
	return expired(ctx, s.Stream, shard)
}

func expired(ctx context.Context, s *memory.Stream, shard string) (string, error) {
	iterator, err := s.Iterator(ctx, shard, esm.Position{Type: "TRIM_HORIZON"}, "")
	s.Expire()
	return iterator, err
}

func (s stream) Split() error {
	if !s.Stream.Split(0) {
		return errors.New("it can't be split")
	}
	return nil
}

func (s stream) Merge() error {
	for i := range 10 {
		if s.Stream.Merge(i) {
			return nil
		}
	}
	return errors.New("no shards are neighbours")
}

// changes of a table.
type changes struct {
	esm.Source
	table *memory.Table
}

var _ esmtest.Table = changes{}

func (changes) Kind() esm.Kind { return esm.DynamoDB }

func (changes) ARN() string {
	return "arn:aws:dynamodb:us-east-1:000000000000:table/memory/stream/2026-01-01T00:00:00.000"
}

func (c changes) Put(key string, data []byte) error {
	c.table.Put(time.Now(), key, memory.Item{"data": map[string]any{"B": base64.StdEncoding.EncodeToString(data)}})
	return nil
}

func (c changes) Delete(key string) error {
	c.table.Delete(time.Now(), key)
	return nil
}

func (c changes) Disable() error {
	c.table.Disable()
	return nil
}

func (c changes) Expired(ctx context.Context, shard string) (string, error) {
	return expired(ctx, c.table.Stream, shard)
}
