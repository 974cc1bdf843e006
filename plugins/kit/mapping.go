package kit

import (
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// pair maps an incident field to an attribute or object name.
type pair struct{ field, name string }

// pairs reads custom_attributes or custom_objects: `field=Name, field=Name`
// (contract: grammar of custom_attributes and custom_objects).
func (k *Kit) pairs(setting string) []pair {
	var list []pair
	for part := range strings.SplitSeq(k.Setting(setting), ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		field, name, ok := strings.Cut(part, "=")
		field = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(field), "properties."))
		name = strings.TrimSpace(name)
		if !ok || !isFieldName(field) || name == "" {
			k.Fail(abi.CodeInput, "Setting "+setting+": "+quote(part)+" is not of the form field=Name, with the API name of an incident field.")
		}
		list = append(list, pair{field, name})
	}
	return list
}

// isFieldName keeps a field name fit for a path.
func isFieldName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return name != ""
}

// fieldState says what is known of an incident field.
type fieldState uint8

const (
	// fieldRead: the values are all there are, none when the field is empty.
	fieldRead fieldState = iota
	// fieldGone: the organization has no such field.
	fieldGone
	// fieldUnclear: it could not be read; nothing may be concluded from that.
	fieldUnclear
)

// values translates a field into the texts that ThreatQ gets (contract: value
// of a field). Most answers hold labels already; where an id may be left, and
// where a key is missing, the field's definition decides, and is read.
func (k *Kit) values(incident Incident, field string, selects bool) ([]string, fieldState) {
	v := incident.Field(field)
	if !needsDefinition(v) {
		return plainValues(v, nil), fieldRead
	}
	result := k.do(get(abi.Resilient, "/types/incident/fields/"+field, nil))
	switch {
	case result.NotFound():
		if v.Exists() && !selects {
			return plainValues(v, nil), fieldRead
		}
		return nil, fieldGone
	case result.Err != nil:
		k.Log("field " + field + " of incidents: its definition cannot be read, its values are left as they are: " + result.Err.Error())
		return nil, fieldUnclear
	}
	return plainValues(v, &definition{result.Body}), fieldRead
}

func needsDefinition(v jsonvalue.Value) bool {
	if !v.Exists() {
		return true
	}
	if v.Kind() == jsonvalue.Array {
		for item := range v.Items() {
			if item.Kind() == jsonvalue.Number {
				return true
			}
		}
	}
	return v.Kind() == jsonvalue.Number
}

// definition is a FieldDef of SOAR.
type definition struct{ jsonvalue.Value }

func (d *definition) label(value string) (string, bool) {
	for option := range d.Get("values").Items() {
		if option.Get("value").Text() == value {
			return option.Get("label").Text(), true
		}
	}
	return "", false
}

func plainValues(v jsonvalue.Value, d *definition) []string {
	var list []string
	if v.Kind() == jsonvalue.Array {
		for item := range v.Items() {
			list = append(list, plainValues(item, d)...)
		}
		return list
	}
	if value := strings.TrimSpace(text.Clean(plainValue(v, d))); value != "" {
		list = append(list, value)
	}
	return list
}

func plainValue(v jsonvalue.Value, d *definition) string {
	switch v.Kind() {
	case jsonvalue.Bool:
		return yesNo(v.Bool())
	case jsonvalue.String:
		return text.Plain(v.Text())
	case jsonvalue.Object:
		if v.Get("format").Exists() {
			return text.Plain(richText(v))
		}
		for _, key := range []string{"display_name", "name", "label"} {
			if name := v.Get(key).Text(); name != "" {
				return name
			}
		}
	case jsonvalue.Number:
		return numberValue(v, d)
	}
	return ""
}

func numberValue(v jsonvalue.Value, d *definition) string {
	number := strconv.FormatFloat(v.Float(), 'f', -1, 64)
	if d == nil {
		return number
	}
	if label, ok := d.label(v.Text()); ok {
		return label
	}
	switch d.Get("input_type").Text() {
	case "datepicker":
		return text.Date(v.Int())
	case "datetimepicker":
		return text.Time(v.Int())
	case "number", "text", "textarea", "":
		return number
	}
	// An id without a label would mean nothing to a reader.
	return ""
}

func yesNo(b bool) string {
	if b {
		return "Yes"
	}
	return "No"
}

func oneLine(s string) string { return strings.Join(strings.Fields(text.Clean(s)), " ") }
