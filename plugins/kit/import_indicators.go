package kit

import (
	"slices"
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
	var artifacts []Artifact
	var types artifactTypes
	k.Together(
		func() { rows, err = k.rows("/api/events/"+id(event)+"/indicators", "type,status") },
		func() { k.indicatorTypes() },
		func() { artifacts = k.Artifacts() },
		func() { types = k.artifactTypes() })
	if err != nil {
		k.GiveUp(err)
	}
	p := k.newPlan(artifacts, types)
	for _, row := range rows {
		i := k.indicatorOf(row)
		if label := p.label(i); label != "" && row.Get("deleted_at").IsNull() {
			p.add(i, label, Imported+" event "+id(event)+".")
		}
	}
	p.tally.Left = p.left
	return p.list, p.tally
}

// artifactPlan collects the artifacts to be added to an incident.
type artifactPlan struct {
	*Kit
	types   artifactTypes
	reverse typing.Reverse
	present map[[2]string]bool
	limit   int
	list    []NewArtifact
	tally   Tally
	// left counts new ones beyond the limit.
	left int
}

func (k *Kit) newPlan(artifacts []Artifact, types artifactTypes) *artifactPlan {
	p := &artifactPlan{Kit: k, types: types, limit: k.maxRelated(), present: map[[2]string]bool{}}
	for _, a := range artifacts {
		p.present[artifactKey(a.TypeName, a.Value)] = true
	}
	p.reverse.SyncPasswords = k.SettingBool("sync_passwords")
	if len(types) > 0 {
		p.reverse.HasArtifactType = func(label string) bool { _, has := types[label]; return has }
	}
	return p
}

// label is the artifact type of an indicator; empty when it must not be added.
func (p *artifactPlan) label(i Indicator) string {
	value := strings.TrimSpace(i.Value)
	if value == "" {
		return ""
	}
	return typing.ArtifactType(i.Type, value, p.reverse)
}

// add plans an artifact unless it is there, under its type or as String.
func (p *artifactPlan) add(i Indicator, label, origin string) {
	value := strings.TrimSpace(i.Value)
	p.tally.All++
	switch {
	case p.takes(label, value):
	case len(p.list) == p.limit:
		p.left++
	default:
		p.list = append(p.list, NewArtifact{label, value, p.importedText(i, origin)})
	}
}

// takes notes that the incident has the artifact, and counts it if it had it
// before.
func (p *artifactPlan) takes(label, value string) bool {
	key := artifactKey(label, value)
	if p.present[key] || p.present[artifactKey(stringType, value)] {
		p.tally.Present++
		return true
	}
	p.present[key] = true
	return false
}

func (k *Kit) importedText(i Indicator, origin string) string {
	description := origin + " Type: " + i.Type + "."
	if i.Status != "" {
		description += " Status: " + i.Status + "."
	}
	return description + " " + k.IndicatorURL(i.ID)
}

func (k *Kit) maxRelated() int {
	if n, err := strconv.Atoi(strings.TrimSpace(k.Setting("max_related"))); err == nil && n >= 0 {
		return n
	}
	return 500
}

// stringType is the artifact type that takes any value.
const stringType = "String"

// artifactKey compares artifacts by type and value: hashes and hosts without
// case, and so what may be one as a String (contract: find related indicators).
func artifactKey(label, value string) [2]string {
	value = strings.TrimSpace(value)
	switch {
	case strings.HasSuffix(label, " Hash"):
		value = strings.ToLower(value)
	case strings.EqualFold(label, "Email Sender"):
		at := strings.LastIndexByte(value, '@') + 1
		value = value[:at] + strings.ToLower(value[at:])
	case strings.EqualFold(label, "URL"):
		value = lowerHost(value)
	}
	switch strings.ToLower(label) {
	case "ip address", "dns name", "network cidr range", "mac address", "threat cve id", "string":
		value = strings.ToLower(value)
	}
	return [2]string{strings.ToLower(label), value}
}

// lowerHost lowers scheme and host of a URL, which ends at the path.
func lowerHost(url string) string {
	start := 0
	if scheme := strings.Index(url, "://"); scheme >= 0 {
		start = scheme + len("://")
	}
	end := start + strings.IndexAny(url[start:]+"/", "/?#")
	return strings.ToLower(url[:end]) + url[end:]
}

// artifactTypes are the ids of the artifact types that the organization has, by
// label; empty when unknown.
type artifactTypes map[string]int64

func (k *Kit) artifactTypes() artifactTypes {
	result := k.do(get(abi.Resilient, "/types/artifact/fields/type", nil))
	types := artifactTypes{}
	if result.Err != nil {
		return types
	}
	for option := range result.Body.Get("values").Items() {
		if enabled := option.Get("enabled"); enabled.IsNull() || enabled.Bool() {
			types[option.Get("label").Text()] = option.Get("value").Int()
		}
	}
	return types
}

// PostArtifacts adds the first batch of the list and returns the rest. The call is
// not safe to repeat: SOAR keeps two artifacts of one value. When its outcome is
// unknown we look first, and then try once more at most.
func (k *Kit) PostArtifacts(list []NewArtifact, tally *Tally) []NewArtifact {
	batch := list[:min(postBatch, len(list))]
	problems := make([]string, len(batch))
	todo := make([]int, len(batch))
	for i := range batch {
		todo[i] = i
	}
	for last := false; len(todo) > 0; last = true {
		unclear := make([]bool, len(batch))
		var strands []func()
		for _, i := range todo {
			strands = append(strands, func() { problems[i], unclear[i] = k.postArtifact(batch[i]) })
		}
		k.Together(strands...)
		if !slices.Contains(unclear, true) {
			break
		}
		artifacts, err := k.tryArtifacts()
		if err != nil {
			break
		}
		there := map[[2]string]bool{}
		for _, a := range artifacts {
			there[artifactKey(a.TypeName, a.Value)] = true
		}
		todo = todo[:0]
		for i, a := range batch {
			switch {
			case !unclear[i]:
			case there[artifactKey(a.Type, a.Value)] || there[artifactKey(stringType, a.Value)]:
				problems[i] = ""
			case !last:
				todo = append(todo, i)
			}
		}
	}
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
func (k *Kit) postArtifact(a NewArtifact) (problem string, unclear bool) {
	what := shown(a.Type, a.Value)
	result := k.do(a.call(k.IncidentID))
	if result.Status == 400 && a.Type != stringType {
		a.Type = stringType
		result = k.do(a.call(k.IncidentID))
	}
	switch {
	case result.Err == nil:
		return "", false
	case result.Status == 403:
		k.GiveUp(result.Err)
	}
	return what + ": " + result.Err.Error(), mayHaveActed(result.Err)
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
		"done", i.Tally.Done, "all", i.Tally.All, "present", i.Tally.Present, "left", i.Tally.Left, "failed", jsonvalue.Arr(i.Tally.Problems),
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
			Left:     int(state.Get("left").Int()),
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
