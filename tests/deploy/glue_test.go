package deploy

import (
	"errors"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/firehose"
)

// The delivery streams of the local machine read a table's columns where the stack
// has put them.
func TestTheCatalogTellsTheColumnsOfADeployedTable(t *testing.T) {
	template := synthesized(t, rows["s3-parquet"])
	machine, err := local.StartEmulator(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	config := local.Config(machine.Endpoint)
	client := cloudformation.NewFromConfig(config)
	name := aws.String("table")
	if _, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{
		StackName: name, TemplateBody: aws.String(template), Capabilities: []cfn.Capability{cfn.CapabilityCapabilityIam},
	}); err != nil {
		t.Fatal(err)
	}
	if err := (emulator{cfn: client}).settled(t.Context(), *name, cfn.StackStatusCreateComplete); err != nil {
		t.Fatal(err)
	}
	resources, err := client.DescribeStackResources(t.Context(), &cloudformation.DescribeStackResourcesInput{StackName: name})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, r := range resources.StackResources {
		ids[*r.ResourceType] = *r.PhysicalResourceId
	}
	catalog := firehose.GlueCatalog(config)
	table := firehose.Table{Database: ids["AWS::Glue::Database"], Name: ids["AWS::Glue::Table"]}
	columns, err := catalog.Columns(t.Context(), table)
	if want := []firehose.Column{{Name: "car", Type: "int"}, {Name: "driver", Type: "string"}}; err != nil || !slices.Equal(columns, want) {
		t.Errorf("%+v: %v, %v", table, columns, err)
	}
	table.Name = "other"
	if _, err := catalog.Columns(t.Context(), table); !errors.Is(err, firehose.ErrNoTable) {
		t.Errorf("a table that isn't there: %v", err)
	}
}
