package synth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

func TestStreamsRefuseWhatKinesisWould(t *testing.T) {
	settings := func(s spec.Stream) func(constructs.Construct) {
		return func(scope constructs.Construct) { stream.New(scope, "X", stream.Props{Stream: s}) }
	}
	tags := func(tags map[string]string) func(constructs.Construct) {
		return func(scope constructs.Construct) { stream.New(scope, "X", stream.Props{Tags: tags}) }
	}
	fanOut := func(mode spec.StreamMode, shards, others int, props stream.FanOutProps) func(constructs.Construct) {
		return func(scope constructs.Construct) {
			s := stream.New(scope, "X", stream.Props{Stream: spec.Stream{Mode: mode, Shards: shards}})
			for i := range others {
				s.FanOut(fmt.Sprint("F", i), stream.FanOutProps{})
			}
			s.FanOut("Last", props)
		}
	}
	keyed := func(scope constructs.Construct) *stream.Stream {
		return stream.New(scope, "X", stream.Props{Key: awskms.NewKey(scope, jsii.String("Key"), nil)})
	}
	fromArn := func(arn string, a stream.Attributes) func(constructs.Construct) {
		return func(scope constructs.Construct) { stream.FromArn(scope, "X", arn, a) }
	}
	text := func(v any) string { return *awscdk.Token_AsString(v, nil) }
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("tag", i)] = ""
	}
	const arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/orders"

	storageRefusals(t, map[string]storageCase{
		"unknown mode":                    {settings(spec.Stream{Mode: "SOMETIMES"}), "Mode"},
		"mode of CloudFormation's token":  {settings(spec.Stream{Mode: spec.StreamMode(text(map[string]any{"Ref": "Mode"}))}), "Mode"},
		"shards on demand":                {settings(spec.Stream{Shards: 1}), "Shards"},
		"shards with the advantage":       {settings(spec.Stream{Mode: spec.OnDemandAdvantage, Shards: 1}), "Shards"},
		"provisioned without shards":      {settings(spec.Stream{Mode: spec.Provisioned}), "Shards"},
		"negative shards":                 {settings(spec.Stream{Mode: spec.Provisioned, Shards: -1}), "Shards"},
		"shards beyond all":               {settings(spec.Stream{Mode: spec.Provisioned, Shards: 10_001}), "Shards"},
		"shards of a token":               {settings(spec.Stream{Mode: spec.Provisioned, Shards: int(*awscdk.Token_AsNumber(map[string]any{"Ref": "Shards"}))}), "Shards"},
		"retention too short":             {settings(spec.Stream{RetentionPeriod: 23 * time.Hour}), "RetentionPeriod"},
		"retention of literally nothing":  {settings(spec.Stream{RetentionPeriod: spec.Zero}), "RetentionPeriod"},
		"retention beyond a year":         {settings(spec.Stream{RetentionPeriod: 8761 * time.Hour}), "RetentionPeriod"},
		"retention of parts of an hour":   {settings(spec.Stream{RetentionPeriod: 36*time.Hour + time.Minute}), "RetentionPeriod"},
		"warm throughput without it":      {settings(spec.Stream{WarmThroughput: 10}), "WarmThroughput"},
		"warm throughput, provisioned":    {settings(spec.Stream{Mode: spec.Provisioned, Shards: 1, WarmThroughput: 10}), "WarmThroughput"},
		"warm throughput beyond 10 GiB/s": {settings(spec.Stream{Mode: spec.OnDemandAdvantage, WarmThroughput: 10_241}), "WarmThroughput"},
		"negative warm throughput":        {settings(spec.Stream{Mode: spec.OnDemandAdvantage, WarmThroughput: -1}), "WarmThroughput"},
		"records too small":               {settings(spec.Stream{MaximumRecordSize: 1023}), "MaximumRecordSize"},
		"records too large":               {settings(spec.Stream{MaximumRecordSize: 10_241}), "MaximumRecordSize"},
		"unknown shard metric":            {settings(spec.Stream{ShardMetrics: []spec.ShardMetric{"Everything"}}), "ShardMetrics[0]"},
		"shard metric twice":              {settings(spec.Stream{ShardMetrics: []spec.ShardMetric{spec.ShardIncomingBytes, spec.ShardIncomingBytes}}), "ShardMetrics[1]"},
		"all shard metrics and one":       {settings(spec.Stream{ShardMetrics: []spec.ShardMetric{spec.AllShardMetrics, spec.ShardIncomingBytes}}), "ShardMetrics[0]"},
		"name with a space":               {settings(spec.Stream{Name: "my stream"}), "Name"},
		"name too long":                   {settings(spec.Stream{Name: strings.Repeat("x", 129)}), "Name"},
		"tag without a key":               {tags(map[string]string{"": "x"}), `Tags[""]`},
		"tag of AWS":                      {tags(map[string]string{"AWS:team": "x"}), `Tags["AWS:team"]`},
		"tag's key too long":              {tags(map[string]string{strings.Repeat("k", 129): "x"}), `Tags["` + strings.Repeat("k", 129) + `"]`},
		"tag's value too long":            {tags(map[string]string{"k": strings.Repeat("v", 256)}), `Tags["k"]`},
		"tag with a bell":                 {tags(map[string]string{"k": "\a"}), `Tags["k"]`},
		"51 tags":                         {tags(many), "Tags"},
		"21 fan-outs":                     {fanOut(spec.OnDemand, 0, 20, stream.FanOutProps{}), "FanOut"},
		"21 fan-outs of shards":           {fanOut(spec.Provisioned, 1, 20, stream.FanOutProps{}), "FanOut"},
		"51 fan-outs with the advantage":  {fanOut(spec.OnDemandAdvantage, 0, 50, stream.FanOutProps{}), "FanOut"},
		"fan-out with a bad name":         {fanOut("", 0, 0, stream.FanOutProps{Name: "a/b"}), "Name"},
		"fan-out with a bad tag":          {fanOut("", 0, 0, stream.FanOutProps{Tags: map[string]string{"aws:x": ""}}), `Tags["aws:x"]`},
		"share without a key": {func(s constructs.Construct) {
			stream.New(s, "X", stream.Props{}).Share("111122223333", "kinesis:GetRecords")
		}, "Key"},
		"share a fan-out without a key": {func(s constructs.Construct) {
			stream.New(s, "X", stream.Props{}).FanOut("F", stream.FanOutProps{}).Share("111122223333")
		}, "Key"},
		"share with nobody":         {func(s constructs.Construct) { keyed(s).Share("", "kinesis:GetRecords") }, "with"},
		"share with everybody":      {func(s constructs.Construct) { keyed(s).Share("*", "kinesis:GetRecords") }, "with"},
		"share with a service":      {func(s constructs.Construct) { keyed(s).Share("lambda.amazonaws.com", "kinesis:GetRecords") }, "with"},
		"share nothing":             {func(s constructs.Construct) { keyed(s).Share("111122223333") }, "actions"},
		"share everything":          {func(s constructs.Construct) { keyed(s).Share("111122223333", "kinesis:*") }, "actions"},
		"share what a stream can't": {func(s constructs.Construct) { keyed(s).Share("111122223333", "kinesis:DeleteStream") }, "actions"},
		"share a fan-out's":         {func(s constructs.Construct) { keyed(s).Share("111122223333", "kinesis:SubscribeToShard") }, "actions"},
		"share an imported stream": {func(s constructs.Construct) {
			stream.FromName(s, "X", "orders", stream.Attributes{}).Share("111122223333", "kinesis:GetRecords")
		}, "Stream"},
		"grant of a wildcard": {func(s constructs.Construct) { stream.New(s, "X", stream.Props{}).Grant(storageRole(s), "kinesis:Put*") }, "actions"},
		"grant of another service": {func(s constructs.Construct) {
			stream.New(s, "X", stream.Props{}).Grant(storageRole(s), "sqs:SendMessage")
		}, "actions"},
		"grant of nothing":              {func(s constructs.Construct) { stream.New(s, "X", stream.Props{}).Grant(storageRole(s)) }, "actions"},
		"import of a table":             {fromArn("arn:aws:dynamodb:eu-west-1:111122223333:table/orders", stream.Attributes{}), "arn"},
		"import of a consumer":          {fromArn(arn+"/consumer/live:1", stream.Attributes{}), "arn"},
		"import of a name as an ARN":    {fromArn("orders", stream.Attributes{}), "arn"},
		"import without an account":     {fromArn("arn:aws:kinesis:eu-west-1::stream/orders", stream.Attributes{}), "arn"},
		"import of an ARN as a name":    {func(s constructs.Construct) { stream.FromName(s, "X", arn, stream.Attributes{}) }, "name"},
		"import with a short retention": {fromArn(arn, stream.Attributes{RetentionPeriod: time.Hour}), "RetentionPeriod"},
		"import with shards on demand":  {fromArn(arn, stream.Attributes{Mode: spec.OnDemand, Shards: 2}), "Shards"},
		"import with a negative count":  {fromArn(arn, stream.Attributes{Shards: -2}), "Shards"},
		"no stream to take":             {func(constructs.Construct) { stream.Of(nil, 0) }, "existing"},
		"everything at once": {func(s constructs.Construct) {
			stream.New(s, "X", stream.Props{Stream: spec.Stream{Shards: 1, WarmThroughput: 1, RetentionPeriod: 1, MaximumRecordSize: 1, Name: "?"}, Tags: map[string]string{"aws:": ""}})
		}, `Shards WarmThroughput RetentionPeriod RetentionPeriod MaximumRecordSize Name Tags["aws:"]`},
	})
}
