package resilienttest_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

func TestFilesOfIncidentsAndTasks(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	ofIncident := s.AddAttachment(2095, 0, `od"d näme.txt`, "text/plain", []byte("content"))
	ofTask := s.AddAttachment(2095, 17, "empty.bin", "application/octet-stream", nil)
	incident, task := org+"/incidents/2095/attachments", org+"/tasks/17/attachments"
	for _, test := range []struct {
		path, other string
		id          int64
		content     string
		taskID      any
	}{
		{incident, task, ofIncident, "content", nil},
		{task, incident, ofTask, "", 17.0},
	} {
		path := fmt.Sprint(test.path, "/", test.id)
		_, about := c.do("GET", path, nil)
		require.InDelta(t, len(test.content), dig(about, "size"), 0)
		require.Equal(t, test.taskID, dig(about, "task_id"))
		response, data, err := c.request("GET", path+"/contents", http.NoBody, nil)
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, test.content, string(data))
		require.Equal(t, dig(about, "content_type"), response.Header.Get("Content-Type"))
		require.EqualValues(t, len(test.content), response.ContentLength)
		status, _ := c.do("GET", fmt.Sprint(test.other, "/", test.id), nil)
		require.Equal(t, 404, status, "the other owner does not have it")
	}
	s.DeleteAttachment(ofIncident)
	for _, path := range []string{"", "/contents"} {
		status, _ := c.do("GET", fmt.Sprint(incident, "/", ofIncident, path), nil)
		require.Equal(t, 404, status)
	}
	status, _ := c.do("DELETE", fmt.Sprint(task, "/", ofTask), nil)
	require.Equal(t, 200, status)
	require.Len(t, s.Attachments(2095), 2)
}

func TestLargeFilesAreStreamed(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	const size = 64 << 20
	id := s.AddLargeAttachment(2095, 0, "disk.img", "application/octet-stream", size)
	path := fmt.Sprint(org, "/incidents/2095/attachments/", id, "/contents")
	download := func() (sum []byte, n int64, err error) {
		r, err := http.NewRequest("GET", s.URL()+path, http.NoBody)
		require.NoError(t, err)
		r.Header.Set("X-sess-id", c.csrf)
		r.AddCookie(&http.Cookie{Name: "JSESSIONID", Value: c.cookie})
		response, err := c.http.Transport.RoundTrip(r)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		require.EqualValues(t, size, response.ContentLength)
		hash := md5.New()
		n, err = io.Copy(hash, response.Body)
		return hash.Sum(nil), n, err
	}
	want := md5.New()
	_, err := io.Copy(want, resilienttest.GeneratedFile(size))
	require.NoError(t, err)
	sum, n, err := download()
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.Equal(t, want.Sum(nil), sum)

	s.Inject(resilienttest.Fault{PathSuffix: "/contents", CutAfter: 1_000_000, Times: 1})
	_, n, err = download()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.EqualValues(t, 1_000_000, n)
	_, n, err = download()
	require.NoError(t, err)
	require.EqualValues(t, size, n)
}

func TestGeneratedFileIsTheSameHoweverItIsRead(t *testing.T) {
	whole, err := io.ReadAll(resilienttest.GeneratedFile(1000))
	require.NoError(t, err)
	var pieces bytes.Buffer
	_, err = io.CopyBuffer(struct{ io.Writer }{&pieces}, resilienttest.GeneratedFile(1000), make([]byte, 7))
	require.NoError(t, err)
	require.Len(t, whole, 1000)
	require.Equal(t, whole, pieces.Bytes())
	require.Contains(t, string(whole), "http://bad.example.net/x")
}
