package kittest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	addindicator "fn-threatq/plugins/add-indicator"
	"fn-threatq/plugins/kit/kittest"
)

func world(t *testing.T) *kittest.World {
	return kittest.New(t, addindicator.Rules(), "../../add-indicator/manifest.json", resilienttest.Options{Now: now}, threatqtest.Options{Now: now})
}

func TestFilesPassByHandle(t *testing.T) {
	w := world(t)
	id := w.SOAR.AddAttachment(resilienttest.DefaultIncident, 0, "note.txt", "text/plain", []byte("198.51.100.7"))
	path := fmt.Sprintf("/incidents/%d/attachments", resilienttest.DefaultIncident)
	got := w.Perform(abi.Call{ID: "d", Service: abi.Resilient, Method: "GET", Path: fmt.Sprintf("%s/%d/contents", path, id), Download: true})
	require.Nil(t, got.Error)
	require.NotNil(t, got.Blob)
	assert.Empty(t, got.Body, "the content is not given to the module")
	assert.EqualValues(t, 12, got.Blob.Size)
	assert.Equal(t, "526291673f8700ef4e4902e29550a03b", got.Blob.MD5)
	assert.Equal(t, "198.51.100.7", string(w.Blob(got.Blob.Handle)))

	sent := w.Perform(abi.Call{ID: "u", Service: abi.Resilient, Method: "POST", Path: path,
		Upload: &abi.Upload{Part: "file", FileName: `a"b.txt`, ContentType: "text/plain", Blob: got.Blob.Handle}})
	require.Nil(t, sent.Error)
	assert.Contains(t, string(sent.Body), `a\"b.txt`)
}

func TestDownloadOverTheLimitIsRefused(t *testing.T) {
	w := world(t)
	w.Settings["max_attachment_mb"] = "1"
	id := w.SOAR.AddAttachment(resilienttest.DefaultIncident, 0, "big.bin", "application/octet-stream", []byte(strings.Repeat("x", 1<<20+1)))
	got := w.Perform(abi.Call{ID: "d", Service: abi.Resilient, Method: "GET", Download: true,
		Path: fmt.Sprintf("/incidents/%d/attachments/%d/contents", resilienttest.DefaultIncident, id)})
	require.NotNil(t, got.Error)
	assert.Equal(t, abi.CodeTooLarge, got.Error.Code)
	assert.Nil(t, got.Blob)
}

func TestOutcomesAreTheHosts(t *testing.T) {
	w := world(t)
	event := w.ThreatQ.AddEvent("Incident", "T")
	gone := abi.Call{ID: "g", Service: abi.ThreatQ, Method: "DELETE", Path: "/api/events/9999"}
	assert.Equal(t, abi.Result{Status: 404}, w.Perform(gone), "what is not there is deleted")

	add := abi.Call{ID: "a", Service: abi.ThreatQ, Method: "POST", Path: fmt.Sprintf("/api/events/%d/comments", event), Body: abi.JSON(`{"value":"x"}`)}
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", Status: 503, Body: `{}`})
	got := w.Perform(add)
	require.NotNil(t, got.Error)
	assert.Equal(t, abi.CodeUnknown, got.Error.Code, "the server may have acted")
}
