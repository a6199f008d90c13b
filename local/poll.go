package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/millrace/millrace/local/esm"
	"github.com/millrace/millrace/local/esm/awsapi"
	"github.com/millrace/millrace/local/step"
)

// pollers run the stack's event source mappings in this process. The emulator's
// own ignore partial answers, bisecting, limits of retries and age,
// parallelization, windows and failure destinations.
type pollers struct {
	mappings []*esm.Mapping
	stop     context.CancelFunc
	running  sync.WaitGroup
	log      *os.File
	mu       sync.Mutex
}

// Pauses of the pollers: Lambda's are a second and more, which nobody wants to
// wait for at their desk.
const (
	pollPause     = 20 * time.Millisecond
	discoverPause = 2 * time.Second
)

// takeOver switches the emulator's mappings off and runs them here.
func (m *Machine) takeOver(ctx context.Context, log *step.Log) error {
	const name = "take over the mappings"
	return log.Run(ctx, name, func(ctx context.Context, s *step.Step) error {
		config := m.Config()
		client := lambda.NewFromConfig(config)
		file, err := os.Create(m.paths.log("pollers"))
		if err != nil {
			return err
		}
		p := &pollers{log: file}
		m.pollers = p
		background, stop := context.WithCancel(context.Background())
		p.stop = stop
		var problems []error
		for pages := lambda.NewListEventSourceMappingsPaginator(client, nil); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, listed := range page.EventSourceMappings {
				switch mapping, err := p.mapping(ctx, config, client, *listed.UUID); {
				case err != nil:
					problems = append(problems, err)
				case mapping != nil: // nil is disabled by the stack
					p.mappings = append(p.mappings, mapping)
				}
			}
		}
		if err := errors.Join(problems...); err != nil {
			return err
		}
		for _, mapping := range p.mappings {
			p.running.Go(func() { _ = mapping.Run(background) })
		}
		return nil
	})
}

func (p *pollers) mapping(ctx context.Context, config aws.Config, client *lambda.Client, uuid string) (*esm.Mapping, error) {
	described, err := client.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: aws.String(uuid)})
	if err != nil {
		return nil, err
	}
	if state := aws.ToString(described.State); state == "Disabled" || state == "Disabling" {
		return nil, nil
	}
	settings, err := awsapi.Settings(described)
	if err != nil {
		return nil, err
	}
	if settings.RoleARN, err = awsapi.Role(ctx, client, settings.FunctionARN); err != nil {
		return nil, err
	}
	if _, err := client.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: aws.String(uuid), Enabled: aws.Bool(false)}); err != nil {
		return nil, err
	}
	var source esm.Source
	if settings.Kind == esm.DynamoDB {
		source = awsapi.DynamoDB(dynamodbstreams.NewFromConfig(config), settings.SourceARN)
	} else {
		source = awsapi.Kinesis(kinesis.NewFromConfig(config), settings.SourceARN)
	}
	return esm.New(settings, esm.Options{
		Source:   source,
		Function: awsapi.Function(client, settings.FunctionARN),
		OnFailure: &awsapi.Destinations{
			S3:  s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }),
			SQS: sqs.NewFromConfig(config), SNS: sns.NewFromConfig(config),
		},
		Poll: pollPause, Discover: discoverPause,
		Problem: func(shard string, err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			fmt.Fprintf(p.log, "%s %s %s: %v\n", time.Now().Format(time.RFC3339), settings.FunctionARN, shard, err)
		},
	})
}

func (p *pollers) close() {
	if p == nil {
		return
	}
	p.stop()
	p.running.Wait()
	p.log.Close()
}
