package synth

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
)

// order is a record of the tests.
type order struct {
	Shop   string    `json:"shop" redshift:",varchar(64),notnull,distkey"`
	At     time.Time `json:"placed" redshift:",,sortkey"`
	Amount float64   `json:"amount" redshift:",decimal(12,2)"`
}

var migrations = fstest.MapFS{
	"sql/0002_view.sql": {Data: []byte("CREATE VIEW shop.large AS SELECT * FROM shop.orders WHERE amount > 100;")},
	"0001_note.sql":     {Data: []byte("-- A note;\nALTER TABLE shop.orders ADD COLUMN note varchar(256);\nUPDATE shop.orders SET note = 'a;b';\n")},
}

func init() {
	settings := spec.RedshiftDelivery{
		Database: "sales", Schema: "shop", Table: "orders", User: "loader", Row: order{}, Migrations: migrations,
		Options: []string{"MAXERROR 10", "TRUNCATECOLUMNS"}, RetryDuration: 10 * time.Minute,
	}
	to := func(stack awscdk.Stack, warehouse func(key awskms.IKey) delivery.Warehouse) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Orders", delivery.Props{
			Source: stream.New(stack, "Stream", stream.Props{Key: key}),
			To: delivery.Redshift{
				RedshiftDelivery: settings, Warehouse: warehouse(key), PubliclyReachable: true, FirehoseRange: "52.70.63.192/27", Key: key,
				Intermediate: delivery.S3{
					S3Delivery: spec.S3Delivery{Prefix: "copied/", BufferSize: 64, BufferInterval: time.Minute, Expiration: 30 * 24 * time.Hour},
					Key:        key, AccessLogs: logsBucket(stack),
				},
				Backup: &spec.S3Delivery{BufferSize: 32},
			},
			Transform: &delivery.Transform{Code: gofunc.Package(someCode)},
			LogKey:    key,
		})
	}
	fullest["redshift-serverless"] = func(stack awscdk.Stack) {
		to(stack, func(key awskms.IKey) delivery.Warehouse {
			return delivery.Workgroup{RedshiftWorkgroup: spec.RedshiftWorkgroup{BaseCapacity: 16, MaxCapacity: 64, Port: 5440}, Key: key}
		})
	}
	fullest["redshift-cluster"] = func(stack awscdk.Stack) {
		to(stack, func(key awskms.IKey) delivery.Warehouse {
			return delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{Nodes: 2, NodeType: "ra3.xlplus", SnapshotRetention: 14 * 24 * time.Hour}, Key: key}
		})
	}
}

func init() {
	// With what is there by default.
	fullest["redshift"] = func(stack awscdk.Stack) {
		delivery.New(stack, "Orders", delivery.Props{
			Source: stream.New(stack, "Stream", stream.Props{}),
			To: delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, Warehouse: delivery.Cluster{},
				PubliclyReachable: true, FirehoseRange: "52.70.63.192/27",
			},
		})
	}
	fullest["redshift-existing"] = func(stack awscdk.Stack) {
		arn := func(name string) *string {
			return jsii.String("arn:aws:secretsmanager:us-east-1:111122223333:secret:" + name + "-AbCdEf")
		}
		delivery.New(stack, "Orders", delivery.Props{
			DirectPut: &delivery.DirectPut{},
			To: delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{
					Table: "orders", Migrations: migrations, Columns: []string{"shop", "amount"}, JSONPaths: []string{"$.shop", "$.sum.total"},
				},
				Warehouse: delivery.ExistingWorkgroup{
					Name: "sales", Port: 5440, Admin: awssecretsmanager.Secret_FromSecretCompleteArn(stack, jsii.String("Admin"), arn("admin")),
					SecurityGroup: awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("Group"), jsii.String("sg-0123456789abcdef0"), nil),
				},
				PubliclyReachable: true, FirehoseRange: "52.70.63.192/27",
				Credentials: awssecretsmanager.Secret_FromSecretCompleteArn(stack, jsii.String("Loader"), arn("loader")),
			},
		})
	}
}

// redshift defines a delivery of a stream to Redshift in a stack in us-east-1.
func redshift(t *testing.T, r func(stack awscdk.Stack) delivery.Redshift) (*snapshot.Template, *delivery.Delivery) {
	t.Helper()
	app := newApp(t, false)
	stack := awscdk.NewStack(app, jsii.String("Test"), &awscdk.StackProps{Env: &awscdk.Environment{Region: jsii.String("us-east-1")}})
	d := delivery.New(stack, "D", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: r(stack)})
	return synth(t, app, "Test"), d
}

// Northern California shows an account two zones; Redshift Serverless takes its
// three subnets in them.
func TestAWorkgroupIsInTheZonesThatItsRegionHas(t *testing.T) {
	for region, want := range map[string][]float64{"us-east-1": {0, 1, 2}, "us-west-1": {0, 1, 0}} {
		t.Run(region, func(t *testing.T) {
			app := newApp(t, false)
			stack := awscdk.NewStack(app, jsii.String("Test"), &awscdk.StackProps{Env: &awscdk.Environment{Region: jsii.String(region)}})
			delivery.New(stack, "D", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, PubliclyReachable: true,
			}})
			template := synth(t, app, "Test")
			_, workgroup := template.Only(t, "AWS::RedshiftServerless::Workgroup")
			var got []float64
			for _, subnet := range list(at(workgroup.Properties, "SubnetIds")) {
				got = append(got, at(template.Resources[refers(subnet)].Properties, "AvailabilityZone", "Fn::Select", 0).(float64))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("zones (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADeliveryToRedshiftHasEverythingItNeeds(t *testing.T) {
	template, d := redshift(t, func(awscdk.Stack) delivery.Redshift {
		return delivery.Redshift{RedshiftDelivery: spec.RedshiftDelivery{Schema: "shop", Table: "orders", Row: order{}, Migrations: migrations}, PubliclyReachable: true}
	})
	workgroup, w := template.Only(t, "AWS::RedshiftServerless::Workgroup")
	_, namespace := template.Only(t, "AWS::RedshiftServerless::Namespace")
	group, g := template.Only(t, "AWS::EC2::SecurityGroup")
	secret, credentials := template.Only(t, "AWS::SecretsManager::Secret")
	table, made := template.Only(t, "Custom::RedshiftTable")
	stream, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	_, bucket := template.Only(t, "AWS::S3::Bucket")
	if len(bucket.Properties) == 0 || refers(at(w.Properties, "SecurityGroupIds", 0)) != group || at(w.Properties, "PubliclyAccessible") != true {
		t.Errorf("workgroup: %v", w.Properties)
	}
	if at(w.Properties, "EnhancedVpcRouting") != false || len(template.OfType("AWS::EC2::VPCEndpoint")) > 0 {
		t.Error("Firehose can't write to a workgroup with enhanced VPC routing")
	}
	if len(list(at(w.Properties, "SubnetIds"))) != 3 || at(w.Properties, "ConfigParameters", 0, "ParameterKey") != "require_ssl" {
		t.Errorf("workgroup: %v", w.Properties)
	}
	want := []any{map[string]any{"CidrIp": "52.70.63.192/27", "Description": "Firehose", "FromPort": 5439.0, "ToPort": 5439.0, "IpProtocol": "tcp"}}
	if diff := cmp.Diff(want, at(g.Properties, "SecurityGroupIngress")); diff != "" {
		t.Errorf("the security group admits (-want +got):\n%s", diff)
	}
	if at(namespace.Properties, "ManageAdminPassword") != true || namespace.Properties["AdminUserPassword"] != nil || namespace.DeletionPolicy != "Retain" {
		t.Errorf("namespace: %+v", namespace)
	}
	if generated := at(credentials.Properties, "GenerateSecretString"); at(generated, "SecretStringTemplate") != `{"username":"orders_delivery"}` || at(generated, "GenerateStringKey") != "password" ||
		credentials.Properties["SecretString"] != nil {
		t.Errorf("credentials: %v", credentials.Properties)
	}
	to := at(firehose.Properties, "RedshiftDestinationConfiguration")
	if url := fmt.Sprint(at(to, "ClusterJDBCURL")); !strings.Contains(url, "jdbc:redshift://") || !strings.Contains(url, workgroup) || !strings.Contains(url, ":5439/dev") {
		t.Errorf("JDBC URL: %s", url)
	}
	copied := map[string]any{"DataTableName": "shop.orders", "DataTableColumns": "shop,placed,amount", "CopyOptions": "JSON 'auto' GZIP TIMEFORMAT 'auto'"}
	if diff := cmp.Diff(copied, at(to, "CopyCommand")); diff != "" {
		t.Errorf("COPY (-want +got):\n%s", diff)
	}
	if refers(at(to, "SecretsManagerConfiguration", "SecretARN")) != secret || at(to, "Username") != nil || at(to, "Password") != nil {
		t.Errorf("credentials: %v", to)
	}
	if s3 := at(to, "S3Configuration"); at(s3, "CompressionFormat") != "GZIP" || at(s3, "Prefix") != "orders/" || at(s3, "ErrorOutputPrefix") != nil {
		t.Errorf("intermediate bucket: %v", s3)
	}
	if at(to, "RetryOptions", "DurationInSeconds") != 3600.0 || at(to, "S3BackupMode") != nil {
		t.Errorf("%v", to)
	}
	// The table is made after the workgroup, and before the delivery.
	if !slices.Contains(made.DependsOn, workgroup) || !slices.Contains(firehose.DependsOn, table) {
		t.Errorf("%s waits for %v, %s for %v", table, made.DependsOn, stream, firehose.DependsOn)
	}
	if waiting := circle(template); waiting != nil {
		t.Errorf("a circle: %v", waiting)
	}
	if at(made.Properties, "CreateTable") != "CREATE TABLE IF NOT EXISTS shop.orders (\n  shop varchar(64) NOT NULL,\n  placed timestamptz,\n  amount decimal(12,2)\n) DISTKEY (shop) SORTKEY (placed)" {
		t.Errorf("table: %v", at(made.Properties, "CreateTable"))
	}
	if first := at(made.Properties, "Migrations", 0); at(first, "Name") != "0001_note.sql" || len(list(at(first, "Statements"))) != 2 || at(first, "Statements", 1) != "UPDATE shop.orders SET note = 'a;b'" {
		t.Errorf("migrations: %v", at(made.Properties, "Migrations"))
	}
	if r := d.Redshift(); r.Workgroup == nil || r.Namespace == nil || r.Migrate == nil || r.Credentials == nil || r.SecurityGroup == nil || r.Cluster != nil {
		t.Errorf("it hands out %+v", r)
	}
	if strings.Contains(string(template.Text()), `"Mappings"`) {
		t.Error("there are mappings")
	}
}

// What may be done is what Firehose's and the Data API's documentation name, on what
// was defined.
func TestADeliveryToRedshiftMayDoNothingElse(t *testing.T) {
	template, _ := redshift(t, func(stack awscdk.Stack) delivery.Redshift {
		key := awskms.NewKey(stack, jsii.String("Key"), nil)
		return delivery.Redshift{
			RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}, JSONPaths: []string{"$.a", "$.b", "$.c"}}, PubliclyReachable: true,
			Warehouse: delivery.Cluster{Key: key}, Key: key,
		}
	})
	for role, want := range map[string][]string{
		"DRole": {
			"kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards", "kms:Decrypt", "logs:PutLogEvents",
			"s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:PutObject",
			"secretsmanager:GetSecretValue",
		},
		"DMigrateRole": {
			"kms:Decrypt", "logs:CreateLogStream", "logs:PutLogEvents", "redshift-data:BatchExecuteStatement", "redshift-data:DescribeStatement",
			"redshift-data:ExecuteStatement", "redshift-data:GetStatementResult", "secretsmanager:GetSecretValue",
		},
	} {
		got := map[string]bool{}
		for id, policy := range template.OfType("AWS::IAM::Policy") {
			if !strings.HasPrefix(id, role+"DefaultPolicy") {
				continue
			}
			for _, s := range list(at(policy.Properties, "PolicyDocument", "Statement")) {
				for _, action := range list(at(s, "Action")) {
					got[action.(string)] = true
					if fmt.Sprint(at(s, "Resource")) == "*" && at(s, "Condition", "StringEquals", "redshift-data:statement-owner-iam-userid") != "${aws:userid}" {
						t.Errorf("%s may %v on everything", role, action)
					}
				}
			}
		}
		var all []string
		for action := range got {
			all = append(all, action)
		}
		slices.Sort(all)
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("%s may (-want +got):\n%s", role, diff)
		}
	}
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	if options := fmt.Sprint(at(firehose.Properties, "RedshiftDestinationConfiguration", "CopyCommand", "CopyOptions")); !strings.Contains(options, "JSON '") || !strings.Contains(options, "s3://") {
		t.Errorf("COPY's options are %s", options)
	}
}

func TestAClusterIsDefined(t *testing.T) {
	template, d := redshift(t, func(awscdk.Stack) delivery.Redshift {
		return delivery.Redshift{
			RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, PubliclyReachable: true,
			Warehouse: delivery.Cluster{RedshiftCluster: spec.RedshiftCluster{Nodes: 3, Port: 8192}},
		}
	})
	id, c := template.Only(t, "AWS::Redshift::Cluster")
	if at(c.Properties, "EnhancedVpcRouting") != false {
		t.Error("Firehose can't write to a cluster with enhanced VPC routing")
	}
	for property, want := range map[string]any{
		"ClusterType": "multi-node", "NumberOfNodes": 3.0, "NodeType": "ra3.large", "ManageMasterPassword": true, "Encrypted": true, "Port": 8192.0,
		"PubliclyAccessible": true, "MasterUserPassword": nil, "AutomatedSnapshotRetentionPeriod": 7.0,
	} {
		if got := c.Properties[property]; got != want {
			t.Errorf("%s is %v, want %v", property, got, want)
		}
	}
	if c.DeletionPolicy != "Snapshot" {
		t.Errorf("when it is deleted: %s", c.DeletionPolicy)
	}
	_, table := template.Only(t, "Custom::RedshiftTable")
	if refers(table.Properties["ClusterIdentifier"]) != id || table.Properties["WorkgroupName"] != nil || refers(table.Properties["AdminSecret"]) != id {
		t.Errorf("the table is made in %v", table.Properties)
	}
	_, g := template.Only(t, "AWS::EC2::SecurityGroup")
	if at(g.Properties, "SecurityGroupIngress", 0, "FromPort") != 8192.0 {
		t.Errorf("the security group admits %v", g.Properties["SecurityGroupIngress"])
	}
	if _, ok := d.Redshift().Warehouse.(delivery.ExistingCluster); !ok {
		t.Errorf("another delivery is offered %T", d.Redshift().Warehouse)
	}
}

// A second delivery loads another table of the warehouse that the first one defined.
func TestDeliveriesShareAWarehouse(t *testing.T) {
	for name, warehouse := range map[string]delivery.Warehouse{"a workgroup": nil, "a cluster": delivery.Cluster{}} {
		t.Run(name, func(t *testing.T) {
			app := newApp(t, false)
			stack := awscdk.NewStack(app, jsii.String("Test"), &awscdk.StackProps{Env: &awscdk.Environment{Region: jsii.String("eu-west-1")}})
			s := stream.New(stack, "S", stream.Props{})
			first := delivery.New(stack, "First", delivery.Props{Source: s, To: delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, Warehouse: warehouse, PubliclyReachable: true,
			}})
			delivery.New(stack, "Second", delivery.Props{Source: s, To: delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "refunds", Row: order{}}, Warehouse: first.Redshift().Warehouse,
			}})
			template := synth(t, app, "Test")
			if n := len(template.OfType("AWS::RedshiftServerless::Workgroup")) + len(template.OfType("AWS::Redshift::Cluster")); n != 1 {
				t.Errorf("there are %d warehouses", n)
			}
			if n := len(template.OfType("Custom::RedshiftTable")); n != 2 {
				t.Errorf("there are %d tables", n)
			}
			_, g := template.Only(t, "AWS::EC2::SecurityGroup")
			if ingress := list(at(g.Properties, "SecurityGroupIngress")); len(ingress) != 1 || at(ingress[0], "CidrIp") != "52.19.239.192/27" {
				t.Errorf("the security group admits %v", ingress)
			}
			if waiting := circle(template); waiting != nil {
				t.Errorf("a circle: %v", waiting)
			}
		})
	}
}

func TestExistingWarehousesAreTakenAsTheyAre(t *testing.T) {
	const address = "wh1.111122223333.us-east-1.redshift-serverless.amazonaws.com"
	imported := func(stack awscdk.Stack, id string) awssecretsmanager.ISecret {
		return awssecretsmanager.Secret_FromSecretCompleteArn(stack, jsii.String(id), jsii.String("arn:aws:secretsmanager:us-east-1:111122223333:secret:"+id+"-AbCdEf"))
	}
	group := func(stack awscdk.Stack) awsec2.ISecurityGroup {
		return awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("Group"), jsii.String("sg-1"), nil)
	}
	for name, c := range map[string]struct {
		to             func(stack awscdk.Stack) delivery.Redshift
		url            string
		table, ingress int
	}{
		"a workgroup with its table": {func(stack awscdk.Stack) delivery.Redshift {
			return delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders"}, Credentials: imported(stack, "user"), Warehouse: delivery.ExistingWorkgroup{Name: "wh1"},
			}
		}, "jdbc:redshift://wh1.", 0, 0},
		"a workgroup that is opened": {func(stack awscdk.Stack) delivery.Redshift {
			return delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, PubliclyReachable: true,
				Warehouse: delivery.ExistingWorkgroup{Name: "wh1", ID: "1234", Address: address, Admin: imported(stack, "admin"), SecurityGroup: group(stack)},
			}
		}, "jdbc:redshift://" + address + ":5439/dev", 1, 1},
		"a cluster": {func(stack awscdk.Stack) delivery.Redshift {
			return delivery.Redshift{
				RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Database: "sales", Migrations: migrations}, Credentials: imported(stack, "user"),
				Warehouse: delivery.ExistingCluster{Name: "c", Address: "c.abc.us-east-1.redshift.amazonaws.com", Port: 5440, Admin: imported(stack, "admin")},
			}
		}, "jdbc:redshift://c.abc.us-east-1.redshift.amazonaws.com:5440/sales", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			template, _ := redshift(t, c.to)
			for _, kind := range []string{"AWS::RedshiftServerless::Workgroup", "AWS::Redshift::Cluster", "AWS::EC2::VPC", "AWS::EC2::SecurityGroup"} {
				if n := len(template.OfType(kind)); n > 0 {
					t.Errorf("%d of %s are defined", n, kind)
				}
			}
			_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
			if url := fmt.Sprint(at(firehose.Properties, "RedshiftDestinationConfiguration", "ClusterJDBCURL")); !strings.Contains(url, c.url) {
				t.Errorf("the URL is %s, want %s", url, c.url)
			}
			if n := len(template.OfType("Custom::RedshiftTable")); n != c.table {
				t.Errorf("%d tables are made, want %d", n, c.table)
			}
			if n := len(template.OfType("AWS::EC2::SecurityGroupIngress")); n != c.ingress {
				t.Errorf("%d rules are added, want %d", n, c.ingress)
			}
		})
	}
}

func TestTheRecordsAreBackedUpAsTheyCame(t *testing.T) {
	template, _ := redshift(t, func(awscdk.Stack) delivery.Redshift {
		return delivery.Redshift{
			RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, PubliclyReachable: true,
			Backup: &spec.S3Delivery{BufferSize: 32, Compression: spec.Snappy},
		}
	})
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	to := at(firehose.Properties, "RedshiftDestinationConfiguration")
	backup := at(to, "S3BackupConfiguration")
	if at(to, "S3BackupMode") != "Enabled" || at(backup, "Prefix") != "source/" || at(backup, "ErrorOutputPrefix") != nil || at(backup, "CompressionFormat") != "Snappy" ||
		at(backup, "BufferingHints", "SizeInMBs") != 32.0 || fmt.Sprint(at(backup, "BucketARN")) != fmt.Sprint(at(to, "S3Configuration", "BucketARN")) {
		t.Errorf("%v", to)
	}
}

func TestADeliveryToRedshiftIsWatched(t *testing.T) {
	_, d := redshift(t, func(awscdk.Stack) delivery.Redshift {
		return delivery.Redshift{
			RedshiftDelivery: spec.RedshiftDelivery{Table: "orders", Row: order{}}, PubliclyReachable: true, Backup: &spec.S3Delivery{},
			Intermediate: delivery.S3{S3Delivery: spec.S3Delivery{BufferInterval: 10 * time.Minute}},
		}
	})
	got := map[string]string{}
	for _, s := range d.Signals() {
		got[s.Name] = s.Metric.Name
		if s.Name == "Freshness" && s.Threshold != 1800 {
			t.Errorf("%s: %g", s.Name, s.Threshold)
		}
	}
	for name, metric := range map[string]string{
		"Freshness": "DeliveryToRedshift.DataFreshness", "Success": "DeliveryToRedshift.Success", "IntermediateSuccess": "DeliveryToS3.Success",
		"BackupSuccess": "BackupToS3.Success", "SourceThrottled": "ThrottledGetRecords",
	} {
		if got[name] != metric {
			t.Errorf("%s is about %q, want %s", name, got[name], metric)
		}
	}
}

// Nobody can pass a password: there is no field for one.
func TestThereIsNoFieldForAPassword(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var look func(v reflect.Type, path string)
	look = func(v reflect.Type, path string) {
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || seen[v] || !strings.Contains(v.PkgPath(), "millrace") {
			return
		}
		seen[v] = true
		for i := range v.NumField() {
			f := v.Field(i)
			if name := strings.ToLower(f.Name); f.Type.Kind() == reflect.String && (strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.Contains(name, "token")) {
				t.Errorf("%s.%s takes a text", path, f.Name)
			}
			look(f.Type, path+"."+f.Name)
		}
	}
	for _, v := range []any{delivery.Redshift{}, delivery.Workgroup{}, delivery.Cluster{}, delivery.ExistingCluster{}, delivery.ExistingWorkgroup{}} {
		look(reflect.TypeOf(v), reflect.TypeOf(v).Name())
	}
	if len(seen) < 8 {
		t.Errorf("only %d structs were looked at", len(seen))
	}
}
