package provision

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/resilient"
)

// Destination is the programmatic name of the message destination.
const Destination = "fn_threatq"

// Oldest is the version of SOAR that documents are made for; an older one refuses them
// (contract: differences by version).
var Oldest = resilient.ServerVersion{Major: 35, Minor: 0, Build: 32, Text: "35.0.32"}

// made stands for the dates of a document, in ms since 1970: a real one would change
// its bytes each time. It is 31 January 2020, 14:00 UTC.
const made = 1580479200000

// numbers of the object types (contract: type ids)
const (
	typeIncident = 0
	typeActivity = 6
	typeFunction = 11
)

// UnknownModuleError says that there is no module of this name.
type UnknownModuleError struct {
	Name  string
	Known []string
}

func (e *UnknownModuleError) Error() string {
	return fmt.Sprintf("there is no module %q; there is %s", e.Name, strings.Join(e.Known, ", "))
}

// Modules are the names of all installed modules.
func (d *Document) Modules() []string { return d.known }

// Build makes the document of the installed modules, or of the named ones among them.
// Its errors are *UnknownModuleError and one that names the two modules which want a
// field of one name in two ways.
func Build(installed []*manifest.Manifest, only ...string) (*Document, error) {
	installed = slices.SortedFunc(slices.Values(installed), func(a, b *manifest.Manifest) int { return cmp.Compare(a.Name, b.Name) })
	d := frame()
	for _, m := range installed {
		d.known = append(d.known, m.Name)
		for _, r := range m.Rules {
			d.currentRules = append(d.currentRules, manifest.RoutingName(r.Title))
		}
		for _, f := range m.Functions {
			d.currentFunctions = append(d.currentFunctions, f.Name)
		}
	}
	for _, name := range only {
		if !slices.Contains(d.known, name) {
			return nil, &UnknownModuleError{name, d.known}
		}
	}
	for _, m := range installed {
		if len(only) > 0 && !slices.Contains(only, m.Name) {
			continue
		}
		for _, r := range m.Rules {
			if err := d.addRule(m.Name, r); err != nil {
				return nil, err
			}
		}
		for _, f := range m.Functions {
			if err := d.addFunction(m.Name, f); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// frame is a document without rules and functions. An incident type and an incident
// field have to be in it; these two are what all apps bring (contract: customize).
func frame() *Document {
	const internal = "Customization Packages (internal)"
	d := &Document{
		ExportDate: made, FormatVersion: 2, ID: 1,
		ServerVersion: serverVersion{Major: Oldest.Major, Minor: Oldest.Minor, Build: Oldest.Build, Text: Oldest.Text},
		IncidentTypes: []incidentType{{
			CreateDate: made, UpdateDate: made, Description: internal, ExportKey: internal, Name: internal, UUID: "bfeec2d4-3770-11e8-ad39-4a0004044aa0",
		}},
		Destinations: []destination{{ExpectAck: true, ExportKey: Destination, Title: Destination, Name: Destination, UUID: stableUUID("message_destination", Destination)}},
	}
	f := newField(typeIncident, "incident", manifest.Field{Name: "internal_customizations_field", Label: "Customizations Field (internal)", Type: "text"})
	f.Internal, f.ReadOnly, f.UUID = true, true, "bfeec2d4-3770-11e8-ad39-4a0004044aa1"
	d.Fields = []field{f}
	return d
}

func (d *Document) addRule(module string, r manifest.Rule) error {
	out := rule{
		Enabled: true, ExportKey: r.Title, ID: len(d.Rules) + 1, Logic: "all", Destinations: []string{Destination}, Name: r.Title, Object: r.Object,
		Timeout: 86400, Type: 1, UUID: stableUUID("action", r.Title), module: module,
	}
	var uuids []string
	for _, f := range r.Fields {
		uuid, err := d.addField(module, typeActivity, resilient.ActivityFields, f)
		if err != nil {
			return err
		}
		uuids = append(uuids, uuid)
	}
	if !r.Automatic {
		out.ViewItems = viewItemsOf(resilient.ActivityFields, uuids)
		d.Rules = append(d.Rules, out)
		return nil
	}
	// Automatic rules ask for nothing. Their fields are for the administrator who makes
	// a menu item of one (guide: Customizing Functionality).
	out.Type = 0
	if len(r.Conditions) > 0 {
		out.Logic = "any"
	}
	for _, c := range r.Conditions {
		made := condition{Method: c.Method}
		if c.Field != "" {
			made.Field = &c.Field
		}
		out.Conditions = append(out.Conditions, made)
	}
	d.Rules = append(d.Rules, out)
	return nil
}

func (d *Document) addFunction(module string, f manifest.Function) error {
	var uuids []string
	for _, input := range f.Inputs {
		uuid, err := d.addField(module, typeFunction, resilient.FunctionInputs, input)
		if err != nil {
			return err
		}
		uuids = append(uuids, uuid)
	}
	d.Functions = append(d.Functions, function{
		ID: len(d.Functions) + 1, Name: f.Name, Title: f.Title, ExportKey: f.Name, Destination: Destination,
		Description: text{"text", f.Description}, Created: made, LastModified: made,
		ModifiedBy: principal{Type: "user", Name: "fn-threatq", Title: "fn-threatq"},
		UUID:       stableUUID("function", f.Name), Version: 1, ViewItems: viewItemsOf(resilient.FunctionInputs, uuids), module: module,
	})
	return nil
}

// addField adds a field, unless another rule or function has brought it already, and
// returns its uuid.
func (d *Document) addField(module string, typeID int, typeName string, wanted manifest.Field) (uuid string, err error) {
	f := newField(typeID, typeName, wanted)
	f.module = module
	if i := slices.IndexFunc(d.Fields, func(other field) bool { return other.ExportKey == f.ExportKey }); i >= 0 {
		other := &d.Fields[i]
		if other.InputType != f.InputType || other.Text != f.Text || !slices.Equal(labels(other.Values), labels(f.Values)) {
			return "", fmt.Errorf("the modules %s and %s want the field %s with different types, labels or options: give one of them another name", other.module, module, f.Name)
		}
		if f.Required == "" {
			other.Required = "" // one of those that use it can do without
		}
		return other.UUID, nil
	}
	f.ID = len(d.Fields)
	values := 0
	for _, other := range d.Fields {
		values += len(other.Values)
	}
	for i := range f.Values {
		f.Values[i].Value = values + i + 1
	}
	d.Fields = append(d.Fields, f)
	return f.UUID, nil
}

func newField(typeID int, typeName string, wanted manifest.Field) field {
	key := typeName + "/" + wanted.Name
	f := field{
		Changeable: true, ExportKey: key, InputType: wanted.Type, Name: wanted.Name, Text: wanted.Label, Tooltip: wanted.Description,
		TypeID: typeID, UUID: stableUUID("field", key), OperationPerms: map[string]none{},
	}
	if typeID == typeActivity {
		prefix := "properties"
		f.Prefix = &prefix
	}
	if wanted.Required {
		f.Required = "always"
	}
	for _, option := range wanted.Options {
		f.Values = append(f.Values, value{Label: option, Enabled: true, UUID: stableUUID("value", key+"/"+option)})
	}
	return f
}

func labels(values []value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.Label
	}
	return out
}

func viewItemsOf(typeName string, uuids []string) []viewItem {
	items := make([]viewItem, len(uuids))
	for i, uuid := range uuids {
		items[i] = viewItem{Content: uuid, Element: "field_uuid", FieldType: typeName}
	}
	return items
}

// field returns the field with this uuid, which the document has.
func (d *Document) field(uuid string) field {
	return d.Fields[slices.IndexFunc(d.Fields, func(f field) bool { return f.UUID == uuid })]
}

// fieldNames are the API names of the fields that view items show.
func (d *Document) fieldNames(items []viewItem) []string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = d.field(item.Content).Name
	}
	return names
}

// Encode gives the document as JSON, the same bytes for the same modules.
func (d *Document) Encode() []byte {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic(err) // it holds nothing that JSON cannot
	}
	return append(text, '\n')
}

// stableUUID is a uuid of version 5 in the name space of DNS.
func stableUUID(kind, name string) string {
	space := []byte{0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}
	sum := sha1.Sum(append(space, strings.Join([]string{Destination, kind, name}, "/")...))
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:32]}, "-")
}
