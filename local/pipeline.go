package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	fh "github.com/aws/aws-sdk-go-v2/service/firehose"
	fhtypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/awsapi"
	"github.com/millrace/millrace/local/firehose"
	"github.com/millrace/millrace/local/step"
	"github.com/millrace/millrace/local/throttle"
)

// pipeline runs the stack's event source mappings and delivery streams in this
// process, in place of the emulator's: its mappings ignore partial answers,
// bisecting, limits of retries and age, parallelization, windows and failure
// destinations, and its Firehose has no buffer.
//
// Each works with the role that it has on AWS: a mapping reads with its function's
// role, a delivery stream does everything with its own. So the emulator refuses
// what those roles don't allow.
type pipeline struct {
	consumers  []consumer
	deliveries []delivery
	pause      time.Duration           // between reads
	shards     func() []throttle.Shard // what limits turn away

	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex // of the log
	log     *os.File
}

// consumer is an event source mapping.
type consumer struct {
	function string // name of the function
	*esm.Mapping
	problem *atomic.Pointer[string] // the last one
}

// delivery is a delivery stream.
type delivery struct {
	name   string
	stream *firehose.Stream
	poller *firehose.Poller
}

// Pauses of the pollers: AWS's are a second and more, which nobody wants to wait
// for at their desk. Shorter ones than these cost throughput: the emulator looks at
// every record of a stream at each read.
const (
	pollPause     = 500 * time.Millisecond
	discoverPause = 2 * time.Second
)

// takeOver switches the emulator's mappings and delivery streams off and runs them
// here.
func (m *Machine) takeOver(ctx context.Context, log *step.Log) error {
	return log.Run(ctx, "take over mappings and delivery", func(ctx context.Context, _ *step.Step) error {
		file, err := os.Create(m.paths.log("pipeline"))
		if err != nil {
			return err
		}
		background, stop := context.WithCancel(context.Background())
		p := &pipeline{log: file, stop: stop, pause: m.pollPause(), shards: m.Shards}
		m.pipeline = p
		config := m.Config()
		if err := errors.Join(p.takeMappings(ctx, config, m.paths), p.takeDeliveries(ctx, config, m.paths, m.warehouse)); err != nil {
			return err
		}
		// In the order of the data, for those who look at the status.
		slices.SortFunc(p.consumers, func(a, b consumer) int {
			return cmp.Or(cmp.Compare(a.Settings().Kind, b.Settings().Kind), cmp.Compare(a.function, b.function))
		})
		m.Profile = append(m.Profile, fmt.Sprintf("Mappings and delivery streams run here, not in the emulator, as on AWS; but buffers are delivered after %s at the latest, and shards read every %s.", bufferInterval, p.pause))
		for _, c := range p.consumers {
			p.running.Go(func() { _ = c.Run(background) })
		}
		for _, d := range p.deliveries {
			p.running.Go(func() { d.stream.Run(background) })
			p.running.Go(func() { d.poller.Run(background) })
		}
		p.running.Go(func() { p.publish(background, m.paths.activity) })
		return nil
	})
}

func (p *pipeline) takeMappings(ctx context.Context, config aws.Config, paths paths) error {
	client := lambda.NewFromConfig(config)
	var ids []string
	for pages := lambda.NewListEventSourceMappingsPaginator(client, nil); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, listed := range page.EventSourceMappings {
			ids = append(ids, aws.ToString(listed.UUID))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	// The emulator's descriptions of mappings leave these out.
	properties, err := deployedProperties(ctx, config, paths, "AWS::Lambda::EventSourceMapping", "TumblingWindowInSeconds", "StartingPositionTimestamp")
	if err != nil {
		return err
	}
	var problems []error
	for _, id := range ids {
		if err := p.takeMapping(ctx, config, client, id, properties[id]); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (p *pipeline) takeMapping(ctx context.Context, config aws.Config, client *lambda.Client, id string, properties []byte) error {
	uuid := aws.String(id)
	described, err := client.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: uuid})
	if err != nil {
		return err
	}
	if state := aws.ToString(described.State); state == "Disabled" || state == "Disabling" {
		return nil // by the stack
	}
	if err := complete(described, properties); err != nil {
		return err
	}
	settings, err := awsapi.Settings(described)
	if err != nil {
		return err
	}
	function, err := client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: described.FunctionArn})
	if err != nil {
		return err
	}
	if _, err := client.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: uuid, Enabled: aws.Bool(false)}); err != nil {
		return err
	}
	settings.RoleARN = aws.ToString(function.Role)
	role := withRole(config, settings.RoleARN)
	var source esm.Source
	if settings.Kind == esm.DynamoDB {
		// As root: the emulator doesn't know which stream a call is about, and would
		// refuse it to a role that may read just this one.
		source = awsapi.DynamoDB(dynamodbstreams.NewFromConfig(config), settings.SourceARN)
	} else {
		source = awsapi.Kinesis(kinesis.NewFromConfig(role), settings.SourceARN)
	}
	name := aws.ToString(function.FunctionName)
	var problem atomic.Pointer[string]
	mapping, err := esm.New(settings, esm.Options{
		Source:   source,
		Function: esm.Over(awsapi.Invoker(lambda.NewFromConfig(config, once), settings.FunctionARN)),
		OnFailure: &awsapi.Destinations{
			S3:  s3.NewFromConfig(role, pathStyle),
			SQS: sqs.NewFromConfig(role), SNS: sns.NewFromConfig(role),
		},
		Poll: p.pause, Discover: discoverPause,
		Problem: func(shard string, err error) {
			text := strings.TrimPrefix(shard+": ", ": ") + err.Error()
			problem.Store(&text)
			p.note(name, text)
		},
	})
	if err != nil {
		return err
	}
	p.consumers = append(p.consumers, consumer{name, mapping, &problem})
	return nil
}

// complete adds to a mapping's description what the template says.
func complete(d *lambda.GetEventSourceMappingOutput, properties []byte) error {
	if properties == nil {
		return nil // it isn't of this stack
	}
	var own struct {
		TumblingWindowInSeconds   *int32
		StartingPositionTimestamp *float64
	}
	if err := json.Unmarshal(properties, &own); err != nil {
		return fmt.Errorf("event source mapping %s: %w", aws.ToString(d.UUID), err)
	}
	if own.TumblingWindowInSeconds != nil {
		d.TumblingWindowInSeconds = own.TumblingWindowInSeconds
	}
	if own.StartingPositionTimestamp != nil {
		d.StartingPositionTimestamp = aws.Time(time.UnixMilli(int64(*own.StartingPositionTimestamp * 1000)))
	}
	return nil
}

// bufferInterval is the longest interval of a delivery stream's buffers.
const bufferInterval = 2 * time.Second

// takeDeliveries takes the delivery streams that read a source, and refuses those
// whose source isn't Kinesis; those of direct puts stay with the emulator, which has
// their API.
func (p *pipeline) takeDeliveries(ctx context.Context, config aws.Config, paths paths, w *warehouse) error {
	client := fh.NewFromConfig(config)
	var names []string
	in := &fh.ListDeliveryStreamsInput{}
	for {
		out, err := client.ListDeliveryStreams(ctx, in)
		if err != nil {
			return err
		}
		names = append(names, out.DeliveryStreamNames...)
		if !aws.ToBool(out.HasMoreDeliveryStreams) || len(out.DeliveryStreamNames) == 0 {
			break
		}
		in.ExclusiveStartDeliveryStreamName = aws.String(names[len(names)-1])
	}
	if len(names) == 0 {
		return nil
	}
	properties, err := deployedProperties(ctx, config, paths, "AWS::KinesisFirehose::DeliveryStream")
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range names {
		if err := p.takeDelivery(ctx, config, client, name, properties[name], w); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (p *pipeline) takeDelivery(ctx context.Context, config aws.Config, client *fh.Client, name string, properties []byte, w *warehouse) error {
	described, err := client.DescribeDeliveryStream(ctx, &fh.DescribeDeliveryStreamInput{DeliveryStreamName: aws.String(name)})
	if err != nil {
		return err
	}
	description := described.DeliveryStreamDescription
	if description.DeliveryStreamType == fhtypes.DeliveryStreamTypeDirectPut {
		return nil
	}
	if properties != nil { // of this stack; the emulator's description leaves settings out
		if description, err = firehose.WithConfiguration(description, properties); err != nil {
			return err
		}
	}
	role := config
	if s := description.Source; s != nil && s.KinesisStreamSourceDescription != nil { // else it is refused
		role = withRole(config, aws.ToString(s.KinesisStreamSourceDescription.RoleARN))
	}
	stream, err := firehose.New(description, firehose.Options{
		S3:          s3.NewFromConfig(role, pathStyle),
		Transform:   awsapi.Invoker(lambda.NewFromConfig(role, once), firehose.TransformARN(description)),
		Glue:        firehose.GlueCatalog(role),
		Copy:        w.copier(role),
		MaxInterval: bufferInterval,
	})
	if err != nil {
		return err
	}
	poller, err := firehose.Poll(kinesis.NewFromConfig(role), stream, firehose.PollOptions{Interval: p.pause})
	if err != nil {
		return err
	}
	if _, err := client.DeleteDeliveryStream(ctx, &fh.DeleteDeliveryStreamInput{DeliveryStreamName: aws.String(name)}); err != nil {
		return err
	}
	p.deliveries = append(p.deliveries, delivery{name, stream, poller})
	return nil
}

// note writes what went wrong to the log.
func (p *pipeline) note(where, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.log, "%s %s: %s\n", time.Now().Format(time.RFC3339), where, what)
}

func (p *pipeline) close() {
	if p == nil {
		return
	}
	p.stop()
	p.running.Wait()
	p.log.Close()
}

// withRole is config with the credentials of a role.
func withRole(config aws.Config, role string) aws.Config {
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(config), role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "millrace-local"
	})
	config.Credentials = aws.NewCredentialsCache(provider)
	return config
}

// once leaves it to mappings and delivery streams to try an invocation again, which
// they count.
func once(o *lambda.Options) { o.Retryer = aws.NopRetryer{} }

func pathStyle(o *s3.Options) { o.UsePathStyle = true }
