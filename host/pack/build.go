package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
)

// Build makes an unsigned pack of a folder, which holds pack.json (name,
// version, description, author), README.md, and modules with their scenarios:
// either where a pack has them, or each in a folder of its own as
// `fn-threatq plugin new` makes it (NAME/NAME.wasm, NAME/scenarios/*.txtar, and
// common.txtar beside the folders). What else is there is left out, and reported
// as skipped.
func Build(dir string) (p *Pack, skipped []string, err error) {
	root := os.DirFS(dir)
	text, err := fs.ReadFile(root, listingName)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: it names the pack: {\"pack\": %d, \"name\": …, \"version\": …, \"description\": …}",
			filepath.Join(dir, listingName), err, Format)
	}
	listing, err := parseListing(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	files := map[string][]byte{}
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir(), name == listingName, isManifest(name):
			return nil
		}
		target, ok := placeOf(name)
		if !ok {
			skipped = append(skipped, name)
			return nil
		}
		if !entry.Type().IsRegular() {
			// What a link leads to may be a file of the person who builds, and none of the pack's.
			return fmt.Errorf("%s is a link or no regular file: put the file itself there", name)
		}
		if _, twice := files[target]; twice {
			return fmt.Errorf("%s: there is another file for %s", name, target)
		}
		files[target], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	if p, err = assemble(listing, files); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	return p, skipped, nil
}

// placeOf is where a source file goes in the pack.
func placeOf(name string) (string, bool) {
	parts := strings.Split(name, "/")
	switch {
	case name == commonName:
		name = scenariosDir + "/" + name
	case len(parts) == 2 && parts[1] == parts[0]+moduleEnd:
		name = modulesDir + "/" + parts[1]
	case len(parts) == 3 && parts[1] == scenariosDir:
		name = scenariosDir + "/" + parts[0] + "/" + parts[2]
	}
	return name, checkPath(name) == nil
}

func isManifest(name string) bool {
	return path.Dir(name) == modulesDir && path.Ext(name) == manifestEnd
}

// assemble adds the manifests and the listing to the files, and reads what came
// out as a stranger would.
func assemble(listing Listing, files map[string][]byte) (*Pack, error) {
	modules, err := modulesOf(files)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		// moduleOf has read it before.
		section, _, err := modulefile.Section(m.Bytes, abi.SectionManifest)
		if err != nil {
			return nil, err
		}
		files[modulesDir+"/"+m.Manifest.Name+manifestEnd] = section
	}
	listing.Files = map[string]File{}
	for name, text := range files {
		listing.Files[name] = File{Size: int64(len(text)), SHA256: digestOf(text)}
	}
	text, err := json.MarshalIndent(listing, "", "  ")
	if err != nil {
		return nil, err
	}
	raw, err := archive(append(text, '\n'), nil, files)
	if err != nil {
		return nil, err
	}
	return Read(raw)
}

// archive writes the file: the listing first, so that it can be read before
// anything else; then the signature; then the rest in order.
func archive(listing, signature []byte, files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	tarred := tar.NewWriter(zipped)
	add := func(name string, text []byte) {
		if err == nil {
			err = tarred.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
		}
		if err == nil {
			_, err = tarred.Write(text)
		}
	}
	add(listingName, listing)
	if signature != nil {
		add(signatureName, signature)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		add(name, files[name])
	}
	for _, close := range []func() error{tarred.Close, zipped.Close} {
		if err == nil {
			err = close()
		}
	}
	return out.Bytes(), err
}
