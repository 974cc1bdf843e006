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

// newAction reads each object of the input once from its first to its last key:
// looking up thirty keys one by one takes five times as long.
func newAction(input jsonvalue.Value) *Action {
	a := &Action{}
	for key, v := range input.Fields() {
		switch key {
		case "now":
			a.Now = v.Int()
		case "turn":
			a.Turn = int(v.Int())
		case "seed":
			a.seed = v.Text()
		case "settings":
			a.settings = v
		case "state":
			a.state = v
		case "site":
			a.Site.read(v)
		case "action":
			a.read(v)
		}
	}
	return a
}

func (a *Action) read(action jsonvalue.Value) {
	for key, v := range action.Fields() {
		switch key {
		case "id":
			a.ID = v.Text()
		case "kind":
			a.Kind = v.Text()
		case "name":
			a.Name = v.Text()
		case "title":
			a.Title = v.Text()
		case "operation":
			a.Operation = v.Text()
		case "object":
			a.Object = v.Text()
		case "incident_id":
			a.IncidentID = v.Int()
		case "task_id":
			a.TaskID = v.Int()
		case "note_id":
			a.NoteID = v.Int()
		case "artifact_id":
			a.ArtifactID = v.Int()
		case "attachment_id":
			a.AttachmentID = v.Int()
		case "user":
			a.User = v.Text()
		case "parent":
			a.Parent = v.Text()
		case "fields":
			a.fields = v
		case "inputs":
			a.inputs = v
		case "snapshot":
			a.Snapshot.read(v)
		}
	}
}

func (s *Snapshot) read(snapshot jsonvalue.Value) {
	for key, v := range snapshot.Fields() {
		switch key {
		case "incident_name":
			s.IncidentName = v.Text()
		case "artifact_type":
			s.ArtifactType = v.Text()
		case "artifact_value":
			s.ArtifactValue = v.Text()
		case "name":
			s.Name = v.Text()
		}
	}
}

func (s *Site) read(site jsonvalue.Value) {
	for key, v := range site.Fields() {
		switch key {
		case "org_id":
			s.OrgID = v.Int()
		case "org_name":
			s.OrgName = v.Text()
		case "resilient_url":
			s.ResilientURL = v.Text()
		case "threatq_url":
			s.ThreatQURL = v.Text()
		case "account":
			s.AccountType = v.Get("type").Text()
			s.AccountID = v.Get("id").Int()
			s.AccountName = v.Get("name").Text()
		}
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
	// Results is the content of a function's result, an object. That of a rule is
	// seen only by the action that started it as a sub-action.
	Results jsonvalue.Raw
	results jsonvalue.Value
}

// Result is a value of the results of a sub-action's reply; missing when there
// is none.
func (r Reply) Result(name string) jsonvalue.Value { return r.results.Get(name) }

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
	// Cause is the code with which a sub-action failed; empty otherwise.
	Cause abi.ErrorCode
	// Retry says that the same sub-action may succeed later.
	Retry bool
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
