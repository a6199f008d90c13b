package firehose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/google/go-cmp/cmp"

	firehosetypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"

	"github.com/millrace/millrace/lambdas/kit/kpl"
)

// fakeKinesis is a stream whose iterators are "shard:index".
type fakeKinesis struct {
	shards  []types.Shard
	records map[string][]types.Record
	closed  map[string]bool
	errs    []error  // of the next reads
	asked   []string // iterator types
	reads   int
	most    int  // records of a read
	endless bool // closed shards have a next iterator for ever, as with emulators
}

func (f *fakeKinesis) ListShards(_ context.Context, in *kinesis.ListShardsInput, _ ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error) {
	at := 0
	if in.NextToken != nil {
		at = 1
	}
	out := &kinesis.ListShardsOutput{Shards: f.shards[at:]}
	if at == 0 && len(f.shards) > 1 {
		out.Shards, out.NextToken = f.shards[:1], aws.String("more")
	}
	return out, nil
}

func (f *fakeKinesis) GetShardIterator(_ context.Context, in *kinesis.GetShardIteratorInput, _ ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error) {
	id, at := aws.ToString(in.ShardId), 0
	f.asked = append(f.asked, id+" "+string(in.ShardIteratorType))
	for at < len(f.records[id]) {
		r := f.records[id][at]
		if in.ShardIteratorType == types.ShardIteratorTypeTrimHorizon ||
			in.ShardIteratorType == types.ShardIteratorTypeAtTimestamp && !r.ApproximateArrivalTimestamp.Before(*in.Timestamp) ||
			in.ShardIteratorType == types.ShardIteratorTypeAfterSequenceNumber && *r.SequenceNumber > *in.StartingSequenceNumber {
			break
		}
		at++
	}
	return &kinesis.GetShardIteratorOutput{ShardIterator: aws.String(fmt.Sprintf("%s:%d", id, at))}, nil
}

func (f *fakeKinesis) GetRecords(_ context.Context, in *kinesis.GetRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error) {
	f.reads++
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	id, index, _ := strings.Cut(aws.ToString(in.ShardIterator), ":")
	at := 0
	if _, err := fmt.Sscan(index, &at); err != nil {
		return nil, err
	}
	all := f.records[id]
	end := min(len(all), at+max(f.most, 1))
	if !slices.ContainsFunc(f.shards, func(s types.Shard) bool { return aws.ToString(s.ShardId) == id }) {
		return nil, &types.ResourceNotFoundException{}
	}
	out := &kinesis.GetRecordsOutput{Records: all[at:end], MillisBehindLatest: aws.Int64(int64(len(all) - end))}
	if end < len(all) || !f.closed[id] || f.endless {
		out.NextShardIterator = aws.String(fmt.Sprintf("%s:%d", id, end))
	}
	return out, nil
}

func shardOf(id string, parents ...string) types.Shard {
	s := types.Shard{ShardId: aws.String(id)}
	if len(parents) > 0 {
		s.ParentShardId = aws.String(parents[0])
	}
	if len(parents) > 1 {
		s.AdjacentParentShardId = aws.String(parents[1])
	}
	return s
}

func recordOf(n int, arrival time.Time, data string) types.Record {
	return types.Record{SequenceNumber: aws.String(fmt.Sprintf("%04d", n)), PartitionKey: aws.String("k"), Data: []byte(data), ApproximateArrivalTimestamp: aws.Time(arrival)}
}

// polled is a poller over a fake stream, and the delivery stream behind it.
func polled(t *testing.T, f *fakeKinesis, o PollOptions, s Options) (*Poller, *bench) {
	t.Helper()
	d := fromKinesis(described(func(x *firehosetypes.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(processor(firehosetypes.ProcessorTypeAppendDelimiterToRecord))
	}))
	b := start(t, d, s)
	p, err := Poll(f, b.Stream, o)
	if err != nil {
		t.Fatal(err)
	}
	return p, b
}

// steps reads for a while.
func (b *bench) steps(p *Poller, d time.Duration) {
	for end := b.clock.Now().Add(d); b.clock.Now().Before(end); {
		next := p.Step(context.Background())
		b.clock.move(max(next.Sub(b.clock.Now()), time.Millisecond))
	}
}

// delivered is everything that was delivered, a record a line.
func (b *bench) delivered() string {
	b.t.Helper()
	if err := b.Flush(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, key := range b.s3.keys() {
		all = append(all, b.s3.bodies()[key])
	}
	return strings.Join(all, "\n")
}

func TestPollerStartsWhereTheDeliveryStreamBegan(t *testing.T) {
	make := func() *fakeKinesis {
		return &fakeKinesis{shards: []types.Shard{shardOf("s0"), shardOf("s1")}, records: map[string][]types.Record{
			"s0": {recordOf(1, began.Add(-2*time.Minute), "old"), recordOf(2, began, "new")},
		}}
	}
	p, b := polled(t, make(), PollOptions{}, Options{})
	b.steps(p, 5*time.Second)
	if got := b.delivered(); got != "new" {
		t.Errorf("delivered %q", got)
	}
	p, b = polled(t, make(), PollOptions{TrimHorizon: true}, Options{})
	b.steps(p, 5*time.Second)
	if got := b.delivered(); got != "old\nnew" {
		t.Errorf("from the horizon: %q", got)
	}
	if diff := cmp.Diff(map[string]string{"s0": "0002"}, p.Positions()); diff != "" {
		t.Error(diff)
	}
	p, b = polled(t, make(), PollOptions{TrimHorizon: true, After: map[string]string{"s0": "0001"}}, Options{})
	b.steps(p, 5*time.Second)
	if got := b.delivered(); got != "new" {
		t.Errorf("resumed: %q", got)
	}
}

func TestWhatWasBufferedInACrashIsReadAgain(t *testing.T) {
	f := &fakeKinesis{shards: []types.Shard{shardOf("s0"), shardOf("s1")}, most: 10, records: map[string][]types.Record{
		"s0": {recordOf(1, began, "a")}, "s1": {recordOf(2, began, "b")},
	}}
	p, b := polled(t, f, PollOptions{}, Options{})
	b.steps(p, 2*time.Second)
	if got := b.delivered(); got != "a\nb" {
		t.Fatalf("before the crash: %q", got)
	}
	safe := p.Positions()
	f.records["s0"] = append(f.records["s0"], recordOf(3, began, "c"))
	f.records["s1"] = append(f.records["s1"], recordOf(4, began, "d"))
	b.steps(p, 2*time.Second)
	if st := b.Stats(); st.Buffered != 2 {
		t.Fatalf("nothing is buffered: %+v", st)
	}
	p, b = polled(t, f, PollOptions{After: safe}, Options{}) // the first ones are gone
	b.steps(p, 2*time.Second)
	if got := b.delivered(); got != "c\nd" {
		t.Errorf("after the crash: %q", got)
	}
}

func TestPollerReadsParentsBeforeChildren(t *testing.T) {
	f := &fakeKinesis{
		shards:  []types.Shard{shardOf("s0"), shardOf("s1", "s0"), shardOf("s2", "s0"), shardOf("s3", "s1", "s2")},
		closed:  map[string]bool{"s0": true, "s1": true, "s2": true},
		records: map[string][]types.Record{},
		most:    1,
	}
	for i, id := range []string{"s0", "s1", "s2", "s3"} {
		for n := range 3 {
			f.records[id] = append(f.records[id], recordOf(10*i+n, began, fmt.Sprintf("%s.%d", id, n)))
		}
	}
	f.records["s1"] = append([]types.Record{recordOf(9, began.Add(-time.Hour), "before the delivery stream")}, f.records["s1"]...)
	p, b := polled(t, f, PollOptions{}, Options{})
	b.steps(p, 20*time.Second)
	want := "s0.0\ns0.1\ns0.2\ns1.0\ns2.0\ns1.1\ns2.1\ns1.2\ns2.2\ns3.0\ns3.1\ns3.2"
	if got := b.delivered(); got != want {
		t.Errorf("delivered\n%s\nwant\n%s", got, want)
	}
	if st := p.Stats(); len(st) != 4 || !st[0].Ended || st[3].Ended || st[3].After != "0032" {
		t.Errorf("shards %+v", st)
	}
}

func TestPollerFollowsASplit(t *testing.T) {
	f := &fakeKinesis{shards: []types.Shard{shardOf("s0")}, closed: map[string]bool{}, records: map[string][]types.Record{"s0": {recordOf(1, began, "a")}}}
	p, b := polled(t, f, PollOptions{}, Options{})
	b.steps(p, 3*time.Second)
	f.closed["s0"] = true
	f.shards = append(f.shards, shardOf("s1", "s0"))
	f.records["s1"] = []types.Record{recordOf(2, began, "b")}
	b.steps(p, 3*time.Second)
	if got := b.delivered(); got != "a\nb" {
		t.Errorf("delivered %q", got)
	}
}

// Emulators differ from Kinesis in how a shard ends.
func TestPollerAndEmulatorsSplits(t *testing.T) {
	make := func() *fakeKinesis {
		return &fakeKinesis{shards: []types.Shard{shardOf("s0")}, closed: map[string]bool{}, endless: true, records: map[string][]types.Record{"s0": {recordOf(1, began, "a")}}}
	}
	child := func(f *fakeKinesis) {
		f.shards = append(f.shards, shardOf("s1", "s0"))
		f.records["s1"] = []types.Record{recordOf(2, began, "b")}
	}
	t.Run("a next iterator for ever", func(t *testing.T) {
		f := make()
		p, b := polled(t, f, PollOptions{}, Options{})
		b.steps(p, 3*time.Second)
		f.shards[0].SequenceNumberRange = &types.SequenceNumberRange{EndingSequenceNumber: aws.String("0001")}
		child(f)
		b.steps(p, 30*time.Second)
		if got := b.delivered(); got != "a\nb" {
			t.Errorf("delivered %q", got)
		}
	})
	t.Run("the parent is deleted", func(t *testing.T) {
		f := make()
		p, b := polled(t, f, PollOptions{}, Options{})
		b.steps(p, 3*time.Second)
		f.shards = nil
		child(f)
		b.steps(p, 90*time.Second)
		if got := b.delivered(); got != "a\nb" {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestPollerSurvivesErrors(t *testing.T) {
	f := &fakeKinesis{shards: []types.Shard{shardOf("s0")}, most: 1, records: map[string][]types.Record{
		"s0": {recordOf(1, began, "a"), recordOf(2, began, "b")},
	}}
	p, b := polled(t, f, PollOptions{}, Options{})
	b.steps(p, 100*time.Millisecond)
	f.errs = []error{&types.ProvisionedThroughputExceededException{}, &types.ExpiredIteratorException{}, errors.New("network")}
	b.steps(p, 20*time.Second)
	if got := b.delivered(); got != "a\nb" {
		t.Errorf("delivered %q", got)
	}
	if diff := cmp.Diff([]string{"s0 AT_TIMESTAMP", "s0 AFTER_SEQUENCE_NUMBER"}, f.asked); diff != "" {
		t.Error(diff)
	}
	if p.Err() == nil {
		t.Error("the errors aren't told")
	}
}

func TestPollerDoesntSpinOnIteratorsThatExpireAtOnce(t *testing.T) {
	f := &fakeKinesis{shards: []types.Shard{shardOf("s0")}, records: map[string][]types.Record{"s0": {recordOf(1, began, "a")}}}
	for range 5 {
		f.errs = append(f.errs, &types.ExpiredIteratorException{})
	}
	p, b := polled(t, f, PollOptions{}, Options{})
	b.steps(p, 5*time.Second)
	if f.reads > 4 { // at 0, 0, 2 and 6 s
		t.Errorf("%d reads in 5 s", f.reads)
	}
	b.steps(p, time.Minute)
	if got := b.delivered(); got != "a" {
		t.Errorf("delivered %q", got)
	}
}

func TestPollerWaitsForRoom(t *testing.T) {
	f := &fakeKinesis{shards: []types.Shard{shardOf("s0")}, most: 100, records: map[string][]types.Record{}}
	want := []string{}
	for n := range 50 {
		f.records["s0"] = append(f.records["s0"], recordOf(n, began, fmt.Sprintf("record-%02d", n)))
		want = append(want, fmt.Sprintf("record-%02d", n))
	}
	p, b := polled(t, f, PollOptions{}, Options{MaxBuffered: 50})
	for range 100 {
		b.steps(p, time.Second)
		if held := b.Stats().BufferedBytes; held > 60 {
			t.Fatalf("%d bytes are buffered", held)
		}
		b.after(0)
	}
	got := strings.Split(b.delivered(), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPollerDoesntReadWhatThereIsNoRoomFor(t *testing.T) {
	f := &fakeKinesis{shards: []types.Shard{shardOf("s0"), shardOf("s1")}, records: map[string][]types.Record{
		"s0": {recordOf(1, began, "a"), recordOf(2, began, "b")}, "s1": {recordOf(3, began, "c")},
	}}
	p, b := polled(t, f, PollOptions{}, Options{MaxBuffered: 1})
	b.steps(p, 10*time.Second)
	if f.reads != 1 || p.Err() != nil {
		t.Errorf("%d reads, error %v", f.reads, p.Err())
	}
}

func TestPollerNeedsASource(t *testing.T) {
	if _, err := Poll(&fakeKinesis{}, start(t, described(nil), Options{}).Stream, PollOptions{}); err == nil {
		t.Error("a direct put stream was polled")
	}
}

func TestAggregatedRecordsAreTakenApart(t *testing.T) {
	aggregator, err := kpl.NewAggregator(kpl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]string{{"k1", "one"}, {"k2", ""}, {"k2", "three"}} {
		if _, err := aggregator.Add(r[0], "", []byte(r[1])); err != nil {
			t.Fatal(err)
		}
	}
	data := aggregator.Flush()[0].Data
	var seen []string
	d := fromKinesis(described(func(x *firehosetypes.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(lambdaProcessor())
	}))
	b := start(t, d, Options{Transform: function(func(e event) (any, error) {
		for _, r := range e.Records {
			k := r.KinesisRecordMetadata
			seen = append(seen, fmt.Sprintf("%s %s %s.%d", r.Data, k.PartitionKey, k.SequenceNumber, k.SubsequenceNumber))
		}
		return upper(e)
	})})
	broken := append([]byte{}, data...)
	broken[len(broken)-1]++
	at := &Position{ShardID: "s0", SequenceNumber: "9", PartitionKey: "a"}
	if err := b.Add(Record{Data: data, Kinesis: at}, Record{Data: broken, Kinesis: at}); err != nil {
		t.Fatal(err)
	}
	b.after(time.Minute)
	want := []string{"one k1 9.0", " k2 9.1", "three k2 9.2", string(broken) + " a 9.0"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
