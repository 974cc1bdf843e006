package effect

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"fn-threatq/abi"
)

// blobs are the downloaded files of one action, in a folder of their own that
// exists only while there are any.
type blobs struct {
	dir string

	mu     sync.Mutex
	own    string
	files  map[string]blobFile // by handle
	made   int
	closed bool
}

type blobFile struct {
	path string
	size int64
}

func (b *blobs) has(handle string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.files[handle]
	return ok
}

func (b *blobs) size(handle string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.files[handle].size
}

func (b *blobs) opener(handle string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		b.mu.Lock()
		file, ok := b.files[handle]
		b.mu.Unlock()
		if !ok {
			return nil, fmt.Errorf("this action has no blob %q", handle)
		}
		return os.Open(file.path)
	}
}

func (b *blobs) create() (*blobWriter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errActionEnded
	}
	if b.own == "" {
		own, err := os.MkdirTemp(b.dir, "fn-threatq-blob-")
		if err != nil {
			return nil, fmt.Errorf("no folder for a download: %w", err)
		}
		b.own, b.files = own, map[string]blobFile{}
	}
	b.made++
	file, err := os.OpenFile(fmt.Sprintf("%s/%d", b.own, b.made), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("no file for a download: %w", err)
	}
	// MD5 is how ThreatQ identifies files, not a protection.
	return &blobWriter{blobs: b, file: file, handle: fmt.Sprintf("blob-%d", b.made), sum: md5.New()}, nil
}

func (b *blobs) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.own == "" {
		return nil
	}
	err := os.RemoveAll(b.own)
	b.own, b.files = "", nil
	return err
}

var errActionEnded = errors.New("the action ended during a download")

// blobWriter receives one download. A nil one stands for no download.
type blobWriter struct {
	blobs  *blobs
	file   *os.File
	handle string
	sum    hash.Hash
	size   int64
}

func (w *blobWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.sum.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// finish registers the file under its handle.
func (w *blobWriter) finish(contentType string) (*abi.Blob, error) {
	if w == nil {
		return nil, nil
	}
	path := w.file.Name()
	if err := w.file.Close(); err != nil {
		return nil, fmt.Errorf("writing a download: %w", err)
	}
	w.blobs.mu.Lock()
	defer w.blobs.mu.Unlock()
	if w.blobs.closed {
		return nil, errActionEnded
	}
	w.blobs.files[w.handle] = blobFile{path, w.size}
	return &abi.Blob{Handle: w.handle, Size: w.size, MD5: hex.EncodeToString(w.sum.Sum(nil)), ContentType: contentType}, nil
}

// discard removes a download that failed.
func (w *blobWriter) discard() {
	if w == nil {
		return
	}
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
}
