package consumer

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscodedeploy"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/internal/allow"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/spec"
)

// Rollout deploys a new version of the function by and by, with CodeDeploy, and
// goes back to the old one when one of the consumer's alarms on errors, duration
// or rejected records is raised. The mapping keeps reading all the while: it
// points to an alias, and CodeDeploy moves that alias's weights.
//
// The alarms are those that a watch makes of the consumer's signals, so a consumer
// with a Rollout has to be watched: watch.New(…, watch.Props{Signals:
// watch.All(consumer)}). Ages are left out on purpose: a consumer that is behind
// already must be able to get its cure.
type Rollout struct {
	spec.Rollout
	// IgnoreAlarms deploys although an alarm is raised, and doesn't go back: for
	// the version that cures what the alarm tells.
	IgnoreAlarms bool
}

// maximumAlarms of a deployment group; CodeDeploy's AlarmConfiguration.
const maximumAlarms = 10

// rollback are the signals that say something of the version that runs. Their
// metrics are the function's: one of the mapping's would close a circle, as the
// mapping waits for the alias and the alias for its deployment group.
var rollback = map[string]bool{"Errors": true, "Duration": true, "RejectedRecords": true}

// rolling is a consumer's deployment group, with the alarms that roll back.
type rolling struct {
	settings Rollout
	deployer awsiam.Role
	group    awscodedeploy.CfnDeploymentGroup
	alarms   []any
}

// newRollout defines how alias moves to a new version.
func newRollout(this constructs.Construct, alias awslambda.Alias, settings Rollout) *rolling {
	s := settings.WithDefaults()
	scope := constructs.NewConstruct(this, jsii.String("Rollout"))
	application := awscodedeploy.NewCfnApplication(scope, jsii.String("Application"), &awscodedeploy.CfnApplicationProps{ComputePlatform: jsii.String("Lambda")})
	minutes, share := jsii.Number(s.Interval.Minutes()), jsii.Number(s.Percentage)
	routing := &awscodedeploy.CfnDeploymentConfig_TrafficRoutingConfigProperty{
		Type:            jsii.String("TimeBasedCanary"),
		TimeBasedCanary: &awscodedeploy.CfnDeploymentConfig_TimeBasedCanaryProperty{CanaryInterval: minutes, CanaryPercentage: share},
	}
	if s.Type == spec.Linear {
		routing = &awscodedeploy.CfnDeploymentConfig_TrafficRoutingConfigProperty{
			Type:            jsii.String("TimeBasedLinear"),
			TimeBasedLinear: &awscodedeploy.CfnDeploymentConfig_TimeBasedLinearProperty{LinearInterval: minutes, LinearPercentage: share},
		}
	}
	config := awscodedeploy.NewCfnDeploymentConfig(scope, jsii.String("Config"), &awscodedeploy.CfnDeploymentConfigProps{
		ComputePlatform: jsii.String("Lambda"), TrafficRoutingConfig: routing,
	})
	deployer := role.New(scope, "Role", "codedeploy.amazonaws.com")
	r := &rolling{settings: settings, deployer: deployer}
	r.group = awscodedeploy.NewCfnDeploymentGroup(scope, jsii.String("Resource"), &awscodedeploy.CfnDeploymentGroupProps{
		ApplicationName: application.Ref(), ServiceRoleArn: deployer.RoleArn(), DeploymentConfigName: config.Ref(),
		DeploymentStyle: &awscodedeploy.CfnDeploymentGroup_DeploymentStyleProperty{
			DeploymentType: jsii.String("BLUE_GREEN"), DeploymentOption: jsii.String("WITH_TRAFFIC_CONTROL"),
		},
		AutoRollbackConfiguration: &awscodedeploy.CfnDeploymentGroup_AutoRollbackConfigurationProperty{
			Enabled: jsii.Bool(true), Events: jsii.Strings("DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST"),
		},
	})
	// The alias's ARN is put together here: a reference to the alias, which waits
	// for the group, would close a circle.
	function := *alias.Lambda().FunctionArn()
	grant := allow.On(deployer, []*string{jsii.String(function), jsii.String(function + ":" + *alias.AliasName())},
		"lambda:GetAlias", "lambda:GetProvisionedConcurrencyConfig", "lambda:UpdateAlias")
	grant.ApplyBefore(r.group)
	role.Accept(deployer)
	alias.Node().DefaultChild().(awslambda.CfnAlias).CfnOptions().SetUpdatePolicy(&awscdk.CfnUpdatePolicy{
		CodeDeployLambdaAliasUpdate: &awscdk.CfnCodeDeployLambdaAliasUpdate{
			ApplicationName: application.Ref(), DeploymentGroupName: r.group.Ref(),
		},
	})
	this.Node().AddValidation(r)
	return r
}

// watchedBy takes an alarm of the consumer into the deployment group.
func (r *rolling) watchedBy(alarm awscloudwatch.CfnAlarm) {
	allow.On(r.deployer, []*string{alarm.AttrArn()}, "cloudwatch:DescribeAlarms")
	r.alarms = append(r.alarms, &awscodedeploy.CfnDeploymentGroup_AlarmProperty{Name: alarm.Ref()})
	r.group.SetAlarmConfiguration(&awscodedeploy.CfnDeploymentGroup_AlarmConfigurationProperty{
		Enabled: jsii.Bool(!r.settings.IgnoreAlarms), Alarms: &r.alarms,
	})
}

// Validate is called by the CDK at synthesis.
func (r *rolling) Validate() *[]*string {
	switch n := len(r.alarms); {
	case n > maximumAlarms:
		return jsii.Strings(fmt.Sprintf("Rollout has %d alarms, and CodeDeploy takes %d: pass the consumer's Signals() to one watch.New", n, maximumAlarms))
	case n > 0:
		return &[]*string{}
	}
	return jsii.Strings("Rollout is set, but nothing would roll back, as no alarm watches this consumer: pass its Signals() to watch.New, or leave Rollout out")
}
