package guard_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	firehosetypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/local/attach/guard"
)

// The account's credentials, in which everything must be signed that gets through.
const (
	key, secret, session = "AKIDREAL", "real secret", "real session"
)

// account is what AWS would be: it verifies every signature by its own means.
type account struct {
	*httptest.Server
	secret  string
	session string // of its credentials, if any
	base    string // path of its endpoint

	mu   sync.Mutex
	seen []seen
	bad  []error
}

// seen is a request as it arrived.
type seen struct {
	method, uri string
	header      http.Header
	body        []byte
}

func newAccount(t *testing.T, answer http.HandlerFunc) *account {
	t.Helper()
	a := &account{secret: secret, session: session}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		a.mu.Lock()
		a.seen = append(a.seen, seen{r.Method, r.RequestURI, r.Header.Clone(), body})
		if err == nil {
			err = a.verify(r, body)
		}
		if err != nil {
			a.bad = append(a.bad, err)
		}
		a.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *account) take() []seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.seen
	a.seen = nil
	return all
}

// verify is Signature Version 4, from its description in AWS's documentation.
func (a *account) verify(r *http.Request, body []byte) error {
	parts := map[string]string{}
	algorithm, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	if algorithm != "AWS4-HMAC-SHA256" || len(scope) != 5 || scope[0] != key {
		return fmt.Errorf("%s %s isn't signed with the account's key: %q", r.Method, r.RequestURI, r.Header.Get("Authorization"))
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	hash := sha256.Sum256(body)
	payload := hex.EncodeToString(hash[:])
	if scope[3] == "s3" {
		if payload = r.Header.Get("X-Amz-Content-Sha256"); len(payload) == 64 && payload != hex.EncodeToString(hash[:]) {
			return errors.New("the body isn't the one that was signed")
		}
	} else {
		path = encode(path, "/")
	}
	var pairs [][2]string
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, err := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		pairs = append(pairs, [2]string{encode(n, ""), encode(v, "")})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	parameters := make([]string, len(pairs))
	for i, pair := range pairs {
		parameters[i] = pair[0] + "=" + pair[1]
	}
	var headers strings.Builder
	signed := strings.Split(parts["SignedHeaders"], ";")
	for _, name := range signed {
		values := r.Header.Values(name)
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		var trimmed []string
		for _, v := range values {
			trimmed = append(trimmed, strings.Join(strings.Fields(v), " "))
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.Join(trimmed, ","))
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		if (strings.HasPrefix(lower, "x-amz-") || lower == "content-type") && !slices.Contains(signed, lower) {
			return fmt.Errorf("%s isn't signed", name)
		}
	}
	canonical := strings.Join([]string{r.Method, path, strings.Join(parameters, "&"), headers.String(), parts["SignedHeaders"], payload}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{algorithm, r.Header.Get("X-Amz-Date"), strings.Join(scope[1:], "/"), hex.EncodeToString(digest[:])}, "\n")
	mac := []byte("AWS4" + a.secret)
	for _, part := range append(scope[1:], text) {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(part))
		mac = h.Sum(nil)
	}
	if got := hex.EncodeToString(mac); got != parts["Signature"] {
		return fmt.Errorf("%s %s has the wrong signature over\n%s", r.Method, r.RequestURI, canonical)
	}
	return nil
}

// encode is RFC 3986's, except for some characters.
func encode(s, but string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~"+but, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// guarded is a guard before the account, and a configuration of who is let in.
func guarded(t *testing.T, a *account, o guard.Options) (*guard.Caller, aws.Config) {
	t.Helper()
	o.Config = aws.Config{Credentials: credentials.NewStaticCredentialsProvider(key, secret, a.session), BaseEndpoint: aws.String(a.URL + a.base)}
	g, err := guard.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		for _, err := range a.bad {
			t.Error(err)
		}
	})
	caller := g.Admit()
	return caller, configOf(caller)
}

func configOf(c *guard.Caller) aws.Config {
	env := c.Environment()
	return aws.Config{
		Region: "eu-west-1", BaseEndpoint: aws.String(env["AWS_ENDPOINT_URL"]),
		Credentials: credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], ""),
	}
}

var id = map[string]dynamodbtypes.AttributeValue{"id": &dynamodbtypes.AttributeValueMemberS{Value: "a"}}

func TestARefusalIsAnErrorOfTheServiceThatNamesTheCall(t *testing.T) {
	a := newAccount(t, func(http.ResponseWriter, *http.Request) {})
	caller, cfg := guarded(t, a, guard.Options{Hint: "; use --allow-writes"})
	body := func() io.Reader { return strings.NewReader("text") }
	for want, call := range map[string]func(context.Context) error{
		"dynamodb:UpdateItem": func(ctx context.Context) error {
			_, err := dynamodb.NewFromConfig(cfg).UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: aws.String("t"), Key: id})
			return err
		},
		"kinesis:PutRecord": func(ctx context.Context) error {
			_, err := kinesis.NewFromConfig(cfg).PutRecord(ctx, &kinesis.PutRecordInput{StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("d")})
			return err
		},
		"firehose:PutRecord": func(ctx context.Context) error {
			_, err := firehose.NewFromConfig(cfg).PutRecord(ctx, &firehose.PutRecordInput{DeliveryStreamName: aws.String("s"), Record: &firehosetypes.Record{Data: []byte("d")}})
			return err
		},
		"sqs:SendMessage": func(ctx context.Context) error {
			_, err := sqs.NewFromConfig(cfg).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String("https://sqs.eu-west-1.amazonaws.com/1/q"), MessageBody: aws.String("b")})
			return err
		},
		"sns:Publish": func(ctx context.Context) error {
			_, err := sns.NewFromConfig(cfg).Publish(ctx, &sns.PublishInput{TopicArn: aws.String("arn"), Message: aws.String("m")})
			return err
		},
		"iam:DeleteRole": func(ctx context.Context) error {
			_, err := iam.NewFromConfig(cfg).DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("r")})
			return err
		},
		"monitoring:PutMetricData": func(ctx context.Context) error {
			_, err := cloudwatch.NewFromConfig(cfg).PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("N"), MetricData: []types.MetricDatum{{MetricName: aws.String("m")}}})
			return err
		},
		"lambda:POST /2015-03-31/functions/f/invocations": func(ctx context.Context) error {
			_, err := lambda.NewFromConfig(cfg).Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("f")})
			return err
		},
		"s3:PutObject": func(ctx context.Context) error {
			_, err := s3.NewFromConfig(cfg).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: body()})
			return err
		},
		"s3:DeleteObject": func(ctx context.Context) error {
			_, err := s3.NewFromConfig(cfg).DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
			return err
		},
		"s3:CreateMultipartUpload": func(ctx context.Context) error {
			_, err := s3.NewFromConfig(cfg).CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("b"), Key: aws.String("k")})
			return err
		},
	} {
		t.Run(want, func(t *testing.T) {
			err := call(t.Context())
			var refused smithy.APIError
			if !errors.As(err, &refused) || !strings.HasPrefix(refused.ErrorCode(), "AccessDenied") ||
				!strings.Contains(refused.ErrorMessage(), want) || !strings.HasSuffix(refused.ErrorMessage(), "; use --allow-writes") {
				t.Errorf("the function sees %v", err)
			}
			// Once: an SDK doesn't try a refusal again.
			if got := caller.Refused(); !maps.Equal(got, map[string]int{want: 1}) {
				t.Errorf("refused %v", got)
			}
			if got := caller.Refused(); len(got) != 0 {
				t.Errorf("then %v", got)
			}
		})
	}
	if seen := a.take(); len(seen) > 0 {
		t.Errorf("the account saw %v", seen)
	}
}

func TestReadsGetThroughInTheAccountsName(t *testing.T) {
	a := newAccount(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Amz-Target") != "":
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			io.WriteString(w, `{"Item":{"id":{"S":"a"}}}`)
		case r.URL.Path == "/b/a key/with + and é":
			w.Header().Set("X-Amz-Meta-Kind", "text")
			io.WriteString(w, "content")
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `<Error><Code>NoSuchKey</Code><Message>none</Message></Error>`)
		}
	})
	caller, cfg := guarded(t, a, guard.Options{})
	item, err := dynamodb.NewFromConfig(cfg).GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("t"), Key: id})
	if err != nil || len(item.Item) != 1 {
		t.Errorf("%v, %v", item, err)
	}
	// Of an address in digits the SDK makes no host per bucket, whatever it is told.
	bucket := s3.NewFromConfig(cfg)
	object, err := bucket.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("a key/with + and é")})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	if content, err := io.ReadAll(object.Body); err != nil || string(content) != "content" || object.Metadata["kind"] != "text" {
		t.Errorf("%q, %v, %v", content, object.Metadata, err)
	}
	// The service's own errors stay what they are.
	_, err = bucket.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("other")})
	var own smithy.APIError
	if !errors.As(err, &own) || own.ErrorCode() != "NoSuchKey" {
		t.Errorf("got %v", err)
	}
	if got := caller.Refused(); len(got) != 0 {
		t.Errorf("refused %v", got)
	}
	for _, s := range a.take() {
		if s.header.Get("X-Amz-Security-Token") != session {
			t.Errorf("%s %s is without the account's session", s.method, s.uri)
		}
	}
}

func TestObjectsAreWrittenWhole(t *testing.T) {
	a := newAccount(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("uploads") {
			io.WriteString(w, `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
		}
	})
	_, cfg := guarded(t, a, guard.Options{AllowWrites: true})
	client := s3.NewFromConfig(cfg)
	content := bytes.Repeat([]byte("0123456789abcdef"), 300_000) // 4.8 MB: the SDK asks first whether it may send it
	unsigned := func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
	for name, put := range map[string]func() error{
		"an object": func() error {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: aws.String("b"), Key: aws.String("k"), Body: bytes.NewReader(content), ContentType: aws.String("text/plain"), Metadata: map[string]string{"of": "  two  words "},
			})
			return err
		},
		"an object whose content isn't signed": func() error {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: bytes.NewReader(content)}, unsigned)
			return err
		},
		"a part": func() error {
			_, err := client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String("b"), Key: aws.String("k"), UploadId: aws.String("u"), PartNumber: aws.Int32(1), Body: bytes.NewReader(content)})
			return err
		},
	} {
		if err := put(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := a.take(); len(got) != 1 || !bytes.Equal(got[0].body, content) {
			t.Errorf("%s: %d requests arrived, or not the whole", name, len(got))
		}
	}
	if _, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("b"), Key: aws.String("k")}); err != nil {
		t.Error(err)
	}
}

// The trailing checksums that SDKs send over TLS, here without it.
func TestTrailingChecksumsArePassedOn(t *testing.T) {
	a := newAccount(t, func(http.ResponseWriter, *http.Request) {})
	caller, _ := guarded(t, a, guard.Options{AllowWrites: true})
	body := "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
	send := func(hash string) int {
		t.Helper()
		r, err := http.NewRequest("PUT", caller.Environment()["AWS_ENDPOINT_URL"]+"/b/k", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Content-Sha256", hash)
		r.Header.Set("Content-Encoding", "aws-chunked")
		r.Header.Set("X-Amz-Decoded-Content-Length", "5")
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		return do(t, sign(t, caller, r, "s3", hash))
	}
	if status := send("STREAMING-UNSIGNED-PAYLOAD-TRAILER"); status != http.StatusOK {
		t.Errorf("answer %d", status)
	}
	if got := a.take(); len(got) != 1 || string(got[0].body) != body || got[0].header.Get("X-Amz-Trailer") == "" {
		t.Errorf("the account saw %+v", got)
	}
	// Signed piece by piece with credentials that nobody knows.
	if status := send("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"); status != http.StatusNotImplemented {
		t.Errorf("answer %d", status)
	}
	if got := a.take(); len(got) != 0 {
		t.Errorf("the account saw %+v", got)
	}
}

func TestAnyRequestArrivesAsItWasAndProperlySigned(t *testing.T) {
	a := newAccount(t, func(http.ResponseWriter, *http.Request) {})
	a.base, a.session = "/a%2Fbase", ""
	caller, _ := guarded(t, a, guard.Options{AllowWrites: true})
	text := rapid.StringMatching(`[a-zA-Z0-9 +%/&=?#;:@~*'()é_.-]{0,12}`)
	rapid.Check(t, func(rt *rapid.T) {
		service := rapid.SampledFrom([]string{"s3", "dynamodb", "lambda", "execute-api"}).Draw(rt, "service")
		method := rapid.SampledFrom([]string{"GET", "PUT", "POST", "DELETE", "PATCH"}).Draw(rt, "method")
		path := "/" + encode(text.Draw(rt, "path"), rapid.SampledFrom([]string{"/", "/+:=@", ""}).Draw(rt, "unescaped"))
		values := url.Values{}
		for range rapid.IntRange(0, 3).Draw(rt, "parameters") {
			values.Set(rapid.StringMatching(`[a-zA-Z0-9.-]{1,8}`).Draw(rt, "name"), text.Draw(rt, "value"))
		}
		body := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(rt, "body")
		if method == "GET" {
			body = nil
		}
		r, err := http.NewRequest(method, caller.Environment()["AWS_ENDPOINT_URL"]+path, bytes.NewReader(body))
		if err != nil {
			rt.Fatal(err)
		}
		r.URL.RawQuery = values.Encode()
		r.Header.Set("X-Amz-Meta-Text", text.Filter(func(s string) bool { return !strings.Contains(s, "é") }).Draw(rt, "header"))
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("X-Amz-Security-Token", "a stale one")
		hash := sha256.Sum256(body)
		if service == "s3" {
			r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(hash[:]))
		}
		if status := do(t, sign(t, caller, r, service, hex.EncodeToString(hash[:]))); status != http.StatusOK {
			rt.Fatalf("%s %s: answer %d", method, r.URL, status)
		}
		got := a.take()
		if len(got) != 1 || got[0].method != method || !bytes.Equal(got[0].body, body) || got[0].header.Get("X-Amz-Security-Token") != "" {
			rt.Fatalf("%d requests arrived: %+v", len(got), got)
		}
		arrived, query, _ := strings.Cut(got[0].uri, "?")
		parsed, err := url.ParseQuery(query)
		if arrived != a.base+path || err != nil || parsed.Encode() != values.Encode() {
			rt.Fatalf("%s?%s arrived as %s", path, values.Encode(), got[0].uri)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.bad) > 0 {
			rt.Fatal(a.bad[0])
		}
	})
}

func TestWhoIsNotLetIn(t *testing.T) {
	a := newAccount(t, func(http.ResponseWriter, *http.Request) {})
	var problems []string
	caller, cfg := guarded(t, a, guard.Options{AllowWrites: true, Problem: func(err error) { problems = append(problems, err.Error()) }})
	other := cfg
	other.Credentials = credentials.NewStaticCredentialsProvider(key, secret, "")
	_, err := dynamodb.NewFromConfig(other).ListTables(t.Context(), nil)
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "UnrecognizedClientException" {
		t.Errorf("other credentials: %v", err)
	}
	endpoint := caller.Environment()["AWS_ENDPOINT_URL"]
	for name, change := range map[string]func(*http.Request){
		"unsigned":                func(r *http.Request) { r.Header.Del("Authorization") },
		"a token of another kind": func(r *http.Request) { r.Header.Set("Authorization", "Bearer token") },
		"signed for all regions": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1))
		},
		"a region that is no region": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "eu-west-1", "evil.example", 1))
		},
	} {
		r, err := http.NewRequest("GET", endpoint+"/2015-03-31/functions/f", nil)
		if err != nil {
			t.Fatal(err)
		}
		r = sign(t, caller, r, "lambda", hex.EncodeToString(sha256.New().Sum(nil)))
		change(r)
		if status := do(t, r); status != http.StatusForbidden {
			t.Errorf("%s: answer %d", name, status)
		}
	}
	if seen := a.take(); len(seen) > 0 {
		t.Errorf("the account saw %v", seen)
	}
	if len(problems) != 5 {
		t.Errorf("the problems were told as %q", problems)
	}
}

func TestAnAccountThatIsAwayIsTold(t *testing.T) {
	a := newAccount(t, func(http.ResponseWriter, *http.Request) {})
	a.Close()
	var mu sync.Mutex
	var problems []string
	_, cfg := guarded(t, a, guard.Options{Problem: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		problems = append(problems, err.Error())
	}})
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	_, err := dynamodb.NewFromConfig(cfg).ListTables(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || len(problems) != 1 || !strings.Contains(problems[0], "dynamodb:ListTables") {
		t.Errorf("%v; problems %q", err, problems)
	}
}

func TestWhatAFunctionsEnvironmentMustNotName(t *testing.T) {
	for name, owns := range map[string]bool{
		"TABLE": false, "AWS_REGION": false, "AWS_LAMBDA_EXEC_WRAPPER": false, "AWS_NODEJS_CONNECTION_REUSE_ENABLED": false,
		"AWS_ENDPOINT_URL": true, "AWS_ENDPOINT_URL_S3": true, "AWS_ACCESS_KEY_ID": true, "AWS_SECRET_ACCESS_KEY": true, "AWS_SESSION_TOKEN": true,
		"AWS_PROFILE": true, "AWS_CONFIG_FILE": true, "AWS_CONTAINER_CREDENTIALS_FULL_URI": true, "AWS_WEB_IDENTITY_TOKEN_FILE": true,
	} {
		if guard.Owns(name) != owns {
			t.Errorf("%s: %v", name, !owns)
		}
	}
}

// sign signs as an SDK would in the function.
func sign(t *testing.T, caller *guard.Caller, r *http.Request, service, hash string) *http.Request {
	t.Helper()
	env := caller.Environment()
	c := aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]}
	if err := v4.NewSigner().SignHTTP(t.Context(), c, r, hash, service, "eu-west-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t *testing.T, r *http.Request) int {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}
