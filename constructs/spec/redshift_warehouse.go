package spec

import (
	"regexp"
	"slices"
	"time"
)

// RedshiftWorkgroup are the settings of a new Redshift Serverless workgroup and its
// namespace.
type RedshiftWorkgroup struct {
	// Name of both, 3 to 63 lower-case letters, digits and hyphens, no hyphen at an end; by default one is
	// made of the construct's path and the stack's id, so that a namespace which a
	// deleted stack has left behind is in nobody's way.
	Name string
	// BaseCapacity in Redshift processing units: 4 (in some regions), or a multiple of
	// 8 up to 512 and of 32 up to 1,024; 8 by default. What runs is billed by the second,
	// each COPY for a minute at least: longer Intermediate.BufferInterval, lower bill.
	BaseCapacity int
	// MaxCapacity that it may grow to, BaseCapacity to 5,632; unlimited by default.
	MaxCapacity int
	// Port, 5,431 to 5,455 or 8,191 to 8,215; 5,439 by default.
	Port int
}

// RedshiftCluster are the settings of a new provisioned Redshift cluster.
type RedshiftCluster struct {
	// Name of the cluster, 1 to 63 lower-case letters, digits and hyphens; by default
	// CloudFormation makes one.
	Name string
	// NodeType; "ra3.large" by default.
	NodeType string
	// Nodes, 1 to 128; 1 by default, a cluster without a leader of its own. The types
	// ra3.4xlarge, ra3.16xlarge and dc2.8xlarge have 2 at least.
	Nodes int
	// Port, 5,431 to 5,455 or 8,191 to 8,215; 5,439 by default.
	Port int
	// SnapshotRetention is how long Redshift keeps the snapshots that it makes by
	// itself, 1 to 35 days; 7 by default.
	SnapshotRetention time.Duration
}

// WithDefaults returns w with its defaults written out.
func (w RedshiftWorkgroup) WithDefaults() RedshiftWorkgroup {
	w.BaseCapacity = or(w.BaseCapacity, 8)
	w.MaxCapacity = or(w.MaxCapacity, Forever)
	w.Port = or(w.Port, redshiftPort)
	return w
}

// WithDefaults returns c with its defaults written out.
func (c RedshiftCluster) WithDefaults() RedshiftCluster {
	c.NodeType = orText(c.NodeType, "ra3.large")
	c.Nodes = or(c.Nodes, 1)
	c.Port = or(c.Port, redshiftPort)
	c.SnapshotRetention = or(c.SnapshotRetention, 7*24*time.Hour)
	return c
}

const redshiftPort = 5_439

var (
	clusterNodeType  = regexp.MustCompile(`^[a-z][a-z0-9]*\.[a-z0-9]+$`)
	clusterNodeTypes = []string{"ra3.4xlarge", "ra3.16xlarge", "dc2.8xlarge"} // of two nodes at least
)

// Redshift's rules for names. A workgroup's address begins with its name, and Firehose
// takes a host's labels only.
var (
	WorkgroupName = Pattern{regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`), "a workgroup's name is 3 to 63 lower-case letters, digits and hyphens, with no hyphen at its ends"}
	ClusterName   = Pattern{regexp.MustCompile(`^[a-z]([a-z0-9]|-[a-z0-9]){0,62}$`), "a cluster's name is 1 to 63 lower-case letters, digits and single hyphens, and begins with a letter"}
)

// Validate returns every problem of w as an [*Invalid], with path before each.
func (w RedshiftWorkgroup) Validate(path string) error {
	c, d := At(path), w.WithDefaults()
	if d.Name != "" {
		c.Pattern("Name", d.Name, WorkgroupName)
	}
	within(c, "BaseCapacity", d.BaseCapacity, RedshiftBaseCapacity)
	step := 8
	if d.BaseCapacity > 512 {
		step = 32
	}
	if d.BaseCapacity > RedshiftBaseCapacity.Min && d.BaseCapacity%step != 0 {
		c.Add("BaseCapacity", d.BaseCapacity, "it grows in steps of 8 units up to 512, then of 32", "round it up")
	}
	if d.MaxCapacity != Forever {
		within(c, "MaxCapacity", d.MaxCapacity, RedshiftMaxCapacity)
		if d.MaxCapacity < d.BaseCapacity && d.MaxCapacity >= RedshiftMaxCapacity.Min {
			c.Add("MaxCapacity", d.MaxCapacity, "it is at least BaseCapacity", "raise it, or leave it out")
		}
	}
	checkRedshiftPort(c, d.Port)
	return c.Err()
}

// Validate returns every problem of r as an [*Invalid], with path before each.
func (r RedshiftCluster) Validate(path string) error {
	c, d := At(path), r.WithDefaults()
	if d.Name != "" {
		c.Pattern("Name", d.Name, ClusterName)
	}
	if !IsToken(d.NodeType) && !clusterNodeType.MatchString(d.NodeType) {
		c.Add("NodeType", d.NodeType, "a node type is a family and a size", "write it like ra3.large")
	}
	within(c, "Nodes", d.Nodes, RedshiftNodes)
	if d.Nodes == 1 && slices.Contains(clusterNodeTypes, d.NodeType) {
		c.Add("Nodes", d.Nodes, "a cluster of "+d.NodeType+" has two nodes at least", "set it to 2 or more, or use ra3.large or ra3.xlplus")
	}
	checkRedshiftPort(c, d.Port)
	within(c, "SnapshotRetention", d.SnapshotRetention, RedshiftSnapshotRetention)
	if d.SnapshotRetention%(24*time.Hour) != 0 {
		c.Add("SnapshotRetention", d.SnapshotRetention, "Redshift counts whole days", "use a multiple of 24 h")
	}
	return c.Err()
}

func checkRedshiftPort(c *Check, port int) {
	if (port < 5_431 || port > 5_455) && (port < 8_191 || port > 8_215) {
		c.Add("Port", port, "Redshift listens on ports 5431 to 5455 and 8191 to 8215", "use one of them, or leave it out for 5439")
	}
}

// FirehoseRange is the range of addresses that Firehose connects to Redshift from in
// a region, as in
// https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-rs-vpc
func FirehoseRange(region string) (cidr string, known bool) {
	cidr, known = firehoseRanges[region]
	return cidr, known
}

var firehoseRanges = map[string]string{
	"af-south-1":     "13.244.121.224/27",
	"ap-east-1":      "18.162.221.32/27",
	"ap-east-2":      "43.212.53.160/27",
	"ap-northeast-1": "13.113.196.224/27",
	"ap-northeast-2": "13.209.1.64/27",
	"ap-northeast-3": "13.208.177.192/27",
	"ap-south-1":     "13.232.67.32/27",
	"ap-south-2":     "18.60.192.128/27",
	"ap-southeast-1": "13.228.64.192/27",
	"ap-southeast-2": "13.210.67.224/27",
	"ap-southeast-3": "108.136.221.64/27",
	"ap-southeast-4": "16.50.161.128/27",
	"ap-southeast-5": "43.216.58.0/27",
	"ap-southeast-7": "43.208.112.96/27",
	"ca-central-1":   "35.183.92.128/27",
	"ca-west-1":      "40.176.98.192/27",
	"cn-north-1":     "52.81.151.32/27",
	"cn-northwest-1": "161.189.23.64/27",
	"eu-central-1":   "35.158.127.160/27",
	"eu-central-2":   "16.62.183.32/27",
	"eu-north-1":     "13.53.63.224/27",
	"eu-south-1":     "15.161.135.128/27",
	"eu-south-2":     "18.100.71.96/27",
	"eu-west-1":      "52.19.239.192/27",
	"eu-west-2":      "18.130.1.96/27",
	"eu-west-3":      "35.180.1.96/27",
	"il-central-1":   "51.16.102.0/27",
	"me-central-1":   "3.28.159.32/27",
	"me-south-1":     "15.185.91.0/27",
	"mx-central-1":   "78.12.207.32/27",
	"sa-east-1":      "18.228.1.128/27",
	"us-east-1":      "52.70.63.192/27",
	"us-east-2":      "13.58.135.96/27",
	"us-gov-east-1":  "18.253.138.96/27",
	"us-gov-west-1":  "52.61.204.160/27",
	"us-west-1":      "13.57.135.192/27",
	"us-west-2":      "52.89.255.224/27",
}
