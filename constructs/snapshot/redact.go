package snapshot

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

var (
	// variable of an Fn::Sub.
	variable = regexp.MustCompile(`\$\{([A-Za-z0-9:.]+)\}`)
	// bootstrap resources are named cdk-<qualifier>-<kind>-<account>-<region>. What
	// replaces the qualifier keeps to the rules for names: goldens can be linted.
	bootstrap = regexp.MustCompile(`\bcdk-[a-z0-9]{1,10}-((container-)?assets|(deploy|cfn-exec|lookup|file-publishing|image-publishing)-role)-`)
	// versionHash ends the logical id of a function's current version.
	versionHash = regexp.MustCompile(`[0-9a-f]{32}$`)
	hex         = regexp.MustCompile(`[0-9a-f]+`)
)

// Snapshot is the template as it is compared and stored: JSON with sorted keys
// and lists in their order, without what changes with the functions' code, the
// environment's bootstrap or the CDK's version.
func (t *Template) Snapshot() []byte {
	var names []string // and what replaces each
	for _, hash := range t.hashes {
		names = append(names, hash, "ASSET")
	}
	for id, r := range t.Resources {
		if r.Type == "AWS::Lambda::Version" && versionHash.MatchString(id) {
			names = append(names, id, versionHash.ReplaceAllString(id, "VERSION"))
		}
	}
	known := strings.NewReplacer(names...)
	replace := func(text string) string {
		text = known.Replace(bootstrap.ReplaceAllString(text, "cdk-bootstrap-$1-"))
		if len(t.hashes) > 0 {
			return text
		}
		// Nothing tells which hashes are assets': a template without its manifest.
		return hex.ReplaceAllStringFunc(text, func(run string) string {
			if len(run) == 64 {
				return "ASSET"
			}
			return run
		})
	}
	snapshot := redact(t.raw, replace).(map[string]any)
	drop(snapshot, "Parameters", "BootstrapVersion")
	drop(snapshot, "Rules", "CheckBootstrapVersion")
	drop(snapshot, "Conditions", "CDKMetadataAvailable")
	if At(snapshot, "Resources", "CDKMetadata", "Type") == "AWS::CDK::Metadata" {
		drop(snapshot, "Resources", "CDKMetadata")
	}
	return encode(snapshot)
}

// redact applies replace to all keys and texts in v, on a copy.
func redact(v any, replace func(string) string) any {
	switch v := v.(type) {
	case string:
		return replace(v)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = redact(item, replace)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[replace(key)] = redact(item, replace)
		}
		return m
	}
	return v
}

// drop removes an entry of a section, and the section if it is empty then.
func drop(snapshot map[string]any, section, key string) {
	if entries, ok := snapshot[section].(map[string]any); ok {
		delete(entries, key)
		if len(entries) == 0 {
			delete(snapshot, section)
		}
	}
}

// encode writes JSON with sorted keys, and <, > and & as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		panic(err) // v was decoded from JSON
	}
	return b.Bytes()
}

// decode reads JSON with its numbers as they are written.
func decode(text []byte) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v map[string]any
	return v, d.Decode(&v)
}
