package synth

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsefs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/spec"
)

// Each case names the fields that must be refused; nothing else may be.
func TestAFunctionRefusesBadSettings(t *testing.T) {
	app := newApp(t, false)
	stack := awscdk.NewStack(app, jsii.String("Test"), nil)
	good := gofunc.Package(someCode)
	function := func(f spec.Function) gofunc.Props { return gofunc.Props{Function: f, Code: good} }
	code := func(c gofunc.Code) gofunc.Props { return gofunc.Props{Code: c} }
	variables := func(name, value string) gofunc.Props {
		return gofunc.Props{Code: good, Environment: map[string]*string{name: jsii.String(value)}}
	}
	with := func(change func(*gofunc.Props)) gofunc.Props {
		p := gofunc.Props{Code: good}
		change(&p)
		return p
	}
	// Files that Lambda couldn't run.
	dir := t.TempDir()
	file := func(name string, mode os.FileMode, data []byte) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	arm := elfHeader(elf.EM_AARCH64, elf.ELFOSABI_NONE, elf.ET_EXEC)
	prebuilt := func(path string) gofunc.Props { return code(gofunc.Prebuilt(path)) }
	large, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(large.Truncate(251<<20), large.Close()); err != nil { // sparse
		t.Fatal(err)
	}
	token := *awscdk.Fn_ImportValue(jsii.String("elsewhere"))

	vpc := awsec2.NewVpc(stack, jsii.String("Vpc"), &awsec2.VpcProps{MaxAzs: jsii.Number(2), NatGateways: jsii.Number(1)})
	group := awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("Group"), jsii.String("sg-1"), nil)
	layer := awslambda.LayerVersion_FromLayerVersionArn(stack, jsii.String("Layer"), jsii.String("arn:aws:lambda:us-east-1:123456789012:layer:l:1"))
	python := awslambda.LayerVersion_FromLayerVersionAttributes(stack, jsii.String("Python"), &awslambda.LayerVersionAttributes{
		LayerVersionArn:    jsii.String("arn:aws:lambda:us-east-1:123456789012:layer:p:1"),
		CompatibleRuntimes: &[]awslambda.Runtime{awslambda.Runtime_PYTHON_3_13()},
	})
	files := awslambda.FileSystem_FromEfsAccessPoint(awsefs.AccessPoint_FromAccessPointAttributes(stack, jsii.String("Files"), &awsefs.AccessPointAttributes{
		AccessPointId: jsii.String("fsap-1"),
		FileSystem: awsefs.FileSystem_FromFileSystemAttributes(stack, jsii.String("FileSystem"), &awsefs.FileSystemAttributes{
			FileSystemId: jsii.String("fs-1"), SecurityGroup: group,
		}),
	}), jsii.String("/home"))
	logs := awslogs.NewLogGroup(stack, jsii.String("Logs"), nil)
	key := awskms.NewKey(stack, jsii.String("Key"), nil)

	cases := map[string]struct {
		props  gofunc.Props
		fields string
	}{
		"a name with a blank":                    {function(spec.Function{Name: "my function"}), "Name"},
		"a name of 65 letters":                   {function(spec.Function{Name: strings.Repeat("x", 65)}), "Name"},
		"a description of 257 letters":           {function(spec.Function{Description: strings.Repeat("ä", 257)}), "Description"},
		"an unknown processor":                   {function(spec.Function{Architecture: "riscv"}), "Architecture"},
		"memory of a token":                      {function(spec.Function{Memory: int(*awscdk.Token_AsNumber(token))}), "Memory"},
		"too little memory":                      {function(spec.Function{Memory: 127}), "Memory"},
		"too little storage":                     {function(spec.Function{EphemeralStorage: 511}), "EphemeralStorage"},
		"too much storage":                       {function(spec.Function{EphemeralStorage: 10_241}), "EphemeralStorage"},
		"no time at all":                         {function(spec.Function{Timeout: spec.Zero}), "Timeout"},
		"a timeout of a part of a second":        {function(spec.Function{Timeout: 1500 * time.Millisecond}), "Timeout"},
		"a negative concurrency":                 {function(spec.Function{ReservedConcurrency: -2}), "ReservedConcurrency"},
		"unknown tracing":                        {function(spec.Function{Tracing: "Always"}), "Tracing"},
		"an unknown log format":                  {function(spec.Function{LogFormat: "XML"}), "LogFormat"},
		"an unknown level":                       {function(spec.Function{ApplicationLogLevel: "LOUD"}), "ApplicationLogLevel"},
		"a level that Lambda's own log lacks":    {function(spec.Function{SystemLogLevel: spec.LevelError}), "SystemLogLevel"},
		"levels in a text log":                   {function(spec.Function{LogFormat: spec.TextLogs, SystemLogLevel: spec.LevelWarn, ApplicationLogLevel: spec.LevelInfo}), "ApplicationLogLevel SystemLogLevel"},
		"a log kept for 31 days":                 {function(spec.Function{LogRetentionDays: 31}), "LogRetentionDays"},
		"no code":                                {gofunc.Props{}, "Code"},
		"a package without a path":               {code(gofunc.Package("")), "Code"},
		"the app itself":                         {code(gofunc.Package("./")), "Code"},
		"a pattern":                              {code(gofunc.Package("./lambdas/...")), "Code"},
		"an option of go build":                  {code(gofunc.Package("-race")), "Code"},
		"a file":                                 {code(gofunc.Package("./fn/main.go")), "Code"},
		"a version":                              {code(gofunc.Package("example.com/fn@v1.2.3")), "Code"},
		"a path of Windows":                      {code(gofunc.Package(`lambdas\fn`)), "Code"},
		"a package of a token":                   {code(gofunc.Package(token)), "Code"},
		"a module that isn't there":              {code(gofunc.Build{Dir: "../nowhere"}.Package("./fn")), "Code.Dir"},
		"tags in GOFLAGS":                        {code(gofunc.Build{Env: map[string]string{"GOFLAGS": "-mod=vendor -tags=a"}}.Package("./fn")), "Code.Env.GOFLAGS"},
		"a file system mounted elsewhere":        {with(func(p *gofunc.Props) { p.VPC, p.FileSystem = vpc, files }), "FileSystem"},
		"a file system without a VPC":            {with(func(p *gofunc.Props) { p.FileSystem = files }), "FileSystem"},
		"two tags in one":                        {code(gofunc.Build{Tags: []string{"a,b"}}.Package("./fn")), "Code.Tags"},
		"a system of one's own":                  {code(gofunc.Build{Env: map[string]string{"GOOS": "plan9", "GOARCH": "arm", "CGO_ENABLED": "1"}}.Package("./fn")), "Code.Env Code.Env Code.Env"},
		"a value in a name":                      {code(gofunc.Build{Env: map[string]string{"GOFLAGS=-v": ""}}.Package("./fn")), "Code.Env"},
		"a token for go build":                   {code(gofunc.Build{Env: map[string]string{"GOPROXY": token}, Ldflags: "-X main.a=" + token}.Package("./fn")), "Code.Env.GOPROXY Code.Ldflags"},
		"prebuilt code without a path":           {prebuilt(""), "Code"},
		"prebuilt code of a token":               {prebuilt(token), "Code"},
		"prebuilt code that isn't there":         {prebuilt(filepath.Join(dir, "nothing")), "Code"},
		"a text":                                 {prebuilt(file("text", 0o755, []byte("hello"))), "Code"},
		"an executable of another processor":     {gofunc.Props{Code: gofunc.Prebuilt(file("arm", 0o755, arm)), Function: spec.Function{Architecture: spec.X86}}, "Code"},
		"an executable of FreeBSD":               {prebuilt(file("bsd", 0o755, elfHeader(elf.EM_AARCH64, elf.ELFOSABI_FREEBSD, elf.ET_EXEC))), "Code"},
		"an object file":                         {prebuilt(file("object", 0o755, elfHeader(elf.EM_AARCH64, elf.ELFOSABI_NONE, elf.ET_REL))), "Code"},
		"an executable that is too large":        {prebuilt(large.Name()), "Code"},
		"a directory without bootstrap":          {prebuilt(filepath.Dir(file("empty/readme", 0o644, nil))), "Code"},
		"a bootstrap for its owner only":         {prebuilt(filepath.Dir(file("mode/bootstrap", 0o700, arm))), "Code"},
		"a bootstrap that is a text":             {prebuilt(filepath.Dir(file("words/bootstrap", 0o755, []byte("hello")))), "Code"},
		"a zip that is none":                     {prebuilt(file("no.zip", 0o644, []byte("hello"))), "Code"},
		"a zip with a folder around it":          {prebuilt(file("deep.zip", 0o644, zipOf(t, "fn/bootstrap", 0o755, arm))), "Code"},
		"a zip whose bootstrap can't be run":     {prebuilt(file("mode.zip", 0o644, zipOf(t, "bootstrap", 0o644, arm))), "Code"},
		"a zip for another processor":            {gofunc.Props{Code: gofunc.Prebuilt(file("arm.zip", 0o644, zipOf(t, "bootstrap", 0o755, arm))), Function: spec.Function{Architecture: spec.X86}}, "Code"},
		"a variable of one letter":               {variables("A", "x"), "Environment"},
		"a variable of Lambda":                   {variables("AWS_REGION", "mars"), "Environment"},
		"a variable with an underscore first":    {variables("_HANDLER", "x"), "Environment"},
		"a variable without a value":             {with(func(p *gofunc.Props) { p.Environment = map[string]*string{"NONE": nil} }), "Environment.NONE"},
		"variables of more than 4 KB":            {variables("LONG", strings.Repeat("x", 4096-len(`{"LONG":""}`)+1)), "Environment"},
		"retention of a log group that is given": {gofunc.Props{Code: good, Resources: gofunc.Resources{LogGroup: logs}, Function: spec.Function{LogRetentionDays: 7}}, "LogRetentionDays"},
		"a key for a log group that is given":    {with(func(p *gofunc.Props) { p.LogGroup, p.LogKey = logs, key }), "LogKey"},
		"a network without a VPC": {with(func(p *gofunc.Props) {
			p.Subnets, p.SecurityGroups, p.IPv6 = &awsec2.SubnetSelection{}, []awsec2.ISecurityGroup{group}, true
		}), "Subnets SecurityGroups IPv6"},
		"six security groups": {with(func(p *gofunc.Props) {
			p.VPC, p.SecurityGroups = vpc, []awsec2.ISecurityGroup{group, group, group, group, group, group}
		}), "SecurityGroups"},
		"a security group that is nil": {with(func(p *gofunc.Props) { p.VPC, p.SecurityGroups = vpc, []awsec2.ISecurityGroup{nil} }), "SecurityGroups[0]"},
		"public subnets": {with(func(p *gofunc.Props) {
			p.VPC, p.Subnets = vpc, &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PUBLIC}
		}), "Subnets"},
		"subnets that the VPC lacks": {with(func(p *gofunc.Props) {
			p.VPC, p.Subnets = vpc, &awsec2.SubnetSelection{SubnetGroupName: jsii.String("moon")}
		}), "Subnets"},
		"six layers":                 {with(func(p *gofunc.Props) { p.Layers = []awslambda.ILayerVersion{layer, layer, layer, layer, layer, layer} }), "Layers"},
		"a layer that is nil":        {with(func(p *gofunc.Props) { p.Layers = []awslambda.ILayerVersion{nil} }), "Layers[0]"},
		"a layer of another runtime": {with(func(p *gofunc.Props) { p.Layers = []awslambda.ILayerVersion{layer, python} }), "Layers[1]"},
		"everything wrong at once": {gofunc.Props{
			Function: spec.Function{Name: "?", Memory: 1, Tracing: "?"}, Environment: map[string]*string{"1": nil}, Resources: gofunc.Resources{IPv6: true},
		}, "Name Memory Tracing Code Environment IPv6"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			defer func() {
				err, _ := recover().(error)
				var invalid *spec.Invalid
				if !errors.As(err, &invalid) {
					t.Fatalf("accepted, or a panic of another kind: %v", err)
				}
				var fields []string
				for _, p := range invalid.Problems {
					fields = append(fields, p.Field)
					if !strings.HasPrefix(p.Path, "Test/F") || p.Value == "" || p.Want == "" || p.Fix == "" {
						t.Errorf("a message lacks a part: %+v", p)
					}
				}
				if got := strings.Join(fields, " "); got != c.fields {
					t.Errorf("refused %q, want %q:\n%v", got, c.fields, err)
				}
			}()
			gofunc.New(stack, "F-"+strings.ReplaceAll(name, " ", "-"), c.props)
		})
	}
	if len(cases) < 25 {
		t.Errorf("only %d cases", len(cases))
	}
}

func TestWhatIsOnTheEdgeIsAccepted(t *testing.T) {
	app, stack := newStack(t)
	gofunc.New(stack, "F", gofunc.Props{
		Code: gofunc.Package(someCode),
		Function: spec.Function{
			Name: strings.Repeat("x", 64), Description: strings.Repeat("ä", 256), Memory: 10_240, EphemeralStorage: 10_240, Timeout: 900 * time.Second, LogRetentionDays: 3653,
		},
		// A token has a length at deployment only.
		Environment: map[string]*string{"LONG": jsii.String(strings.Repeat("x", 4096-len(`{"LONG":"","TOKEN":""}`))), "TOKEN": awscdk.Fn_ImportValue(jsii.String("elsewhere"))},
	})
	synth(t, app, "Test")
}

func TestAnAliasNeedsAName(t *testing.T) {
	_, stack := newStack(t)
	f := gofunc.New(stack, "F", gofunc.Props{Code: gofunc.Package(someCode)})
	for _, name := range []string{"", "12", "a b", strings.Repeat("x", 129), *awscdk.Aws_REGION()} {
		func() {
			defer func() {
				var invalid *spec.Invalid
				if err, _ := recover().(error); !errors.As(err, &invalid) || invalid.Problems[0].Field != "Alias" || invalid.Problems[0].Path != "Test/F" {
					t.Errorf("%q: %v", name, err)
				}
			}()
			f.Alias(name)
		}()
	}
}
