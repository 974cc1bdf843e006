package tck

import (
	"cmp"
	"encoding/json"
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// What an input has when the subject does not say it.
const (
	defaultNow  = 1_700_000_000_000
	defaultSeed = "00000000000000a1"
)

// DefaultSite is the site of subjects that do not name one.
func DefaultSite() abi.Site {
	return abi.Site{
		OrgID: 201, OrgName: "Example Org",
		ResilientURL: "https://soar.example.com", ThreatQURL: "https://threatq.example.com",
		Account: abi.Account{Type: "apikey", ID: 17, Name: "threatq integration"},
	}
}

func fill(in abi.Input) abi.Input {
	in.Version, in.Turn, in.Results = abi.Version, 1, [][]abi.Result{}
	in.Now, in.Seed = cmp.Or(in.Now, defaultNow), cmp.Or(in.Seed, defaultSeed)
	if in.Site.OrgID == 0 {
		in.Site = DefaultSite()
	}
	if in.Settings == nil {
		in.Settings = map[string]string{}
	}
	return in
}

// Subjects are actions made from a manifest: each rule as a menu item with all
// fields, as one without any, and as an automatic rule for each operation; each
// function with all inputs and without any.
func Subjects(m *manifest.Manifest) []Subject {
	settings := map[string]string{}
	for _, s := range m.Settings {
		settings[s.Name] = s.Default
	}
	var subjects []Subject
	add := func(name string, a abi.Action) {
		a.ID = "tck-" + strconv.Itoa(len(subjects)+1)
		subjects = append(subjects, Subject{Name: name, Input: abi.Input{Settings: settings, Action: a}})
	}
	for _, r := range m.Rules {
		a := abi.Action{
			Kind: abi.KindRule, Name: manifest.RoutingName(r.Title), Title: r.Title, Object: r.Object, IncidentID: 2095,
			Snapshot: abi.Snapshot{IncidentName: "Phishing mail to finance"}, User: "Ada Lovelace",
		}
		switch r.Object {
		case "task":
			a.TaskID, a.Snapshot.Name = 17, "Interview the user"
		case "note":
			a.NoteID = 7
		case "artifact":
			a.ArtifactID, a.Snapshot.ArtifactType, a.Snapshot.ArtifactValue = 1532, "IP Address", "203.0.113.77"
		case "attachment":
			a.AttachmentID, a.Snapshot.Name = 27, "report.pdf"
		}
		add(a.Name, a)
		if len(r.Fields) > 0 {
			a.Fields = values(r.Fields)
			add(a.Name+" with fields", a)
			a.Fields = nil
		}
		for _, operation := range []string{"created", "modified", "deleted"} {
			a.Operation = operation
			add(a.Name+" "+operation, a)
		}
	}
	for _, f := range m.Functions {
		a := abi.Action{Kind: abi.KindFunction, Name: f.Name, Title: f.Title}
		add(f.Name+" without inputs", a)
		if len(f.Inputs) > 0 {
			a.Inputs = values(f.Inputs)
			add(f.Name, a)
		}
	}
	return subjects
}

// values are such as a user could give.
func values(fields []manifest.Field) map[string]abi.JSON {
	given := map[string]abi.JSON{}
	for _, f := range fields {
		switch f.Type {
		case "select":
			given[f.Name] = text(f.Options[0])
		case "multiselect":
			given[f.Name] = abi.JSON("[" + string(text(f.Options[0])) + "]")
		case "number":
			given[f.Name] = abi.JSON("7")
		case "boolean":
			given[f.Name] = abi.JSON("true")
		case "datepicker", "datetimepicker":
			given[f.Name] = abi.JSON("1580479200000")
		default:
			given[f.Name] = text("203.0.113.77 \"quoted\" \\ ü 🜁\n")
		}
	}
	return given
}

func text(s string) abi.JSON {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic("tck: " + err.Error()) // a string can always be written
	}
	return quoted
}
