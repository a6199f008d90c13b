package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	ktypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/local"
)

// attachment is a stream with a table and a bucket of its own, in which nothing but an
// attached function writes, and a user who may do no more than that takes.
type attachment struct {
	*pipeline
	binary, tmp string
	stream      string // ARN
	function    string // deployed, of which the environment is taken
	user        string
	env         []string // of the user's shell
}

const (
	attached        = "attached" // the stream, the table, the bucket, the user
	attachedPodiums = "attached-podiums"
)

// attachTo checks `millrace local attach` with the standings function.
func attachTo(t *testing.T, p *pipeline) {
	a := newAttachment(t, p)
	p.putTo(t, attached, "monza/r1",
		record("monza", "r1", 1, 10), record("monza", "r1", 2, 20),
		record("monza", "r2", 1, 15),
		`{"race":"monza","racer":"r1","seq":`, // cut off: set aside in the bucket
	)
	const records = 4

	t.Run("read-only", func(t *testing.T) {
		out, err := a.run(t, "--records", fmt.Sprint(records))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"refused dynamodb:UpdateItem 2×, s3:PutObject 1×", "Refused writes: dynamodb:UpdateItem 2×, s3:PutObject 1×."} {
			if !strings.Contains(out, want) {
				t.Errorf("it doesn't say %q", want)
			}
		}
		if items, objects := a.written(t); items+objects > 0 {
			t.Errorf("%d items and %d objects are written", items, objects)
		}
	})

	t.Run("with writes allowed", func(t *testing.T) {
		if out, err := a.run(t, "--records", fmt.Sprint(records), "--allow-writes"); err != nil || !strings.Contains(out, "writes    ALLOWED") {
			t.Fatal(err)
		}
		// r1 at its second record, and r2; the malformed one in the bucket.
		if items, objects := a.written(t); items != 2 || objects != 1 {
			t.Errorf("%d items and %d objects are written, want 2 and 1", items, objects)
		}
	})

	t.Run("what the user may not do is the account's own error", func(t *testing.T) {
		a.policy(t, "Deny", "dynamodb:UpdateItem")
		out, err := a.run(t, "--records", fmt.Sprint(records), "--allow-writes")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "AccessDenied") || !strings.Contains(out, "user/"+attached) || strings.Contains(out, "is refused: it isn't known") {
			t.Errorf("it ended with %v", err)
		}
		a.policy(t, "Allow", "dynamodb:UpdateItem")
	})

	t.Run("a table's stream, where the function reads before it writes", func(t *testing.T) {
		table, err := p.dynamodb.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(p.machine.Outputs[local.OutputStandings])})
		if err != nil {
			t.Fatal(err)
		}
		cmd, out := a.command(t, "--stream", *table.Table.LatestStreamArn, "--package", "./lambdas/podium", "--env-from", *p.function(t, "UpdatePodiums").FunctionName,
			"--env", "PODIUMS_TABLE="+attachedPodiums, "--records", "1")
		err = cmd.Run()
		t.Logf("%v\n%s", err, out)
		if err != nil || !strings.Contains(out.String(), "\nRefused writes: dynamodb:PutItem 1×.") {
			t.Error("the podium's one write isn't refused, or its reads are")
		}
	})

	t.Run("Ctrl-C is its regular end and leaves nothing behind", func(t *testing.T) {
		cmd, out := a.command(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.eventually(t, func() error {
			if text := out.String(); !strings.Contains(text, "records") || !strings.Contains(text, "START RequestId") {
				return errors.New("the function hasn't been invoked")
			}
			return nil
		})
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "Ended: stopped.") {
			t.Errorf("%v\n%s", err, out)
		}
		a.nothingLeft(t)
	})
}

func newAttachment(t *testing.T, p *pipeline) *attachment {
	t.Helper()
	ctx := t.Context()
	a := &attachment{pipeline: p, binary: filepath.Join(t.TempDir(), "millrace"), tmp: t.TempDir(), user: attached}
	if out, err := exec.Command("go", "build", "-o", a.binary, "../../cmd/millrace").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := p.kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String(attached), ShardCount: aws.Int32(1)})
	must(err)
	p.eventually(t, func() error {
		out, err := p.kinesis.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String(attached)})
		if err == nil && out.StreamDescriptionSummary.StreamStatus != ktypes.StreamStatusActive {
			err = fmt.Errorf("the stream is %s", out.StreamDescriptionSummary.StreamStatus)
		}
		if err == nil {
			a.stream = *out.StreamDescriptionSummary.StreamARN
		}
		return err
	})
	must(a.createTable(ctx, attached, "race", "racer"))
	must(a.createTable(ctx, attachedPodiums, "race"))
	_, err = p.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(attached)})
	must(err)
	a.function = *p.function(t, "UpdateStandings").FunctionName

	_, err = p.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String(a.user)})
	must(err)
	keys, err := p.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String(a.user)})
	must(err)
	a.policy(t, "Allow", "dynamodb:UpdateItem")
	a.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + a.tmp,
		"AWS_ACCESS_KEY_ID=" + *keys.AccessKey.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + *keys.AccessKey.SecretAccessKey,
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
		if value, ok := os.LookupEnv(name); ok {
			a.env = append(a.env, name+"="+value)
		}
	}
	return a
}

// createTable makes a table with a partition key and perhaps a sort key.
func (a *attachment) createTable(ctx context.Context, name string, keys ...string) error {
	in := &dynamodb.CreateTableInput{TableName: aws.String(name), BillingMode: dynamodbtypes.BillingModePayPerRequest}
	for i, key := range keys {
		in.AttributeDefinitions = append(in.AttributeDefinitions, dynamodbtypes.AttributeDefinition{
			AttributeName: aws.String(key), AttributeType: dynamodbtypes.ScalarAttributeTypeS,
		})
		in.KeySchema = append(in.KeySchema, dynamodbtypes.KeySchemaElement{
			AttributeName: aws.String(key), KeyType: []dynamodbtypes.KeyType{dynamodbtypes.KeyTypeHash, dynamodbtypes.KeyTypeRange}[i],
		})
	}
	_, err := a.dynamodb.CreateTable(ctx, in)
	return err
}

// policy is what the user may do, but for one action whose effect is given.
func (a *attachment) policy(t *testing.T, effect, action string) {
	t.Helper()
	document := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["kinesis:ListShards","kinesis:GetShardIterator","kinesis:GetRecords"],"Resource":"%s"},
		{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::%s/*"},
		{"Effect":"Allow","Action":["lambda:GetFunctionConfiguration","dynamodb:DescribeStream","dynamodb:GetShardIterator","dynamodb:GetRecords","dynamodb:GetItem","dynamodb:Query"],"Resource":"*"},
		{"Effect":"%s","Action":"%s","Resource":"arn:aws:dynamodb:*:*:table/%s"}]}`, a.stream, attached, effect, action, attached)
	if _, err := a.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String(a.user), PolicyName: aws.String("attach"), PolicyDocument: aws.String(document)}); err != nil {
		t.Fatal(err)
	}
}

// command is `millrace local attach` as the user, from the stream's beginning.
func (a *attachment) command(t *testing.T, args ...string) (*exec.Cmd, *safeBuffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, a.binary, append([]string{
		"local", "attach", "--stream", a.stream, "--package", "./lambdas/standings", "--at", "TRIM_HORIZON", "--endpoint", a.machine.Endpoint,
		"--env-from", a.function, "--env", "STANDINGS_TABLE=" + attached, "--env", "FAILURE_BUCKET=" + attached,
	}, args...)...)
	cmd.Dir, cmd.Env = "../..", a.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out := &safeBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func (a *attachment) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd, out := a.command(t, args...)
	err := cmd.Run()
	t.Logf("%v\n%s", err, out)
	a.nothingLeft(t)
	return out.String(), err
}

// nothingLeft looks for processes and files.
func (a *attachment) nothingLeft(t *testing.T) {
	t.Helper()
	if files, err := os.ReadDir(a.tmp); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if processes, err := exec.Command("ps", "-eo", "args").Output(); err != nil || bytes.Contains(processes, []byte(a.tmp)) {
		t.Errorf("still running (%v):\n%s", err, processes)
	}
}

// written counts the table's items and the bucket's objects.
func (a *attachment) written(t *testing.T) (items, objects int) {
	t.Helper()
	scan, err := a.dynamodb.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(attached), ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	list, err := a.s3.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(attached)})
	if err != nil {
		t.Fatal(err)
	}
	return len(scan.Items), len(list.Contents)
}

// safeBuffer can be read while a command writes to it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
