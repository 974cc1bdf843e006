package kit

import (
	"strings"

	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// Attribute is the state that an attribute name shall have on an object.
type Attribute struct {
	Name string
	// Values are all values it shall have; none removes the attribute.
	Values []string
	// Multi says that it may have several: a changed value is then a new one.
	Multi bool
}

func (a Attribute) wants(stored string) bool {
	for _, value := range a.Values {
		if sameText(value, stored) {
			return true
		}
	}
	return false
}

// attributeRow is one value of an attribute of an object.
type attributeRow struct {
	id          int64
	name, value string
	// sources are nil when the server did not say.
	sources []string
}

func attributeRows(list []jsonvalue.Value) []attributeRow {
	rows := make([]attributeRow, 0, len(list))
	for _, v := range list {
		row := attributeRow{id: v.Get("id").Int(), name: v.Get("name").Text(), value: v.Get("value").Text()}
		if row.name == "" {
			row.name = v.Get("attribute", "name").Text()
		}
		if sources := v.Get("sources"); !sources.IsNull() {
			row.sources = []string{}
			for source := range sources.Items() {
				row.sources = append(row.sources, source.Get("name").Text())
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// SyncEvent brings the attributes of the incident's event into the state of
// EventAttributes. All rows of those names are ours. It returns what went wrong,
// in words.
func (k *Kit) SyncEvent(event *Event, incident Incident) (changes int, problems []string) {
	var wanted []Attribute
	var list []jsonvalue.Value
	var err *guest.CallError
	k.Together(
		func() { wanted = k.EventAttributes(incident) },
		func() { list, err = k.rows(eventPath(event.ID)+"/attributes", "attribute") })
	if err != nil {
		return 0, []string{"attributes cannot be read: " + err.Error()}
	}
	return k.changeAttributes(eventPath(event.ID), attributeRows(list), wanted, nil)
}

// SyncIndicatorAttributes brings attributes of an indicator into the wanted
// state. Others write to an indicator as well: a row is changed or removed only if our source is its only source.
// fresh says that the indicator was just made and has no attributes yet.
func (k *Kit) SyncIndicatorAttributes(indicator int64, fresh bool, wanted []Attribute) (changes int, problems []string) {
	path := "/api/indicators/" + id(indicator)
	if fresh {
		return k.changeAttributes(path, nil, wanted, nil)
	}
	return k.syncAttributes(path, wanted, k.onlyOurs)
}

func (k *Kit) onlyOurs(row attributeRow) bool {
	return len(row.sources) == 1 && strings.EqualFold(row.sources[0], k.Source)
}

func (k *Kit) syncAttributes(path string, wanted []Attribute, owned func(attributeRow) bool) (int, []string) {
	list, err := k.rows(path+"/attributes", "attribute")
	if err != nil {
		return 0, []string{"attributes cannot be read: " + err.Error()}
	}
	rows := attributeRows(list)
	if owned != nil && unknownOwner(rows, wanted) {
		// Only the expanded record shows the sources of attributes. It is heavy,
		// so it is read only when a row might have to go. Without it we add.
		if details := k.do(get("threatq", path+"/details", nil)); details.Err == nil {
			var full []jsonvalue.Value
			for row := range details.Body.Get("data", "attributes").Items() {
				full = append(full, row)
			}
			rows = withSources(rows, attributeRows(full))
		}
	}
	return k.changeAttributes(path, rows, wanted, owned)
}

func unknownOwner(rows []attributeRow, wanted []Attribute) bool {
	for _, a := range wanted {
		for _, row := range rows {
			if strings.EqualFold(row.name, a.Name) && !a.wants(row.value) && row.sources == nil {
				return true
			}
		}
	}
	return false
}

func withSources(rows, full []attributeRow) []attributeRow {
	for i := range rows {
		for _, f := range full {
			if f.id == rows[i].id {
				rows[i].sources = f.sources
			}
		}
	}
	return rows
}

// changeAttributes adds and changes first and deletes after, so that a crash
// leaves too much rather than too little.
func (k *Kit) changeAttributes(path string, rows []attributeRow, wanted []Attribute, owned func(attributeRow) bool) (int, []string) {
	var strands []func()
	changes := 0
	var problems []string
	failed := map[string]bool{}
	report := func(a Attribute, err *guest.CallError) {
		if err.Status == 403 {
			k.GiveUp(err)
		}
		failed[a.Name] = true
		problems = append(problems, "attribute "+a.Name+": "+err.Error())
	}
	type unwantedRow struct {
		name string
		id   int64
	}
	var unwanted []unwantedRow
	for _, a := range wanted {
		var missing []string
		var old []attributeRow
		for _, value := range a.Values {
			if !stored(rows, a.Name, value) {
				missing = append(missing, value)
			}
		}
		named := 0
		for _, row := range rows {
			if !strings.EqualFold(row.name, a.Name) {
				continue
			}
			named++
			if !a.wants(row.value) && (owned == nil || owned(row)) {
				old = append(old, row)
			}
		}
		if !a.Multi && named == 1 && len(old) == 1 && len(a.Values) == 1 {
			strands = append(strands, func() {
				changes++
				if err := k.replaceAttribute(path, old[0].id, a); err != nil {
					report(a, err)
				}
			})
			continue
		}
		for _, value := range missing {
			strands = append(strands, func() {
				changes++
				if err := k.addAttribute(path, a.Name, value); err != nil {
					report(a, err)
				}
			})
		}
		for _, row := range old {
			changes++
			unwanted = append(unwanted, unwantedRow{a.Name, row.id})
		}
	}
	k.Together(strands...)
	strands = nil
	for _, row := range unwanted {
		if failed[row.name] {
			// What should take the place of the old row is not there.
			continue
		}
		strands = append(strands, func() {
			if err := k.deleteAttribute(path, row.id); err != nil {
				problems = append(problems, "attribute "+row.name+": an old value could not be removed: "+err.Error())
			}
		})
	}
	k.Together(strands...)
	return changes, problems
}

func stored(rows []attributeRow, name, value string) bool {
	for _, row := range rows {
		if strings.EqualFold(row.name, name) && sameText(value, row.value) {
			return true
		}
	}
	return false
}

func (k *Kit) addAttribute(path, name, value string) *guest.CallError {
	body := jsonvalue.Obj("name", name, "value", value, "sources", k.sources())
	return k.do(write("POST", path+"/attributes", body, true)).Err
}

// replaceAttribute changes the one row of a single-valued name. Where the
// server knows no change call, it adds the new value and deletes the old row.
func (k *Kit) replaceAttribute(path string, row int64, a Attribute) *guest.CallError {
	err := k.do(write("PUT", path+"/attributes/"+id(row), jsonvalue.Obj("value", a.Values[0]), true)).Err
	if err == nil || err.Status != 404 && err.Status != 405 {
		return err
	}
	if err := k.addAttribute(path, a.Name, a.Values[0]); err != nil {
		return err
	}
	return k.deleteAttribute(path, row)
}

func (k *Kit) deleteAttribute(path string, row int64) *guest.CallError {
	result := k.do(write("DELETE", path+"/attributes/"+id(row), nil, true))
	if result.NotFound() {
		return nil
	}
	return result.Err
}
