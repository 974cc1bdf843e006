package threatqtest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (s *Server) attributes(c *call, o *object, rest []string) reply {
	if len(rest) > 1 {
		return notFound()
	}
	if len(rest) == 1 {
		return s.attributeByID(c, o, rest[0])
	}
	switch c.method {
	case http.MethodGet:
		with := c.query.Get("with")
		if with != "" && with != "attribute" { // no client has been seen to ask for more here
			return crashed()
		}
		rows := s.store.attributeRows(o, attributeForm{attribute: with == "attribute"})
		return s.partPage(c, rows)
	case http.MethodPost:
		items, ok := c.items()
		if !ok || len(items) == 0 {
			return badBody()
		}
		var rows []row
		for _, f := range items {
			for _, field := range []string{"name", "value"} {
				if f.text(field) == "" {
					return s.invalid(field, "The "+field+" field is required.")
				}
			}
		}
		for _, f := range items {
			a := s.store.addAttribute(o, f)
			r := s.store.attributeRow(o, a, attributeForm{attribute: true, sources: true})
			delete(r, "touched_at")
			rows = append(rows, r)
		}
		return s.many(http.StatusCreated, rows)
	}
	return methodNotAllowed()
}

func (s *Server) attributeByID(c *call, o *object, rowID string) reply {
	id, _ := strconv.Atoi(rowID)
	i := slices.IndexFunc(o.attributes, func(a *attribute) bool { return a.id == id })
	switch {
	case c.method == http.MethodPut && s.opts.NoAttributePut:
		return methodNotAllowed()
	case i < 0:
		return notFound()
	case c.method == http.MethodDelete:
		o.attributes = slices.Delete(o.attributes, i, i+1)
		o.touched = s.store.now()
		return noContent()
	case c.method == http.MethodPut:
	default:
		return methodNotAllowed()
	}
	a := o.attributes[i]
	f, ok := c.item()
	if !ok {
		return badBody()
	}
	value := f.text("value")
	if value == "" {
		return s.invalid("value", "The value field is required.")
	}
	for _, other := range o.attributes {
		if other != a && other.name == a.name && other.value == value {
			return s.invalid("value", "The value has already been taken.")
		}
	}
	a.value, a.updated = value, s.store.now()
	o.touched = a.updated
	for _, src := range f.list("sources") {
		a.sources, _, _ = s.store.addSource(a.sources, src)
	}
	r := s.store.attributeRow(o, a, attributeForm{})
	delete(r, "name")
	delete(r, "touched_at")
	return s.one(http.StatusOK, r)
}

// partPage pages and sorts rows of an object's part.
func (s *Server) partPage(c *call, rows []row) reply {
	if order := c.query.Get("sort"); order != "" {
		slices.SortStableFunc(rows, func(a, b row) int { return compareBy(order, a, b) })
	}
	from, to := s.window(c.query, len(rows))
	return s.page(http.StatusOK, rows[from:to], len(rows))
}

func (s *Server) sources(c *call, o *object, rest []string) reply {
	owner := o.kind.singular + "_id"
	switch {
	case len(rest) == 1 && c.method == http.MethodDelete:
		id, _ := strconv.Atoi(rest[0])
		n := len(o.sources)
		o.sources = slices.DeleteFunc(o.sources, func(r *sourceRow) bool { return r.id == id })
		if len(o.sources) == n {
			return notFound()
		}
		return noContent()
	case len(rest) > 0:
		return notFound()
	case c.method == http.MethodGet:
		return s.partPage(c, s.store.sourceRows(o.sources, owner, o.id))
	case c.method != http.MethodPost:
		return methodNotAllowed()
	}
	items, ok := c.items()
	if !ok || len(items) == 0 {
		return badBody()
	}
	var rows []row
	for _, f := range items {
		if f.text("name") == "" {
			return s.invalid("name", "The name field is required.")
		}
		all, r, existing := s.store.addSource(o.sources, f)
		o.sources = all
		flag := 0
		if existing {
			flag = 1
		}
		rows = append(rows, row{
			"id": r.id, "source_id": r.source.id, owner: o.id, "name": r.source.name, "existing": flag,
			"creator_source_id": s.store.account.id, "tlp_id": r.tlp, "published_at": r.published, "deleted_at": nil,
			"created_at": r.created, "updated_at": r.updated,
		})
	}
	return s.many(http.StatusCreated, rows)
}

func (s *Server) tags(c *call, o *object, rest []string) reply {
	switch {
	case len(rest) == 1 && c.method == http.MethodDelete:
		id, _ := strconv.Atoi(rest[0])
		n := len(o.tags)
		o.tags = slices.DeleteFunc(o.tags, func(t *tag) bool { return t.id == id })
		if len(o.tags) == n {
			return notFound()
		}
		return noContent()
	case len(rest) > 0:
		return notFound()
	}
	var rows []row
	switch c.method {
	case http.MethodGet:
		for _, t := range o.tags {
			rows = append(rows, t.row())
		}
		return s.partPage(c, rows)
	case http.MethodPost:
		items, ok := c.items()
		if !ok || len(items) == 0 {
			return badBody()
		}
		for _, f := range items {
			if f.text("name") == "" {
				return s.invalid("name", "The name field is required.")
			}
			rows = append(rows, s.store.addTag(o, f.text("name")).row())
		}
		return s.many(http.StatusCreated, rows)
	}
	return methodNotAllowed()
}

func (s *Server) comments(c *call, o *object, rest []string) reply {
	switch {
	case o.kind.collection == "tasks" && s.opts.TaskCommentsStatus != 0:
		return absent(s.opts.TaskCommentsStatus)
	case c.method == http.MethodGet && s.opts.CommentListStatus != 0:
		return absent(s.opts.CommentListStatus)
	case c.method == http.MethodDelete && s.opts.CommentDeleteStatus != 0:
		return absent(s.opts.CommentDeleteStatus)
	}
	withSources := c.query.Get("with") == "sources"
	render := func(cm *comment) row {
		r := s.store.commentRow(o, cm)
		if withSources {
			r["sources"] = s.store.commentSources()
		}
		return r
	}
	switch {
	case len(rest) == 1 && c.method == http.MethodDelete:
		id, _ := strconv.Atoi(rest[0])
		n := len(o.comments)
		o.comments = slices.DeleteFunc(o.comments, func(cm *comment) bool { return cm.id == id })
		if len(o.comments) == n {
			return notFound()
		}
		delete(s.store.commentsByNumber[o.kind], id)
		return noContent()
	case len(rest) > 0:
		return notFound()
	case c.query.Has("with") && !withSources:
		return crashed()
	case c.method == http.MethodGet:
		rows := make([]row, 0, len(o.comments))
		for _, cm := range o.comments {
			rows = append(rows, render(cm))
		}
		return s.partPage(c, rows)
	case c.method == http.MethodPost:
		f, ok := c.item()
		if !ok {
			return badBody()
		}
		if strings.TrimSpace(f.text("value")) == "" {
			return s.invalid("value", "The value field is required.")
		}
		return s.one(http.StatusCreated, render(s.store.addComment(o, f.text("value"))))
	}
	return methodNotAllowed()
}

// putComment changes a comment; its path does not name the object.
func (s *Server) putComment(c *call, k *kind, commentID string) reply {
	switch {
	case c.method != http.MethodPut:
		return methodNotAllowed()
	case s.opts.CommentPutStatus != 0:
		return absent(s.opts.CommentPutStatus)
	case k.collection == "tasks" && s.opts.TaskCommentsStatus != 0:
		return absent(s.opts.TaskCommentsStatus)
	}
	id, _ := strconv.Atoi(commentID)
	o := s.store.commentsByNumber[k][id]
	if o == nil {
		return notFound()
	}
	f, ok := c.item()
	if !ok {
		return badBody()
	}
	if f.text("value") == "" {
		return s.invalid("value", "The value field is required.")
	}
	i := slices.IndexFunc(o.comments, func(cm *comment) bool { return cm.id == id })
	o.comments[i].value, o.comments[i].updated = f.text("value"), s.store.now()
	return s.one(http.StatusOK, s.store.commentRow(o, o.comments[i]))
}

// links lists, makes and removes the links of an object to objects of one collection.
func (s *Server) links(c *call, o *object, k *kind) reply {
	st := s.store
	switch c.method {
	case http.MethodGet:
		linked := slices.Clone(o.links[k])
		slices.SortFunc(linked, func(a, b *link) int { return cmp.Compare(a.other(o).id, b.other(o).id) })
		rows := make([]row, 0, len(linked))
		for _, l := range linked {
			r := st.related(l.other(o), l)
			pivot := r["pivot"].(row)
			pivot["src_type"], pivot["src_object_id"] = l.from.kind.singular, l.from.id
			pivot["dest_type"], pivot["dest_object_id"] = l.to.kind.singular, l.to.id
			if !st.expand(r, l.other(o), c.query.Get("with")) {
				return crashed()
			}
			rows = append(rows, r)
		}
		return s.partPage(c, rows)
	case http.MethodPost:
		items, ok := c.items()
		if !ok || len(items) == 0 {
			return badBody()
		}
		others := make([]*object, 0, len(items))
		for _, f := range items {
			id, _ := f.number("id")
			other := st.tables[k].byID[id]
			if other == nil {
				return notFound()
			}
			if other == o {
				return s.invalid("id", "An object cannot be linked to itself.")
			}
			others = append(others, other)
		}
		rows := make([]row, 0, len(others))
		for _, other := range others {
			l := st.link(o, other)
			rows = append(rows, st.related(other, l))
		}
		return s.many(http.StatusCreated, rows)
	case http.MethodDelete:
		v, err := c.decode()
		pivots, ok := v.([]any)
		if err != nil || !ok {
			return badBody()
		}
		for _, p := range pivots {
			id, _ := asNumber(p)
			i := slices.IndexFunc(o.links[k], func(l *link) bool { return l.pivot == id })
			if i < 0 {
				return notFound()
			}
			l := o.links[k][i]
			l.other(o).dropLink(l)
			o.dropLink(l)
		}
		return noContent()
	}
	return methodNotAllowed()
}
