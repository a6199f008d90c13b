// Package race is the deployable stack: live race telemetry from a Kinesis stream
// into standings and podiums in DynamoDB and into an archive in S3, watched by
// alarms and a dashboard.
//
//	telemetry ─┬─▶ UpdateStandings ─▶ Standings ─▶ changes ─▶ UpdatePodiums ─▶ Podiums
//	           ├─▶ UpdatePaces, by windows of 30 s ─▶ Paces
//	           ├─▶ Archive: transform ─▶ S3
//	           └─▶ Warehouse: transform ─▶ S3 ─▶ Redshift, if it is asked for
//	failed batches and rejected records ─▶ Failures
package race

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/consumer"
	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/table"
	"github.com/millrace/millrace/constructs/watch"
	racing "github.com/millrace/millrace/lambdas/race"
)

// The functions are named together so that one `go build` compiles them all. As
// import paths they are found from any module.
var (
	standingsCode = gofunc.Package("github.com/millrace/millrace/lambdas/standings")
	podiumCode    = gofunc.Package("github.com/millrace/millrace/lambdas/podium")
	paceCode      = gofunc.Package("github.com/millrace/millrace/lambdas/pace")
	archiveCode   = gofunc.Package("github.com/millrace/millrace/lambdas/archive")
)

// Race is the stack with its parts.
type Race struct {
	Stack           awscdk.Stack
	Telemetry       *stream.Stream
	Standings       *table.Table
	Podiums         *table.Table
	Paces           *table.Table
	UpdateStandings *consumer.Consumer
	UpdatePodiums   *consumer.Consumer
	UpdatePaces     *consumer.Consumer
	Archive         *delivery.Delivery
	Warehouse       *delivery.Delivery // nil without Redshift
	Watch           *watch.Watch
}

// New defines the stack. It panics with a [*spec.Invalid] when config is invalid;
// [Config.Validate] tells beforehand.
func New(scope constructs.Construct, config Config) *Race {
	if err := config.Validate(); err != nil {
		panic(err)
	}
	config = config.withDefaults()
	props := &awscdk.StackProps{
		Description: jsii.String("millrace: live race telemetry into standings, podiums and an archive"),
	}
	if config.Redshift != "" {
		gofunc.Package(delivery.MigratePackage) // named along with the others
		props.Env = &awscdk.Environment{Region: jsii.String(config.Region)}
	}
	if config.Local {
		props.Synthesizer, props.Env = localSynthesizer(), localEnvironment()
	}
	r := &Race{Stack: awscdk.NewStack(scope, jsii.String(StackName), props)}
	if config.Local {
		localSetting(r.Stack, config)
	}
	// Retained by default; "" lets each construct say so itself.
	var removal awscdk.RemovalPolicy
	destroy := config.Destroy || config.Local
	if destroy {
		removal = awscdk.RemovalPolicy_DESTROY
	}

	r.Telemetry = stream.New(r.Stack, "Telemetry", stream.Props{Stream: config.Stream, RemovalPolicy: removal})
	r.Standings = table.New(r.Stack, "Standings", table.Props{
		Table:         spec.Table{PartitionKey: "race", SortKey: "racer", Stream: spec.NewAndOldImages, NoDeletionProtection: destroy},
		RemovalPolicy: removal,
	})
	r.Podiums = table.New(r.Stack, "Podiums", table.Props{
		Table:         spec.Table{PartitionKey: "race", NoDeletionProtection: destroy},
		RemovalPolicy: removal,
	})

	r.Paces = table.New(r.Stack, "Paces", table.Props{
		Table:         spec.Table{PartitionKey: "race", SortKey: "window", NoDeletionProtection: destroy},
		RemovalPolicy: removal,
	})

	r.UpdateStandings = consumer.New(r.Stack, "UpdateStandings", consumer.Props{
		Source: r.Telemetry, Consumer: config.Standings, Code: standingsCode, RemovalPolicy: removal,
		Environment: map[string]*string{"STANDINGS_TABLE": r.Standings.Name()},
	})
	r.Standings.Grant(r.UpdateStandings.GrantPrincipal(), "dynamodb:UpdateItem")

	r.UpdatePodiums = consumer.New(r.Stack, "UpdatePodiums", consumer.Props{
		Source: r.Standings.Changes(), Consumer: config.Podium, Code: podiumCode, RemovalPolicy: removal,
		OnFailure:   consumer.S3{Bucket: r.UpdateStandings.FailureBucket()},
		Environment: map[string]*string{"STANDINGS_TABLE": r.Standings.Name(), "PODIUMS_TABLE": r.Podiums.Name()},
	})
	r.Standings.Grant(r.UpdatePodiums.GrantPrincipal(), "dynamodb:Query")
	r.Podiums.Grant(r.UpdatePodiums.GrantPrincipal(), "dynamodb:GetItem", "dynamodb:PutItem")

	r.UpdatePaces = consumer.New(r.Stack, "UpdatePaces", consumer.Props{
		Source: r.Telemetry, Consumer: config.Pace, Code: paceCode, RemovalPolicy: removal,
		OnFailure:   consumer.S3{Bucket: r.UpdateStandings.FailureBucket()},
		Environment: map[string]*string{"PACES_TABLE": r.Paces.Name()},
	})
	r.Paces.Grant(r.UpdatePaces.GrantPrincipal(), "dynamodb:UpdateItem")

	archive := config.Archive
	if archive.Prefix == "" {
		archive.Prefix = "archive/!{timestamp:yyyy/MM/dd/HH}/"
	}
	r.Archive = delivery.New(r.Stack, "Archive", delivery.Props{
		Source: r.Telemetry, To: delivery.S3{S3Delivery: archive}, RemovalPolicy: removal,
		Transform: &delivery.Transform{Code: archiveCode},
	})

	if config.Redshift != "" {
		r.warehouse(config, removal)
	}

	r.watch(config)
	if config.Local {
		r.localize()
	}
	r.outputs()
	return r
}

// telemetryTable is the table in Redshift.
const telemetryTable = "telemetry"

// warehouse delivers the telemetry to Redshift. What is no record is left out there: one
// of them would hold up all others of its COPY.
func (r *Race) warehouse(config Config, removal awscdk.RemovalPolicy) {
	to := delivery.Redshift{
		RedshiftDelivery:  spec.RedshiftDelivery{Table: telemetryTable, Row: racing.Record{}},
		PubliclyReachable: true,
	}
	if config.Redshift == RedshiftProvisioned {
		to.Warehouse = delivery.Cluster{}
	}
	if config.Local {
		to = r.localRedshift(to)
	}
	r.Warehouse = delivery.New(r.Stack, "Warehouse", delivery.Props{
		Source: r.Telemetry, To: to, RemovalPolicy: removal,
		Transform: &delivery.Transform{Code: archiveCode},
	})
}

// watch turns every part's signals into alarms, in the order of the data.
func (r *Race) watch(config Config) {
	signals := watch.All(r.Telemetry, r.UpdateStandings, r.Standings, r.UpdatePodiums, r.Podiums, r.UpdatePaces, r.Paces, r.Archive)
	if r.Warehouse != nil {
		signals = append(signals, r.Warehouse.Signals()...)
	}
	if config.Local {
		signals = localSignals(signals)
	}
	r.Watch = watch.New(r.Stack, "Watch", watch.Props{Signals: signals, Email: config.AlarmEmail, NoComposite: config.Local})
}

// outputs are what producers, operators and the command line need to know.
func (r *Race) outputs() {
	type output struct {
		name, doc string
		value     *string
	}
	all := []output{
		{"StreamName", "Kinesis stream that telemetry is put to", r.Telemetry.Stream().StreamName()},
		{"StandingsTable", "table with the last state of every racer", r.Standings.Name()},
		{"PodiumsTable", "table with the top ten of every race", r.Podiums.Name()},
		{"PacesTable", "table with the pace of every race in every window of 30 s", r.Paces.Name()},
		{"ArchiveBucket", "bucket with every record, under archive/; what couldn't be archived is under errors/", r.Archive.Bucket().BucketName()},
		{"FailureBucket", "bucket with failed batches under aws/lambda/ and rejected records under rejected/", r.UpdateStandings.FailureBucket().BucketName()},
		{"DeliveryStream", "Firehose delivery stream of the archive", r.Archive.Name()},
		{"AlarmTopic", "SNS topic that alarms are sent to", r.Watch.Topic().TopicArn()},
		{"Dashboard", "CloudWatch dashboard of the pipeline", r.Watch.Dashboard().Ref()},
	}
	if r.Warehouse != nil {
		all = append(all,
			output{"WarehouseTable", "table in Redshift with every record", jsii.String((spec.RedshiftDelivery{Table: telemetryTable}).DataTable())},
			output{"WarehouseBucket", "bucket that Redshift copies from; what couldn't be copied is under errors/", r.Warehouse.Bucket().BucketName()},
			output{"WarehouseStream", "Firehose delivery stream of the table", r.Warehouse.Name()},
		)
	}
	for _, o := range all {
		awscdk.NewCfnOutput(r.Stack, jsii.String(o.name), &awscdk.CfnOutputProps{Value: o.value, Description: jsii.String(o.doc)})
	}
}
