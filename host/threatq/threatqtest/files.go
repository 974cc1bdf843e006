package threatqtest

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"
)

// form is a multipart body with at most one file.
type form struct {
	values   map[string]string
	part     string // form name of the file; empty without a file
	fileName string
	content  []byte
}

func isForm(contentType string) bool { return strings.HasPrefix(contentType, "multipart/form-data") }

func readForm(contentType string, body []byte) (*form, error) {
	_, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	f := &form{values: map[string]string{}}
	for reader := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]); ; {
		part, err := reader.NextPart()
		if err == io.EOF {
			return f, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		if part.FileName() == "" {
			f.values[part.FormName()] = string(content)
			continue
		}
		if f.part != "" {
			return nil, fmt.Errorf("two files, %s and %s", f.part, part.FormName())
		}
		f.part, f.fileName, f.content = part.FormName(), part.FileName(), content
	}
}

// describe is the form as the request log shows it: one line for each field, and the file by its size.
func (f *form) describe() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		fmt.Fprintf(&b, "%s=%s\n", name, f.values[name])
	}
	if f.part != "" {
		fmt.Fprintf(&b, "%s: file %q, %d bytes\n", f.part, f.fileName, len(f.content))
	}
	return b.String()
}

// chunk reads a form of the resumable upload, which names the file apart from the part.
func (s *Server) chunk(c *call) (name string, content []byte, bad *reply) {
	refuse := func(r reply) (string, []byte, *reply) { return "", nil, &r }
	if c.form == nil {
		return refuse(badBody())
	}
	for _, field := range []string{"resumableIdentifier", "resumableRelativePath", "resumableTotalChunks", "resumableFilename"} {
		if c.form.values[field] == "" {
			return refuse(s.invalid(field, "The "+field+" field is required."))
		}
	}
	switch {
	case c.form.values["resumableTotalChunks"] != "1":
		return refuse(s.invalid("resumableTotalChunks", "Only uploads of one chunk are known."))
	case c.form.part != "file" || c.form.fileName != "blob":
		return refuse(s.invalid("file", "The part file with the file name blob is required."))
	}
	return c.form.values["resumableFilename"], c.form.content, nil
}

// upload is the first call of an upload. The second finds the content by the file's name alone: when two clients upload
// the same name at once, the later content replaces the earlier one.
func (s *Server) upload(c *call) reply {
	switch {
	case s.opts.ChunkUploadStatus != 0:
		return absent(s.opts.ChunkUploadStatus)
	case c.method != http.MethodPost:
		return methodNotAllowed()
	}
	name, content, bad := s.chunk(c)
	if bad != nil {
		return *bad
	}
	s.store.uploads[name] = content
	return reply{status: http.StatusOK, body: row{"data": []row{}}}
}

// createFile is the second call of an upload, or the only one when it brings the content along.
func (s *Server) createFile(c *call) reply {
	f, content, ok := fields{}, []byte(nil), false
	if c.form != nil {
		for key, value := range c.form.values {
			f[key] = value
		}
		delete(f, "sources") // this way knows none
		if c.form.part != "file" {
			return s.invalid("file", "The file field is required.")
		}
		content = c.form.content
	} else if f, ok = c.item(); !ok {
		return badBody()
	}
	name := f.text("name")
	if name == "" || name != path.Base(name) {
		return s.invalid("name", "The name must be the name of a file.")
	}
	if f.text("type") == "" {
		return s.invalid("type", "The type field is required.")
	}
	if field, text := s.checkFields(kindByCollection["attachments"], f, true); text != "" {
		return s.invalid(field, text)
	}
	typ := byName(s.store.attachmentTypes, f.text("type"))
	if typ == nil && s.opts.RefuseFileTypes {
		return s.invalid("type", "The selected type is invalid.")
	}
	locked, ok := flag(f["malware_locked"])
	if !ok && f.has("malware_locked") {
		return s.invalid("malware_locked", "The malware locked field must be true or false.")
	}
	if c.form == nil {
		if content, ok = s.store.uploads[name]; !ok {
			return s.invalid("file", "Upload the file first.")
		}
		delete(s.store.uploads, name)
	}
	if typ == nil {
		typ = s.store.newFileType(f.text("type"))
	}
	o := s.store.insertFile(0, name, f.text("title"), typ, content, locked)
	s.store.setFields(o, f)
	s.addParts(o, f)
	r := s.store.created(o)
	r["description"] = o.fields["description"]
	return s.one(http.StatusCreated, r)
}

// flag reads true, 1, "1" or "Y", and their opposites.
func flag(v any) (value, ok bool) {
	switch v {
	case true, "Y":
		return true, true
	case false, "N":
		return false, true
	}
	n, ok := asNumber(v)
	return n == 1, ok && (n == 0 || n == 1)
}

func (st *store) newFileType(name string) *lookup {
	id := 0
	for _, l := range st.attachmentTypes {
		id = max(id, l.id)
	}
	l := &lookup{id: id + 1, name: name, extra: row{"is_parsable": "N", "parser_class": nil}}
	st.attachmentTypes = append(st.attachmentTypes, l)
	return l
}

func (st *store) insertFile(id int, name, title string, typ *lookup, content []byte, locked bool) *object {
	o := st.insert(kindByCollection["attachments"], id, name)
	o.typeID, o.content = typ.id, content
	number := 0
	if locked {
		o.content, number = lock(content), 1
	}
	sum := md5.Sum(o.content)
	o.fields = row{"title": orNull(title), "hash": hex.EncodeToString(sum[:]), "file_size": len(o.content),
		"malware_locked": number, "content_type_id": 1, "description": nil}
	return o
}

// lockedMagic begins the archive that a malware sample is kept in.
const lockedMagic = "PK\x03\x04locked:"

// lock stands for packing a file with a password: the content, and with it the hash, becomes another one.
func lock(content []byte) []byte {
	out := append([]byte(lockedMagic), content...)
	for i := len(lockedMagic); i < len(out); i++ {
		out[i] ^= 0x5a
	}
	return out
}

func (s *Server) download(c *call, o *object) reply {
	if c.method != http.MethodGet {
		return methodNotAllowed()
	}
	return reply{status: http.StatusOK, encoded: o.content, header: map[string]string{
		"Content-Type":        "application/octet-stream",
		"Content-Disposition": `attachment; filename="` + strings.ReplaceAll(o.name, `"`, `\"`) + `"`,
	}}
}

// File is one stored file.
type File struct {
	ID      int // 0 when seeding: the next free one
	Name    string
	Title   string
	Type    string // "Generic Text" when seeding and empty
	Locked  bool
	Content []byte // as it was uploaded
	Hash    string // MD5 of what is stored, which is another content when the file is locked; not for seeding
	Sources []string
	Tags    []string
}

// AddFile seeds a file and returns its id.
func (s *Server) AddFile(f File) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	setDefault(&f.Type, "Generic Text")
	o := s.store.insertFile(f.ID, f.Name, f.Title, must(byName(s.store.attachmentTypes, f.Type), "attachment type", f.Type), f.Content, f.Locked)
	var tags []any
	for _, t := range f.Tags {
		tags = append(tags, t)
	}
	s.addParts(o, fields{"sources": named(f.Sources), "tags": tags})
	return o.id
}

// Files are all files, by id.
func (s *Server) Files() []File {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []File
	for _, o := range s.store.tables[kindByCollection["attachments"]].rows {
		v := s.store.view(o)
		f := File{ID: o.id, Name: o.name, Title: plain(o.fields["title"]), Type: v.Type, Hash: plain(o.fields["hash"]), Content: o.content,
			Locked: o.fields["malware_locked"] == 1, Sources: v.Sources, Tags: v.Tags}
		if packed, ok := bytes.CutPrefix(o.content, []byte(lockedMagic)); ok && f.Locked {
			f.Content = lock(packed)[len(lockedMagic):]
		}
		out = append(out, f)
	}
	return out
}
