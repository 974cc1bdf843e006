package scenario

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/abi/manifest"
	said "fn-threatq/host/dialogue"
)

// Story writes a dialogue of the host as a scenario that passes when it is played
// to the same module. m is the module's manifest, or nil: then values may be in it
// that the manifest does not declare.
func Story(d *said.Dialogue, title string, m *manifest.Manifest) ([]byte, error) {
	d = d.Canonical()
	action, err := parseValue(string(mustJSON(storyAction(d, m))))
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString(strings.Join(strings.Fields(title), " ") + "\n\n-- " + sectionAction + " --\n" + action.pretty())
	if settings := storySettings(d, m); settings != "" {
		b.WriteString("\n-- " + sectionSettings + " --\n" + settings)
	}
	turns, err := Spoken(d, 0)
	if err != nil {
		return nil, err
	}
	b.WriteString("\n" + turns)
	return []byte(b.String()), nil
}

// actionFile is the section action.json.
type actionFile struct {
	Rule         string              `json:"rule,omitempty"`
	Function     string              `json:"function,omitempty"`
	Title        string              `json:"title,omitempty"`
	Operation    string              `json:"operation,omitempty"`
	Object       string              `json:"object,omitempty"`
	IncidentID   int64               `json:"incident_id,omitempty"`
	TaskID       int64               `json:"task_id,omitempty"`
	NoteID       int64               `json:"note_id,omitempty"`
	ArtifactID   int64               `json:"artifact_id,omitempty"`
	AttachmentID int64               `json:"attachment_id,omitempty"`
	Fields       map[string]abi.JSON `json:"fields,omitempty"`
	Inputs       map[string]abi.JSON `json:"inputs,omitempty"`
	Snapshot     *abi.Snapshot       `json:"snapshot,omitempty"`
	User         string              `json:"user,omitempty"`
	Parent       string              `json:"parent,omitempty"`
	ID           string              `json:"id"`
	Now          int64               `json:"now"`
	Site         abi.Site            `json:"site"`
}

func storyAction(d *said.Dialogue, m *manifest.Manifest) actionFile {
	a := d.Action
	f := actionFile{
		Rule: a.Name, Title: a.Title, Operation: a.Operation, Object: a.Object, IncidentID: a.IncidentID, TaskID: a.TaskID,
		NoteID: a.NoteID, ArtifactID: a.ArtifactID, AttachmentID: a.AttachmentID, Fields: a.Fields, Inputs: a.Inputs,
		User: a.User, Parent: a.Parent, ID: a.ID, Now: d.Now, Site: d.Site,
	}
	if a.Kind == abi.KindFunction {
		f.Rule, f.Function = "", a.Name
	}
	if a.Snapshot != (abi.Snapshot{}) {
		f.Snapshot = &a.Snapshot
	}
	if m != nil && m.Function(a.Name) != nil {
		// A message may bring more than the manifest has; a module does not read it.
		f.Inputs = maps.Clone(f.Inputs)
		maps.DeleteFunc(f.Inputs, func(name string, _ abi.JSON) bool {
			return !slices.ContainsFunc(m.Function(a.Name).Inputs, func(i manifest.Field) bool { return i.Name == name })
		})
	}
	return f
}

func storySettings(d *said.Dialogue, m *manifest.Manifest) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(d.Settings)) {
		usual := m != nil && slices.ContainsFunc(m.Settings, func(s manifest.Setting) bool { return s.Name == name && s.Default == d.Settings[name] })
		if !usual {
			b.WriteString(name + " = " + d.Settings[name] + "\n")
		}
	}
	return b.String()
}

// Spoken are the turns and the end of a dialogue in the form of a scenario. Answers
// are cut to so many lines; 0: they are not.
func Spoken(d *said.Dialogue, answerLines int) (string, error) {
	var b strings.Builder
	for i, t := range d.Turns {
		fmt.Fprintf(&b, "-- turn %d --\n%s", i+1, headText(t.Hold, t.Progress, t.State))
		exchanges, err := exchangesOf(t)
		if err != nil {
			return "", err
		}
		for k, x := range exchanges {
			b.WriteString(x.request.text())
			if k < len(t.Results) {
				b.WriteString(shortened(x.answer.text(), answerLines))
			}
			b.WriteByte('\n')
		}
	}
	end, err := endingOf(&abi.Output{Reply: d.Reply, Fail: d.Fail})
	if err != nil {
		return "", err
	}
	if end != nil {
		b.WriteString(end.text())
	}
	return b.String(), nil
}

func shortened(text string, most int) string {
	all := strings.SplitAfter(text, "\n")
	if most == 0 || len(all)-1 <= most+1 {
		return text
	}
	return strings.Join(all[:most], "") + fmt.Sprintf("  … %d more lines\n", len(all)-1-most)
}

// exchangesOf are the calls and sub-actions of a turn with their answers.
func exchangesOf(t said.Turn) ([]*exchange, error) {
	var all []*exchange
	for _, c := range t.Calls {
		x, err := exchangeOf(c)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	for _, s := range t.Actions {
		x, err := exchangeOfAction(s)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	for i, x := range all {
		if i < len(t.Results) {
			var err error
			if x.answer, err = answerOf(t.Results[i], &x.request); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// answerOf is the answer of a file that gives this result.
func answerOf(r abi.Result, q *request) (answer, error) {
	a := answer{line: 1, status: r.Status, blob: r.Blob}
	switch {
	case r.Reply != nil:
		body, err := parseValue(string(mustJSON(r.Reply)))
		return answer{line: 1, kind: kindReply, body: body}, err
	case r.Error != nil && q.rule != "":
		return answer{line: 1, kind: kindFail, cause: cmp.Or(r.Error.Cause, abi.CodeInternal), retry: r.Error.Retry, message: oneLine(r.Error.Message)}, nil
	case r.Error != nil && r.Status > 0 && (r.Error.Code == abi.CodeHTTP || r.Error.Code == abi.CodeUnknown):
		// As the service would say it; the client made one line of it.
		if r.Error.Message != "" {
			a.body = &value{kind: jsonvalue.Object}
			a.body.set(map[string]string{abi.ThreatQ: "errors", abi.Resilient: "message"}[q.service], textValue(r.Error.Message))
		}
		return a, nil
	case r.Error != nil:
		a = answer{line: 1, kind: "internal", message: oneLine(r.Error.Message)}
		for word, known := range noAnswer {
			if known.code == r.Error.Code {
				a.kind = word
			}
		}
		return a, nil
	}
	var err error
	a.body, err = parseValue(string(r.Body))
	return a, err
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
