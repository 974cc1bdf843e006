// Package oci takes packs to OCI registries and layout folders and brings them
// from there, so that they travel the way containers do.
//
// A place is a registry, `oci://HOST/REPOSITORY:TAG`, or a layout folder,
// `oci:FOLDER:TAG`, which can be carried to where there is no network. A pack is
// an artifact of one layer, which is the pack's file as it is: the signature
// within it counts, wherever it came from.
package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"fn-threatq/host/pack"
)

// Media types of a pack in a registry.
const (
	ArtifactType = "application/vnd.fn-threatq.pack.v1"
	LayerType    = "application/vnd.fn-threatq.pack.v1.tar+gzip"
)

// maxManifest bounds what is read before the layer, in bytes.
const maxManifest = 1 << 20

// Place is where a pack lies.
type Place struct {
	text string
	// layout is a folder; else repository is HOST/REPOSITORY.
	layout, repository string
	tag                string
}

func (p Place) String() string { return p.text }

// Is reports whether a text means a place of this package, not a file.
func Is(text string) bool { return strings.HasPrefix(text, "oci:") }

// ParsePlace reads a place.
func ParsePlace(text string) (Place, error) {
	wrong := fmt.Errorf("%q: want oci://HOST/REPOSITORY:TAG or oci:FOLDER:TAG", text)
	rest, ok := strings.CutPrefix(text, "oci:")
	if !ok {
		return Place{}, wrong
	}
	cut := strings.LastIndexByte(rest, ':')
	if cut < 0 || strings.ContainsRune(rest[cut:], '/') || rest[cut+1:] == "" {
		return Place{}, wrong
	}
	p := Place{text: text, tag: rest[cut+1:]}
	if repository, remote := strings.CutPrefix(rest[:cut], "//"); remote {
		if host, path, ok := strings.Cut(repository, "/"); !ok || host == "" || path == "" {
			return Place{}, wrong
		}
		p.repository = repository
		return p, nil
	}
	if p.layout = rest[:cut]; p.layout == "" {
		return Place{}, wrong
	}
	return p, nil
}

// Options of a transfer.
type Options struct {
	// PlainHTTP talks to the registry without TLS.
	PlainHTTP bool
	// UserAgent is told to the registry.
	UserAgent string
}

// target opens a place. Accounts are those of `docker login`, where there are any.
func (p Place) target(o Options) (oras.Target, error) {
	if p.layout != "" {
		return oci.New(p.layout)
	}
	return p.remote(o)
}

// source opens a place to read from: a folder that is not there is not made.
func (p Place) source(ctx context.Context, o Options) (oras.ReadOnlyTarget, error) {
	if p.layout != "" {
		return oci.NewFromFS(ctx, os.DirFS(p.layout))
	}
	return p.remote(o)
}

func (p Place) remote(o Options) (*remote.Repository, error) {
	repository, err := remote.NewRepository(p.repository)
	if err != nil {
		return nil, err
	}
	client := &auth.Client{Client: retry.DefaultClient, Cache: auth.NewCache()}
	client.SetUserAgent(o.UserAgent)
	if accounts, err := credentials.NewStoreFromDocker(credentials.StoreOptions{}); err == nil {
		client.Credential = credentials.Credential(accounts)
	}
	repository.Client, repository.PlainHTTP = client, o.PlainHTTP
	return repository, nil
}

// Push puts a pack to a place and returns the digest of the manifest there.
func Push(ctx context.Context, place Place, p *pack.Pack, o Options) (digest string, err error) {
	target, err := place.target(o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", place, err)
	}
	layer := content.NewDescriptorFromBytes(LayerType, p.Bytes())
	layer.Annotations = map[string]string{v1.AnnotationTitle: p.FileName()}
	if err := push(ctx, target, layer, p.Bytes()); err != nil {
		return "", fmt.Errorf("%s: %w", place, err)
	}
	manifest, err := oras.PackManifest(ctx, target, oras.PackManifestVersion1_1, ArtifactType, oras.PackManifestOptions{
		Layers: []v1.Descriptor{layer},
		ManifestAnnotations: map[string]string{
			v1.AnnotationTitle: p.Name, v1.AnnotationVersion: p.Version, v1.AnnotationDescription: p.Description,
			// The same pack has the same manifest whenever it is pushed.
			v1.AnnotationCreated: "1970-01-01T00:00:00Z",
		},
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", place, err)
	}
	if err := target.Tag(ctx, manifest, place.tag); err != nil {
		return "", fmt.Errorf("%s: %w", place, err)
	}
	return manifest.Digest.String(), nil
}

// push sends a blob unless it is there.
func push(ctx context.Context, target oras.Target, d v1.Descriptor, text []byte) error {
	there, err := target.Exists(ctx, d)
	if err != nil || there {
		return err
	}
	return target.Push(ctx, d, strings.NewReader(string(text)))
}

// Pull brings the pack from a place. Its files are checked against its listing;
// who signed it is for the caller to look at.
func Pull(ctx context.Context, place Place, o Options) (*pack.Pack, error) {
	p, err := pull(ctx, place, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return p, nil
}

func pull(ctx context.Context, place Place, o Options) (*pack.Pack, error) {
	target, err := place.source(ctx, o)
	if err != nil {
		return nil, err
	}
	descriptor, err := target.Resolve(ctx, place.tag)
	if err != nil {
		return nil, err
	}
	if descriptor.Size > maxManifest {
		return nil, fmt.Errorf("a manifest of %d bytes, which is no pack's", descriptor.Size)
	}
	layers, err := content.Successors(ctx, target, descriptor)
	if err != nil {
		return nil, err
	}
	for _, layer := range layers {
		if layer.MediaType != LayerType {
			continue
		}
		if layer.Size > pack.MaxBytes {
			return nil, fmt.Errorf("a pack of %d bytes, the limit is %d", layer.Size, pack.MaxBytes)
		}
		return read(ctx, target, layer)
	}
	return nil, errors.New("there is an artifact, but it is no pack")
}

// read fetches a layer; its digest is checked on the way.
func read(ctx context.Context, target oras.ReadOnlyTarget, layer v1.Descriptor) (*pack.Pack, error) {
	stream, err := target.Fetch(ctx, layer)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	verified := content.NewVerifyReader(io.LimitReader(stream, layer.Size+1), layer)
	text, err := io.ReadAll(verified)
	if err == nil {
		err = verified.Verify()
	}
	if err != nil {
		return nil, err
	}
	return pack.Read(text)
}
