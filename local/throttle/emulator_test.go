package throttle_test

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/local/throttle"
)

// emulator has what the proxy needs of one, and faults. Like MiniStack it knows no
// limits, and names the shards after a change of their number as before.
type emulator struct {
	// fault, if it returns true, has answered the call itself.
	fault func(w http.ResponseWriter, operation string) bool
	// answered is told every call, with what it put.
	seen func(r *http.Request, operation string, body []byte)

	mu     sync.Mutex
	shards []*shard
	listed int
}

type shard struct {
	id       string
	from, to *big.Int
	records  []record
}

type record struct {
	PartitionKey                string
	SequenceNumber              string
	Data                        []byte
	ApproximateArrivalTimestamp float64
}

// fails sets the fault. A call that the last one cut off may still be under way.
func (e *emulator) fails(fault func(w http.ResponseWriter, operation string) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = fault
}

func (e *emulator) reshard(n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := new(big.Int).Lsh(big.NewInt(1), 128)
	e.shards = nil
	for i := range n {
		part := func(i int64) *big.Int { return new(big.Int).Div(new(big.Int).Mul(end, big.NewInt(i)), big.NewInt(n)) }
		e.shards = append(e.shards, &shard{
			id: fmt.Sprintf("shardId-%012d", i), from: part(i), to: new(big.Int).Sub(part(i+1), big.NewInt(1)),
		})
	}
}

// shardOf is the truth that the proxy has to find.
func (e *emulator) shardOf(key, explicit string) *shard {
	sum := md5.Sum([]byte(key))
	hash := new(big.Int).SetBytes(sum[:])
	if explicit != "" {
		hash.SetString(explicit, 10)
	}
	i := slices.IndexFunc(e.shards, func(s *shard) bool { return s.from.Cmp(hash) <= 0 && hash.Cmp(s.to) <= 0 })
	return e.shards[i]
}

func (e *emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if e.seen != nil {
		e.seen(r, operation, body)
	}
	e.mu.Lock()
	fault := e.fault
	e.mu.Unlock()
	if fault != nil && fault(w, operation) {
		return
	}
	type entry struct {
		PartitionKey, ExplicitHashKey string
		Data                          []byte
	}
	var in struct {
		entry
		StreamName, ShardID, ShardIterator, ShardIteratorType, StartingSequenceNumber string
		TargetShardCount                                                              int64
		Limit                                                                         int
		Records                                                                       []entry
	}
	if err := json.Unmarshal(body, &in); err != nil {
		fail(w, "SerializationException", err.Error())
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	put := func(in entry) map[string]any {
		s := e.shardOf(in.PartitionKey, in.ExplicitHashKey)
		sequence := fmt.Sprintf("%s-%09d", s.id, len(s.records))
		s.records = append(s.records, record{in.PartitionKey, sequence, in.Data, float64(start.Unix())})
		return map[string]any{"ShardId": s.id, "SequenceNumber": sequence, "EncryptionType": "NONE"}
	}
	shardAt := func(id string) (found *shard) {
		i := slices.IndexFunc(e.shards, func(s *shard) bool { return s.id == id })
		return e.shards[i]
	}
	switch operation {
	case "PutRecord":
		reply(w, put(in.entry))
	case "PutRecords":
		var results []any
		for _, one := range in.Records {
			results = append(results, put(one))
		}
		reply(w, map[string]any{"FailedRecordCount": 0, "Records": results, "EncryptionType": "NONE"})
	case "ListShards":
		e.listed++
		if in.StreamName == "missing" {
			fail(w, "ResourceNotFoundException", "Stream missing not found")
			return
		}
		all := []any{map[string]any{ // what was split once
			"ShardId":             "shardId-000000000099",
			"HashKeyRange":        map[string]string{"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"},
			"SequenceNumberRange": map[string]string{"StartingSequenceNumber": "0", "EndingSequenceNumber": "1"},
		}}
		for _, s := range e.shards {
			all = append(all, map[string]any{
				"ShardId": s.id, "HashKeyRange": map[string]string{"StartingHashKey": s.from.String(), "EndingHashKey": s.to.String()},
				"SequenceNumberRange": map[string]string{"StartingSequenceNumber": "0"},
			})
		}
		reply(w, map[string]any{"Shards": all})
	case "UpdateShardCount":
		e.mu.Unlock()
		e.reshard(in.TargetShardCount)
		e.mu.Lock()
		reply(w, map[string]any{})
	case "GetShardIterator":
		position := 0
		if in.ShardIteratorType == "AFTER_SEQUENCE_NUMBER" {
			position = 1 + slices.IndexFunc(shardAt(in.ShardID).records, func(r record) bool { return r.SequenceNumber == in.StartingSequenceNumber })
		}
		reply(w, map[string]any{"ShardIterator": in.ShardID + "/" + strconv.Itoa(position)})
	case "GetRecords":
		id, at, known := strings.Cut(in.ShardIterator, "/")
		if !known {
			fail(w, "ExpiredIteratorException", "Iterator has expired or is invalid")
			return
		}
		position, _ := strconv.Atoi(at)
		records := shardAt(id).records[position:]
		reply(w, map[string]any{
			"Records": records, "NextShardIterator": id + "/" + strconv.Itoa(position+len(records)), "MillisBehindLatest": 0,
		})
	default:
		fail(w, "InvalidAction", operation)
	}
}

func reply(w http.ResponseWriter, answer any) { _ = json.NewEncoder(w).Encode(answer) }

func fail(w http.ResponseWriter, code, message string) {
	w.WriteHeader(http.StatusBadRequest)
	reply(w, map[string]string{"__type": code, "message": message})
}

// records are all that the emulator holds, by shard.
func (e *emulator) records() map[string][]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string][]string{}
	for _, s := range e.shards {
		for _, r := range s.records {
			all[s.id] = append(all[s.id], string(r.Data))
		}
	}
	return all
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clock stands still but for those who sleep.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a proxy in front of an emulator with two shards, and a client of it that
// doesn't retry.
type bench struct {
	*emulator
	*clock
	proxy  *throttle.Proxy
	url    string
	client *kinesis.Client
}

func newBench(t *testing.T, limits throttle.Limits) *bench {
	t.Helper()
	b := &bench{emulator: &emulator{}, clock: &clock{now: start}}
	b.reshard(2)
	upstream := httptest.NewServer(b.emulator)
	t.Cleanup(upstream.Close)
	proxy, err := throttle.New(throttle.Options{
		Limits: limits, Upstream: upstream.URL, API: client(upstream.URL), Account: "111122223333", Now: b.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	b.proxy, b.url, b.client = proxy, front.URL, client(front.URL)
	return b
}

// whole is an HTTP client that has read an answer before it hands it out. The SDK
// closes a request's body as soon as it is handed an answer, which may close the
// connection under its reader (aws-sdk-go-v2#2737).
type whole struct{}

func (whole) Do(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, err
}

func client(url string) *kinesis.Client {
	return kinesis.NewFromConfig(aws.Config{
		Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		BaseEndpoint: aws.String(url), HTTPClient: whole{}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
}
