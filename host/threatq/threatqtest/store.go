package threatqtest

import (
	"crypto/md5"
	"encoding/hex"
	"slices"
	"sort"
	"strings"
	"time"
)

// stamp is the one form in which ThreatQ reads and writes dates; UTC.
const stamp = "2006-01-02 15:04:05"

// lookup is an entry of a small table: indicator types, event types, sources' owners.
type lookup struct {
	id    int
	name  string
	class string // indicator types
	extra row
}

// object is one stored object. Its fields are guarded by Server.mu.
type object struct {
	kind     *kind
	id       int
	name     string
	lower    string // name in lower case, for comparisons
	typeID   int    // 0: none
	statusID int
	fields   row // what only some kinds have: description, happened_at, priority …
	class    string
	score    any // manual score; nil or text

	created, updated, touched string
	born                      time.Time // when the search index heard of it
	deleted                   string    // date of a soft deletion; empty while alive

	attributes   []*attribute
	sources      []*sourceRow
	tags         []*tag
	comments     []*comment
	descriptions []string // of adversaries, which have several
	content      []byte   // attachments: the bytes as they are stored
	links        map[*kind][]*link
}

type attribute struct {
	id               int
	name             *lookup
	value            string
	sources          []*sourceRow
	created, updated string
}

// source is a contributor; sourceRow says that it contributed one object or attribute row.
type source struct {
	id        int
	name      string
	kind      string // "other_sources", "users", "plugins"
	reference int
	created   string
}

type sourceRow struct {
	id               int
	source           *source
	tlp, published   any
	created, updated string
}

type tag struct {
	id, pivot int
	name      string
	created   string
}

type comment struct {
	id               int
	value            string
	created, updated string
}

// link joins two objects; from is the one in whose path it was made.
type link struct {
	pivot            int
	from, to         *object
	created, updated string
}

func (l *link) other(o *object) *object {
	if l.from == o {
		return l.to
	}
	return l.from
}

type table struct {
	kind   *kind
	nextID int
	rows   []*object // by id
	byID   map[int]*object
	byName map[string][]*object // lower-case name
}

type user struct {
	id          int
	email, name string
	source      *source
}

type store struct {
	opts             Options
	tables           map[*kind]*table
	indicatorTypes   []*lookup
	statuses         []*lookup
	eventTypes       []*lookup
	attachmentTypes  []*lookup
	attributeNames   map[string]*lookup // lower-case name
	sources          map[string]*source // lower-case name
	users            []*user
	counters         map[string]int
	account          *source
	commentsByNumber map[*kind]map[int]*object
	uploads          map[string][]byte // by file name: contents that wait for their second call
	imports          []*session
}

func newStore(o Options) *store {
	st := &store{
		opts:             o,
		tables:           map[*kind]*table{},
		attributeNames:   map[string]*lookup{},
		sources:          map[string]*source{},
		uploads:          map[string][]byte{},
		commentsByNumber: map[*kind]map[int]*object{},
		// The first ids of the samples; apart from each other so that a mix-up shows.
		counters: map[string]int{"attribute": 41, "attribute row": 901, "source": 7, "source row": 1203, "link": 31, "comment": 6, "tag": 12, "reference": 3, "import": 33},
	}
	for _, k := range kinds {
		st.tables[k] = &table{kind: k, nextID: k.firstID, byID: map[int]*object{}, byName: map[string][]*object{}}
		st.commentsByNumber[k] = map[int]*object{}
	}
	st.addUser("admin@example.com", "Admin")
	st.account = st.addUser(o.Email, "SOAR Integration").source
	for i, t := range indicatorTypes {
		if containsFold(o.MissingIndicatorTypes, t.name) {
			continue
		}
		id := i + 1
		if o.Numbering == NumberingB {
			id = t.idB
		}
		st.indicatorTypes = append(st.indicatorTypes, &lookup{id: id, name: t.name, class: t.class,
			extra: row{"class": t.class, "score": nil, "wildcard_matching": "Y"}})
	}
	slices.SortFunc(st.indicatorTypes, func(a, b *lookup) int { return a.id - b.id })
	for i, t := range indicatorStatuses {
		st.statuses = append(st.statuses, &lookup{id: i + 1, name: t.name, extra: row{"description": t.description,
			"user_editable": "N", "visible": "Y", "include_in_export": "Y", "protected": "Y"}})
	}
	for i, name := range eventTypes {
		if name == "Incident" && o.WithoutIncidentType {
			continue
		}
		st.eventTypes = append(st.eventTypes, &lookup{id: i + 1, name: name, extra: row{"user_editable": "N"}})
	}
	for i, t := range attachmentTypes {
		extra := row{"is_parsable": "N", "parser_class": nil}
		if t.parser != "" {
			extra = row{"is_parsable": "Y", "parser_class": t.parser}
		}
		st.attachmentTypes = append(st.attachmentTypes, &lookup{id: i + 1, name: t.name, extra: extra})
	}
	return st
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, s) })
}

func (st *store) next(counter string) int {
	n := st.counters[counter]
	st.counters[counter]++
	return n
}

func (st *store) now() string { return st.opts.Now().UTC().Format(stamp) }

func (st *store) addUser(email, name string) *user {
	u := &user{id: len(st.users) + 1, email: email, name: name}
	u.source = st.source(email)
	u.source.kind, u.source.reference = "users", u.id
	st.users = append(st.users, u)
	return u
}

// isUser says whether a task may be assigned to the source.
func (st *store) isUser(source int) bool {
	return slices.ContainsFunc(st.users, func(u *user) bool { return u.source.id == source })
}

// source finds a source by name and makes it when it is new.
func (st *store) source(name string) *source {
	key := strings.ToLower(name)
	src, ok := st.sources[key]
	if !ok {
		src = &source{id: st.next("source"), name: name, kind: "other_sources", reference: st.next("reference"), created: st.now()}
		st.sources[key] = src
	}
	return src
}

func byName(table []*lookup, name string) *lookup {
	for _, l := range table {
		if strings.EqualFold(l.name, name) {
			return l
		}
	}
	return nil
}

func byID(table []*lookup, id int) *lookup {
	for _, l := range table {
		if l.id == id {
			return l
		}
	}
	return nil
}

func (st *store) types(k *kind) []*lookup {
	switch k.collection {
	case "indicators":
		return st.indicatorTypes
	case "events":
		return st.eventTypes
	case "attachments":
		return st.attachmentTypes
	default:
		return nil
	}
}

// insert stores a new object under the next id, or under id when it is not 0.
func (st *store) insert(k *kind, id int, name string) *object {
	t := st.tables[k]
	if id == 0 {
		id = t.nextID
	}
	t.nextID = max(t.nextID, id+1)
	now := st.now()
	o := &object{kind: k, id: id, name: name, lower: strings.ToLower(name), fields: row{}, created: now, updated: now, touched: now, born: st.opts.Now()}
	i := sort.Search(len(t.rows), func(i int) bool { return t.rows[i].id >= id })
	t.rows = slices.Insert(t.rows, i, o)
	t.byID[id] = o
	t.byName[o.lower] = append(t.byName[o.lower], o)
	return o
}

func (st *store) rename(o *object, name string) {
	t := st.tables[o.kind]
	t.forgetName(o)
	o.name, o.lower = name, strings.ToLower(name)
	t.byName[o.lower] = append(t.byName[o.lower], o)
}

func (t *table) forgetName(o *object) {
	rest := slices.DeleteFunc(t.byName[o.lower], func(other *object) bool { return other == o })
	if len(rest) == 0 {
		delete(t.byName, o.lower)
	} else {
		t.byName[o.lower] = rest
	}
}

func (st *store) remove(o *object) {
	t := st.tables[o.kind]
	t.forgetName(o)
	delete(t.byID, o.id)
	t.rows = slices.DeleteFunc(t.rows, func(other *object) bool { return other == o })
	for _, links := range o.links {
		for _, l := range links {
			l.other(o).dropLink(l)
		}
	}
	for _, c := range o.comments {
		delete(st.commentsByNumber[o.kind], c.id)
	}
}

func (o *object) dropLink(l *link) {
	k := l.other(o).kind
	o.links[k] = slices.DeleteFunc(o.links[k], func(other *link) bool { return other == l })
}

// link joins two objects; joining them again gives the existing link.
func (st *store) link(from, to *object) *link {
	for _, l := range from.links[to.kind] {
		if l.other(from) == to {
			return l
		}
	}
	now := st.now()
	l := &link{pivot: st.next("link"), from: from, to: to, created: now, updated: now}
	for _, o := range []*object{from, to} {
		if o.links == nil {
			o.links = map[*kind][]*link{}
		}
		other := l.other(o).kind
		o.links[other] = append(o.links[other], l)
		o.touched = now
	}
	return l
}

// addSource says whether the source was there already.
func (st *store) addSource(rows []*sourceRow, f fields) (all []*sourceRow, added *sourceRow, existing bool) {
	src := st.source(f.text("name"))
	now := st.now()
	for _, r := range rows {
		if r.source == src {
			r.updated = now
			return rows, r, true
		}
	}
	added = &sourceRow{id: st.next("source row"), source: src, tlp: tlp(f), created: now, updated: now}
	if p := f.text("published_at"); p != "" {
		added.published = p
	}
	return append(rows, added), added, false
}

var tlpIDs = map[string]int{"red": 1, "amber": 2, "green": 3, "white": 4}

func tlp(f fields) any {
	if id, ok := f.number("tlp_id"); ok {
		return id
	}
	name, id := f.name("tlp")
	if id == 0 {
		id = tlpIDs[strings.ToLower(name)]
	}
	if id == 0 {
		return nil
	}
	return id
}

// addAttribute adds a value. The same name and value again is the same row with a newer date; a new source joins it.
func (st *store) addAttribute(o *object, f fields) *attribute {
	name, value := f.text("name"), f.text("value")
	key := strings.ToLower(name)
	l, ok := st.attributeNames[key]
	if !ok {
		l = &lookup{id: st.next("attribute"), name: name, extra: row{"created_at": st.now(), "updated_at": st.now()}}
		st.attributeNames[key] = l
	}
	now := st.now()
	var a *attribute
	for _, known := range o.attributes {
		if known.name == l && known.value == value {
			a = known
		}
	}
	if a == nil {
		a = &attribute{id: st.next("attribute row"), name: l, value: value, created: now}
		o.attributes = append(o.attributes, a)
	}
	a.updated, o.touched = now, now
	sources := f.list("sources")
	if len(sources) == 0 {
		sources = []fields{{"name": st.account.name}}
	}
	for _, src := range sources {
		if src.text("name") != "" {
			a.sources, _, _ = st.addSource(a.sources, src)
		}
	}
	return a
}

func (st *store) addTag(o *object, name string) *tag {
	for _, t := range o.tags {
		if strings.EqualFold(t.name, name) {
			return t
		}
	}
	t := &tag{id: st.next("tag"), pivot: st.next("link"), name: name, created: st.now()}
	o.tags = append(o.tags, t)
	return t
}

func (st *store) addComment(o *object, value string) *comment {
	now := st.now()
	c := &comment{id: st.next("comment"), value: value, created: now, updated: now}
	o.comments = append(o.comments, c)
	st.commentsByNumber[o.kind][c.id] = o
	o.touched = now
	return c
}

// contentHash is ThreatQ's identity of an object; only its look is copied.
func contentHash(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}
