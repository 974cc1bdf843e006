package resilienttest

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed world/*.json
var worldFiles embed.FS

// Object is the JSON form of a SOAR object.
type Object = map[string]any

// Field defines a field of an object type, of a rule's activity or of a function.
type Field struct {
	ID        int64   `json:"id"`
	Name      string  `json:"name"` // API name
	Text      string  `json:"text"` // label
	Tooltip   string  `json:"tooltip,omitempty"`
	InputType string  `json:"input_type"`       // text, textarea, number, boolean, select, multiselect, datepicker, …
	Prefix    string  `json:"prefix,omitempty"` // "properties" for custom and activity fields
	Required  string  `json:"required,omitempty"`
	Internal  bool    `json:"internal,omitempty"`
	RichText  bool    `json:"rich_text,omitempty"`
	UUID      string  `json:"uuid,omitempty"`
	Values    []Value `json:"values,omitempty"`
	// InMessages says whether type_info of an action message lists the field.
	InMessages bool `json:"in_messages,omitempty"`
}

// Value is one choice of a select field.
type Value struct {
	Value   any    `json:"value"` // number, or text for the two statuses
	Label   string `json:"label"`
	Default bool   `json:"default,omitempty"`
	UUID    string `json:"uuid,omitempty"`
	// allowDuplicate is shown for artifact types only.
	allowDuplicate *bool
}

// Rule is an automatic rule or a menu item, as GET /actions lists it.
type Rule struct {
	ID         int64    `json:"id"`
	Name       string   `json:"name"`
	ObjectType string   `json:"object_type"` // incident, task, note, artifact, attachment
	Type       int      `json:"type"`        // 0 automatic, 1 menu item
	LogicType  string   `json:"logic_type"`
	UUID       string   `json:"uuid"`
	Conditions [][2]any `json:"conditions"` // qualified field name or null, method
	Fields     []string `json:"fields"`     // API names of the activity fields
	Disabled   bool     `json:"disabled"`   // an administrator has switched it off
	// Destination is the programmatic name of its message destination; empty: the app's.
	Destination string   `json:"destination"`
	Workflows   []string `json:"workflows"` // names of the workflows that it also starts
}

// Function is a SOAR function, as GET /functions lists it.
type Function struct {
	ID          int64    `json:"id"`
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name"`
	Description string   `json:"description"`
	UUID        string   `json:"uuid"`
	Inputs      []string `json:"inputs"`      // API names of the input fields
	Destination string   `json:"destination"` // as that of a Rule
}

// Workflow is a workflow or a playbook that calls functions.
type Workflow struct {
	Name       string
	ObjectType string   // incident, artifact, …
	Functions  []string // API names
}

func (w Workflow) programmaticName() string {
	return strings.ToLower(strings.Join(strings.Fields(w.Name), "_"))
}

type artifactType struct {
	ID               int64  `json:"id"`
	Name             string `json:"name"`
	ProgrammaticName string `json:"programmatic_name"`
	UUID             string `json:"uuid"`
	Multi            bool   `json:"multi"`
	File             bool   `json:"file"`
	AllowDuplicate   bool   `json:"allow_duplicate"`
	RegExp           string `json:"reg_exp"`
	SplitOn          string `json:"split_on"`

	pattern   *regexp.Regexp
	separator *regexp.Regexp
}

// world is the part of the state that describes objects rather than being one.
type world struct {
	fields        map[string][]Field
	artifactTypes []artifactType
	rules         []Rule
	functions     []Function
	workflows     []Workflow
	playbooks     []Workflow
	templates     map[string]Object
	users         []user
}

type user struct {
	ID          int64
	First, Last string
	Email       string
}

func (u user) displayName() string { return u.First + " " + u.Last }

// objectTypeIDs are the numbers of the type system (contract: ActionDataDTO).
var objectTypeIDs = map[string]int64{
	"incident": 0, "task": 1, "note": 2, "milestone": 3, "artifact": 4, "attachment": 5,
	"actioninvocation": 6, "__function": 11,
}

func loadWorld() *world {
	w := &world{
		templates: map[string]Object{},
		users: []user{
			{ID: 4, First: "Ada", Last: "Analyst", Email: "analyst@example.com"},
			{ID: 5, First: "Admin", Last: "User", Email: "admin@example.com"},
		},
	}
	mustLoad("fields.json", &w.fields)
	mustLoad("artifact-types.json", &w.artifactTypes)
	mustLoad("rules.json", &w.rules)
	mustLoad("functions.json", &w.functions)
	mustLoad("templates.json", &w.templates)
	for name, template := range w.templates {
		w.templates[name] = normalise(template).(Object)
	}
	var choices []Value
	for i := range w.artifactTypes {
		t := &w.artifactTypes[i]
		if t.RegExp != "" {
			t.pattern = regexp.MustCompile(`^(?:` + t.RegExp + `)$`)
		}
		separator := t.SplitOn
		if separator == "" {
			separator = `\s`
		}
		t.separator = regexp.MustCompile(separator)
		choices = append(choices, Value{Value: t.ID, Label: t.Name, UUID: t.UUID, allowDuplicate: &t.AllowDuplicate})
	}
	for typeName, fields := range w.fields {
		for i := range fields {
			f := &fields[i]
			if f.UUID == "" {
				f.UUID = stableUUID(typeName + "/" + f.Name)
			}
			if typeName == "artifact" && f.Name == "type" {
				f.Values = choices
			}
			for j := range f.Values {
				f.Values[j].Value = normalise(f.Values[j].Value)
			}
		}
	}
	for i := range w.rules {
		if w.rules[i].UUID == "" {
			w.rules[i].UUID = stableUUID(fmt.Sprint("rule/", w.rules[i].ID))
		}
	}
	return w
}

func mustLoad(name string, into any) {
	data, err := worldFiles.ReadFile("world/" + name)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		panic(fmt.Sprintf("resilienttest: embedded %s: %v", name, err))
	}
}

// stableUUID gives every run of the simulator the same identifiers.
func stableUUID(name string) string {
	sum := sha256.Sum256([]byte(name))
	s := hex.EncodeToString(sum[:16])
	return s[:8] + "-" + s[8:12] + "-5" + s[13:16] + "-8" + s[17:20] + "-" + s[20:32]
}

func (w *world) field(objectType, name string) *Field {
	fields := w.fields[objectType]
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &fields[i]
}

// fieldByLabel finds a field by its label or its API name.
func (w *world) fieldByLabel(objectType, label string) *Field {
	for i, f := range w.fields[objectType] {
		if f.Text == label || f.Name == label {
			return &w.fields[objectType][i]
		}
	}
	return nil
}

func (f *Field) valueByID(id any) *Value {
	for i := range f.Values {
		if f.Values[i].Value == id {
			return &f.Values[i]
		}
	}
	return nil
}

func (f *Field) valueByLabel(label string) *Value {
	for i := range f.Values {
		if f.Values[i].Label == label {
			return &f.Values[i]
		}
	}
	return nil
}

func (w *world) artifactType(id int64) *artifactType {
	for i := range w.artifactTypes {
		if w.artifactTypes[i].ID == id {
			return &w.artifactTypes[i]
		}
	}
	return nil
}

func (w *world) user(id int64) user {
	for _, u := range w.users {
		if u.ID == id {
			return u
		}
	}
	return user{ID: id, First: "User", Last: fmt.Sprint(id), Email: fmt.Sprintf("user%d@example.com", id)}
}

// definition is the FieldDef a server answers.
func (f *Field) definition(objectType string) Object {
	values := make([]any, 0, len(f.Values))
	for i := range f.Values {
		values = append(values, f.Values[i].definition())
	}
	def := Object{
		"id": f.ID, "name": f.Name, "text": f.Text, "prefix": nilIfEmpty(f.Prefix),
		"type_id": objectTypeIDs[objectType], "input_type": f.InputType, "internal": f.Internal,
		"values": values, "uuid": f.UUID, "allow_default_value": false, "blank_option": false,
		"calculated": false, "changeable": true, "chosen": false, "default_chosen_by_server": false,
		"deprecated": false, "hide_notification": false, "is_tracked": false, "operation_perms": Object{},
		"operations": []any{}, "placeholder": "", "read_only": objectType == "artifact" && f.Name != "description",
		"rich_text": f.RichText, "tags": []any{}, "templates": []any{}, "tooltip": f.Tooltip,
	}
	if f.Required != "" {
		def["required"] = f.Required
	}
	return def
}

func (v *Value) definition() Object {
	var properties any
	if v.allowDuplicate != nil {
		properties = Object{"allow_duplicate": *v.allowDuplicate}
	}
	return Object{
		"value": v.Value, "label": v.Label, "enabled": true, "default": v.Default,
		"hidden": false, "properties": properties, "uuid": nilIfEmpty(v.UUID),
	}
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// decode reads JSON keeping whole numbers as int64: ids must not pass through float64.
func decode(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, fmt.Errorf("data after the JSON value")
	}
	return integers(v), nil
}

func integers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for k, item := range v {
			v[k] = integers(item)
		}
	case []any:
		for i, item := range v {
			v[i] = integers(item)
		}
	}
	return v
}

// normalise gives a Go value the form that decode gives.
func normalise(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("resilienttest: value is not JSON: %v", err))
	}
	out, err := decode(data)
	if err != nil {
		panic(fmt.Sprintf("resilienttest: value is not JSON: %v", err))
	}
	return out
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = clone(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = clone(item)
		}
		return out
	}
	return v
}

func cloneObject(o Object) Object { return clone(o).(Object) }
