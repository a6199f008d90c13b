package synth

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"

	"github.com/millrace/millrace/constructs/snapshot"
)

// verdict is a testing.TB that keeps what it is told.
type verdict struct {
	testing.TB
	errors []string
	ended  bool
}

func (v *verdict) Helper()      {}
func (v *verdict) Name() string { return "TestOrders/in_one" }
func (v *verdict) Logf(format string, args ...any) {
}

func (v *verdict) Errorf(format string, args ...any) {
	v.errors = append(v.errors, fmt.Sprintf(format, args...))
}
func (v *verdict) Fatal(args ...any) { v.Fatalf("%s", fmt.Sprint(args...)) }
func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	v.ended = true
	runtime.Goexit()
}

// judge runs a check as a test of its own.
func judge(check func(t testing.TB)) *verdict {
	v := &verdict{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(v)
	}()
	<-done
	return v
}

// ordered is an app in which everything is that a snapshot leaves out.
type ordered struct {
	code      string // text of the function
	qualifier string // of the bootstrap
	checksum  string // a value of the function's, no asset's
	shards    int
	queues    int
}

func (o ordered) template(t testing.TB) *snapshot.Template {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(o.code), 0o755); err != nil {
		t.Fatal(err)
	}
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: jsii.String(t.TempDir())})
	props := &awscdk.StackProps{Synthesizer: awscdk.NewDefaultStackSynthesizer(&awscdk.DefaultStackSynthesizerProps{Qualifier: jsii.String(o.qualifier)})}
	stack := awscdk.NewStack(app, jsii.String("Orders"), props)
	function := awslambda.NewFunction(stack, jsii.String("Function"), &awslambda.FunctionProps{
		Runtime: awslambda.Runtime_PROVIDED_AL2023(), Handler: jsii.String("bootstrap"),
		Code:        awslambda.Code_FromAsset(jsii.String(dir), nil),
		Environment: &map[string]*string{"MODEL": jsii.String(o.checksum)},
	})
	function.AddAlias(jsii.String("live"), nil)
	awskinesis.NewStream(stack, jsii.String("Stream"), &awskinesis.StreamProps{
		StreamMode: awskinesis.StreamMode_PROVISIONED, ShardCount: jsii.Number(o.shards), Encryption: awskinesis.StreamEncryption_MANAGED,
	})
	for i := range o.queues {
		awssqs.NewQueue(stack, jsii.String(fmt.Sprintf("Queue%d", i)), nil)
	}
	return snapshot.Of(t, stack)
}

var someOrders = ordered{code: "one", qualifier: "hnb659fds", checksum: strings.Repeat("ab", 32), shards: 4, queues: 2}

func TestSnapshotsLeaveOutOnlyWhatIsNoChange(t *testing.T) {
	golden := filepath.Join(t.TempDir(), "orders.json")
	if err := os.WriteFile(golden, someOrders.template(t).Snapshot(), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(o *ordered)
		want   []string // of the one failure; none means equal
	}{
		"nothing":             {func(*ordered) {}, nil},
		"the function's code": {func(o *ordered) { o.code = "two" }, nil},
		"the bootstrap":       {func(o *ordered) { o.qualifier = "ours" }, nil},
		"a property": {
			func(o *ordered) { o.shards = 5 },
			[]string{"Resources.Stream790BDEE4 (AWS::Kinesis::Stream)\n  Properties.ShardCount\n    - 4\n    + 5\n", "go test ./tests/synth -run '^TestOrders$/^in_one$' -update"},
		},
		"a hash that is no asset's": {
			func(o *ordered) { o.checksum = strings.Repeat("cd", 32) },
			[]string{"Properties.Environment.Variables.MODEL", "- \"abab", "+ \"cdcd"},
		},
		"a resource more": {func(o *ordered) { o.queues = 3 }, []string{"Resources.Queue2", "(AWS::SQS::Queue)", "+ "}},
		"a resource less": {func(o *ordered) { o.queues = 1 }, []string{"Resources.Queue1", "(AWS::SQS::Queue)", "- "}},
	} {
		t.Run(name, func(t *testing.T) {
			orders := someOrders
			c.change(&orders)
			template := orders.template(t)
			got := judge(func(tb testing.TB) { template.Match(tb, golden) })
			if len(c.want) == 0 {
				if len(got.errors) > 0 {
					t.Errorf("want no difference, got %s", got.errors)
				}
				return
			}
			if len(got.errors) != 1 {
				t.Fatalf("want one failure, got %q", got.errors)
			}
			for _, part := range c.want {
				if !strings.Contains(got.errors[0], part) {
					t.Errorf("%s\nlacks %q", got.errors[0], part)
				}
			}
		})
	}

	// What was left out is really there: the test above shows nothing otherwise.
	one, two := someOrders.template(t), ordered{code: "two", qualifier: "hnb659fds"}.template(t)
	_, function := one.Only(t, "AWS::Lambda::Function")
	_, other := two.Only(t, "AWS::Lambda::Function")
	if function.At("Code", "S3Key") == other.At("Code", "S3Key") {
		t.Error("two codes have one asset")
	}
	version, _ := one.Only(t, "AWS::Lambda::Version")
	_, alias := one.Only(t, "AWS::Lambda::Alias")
	if id, _, _ := one.Target(alias.At("FunctionVersion")); id != version {
		t.Errorf("the alias is on %s, not on %s", id, version)
	}
	if text := string(one.Snapshot()); strings.Contains(text, version) || !strings.Contains(text, "ASSET.zip") ||
		strings.Count(text, version[:len(version)-32]+"VERSION") != 2 || strings.Contains(text, "hnb659fds") {
		t.Errorf("redacted badly:\n%s", text)
	}
}

func TestASnapshotsListsAreAlignedAndLongTextsCut(t *testing.T) {
	long := strings.Repeat("x", 5000)
	template := func(body string, actions string) *snapshot.Template {
		dir := t.TempDir()
		text := `{"Resources": {"Board": {"Type": "AWS::CloudWatch::Dashboard", "DependsOn": "Policy", "Properties": {"DashboardBody": "` + body + `"}},
			"Policy": {"Type": "AWS::IAM::Policy", "Properties": {"Actions": [` + actions + `]}}}}`
		if err := os.WriteFile(filepath.Join(dir, "Orders.template.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return snapshot.Read(t, dir, "Orders")
	}
	golden := filepath.Join(t.TempDir(), "orders.json")
	before := template(long+"old"+long, `"b", "c", "d"`)
	if got := before.Resources["Board"].DependsOn; !slices.Equal(got, []string{"Policy"}) {
		t.Errorf("DependsOn is %v", got)
	}
	if err := os.WriteFile(golden, before.Snapshot(), 0o644); err != nil {
		t.Fatal(err)
	}
	got := judge(func(tb testing.TB) { template(long+"new"+long, `"a", "b", "c", "d"`).Match(tb, golden) })
	text := strings.Join(got.errors, "\n")
	for _, want := range []string{"Actions[0]\n    + \"a\"\n\nif", "xxxoldxxx", "xxxnewxxx"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %q", text, want)
		}
	}
	if len(text) > 1000 {
		t.Errorf("%d characters tell of two small changes:\n%s", len(text), text)
	}
	// A text of JSON is compared as a tree, wherever references cut it.
	board := func(height int) *snapshot.Template {
		dir := t.TempDir()
		body := fmt.Sprintf(`{"Fn::Join": ["", ["{\"widgets\": [{\"region\": \"", {"Ref": "AWS::Region"}, "\", \"height\": %d}]}"]]}`, height)
		text := `{"Resources": {"Board": {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": ` + body + `}}}}`
		if err := os.WriteFile(filepath.Join(dir, "Board.template.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return snapshot.Read(t, dir, "Board")
	}
	other := filepath.Join(t.TempDir(), "board.json")
	if err := os.WriteFile(other, board(6).Snapshot(), 0o644); err != nil {
		t.Fatal(err)
	}
	got = judge(func(tb testing.TB) { board(7).Match(tb, other) })
	if want := "  Properties.DashboardBody.widgets[0].height\n    - 6\n    + 7\n"; len(got.errors) != 1 || !strings.Contains(got.errors[0], want) {
		t.Errorf("%q lacks %q", got.errors, want)
	}

	// The order of a list is part of the template.
	if got := judge(func(tb testing.TB) { template(long+"old"+long, `"c", "b", "d"`).Match(tb, golden) }); len(got.errors) != 1 {
		t.Errorf("a list in another order: %q", got.errors)
	}
}

func TestASnapshotThatIsMissingSaysHowToWriteIt(t *testing.T) {
	golden := filepath.Join(t.TempDir(), "deep", "orders.json")
	template := someOrders.template(t)
	match := func(tb testing.TB) { template.Match(tb, golden) }
	got := judge(match)
	if len(got.errors) != 1 || !strings.Contains(got.errors[0], golden) || !strings.Contains(got.errors[0], "go test ./tests/synth -run '^TestOrders$/^in_one$' -update") {
		t.Errorf("%q", got.errors)
	}
	t.Setenv(snapshot.UpdateVariable, "1")
	if got := judge(match); len(got.errors) > 0 {
		t.Errorf("writing it: %q", got.errors)
	}
	t.Setenv(snapshot.UpdateVariable, "")
	if got := judge(match); len(got.errors) > 0 {
		t.Errorf("once written: %q", got.errors)
	}
	if err := os.WriteFile(golden, []byte("<<<<<<< ours"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := judge(match); len(got.errors) != 1 || !strings.Contains(got.errors[0], "is no JSON") {
		t.Errorf("a broken one: %q", got.errors)
	}
}

// ownFlag stands for a test package that has a flag -update of its own.
var ownFlag = func() *bool {
	if os.Getenv("TEST_OWN_UPDATE_FLAG") == "" {
		return nil
	}
	return flag.Bool("update", false, "our own goldens")
}()

// TestUpdateFlag is run by the test after it, in a process of its own.
func TestUpdateFlag(t *testing.T) {
	golden := os.Getenv("TEST_UPDATE_FLAG")
	if golden == "" {
		t.Skip("this is a part of TestTheUpdateFlagNeverClashes")
	}
	if ownFlag != nil && !*ownFlag {
		t.Error("the package's own flag isn't set")
	}
	if slices.ContainsFunc(os.Args, func(arg string) bool { return strings.Contains(arg, "snapshot") }) {
		t.Errorf("the arguments are changed: %q", os.Args)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "A.template.json"), []byte(`{"Resources":{}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	snapshot.Read(t, dir, "A").Match(t, golden)
}

func TestTheUpdateFlagNeverClashes(t *testing.T) {
	for _, own := range []string{"", "1"} {
		golden := filepath.Join(t.TempDir(), "a.json")
		cmd := exec.Command(os.Args[0], "-test.run=^TestUpdateFlag$", "-update")
		cmd.Env = append(os.Environ(), "TEST_OWN_UPDATE_FLAG="+own, "TEST_UPDATE_FLAG="+golden)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("own flag %q: %v\n%s", own, err, out)
		}
		if text, err := os.ReadFile(golden); err != nil || string(text) != "{\n \"Resources\": {}\n}\n" {
			t.Errorf("own flag %q: wrote %q, %v", own, text, err)
		}
	}
}

func TestAssertionsFailRatherThanPanic(t *testing.T) {
	template := someOrders.template(t)
	for name, c := range map[string]struct {
		check func(tb testing.TB)
		want  string
	}{
		"only one of two": {func(tb testing.TB) { template.Only(tb, "AWS::SQS::Queue") }, "want one AWS::SQS::Queue, the template has 2: Queue0"},
		"only one of none": {
			func(tb testing.TB) { template.Only(tb, "AWS::SQS::Quee") }, "none; it has AWS::IAM::Role, AWS::Kinesis::Stream",
		},
		"each of none": {func(tb testing.TB) { template.Each(tb, "AWS::SNS::Topic", nil) }, "want at least one AWS::SNS::Topic"},
		"no assembly":  {func(tb testing.TB) { snapshot.Read(tb, t.TempDir(), "Orders") }, "Orders.template.json"},
		"no stack": {func(tb testing.TB) {
			snapshot.All(tb, awscdk.NewApp(nil))
		}, "there is no stack"},
		"an app that can't be synthesized": {func(tb testing.TB) {
			stack := awscdk.NewStack(awscdk.NewApp(nil), jsii.String("Orders"), nil)
			for _, id := range []string{"A", "B"} {
				awscdk.NewCfnResource(stack, jsii.String(id), &awscdk.CfnResourceProps{Type: jsii.String("AWS::SNS::Topic")}).
					OverrideLogicalId(jsii.String("Same"))
			}
			snapshot.Of(tb, stack)
		}, "can't synthesize the app"},
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(c.check)
			if len(got.errors) != 1 || !strings.Contains(got.errors[0], c.want) {
				t.Errorf("want one failure with %q, got %q", c.want, got.errors)
			}
		})
	}
	seen := 0
	template.Each(t, "AWS::SQS::Queue", func(id string, queue snapshot.Resource) {
		seen++
		if queue.DeletionPolicy != "Delete" || queue.At("Nothing", 0, "here") != nil {
			t.Errorf("%s: %v", id, queue)
		}
	})
	if seen != 2 {
		t.Errorf("%d of 2 queues were seen", seen)
	}
}

func TestReferencesAreFoundWhereverTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		`{"Ref": "A"}`:                                   "A",
		`{"Fn::GetAtt": ["A", "Arn"]}`:                   "A",
		`{"Fn::GetAtt": "A.Arn"}`:                        "A",
		`{"Fn::Join": ["", [{"Ref": "A"}, "/*"]]}`:       "A",
		`{"Fn::Sub": "${A.Arn}/${AWS::Region}/${B}"}`:    "A AWS::Region B",
		`{"Fn::Sub": ["${A}/${x}", {"x": {"Ref":"B"}}]}`: "A B",
		`{"Fn::If": ["C", [{"Ref": "A"}], "none"]}`:      "A",
		`["A", {"b": "A"}]`:                              "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "S.template.json"), []byte(`{"Outputs": {"O": {"Value": `+text+`}}}`), 0o644); err != nil {
			t.Fatal(err)
		}
		value := snapshot.At(snapshot.Read(t, dir, "S").Outputs, "O", "Value")
		if got := strings.Join(snapshot.References(value), " "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestAllTemplatesOfAnAppAreFound(t *testing.T) {
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: jsii.String(t.TempDir())})
	awscdk.NewStack(app, jsii.String("Base"), nil)
	stage := awscdk.NewStage(app, jsii.String("Prod"), nil)
	stack := awscdk.NewStack(stage, jsii.String("Orders"), nil)
	nested := awscdk.NewNestedStack(stack, jsii.String("Nested"), nil)
	awssqs.NewQueue(nested, jsii.String("Queue"), nil)
	all := snapshot.All(t, app)
	for path, queues := range map[string]int{"Base": 0, "Prod/Orders": 0, "Prod/Orders/Nested": 1} {
		if all[path] == nil || len(all[path].OfType("AWS::SQS::Queue")) != queues {
			t.Errorf("%s: %v", path, all[path])
		}
	}
	if len(all) != 3 {
		t.Errorf("%d templates", len(all))
	}
}
