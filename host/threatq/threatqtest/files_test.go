package threatqtest_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
)

// post sends a form with one file.
func (c *caller) post(target string, values map[string]string, part, fileName, content string) answer {
	c.t.Helper()
	body, contentType := multipartBody(c.t, values, part, fileName, content)
	r := httptest.NewRequest("POST", target, bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", contentType)
	return c.send(r)
}

// chunk is the first call of an upload.
func (c *caller) chunk(name, content string) answer {
	c.t.Helper()
	return c.post("/api/attachments/upload", chunkFields(name), "file", "blob", content)
}

func chunkFields(name string) map[string]string {
	return map[string]string{"resumableIdentifier": "1-x", "resumableRelativePath": name, "resumableTotalChunks": "1", "resumableFilename": name}
}

func sum(content string) string {
	s := md5.Sum([]byte(content))
	return hex.EncodeToString(s[:])
}

func TestUploadOfTwoCalls(t *testing.T) {
	c := start(t, threatqtest.Options{})
	require.Equal(t, 200, c.chunk("report.txt", "198.51.100.7").Status)
	assert.Empty(t, c.s.Files(), "the first call makes no file")
	row := c.must("POST", "/api/attachments", `{"name":"report.txt","title":"Resilient #1 / attachment 2: report.txt","type":"PDF","malware_locked":false,"sources":[{"name":"Resilient"}]}`).one()
	assert.Equal(t, sum("198.51.100.7"), row["hash"])
	assert.Equal(t, 12.0, row["file_size"])
	require.Len(t, c.s.Files(), 1)
	file := c.s.Files()[0]
	assert.Equal(t, threatqtest.File{ID: 12, Name: "report.txt", Title: "Resilient #1 / attachment 2: report.txt", Type: "PDF",
		Content: []byte("198.51.100.7"), Hash: sum("198.51.100.7"), Sources: []string{"Resilient"}}, file)
	assert.Equal(t, 400, c.do("POST", "/api/attachments", `{"name":"report.txt","title":"t","type":"PDF"}`).Status, "a content is used once")

	for _, query := range []string{"hash=" + file.Hash, "name=report.txt", "title=Resilient%20%231%20/%20attachment%202:%20%25"} {
		assert.Equal(t, 1, c.get("/api/attachments?"+query).Total, query)
	}
	event, task := c.s.AddEvent("Incident", "T"), c.s.AddObject("tasks", "t")
	indicator := c.s.AddIndicator("FQDN", "a.example.com", "Active")
	for other, id := range map[string]int{"events": event, "tasks": task, "indicators": indicator} {
		c.must("POST", "/api/attachments/12/"+other, fmt.Sprintf(`{"id":%d}`, id))
		assert.Equal(t, []int{12}, c.s.Links(other, id, "attachments"))
	}
	c.must("POST", "/api/attachments/12/tags", `{"name":"phish"}`)
	assert.Equal(t, []string{"phish"}, c.s.Files()[0].Tags)
	assert.Equal(t, "198.51.100.7", c.get("/api/attachments/12/download").Raw)
	log := c.s.Requests()[0]
	assert.Contains(t, log.Body, "resumableFilename=report.txt\n")
	assert.Contains(t, log.Body, `file: file "blob", 12 bytes`)
	assert.NotContains(t, log.Body, "198.51.100.7", "the log keeps no contents")
}

// The two calls are joined by the name of the file alone.
func TestUploadsOfOneNameMix(t *testing.T) {
	c := start(t, threatqtest.Options{})
	create := func(title string) answer {
		return c.do("POST", "/api/attachments", fmt.Sprintf(`{"name":"a.txt","title":%q,"type":"PDF"}`, title))
	}
	c.chunk("a.txt", "mine")
	c.chunk("a.txt", "theirs")
	c.chunk("b.txt", "other")
	assert.Equal(t, sum("theirs"), create("mine").one()["hash"])
	assert.Equal(t, 400, create("theirs").Status)
}

func TestUploadOfOneCall(t *testing.T) {
	c := start(t, threatqtest.Options{ChunkUploadStatus: 404})
	assert.Equal(t, 404, c.chunk("a.txt", "x").Status)
	row := c.post("/api/attachments", map[string]string{"name": "a.txt", "title": "T", "type": "PDF", "malware_locked": "0"}, "file", "a.txt", "x").one()
	assert.Equal(t, sum("x"), row["hash"])
	id := c.s.Files()[0].ID
	assert.Equal(t, []string{threatqtest.DefaultEmail}, c.s.Files()[0].Sources, "sources have to be added")
	c.must("POST", fmt.Sprintf("/api/attachments/%d/sources", id), `{"name":"Resilient"}`)
	assert.Contains(t, c.s.Files()[0].Sources, "Resilient")
	assert.Equal(t, 400, c.post("/api/attachments", map[string]string{"name": "a.txt", "title": "T", "type": "PDF"}, "other", "a.txt", "x").Status)
	assert.Equal(t, 405, start(t, threatqtest.Options{ChunkUploadStatus: 405}).chunk("a.txt", "x").Status)
}

func TestLockedFileIsAnotherContent(t *testing.T) {
	c := start(t, threatqtest.Options{})
	c.chunk("evil.exe", "MZ")
	row := c.must("POST", "/api/attachments", `{"name":"evil.exe","title":"T","type":"Malware Sample","malware_locked":true}`).one()
	assert.Equal(t, 1.0, row["malware_locked"])
	assert.NotEqual(t, sum("MZ"), row["hash"])
	assert.Equal(t, 0, c.get("/api/attachments?hash="+sum("MZ")).Total, "it is not found by the hash of what was sent")
	stored := c.get("/api/attachments/12/download").Raw
	assert.NotContains(t, stored, "MZ")
	assert.Equal(t, sum(stored), row["hash"])
	assert.Equal(t, "MZ", string(c.s.Files()[0].Content))
}

func TestRefusedUploads(t *testing.T) {
	c := start(t, threatqtest.Options{})
	for missing := range chunkFields("a.txt") {
		fields := chunkFields("a.txt")
		delete(fields, missing)
		assert.Equal(t, 400, c.post("/api/attachments/upload", fields, "file", "blob", "x").Status, missing)
	}
	assert.Equal(t, 400, c.post("/api/attachments/upload", chunkFields("a.txt"), "file", "a.txt", "x").Status)
	assert.Equal(t, 400, c.post("/api/attachments/upload", chunkFields("a.txt"), "", "", "").Status)
	assert.Equal(t, 400, c.do("POST", "/api/attachments/upload", `{}`).Status)
	require.Equal(t, 200, c.chunk("a.txt", "x").Status)
	for _, bad := range []string{
		`{"name":"","type":"PDF"}`, `{"name":"a.txt"}`, `{"name":"../a.txt","type":"PDF"}`, `{"name":"a.txt","type":"PDF","malware_locked":"perhaps"}`,
		`{"name":"b.txt","type":"PDF"}`, `{"name":"a.txt","type":"PDF","sources":"x"}`, `[]`,
	} {
		assert.Equal(t, 400, c.do("POST", "/api/attachments", bad).Status, bad)
	}
	assert.Empty(t, c.s.Files())
}

func TestUnknownFileTypeIsMadeOrRefused(t *testing.T) {
	const body = `{"name":"a.txt","title":"T","type":"Phone Call"}`
	c := start(t, threatqtest.Options{})
	c.chunk("a.txt", "x")
	c.must("POST", "/api/attachments", body)
	assert.Equal(t, "Phone Call", c.s.Files()[0].Type)
	assert.Equal(t, 1, c.get("/api/attachments/types?name=phone%20call").Total)
	assert.Equal(t, 0, c.get("/api/attachments/types?name=phone%20call&is_parsable=Y").Total)
	strict := start(t, threatqtest.Options{RefuseFileTypes: true})
	strict.chunk("a.txt", "x")
	assert.Equal(t, 400, strict.do("POST", "/api/attachments", body).Status)
}

func TestLargeUploads(t *testing.T) {
	content := strings.Repeat("x", 2000)
	c := start(t, threatqtest.Options{MaxUpload: 2000})
	refused := c.chunk("a.txt", content)
	assert.Equal(t, 413, refused.Status)
	assert.Contains(t, refused.Raw, "<html>", "the web server answers, not ThreatQ")
	assert.Equal(t, 413, c.s.Requests()[0].Status)
	assert.Equal(t, 200, c.chunk("a.txt", "x").Status)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { start(t, threatqtest.Options{MaxUpload: 2000, CutLargeUploads: true}).chunk("a.txt", content) })
}

func TestDownloadHasTheNameOfTheFile(t *testing.T) {
	c := start(t, threatqtest.Options{})
	id := c.s.AddFile(threatqtest.File{Name: `a"b.txt`, Content: []byte("x")})
	request, err := http.NewRequest("GET", fmt.Sprintf("%s/api/attachments/%d/download", c.s.URL(), id), nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+c.token)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.s.Authority().ClientConfig()}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "x", string(body))
	assert.Equal(t, `attachment; filename="a\"b.txt"`, response.Header.Get("Content-Disposition"))
}

func TestFilesShowInSnapshots(t *testing.T) {
	a, b := start(t, threatqtest.Options{}), start(t, threatqtest.Options{})
	a.s.AddFile(threatqtest.File{Name: "a.txt", Content: []byte("x"), Locked: true})
	b.s.AddFile(threatqtest.File{Name: "a.txt", Content: []byte("y"), Locked: true})
	assert.NotEqual(t, a.s.Snapshot(), b.s.Snapshot())
}
