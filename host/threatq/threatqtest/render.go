package threatqtest

import (
	"strconv"
	"strings"
)

func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func (l *lookup) row() row {
	r := row{"id": l.id, "name": l.name, "created_at": tableDate, "updated_at": tableDate}
	for key, value := range l.extra {
		r[key] = value
	}
	return r
}

// tableDate is when the look-up tables came into being: at installation.
const tableDate = "2017-03-20 13:28:23"

// record is an object as lists and look-ups by id show it, without any with part.
func (st *store) record(o *object) row {
	r := row{"id": o.id, o.kind.nameField: o.name, "created_at": o.created, "updated_at": o.updated}
	for key, value := range o.fields {
		r[key] = value
	}
	switch o.kind.collection {
	case "indicators":
		r["type_id"], r["status_id"], r["class"] = o.typeID, o.statusID, o.class
		r["hash"] = contentHash(o.lower, strconv.Itoa(o.typeID))
		for _, key := range []string{"description", "last_detected_at", "expires_at", "expired_at", "expires_calculated_at"} {
			if _, ok := r[key]; !ok {
				r[key] = nil
			}
		}
		r["expires_needs_calc"] = "Y"
	case "events":
		r["type_id"] = o.typeID
		r["hash"] = o.eventHash()
		if _, ok := r["description"]; !ok {
			r["description"] = nil
		}
	case "tasks":
		r["status_id"] = o.statusID
		return r
	case "attachments":
		r["type_id"] = o.typeID
		return r
	default:
		if o.kind.custom() {
			r["type_id"], r["status_id"] = orNull(o.typeID), orNull(o.statusID)
			o.kind.describe(r)
			if _, ok := r["description"]; !ok {
				r["description"] = nil
			}
		}
	}
	r["touched_at"] = o.touched
	if o.deleted != "" {
		r["deleted_at"] = o.deleted
	}
	return r
}

func (k *kind) describe(r row) {
	r["object_id"], r["object_code"], r["object_name"], r["object_name_plural"] = k.objectID, k.singular, k.display, k.plural
}

func (o *object) eventHash() string {
	return contentHash(o.lower, strconv.Itoa(o.typeID), asText(o.fields["happened_at"]))
}

// created is an object as the answer to its creation: keys that were not sent are missing, as recorded.
func (st *store) created(o *object) row {
	r := st.record(o)
	switch o.kind.collection {
	case "indicators":
		r["type"] = byID(st.indicatorTypes, o.typeID).row()
		return r
	case "events":
		r["type"] = byID(st.eventTypes, o.typeID).row()
	case "adversaries":
		delete(r, "touched_at")
	default:
		if o.kind.custom() {
			for _, key := range []string{"touched_at", "type_id", "status_id"} {
				delete(r, key)
			}
		}
	}
	if r["description"] == nil {
		delete(r, "description")
	}
	return r
}

// related is an object in a list of linked objects.
func (st *store) related(o *object, l *link) row {
	r := st.record(o)
	if o.kind.collection == "indicators" {
		r["sync_hash"] = contentHash(o.lower)
		r["deleted_at"] = orNull(o.deleted)
	}
	r["pivot"] = row{"id": l.pivot, "created_at": l.created, "updated_at": l.updated}
	return r
}

// attributeForm chooses what a row of attributes shows.
type attributeForm struct{ attribute, sources bool }

func (st *store) attributeRow(o *object, a *attribute, form attributeForm) row {
	r := row{
		"id": a.id, "attribute_id": a.name.id, o.kind.singular + "_id": o.id, "name": a.name.name, "value": a.value,
		"created_at": a.created, "updated_at": a.updated, "touched_at": a.updated,
	}
	if st.opts.OldAttributeRows {
		delete(r, "name")
	}
	if form.attribute {
		r["attribute"] = row{"id": a.name.id, "name": a.name.name, "created_at": a.name.extra["created_at"], "updated_at": a.name.extra["updated_at"]}
	}
	if form.sources {
		r["sources"] = st.sourceRows(a.sources, o.kind.singular+"_attribute_id", a.id)
	}
	return r
}

func (st *store) attributeRows(o *object, form attributeForm) []row {
	rows := make([]row, 0, len(o.attributes))
	for _, a := range o.attributes {
		rows = append(rows, st.attributeRow(o, a, form))
	}
	return rows
}

// sourceRows is the form inside objects, with a pivot.
func (st *store) sourceRows(sources []*sourceRow, ownerKey string, owner int) []row {
	rows := make([]row, 0, len(sources))
	for _, s := range sources {
		rows = append(rows, row{
			"id": s.source.id, "type": s.source.kind, "reference_id": s.source.reference, "name": s.source.name,
			"tlp_id": s.tlp, "published_at": s.published, "created_at": s.created, "updated_at": s.updated,
			"pivot": row{"id": s.id, ownerKey: owner, "source_id": s.source.id, "creator_source_id": st.account.id},
		})
	}
	return rows
}

// flatSourceRows is the form of /query answers, where the row's own id is id.
func (st *store) flatSourceRows(o *object) []row {
	rows := make([]row, 0, len(o.sources))
	for _, s := range o.sources {
		r := row{
			"id": s.id, "source_id": s.source.id, "name": s.source.name, "source_type": s.source.kind,
			"reference_id": s.source.reference, "creator_source_id": st.account.id, o.kind.singular + "_id": o.id,
			"published_at": s.created, "created_at": s.created, "updated_at": s.updated,
		}
		if o.kind.collection == "indicators" {
			r["indicator_type_id"], r["indicator_status_id"] = o.typeID, o.statusID
		}
		rows = append(rows, r)
	}
	return rows
}

func (st *store) commentRow(o *object, c *comment) row {
	return row{
		"id": c.id, o.kind.singular + "_id": o.id, "value": c.value, "creator_source_id": st.account.id,
		"created_at": c.created, "updated_at": c.updated,
	}
}

func (st *store) commentSources() []row {
	a := st.account
	return []row{{"id": a.id, "type": a.kind, "reference_id": a.reference, "name": a.name}}
}

func (t *tag) row() row {
	return row{"id": t.id, "name": t.name, "created_at": t.created, "updated_at": t.created, "pivot": row{"id": t.pivot}}
}

func (st *store) scoreRow(o *object) row {
	return row{
		"indicator_id": o.id, "generated_score": "0.00", "manual_score": o.score,
		"score_config_hash": contentHash("score"), "created_at": o.created, "updated_at": o.updated,
	}
}

// expand adds the parts that with asks for; false means that the server does not know one and crashes.
func (st *store) expand(r row, o *object, with string) bool {
	if with == "" {
		return true
	}
	for _, name := range strings.Split(with, ",") {
		if strings.Contains(name, "_") && !st.opts.UnderscoreWith || !st.expandOne(r, o, name) {
			return false
		}
	}
	return true
}

func (st *store) expandOne(r row, o *object, name string) bool {
	name, nested, _ := strings.Cut(name, ".")
	if k := kindByCollection[name]; k != nil {
		rows, ok := r[name].([]row)
		if !ok { // the same name may have come with another nested part
			for _, l := range o.links[k] {
				rows = append(rows, st.related(l.other(o), l))
			}
			if rows == nil {
				rows = []row{}
			}
			r[name] = rows
		}
		for i, l := range o.links[k] {
			if nested != "" && !st.expandOne(rows[i], l.other(o), nested) {
				return false
			}
		}
		return true
	}
	if nested != "" {
		return false
	}
	kind := o.kind.collection
	switch {
	case name == "attributes":
		r[name] = st.attributeRows(o, attributeForm{attribute: true})
	case name == "sources":
		r[name] = st.sourceRows(o.sources, o.kind.singular+"_id", o.id)
	case name == "comments":
		rows := make([]row, 0, len(o.comments))
		for _, c := range o.comments {
			rows = append(rows, st.commentRow(o, c))
		}
		r[name] = rows
	case name == "tags":
		rows := make([]row, 0, len(o.tags))
		for _, t := range o.tags {
			rows = append(rows, t.row())
		}
		r[name] = rows
	case name == "watchlist", name == "spearphish" && kind == "events":
		r[name] = []row{}
	case name == "descriptions" && kind == "adversaries":
		rows := make([]row, 0, len(o.descriptions))
		for i, text := range o.descriptions {
			rows = append(rows, row{"id": i + 1, "adversary_id": o.id, "value": text})
		}
		r[name] = rows
	case name == "type" && (st.types(o.kind) != nil || o.kind.custom()):
		r[name] = nil
		if l := byID(st.types(o.kind), o.typeID); l != nil {
			r[name] = l.row()
		}
	case name == "status" && (kind == "indicators" || o.kind.custom()):
		r[name] = nil
		if l := byID(st.statuses, o.statusID); l != nil && !o.kind.custom() {
			r[name] = l.row()
		}
	case name == "score" && kind == "indicators":
		r[name] = st.scoreRow(o)
	default:
		return false
	}
	return true
}

// details is an object with everything expanded, row sources included.
func (st *store) details(o *object) row {
	r := st.record(o)
	for _, name := range []string{"signatures", "attachments", "sources", "comments", "indicators", "events", "adversaries", "watchlist", "type", "status", "score"} {
		st.expandOne(r, o, name)
	}
	r["attributes"] = st.attributeRows(o, attributeForm{attribute: true, sources: true})
	return r
}
