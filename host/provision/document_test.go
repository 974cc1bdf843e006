package provision_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/provision"
)

var update = flag.Bool("update", false, "write the golden files anew")

// manifests are those of the modules of this project.
func manifests(t *testing.T) (all []*manifest.Manifest) {
	t.Helper()
	paths, err := filepath.Glob("../../plugins/*/manifest.json")
	require.NoError(t, err)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		m, err := manifest.Parse(text)
		require.NoError(t, err)
		all = append(all, m)
	}
	require.Len(t, all, 11)
	return all
}

func build(t *testing.T, only ...string) *provision.Document {
	t.Helper()
	d, err := provision.Build(manifests(t), only...)
	require.NoError(t, err)
	return d
}

func TestDocumentOfThisProject(t *testing.T) {
	golden := filepath.Join("testdata", "document.json")
	got := build(t).Encode()
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run the test with -update when the document was meant to change")
}

func TestTheSameModulesGiveTheSameBytes(t *testing.T) {
	modules := manifests(t)
	first, err := provision.Build(modules)
	require.NoError(t, err)
	slices.Reverse(modules)
	second, err := provision.Build(modules)
	require.NoError(t, err)
	require.Equal(t, string(first.Encode()), string(second.Encode()))
}

// TestTheDocumentHasTheFormOfTheContract compares each part with the part of the same
// name in the contract's sample: the same keys, and the same values where SOAR does not
// give them itself and the sample is no proposal.
func TestTheDocumentHasTheFormOfTheContract(t *testing.T) {
	text, err := os.ReadFile("../../testdata/rest/resilient/rest-36-configurations-import-post.json")
	require.NoError(t, err)
	var sample struct {
		Request struct {
			Body map[string]any `json:"body"`
		} `json:"request"`
	}
	require.NoError(t, json.Unmarshal(text, &sample))
	want := sample.Request.Body
	var got map[string]any
	require.NoError(t, json.Unmarshal(build(t).Encode(), &got))
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))

	parts := map[string][]string{ // what differs, and may
		"actions":              {"id", "uuid", "view_items"},
		"fields":               {"id", "uuid", "values", "tooltip", "required"},
		"functions":            {"id", "uuid", "view_items", "description", "last_modified_by"},
		"message_destinations": {"uuid"},
		"incident_types":       {},
	}
	for key := range want {
		if _, isPart := parts[key]; !isPart {
			assert.Equal(t, want[key], got[key], key)
		}
	}
	for part, free := range parts {
		mine := byExportKey(got[part])
		for name, wanted := range byExportKey(want[part]) {
			require.Contains(t, mine, name)
			if name == "ThreatQ: Sync Task" { // a new owner is told too
				conditions := mine[name]["conditions"].([]any)
				mine[name]["conditions"] = conditions[:len(conditions)-1]
			}
			for key, value := range wanted {
				require.Contains(t, mine[name], key, "%s %s", part, name)
				if !slices.Contains(free, key) {
					assert.Equal(t, value, mine[name][key], "%s %s %s", part, name, key)
				}
			}
		}
		assert.Len(t, mine, len(byExportKey(want[part])), part)
	}
	// What refers to each other still does.
	fields := map[any]string{}
	for name, f := range byExportKey(got["fields"]) {
		fields[f["uuid"]] = name
	}
	assert.Len(t, fields, len(got["fields"].([]any)), "uuids are unique")
	wanted := map[any]string{}
	for name, f := range byExportKey(want["fields"]) {
		wanted[f["uuid"]] = name
	}
	for _, part := range []string{"actions", "functions"} {
		for name, object := range byExportKey(got[part]) {
			assert.Equal(t, shown(byExportKey(want[part])[name], wanted), shown(object, fields), name)
		}
	}
	for name, f := range byExportKey(want["fields"]) {
		assert.Equal(t, optionLabels(f), optionLabels(byExportKey(got["fields"])[name]), name)
	}
}

func byExportKey(list any) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, item := range list.([]any) {
		o := item.(map[string]any)
		out[o["export_key"].(string)] = o
	}
	return out
}

func shown(object map[string]any, fields map[any]string) (names []string) {
	for _, item := range object["view_items"].([]any) {
		names = append(names, fields[item.(map[string]any)["content"]])
	}
	return names
}

func optionLabels(f map[string]any) (out []string) {
	values, _ := f["values"].([]any)
	for _, v := range values {
		out = append(out, v.(map[string]any)["label"].(string))
	}
	return out
}

func TestUUIDsAreOfVersionFive(t *testing.T) {
	form := regexp.MustCompile(`"uuid": "([^"]*)"`)
	valid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := 0
	for _, match := range form.FindAllStringSubmatch(string(build(t).Encode()), -1) {
		if match[1][:8] == "bfeec2d4" { // of the internal customizations, which all apps share
			continue
		}
		assert.Regexp(t, valid, match[1])
		seen++
	}
	assert.Greater(t, seen, 30)
}

func TestTwoModulesMayShareAFieldThatIsTheSame(t *testing.T) {
	rule := func(title string, f manifest.Field) manifest.Rule {
		return manifest.Rule{Title: title, Object: "task", Fields: []manifest.Field{f}}
	}
	status := manifest.Field{Name: "status", Label: "Status", Type: "select", Options: []string{"a"}, Required: true}
	one := &manifest.Manifest{Name: "one", Rules: []manifest.Rule{rule("One", status)}}
	other := status
	other.Required = false
	two := &manifest.Manifest{Name: "two", Rules: []manifest.Rule{rule("Two", other)}}
	d, err := provision.Build([]*manifest.Manifest{one, two})
	require.NoError(t, err)
	require.Len(t, d.Fields, 2, "with the internal one")
	assert.Empty(t, d.Fields[1].Required, "one of the two can do without")

	for name, change := range map[string]func(*manifest.Field){
		"type":    func(f *manifest.Field) { f.Type, f.Options = "text", nil },
		"options": func(f *manifest.Field) { f.Options = []string{"b"} },
		"label":   func(f *manifest.Field) { f.Label = "State" },
	} {
		other := status
		change(&other)
		two := &manifest.Manifest{Name: "two", Rules: []manifest.Rule{rule("Two", other)}}
		_, err := provision.Build([]*manifest.Manifest{two, one})
		require.ErrorContains(t, err, "the modules one and two want the field status", name)
	}
}

func TestOnlyNamedModules(t *testing.T) {
	d := build(t, "set-task-status")
	require.Len(t, d.Rules, 1)
	assert.Empty(t, d.Functions)
	assert.Len(t, d.Fields, 2)
	_, err := provision.Build(manifests(t), "sync-taks")
	var unknown *provision.UnknownModuleError
	require.ErrorAs(t, err, &unknown)
	assert.Contains(t, err.Error(), `no module "sync-taks"; there is add-indicator,`)
}
