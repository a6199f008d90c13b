package race

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/watch"
)

// The local profile: everything that differs between the stack on a laptop's
// emulator and the stack on AWS is in this file, each with its reason.
// `millrace local up` prints the reasons; it finds them in the template's metadata.

// LocalProfile is the metadata key of the reasons.
const LocalProfile = "Millrace::LocalProfile"

// localSynthesizer is the stack's synthesizer in the local profile.
func localSynthesizer() awscdk.IStackSynthesizer {
	return awscdk.NewCliCredentialsStackSynthesizer(nil)
}

// localEnvironment is the emulator's account and region. The CDK refuses to deploy
// such a stack with the credentials of another account: this profile lifts the
// protection of data, and must never reach a real one.
func localEnvironment() *awscdk.Environment {
	return &awscdk.Environment{Account: jsii.String("000000000000"), Region: jsii.String("us-east-1")}
}

// localSetting applies what has to be known before the first construct.
func localSetting(stack awscdk.Stack, config Config) {
	stack.Node().SetContext(jsii.String(gofunc.ForThisMachine), true)
	differs := []string{
		"It can be deployed to the account 000000000000 only, the emulator's: what follows is for no real account.",
		"Functions are compiled for this machine's system and processor: the emulator runs them as plain processes.",
		"Assets are published with your (fake) credentials: the emulator refuses the bootstrap's publishing roles while IAM is enforced.",
		"Buckets take plain HTTP: the emulator has no TLS, and enforces the policy that refuses it.",
		"Tables and buckets are deleted with the stack: the emulator forgets everything when it stops.",
		"Alarms on metric math (" + strings.Join(mathSignals, ", ") + ") are left out: the emulator refuses them in templates.",
		"The composite alarm is left out: the emulator doesn't know its resource type.",
	}
	if config.Redshift != "" {
		differs = append(differs, "Redshift is an existing workgroup, which a PostgreSQL of this machine stands in for: the emulator knows no type of Redshift's.",
			"Redshift's secrets are named by an attribute: the emulator's references to them are their names, which no policy allows.")
	}
	stack.AddMetadata(jsii.String(LocalProfile), differs)
}

// localRedshift has a workgroup in place of the one that would be defined. The user of
// its administrator's secret is the stand-in's.
func (r *Race) localRedshift(to delivery.Redshift) delivery.Redshift {
	to.PubliclyReachable = false
	to.Credentials = r.localSecret("LocalLoader", to.WithDefaults().User)
	to.Warehouse = delivery.ExistingWorkgroup{Name: "millrace-local", ID: "local", Admin: r.localSecret("LocalAdmin", "admin")}
	return to
}

// localSecret is a secret whose ARN is its attribute, not its reference.
func (r *Race) localSecret(id, user string) awssecretsmanager.ISecret {
	secret := awssecretsmanager.NewSecret(r.Stack, jsii.String(id), &awssecretsmanager.SecretProps{
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			SecretStringTemplate: jsii.String(`{"username":"` + user + `"}`), GenerateStringKey: jsii.String("password"),
		},
	})
	return awssecretsmanager.Secret_FromSecretCompleteArn(r.Stack, jsii.String(id+"Arn"), secret.Node().DefaultChild().(awssecretsmanager.CfnSecret).AttrId())
}

// localize changes what has been defined.
func (r *Race) localize() {
	buckets := []awss3.IBucket{r.UpdateStandings.FailureBucket(), r.Archive.Bucket()}
	if r.Warehouse != nil {
		buckets = append(buckets, r.Warehouse.Bucket())
	}
	for _, bucket := range buckets {
		bucket.Node().TryRemoveChild(jsii.String("Policy"))
	}
}

// mathSignals are the names of the signals whose metric is an expression.
var mathSignals = []string{"Stopped", "SystemErrors"}

// localSignals leaves out what the emulator can't hold.
func localSignals(all []watch.Signal) []watch.Signal {
	var kept []watch.Signal
	for _, s := range all {
		if s.Metric.Expression == "" && s.Anomaly == 0 {
			kept = append(kept, s)
		}
	}
	return kept
}
