package guest

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
)

// Rule handles the actions of one rule or function.
type Rule func(a *Action) Reply

// Action is what a rule is given. For its fields see abi.Action and abi.Site.
type Action struct {
	// ID is the message id of SOAR, the same when a message is delivered again.
	ID string
	// Kind is abi.KindRule or abi.KindFunction.
	Kind string
	// Name is the routing name, Title what users know.
	Name, Title string
	// Operation is created, modified, deleted or empty.
	Operation string
	// Object is the kind of the object: incident, task, note, artifact, …
	Object string

	// Ids are 0 where the action is not about such an object.
	IncidentID, TaskID, NoteID, ArtifactID, AttachmentID int64

	// User is the display name of who caused the action, when known.
	User string
	// Parent is the id of the action that started this one as a sub-action.
	Parent   string
	Snapshot Snapshot
	Site     Site

	// Now is the time of the action in milliseconds since 1970 UTC. It stands
	// still during the action. It is no time.Time, because package time adds
	// 250 KB to a module.
	Now int64
	// Turn counts from 1. A rule must not let it decide what it calls.
	Turn int

	fields, inputs, settings, state jsonvalue.Value
	seed                            string
	random                          *rand.Rand

	turn turn
}

// Snapshot holds values of the object as the message had them: for objects that
// are gone. What exists is read anew.
type Snapshot struct {
	IncidentName, ArtifactType, ArtifactValue, Name string
}

// Site describes the two systems; addresses have no slash at the end.
type Site struct {
	OrgID                    int64
	OrgName                  string
	ResilientURL, ThreatQURL string
	// AccountType is user or apikey.
	AccountType string
	AccountID   int64
	AccountName string
}

func newAction(input jsonvalue.Value) *Action {
	action, site := input.Get("action"), input.Get("site")
	snapshot, account := action.Get("snapshot"), site.Get("account")
	return &Action{
		ID:           action.Get("id").Text(),
		Kind:         action.Get("kind").Text(),
		Name:         action.Get("name").Text(),
		Title:        action.Get("title").Text(),
		Operation:    action.Get("operation").Text(),
		Object:       action.Get("object").Text(),
		IncidentID:   action.Get("incident_id").Int(),
		TaskID:       action.Get("task_id").Int(),
		NoteID:       action.Get("note_id").Int(),
		ArtifactID:   action.Get("artifact_id").Int(),
		AttachmentID: action.Get("attachment_id").Int(),
		User:         action.Get("user").Text(),
		Parent:       action.Get("parent").Text(),
		Snapshot: Snapshot{
			IncidentName:  snapshot.Get("incident_name").Text(),
			ArtifactType:  snapshot.Get("artifact_type").Text(),
			ArtifactValue: snapshot.Get("artifact_value").Text(),
			Name:          snapshot.Get("name").Text(),
		},
		Site: Site{
			OrgID:        site.Get("org_id").Int(),
			OrgName:      site.Get("org_name").Text(),
			ResilientURL: site.Get("resilient_url").Text(),
			ThreatQURL:   site.Get("threatq_url").Text(),
			AccountType:  account.Get("type").Text(),
			AccountID:    account.Get("id").Int(),
			AccountName:  account.Get("name").Text(),
		},
		Now:      input.Get("now").Int(),
		Turn:     int(input.Get("turn").Int()),
		fields:   action.Get("fields"),
		inputs:   action.Get("inputs"),
		settings: input.Get("settings"),
		state:    input.Get("state"),
		seed:     input.Get("seed").Text(),
	}
}

// Field returns the value of an activity field by its name in the manifest;
// missing when the user gave none.
func (a *Action) Field(name string) jsonvalue.Value { return a.fields.Get(name) }

// Input returns the value of a function's input; missing when there is none.
func (a *Action) Input(name string) jsonvalue.Value { return a.inputs.Get(name) }

// Setting returns the value of a setting that the manifest declares.
func (a *Action) Setting(name string) string { return a.settings.Get(name).Text() }

// SettingBool reports whether a setting says yes; see jsonvalue.Truth.
func (a *Action) SettingBool(name string) bool { return jsonvalue.Truth(a.Setting(name)) }

// State returns what the last Cut kept; missing before the first.
func (a *Action) State() jsonvalue.Value { return a.state }

// Random returns the action's source of chance. It gives the same numbers in
// every turn up to the next Cut, and other numbers for other actions.
func (a *Action) Random() *rand.Rand {
	if a.random == nil {
		seed, err := strconv.ParseUint(a.seed, 16, 64)
		if err != nil {
			a.breach("the seed is not 16 hexadecimal digits")
		}
		state := fnv.New64a()
		_, _ = state.Write(a.state.Raw())
		a.random = rand.New(rand.NewPCG(seed, state.Sum64()))
	}
	return a.random
}

// Reply ends an action; it is what a rule returns.
type Reply struct {
	// Success false makes an error of a rule; of a function it is a handled
	// failure, which the workflow can see.
	Success bool
	// Message is shown to the user.
	Message string
	// Results is the content of a function's result, an object.
	Results jsonvalue.Raw
}

// Done is a reply that reports success.
func Done(message string) Reply { return Reply{Success: true, Message: message} }

// Failed is a reply that reports what kept the rule from its work.
func Failed(message string) Reply { return Reply{Message: message} }

// With adds the content of a function's result.
func (r Reply) With(results jsonvalue.Raw) Reply {
	r.Results = results
	return r
}

// Result is the outcome of a call or a sub-action.
type Result struct {
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Body is missing when the answer had none.
	Body jsonvalue.Value
	// Blob is set after a download.
	Blob *abi.Blob
	// Reply is that of a sub-action.
	Reply *Reply
	// Err is nil when the call succeeded.
	Err *CallError
}

// OK reports whether the call succeeded.
func (r Result) OK() bool { return r.Err == nil }

// NotFound reports whether the server answered 404.
func (r Result) NotFound() bool { return r.Status == 404 }

// CallError says why a call failed.
type CallError struct {
	Code    abi.ErrorCode
	Status  int
	Message string
	// Service, Method and Path are those of the call; of a sub-action Method is
	// empty and Path its rule.
	Service, Method, Path string
}

// Error is fit to be shown to a user.
func (e *CallError) Error() string {
	message := e.Message
	if message == "" {
		message = "no reason was given"
	}
	if e.Method == "" {
		return "Sub-action " + e.Path + " failed: " + message
	}
	service := e.Service
	switch service {
	case abi.ThreatQ:
		service = "ThreatQ"
	case abi.Resilient:
		service = "SOAR"
	}
	request := e.Method + " " + e.Path
	switch e.Code {
	case abi.CodeUnreachable:
		return service + " could not be reached for " + request + ": " + message
	case abi.CodeUnknown:
		return service + " gave no answer to " + request + ", which may have been done: " + message
	case abi.CodeLogin:
		return service + " refused the login: " + message
	}
	if e.Status == 0 {
		return service + ", " + request + ": " + message
	}
	return service + " answered " + strconv.Itoa(e.Status) + " to " + request + ": " + message
}

// mayPass reports whether the same action may succeed later.
func (e *CallError) mayPass() bool {
	switch e.Code {
	case abi.CodeUnreachable, abi.CodeUnknown:
		return true
	}
	return e.Status == 429 || e.Status >= 500
}
