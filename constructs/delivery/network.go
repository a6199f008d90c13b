package delivery

import (
	"fmt"
	"runtime"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Network is where Firehose reaches a destination that isn't public: it makes up to
// three network interfaces in each subnet. The zero value is none: Firehose then
// comes from the internet. AWS can't change it later: it replaces the delivery
// stream.
type Network struct {
	// VPC of the destination; nil for none.
	VPC awsec2.IVpc
	// Subnets of the VPC that interfaces are made in, 1 to 16; by default its private
	// ones. Each needs free addresses.
	Subnets *awsec2.SubnetSelection
	// SecurityGroups of the interfaces, at most five; none defines one that lets
	// HTTPS out. The destination has to let them in:
	// domain.Connections().AllowFrom(delivery.Connections(), …).
	SecurityGroups []awsec2.ISecurityGroup
}

func (n Network) check(c *spec.Check) {
	if n.VPC == nil {
		const why, fix = "it is a setting of the destination's network", "set VPC too"
		if n.Subnets != nil {
			c.Add("Subnets", "given without a VPC", why, fix)
		}
		if len(n.SecurityGroups) > 0 {
			c.Add("SecurityGroups", "given without a VPC", why, fix)
		}
		return
	}
	if got := len(n.SecurityGroups); got > spec.DeliverySecurityGroups.Max {
		c.Add("SecurityGroups", fmt.Sprintf("%d groups", got), spec.DeliverySecurityGroups.String(), "leave some out")
	}
	for i, group := range n.SecurityGroups {
		if valid.Missing(group) {
			c.Add(fmt.Sprintf("SecurityGroups[%d]", i), nil, "there is nothing to take", "pass the group, or leave it out")
		}
	}
	checkSubnets(c, n.VPC, n.Subnets, spec.DeliverySubnets)
}

// checkSubnets notes when a VPC hasn't as many subnets of that kind as there must be.
func checkSubnets(c *spec.Check, vpc awsec2.IVpc, selection *awsec2.SubnetSelection, count spec.Limit[int]) {
	defer func() {
		// The CDK panics where a VPC has no such subnets.
		problem := recover()
		if bug, ok := problem.(runtime.Error); ok {
			panic(bug)
		}
		if problem != nil {
			c.Add("Subnets", "a selection without subnets", fmt.Sprintf("the VPC must have what is selected (%v)", problem), "select others of its subnets")
		}
	}()
	selected := vpc.SelectSubnets(selection)
	if selected.IsPendingLookup != nil && *selected.IsPendingLookup {
		return // the command line looks the VPC up and synthesizes again
	}
	if got := len(*selected.SubnetIds); got < count.Min || got > count.Max {
		c.Add("Subnets", fmt.Sprintf("%d subnets", got), count.String(), "select others")
	}
}

// connect is the network as Firehose is told it, or nil, with what its role needs
// for it: https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-es-vpc
func (d *Delivery) connect(n Network) *awskinesisfirehose.CfnDeliveryStream_VpcConfigurationProperty {
	if n.VPC == nil {
		return nil
	}
	groups := n.SecurityGroups
	if len(groups) == 0 {
		own := awsec2.NewSecurityGroup(d.construct, jsii.String("SecurityGroup"), &awsec2.SecurityGroupProps{
			Vpc: n.VPC, AllowAllOutbound: jsii.Bool(false), Description: jsii.String("The way of Firehose to its destination in the VPC"),
		})
		own.AddEgressRule(awsec2.Peer_AnyIpv4(), awsec2.Port_HTTPS(), jsii.String("HTTPS to the destination"), nil)
		groups = []awsec2.ISecurityGroup{own}
	}
	d.connections = awsec2.NewConnections(&awsec2.ConnectionsProps{SecurityGroups: &groups})

	stack := awscdk.Stack_Of(d.construct)
	ec2 := func(account *string, resource string, id *string) *string {
		return stack.FormatArn(&awscdk.ArnComponents{Service: jsii.String("ec2"), Account: account, Resource: jsii.String(resource), ResourceName: id})
	}
	interfaces := ec2(nil, "network-interface", jsii.String("*"))
	// A VPC can be shared by another account, whose number is in its ARN then.
	anyone := jsii.String("*")
	where := []*string{interfaces}
	ids := n.VPC.SelectSubnets(n.Subnets).SubnetIds
	for _, id := range *ids {
		where = append(where, ec2(anyone, "subnet", id))
	}
	groupIDs := make([]*string, len(groups))
	for i, group := range groups {
		groupIDs[i] = group.SecurityGroupId()
		where = append(where, ec2(anyone, "security-group", groupIDs[i]))
	}
	d.allow(where, "ec2:CreateNetworkInterface")
	d.allow([]*string{interfaces}, "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface")
	d.allow([]*string{ec2(anyone, "vpc", n.VPC.VpcId())}, "ec2:DescribeVpcAttribute")
	d.allow([]*string{jsii.String("*")}, "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs")
	role.Also(d.role, accept.Finding{
		Reason:    "Firehose reaches the VPC by network interfaces whose ids it makes itself, in these subnets and groups, which another account may share; EC2 takes no resource for most Describe actions.",
		IDs:       []string{"AwsSolutions-IAM5"},
		AppliesTo: []string{"Resource::*", `/^Resource::arn:.*:ec2:.*:\*:(vpc|subnet|security-group)\/.*$/`},
	})
	return &awskinesisfirehose.CfnDeliveryStream_VpcConfigurationProperty{
		RoleArn: d.role.RoleArn(), SubnetIds: ids, SecurityGroupIds: &groupIDs,
	}
}

// Connections of a delivery into a VPC, to open its destination to it; nil without
// one.
func (d *Delivery) Connections() awsec2.Connections { return d.connections }
