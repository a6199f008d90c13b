// Package firehose runs a delivery stream of Amazon Data Firehose on one machine,
// from its API description: buffers, transform, partitions, destinations and
// error documents as AWS has them.
//
// A [Stream] is a synchronous value: [Stream.Add] buffers records, [Stream.Tick]
// does what is due. [Stream.Run] is the loop around it, [Poller] reads a Kinesis
// stream into it. Where AWS's documentation is silent or was seen to be wrong,
// the code follows what others recorded against the service, and says so.
package firehose

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // for CustomTimeZone on machines without zones

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/local/invoke"
)

// Clock tells the time.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// S3 is what a delivery stream needs of S3; *s3.Client is one.
type S3 interface {
	PutObject(ctx context.Context, in *s3.PutObjectInput, opts ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// Doer makes HTTP requests; *http.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Copier runs Redshift's COPY statements.
type Copier interface {
	Copy(ctx context.Context, c Copy) error
}

// Copy is a COPY of one intermediate object into a table.
type Copy struct {
	JDBCURL   string // of the cluster or workgroup
	User      string
	Secret    string // ARN of the secret with the credentials, in place of User
	Statement string // the whole SQL statement
	Bucket    string
	Object    string // key of the object that holds the records
	Manifest  string // key of the manifest that names the object
}

// Record is what a producer puts, or what a shard holds.
type Record struct {
	Data []byte
	// Arrival is the approximate arrival; zero means now.
	Arrival time.Time
	// Kinesis is where the record was read, nil for a direct put.
	Kinesis *Position
}

// Position is where a record stands in a Kinesis stream.
type Position struct {
	ShardID, PartitionKey, SequenceNumber string
	SubsequenceNumber                     int64
}

// Options are what a delivery stream works with.
type Options struct {
	// S3 takes objects; every destination needs it, at least for failures.
	S3 S3
	// Transform is the function of the stream's Lambda processor.
	Transform invoke.Invoker
	// Copy runs the COPY statements of a Redshift destination.
	Copy Copier
	// Glue has the columns of a stream that converts records to Parquet.
	Glue Catalog
	// HTTP makes the requests of the other destinations; by default a client that
	// waits 3 minutes for an answer, as Firehose does, and follows no redirects.
	HTTP Doer
	// Endpoint is the URL that HTTP, Splunk and OpenSearch destinations deliver
	// to, in place of the one in the description.
	Endpoint string
	// Credential is the HTTP endpoint's access key or Splunk's token: a
	// description doesn't tell the first and may not tell the second.
	Credential string
	// Clock is the system's by default.
	Clock Clock
	// Random is where UUIDs come from, crypto/rand by default.
	Random io.Reader
	// Concurrency is how many invocations and deliveries run at once, 4 by
	// default. 1 makes a run reproducible.
	Concurrency int
	// MaxBuffered is at how many bytes of undelivered records, with 256 bytes for
	// each besides its data, buffers are delivered early and Add refuses more with
	// ErrFull; by default 64 MiB and at least two destination buffers.
	MaxBuffered int
	// MaxInterval cuts the buffers' intervals and the waits between attempts, so that
	// nobody waits five minutes at their desk; 0, the default, leaves them as they are.
	MaxInterval time.Duration
	// ActivePartitions is how many partitions may have undelivered records at once,
	// 500 by default, as AWS's quota is.
	ActivePartitions int
}

// ErrFull is that a stream holds as much as it may; try again later.
var ErrFull = errors.New("firehose: the stream's buffer is full, slow down")

// ErrClosed is that a stream was closed.
var ErrClosed = errors.New("firehose: the stream is closed")

// Refused is that a delivery stream can't be run as it is described.
type Refused struct {
	Stream  string
	Reasons []string // each names the setting
}

func (e *Refused) Error() string {
	return fmt.Sprintf("firehose: %s can't run locally: %s", e.Stream, strings.Join(e.Reasons, "; "))
}

// Stats are a delivery stream's numbers. Records are counted after
// de-aggregation, and Accepted = Buffered + Delivered + Dropped + Failed.
type Stats struct {
	Accepted  int64
	Buffered  int64 // accepted and not yet settled
	Delivered int64 // in the destination
	Dropped   int64 // by the transform's own answer
	Failed    int64 // in an error document or an error manifest

	BackupPending int64 // source records that aren't yet in their backup
	BufferedBytes int64
	Oldest        time.Time // when the oldest buffer was begun that isn't away; zero if there is none
	Objects       int64     // written to S3, of any kind
	Invocations   int64     // of the transform
	Errors        int64     // attempts of invocations and deliveries that failed
	LastError     string    // of an invocation or a delivery, "" if there was none
}

// record is a record on its way.
type record struct {
	number  uint64 // of the record in this stream
	source  []byte // as it came, until the transform is done with it
	packed  []byte // as it came, if that was decompressed: error documents hold it
	size    int    // of source
	arrival time.Time
	kinesis *Position
	lambda  map[string]string // partition keys of the transform
}

// idLength is the length of Firehose's record ids.
const idLength = 62

// id is what the transform knows the record by.
func (r *record) id() string {
	var b [idLength]byte
	for i := range b {
		b[i] = '0'
	}
	for n, i := r.number, idLength-7; n > 0; n, i = n/10, i-1 {
		b[i] += byte(n % 10)
	}
	return string(b[:])
}

// overhead is about what a record takes in memory besides its data.
const overhead = 256

// Stream is a delivery stream.
type Stream struct {
	config
	clock       Clock
	random      io.Reader
	s3          S3
	transformer invoke.Invoker
	http        Doer
	copier      Copier
	glue        Catalog
	concurrency int
	maxInterval time.Duration
	wake        chan struct{}

	mu         sync.Mutex
	closed     bool
	ids        uint64
	stats      Stats
	held       int // about the memory of unsettled records
	transforms buffer
	partitions map[string]*buffer
	order      []string       // of the partitions, as they came
	active     map[string]int // the buffers and objects of a partition that aren't delivered
	failures   map[string]*buffer
	types      []string // of the failures, as they came
	backups    buffer
	jobs       []*pending
	running    map[*pending]bool // jobs that aren't in jobs just now
}

// job is work that leaves the process.
type job interface {
	// run tries once. It may run beside other jobs and touches only itself.
	run(ctx context.Context)
	// settle takes the outcome in, with the stream locked. Unless the job is done,
	// it runs again after the wait.
	settle(s *Stream, now time.Time) (wait time.Duration, done bool)
}

type pending struct {
	job
	opened time.Time // its buffer
	next   time.Time
}

// clamp on waits between attempts.
const (
	firstBackoff = time.Second
	lastBackoff  = 2 * time.Minute
)

// backoff is the wait after a number of failed attempts.
func backoff(failed int) time.Duration {
	return min(firstBackoff<<min(max(failed-1, 0), 10), lastBackoff)
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// lockedReader lets jobs draw random bytes at once.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// What a producer may put: bytes of a record, and bytes and records of a call.
const (
	largestPut   = 1000 << 10
	largestBatch = 4 << 20
	mostPut      = 500
)

// Put takes records of a producer, all or none: up to 500 of 1,000 KiB each and 4 MiB
// together, as PutRecordBatch does. It is for streams without a Kinesis source.
func (s *Stream) Put(records ...Record) error {
	if s.kinesisARN != "" {
		return fmt.Errorf("firehose: %s reads from %s and takes no direct puts", s.name, s.kinesisARN)
	}
	var problems []error
	size := 0
	for i := range records {
		n := len(records[i].Data)
		if size += n; n > largestPut {
			problems = append(problems, fmt.Errorf("firehose: record %d has %d bytes, the most is %d", i, n, largestPut))
		}
	}
	if len(records) > mostPut || size > largestBatch {
		problems = append(problems, fmt.Errorf("firehose: %d records of %d bytes, a call takes %d of %d bytes together", len(records), size, mostPut, largestBatch))
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	return s.Add(records...)
}

// Add buffers records, all or none of them. The data must not change afterwards.
func (s *Stream) Add(records ...Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.held >= s.maxBuffered {
		s.signal()
		return ErrFull
	}
	now := s.clock.Now()
	for i := range records {
		r := &records[i]
		arrival := r.Arrival
		if arrival.IsZero() {
			arrival = now
		}
		if r.Kinesis == nil {
			s.admit(record{source: r.Data, arrival: arrival}, now)
			continue
		}
		children, aggregated := kpl.Split(r.Data, nil)
		if !aggregated {
			s.admit(record{source: r.Data, arrival: arrival, kinesis: r.Kinesis}, now)
			continue
		}
		for _, child := range children {
			at := *r.Kinesis
			at.PartitionKey, at.SubsequenceNumber = string(child.PartitionKey), int64(child.Sub)
			s.admit(record{source: child.Data, arrival: arrival, kinesis: &at}, now)
		}
	}
	return nil
}

// admit takes a record apart as the stream's processors say and buffers the pieces.
func (s *Stream) admit(r record, now time.Time) {
	if s.backup != nil {
		// As it came: source records are kept before anything is done with them.
		s.stats.BackupPending++
		s.put(&s.backups, entry{rec: &r, data: r.source}, now)
		if s.backups.bytes >= s.backup.hints.size {
			s.sealBackup()
		}
	}
	data, problem := s.unpack(r.source)
	if problem != nil {
		s.accept(&r)
		problem.ended = now
		s.fail(&r, *problem, now)
		return
	}
	for _, piece := range s.split(data) {
		one := r
		one.source = piece
		if s.decompress {
			one.packed = r.source
		}
		s.accept(&one)
		s.enter(&one, now)
	}
}

// accept counts a record.
func (s *Stream) accept(r *record) {
	s.ids++
	r.number = s.ids
	s.stats.Accepted++
	s.stats.Buffered++
	r.size = len(r.source)
	s.stats.BufferedBytes += int64(r.size)
	s.held += r.size + overhead
}

// enter puts a record into its first buffer.
func (s *Stream) enter(r *record, now time.Time) {
	if s.transform == nil {
		s.route(r, r.source, now)
		return
	}
	// The request's limit can be nearer than the buffer's: many small records.
	weight := eventSize(r)
	if s.transforms.weight+weight > largestPayload-envelopeSize {
		s.sealTransform()
	}
	s.put(&s.transforms, entry{rec: r, data: r.source}, now)
	s.transforms.weight += weight
	if s.transforms.bytes >= s.transform.hints.size {
		s.sealTransform()
	}
}

// route puts a record's data into the buffer of its partition.
func (s *Stream) route(r *record, data []byte, now time.Time) {
	key, p, problem := s.partition(r, data)
	if problem != "" {
		s.fail(r, failure{kind: "metadata-extraction-failed", code: "DynamicPartitioning.MetadataExtractionFailed", message: problem, attempts: 1, ended: now}, now)
		return
	}
	b := s.partitions[key]
	if b == nil {
		if s.partitioned && s.active[key] == 0 && len(s.active) >= s.activePartitions {
			s.fail(r, failure{
				kind: "active-partition-limit-exceeded", code: "DynamicPartitioning.ActivePartitionLimitExceeded",
				message: fmt.Sprintf("The limit of %d active partitions is reached.", s.activePartitions), attempts: 1, ended: now,
			}, now)
			return
		}
		b = &buffer{partition: key, keys: p}
		s.partitions[key] = b
		if s.partitioned {
			s.active[key]++
		}
		s.order = append(s.order, key)
	}
	s.put(b, entry{rec: r, data: data}, now)
	r.source = nil // from here on, data is what error documents carry
	if s.delimiter {
		b.bytes++
	}
	if b.bytes >= s.hints.size || s.hints.records > 0 && len(b.entries) >= s.hints.records {
		s.sealPartition(key)
	}
}

// put appends to a buffer, and tells the loop when there is a new one.
func (s *Stream) put(b *buffer, e entry, now time.Time) {
	if len(b.entries) == 0 {
		b.opened = now
		s.signal()
	}
	b.entries = append(b.entries, e)
	b.bytes += len(e.data)
	if b.oldest.IsZero() || e.rec.arrival.Before(b.oldest) {
		b.oldest = e.rec.arrival
	}
}

// full tells whether Add would refuse records.
func (s *Stream) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held >= s.maxBuffered
}

// signal wakes the loop.
func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Stream) start(j job, of *buffer) {
	s.jobs = append(s.jobs, &pending{job: j, opened: of.opened})
	s.signal()
}

func (s *Stream) sealTransform() {
	if len(s.transforms.entries) > 0 {
		s.start(&invocation{stream: s, entries: s.transforms.entries}, &s.transforms)
		s.transforms = buffer{}
	}
}

func (s *Stream) sealPartition(key string) {
	b := s.partitions[key]
	delete(s.partitions, key)
	for i := range s.order {
		if s.order[i] == key {
			s.order = append(s.order[:i], s.order[i+1:]...)
			break
		}
	}
	s.start(s.deliver(s, b), b)
}

func (s *Stream) sealFailure(kind string) {
	b := s.failures[kind]
	delete(s.failures, kind)
	for i := range s.types {
		if s.types[i] == kind {
			s.types = append(s.types[:i], s.types[i+1:]...)
			break
		}
	}
	s.start(&object{stream: s, target: s.target, buffer: b, purpose: failed, errorType: kind}, b)
}

func (s *Stream) sealBackup() {
	b := s.backups
	s.backups = buffer{}
	s.start(&object{stream: s, target: s.backup, buffer: &b, purpose: backedUp}, &b)
}

// seal ends the buffers whose time is over, or all of them.
func (s *Stream) seal(now time.Time, all bool) {
	over := func(b *buffer, after time.Duration) bool {
		return len(b.entries) > 0 && (all || !now.Before(b.opened.Add(after)))
	}
	if s.transform != nil && over(&s.transforms, s.transform.hints.interval) {
		s.sealTransform()
	}
	for _, key := range append([]string(nil), s.order...) {
		if over(s.partitions[key], s.hints.interval) {
			s.sealPartition(key)
		}
	}
	for _, kind := range append([]string(nil), s.types...) {
		if over(s.failures[kind], s.target.hints.interval) {
			s.sealFailure(kind)
		}
	}
	if s.backup != nil && over(&s.backups, s.backup.hints.interval) {
		s.sealBackup()
	}
}

// Tick does everything that is due: invocations, deliveries, and their retries.
func (s *Stream) Tick(ctx context.Context) {
	s.tick(ctx, false)
}

func (s *Stream) tick(ctx context.Context, all bool) {
	for {
		due := s.take(all)
		if len(due) == 0 {
			return
		}
		var jobs sync.WaitGroup
		for _, p := range due[1:] {
			jobs.Go(func() { p.run(ctx) })
		}
		due[0].run(ctx)
		jobs.Wait()
		s.done(due...)
		if ctx.Err() != nil {
			return
		}
	}
}

// take ends the buffers whose time is over and takes the jobs that are due, no
// more than may run at once: finished buffers shouldn't all be built in memory
// before the first is away.
func (s *Stream) take(all bool) []*pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	s.seal(now, all || s.held >= s.maxBuffered)
	var due []*pending
	rest := s.jobs[:0]
	for _, p := range s.jobs {
		if p.next.After(now) || len(s.running) >= s.concurrency {
			rest = append(rest, p)
			continue
		}
		due = append(due, p)
		s.running[p] = true
	}
	clear(s.jobs[len(rest):])
	s.jobs = rest
	return due
}

// done takes in what came of jobs.
func (s *Stream) done(jobs ...*pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	for _, p := range jobs {
		delete(s.running, p)
		if wait, done := p.settle(s, now); !done {
			p.next = now.Add(s.hurried(wait))
			s.jobs = append(s.jobs, p)
		}
	}
	s.signal()
}

// hurried cuts a wait.
func (s *Stream) hurried(wait time.Duration) time.Duration {
	if s.maxInterval > 0 {
		return min(wait, s.maxInterval)
	}
	return wait
}

// Next is when Tick has something to do; false if nothing is buffered, or what is
// waits for a job that is running.
func (s *Stream) Next() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next()
}

func (s *Stream) next() (time.Time, bool) {
	var next time.Time
	found := false
	earlier := func(t time.Time) {
		if !found || t.Before(next) {
			next, found = t, true
		}
	}
	if len(s.running) < s.concurrency {
		for _, p := range s.jobs {
			earlier(p.next)
		}
	}
	if len(s.transforms.entries) > 0 {
		earlier(s.transforms.opened.Add(s.transform.hints.interval))
	}
	for _, b := range s.partitions {
		earlier(b.opened.Add(s.hints.interval))
	}
	for _, b := range s.failures {
		earlier(b.opened.Add(s.target.hints.interval))
	}
	if len(s.backups.entries) > 0 {
		earlier(s.backups.opened.Add(s.backup.hints.interval))
	}
	return next, found
}

// Run does whatever is due, until ctx is over; one slow invocation doesn't keep
// the rest waiting. What is buffered in the end is still there: see Close.
func (s *Stream) Run(ctx context.Context) {
	var jobs sync.WaitGroup
	defer jobs.Wait()
	for ctx.Err() == nil {
		for _, p := range s.take(false) {
			jobs.Go(func() {
				p.run(ctx)
				s.done(p)
			})
		}
		var timer <-chan time.Time
		if next, any := s.Next(); any {
			timer = s.clock.After(next.Sub(s.clock.Now()))
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer:
		}
	}
}

// flushPace is how often Flush looks after jobs that Run has begun.
const flushPace = 10 * time.Millisecond

// Flush delivers everything that is buffered without waiting for its interval,
// and retries until it is away or ctx is over.
func (s *Stream) Flush(ctx context.Context) error {
	for {
		s.tick(ctx, true)
		s.mu.Lock()
		next, any := s.next()
		wait := next.Sub(s.clock.Now())
		if len(s.running) > 0 && (!any || wait > flushPace) {
			any, wait = true, flushPace
		}
		s.mu.Unlock()
		if !any {
			return nil
		}
		if err := ctx.Err(); err != nil {
			st := s.Stats()
			return fmt.Errorf("firehose: %s still holds %d records and %d backups (last error: %q): %w", s.name, st.Buffered, st.BackupPending, st.LastError, err)
		}
		select {
		case <-ctx.Done():
		case <-s.clock.After(wait):
		}
	}
}

// Close takes no more records and flushes. After an error it can be called again.
func (s *Stream) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.Flush(ctx)
}

// Stats are the stream's numbers now.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	oldest := func(opened time.Time) {
		if st.Oldest.IsZero() || opened.Before(st.Oldest) {
			st.Oldest = opened
		}
	}
	for _, b := range []*buffer{&s.transforms, &s.backups} {
		if len(b.entries) > 0 {
			oldest(b.opened)
		}
	}
	for _, b := range s.partitions {
		oldest(b.opened)
	}
	for _, b := range s.failures {
		oldest(b.opened)
	}
	for _, p := range s.jobs {
		oldest(p.opened)
	}
	for p := range s.running {
		oldest(p.opened)
	}
	return st
}

// settled counts a record that reached its end.
func (s *Stream) settled(r *record, counter *int64) {
	*counter++
	s.stats.Buffered--
	s.stats.BufferedBytes -= int64(r.size)
	s.held -= r.size + overhead
}

// erred notes an error for Stats.
func (s *Stream) erred(what string, err error) {
	s.stats.Errors++
	s.stats.LastError = what + ": " + err.Error()
}

// New makes a delivery stream from its description, DescribeDeliveryStream's
// answer. It returns a *Refused that names everything that isn't supported.
func New(d *Description, o Options) (*Stream, error) {
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Random == nil {
		o.Random = crand.Reader
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	if o.ActivePartitions <= 0 {
		o.ActivePartitions = 500
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{
			Timeout:       3 * time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	c, err := configure(d, o)
	if err != nil {
		return nil, err
	}
	return &Stream{
		config:      *c,
		clock:       o.Clock,
		random:      &lockedReader{r: o.Random},
		s3:          o.S3,
		transformer: o.Transform,
		http:        o.HTTP,
		copier:      o.Copy,
		glue:        o.Glue,
		concurrency: o.Concurrency,
		maxInterval: o.MaxInterval,
		wake:        make(chan struct{}, 1),
		partitions:  map[string]*buffer{},
		active:      map[string]int{},
		running:     map[*pending]bool{},
		failures:    map[string]*buffer{},
	}, nil
}
