package firehose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Kinesis is what a poller needs of Kinesis; *kinesis.Client is one.
type Kinesis interface {
	ListShards(ctx context.Context, in *kinesis.ListShardsInput, opts ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error)
	GetShardIterator(ctx context.Context, in *kinesis.GetShardIteratorInput, opts ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error)
	GetRecords(ctx context.Context, in *kinesis.GetRecordsInput, opts ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error)
}

var (
	_ Kinesis = (*kinesis.Client)(nil)
	_ S3      = (*s3.Client)(nil)
)

// PollOptions are how a stream is read.
type PollOptions struct {
	// TrimHorizon reads from the oldest record. By default reading begins with the
	// records that arrived since the delivery stream was created, as Firehose does.
	TrimHorizon bool
	// After resumes: the sequence number of the last record that was read, for each
	// shard; see [Poller.Positions].
	After map[string]string
	// Interval between reads of a shard that has nothing, 1 s by default.
	Interval time.Duration
}

// The pace of reading: a shard allows five reads a second, and shards are listed
// again to see those that a split or a merge made.
const (
	readPace = 200 * time.Millisecond
	listPace = 10 * time.Second
	readSize = 10_000
)

// shard is what a poller knows of one.
type shard struct {
	id       string
	parents  []string
	iterator string
	after    string // the last sequence number that was read
	behind   time.Duration
	closed   bool // it takes no more records
	gone     bool // Kinesis no longer lists it
	ended    bool // and all were read
	next     time.Time
	failed   int
	waiting  []types.Record // read, and not yet taken by the stream
	follow   string         // the iterator after those
}

// ShardStats are a shard's position.
type ShardStats struct {
	Shard  string
	After  string        // sequence number of the last record that the stream took
	Behind time.Duration // of the newest record, as Kinesis says
	Ended  bool          // it was split or merged and is read to its end
}

// Poller reads all shards of a Kinesis stream into a delivery stream: parents to
// their end before their children, at least once.
type Poller struct {
	kinesis Kinesis
	stream  *Stream
	o       PollOptions
	clock   Clock

	reading sync.Mutex // of what Step works with
	shards  map[string]*shard
	listed  time.Time

	mu    sync.Mutex // of what others ask for meanwhile
	stats []ShardStats
	err   error // the last one
}

// Poll makes the poller of a stream with a Kinesis source.
func Poll(k Kinesis, s *Stream, o PollOptions) (*Poller, error) {
	if s.kinesisARN == "" {
		return nil, fmt.Errorf("firehose: %s has no Kinesis source", s.name)
	}
	if !o.TrimHorizon && s.began.IsZero() {
		return nil, fmt.Errorf("firehose: %s doesn't say since when it reads: its description has neither a DeliveryStartTimestamp nor a CreateTimestamp; TrimHorizon reads everything", s.name)
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	return &Poller{kinesis: k, stream: s, o: o, clock: s.clock, shards: map[string]*shard{}}, nil
}

// Run reads until ctx is over.
func (p *Poller) Run(ctx context.Context) {
	for ctx.Err() == nil {
		next := p.Step(ctx)
		select {
		case <-ctx.Done():
		case <-p.clock.After(max(next.Sub(p.clock.Now()), 0)):
		}
	}
}

// Step does the reads that are due, one for each shard, and returns when the next
// is. Errors are retried; see Err.
func (p *Poller) Step(ctx context.Context) time.Time {
	p.reading.Lock()
	defer p.reading.Unlock()
	defer p.publish()
	now := p.clock.Now()
	if p.listed.IsZero() || now.Sub(p.listed) >= listPace {
		if err := p.list(ctx); err != nil {
			p.erred(fmt.Errorf("listing shards: %w", err))
			if len(p.shards) == 0 {
				return now.Add(p.o.Interval)
			}
		}
		p.listed = now
	}
	next := p.listed.Add(listPace)
	for _, id := range p.ids() {
		s := p.shards[id]
		if s.ended || !p.ready(s) {
			continue
		}
		if !s.next.After(now) {
			p.read(ctx, s, now)
			if s.ended {
				// Its children are known only from a new list.
				p.listed = time.Time{}
				next = now
				continue
			}
		}
		if s.next.Before(next) {
			next = s.next
		}
	}
	return next
}

// ids are the shards in the order of their names, which is that of their making.
func (p *Poller) ids() []string {
	ids := make([]string, 0, len(p.shards))
	for id := range p.shards {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

// ready tells whether a shard's parents were read to their end. Parents that
// Kinesis no longer lists have no records.
func (p *Poller) ready(s *shard) bool {
	for _, id := range s.parents {
		if parent := p.shards[id]; parent != nil && !parent.ended {
			return false
		}
	}
	return true
}

func (p *Poller) list(ctx context.Context) error {
	in := &kinesis.ListShardsInput{StreamARN: aws.String(p.stream.kinesisARN)}
	listed := map[string]bool{}
	for {
		out, err := p.kinesis.ListShards(ctx, in)
		if err != nil {
			return err
		}
		for i := range out.Shards {
			one := &out.Shards[i]
			id := aws.ToString(one.ShardId)
			listed[id] = true
			closed := one.SequenceNumberRange != nil && aws.ToString(one.SequenceNumberRange.EndingSequenceNumber) != ""
			if known := p.shards[id]; known != nil {
				known.closed = closed
				continue
			}
			s := &shard{id: id, after: p.o.After[id], closed: closed}
			for _, parent := range []*string{one.ParentShardId, one.AdjacentParentShardId} {
				if aws.ToString(parent) != "" {
					s.parents = append(s.parents, *parent)
				}
			}
			p.shards[id] = s
		}
		if aws.ToString(out.NextToken) == "" {
			break
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken}
	}
	for id, s := range p.shards {
		s.gone = !listed[id]
	}
	return nil
}

// read hands on what a shard has.
func (p *Poller) read(ctx context.Context, s *shard, now time.Time) {
	if err := p.fetch(ctx, s, now); errors.Is(err, ErrFull) {
		p.stream.signal()
		s.next = now.Add(readPace)
		return
	} else if err != nil {
		p.erred(fmt.Errorf("shard %s: %w", s.id, err))
		s.failed++
		s.next = now.Add(p.stream.hurried(min(backoff(s.failed), 30*time.Second)))
		var expired *types.ExpiredIteratorException
		var missing *types.ResourceNotFoundException
		switch {
		case errors.As(err, &expired):
			if s.iterator = ""; s.failed == 1 { // else a new one would expire as well
				s.next = now
			}
		case s.gone && errors.As(err, &missing):
			// Nothing is left of it to wait for, and its children are waiting.
			s.ended = true
		}
		return
	}
	s.failed = 0
	// The stream takes a record with all that is in it, or not at all.
	for len(s.waiting) > 0 {
		r := &s.waiting[0]
		record := Record{Data: r.Data, Kinesis: &Position{ShardID: s.id, PartitionKey: aws.ToString(r.PartitionKey), SequenceNumber: aws.ToString(r.SequenceNumber)}}
		if r.ApproximateArrivalTimestamp != nil {
			record.Arrival = *r.ApproximateArrivalTimestamp
		}
		if err := p.stream.Add(record); err != nil {
			if !errors.Is(err, ErrFull) {
				p.erred(err)
			}
			s.next = now.Add(readPace)
			return
		}
		s.after = aws.ToString(r.SequenceNumber)
		s.waiting = s.waiting[1:]
	}
	s.waiting = nil
	s.iterator, s.ended = s.follow, s.follow == ""
}

// fetch fills waiting, unless there is something left of the last read.
func (p *Poller) fetch(ctx context.Context, s *shard, now time.Time) error {
	if len(s.waiting) > 0 {
		return nil
	}
	if p.stream.full() {
		return ErrFull
	}
	if s.iterator == "" {
		in := &kinesis.GetShardIteratorInput{StreamARN: aws.String(p.stream.kinesisARN), ShardId: aws.String(s.id)}
		switch {
		case s.after != "":
			in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, aws.String(s.after)
		case p.o.TrimHorizon:
			in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
		default:
			in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, aws.Time(p.stream.began)
		}
		out, err := p.kinesis.GetShardIterator(ctx, in)
		if err != nil {
			return err
		}
		s.iterator = aws.ToString(out.ShardIterator)
	}
	out, err := p.kinesis.GetRecords(ctx, &kinesis.GetRecordsInput{
		StreamARN: aws.String(p.stream.kinesisARN), ShardIterator: aws.String(s.iterator), Limit: aws.Int32(readSize),
	})
	if err != nil {
		return err
	}
	s.waiting, s.follow = out.Records, aws.ToString(out.NextShardIterator)
	s.behind = time.Duration(aws.ToInt64(out.MillisBehindLatest)) * time.Millisecond
	if s.closed && s.behind == 0 && len(out.Records) == 0 {
		s.follow = "" // emulators give an iterator for ever
	}
	s.next = now.Add(p.o.Interval)
	if s.behind > 0 {
		s.next = now.Add(min(readPace, p.o.Interval))
	}
	return nil
}

// publish makes the shards' positions known.
func (p *Poller) publish() {
	var all []ShardStats
	for _, id := range p.ids() {
		s := p.shards[id]
		all = append(all, ShardStats{Shard: id, After: s.after, Behind: s.behind, Ended: s.ended})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats = all
}

func (p *Poller) erred(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// Stats are the shards' positions, in the order of their names.
func (p *Poller) Stats() []ShardStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.stats)
}

// Positions are the sequence numbers of the last records that the delivery stream
// took, for PollOptions.After. Only after a Flush have all those been delivered.
func (p *Poller) Positions() map[string]string {
	at := map[string]string{}
	for _, s := range p.Stats() {
		if s.After != "" {
			at[s.Shard] = s.After
		}
	}
	return at
}

// Err is the last error, nil if there was none.
func (p *Poller) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
