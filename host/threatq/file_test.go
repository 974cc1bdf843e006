package threatq_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
	"fn-threatq/host/threatq"
	"fn-threatq/host/threatq/threatqtest"
)

func chunk(name, content string) rest.Request {
	return rest.Request{Method: http.MethodPost, Path: "/api/attachments/upload", Upload: &rest.Upload{
		Fields: map[string]string{"resumableIdentifier": "1-x", "resumableRelativePath": name, "resumableTotalChunks": "1", "resumableFilename": name},
		Part:   "file", FileName: "blob", Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}}
}

func store(t *testing.T, c *threatq.Client, name, content string) {
	t.Helper()
	_, err := c.Do(t.Context(), chunk(name, content))
	require.NoError(t, err)
	_, err = c.Do(t.Context(), rest.Request{Method: http.MethodPost, Path: "/api/attachments",
		Body: fmt.Appendf(nil, `{"name":%q,"title":"T","type":"Generic Text","malware_locked":false}`, name)})
	require.NoError(t, err)
}

func TestUploadsOfBothWays(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	store(t, c, "a.txt", "first")
	s.RevokeTokens()
	store(t, c, "b.txt", "second: the content is opened again after the new login")
	one := chunk("c.txt", "third")
	one.Path, one.Upload.FileName = "/api/attachments", "c.txt"
	one.Upload.Fields = map[string]string{"name": "c.txt", "title": "T", "type": "PDF", "malware_locked": "1"}
	_, err := c.Do(t.Context(), one)
	require.NoError(t, err)
	var contents []string
	for _, f := range s.Files() {
		contents = append(contents, string(f.Content))
	}
	assert.Equal(t, []string{"first", "second: the content is opened again after the new login", "third"}, contents)
}

func TestUploadThatIsTooLarge(t *testing.T) {
	_, c := start(t, threatqtest.Options{MaxUpload: 1000})
	_, err := c.Do(t.Context(), chunk("a.txt", strings.Repeat("x", 1000)))
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeHTTP, e.Code)
	assert.Equal(t, http.StatusRequestEntityTooLarge, e.Status)

	_, c = start(t, threatqtest.Options{MaxUpload: 1000, CutLargeUploads: true})
	_, err = c.Do(t.Context(), chunk("a.txt", strings.Repeat("x", 1000)))
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeUnknown, e.Code)
}

// The connection breaks after the server has done the work of the GET.
func TestLostAnswerOfTheCommitIsNotRepeated(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	store(t, c, "a.txt", "198.51.100.7")
	_, err := c.Do(t.Context(), rest.Request{Method: http.MethodPost, Path: "/api/imports", Body: []byte(`{"attachment_id":12,"normalize":true,"content_type_id":6}`)})
	require.NoError(t, err)
	s.Inject(threatqtest.Fault{PathPrefix: "/api/imports/33/commit", LoseAnswer: true})
	_, err = c.Do(t.Context(), rest.Request{Method: http.MethodGet, Path: "/api/imports/33/commit", Once: true})
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeUnknown, e.Code)
	assert.Equal(t, 1, s.Imports()[0].Commits)
	assert.Len(t, s.Indicators(), 1)
}
