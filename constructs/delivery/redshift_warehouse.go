package delivery

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsredshift"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsredshiftserverless"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Warehouse is where Redshift runs: a [Workgroup], [Cluster], [ExistingWorkgroup] or
// [ExistingCluster].
type Warehouse interface {
	validate(r Redshift, c *spec.Check)
	// attach defines it, or what of it the delivery needs.
	attach(d *Delivery, r Redshift) *warehouse
}

// warehouse is what a delivery and the function that makes its table know of one.
type warehouse struct {
	RedshiftResources
	address, port      *string
	workgroup, cluster *string // the name of one of them
	arn                *string // that statements are run on
	admin              *string // ARN or name of the administrator's secret
	adminArn           *string
	anyWorkgroup       bool // arn ends in *
	adminKey           awskms.IKey
	before             []awscdk.CfnResource
}

// Workgroup is a Redshift Serverless workgroup that is defined here, with its
// namespace: encrypted, TLS only, its administrator's password in a secret that
// Redshift makes and changes. The namespace is retained with its data unless
// RemovalPolicy says otherwise; the workgroup, which costs, is not.
type Workgroup struct {
	// RedshiftWorkgroup are the settings.
	spec.RedshiftWorkgroup
	WarehouseNetwork
	// Key encrypts the data and the administrator's secret; nil means AWS's own keys.
	Key awskms.IKey
}

// Cluster is a provisioned Redshift cluster that is defined here: encrypted, TLS only,
// its administrator's password in a secret that Redshift makes and changes, its logs
// in CloudWatch. When it is deleted a last snapshot stays, unless RemovalPolicy says
// otherwise.
type Cluster struct {
	// RedshiftCluster are the settings.
	spec.RedshiftCluster
	WarehouseNetwork
	// Key encrypts the data and the administrator's secret; nil means AWS's own keys.
	Key awskms.IKey
}

// WarehouseNetwork is where a warehouse that is defined here is connected.
type WarehouseNetwork struct {
	// VPC with public subnets: three for a Workgroup, in as many availability zones
	// (two in us-west-1, which has no more). nil defines one with nothing else in it.
	VPC awsec2.IVpc
	// Subnets of the VPC; nil means the public ones.
	Subnets *awsec2.SubnetSelection
}

// ExistingWorkgroup is a workgroup of Redshift Serverless from elsewhere, publicly
// accessible and without enhanced VPC routing: Firehose can write to no other.
type ExistingWorkgroup struct {
	// Name of the workgroup; required.
	Name string
	// ID of the workgroup, the last part of its ARN; by default the function that makes
	// tables may run statements on every workgroup of the account and region.
	ID string
	// Address that Firehose connects to; by default Name's, in the stack's account and region.
	Address string
	// Port, 5,439 by default.
	Port int
	// Admin is the secret (username and password as JSON) of a user that may make
	// schemas, tables and users; required where Row or Migrations are set.
	Admin awssecretsmanager.ISecret
	// SecurityGroup of the workgroup; required with PubliclyReachable, which admits
	// Firehose to it.
	SecurityGroup awsec2.ISecurityGroup
}

// ExistingCluster is a provisioned Redshift cluster from elsewhere, publicly
// accessible and without enhanced VPC routing: Firehose can write to no other.
type ExistingCluster struct {
	// Name is the cluster's identifier; required.
	Name string
	// Address of its endpoint; required.
	Address string
	// Port, 5,439 by default.
	Port int
	// Admin and SecurityGroup are as in ExistingWorkgroup.
	Admin         awssecretsmanager.ISecret
	SecurityGroup awsec2.ISecurityGroup
}

var (
	_ Warehouse = Workgroup{}
	_ Warehouse = Cluster{}
	_ Warehouse = ExistingWorkgroup{}
	_ Warehouse = ExistingCluster{}
)

// redshiftAdmin is the administrator of a warehouse that is defined here.
const redshiftAdmin = "millrace"

func (w Workgroup) validate(r Redshift, c *spec.Check) {
	c.Merge(w.RedshiftWorkgroup.Validate(""))
	checkNew(r, w.WarehouseNetwork, spec.RedshiftWorkgroupSubnets, c)
}

func (w Cluster) validate(r Redshift, c *spec.Check) {
	c.Merge(w.RedshiftCluster.Validate(""))
	checkNew(r, w.WarehouseNetwork, spec.RedshiftClusterSubnets, c)
}

func checkNew(r Redshift, n WarehouseNetwork, subnets spec.Limit[int], c *spec.Check) {
	if !r.PubliclyReachable {
		c.Add("PubliclyReachable", false, "Firehose reaches Redshift by a public address only",
			"set it, which admits Firehose's range and nothing else; or see docs/design/redshift.md for what loads a private warehouse")
	}
	switch {
	case !valid.Missing(n.VPC):
		checkSubnets(c, n.VPC, n.selection(), subnets)
	case n.Subnets != nil:
		c.Add("Subnets", "set without a VPC", "they are those of the VPC", "pass the VPC, or leave them out")
	}
}

func (n WarehouseNetwork) selection() *awsec2.SubnetSelection {
	if n.Subnets == nil {
		return &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PUBLIC}
	}
	return n.Subnets
}

func (w ExistingWorkgroup) validate(r Redshift, c *spec.Check) {
	if w.Name == "" {
		c.Add("Name", nil, "a workgroup has a name", "set it")
	} else {
		c.Pattern("Name", w.Name, spec.WorkgroupName)
	}
	checkExisting(r, w.Address, w.Port, w.Admin, w.SecurityGroup, c)
}

func (w ExistingCluster) validate(r Redshift, c *spec.Check) {
	if w.Name == "" {
		c.Add("Name", nil, "a cluster has an identifier", "set it")
	} else {
		c.Pattern("Name", w.Name, spec.ClusterName)
	}
	if w.Address == "" {
		c.Add("Address", nil, "Firehose connects to the cluster's endpoint", "set it to the endpoint without its port")
	}
	checkExisting(r, w.Address, w.Port, w.Admin, w.SecurityGroup, c)
}

func checkExisting(r Redshift, address string, port int, admin awssecretsmanager.ISecret, group awsec2.ISecurityGroup, c *spec.Check) {
	if host, _, _ := strings.Cut(strings.TrimPrefix(address, "jdbc:redshift://"), ":"); address != "" && !spec.IsToken(address) &&
		(host != address || !strings.Contains(address, ".redshift.") && !strings.Contains(address, ".redshift-serverless.")) {
		c.Add("Address", address, "Firehose takes an endpoint of Redshift's own domain, without protocol, port and database", "write it like name.id.region.redshift.amazonaws.com")
	}
	if port < 0 || port > 65_535 {
		c.Add("Port", port, "a port is 1 to 65535", "leave it out for 5439")
	}
	if r.Defines() && valid.Missing(admin) {
		c.Add("Admin", nil, "Row and Migrations are run as somebody", "pass the secret of a user that may make tables and users")
	}
	if r.PubliclyReachable && valid.Missing(group) {
		c.Add("SecurityGroup", nil, "PubliclyReachable admits Firehose to it", "pass the warehouse's security group, or leave PubliclyReachable out and admit Firehose yourself")
	}
}

func portOr(port int) int {
	if port == 0 {
		return 5_439
	}
	return port
}

func (w ExistingWorkgroup) attach(d *Delivery, r Redshift) *warehouse {
	stack := awscdk.Stack_Of(d.construct)
	address, id := w.Address, w.ID
	if address == "" {
		address = fmt.Sprintf("%s.%s.%s.redshift-serverless.%s", w.Name, *stack.Account(), *stack.Region(), *stack.UrlSuffix())
	}
	if id == "" {
		id = "*"
	}
	p := &warehouse{
		anyWorkgroup: id == "*",
		address:      jsii.String(address), port: jsii.String(fmt.Sprint(portOr(w.Port))), workgroup: jsii.String(w.Name),
		arn: stack.FormatArn(&awscdk.ArnComponents{Service: jsii.String("redshift-serverless"), Resource: jsii.String("workgroup"), ResourceName: jsii.String(id)}),
	}
	p.existing(d, r, w.Admin, w.SecurityGroup, portOr(w.Port))
	p.Warehouse = w
	return p
}

func (w ExistingCluster) attach(d *Delivery, r Redshift) *warehouse {
	p := &warehouse{
		address: jsii.String(w.Address), port: jsii.String(fmt.Sprint(portOr(w.Port))), cluster: jsii.String(w.Name),
		arn: clusterArn(d, jsii.String(w.Name)),
	}
	p.existing(d, r, w.Admin, w.SecurityGroup, portOr(w.Port))
	p.Warehouse = w
	return p
}

func clusterArn(d *Delivery, name *string) *string {
	return awscdk.Stack_Of(d.construct).FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("redshift"), Resource: jsii.String("cluster"), ResourceName: name, ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
}

// existing fills in what existing warehouses have alike.
func (p *warehouse) existing(d *Delivery, r Redshift, admin awssecretsmanager.ISecret, group awsec2.ISecurityGroup, port int) {
	if !valid.Missing(admin) {
		p.admin, p.adminArn, p.adminKey = admin.SecretArn(), admin.SecretArn(), admin.EncryptionKey()
		if admin.SecretFullArn() == nil {
			p.adminArn = jsii.String(*admin.SecretArn() + "-??????")
		}
	}
	if p.SecurityGroup = group; r.PubliclyReachable {
		group.AddIngressRule(awsec2.Peer_Ipv4(jsii.String(r.firehoseRange(d))), awsec2.Port_Tcp(jsii.Number(port)), jsii.String("Firehose"), nil)
	}
}

func (w Workgroup) attach(d *Delivery, r Redshift) *warehouse {
	stack, s := awscdk.Stack_Of(d.construct), w.RedshiftWorkgroup.WithDefaults()
	net := w.network(d, r, s.Port, 3)
	name := jsii.String(s.Name)
	if s.Name == "" {
		name = uniqueName(d)
	}
	p := &warehouse{}
	namespace := &awsredshiftserverless.CfnNamespaceProps{
		NamespaceName: name, DbName: jsii.String(r.WithDefaults().Database), AdminUsername: jsii.String(redshiftAdmin), ManageAdminPassword: jsii.Bool(true),
		LogExports: jsii.Strings("userlog", "connectionlog", "useractivitylog"),
	}
	if w.Key != nil {
		namespace.KmsKeyId, namespace.AdminPasswordSecretKmsKeyId = w.Key.KeyArn(), w.Key.KeyArn()
	}
	p.Namespace = awsredshiftserverless.NewCfnNamespace(d.construct, jsii.String("Namespace"), namespace)
	p.Namespace.ApplyRemovalPolicy(d.props.RemovalPolicy, nil)
	workgroup := &awsredshiftserverless.CfnWorkgroupProps{
		WorkgroupName: name, NamespaceName: p.Namespace.Ref(), BaseCapacity: jsii.Number(s.BaseCapacity), Port: jsii.Number(s.Port),
		PubliclyAccessible: jsii.Bool(true), EnhancedVpcRouting: jsii.Bool(false), SubnetIds: anys(net.subnets), SecurityGroupIds: anys([]*string{net.group.SecurityGroupId()}),
		ConfigParameters: []any{&awsredshiftserverless.CfnWorkgroup_ConfigParameterProperty{
			ParameterKey: jsii.String("require_ssl"), ParameterValue: jsii.String("true"),
		}},
	}
	if s.MaxCapacity != spec.Forever {
		workgroup.MaxCapacity = jsii.Number(s.MaxCapacity)
	}
	p.Workgroup = awsredshiftserverless.NewCfnWorkgroup(d.construct, jsii.String("Workgroup"), workgroup)
	net.first(p.Workgroup)

	p.SecurityGroup, p.before = net.group, []awscdk.CfnResource{p.Workgroup}
	p.workgroup, p.arn = p.Workgroup.Ref(), p.Workgroup.AttrWorkgroupWorkgroupArn()
	p.address, p.port = p.Workgroup.AttrWorkgroupEndpointAddress(), jsii.String(fmt.Sprint(s.Port))
	// CloudFormation doesn't tell the ARN of the secret; the Data API takes its name.
	p.admin = jsii.String(fmt.Sprintf("redshift!%s-%s", *name, redshiftAdmin))
	p.adminKey, p.adminArn = w.Key, stack.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String("secretsmanager"), Resource: jsii.String("secret"), ResourceName: jsii.String(*p.admin + "-??????"),
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	p.Warehouse = ExistingWorkgroup{
		Name: *p.workgroup, ID: *p.Workgroup.AttrWorkgroupWorkgroupId(), Address: *p.address, Port: s.Port, SecurityGroup: net.group,
		Admin: awssecretsmanager.Secret_FromSecretNameV2(d.construct, jsii.String("Admin"), p.admin),
	}
	return p
}

func (w Cluster) attach(d *Delivery, r Redshift) *warehouse {
	s := w.RedshiftCluster.WithDefaults()
	net := w.network(d, r, s.Port, 2)
	subnets := awsredshift.NewCfnClusterSubnetGroup(d.construct, jsii.String("ClusterSubnets"), &awsredshift.CfnClusterSubnetGroupProps{
		Description: jsii.String("public subnets"), SubnetIds: anys(net.subnets),
	})
	parameters := awsredshift.NewCfnClusterParameterGroup(d.construct, jsii.String("ClusterParameters"), &awsredshift.CfnClusterParameterGroupProps{
		Description: jsii.String("TLS only, and statements in the log"), ParameterGroupFamily: jsii.String("redshift-2.0"),
		Parameters: []any{
			&awsredshift.CfnClusterParameterGroup_ParameterProperty{ParameterName: jsii.String("require_ssl"), ParameterValue: jsii.String("true")},
			&awsredshift.CfnClusterParameterGroup_ParameterProperty{ParameterName: jsii.String("enable_user_activity_logging"), ParameterValue: jsii.String("true")},
		},
	})
	props := &awsredshift.CfnClusterProps{
		ClusterType: jsii.String("single-node"), NodeType: jsii.String(s.NodeType), DbName: jsii.String(r.WithDefaults().Database),
		MasterUsername: jsii.String(redshiftAdmin), ManageMasterPassword: jsii.Bool(true), Encrypted: jsii.Bool(true), Port: jsii.Number(s.Port),
		PubliclyAccessible: jsii.Bool(true), EnhancedVpcRouting: jsii.Bool(false), AllowVersionUpgrade: jsii.Bool(true),
		ClusterSubnetGroupName: subnets.Ref(), VpcSecurityGroupIds: anys([]*string{net.group.SecurityGroupId()}), ClusterParameterGroupName: parameters.Ref(),
		PreferredMaintenanceWindow: jsii.String("sun:03:00-sun:04:00"), AutomatedSnapshotRetentionPeriod: jsii.Number(s.SnapshotRetention.Hours() / 24),
		LoggingProperties: &awsredshift.CfnCluster_LoggingPropertiesProperty{
			LogDestinationType: jsii.String("cloudwatch"), LogExports: jsii.Strings("connectionlog", "userlog", "useractivitylog"),
		},
	}
	if s.Name != "" {
		props.ClusterIdentifier = jsii.String(s.Name)
	}
	if s.Nodes > 1 {
		props.ClusterType, props.NumberOfNodes = jsii.String("multi-node"), jsii.Number(s.Nodes)
	}
	if w.Key != nil {
		props.KmsKeyId, props.MasterPasswordSecretKmsKeyId = w.Key.KeyArn(), w.Key.KeyArn()
	}
	p := &warehouse{}
	p.Cluster = awsredshift.NewCfnCluster(d.construct, jsii.String("Cluster"), props)
	if policy := d.props.RemovalPolicy; policy == awscdk.RemovalPolicy_RETAIN {
		p.Cluster.ApplyRemovalPolicy(awscdk.RemovalPolicy_SNAPSHOT, nil) // the data stays, what costs doesn't
	} else {
		p.Cluster.ApplyRemovalPolicy(policy, nil)
	}
	net.first(p.Cluster)
	findings := []accept.Finding{
		accept.Because("Firehose reaches Redshift by a public address only; the security group admits Firehose's range and nothing else.",
			"AwsSolutions-RS8", "NIST.800.53.R5-RedshiftClusterPublicAccess", "CKV_AWS_87"),
		accept.Because("Firehose can't write to a Redshift with enhanced VPC routing, says its documentation.",
			"NIST.800.53.R5-RedshiftEnhancedVPCRoutingEnabled"),
		accept.Because("Its logs are in CloudWatch Logs, which the rule doesn't know yet.", "CKV_AWS_71"),
	}
	if s.Port == portOr(0) {
		findings = append(findings, accept.Because("The port is what every client knows, and only Firehose's range reaches it; another one is a setting.", "AwsSolutions-RS4"))
	}
	accept.On(p.Cluster, findings...)

	p.SecurityGroup, p.before = net.group, []awscdk.CfnResource{p.Cluster}
	p.cluster, p.arn = p.Cluster.Ref(), clusterArn(d, p.Cluster.Ref())
	p.address, p.port = p.Cluster.AttrEndpointAddress(), p.Cluster.AttrEndpointPort()
	p.admin, p.adminArn, p.adminKey = p.Cluster.AttrMasterPasswordSecretArn(), p.Cluster.AttrMasterPasswordSecretArn(), w.Key
	p.Warehouse = ExistingCluster{
		Name: *p.cluster, Address: *p.address, Port: s.Port, SecurityGroup: net.group,
		Admin: awssecretsmanager.Secret_FromSecretCompleteArn(d.construct, jsii.String("Admin"), p.admin),
	}
	return p
}

// uniqueName is of the construct's path and the stack's id: a namespace that was
// retained keeps its name.
func uniqueName(d *Delivery) *string {
	path := strings.ToLower(*awscdk.Names_UniqueResourceName(d.construct, &awscdk.UniqueResourceNameOptions{MaxLength: jsii.Number(50), Separator: jsii.String("-")}))
	id := awscdk.Fn_Select(jsii.Number(2), awscdk.Fn_Split(jsii.String("/"), awscdk.Stack_Of(d.construct).StackId(), nil))
	return jsii.String(path + "-" + *awscdk.Fn_Select(jsii.Number(0), awscdk.Fn_Split(jsii.String("-"), id, nil)))
}

func anys(texts []*string) *[]any {
	all := make([]any, len(texts))
	for i := range texts {
		all[i] = texts[i]
	}
	return &all
}

// firehoseRange is the range to admit. It panics with a [*spec.Invalid] where it
// isn't known: only the stack tells the region.
func (r Redshift) firehoseRange(d *Delivery) string {
	if r.FirehoseRange != "" {
		return r.FirehoseRange
	}
	region := *awscdk.Stack_Of(d.construct).Region()
	cidr, known := spec.FirehoseRange(region)
	if !known {
		c := spec.At("")
		if spec.IsToken(region) || *awscdk.Token_IsUnresolved(region) {
			c.Add("FirehoseRange", "unknown: the stack's region isn't set", "Firehose's addresses differ by region", "set Region in the Env of the stack's props, or FirehoseRange")
		} else {
			c.Add("FirehoseRange", "unknown for "+region, "AWS's documentation has it, but not yet this table", "copy it from there into FirehoseRange")
		}
		valid.Must(d.construct, c)
	}
	return cidr
}

// connected is a network of a warehouse that is defined here.
type connected struct {
	subnets []*string
	group   awsec2.SecurityGroup
	gateway []awscdk.CfnResource // without which nothing gets in or out
}

// first has resource wait for the way out.
func (n *connected) first(resource awscdk.CfnResource) {
	for _, g := range n.gateway {
		resource.AddResourceDependency(g, nil)
	}
}

func (n WarehouseNetwork) network(d *Delivery, r Redshift, port, subnets int) *connected {
	cidr := r.firehoseRange(d)
	net, vpc := &connected{}, n.VPC
	if valid.Missing(vpc) {
		vpc = net.define(d, subnets)
	} else {
		net.subnets = *vpc.SelectSubnets(n.selection()).SubnetIds
	}
	net.group = awsec2.NewSecurityGroup(d.construct, jsii.String("SecurityGroup"), &awsec2.SecurityGroupProps{
		Vpc: vpc, Description: jsii.String("Redshift, for Firehose"), AllowAllOutbound: jsii.Bool(true),
	})
	net.group.AddIngressRule(awsec2.Peer_Ipv4(jsii.String(cidr)), awsec2.Port_Tcp(jsii.Number(port)), jsii.String("Firehose"), nil)
	return net
}

// define makes a VPC of public subnets. It takes the zones that the region has first:
// the CDK's own VPC would look them up in an account.
func (n *connected) define(d *Delivery, subnets int) awsec2.IVpc {
	zones := subnets
	if *awscdk.Stack_Of(d.construct).Region() == "us-west-1" {
		zones = 2 // it shows no account more, and Redshift Serverless takes two of the three subnets in one there
	}
	c, name := d.construct, func(s string) *string { return jsii.String("Network" + s) }
	vpc := awsec2.NewCfnVPC(c, name(""), &awsec2.CfnVPCProps{
		CidrBlock: jsii.String("10.0.0.0/16"), EnableDnsSupport: jsii.Bool(true), EnableDnsHostnames: jsii.Bool(true),
	})
	accept.On(vpc, accept.Because("Nothing is in it but the warehouse, which logs its connections itself.",
		"AwsSolutions-VPC7", "NIST.800.53.R5-VPCFlowLogsEnabled"),
		accept.Because("Nothing uses its default security group; the warehouse has one of its own.",
			"NIST.800.53.R5-VPCDefaultSecurityGroupClosed"))
	gateway := awsec2.NewCfnInternetGateway(c, name("Gateway"), nil)
	attached := awsec2.NewCfnVPCGatewayAttachment(c, name("GatewayAttachment"), &awsec2.CfnVPCGatewayAttachmentProps{
		VpcId: vpc.Ref(), InternetGatewayId: gateway.Ref(),
	})
	routes := awsec2.NewCfnRouteTable(c, name("Routes"), &awsec2.CfnRouteTableProps{VpcId: vpc.Ref()})
	out := awsec2.NewCfnRoute(c, name("Route"), &awsec2.CfnRouteProps{
		RouteTableId: routes.Ref(), DestinationCidrBlock: jsii.String("0.0.0.0/0"), GatewayId: gateway.Ref(),
	})
	out.AddResourceDependency(attached, nil)
	accept.On(out, accept.Because("Firehose comes from its public addresses; the security group admits only those.",
		"NIST.800.53.R5-VPCNoUnrestrictedRouteToIGW"))
	n.gateway = []awscdk.CfnResource{out}
	var zoned []*string
	for i := range subnets {
		zone := awscdk.Fn_Select(jsii.Number(i%zones), awscdk.Fn_GetAzs(nil))
		zoned = append(zoned, zone)
		subnet := awsec2.NewCfnSubnet(c, name(fmt.Sprint("Subnet", i+1)), &awsec2.CfnSubnetProps{
			VpcId: vpc.Ref(), CidrBlock: jsii.String(fmt.Sprintf("10.0.%d.0/20", 16*i)),
			AvailabilityZone: zone,
		})
		n.gateway = append(n.gateway, awsec2.NewCfnSubnetRouteTableAssociation(c, name(fmt.Sprint("Subnet", i+1, "Routes")), &awsec2.CfnSubnetRouteTableAssociationProps{
			SubnetId: subnet.Ref(), RouteTableId: routes.Ref(),
		}))
		n.subnets = append(n.subnets, subnet.Ref())
	}
	return awsec2.Vpc_FromVpcAttributes(c, name("Defined"), &awsec2.VpcAttributes{
		VpcId: vpc.Ref(), AvailabilityZones: &zoned,
	})
}
