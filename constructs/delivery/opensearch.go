package delivery

import (
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchserverless"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchservice"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/accept"
	"github.com/millrace/millrace/constructs/internal/role"
	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/watch"
)

// OpenSearch delivers to indexes of a domain of OpenSearch Service. Domain and
// Index are required.
type OpenSearch struct {
	// OpenSearchDelivery are the settings.
	spec.OpenSearchDelivery
	// Domain to deliver to, of the same account and region. Where it has fine-grained
	// access control, the delivery's Role has to be mapped in it to a role that may
	// write the index, which CloudFormation can't do.
	Domain awsopensearchservice.IDomain
	// Network of a domain in a VPC; none by default.
	Network
	// Failed is where documents are written that OpenSearch refused to the end, or
	// all records (BackupAll); by default a new bucket.
	Failed S3
}

var _ Destination = OpenSearch{}

func (o OpenSearch) validate(props Props, c *spec.Check) {
	c.Merge(o.OpenSearchDelivery.Validate(""))
	if valid.Missing(o.Domain) {
		c.Add("Domain", nil, "documents go to a domain that there is: it costs by the hour and outlives a delivery",
			"set it to an awsopensearchservice.Domain")
	} else if cfn, ok := o.Domain.Node().DefaultChild().(awsopensearchservice.CfnDomain); ok && cfn.VpcOptions() != nil && o.VPC == nil {
		c.Add("VPC", nil, "the domain is in a VPC, where Firehose reaches it through network interfaces only", "set it to the domain's VPC")
	}
	o.check(c)
	o.Failed.checkFailed(c, props, o.BackupAll)
	noLogs(props, c)
}

// noLogs notes records that OpenSearch can't take.
func noLogs(props Props, c *spec.Check) {
	if props.CloudWatchLogs != nil {
		c.Add("CloudWatchLogs", "set", "a record of CloudWatch Logs holds several events, and OpenSearch takes one document from a record",
			"let CloudWatch Logs subscribe to OpenSearch itself")
	}
}

func (o OpenSearch) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(o.Failed)
	settings := o.WithDefaults()
	arn := *o.Domain.DomainArn()
	below := func(paths ...string) []*string {
		all := make([]*string, len(paths))
		for i, path := range paths {
			all[i] = jsii.String(arn + "/" + path)
		}
		return all
	}
	// https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-es
	d.allow([]*string{o.Domain.DomainArn()}, "es:DescribeDomain", "es:DescribeDomainConfig", "es:DescribeDomains")
	d.allow(below("*"), "es:ESHttpPost", "es:ESHttpPut")
	d.allow(below("_all/_settings", "_cluster/stats", settings.Index+"*/_mapping*", "_nodes", "_nodes/stats", "_nodes/*/stats", "_stats", settings.Index+"*/_stats"), "es:ESHttpGet")
	role.Also(d.role, accept.Finding{
		Reason:    "The names of nodes and rotated indexes aren't known beforehand; Firehose reads their statistics, settings and mappings, of one domain.",
		IDs:       []string{"AwsSolutions-IAM5"},
		AppliesTo: []string{`/^Resource::.*\/(_nodes\/\*\/stats|[^\/]*\*\/_(mapping\*|stats))$/`},
	})
	props.AmazonopensearchserviceDestinationConfiguration = &awskinesisfirehose.CfnDeliveryStream_AmazonopensearchserviceDestinationConfigurationProperty{
		RoleArn:             d.role.RoleArn(),
		DomainArn:           o.Domain.DomainArn(),
		IndexName:           jsii.String(settings.Index),
		IndexRotationPeriod: jsii.String(string(settings.Rotation)),
		DocumentIdOptions: &awskinesisfirehose.CfnDeliveryStream_DocumentIdOptionsProperty{
			DefaultDocumentIdFormat: jsii.String(string(settings.DocumentID)),
		},
		BufferingHints: &awskinesisfirehose.CfnDeliveryStream_AmazonopensearchserviceBufferingHintsProperty{
			SizeInMBs: jsii.Number(settings.BufferSize), IntervalInSeconds: jsii.Number(settings.BufferInterval.Seconds()),
		},
		RetryOptions: &awskinesisfirehose.CfnDeliveryStream_AmazonopensearchserviceRetryOptionsProperty{
			DurationInSeconds: jsii.Number(settings.Retry.Seconds()),
		},
		S3BackupMode:             backupMode(settings.BackupAll, "AllDocuments", "FailedDocumentsOnly"),
		S3Configuration:          d.failed(o.Failed),
		VpcConfiguration:         d.connect(o.Network),
		CloudWatchLoggingOptions: d.logging("OpenSearch"),
		ProcessingConfiguration:  d.processing(),
	}
}

func (o OpenSearch) signals(d *Delivery) []watch.Signal {
	s := o.WithDefaults()
	return openSearchSignals(d, "DeliveryToAmazonOpenSearchService", s.BufferInterval, o.Failed, s.BackupAll)
}

// Collection of OpenSearch Serverless, of this app ([CollectionOf]) or from
// elsewhere.
type Collection struct {
	// Name, ARN and endpoint (https://…) of the collection.
	Name, Arn, Endpoint *string
}

// CollectionOf is a collection that this app defines.
func CollectionOf(c awsopensearchserverless.CfnCollection) Collection {
	valid.Need("delivery.CollectionOf", "collection", c)
	return Collection{Name: c.Name(), Arn: c.AttrArn(), Endpoint: c.AttrCollectionEndpoint()}
}

// OpenSearchServerless delivers to an index of a collection of OpenSearch
// Serverless. Collection and Index are required. The data access policy that lets
// the delivery's role make the index and write to it is defined here.
type OpenSearchServerless struct {
	// OpenSearchServerlessDelivery are the settings.
	spec.OpenSearchServerlessDelivery
	// Collection to deliver to, of the same account and region; its network policy
	// has to let the delivery in.
	Collection Collection
	// Network of a collection that isn't public, with its VPC endpoint; none by
	// default.
	Network
	// Failed is where documents are written that OpenSearch refused to the end, or
	// all records (BackupAll); by default a new bucket.
	Failed S3
}

var _ Destination = OpenSearchServerless{}

func (o OpenSearchServerless) validate(props Props, c *spec.Check) {
	c.Merge(o.OpenSearchServerlessDelivery.Validate(""))
	for _, part := range []struct {
		field string
		value *string
	}{{"Name", o.Collection.Name}, {"Arn", o.Collection.Arn}, {"Endpoint", o.Collection.Endpoint}} {
		if part.value == nil || *part.value == "" {
			c.Add("Collection."+part.field, nil, "a collection is named by its name, its ARN and its endpoint", "pass delivery.CollectionOf(…), or give all three")
		}
	}
	if name := o.Collection.Name; name != nil && *name != "" {
		c.Pattern("Collection.Name", *name, spec.CollectionName)
	}
	if e := o.Collection.Endpoint; e != nil && *e != "" && !spec.IsToken(*e) && !strings.HasPrefix(*e, "https://") {
		c.Add("Collection.Endpoint", *e, "Firehose delivers to an address that begins with https://", "give it as OpenSearch Serverless shows it")
	}
	o.check(c)
	o.Failed.checkFailed(c, props, o.BackupAll)
	noLogs(props, c)
}

func (o OpenSearchServerless) attach(d *Delivery, props *awskinesisfirehose.CfnDeliveryStreamProps) {
	d.place(o.Failed)
	settings := o.WithDefaults()
	d.allow([]*string{o.Collection.Arn}, "aoss:APIAccessAll")
	d.before = append(d.before, o.access(d))
	props.AmazonOpenSearchServerlessDestinationConfiguration = &awskinesisfirehose.CfnDeliveryStream_AmazonOpenSearchServerlessDestinationConfigurationProperty{
		RoleArn:            d.role.RoleArn(),
		CollectionEndpoint: o.Collection.Endpoint,
		IndexName:          jsii.String(settings.Index),
		BufferingHints: &awskinesisfirehose.CfnDeliveryStream_AmazonOpenSearchServerlessBufferingHintsProperty{
			SizeInMBs: jsii.Number(settings.BufferSize), IntervalInSeconds: jsii.Number(settings.BufferInterval.Seconds()),
		},
		RetryOptions: &awskinesisfirehose.CfnDeliveryStream_AmazonOpenSearchServerlessRetryOptionsProperty{
			DurationInSeconds: jsii.Number(settings.Retry.Seconds()),
		},
		S3BackupMode:             backupMode(settings.BackupAll, "AllDocuments", "FailedDocumentsOnly"),
		S3Configuration:          d.failed(o.Failed),
		VpcConfiguration:         d.connect(o.Network),
		CloudWatchLoggingOptions: d.logging("OpenSearch"),
		ProcessingConfiguration:  d.processing(),
	}
}

// access is the collection's own admission of the delivery's role: the three
// permissions that Firehose's documentation names, for one index:
// https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-serverless
func (o OpenSearchServerless) access(d *Delivery) awscdk.CfnResource {
	policy := []any{map[string]any{
		"Rules": []any{map[string]any{
			"ResourceType": "index",
			"Resource":     []any{"index/" + *o.Collection.Name + "/" + o.Index},
			"Permission":   []any{"aoss:CreateIndex", "aoss:UpdateIndex", "aoss:WriteDocument"},
		}},
		"Principal": []any{*d.role.RoleArn()},
	}}
	name := awscdk.Names_UniqueResourceName(d.construct, &awscdk.UniqueResourceNameOptions{MaxLength: jsii.Number(32), Separator: jsii.String("-")})
	return awsopensearchserverless.NewCfnAccessPolicy(d.construct, jsii.String("Access"), &awsopensearchserverless.CfnAccessPolicyProps{
		Name:        jsii.String(strings.ToLower(*name)),
		Type:        jsii.String("data"),
		Description: jsii.String("Firehose makes the index and writes to it"),
		Policy:      awscdk.Stack_Of(d.construct).ToJsonString(policy, nil),
	})
}

func (o OpenSearchServerless) signals(d *Delivery) []watch.Signal {
	s := o.WithDefaults()
	return openSearchSignals(d, "DeliveryToAmazonOpenSearchServerless", s.BufferInterval, o.Failed, s.BackupAll)
}

func openSearchSignals(d *Delivery, metrics string, interval time.Duration, failed S3, all bool) []watch.Signal {
	signals := onPage("delivery-opensearch", d.delivered(metrics, "OpenSearch", interval,
		"Read the delivery's log and the failed documents, which have OpenSearch's own answers; check its health, its disk, and who may write to the index."))
	return append(signals, d.backedUp(failed, all)...)
}
