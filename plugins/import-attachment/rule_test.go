package importattachment_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	importattachment "fn-threatq/plugins/import-attachment"
	"fn-threatq/plugins/kit/kittest"
)

const (
	incident = resilienttest.DefaultIncident
	report   = "Seen hxxp://bad[.]example[.]com/x and 198.51.100.7, also evil.example.net."
)

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, importattachment.Rules(), "manifest.json", resilienttest.Options{}, tq)
}

func action(attachment int64, fields ...string) abi.Action {
	a := abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_import_attachment", Title: "ThreatQ: Import Attachment",
		Object: "attachment", IncidentID: incident, AttachmentID: attachment}
	for i := 0; i < len(fields); i += 2 {
		if a.Fields == nil {
			a.Fields = map[string]abi.JSON{}
		}
		a.Fields[fields[i]] = abi.JSON(`"` + fields[i+1] + `"`)
	}
	return a
}

func attach(w *kittest.World, name, content string) int64 {
	return w.SOAR.AddAttachment(incident, 0, name, "application/octet-stream", []byte(content))
}

// run plays an action that ends with a reply.
func run(t *testing.T, w *kittest.World, a abi.Action) *abi.Reply {
	t.Helper()
	out := w.Run(a)
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	return out.Reply
}

// done plays an action that succeeds, and returns its message.
func done(t *testing.T, w *kittest.World, a abi.Action) string {
	t.Helper()
	reply := run(t, w, a)
	require.True(t, reply.Success, reply.Message)
	return reply.Message
}

// failed plays an action that fails.
func failed(t *testing.T, w *kittest.World, a abi.Action, code abi.ErrorCode) string {
	t.Helper()
	out := w.Run(a)
	require.NotNil(t, out.Fail, "%+v", out.Reply)
	assert.Equal(t, code, out.Fail.Code)
	return out.Fail.Message
}

// onlyFile is the one file of ThreatQ.
func onlyFile(t *testing.T, w *kittest.World) threatqtest.File {
	t.Helper()
	files := w.ThreatQ.Files()
	require.Len(t, files, 1)
	return files[0]
}

func onlyEvent(t *testing.T, w *kittest.World) int {
	t.Helper()
	events := w.ThreatQ.Events()
	require.Len(t, events, 1)
	return events[0].ID
}

// calls counts the calls of the last run with that METHOD PATH beginning.
func calls(w *kittest.World, line string) int {
	n := 0
	for _, call := range w.Last.Calls {
		if strings.HasPrefix(call.Method+" "+call.Path, line) {
			n++
		}
	}
	return n
}

// turnOf is the number of the first turn with such a call, 0 for none.
func turnOf(w *kittest.World, line string) int {
	for n, turn := range w.Last.Turns {
		for _, call := range turn.Output.Calls {
			if strings.HasPrefix(call.Method+" "+call.Path, line) {
				return n + 1
			}
		}
	}
	return 0
}

func TestAttachmentIsKeptAsAFileLinkedToTheEvent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "report.txt", report)
	message := done(t, w, action(id))
	file, event := onlyFile(t, w), onlyEvent(t, w)
	assert.Equal(t, threatqtest.File{
		ID: file.ID, Name: "report.txt", Title: fmt.Sprintf("Resilient #2095 / attachment %d: report.txt", id), Type: "Generic Text",
		Content: []byte(report), Hash: file.Hash, Sources: []string{"Resilient"},
	}, file)
	assert.Equal(t, []int{event}, w.ThreatQ.Links("attachments", file.ID, "events"))
	assert.Equal(t, fmt.Sprintf("report.txt stored in ThreatQ as file %d (Generic Text); https://threatq.example.com/files/%d/details", file.ID, file.ID), message)
	assert.Empty(t, w.ThreatQ.Imports(), "parsing has to be asked for")
	assert.Empty(t, w.ThreatQ.Indicators())
	assert.Len(t, w.Last.Turns, 7, "turns of a new file of a new event")

	assert.Less(t, turnOf(w, "GET /incidents/2095/attachments/"), turnOf(w, "GET "+contents(id)), "the size is known before the download")
	search := w.Last.Turns[turnOf(w, "POST /api/attachments/upload")-2].Output
	assert.Equal(t, []string{"upload"}, search.Hold, "held from looking for the file on")
}

func contents(id int64) string {
	return fmt.Sprintf("/incidents/%d/attachments/%d/contents", incident, id)
}

func TestSecondRunUploadsNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "report.txt", report)
	done(t, w, action(id, "threatq_parse_indicators", "Yes"))
	file := onlyFile(t, w)

	before := w.ThreatQ.Snapshot()
	message := done(t, w, action(id, "threatq_attachment_type", "PDF"))
	assert.Equal(t, before, w.ThreatQ.Snapshot())
	assert.Contains(t, message, fmt.Sprintf("report.txt is in ThreatQ already as file %d (Generic Text);", file.ID))
	assert.Equal(t, []string{fmt.Sprintf("POST /api/attachments/%d/events", file.ID)}, w.Writes())
	assert.Len(t, w.Last.Turns, 5)

	done(t, w, action(id, "threatq_parse_indicators", "Yes"))
	assert.Len(t, w.ThreatQ.Files(), 1)
	assert.Len(t, w.ThreatQ.Indicators(), 4, "none is doubled")
	imports := w.ThreatQ.Imports()
	require.Len(t, imports, 2, "parsed again, as it was asked for")
	assert.Equal(t, 1, imports[1].Commits)
	assert.Zero(t, calls(w, "POST /api/indicators"), "our source is there already")
	assert.Zero(t, calls(w, "POST /api/attachments/upload"))
}

func TestSameContentInAnotherIncidentIsOneFileWithTwoLinks(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, action(attach(w, "report.txt", report)))
	other := w.SOAR.AddIncident(map[string]any{"name": "Second"})
	again := action(w.SOAR.AddAttachment(other, 0, "copy.txt", "text/plain", []byte(report)))
	again.IncidentID = other
	done(t, w, again)
	assert.Len(t, w.ThreatQ.Links("attachments", onlyFile(t, w).ID, "events"), 2)
}

func TestTwoFilesOfOneNameAreTwoFiles(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, action(attach(w, "report.txt", "one")))
	done(t, w, action(attach(w, "report.txt", "two")))
	files := w.ThreatQ.Files()
	require.Len(t, files, 2)
	assert.Equal(t, "one", string(files[0].Content))
	assert.Equal(t, "two", string(files[1].Content))
}

func TestLockedSampleIsFoundAgainByItsTitle(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "sample.exe", "MZ malware")
	done(t, w, action(id, "threatq_attachment_type", "Malware Sample"))
	file := onlyFile(t, w)
	assert.True(t, file.Locked)
	assert.Equal(t, "Malware Sample", file.Type)
	message := done(t, w, action(id, "threatq_attachment_type", "Malware Sample"))
	assert.Contains(t, message, "is in ThreatQ already")
	onlyFile(t, w)
}

func TestFileOfAnotherServerWithOurTitleIsNotOurs(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "report.txt", report)
	w.ThreatQ.AddFile(threatqtest.File{Name: "report.txt", Title: fmt.Sprintf("Resilient #2095 / attachment %d: report.txt", id), Content: []byte("of another SOAR")})
	w.ThreatQ.AddFile(threatqtest.File{Name: "report.txt", Title: fmt.Sprintf("Resilient #2095 / attachment %d1: report.txt", id), Content: []byte("of another attachment"), Locked: true})
	done(t, w, action(id))
	files := w.ThreatQ.Files()
	require.Len(t, files, 3)
	assert.Equal(t, report, string(files[2].Content))
}

func TestServerThatIgnoresFiltersDoesNoHarm(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	other := `{"data":[{"id":3,"name":"other.txt","title":"Resilient #2095 / attachment 1: other.txt","hash":"0cc175b9c0f1b6a831c399e269772661","malware_locked":1}]}`
	w.ThreatQ.Inject(on("GET", "/api/attachments", threatqtest.Fault{Status: 200, Body: other, Times: -1}))
	done(t, w, action(attach(w, "report.txt", report)))
	assert.Equal(t, report, string(onlyFile(t, w).Content))
}

func TestTypesOfTheMenuAreThoseOfTheInstance(t *testing.T) {
	for label, want := range map[string]string{
		"Malware Sample": "Malware Sample", "Spearphish": "Spearphish Attachment", "PDF": "PDF",
		"Intelligence": "Intelligence Whitepaper", "Malware Analysis Report": "Malware Analysis Report",
		"Generic Text": "Generic Text", "Field Notes": "Field Notes",
	} {
		w := newWorld(t, threatqtest.Options{})
		message := done(t, w, action(attach(w, "a.bin", label), "threatq_attachment_type", label))
		assert.Equal(t, want, onlyFile(t, w).Type)
		assert.Equal(t, label == "Malware Sample", onlyFile(t, w).Locked, label)
		assert.Contains(t, message, "("+want+")")
	}
}

func TestAttachmentOfATaskIsLinkedToTheTaskToo(t *testing.T) {
	for name, known := range map[string]bool{"task in the action": true, "task in the record alone": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{})
			task := w.SOAR.AddTask(incident, map[string]any{"name": "Collect headers"})
			id := w.SOAR.AddAttachment(incident, task, "report.txt", "text/plain", []byte(report))
			a := action(id)
			if a.TaskID = task; !known {
				// A server may show attachments of tasks under the incident.
				a.TaskID = 0
				record := fmt.Sprintf(`{"id":%d,"name":"report.txt","size":%d,"task_id":%d}`, id, len(report), task)
				w.SOAR.Inject(resilienttest.Fault{Method: "GET", PathSuffix: fmt.Sprintf("/incidents/2095/attachments/%d", id), Status: 200, Body: record})
			}
			done(t, w, a)
			tasks := w.ThreatQ.Tasks()
			require.Len(t, tasks, 1)
			file := onlyFile(t, w)
			assert.Equal(t, []int{tasks[0].ID}, w.ThreatQ.Links("attachments", file.ID, "tasks"))
			assert.Equal(t, []int{onlyEvent(t, w)}, w.ThreatQ.Links("attachments", file.ID, "events"))
			assert.Equal(t, 1, calls(w, fmt.Sprintf("GET /tasks/%d/attachments/%d/contents", task, id)))
			assert.Len(t, w.Last.Turns, 10, "turns of a new file, task and event")

			before := w.ThreatQ.Snapshot()
			done(t, w, a)
			assert.Equal(t, before, w.ThreatQ.Snapshot())
			assert.ElementsMatch(t, []string{
				fmt.Sprintf("POST /api/attachments/%d/events", file.ID), fmt.Sprintf("POST /api/attachments/%d/tasks", file.ID),
			}, w.Writes(), "linking again changes nothing")
			assert.Len(t, w.Last.Turns, 5)

			a.AttachmentID, a.TaskID = w.SOAR.AddAttachment(incident, task, "second.txt", "text/plain", []byte("second")), task
			done(t, w, a)
			assert.Len(t, w.Last.Turns, 7, "turns of a new file of a task that ThreatQ knows")
		})
	}
}

func TestFailureOfTheLinkToTheTaskIsOnlyLogged(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	task := w.SOAR.AddTask(incident, map[string]any{"name": "Collect headers"})
	a := action(w.SOAR.AddAttachment(incident, task, "report.txt", "text/plain", []byte(report)))
	a.TaskID = task
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", Status: 404, Body: `{}`, Match: func(r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/api/attachments/") && strings.HasSuffix(r.URL.Path, "/tasks")
	}})
	done(t, w, a)
	file := onlyFile(t, w)
	assert.Empty(t, w.ThreatQ.Links("attachments", file.ID, "tasks"))
	assert.Len(t, w.ThreatQ.Links("attachments", file.ID, "events"), 1)
}

func TestFailureOfTheLinkToTheEventIsTold(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", Status: 400, Body: `{"errors":["no link"]}`, Match: func(r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/api/attachments/") && strings.HasSuffix(r.URL.Path, "/events")
	}})
	reply := run(t, w, action(attach(w, "report.txt", report)))
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "could not be linked to event")
	assert.Contains(t, reply.Message, "no link")
}

func TestNothingIsDownloadedOfWhatWillNotBeImported(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["max_attachment_mb"] = "1"
	gone := attach(w, "gone.txt", "x")
	w.SOAR.DeleteAttachment(gone)
	for name, c := range map[string]struct {
		id   int64
		code abi.ErrorCode
		want []string
	}{
		"empty":     {attach(w, "empty.txt", ""), abi.CodeInput, []string{`"empty.txt" is empty (0 bytes)`}},
		"too large": {w.SOAR.AddLargeAttachment(incident, 0, "big.bin", "application/octet-stream", 1<<20+1), abi.CodeInput, []string{"1048577 bytes", "1048576", "max_attachment_mb"}},
		"gone":      {gone, abi.CodeNotFound, []string{"attachment no longer exists"}},
	} {
		message := failed(t, w, action(c.id), c.code)
		for _, want := range c.want {
			assert.Contains(t, message, want, name)
		}
		assert.Zero(t, calls(w, "GET "+contents(c.id)), name)
		assert.Empty(t, w.Writes(), name)
	}
	assert.Empty(t, w.ThreatQ.Events())

	id := w.SOAR.AddLargeAttachment(incident, 0, "just.bin", "application/octet-stream", 1<<20)
	done(t, w, action(id))
	assert.Len(t, onlyFile(t, w).Content, 1<<20)
}

func TestAttachmentThatIsDeletedMeanwhileChangesNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "report.txt", report)
	w.Before = func(call abi.Call) {
		if call.Download {
			w.SOAR.DeleteAttachment(id)
		}
	}
	assert.Contains(t, failed(t, w, action(id), abi.CodeNotFound), "attachment no longer exists")
	assert.Empty(t, w.Writes())
}

func TestContentOfAnotherSizeThanSOARToldIsRefused(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["max_attachment_mb"] = "1"
	id := w.SOAR.AddLargeAttachment(incident, 0, "big.bin", "application/octet-stream", 2<<20)
	w.SOAR.Inject(resilienttest.Fault{Method: "GET", PathSuffix: fmt.Sprintf("/attachments/%d", id), Status: 200, Body: `{"id":1,"name":"big.bin","size":10}`})
	assert.Contains(t, failed(t, w, action(id), abi.CodeInput), "max_attachment_mb")
	assert.Empty(t, w.Writes())

	w.SOAR.ClearFaults()
	id = attach(w, "empty.txt", "")
	w.SOAR.Inject(resilienttest.Fault{Method: "GET", PathSuffix: fmt.Sprintf("/attachments/%d", id), Status: 200, Body: `{"id":1,"name":"empty.txt"}`})
	assert.Contains(t, failed(t, w, action(id), abi.CodeInput), "is empty (0 bytes)")
	assert.Empty(t, w.Writes())
}

func TestNamesAreCleaned(t *testing.T) {
	for name, want := range map[string]string{
		`C:\temp\..\evil "x".exe`:         "evil x.exe",
		"/etc/pass\twd\n":                 "passwd",
		"invoice\u202efdp.exe":            "invoicefdp.exe",
		"O'Brien.pdf":                     "OBrien.pdf",
		strings.Repeat("é", 300) + ".pdf": strings.Repeat("é", 196) + ".pdf",
		strings.Repeat("x", 300):          strings.Repeat("x", 200),
		"报告 😀.txt":                        "报告 😀.txt",
	} {
		w := newWorld(t, threatqtest.Options{})
		id := attach(w, name, "content")
		done(t, w, action(id))
		assert.Equal(t, want, onlyFile(t, w).Name)
		assert.Equal(t, fmt.Sprintf("Resilient #2095 / attachment %d: %s", id, want), onlyFile(t, w).Title)
	}
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "..", "content")
	done(t, w, action(id))
	assert.Equal(t, fmt.Sprintf("attachment-%d", id), onlyFile(t, w).Name)
}
