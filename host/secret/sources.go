package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zalando/go-keyring"
)

// CredentialsVariable is the environment variable in which systemd names the folder of a service's credentials.
const CredentialsVariable = "CREDENTIALS_DIRECTORY"

// ErrNotInService is in the chain of the error of a credential reference outside of a service that has credentials.
var ErrNotInService = errors.New("systemd gives credentials to a service alone, and " + CredentialsVariable + " is not set")

// Sources are the places where references are looked up.
type Sources struct {
	// Environ is usually os.LookupEnv.
	Environ func(name string) (text string, found bool)
	// Credentials is the folder that systemd puts the credentials of a service into; empty outside of a service.
	Credentials string
	// Home is what ~ stands for in the path of a file.
	Home string
	// Services are the names of the service in the keyring, tried in this order.
	Services []string
	// Keyring looks a secret up, with the errors of package keyring; nil: the keyring of the system.
	Keyring func(service, user string) (text string, err error)
	// Learn is told what was found anywhere but in the environment, which is a secret whatever it is used for. It may
	// be nil.
	Learn func(Value)
	// Warn is told of what works and is not safe. It may be nil.
	Warn func(message, advice string)
}

// Forms are the forms of references as a whole value, and what each stands for, for documentation. Within a longer
// value the name stands in braces. The first and the last are those of resilient-circuits (contract: Secrets). The other
// two share the $ with the environment: such a text is one that resilient-circuits looks up too, and no password.
var Forms = [][2]string{
	{"$NAME", "the environment variable NAME"},
	{"$file:/PATH", "the content of a file without its last line end"},
	{"$credential:NAME", "a credential of the systemd service (LoadCredential=)"},
	{"^NAME", "a secret of the keyring (service: the section, user: NAME)"},
}

// reference matches a text that is a reference and nothing else.
var reference = regexp.MustCompile(`^(\$(\w+|\{\w+\}|(file|credential):[^{}]+|\{(file|credential):[^{}]+\})|\^(\w+|\{\w+\}))$`)

// IsReference tells whether a text has the form of one reference and nothing else, and so is no secret itself if it
// was found.
func IsReference(text string) bool { return reference.MatchString(text) }

// Resolver returns the Resolver of all schemes. Its errors say what to do and never hold a secret; a name after ^ is
// not in them either, for it may be a password that begins with ^.
func (s Sources) Resolver() Resolver {
	return NewResolver(Scheme{Prefix: "$", Lookup: s.named}, Scheme{Prefix: "^", Lookup: s.keyring})
}

// named looks up $NAME, $file:PATH and $credential:NAME.
func (s Sources) named(name string) (text string, found bool, err error) {
	kind, rest, _ := strings.Cut(name, ":")
	switch kind {
	case "file":
		text, err = s.file(rest)
	case "credential":
		text, err = s.credential(rest)
	default:
		text, found = s.Environ(name)
		return text, found, nil
	}
	return s.learnt(text, err)
}

// learnt passes on a text that was looked for and must be there.
func (s Sources) learnt(text string, err error) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	if s.Learn != nil {
		s.Learn(New(text))
	}
	return text, true, nil
}

// largestSecret bounds a file with a secret, in bytes.
const largestSecret = 64 << 10

func (s Sources) file(path string) (string, error) {
	if rest, found := strings.CutPrefix(path, "~/"); found {
		path = filepath.Join(s.Home, rest)
	}
	if !filepath.IsAbs(path) {
		return "", errors.New("the path of a secret's file is not absolute: write $file:/PATH or $file:~/PATH")
	}
	text, mode, err := readSecret(path)
	if err != nil {
		return "", err
	}
	// Windows has no such bits.
	if mode&0o007 != 0 && s.Warn != nil && runtime.GOOS != "windows" {
		s.Warn(fmt.Sprintf("refers to %s, which every user of this machine can read or change", path), "chmod 600 "+path)
	}
	return text, nil
}

func (s Sources) credential(name string) (string, error) {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`):
		return "", errors.New("the name of a credential is a file name: write $credential:NAME")
	case s.Credentials == "":
		return "", fmt.Errorf("%w: run it as the service, or name a folder that holds a file %s by this variable", ErrNotInService, name)
	}
	text, _, err := readSecret(filepath.Join(s.Credentials, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the service has no credential %s: add LoadCredential=%s:/PATH to its unit", name, name)
	}
	return text, err
}

// readSecret reads a file of one line.
func readSecret(path string) (text string, mode fs.FileMode, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, unwrapped(path, err)
	}
	if !info.Mode().IsRegular() {
		return "", 0, fmt.Errorf("%s is no regular file: name a file that holds the secret alone", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", 0, unwrapped(path, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, largestSecret+1))
	if err != nil {
		return "", 0, unwrapped(path, err)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case len(data) > largestSecret:
		err = fmt.Errorf("%s is larger than %d bytes: name a file that holds the secret alone", path, largestSecret)
	case text == "":
		err = fmt.Errorf("%s is empty: write the secret into it", path)
	case strings.ContainsAny(text, "\n\r\x00") || !utf8.ValidString(text):
		err = fmt.Errorf("%s is not one line of text: name a file that holds the secret alone", path)
	}
	return text, info.Mode(), err
}

// unwrapped says "PATH: what the system says", without the name of the system call.
func unwrapped(path string, err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	advice := "correct the path, or make the file"
	if errors.Is(err, fs.ErrPermission) {
		advice = "let the user that the host runs as read it"
	}
	return fmt.Errorf("%s: %w: %s", path, err, advice)
}

// keyringPatience is how long a keyring may take: a locked one waits for a person to unlock it.
const keyringPatience = 20 * time.Second

// elsewhere is where a secret can be put instead.
const elsewhere = "write $NAME, $file:/PATH or $credential:NAME instead, also for a password that itself begins with ^"

// keyring looks a name up as resilient-circuits does: the section is the service, the name is the user.
func (s Sources) keyring(name string) (text string, found bool, err error) {
	get := s.Keyring
	if get == nil {
		get = systemKeyring
	}
	type answer struct {
		text string
		err  error
	}
	// The library has no time-out. What it still waits for when we no longer do ends with the process.
	answers := make(chan answer, 1)
	go func() {
		a := answer{err: keyring.ErrNotFound}
		for _, service := range s.Services {
			if a.text, a.err = get(service, name); !errors.Is(a.err, keyring.ErrNotFound) {
				break
			}
		}
		answers <- a
	}()
	timer := time.NewTimer(keyringPatience)
	defer timer.Stop()
	var a answer
	select {
	case a = <-answers:
	case <-timer.C:
		return "", false, fmt.Errorf("the keyring did not answer within %v: unlock it, or %s", keyringPatience, elsewhere)
	}
	switch {
	case a.err == nil && a.text == "":
		return "", false, fmt.Errorf("the keyring holds an empty secret: %s", elsewhere)
	case a.err == nil:
		return s.learnt(a.text, nil)
	case errors.Is(a.err, keyring.ErrNotFound):
		return "", false, fmt.Errorf("the keyring has no such secret of service %s: add it (keyring set %s NAME), or %s",
			strings.Join(s.Services, " or "), strings.Join(s.Services[:min(1, len(s.Services))], ""), elsewhere)
	case errors.Is(a.err, keyring.ErrUnsupportedPlatform):
		return "", false, fmt.Errorf("there is no keyring on this system: %s", elsewhere)
	}
	// The error tells of the bus or the service, never of the secret.
	return "", false, fmt.Errorf("the keyring cannot be reached (%w): %s", a.err, elsewhere)
}

// systemKeyring does not let the library start a message bus where there is none: a keyring of its own would be empty.
func systemKeyring(service, user string) (string, error) {
	address := os.Getenv("DBUS_SESSION_BUS_ADDRESS")
	if runtime.GOOS != "windows" && runtime.GOOS != "darwin" && (address == "" || address == "autolaunch:") {
		sockets, _ := filepath.Glob(fmt.Sprintf("/run/user/%d/*bus*", os.Getuid())) // bus, or dbus-session
		if len(sockets) == 0 {
			return "", errors.New("this user has no session bus")
		}
	}
	return keyring.Get(service, user)
}
