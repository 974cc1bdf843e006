package importattachment_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/threatq/threatqtest"
)

// on is a fault of one call, and not of those below its path.
func on(method, path string, f threatqtest.Fault) threatqtest.Fault {
	f.Method, f.PathPrefix = method, path
	f.Match = func(r *http.Request) bool { return r.URL.Path == path }
	return f
}

func TestServerWithoutChunksTakesTheFileAtOnce(t *testing.T) {
	for _, status := range []int{404, 405} {
		w := newWorld(t, threatqtest.Options{ChunkUploadStatus: status})
		id := attach(w, "sample.exe", "MZ malware")
		done(t, w, action(id, "threatq_attachment_type", "Malware Sample"))
		file := onlyFile(t, w)
		assert.Equal(t, "MZ malware", string(file.Content))
		assert.Equal(t, fmt.Sprintf("Resilient #2095 / attachment %d: sample.exe", id), file.Title)
		assert.Equal(t, "Malware Sample", file.Type)
		assert.True(t, file.Locked)
		assert.Contains(t, file.Sources, "Resilient", "added afterwards")
	}
}

func TestSourceThatIsNotAddedIsTold(t *testing.T) {
	w := newWorld(t, threatqtest.Options{ChunkUploadStatus: 404})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", Status: 400, Body: `{"errors":["no source"]}`, PathPrefix: "/api/attachments/12/sources"})
	reply := run(t, w, action(attach(w, "report.txt", report)))
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "source not added to file 12")
	assert.Len(t, w.ThreatQ.Links("attachments", onlyFile(t, w).ID, "events"), 1, "the rest is done")
}

func TestFileThatIsTooLargeForThreatQ(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"413":                        {MaxUpload: 1000},
		"413, at once":               {MaxUpload: 1000, ChunkUploadStatus: 404},
		"connection is cut":          {MaxUpload: 1000, CutLargeUploads: true},
		"connection is cut, at once": {MaxUpload: 1000, CutLargeUploads: true, ChunkUploadStatus: 404},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			id := w.SOAR.AddLargeAttachment(incident, 0, "big.bin", "application/octet-stream", 5000)
			message := failed(t, w, action(id), abi.CodeHTTP)
			assert.Contains(t, message, `ThreatQ refused the file as too large: "big.bin" has 5000 bytes`)
			assert.Empty(t, w.ThreatQ.Files())
		})
	}
}

// TestLostAnswersToAnUploadDoubleNothing harms each call of an upload in each way.
func TestLostAnswersToAnUploadDoubleNothing(t *testing.T) {
	for _, at := range []struct {
		path   string
		chunks int
	}{{"/api/attachments/upload", 0}, {"/api/attachments", 0}, {"/api/attachments", 404}} {
		for name, f := range map[string]threatqtest.Fault{
			"lost": {LoseAnswer: true}, "cut": {CutBefore: true}, "500": {Status: 500}, "503": {Status: 503},
		} {
			t.Run(fmt.Sprintf("%s %s %d", name, at.path, at.chunks), func(t *testing.T) {
				w := newWorld(t, threatqtest.Options{ChunkUploadStatus: at.chunks})
				w.ThreatQ.Inject(on("POST", at.path, f))
				id := attach(w, "report.txt", report)
				message := done(t, w, action(id))
				file := onlyFile(t, w)
				assert.Equal(t, report, string(file.Content))
				assert.Contains(t, file.Sources, "Resilient")
				assert.Contains(t, message, "report.txt stored in ThreatQ as file", "this action stored it")
				assert.Zero(t, w.ThreatQ.ClearFaults(), "the fault struck")
			})
		}
	}
}

func TestLostAnswerOfALockedFileIsFoundByTitle(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(on("POST", "/api/attachments", threatqtest.Fault{LoseAnswer: true}))
	done(t, w, action(attach(w, "sample.exe", "MZ malware"), "threatq_attachment_type", "Malware Sample"))
	onlyFile(t, w)
}

func TestUploadIsTriedTwiceAtMost(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(on("POST", "/api/attachments", threatqtest.Fault{Status: 500, Body: `{"message":"out of order"}`, Times: -1}))
	out := w.Run(action(attach(w, "report.txt", report)))
	require.NotNil(t, out.Fail)
	assert.True(t, out.Fail.Retry, "it may pass")
	assert.Contains(t, out.Fail.Message, "out of order")
	assert.Equal(t, 2, calls(w, "POST /api/attachments/upload"))
}

func TestRefusedFileIsToldInTheServersWords(t *testing.T) {
	w := newWorld(t, threatqtest.Options{RefuseFileTypes: true})
	message := failed(t, w, action(attach(w, "report.txt", report), "threatq_attachment_type", "Field Notes"), abi.CodeHTTP)
	assert.Contains(t, message, `ThreatQ refused the file "report.txt"`)
	assert.Contains(t, message, "The selected type is invalid.")
	assert.Equal(t, 1, calls(w, "POST /api/attachments/upload"))
	assert.Empty(t, w.ThreatQ.Files())
}

func TestNameThatCannotBeStoredIsSentWithoutEmoji(t *testing.T) {
	for name, c := range map[string]struct {
		fault threatqtest.Fault
		want  string
	}{
		"refused": {threatqtest.Fault{Status: 400, Body: `{"errors":["Incorrect string value"]}`}, "报告 \ufffd.txt"},
		"crashed": {threatqtest.Fault{Status: 500, Body: `{}`}, "报告 \ufffd.txt"},
		"cut":     {threatqtest.Fault{CutBefore: true}, "报告 😀.txt"},
	} {
		w := newWorld(t, threatqtest.Options{})
		w.ThreatQ.Inject(on("POST", "/api/attachments", c.fault))
		done(t, w, action(attach(w, "报告 😀.txt", report)))
		assert.Equal(t, c.want, onlyFile(t, w).Name, name)
	}
}

func TestRoleThatMayNotWriteIsTold(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/attachments", Status: 403, Body: `{"message":"Forbidden"}`})
	message := failed(t, w, action(attach(w, "report.txt", report)), abi.CodeForbidden)
	assert.Contains(t, message, "ThreatQ account the right")
}

func TestEventThatIsRefusedEndsTheActionBeforeTheUpload(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(on("POST", "/api/events", threatqtest.Fault{Status: 403, Body: `{"message":"Forbidden"}`}))
	failed(t, w, action(attach(w, "report.txt", report)), abi.CodeForbidden)
	assert.Equal(t, []string{"POST /api/events"}, w.Writes())
}
