package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrChanged is the error of a file that somebody else changed at the same time.
var ErrChanged = errors.New("the file was changed by somebody else meanwhile: nothing was written, try again")

// File is a configuration file as it was found, to be written.
type File struct {
	// Path is the file itself, behind all symbolic links.
	Path string
	// Data is its content, and Exists tells whether it is there at all.
	Data   []byte
	Exists bool
	info   fs.FileInfo
}

// OpenFile reads the file that Target returns. One that does not exist is no error. Errors are an *Error.
func OpenFile(path string) (*File, error) {
	f := &File{Path: path}
	fail := func(err error) (*File, error) {
		return nil, &Error{Problems: []Problem{unreadableFile(path, "", err)}}
	}
	for range 40 { // links that go on for ever are the system's to refuse
		link, err := os.Readlink(f.Path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(f.Path), link)
		}
		f.Path = link
	}
	var err error
	if f.info, err = os.Stat(f.Path); errors.Is(err, fs.ErrNotExist) {
		return f, nil
	} else if err != nil {
		return fail(err)
	}
	if !f.info.Mode().IsRegular() {
		return nil, &Error{Problems: []Problem{{File: path, Message: "the configuration file is a directory or device", Advice: "name a file", cause: ErrNoFile}}}
	}
	if f.Data, err = readFile(f.Path); err != nil {
		return fail(err)
	}
	f.Exists = true
	return f, nil
}

// WideMode describes a mode that lets others than the owner read or change the file; nil when it does not.
func (f *File) WideMode() *Problem {
	if !f.Exists {
		return nil
	}
	return wideMode(f.Path, f.info.Mode(), false)
}

// Write replaces the content, whole or not at all: it is written beside and moved into place. A new file has the mode
// 0600, and folders that are missing the mode 0700. An existing file keeps its mode if keepMode is set, else it gets 0600;
// it keeps its owner where this user may give files away. ErrChanged is in the chain when the file is no longer as it
// was found.
func (f *File) Write(data []byte, keepMode bool) error {
	folder := filepath.Dir(f.Path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("%s: %w: make the folder, or name another file", folder, plainError(err))
	}
	name, err := f.prepare(data, keepMode)
	if err != nil {
		return fmt.Errorf("%s: %w: nothing was changed", f.Path, plainError(err))
	}
	switch now, err := os.ReadFile(f.Path); {
	case f.Exists && (err != nil || !bytes.Equal(now, f.Data)), !f.Exists && !errors.Is(err, fs.ErrNotExist):
		return errors.Join(fmt.Errorf("%s: %w", f.Path, ErrChanged), os.Remove(name))
	}
	if err := os.Rename(name, f.Path); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", f.Path, err), os.Remove(name))
	}
	if err := syncFolder(folder); err != nil {
		return fmt.Errorf("%s is written, and may not outlast a power failure: %w", f.Path, err)
	}
	return nil
}

// prepare writes the new content into a file beside, complete and on disk, and returns its path.
func (f *File) prepare(data []byte, keepMode bool) (name string, err error) {
	file, err := os.CreateTemp(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".new-") // 0600
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	if err == nil && f.Exists {
		mode := f.info.Mode().Perm()
		if !keepOwner(file, f.info) {
			mode &^= 0o070 // it is another group now
		}
		if keepMode {
			err = file.Chmod(mode)
		}
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}
