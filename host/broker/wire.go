package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-stomp/stomp/v3/frame"
)

// lineBreaking are the bytes that would end a header of an unescaped frame.
const lineBreaking = "\r\n\x00"

var errFrameTooLarge = errors.New("frame is larger than allowed")

// frameReader reads what a broker sends. go-stomp's own reader allocates
// whatever content-length says before a byte of it came, has no bound for
// headers or for a body without length, and unescapes CONNECTED.
type frameReader struct {
	buf *bufio.Reader
	max int
}

func newFrameReader(r io.Reader, maxFrame int) *frameReader {
	return &frameReader{buf: bufio.NewReaderSize(r, 64<<10), max: maxFrame}
}

// next returns the next frame, or nil for a heart-beat.
func (r *frameReader) next() (*frame.Frame, error) {
	budget := r.max
	command, err := r.line(&budget)
	if err != nil || command == "" {
		return nil, err
	}
	switch command {
	case frame.CONNECTED, frame.MESSAGE, frame.RECEIPT, frame.ERROR:
	default:
		return nil, fmt.Errorf("%w: a line that is no STOMP command: %.40q", errProtocol, command)
	}
	f := frame.New(command)
	for {
		line, err := r.line(&budget)
		if err != nil {
			return nil, unexpectedEnd(err)
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: a header of %s without name or colon", errProtocol, command)
		}
		if command != frame.CONNECTED {
			name, value = unescape.Replace(name), unescape.Replace(value)
		}
		f.Header.Add(name, value)
	}
	if f.Body, err = r.body(f.Header, budget); err != nil {
		return nil, fmt.Errorf("body of %s: %w", command, unexpectedEnd(err))
	}
	return f, nil
}

func (r *frameReader) line(budget *int) (string, error) {
	line, err := r.until('\n', budget)
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(line, []byte("\r"))), nil
}

func (r *frameReader) body(header *frame.Header, budget int) ([]byte, error) {
	text, ok := header.Contains(frame.ContentLength)
	if !ok {
		return r.until(0, &budget)
	}
	length, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return nil, fmt.Errorf("%w: content-length %.40q is no number", errProtocol, text)
	}
	if length > uint64(max(budget, 0)) {
		return nil, fmt.Errorf("%w (%d bytes of at most %d)", errFrameTooLarge, length, r.max)
	}
	// Grows with what really arrives: the header alone must not cost memory.
	var body bytes.Buffer
	body.Grow(int(min(length, 1<<20)))
	if _, err := io.CopyN(&body, r.buf, int64(length)); err != nil {
		return nil, err
	}
	end, err := r.buf.ReadByte()
	if err != nil {
		return nil, err
	}
	if end != 0 {
		return nil, fmt.Errorf("%w: content-length does not match the body", errProtocol)
	}
	return body.Bytes(), nil
}

// until reads up to delim, which is taken but not returned. The result is a
// copy of its own.
func (r *frameReader) until(delim byte, budget *int) ([]byte, error) {
	var all []byte
	for {
		part, err := r.buf.ReadSlice(delim)
		if *budget -= len(part); *budget < 0 {
			return nil, fmt.Errorf("%w (more than %d bytes)", errFrameTooLarge, r.max)
		}
		all = append(all, part...)
		switch {
		case err == nil:
			return all[:len(all)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case len(all) > 0:
			return nil, unexpectedEnd(err)
		default:
			return nil, err
		}
	}
}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unescape reads undefined escapes as they stand, which STOMP would have fatal:
// one odd header of one message must not end the session again and again.
var unescape = strings.NewReplacer(`\\`, `\`, `\r`, "\r", `\n`, "\n", `\c`, ":")

// connectFrame is written by hand because CONNECT, alone of what we send, is
// not escaped (contract: STOMP headers) and go-stomp's writer escapes it.
func connectFrame(headers ...string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(frame.CONNECT + "\n")
	for i := 0; i < len(headers); i += 2 {
		if strings.ContainsAny(headers[i+1], lineBreaking) {
			return nil, fmt.Errorf("the %s has a line break or a NUL, which STOMP cannot carry; remove it", headers[i])
		}
		b.WriteString(headers[i] + ":" + headers[i+1] + "\n")
	}
	b.WriteString("\n\x00")
	return b.Bytes(), nil
}

// sendFrame has content-length only where the body needs it: without it
// ActiveMQ makes a text message, as SOAR gets from the reference client.
func sendFrame(destination string, headers map[string]string, body []byte) (*frame.Frame, error) {
	if destination == "" {
		return nil, errors.New("no destination")
	}
	f := frame.New(frame.SEND, frame.Destination, destination)
	for name, value := range headers {
		switch name {
		case "":
			return nil, errors.New("a header without name")
		case frame.Destination, frame.ContentLength:
			continue
		}
		f.Header.Add(name, value)
	}
	for i := range f.Header.Len() {
		name, value := f.Header.GetAt(i)
		if strings.ContainsRune(name, 0) || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("header %.60q has a NUL, which STOMP cannot carry", name)
		}
	}
	if bytes.IndexByte(body, 0) >= 0 {
		f.Header.Add(frame.ContentLength, strconv.Itoa(len(body)))
	}
	f.Body = body
	return f, nil
}
