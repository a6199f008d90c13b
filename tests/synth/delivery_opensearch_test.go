package synth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchserverless"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsopensearchservice"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/delivery"
	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/stream"
	"github.com/millrace/millrace/constructs/watch"
)

func init() {
	fullest["delivery-opensearch"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Search", delivery.Props{
			Source: stream.New(stack, "Orders", stream.Props{Key: key}),
			To: delivery.OpenSearch{
				OpenSearchDelivery: spec.OpenSearchDelivery{
					Index: "orders", Rotation: spec.OneHour, DocumentID: spec.NoDocumentID, BufferSize: 10, BufferInterval: time.Minute,
					Retry: 10 * time.Minute, BackupAll: true,
				},
				Domain:  aDomain(stack),
				Network: delivery.Network{VPC: aVPC(stack)},
				Failed:  delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			},
			Transform: &delivery.Transform{Code: gofunc.Package(someCode)},
			LogKey:    key,
		})
	}
	fullest["delivery-opensearch-serverless"] = func(stack awscdk.Stack) {
		key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
		delivery.New(stack, "Search", delivery.Props{
			DirectPut: &delivery.DirectPut{Key: key},
			To: delivery.OpenSearchServerless{
				OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{
					Index: "orders", BufferSize: 10, BufferInterval: time.Minute, Retry: 10 * time.Minute, BackupAll: true,
				},
				Collection: aCollection,
				Network:    delivery.Network{VPC: aVPC(stack)},
				Failed:     delivery.S3{Key: key, AccessLogs: logsBucket(stack)},
			},
			LogKey: key,
		})
	}
}

const domainARN = "arn:aws:es:eu-west-1:111122223333:domain/orders"

func aDomain(stack awscdk.Stack) awsopensearchservice.IDomain {
	return awsopensearchservice.Domain_FromDomainAttributes(stack, jsii.String("Domain"), &awsopensearchservice.DomainAttributes{
		DomainArn: jsii.String(domainARN), DomainEndpoint: jsii.String("https://search-orders-abc.eu-west-1.es.amazonaws.com"),
	})
}

var aCollection = delivery.Collection{
	Name: jsii.String("orders"), Arn: jsii.String("arn:aws:aoss:eu-west-1:111122223333:collection/abc"), Endpoint: jsii.String("https://abc.eu-west-1.aoss.amazonaws.com"),
}

func aVPC(stack awscdk.Stack) awsec2.IVpc {
	return awsec2.Vpc_FromVpcAttributes(stack, jsii.String("Vpc"), &awsec2.VpcAttributes{
		VpcId: jsii.String("vpc-0123456789abcdef0"), AvailabilityZones: jsii.Strings("eu-west-1a", "eu-west-1b"), PrivateSubnetIds: jsii.Strings("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
		PrivateSubnetRouteTableIds: jsii.Strings("rtb-0123456789abcdef0", "rtb-0123456789abcdef1"),
	})
}

// anOpenSearch is a delivery of a stream to a domain, with some changes.
func anOpenSearch(stack awscdk.Stack, change func(*delivery.OpenSearch)) *delivery.Delivery {
	to := delivery.OpenSearch{Domain: aDomain(stack), OpenSearchDelivery: spec.OpenSearchDelivery{Index: "orders"}}
	if change != nil {
		change(&to)
	}
	return delivery.New(stack, "D", delivery.Props{Source: stream.New(stack, "S", stream.Props{}), To: to})
}

// destination is the only delivery stream's configuration of that name.
func destination(t *testing.T, template *snapshot.Template, name string) map[string]any {
	t.Helper()
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	configuration, ok := at(firehose.Properties, name).(map[string]any)
	if !ok {
		t.Fatalf("there is no %s: %v", name, firehose.Properties)
	}
	return configuration
}

// plain are the settings of a configuration that aren't blocks or references.
func plain(configuration map[string]any) map[string]any {
	all := map[string]any{}
	for name, value := range configuration {
		switch value.(type) {
		case string, float64, bool:
			all[name] = value
		}
	}
	return all
}

func TestAnOpenSearchDeliverysDefaultsAreWrittenOut(t *testing.T) {
	app, stack := newStack(t)
	anOpenSearch(stack, nil)
	template := synth(t, app, "Test")
	got := destination(t, template, "AmazonopensearchserviceDestinationConfiguration")
	if diff := cmp.Diff(map[string]any{"DomainARN": domainARN, "IndexName": "orders", "IndexRotationPeriod": "OneDay", "S3BackupMode": "FailedDocumentsOnly"}, plain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for path, want := range map[string]any{
		"BufferingHints.SizeInMBs": 5.0, "BufferingHints.IntervalInSeconds": 300.0, "RetryOptions.DurationInSeconds": 300.0,
		"DocumentIdOptions.DefaultDocumentIdFormat": "FIREHOSE_DEFAULT", "CloudWatchLoggingOptions.Enabled": true,
		"S3Configuration.ErrorOutputPrefix": "errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/", "S3Configuration.CompressionFormat": "GZIP",
	} {
		block, field, _ := strings.Cut(path, ".")
		if at(got, block, field) != want {
			t.Errorf("%s is %v, want %v", path, at(got, block, field), want)
		}
	}
	if got["VpcConfiguration"] != nil || got["TypeName"] != nil {
		t.Errorf("there is no VPC and no type: %v", got)
	}
	// What was defined is retained, and none of it is a domain.
	if len(template.OfType("AWS::OpenSearchService::Domain")) > 0 || len(template.OfType("AWS::S3::Bucket")) != 1 {
		t.Error("want one bucket and no domain")
	}
}

func TestEverySettingOfOpenSearchReachesFirehose(t *testing.T) {
	app, stack := newStack(t)
	fullest["delivery-opensearch"](stack)
	got := destination(t, synth(t, app, "Test"), "AmazonopensearchserviceDestinationConfiguration")
	if diff := cmp.Diff(map[string]any{"DomainARN": domainARN, "IndexName": "orders", "IndexRotationPeriod": "OneHour", "S3BackupMode": "AllDocuments"}, plain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for path, want := range map[string]any{
		"BufferingHints.SizeInMBs": 10.0, "BufferingHints.IntervalInSeconds": 60.0, "RetryOptions.DurationInSeconds": 600.0,
		"DocumentIdOptions.DefaultDocumentIdFormat": "NO_DOCUMENT_ID", "ProcessingConfiguration.Enabled": true,
	} {
		block, field, _ := strings.Cut(path, ".")
		if at(got, block, field) != want {
			t.Errorf("%s is %v, want %v", path, at(got, block, field), want)
		}
	}
	if diff := cmp.Diff([]any{"subnet-0123456789abcdef0", "subnet-0123456789abcdef1"}, at(got, "VpcConfiguration", "SubnetIds")); diff != "" {
		t.Errorf("subnets (-want +got):\n%s", diff)
	}
}

// statements are what the delivery's role may do: action by the resources it's on.
func statements(t *testing.T, template *snapshot.Template, role string) map[string][]string {
	t.Helper()
	allowed := map[string][]string{}
	for id, policy := range template.OfType("AWS::IAM::Policy") {
		if !strings.HasPrefix(id, role) {
			continue
		}
		for _, s := range list(at(policy.Properties, "PolicyDocument", "Statement")) {
			for _, action := range list(at(s, "Action")) {
				for _, resource := range list(at(s, "Resource")) {
					allowed[action.(string)] = append(allowed[action.(string)], joined(resource))
				}
			}
		}
	}
	return allowed
}

// joined is a resource as text, references by their ids in angle brackets.
func joined(resource any) string {
	switch v := resource.(type) {
	case string:
		return v
	case map[string]any:
		if parts, ok := v["Fn::Join"].([]any); ok {
			text := ""
			for _, p := range list(parts[1]) {
				text += joined(p)
			}
			return text
		}
		if ref, ok := v["Ref"].(string); ok {
			return "<" + ref + ">"
		}
		return "<" + refers(v) + ">"
	}
	return fmt.Sprint(resource)
}

// The list is Firehose's documentation's, word by word.
func TestFirehoseMayDoInADomainWhatItsDocumentationAsks(t *testing.T) {
	app, stack := newStack(t)
	anOpenSearch(stack, nil)
	allowed := statements(t, synth(t, app, "Test"), "DRole")
	const domain = domainARN
	want := map[string][]string{
		"es:DescribeDomain": {domain}, "es:DescribeDomains": {domain}, "es:DescribeDomainConfig": {domain},
		"es:ESHttpPost": {domain + "/*"}, "es:ESHttpPut": {domain + "/*"},
		"es:ESHttpGet": {
			domain + "/_all/_settings", domain + "/_cluster/stats", domain + "/orders*/_mapping*", domain + "/_nodes", domain + "/_nodes/stats",
			domain + "/_nodes/*/stats", domain + "/_stats", domain + "/orders*/_stats",
		},
	}
	for action, resources := range allowed {
		if !strings.HasPrefix(action, "es:") {
			if strings.HasPrefix(action, "ec2:") {
				t.Errorf("%s, without a VPC", action)
			}
			continue
		}
		slices.Sort(resources)
		slices.Sort(want[action])
		if diff := cmp.Diff(want[action], resources); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
		delete(want, action)
	}
	for action := range want {
		t.Errorf("%s is missing", action)
	}
}

func TestADeliveryIntoAVPCMakesItsInterfacesThereOnly(t *testing.T) {
	app, stack := newStack(t)
	group := awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("Group"), jsii.String("sg-0123456789abcdef0"), nil)
	d := anOpenSearch(stack, func(o *delivery.OpenSearch) {
		o.VPC, o.SecurityGroups = aVPC(stack), []awsec2.ISecurityGroup{group}
		o.Subnets = &awsec2.SubnetSelection{AvailabilityZones: jsii.Strings("eu-west-1b")}
	})
	if n := len(*d.Connections().SecurityGroups()); n != 1 {
		t.Errorf("%d groups", n)
	}
	template := synth(t, app, "Test")
	if len(template.OfType("AWS::EC2::SecurityGroup")) > 0 {
		t.Error("a group was given, another defined")
	}
	got := at(destination(t, template, "AmazonopensearchserviceDestinationConfiguration"), "VpcConfiguration")
	if diff := cmp.Diff([]any{"subnet-0123456789abcdef1"}, at(got, "SubnetIds")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{"sg-0123456789abcdef0"}, at(got, "SecurityGroupIds")); diff != "" {
		t.Error(diff)
	}
	allowed := statements(t, template, "DRole")
	const ec2, interfaces = "arn:<AWS::Partition>:ec2:<AWS::Region>:*:", "arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:network-interface/*"
	for action, want := range map[string][]string{
		"ec2:CreateNetworkInterface":           {interfaces, ec2 + "subnet/subnet-0123456789abcdef1", ec2 + "security-group/sg-0123456789abcdef0"},
		"ec2:CreateNetworkInterfacePermission": {interfaces}, "ec2:DeleteNetworkInterface": {interfaces},
		"ec2:DescribeNetworkInterfaces": {"*"}, "ec2:DescribeSecurityGroups": {"*"}, "ec2:DescribeSubnets": {"*"},
		"ec2:DescribeVpcAttribute": {ec2 + "vpc/vpc-0123456789abcdef0"}, "ec2:DescribeVpcs": {"*"},
	} {
		slices.Sort(want)
		slices.Sort(allowed[action])
		if diff := cmp.Diff(want, allowed[action]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
}

// Without one of its own, the delivery's group lets out what it needs and nothing in.
func TestTheGroupOfADeliveryLetsHTTPSOut(t *testing.T) {
	app, stack := newStack(t)
	vpc := aVPC(stack)
	domain := awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("Theirs"), jsii.String("sg-0123456789abcdef0"), nil)
	d := anOpenSearch(stack, func(o *delivery.OpenSearch) { o.VPC = vpc })
	domain.Connections().AllowFrom(d.Connections(), awsec2.Port_HTTPS(), nil)
	template := synth(t, app, "Test")
	id, group := template.Only(t, "AWS::EC2::SecurityGroup")
	if rules := list(at(group.Properties, "SecurityGroupEgress")); len(rules) != 1 || at(rules[0], "ToPort") != 443.0 || group.Properties["SecurityGroupIngress"] != nil {
		t.Errorf("%v", group.Properties)
	}
	_, ingress := template.Only(t, "AWS::EC2::SecurityGroupIngress")
	if refers(at(ingress.Properties, "SourceSecurityGroupId")) != id || at(ingress.Properties, "GroupId") != "sg-0123456789abcdef0" {
		t.Errorf("the domain isn't opened: %v", ingress.Properties)
	}
	if anOpenSearch(awscdk.NewStack(app, jsii.String("Public"), nil), nil).Connections() != nil {
		t.Error("a delivery without a VPC has connections")
	}
}

// The first delivery comes after the policy that admits it.
func TestACollectionAdmitsTheDeliveryBeforeItIsMade(t *testing.T) {
	app, stack := newStack(t)
	collection := awsopensearchserverless.NewCfnCollection(stack, jsii.String("Collection"), &awsopensearchserverless.CfnCollectionProps{Name: jsii.String("orders")})
	delivery.New(stack, "D", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.OpenSearchServerless{
		Collection: delivery.CollectionOf(collection), OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "races"},
	}})
	template := synth(t, app, "Test")
	id, policy := template.Only(t, "AWS::OpenSearchServerless::AccessPolicy")
	_, firehose := template.Only(t, "AWS::KinesisFirehose::DeliveryStream")
	if !slices.Contains(firehose.DependsOn, id) {
		t.Errorf("the delivery stream depends on %v, not on %s", firehose.DependsOn, id)
	}
	name, _ := at(policy.Properties, "Name").(string)
	if len(name) < 3 || len(name) > 32 || name != strings.ToLower(name) || at(policy.Properties, "Type") != "data" {
		t.Errorf("%v", policy.Properties)
	}
	var document []struct {
		Rules []struct {
			ResourceType         string
			Resource, Permission []string
		}
		Principal []string
	}
	if err := json.Unmarshal([]byte(joined(at(policy.Properties, "Policy"))), &document); err != nil || len(document) != 1 || len(document[0].Rules) != 1 {
		t.Fatalf("%v: %v", err, joined(at(policy.Properties, "Policy")))
	}
	rule := document[0].Rules[0]
	if rule.ResourceType != "index" || !slices.Equal(rule.Resource, []string{"index/orders/races"}) || !slices.Equal(rule.Permission, []string{"aoss:CreateIndex", "aoss:UpdateIndex", "aoss:WriteDocument"}) {
		t.Errorf("%+v", rule)
	}
	if p := document[0].Principal; len(p) != 1 || !strings.HasPrefix(p[0], "<DRole") {
		t.Errorf("it admits %v", p)
	}
	collectionID, _ := template.Only(t, "AWS::OpenSearchServerless::Collection")
	if got := statements(t, template, "DRole")["aoss:APIAccessAll"]; !slices.Equal(got, []string{"<" + collectionID + ">"}) {
		t.Errorf("aoss:APIAccessAll on %v", got)
	}
	got := destination(t, template, "AmazonOpenSearchServerlessDestinationConfiguration")
	if diff := cmp.Diff(map[string]any{"IndexName": "races", "S3BackupMode": "FailedDocumentsOnly"}, plain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if refers(got["CollectionEndpoint"]) != collectionID {
		t.Errorf("endpoint %v", got["CollectionEndpoint"])
	}
}

// signal is a delivery's by its name.
func signal(t *testing.T, d *delivery.Delivery, name string) watch.Signal {
	t.Helper()
	for _, s := range d.Signals() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no signal %s", name)
	return watch.Signal{}
}

func names(signals []watch.Signal) string {
	var all []string
	for _, s := range signals {
		all = append(all, s.Name)
	}
	return strings.Join(all, " ")
}

// worst is what a signal looks at by the worse of two metrics.
func worst(s watch.Signal) string {
	function, _, _ := strings.Cut(s.Metric.Expression, "(")
	for _, m := range s.Metric.Using {
		function += " " + m.Name
	}
	return function
}

func TestASearchTellsHowItIs(t *testing.T) {
	_, stack := newStack(t)
	d := anOpenSearch(stack, func(o *delivery.OpenSearch) { o.BufferInterval = 100 * time.Second })
	if got := names(d.Signals()); got != "SourceAgeWarning SourceAgeCritical SourceThrottled Freshness Success BackupSuccess" {
		t.Errorf("signals %s", got)
	}
	if s := signal(t, d, "Freshness"); s.Metric.Name != "DeliveryToAmazonOpenSearchService.DataFreshness" || s.Threshold != 300 || s.Runbook != "delivery-opensearch" {
		t.Errorf("%+v", s)
	}
	if s := signal(t, d, "BackupSuccess"); worst(s) != "MIN DeliveryToS3.Success BackupToS3.Success" || !s.Below {
		t.Errorf("%+v", s)
	}
	all := delivery.New(stack, "All", delivery.Props{DirectPut: &delivery.DirectPut{}, To: delivery.OpenSearchServerless{
		Collection: aCollection, OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "i", BackupAll: true},
		Failed: delivery.S3{S3Delivery: spec.S3Delivery{BufferInterval: 200 * time.Second}},
	}})
	if got := names(all.Signals()); got != "Quota PutThrottled Freshness Success BackupSuccess BackupFreshness" {
		t.Errorf("signals %s", got)
	}
	if s := signal(t, all, "BackupFreshness"); worst(s) != "MAX DeliveryToS3.DataFreshness BackupToS3.DataFreshness" || s.Threshold != 600 {
		t.Errorf("%+v", s)
	}
	if s := signal(t, all, "Success"); s.Metric.Name != "DeliveryToAmazonOpenSearchServerless.Success" {
		t.Errorf("%+v", s)
	}
	if s := signal(t, all, "Quota"); len(s.Metric.Using) != 6 || s.Threshold != 75 {
		t.Errorf("%+v", s)
	}
	// And they are alarms that can fire.
	watch.New(stack, "Watch", watch.Props{Signals: watch.All(d, all)})
}

func TestOpenSearchSettingsThatCantHoldAreRefused(t *testing.T) {
	set := func(s spec.OpenSearchDelivery) func(*delivery.OpenSearch, awscdk.Stack) {
		return func(o *delivery.OpenSearch, _ awscdk.Stack) {
			if s.Index == "" {
				s.Index = "orders"
			}
			o.OpenSearchDelivery = s
		}
	}
	for name, c := range map[string]struct {
		change func(*delivery.OpenSearch, awscdk.Stack)
		fields string
	}{
		"no domain and no index":        {func(o *delivery.OpenSearch, _ awscdk.Stack) { *o = delivery.OpenSearch{} }, "Index Domain"},
		"an index in capitals":          {set(spec.OpenSearchDelivery{Index: "Orders"}), "Index"},
		"an index with a slash":         {set(spec.OpenSearchDelivery{Index: "a/b"}), "Index"},
		"an index with a wildcard":      {set(spec.OpenSearchDelivery{Index: "a*"}), "Index"},
		"an index beginning with a bar": {set(spec.OpenSearchDelivery{Index: "_a"}), "Index"},
		"an index that is too long":     {set(spec.OpenSearchDelivery{Index: strings.Repeat("a", 81)}), "Index"},
		"an unknown rotation":           {set(spec.OpenSearchDelivery{Rotation: "OneYear"}), "Rotation"},
		"unknown document ids":          {set(spec.OpenSearchDelivery{DocumentID: "UUID"}), "DocumentID"},
		"a buffer that is too big":      {set(spec.OpenSearchDelivery{BufferSize: 101}), "BufferSize"},
		"a buffer of nothing":           {set(spec.OpenSearchDelivery{BufferSize: spec.Zero}), "BufferSize"},
		"an interval that is too long":  {set(spec.OpenSearchDelivery{BufferInterval: 901 * time.Second}), "BufferInterval"},
		"an interval of half a second":  {set(spec.OpenSearchDelivery{BufferInterval: 500 * time.Millisecond}), "BufferInterval"},
		"a retry that is too long":      {set(spec.OpenSearchDelivery{Retry: 3 * time.Hour}), "Retry"},
		"a retry below nothing":         {set(spec.OpenSearchDelivery{Retry: -time.Second}), "Retry"},
		"a group without a VPC":         {func(o *delivery.OpenSearch, _ awscdk.Stack) { o.SecurityGroups = []awsec2.ISecurityGroup{nil} }, "SecurityGroups"},
		"subnets without a VPC":         {func(o *delivery.OpenSearch, _ awscdk.Stack) { o.Subnets = &awsec2.SubnetSelection{} }, "Subnets"},
		"no group among the groups": {func(o *delivery.OpenSearch, s awscdk.Stack) {
			o.VPC, o.SecurityGroups = aVPC(s), []awsec2.ISecurityGroup{nil}
		}, "SecurityGroups[0]"},
		"six groups": {func(o *delivery.OpenSearch, s awscdk.Stack) {
			o.VPC = aVPC(s)
			for i := range 6 {
				o.SecurityGroups = append(o.SecurityGroups, awsec2.SecurityGroup_FromSecurityGroupId(s, jsii.Sprintf("G%d", i), jsii.Sprintf("sg-%d", i), nil))
			}
		}, "SecurityGroups"},
		"a domain in a VPC without the VPC": {func(o *delivery.OpenSearch, s awscdk.Stack) {
			o.Domain = awsopensearchservice.NewDomain(s, jsii.String("Inside"), &awsopensearchservice.DomainProps{
				Version: awsopensearchservice.EngineVersion_OPENSEARCH_2_19(), Vpc: aVPC(s), Capacity: &awsopensearchservice.CapacityConfig{DataNodes: jsii.Number(2)},
				ZoneAwareness: &awsopensearchservice.ZoneAwarenessConfig{Enabled: jsii.Bool(true)},
			})
		}, "VPC"},
		"subnets that the VPC lacks": {func(o *delivery.OpenSearch, s awscdk.Stack) {
			o.VPC, o.Subnets = aVPC(s), &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PUBLIC}
		}, "Subnets"},
		"the bucket's own settings": {func(o *delivery.OpenSearch, _ awscdk.Stack) {
			o.Failed.BufferSize, o.Failed.Compression = 200, "LZMA"
		}, "Failed.BufferSize Failed.Compression"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/D", c.fields, func() { anOpenSearch(stack, func(o *delivery.OpenSearch) { c.change(o, stack) }) })
		})
	}
	for name, c := range map[string]struct {
		to     delivery.OpenSearchServerless
		fields string
	}{
		"nothing":                   {delivery.OpenSearchServerless{}, "Index Collection.Name Collection.Arn Collection.Endpoint"},
		"an endpoint without https": {delivery.OpenSearchServerless{Collection: delivery.Collection{Name: aCollection.Name, Arn: aCollection.Arn, Endpoint: jsii.String("abc.aoss")}, OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "i"}}, "Collection.Endpoint"},
		"every collection":          {delivery.OpenSearchServerless{Collection: delivery.Collection{Name: jsii.String("*"), Arn: aCollection.Arn, Endpoint: aCollection.Endpoint}, OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "i"}}, "Collection.Name"},
		"a buffer that is too big":  {delivery.OpenSearchServerless{Collection: aCollection, OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "i", BufferSize: 101, Retry: 8000 * time.Second}}, "BufferSize Retry"},
		"a bucket's setting":        {delivery.OpenSearchServerless{Collection: aCollection, OpenSearchServerlessDelivery: spec.OpenSearchServerlessDelivery{Index: "i"}, Failed: delivery.S3{S3Delivery: spec.S3Delivery{ErrorPrefix: "e/"}}}, "Failed.ErrorPrefix"},
	} {
		t.Run("serverless: "+name, func(t *testing.T) {
			_, stack := newStack(t)
			refused(t, "Test/D", c.fields, func() { delivery.New(stack, "D", delivery.Props{DirectPut: &delivery.DirectPut{}, To: c.to}) })
		})
	}
	defer func() {
		if recover() == nil {
			t.Error("no collection is taken")
		}
	}()
	delivery.CollectionOf(nil)
}
