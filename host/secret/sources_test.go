package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"fn-threatq/host/secret"
)

// put writes a private file and returns its path.
func put(t *testing.T, folder, name, text string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestFileReference(t *testing.T) {
	home := t.TempDir()
	var warnings []string
	redactor := secret.NewRedactor()
	resolver := secret.Sources{Home: home, Learn: func(found secret.Value) { redactor.Add(found) }, Warn: func(message, advice string) { warnings = append(warnings, message+"; "+advice) }}.Resolver()
	for content, want := range map[string]string{
		"c4nary": "c4nary", "c4nary\n": "c4nary", "c4nary\r\n": "c4nary", " c4nary \n": " c4nary ", "$NAME": "$NAME", "pässword": "pässword",
	} {
		path := put(t, home, "secret", content)
		for _, text := range []string{"$file:" + path, "${file:" + path + "}", "$file:~/secret"} {
			resolved, err := resolver.Resolve(text)
			require.NoError(t, err, text)
			assert.Equal(t, secret.Resolved{Text: want, Found: 1}, resolved, text)
		}
	}
	resolved, err := resolver.Resolve("http://u:${file:~/secret}@proxy")
	require.NoError(t, err)
	assert.NotContains(t, resolved.Text, "file:")
	assert.NotContains(t, redactor.Redact("a c4nary b"), "c4nary")
	assert.Empty(t, warnings)

	path := put(t, home, "open", "c4nary\n")
	require.NoError(t, os.Chmod(path, 0o604))
	_, err = resolver.Resolve("$file:" + path)
	require.NoError(t, err)
	assert.Equal(t, []string{"refers to " + path + ", which every user of this machine can read or change; chmod 600 " + path}, warnings)
	require.NoError(t, os.Chmod(path, 0o640))
	_, err = resolver.Resolve("$file:" + path)
	require.NoError(t, err)
	assert.Len(t, warnings, 1, "a group may be meant")
}

// TestUnusableFile holds that an error says what to do and shows nothing of the content.
func TestUnusableFile(t *testing.T) {
	home := t.TempDir()
	fifo := filepath.Join(home, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for text, want := range map[string]string{
		"$file:" + home + "/nowhere":           "no such file or directory: correct the path, or make the file",
		"$file:secret":                         "not absolute: write $file:/PATH",
		"$file:":                               "not absolute",
		"$file:" + home:                        "no regular file",
		"$file:" + fifo:                        "no regular file",
		"$file:" + put(t, home, "empty", ""):   "is empty: write the secret into it",
		"$file:" + put(t, home, "blank", "\n"): "is empty",
		"$file:" + put(t, home, "lines", "c4nary\nc4nary\n"):                      "not one line",
		"$file:" + put(t, home, "binary", "c4nary\xff"):                           "not one line of text",
		"$file:" + put(t, home, "nul", "c4nary\x00"):                              "not one line of text",
		"a${file:" + put(t, home, "large", strings.Repeat("c4nary", 1<<14)) + "}": "larger than 65536 bytes",
	} {
		resolved, err := secret.Sources{Home: home}.Resolver().Resolve(text)
		if assert.ErrorContains(t, err, want, text) {
			assert.NotContains(t, err.Error(), "c4nary")
		}
		assert.Equal(t, text, resolved.Text)
	}
}

func TestCredentialReference(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "soar", "c4nary\n")
	sources := secret.Sources{Credentials: folder}
	resolved, err := sources.Resolver().Resolve("$credential:soar")
	require.NoError(t, err)
	assert.Equal(t, secret.Resolved{Text: "c4nary", Found: 1}, resolved)

	_, err = sources.Resolver().Resolve("$credential:threatq")
	assert.EqualError(t, err, "the service has no credential threatq: add LoadCredential=threatq:/PATH to its unit")
	for _, name := range []string{"", ".", "..", "../soar", "/etc/passwd", "a/b"} {
		_, err = sources.Resolver().Resolve("$credential:" + name)
		assert.ErrorContains(t, err, "is a file name", name)
	}
	_, err = secret.Sources{}.Resolver().Resolve("${credential:soar}")
	require.ErrorIs(t, err, secret.ErrNotInService)
	assert.ErrorContains(t, err, "CREDENTIALS_DIRECTORY is not set")
	assert.ErrorContains(t, err, "a file soar")
}

func TestKeyringReference(t *testing.T) {
	keyring.MockInit()
	require.NoError(t, keyring.Set("fn_threatq", "tq", "c4nary-tq"))
	require.NoError(t, keyring.Set("_", "soar", "c4nary-old"))
	require.NoError(t, keyring.Set("resilient", "both", "c4nary-new"))
	require.NoError(t, keyring.Set("_", "both", "c4nary-old"))
	require.NoError(t, keyring.Set("resilient", "empty", ""))
	of := func(services ...string) secret.Resolver {
		return secret.Sources{Services: services, Keyring: keyring.Get}.Resolver()
	}

	for text, want := range map[string]string{"^tq": "c4nary-tq", "^{tq}": "c4nary-tq", "a ^{tq} b": "a c4nary-tq b"} {
		resolved, err := of("fn_threatq").Resolve(text)
		require.NoError(t, err)
		assert.Equal(t, secret.Resolved{Text: want, Found: 1}, resolved)
	}
	for text, want := range map[string]string{"^soar": "c4nary-old", "^both": "c4nary-new"} {
		resolved, err := of("resilient", "_").Resolve(text)
		require.NoError(t, err)
		assert.Equal(t, want, resolved.Text)
	}
	// A text that is not found may be a password that begins with ^: it is not sent anywhere, and not shown.
	for _, text := range []string{"^password", "^{password}", "x^{password}y"} {
		resolved, err := of("resilient", "_").Resolve(text)
		require.ErrorContains(t, err, "the keyring has no such secret of service resilient or _: add it (keyring set resilient NAME), or write $NAME")
		assert.NotContains(t, err.Error(), "^password")
		assert.Equal(t, text, resolved.Text)
	}
	_, err := of("resilient").Resolve("^empty")
	assert.ErrorContains(t, err, "the keyring holds an empty secret")

	keyring.MockInitWithError(keyring.ErrUnsupportedPlatform)
	_, err = of("resilient").Resolve("^soar")
	assert.ErrorContains(t, err, "there is no keyring on this system: write $NAME, $file:/PATH or $credential:NAME instead")
	keyring.MockInitWithError(errors.New("no answer"))
	_, err = of("resilient", "_").Resolve("^soar")
	assert.ErrorContains(t, err, "the keyring cannot be reached (no answer): write $NAME")
}

func TestWithoutABusThereIsNoKeyring(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus")
	_, err := secret.Sources{Services: []string{"resilient"}}.Resolver().Resolve("^soar")
	assert.ErrorContains(t, err, "the keyring cannot be reached (")
}

// TestLockedKeyring holds that a keyring that waits for a person does not hang the program.
func TestLockedKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unlock := make(chan struct{})
		locked := func(string, string) (string, error) { <-unlock; return "c4nary", nil }
		_, err := secret.Sources{Services: []string{"resilient"}, Keyring: locked}.Resolver().Resolve("^soar")
		assert.ErrorContains(t, err, "the keyring did not answer within 20s: unlock it, or write $NAME")
		close(unlock)
	})
}

func TestIsReference(t *testing.T) {
	for _, text := range []string{"$NAME", "${NAME}", "$file:/a b/c", "${file:/a}", "$credential:x", "${credential:x}", "^name", "^{name}"} {
		assert.True(t, secret.IsReference(text), text)
	}
	for _, text := range []string{"", "$", "^", "x$NAME", "${NAME}x", "${NAME", "a${NAME}b", "^a^b", "file:/a", "$other:x", "${a}${b}", "$a b", "$file:"} {
		assert.False(t, secret.IsReference(text), text)
	}
}
