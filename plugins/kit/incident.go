package kit

import (
	"strings"

	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// Names of event attributes that the rules speak of.
const (
	attributeIncidentID  = "Resilient Incident ID"
	attributeIncidentURL = "Resilient Incident URL"
	attributeStatus      = "Status"
)

// incidentAttribute makes an attribute of a built-in incident field.
type incidentAttribute struct {
	name, field string
	multi       bool
	// labelled fields hold handles, which may be left as ids.
	labelled bool
	write    func(v jsonvalue.Value) string
}

// incidentAttributes is the table of event attributes (contract: event
// attributes), without those that every event has.
var incidentAttributes = []incidentAttribute{
	{name: "Severity", field: "severity_code", labelled: true},
	{name: attributeStatus, field: "plan_status", write: planStatus},
	{name: "Incident Type", field: "incident_type_ids", multi: true, labelled: true},
	{name: "Phase", field: "phase_id", labelled: true},
	{name: "Owner", field: "owner_id", labelled: true},
	{name: "Workspace", field: "workspace", labelled: true},
	{name: "NIST Attack Vectors", field: "nist_attack_vectors", multi: true, labelled: true},
	{name: "Confirmed", field: "confirmed", write: func(v jsonvalue.Value) string { return yesNo(v.Bool()) }},
	{name: "Simulation", field: "inc_training", write: onlyYes},
	{name: "Date Occurred", field: "start_date", write: moment},
	{name: "Due Date", field: "due_date", write: moment},
	{name: "Date Closed", field: "end_date", write: moment},
	{name: "Resolution", field: "resolution_id", labelled: true},
	{name: "Resolution Summary", field: "resolution_summary", write: func(v jsonvalue.Value) string {
		return text.Plain(richText(v))
	}},
}

func planStatus(v jsonvalue.Value) string {
	if v.Text() == "C" {
		return "Closed"
	}
	return "Active"
}

func onlyYes(v jsonvalue.Value) string {
	if v.Bool() {
		return "Yes"
	}
	return ""
}

func moment(v jsonvalue.Value) string { return text.Time(v.Int()) }

// EventAttributes are the attributes that the incident's event has to have. An
// attribute without values is one that has to go; one that is not listed is
// left alone.
func (k *Kit) EventAttributes(incident Incident) []Attribute {
	if k.attributes == nil {
		k.attributes = k.eventAttributes(incident)
	}
	return k.attributes
}

func (k *Kit) eventAttributes(incident Incident) []Attribute {
	wanted := attributeList{}
	wanted.add(attributeIncidentID, false, id(k.IncidentID))
	wanted.add(attributeIncidentURL, false, k.IncidentURL())
	wanted.add("Resilient Organization", false, k.Site.OrgName)

	mapped := k.pairs("custom_attributes")
	values := make([][]string, len(incidentAttributes)+len(mapped))
	states := make([]fieldState, len(values))
	var strands []func()
	read := func(i int, field string, labelled bool) {
		job := func() { values[i], states[i] = k.values(incident, field, labelled) }
		if needsDefinition(incident.Field(field)) {
			strands = append(strands, job)
			return
		}
		job()
	}
	for i, a := range incidentAttributes {
		if a.write != nil {
			if v := incident.Get(a.field); !v.IsNull() {
				values[i] = []string{a.write(v)}
			}
			continue
		}
		if incident.Get(a.field).IsNull() {
			continue
		}
		read(i, a.field, a.labelled)
	}
	for j, p := range mapped {
		read(len(incidentAttributes)+j, p.field, false)
	}
	k.Together(strands...)

	// A custom attribute takes the place of a built-in one of its name, unless
	// its field does not exist. Where one of the fields of a name is unclear,
	// the whole name is left alone.
	custom := attributeList{}
	for j, p := range mapped {
		i := len(incidentAttributes) + j
		switch states[i] {
		case fieldUnclear:
			custom.leave(p.name)
		case fieldGone:
			k.Log("custom_attributes: incidents have no field " + p.field + "; the pair is skipped")
			custom.addGone(p.name)
		default:
			custom.add(p.name, true, values[i]...)
		}
	}
	for i, a := range incidentAttributes {
		if states[i] != fieldRead || custom.has(a.name) {
			continue
		}
		wanted.add(a.name, a.multi, values[i]...)
	}
	for _, a := range custom.list {
		if a.left {
			wanted.drop(a.Name)
			continue
		}
		if a.gone && wanted.has(a.Name) {
			continue
		}
		wanted.drop(a.Name)
		wanted.add(a.Name, a.Multi, a.Values...)
	}
	return wanted.attributes()
}

// attributeList unites the values of one name, whatever its case.
type attributeList struct{ list []*listedAttribute }

type listedAttribute struct {
	Attribute
	left, gone bool
}

func (l *attributeList) find(name string) *listedAttribute {
	for _, a := range l.list {
		if strings.EqualFold(a.Name, name) {
			return a
		}
	}
	return nil
}

func (l *attributeList) named(name string) *listedAttribute {
	a := l.find(name)
	if a == nil {
		a = &listedAttribute{Attribute: Attribute{Name: text.CutRunes(oneLine(name), text.AttributeNameRunes)}}
		l.list = append(l.list, a)
	}
	return a
}

func (l *attributeList) add(name string, multi bool, values ...string) {
	a := l.named(name)
	a.gone = false
	a.Multi = a.Multi || multi
	for _, value := range values {
		value = strings.TrimSpace(text.CutRunes(strings.TrimSpace(text.Clean(value)), text.AttributeValueRunes))
		if value != "" && !a.wants(value) {
			a.Values = append(a.Values, value)
		}
	}
}

func (l *attributeList) addGone(name string) {
	if l.find(name) == nil {
		l.named(name).gone = true
	}
}

func (l *attributeList) leave(name string) { l.named(name).left = true }

// has reports whether the list decides over the name.
func (l *attributeList) has(name string) bool {
	a := l.find(name)
	return a != nil && !a.gone
}

func (l *attributeList) drop(name string) {
	for i, a := range l.list {
		if strings.EqualFold(a.Name, name) {
			l.list = append(l.list[:i], l.list[i+1:]...)
			return
		}
	}
}

func (l *attributeList) attributes() []Attribute {
	list := make([]Attribute, 0, len(l.list))
	for _, a := range l.list {
		list = append(list, a.Attribute)
	}
	return list
}
