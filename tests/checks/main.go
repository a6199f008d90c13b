// Command checks runs checkov over templates, without the network, and fails on
// whatever it finds that a template doesn't accept, and on whatever a template
// accepts that it doesn't find.
//
//	go run ./tests/checks -checkov .venv-lint/bin/checkov build/checks/*.template.json
//
// checkov can't tell the latter: what is accepted it doesn't look at. So it gets
// each template twice, as it is and without its acceptances.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	checkov := flag.String("checkov", ".venv-lint/bin/checkov", "the program")
	flag.Parse()
	problems, err := run(*checkov, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "checks:", err)
		os.Exit(2)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// finding of checkov: resource is "AWS::S3::Bucket.Archive".
type finding struct {
	File     string `json:"file_path"`
	Resource string `json:"resource"`
	ID       string `json:"check_id"`
	Name     string `json:"check_name"`
}

// result is checkov's output for one framework.
type result struct {
	Results struct {
		Passed  []finding `json:"passed_checks"`
		Failed  []finding `json:"failed_checks"`
		Skipped []finding `json:"skipped_checks"`
		Errors  []string  `json:"parsing_errors"`
	} `json:"results"`
}

// run checks the files, whose names differ, and returns the problems.
func run(checkov string, files []string) ([]string, error) {
	if len(files) == 0 {
		return nil, errors.New("there is no template to check")
	}
	program, err := filepath.Abs(checkov)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "millrace-checks-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	accepted := map[finding]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(file)
		bare, skips, err := strip(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, s := range skips {
			s.File = name
			accepted[s] = true
		}
		if err := errors.Join(put(filepath.Join(dir, "given", name), text), put(filepath.Join(dir, "bare", name), bare)); err != nil {
			return nil, err
		}
	}
	r, err := scan(program, dir)
	if err != nil {
		return nil, err
	}
	return judge(r, accepted, files), nil
}

// scan runs checkov over dir. It reads neither this project's settings nor the
// user's, and asks no service for anything.
func scan(program, dir string) (result, error) {
	cmd := exec.Command(program, "--directory", ".", "--framework", "cloudformation", "--output", "json", "--skip-download", "--soft-fail")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return result{}, fmt.Errorf("%s: %w\n%s", program, err, stderr.Bytes())
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		return result{}, fmt.Errorf("checkov's output: %w\n%s%s", err, out, stderr.Bytes())
	}
	return r, nil
}

// judge compares what was found with what is accepted.
func judge(r result, accepted map[finding]bool, files []string) []string {
	var problems []string
	for _, e := range r.Results.Errors {
		problems = append(problems, e+": checkov can't read it")
	}
	seen, found := map[string]bool{}, map[finding]bool{}
	for _, f := range slices.Concat(r.Results.Passed, r.Results.Failed, r.Results.Skipped) {
		seen[filepath.Base(f.File)] = true
	}
	for _, file := range files {
		if name := filepath.Base(file); !seen[name] {
			problems = append(problems, name+": checkov checked nothing in it")
		}
	}
	for _, f := range r.Results.Failed {
		name := filepath.Base(f.File)
		if filepath.Base(filepath.Dir(f.File)) == "given" {
			problems = append(problems, fmt.Sprintf("%s: %s: %s: %s", name, f.Resource, f.ID, f.Name))
			continue
		}
		_, id, _ := strings.Cut(f.Resource, ".")
		found[finding{File: name, Resource: id, ID: f.ID}] = true
	}
	for a := range accepted {
		if !found[a] {
			problems = append(problems, fmt.Sprintf("%s: %s: %s is accepted and not found: take the acceptance away", a.File, a.Resource, a.ID))
		}
	}
	slices.Sort(problems)
	return problems
}

// strip returns a template without what it accepts of checkov, and that.
func strip(text []byte) ([]byte, []finding, error) {
	var template map[string]any
	if err := json.Unmarshal(text, &template); err != nil {
		return nil, nil, err
	}
	var skips []finding
	resources, _ := template["Resources"].(map[string]any)
	for id, r := range resources {
		resource, _ := r.(map[string]any)
		metadata, _ := resource["Metadata"].(map[string]any)
		checkov, _ := metadata["checkov"].(map[string]any)
		list, _ := checkov["skip"].([]any)
		for _, s := range list {
			skip, _ := s.(map[string]any)
			name, _ := skip["id"].(string)
			skips = append(skips, finding{Resource: id, ID: name})
		}
		delete(metadata, "checkov")
	}
	bare, err := json.MarshalIndent(template, "", " ")
	return bare, skips, err
}

func put(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}
