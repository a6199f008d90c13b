package delivery

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsredshift"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsredshiftserverless"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// Redshift delivers to a table in Amazon Redshift, by way of a bucket: Firehose
// writes objects there and has Redshift COPY them.
//
// With Row or Migrations a Go function makes the table, the user that loads it and
// the user's grants, over Redshift's Data API, before the delivery starts and at each
// deployment that changes them. It drops nothing, whatever is deleted. The function
// ships with millrace: see [MigratePackage].
//
// Firehose reaches Redshift by a public address only. Where that is out of the
// question, deliver to S3 and let Redshift load the objects by itself (auto-copy), or
// let it read the stream (streaming ingestion): docs/design/redshift.md.
type Redshift struct {
	// RedshiftDelivery are the settings.
	spec.RedshiftDelivery
	// Warehouse is where the table is: a [Workgroup] or a [Cluster], which are defined,
	// or an [ExistingWorkgroup] or [ExistingCluster]; nil is Workgroup{}.
	Warehouse Warehouse
	// PubliclyReachable gives a warehouse that is defined its public address, and
	// admits Firehose's range of addresses, nothing else, to its port. Required for
	// those. For an existing one it adds that range to its SecurityGroup; without it,
	// it is yours to let Firehose in.
	PubliclyReachable bool
	// FirehoseRange is that range; by default the one that AWS documents for the
	// stack's region, which has to be known then (StackProps.Env).
	FirehoseRange string
	// Credentials of the user that loads the table: a secret with username and
	// password as JSON, that User's where Row or Migrations make the user. nil defines
	// one with a password that nobody knows; it needs Row or Migrations.
	Credentials awssecretsmanager.ISecret
	// Key encrypts the credentials that are defined; nil means Secrets Manager's own key.
	Key awskms.IKey
	// Intermediate is the bucket that objects are copied from, and the objects: their
	// Compression is GZIP or Uncompressed, their Prefix has no expressions and there is
	// no ErrorPrefix.
	Intermediate S3
	// Backup also writes all records to the same bucket as they came, before any
	// Transform; its prefix is "source/" by default, without expressions, and there is no
	// ErrorPrefix and no Expiration. It can't be taken away again.
	Backup *spec.S3Delivery
}

var _ Destination = Redshift{}

// RedshiftResources are what a delivery to Redshift is made of; what wasn't defined
// is nil.
type RedshiftResources struct {
	// Warehouse as another delivery can use it.
	Warehouse Warehouse
	// Credentials of the user that loads the table.
	Credentials awssecretsmanager.ISecret
	// Migrate is the function that makes table and user.
	Migrate *gofunc.Function
	// SecurityGroup of the warehouse, if it is known.
	SecurityGroup awsec2.ISecurityGroup
	Namespace     awsredshiftserverless.CfnNamespace
	Workgroup     awsredshiftserverless.CfnWorkgroup
	Cluster       awsredshift.CfnCluster
}

// Redshift is what the delivery to Redshift is made of; nil for other deliveries.
func (d *Delivery) Redshift() *RedshiftResources { return d.redshift }

// MigratePackage is the function that makes tables. An app of another module names it
// in its go.mod: go get -tool github.com/millrace/millrace/lambdas/migrate.
const MigratePackage = "github.com/millrace/millrace/lambdas/migrate"

func (r Redshift) warehouse() Warehouse {
	if valid.Missing(r.Warehouse) {
		return Workgroup{}
	}
	return r.Warehouse
}

func (r Redshift) validate(props Props, c *spec.Check) {
	c.Merge(r.RedshiftDelivery.Validate("", r.Intermediate.S3Delivery, r.Backup))
	if r.Backup != nil && props.MSK != nil {
		c.Add("Backup", "set", notOfMSK, "leave it out: the topic has the records")
	}
	// Its settings are checked above, as they are others here.
	bucket := r.Intermediate
	bucket.S3Delivery = spec.S3Delivery{Expiration: bucket.Expiration, Transitions: bucket.Transitions}
	c.Within("Intermediate", func(c *spec.Check) {
		bucket.validateBucket(c)
		r.Intermediate.destinationOnly(c)
	})
	switch secret := r.Credentials; {
	case valid.Missing(secret) && !r.Defines():
		c.Add("Credentials", nil, "Firehose loads the table as a user with a password", "pass the secret of one that may; or set Row or Migrations, which make one")
	case !valid.Missing(secret) && secret.SecretFullArn() == nil:
		c.Add("Credentials", "a secret without its whole ARN", "Firehose and the function that makes the user are given it", "import it with Secret_FromSecretCompleteArn")
	case !valid.Missing(secret) && r.Key != nil:
		c.Add("Key", "set, and so is Credentials", "it is for the secret that is defined where none is passed", "encrypt your secret with it, or leave Credentials out")
	}
	if r.FirehoseRange != "" {
		if !r.PubliclyReachable {
			c.Add("FirehoseRange", r.FirehoseRange, "nothing is opened to it", "set PubliclyReachable, or leave it out")
		}
		if p, err := netip.ParsePrefix(r.FirehoseRange); !spec.IsToken(r.FirehoseRange) && (err != nil || !p.Addr().Is4() || p.Bits() < 24) {
			c.Add("FirehoseRange", r.FirehoseRange, "Firehose has one small IPv4 range in each region, such as 52.70.63.192/27", "copy it from Firehose's documentation on controlling access")
		}
	}
	c.Within("Warehouse", func(c *spec.Check) { r.warehouse().validate(r, c) })
}

// objects is where Firehose writes beside a delivery to Redshift: prefixes are plain
// there, and there is none for errors.
func (d *Delivery) objects(s S3, prefix string) *awskinesisfirehose.CfnDeliveryStream_S3DestinationConfigurationProperty {
	to := d.failed(s)
	if to.ErrorOutputPrefix = nil; s.Prefix == "" {
		to.Prefix = jsii.String(prefix)
	}
	return to
}

func (r Redshift) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	settings := r.WithDefaults()
	d.place(r.Intermediate)
	place := r.warehouse().attach(d, r)
	d.redshift = &place.RedshiftResources
	if d.redshift.Credentials = r.Credentials; valid.Missing(r.Credentials) {
		d.redshift.Credentials = r.credentials(d, settings.User)
	}
	if r.Defines() {
		r.migrate(d, settings, place)
	}

	copied := &awskinesisfirehose.CfnDeliveryStream_CopyCommandProperty{
		DataTableName: jsii.String(settings.DataTable()),
		CopyOptions:   jsii.String(r.CopyOptions(r.Intermediate.Compression, r.paths(d, settings))),
	}
	if len(settings.Columns) > 0 {
		copied.DataTableColumns = jsii.String(strings.Join(settings.Columns, ","))
	}
	destination := &awskinesisfirehose.CfnDeliveryStream_RedshiftDestinationConfigurationProperty{
		ClusterJdbcurl:              jsii.String(fmt.Sprintf("jdbc:redshift://%s:%s/%s", *place.address, *place.port, settings.Database)),
		RoleArn:                     d.role.RoleArn(),
		CopyCommand:                 copied,
		S3Configuration:             d.objects(r.Intermediate, settings.Table+"/"),
		SecretsManagerConfiguration: d.secret(d.redshift.Credentials),
		RetryOptions: &awskinesisfirehose.CfnDeliveryStream_RedshiftRetryOptionsProperty{
			DurationInSeconds: jsii.Number(settings.RetryDuration.Seconds()),
		},
		CloudWatchLoggingOptions: d.logging("Redshift"),
		ProcessingConfiguration:  d.processing(),
	}
	if r.Backup != nil {
		destination.S3BackupMode, destination.S3BackupConfiguration = jsii.String("Enabled"), d.objects(S3{S3Delivery: *r.Backup}, "source/")
	}
	props.RedshiftDestinationConfiguration = destination
}

// credentials defines the secret of the user, with a password that is made at
// deployment.
func (r Redshift) credentials(d *Delivery, user string) awssecretsmanager.ISecret {
	secret := awssecretsmanager.NewSecret(d.construct, jsii.String("Credentials"), &awssecretsmanager.SecretProps{
		Description: jsii.String("user that Firehose loads " + r.DataTable() + " as"),
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			SecretStringTemplate: jsii.String(fmt.Sprintf(`{"username":%q}`, user)),
			GenerateStringKey:    jsii.String("password"),
			// Redshift takes 8 to 64 characters, and few of the punctuation.
			PasswordLength: jsii.Number(64), ExcludePunctuation: jsii.Bool(true), RequireEachIncludedType: jsii.Bool(true),
			// Some that make passwords don't heed the line above.
			ExcludeCharacters: jsii.String("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "),
		},
		EncryptionKey: r.Key, RemovalPolicy: d.props.RemovalPolicy,
	})
	cfn := secret.Node().DefaultChild().(awssecretsmanager.CfnSecret)
	accept.On(cfn, accept.Because("A rotation has to change the user in Redshift, too: put a new password into the secret and deploy another migration.",
		"AwsSolutions-SMG4", "NIST.800.53.R5-SecretsManagerRotationEnabled"))
	if r.Key == nil {
		accept.On(cfn, accept.Because("Secrets Manager encrypts the password with a key of its own; a customer key is a setting.",
			"NIST.800.53.R5-SecretsManagerUsingKMSKey", "CKV_AWS_149"))
	}
	return secret
}

// paths puts JSONPaths into an object that COPY reads, and is its address.
func (r Redshift) paths(d *Delivery, settings spec.RedshiftDelivery) string {
	if len(settings.JSONPaths) == 0 {
		return ""
	}
	dir, err := os.MkdirTemp("", "millrace-jsonpaths")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir) // the asset is a copy
	file := filepath.Join(dir, "jsonpaths.json")
	if err := os.WriteFile(file, settings.JSONPathsFile(), 0o644); err != nil {
		panic(err)
	}
	asset := awss3assets.NewAsset(d.construct, jsii.String("JSONPaths"), &awss3assets.AssetProps{Path: jsii.String(file)})
	d.allow([]*string{asset.Bucket().ArnForObjects(asset.S3ObjectKey())}, "s3:GetObject")
	return *asset.S3ObjectUrl()
}

// migrate defines what makes table and user, before the delivery stream.
func (r Redshift) migrate(d *Delivery, settings spec.RedshiftDelivery, place *warehouse) {
	f := gofunc.New(d.construct, "Migrate", gofunc.Props{
		Function: spec.Function{
			Timeout:     spec.FunctionTimeout.Max, // statements may take long; it waits for them
			Description: "makes " + settings.DataTable() + " and the user that loads it",
		},
		Resources:     gofunc.Resources{LogKey: d.props.LogKey},
		Code:          gofunc.Package(MigratePackage),
		RemovalPolicy: d.props.RemovalPolicy,
	})
	d.redshift.Migrate = f
	own := f.Role()
	grants := []awsiam.Grant{
		allow.On(own, []*string{place.arn}, "redshift-data:ExecuteStatement", "redshift-data:BatchExecuteStatement"),
		// These two know no resource, but whose the statement is.
		awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
			Grantee: own, Actions: jsii.Strings("redshift-data:DescribeStatement", "redshift-data:GetStatementResult"), ResourceArns: &[]*string{jsii.String("*")},
			Conditions: &map[string]*map[string]any{"StringEquals": {"redshift-data:statement-owner-iam-userid": "${aws:userid}"}},
		}),
		allow.On(own, []*string{place.adminArn, d.redshift.Credentials.SecretArn()}, "secretsmanager:GetSecretValue"),
	}
	for _, key := range []awskms.IKey{place.adminKey, d.redshift.Credentials.EncryptionKey()} {
		if !valid.Missing(key) {
			grants = append(grants, key.Grant(own, jsii.String("kms:Decrypt")))
		}
	}
	role.Also(own, accept.Finding{
		Reason:    "The Data API takes no resource for describing statements; a condition names those of this function.",
		IDs:       []string{"AwsSolutions-IAM5"},
		AppliesTo: []string{"Resource::*"},
	})
	if place.anyWorkgroup {
		role.Also(own, accept.Finding{
			Reason:    "A workgroup's ARN holds an id that its name doesn't tell; the setting ID narrows it to one.",
			IDs:       []string{"AwsSolutions-IAM5"},
			AppliesTo: []string{`/^Resource::arn:.*:workgroup\/\*$/`},
		})
	}

	properties := map[string]any{
		"Database": settings.Database, "Schema": settings.Schema, "Table": settings.Table,
		"AdminSecret": place.admin, "UserSecret": d.redshift.Credentials.SecretArn(), "User": settings.User, "OwnUser": valid.Missing(r.Credentials),
	}
	if place.workgroup != nil {
		properties["WorkgroupName"] = place.workgroup
	} else {
		properties["ClusterIdentifier"] = place.cluster
	}
	if table := settings.CreateTable(); table != "" {
		columns, _ := spec.RedshiftColumns(settings.Row)
		definitions := make([]any, len(columns))
		for i, c := range columns {
			definitions[i] = map[string]any{"Name": c.Name, "Definition": c.Definition()}
			if t := c.CatalogType(); t != "" {
				definitions[i].(map[string]any)["Type"] = t
			}
		}
		properties["CreateTable"], properties["Columns"] = table, definitions
	}
	if migrations, _ := spec.Migrations(settings.Migrations); len(migrations) > 0 {
		all := make([]any, len(migrations))
		for i, m := range migrations {
			all[i] = map[string]any{"Name": m.Name, "Statements": m.Statements}
		}
		properties["Migrations"] = all
	}
	migrations := awscdk.NewCustomResource(d.construct, jsii.String("Table"), &awscdk.CustomResourceProps{
		ServiceToken: f.Function().FunctionArn(), ResourceType: jsii.String("Custom::RedshiftTable"), Properties: &properties,
		ServiceTimeout: awscdk.Duration_Hours(jsii.Number(1)), // CloudFormation's longest
	})
	resource := migrations.Node().DefaultChild().(awscdk.CfnResource)
	for _, grant := range grants {
		grant.ApplyBefore(migrations)
	}
	for _, first := range place.before {
		resource.AddResourceDependency(first, nil)
	}
	d.before = append(d.before, resource)
}

func (r Redshift) signals(d *Delivery) []watch.Signal {
	signals := onPage("delivery-redshift", d.delivered("DeliveryToRedshift", "Redshift", r.Intermediate.WithDefaults().BufferInterval,
		"Read the delivery's log and Redshift's sys_load_error_detail; what was given up is named by the manifests under errors/."))
	to := func(name, graph, metric, why string) watch.Signal {
		return watch.Signal{
			Owner: d.construct, Name: name, Graph: graph, Metric: d.metric(metric+".Success", "Average"), Runbook: "delivery-redshift-bucket",
			Below: true, Threshold: 1, From: "every object should be written", Why: why,
			Do:      "Read the delivery's log; check the bucket's policy and key and Firehose's role.",
			Periods: 5, Breaching: 3, Missing: watch.NotBreaching, Severity: watch.Warning,
		}
	}
	signals = append(signals, to("IntermediateSuccess", "Writes to the intermediate bucket (share)", "DeliveryToS3",
		"Firehose couldn't write objects that Redshift is to copy, and tries again."))
	if r.Backup != nil {
		signals = append(signals, to("BackupSuccess", "Writes of the backup (share)", "BackupToS3",
			"Firehose couldn't write the records as they came, and tries again."))
	}
	return signals
}
