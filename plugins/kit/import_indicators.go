package kit

import (
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/typing"
)

// postBatch is the number of artifacts that go out in one turn. After each the
// history is cut, so that it does not grow with the import.
const postBatch = 25

// NewArtifact is an artifact to be added to the incident.
type NewArtifact struct{ Type, Value, Description string }

// NewArtifacts lists the indicators of the event that are no artifacts of the
// incident yet. The tally counts those that are, and those over max_related.
func (k *Kit) NewArtifacts(event int64) ([]NewArtifact, Tally) {
	var rows []jsonvalue.Value
	var err *guest.CallError
	var types names
	var artifacts []Artifact
	var labels map[string]bool
	k.Together(
		func() { rows, err = k.rows("/api/events/"+id(event)+"/indicators", "type,status") },
		func() { types = k.indicatorTypes() },
		func() { artifacts = k.Artifacts() },
		func() { labels = k.artifactTypes() })
	if err != nil {
		k.GiveUp(err)
	}
	var tally Tally
	present := map[[2]string]bool{}
	for _, a := range artifacts {
		present[artifactKey(a.TypeName, a.Value)] = true
	}
	o := typing.Reverse{SyncPasswords: k.SettingBool("sync_passwords")}
	if len(labels) > 0 {
		o.HasArtifactType = func(label string) bool { return labels[label] }
	}
	limit := k.maxRelated()
	var list []NewArtifact
	for _, row := range rows {
		if !row.Get("deleted_at").IsNull() {
			continue
		}
		kind := typeName(row.Get("type"))
		if kind == "" {
			kind = types.name(row.Get("type_id").Int())
		}
		value := strings.TrimSpace(row.Get("value").Text())
		label := typing.ArtifactType(kind, value, o)
		if label == "" || value == "" {
			continue
		}
		tally.All++
		key := artifactKey(label, value)
		if present[key] || present[artifactKey("String", value)] {
			tally.Present++
			continue
		}
		present[key] = true
		if len(list) == limit {
			tally.fail("more than " + strconv.Itoa(limit) + " new indicators, the rest was left out (setting max_related)")
			continue
		}
		list = append(list, NewArtifact{label, value, k.importedText(event, row, kind)})
	}
	return list, tally
}

func (k *Kit) importedText(event int64, row jsonvalue.Value, kind string) string {
	description := Imported + " event " + id(event) + ". Type: " + kind + "."
	if status := typeName(row.Get("status")); status != "" {
		description += " Status: " + status + "."
	}
	return description + " " + k.IndicatorURL(row.Get("id").Int())
}

func (k *Kit) maxRelated() int {
	if n, err := strconv.Atoi(strings.TrimSpace(k.Setting("max_related"))); err == nil && n >= 0 {
		return n
	}
	return 500
}

// artifactKey compares artifacts; values of some types have no case, and for
// the rest two that differ in case alone are no loss.
func artifactKey(label, value string) [2]string {
	return [2]string{strings.ToLower(label), strings.ToLower(strings.TrimSpace(value))}
}

// artifactTypes are the labels that the organization has; empty when unknown.
func (k *Kit) artifactTypes() map[string]bool {
	result := k.do(get(abi.Resilient, "/types/artifact/fields/type", nil))
	labels := map[string]bool{}
	if result.Err != nil {
		return labels
	}
	for option := range result.Body.Get("values").Items() {
		if enabled := option.Get("enabled"); enabled.IsNull() || enabled.Bool() {
			labels[option.Get("label").Text()] = true
		}
	}
	return labels
}

// PostArtifacts adds the first batch of the list and returns the rest.
func (k *Kit) PostArtifacts(list []NewArtifact, tally *Tally) []NewArtifact {
	batch := list[:min(postBatch, len(list))]
	problems := make([]string, len(batch))
	var strands []func()
	for i, a := range batch {
		strands = append(strands, func() { problems[i] = k.postArtifact(a) })
	}
	k.Together(strands...)
	for _, problem := range problems {
		if problem != "" {
			tally.fail(problem)
			continue
		}
		tally.Done++
	}
	return list[len(batch):]
}

// postArtifact falls back to String where the value does not fit the pattern of
// the artifact type.
func (k *Kit) postArtifact(a NewArtifact) string {
	result := k.do(a.call(k.IncidentID))
	if result.Status == 400 && a.Type != "String" {
		a.Type = "String"
		result = k.do(a.call(k.IncidentID))
	}
	switch {
	case result.Err == nil:
		return ""
	case result.Status == 403:
		k.GiveUp(result.Err)
	}
	return a.Type + " " + a.Value + ": " + result.Err.Error()
}

func (a NewArtifact) call(incident int64) guest.Call {
	return guest.Call{
		Service: abi.Resilient, Method: "POST", Path: "/incidents/" + id(incident) + "/artifacts",
		Body: jsonvalue.Obj("type", a.Type, "value", a.Value,
			"description", jsonvalue.Obj("format", "text", "content", a.Description)),
	}
}

// Import is the work of adding artifacts to an incident, as it is kept between
// turns: the history is cut after each batch.
type Import struct {
	Event int64
	// Summary says what the rule did before the import.
	Summary  string
	Problems []string
	Tally    Tally
	Todo     []NewArtifact
}

// PlanImport starts the import of an event's indicators.
func (k *Kit) PlanImport(event int64, summary string, problems []string) Import {
	todo, tally := k.NewArtifacts(event)
	return Import{Event: event, Summary: summary, Problems: problems, Tally: tally, Todo: todo}
}

// State writes the work down for the next turn.
func (i Import) State() jsonvalue.Raw {
	todo := make([]jsonvalue.Raw, 0, len(i.Todo))
	for _, a := range i.Todo {
		todo = append(todo, jsonvalue.Arr(a.Type, a.Value, a.Description))
	}
	return jsonvalue.Obj("event", i.Event, "summary", i.Summary, "problems", jsonvalue.Arr(i.Problems),
		"done", i.Tally.Done, "all", i.Tally.All, "present", i.Tally.Present, "failed", jsonvalue.Arr(i.Tally.Problems),
		"todo", jsonvalue.Arr(todo))
}

// LoadImport reads what State wrote.
func LoadImport(state jsonvalue.Value) Import {
	i := Import{
		Event:    state.Get("event").Int(),
		Summary:  state.Get("summary").Text(),
		Problems: texts(state.Get("problems")),
		Tally: Tally{
			Done:     int(state.Get("done").Int()),
			All:      int(state.Get("all").Int()),
			Present:  int(state.Get("present").Int()),
			Problems: texts(state.Get("failed")),
		},
	}
	for row := range state.Get("todo").Items() {
		i.Todo = append(i.Todo, NewArtifact{row.Index(0).Text(), row.Index(1).Text(), row.Index(2).Text()})
	}
	return i
}

func texts(v jsonvalue.Value) []string {
	var list []string
	for item := range v.Items() {
		list = append(list, item.Text())
	}
	return list
}
