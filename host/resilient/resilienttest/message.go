package resilienttest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Message is what SOAR publishes to a message destination.
type Message struct {
	Queue   string            // "actions.201.fn_threatq", without a prefix
	Headers map[string]string // what SOAR sets, un-escaped
	Body    []byte            // JSON
}

// Delivered returns the headers of a MESSAGE frame by which a broker would deliver the
// message the n-th time (from 1): message-id stays, ack changes.
func (m Message) Delivered(n int) map[string]string {
	headers := maps.Clone(m.Headers)
	_, invocation, _ := strings.Cut(m.Headers["correlation-id"], ":")
	number, _ := strconv.Atoi(invocation)
	headers["message-id"] = fmt.Sprintf("ID:soar.example.com-35545-1580460000000-3:2:%d:1:1", number+2100)
	headers["ack"] = fmt.Sprintf("ID:soar.example.com-39107-1580460000000-5:%d", number*10+n)
	headers["subscription"], headers["destination"] = m.Queue, "/queue/"+m.Queue
	headers["expires"], headers["priority"], headers["JMSXUserID"] = "0", "4", "SYSTEM"
	if n > 1 {
		headers["redelivered"] = "true"
	}
	return headers
}

// ActionOptions describe the message of a rule. The object of the rule is given by the id
// of its kind; an incident is enough for an incident rule.
type ActionOptions struct {
	// Operation is created, modified or deleted; empty: created for an automatic rule,
	// no key at all for a menu item on an incident and modified for other menu items, as
	// the known captures show.
	Operation    string
	MenuItem     bool  // the menu item of this name, where both kinds exist
	Unnamed      bool  // action_id null, as when a workflow sends the object
	IncidentID   int64 // default: the incident of the object, else 2095
	ArtifactID   int64
	TaskID       int64 // also: the task of a note or attachment
	NoteID       int64
	AttachmentID int64
	// Fields are activity fields: label or API name → label of a select value, or a plain value.
	Fields          map[string]any
	EmptyProperties bool // properties {} rather than null when there are no fields
	WithoutTask     bool // leave the task out of the message about its note or attachment
}

// ActionMessage builds the message of a rule (by display name) from the server's state; an
// object that has been deleted is taken as it was. It panics when the rule or the object
// does not exist: that is a mistake in the test.
func (s *Server) ActionMessage(rule string, o ActionOptions) Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.findRule(rule, o.MenuItem || len(o.Fields) > 0)
	return s.actionMessage(found, s.subjectOf(found.ObjectType, o), o)
}

func (s *Server) findRule(name string, menuItem bool) *Rule {
	var other *Rule
	for i := range s.world.rules {
		rule := &s.world.rules[i]
		if rule.Name != name {
			continue
		}
		if menuItem == (rule.Type == 1) {
			return rule
		}
		other = rule
	}
	if other == nil {
		panic(fmt.Sprintf("resilienttest: no rule named %q", name))
	}
	return other
}

// subject is the object of a rule and what it belongs to.
type subject struct {
	incident, task, artifact, note, attachment Object
}

func (s *Server) subjectOf(objectType string, o ActionOptions) subject {
	var sub subject
	get := func(kind string, id int64) Object {
		if object := s.get(kind, id); object != nil {
			return object
		}
		if object := s.state.removed[kind][id]; object != nil {
			return object
		}
		panic(fmt.Sprintf("resilienttest: rule on %s: there is no %s %d", objectType, kind, id))
	}
	var child Object
	switch objectType {
	case "artifact":
		sub.artifact = get("artifact", o.ArtifactID)
		child = sub.artifact
	case "note":
		sub.note = get("comment", o.NoteID)
		child = sub.note
	case "attachment":
		sub.attachment = get("attachment", o.AttachmentID)
		child = sub.attachment
	case "task":
		sub.task = get("task", o.TaskID)
		child = sub.task
	}
	if taskID, belongs := child["task_id"].(int64); belongs && !o.WithoutTask {
		sub.task = get("task", taskID)
	}
	switch {
	case child != nil:
		sub.incident = get("incident", child["inc_id"].(int64))
	case o.IncidentID != 0:
		sub.incident = get("incident", o.IncidentID)
	default:
		sub.incident = get("incident", DefaultIncident)
	}
	return sub
}

func (s *Server) actionMessage(rule *Rule, sub subject, o ActionOptions) Message {
	properties := s.properties(rule, o)
	user := cloneObject(s.world.templates["user"])
	body := Object{
		"action_id": rule.ID, "object_type": objectTypeIDs[rule.ObjectType],
		"incident": s.inMessage("incident", sub.incident, user), "task": s.inMessage("task", sub.task, user),
		"artifact": s.inMessage("artifact", sub.artifact, user), "note": s.inMessage("comment", sub.note, user),
		"attachment": s.inMessage("attachment", sub.attachment, user), "milestone": nil, "row": nil,
		"type_info": s.typeInfo(sub, rule, properties), "properties": properties,
		"user": user, "workflow": nil, "workflow_instance": nil,
	}
	if o.Unnamed {
		body["action_id"], body["operation_type"], body["properties"] = nil, nil, nil
	} else if operation := operationOf(rule, o.Operation); operation != "" {
		body["operation_type"] = operation
	}
	token := any(Object{"actions": []any{rule.ID}, "expirationDate": s.options.Now().Add(24 * time.Hour).UnixMilli()})
	return s.message("ActionDataDTO", token, body)
}

func operationOf(rule *Rule, operation string) string {
	switch {
	case operation != "":
		return operation
	case rule.Type == 0:
		return "created"
	case rule.ObjectType == "incident":
		return ""
	}
	return "modified"
}

// properties are the activity fields by API name; fields that were left empty are null.
func (s *Server) properties(rule *Rule, o ActionOptions) any {
	if rule.Type == 0 && len(o.Fields) == 0 || len(rule.Fields)+len(o.Fields) == 0 {
		if o.EmptyProperties {
			return Object{}
		}
		return nil
	}
	out := Object{}
	for _, name := range rule.Fields {
		out[name] = nil
	}
	for label, value := range o.Fields {
		field := s.world.fieldByLabel("actioninvocation", label)
		if field == nil {
			panic(fmt.Sprintf("resilienttest: no activity field %q", label))
		}
		out[field.Name] = s.selected(field, value)
	}
	return out
}

func (s *Server) selected(field *Field, value any) any {
	value = normalise(value)
	label, isText := value.(string)
	if !isText || len(field.Values) == 0 {
		return value
	}
	choice := field.valueByLabel(label)
	if choice == nil {
		panic(fmt.Sprintf("resilienttest: field %q has no value %q", field.Text, label))
	}
	return choice.Value
}

// notInMessages are keys that REST answers have and the objects in messages have not.
var notInMessages = map[string][]string{
	"artifact": {"global_artifact", "global_info", "ip", "pending_scan_result", "playbooks", "related_incident_count"},
	"comment":  {"playbooks"},
	"task":     {"playbooks"},
	"attachment": {"playbooks", "reconciliation_status", "description", "last_modified_by",
		"last_modified_time"},
}

// inMessage is the object as a message carries it: ids, HTML text, no children.
func (s *Server) inMessage(kind string, o Object, user Object) any {
	if o == nil {
		return nil
	}
	out := s.render(kind, o, formats{})
	for _, name := range notInMessages[kind] {
		delete(out, name)
	}
	switch kind {
	case "incident":
		out["creator"] = user
		out["tasks"], out["artifacts"], out["comments"] = nil, nil, nil
	case "artifact":
		out["creator"] = user
		if principal, known := out["creator_principal"].(Object); known && principal["type"] == "apikey" {
			out["creator"] = nil
		}
		if attachment, isFile := out["attachment"].(Object); isFile {
			out["attachment"] = s.inMessage("attachment", attachment, user)
		}
	}
	return out
}

// typeInfo defines the fields of the object's types with the values this message refers
// to. The incident is always described; observed captures agree.
func (s *Server) typeInfo(sub subject, rule *Rule, properties any) Object {
	info := Object{}
	describe := func(typeName string, o Object) {
		if o == nil {
			return
		}
		fields := Object{}
		for i := range s.world.fields[typeName] {
			field := &s.world.fields[typeName][i]
			if !field.InMessages {
				continue
			}
			value := o[field.Name]
			if custom, _ := o["properties"].(Object); field.Prefix == "properties" {
				value = custom[field.Name]
			}
			fields[field.Name] = Object{"id": field.ID, "values": field.referred(value)}
		}
		info[typeName] = Object{"type_id": objectTypeIDs[typeName], "fields": fields}
	}
	describe("incident", sub.incident)
	describe("task", sub.task)
	describe("artifact", sub.artifact)
	describe("note", sub.note)
	describe("attachment", sub.attachment)
	if given, _ := properties.(Object); len(given) > 0 {
		fields := Object{}
		for name, value := range given {
			field := s.world.field("actioninvocation", name)
			fields[name] = Object{"id": field.ID, "values": field.referred(value)}
		}
		info["actioninvocation"] = Object{"type_id": objectTypeIDs["actioninvocation"], "fields": fields}
	}
	return info
}

// referred are the definitions of the values that value (an id or a list of ids) names.
func (f *Field) referred(value any) Object {
	out := Object{}
	ids, isList := value.([]any)
	if !isList {
		ids = []any{value}
	}
	for _, id := range ids {
		if choice := f.valueByID(id); choice != nil {
			definition := choice.definition()
			definition["properties"] = nil
			out[fmt.Sprint(id)] = definition
		}
	}
	return out
}

// FunctionMessage builds the message of a function call. Inputs are given by API name: a
// text, number or boolean as it is, a select by its label, rich text as {format, content};
// an input that is not given is left out. It panics when the function or a select value
// does not exist. An input unknown to the function is sent as it is.
func (s *Server) FunctionMessage(name string, inputs map[string]any) Message {
	return s.functionMessage(name, inputs, false)
}

// PlaybookMessage is FunctionMessage for a call from a playbook rather than a workflow.
func (s *Server) PlaybookMessage(name string, inputs map[string]any) Message {
	return s.functionMessage(name, inputs, true)
}

func (s *Server) functionMessage(name string, inputs map[string]any, fromPlaybook bool) Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.world.functions, func(f Function) bool { return f.Name == name || f.DisplayName == name })
	if i < 0 {
		panic(fmt.Sprintf("resilienttest: no function named %q", name))
	}
	f := s.world.functions[i]
	values := Object{}
	for input, value := range inputs {
		values[input] = normalise(value)
		if field := s.world.field("__function", input); field != nil {
			if label, isText := value.(string); isText && len(field.Values) > 0 {
				values[input] = Object{"id": s.selected(field, label), "name": label}
			}
		}
	}
	destination := Object{"id": s.destinationID(), "name": Destination, "display_name": Destination}
	body := Object{
		"function": Object{
			"id": f.ID, "name": f.Name, "display_name": f.DisplayName, "description": nil, "creator": nil, "uuid": nil,
			"version": nil, "view_items": []any{}, "workflows": []any{},
			"tags": []any{Object{"tag_handle": destination, "value": nil}},
		},
		"groups": []any{}, "inputs": values, "principal": s.userPrincipal(4),
		"workflow": nil, "workflow_instance": nil, "playbook_instance": nil,
	}
	if fromPlaybook {
		body["function"].(Object)["output_description"] = nil
		body["playbook_instance"] = Object{
			"playbook_instance_id": int64(100), "playbook_id": int64(3), "playbook_display_name": f.DisplayName,
			"playbook_activation_type": "manual", "is_playbook_deleted": false,
		}
	} else {
		workflow := Object{
			"workflow_id": int64(3), "name": "Example: " + strings.ReplaceAll(f.DisplayName, ":", ""),
			"programmatic_name": "example_" + f.Name, "object_type": Object{"id": int64(4), "name": "artifact"},
			"description": nil, "uuid": nil, "actions": []any{}, "tags": []any{},
		}
		body["workflow"] = workflow
		body["workflow_instance"] = Object{"workflow_instance_id": int64(80), "workflow": workflow}
	}
	return s.message("FunctionDataDTO", nil, body)
}

// message adds what all messages have in common.
func (s *Server) message(payload string, token any, body Object) Message {
	s.nextIDs.invocation++
	data, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("resilienttest: message is not JSON: %v", err))
	}
	return Message{
		Queue: fmt.Sprintf("actions.%d.%s", s.home.ID, Destination),
		Headers: map[string]string{
			"reply-to":          fmt.Sprintf("/queue/acks.%d.%s", s.home.ID, Destination),
			"correlation-id":    fmt.Sprintf("invid:%d", s.nextIDs.invocation),
			"Co3MessagePayload": payload, "Co3ContentType": "application/json",
			"Co3ContextToken": s.contextToken(token), "Co3RemoteAddr": "127.0.0.1",
			"timestamp": strconv.FormatInt(s.now(), 10), "persistent": "true",
		},
		Body: data,
	}
}

// contextToken is an HS256 JWT; its payload is null for a function (contract: STOMP headers).
func (s *Server) contextToken(payload any) string {
	data, _ := json.Marshal(payload)
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256"}`)) + "." + encode(data)
	mac := hmac.New(sha256.New, s.tokenKey)
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}
