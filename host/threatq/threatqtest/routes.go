package threatqtest

import (
	"net/http"
	"strconv"
	"strings"
)

func (s *Server) route(c *call) reply {
	head, rest := c.path[0], c.path[1:]
	switch head {
	case "indicator":
		return s.routeIndicator(c, rest)
	case "event":
		return s.routeEventTypes(c, rest)
	case "objects":
		if len(rest) == 0 {
			return s.readOnly(c, s.listKinds)
		}
	case "users":
		return s.routeUsers(c, rest)
	case "attachments":
		switch {
		case len(rest) > 0 && rest[0] == "types":
			return s.readOnly(c, func(c *call) reply { return s.table(c, rest[1:], s.store.attachmentTypes) })
		case len(rest) == 1 && rest[0] == "upload":
			return s.upload(c)
		}
	case "imports":
		return s.routeImports(c, rest)
	}
	if k := kindByCollection[head]; k != nil {
		return s.routeCollection(c, k, rest)
	}
	return notFound()
}

func (s *Server) readOnly(c *call, handle func(*call) reply) reply {
	if c.method != http.MethodGet {
		return methodNotAllowed()
	}
	return handle(c)
}

func (s *Server) routeIndicator(c *call, rest []string) reply {
	if len(rest) == 0 {
		return notFound()
	}
	table := s.store.indicatorTypes
	switch {
	case rest[0] == "types":
	case rest[0] == "statuses":
		table = s.store.statuses
	case len(rest) == 2 && rest[1] == "scores":
		return s.withObject(kindByCollection["indicators"], rest[0], func(o *object) reply { return s.putScore(c, o) })
	default:
		return notFound()
	}
	if s.opts.WeakRole && c.method == http.MethodGet {
		return reply{status: http.StatusOK, body: row{}}
	}
	return s.readOnly(c, func(c *call) reply { return s.table(c, rest[1:], table) })
}

func (s *Server) routeEventTypes(c *call, rest []string) reply {
	if len(rest) == 0 || rest[0] != "types" {
		return notFound()
	}
	if c.method == http.MethodPost && len(rest) == 1 {
		return s.createEventType(c)
	}
	return s.readOnly(c, func(c *call) reply { return s.table(c, rest[1:], s.store.eventTypes) })
}

func (s *Server) routeUsers(c *call, rest []string) reply {
	switch {
	case c.method != http.MethodGet:
		return methodNotAllowed()
	case len(rest) == 0 && s.opts.WeakRole:
		return forbidden()
	case len(rest) == 0:
		return s.listUsers(c)
	case len(rest) == 1 && rest[0] == "current":
		return s.one(http.StatusOK, s.store.users[1].row(true))
	default:
		return notFound()
	}
}

func (s *Server) routeCollection(c *call, k *kind, rest []string) reply {
	switch {
	case len(rest) == 0:
		switch c.method {
		case http.MethodGet:
			return s.list(c, k)
		case http.MethodPost:
			return s.create(c, k)
		}
		return methodNotAllowed()
	case rest[0] == "query" && len(rest) == 1:
		if c.method != http.MethodPost {
			return methodNotAllowed()
		}
		return s.queryObjects(c, k)
	case rest[0] == "consume" && (len(rest) == 1 || len(rest) == 2 && rest[1] == "new" && k.collection == "indicators"):
		if c.method != http.MethodPost {
			return methodNotAllowed()
		}
		return s.consume(c, k)
	case rest[0] == "comments" && len(rest) == 2:
		return s.putComment(c, k, rest[1])
	}
	return s.withObject(k, rest[0], func(o *object) reply {
		if len(rest) == 1 {
			return s.routeObject(c, o)
		}
		return s.routePart(c, o, rest[1], rest[2:])
	})
}

func (s *Server) withObject(k *kind, id string, handle func(*object) reply) reply {
	n, err := strconv.Atoi(id)
	if err != nil {
		return notFound()
	}
	o := s.store.tables[k].byID[n]
	if o == nil {
		return notFound()
	}
	return handle(o)
}

func (s *Server) routeObject(c *call, o *object) reply {
	switch c.method {
	case http.MethodGet:
		return s.answerObject(c, http.StatusOK, o)
	case http.MethodPut:
		if o.kind.collection == "tasks" && s.opts.TaskPutStatus != 0 {
			return absent(s.opts.TaskPutStatus)
		}
		return s.change(c, o)
	case http.MethodDelete:
		s.store.remove(o)
		return noContent()
	}
	return methodNotAllowed()
}

func (s *Server) routePart(c *call, o *object, part string, rest []string) reply {
	switch part {
	case "download":
		if o.kind.collection == "attachments" && len(rest) == 0 {
			return s.download(c, o)
		}
		return notFound()
	case "details":
		if c.method == http.MethodGet && len(rest) == 0 {
			return s.one(http.StatusOK, s.store.details(o))
		}
		return methodNotAllowed()
	case "attributes":
		return s.attributes(c, o, rest)
	case "sources":
		return s.sources(c, o, rest)
	case "tags":
		return s.tags(c, o, rest)
	case "comments":
		return s.comments(c, o, rest)
	}
	if k := kindByCollection[part]; k != nil && len(rest) == 0 {
		return s.links(c, o, k)
	}
	return notFound()
}

// answerObject shows an object with the parts that the query asks for.
func (s *Server) answerObject(c *call, status int, o *object) reply {
	r := s.store.record(o)
	if !s.store.expand(r, o, c.query.Get("with")) {
		return crashed()
	}
	return s.one(status, r)
}

func (s *Server) list(c *call, k *kind) reply {
	conditions, unknown := k.conditions(c.query)
	if unknown != "" {
		return s.invalid(unknown, "Unknown filter "+unknown+".")
	}
	found := s.store.find(k, conditions)
	s.store.sortObjects(found, c.query.Get("sort"))
	from, to := s.window(c.query, len(found))
	rows := make([]row, 0, to-from)
	for _, o := range found[from:to] {
		r := s.store.record(o)
		if !s.store.expand(r, o, c.query.Get("with")) {
			return crashed()
		}
		rows = append(rows, r)
	}
	return s.page(http.StatusOK, rows, len(found))
}

// table answers a look-up table or one entry of it.
func (s *Server) table(c *call, rest []string, entries []*lookup) reply {
	if len(rest) == 1 {
		id, err := strconv.Atoi(rest[0])
		if l := byID(entries, id); err == nil && l != nil {
			return s.one(http.StatusOK, l.row())
		}
		return notFound()
	}
	if len(rest) > 1 {
		return notFound()
	}
	var rows []row
	for _, l := range entries {
		if name := c.query.Get("name"); c.query.Has("name") && !like(strings.ToLower(name), strings.ToLower(l.name)) {
			continue
		}
		if parsable := c.query.Get("is_parsable"); parsable != "" && parsable != l.extra["is_parsable"] {
			continue
		}
		rows = append(rows, l.row())
	}
	total := len(rows)
	if c.query.Has("limit") { // tables come whole unless asked otherwise
		from, to := s.window(c.query, total)
		rows = rows[from:to]
	}
	return s.page(http.StatusOK, rows, total)
}

func (s *Server) createEventType(c *call) reply {
	if s.opts.RefuseEventTypes {
		return forbidden()
	}
	f, ok := c.item()
	if !ok {
		return badBody()
	}
	name := f.text("name")
	if name == "" {
		return s.invalid("name", "The name field is required.")
	}
	if byName(s.store.eventTypes, name) != nil {
		return s.invalid("name", "The name has already been taken.")
	}
	id := len(eventTypes) // never an id that a usual type has
	for _, l := range s.store.eventTypes {
		id = max(id, l.id)
	}
	l := &lookup{id: id + 1, name: name, extra: row{"user_editable": "Y"}}
	s.store.eventTypes = append(s.store.eventTypes, l)
	return s.one(http.StatusCreated, l.row())
}

func (s *Server) listKinds(*call) reply {
	rows := make([]row, 0, len(kinds))
	for _, k := range kinds {
		r := row{"name": k.singular, "display_name": k.display, "display_name_plural": k.plural, "collection": k.collection}
		switch {
		case k.custom():
			r["id"], r["types"], r["statuses"] = k.objectID, []row{}, []row{}
		case k.collection == "tasks":
			statuses := make([]row, 0, len(taskStatuses))
			for i, name := range taskStatuses {
				statuses = append(statuses, row{"id": i + 1, "name": name})
			}
			r["statuses"] = statuses
		}
		rows = append(rows, r)
	}
	return s.page(http.StatusOK, rows, len(rows))
}

func (u *user) row(withSource bool) row {
	r := row{"id": u.id, "email": u.email, "display_name": u.name}
	if withSource {
		r["source"] = row{"id": u.source.id, "type": u.source.kind, "reference_id": u.id, "name": u.source.name}
	}
	return r
}

func (s *Server) listUsers(c *call) reply {
	var rows []row
	for _, u := range s.store.users {
		rows = append(rows, u.row(c.query.Get("with") == "source"))
	}
	total := len(rows)
	if c.query.Has("limit") { // as other tables, they come whole unless asked otherwise
		from, to := s.window(c.query, total)
		rows = rows[from:to]
	}
	return s.page(http.StatusOK, rows, total)
}
