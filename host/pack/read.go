package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// InvalidError says that a file is no pack, or not the one that its listing
// describes. Nothing of it was used.
type InvalidError struct {
	Reason string
}

func (e *InvalidError) Error() string { return "not a valid pack: " + e.Reason }

func invalid(format string, args ...any) error {
	return &InvalidError{Reason: fmt.Sprintf(format, args...)}
}

// Open reads the pack in a file. Its error is an *InvalidError when the file
// could be read but is no valid pack.
func Open(name string) (*Pack, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	p, err := Read(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// Read reads a pack and holds every file of it against the listing. It says
// nothing about who made it: see Verify.
func Read(text []byte) (*Pack, error) {
	if len(text) > MaxBytes {
		return nil, invalid("larger than %d bytes", MaxBytes)
	}
	files, err := unpack(text)
	if err != nil {
		return nil, err
	}
	p := &Pack{raw: text, Digest: digestOf(text), listing: files[listingName], signature: files[signatureName], files: files}
	if p.listing == nil {
		return nil, invalid("it has no %s", listingName)
	}
	if len(p.listing) > maxList {
		return nil, invalid("%s is larger than %d bytes", listingName, maxList)
	}
	delete(files, listingName)
	delete(files, signatureName)
	if p.Listing, err = parseListing(p.listing); err != nil {
		return nil, invalid("%s", err)
	}
	if err := p.checkFiles(); err != nil {
		return nil, err
	}
	if p.Modules, err = modulesOf(files); err != nil {
		return nil, invalid("%s", err)
	}
	if err := checkTogether(files, p.Modules); err != nil {
		return nil, invalid("%s", err)
	}
	return p, nil
}

// checkFiles holds the files against the listing, all mistakes at once.
func (p *Pack) checkFiles() error {
	var mistakes []string
	for _, name := range p.Paths() {
		listed, ok := p.Files[name]
		switch {
		case !ok:
			mistakes = append(mistakes, name+" is not listed")
		case listed.Size != int64(len(p.files[name])) || listed.SHA256 != digestOf(p.files[name]):
			mistakes = append(mistakes, name+" was altered")
		}
		if err := checkPath(name); err != nil {
			mistakes = append(mistakes, err.Error())
		}
	}
	for name := range p.Files {
		if _, ok := p.files[name]; !ok {
			mistakes = append(mistakes, name+" is missing")
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	slices.Sort(mistakes)
	if more := len(mistakes) - 10; more > 0 {
		mistakes = append(mistakes[:10], fmt.Sprintf("and %d more", more))
	}
	return invalid("%s", strings.Join(mistakes, "; "))
}

// unpack reads the archive, bounded.
func unpack(text []byte) (map[string][]byte, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, invalid("it is not a gzip file: %s", err)
	}
	left := int64(MaxBytes)
	limited := io.LimitReader(unzipped, 2*MaxBytes)
	archive := tar.NewReader(limited)
	files := map[string][]byte{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, invalid("the archive is damaged: %s", err)
		}
		switch {
		case header.Typeflag != tar.TypeReg:
			return nil, invalid("%q is not a regular file", header.Name)
		case len(files) >= MaxFiles:
			return nil, invalid("more than %d files", MaxFiles)
		case header.Size > left:
			return nil, invalid("its files are larger than %d bytes", MaxBytes)
		}
		if _, twice := files[header.Name]; twice {
			return nil, invalid("%q stands in it twice", header.Name)
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			return nil, invalid("%q is damaged: %s", header.Name, err)
		}
		left -= int64(len(body))
		files[header.Name] = body
	}
	// The rest of the stream holds the checksum of what was read.
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return nil, invalid("the archive is damaged: %s", err)
	}
	return files, nil
}
