package resilient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"fn-threatq/host/rest"
)

// FunctionInputs is the object type whose fields are the inputs of functions. All
// functions of an organization share them, also those of other apps.
const FunctionInputs = "__function"

// ActivityFields is the object type whose fields are the activity fields.
const ActivityFields = "actioninvocation"

// Rule is a rule as an administrator sees it (contract: rules).
type Rule struct {
	ID        int64
	Name      string
	UUID      string
	Object    string // incident, task, note, artifact, attachment, …
	Automatic bool   // else a menu item
	Enabled   bool
	// Logic joins the conditions: all, any or advanced.
	Logic      string
	Conditions []Condition
	// Fields are the uuids of the activity fields that it asks for, in their order.
	Fields []string
	// Destinations are programmatic names of message destinations.
	Destinations []string
	Workflows    []string
}

// Condition makes an automatic rule fire.
type Condition struct {
	Method string          `json:"method"`     // object_added, object_removed, changed, equals, …
	Field  string          `json:"field_name"` // qualified ("incident.description"); empty where the method has none
	Value  json.RawMessage `json:"value"`      // what is compared with; nil or null for none
}

// Function is a function that workflows and playbooks call (contract: functions).
type Function struct {
	ID          int64
	Name        string // API name
	Title       string // display name
	UUID        string
	Description string
	Destination string // programmatic name of its message destination
	// Inputs are the uuids of its input fields in their order. Lists come without them:
	// see Client.Function.
	Inputs []string
	// Workflows are those that call it, as far as SOAR tells.
	Workflows []string
}

// Destination is a message destination, the queue that actions are sent to.
type Destination struct {
	ID      int64   `json:"id"`
	Name    string  `json:"programmatic_name"`
	Users   []int64 `json:"users"`    // accounts that may subscribe to it
	APIKeys []int64 `json:"api_keys"` // likewise, by handle
	// Topic is a destination that keeps nothing: who is not subscribed misses it.
	Topic bool `json:"-"`

	// all is what SOAR sent; a PUT must hand it back whole.
	all map[string]json.RawMessage
}

// Admits reports whether an account may subscribe to the destination.
func (d Destination) Admits(a Account) bool {
	if a.Type == APIKey {
		return slices.Contains(d.APIKeys, a.ID)
	}
	return slices.Contains(d.Users, a.ID)
}

// ServerVersion is the version of a SOAR server, such as 51.0.9.20848.
type ServerVersion struct {
	Major, Minor, Build int
	Text                string
}

// Before reports whether v is older than another version, without regard to builds.
func (v ServerVersion) Before(other ServerVersion) bool {
	return v.Major < other.Major || v.Major == other.Major && v.Minor < other.Minor
}

// ServerVersion asks for the version of the server.
func (c *Client) ServerVersion(ctx context.Context) (ServerVersion, error) {
	var answer struct {
		Version struct {
			Major int    `json:"major"`
			Minor int    `json:"minor"`
			Build int    `json:"build_number"`
			Text  string `json:"version"`
		} `json:"server_version"`
	}
	// It is the one call that does not lie below the organization.
	r := rest.Request{Method: http.MethodGet, Path: "/rest/const"}
	got, err := c.rest.Do(ctx, r)
	if err != nil {
		return ServerVersion{}, err
	}
	if err := json.Unmarshal(got.Body, &answer); err != nil || answer.Version.Major == 0 {
		return ServerVersion{}, unexpected(r.Method, r.Path)
	}
	v := ServerVersion{answer.Version.Major, answer.Version.Minor, answer.Version.Build, answer.Version.Text}
	if v.Text == "" {
		v.Text = fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Build)
	}
	return v, nil
}

// withNames asks for names where SOAR else answers ids.
var withNames = url.Values{"handle_format": {"names"}}

// Rules lists all rules of the organization, also those of other apps. Its error is
// ErrRulesForbidden where the account may not read them.
func (c *Client) Rules(ctx context.Context) ([]Rule, error) {
	var answer struct {
		Entities []struct {
			ID           int64       `json:"id"`
			Name         string      `json:"name"`
			UUID         string      `json:"uuid"`
			Object       handle      `json:"object_type"`
			Type         int         `json:"type"`
			Enabled      *bool       `json:"enabled"`
			Logic        string      `json:"logic_type"`
			Conditions   []Condition `json:"conditions"`
			ViewItems    viewItems   `json:"view_items"`
			Destinations []handle    `json:"message_destinations"`
			Workflows    []handle    `json:"workflows"`
		} `json:"entities"`
	}
	err := c.get(ctx, "/actions", withNames, &answer)
	var failed *rest.Error
	if errors.As(err, &failed) && failed.Status == http.StatusForbidden {
		return nil, ErrRulesForbidden
	}
	if err != nil {
		return nil, err
	}
	rules := make([]Rule, len(answer.Entities))
	for i, r := range answer.Entities {
		rules[i] = Rule{
			ID: r.ID, Name: r.Name, UUID: r.UUID, Object: string(r.Object), Automatic: r.Type == 0,
			Enabled: r.Enabled == nil || *r.Enabled, Logic: r.Logic, Conditions: r.Conditions,
			Fields: r.ViewItems.of(ActivityFields), Destinations: names(r.Destinations), Workflows: names(r.Workflows),
		}
	}
	return rules, nil
}

// function is a FunctionDTO.
type function struct {
	ID          int64           `json:"id"`
	Name        string          `json:"name"`
	Title       string          `json:"display_name"`
	UUID        string          `json:"uuid"`
	Description json.RawMessage `json:"description"`
	Destination handle          `json:"destination_handle"`
	ViewItems   viewItems       `json:"view_items"`
	Workflows   []handle        `json:"workflows"`
}

func (f function) public() Function {
	return Function{
		ID: f.ID, Name: f.Name, Title: f.Title, UUID: f.UUID, Description: plainText(f.Description), Destination: string(f.Destination),
		Inputs: f.ViewItems.of(FunctionInputs), Workflows: names(f.Workflows),
	}
}

// Functions lists all functions of the organization, without their inputs.
func (c *Client) Functions(ctx context.Context) ([]Function, error) {
	var answer struct {
		Entities []function `json:"entities"`
	}
	if err := c.get(ctx, "/functions", withNames, &answer); err != nil {
		return nil, err
	}
	functions := make([]Function, len(answer.Entities))
	for i, f := range answer.Entities {
		functions[i] = f.public()
	}
	return functions, nil
}

// Function reads one function with its inputs.
func (c *Client) Function(ctx context.Context, id int64) (Function, error) {
	var answer function
	err := c.get(ctx, "/functions/"+strconv.FormatInt(id, 10), withNames, &answer)
	return answer.public(), err
}

// Destinations lists all message destinations of the organization.
func (c *Client) Destinations(ctx context.Context) ([]Destination, error) {
	var answer struct {
		Entities []Destination `json:"entities"`
	}
	err := c.get(ctx, "/message_destinations", nil, &answer)
	return answer.Entities, err
}

// UnmarshalJSON keeps all keys of the object.
func (d *Destination) UnmarshalJSON(text []byte) error {
	type plain Destination // without this method
	if err := json.Unmarshal(text, (*plain)(d)); err != nil {
		return err
	}
	var kind struct {
		Type json.RawMessage `json:"destination_type"` // 0 queue, 1 topic
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return err
	}
	d.Topic = string(kind.Type) == "1"
	return json.Unmarshal(text, &d.all)
}

// Fields lists the fields of an object type: "incident", ActivityFields, FunctionInputs, ….
func (c *Client) Fields(ctx context.Context, objectType string) ([]Field, error) {
	var answer []struct {
		ID        int64  `json:"id"`
		Name      string `json:"name"`
		Text      string `json:"text"`
		Tooltip   string `json:"tooltip"`
		UUID      string `json:"uuid"`
		Prefix    string `json:"prefix"`
		InputType string `json:"input_type"`
		Required  string `json:"required"`
		Values    []struct {
			Value json.RawMessage `json:"value"`
			Label string          `json:"label"`
			UUID  string          `json:"uuid"`
		} `json:"values"`
	}
	if err := c.get(ctx, "/types/"+objectType+"/fields", nil, &answer); err != nil {
		return nil, err
	}
	fields := make([]Field, 0, len(answer))
	for _, f := range answer {
		field := Field{ID: f.ID, Name: f.Name, Label: f.Text, Tooltip: f.Tooltip, UUID: f.UUID, Prefix: f.Prefix, InputType: f.InputType, Required: f.Required}
		for _, v := range f.Values {
			field.Values = append(field.Values, FieldValue{Value: strings.Trim(string(v.Value), `"`), Label: v.Label, UUID: v.UUID})
		}
		fields = append(fields, field)
	}
	return fields, nil
}

// get reads JSON.
func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	answer, err := c.Do(ctx, rest.Request{Method: http.MethodGet, Path: path, Query: query})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer.Body, into); err != nil {
		return unexpected(http.MethodGet, path)
	}
	return nil
}

// viewItems are what a form shows, among it fields.
type viewItems []struct {
	Content   string `json:"content"`
	FieldType string `json:"field_type"`
}

// of returns the uuids of the fields of an object type.
func (items viewItems) of(objectType string) []string {
	uuids := []string{}
	for _, item := range items {
		if item.FieldType == objectType {
			uuids = append(uuids, item.Content)
		}
	}
	return uuids
}

// handle names another object. SOAR writes a name, a number, or an object that has
// both, by version and place (contract: REST conventions).
type handle string

// UnmarshalJSON reads each of the three.
func (h *handle) UnmarshalJSON(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		*h = handle(v)
	case float64:
		*h = handle(strconv.FormatFloat(v, 'f', -1, 64))
	case map[string]any:
		if name, ok := v["name"].(string); ok {
			*h = handle(name)
		}
	}
	return nil
}

func names(handles []handle) []string {
	out := make([]string, len(handles))
	for i, h := range handles {
		out[i] = string(h)
	}
	return out
}

// plainText reads a text that is a string or {format, content}.
func plainText(text json.RawMessage) string {
	var s string
	if json.Unmarshal(text, &s) == nil {
		return s
	}
	var o struct {
		Content string `json:"content"`
	}
	_ = json.Unmarshal(text, &o)
	return o.Content
}
