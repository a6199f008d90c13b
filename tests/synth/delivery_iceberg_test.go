package synth

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

func init() {
	notLocal["delivery-iceberg"] = "IcebergDestinationDescription: Iceberg tables aren't supported"
	notLocal["delivery-iceberg-s3-tables"] = "IcebergDestinationDescription: Iceberg tables aren't supported"
	fullest["delivery-iceberg"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Lake", delivery.Props{
			Source: stream.New(stack, "Orders", stream.Props{Key: key}),
			To: delivery.Iceberg{
				IcebergDelivery: spec.IcebergDelivery{
					Tables:    []spec.IcebergTable{{Database: "shop", Table: "orders", UniqueKeys: []string{"id", "line"}, ErrorPrefix: "failed/orders/!{firehose:error-output-type}/"}},
					Databases: []string{"events"},
					Route:     spec.IcebergRoute{Database: `.type | split(".") | .[0]`, Table: ".table", Operation: `.op // "insert"`},
					// What can't be together with Route.Operation: AppendOnly.
					BufferSize: 64, BufferInterval: time.Minute, Retry: 10 * time.Minute,
				},
				Warehouse: warehouse(stack, key), LakeFormation: true,
				Failed: delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			},
			Transform: &delivery.Transform{Code: gofunc.Package(someCode)},
			LogKey:    key,
		})
	}
	fullest["delivery-iceberg-s3-tables"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Lake", delivery.Props{
			DirectPut: &delivery.DirectPut{Key: key},
			To: delivery.Iceberg{
				IcebergDelivery: spec.IcebergDelivery{Tables: []spec.IcebergTable{{Database: "shop", Table: "orders"}}, AppendOnly: true},
				Catalog:         delivery.S3TablesCatalog(stack, jsii.String("lake")),
				Failed:          delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			},
			LogKey: key,
		})
	}
}

// warehouse is a bucket of Iceberg tables, from elsewhere.
func warehouse(stack awscdk.Stack, key awskms.IKey) awss3.IBucket {
	return awss3.Bucket_FromBucketAttributes(stack, jsii.String("Warehouse"), &awss3.BucketAttributes{BucketName: jsii.String("lake-warehouse"), EncryptionKey: key})
}

func anIceberg(stack awscdk.Stack, change func(*delivery.Iceberg)) *delivery.Delivery {
	to := delivery.Iceberg{
		IcebergDelivery: spec.IcebergDelivery{Tables: []spec.IcebergTable{{Database: "shop", Table: "orders"}}},
		Warehouse:       warehouse(stack, nil),
	}
	if change != nil {
		change(&to)
	}
	return delivery.New(stack, "D", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: to})
}

const glue = "arn:<AWS::Partition>:glue:<AWS::Region>:<AWS::AccountId>:"

func TestAnIcebergDeliverysDefaultsAreWrittenOut(t *testing.T) {
	app, stack := newStack(t)
	d := anIceberg(stack, nil)
	template := synth(t, app, "Test")
	got := destination(t, template, "IcebergDestinationConfiguration")
	if diff := cmp.Diff(map[string]any{"AppendOnly": false, "s3BackupMode": "FailedDataOnly"}, plain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at(got, "BufferingHints", "SizeInMBs") != 5.0 || at(got, "BufferingHints", "IntervalInSeconds") != 300.0 || at(got, "RetryOptions", "DurationInSeconds") != 300.0 {
		t.Errorf("%v", got)
	}
	if joined(at(got, "CatalogConfiguration", "CatalogArn")) != glue+"catalog" {
		t.Errorf("catalog %v", got["CatalogConfiguration"])
	}
	want := []any{map[string]any{"DestinationDatabaseName": "shop", "DestinationTableName": "orders"}}
	if diff := cmp.Diff(want, got["DestinationTableConfigurationList"]); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	// What is a preview of AWS's isn't used, and one table needs no route.
	for _, absent := range []string{"SchemaEvolutionConfiguration", "TableCreationConfiguration", "ProcessingConfiguration"} {
		if got[absent] != nil {
			t.Errorf("%s: %v", absent, got[absent])
		}
	}
	if names(d.Signals()) != "SourceAgeWarning SourceAgeCritical SourceThrottled Freshness Success FailedRows" {
		t.Errorf("signals %s", names(d.Signals()))
	}
	if s := signal(t, d, "FailedRows"); s.Metric.Name != "DeliveryToIceberg.FailedRowCount" || s.Threshold != 0 || s.Runbook != "delivery-iceberg" {
		t.Errorf("%+v", s)
	}
	watch.New(stack, "Watch", watch.Props{Signals: d.Signals()})
}

func TestEverySettingOfIcebergReachesFirehose(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-iceberg"](stack)
	template := synth(t, app, "Test")
	got := destination(t, template, "IcebergDestinationConfiguration")
	if at(got, "BufferingHints", "SizeInMBs") != 64.0 || at(got, "BufferingHints", "IntervalInSeconds") != 60.0 || at(got, "RetryOptions", "DurationInSeconds") != 600.0 {
		t.Errorf("%v", got)
	}
	want := []any{map[string]any{
		"DestinationDatabaseName": "shop", "DestinationTableName": "orders", "UniqueKeys": []any{"id", "line"},
		"S3ErrorOutputPrefix": "failed/orders/!{firehose:error-output-type}/",
	}}
	if diff := cmp.Diff(want, got["DestinationTableConfigurationList"]); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	processors := list(at(got, "ProcessingConfiguration", "Processors"))
	if len(processors) != 2 || at(processors[0], "Type") != "Lambda" {
		t.Fatalf("%v", processors)
	}
	query := map[string]any{"Type": "MetadataExtraction", "Parameters": []any{
		map[string]any{"ParameterName": "MetadataExtractionQuery", "ParameterValue": `{destinationDatabaseName:(.type | split(".") | .[0]),destinationTableName:.table,operation:(.op // "insert")}`},
		map[string]any{"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"},
	}}
	if diff := cmp.Diff(query, processors[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Without a transform the query stands alone; with AppendOnly there is none.
	app, stack = newStack(t)
	anIceberg(stack, func(i *delivery.Iceberg) { i.Route = spec.IcebergRoute{Operation: ".op"} })
	got = destination(t, synth(t, app, "Test"), "IcebergDestinationConfiguration")
	if processors := list(at(got, "ProcessingConfiguration", "Processors")); len(processors) != 1 || at(processors[0], "Parameters", 0, "ParameterValue") != `{destinationDatabaseName:"shop",destinationTableName:"orders",operation:.op}` {
		t.Errorf("%v", processors)
	}
	app, stack = newStack(t)
	fullest["delivery-iceberg-s3-tables"](stack)
	got = destination(t, synth(t, app, "Test"), "IcebergDestinationConfiguration")
	if got["AppendOnly"] != true || joined(at(got, "CatalogConfiguration", "CatalogArn")) != glue+"catalog/s3tablescatalog/lake" {
		t.Errorf("%v", got)
	}
}

// Firehose may commit to the tables that are named, and to no other.
func TestFirehoseMayWriteItsTablesAndNoOther(t *testing.T) {
	const warehouse, objects = "arn:<AWS::Partition>:s3:::lake-warehouse", "arn:<AWS::Partition>:s3:::lake-warehouse/*"
	for name, c := range map[string]struct {
		change    func(awscdk.Stack, *delivery.Iceberg)
		glue      []string
		lake      bool
		warehouse bool
	}{
		"one table": {func(awscdk.Stack, *delivery.Iceberg) {}, []string{glue + "catalog", glue + "database/shop", glue + "table/shop/orders"}, false, true},
		"tables that records name": {func(_ awscdk.Stack, i *delivery.Iceberg) {
			i.Databases, i.Route = []string{"events"}, spec.IcebergRoute{Database: ".db", Table: ".table"}
			i.Tables = append(i.Tables, spec.IcebergTable{Database: "shop", Table: "returns"})
		}, []string{glue + "catalog", glue + "database/events", glue + "database/shop", glue + "table/events/*", glue + "table/shop/orders", glue + "table/shop/returns"}, false, true},
		"governed by Lake Formation": {
			func(_ awscdk.Stack, i *delivery.Iceberg) { i.LakeFormation = true },
			[]string{glue + "catalog", glue + "database/shop", glue + "table/shop/orders"},
			true, true,
		},
		"another account's": {
			func(_ awscdk.Stack, i *delivery.Iceberg) {
				i.Catalog = jsii.String("arn:aws:glue:eu-west-1:444455556666:catalog")
			},
			[]string{"arn:aws:glue:eu-west-1:444455556666:catalog", "arn:aws:glue:eu-west-1:444455556666:database/shop", "arn:aws:glue:eu-west-1:444455556666:table/shop/orders"},
			false, true,
		},
		"S3 Tables": {func(stack awscdk.Stack, i *delivery.Iceberg) {
			i.Catalog, i.Warehouse = delivery.S3TablesCatalog(stack, jsii.String("lake")), nil
		}, []string{
			glue + "catalog", glue + "catalog/s3tablescatalog", glue + "catalog/s3tablescatalog/lake",
			glue + "database/s3tablescatalog/lake/shop", glue + "database/shop", glue + "table/s3tablescatalog/lake/shop/orders", glue + "table/shop/orders",
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			app, stack := newStack(t)
			anIceberg(stack, func(i *delivery.Iceberg) { c.change(stack, i) })
			allowed := statements(t, synth(t, app, "Test"), "DRole")
			var actions []string
			for _, action := range slices.Sorted(maps.Keys(allowed)) {
				if strings.HasPrefix(action, "glue:") {
					actions = append(actions, action)
					if diff := cmp.Diff(c.glue, slices.Sorted(slices.Values(allowed[action]))); diff != "" {
						t.Errorf("%s (-want +got):\n%s", action, diff)
					}
				}
			}
			if diff := cmp.Diff([]string{"glue:GetDatabase", "glue:GetTable", "glue:UpdateTable"}, actions); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if slices.Equal(allowed["lakeformation:GetDataAccess"], []string{"*"}) != c.lake {
				t.Errorf("Lake Formation: %v", allowed["lakeformation:GetDataAccess"])
			}
			// A losing commit's files are deleted in the warehouse, and nothing anywhere else.
			if slices.Equal(allowed["s3:DeleteObject"], []string{objects}) != c.warehouse || slices.Contains(allowed["s3:ListBucket"], warehouse) != c.warehouse {
				t.Errorf("warehouse: %v, %v", allowed["s3:DeleteObject"], allowed["s3:ListBucket"])
			}
		})
	}
}

func TestIcebergSettingsThatCantHoldAreRefused(t *testing.T) {
	set := func(s spec.IcebergDelivery) func(awscdk.Stack, *delivery.Iceberg) {
		return func(_ awscdk.Stack, i *delivery.Iceberg) {
			if s.Tables == nil {
				s.Tables = i.Tables
			}
			i.IcebergDelivery = s
		}
	}
	tables := func(of ...spec.IcebergTable) func(awscdk.Stack, *delivery.Iceberg) {
		return set(spec.IcebergDelivery{Tables: of})
	}
	for name, c := range map[string]struct {
		change func(awscdk.Stack, *delivery.Iceberg)
		fields string
	}{
		"nothing":                       {func(_ awscdk.Stack, i *delivery.Iceberg) { *i = delivery.Iceberg{} }, "Tables Warehouse"},
		"no tables":                     {tables([]spec.IcebergTable{}...), "Tables"},
		"a database's name with a dash": {tables(spec.IcebergTable{Database: "my-shop", Table: "orders"}), "Tables[0].Database"},
		"no table's name":               {tables(spec.IcebergTable{Database: "shop"}), "Tables[0].Table"},
		"a name that is too long":       {tables(spec.IcebergTable{Database: "shop", Table: strings.Repeat("t", 256)}), "Tables[0].Table"},
		"a unique key with a space":     {tables(spec.IcebergTable{Database: "shop", Table: "orders", UniqueKeys: []string{"order id"}}), "Tables[0].UniqueKeys[0]"},
		"a unique key twice":            {tables(spec.IcebergTable{Database: "shop", Table: "orders", UniqueKeys: []string{"id", "id"}}), "Tables[0].UniqueKeys[1]"},
		"an unknown expression":         {tables(spec.IcebergTable{Database: "shop", Table: "orders", ErrorPrefix: "!{table}/"}), "Tables[0].ErrorPrefix"},
		"an error prefix that is too long": {
			tables(spec.IcebergTable{Database: "shop", Table: "orders", ErrorPrefix: strings.Repeat("e", 1025)}), "Tables[0].ErrorPrefix",
		},
		"a table twice": {set(spec.IcebergDelivery{
			Tables: []spec.IcebergTable{{Database: "shop", Table: "orders"}, {Database: "shop", Table: "orders"}}, Route: spec.IcebergRoute{Database: ".db", Table: ".t"},
		}), "Tables[1]"},
		"two tables without a route":        {tables(spec.IcebergTable{Database: "shop", Table: "orders"}, spec.IcebergTable{Database: "shop", Table: "returns"}), "Route"},
		"a database without a route":        {set(spec.IcebergDelivery{Tables: []spec.IcebergTable{}, Databases: []string{"events"}}), "Route"},
		"a database twice":                  {set(spec.IcebergDelivery{Databases: []string{"events", "events"}, Route: spec.IcebergRoute{Table: ".t"}}), "Databases[1]"},
		"a database that is none":           {set(spec.IcebergDelivery{Databases: []string{"*"}, Route: spec.IcebergRoute{Table: ".t"}}), "Databases[0]"},
		"half a route":                      {set(spec.IcebergDelivery{Tables: []spec.IcebergTable{}, Databases: []string{"events"}, Route: spec.IcebergRoute{Table: ".t"}}), "Route.Database"},
		"a route that is no jq":             {set(spec.IcebergDelivery{Route: spec.IcebergRoute{Table: ".t[", Operation: "}"}}), "Route.Table Route.Operation"},
		"an operation of no table":          {set(spec.IcebergDelivery{Route: spec.IcebergRoute{Operation: `"upsert"`}}), "Route.Operation"},
		"a function that jq lacks":          {set(spec.IcebergDelivery{Route: spec.IcebergRoute{Operation: "upsert"}}), "Route.Operation"},
		"a route that is too long":          {set(spec.IcebergDelivery{Route: spec.IcebergRoute{Table: `"` + strings.Repeat("t", 5100) + `"`}}), "Route"},
		"a route known at deployment":       {set(spec.IcebergDelivery{Route: spec.IcebergRoute{Table: *awscdk.Aws_STACK_NAME()}}), "Route.Table"},
		"updates of an append-only table":   {set(spec.IcebergDelivery{AppendOnly: true, Route: spec.IcebergRoute{Operation: ".op"}}), "Route.Operation"},
		"unique keys of an append-only one": {set(spec.IcebergDelivery{AppendOnly: true, Tables: []spec.IcebergTable{{Database: "shop", Table: "orders", UniqueKeys: []string{"id"}}}}), "Tables[0].UniqueKeys"},
		"a buffer that is too big":          {set(spec.IcebergDelivery{BufferSize: 129}), "BufferSize"},
		"an interval that is too long":      {set(spec.IcebergDelivery{BufferInterval: 901 * time.Second}), "BufferInterval"},
		"a retry that is too long":          {set(spec.IcebergDelivery{Retry: 7201 * time.Second}), "Retry"},
		"no warehouse":                      {func(_ awscdk.Stack, i *delivery.Iceberg) { i.Warehouse = nil }, "Warehouse"},
		"a warehouse of S3 Tables": {func(s awscdk.Stack, i *delivery.Iceberg) {
			i.Catalog = delivery.S3TablesCatalog(s, jsii.String("lake"))
		}, "Warehouse"},
		"a catalog that is none": {func(_ awscdk.Stack, i *delivery.Iceberg) {
			i.Catalog = jsii.String("arn:aws:glue:eu-west-1:111122223333:database/shop")
		}, "Catalog"},
		"a catalog known at deployment": {func(_ awscdk.Stack, i *delivery.Iceberg) {
			i.Catalog = awscdk.Fn_ImportValue(jsii.String("Catalog"))
		}, "Catalog"},
		"capitals in S3 Tables": {func(s awscdk.Stack, i *delivery.Iceberg) {
			i.Catalog, i.Warehouse = delivery.S3TablesCatalog(s, jsii.String("lake")), nil
			i.Tables = []spec.IcebergTable{{Database: "Shop", Table: "Orders", UniqueKeys: []string{"Id"}}}
		}, "Tables[0].Database Tables[0].Table Tables[0].UniqueKeys[0]"},
		"a bucket's setting": {func(_ awscdk.Stack, i *delivery.Iceberg) { i.Failed.BufferSize = 129 }, "Failed.BufferSize"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/D", c.fields, func() {
				anIceberg(stack, func(i *delivery.Iceberg) { c.change(stack, i) })
			})
		})
	}
}

// With a transform, which can tell tables, two need no route.
func TestATransformCanRoute(t *testing.T) {
	app, stack := newStack(t)
	delivery.New(stack, "D", delivery.Props{
		Source: stream.New(stack, "S", stream.Props{}), Transform: &delivery.Transform{Code: gofunc.Package(someCode)},
		To: delivery.Iceberg{Warehouse: warehouse(stack, nil), IcebergDelivery: spec.IcebergDelivery{Databases: []string{"events"}}},
	})
	got := destination(t, synth(t, app, "Test"), "IcebergDestinationConfiguration")
	if len(list(at(got, "ProcessingConfiguration", "Processors"))) != 1 || got["DestinationTableConfigurationList"] != nil {
		t.Errorf("%v", got)
	}
}
