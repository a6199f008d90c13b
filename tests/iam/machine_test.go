package iam

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/step"
)

// machine is a deployed stack, and its administrator's clients.
type machine struct {
	*local.Machine
	root     aws.Config
	kinesis  *kinesis.Client
	dynamodb *dynamodb.Client
	s3       *s3.Client
	alarms   *cloudwatch.Client
	lambda   *lambda.Client
	iam      *iam.Client
	inbox    *inbox

	assumed map[string]*aws.Config
	ids     map[string]string
}

func start(t *testing.T) *machine {
	t.Helper()
	var log bytes.Buffer
	up, err := local.Up(t.Context(), local.Options{Dir: "..", Log: step.New(&log)})
	t.Logf("%s", &log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	config := up.Config()
	p := &machine{
		Machine:  up,
		root:     config,
		kinesis:  kinesis.NewFromConfig(config),
		dynamodb: dynamodb.NewFromConfig(config),
		s3:       newS3(config),
		alarms:   cloudwatch.NewFromConfig(config),
		lambda:   lambda.NewFromConfig(config),
		iam:      iam.NewFromConfig(config),
		assumed:  map[string]*aws.Config{},
	}
	p.ids = p.physical(t)
	p.inbox = p.subscribe(t, p.Outputs["AlarmTopic"])
	return p
}

func newS3(config aws.Config) *s3.Client {
	return s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
}

// assume gives the role's credentials. The emulator lets the account's root have
// them; a role of the stack trusts a service only.
func (p *machine) assume(t *testing.T, role string) aws.CredentialsProvider {
	t.Helper()
	text, err := p.query("sts", "2011-06-15", "AssumeRole",
		"RoleArn", "arn:aws:iam::"+local.Account+":role/"+role, "RoleSessionName", "as-the-service")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Key    string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		Secret string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		Token  string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	}
	if err := xml.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	return credentials.NewStaticCredentialsProvider(answer.Key, answer.Secret, answer.Token)
}

// denied tells whether err is IAM's refusal of the action.
func denied(err error, action string) bool {
	var refused smithy.APIError
	return errors.As(err, &refused) && strings.HasPrefix(refused.ErrorCode(), "AccessDenied") &&
		strings.Contains(refused.ErrorMessage(), "not authorized to perform: "+action+" ")
}

// physical are the names of the stack's resources by logical id.
func (p *machine) physical(t *testing.T) map[string]string {
	t.Helper()
	if p.ids != nil {
		return p.ids
	}
	text, err := p.query("cloudformation", "2010-05-15", "DescribeStackResources", "StackName", local.StackName)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Resources []struct {
			LogicalResourceId  string //nolint:revive // as in the XML
			PhysicalResourceId string
		} `xml:"DescribeStackResourcesResult>StackResources>member"`
	}
	if err := xml.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, r := range answer.Resources {
		ids[r.LogicalResourceId] = r.PhysicalResourceId
	}
	return ids
}

// id is the physical name of the resource with this logical id, less its hash.
func (p *machine) id(name string) string {
	for id, physical := range p.ids {
		if logical(id) == name {
			return physical
		}
	}
	panic("no resource " + name)
}

// logged looks for a line in a function's log that has all the texts.
func (p *machine) logged(t *testing.T, function string, since time.Time, texts ...string) error {
	t.Helper()
	out, err := p.lambda.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String(p.id(function))})
	if err != nil {
		return err
	}
	body, err := p.logs(p.root, "FilterLogEvents", map[string]any{
		"logGroupName": *out.Configuration.LoggingConfig.LogGroup, "startTime": since.UnixMilli(),
	})
	if err != nil {
		return err
	}
	var answer struct{ Events []struct{ Message string } }
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	for _, event := range answer.Events {
		if containsAll(event.Message, texts) {
			return nil
		}
	}
	return fmt.Errorf("the log of %s doesn't say %q in %d lines", function, texts, len(answer.Events))
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// Some services are asked for a thing or two: a signed request does for them.

// logs calls CloudWatch Logs.
func (p *machine) logs(as aws.Config, operation string, input map[string]any) ([]byte, error) {
	return p.json(as, "logs", "1.1", "Logs_20140328."+operation, input)
}

// changes calls DynamoDB Streams.
func (p *machine) changes(as aws.Config, operation string, input map[string]any) ([]byte, error) {
	return p.json(as, "dynamodb", "1.0", "DynamoDBStreams_20120810."+operation, input)
}

func (p *machine) json(as aws.Config, service, version, target string, input map[string]any) ([]byte, error) {
	body, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	return p.signed(as, service, body, map[string]string{"Content-Type": "application/x-amz-json-" + version, "X-Amz-Target": target})
}

// query calls SNS, STS or CloudFormation as the root, with pairs of names and values.
func (p *machine) query(service, version, action string, pairs ...string) ([]byte, error) {
	form := url.Values{"Action": {action}, "Version": {version}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return p.signed(p.root, service, []byte(form.Encode()), map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
}

func (p *machine) signed(as aws.Config, service string, body []byte, header map[string]string) ([]byte, error) {
	ctx := context.Background()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	secret, err := as.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, secret, request, hex.EncodeToString(sum[:]), service, local.Region, time.Now()); err != nil {
		return nil, err
	}
	response, err := as.HTTPClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode == http.StatusOK {
		return text, err
	}
	var refused struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(text, &refused) // XML stays as it is
	if refused.Type == "" {
		return nil, fmt.Errorf("%s: %s: %s", service, response.Status, text)
	}
	_, code, found := strings.Cut(refused.Type, "#")
	if !found {
		code = refused.Type
	}
	return nil, &smithy.GenericAPIError{Code: code, Message: refused.Message}
}

// topicPolicy reads a topic's own policy.
func (p *machine) topicPolicy(t *testing.T, arn string) string {
	t.Helper()
	text, err := p.query("sns", "2010-03-31", "GetTopicAttributes", "TopicArn", arn)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Entries []struct {
			Key   string `xml:"key"`
			Value string `xml:"value"`
		} `xml:"GetTopicAttributesResult>Attributes>entry"`
	}
	if err := xml.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	for _, e := range answer.Entries {
		if e.Key == "Policy" {
			return e.Value
		}
	}
	t.Fatalf("the topic %s has no policy", arn)
	return ""
}

// inbox gets what a topic sends.
type inbox struct {
	mu       sync.Mutex
	messages []string
}

func (i *inbox) holds(text string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range i.messages {
		if strings.Contains(m, text) {
			return true
		}
	}
	return false
}

func (p *machine) subscribe(t *testing.T, arn string) *inbox {
	t.Helper()
	box := &inbox{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		var message struct{ Type, Token string }
		_ = json.Unmarshal(text, &message)
		if message.Type == "SubscriptionConfirmation" {
			go p.query("sns", "2010-03-31", "ConfirmSubscription", "TopicArn", arn, "Token", message.Token)
			return
		}
		box.mu.Lock()
		defer box.mu.Unlock()
		box.messages = append(box.messages, string(text))
	}))
	t.Cleanup(server.Close)
	if _, err := p.query("sns", "2010-03-31", "Subscribe", "TopicArn", arn, "Protocol", "http", "Endpoint", server.URL); err != nil {
		t.Fatal(err)
	}
	return box
}
