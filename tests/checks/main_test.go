package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const template = `{"Resources": {"Archive": {"Type": "AWS::S3::Bucket", "Metadata": {"keep": 1,
	"checkov": {"skip": [{"id": "CKV_AWS_18", "comment": "Logs are kept elsewhere."}]}}}}}`

// fake is a checkov that notes what it is given and answers with output.
func fake(t *testing.T, output string) (program, notes string) {
	t.Helper()
	dir := t.TempDir()
	program, notes = filepath.Join(dir, "checkov"), filepath.Join(dir, "notes")
	script := "#!/bin/sh\n{ echo \"$@\"; env; cat bare/*; } >'" + notes + "'\ncat <<'END'\n" + output + "\nEND\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program, notes
}

func given(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.template.json")
	if err := os.WriteFile(file, []byte(template), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFindingsAreComparedWithWhatIsAccepted(t *testing.T) {
	const (
		passed = `{"file_path": "/given/a.template.json", "resource": "AWS::S3::Bucket.Archive", "check_id": "CKV_AWS_21"}`
		bare   = `{"file_path": "/bare/a.template.json", "resource": "AWS::S3::Bucket.Archive", "check_id": "CKV_AWS_18", "check_name": "logging"}`
		other  = `{"file_path": "/given/a.template.json", "resource": "AWS::S3::Bucket.Archive", "check_id": "CKV_AWS_53", "check_name": "public"}`
	)
	for name, c := range map[string]struct {
		output, problem string // part of the only problem, or none
	}{
		"accepted and found":     {`{"results": {"passed_checks": [` + passed + `], "failed_checks": [` + bare + `]}}`, ""},
		"accepted and not found": {`{"results": {"passed_checks": [` + passed + `]}}`, "a.template.json: Archive: CKV_AWS_18 is accepted and not found"},
		"found and not accepted": {`{"results": {"failed_checks": [` + bare + `,` + other + `]}}`, "a.template.json: AWS::S3::Bucket.Archive: CKV_AWS_53: public"},
		"nothing was looked at":  {`{"results": {"failed_checks": [` + strings.ReplaceAll(bare, "a.template", "b.template") + `]}}`, "checked nothing"},
		"unreadable":             {`{"results": {"failed_checks": [` + bare + `], "parsing_errors": ["/given/a.template.json"]}}`, "can't read it"},
	} {
		t.Run(name, func(t *testing.T) {
			program, _ := fake(t, c.output)
			problems, err := run(program, []string{given(t)})
			if err != nil {
				t.Fatal(err)
			}
			if c.problem == "" && len(problems) > 0 || c.problem != "" && !strings.Contains(strings.Join(problems, "\n"), c.problem) {
				t.Errorf("%q", problems)
			}
		})
	}
}

func TestCheckovIsGivenNoWayToAService(t *testing.T) {
	t.Setenv("BC_API_KEY", "secret")
	program, notes := fake(t, `{"results": {}}`)
	if _, err := run(program, []string{given(t)}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "secret") || !strings.Contains(string(text), "--skip-download") {
		t.Errorf("checkov got %s", text)
	}
	// Without its acceptances, and else as it was.
	if strings.Contains(string(text), "CKV_AWS_18") || !strings.Contains(string(text), `"keep": 1`) {
		t.Errorf("the bare template: %s", text)
	}
}

func TestWhatCantBeCheckedIsAnError(t *testing.T) {
	program, _ := fake(t, "Traceback")
	broken := filepath.Join(t.TempDir(), "broken.template.json")
	if err := os.WriteFile(broken, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		program string
		files   []string
	}{
		"no file":          {program, nil},
		"no such file":     {program, []string{"nowhere.json"}},
		"no template":      {program, []string{broken}},
		"no such program":  {filepath.Join(t.TempDir(), "none"), []string{given(t)}},
		"no answer":        {program, []string{given(t)}},
		"a failed program": {"/bin/false", []string{given(t)}},
	} {
		if _, err := run(c.program, c.files); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWhatIsStrippedIsOnlyCheckovs(t *testing.T) {
	bare, skips, err := strip([]byte(template))
	if err != nil || !slices.Equal(skips, []finding{{Resource: "Archive", ID: "CKV_AWS_18"}}) {
		t.Fatalf("%v %v", skips, err)
	}
	var got map[string]map[string]map[string]any
	if err := json.Unmarshal(bare, &got); err != nil {
		t.Fatal(err)
	}
	if metadata := got["Resources"]["Archive"]["Metadata"].(map[string]any); len(metadata) != 1 || metadata["keep"] != 1.0 {
		t.Errorf("%v", metadata)
	}
}
