package guard

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Call is what a request asks of AWS.
type Call struct {
	// Service is the name that requests to it are signed for: dynamodb, s3, …
	Service string
	// Operation is its name, such as UpdateItem. Of REST APIs other than S3 it is
	// the method and the path, as they don't tell its name.
	Operation string
	// Read says that it changes nothing and hands out no rights. Whatever isn't
	// known to be a read isn't one.
	Read bool

	protocol protocol
}

// String is the call as IAM writes actions: dynamodb:UpdateItem.
func (c Call) String() string { return c.Service + ":" + c.Operation }

// protocol is how a service is spoken to; its errors depend on it.
type protocol int

const (
	jsonRPC protocol = iota // X-Amz-Target: DynamoDB, Kinesis, SQS, …
	cborRPC                 // Smithy's RPC v2: CloudWatch
	query                   // Action in a form: SNS, STS, IAM
	ec2Query
	s3XML
	restXML // Route 53, CloudFront
	restJSON
)

// verbs begin the names of operations that read. AWS keeps to them: of the 19,377
// operations in its service models, the few that begin so and are no reads by the
// access levels of its Service Authorization Reference are in rights and writes, or
// are plainly mislabelled there (wickr:ListNetworks).
var verbs = regexp.MustCompile(`^(Get|BatchGet|TransactGet|List|Describe|BatchDescribe|Head|Query|Scan|Search|Select|Lookup|Filter|Count|Simulate)([A-Z0-9]|$)`)

// rights are operations that read credentials: who has them needs no guard.
var rights = regexp.MustCompile(`^Get.*(Credentials|Token|PresignedURL)`)

// writes are further operations that are named like reads.
var writes = []string{
	"cognito-identity:GetId", // makes an identity
	"gamelift:GetComputeAccess",
	"gamelift:GetInstanceAccess",
	"lightsail:GetInstanceAccessDetails",
	"lightsail:GetRelationalDatabaseMasterUserPassword",
	"states:GetActivityTask", // takes a task away from others
	"timestream:Query",       // UNLOAD writes to S3
}

// reads are operations that change nothing though their names don't tell.
var reads = []string{
	"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:Verify", "kms:VerifyMac",
	"servicediscovery:DiscoverInstances", "sts:DecodeAuthorizationMessage",
}

// statements are DynamoDB's operations that do what their statements say.
var statements = []string{"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"}

// paths have parts of paths by which REST APIs hand out credentials, or change
// something, on GET: DataZone, FinSpace, Connect, Amplify, IAM Identity Center,
// Deadline Cloud, IoT.
var paths = regexp.MustCompile(`(?i)/(credentials|federate|federation|challenge|(read|user|fleet|queue)-roles|confirmdestination)(/|$)`)

// Classify tells what a request to a service asks for. The body is needed for
// services other than S3.
func Classify(r *http.Request, service string, body []byte) Call {
	c := Call{Service: service, protocol: restJSON}
	target := r.Header.Get("X-Amz-Target")
	values := r.URL.Query()
	switch service {
	case "s3", "s3-object-lambda", "s3-outposts", "s3express":
		c.protocol = s3XML
		c.classifyS3(r, values)
		return c
	case "route53", "cloudfront":
		c.protocol = restXML
	}
	switch operation, isRPC := rpcOperation(r); {
	case isRPC:
		c.protocol, c.Operation = cborRPC, operation
	case target != "":
		c.protocol, c.Operation = jsonRPC, target[strings.LastIndex(target, ".")+1:]
	case values.Has("Action") || strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		c.protocol = query
		if service == "ec2" {
			c.protocol = ec2Query
		}
		form, err := url.ParseQuery(string(body))
		actions := slices.Concat(values["Action"], form["Action"])
		if err != nil || len(actions) != 1 {
			c.Operation = "a request that doesn't name one Action"
			return c
		}
		c.Operation = actions[0]
	default:
		c.Operation = r.Method + " " + r.URL.Path
		c.Read = (r.Method == http.MethodGet || r.Method == http.MethodHead) && !paths.MatchString(r.URL.Path)
		return c
	}
	c.Read = readByName(c, body)
	return c
}

func readByName(c Call, body []byte) bool {
	switch {
	case slices.Contains(reads, c.String()):
		return true
	case c.Service == "dynamodb" && slices.Contains(statements, c.Operation):
		return selects(body)
	case c.Service == "sts" && c.Operation == "GetCallerIdentity", c.Service == "sts" && c.Operation == "GetAccessKeyInfo":
		return true
	case c.Service == "sts", rights.MatchString(c.Operation), slices.Contains(writes, c.String()):
		return false
	}
	return verbs.MatchString(c.Operation)
}

var rpcPath = regexp.MustCompile(`/service/[^/]+/operation/([^/]+)$`)

// rpcOperation is the operation of a request in Smithy's RPC v2.
func rpcOperation(r *http.Request) (string, bool) {
	match := rpcPath.FindStringSubmatch(r.URL.Path)
	if r.Header.Get("Smithy-Protocol") == "" || match == nil {
		return "", false
	}
	return match[1], true
}

// selects reports whether all PartiQL statements of a request are SELECTs.
func selects(body []byte) bool {
	type statement struct{ Statement string }
	var request struct {
		statement
		Statements, TransactStatements []statement
	}
	if json.Unmarshal(body, &request) != nil {
		return false
	}
	all := slices.Concat(request.Statements, request.TransactStatements)
	if request.Statement != "" {
		all = append(all, request.statement)
	}
	return len(all) > 0 && !slices.ContainsFunc(all, func(s statement) bool {
		words := strings.Fields(s.Statement)
		return len(words) == 0 || !strings.EqualFold(words[0], "SELECT")
	})
}

func (c *Call) classifyS3(r *http.Request, values url.Values) {
	switch {
	case values.Has("session"):
		c.Operation = "CreateSession" // its credentials would go past the guard
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		c.Read = true
	case r.Method == http.MethodPost && values.Has("select") && values.Get("select-type") == "2":
		c.Operation, c.Read = "SelectObjectContent", true
	}
	if c.Operation == "" {
		c.Operation = nameS3(r, values)
	}
}

// nameS3 is for people only. The SDKs name most operations themselves.
func nameS3(r *http.Request, values url.Values) string {
	if id := values.Get("x-id"); id != "" {
		return id
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	of := "Object"
	if key == "" {
		of = "Bucket"
	}
	switch {
	case r.Method == http.MethodPost && values.Has("delete"):
		return "DeleteObjects"
	case r.Method == http.MethodPost && values.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && values.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodPut && values.Has("partNumber"):
		return "UploadPart"
	case r.Method == http.MethodDelete && values.Has("uploadId"):
		return "AbortMultipartUpload"
	case r.URL.RawQuery == "" && r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	case r.URL.RawQuery == "" && r.Method == http.MethodPut:
		return "Put" + of
	case r.URL.RawQuery == "" && r.Method == http.MethodDelete:
		return "Delete" + of
	case r.URL.RawQuery == "" && r.Method == http.MethodGet:
		return "Get" + of
	case r.URL.RawQuery == "" && r.Method == http.MethodHead:
		return "Head" + of
	}
	return r.Method + " " + of + "?" + r.URL.RawQuery
}
