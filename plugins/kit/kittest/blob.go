package kittest

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strconv"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/guesttest"
)

// Blob is the content of a file that the last Run downloaded; nil when it has
// no such handle.
func (w *World) Blob(handle string) []byte { return w.blobs[handle] }

// maxBlob is the host's limit of a download in bytes, which is the setting
// max_attachment_mb also for modules that do not declare it.
func (w *World) maxBlob() int {
	if mb, err := strconv.Atoi(w.Settings["max_attachment_mb"]); err == nil {
		return mb << 20
	}
	return 100 << 20
}

// keep makes a blob of a downloaded body.
func (w *World) keep(status int, contentType string, body []byte) abi.Result {
	if limit := w.maxBlob(); len(body) > limit {
		return guesttest.Error(abi.CodeTooLarge, 0, fmt.Sprintf("the file is larger than the limit of %d bytes", limit))
	}
	handle := fmt.Sprintf("blob-%d", len(w.blobs)+1)
	w.blobs[handle] = bytes.Clone(body)
	sum := md5.Sum(body)
	return abi.Result{Status: status, Blob: &abi.Blob{Handle: handle, Size: int64(len(body)), MD5: hex.EncodeToString(sum[:]), ContentType: contentType}}
}

// form is the multipart body of an upload: the fields first, then the file.
func (w *World) form(u *abi.Upload) (body []byte, contentType string) {
	require.Contains(w.t, w.blobs, u.Blob, "this action has no such blob; a host ends it")
	var buffer bytes.Buffer
	form := multipart.NewWriter(&buffer)
	for _, name := range slices.Sorted(maps.Keys(u.Fields)) {
		require.NoError(w.t, form.WriteField(name, u.Fields[name]))
	}
	kind := u.ContentType
	if kind == "" {
		kind = "application/octet-stream"
	}
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition(u.Part, u.FileName)},
		"Content-Type":        {kind},
	})
	require.NoError(w.t, err)
	_, err = part.Write(w.blobs[u.Blob])
	require.NoError(w.t, err)
	require.NoError(w.t, form.Close())
	return buffer.Bytes(), form.FormDataContentType()
}
