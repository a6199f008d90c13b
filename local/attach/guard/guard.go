// Package guard stands between a function on this machine and a real account. The
// function has credentials that mean nothing elsewhere and takes the guard for AWS;
// the guard signs what it sends anew, with the account's own credentials, and
// refuses what isn't known to be a read, unless writes are allowed.
//
// It is a guard against accidents. A function that looks for the user's credentials
// itself, or that talks to something that isn't an API of AWS (a database, a cache,
// a web hook), isn't kept from it.
package guard

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// maxBody is what is held in memory of a request; the largest ones of AWS, other
// than objects to S3, have 16 MB.
const maxBody = 64 << 20

// Options of a guard.
type Options struct {
	// Config has the credentials that requests are signed with, the HTTP client and,
	// for an emulator, the endpoint of all services (BaseEndpoint).
	Config aws.Config
	// AllowWrites lets everything pass.
	AllowWrites bool
	// Hint is how a refusal ends: what to do about it.
	Hint string
	// Problem is told what couldn't be passed on; nil keeps silent.
	Problem func(error)
}

// Guard listens on 127.0.0.1.
type Guard struct {
	options Options
	server  *http.Server
	url     string
	proxy   *httputil.ReverseProxy
	serving sync.WaitGroup

	mu      sync.Mutex
	callers map[string]*Caller
}

// New is a guard that listens.
func New(options Options) (*Guard, error) {
	if options.Config.Credentials == nil {
		return nil, errors.New("guard: Config has no credentials")
	}
	if options.Problem == nil {
		options.Problem = func(error) {}
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	g := &Guard{options: options, url: "http://" + listener.Addr().String(), callers: map[string]*Caller{}}
	silent := log.New(io.Discard, "", 0)
	g.proxy = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { route(r.Out) },
		Transport:     &signer{options.Config.Credentials, v4.NewSigner(), transport(options.Config)},
		FlushInterval: -1, // event streams
		ErrorLog:      silent,
		ErrorHandler:  g.unreachable,
	}
	g.server = &http.Server{Handler: g, ErrorLog: silent}
	g.serving.Go(func() { _ = g.server.Serve(listener) })
	return g, nil
}

// transport is the configuration's, which may know a proxy or a certificate
// authority of its own. It leaves answers as they are.
func transport(config aws.Config) *http.Transport {
	client, ok := config.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	t := client.GetTransport()
	t.DisableCompression = true
	t.MaxIdleConnsPerHost = 64
	return t
}

// Close ends the guard and the requests under way.
func (g *Guard) Close() error {
	err := g.server.Close()
	g.serving.Wait()
	g.proxy.Transport.(*signer).base.CloseIdleConnections()
	return err
}

// Caller is somebody that the guard lets in.
type Caller struct {
	guard *Guard
	key   string

	mu      sync.Mutex
	refused map[string]int
}

// Admit lets a new caller in. Nobody else on this machine can call by its name.
func (g *Guard) Admit() *Caller {
	c := &Caller{guard: g, key: "GUARD" + rand.Text(), refused: map[string]int{}}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.callers[c.key] = c
	return c
}

// Environment are the variables by which AWS's SDKs take the guard for AWS.
func (c *Caller) Environment() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL":                    c.guard.url,
		"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
		"AWS_ACCESS_KEY_ID":                   c.key,
		"AWS_SECRET_ACCESS_KEY":               "guarded",
		// Nothing of the user's is looked at.
		"AWS_CONFIG_FILE":             os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_EC2_METADATA_DISABLED":   "true",
	}
}

// elsewhere are further variables that lead SDKs to other credentials.
var elsewhere = []string{
	"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_BEARER_TOKEN_",
	"AWS_CONTAINER_CREDENTIALS_", "AWS_CONTAINER_AUTHORIZATION_", "AWS_ENDPOINT_URL_", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
}

// Owns reports whether a variable would lead a caller past the guard, or is its own.
func Owns(variable string) bool {
	if _, own := (&Caller{guard: &Guard{}}).Environment()[variable]; own {
		return true
	}
	for _, name := range elsewhere {
		if strings.HasPrefix(variable, name) {
			return true
		}
	}
	return false
}

// Refused are the calls that were refused since it was last asked, by operation.
func (c *Caller) Refused() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := maps.Clone(c.refused)
	clear(c.refused)
	return refused
}

// scope is what a signature says of who signed, and for what.
var scope = regexp.MustCompile(`^AWS4-HMAC-SHA256 +Credential=([^/,]+)/\d{8}/([a-z0-9-]+)/([a-z0-9.-]+)/aws4_request *,`)

// ServeHTTP takes a caller's request.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	signed := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if signed == nil {
		call := Classify(r, "", nil)
		g.reject(w, r, call, http.StatusForbidden, "MissingAuthenticationToken",
			"the guard passes on requests that are signed with SigV4, in the header Authorization")
		return
	}
	key, region, service := signed[1], signed[2], signed[3]
	g.mu.Lock()
	caller := g.callers[key]
	g.mu.Unlock()
	if caller == nil {
		g.reject(w, r, Classify(r, service, nil), http.StatusForbidden, "UnrecognizedClient", "these are not the credentials that the guard gave out")
		return
	}
	var body []byte
	if buffered(service) {
		var err error
		if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			g.reject(w, r, Classify(r, service, nil), http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", fmt.Sprintf("read the request: %v", err))
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	}
	call := Classify(r, service, body)
	if !call.Read && !g.options.AllowWrites {
		caller.mu.Lock()
		caller.refused[call.String()]++
		caller.mu.Unlock()
		call.answer(w, r, http.StatusForbidden, "AccessDenied", call.String()+" is refused: it isn't known to be a read"+g.options.Hint)
		return
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if !buffered(service) {
		// S3 itself compares the body with what the SDK says of it.
		if hash = r.Header.Get("X-Amz-Content-Sha256"); hash == "" || strings.HasPrefix(hash, "STREAMING-AWS4") {
			g.reject(w, r, call, http.StatusNotImplemented, "NotImplemented",
				"the body is signed piece by piece, which the guard can't do anew: let the client send x-amz-content-sha256 with the whole body's hash, or UNSIGNED-PAYLOAD")
			return
		}
	}
	to, err := g.destination(call, region, r)
	if err != nil {
		g.reject(w, r, call, http.StatusNotImplemented, "NotImplemented", err.Error())
		return
	}
	p := &passage{call: call, region: region, hash: hash, to: to}
	g.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), passageKey{}, p)))
}

// buffered tells whether requests to a service are read before they are passed on.
func buffered(service string) bool { return !strings.HasPrefix(service, "s3") }

// reject answers what the guard itself can't do.
func (g *Guard) reject(w http.ResponseWriter, r *http.Request, call Call, status int, code, message string) {
	g.options.Problem(fmt.Errorf("%s: %s", call, message))
	call.answer(w, r, status, code, "millrace: "+message)
}

// unreachable answers a request that couldn't be passed on: SDKs try that again.
func (g *Guard) unreachable(w http.ResponseWriter, r *http.Request, err error) {
	p := r.Context().Value(passageKey{}).(*passage)
	if r.Context().Err() != nil {
		return // the caller has gone
	}
	g.options.Problem(fmt.Errorf("%s: %w", p.call, err))
	p.call.answer(w, r, http.StatusBadGateway, "BadGateway", "millrace: "+err.Error())
}

// passage is a request that is passed on.
type passage struct {
	call         Call
	region, hash string
	to           *url.URL
}

type passageKey struct{}

// route points a request at where it is passed on to. Its path and query stay as
// they were written.
func route(r *http.Request) {
	p := r.Context().Value(passageKey{}).(*passage)
	r.URL.Scheme, r.URL.Host, r.Host = p.to.Scheme, p.to.Host, p.to.Host
	if prefix := strings.TrimSuffix(p.to.EscapedPath(), "/"); prefix != "" {
		r.URL.Path, r.URL.RawPath = strings.TrimSuffix(p.to.Path, "/")+r.URL.Path, prefix+r.URL.EscapedPath()
	}
}

// signer signs requests anew.
type signer struct {
	credentials aws.CredentialsProvider
	v4          *v4.Signer
	base        *http.Transport
}

// RoundTrip sends a request.
func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	p := r.Context().Value(passageKey{}).(*passage)
	credentials, err := s.credentials.Retrieve(r.Context())
	if err != nil {
		return nil, fmt.Errorf("the account's credentials: %w", err)
	}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		r.Header.Del(name)
	}
	err = s.v4.SignHTTP(r.Context(), credentials, r, p.hash, p.call.Service, p.region, time.Now(), func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = p.call.protocol == s3XML // S3 alone signs paths as they are
	})
	if err != nil {
		return nil, err
	}
	return s.base.RoundTrip(r)
}
