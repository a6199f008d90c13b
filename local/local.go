// Package local runs the pipeline on one machine: an AWS emulator with IAM
// enforced, and in it the very stack that goes to AWS, deployed by the real CDK
// command line. It stops everything that it started, however it ends.
//
// It works in a checkout of this repository, whose node_modules and .venv hold
// the tools (see `make install`), and writes to build/local in it only.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/millrace/millrace/local/proc"
	"github.com/millrace/millrace/local/step"
	"github.com/millrace/millrace/local/throttle"
)

// The account, region and credentials of every local machine.
const (
	Account = "000000000000"
	Region  = "us-east-1"
	Key     = "test" // access key id and secret access key: the account's root
)

// StackName is the stack that Up deploys.
const StackName = "MillraceRace"

// The keys of the stack's outputs.
const (
	OutputStream         = "StreamName"
	OutputStandings      = "StandingsTable"
	OutputPodiums        = "PodiumsTable"
	OutputPaces          = "PacesTable"
	OutputArchive        = "ArchiveBucket"
	OutputFailures       = "FailureBucket"
	OutputDeliveryStream = "DeliveryStream"
	OutputWarehouseTable = "WarehouseTable" // only with Redshift
)

// stopGrace is how long a process gets to end before it is killed.
const stopGrace = 3 * time.Second

// Options for Up. The zero value is good inside a checkout.
type Options struct {
	// Dir is the checkout; "" means the one that the working directory is in.
	Dir string
	// Port is where the emulator listens on 127.0.0.1: 1 to 65535; 0 means a
	// free one.
	Port int
	// Limits of the streams' shards; the zero value has none, as the emulator.
	Limits throttle.Limits
	// Context are settings of the stack beside its local profile, each "key=value" as in
	// `cdk deploy -c`: "race:redshift=serverless".
	Context []string
	// Log takes the progress; nil discards it.
	Log *step.Log
}

// Machine is a local machine that runs and belongs to this process.
type Machine struct {
	// Endpoint is the URL of all its AWS services.
	Endpoint string
	// Port is the endpoint's port.
	Port int
	// Started is when Up was called.
	Started time.Time
	// Outputs are the stack's outputs by their keys, see the Output constants.
	Outputs map[string]string
	// Profile is what differs between the local stack and the one for AWS: a
	// line each, with the reason.
	Profile []string
	// Limits are those of Options.
	Limits throttle.Limits

	paths     paths
	lock      *lock
	emulator  *proc.Group
	pipeline  *pipeline
	shards    *limited // nil without limits
	warehouse *warehouse
}

// Up starts the emulator, bootstraps it and deploys the stack. It returns when
// the stack stands; until then ctx stops it, later Close does.
//
// The error is a *RunningError if a machine runs already in this checkout, a
// *MissingError if tools are missing, a *PortError if the port is taken and a
// *StepError if a step failed; it is the cause of ctx if that ended. After an
// error nothing is left running.
func Up(ctx context.Context, o Options) (*Machine, error) {
	if o.Port < 0 || o.Port > 65535 {
		return nil, fmt.Errorf("port %d: must be 1 to 65535, or 0 for a free one", o.Port)
	}
	dir, err := Checkout(o.Dir)
	if err != nil {
		return nil, err
	}
	m := &Machine{paths: pathsOf(dir), Started: time.Now(), Limits: o.Limits}
	if err := os.MkdirAll(m.paths.root, 0o755); err != nil {
		return nil, err
	}
	if m.lock, err = acquire(m.paths); err != nil {
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = step.New(nil)
	}
	if err := m.start(ctx, o, log); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Config is the AWS configuration for the machine, whatever the environment
// says. S3 needs UsePathStyle besides.
func (m *Machine) Config() aws.Config { return Config(m.Endpoint) }

// Done is closed when the emulator has ended, by Close or by itself.
func (m *Machine) Done() <-chan struct{} { return m.emulator.Done() }

// LogFile is where the emulator writes its log.
func (m *Machine) LogFile() string { return m.paths.log("emulator") }

// Close stops the emulator with everything that runs in it, which is then gone
// for good. It may be called more than once.
func (m *Machine) Close() error {
	m.pipeline.close()
	m.pipeline = nil
	stopped := m.warehouse.close()
	m.warehouse = nil
	if m.emulator != nil {
		m.emulator.Stop(stopGrace)
	}
	m.shards.close()
	if m.lock == nil {
		return stopped
	}
	// The code of the functions that ran.
	err := errors.Join(stopped, os.RemoveAll(m.paths.tmp), os.RemoveAll(m.paths.activity))
	err = errors.Join(err, m.lock.release())
	m.lock = nil
	return err
}

// Config is the AWS configuration for the machine at the endpoint, see
// Machine.Config.
func Config(endpoint string) aws.Config {
	return aws.Config{
		Region:       Region,
		Credentials:  credentials.NewStaticCredentialsProvider(Key, Key, ""),
		BaseEndpoint: aws.String(endpoint),
		// The emulator answers many requests at once; the default of two idle
		// connections would open a new one for most of them.
		HTTPClient: plainBodies{awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.Proxy = nil
			t.MaxIdleConnsPerHost = 16
		})},
	}
}

// plainBodies hides the WriteTo of requests' bodies. The SDK's answers io.EOF once
// the body is closed, as it is when the response comes; if that is faster than
// net/http's last look at the body, as on this machine, the connection is closed
// amid the response, and the SDK repeats a request that was served: records came
// twice.
type plainBodies struct{ aws.HTTPClient }

func (c plainBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

// Environment points any AWS client at the endpoint: NAME=value, in an order to
// print.
func Environment(endpoint string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + endpoint,
		"AWS_ACCESS_KEY_ID=" + Key,
		"AWS_SECRET_ACCESS_KEY=" + Key,
		"AWS_REGION=" + Region,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// StepError is the failure of one step.
type StepError struct {
	Step   string // its name
	Output string // what the step's program printed
	File   string // where that is kept
	Err    error
}

func (e *StepError) Error() string {
	text := fmt.Sprintf("%s failed: %v", e.Step, e.Err)
	if e.Output != "" {
		text += fmt.Sprintf("\n\n%s\n(from %s)", e.Output, e.File)
	}
	return text
}

func (e *StepError) Unwrap() error { return e.Err }

// paths are the places that the machine uses in a checkout.
type paths struct {
	dir       string // the checkout
	root      string // build/local
	state     string
	activity  string
	lock      string
	tmp       string // of all processes, emptied at both ends
	assembly  string // the synthesized stack
	outputs   string // of the deployed stack
	cdkHome   string // what the CDK command line remembers
	bootstrap string // a folder with no app in it
}

func pathsOf(dir string) paths {
	root := filepath.Join(dir, "build", "local")
	return paths{
		dir:       dir,
		root:      root,
		state:     filepath.Join(root, "state.json"),
		activity:  filepath.Join(root, "activity.json"),
		lock:      filepath.Join(root, "lock"),
		tmp:       filepath.Join(root, "tmp"),
		assembly:  filepath.Join(root, "cdk.out"),
		outputs:   filepath.Join(root, "outputs.json"),
		cdkHome:   filepath.Join(root, "cdk-home"),
		bootstrap: filepath.Join(root, "bootstrap"),
	}
}

func (p paths) log(name string) string { return filepath.Join(p.root, name+".log") }

func (p paths) node() string { return filepath.Join(p.modules(), ".bin", "node") }

func (p paths) cdk() string { return filepath.Join(p.modules(), ".bin", "cdk") }

func (p paths) template() string { return filepath.Join(p.assembly, StackName+".template.json") }

func (p paths) modules() string { return filepath.Join(p.dir, "node_modules") }

func (p paths) python() string { return filepath.Join(p.dir, ".venv", "bin", "python") }
