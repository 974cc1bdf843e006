package pack

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"aead.dev/minisign"
)

// Key is a public key of minisign (https://jedisct1.github.io/minisign).
type Key struct {
	public minisign.PublicKey
	// Source says where it is configured.
	Source string
}

// ID is the key's number as minisign shows it: sixteen hexadecimal digits.
func (k Key) ID() string { return fmt.Sprintf("%016X", k.public.ID()) }

// ParseKey reads a public key: the line that begins with RW, or the text of a
// minisign.pub file.
func ParseKey(text, source string) (Key, error) {
	k := Key{Source: source}
	if err := k.public.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return k, fmt.Errorf("%s: not a public key of minisign: want a line that begins with RW, or the file minisign.pub", source)
	}
	return k, nil
}

// ReadKey reads a public key from a file, or takes the text itself for one.
func ReadKey(fileOrKey string) (Key, error) {
	if k, err := ParseKey(fileOrKey, fileOrKey); err == nil {
		return k, nil
	}
	text, err := os.ReadFile(fileOrKey)
	if err != nil {
		return Key{}, fmt.Errorf("public key: %w", err)
	}
	return ParseKey(string(text), fileOrKey)
}

// Errors of Verify.
var (
	ErrUnsigned  = errors.New("the pack is not signed")
	ErrUntrusted = errors.New("the pack is signed with a key that is not trusted")
	ErrSignature = errors.New("the signature of the pack is wrong: it was altered after it was signed")
)

// Verify checks the signature and returns the key that made it, which is one of
// the trusted ones. Its errors are ErrUnsigned, ErrUntrusted and ErrSignature.
func (p *Pack) Verify(trusted []Key) (Key, error) {
	if !p.Signed() {
		return Key{}, ErrUnsigned
	}
	var signature minisign.Signature
	if err := signature.UnmarshalText(p.signature); err != nil {
		return Key{}, fmt.Errorf("%w (%s is no signature of minisign)", ErrSignature, signatureName)
	}
	for _, k := range trusted {
		if k.public.ID() != signature.KeyID {
			continue
		}
		if !minisign.Verify(k.public, p.listing, p.signature) {
			return Key{}, ErrSignature
		}
		return k, nil
	}
	return Key{}, fmt.Errorf("%w: %016X", ErrUntrusted, signature.KeyID)
}

// SignerID is the number of the key that signed the pack, unchecked; empty for
// none.
func (p *Pack) SignerID() string {
	var signature minisign.Signature
	if !p.Signed() || signature.UnmarshalText(p.signature) != nil {
		return ""
	}
	return fmt.Sprintf("%016X", signature.KeyID)
}

// ErrPassword says that the secret key could not be opened.
var ErrPassword = errors.New("the password of the secret key is wrong")

// Sign returns the pack with a signature in place of the one it has. The secret
// key is the text of a minisign.key file; password is called when it has one.
func (p *Pack) Sign(secretKey []byte, password func() (string, error)) (*Pack, error) {
	var key minisign.PrivateKey
	if minisign.IsEncrypted(secretKey) {
		word, err := password()
		if err != nil {
			return nil, err
		}
		if key, err = minisign.DecryptKey(word, secretKey); err != nil {
			return nil, ErrPassword
		}
	} else if err := key.UnmarshalText(secretKey); err != nil {
		// The library's error might quote the text.
		return nil, errors.New("not a secret key of minisign: want the file minisign.key")
	}
	comment := fmt.Sprintf("fn-threatq pack %s %s", p.Name, p.Version)
	signature := minisign.SignWithComments(key, p.listing, comment, "signature of "+listingName)
	raw, err := archive(p.listing, signature, p.files)
	if err != nil {
		return nil, err
	}
	return Read(raw)
}
