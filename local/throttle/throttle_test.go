package throttle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/producer"
	"github.com/millrace/millrace/local/throttle"
)

// Explicit hash keys of the two shards.
const (
	first  = "0"
	second = "340282366920938463463374607431768211455"
)

func (b *bench) put(t *testing.T, hashKeys ...string) *kinesis.PutRecordsOutput {
	t.Helper()
	var entries []types.PutRecordsRequestEntry
	for i, key := range hashKeys {
		entries = append(entries, types.PutRecordsRequestEntry{
			PartitionKey: aws.String("k"), ExplicitHashKey: aws.String(key), Data: fmt.Appendf(nil, "%d <&>\u2028", i),
		})
	}
	out, err := b.client.PutRecords(t.Context(), &kinesis.PutRecordsInput{StreamName: aws.String("s"), Records: entries})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// codes are the results in short: a shard's last digit, or a dash for a throttled
// record.
func codes(out *kinesis.PutRecordsOutput) string {
	var b strings.Builder
	for _, r := range out.Records {
		switch id := aws.ToString(r.ShardId); {
		case id != "" && r.SequenceNumber != nil && r.ErrorCode == nil:
			b.WriteString(id[len(id)-1:])
		case aws.ToString(r.ErrorCode) == "ProvisionedThroughputExceededException" && id == "":
			b.WriteString("-")
		default:
			fmt.Fprintf(&b, "(%s)", aws.ToString(r.ErrorCode))
		}
	}
	return b.String()
}

func TestAShardTakesTheFirstOfACallAndTurnsAwayTheRest(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 2})
	out := b.put(t, first, second, first, first, second, first, second)
	if got := codes(out); got != "010-1--" || *out.FailedRecordCount != 3 {
		t.Errorf("results %s with %d failed, want 010-1-- with 3", got, *out.FailedRecordCount)
	}
	if got, want := *out.Records[3].ErrorMessage, "Rate exceeded for shard shardId-000000000000 in stream s under account 111122223333."; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	want := map[string][]string{
		"shardId-000000000000": {"0 <&>\u2028", "2 <&>\u2028"},
		"shardId-000000000001": {"1 <&>\u2028", "4 <&>\u2028"},
	}
	if got := b.records(); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the emulator holds %q, want %q", got, want)
	}
	if got := codes(b.put(t, first, second)); got != "--" {
		t.Errorf("in the same moment: %s, want --", got)
	}
	b.pass(500 * time.Millisecond)
	if got := codes(b.put(t, first, first, second)); got != "0-1" {
		t.Errorf("half a second later: %s, want 0-1", got)
	}
	got := b.proxy.Stats()
	size := int64(len("k0 <&>\u2028"))
	if want := []throttle.Shard{
		{Stream: "s", Shard: "shardId-000000000000", Records: 3, Bytes: 3 * size, Throttled: 4},
		{Stream: "s", Shard: "shardId-000000000001", Records: 3, Bytes: 3 * size, Throttled: 2},
	}; !slices.Equal(got, want) {
		t.Errorf("it counts %+v, want %+v", got, want)
	}
}

func TestASingleRecord(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 1})
	in := &kinesis.PutRecordInput{StreamARN: aws.String("arn:aws:kinesis:eu-west-1:111122223333:stream/s"), PartitionKey: aws.String("k"), Data: []byte("d")}
	out, err := b.client.PutRecord(t.Context(), in)
	if err != nil || out.ShardId == nil || out.SequenceNumber == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	var throttled *types.ProvisionedThroughputExceededException
	if _, err = b.client.PutRecord(t.Context(), in); !errors.As(err, &throttled) || throttled.ErrorMessage() != "Rate exceeded for shard "+*out.ShardId+" in stream s under account 111122223333." {
		t.Errorf("beyond the limit: %v", err)
	}
	// By its name it's the same stream.
	in.StreamName, in.StreamARN = aws.String("s"), nil
	if _, err = b.client.PutRecord(t.Context(), in); !errors.As(err, &throttled) {
		t.Errorf("by the stream's name: %v", err)
	}
	b.pass(time.Second)
	if _, err = b.client.PutRecord(t.Context(), in); err != nil {
		t.Error(err)
	}
}

func TestRecordsAreMeteredWhereTheyLand(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 1_000_000})
	b.reshard(7)
	all := new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(t *rapid.T) {
		var entries []types.PutRecordsRequestEntry
		for range rapid.IntRange(1, 50).Draw(t, "records") {
			entry := types.PutRecordsRequestEntry{PartitionKey: aws.String(rapid.StringN(1, 256, -1).Draw(t, "key")), Data: []byte("d")}
			if rapid.Bool().Draw(t, "explicit") {
				n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "hash"))
				entry.ExplicitHashKey = aws.String(n.Mod(n, all).String())
			}
			entries = append(entries, entry)
		}
		before := b.count()
		out, err := b.client.PutRecords(context.Background(), &kinesis.PutRecordsInput{StreamName: aws.String("s"), Records: entries})
		if err != nil || *out.FailedRecordCount != 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		for _, r := range out.Records {
			before[*r.ShardId]++
		}
		if got := b.count(); !maps.Equal(got, before) {
			t.Fatalf("it counts %v, the records are at %v", got, before)
		}
	})
	if b.listed != 1 {
		t.Errorf("it asked for the shards %d times, want once: an answer from another shard than expected has it ask again", b.listed)
	}
}

func (b *bench) count() map[string]int64 {
	all := map[string]int64{}
	for _, s := range b.proxy.Stats() {
		all[s.Shard] = s.Records
	}
	return all
}

func TestReshardingIsNoticed(t *testing.T) {
	limits := throttle.Limits{WriteRecords: 1}
	t.Run("when it goes through the proxy", func(t *testing.T) {
		b := newBench(t, limits)
		b.put(t, second)
		if _, err := b.client.UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{
			StreamName: aws.String("s"), TargetShardCount: aws.Int32(4), ScalingType: types.ScalingTypeUniformScaling,
		}); err != nil {
			t.Fatal(err)
		}
		if got := codes(b.put(t, second)); got != "3" {
			t.Errorf("put at %s, want the new shard 3", got)
		}
	})
	t.Run("by an answer, when it went past the proxy", func(t *testing.T) {
		b := newBench(t, limits)
		b.put(t, second)
		b.pass(time.Second)
		b.reshard(4)
		b.put(t, second) // metered as the old one
		if got := codes(b.put(t, second, second)); got != "3-" {
			t.Errorf("put at %s, want one at the new shard 3", got)
		}
	})
}

func TestACallThatTheEmulatorRefusesTakesNothing(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 2})
	b.fails(func(w http.ResponseWriter, operation string) bool {
		if operation == "PutRecords" {
			fail(w, "AccessDeniedException", "not you")
			return true
		}
		return false
	})
	var refused smithy.APIError
	in := &kinesis.PutRecordsInput{StreamName: aws.String("s"), Records: []types.PutRecordsRequestEntry{
		{PartitionKey: aws.String("k"), ExplicitHashKey: aws.String(first), Data: []byte("d")},
		{PartitionKey: aws.String("k"), ExplicitHashKey: aws.String(first), Data: []byte("d")},
		{PartitionKey: aws.String("k"), ExplicitHashKey: aws.String(first), Data: []byte("d")},
	}}
	for range 3 {
		if _, err := b.client.PutRecords(t.Context(), in); !errors.As(err, &refused) || refused.ErrorCode() != "AccessDeniedException" || refused.ErrorMessage() != "not you" {
			t.Fatalf("%v, want the emulator's own error", err)
		}
	}
	b.fails(nil)
	if got := codes(b.put(t, first, first, first)); got != "00-" {
		t.Errorf("afterwards the shard takes %s, want two", got)
	}
}

func TestACallWithoutAnAnswerKeepsWhatItTook(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 1})
	b.fails(func(_ http.ResponseWriter, operation string) bool {
		if operation == "PutRecord" {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	in := &kinesis.PutRecordInput{StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("d")}
	var failed smithy.APIError
	if _, err := b.client.PutRecord(t.Context(), in); !errors.As(err, &failed) || failed.ErrorCode() != "InternalFailure" {
		t.Fatalf("%v, want a failure that is tried again", err)
	}
	b.fails(nil)
	var throttled *types.ProvisionedThroughputExceededException
	if _, err := b.client.PutRecord(t.Context(), in); !errors.As(err, &throttled) {
		t.Errorf("%v, but the record may be in the shard", err)
	}
}

func TestARecordThatTheEmulatorFailsIsFailedAndTakesNothing(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 2})
	b.fails(func(w http.ResponseWriter, operation string) bool {
		if operation != "PutRecords" {
			return false
		}
		reply(w, map[string]any{"FailedRecordCount": 1, "Records": []any{
			map[string]string{"ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure."},
			map[string]string{"ShardId": "shardId-000000000000", "SequenceNumber": "1"},
		}})
		return true
	})
	out := b.put(t, first, first, first)
	if got := codes(out); got != "(InternalFailure)0-" || *out.FailedRecordCount != 2 {
		t.Errorf("results %s with %d failed, want one by the emulator and one throttled", got, *out.FailedRecordCount)
	}
	b.fails(nil)
	if got := codes(b.put(t, first, first)); got != "0-" {
		t.Errorf("then %s: the failed record's share wasn't given back", got)
	}
}

func TestWhatKinesisRefusesIsRefused(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 1})
	for name, c := range map[string]struct{ body, code, says string }{
		"CBOR":                         {"\xbf\xff", "SerializationException", "CBOR_ENABLED=false"},
		"no JSON":                      {`{"Records":`, "SerializationException", "can't be read"},
		"no base64":                    {`{"StreamName":"s","Records":[{"PartitionKey":"k","Data":"%"}]}`, "SerializationException", "can't be read"},
		"no stream":                    {`{"Records":[{"PartitionKey":"k","Data":""}]}`, "ValidationException", "stream"},
		"an unknown stream":            {`{"StreamName":"missing","Records":[{"PartitionKey":"k","Data":""}]}`, "ResourceNotFoundException", "missing"},
		"no record":                    {`{"StreamName":"s","Records":[]}`, "ValidationException", "between 1 and 500"},
		"too many records":             {`{"StreamName":"s","Records":[` + strings.TrimSuffix(strings.Repeat(`{"PartitionKey":"k","Data":""},`, 501), ",") + `]}`, "ValidationException", "between 1 and 500"},
		"no partition key":             {`{"StreamName":"s","Records":[{"PartitionKey":"k","Data":""},{"Data":""}]}`, "ValidationException", "record 2"},
		"too long a partition key":     {`{"StreamName":"s","Records":[{"PartitionKey":"` + strings.Repeat("ä", 257) + `","Data":""}]}`, "ValidationException", "between 1 and 256"},
		"an explicit key that is none": {`{"StreamName":"s","Records":[{"PartitionKey":"k","ExplicitHashKey":"340282366920938463463374607431768211456","Data":""}]}`, "InvalidArgumentException", "ExplicitHashKey of record 1"},
	} {
		t.Run(name, func(t *testing.T) {
			contentType := "application/x-amz-json-1.1"
			if name == "CBOR" {
				contentType = "application/x-amz-cbor-1.1"
			}
			status, answer := b.call(t, "PutRecords", contentType, []byte(c.body))
			if status != http.StatusBadRequest || !strings.Contains(answer, `"__type":"`+c.code+`"`) || !strings.Contains(answer, c.says) {
				t.Errorf("%d %s, want %s that says %q", status, answer, c.code, c.says)
			}
		})
	}
	if held := b.records(); len(held) != 0 {
		t.Errorf("the emulator holds %q", held)
	}
	if got := codes(b.put(t, first)); got != "0" {
		t.Errorf("afterwards the shard takes %s, want one", got)
	}
}

func (b *bench) call(t *testing.T, operation, contentType string, body []byte) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// The signature covers the host, the length and the hash of what the caller sent.
func TestASignatureStaysValid(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 1})
	var sent []byte
	var got *http.Request
	var length int
	b.seen = func(r *http.Request, operation string, body []byte) {
		if operation == "PutRecords" {
			got, length = r, len(body)
		}
	}
	for _, partly := range []bool{false, true} {
		b.pass(time.Hour)
		hashKeys := []string{`"0"`}
		if partly {
			hashKeys = append(hashKeys, `"1"`)
		}
		var entries []string
		for _, key := range hashKeys {
			entries = append(entries, `{ "PartitionKey": "k<", "ExplicitHashKey": `+key+`, "Data": "" }`)
		}
		sent = []byte(`{ "StreamName": "s", "Records": [ ` + strings.Join(entries, " , ") + ` ] }`)
		if status, answer := b.call(t, "PutRecords", "application/x-amz-json-1.1", sent); status != http.StatusOK {
			t.Fatal(answer)
		}
		if want := strings.TrimPrefix(b.url, "http://"); got.Host != want {
			t.Errorf("partly throttled %v: host %s, want %s", partly, got.Host, want)
		}
		if length != len(sent) || got.ContentLength != int64(len(sent)) {
			t.Errorf("partly throttled %v: %d bytes, want %d", partly, length, len(sent))
		}
		want := ""
		if partly {
			want = fmt.Sprintf("%x", sha256.Sum256(sent))
		}
		if hash := got.Header.Get("X-Amz-Content-Sha256"); hash != want {
			t.Errorf("partly throttled %v: hash %q, want %q", partly, hash, want)
		}
	}
}

func TestEverythingElseGoesThroughUntouched(t *testing.T) {
	var got *http.Request
	var body []byte
	next := make(chan bool)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Amz-Request-Id", "17")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		<-next // the client has it before there is more
		_, _ = io.WriteString(w, "two")
	}))
	defer upstream.Close()
	proxy, err := throttle.New(throttle.Options{Limits: throttle.AWS, Upstream: upstream.URL, API: client(upstream.URL)})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(proxy)
	defer front.Close()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, front.URL+"/bucket/a%2Fb//c+d?x=1;y=2&z=%2F", strings.NewReader("payload"))
	request.Header.Set("X-Amz-Target", "DynamoDBStreams_20120810.GetRecords")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=…")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	part := make([]byte, 3)
	if _, err := io.ReadFull(response.Body, part); err != nil || string(part) != "one" {
		t.Fatalf("%q, %v", part, err)
	}
	next <- true
	rest, err := io.ReadAll(response.Body)
	if err != nil || string(rest) != "two" || response.StatusCode != http.StatusTeapot || response.Header.Get("X-Amz-Request-Id") != "17" {
		t.Errorf("answer %d %v %q, %v", response.StatusCode, response.Header, rest, err)
	}
	if got.Method != http.MethodPut || got.RequestURI != "/bucket/a%2Fb//c+d?x=1;y=2&z=%2F" || got.Host != strings.TrimPrefix(front.URL, "http://") || string(body) != "payload" {
		t.Errorf("the emulator got %s %s for %s with %q", got.Method, got.RequestURI, got.Host, body)
	}
	for header := range got.Header {
		if strings.HasPrefix(header, "X-Forwarded") || header == "Forwarded" {
			t.Errorf("the proxy added %s", header)
		}
	}
	if got.Header.Get("Authorization") != "AWS4-HMAC-SHA256 Credential=…" {
		t.Errorf("headers %v", got.Header)
	}
}

func TestReadsOfAShard(t *testing.T) {
	b := newBench(t, throttle.Limits{ReadTransactions: 2, ReadBytes: 1 << 20})
	b.put(t, first, first, first)
	iterator := func(shard string) *string {
		out, err := b.client.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
			StreamName: aws.String("s"), ShardId: aws.String(shard), ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.ShardIterator
	}
	at := iterator("shardId-000000000000")
	read := func(at *string) (*kinesis.GetRecordsOutput, error) {
		return b.client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: at})
	}
	out, err := read(at)
	if err != nil || len(out.Records) != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err = read(out.NextShardIterator); err != nil {
		t.Fatal(err)
	}
	var throttled *types.ProvisionedThroughputExceededException
	if _, err = read(out.NextShardIterator); !errors.As(err, &throttled) || throttled.ErrorMessage() != "Rate exceeded for shard shardId-000000000000 in stream s under account 111122223333." {
		t.Errorf("a third call in a second: %v", err)
	}
	if _, err = read(iterator("shardId-000000000001")); err != nil {
		t.Errorf("another shard: %v", err)
	}
	b.pass(500 * time.Millisecond)
	if _, err = read(out.NextShardIterator); err != nil {
		t.Errorf("half a second later: %v", err)
	}
	var expired *types.ExpiredIteratorException
	if _, err = read(aws.String("nobody's")); !errors.As(err, &expired) {
		t.Errorf("an unknown iterator: %v, want the emulator's answer", err)
	}
}

func TestAnIteratorIsMeteredAsLongAsItLives(t *testing.T) {
	b := newBench(t, throttle.Limits{ReadTransactions: 1})
	out, err := b.client.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: aws.String("s"), ShardId: aws.String("shardId-000000000001"), ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, second) // so that the next iterator is another one
	b.pass(5 * time.Minute)
	for i, want := range []bool{true, false} {
		if _, err := b.client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: out.ShardIterator}); (err == nil) != want {
			t.Errorf("call %d with an iterator of five minutes: %v", i+1, err)
		}
	}
}

func TestACallReturnsTenMegabytesAtMostAndTheNextOnesTheRest(t *testing.T) {
	b := newBench(t, throttle.AWS)
	for i := range 25 {
		b.pass(time.Second)
		if _, err := b.client.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("k"), ExplicitHashKey: aws.String(first),
			Data: append([]byte{byte(i)}, make([]byte, 1<<20-2)...), // with its key a MiB
		}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := b.client.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: aws.String("s"), ShardId: aws.String("shardId-000000000000"), ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		t.Fatal(err)
	}
	at := out.ShardIterator
	var order, calls []int
	var behind []int64
	for range 4 {
		out, err := b.client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: at})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Records {
			order = append(order, int(r.Data[0]))
		}
		calls, behind, at = append(calls, len(out.Records)), append(behind, *out.MillisBehindLatest), out.NextShardIterator
		var throttled *types.ProvisionedThroughputExceededException
		if len(out.Records) == 10 {
			b.pass(4999 * time.Millisecond)
			if _, err := b.client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: at}); !errors.As(err, &throttled) {
				t.Errorf("less than five seconds after 10 MB: %v", err)
			}
		}
		b.pass(5 * time.Second)
	}
	if !slices.Equal(calls, []int{10, 10, 5, 0}) {
		t.Errorf("records per call %v, want 10, 10, 5, 0", calls)
	}
	if behind[0] != 25_000 || behind[2] != 0 {
		t.Errorf("milliseconds behind %v: the emulator's records are as old as the test's clock", behind)
	}
	for i, n := range order {
		if i != n {
			t.Fatalf("the records came as %v", order)
		}
	}
	if len(order) != 25 {
		t.Errorf("%d records, want 25", len(order))
	}
}

// Producers with retries get everything through, one of them to a hot shard, with
// more in no second than its limit and a second's worth.
func TestProducersLoseNothing(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 50})
	const producers, each = 4, 300
	var all sync.WaitGroup
	for i := range producers {
		all.Go(func() {
			p, err := producer.New(b.client, "s", producer.Options{
				BatchRecords: 40, Now: b.Now, Sleep: func(_ context.Context, d time.Duration) error { b.pass(d); return nil },
			})
			if err != nil {
				t.Error(err)
				return
			}
			for n := range each {
				key := "hot"
				if n%10 == 0 {
					key = "cold-0"
				}
				if err := p.Add(t.Context(), producer.Record{PartitionKey: key, Data: fmt.Appendf(nil, "%d-%d", i, n)}); err != nil {
					t.Error(err)
					return
				}
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	seen := map[string]int{}
	for _, records := range b.records() {
		for _, r := range records {
			seen[r]++
		}
	}
	if len(seen) != producers*each {
		t.Errorf("the emulator holds %d records, want %d", len(seen), producers*each)
	}
	for r, n := range seen {
		if n != 1 {
			t.Errorf("record %s is there %d times", r, n)
		}
	}
	hot, cold := b.shardOf("hot", "").id, b.shardOf("cold-0", "").id
	if hot == cold {
		t.Fatal("the test needs keys of two shards")
	}
	stats := map[string]throttle.Shard{}
	for _, s := range b.proxy.Stats() {
		stats[s.Shard] = s
	}
	if stats[hot].Records != producers*each*9/10 || stats[cold].Records != producers*each/10 {
		t.Errorf("it counts %+v", stats)
	}
	if stats[hot].Throttled <= stats[cold].Throttled {
		t.Errorf("the hot shard turned away %d records, the cold one %d", stats[hot].Throttled, stats[cold].Throttled)
	}
	if passed := b.Now().Sub(start); float64(stats[hot].Records) > 50*passed.Seconds()+50 {
		t.Errorf("the hot shard took %d records in %v, with a limit of 50 a second", stats[hot].Records, passed)
	}
}

func TestMetricsAreWhatKinesisSends(t *testing.T) {
	b := newBench(t, throttle.Limits{WriteRecords: 1})
	var got []string
	fails := false
	api := putMetricData(func(in *cloudwatch.PutMetricDataInput, region string) error {
		if fails {
			return errors.New("not now")
		}
		for _, d := range in.MetricData {
			got = append(got, fmt.Sprintf("%s %s %s %s=%s %v", region, *in.Namespace, *d.MetricName, *d.Dimensions[0].Name, *d.Dimensions[0].Value, *d.Value))
		}
		return nil
	})
	report := func(want ...string) {
		t.Helper()
		got = nil
		if err := b.proxy.PutMetrics(t.Context(), api); (err != nil) != fails {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("metrics\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	write := "eu-west-1 AWS/Kinesis WriteProvisionedThroughputExceeded StreamName=s "
	read := "eu-west-1 AWS/Kinesis ReadProvisionedThroughputExceeded StreamName=s "
	report()
	b.put(t, first, first, first, second)
	report(write+"2", read+"0")
	report(write+"0", read+"0")
	b.put(t, second)
	fails = true
	report()
	fails = false
	b.put(t, first)
	report(write+"2", read+"0")
}

type putMetricData func(in *cloudwatch.PutMetricDataInput, region string) error

func (f putMetricData) PutMetricData(_ context.Context, in *cloudwatch.PutMetricDataInput, options ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error) {
	var o cloudwatch.Options
	for _, option := range options {
		option(&o)
	}
	return &cloudwatch.PutMetricDataOutput{}, f(in, o.Region)
}

func TestBadOptionsAreNamedTogether(t *testing.T) {
	_, err := throttle.New(throttle.Options{
		Upstream: "4566", Limits: throttle.Limits{WriteRecords: -1, WriteBytes: 1, ReadTransactions: 1001, ReadBytes: 1 << 31},
	})
	for _, want := range []string{"Upstream is \"4566\"", "API is nil", "WriteRecords is -1", "WriteBytes is 1:", "ReadTransactions is 1001", "ReadBytes is 2147483648", "0 for no limit"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
}
