// Package throttle gives an emulator's Kinesis streams the throughput limits of
// real shards: a proxy in front of the emulator's endpoint that meters records,
// bytes and reads per shard, and turns away what is beyond, as Kinesis does.
// Everything that isn't Kinesis' data plane goes through untouched.
//
// What a shard takes is a bucket per limit that holds one second's worth. AWS
// says what a shard takes a second and not how it measures, so a real one may turn
// away a burst somewhat earlier or later.
//
// Calls to SubscribeToShard aren't metered: enhanced fan-out has a pipe of its own
// per consumer and shard.
package throttle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"
)

const (
	targetPrefix = "Kinesis_20131202."

	codeThrottled  = "ProvisionedThroughputExceededException"
	codeInternal   = "InternalFailure"
	codeMalformed  = "SerializationException"
	codeValidation = "ValidationException"

	// maxRequest holds the largest PutRecords, 10 MiB, in base64 and with its names.
	maxRequest = 16 << 20
)

// API is what the proxy itself asks the emulator. Its region is the caller's.
type API interface {
	ListShards(context.Context, *kinesis.ListShardsInput, ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error)
	GetShardIterator(context.Context, *kinesis.GetShardIteratorInput, ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error)
}

var _ API = (*kinesis.Client)(nil)

// Options of a proxy. All fields but Log and Now are required.
type Options struct {
	// Limits of every shard of every stream.
	Limits Limits
	// Upstream is the URL of the emulator's endpoint.
	Upstream string
	// API reaches the emulator itself, not through the proxy.
	API API
	// Account is the number that messages name.
	Account string
	// Log takes what goes wrong with answers that are under way; nil discards it.
	Log *log.Logger
	// Now is the clock, of the machine by default.
	Now func() time.Time
}

// Proxy is the http.Handler in front of the emulator.
type Proxy struct {
	o         Options
	reverse   httputil.ReverseProxy
	meter     *meter
	streams   *streams
	iterators iterators

	reporting sync.Mutex
	reported  map[stream]turnedAway // to CloudWatch
}

var _ http.Handler = (*Proxy)(nil)

// New is a proxy. The error names everything that is wrong with the options.
func New(o Options) (*Proxy, error) {
	upstream, err := url.Parse(o.Upstream)
	if err != nil || upstream.Host == "" {
		err = fmt.Errorf("throttle: Upstream is %q: must be the URL of an endpoint, like http://127.0.0.1:4566", o.Upstream)
	}
	problems := []error{err, o.Limits.validate()}
	if o.API == nil {
		problems = append(problems, errors.New("throttle: API is nil: must reach the emulator"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = log.New(io.Discard, "", 0)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 64
	transport.DisableCompression = true // untouched
	p := &Proxy{
		o: o, meter: newMeter(o.Limits, o.Now),
		streams:   &streams{api: o.API, ranges: map[stream][]keyRange{}},
		iterators: iterators{now: o.Now},
		reported:  map[stream]turnedAway{},
	}
	p.reverse = httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = upstream.Scheme, upstream.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			// The host stays: callers sign for the one that they see.
		},
		Transport: transport,
		ErrorLog:  o.Log,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the emulator didn't answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	return p, nil
}

// Stats are the counts of every shard that was written or read, by stream and
// shard.
func (p *Proxy) Stats() []Shard { return p.meter.stats() }

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	switch operation {
	case "PutRecord", "PutRecords":
		p.metered(w, r, p.put)
	case "GetShardIterator":
		p.metered(w, r, p.iterator)
	case "GetRecords":
		p.metered(w, r, p.get)
	default:
		p.reverse.ServeHTTP(w, r)
		switch operation {
		case "CreateStream", "DeleteStream", "UpdateShardCount", "SplitShard", "MergeShards":
			p.streams.forget()
		}
	}
}

// call is a metered call that is being answered.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	region string
	body   []byte
}

// metered reads a call and has it answered by handle.
func (p *Proxy) metered(w http.ResponseWriter, r *http.Request, handle func(*call)) {
	c := &call{w: w, r: r, region: regionOf(r)}
	if strings.Contains(r.Header.Get("Content-Type"), "cbor") {
		// The emulator fails on it, too, as long as it enforces IAM.
		c.fail(codeMalformed, "CBOR can't be metered: have the SDK send JSON, with CBOR_ENABLED=false in the environment of the SDK for Java 2, AWS_CBOR_DISABLE=true of version 1")
		return
	}
	var err error
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest)); err != nil {
		c.fail(codeMalformed, "the request can't be read: "+err.Error())
		return
	}
	handle(c)
}

// forward has the emulator answer the call with this body, which is as long as the
// original one. A good answer goes through edit, any other one back as it is. The
// status is 0 if there was no answer, so that nobody knows what became of the call.
func (p *Proxy) forward(c *call, body []byte, edit func(answer []byte) ([]byte, error)) (status int) {
	r := c.r.Clone(c.r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if !bytes.Equal(body, c.body) && r.Header.Get("X-Amz-Content-Sha256") == "" {
		// The caller signed the length and the hash of the whole body. The length is
		// the same, and the hash is taken from here.
		r.Header.Set("X-Amz-Content-Sha256", fmt.Sprintf("%x", sha256.Sum256(c.body)))
	}
	reverse := p.reverse
	reverse.ModifyResponse = func(response *http.Response) error {
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		status = response.StatusCode
		if status == http.StatusOK {
			if answer, err = edit(answer); err != nil {
				return err
			}
		}
		response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(answer)), int64(len(answer))
		response.Header.Set("Content-Length", strconv.Itoa(len(answer)))
		return nil
	}
	reverse.ErrorHandler = func(_ http.ResponseWriter, _ *http.Request, err error) {
		c.fail(codeInternal, "the emulator's answer can't be had: "+err.Error())
	}
	reverse.ServeHTTP(c.w, r)
	return status
}

// reply answers the call here.
func (c *call) reply(status int, answer any) {
	c.w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(answer)
}

// fail answers with an error of the service.
func (c *call) fail(code, message string) {
	status := http.StatusBadRequest
	if code == codeInternal {
		status = http.StatusInternalServerError
	}
	// SDKs find the code without reading the body, whose form may not be theirs.
	c.w.Header().Set("X-Amzn-ErrorType", code)
	c.reply(status, map[string]string{"__type": code, "message": message})
}

// failed answers with the error of a call of the proxy's own.
func (c *call) failed(err error) {
	var refused smithy.APIError
	if errors.As(err, &refused) {
		c.fail(refused.ErrorCode(), refused.ErrorMessage())
		return
	}
	c.fail(codeInternal, err.Error())
}

// throttled is the message of a shard that takes no more.
func (p *Proxy) throttled(s stream, shard string) string {
	return fmt.Sprintf("Rate exceeded for shard %s in stream %s under account %s.", shard, s.name, p.o.Account)
}

// named is how calls name a stream.
type named struct {
	StreamName, StreamARN string
}

func (n named) stream(region string) stream {
	if parts := strings.SplitN(n.StreamARN, ":", 6); n.StreamName == "" && len(parts) == 6 {
		return stream{region: parts[3], name: strings.TrimPrefix(parts[5], "stream/")}
	}
	return stream{region: region, name: n.StreamName}
}

// regionOf is the one that the caller signed for; "" if it didn't sign.
func regionOf(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if scope := strings.Split(credential, "/"); len(scope) >= 5 {
		return scope[2]
	}
	return ""
}
