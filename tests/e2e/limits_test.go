package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	ktypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/lambdas/kit/producer"
	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/step"
	"github.com/millrace/millrace/local/throttle"
)

func TestShardsThrottleAsOnAWS(t *testing.T) {
	var log bytes.Buffer
	limits := throttle.Limits{WriteRecords: 50, ReadTransactions: 5}
	machine, err := local.Up(t.Context(), local.Options{Dir: "..", Limits: limits, Log: step.New(&log)})
	t.Logf("%s", &log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { machine.Close() })
	config := machine.Config()
	client := kinesis.NewFromConfig(config)
	stream := func(t *testing.T, shards int32) *string {
		name := aws.String(strings.ReplaceAll(t.Name(), "/", "-"))
		if _, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: name, ShardCount: &shards}); err != nil {
			t.Fatal(err)
		}
		return name
	}

	t.Run("a producer that retries gets everything through", func(t *testing.T) {
		name := stream(t, 2)
		again := kinesis.NewFromConfig(config, func(o *kinesis.Options) { o.Retryer = aws.NopRetryer{} })
		p, err := producer.New(again, *name, producer.Options{MaxDelay: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		sent := map[string]bool{}
		for n := range 300 {
			key := "hot"
			if n%10 == 0 {
				key = "cold-0"
			}
			data := fmt.Sprint(n)
			sent[data] = true
			if err := p.Add(t.Context(), producer.Record{PartitionKey: key, Data: []byte(data)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		counts := map[string]throttle.Shard{}
		for _, s := range machine.Shards() {
			if s.Stream == *name {
				counts[s.Shard] = s
			}
		}
		for shard, want := range map[string]int{"shardId-000000000000": 270, "shardId-000000000001": 30} {
			held := readShard(t, client, name, shard)
			if len(held) != want || counts[shard].Records != int64(want) {
				t.Errorf("%s holds %d records, want %d; it counts %+v", shard, len(held), want, counts[shard])
			}
			for _, r := range held {
				delete(sent, string(r.Data))
			}
		}
		if len(sent) != 0 {
			t.Errorf("lost: %v", sent)
		}
		hot, cold := counts["shardId-000000000000"], counts["shardId-000000000001"]
		if hot.Throttled == 0 || cold.Throttled != 0 {
			t.Errorf("turned away: %d by the hot shard and %d by the cold one", hot.Throttled, cold.Throttled)
		}
	})

	// The emulator doesn't check the root's signatures, as all others' here.
	t.Run("IAM is enforced on what goes through", func(t *testing.T) {
		name := stream(t, 1)
		users := iam.NewFromConfig(config)
		user := aws.String("producer")
		if _, err := users.CreateUser(t.Context(), &iam.CreateUserInput{UserName: user}); err != nil {
			t.Fatal(err)
		}
		created, err := users.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: user})
		if err != nil {
			t.Fatal(err)
		}
		as := func(secret string) *kinesis.Client {
			signed := config.Copy()
			signed.Credentials = credentials.NewStaticCredentialsProvider(*created.AccessKey.AccessKeyId, secret, "")
			return kinesis.NewFromConfig(signed)
		}
		secret := *created.AccessKey.SecretAccessKey
		var entries []ktypes.PutRecordsRequestEntry
		for range 60 {
			entries = append(entries, ktypes.PutRecordsRequestEntry{PartitionKey: aws.String("k<"), Data: []byte("d")})
		}
		in := &kinesis.PutRecordsInput{StreamName: name, Records: entries}
		var refused smithy.APIError
		if _, err := as(secret).PutRecords(t.Context(), in); !errors.As(err, &refused) || !strings.HasPrefix(refused.ErrorCode(), "AccessDenied") {
			t.Errorf("without a permission: %v", err)
		}
		const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kinesis:PutRecords","Resource":"*"}]}`
		if _, err := users.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: user, PolicyName: aws.String("Put"), PolicyDocument: aws.String(policy)}); err != nil {
			t.Fatal(err)
		}
		if _, err := as("wrong").PutRecords(t.Context(), in); !errors.As(err, &refused) || !strings.Contains(refused.ErrorMessage(), "signature") {
			t.Errorf("with a wrong secret: %v", err)
		}
		out, err := as(secret).PutRecords(t.Context(), in)
		if err != nil || *out.FailedRecordCount != 10 {
			t.Fatalf("with the permission, and a second's worth that nobody took: %+v, %v", out, err)
		}
		if held := readShard(t, client, name, "shardId-000000000000"); len(held) != 50 {
			t.Errorf("the shard holds %d records, want 50", len(held))
		}
	})

	t.Run("the stack's alarm sees it", func(t *testing.T) {
		const alarm = "MillraceRace-Watch-Telemetry-WriteThrottled"
		alarms := cloudwatch.NewFromConfig(config)
		p := &pipeline{alarms: alarms}
		if state := p.state(t, alarm); state == cwtypes.StateValueAlarm {
			t.Fatalf("%s rings before anything was turned away", alarm)
		}
		// The machine's own counts go to CloudWatch once a minute.
		proxy, err := throttle.New(throttle.Options{Limits: throttle.Limits{WriteRecords: 1}, Upstream: machine.Endpoint, API: client, Account: local.Account})
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewServer(proxy)
		defer front.Close()
		limited := config.Copy()
		limited.BaseEndpoint = aws.String(front.URL)
		entry := ktypes.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: []byte("\n")}
		out, err := kinesis.NewFromConfig(limited).PutRecords(t.Context(), &kinesis.PutRecordsInput{
			StreamName: aws.String(machine.Outputs[local.OutputStream]), Records: []ktypes.PutRecordsRequestEntry{entry, entry, entry},
		})
		if err != nil || *out.FailedRecordCount != 2 {
			t.Fatalf("%+v, %v", out, err)
		}
		if err := proxy.PutMetrics(t.Context(), alarms); err != nil {
			t.Fatal(err)
		}
		if state := p.state(t, alarm); state != cwtypes.StateValueAlarm {
			t.Errorf("%s is %s", alarm, state)
		}
	})
}

func readShard(t *testing.T, client *kinesis.Client, stream *string, shard string) (records []ktypes.Record) {
	t.Helper()
	at, err := client.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: stream, ShardId: aws.String(shard), ShardIteratorType: ktypes.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		t.Fatal(err)
	}
	for iterator := at.ShardIterator; ; {
		out, err := client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: iterator})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Records) == 0 {
			return records
		}
		records, iterator = append(records, out.Records...), out.NextShardIterator
	}
}
