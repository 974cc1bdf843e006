package kit

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// Attachment is an attachment of the incident, or of one of its tasks, as SOAR
// has it now.
type Attachment struct {
	ID int64
	// TaskID is 0 for an attachment of the incident itself.
	TaskID int64
	// Name is fit to be a file name: see fileName.
	Name string
	// Size in bytes; -1 when SOAR does not tell it.
	Size int64
}

// File is an attachment as it is kept in ThreatQ.
type File struct {
	ID         int64
	Name, Type string
	// Existing says that ThreatQ had it before this action.
	Existing bool
	// Problem says what went wrong besides; the file is there.
	Problem string
}

// FileWish says as what a new file is kept.
type FileWish struct {
	// Type is a name of FileType.
	Type string
	// Locked keeps it as an archive with a password.
	Locked bool
}

const attachmentGone = "The attachment no longer exists in SOAR, or is closed to the integration's account; nothing done in ThreatQ."

// holdUpload is held from looking for a file to its creation. The two calls of an
// upload are joined by the file name on the server, so that two uploads side by
// side could mix (contract: upload, way A).
const holdUpload = "upload"

// FileURL is the address of a file in ThreatQ's user interface.
func (k *Kit) FileURL(file int64) string {
	return k.Site.ThreatQURL + "/files/" + id(file) + "/details"
}

// Attachment reads the action's attachment. One that is gone, empty or larger
// than the setting max_attachment_mb ends the action.
func (k *Kit) Attachment() Attachment {
	result := k.do(get(abi.Resilient, Attachment{ID: k.AttachmentID, TaskID: k.TaskID}.path(k.IncidentID), nil))
	if result.NotFound() {
		k.Fail(abi.CodeNotFound, attachmentGone)
	}
	if result.Err != nil {
		k.GiveUp(result.Err)
	}
	a := Attachment{ID: k.AttachmentID, TaskID: k.TaskID, Size: -1}
	if task := result.Body.Get("task_id").Int(); a.TaskID == 0 && task != 0 {
		a.TaskID, k.TaskID = task, task
	}
	if a.Name = fileName(result.Body.Get("name").Text()); a.Name == "" {
		a.Name = "attachment-" + id(a.ID)
	}
	if size := result.Body.Get("size"); !size.IsNull() {
		a.Size = size.Int()
		k.checkSize(a.Name, a.Size)
	}
	return a
}

func (a Attachment) path(incident int64) string {
	if a.TaskID != 0 {
		return "/tasks/" + id(a.TaskID) + "/attachments/" + id(a.ID)
	}
	return "/incidents/" + id(incident) + "/attachments/" + id(a.ID)
}

// titleKey begins the title of the attachment's file in ThreatQ.
func (a Attachment) titleKey(incident int64) string {
	return "Resilient #" + id(incident) + " / attachment " + id(a.ID) + ": "
}

func (k *Kit) checkSize(name string, size int64) {
	limit := k.maxAttachmentMB()
	switch {
	case size == 0:
		k.Fail(abi.CodeInput, quote(name)+" is empty (0 bytes); there is nothing to import.")
	case size > limit<<20:
		k.Fail(abi.CodeInput, quote(name)+" has "+id(size)+" bytes; at most "+id(limit<<20)+" ("+id(limit)+
			" MB) are imported. Ask the administrator to raise the setting max_attachment_mb if it has to be imported.")
	}
}

func (k *Kit) maxAttachmentMB() int64 {
	if n, err := strconv.ParseInt(strings.TrimSpace(k.Setting("max_attachment_mb")), 10, 32); err == nil && n > 0 {
		return n
	}
	return 100
}

// fileNameRunes is the most that a file name has (contract: edge cases).
const fileNameRunes = 200

// fileName makes a name fit to be a file name: without folders, quotes, control
// characters, and those that turn the direction of the text and so can disguise
// the extension. A long one is cut before its extension.
func fileName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '"', r == '\'', r == '\t', r == '\n':
			return -1
		case r == '\u200e', r == '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, text.Clean(name))
	name = strings.TrimSpace(name)
	if strings.Trim(name, ".") == "" {
		return ""
	}
	if utf8.RuneCountInString(name) <= fileNameRunes {
		return name
	}
	extension := path.Ext(name)
	if utf8.RuneCountInString(extension) > 20 {
		extension = ""
	}
	keep := fileNameRunes - utf8.RuneCountInString(extension)
	return string([]rune(name)[:keep]) + extension
}

// Download fetches the attachment's content, which stays with the host.
func (k *Kit) Download(a Attachment) *abi.Blob {
	call := get(abi.Resilient, a.path(k.IncidentID)+"/contents", nil)
	call.Download = true
	result := k.do(call)
	switch err := result.Err; {
	case result.NotFound():
		k.Fail(abi.CodeNotFound, attachmentGone)
	case err != nil && err.Code == abi.CodeTooLarge:
		// SOAR told another size, or none.
		k.Fail(abi.CodeInput, quote(a.Name)+" is larger than "+id(k.maxAttachmentMB())+" MB (setting max_attachment_mb): "+err.Message)
	case err != nil:
		k.GiveUp(err)
	case result.Blob == nil:
		k.Fail(abi.CodeInternal, "The download of "+quote(a.Name)+" yielded no file.")
	}
	k.checkSize(a.Name, result.Blob.Size)
	return result.Blob
}

func (k *Kit) fileTypes() names { return k.table("/api/attachments/types", allRows()) }

// fileTypeAliases are for attachment types of the menu that ThreatQ does not
// ship (contract: attachment types).
var fileTypeAliases = map[string][]string{
	"spearphish":   {"Spearphish Attachment"},
	"intelligence": {"Intelligence Whitepaper", "Whitepaper"},
}

// FileType is the name under which ThreatQ knows a type of attachment. A name
// that it does not know stays as it is: the server makes it. Where the types
// cannot be read, those that ThreatQ ships are assumed.
func (k *Kit) FileType(label string) string {
	types := k.fileTypes()
	if types.id(label) != 0 {
		return label
	}
	for _, alias := range fileTypeAliases[strings.ToLower(label)] {
		if types.id(alias) != 0 || !types.readable {
			return alias
		}
	}
	return label
}

// EnsureFile finds the attachment's file in ThreatQ by its content, or uploads
// it. An upload that fails ends the action.
func (k *Kit) EnsureFile(a Attachment, content *abi.Blob, wish FileWish) File {
	k.Hold(holdUpload)
	if file := k.findFile(a, content.MD5); file.ID != 0 {
		file.Existing = true
		return file
	}
	for last := false; ; last = true {
		t := k.upload(a, content, wish)
		if t.file.ID == 0 && t.unclear() {
			// It may have been stored all the same.
			t.file = k.findFile(a, content.MD5)
		}
		if t.file.ID != 0 {
			if t.bare {
				t.file.Problem = k.addFileSource(t.file.ID)
			}
			return t.file
		}
		plain := text.ReplaceAstral(a.Name)
		if last || !t.unclear() && (!refusesText(t.err, false) || plain == a.Name) {
			k.refused(a, content.Size, t)
		}
		if t.err != nil && refusesText(t.err, true) {
			// Content and file are joined by the name, so both calls get it.
			a.Name = plain
		}
	}
}

// findFile looks for the attachment's file: by the MD5 of its content, else by
// the key in its title, for servers that keep the MD5 of the locked archive.
func (k *Kit) findFile(a Attachment, md5 string) File {
	key := a.titleKey(k.IncidentID)
	var same, titled jsonvalue.Value
	k.Together(
		func() { same = k.files("hash", md5) },
		func() { titled = k.files("title", key+"%") })
	var found jsonvalue.Value
	take := func(row jsonvalue.Value) {
		if n := row.Get("id").Int(); n != 0 && (!found.Exists() || n < found.Get("id").Int()) {
			found = row
		}
	}
	for row := range same.Items() {
		if strings.EqualFold(row.Get("hash").Text(), md5) && row.Get("deleted_at").IsNull() {
			take(row)
		}
	}
	if !found.Exists() {
		for row := range titled.Items() {
			if strings.HasPrefix(row.Get("title").Text(), key) && row.Get("deleted_at").IsNull() && !isOtherContent(row, md5) {
				take(row)
			}
		}
	}
	return File{ID: found.Get("id").Int(), Name: a.Name, Type: k.fileTypes().name(found.Get("type_id").Int())}
}

// isOtherContent tells a file of another SOAR server, whose ids may be the same:
// it is kept as it is, and has another MD5.
func isOtherContent(row jsonvalue.Value, md5 string) bool {
	stored := row.Get("hash").Text()
	return !row.Get("malware_locked").Bool() && len(stored) == len(md5) && !strings.EqualFold(stored, md5)
}

func (k *Kit) files(field, value string) jsonvalue.Value {
	return k.must(get(abi.ThreatQ, "/api/attachments", guest.Query{
		field: value, "limit": strconv.Itoa(lookUpRows), "offset": "0", "sort": "id"})).Body.Get("data")
}

// uploadTry is the outcome of sending a file once.
type uploadTry struct {
	// file has no id when there is no answer that tells it.
	file File
	err  *guest.CallError
	// sending says that the content was on its way when err came.
	sending bool
	// bare says that the file was created without our source.
	bare bool
}

// unclear reports whether the file may be there although no answer names it.
func (t uploadTry) unclear() bool {
	return t.err == nil || mayHaveActed(t.err)
}

// upload sends the content and then creates the file, which the server joins by
// the file name. Servers without the first call take both in one.
func (k *Kit) upload(a Attachment, content *abi.Blob, wish FileWish) uploadTry {
	send := write("POST", "/api/attachments/upload", nil, false)
	send.Upload = &abi.Upload{
		Fields: map[string]string{
			"resumableIdentifier":   strconv.FormatUint(uint64(k.Random().Uint32()), 10) + "-" + strings.ReplaceAll(a.Name, ".", ""),
			"resumableRelativePath": a.Name,
			"resumableFilename":     a.Name,
			"resumableTotalChunks":  "1",
		},
		Part: "file", FileName: "blob", ContentType: "application/octet-stream", Blob: content.Handle,
	}
	k.Progress("Sending " + a.Name + " (" + id(content.Size) + " bytes) to ThreatQ")
	switch err := k.do(send).Err; {
	case err != nil && (err.Status == 404 || err.Status == 405):
		return k.uploadAtOnce(a, content, wish)
	case err != nil:
		return uploadTry{err: err, sending: true}
	}
	body := jsonvalue.Obj("name", a.Name, "title", k.fileTitle(a), "type", wish.Type,
		"malware_locked", wish.Locked, "sources", k.sources())
	// Not by do, which may change the name and so part it from its content.
	result := k.wait(k.Start(write("POST", "/api/attachments", body, false)))
	return uploadTry{file: newFile(result, a, wish), err: result.Err}
}

// uploadAtOnce is way B, which has no field for the source (contract: upload).
func (k *Kit) uploadAtOnce(a Attachment, content *abi.Blob, wish FileWish) uploadTry {
	locked := "0"
	if wish.Locked {
		locked = "1"
	}
	send := write("POST", "/api/attachments", nil, false)
	send.Upload = &abi.Upload{
		Fields: map[string]string{"name": a.Name, "title": k.fileTitle(a), "type": wish.Type, "malware_locked": locked},
		Part:   "file", FileName: a.Name, ContentType: "application/octet-stream", Blob: content.Handle,
	}
	result := k.do(send)
	return uploadTry{file: newFile(result, a, wish), err: result.Err, sending: true, bare: true}
}

func newFile(result guest.Result, a Attachment, wish FileWish) File {
	return File{ID: created(result.Body).Get("id").Int(), Name: a.Name, Type: wish.Type}
}

func (k *Kit) fileTitle(a Attachment) string {
	return text.CutRunes(a.titleKey(k.IncidentID)+a.Name, text.EventTitleRunes)
}

func (k *Kit) addFileSource(file int64) (problem string) {
	body := jsonvalue.Obj("name", k.Source, "tlp_id", k.tlp())
	if err := k.do(write("POST", "/api/attachments/"+id(file)+"/sources", body, true)).Err; err != nil {
		return "source not added to file " + id(file) + ": " + err.Error()
	}
	return ""
}

// refused ends the action of a file that ThreatQ did not take.
func (k *Kit) refused(a Attachment, size int64, t uploadTry) {
	if t.err == nil {
		k.Fail(abi.CodeHTTP, "ThreatQ accepted the file "+quote(a.Name)+" but does not show it.")
	}
	tooLarge := "ThreatQ refused the file as too large: " + quote(a.Name) + " has " + id(size) + " bytes"
	switch t.err.Status {
	case 413:
		k.Fail(abi.CodeHTTP, tooLarge+". Ask a ThreatQ administrator for the limit of its web server.")
	case 0:
		if t.sending {
			// Web servers cut the connection of what is over their limit.
			k.Fail(abi.CodeHTTP, tooLarge+", and the connection was lost each time it was sent: "+t.err.Message)
		}
	case 400, 422:
		k.Fail(abi.CodeHTTP, "ThreatQ refused the file "+quote(a.Name)+": "+t.err.Message)
	}
	k.GiveUp(t.err)
}

// AttachedTask is the task that an attachment belongs to; nil when there is none.
// It is an addition to the file: what goes wrong with it is only logged.
type AttachedTask struct {
	task    Task
	found   *FoundTasks
	ensured EnsuredTask
}

// FindAttachedTask reads the attachment's task in SOAR and finds it in ThreatQ.
func (k *Kit) FindAttachedTask(a Attachment) *AttachedTask {
	if a.TaskID == 0 {
		return nil
	}
	var t AttachedTask
	var err *guest.CallError
	k.Together(
		func() { t.task, err = k.Task() },
		func() { t.found = k.FindTasks(a.TaskID) })
	if err != nil {
		k.Log("task " + id(a.TaskID) + " cannot be read, the file is not linked to it: " + err.Error())
		return nil
	}
	return &t
}

// Ensure creates the task when ThreatQ lacks it and links it to the event.
func (t *AttachedTask) Ensure(event int64) {
	if t == nil {
		return
	}
	t.ensured = t.found.Ensure(event, []Task{t.task})[0]
	if t.ensured.Problem != "" {
		t.found.kit.Log("task " + id(t.task.ID) + ": " + t.ensured.Problem)
	}
}

// ID is the id in ThreatQ, 0 when there is none.
func (t *AttachedTask) ID() int64 {
	if t == nil {
		return 0
	}
	return t.ensured.ID
}

// LinkFile links the file to the event and, unless it is 0, to the task, of which
// a failure is only logged: not every server knows that link. It returns what
// went wrong.
func (k *Kit) LinkFile(file, event, task int64) (problem string) {
	own := "/api/attachments/" + id(file)
	strands := []func(){func() {
		if err := k.attempt(write("POST", own+"/events", jsonvalue.Obj("id", event), true)).Err; err != nil {
			problem = "file " + id(file) + " could not be linked to event " + id(event) + ": " + err.Error()
		}
	}}
	if task != 0 {
		strands = append(strands, func() {
			if err := k.attempt(write("POST", own+"/tasks", jsonvalue.Obj("id", task), true)).Err; err != nil {
				k.Log("file " + id(file) + " could not be linked to task " + id(task) + ": " + err.Error())
			}
		})
	}
	k.Together(strands...)
	return problem
}

// attempt performs a call of which no failure may end the action.
func (k *Kit) attempt(c guest.Call) guest.Result {
	p := k.Start(c)
	k.pause()
	return p.Wait()
}
