package gofunc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"

	"github.com/millrace/millrace/constructs/internal/valid"
	"github.com/millrace/millrace/constructs/spec"
)

// Check notes every problem of p in c. Constructs that define a function call it
// with their own, so that all come together.
func (p Props) Check(c *spec.Check) {
	c.Merge(p.Validate(""))
	p.Code.check(c, p.WithDefaults().Architecture)
	p.checkEnvironment(c)
	p.checkLogs(c)
	p.checkNetwork(c)
	p.checkLayers(c)
}

// variable is what Lambda takes as an environment variable's name.
var variable = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]+$`)

// reserved are the variables that Lambda sets itself and refuses to take, as far
// as their names would pass variable.
var reserved = []string{
	"AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
	"AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
	"AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
	"LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
}

func (p Props) checkEnvironment(c *spec.Check) {
	known := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(p.Environment)) {
		value := p.Environment[name]
		switch {
		case !variable.MatchString(name):
			c.Add("Environment", name, "a variable's name is a letter, then letters, digits and underscores", "rename it")
		case slices.Contains(reserved, name):
			c.Add("Environment", name, "Lambda sets this one itself and refuses another value", "read it in the function, or choose another name")
		case value == nil:
			c.Add("Environment."+name, nil, "a variable needs a value", `use jsii.String("…")`)
		case spec.IsToken(*value):
			known[name] = "" // its length is known at deployment only
		default:
			known[name] = *value
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(known); err != nil {
		c.Add("Environment", err, "values must be text", "see the message")
		return
	}
	if size := text.Len() - 1; size > spec.FunctionEnvironment.Max {
		c.Add("Environment", fmt.Sprintf("%d bytes", size), spec.FunctionEnvironment.String(), "put what is long into a parameter, a secret or the code")
	}
}

func (p Props) checkLogs(c *spec.Check) {
	if p.LogGroup == nil {
		return
	}
	const why, fix = "the log group that is given has its own", "set it where the group is defined"
	if p.LogRetentionDays != 0 {
		c.Add("LogRetentionDays", p.LogRetentionDays, why, fix)
	}
	if p.LogKey != nil {
		c.Add("LogKey", "a key", why, fix)
	}
}

func (p Props) checkNetwork(c *spec.Check) {
	if p.VPC == nil {
		const why, fix = "it is a setting of the function's network", "set VPC too"
		for _, s := range []struct {
			field string
			given bool
		}{
			{"Subnets", p.Subnets != nil},
			{"SecurityGroups", len(p.SecurityGroups) > 0},
			{"IPv6", p.IPv6},
			{"FileSystem", p.FileSystem != nil},
		} {
			if s.given {
				c.Add(s.field, "given without a VPC", why, fix)
			}
		}
		return
	}
	if n := len(p.SecurityGroups); n > spec.FunctionSecurityGroups.Max {
		c.Add("SecurityGroups", fmt.Sprintf("%d groups", n), spec.FunctionSecurityGroups.String(), "leave some out")
	}
	for i, group := range p.SecurityGroups {
		if valid.Missing(group) {
			c.Add(fmt.Sprintf("SecurityGroups[%d]", i), nil, "there is nothing to take", "pass the group, or leave it out")
		}
	}
	p.checkSubnets(c)
	if p.FileSystem != nil {
		path := *p.FileSystem.Config().LocalMountPath
		if !spec.IsToken(path) && (!mountPath.MatchString(path) || len(path) > spec.FunctionMountPath.Max) {
			c.Add("FileSystem", path, "Lambda mounts at /mnt/ and a name of letters, digits, hyphens, underscores and dots, 160 characters in all", "mount it at /mnt/files or the like")
		}
	}
}

// mountPath is where Lambda mounts file systems.
var mountPath = regexp.MustCompile(`^/mnt/[A-Za-z0-9_.-]+$`)

func (p Props) checkSubnets(c *spec.Check) {
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
	selected := p.VPC.SelectSubnets(p.Subnets)
	if selected.IsPendingLookup != nil && *selected.IsPendingLookup {
		return // the command line looks the VPC up and synthesizes again
	}
	if n := len(*selected.SubnetIds); n < spec.FunctionSubnets.Min || n > spec.FunctionSubnets.Max {
		c.Add("Subnets", fmt.Sprintf("%d subnets", n), spec.FunctionSubnets.String(), "select others")
	}
	if *selected.HasPublic {
		c.Add("Subnets", "public", "a function has no public address and reaches nothing through a public subnet", "select private subnets, with NAT or endpoints if it calls AWS")
	}
}

func (p Props) checkLayers(c *spec.Check) {
	if n := len(p.Layers); n > spec.FunctionLayers.Max {
		c.Add("Layers", fmt.Sprintf("%d layers", n), spec.FunctionLayers.String(), "merge some")
	}
	for i, layer := range p.Layers {
		field := fmt.Sprintf("Layers[%d]", i)
		if valid.Missing(layer) {
			c.Add(field, nil, "there is nothing to take", "pass the layer, or leave it out")
			continue
		}
		runtimes := layer.CompatibleRuntimes()
		if runtimes == nil {
			continue
		}
		fits := slices.ContainsFunc(*runtimes, func(r awslambda.Runtime) bool { return *r.Name() == "provided.al2023" })
		if !fits {
			c.Add(field, "for other runtimes", "Go functions run on provided.al2023", "take a layer for it, or add it to the layer's compatible runtimes")
		}
	}
}
