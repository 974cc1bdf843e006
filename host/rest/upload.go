package rest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Upload is a multipart form with one file.
type Upload struct {
	Fields                      map[string]string
	Part, FileName, ContentType string
	// Size of the content in bytes.
	Size int64
	// Open gives the content anew for each try.
	Open func() (io.ReadCloser, error)
}

// largeUpload is the size in bytes from which the server is asked before the
// content is sent: a refusal (401, 413) then arrives as an answer, where it
// would break the connection in the midst of the content.
const largeUpload = 1 << 20

// attach makes the form the body of the request. The file is read while it is
// sent, so that a large one is never in memory. The length is told beforehand:
// not every web server takes a body without one.
func (u *Upload) attach(request *http.Request) error {
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	for _, name := range slices.Sorted(maps.Keys(u.Fields)) {
		if err := form.WriteField(name, u.Fields[name]); err != nil {
			return err
		}
	}
	contentType := u.ContentType
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	if _, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {fmt.Sprintf(`form-data; name="%s"; filename="%s"`, quoteEscaper.Replace(u.Part), quoteEscaper.Replace(u.FileName))},
		"Content-Type":        {quoteEscaper.Replace(contentType)},
	}); err != nil {
		return err
	}
	before := frame.Len()
	if err := form.Close(); err != nil {
		return err
	}
	file, err := u.Open()
	if err != nil {
		return err
	}
	head, tail := frame.Bytes()[:before], frame.Bytes()[before:]
	request.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), file, bytes.NewReader(tail)), file}
	request.ContentLength = int64(frame.Len()) + u.Size
	request.Header.Set("Content-Type", form.FormDataContentType())
	if u.Size >= largeUpload {
		request.Header.Set("Expect", "100-continue")
	}
	return nil
}

var quoteEscaper = strings.NewReplacer("\\", "\\\\", `"`, "\\\"", "\r", "", "\n", "")
