package synth

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

func TestRedshiftRefusesWhatCantBeDelivered(t *testing.T) {
	to := func(change func(scope constructs.Construct, r *delivery.Redshift)) func(constructs.Construct) {
		return func(scope constructs.Construct) {
			r := delivery.Redshift{RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, PubliclyReachable: true, FirehoseRange: "52.70.63.192/27"}
			change(scope, &r)
			delivery.New(scope, "X", delivery.Props{Source: stream.New(scope, "S", stream.Props{}), To: r})
		}
	}
	settings := func(change func(*spec.RedshiftDelivery)) func(constructs.Construct) {
		return to(func(_ constructs.Construct, r *delivery.Redshift) { change(&r.RedshiftDelivery) })
	}
	objects := func(s spec.S3Delivery) func(constructs.Construct) {
		return to(func(_ constructs.Construct, r *delivery.Redshift) { r.Intermediate.S3Delivery = s })
	}
	row := func(row any) func(constructs.Construct) {
		return settings(func(s *spec.RedshiftDelivery) { s.Row = row })
	}
	files := func(pairs ...string) func(constructs.Construct) {
		all := fstest.MapFS{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		}
		return settings(func(s *spec.RedshiftDelivery) { s.Migrations = all })
	}
	options := func(all ...string) func(constructs.Construct) {
		return settings(func(s *spec.RedshiftDelivery) { s.Options = all })
	}
	paths := func(all ...string) func(constructs.Construct) {
		return settings(func(s *spec.RedshiftDelivery) { s.JSONPaths = all })
	}
	warehouse := func(w delivery.Warehouse) func(constructs.Construct) {
		return to(func(_ constructs.Construct, r *delivery.Redshift) { r.Warehouse = w })
	}
	inVPC := func(zones int, kind awsec2.SubnetType, w func(delivery.WarehouseNetwork) delivery.Warehouse) func(constructs.Construct) {
		return to(func(scope constructs.Construct, r *delivery.Redshift) {
			r.Warehouse = w(delivery.WarehouseNetwork{VPC: awsec2.NewVpc(scope, jsii.String("VPC"), &awsec2.VpcProps{
				AvailabilityZones:   jsii.Strings([]string{"us-east-1a", "us-east-1b", "us-east-1c"}[:zones]...),
				SubnetConfiguration: &[]*awsec2.SubnetConfiguration{{Name: jsii.String("Only"), SubnetType: kind}},
			})})
		})
	}
	workgroupIn := func(n delivery.WarehouseNetwork) delivery.Warehouse { return delivery.Workgroup{WarehouseNetwork: n} }
	clusterIn := func(n delivery.WarehouseNetwork) delivery.Warehouse { return delivery.Cluster{WarehouseNetwork: n} }
	secret := func(scope constructs.Construct) awssecretsmanager.ISecret {
		return awssecretsmanager.NewSecret(scope, jsii.String("Secret"), nil)
	}
	token := *awscdk.Token_AsString(map[string]any{"Ref": "Name"}, nil)

	storageRefusals(t, map[string]storageCase{
		"Snappy objects":                {objects(spec.S3Delivery{Compression: spec.Snappy}), "Intermediate.Compression"},
		"Hadoop's Snappy objects":       {objects(spec.S3Delivery{Compression: spec.HadoopSnappy}), "Intermediate.Compression"},
		"ZIP objects":                   {objects(spec.S3Delivery{Compression: spec.ZIP}), "Intermediate.Compression"},
		"objects of LZO":                {objects(spec.S3Delivery{Compression: "LZO"}), "Intermediate.Compression"},
		"expressions in the prefix":     {objects(spec.S3Delivery{Prefix: "a/!{timestamp:yyyy}/"}), "Intermediate.Prefix"},
		"an error prefix":               {objects(spec.S3Delivery{ErrorPrefix: "e/!{firehose:error-output-type}/"}), "Intermediate.ErrorPrefix"},
		"a buffer beyond 128 MiB":       {objects(spec.S3Delivery{BufferSize: 129}), "Intermediate.BufferSize"},
		"a buffer beyond 15 minutes":    {objects(spec.S3Delivery{BufferInterval: 901 * time.Second}), "Intermediate.BufferInterval"},
		"an expiration of an hour":      {objects(spec.S3Delivery{Expiration: time.Hour}), "Intermediate.Expiration Intermediate.Expiration"},
		"retry beyond two hours":        {settings(func(s *spec.RedshiftDelivery) { s.RetryDuration = 7201 * time.Second }), "RetryDuration"},
		"retry below nothing":           {settings(func(s *spec.RedshiftDelivery) { s.RetryDuration = -time.Second }), "RetryDuration"},
		"retry of parts of a second":    {settings(func(s *spec.RedshiftDelivery) { s.RetryDuration = 1500 * time.Millisecond }), "RetryDuration"},
		"no table":                      {settings(func(s *spec.RedshiftDelivery) { s.Table = "" }), "Table"},
		"a table with its schema":       {settings(func(s *spec.RedshiftDelivery) { s.Table = "shop.orders" }), "Table"},
		"a table in capitals":           {settings(func(s *spec.RedshiftDelivery) { s.Table = "Orders" }), "Table"},
		"a table that is a word of SQL": {settings(func(s *spec.RedshiftDelivery) { s.Table = "order" }), "Table"},
		"a table with a quotation mark": {settings(func(s *spec.RedshiftDelivery) { s.Table = `o"` }), "Table"},
		"a table of a token":            {settings(func(s *spec.RedshiftDelivery) { s.Table = token }), "Table"},
		"a schema with a semicolon":     {settings(func(s *spec.RedshiftDelivery) { s.Schema = "a;b" }), "Schema"},
		"a schema of 128 characters":    {settings(func(s *spec.RedshiftDelivery) { s.Schema = strings.Repeat("a", 128) }), "Schema"},
		"a database with a hyphen":      {settings(func(s *spec.RedshiftDelivery) { s.Database = "my-db" }), "Database"},
		"everybody as the user":         {settings(func(s *spec.RedshiftDelivery) { s.User = "public" }), "User"},
		"a user with a blank":           {settings(func(s *spec.RedshiftDelivery) { s.User = "a b" }), "User"},
		"a column twice":                {settings(func(s *spec.RedshiftDelivery) { s.Columns = []string{"shop", "shop"} }), "Columns[1]"},
		"a column in capitals":          {settings(func(s *spec.RedshiftDelivery) { s.Columns = []string{"Shop"} }), "Columns[0]"},

		"a row that is no struct":       {row("orders"), "Row"},
		"a row without fields":          {row(struct{ hidden int }{}), "Row"},
		"a column of no known type":     {row(struct{ A chan int }{}), "Row.A"},
		"bytes without a type":          {row(struct{ A []byte }{}), "Row.A"},
		"a number with JSON of its own": {row(struct{ A big.Int }{}), "Row.A"},
		"a type that Redshift lacks": {row(struct {
			A string `redshift:",jsonb"`
		}{}), "Row.A"},
		"a size beyond all": {row(struct {
			A string `redshift:",varchar(65536)"`
		}{}), "Row.A"},
		"a size where there is none": {row(struct {
			A int `redshift:",bigint(20)"`
		}{}), "Row.A"},
		"a decimal finer than itself": {row(struct {
			A float64 `redshift:",decimal(5,6)"`
		}{}), "Row.A"},
		"an unknown option of a column": {row(struct {
			A int `redshift:",,primarykey"`
		}{}), "Row.A"},
		"two distribution keys": {row(struct {
			A, B int `redshift:",,distkey"`
		}{}), "Row.B"},
		"a key of anything": {row(struct {
			A any `redshift:",super,sortkey"`
		}{}), "Row.A"},
		"two fields of one column": {row(struct {
			A int `redshift:"x"`
			B int `json:"x"`
		}{}), "Row.B"},
		"a column that JSON leaves out": {row(struct {
			A int `json:"-" redshift:"a"`
			B int
		}{}), "Row.A"},
		"a column that nobody can see": {row(struct {
			a int `redshift:"a"`
			B int
		}{}), "Row.a"},
		"a column that is a word of SQL": {row(struct {
			User string `json:"user"`
		}{}), "Row.User"},
		"a column with a hyphen": {row(struct {
			A string `json:"a-b"`
		}{}), "Row.A"},
		"a key that no path can name": {row(struct {
			A string `json:"a[0]" redshift:"a"`
		}{}), "Row.A JSONPaths[0]"},
		"an embedded struct's bad column": {row(struct{ Nested }{}), "Row.Nested.Bad"},

		"no migrations":                        {files("readme.txt", ""), "Migrations"},
		"a migration of comments":              {files("1.sql", "-- later"), "Migrations[1.sql]"},
		"a migration that doesn't end":         {files("1.sql", "select 'a"), "Migrations[1.sql]"},
		"a migration of 38 statements":         {files("1.sql", strings.Repeat("select 1;", 38)), "Migrations[1.sql]"},
		"a statement of 100 KB and more":       {files("1.sql", "select '"+strings.Repeat("a", 100_000)+"'"), "Migrations[1.sql] statement 1 Migrations"},
		"migrations of 100 KB and more":        {files("1.sql", "select '"+strings.Repeat("a", 60_000)+"'", "2.sql", "select '"+strings.Repeat("b", 60_000)+"'"), "Migrations"},
		"two migrations of one name":           {files("a/1.sql", "select 1", "b/1.sql", "select 2"), "Migrations"},
		"a migration with a blank in its name": {files("1 first.sql", "select 1"), "Migrations[1 first.sql]"},
		"a migration with a transaction":       {files("1.sql", "begin; select 1; commit"), "Migrations[1.sql] statement 1 Migrations[1.sql] statement 3"},
		"a migration that truncates":           {files("1.sql", "select 1; truncate /* all */ t"), "Migrations[1.sql] statement 2"},
		"a migration that vacuums":             {files("1.sql", "vacuum"), "Migrations[1.sql] statement 1"},

		"a COPY of Parquet":                 {settings(func(s *spec.RedshiftDelivery) { s.Format = "PARQUET" }), "Format"},
		"a format with another clause":      {settings(func(s *spec.RedshiftDelivery) { s.Format = "CSV; DROP TABLE orders" }), "Format"},
		"a format with a comment":           {settings(func(s *spec.RedshiftDelivery) { s.Format = "CSV --" }), "Format"},
		"JSON paths of a bucket":            {settings(func(s *spec.RedshiftDelivery) { s.Format = "JSON 's3://bucket'" }), "Format"},
		"JSON paths of a folder":            {settings(func(s *spec.RedshiftDelivery) { s.Format = "JSON 's3://bucket/paths/'" }), "Format"},
		"JSON paths beside a format":        {settings(func(s *spec.RedshiftDelivery) { s.Format, s.JSONPaths = "CSV", []string{"$.a", "$.b", "$.c"} }), "JSONPaths"},
		"fewer JSON paths than columns":     {paths("$.a", "$.b"), "JSONPaths"},
		"a JSON path with a wildcard":       {paths("$.a", "$.b[*]", "$.c"), "JSONPaths[1]"},
		"JSON paths in two notations":       {paths("$.a", "$['b']", "$.c"), "JSONPaths"},
		"a JSON path without its root":      {paths("a", "$.b", "$.c"), "JSONPaths[0]"},
		"compression as an option":          {options("GZIP"), "Options[0]"},
		"credentials as an option":          {options("CREDENTIALS 'aws_access_key_id=AKIA;aws_secret_access_key=x'"), "Options[0]"},
		"a role as an option":               {options("IAM_ROLE default"), "Options[0]"},
		"a format as an option":             {options("JSON 'auto'"), "Options[0]"},
		"the manifest as an option":         {options("MANIFEST"), "Options[0]"},
		"an option that isn't COPY's":       {options("PASSWORD 'x'"), "Options[0]"},
		"an option twice":                   {options("MAXERROR 1", "maxerror 2"), "Options[1]"},
		"a statement in an option":          {options("MAXERROR 1; DROP TABLE orders"), "Options[0]"},
		"an option that comments out":       {options("MAXERROR 1 --"), "Options[0]"},
		"neither a table's row nor a user":  {settings(func(s *spec.RedshiftDelivery) { s.Row = nil }), "Credentials"},
		"a range that isn't used":           {to(func(s constructs.Construct, r *delivery.Redshift) { r.PubliclyReachable = false }), "FirehoseRange Warehouse.PubliclyReachable"},
		"a range that is no range":          {to(func(_ constructs.Construct, r *delivery.Redshift) { r.FirehoseRange = "52.70.63.192" }), "FirehoseRange"},
		"a range of everybody":              {to(func(_ constructs.Construct, r *delivery.Redshift) { r.FirehoseRange = "0.0.0.0/0" }), "FirehoseRange"},
		"a region that isn't known":         {to(func(_ constructs.Construct, r *delivery.Redshift) { r.FirehoseRange = "" }), "FirehoseRange"},
		"a private workgroup":               {to(func(_ constructs.Construct, r *delivery.Redshift) { r.PubliclyReachable, r.FirehoseRange = false, "" }), "Warehouse.PubliclyReachable"},
		"a workgroup's name in capitals":    {warehouse(delivery.Workgroup{RedshiftWorkgroup: spec.RedshiftWorkgroup{Name: "Orders"}}), "Warehouse.Name"},
		"a capacity between steps":          {warehouse(delivery.Workgroup{RedshiftWorkgroup: spec.RedshiftWorkgroup{BaseCapacity: 12}}), "Warehouse.BaseCapacity"},
		"a capacity beyond all":             {warehouse(delivery.Workgroup{RedshiftWorkgroup: spec.RedshiftWorkgroup{BaseCapacity: 1056}}), "Warehouse.BaseCapacity"},
		"a maximum below the base":          {warehouse(delivery.Workgroup{RedshiftWorkgroup: spec.RedshiftWorkgroup{BaseCapacity: 32, MaxCapacity: 16}}), "Warehouse.MaxCapacity"},
		"a port that Redshift hasn't":       {warehouse(delivery.Workgroup{RedshiftWorkgroup: spec.RedshiftWorkgroup{Port: 5432 + 100}}), "Warehouse.Port"},
		"a cluster without nodes":           {warehouse(delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{Nodes: -1}}), "Warehouse.Nodes"},
		"a node type without a size":        {warehouse(delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{NodeType: "ra3"}}), "Warehouse.NodeType"},
		"a cluster's name with two hyphens": {warehouse(delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{Name: "a--b"}}), "Warehouse.Name"},
		"a large node alone":                {warehouse(delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{NodeType: "ra3.4xlarge"}}), "Warehouse.Nodes"},
		"a workgroup's name with an end":    {warehouse(delivery.Workgroup{RedshiftWorkgroup: spec.RedshiftWorkgroup{Name: "orders-"}}), "Warehouse.Name"},
		"a workgroup in two zones":          {inVPC(2, awsec2.SubnetType_PUBLIC, workgroupIn), "Warehouse.Subnets"},
		"a workgroup in a private VPC":      {inVPC(3, awsec2.SubnetType_PRIVATE_ISOLATED, workgroupIn), "Warehouse.Subnets"},
		"a cluster in a private VPC":        {inVPC(3, awsec2.SubnetType_PRIVATE_ISOLATED, clusterIn), "Warehouse.Subnets"},
		"snapshots for half a day":          {warehouse(delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{SnapshotRetention: 36 * time.Hour}}), "Warehouse.SnapshotRetention"},
		"subnets of no VPC": {
			warehouse(delivery.Workgroup{WarehouseNetwork: delivery.WarehouseNetwork{Subnets: &awsec2.SubnetSelection{}}}), "Warehouse.Subnets",
		},
		"an existing workgroup without a name": {warehouse(delivery.ExistingWorkgroup{}), "Warehouse.Name Warehouse.Admin Warehouse.SecurityGroup"},
		"an existing workgroup of any name":    {warehouse(delivery.ExistingWorkgroup{Name: "*"}), "Warehouse.Name Warehouse.Admin Warehouse.SecurityGroup"},
		"an existing cluster of two": {
			warehouse(delivery.ExistingCluster{Name: "a,b", Address: "a.abc.us-east-1.redshift.amazonaws.com"}),
			"Warehouse.Name Warehouse.Admin Warehouse.SecurityGroup",
		},
		"an existing cluster at a URL": {
			warehouse(delivery.ExistingCluster{Name: "c", Address: "jdbc:redshift://c.abc.us-east-1.redshift.amazonaws.com:5439/dev"}),
			"Warehouse.Address Warehouse.Admin Warehouse.SecurityGroup",
		},
		"an existing cluster behind another name": {
			warehouse(delivery.ExistingCluster{Name: "c", Address: "warehouse.example.com"}), "Warehouse.Address Warehouse.Admin Warehouse.SecurityGroup",
		},
		"an existing cluster without an address": {warehouse(delivery.ExistingCluster{Name: "c", Port: 70_000}), "Warehouse.Address Warehouse.Port Warehouse.Admin Warehouse.SecurityGroup"},
		"a key beside credentials": {to(func(scope constructs.Construct, r *delivery.Redshift) {
			r.Credentials, r.Key = secret(scope), awskms.NewKey(scope, jsii.String("Key"), nil)
		}), "Key"},
		"credentials by their name": {to(func(scope constructs.Construct, r *delivery.Redshift) {
			r.Credentials = awssecretsmanager.Secret_FromSecretNameV2(scope, jsii.String("Named"), jsii.String("loader"))
		}), "Credentials"},
		"settings of a bucket beside a bucket": {to(func(scope constructs.Construct, r *delivery.Redshift) {
			r.Intermediate.Bucket, r.Intermediate.Key = awss3.NewBucket(scope, jsii.String("B"), nil), awskms.NewKey(scope, jsii.String("Key"), nil)
		}), "Intermediate.Key"},
		"expressions in a backup's prefix": {to(func(_ constructs.Construct, r *delivery.Redshift) {
			r.Backup = &spec.S3Delivery{Prefix: "a/!{timestamp:yyyy}/"}
		}), "Backup.Prefix"},
		"a backup of no format": {to(func(_ constructs.Construct, r *delivery.Redshift) { r.Backup = &spec.S3Delivery{Compression: "LZO"} }), "Backup.Compression"},
		"a backup among the objects": {to(func(_ constructs.Construct, r *delivery.Redshift) {
			r.Backup = &spec.S3Delivery{Prefix: "orders/raw/"}
		}), "Backup.Prefix"},
		"objects among the backups": {to(func(_ constructs.Construct, r *delivery.Redshift) {
			r.Intermediate.Prefix, r.Backup = "source/orders/", &spec.S3Delivery{}
		}), "Backup.Prefix"},
		"a backup without a buffer": {to(func(_ constructs.Construct, r *delivery.Redshift) {
			r.Backup = &spec.S3Delivery{BufferInterval: spec.Zero}
		}), "Backup.BufferInterval"},
		"columns longer than Firehose takes": {settings(func(s *spec.RedshiftDelivery) {
			for i := range 100 {
				s.Columns = append(s.Columns, fmt.Sprintf("c%0109d", i))
			}
		}), "Columns"},
		"options longer than Firehose takes": {options("NULL '" + strings.Repeat("x", 10_240) + "'"), "Options"},
		"a prefix of 1,025 characters":       {objects(spec.S3Delivery{Prefix: strings.Repeat("p", 1_025)}), "Intermediate.Prefix"},
		"a backup that expires": {to(func(_ constructs.Construct, r *delivery.Redshift) {
			r.Backup = &spec.S3Delivery{Expiration: 24 * time.Hour}
		}), "Backup.Expiration"},
		"everything at once": {to(func(_ constructs.Construct, r *delivery.Redshift) {
			r.RedshiftDelivery = spec.RedshiftDelivery{Table: "Orders", Options: []string{"GZIP"}, RetryDuration: 3 * time.Hour}
			r.Intermediate.Compression, r.Warehouse = spec.ZIP, delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{Nodes: 200}}
		}), "Table Options[0] RetryDuration Intermediate.Compression Credentials Warehouse.Nodes"},
	})
}

// Nested is embedded in a row.
type Nested struct{ Bad chan int }

// A region that the table lacks is told by its name.
func TestARegionWithoutARangeIsNamed(t *testing.T) {
	stack := awscdk.NewStack(newApp(t, false), jsii.String("Test"), &awscdk.StackProps{Env: &awscdk.Environment{Region: jsii.String("xx-new-1")}})
	defer func() {
		if problem := fmt.Sprint(recover()); !strings.Contains(problem, "unknown for xx-new-1") || !strings.Contains(problem, "Test/X") {
			t.Errorf("it says %s", problem)
		}
	}()
	delivery.New(stack, "X", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: delivery.Redshift{
		RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, PubliclyReachable: true,
	}})
}
