package resilienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// document is what is read of an export document: the customizations of an app
// (contract: ConfigurationExportDTO).
type document struct {
	FormatVersion int             `json:"export_format_version"`
	ServerVersion Object          `json:"server_version"`
	Fields        []importedField `json:"fields"`
	Actions       []struct {
		Name       string `json:"name"`
		ObjectType string `json:"object_type"`
		Type       int    `json:"type"`
		LogicType  string `json:"logic_type"`
		UUID       string `json:"uuid"`
		Enabled    bool   `json:"enabled"`
		Conditions []struct {
			FieldName any    `json:"field_name"`
			Method    string `json:"method"`
		} `json:"conditions"`
		ViewItems    []viewItem `json:"view_items"`
		Destinations []string   `json:"message_destinations"`
	} `json:"actions"`
	Functions []struct {
		Name        string                           `json:"name"`
		DisplayName string                           `json:"display_name"`
		UUID        string                           `json:"uuid"`
		Description struct{ Format, Content string } `json:"description"`
		ViewItems   []viewItem                       `json:"view_items"`
		Destination string                           `json:"destination_handle"`
	} `json:"functions"`
	Destinations  []Object `json:"message_destinations"`
	IncidentTypes []Object `json:"incident_types"`
}

type importedField struct {
	Field
	TypeID int64 `json:"type_id"`
}

type viewItem struct {
	Content string `json:"content"` // uuid of a field
}

// postImport takes a document and says what accepting it would do.
func (s *Server) postImport(c *call) *answer {
	var d document
	if err := json.Unmarshal(c.body, &d); err != nil {
		return fail(http.StatusBadRequest, "The request body is not an export document")
	}
	messages, status := []any{}, "PENDING"
	refuse := func(text string) {
		messages, status = append(messages, Object{"type": "ERROR", "text": text}), "INVALID"
	}
	announce := func(kind, name string, exists bool) {
		verb := "created"
		if exists {
			verb = "updated"
		}
		messages = append(messages, Object{"type": "INFO", "text": fmt.Sprintf("%s '%s' will be %s.", kind, name, verb)})
	}
	ofIncident := func(f importedField) bool { return f.TypeID == objectTypeIDs["incident"] }
	switch {
	case d.FormatVersion != 2:
		refuse("The format of the document is not supported.")
	case newer(d.ServerVersion, s.version()):
		refuse(fmt.Sprintf("The document was exported from version %v, which is newer than this server.", d.ServerVersion["version"]))
	case len(d.IncidentTypes) == 0 || !slices.ContainsFunc(d.Fields, ofIncident):
		refuse("The document must have an incident type and an incident field.")
	}
	destinations := map[string]bool{}
	for _, destination := range d.Destinations {
		name := fmt.Sprint(destination["programmatic_name"])
		destinations[name] = true
		announce("Message destination", name, s.destination(name) != nil)
	}
	sends := func(kind, name, destination string) {
		if !destinations[destination] && s.destination(destination) == nil {
			refuse(fmt.Sprintf("%s '%s' sends to the message destination '%s', which does not exist.", kind, name, destination))
		}
	}
	names := s.fieldNames(&d)
	asks := func(kind, name string, items []viewItem) {
		for _, item := range items {
			if names[item.Content] == "" {
				refuse(fmt.Sprintf("%s '%s' asks for the field %s, which does not exist.", kind, name, item.Content))
			}
		}
	}
	for _, f := range d.Fields {
		old := s.world.field(typeOf(f.TypeID), f.Name)
		if old != nil && old.InputType != f.InputType {
			refuse(fmt.Sprintf("Field '%s' exists with another type.", f.Name))
			continue
		}
		announce("Field", f.Text, old != nil)
	}
	for _, rule := range d.Actions {
		announce("Rule", rule.Name, s.ruleNamed(rule.Name) >= 0)
		asks("Rule", rule.Name, rule.ViewItems)
		for _, destination := range rule.Destinations {
			sends("Rule", rule.Name, destination)
		}
	}
	for _, f := range d.Functions {
		announce("Function", f.DisplayName, s.functionNamed(f.Name) >= 0)
		asks("Function", f.DisplayName, f.ViewItems)
		sends("Function", f.DisplayName, f.Destination)
	}
	id := s.state.newID("import")
	s.state.imports[id] = &d
	o := Object{"id": id, "status": status, "create_date": s.now(), "messages": messages}
	s.state.objects["import"][id] = o
	return ok(cloneObject(o))
}

// putImport accepts or rejects a pending import.
func (s *Server) putImport(c *call) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	o := s.state.objects["import"][c.id("id")]
	if o == nil {
		return notFound(c.r.PathValue("id"))
	}
	if o["status"] != "PENDING" || body["status"] != "ACCEPTED" && body["status"] != "REJECTED" {
		return badValue("status", body["status"])
	}
	o["status"], o["messages"] = body["status"], []any{}
	switch {
	case body["status"] == "ACCEPTED" && s.options.ImportFails != "":
		o["status"], o["messages"] = "IMPORT_ERROR", []any{Object{"type": "ERROR", "text": s.options.ImportFails}}
	case body["status"] == "ACCEPTED":
		s.install(s.state.imports[c.id("id")])
	}
	return ok(cloneObject(o))
}

// newer compares two server_version objects, without their builds.
func newer(a, b Object) bool {
	number := func(o Object, key string) float64 {
		var n float64
		_, _ = fmt.Sscan(fmt.Sprint(o[key]), &n)
		return n
	}
	if x, y := number(a, "major"), number(b, "major"); x != y {
		return x > y
	}
	return number(a, "minor") > number(b, "minor")
}

// fieldNames are the API names of the fields of the document and of the server, by uuid.
func (s *Server) fieldNames(d *document) map[string]string {
	names := map[string]string{}
	for _, fields := range s.world.fields {
		for _, f := range fields {
			names[f.UUID] = f.Name
		}
	}
	for _, f := range d.Fields {
		names[f.UUID] = f.Name
	}
	return names
}

// install merges a document into the organization; objects are found again by name.
func (s *Server) install(d *document) {
	names := s.fieldNames(d)
	for _, f := range d.Fields {
		s.installField(typeOf(f.TypeID), f.Field)
	}
	for _, destination := range d.Destinations {
		if s.destination(fmt.Sprint(destination["programmatic_name"])) == nil {
			added := normalise(destination).(Object)
			added["id"] = s.state.newID("destination")
			s.state.destinations = append(s.state.destinations, added)
		}
	}
	fields := func(items []viewItem) (out []string) {
		for _, item := range items {
			out = append(out, names[item.Content])
		}
		return out
	}
	for _, a := range d.Actions {
		rule := Rule{Name: a.Name, ObjectType: a.ObjectType, Type: a.Type, LogicType: a.LogicType, UUID: a.UUID, Fields: fields(a.ViewItems), Disabled: !a.Enabled}
		if len(a.Destinations) > 0 {
			rule.Destination = a.Destinations[0]
		}
		for _, condition := range a.Conditions {
			rule.Conditions = append(rule.Conditions, [2]any{condition.FieldName, condition.Method})
		}
		if i := s.ruleNamed(a.Name); i >= 0 {
			rule.ID, rule.UUID = s.world.rules[i].ID, s.world.rules[i].UUID
			s.world.rules[i] = rule
			continue
		}
		rule.ID = s.state.newID("rule")
		s.world.rules = append(s.world.rules, rule)
	}
	for _, f := range d.Functions {
		function := Function{
			Name: f.Name, DisplayName: f.DisplayName, Description: f.Description.Content, UUID: f.UUID, Inputs: fields(f.ViewItems), Destination: f.Destination,
		}
		if i := s.functionNamed(f.Name); i >= 0 {
			function.ID, function.UUID = s.world.functions[i].ID, s.world.functions[i].UUID
			s.world.functions[i] = function
			continue
		}
		function.ID = s.state.newID("function")
		s.world.functions = append(s.world.functions, function)
	}
}

// installField adds a field, or the values that an existing one lacks; ids are the server's.
func (s *Server) installField(objectType string, f Field) {
	var lastField, lastValue int64
	for _, fields := range s.world.fields {
		for _, other := range fields {
			lastField = max(lastField, other.ID)
			for _, v := range other.Values {
				if id, isNumber := v.Value.(int64); isNumber && other.Prefix == "properties" {
					lastValue = max(lastValue, id)
				}
			}
		}
	}
	target := s.world.field(objectType, f.Name)
	if target == nil {
		added := f
		added.ID, added.Values = lastField+1, nil
		s.world.fields[objectType] = append(s.world.fields[objectType], added)
		target = s.world.field(objectType, f.Name)
	}
	target.Text, target.Tooltip, target.Required = f.Text, f.Tooltip, f.Required
	for _, v := range f.Values {
		if target.valueByLabel(v.Label) == nil {
			lastValue++
			target.Values = append(target.Values, Value{Value: lastValue, Label: v.Label, Default: v.Default, UUID: v.UUID})
		}
	}
}

func (s *Server) destination(programmaticName string) Object {
	for _, d := range s.state.destinations {
		if d["programmatic_name"] == programmaticName {
			return d
		}
	}
	return nil
}

func (s *Server) ruleNamed(name string) int {
	return slices.IndexFunc(s.world.rules, func(r Rule) bool { return r.Name == name })
}

func (s *Server) functionNamed(name string) int {
	return slices.IndexFunc(s.world.functions, func(f Function) bool { return f.Name == name })
}

func typeOf(id int64) string {
	for name, known := range objectTypeIDs {
		if known == id {
			return name
		}
	}
	return ""
}
