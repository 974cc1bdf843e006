package kit

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
	"fn-threatq/plugins/kit/typing"
)

// namesAndObjects asks SOAR for labels in place of ids, and for rich text that
// tells its format (contract: REST conventions).
func namesAndObjects() guest.Query {
	return guest.Query{"handle_format": "names", "text_content_output_format": "objects_convert"}
}

// Incident is the incident as SOAR has it now.
type Incident struct{ jsonvalue.Value }

// Incident reads the incident, once per action. An incident that cannot be read
// ends the action.
func (k *Kit) Incident() Incident {
	incident, err := k.TryIncident()
	if err != nil {
		k.GiveUp(err)
	}
	return incident
}

// TryIncident reads the incident, once per action, and leaves it to the caller
// what a 404 means: deleted, or in a workspace closed to us.
func (k *Kit) TryIncident() (Incident, *guest.CallError) {
	if k.incident == nil {
		result := k.do(get(abi.Resilient, "/incidents/"+id(k.IncidentID), namesAndObjects()))
		k.incident = &result
	}
	return Incident{k.incident.Body}, k.incident.Err
}

// Name is the incident's name on one line.
func (i Incident) Name() string { return oneLine(i.Get("name").Text()) }

// Field returns a field by its API name, as custom_attributes and custom_objects
// name it: custom fields first, then built-in ones.
func (i Incident) Field(name string) jsonvalue.Value {
	if custom := i.Get("properties", name); custom.Exists() {
		return custom
	}
	return i.Get(name)
}

// Artifact is an artifact as SOAR has it now.
type Artifact struct {
	ID int64
	typing.Artifact
	// Description is plain text.
	Description string
	creator     jsonvalue.Value
}

// Artifact reads the action's artifact. ok is false when it is gone: it was
// deleted, or its incident cannot be found any more, which TryIncident tells.
func (k *Kit) Artifact() (artifact Artifact, ok bool) {
	path := "/incidents/" + id(k.IncidentID) + "/artifacts/" + id(k.ArtifactID)
	result := k.do(get(abi.Resilient, path, namesAndObjects()))
	if result.NotFound() {
		if _, err := k.TryIncident(); err != nil && err.Status != 404 {
			k.GiveUp(err)
		}
		return Artifact{}, false
	}
	if result.Err != nil {
		k.GiveUp(result.Err)
	}
	return artifactOf(result.Body), true
}

// Artifacts reads all artifacts of the incident.
func (k *Kit) Artifacts() []Artifact {
	list, err := k.tryArtifacts()
	if err != nil {
		k.GiveUp(err)
	}
	return list
}

func (k *Kit) tryArtifacts() ([]Artifact, *guest.CallError) {
	result := k.do(get(abi.Resilient, "/incidents/"+id(k.IncidentID)+"/artifacts", namesAndObjects()))
	var list []Artifact
	for row := range result.Body.Items() {
		list = append(list, artifactOf(row))
	}
	return list, result.Err
}

// ActiveTasks reads the tasks of the incident that its phase has come to.
func (k *Kit) ActiveTasks() []Task {
	body := k.must(get(abi.Resilient, "/incidents/"+id(k.IncidentID)+"/tasks", namesAndObjects())).Body
	var list []Task
	for row := range body.Items() {
		if t := TaskOf(row); t.Active {
			list = append(list, t)
		}
	}
	return list
}

func artifactOf(v jsonvalue.Value) Artifact {
	a := Artifact{ID: v.Get("id").Int(), Description: text.Plain(richText(v.Get("description")))}
	a.Value = v.Get("value").Text()
	a.IsFile = !v.Get("attachment").IsNull()
	switch kind := v.Get("type"); kind.Kind() {
	case jsonvalue.Number:
		a.TypeID = kind.Int()
	case jsonvalue.Object:
		a.TypeID, a.TypeName = kind.Get("id").Int(), kind.Get("name").Text()
	default:
		a.TypeName = kind.Text()
	}
	a.creator = v.Get("creator_principal")
	if a.creator.IsNull() {
		a.creator = v.Get("creator")
	}
	return a
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// richText returns markup, whether it comes as {format, content} or as a string
// (contract: text, SOAR side). Content of format text is escaped to be markup.
func richText(v jsonvalue.Value) string {
	if v.Kind() != jsonvalue.Object {
		return v.Text()
	}
	content := v.Get("content").Text()
	if v.Get("format").Text() == "text" {
		return escape.Replace(content)
	}
	return content
}
