package deploy

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

func init() {
	columns := delivery.Schema{Schema: spec.Schema{Columns: []spec.Column{{Name: "car", Type: "int"}, {Name: "driver", Type: "string", Key: "driverName"}}}}
	rows["s3-partitions"] = func(stack awscdk.Stack) {
		delivery.New(stack, "D", delivery.Props{
			Source: stream.New(stack, "S", stream.Props{}), CloudWatchLogs: &delivery.CloudWatchLogs{MessagesOnly: true},
			To: delivery.S3{
				S3Delivery: spec.S3Delivery{
					Prefix: "laps/!{partitionKeyFromQuery:car}/", TimeZone: "Europe/Zurich", FileExtension: ".jsonl.gz", NewLines: true,
					Partitioning: spec.Partitioning{FromQuery: map[string]string{"car": ".car"}, Deaggregation: spec.JSONRecords},
					Transitions:  []spec.Transition{{To: spec.StandardIA, After: 30 * 24 * time.Hour}},
				},
				Backup: &delivery.Backup{},
			},
		})
	}
	for name, format := range map[string]spec.Format{"s3-parquet": spec.Parquet{}, "s3-orc": spec.ORC{}} {
		rows[name] = func(stack awscdk.Stack) {
			delivery.New(stack, "D", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.S3{S3Delivery: spec.S3Delivery{Format: format}, Schema: columns}})
		}
	}
}
