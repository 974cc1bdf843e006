package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
)

// envelope is what the host reads of a message body: ActionDataDTO or
// FunctionDataDTO (contract: message bodies). Unknown keys are ignored, null
// and missing ones are alike.
type envelope struct {
	ActionID   *int64     `json:"action_id"`
	ObjectType *int       `json:"object_type"`
	Operation  string     `json:"operation_type"`
	Incident   *incident  `json:"incident"`
	Task       *named     `json:"task"`
	Artifact   *artifact  `json:"artifact"`
	Note       *named     `json:"note"`
	Attachment *named     `json:"attachment"`
	TypeInfo   typeInfo   `json:"type_info"`
	Properties properties `json:"properties"`
	User       *person    `json:"user"`

	Function  *function  `json:"function"`
	Inputs    properties `json:"inputs"`
	Principal *person    `json:"principal"`
}

type (
	properties map[string]json.RawMessage

	incident struct {
		ID    int64  `json:"id"`
		Name  string `json:"name"`
		OrgID int64  `json:"org_id"`
	}
	artifact struct {
		ID    int64           `json:"id"`
		Type  json.RawMessage `json:"type"`
		Value string          `json:"value"`
	}
	named struct {
		ID     int64  `json:"id"`
		Name   string `json:"name"`
		TaskID int64  `json:"task_id"`
	}
	person struct {
		FirstName   string `json:"fname"`
		LastName    string `json:"lname"`
		Email       string `json:"email"`
		DisplayName string `json:"display_name"`
		Name        string `json:"name"`
	}
	function struct {
		Name        string `json:"name"`
		DisplayName string `json:"display_name"`
	}
	// typeInfo holds the labels of the values that a message refers to.
	typeInfo map[string]struct {
		Fields map[string]struct {
			Values map[string]struct {
				Label string `json:"label"`
			} `json:"values"`
		} `json:"fields"`
	}
)

// objects are the names of object types (contract: object types).
var objects = map[int]string{0: "incident", 1: "task", 2: "note", 3: "milestone", 4: "artifact", 5: "attachment"}

// open reads a message body. The envelope is never nil.
func open(m Message) (*envelope, error) {
	e := &envelope{}
	body := bytes.TrimSpace(m.Body)
	if len(body) == 0 || body[0] != '{' {
		return e, fmt.Errorf("the message is not a JSON object (%d bytes)", len(m.Body))
	}
	if err := json.Unmarshal(body, e); err != nil {
		return &envelope{}, fmt.Errorf("the message is not the JSON that is wanted: %w", err)
	}
	if e.Function == nil && e.Incident == nil && e.ActionID == nil {
		return e, fmt.Errorf("the message is neither a rule's nor a function's: it has no function, no incident and no action_id (payload %q)", m.Payload)
	}
	return e, nil
}

// isFunction tells a function call by the header first, then by the body.
func (e *envelope) isFunction(m Message) bool {
	switch m.Payload {
	case "FunctionDataDTO":
		return true
	case "ActionDataDTO":
		return false
	}
	return e.Function != nil
}

// lane is the queue of the action: its incident's, or one of its own.
func (e *envelope) lane(m Message) string {
	if e.Incident != nil {
		return incidentLane(e.Incident.ID)
	}
	if id, err := strconv.ParseInt(string(e.Inputs["incident_id"]), 10, 64); err == nil {
		return incidentLane(id)
	}
	return "message:" + m.ID
}

func incidentLane(id int64) string { return "incident:" + strconv.FormatInt(id, 10) }

// noLane reports whether the action only starts others, outside of its lane.
func (e *envelope) noLane(m Module, a *abi.Action) bool {
	rule := m.Manifest().Rule(a.Name)
	return a.Kind == abi.KindRule && rule != nil && rule.Lane == "none"
}

// Decode reads a message: which action it asks for, of which module.
func (f *Flow) Decode(ctx context.Context, m Message) (*abi.Action, Module, error) {
	e, err := open(m)
	if err != nil {
		return nil, nil, err
	}
	s := f.current()
	return s.route(ctx, m, e, s.Modules)
}

// route finds the module and makes the action that it is given.
func (s *Setup) route(ctx context.Context, m Message, e *envelope, modules Modules) (*abi.Action, Module, error) {
	if err := s.sameOrganization(m, e); err != nil {
		return nil, nil, err
	}
	a := &abi.Action{ID: m.ID, Operation: strings.ToLower(e.Operation)}
	if e.isFunction(m) {
		if e.Function == nil || e.Function.Name == "" {
			return nil, nil, &codedError{code: abi.CodeMessage, text: "the message of a function does not name it"}
		}
		a.Kind, a.Name, a.Title = abi.KindFunction, e.Function.Name, e.Function.DisplayName
		a.User = e.Principal.display()
	} else {
		title, err := s.ruleTitle(ctx, e)
		if err != nil {
			return nil, nil, err
		}
		a.Kind, a.Name, a.Title = abi.KindRule, manifest.RoutingName(title), title
		a.User = e.User.display()
		e.describe(a)
	}
	module := modules.Find(a.Kind, a.Name)
	if module == nil {
		if why := whyAbsent(modules, a.Kind, a.Name); why != "" {
			return nil, nil, &codedError{code: abi.CodeRouting, text: fmt.Sprintf("nothing handles the %s %q: %s", a.Kind, a.Title, why)}
		}
		return nil, nil, &codedError{code: abi.CodeRouting, text: fmt.Sprintf("no installed module handles the %s %q. Installed: %s. Was it renamed, or does it belong to another integration?",
			a.Kind, a.Title, strings.Join(modules.Names(a.Kind), ", "))}
	}
	var err error
	if a.Kind == abi.KindFunction {
		a.Inputs = inputs(e.Inputs)
	} else {
		a.Fields, err = s.fields(ctx, e, module.Manifest().Rule(a.Name))
	}
	return a, module, err
}

// sameOrganization refuses messages of another organization.
func (s *Setup) sameOrganization(m Message, e *envelope) error {
	if e.Incident != nil && e.Incident.OrgID != 0 && e.Incident.OrgID != s.Site.OrgID {
		return &codedError{code: abi.CodeMessage, text: fmt.Sprintf("the message is of organization %d, this host works for %d (%s): check the message destination of the rule",
			e.Incident.OrgID, s.Site.OrgID, s.Site.OrgName)}
	}
	return nil
}

// ruleTitle is the display name of the message's rule, which only says its id.
func (s *Setup) ruleTitle(ctx context.Context, e *envelope) (string, error) {
	if e.ActionID == nil {
		return "", &codedError{code: abi.CodeRouting, text: "the message names no rule: a workflow sent it to the message destination directly. Use the functions in workflows instead"}
	}
	title, err := s.Directory.RuleName(ctx, *e.ActionID)
	if err != nil {
		if err := ends(ctx, err); err != nil {
			return "", err
		}
		return "", &codedError{code: abi.CodeRouting, text: fmt.Sprintf("the name of rule %d is not known: %s", *e.ActionID, err)}
	}
	return title, nil
}

// ends is the error of an action that cannot go on after a failed look-up in SOAR;
// nil when it can, without what was looked for.
func ends(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.Canceled):
		return err
	case effect.Down(err):
		return &codedError{code: abi.CodeUnreachable, text: err.Error()}
	}
	return nil
}

// describe fills in the objects of a rule's action.
func (e *envelope) describe(a *abi.Action) {
	if e.ObjectType != nil {
		a.Object = objects[*e.ObjectType]
	}
	if e.Incident != nil {
		a.IncidentID, a.Snapshot.IncidentName = e.Incident.ID, e.Incident.Name
	}
	if e.Task != nil {
		a.TaskID, a.Snapshot.Name = e.Task.ID, e.Task.Name
	}
	if e.Note != nil {
		a.NoteID = e.Note.ID
		if a.TaskID == 0 {
			a.TaskID = e.Note.TaskID
		}
	}
	if e.Attachment != nil {
		a.AttachmentID, a.Snapshot.Name = e.Attachment.ID, e.Attachment.Name
		if a.TaskID == 0 {
			a.TaskID = e.Attachment.TaskID
		}
	}
	if e.Artifact != nil {
		a.ArtifactID, a.Snapshot.ArtifactValue = e.Artifact.ID, e.Artifact.Value
		kind := scalar(e.Artifact.Type)
		a.Snapshot.ArtifactType = kind
		if label := e.TypeInfo.label("artifact", "type", kind); label != "" {
			a.Snapshot.ArtifactType = label
		}
	}
}

func (t typeInfo) label(typeName, field, value string) string {
	return t[typeName].Fields[field].Values[value].Label
}

func (p *person) display() string {
	if p == nil {
		return ""
	}
	for _, name := range []string{p.DisplayName, strings.TrimSpace(p.FirstName + " " + p.LastName), p.Name, p.Email} {
		if name != "" {
			return name
		}
	}
	return ""
}

// scalar is the text of a JSON string, number or boolean.
func scalar(text json.RawMessage) string {
	var s string
	if json.Unmarshal(text, &s) == nil {
		return s
	}
	return string(text)
}

func absent(text json.RawMessage) bool {
	return len(text) == 0 || string(text) == "null"
}
