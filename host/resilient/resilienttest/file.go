package resilienttest

import (
	"bytes"
	"io"
)

// content is the bytes of an attachment or a file artifact.
type content struct {
	size int64
	open func() io.Reader
}

func stored(data []byte) content {
	return content{int64(len(data)), func() io.Reader { return bytes.NewReader(data) }}
}

// generated is a file that takes no memory.
func generated(size int64) content {
	return content{size, func() io.Reader { return GeneratedFile(size) }}
}

// GeneratedFile is the content of the World's attachments and of AddLargeAttachment: lines
// of text with a URL and an IP address, size bytes of them.
func GeneratedFile(size int64) io.Reader {
	return io.LimitReader(&repeated{text: "Simulated attachment. See http://bad.example.net/x and 203.0.113.77.\n"}, size)
}

// repeated is a text over and over again.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		copied := copy(p[n:], r.text[r.at:])
		n, r.at = n+copied, (r.at+copied)%len(r.text)
	}
	return len(p), nil
}
