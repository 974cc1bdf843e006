package threatqtest

import (
	"net/http"
	"slices"
	"strconv"
)

// ImportState is how far an import session came.
type ImportState string

// A session is open until it is committed or abandoned; then only a further commit finds it, to be refused.
const (
	ImportOpen      ImportState = "open"
	ImportCommitted ImportState = "committed"
	ImportAbandoned ImportState = "abandoned"
)

// Import is one import session.
type Import struct {
	ID         int
	Attachment int // 0 when it was opened from a text or an upload
	State      ImportState
	// Commits counts the commits asked for, also those refused: more than one is a fault of the client.
	Commits    int
	Source     string   // import_source
	Status     string   // indicator_global_status by name; empty while not set
	Found      []string // values that the parser saw, in the order of the text
	Indicators []int    // ids of what the commit wrote or found
}

type session struct {
	id         int
	attachment *object
	parser     int
	normalize  bool
	findings   []finding
	refusal    string // why the parser refuses, told by the preview
	source     any    // as it was sent
	status     *lookup
	deleteFile bool
	state      ImportState
	commits    int
	indicators []int
	created    string
}

// routeImports plays the import sessions (contract: parsing a file for indicators).
func (s *Server) routeImports(c *call, rest []string) reply {
	if len(rest) == 0 {
		if c.method != http.MethodPost {
			return methodNotAllowed()
		}
		return s.openImport(c)
	}
	id, _ := strconv.Atoi(rest[0])
	i := slices.IndexFunc(s.store.imports, func(im *session) bool { return im.id == id })
	if i < 0 {
		return notFound()
	}
	im := s.store.imports[i]
	switch {
	case isCommit(c):
		return s.commitImport(im)
	case im.state != ImportOpen:
		return notFound()
	case len(rest) == 2 && rest[1] == "indicators" && c.method == http.MethodGet:
		return s.previewImport(c, im)
	case len(rest) == 1 && c.method == http.MethodPut:
		return s.setImport(c, im)
	case len(rest) == 1 && c.method == http.MethodDelete:
		im.state = ImportAbandoned
		return noContent()
	case len(rest) > 1:
		return notFound()
	}
	return methodNotAllowed()
}

// isCommit knows the one GET that writes.
func isCommit(c *call) bool {
	return c.method == http.MethodGet && len(c.path) == 3 && c.path[0] == "imports" && c.path[2] == "commit"
}

func (s *Server) openImport(c *call) reply {
	f, ok := fields{}, false
	var content []byte
	if c.form != nil {
		_, uploaded, bad := s.chunk(c)
		if bad != nil {
			return *bad
		}
		f["content_type_id"], content = c.form.values["content_type_id"], uploaded
	} else if f, ok = c.item(); !ok {
		return badBody()
	}
	im := &session{state: ImportOpen, created: s.store.now()}
	im.parser, _ = f.number("content_type_id")
	parser := byID(s.store.attachmentTypes, im.parser)
	if parser == nil || parser.extra["is_parsable"] != "Y" {
		return s.invalid("content_type_id", "The selected content type cannot be parsed.")
	}
	if im.normalize, ok = flag(f["normalize"]); !ok && f.has("normalize") {
		return s.invalid("normalize", "The normalize field must be true or false.")
	}
	switch {
	case c.form != nil:
	case f.has("attachment_id"):
		id, _ := f.number("attachment_id")
		if im.attachment = s.store.tables[kindByCollection["attachments"]].byID[id]; im.attachment == nil {
			return s.invalid("attachment_id", "The selected attachment is invalid.")
		}
		content = im.attachment.content
	case f.text("text") != "":
		content = []byte(f.text("text"))
	default:
		return s.invalid("attachment_id", "An attachment or a text is required.")
	}
	im.refusal = unreadable(content)
	if parser.name != "Generic Text" { // what the other parsers read is not played
		im.refusal = "The file has not the form that " + parser.name + " reads."
	}
	if im.refusal != "" && !s.opts.RefuseAtPreview {
		return s.invalid("attachment_id", im.refusal)
	}
	if im.refusal == "" {
		im.findings = s.store.findings(content, im.normalize)
	}
	im.id = s.store.next("import")
	s.store.imports = append(s.store.imports, im)
	r := row{"id": im.id, "content_type_id": im.parser, "normalize": im.normalize, "created_at": im.created, "updated_at": im.created}
	if im.attachment != nil {
		r["attachment_id"] = im.attachment.id
	}
	return s.one(http.StatusCreated, r)
}

// findings are the values that this installation has a type for.
func (st *store) findings(content []byte, normalize bool) []finding {
	var out []finding
	for _, f := range scan(string(content)) {
		if normalize {
			n := normalizeValue(f.typ, f.value)
			f = finding{n.typ, n.value}
		}
		if byName(st.indicatorTypes, f.typ) != nil && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

func (s *Server) setImport(c *call, im *session) reply {
	f, ok := c.item()
	if !ok {
		return badBody()
	}
	if f.has("import_source") {
		_, object := f["import_source"].(map[string]any)
		name := f.text("import_source")
		if object {
			name = fields(f["import_source"].(map[string]any)).text("name")
		}
		if object != s.opts.ImportSourceObject || name == "" {
			return s.invalid("import_source", "The import_source has not the form that this server takes.")
		}
	}
	status := im.status
	if f.has("indicator_global_status") {
		id, _ := f.number("indicator_global_status")
		if status = byID(s.store.statuses, id); status == nil {
			return s.invalid("indicator_global_status", "The selected status is invalid.")
		}
	}
	if f.has("import_source") {
		im.source = f["import_source"]
	}
	im.status = status
	if remove, ok := flag(f["delete_after_import"]); ok {
		im.deleteFile = remove
	}
	r := row{"id": im.id, "delete_after_import": im.deleteFile, "import_source": im.source, "indicator_global_status": nil}
	if im.status != nil {
		r["indicator_global_status"] = im.status.id
	}
	if im.attachment != nil {
		r["attachment_id"] = im.attachment.id
	}
	return s.one(http.StatusOK, r)
}

func (s *Server) previewImport(c *call, im *session) reply {
	if im.refusal != "" {
		return s.invalid("attachment_id", im.refusal)
	}
	rows := make([]row, 0, len(im.findings))
	for i, f := range im.findings {
		typ := byName(s.store.indicatorTypes, f.typ)
		r := row{"id": i + 1, "value": f.value, "type_id": typ.id, "status_id": nil, "class": typ.class}
		if im.status != nil {
			r["status_id"] = im.status.id
		}
		rows = append(rows, r)
	}
	return s.partPage(c, rows)
}

// commitImport writes what the parser found. It links nothing: whether a real server does is not known.
func (s *Server) commitImport(im *session) reply {
	im.commits++
	switch {
	case im.state == ImportAbandoned:
		return notFound()
	case im.state == ImportCommitted:
		return s.invalid("id", "The import has already been committed.")
	case im.refusal != "":
		return s.invalid("attachment_id", im.refusal)
	}
	im.state = ImportCommitted
	item := fields{}
	if name := sourceName(im.source); name != "" {
		source := fields{"name": name}
		if m, ok := im.source.(map[string]any); ok {
			source["tlp_id"] = m["tlp_id"]
		}
		item["sources"] = []any{map[string]any(source)}
	}
	if im.status != nil {
		item["status_id"] = strconv.Itoa(im.status.id)
	}
	rows := []row{}
	for _, found := range im.findings {
		item["value"], item["type"] = found.value, found.typ
		o, _, _, text := s.putIndicator(item, im.normalize)
		if text != "" {
			continue
		}
		im.indicators = append(im.indicators, o.id)
		rows = append(rows, row{"id": o.id, "value": o.name, "type_id": o.typeID, "status_id": o.statusID})
	}
	files := []row{}
	if im.attachment != nil {
		files = append(files, row{"id": im.attachment.id})
		if im.deleteFile {
			s.store.remove(im.attachment)
		}
	}
	if s.opts.EmptyCommit {
		return reply{status: http.StatusOK}
	}
	return s.one(http.StatusOK, row{"id": im.id, "attachments": files, "indicators": rows})
}

func sourceName(source any) string {
	name, _ := fields{"source": source}.name("source")
	return name
}

// Imports are all import sessions, in the order of their opening.
func (s *Server) Imports() []Import {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Import, 0, len(s.store.imports))
	for _, im := range s.store.imports {
		v := Import{ID: im.id, State: im.state, Commits: im.commits, Source: sourceName(im.source), Indicators: slices.Clone(im.indicators)}
		if im.attachment != nil {
			v.Attachment = im.attachment.id
		}
		if im.status != nil {
			v.Status = im.status.name
		}
		for _, f := range im.findings {
			v.Found = append(v.Found, f.value)
		}
		out = append(out, v)
	}
	return out
}
