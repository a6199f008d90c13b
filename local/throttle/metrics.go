package throttle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// Period is how often Kinesis counts for CloudWatch.
const Period = time.Minute

// MetricsAPI is what takes the metrics.
type MetricsAPI interface {
	PutMetricData(context.Context, *cloudwatch.PutMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error)
}

var _ MetricsAPI = (*cloudwatch.Client)(nil)

// PutMetrics puts WriteProvisionedThroughputExceeded and
// ReadProvisionedThroughputExceeded of every stream, as Kinesis does: what was
// turned away since the last time that this succeeded. A stream without any gets a
// zero, so that its alarm turns back.
func (p *Proxy) PutMetrics(ctx context.Context, api MetricsAPI) error {
	p.reporting.Lock()
	defer p.reporting.Unlock()
	now := p.o.Now()
	var problems []error
	for s, total := range p.meter.turnedAway() {
		last := p.reported[s]
		datum := func(metric string, n int64) types.MetricDatum {
			return types.MetricDatum{
				MetricName: aws.String(metric), Value: aws.Float64(float64(n)), Unit: types.StandardUnitCount, Timestamp: &now,
				Dimensions: []types.Dimension{{Name: aws.String("StreamName"), Value: aws.String(s.name)}},
			}
		}
		_, err := api.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{
			Namespace: aws.String("AWS/Kinesis"),
			MetricData: []types.MetricDatum{
				datum("WriteProvisionedThroughputExceeded", total.records-last.records),
				datum("ReadProvisionedThroughputExceeded", total.reads-last.reads),
			},
		}, func(o *cloudwatch.Options) {
			if s.region != "" {
				o.Region = s.region
			}
		})
		if err != nil {
			problems = append(problems, fmt.Errorf("metrics of stream %s: %w", s.name, err))
			continue
		}
		p.reported[s] = total
	}
	return errors.Join(problems...)
}
