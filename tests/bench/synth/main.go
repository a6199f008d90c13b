// Command synth measures how long the race stack takes to synthesize, functions built and
// caches warm, beside an empty CDK app in Go and the same resources in TypeScript with AWS
// Solutions Constructs. It runs them in turn, so that a machine that slows down slows them
// all, and compares medians: the race stack may take 1.5 times the empty app's time, and has
// to be faster than TypeScript under `cdk synth`. `make bench-synth` runs it, from the root
// of the checkout; it ends with 1 if that doesn't hold.
//
// The apps in Go are measured alone, as the CDK command line runs them, and all through
// `cdk synth` with what a user's cdk.json says: `go run` for Go; for TypeScript ts-node, as
// `cdk init` wrote it for years, and tsc with tsx, as it does today. All have the settings
// of this repository's cdk.json, the same Node.js and the same command line. TypeScript has
// the advantage that its functions are stubs. Beside the time it prints the processors'
// time, which other programs on the machine disturb less.
// CDK_VALIDATION=false measures without the CDK's own rules.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	build      = "build/bench"
	typescript = build + "/typescript"
	mostRatio  = 1.5
)

func main() {
	runs := flag.Int("n", 5, "runs of each")
	flag.Parse()
	if err := run(*runs); err != nil {
		fmt.Fprintln(os.Stderr, "bench-synth:", err)
		os.Exit(1)
	}
}

// contender is one way to synthesize.
type contender struct {
	what, how string
	dir       string
	command   []string
	app       bool // the app itself, which takes its settings from the environment
	times     []time.Duration
	cpu       []time.Duration // with all the processes that it started
	resources int
}

func run(runs int) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	settings, err := prepare(root)
	if err != nil {
		return err
	}
	cdk := func(args ...string) []string {
		return append([]string{filepath.Join(root, "node_modules", ".bin", "cdk"), "synth", "--quiet", "--no-notices", "--output", output(root)}, args...)
	}
	tsc := filepath.Join(root, typescript, "node_modules", "typescript7", "bin", "tsc")
	app := filepath.Join("bin", "race.ts")
	empty := &contender{what: "empty app, Go", how: "binary", dir: root, command: []string{filepath.Join(root, build, "empty")}, app: true}
	race := &contender{what: "race stack, Go", how: "binary", dir: root, command: []string{filepath.Join(root, build, "race")}, app: true}
	emptySynth := &contender{what: "empty app, Go", how: "cdk synth, go run", dir: root, command: cdk("--app", "go run ./tests/bench/empty")}
	raceSynth := &contender{what: "race stack, Go", how: "cdk synth, go run", dir: root, command: cdk()}
	tsNodeSynth := &contender{what: "TypeScript", how: "cdk synth, ts-node", dir: typescript, command: cdk("--app", "npx ts-node --prefer-ts-exts "+app)}
	tsxSynth := &contender{what: "TypeScript", how: "cdk synth, tsc and tsx", dir: typescript, command: cdk("--app", "npx --no "+tsc+" && npx tsx "+app)}
	all := []*contender{empty, race, emptySynth, raceSynth, tsxSynth, tsNodeSynth}

	fmt.Printf("Warming up, then %d runs of each in turn.\n", runs)
	for i := range runs + 1 {
		for _, c := range all {
			took, cpu, err := c.once(root, settings)
			if err != nil {
				return err
			}
			if i == 0 {
				if c.resources, err = resources(output(root)); err != nil {
					return err
				}
				continue
			}
			c.times, c.cpu = append(c.times, took), append(c.cpu, cpu)
		}
	}

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tHOW\tRESOURCES\tMEDIAN\tFASTEST\tSLOWEST\tCPU")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.2f s\t%.2f s\t%.2f s\t%.2f s\n", c.what, c.how, c.resources, median(c.times), slices.Min(c.times).Seconds(), slices.Max(c.times).Seconds(), median(c.cpu))
	}
	w.Flush()
	return errors.Join(
		check("the race stack to an empty app, binary", race, empty, mostRatio),
		check("the race stack to an empty app, cdk synth", raceSynth, emptySynth, mostRatio),
		check("the race stack to TypeScript with tsc and tsx, cdk synth", raceSynth, tsxSynth, 1),
		check("the race stack to TypeScript with ts-node, cdk synth", raceSynth, tsNodeSynth, 1),
	)
}

// check prints how two compare and refuses a ratio of times that is too high.
func check(what string, a, b *contender, most float64) error {
	ratio := median(a.times) / median(b.times)
	fmt.Printf("%s: %.2f, at most %.1f (%.2f by the processors' time)\n", what, ratio, most, median(a.cpu)/median(b.cpu))
	if ratio > most {
		return fmt.Errorf("%s is %.2f, more than %.1f", what, ratio, most)
	}
	return nil
}

func median(times []time.Duration) float64 {
	sorted := slices.Sorted(slices.Values(times))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]).Seconds() / 2
	}
	return sorted[middle].Seconds()
}

func output(root string) string { return filepath.Join(root, build, "cdk.out") }

// once synthesizes into an empty folder, as nobody's previous output helps.
func (c *contender) once(root, settings string) (took, cpu time.Duration, err error) {
	out := output(root)
	if err := os.RemoveAll(out); err != nil {
		return 0, 0, err
	}
	cmd := exec.Command(c.command[0], c.command[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "CDK_DISABLE_CLI_TELEMETRY=true", "CDK_DISABLE_VERSION_CHECK=true", "NO_UPDATE_NOTIFIER=1", "CI=true")
	if c.app {
		cmd.Env = append(cmd.Env, "CDK_OUTDIR="+out, "CDK_CONTEXT_JSON="+settings)
	}
	started := time.Now()
	text, err := cmd.CombinedOutput()
	took = time.Since(started)
	if err != nil {
		return 0, 0, fmt.Errorf("%s, %s: %w\n%s", c.what, c.how, err, text)
	}
	return took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// resources counts those of the templates in a cloud assembly.
func resources(out string) (int, error) {
	templates, err := filepath.Glob(filepath.Join(out, "*.template.json"))
	if err != nil || len(templates) == 0 {
		return 0, cmp.Or(err, fmt.Errorf("no template in %s", out))
	}
	count := 0
	for _, file := range templates {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		var template struct{ Resources map[string]any }
		if err := json.Unmarshal(text, &template); err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		count += len(template.Resources)
	}
	return count, nil
}

// prepare builds the apps, installs TypeScript's below build/, where no tool looks for Go
// packages, and returns the settings of cdk.json as the command line gives them to an app.
func prepare(root string) (settings string, err error) {
	text, err := os.ReadFile("cdk.json")
	if err != nil {
		return "", fmt.Errorf("run this in the root of the checkout: %w", err)
	}
	var project struct {
		Context map[string]any `json:"context"`
	}
	if err := json.Unmarshal(text, &project); err != nil {
		return "", fmt.Errorf("cdk.json: %w", err)
	}
	for _, build := range [][2]string{{"empty", "./tests/bench/empty"}, {"race", "./stacks/app"}} {
		if err := command(root, "go", "build", "-o", filepath.Join(root, "build", "bench", build[0]), build[1]); err != nil {
			return "", err
		}
	}
	if err := install(root); err != nil {
		return "", err
	}
	// The same settings for cdk synth in TypeScript's folder.
	own, err := json.MarshalIndent(map[string]any{"context": project.Context, "versionReporting": false}, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(typescript, "cdk.json"), own, 0o644); err != nil {
		return "", err
	}
	given := maps.Clone(project.Context)
	given["aws:cdk:enable-path-metadata"], given["aws:cdk:enable-asset-metadata"] = true, true
	given["aws:cdk:version-reporting"], given["aws:cdk:bundling-stacks"] = false, []string{"**"}
	passed, err := json.Marshal(given)
	return string(passed), err
}

// install copies the TypeScript app and installs what its lock names, once.
func install(root string) error {
	if err := os.MkdirAll(filepath.Join(typescript, "bin"), 0o755); err != nil {
		return err
	}
	lock := ""
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "bin/race.ts"} {
		text, err := os.ReadFile(filepath.Join("tests/bench/typescript", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(typescript, name), text, 0o644); err != nil {
			return err
		}
		if strings.HasPrefix(name, "package") {
			lock += string(text)
		}
	}
	stamp := filepath.Join(typescript, "node_modules", ".installed")
	if done, err := os.ReadFile(stamp); err == nil && string(done) == lock {
		return nil
	}
	if err := command(filepath.Join(root, typescript), "npm", "ci", "--no-fund", "--no-audit", "--loglevel=error"); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(lock), 0o644)
}

func command(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
