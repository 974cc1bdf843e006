package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// sampleTurns builds one believable first turn for each rule and function, and
// a long one.
func sampleTurns(m *manifest.Manifest) ([][]byte, error) {
	var inputs [][]byte
	add := func(a abi.Action) error {
		settings := map[string]string{}
		for _, s := range m.Settings {
			settings[s.Name] = s.Default
		}
		text, err := json.Marshal(abi.Input{
			Version: abi.Version, Turn: 1, Now: zeroTime.UnixMilli(), Seed: "0000000000000000",
			Settings: settings,
			Site: abi.Site{
				OrgID: 201, OrgName: "Example", ResilientURL: "https://soar.example", ThreatQURL: "https://threatq.example",
				Account: abi.Account{Type: "apikey", ID: 1, Name: "fn-threatq"},
			},
			Action:  a,
			Results: [][]abi.Result{},
		})
		inputs = append(inputs, text)
		return err
	}
	for _, r := range m.Rules {
		a := abi.Action{
			ID: "ID:example-1:1:1:1", Kind: abi.KindRule, Name: manifest.RoutingName(r.Title), Title: r.Title,
			Operation: "created", Object: r.Object, IncidentID: 1, User: "Example User",
			Fields:   sampleFields(r.Fields),
			Snapshot: abi.Snapshot{IncidentName: "Example incident"},
		}
		switch r.Object {
		case "task":
			a.TaskID, a.Snapshot.Name = 1, "Example task"
		case "note":
			a.NoteID = 1
		case "artifact":
			a.ArtifactID, a.Snapshot.ArtifactType, a.Snapshot.ArtifactValue = 1, "IP Address", "192.0.2.1"
		case "attachment":
			a.AttachmentID, a.Snapshot.Name = 1, "example.txt"
		}
		if err := add(a); err != nil {
			return nil, err
		}
	}
	for _, f := range m.Functions {
		a := abi.Action{
			ID: "ID:example-1:1:1:1", Kind: abi.KindFunction, Name: f.Name, Title: f.Title,
			IncidentID: 1, User: "Example User", Inputs: sampleFields(f.Inputs),
		}
		if err := add(a); err != nil {
			return nil, err
		}
	}
	return append(inputs, padded(inputs[0])), nil
}

// padded makes an input long by a key that a module must ignore, so that the
// image has a buffer for the inputs of most turns.
func padded(input []byte) []byte {
	const size = 64 << 10
	long := append(slices.Clone(bytes.TrimSuffix(input, []byte("}"))), `,"padding":"`...)
	long = append(long, bytes.Repeat([]byte("."), size)...)
	return append(long, `"}`...)
}

func sampleFields(fields []manifest.Field) map[string]abi.JSON {
	values := map[string]abi.JSON{}
	for _, f := range fields {
		switch f.Type {
		case "number", "datepicker", "datetimepicker":
			values[f.Name] = abi.JSON(strconv.FormatInt(zeroTime.UnixMilli(), 10))
		case "boolean":
			values[f.Name] = abi.JSON("true")
		case "multiselect":
			values[f.Name], _ = json.Marshal(f.Options[:1])
		case "select":
			values[f.Name], _ = json.Marshal(f.Options[0])
		default:
			values[f.Name] = abi.JSON(`"example"`)
		}
	}
	return values
}

// recordedTurns reads the warm-up section: a JSON list of turn inputs.
func recordedTurns(section []byte) ([][]byte, error) {
	var inputs []json.RawMessage
	if err := json.Unmarshal(section, &inputs); err != nil {
		return nil, fmt.Errorf("section %s is not a JSON list of turn inputs: %w", abi.SectionWarmUp, err)
	}
	texts := make([][]byte, len(inputs))
	for i, input := range inputs {
		texts[i] = input
	}
	return texts, nil
}
