// Package e2e runs the stack that goes to AWS on this machine's emulator, with its
// real functions and IAM enforced: the demo, as a user runs it, and what happens to
// bad records, repeated ones and a part that breaks.
package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	ktypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/millrace/millrace/lambdas/kit/kpl"
	"github.com/millrace/millrace/lambdas/kit/reject"
	pace "github.com/millrace/millrace/lambdas/pace/handler"
	"github.com/millrace/millrace/lambdas/race"
	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/step"
)

func TestTheDemoLosesNothingAndLeavesNothingBehind(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "millrace")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/millrace").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "demo.json")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	demo := exec.CommandContext(ctx, binary, "demo", "--records", "20000", "--out", file)
	demo.Dir = "../.."
	demo.Cancel = func() error { return demo.Process.Signal(os.Interrupt) } // so that it stops what it started
	out, err := demo.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report map[string]float64
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, key := range []string{"sent", "applied", "archived", "duplicates", "lost", "alarms", "seconds"} {
		if _, ok := report[key]; !ok {
			t.Errorf("the report lacks %s: %s", key, text)
		}
	}
	if sent := report["sent"]; sent != 20000 || report["applied"] != sent || report["archived"] != sent || report["lost"] != 0 || report["duplicates"] != 0 {
		t.Errorf("report: %s", text)
	}
	if _, err := local.Status(".."); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("after the demo: %v", err)
	}
}

func TestThePipelineUnderFaults(t *testing.T) {
	p := start(t)

	t.Run("the local profile is printed and IAM is enforced", func(t *testing.T) {
		if len(p.machine.Profile) == 0 {
			t.Error("what the local stack leaves out isn't told")
		}
		nobody := p.machine.Config()
		nobody.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7NOBODY0", SecretAccessKey: "nobody"}, nil
		})
		if _, err := dynamodb.NewFromConfig(nobody).ListTables(t.Context(), nil); err == nil {
			t.Error("unknown credentials are let in")
		}
	})

	t.Run("a second machine is refused and the first goes on", func(t *testing.T) {
		_, err := local.Up(t.Context(), local.Options{Dir: ".."})
		var running *local.RunningError
		if !errors.As(err, &running) || running.State.Port != p.machine.Port {
			t.Errorf("got %v", err)
		}
		if state, err := local.Status(".."); err != nil || !state.Ready() {
			t.Errorf("status: %+v, %v", state, err)
		}
	})

	t.Run("bad, repeated and late records", func(t *testing.T) {
		p.put(t, "monza/r1",
			record("monza", "r1", 1, 10), record("monza", "r1", 3, 30), // out of order
			record("monza", "r1", 2, 20), record("monza", "r1", 3, 30), // repeated
			`{"race":"monza","racer":"r1","seq":`, // cut off
			"",                                    // a keep-alive
			record("monza", "r2", 1, 25),
			`{"race":"monza","racer":"r3","seq":-1,"at":"2026-01-01T00:00:00Z","distance":1,"speed":1,"power":1}`,
			record("monza", "r1", 4, 40), // after all that
		)
		p.eventually(t, func() error {
			return p.holds("monza", map[string]int64{"r1": 4, "r2": 1})
		})
		// Both bad records, whole and with their reason, where an operator finds them.
		p.eventually(t, func() error {
			docs, err := p.rejected()
			if err != nil {
				return err
			}
			if len(docs) != 4 {
				return fmt.Errorf("%d rejected records, want 2 of each of the stream's functions", len(docs))
			}
			for _, d := range docs {
				if d.Reason == "" || d.PartitionKey != "monza/r1" || !strings.HasPrefix(string(d.Data), `{"race":"monza"`) || !strings.Contains(d.ShardID, "shardId-") {
					return fmt.Errorf("document %+v", d)
				}
			}
			return nil
		})
		// And what the archive's transform refused, under its error prefix.
		p.eventually(t, func() error {
			failed, err := p.unarchived()
			if err != nil {
				return err
			}
			if len(failed) != 2 {
				return fmt.Errorf("%d records under the error prefix, want 2: %q", len(failed), failed)
			}
			for _, data := range failed {
				if !strings.HasPrefix(data, `{"race":"monza"`) {
					return fmt.Errorf("under the error prefix is %q", data)
				}
			}
			return nil
		})
		p.eventually(t, func() error {
			podium, err := p.podium("monza")
			if err != nil {
				return err
			}
			if len(podium.Top) != 2 || podium.Top[0].Racer != "r1" || podium.Top[0].Seq != 4 || podium.Top[1].Racer != "r2" {
				return fmt.Errorf("podium %+v", podium)
			}
			return nil
		})
	})

	t.Run("records that a producer aggregated", func(t *testing.T) {
		a, err := kpl.NewAggregator(kpl.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []string{record("monaco", "r1", 1, 10), record("monaco", "r2", 1, 12), record("monaco", "r1", 2, 20)} {
			if _, err := a.Add("k", "", []byte(r)); err != nil {
				t.Fatal(err)
			}
		}
		p.put(t, "monaco", string(a.Flush()[0].Data))
		p.eventually(t, func() error { return p.holds("monaco", map[string]int64{"r1": 2, "r2": 1}) })
	})

	t.Run("a part that breaks raises its alarm, and nothing is lost when it is mended", func(t *testing.T) {
		const alarm = "MillraceRace-Watch-UpdateStandings-Function-Errors"
		if state := p.state(t, alarm); state == cwtypes.StateValueAlarm {
			t.Fatalf("%s rings before anything broke", alarm)
		}
		mend := p.deny(t, p.role(t, "UpdateStandings"), "dynamodb:UpdateItem")
		p.put(t, "imola/r1", record("imola", "r1", 1, 10), record("imola", "r1", 2, 20))
		// The emulator counts errors of invocations by API only, and looks at its
		// alarms when somebody puts a metric.
		p.eventually(t, func() error {
			if failed := p.invoke(t, "UpdateStandings", record("imola", "r1", 1, 10)); !failed {
				return errors.New("the function succeeds without its permission")
			}
			if _, err := p.alarms.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{
				Namespace: aws.String("Test"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Tick"), Value: aws.Float64(1)}},
			}); err != nil {
				return err
			}
			if state := p.state(t, alarm); state != cwtypes.StateValueAlarm {
				return fmt.Errorf("%s is %s", alarm, state)
			}
			return nil
		})
		if err := p.holds("imola", map[string]int64{}); err != nil {
			t.Errorf("while the role is broken: %v", err)
		}
		mend()
		p.eventually(t, func() error { return p.holds("imola", map[string]int64{"r1": 2}) })
	})

	t.Run("a race's pace counts every record of a window once", func(t *testing.T) {
		p.eventually(t, func() error {
			// A window ends when a record of a later one comes.
			p.put(t, "monza/r1", "")
			return p.paced("monza", 5)
		})
	})

	t.Run("a mapping reads with its function's role, and says what it waits for", func(t *testing.T) {
		mend := p.deny(t, p.role(t, "UpdateStandings"), "kinesis:GetRecords")
		p.eventually(t, func() error {
			activity, err := local.ReadActivity("..")
			if err != nil {
				return err
			}
			for _, c := range activity.Consumers {
				if strings.Contains(c.Function, "UpdateStandings") && strings.Contains(c.LastError, "kinesis:GetRecords") {
					return nil
				}
			}
			return fmt.Errorf("while the role is broken, the consumers are at %+v", activity.Consumers)
		})
		p.put(t, "suzuka/r1", record("suzuka", "r1", 1, 10))
		if err := p.holds("suzuka", map[string]int64{}); err != nil {
			t.Errorf("while the role is broken: %v", err)
		}
		mend()
		p.eventually(t, func() error { return p.holds("suzuka", map[string]int64{"r1": 1}) })
	})

	t.Run("a delivery stream works with its own role and waits while that is broken", func(t *testing.T) {
		mend := p.deny(t, p.deliveryRole(t), "s3:PutObject")
		p.put(t, "spa/r1", record("spa", "r1", 1, 10), record("spa", "r1", 2, 20))
		archive := func() local.Delivery {
			activity, err := local.ReadActivity("..")
			if err != nil || len(activity.Deliveries) != 1 {
				t.Fatalf("the activity is %+v, %v", activity, err)
			}
			return activity.Deliveries[0]
		}
		p.eventually(t, func() error {
			if d := archive(); d.Buffered < 2 || !strings.Contains(d.LastError, "s3:PutObject") {
				return fmt.Errorf("while its role is broken, the delivery is at %+v", d)
			}
			return nil
		})
		mend()
		p.eventually(t, func() error {
			if d := archive(); d.Buffered > 0 || d.Delivered+d.Dropped+d.Failed != d.Accepted || d.Failed != 2 {
				return fmt.Errorf("with its role mended, the delivery is at %+v", d)
			}
			return nil
		})
	})

	t.Run("a function here is attached to a stream there", func(t *testing.T) { attachTo(t, p) })

	t.Run("closing frees the port and leaves no state", func(t *testing.T) {
		port := p.machine.Port
		if err := p.machine.Close(); err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatalf("the port is still taken: %v", err)
		}
		listener.Close()
		if _, err := local.Status(".."); !errors.Is(err, local.ErrNotRunning) {
			t.Errorf("status: %v", err)
		}
	})
}

// pipeline is a deployed stack and clients for looking into it.
type pipeline struct {
	machine  *local.Machine
	kinesis  *kinesis.Client
	dynamodb *dynamodb.Client
	s3       *s3.Client
	alarms   *cloudwatch.Client
	lambda   *lambda.Client
	iam      *iam.Client
}

func start(t *testing.T) *pipeline {
	t.Helper()
	var log bytes.Buffer
	machine, err := local.Up(t.Context(), local.Options{Dir: "..", Log: step.New(&log)})
	t.Logf("%s", &log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { machine.Close() })
	config := machine.Config()
	return &pipeline{
		machine:  machine,
		kinesis:  kinesis.NewFromConfig(config),
		dynamodb: dynamodb.NewFromConfig(config),
		s3:       s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }),
		alarms:   cloudwatch.NewFromConfig(config),
		lambda:   lambda.NewFromConfig(config),
		iam:      iam.NewFromConfig(config),
	}
}

func record(name, racer string, seq int64, distance float64) string {
	data, err := json.Marshal(race.Record{
		Race: name, Racer: racer, Seq: seq, Distance: distance, Speed: 10, Power: 300,
		At: time.Date(2026, 1, 1, 0, 0, int(seq), 0, time.UTC),
	})
	if err != nil {
		panic(err)
	}
	return string(data)
}

// put puts payloads into the stack's stream in one call.
func (p *pipeline) put(t *testing.T, key string, payloads ...string) {
	t.Helper()
	p.putTo(t, p.machine.Outputs[local.OutputStream], key, payloads...)
}

func (p *pipeline) putTo(t *testing.T, stream, key string, payloads ...string) {
	t.Helper()
	var entries []ktypes.PutRecordsRequestEntry
	for _, payload := range payloads {
		entries = append(entries, ktypes.PutRecordsRequestEntry{PartitionKey: aws.String(key), Data: []byte(payload)})
	}
	out, err := p.kinesis.PutRecords(t.Context(), &kinesis.PutRecordsInput{
		StreamName: aws.String(stream), Records: entries,
	})
	if err != nil || *out.FailedRecordCount != 0 {
		t.Fatalf("put: %v, %+v", err, out)
	}
}

// eventually tries check until it passes, for a minute.
func (p *pipeline) eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after a minute: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// holds checks that the standings of a race are exactly these racers at these seqs.
func (p *pipeline) holds(name string, want map[string]int64) error {
	out, err := p.dynamodb.Scan(context.Background(), &dynamodb.ScanInput{
		TableName: aws.String(p.machine.Outputs[local.OutputStandings]), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return err
	}
	var records []race.Record
	if err := attributevalue.UnmarshalListOfMaps(out.Items, &records); err != nil {
		return err
	}
	got := map[string]int64{}
	for _, r := range records {
		if r.Race == name {
			got[r.Racer] = r.Seq
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("race %s is at %v, want %v", name, got, want)
	}
	return nil
}

// paced checks how many records the windows of a race count in all.
func (p *pipeline) paced(name string, want int) error {
	out, err := p.dynamodb.Query(context.Background(), &dynamodb.QueryInput{
		TableName: aws.String(p.machine.Outputs[local.OutputPaces]), KeyConditionExpression: aws.String("race = :race"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":race": &types.AttributeValueMemberS{Value: name}},
	})
	if err != nil {
		return err
	}
	records := 0
	for _, item := range out.Items {
		window, err := pace.Read(item)
		if err != nil {
			return err
		}
		records += window.Records
	}
	if records != want {
		return fmt.Errorf("the %d windows of %s count %d records, want %d", len(out.Items), name, records, want)
	}
	return nil
}

func (p *pipeline) podium(name string) (race.Podium, error) {
	key, err := attributevalue.MarshalMap(map[string]string{"race": name})
	if err != nil {
		return race.Podium{}, err
	}
	out, err := p.dynamodb.GetItem(context.Background(), &dynamodb.GetItemInput{
		TableName: aws.String(p.machine.Outputs[local.OutputPodiums]), Key: key, ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return race.Podium{}, err
	}
	var podium race.Podium
	return podium, attributevalue.UnmarshalMap(out.Item, &podium)
}

// rejected reads the records that the functions set aside.
func (p *pipeline) rejected() ([]reject.Document, error) {
	bucket := aws.String(p.machine.Outputs[local.OutputFailures])
	list, err := p.s3.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String(reject.Prefix)})
	if err != nil {
		return nil, err
	}
	var docs []reject.Document
	for _, object := range list.Contents {
		out, err := p.s3.GetObject(context.Background(), &s3.GetObjectInput{Bucket: bucket, Key: object.Key})
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil {
			return nil, err
		}
		var doc reject.Document
		if err := json.Unmarshal(text, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", *object.Key, err)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// deny takes a permission from a role until mend is called.
func (p *pipeline) deny(t *testing.T, role, action string) (mend func()) {
	t.Helper()
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":%q,"Resource":"*"}]}`, action)
	if _, err := p.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String(role), PolicyName: aws.String("Broken"), PolicyDocument: aws.String(policy),
	}); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := p.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String(role), PolicyName: aws.String("Broken")}); err != nil {
			t.Fatal(err)
		}
	}
}

// deliveryRole is the name of the archive's role.
func (p *pipeline) deliveryRole(t *testing.T) string {
	t.Helper()
	for pages := iam.NewListRolesPaginator(p.iam, nil); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range page.Roles {
			if strings.Contains(*role.RoleName, "-ArchiveRole") {
				return *role.RoleName
			}
		}
	}
	t.Fatal("the archive has no role")
	return ""
}

// unarchived reads the payloads that the delivery stream put under its error prefix.
func (p *pipeline) unarchived() ([]string, error) {
	bucket := aws.String(p.machine.Outputs[local.OutputArchive])
	list, err := p.s3.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("errors/processing-failed/")})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, object := range list.Contents {
		out, err := p.s3.GetObject(context.Background(), &s3.GetObjectInput{Bucket: bucket, Key: object.Key})
		if err != nil {
			return nil, err
		}
		unzipped, err := gzip.NewReader(out.Body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", *object.Key, err)
		}
		for decoder := json.NewDecoder(unzipped); ; {
			var document struct {
				RawData []byte `json:"rawData"`
			}
			if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", *object.Key, err)
			}
			all = append(all, string(document.RawData))
		}
		out.Body.Close()
	}
	return all, nil
}

func (p *pipeline) state(t *testing.T, alarm string) cwtypes.StateValue {
	t.Helper()
	out, err := p.alarms.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{alarm}})
	if err != nil || len(out.MetricAlarms) != 1 {
		t.Fatalf("alarm %s: %v", alarm, err)
	}
	return out.MetricAlarms[0].StateValue
}

// invoke hands the payload to a function as a batch of one, and tells whether it failed.
func (p *pipeline) invoke(t *testing.T, part, payload string) (failed bool) {
	t.Helper()
	event, err := json.Marshal(events.KinesisEvent{Records: []events.KinesisEventRecord{{
		EventID: "shardId-000000000000:1", EventSource: "aws:kinesis",
		Kinesis: events.KinesisRecord{SequenceNumber: "1", PartitionKey: "test", Data: []byte(payload)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: p.function(t, part).FunctionName, Payload: event})
	if err != nil {
		t.Fatal(err)
	}
	return out.FunctionError != nil
}

// role is the name of a function's role.
func (p *pipeline) role(t *testing.T, part string) string {
	t.Helper()
	_, name, _ := strings.Cut(*p.function(t, part).Role, ":role/")
	return name
}

// function is the one whose name holds part.
func (p *pipeline) function(t *testing.T, part string) lambdatypes.FunctionConfiguration {
	t.Helper()
	out, err := p.lambda.ListFunctions(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range out.Functions {
		if strings.Contains(*f.FunctionName, part) {
			return f
		}
	}
	t.Fatalf("no function named %s", part)
	return lambdatypes.FunctionConfiguration{}
}
