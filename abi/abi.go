package abi

// Version is the ABI version that this package describes. A manifest names the
// version its module was written for; a host refuses a module of another one.
const Version = 1

// Names in the module file.
const (
	// SectionManifest is the custom section that holds the manifest (JSON).
	SectionManifest = "fn-threatq.manifest"
	// SectionWarmUp is an optional custom section with a JSON list of turn
	// inputs. The host plays them once at load, so that the image from which
	// every turn starts has its caches filled. Their answers are ignored.
	SectionWarmUp = "fn-threatq.warmup"

	// ExportInput is `(size i32) -> (pointer i32)`: the module offers a buffer
	// of at least size bytes for the next input. It owns the buffer.
	ExportInput = "ftq1_input"
	// ExportTurn is `(length i32) -> (answer i64)`: handles the input of that
	// length in the offered buffer. The answer is pointer<<32 | length of the
	// output, which stays valid until the next call of an export.
	ExportTurn = "ftq1_turn"
	// ExportMemory is the module's one memory.
	ExportMemory = "memory"
	// ExportInitialize is called once, before all else, when it exists
	// (WASI reactor).
	ExportInitialize = "_initialize"

	// ImportModule is the only module whose names may be imported.
	ImportModule = "wasi_snapshot_preview1"
)

// Services a call can be addressed to.
const (
	// ThreatQ paths begin with /api/.
	ThreatQ = "threatq"
	// Resilient paths are relative to /rest/orgs/{org}; a module cannot name
	// an organization.
	Resilient = "resilient"
)

// Kinds of an action.
const (
	KindRule     = "rule"
	KindFunction = "function"
)

// ErrorCode says why a call or an action failed. The set is closed: a module
// may switch on it, the host uses it as log field and metric label.
type ErrorCode string

// Codes of a failed call (Result.Error).
const (
	// CodeHTTP: the server answered with a status of 400 or above, or with an
	// `errors` key in a 2xx answer. Result.Status holds the status.
	CodeHTTP ErrorCode = "http"
	// CodeUnreachable: the request did not reach the server.
	CodeUnreachable ErrorCode = "unreachable"
	// CodeUnknown: the request may have reached the server, its answer was
	// lost, and the call was not marked idempotent: the outcome is unknown.
	// The module must look before it tries again.
	CodeUnknown ErrorCode = "unknown"
	// CodeLogin: the service refused our login, or logins are paused after a
	// refused one.
	CodeLogin ErrorCode = "login"
	// CodeTooLarge: the answer or the blob is over the host's limit.
	CodeTooLarge ErrorCode = "too_large"
	// CodeSubAction: a sub-action failed; Result.Reply is absent.
	CodeSubAction ErrorCode = "sub_action"
)

// Codes of a failed action (Failure), besides those of calls.
const (
	// CodeInput: the user's or administrator's input cannot be used.
	CodeInput ErrorCode = "input"
	// CodeNotFound: the object of the action no longer exists.
	CodeNotFound ErrorCode = "not_found"
	// CodeForbidden: the account may not read or write the object.
	CodeForbidden ErrorCode = "forbidden"
	// CodeModule: the module broke the contract, trapped or ran over a limit.
	CodeModule ErrorCode = "module"
	// CodePermit: the module asked for a call that its manifest does not list.
	CodePermit ErrorCode = "permit"
	// CodeRouting: no installed module takes this rule or function.
	CodeRouting ErrorCode = "routing"
	// CodeMessage: the message could not be read.
	CodeMessage ErrorCode = "message"
	// CodeDeadlock: the action held keys that another waiting action wants,
	// and wanted one that this action holds.
	CodeDeadlock ErrorCode = "deadlock"
	// CodeBusy: another action of an exclusive rule is still running.
	CodeBusy ErrorCode = "busy"
	// CodeInternal: a fault of the host itself.
	CodeInternal ErrorCode = "internal"
)

// JSON is one JSON value as text. Its zero value stands for an absent key.
type JSON []byte

// MarshalJSON writes the value as it is; an absent one as null.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("null"), nil
	}
	return j, nil
}

// UnmarshalJSON keeps a copy of the text.
func (j *JSON) UnmarshalJSON(text []byte) error {
	*j = append((*j)[:0], text...)
	return nil
}

// Input is what a module is given for one turn.
type Input struct {
	Version int `json:"v"`
	// Turn counts from 1 within the action.
	Turn int `json:"turn"`
	// Now is the time of the action in milliseconds since 1970 UTC: the time
	// SOAR sent the message. It is the same in every turn of the action.
	Now int64 `json:"now"`
	// Seed is 16 hexadecimal digits derived from the action's id.
	Seed string `json:"seed"`
	// Settings are the values of the settings that the manifest declares.
	Settings map[string]string `json:"settings"`
	Site     Site              `json:"site"`
	Action   Action            `json:"action"`
	// Results holds, for each turn so far (since the last state), the results
	// of its calls or sub-actions in the order in which they were asked for.
	Results [][]Result `json:"results"`
	// State is what the module handed back last, or absent.
	State JSON `json:"state,omitempty"`
}

// Site describes the two systems, for links and for recognising own work.
type Site struct {
	// OrgID and OrgName are the SOAR organization.
	OrgID   int64  `json:"org_id"`
	OrgName string `json:"org_name"`
	// ResilientURL and ThreatQURL are the base addresses of the two user
	// interfaces, https://host[:port] without a slash at the end.
	ResilientURL string `json:"resilient_url"`
	ThreatQURL   string `json:"threatq_url"`
	// Account is the SOAR account of the host.
	Account Account `json:"account"`
}

// Account names a SOAR account.
type Account struct {
	// Type is "user" or "apikey".
	Type string `json:"type"`
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// Action is a message of SOAR, trimmed to what a rule needs. Objects are named
// by id: their content in the message is a snapshot, a rule reads it anew.
type Action struct {
	// ID is the message id; it is the same when the message is redelivered.
	ID string `json:"id"`
	// Kind is KindRule or KindFunction.
	Kind string `json:"kind"`
	// Name routes: the rule's display name in lower case with `_` for every
	// run of other characters, or the API name of the function.
	Name string `json:"name"`
	// Title is the display name as the user knows it.
	Title string `json:"title,omitempty"`
	// Operation is "created", "modified" or "deleted"; empty when the message
	// does not say it.
	Operation string `json:"operation,omitempty"`
	// Object is the kind of the object the rule is about: incident, task,
	// note, milestone, artifact, attachment.
	Object string `json:"object,omitempty"`

	IncidentID   int64 `json:"incident_id,omitempty"`
	TaskID       int64 `json:"task_id,omitempty"`
	NoteID       int64 `json:"note_id,omitempty"`
	ArtifactID   int64 `json:"artifact_id,omitempty"`
	AttachmentID int64 `json:"attachment_id,omitempty"`

	// Fields are the values that the user gave to the menu item, by the name
	// the manifest gives them: selects as their label, texts and numbers and
	// booleans as they are, dates in milliseconds. Fields without a value are
	// left out.
	Fields map[string]JSON `json:"fields,omitempty"`
	// Inputs are the inputs of a function: selects as their name, multi-selects
	// as a list of names, rich text as its content.
	Inputs map[string]JSON `json:"inputs,omitempty"`
	// Snapshot holds the few values of the object in the message that are
	// useful when the object itself is gone.
	Snapshot Snapshot `json:"snapshot"`
	// User is the display name of who caused the action, when known.
	User string `json:"user,omitempty"`
	// Parent is the id of the action that started this one as a sub-action.
	Parent string `json:"parent,omitempty"`
}

// Snapshot is a part of the object as it was when the message was sent.
type Snapshot struct {
	IncidentName string `json:"incident_name,omitempty"`
	// ArtifactType is the label of the artifact's type, ArtifactValue its value.
	ArtifactType  string `json:"artifact_type,omitempty"`
	ArtifactValue string `json:"artifact_value,omitempty"`
	// Name is the name of the task or attachment.
	Name string `json:"name,omitempty"`
}

// Output is the answer of a module: exactly one of Calls, Actions, Reply, Fail,
// or State alone, which asks for another turn with the history cut.
type Output struct {
	// Calls are independent of each other; the host performs them side by side.
	Calls   []Call      `json:"calls,omitempty"`
	Actions []SubAction `json:"actions,omitempty"`
	Reply   *Reply      `json:"reply,omitempty"`
	Fail    *Failure    `json:"fail,omitempty"`

	// Hold are keys that the host locks before it performs this turn's calls
	// and until the action ends. Asking again for a held key does nothing.
	Hold []string `json:"hold,omitempty"`
	// Progress is sent to the user as an interim reply.
	Progress string `json:"progress,omitempty"`
	// State replaces the history: the next turn gets it, and of the results
	// only those of the calls or sub-actions beside it: none for a state alone.
	State JSON `json:"state,omitempty"`
}

// Call is one request to a service.
type Call struct {
	// ID is chosen by the module, unique within the action's history; at most
	// 100 bytes. The result carries it.
	ID      string `json:"id"`
	Service string `json:"service"`
	Method  string `json:"method"`
	// Path is the unescaped path, beginning with "/". Its segments are neither
	// empty nor "." or ".." and hold no "/", "\\", "%", "?", "#", ";" or
	// control characters; the host escapes what is left.
	Path string `json:"path"`
	// Query values are arbitrary text; the host encodes them.
	Query map[string]string `json:"query,omitempty"`
	Body  JSON              `json:"body,omitempty"`
	// Upload sends a multipart form instead of Body.
	Upload *Upload `json:"upload,omitempty"`
	// Download keeps the answer's body as a blob instead of returning it.
	Download bool `json:"download,omitempty"`
	// Idempotent says that performing the call twice does no harm. Only then
	// does the host repeat it when an answer was lost.
	Idempotent bool `json:"idempotent"`
	// Slow asks for the long time limit (120 s instead of 30 s).
	Slow bool `json:"slow,omitempty"`
}

// Upload is a multipart form with one file.
type Upload struct {
	Fields map[string]string `json:"fields,omitempty"`
	// Part is the form name of the file part, FileName its file name.
	Part     string `json:"part"`
	FileName string `json:"file_name"`
	// ContentType of the part; application/octet-stream when empty.
	ContentType string `json:"content_type,omitempty"`
	// Blob is the handle of the content.
	Blob string `json:"blob"`
}

// SubAction starts a rule for one object, on its own way through the host. The
// manifest must list the rule under "actions".
type SubAction struct {
	ID string `json:"id"`
	// Rule is the routing name (Action.Name) of the rule.
	Rule       string          `json:"rule"`
	IncidentID int64           `json:"incident_id"`
	TaskID     int64           `json:"task_id,omitempty"`
	ArtifactID int64           `json:"artifact_id,omitempty"`
	Fields     map[string]JSON `json:"fields,omitempty"`
}

// Result is the outcome of one call or sub-action.
type Result struct {
	ID string `json:"id"`
	// Status is the HTTP status, 0 when there was no answer.
	Status int `json:"status,omitempty"`
	// Body is the JSON body of a successful answer; absent when it was empty.
	Body JSON `json:"body,omitempty"`
	// Blob describes a downloaded body.
	Blob *Blob `json:"blob,omitempty"`
	// Reply is the reply of a sub-action.
	Reply *Reply `json:"reply,omitempty"`
	// Error is absent when the call succeeded.
	Error *CallError `json:"error,omitempty"`
}

// CallError says why a call or sub-action failed.
type CallError struct {
	Code ErrorCode `json:"code"`
	// Message is fit to be shown to a user: the server's own words without
	// markup, never a body, a header or a secret.
	Message string `json:"message"`
	// Cause is the code with which a sub-action failed; empty otherwise.
	Cause ErrorCode `json:"cause,omitempty"`
	// Retry says that the same sub-action may succeed later.
	Retry bool `json:"retry,omitempty"`
}

// Blob is a handle on bytes that the host keeps until the action ends.
type Blob struct {
	Handle string `json:"handle"`
	// Size in bytes.
	Size int64 `json:"size"`
	// MD5 of the content, 32 lower-case hexadecimal digits.
	MD5         string `json:"md5"`
	ContentType string `json:"content_type,omitempty"`
}

// Reply ends the action.
type Reply struct {
	// Success false makes an error of a rule; of a function it is a handled
	// failure, which the workflow can see.
	Success bool `json:"success"`
	// Message is shown to the user; for a failed function it is the reason.
	Message string `json:"message"`
	// Results is the content of a function's result (an object).
	Results JSON `json:"results,omitempty"`
}

// Failure ends the action as an error.
type Failure struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`
	// Retry says that the same action may succeed later.
	Retry bool `json:"retry,omitempty"`
}

// Limits of the exchange that hold for every module.
const (
	MaxManifestBytes = 256 << 10
	MaxCallID        = 100
	MaxPath          = 2000
	MaxQueryBytes    = 64 << 10
	MaxHoldKeys      = 500
	MaxHoldKey       = 300
	MaxProgress      = 2000
	MaxMessage       = 10_000
)
