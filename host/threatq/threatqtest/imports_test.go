package threatqtest_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
)

const genericText = 6

// imported is a server with a file, and an open session on it.
func imported(t *testing.T, o threatqtest.Options, content string) (c *caller, session string) {
	t.Helper()
	c = start(t, o)
	file := c.s.AddFile(threatqtest.File{Name: "a.txt", Content: []byte(content)})
	row := c.must("POST", "/api/imports", fmt.Sprintf(`{"attachment_id":%d,"normalize":true,"content_type_id":%d}`, file, genericText)).one()
	return c, fmt.Sprintf("/api/imports/%v", row["id"])
}

const options = `{"delete_after_import":false,"import_source":"Resilient","indicator_global_status":1}`

func TestImport(t *testing.T) {
	c, session := imported(t, threatqtest.Options{}, "see hxxp://bad[.]example[.]com/x, 198.51.100.7 and 198.51.100.7")
	c.must("PUT", session, options)
	rows := c.get(session + "/indicators").list()
	assert.Equal(t, []any{"bad.example.com/x", "198.51.100.7"}, values(rows, "value"))
	assert.Equal(t, 1.0, rows[0]["status_id"])
	assert.Equal(t, []any{"198.51.100.7"}, values(c.get(session+"/indicators?limit=1&offset=1").list(), "value"))
	assert.Empty(t, c.s.Indicators(), "a preview writes nothing")

	committed := c.get(session + "/commit").one()
	assert.Len(t, committed["indicators"], 2)
	names := map[string]threatqtest.Object{}
	for _, i := range c.s.Indicators() {
		names[i.Name] = i
	}
	require.Contains(t, names, "198.51.100.7")
	require.Contains(t, names, "bad.example.com", "the host of a normalised URL comes along")
	assert.Equal(t, "Active", names["198.51.100.7"].Status)
	assert.Equal(t, []string{"Resilient"}, names["198.51.100.7"].Sources)
	assert.Empty(t, c.s.Links("attachments", 12, "indicators"), "nothing is linked by the server")
	im := c.s.Imports()[0]
	assert.Equal(t, threatqtest.Import{ID: 33, Attachment: 12, State: threatqtest.ImportCommitted, Commits: 1, Source: "Resilient", Status: "Active",
		Found: []string{"bad.example.com/x", "198.51.100.7"}, Indicators: im.Indicators}, im)
	assert.Len(t, im.Indicators, 2)
	assert.Len(t, c.s.Files(), 1)
}

// The commit is a GET that writes: whoever repeats it is found out by the count, the answer and the snapshot.
func TestSecondCommitShows(t *testing.T) {
	c, session := imported(t, threatqtest.Options{}, "198.51.100.7")
	c.s.Inject(threatqtest.Fault{PathPrefix: session + "/commit", LoseAnswer: true})
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { c.get(session + "/commit") })
	require.Len(t, c.s.Indicators(), 1, "the answer was lost, not the work")
	before := c.s.Snapshot()
	assert.Equal(t, 400, c.get(session+"/commit").Status)
	assert.Equal(t, 2, c.s.Imports()[0].Commits)
	assert.NotEqual(t, before, c.s.Snapshot())
	assert.Equal(t, 404, c.get(session+"/indicators").Status, "a committed session is gone")
	assert.Equal(t, 404, c.do("DELETE", session, "").Status)
	assert.Equal(t, 404, c.do("PUT", session, options).Status)
}

func TestAbandonedImport(t *testing.T) {
	c, session := imported(t, threatqtest.Options{}, "198.51.100.7")
	c.must("DELETE", session, "")
	assert.Equal(t, threatqtest.ImportAbandoned, c.s.Imports()[0].State)
	assert.Equal(t, 404, c.do("DELETE", session, "").Status)
	assert.Equal(t, 404, c.get(session+"/commit").Status)
	assert.Empty(t, c.s.Indicators())
}

func TestImportWithoutFindings(t *testing.T) {
	c, session := imported(t, threatqtest.Options{EmptyCommit: true}, "nothing to see, setup.exe")
	assert.Empty(t, c.get(session+"/indicators").list())
	answer := c.must("GET", session+"/commit", "")
	assert.Empty(t, answer.Raw)
}

func TestImportOptions(t *testing.T) {
	c, session := imported(t, threatqtest.Options{}, "198.51.100.7")
	refused := c.do("PUT", session, `{"import_source":{"name":"Resilient","tlp_id":2}}`)
	assert.Equal(t, 400, refused.Status)
	assert.Contains(t, refused.Raw, "import_source")
	assert.Equal(t, 400, c.do("PUT", session, `{"indicator_global_status":99}`).Status)
	assert.Equal(t, 400, c.do("PUT", session, `[]`).Status)
	c.must("PUT", session, `{"delete_after_import":true}`)
	c.get(session + "/commit")
	assert.Empty(t, c.s.Files())
	assert.Equal(t, "Indirect", c.s.Indicators()[0].Status, "an item without a status becomes Indirect")

	o, session := imported(t, threatqtest.Options{ImportSourceObject: true}, "198.51.100.7")
	assert.Equal(t, 400, o.do("PUT", session, options).Status)
	o.must("PUT", session, `{"import_source":{"name":"Resilient","tlp_id":2},"indicator_global_status":4}`)
	o.get(session + "/commit")
	assert.Equal(t, []string{"Resilient"}, o.s.Indicators()[0].Sources)
}

func TestParserRefuses(t *testing.T) {
	for name, f := range map[string]threatqtest.File{
		"locked":        {Content: []byte("198.51.100.7"), Locked: true},
		"picture":       {Content: []byte("\x89PNG\r\n\x1a\n\x00\x00")},
		"encrypted PDF": {Content: []byte("%PDF-1.7 198.51.100.7 /Encrypt")},
	} {
		c := start(t, threatqtest.Options{})
		f.Name = "f"
		open := fmt.Sprintf(`{"attachment_id":%d,"content_type_id":%d}`, c.s.AddFile(f), genericText)
		assert.Equal(t, 400, c.do("POST", "/api/imports", open).Status, name)
		assert.Empty(t, c.s.Imports())

		late := start(t, threatqtest.Options{RefuseAtPreview: true})
		late.s.AddFile(f)
		session := fmt.Sprintf("/api/imports/%v", late.must("POST", "/api/imports", open).one()["id"])
		assert.Equal(t, 400, late.get(session+"/indicators").Status, name)
		assert.Equal(t, 400, late.get(session+"/commit").Status, name)
		late.must("DELETE", session, "")
		assert.Equal(t, threatqtest.ImportAbandoned, late.s.Imports()[0].State)
	}
}

func TestRefusedImports(t *testing.T) {
	c := start(t, threatqtest.Options{})
	c.s.AddFile(threatqtest.File{ID: 12, Name: "a.txt", Content: []byte("198.51.100.7")})
	for _, bad := range []string{
		`{"attachment_id":12}`, `{"attachment_id":12,"content_type_id":14}`, `{"attachment_id":99,"content_type_id":6}`, `{"content_type_id":6}`,
		`{"attachment_id":12,"content_type_id":6,"normalize":"maybe"}`, `{"attachment_id":12,"content_type_id":21}`, `[]`,
	} {
		assert.Equal(t, 400, c.do("POST", "/api/imports", bad).Status, bad)
	}
	assert.Empty(t, c.s.Imports())
	readOnly, session := start(t, threatqtest.Options{ReadOnly: true}), "/api/imports/33/commit"
	assert.Equal(t, 403, readOnly.get(session).Status, "the commit needs the right to write")
}

func TestImportOfTextAndOfUpload(t *testing.T) {
	c := start(t, threatqtest.Options{})
	c.must("POST", "/api/imports", `{"content_type_id":6,"text":"http://bad.example.com/x","normalize":"N"}`)
	fields := chunkFields("a.txt")
	fields["content_type_id"] = "6"
	require.Equal(t, 201, c.post("/api/imports", fields, "file", "blob", "198.51.100.7").Status)
	assert.Equal(t, []string{"http://bad.example.com/x"}, c.s.Imports()[0].Found, "not normalised")
	assert.Equal(t, []string{"198.51.100.7"}, c.s.Imports()[1].Found)
	assert.Zero(t, c.s.Imports()[1].Attachment)
}

func TestGenericTextParser(t *testing.T) {
	const md5, sha1 = "d41d8cd98f00b204e9800998ecf8427e", "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	text := "Mail from Eve.Evil[@]example[.]org and mail.example.net: hxxps://a[.]example[.]com/p?q=1.\n" +
		"Hashes " + md5 + " " + sha1 + " " + sha1 + "; address 999.1.1.1, 203.0.113.9; setup.exe"
	c, session := imported(t, threatqtest.Options{MissingIndicatorTypes: []string{"SHA-1"}}, text)
	got := map[any]any{}
	for _, r := range c.get(session + "/indicators").list() {
		got[r["value"]] = r["type_id"]
	}
	id := func(name string) any { return c.get("/api/indicator/types?name=" + name).list()[0]["id"] }
	assert.Equal(t, map[any]any{
		"eve.evil@example.org": id("Email%20Address"), "mail.example.net": id("FQDN"), "a.example.com/p?q=1": id("URL"),
		md5: id("MD5"), "203.0.113.9": id("IP%20Address"),
	}, got)
}

func TestImportsAtOnce(t *testing.T) {
	c := start(t, threatqtest.Options{})
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			name := fmt.Sprintf("%d.txt", worker)
			c.chunk(name, fmt.Sprintf("198.51.100.%d and 203.0.113.1", worker))
			file := c.must("POST", "/api/attachments", fmt.Sprintf(`{"name":%q,"title":"T","type":"PDF"}`, name)).one()
			row := c.must("POST", "/api/imports", fmt.Sprintf(`{"attachment_id":%v,"normalize":true,"content_type_id":%d}`, file["id"], genericText)).one()
			c.must("GET", fmt.Sprintf("/api/imports/%v/indicators", row["id"]), "")
			c.must("GET", fmt.Sprintf("/api/imports/%v/commit", row["id"]), "")
			assert.NotEmpty(t, c.s.Imports())
			assert.NotEmpty(t, c.s.Snapshot())
		})
	}
	group.Wait()
	assert.Len(t, c.s.Files(), 8)
	assert.Len(t, c.s.Indicators(), 9)
}
