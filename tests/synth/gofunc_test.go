package synth

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsefs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/gofunc"
	"github.com/millrace/millrace/constructs/snapshot"
	"github.com/millrace/millrace/constructs/spec"
)

func init() { fullest["gofunc"] = fullestFunction }

// fullestFunction has two functions: a log group can be given or be defined.
func fullestFunction(stack awscdk.Stack) {
	vpc := awsec2.Vpc_FromVpcAttributes(stack, jsii.String("Network"), &awsec2.VpcAttributes{
		VpcId: jsii.String("vpc-0123456789abcdef0"), AvailabilityZones: jsii.Strings("us-east-1a", "us-east-1b"),
		PrivateSubnetIds:           jsii.Strings("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
		PrivateSubnetRouteTableIds: jsii.Strings("rtb-0123456789abcdef0", "rtb-0123456789abcdef1"),
	})
	key := awskms.NewKey(stack, jsii.String("Key"), &awskms.KeyProps{EnableKeyRotation: jsii.Bool(true)})
	files := awsefs.AccessPoint_FromAccessPointAttributes(stack, jsii.String("Files"), &awsefs.AccessPointAttributes{
		AccessPointId: jsii.String("fsap-0123456789abcdef0"),
		FileSystem: awsefs.FileSystem_FromFileSystemAttributes(stack, jsii.String("FileSystem"), &awsefs.FileSystemAttributes{
			FileSystemId:  jsii.String("fs-0123456789abcdef0"),
			SecurityGroup: awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("FileSystemGroup"), jsii.String("sg-0123456789abcdef0"), nil),
		}),
	})
	function := gofunc.New(stack, "Function", gofunc.Props{
		Function: spec.Function{
			Name: "orders", Description: "Takes orders in", Architecture: spec.X86, Memory: 1769, EphemeralStorage: 1024,
			Timeout: time.Minute, ReservedConcurrency: 20, Tracing: spec.TracingActive, LogFormat: spec.JSONLogs,
			ApplicationLogLevel: spec.LevelDebug, SystemLogLevel: spec.LevelWarn, LogRetentionDays: 90,
		},
		Code:        gofunc.Package(someCode),
		Environment: map[string]*string{"CURRENCY": jsii.String("EUR")},
		Resources: gofunc.Resources{
			Key: key, LogKey: key, VPC: vpc,
			Subnets: &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS},
			IPv6:    true, FileSystem: awslambda.FileSystem_FromEfsAccessPoint(files, jsii.String("/mnt/files")),
			Layers: []awslambda.ILayerVersion{awslambda.LayerVersion_FromLayerVersionArn(stack, jsii.String("Layer"),
				jsii.String("arn:aws:lambda:us-east-1:123456789012:layer:collector:7"))},
		},
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
	function.Alias("live")
	gofunc.New(stack, "Other", gofunc.Props{
		Code: gofunc.Package(someCode),
		Resources: gofunc.Resources{
			Role: awsiam.Role_FromRoleArn(stack, jsii.String("Role"), jsii.String("arn:aws:iam::123456789012:role/given"), nil),
			LogGroup: awslogs.NewLogGroup(stack, jsii.String("Logs"), &awslogs.LogGroupProps{
				EncryptionKey: awskms.Key_FromKeyArn(stack, jsii.String("Other key"), jsii.String("arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012")),
			}),
			VPC: vpc, SecurityGroups: []awsec2.ISecurityGroup{
				awsec2.SecurityGroup_FromSecurityGroupId(stack, jsii.String("Group"), jsii.String("sg-0123456789abcdef1"), nil),
			},
		},
	})
}

// functionNamed is the properties of the function whose logical id begins so.
func functionNamed(t *testing.T, template *snapshot.Template, id string) snapshot.Resource {
	t.Helper()
	for logical, f := range template.OfType("AWS::Lambda::Function") {
		if strings.HasPrefix(logical, id) {
			return f
		}
	}
	t.Fatalf("there is no function %s", id)
	return snapshot.Resource{}
}

func TestEverySettingOfAFunctionReachesItsTemplate(t *testing.T) {
	app, stack := newStack(t)
	fullestFunction(stack)
	template := synth(t, app, "Test")
	got := functionNamed(t, template, "Function").Properties
	want := map[string]any{
		"FunctionName": "orders", "Description": "Takes orders in", "Architectures": []any{"x86_64"}, "MemorySize": 1769.0,
		"EphemeralStorage": map[string]any{"Size": 1024.0}, "Timeout": 60.0, "ReservedConcurrentExecutions": 20.0,
		"TracingConfig": map[string]any{"Mode": "Active"}, "Runtime": "provided.al2023", "Handler": "bootstrap",
		"Environment": map[string]any{"Variables": map[string]any{"CURRENCY": "EUR"}},
		"Layers":      []any{"arn:aws:lambda:us-east-1:123456789012:layer:collector:7"},
	}
	for name, value := range want {
		if diff := cmp.Diff(value, got[name]); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	logging := got["LoggingConfig"].(map[string]any)
	if logging["LogFormat"] != "JSON" || logging["ApplicationLogLevel"] != "DEBUG" || logging["SystemLogLevel"] != "WARN" {
		t.Errorf("logging: %v", logging)
	}
	network := got["VpcConfig"].(map[string]any)
	if diff := cmp.Diff([]any{"subnet-0123456789abcdef0", "subnet-0123456789abcdef1"}, network["SubnetIds"]); diff != "" || network["Ipv6AllowedForDualStack"] != true {
		t.Errorf("network: %v", network)
	}
	if at(got, "FileSystemConfigs", 0, "LocalMountPath") != "/mnt/files" || got["KmsKeyArn"] == nil {
		t.Errorf("files or key: %v", got)
	}
	group := template.Resources[refers(logging["LogGroup"])]
	if group.Properties["RetentionInDays"] != 90.0 || refers(group.Properties["KmsKeyId"]) == "" || group.DeletionPolicy != "Delete" {
		t.Errorf("log group: %+v", group)
	}
	_, alias := template.Only(t, "AWS::Lambda::Alias")
	if version, _ := template.Only(t, "AWS::Lambda::Version"); alias.Properties["Name"] != "live" || at(alias.Properties, "FunctionVersion", "Fn::GetAtt", 0) != version {
		t.Errorf("alias: %v", alias.Properties)
	}

	other := functionNamed(t, template, "Other").Properties
	if !strings.HasPrefix(refers(at(other, "LoggingConfig", "LogGroup")), "Logs") {
		t.Errorf("the log group that was given isn't used: %v", other["LoggingConfig"])
	}
	if other["Role"] != "arn:aws:iam::123456789012:role/given" || at(other, "VpcConfig", "SecurityGroupIds", 0) != "sg-0123456789abcdef1" {
		t.Errorf("the role or the group that was given isn't used: %v", other)
	}
}

func TestDefaultsOfAFunctionAreNotWrittenWhereAWSHasThem(t *testing.T) {
	app, stack := newStack(t)
	f := gofunc.New(stack, "F", gofunc.Props{Code: gofunc.Package(someCode)})
	awscdk.Tags_Of(f.Construct()).Add(jsii.String("team"), jsii.String("shop"), nil)
	_, got := synth(t, app, "Test").Only(t, "AWS::Lambda::Function")
	for _, name := range []string{
		"FunctionName", "Description", "EphemeralStorage", "ReservedConcurrentExecutions", "TracingConfig", "Environment",
		"KmsKeyArn", "VpcConfig", "Layers", "FileSystemConfigs", "DeadLetterConfig",
	} {
		if got.Properties[name] != nil {
			t.Errorf("%s is %v", name, got.Properties[name])
		}
	}
	if diff := cmp.Diff([]any{map[string]any{"Key": "team", "Value": "shop"}}, got.Properties["Tags"]); diff != "" {
		t.Error(diff)
	}
}

func TestAFunctionThatIsStopped(t *testing.T) {
	app, stack := newStack(t)
	gofunc.New(stack, "F", gofunc.Props{Code: gofunc.Package(someCode), Function: spec.Function{ReservedConcurrency: spec.Zero, LogFormat: spec.TextLogs, Tracing: spec.TracingPassThrough}})
	_, got := synth(t, app, "Test").Only(t, "AWS::Lambda::Function")
	if n, ok := got.Properties["ReservedConcurrentExecutions"]; !ok || n != 0.0 {
		t.Errorf("reserved: %v", n)
	}
	if at(got.Properties, "LoggingConfig", "LogFormat") != "Text" || at(got.Properties, "TracingConfig", "Mode") != "PassThrough" {
		t.Errorf("%v", got.Properties)
	}
}

// allowed are the actions that a policy allows, by resource as text.
func allowed(t *testing.T, template *snapshot.Template, policy string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for id, p := range template.OfType("AWS::IAM::Policy") {
		if !strings.HasPrefix(id, policy) {
			continue
		}
		for _, s := range at(p.Properties, "PolicyDocument", "Statement").([]any) {
			resources := []any{at(s, "Resource")}
			if list, ok := resources[0].([]any); ok {
				resources = list
			}
			actions, ok := at(s, "Action").([]any)
			if !ok {
				actions = []any{at(s, "Action")}
			}
			for _, r := range resources {
				name, ok := r.(string)
				if !ok {
					name = refers(r)
				}
				if name == "" {
					parts, _ := at(r, "Fn::Join", 1).([]any)
					for _, part := range parts {
						if text, ok := part.(string); ok {
							name += text
						} else {
							name += "<" + refers(part) + ">"
						}
					}
				}
				for _, a := range actions {
					found[name] = append(found[name], a.(string))
				}
			}
		}
	}
	for _, actions := range found {
		slices.Sort(actions)
	}
	return found
}

func TestTheRoleMayDoWhatLambdaDoesInItsNameAndNoMore(t *testing.T) {
	app, stack := newStack(t)
	vpc := awsec2.NewVpc(stack, jsii.String("Vpc"), &awsec2.VpcProps{MaxAzs: jsii.Number(1)})
	key := awskms.NewKey(stack, jsii.String("Key"), nil)
	gofunc.New(stack, "F", gofunc.Props{Code: gofunc.Package(someCode), Function: spec.Function{Tracing: spec.TracingActive}, Resources: gofunc.Resources{VPC: vpc, Key: key}})
	got := map[string][]string{}
	for resource, actions := range allowed(t, synth(t, app, "Test"), "FRole") {
		for _, known := range []string{"FLogs", "Key", "arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:*/*"} {
			if strings.HasPrefix(resource, known) {
				resource = known
			}
		}
		got[resource] = actions
	}
	want := map[string][]string{
		"FLogs": {"logs:CreateLogStream", "logs:PutLogEvents"},
		"Key":   {"kms:Decrypt"},
		"arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:*/*": {
			"ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:UnassignPrivateIpAddresses",
		},
		"*": {"ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// CloudWatch Logs refuses to make a group with a key whose policy doesn't admit it.
func TestTheLogKeyAdmitsCloudWatchLogs(t *testing.T) {
	app, stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("Key"), nil)
	for _, id := range []string{"F", "G"} {
		gofunc.New(stack, id, gofunc.Props{Code: gofunc.Package(someCode), Resources: gofunc.Resources{LogKey: key}})
	}
	_, policy := synth(t, app, "Test").Only(t, "AWS::KMS::Key")
	var admitted []any
	for _, s := range at(policy.Properties, "KeyPolicy", "Statement").([]any) {
		if at(s, "Principal", "Service") != nil {
			admitted = append(admitted, s)
		}
	}
	if len(admitted) != 1 {
		t.Fatalf("two groups take one statement, not %v", admitted)
	}
	service := at(admitted[0], "Principal", "Service", "Fn::Join", 1)
	if diff := cmp.Diff([]any{"logs.", map[string]any{"Ref": "AWS::Region"}, ".", map[string]any{"Ref": "AWS::URLSuffix"}}, service); diff != "" {
		t.Error(diff)
	}
	if at(admitted[0], "Condition", "ArnLike", "kms:EncryptionContext:aws:logs:arn") == nil {
		t.Errorf("any use of the key is admitted: %v", admitted[0])
	}
}

func TestAcceptedFindingsGoWithTheSettingThatAnswersThem(t *testing.T) {
	app, stack := newStack(t)
	fullestFunction(stack)
	gofunc.New(stack, "Plain", gofunc.Props{Code: gofunc.Package(someCode), Environment: map[string]*string{"AB": jsii.String("c")}})
	app.Synth(nil)
	accepted := func(id string) (ids []string) {
		for _, tool := range [][]any{{"cdk_nag", "rules_to_suppress"}, {"checkov", "skip"}} {
			list, _ := snapshot.At(functionNamed(t, snapshot.Read(t, *app.Outdir(), "Test"), id).Metadata, tool...).([]any)
			for _, entry := range list {
				ids = append(ids, at(entry, "id").(string))
			}
		}
		slices.Sort(ids)
		return ids
	}
	always := []string{"CKV_AWS_116", "NIST.800.53.R5-LambdaDLQ", "Serverless-LambdaDLQ"}
	if diff := cmp.Diff(always, accepted("Function")); diff != "" {
		t.Errorf("with every setting:\n%s", diff)
	}
	all := append([]string{
		"CKV_AWS_115", "CKV_AWS_117", "CKV_AWS_173", "NIST.800.53.R5-LambdaConcurrency", "NIST.800.53.R5-LambdaInsideVPC", "Serverless-LambdaTracing",
	}, always...)
	slices.Sort(all)
	if diff := cmp.Diff(all, accepted("Plain")); diff != "" {
		t.Errorf("by default:\n%s", diff)
	}
}

// A version is published when the code or a setting changes, and only then.
func TestAnAliasMovesWithTheCodeAndTheSettings(t *testing.T) {
	dir := module(t, "m", map[string]string{
		"go.mod": "module example.com/versions\n\ngo 1.26.0\n",
		"a/a.go": "package main\n\nfunc main() { println(1) }\n", "b/b.go": "package main\n\nfunc main() { println(2) }\n",
	})
	version := func(pkg string, memory int) string {
		app := newApp(t, true)
		t.Chdir(dir)
		stack := awscdk.NewStack(app, jsii.String("Test"), nil)
		f := gofunc.New(stack, "F", gofunc.Props{Code: gofunc.Package(pkg), Function: spec.Function{Memory: memory}})
		if f.Alias("live") != f.Alias("live") {
			t.Error("one name, two aliases")
		}
		f.Alias("canary")
		template := synth(t, app, "Test")
		id, _ := template.Only(t, "AWS::Lambda::Version")
		if n := len(template.OfType("AWS::Lambda::Alias")); n != 2 {
			t.Errorf("%d aliases", n)
		}
		return id
	}
	first := version("./a", 256)
	if again := version("./a", 256); again != first {
		t.Error("nothing changed, and there is another version")
	}
	if code := version("./b", 256); code == first {
		t.Error("other code is the same version")
	}
	if memory := version("./a", 512); memory == first {
		t.Error("more memory is the same version")
	}
}

func TestSignalsOfAFunctionNameTheirRunbooks(t *testing.T) {
	_, stack := newStack(t)
	f := gofunc.New(stack, "F", gofunc.Props{Code: gofunc.Package(someCode), Function: spec.Function{ReservedConcurrency: 7}})
	got := map[string]string{}
	for _, s := range f.Signals() {
		got[s.Name] = s.Runbook
		if s.Name == "Throttles" && !strings.Contains(s.From, "7 invocations") {
			t.Errorf("the threshold of throttles doesn't come from what is reserved: %s", s.From)
		}
	}
	want := map[string]string{
		"Errors": "gofunc-errors", "Throttles": "gofunc-throttles", "Duration": "gofunc-duration", "RejectedRecords": "gofunc-rejected-records",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// elfHeader is the smallest file that is an ELF executable.
func elfHeader(machine elf.Machine, abi elf.OSABI, kind elf.Type) []byte {
	h := make([]byte, 64)
	copy(h, "\x7fELF")
	h[4], h[5], h[6], h[7] = 2, 1, 1, byte(abi)
	h[16], h[18], h[20] = byte(kind), byte(machine), 1
	h[52], h[54], h[58] = 64, 56, 64
	return h
}

func zipOf(t *testing.T, name string, mode os.FileMode, data []byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	archive := zip.NewWriter(&buffer)
	header := &zip.FileHeader{Name: name, Method: zip.Deflate}
	header.SetMode(mode)
	entry, err := archive.CreateHeader(header)
	if err == nil {
		_, err = entry.Write(data)
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func TestPrebuiltCode(t *testing.T) {
	dir := module(t, "m", map[string]string{"go.mod": "module example.com/prebuilt\n\ngo 1.26.0\n", "fn/main.go": emptyMain})
	compile := exec.Command("go", "build", "-o", "out/anything", "./fn")
	compile.Dir, compile.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary := contents(t, filepath.Join(dir, "out/anything"))
	for name, data := range map[string][]byte{"folder/bootstrap": binary, "script/bootstrap": []byte("#!/bin/sh\n"), "fn.zip": zipOf(t, "bootstrap", 0o755, binary)} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	// It is looked for from the root of the module.
	t.Chdir(filepath.Join(dir, "fn"))
	calls := countGo(t)
	for _, bundling := range []bool{true, false} {
		for path, file := range map[string]string{"./out/anything": "bootstrap", "folder": "bootstrap", "script": "bootstrap", filepath.Join(dir, "fn.zip"): ""} {
			app := newApp(t, bundling)
			gofunc.New(awscdk.NewStack(app, jsii.String("Test"), nil), "F", gofunc.Props{Code: gofunc.Prebuilt(path)})
			_, f := synth(t, app, "Test").Only(t, "AWS::Lambda::Function")
			asset := assetOf(t, app, f)
			if info, err := os.Stat(filepath.Join(asset, file)); err != nil || file != "" && info.Mode()&0o777 != 0o755 {
				t.Errorf("%s: %v", path, err)
			}
			if path != "script" && file != "" && !bytes.Equal(contents(t, filepath.Join(asset, file)), binary) {
				t.Errorf("%s isn't what is deployed", path)
			}
		}
	}
	if got := calls(); len(got) != 0 {
		t.Errorf("go was called: %q", got)
	}
}

// The app as the command line runs it, where what it compiles is broken or there
// is no Go: the message is Go's own or plain, and without a stack trace.
func TestTheAppTellsWhyItsCodeDoesNotCompile(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command("go", "build", "-o", binary, "../../stacks/app").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	if node, err = filepath.EvalSymlinks(node); err != nil {
		t.Fatal(err)
	}
	onlyNode := t.TempDir()
	if err := os.Symlink(node, filepath.Join(onlyNode, "node")); err != nil {
		t.Fatal(err)
	}
	// A module of our name, so that the functions' import paths lead into it.
	broken := module(t, "m", map[string]string{
		"go.mod":                    "module github.com/millrace/millrace\n\ngo 1.26.0\n",
		"lambdas/standings/main.go": "package main\n\nfunc main() { thisIsNotDefined() }\n",
		"lambdas/podium/main.go":    emptyMain, "lambdas/archive/main.go": emptyMain,
	})
	run := func(path string) string {
		t.Helper()
		app := exec.Command(binary)
		app.Dir = broken
		app.Env = append(os.Environ(), "PATH="+path, "CDK_OUTDIR="+t.TempDir(), "CDK_CONTEXT_JSON={}")
		out, _ := app.CombinedOutput()
		if code := app.ProcessState.ExitCode(); code != 1 {
			t.Errorf("exit code %d", code)
		}
		if strings.Contains(string(out), "goroutine") || strings.Contains(string(out), "gofunc.go") {
			t.Errorf("a stack trace reaches the user:\n%s", out)
		}
		return string(out)
	}
	if text := run(os.Getenv("PATH")); !strings.Contains(text, "lambdas/standings/main.go:3:15: undefined: thisIsNotDefined") {
		t.Errorf("broken code:\n%s", text)
	}
	if text := run(onlyNode); !strings.Contains(text, "there is no go in PATH") {
		t.Errorf("no go:\n%s", text)
	}
}
