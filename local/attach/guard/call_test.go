package guard

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// rpc is a request in the protocol of DynamoDB, Kinesis and others.
func rpc(target, body string) request {
	return request{method: "POST", path: "/", target: target, content: "application/x-amz-json-1.0", body: body}
}

func form(values string) request {
	return request{method: "POST", path: "/", content: "application/x-www-form-urlencoded; charset=utf-8", body: values}
}

type request struct{ method, path, target, content, body, smithy string }

func (q request) http() *http.Request {
	r := httptest.NewRequest(q.method, q.path, strings.NewReader(q.body))
	for name, value := range map[string]string{"X-Amz-Target": q.target, "Content-Type": q.content, "Smithy-Protocol": q.smithy} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return r
}

func TestWhatIsARead(t *testing.T) {
	cbor := func(operation string) request {
		return request{method: "POST", path: "/service/GraniteServiceVersion20100801/operation/" + operation, smithy: "rpc-v2-cbor", content: "application/cbor"}
	}
	for name, c := range map[string]struct {
		service string
		request request
		call    string
		read    bool
	}{
		"an item is read":                       {"dynamodb", rpc("DynamoDB_20120810.GetItem", ""), "dynamodb:GetItem", true},
		"a table is queried":                    {"dynamodb", rpc("DynamoDB_20120810.Query", ""), "dynamodb:Query", true},
		"a table is scanned":                    {"dynamodb", rpc("DynamoDB_20120810.Scan", ""), "dynamodb:Scan", true},
		"items are read":                        {"dynamodb", rpc("DynamoDB_20120810.BatchGetItem", ""), "dynamodb:BatchGetItem", true},
		"items are read in a transaction":       {"dynamodb", rpc("DynamoDB_20120810.TransactGetItems", ""), "dynamodb:TransactGetItems", true},
		"an item is updated":                    {"dynamodb", rpc("DynamoDB_20120810.UpdateItem", ""), "dynamodb:UpdateItem", false},
		"items are written":                     {"dynamodb", rpc("DynamoDB_20120810.BatchWriteItem", ""), "dynamodb:BatchWriteItem", false},
		"items are written in a transaction":    {"dynamodb", rpc("DynamoDB_20120810.TransactWriteItems", ""), "dynamodb:TransactWriteItems", false},
		"a statement selects":                   {"dynamodb", rpc("DynamoDB_20120810.ExecuteStatement", `{"Statement":"\n select * FROM t"}`), "dynamodb:ExecuteStatement", true},
		"a statement updates":                   {"dynamodb", rpc("DynamoDB_20120810.ExecuteStatement", `{"Statement":"UPDATE t SET a=1 WHERE id='SELECT'"}`), "dynamodb:ExecuteStatement", false},
		"a statement that can't be read":        {"dynamodb", rpc("DynamoDB_20120810.ExecuteStatement", `{"Statement":`), "dynamodb:ExecuteStatement", false},
		"no statement":                          {"dynamodb", rpc("DynamoDB_20120810.ExecuteStatement", `{}`), "dynamodb:ExecuteStatement", false},
		"statements that select":                {"dynamodb", rpc("DynamoDB_20120810.BatchExecuteStatement", `{"Statements":[{"Statement":"SELECT a FROM t"},{"Statement":"Select b FROM t"}]}`), "dynamodb:BatchExecuteStatement", true},
		"one of the statements deletes":         {"dynamodb", rpc("DynamoDB_20120810.BatchExecuteStatement", `{"Statements":[{"Statement":"SELECT a FROM t"},{"Statement":"DELETE FROM t"}]}`), "dynamodb:BatchExecuteStatement", false},
		"a transaction of statements inserts":   {"dynamodb", rpc("DynamoDB_20120810.ExecuteTransaction", `{"TransactStatements":[{"Statement":"INSERT INTO t VALUE {}"}]}`), "dynamodb:ExecuteTransaction", false},
		"a transaction of statements selects":   {"dynamodb", rpc("DynamoDB_20120810.ExecuteTransaction", `{"TransactStatements":[{"Statement":"SELECT a FROM t"}]}`), "dynamodb:ExecuteTransaction", true},
		"changes are read":                      {"dynamodb", rpc("DynamoDBStreams_20120810.GetRecords", ""), "dynamodb:GetRecords", true},
		"records are read":                      {"kinesis", rpc("Kinesis_20131202.GetRecords", ""), "kinesis:GetRecords", true},
		"records are put":                       {"kinesis", rpc("Kinesis_20131202.PutRecords", ""), "kinesis:PutRecords", false},
		"a fan-out consumer is registered":      {"kinesis", rpc("Kinesis_20131202.RegisterStreamConsumer", ""), "kinesis:RegisterStreamConsumer", false},
		"records go to Firehose":                {"firehose", rpc("Firehose_20150804.PutRecordBatch", ""), "firehose:PutRecordBatch", false},
		"a queue is found":                      {"sqs", rpc("AmazonSQS.GetQueueUrl", ""), "sqs:GetQueueUrl", true},
		"a message is sent":                     {"sqs", rpc("AmazonSQS.SendMessage", ""), "sqs:SendMessage", false},
		"a message is taken: others miss it":    {"sqs", rpc("AmazonSQS.ReceiveMessage", ""), "sqs:ReceiveMessage", false},
		"an event is put":                       {"events", rpc("AWSEvents.PutEvents", ""), "events:PutEvents", false},
		"a parameter is read":                   {"ssm", rpc("AmazonSSM.GetParametersByPath", ""), "ssm:GetParametersByPath", true},
		"a secret is read":                      {"secretsmanager", rpc("secretsmanager.GetSecretValue", ""), "secretsmanager:GetSecretValue", true},
		"a secret is replaced":                  {"secretsmanager", rpc("secretsmanager.PutSecretValue", ""), "secretsmanager:PutSecretValue", false},
		"a value is decrypted":                  {"kms", rpc("TrentService.Decrypt", ""), "kms:Decrypt", true},
		"a key is disabled":                     {"kms", rpc("TrentService.DisableKey", ""), "kms:DisableKey", false},
		"log events are read":                   {"logs", rpc("Logs_20140328.FilterLogEvents", ""), "logs:FilterLogEvents", true},
		"log events are written":                {"logs", rpc("Logs_20140328.PutLogEvents", ""), "logs:PutLogEvents", false},
		"a workflow is started":                 {"states", rpc("AWSStepFunctions.StartExecution", ""), "states:StartExecution", false},
		"a workflow's task is taken":            {"states", rpc("AWSStepFunctions.GetActivityTask", ""), "states:GetActivityTask", false},
		"a name that only begins like a read":   {"example", rpc("Example.Getaway", ""), "example:Getaway", false},
		"a target without an operation":         {"dynamodb", rpc("DynamoDB_20120810.", ""), "dynamodb:", false},
		"a push token is asked for":             {"ecr", rpc("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", ""), "ecr:GetAuthorizationToken", false},
		"a database's credentials":              {"redshift-serverless", rpc("RedshiftServerless.GetCredentials", ""), "redshift-serverless:GetCredentials", false},
		"metrics are read":                      {"monitoring", cbor("GetMetricData"), "monitoring:GetMetricData", true},
		"a metric is put":                       {"monitoring", cbor("PutMetricData"), "monitoring:PutMetricData", false},
		"who am I":                              {"sts", form("Action=GetCallerIdentity&Version=2011-06-15"), "sts:GetCallerIdentity", true},
		"a role is assumed":                     {"sts", form("Action=AssumeRole&Version=2011-06-15"), "sts:AssumeRole", false},
		"a session that needs no guard":         {"sts", form("Action=GetSessionToken&Version=2011-06-15"), "sts:GetSessionToken", false},
		"a message is published":                {"sns", form("Action=Publish&Message=Action%3DListTopics"), "sns:Publish", false},
		"topics are listed":                     {"sns", form("Action=ListTopics"), "sns:ListTopics", true},
		"two actions at once":                   {"sns", form("Action=ListTopics&Action=Publish"), "sns:a request that doesn't name one Action", false},
		"an action in the path and in the form": {"sns", request{method: "POST", path: "/?Action=ListTopics", content: "application/x-www-form-urlencoded", body: "Action=Publish"}, "sns:a request that doesn't name one Action", false},
		"an action by GET":                      {"iam", request{method: "GET", path: "/?Action=DeleteRole&RoleName=r"}, "iam:DeleteRole", false},
		"no action":                             {"sns", form(""), "sns:a request that doesn't name one Action", false},
		"a form that can't be read":             {"sns", form("Action=ListTopics&%zz"), "sns:a request that doesn't name one Action", false},
		"instances are listed":                  {"ec2", form("Action=DescribeInstances"), "ec2:DescribeInstances", true},
		"an object is read":                     {"s3", request{method: "GET", path: "/bucket/key?x-id=GetObject"}, "s3:GetObject", true},
		"an object is looked at":                {"s3", request{method: "HEAD", path: "/bucket/key"}, "s3:HeadObject", true},
		"a bucket is listed":                    {"s3", request{method: "GET", path: "/bucket?list-type=2"}, "s3:GET Bucket?list-type=2", true},
		"an object is written":                  {"s3", request{method: "PUT", path: "/bucket/key?x-id=PutObject"}, "s3:PutObject", false},
		"an object is written, unnamed":         {"s3", request{method: "PUT", path: "/bucket/key"}, "s3:PutObject", false},
		"an object is deleted":                  {"s3", request{method: "DELETE", path: "/bucket/key"}, "s3:DeleteObject", false},
		"a bucket is deleted":                   {"s3", request{method: "DELETE", path: "/bucket/"}, "s3:DeleteBucket", false},
		"objects are deleted":                   {"s3", request{method: "POST", path: "/bucket?delete"}, "s3:DeleteObjects", false},
		"an upload begins":                      {"s3", request{method: "POST", path: "/bucket/key?uploads"}, "s3:CreateMultipartUpload", false},
		"an upload ends":                        {"s3", request{method: "POST", path: "/bucket/key?uploadId=u"}, "s3:CompleteMultipartUpload", false},
		"rows of an object are selected":        {"s3", request{method: "POST", path: "/bucket/key?select&select-type=2"}, "s3:SelectObjectContent", true},
		"a write that names itself a read":      {"s3", request{method: "PUT", path: "/bucket/key?x-id=GetObject", target: "DynamoDB_20120810.GetItem"}, "s3:GetObject", false},
		"a session of a directory bucket":       {"s3express", request{method: "GET", path: "/bucket?session"}, "s3express:CreateSession", false},
		"a function is described":               {"lambda", request{method: "GET", path: "/2015-03-31/functions/f"}, "lambda:GET /2015-03-31/functions/f", true},
		"a function is invoked":                 {"lambda", request{method: "POST", path: "/2015-03-31/functions/f/invocations"}, "lambda:POST /2015-03-31/functions/f/invocations", false},
		"an e-mail is sent":                     {"ses", request{method: "POST", path: "/v2/email/outbound-emails"}, "ses:POST /v2/email/outbound-emails", false},
		"records go to a hosted zone":           {"route53", request{method: "POST", path: "/2013-04-01/hostedzone/Z/rrset"}, "route53:POST /2013-04-01/hostedzone/Z/rrset", false},
		"credentials by GET":                    {"datazone", request{method: "GET", path: "/v2/domains/d/environments/e/credentials"}, "datazone:GET /v2/domains/d/environments/e/credentials", false},
		"a role by GET":                         {"deadline", request{method: "GET", path: "/2023-10-12/farms/f/fleets/f/read-roles"}, "deadline:GET /2023-10-12/farms/f/fleets/f/read-roles", false},
		"a confirmation by GET":                 {"iot", request{method: "GET", path: "/confirmdestination/token"}, "iot:GET /confirmdestination/token", false},
		"an object that is called credentials":  {"s3", request{method: "GET", path: "/bucket/credentials"}, "s3:GetObject", true},
		"a path like a CBOR service's, by REST": {"lambda", request{method: "POST", path: "/service/x/operation/GetThing"}, "lambda:POST /service/x/operation/GetThing", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := Classify(c.request.http(), c.service, []byte(c.request.body))
			if got.String() != c.call || got.Read != c.read {
				t.Errorf("%s, read %v; want %s, read %v", got, got.Read, c.call, c.read)
			}
		})
	}
}

func FuzzAWriteIsNeverTakenForARead(f *testing.F) {
	f.Add("PutItem", "x", "")
	f.Add("DeleteRole", "Action=ListRoles", "a=b")
	f.Fuzz(func(t *testing.T, operation, body, values string) {
		// Whatever surrounds it: a write by its name is none by anything else.
		if verbs.MatchString(operation) || strings.ContainsAny(operation, "./") || operation == "" {
			t.Skip()
		}
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL.RawQuery = values
		r.Header.Set("X-Amz-Target", "Service."+operation)
		if Classify(r, "kinesis", []byte(body)).Read {
			t.Errorf("X-Amz-Target %q with %q and %q is a read", operation, values, body)
		}
		r = httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL.RawQuery = "Action=" + url.QueryEscape(operation)
		if Classify(r, "sns", nil).Read {
			t.Errorf("Action %q is a read", operation)
		}
		r = httptest.NewRequest("PUT", "/b/k", strings.NewReader(body))
		r.URL.RawQuery = values
		if Classify(r, "s3", nil).Read {
			t.Errorf("PUT /b/k?%s is a read", values)
		}
	})
}

func TestHosts(t *testing.T) {
	g := &Guard{}
	for want, c := range map[string]struct {
		service, region string
		request         request
	}{
		"https://dynamodb.eu-west-1.amazonaws.com":           {"dynamodb", "eu-west-1", rpc("DynamoDB_20120810.GetItem", "")},
		"https://streams.dynamodb.eu-west-1.amazonaws.com":   {"dynamodb", "eu-west-1", rpc("DynamoDBStreams_20120810.GetRecords", "")},
		"https://kinesis.cn-north-1.amazonaws.com.cn":        {"kinesis", "cn-north-1", rpc("Kinesis_20131202.GetRecords", "")},
		"https://sqs.us-gov-west-1.amazonaws.com":            {"sqs", "us-gov-west-1", rpc("AmazonSQS.GetQueueUrl", "")},
		"https://s3.us-iso-east-1.c2s.ic.gov":                {"s3", "us-iso-east-1", request{method: "GET", path: "/b"}},
		"https://email.us-east-1.amazonaws.com":              {"ses", "us-east-1", request{method: "POST", path: "/v2/email/outbound-emails"}},
		"https://bedrock-runtime.us-east-1.amazonaws.com":    {"bedrock", "us-east-1", request{method: "POST", path: "/model/m/invoke"}},
		"https://bedrock.us-east-1.amazonaws.com":            {"bedrock", "us-east-1", request{method: "GET", path: "/foundation-models"}},
		"https://runtime.sagemaker.eu-west-1.amazonaws.com":  {"sagemaker", "eu-west-1", request{method: "POST", path: "/endpoints/e/invocations"}},
		"https://appconfigdata.eu-west-1.amazonaws.com":      {"appconfig", "eu-west-1", request{method: "GET", path: "/configuration?configuration_token=t"}},
		"https://iam.amazonaws.com":                          {"iam", "us-east-1", form("Action=GetRole")},
		"https://sts.ap-southeast-2.amazonaws.com":           {"sts", "ap-southeast-2", form("Action=GetCallerIdentity")},
		"https://monitoring.eu-central-1.amazonaws.com":      {"monitoring", "eu-central-1", request{method: "POST", path: "/service/s/operation/GetMetricData", smithy: "rpc-v2-cbor"}},
		"https://secretsmanager.eu-central-1.amazonaws.com":  {"secretsmanager", "eu-central-1", rpc("secretsmanager.GetSecretValue", "")},
		"https://states.eu-central-1.amazonaws.com":          {"states", "eu-central-1", rpc("AWSStepFunctions.DescribeExecution", "")},
		"https://sns.ap-east-1.amazonaws.com":                {"sns", "ap-east-1", form("Action=ListTopics")},
		"https://firehose.mx-central-1.amazonaws.com":        {"firehose", "mx-central-1", rpc("Firehose_20150804.DescribeDeliveryStream", "")},
		"https://kms.eusc-de-east-1.amazonaws.eu":            {"kms", "eusc-de-east-1", rpc("TrentService.Decrypt", "")},
		"https://lambda.eu-west-1.amazonaws.com":             {"lambda", "eu-west-1", request{method: "GET", path: "/2015-03-31/functions/f"}},
		"https://api.ecr.eu-west-1.amazonaws.com":            {"ecr", "eu-west-1", rpc("AmazonEC2ContainerRegistry_V20150921.DescribeImages", "")},
		"https://logs.il-central-1.amazonaws.com":            {"logs", "il-central-1", rpc("Logs_20140328.FilterLogEvents", "")},
		"https://data-ats.iot.eu-west-1.amazonaws.com":       {"iotdata", "eu-west-1", request{method: "GET", path: "/things/t/shadow"}},
		"https://route53.amazonaws.com":                      {"route53", "us-east-1", request{method: "GET", path: "/2013-04-01/hostedzone/Z"}},
		"https://ssm.eu-west-1.amazonaws.com":                {"ssm", "eu-west-1", rpc("AmazonSSM.GetParameter", "")},
		"https://events.eu-west-1.amazonaws.com":             {"events", "eu-west-1", rpc("AWSEvents.ListRules", "")},
		"https://pinpoint.eu-west-1.amazonaws.com":           {"mobiletargeting", "eu-west-1", request{method: "GET", path: "/v1/apps"}},
		"https://api.sagemaker.eu-west-1.amazonaws.com":      {"sagemaker", "eu-west-1", rpc("SageMaker.ListModels", "")},
		"https://api.pricing.us-east-1.amazonaws.com":        {"pricing", "us-east-1", rpc("AWSPriceListService.GetProducts", "")},
		"https://cloudfront.amazonaws.com":                   {"cloudfront", "us-east-1", request{method: "GET", path: "/2020-05-31/distribution"}},
		"https://bedrock-runtime.eu-central-1.amazonaws.com": {"bedrock", "eu-central-1", request{method: "POST", path: "/guardrail/g/version/1/apply"}},
	} {
		r := c.request.http()
		got, err := g.destination(Classify(r, c.service, []byte(c.request.body)), c.region, r)
		if err != nil || got.String() != want {
			t.Errorf("%s in %s goes to %v (%v), want %s", c.service, c.region, got, err, want)
		}
	}
}
