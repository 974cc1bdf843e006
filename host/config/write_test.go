package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/secret"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	file, err := OpenFile(path)
	require.NoError(t, err)
	return file
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

// alone holds that nothing was left beside the file.
func alone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestWriteNewFile(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "a", "b", "app.config")
	require.NoError(t, open(t, path).Write([]byte("x"), false))
	assert.Equal(t, os.FileMode(0o600), mode(t, path))
	assert.Equal(t, os.FileMode(0o700), mode(t, filepath.Dir(path)))
	assert.Equal(t, os.FileMode(0o700), mode(t, filepath.Dir(filepath.Dir(path))))
	alone(t, path)
}

func TestWriteOverAFile(t *testing.T) {
	path := write(t, "old")
	require.NoError(t, os.Chmod(path, 0o640))
	require.NoError(t, open(t, path).Write([]byte("updated"), true))
	assert.Equal(t, os.FileMode(0o640), mode(t, path), "an update keeps the mode")
	require.NoError(t, open(t, path).Write([]byte("created"), false))
	assert.Equal(t, os.FileMode(0o600), mode(t, path))
	assert.Equal(t, "created", string(open(t, path).Data))
	alone(t, path)

	if os.Getuid() == 0 { // nobody else may give files away
		require.NoError(t, os.Chown(path, 12345, 23456))
		require.NoError(t, open(t, path).Write([]byte("x"), true))
		info, err := os.Stat(path)
		require.NoError(t, err)
		owner := info.Sys().(*syscall.Stat_t)
		assert.Equal(t, []uint32{12345, 23456}, []uint32{owner.Uid, owner.Gid})
	}
}

func TestWriteThroughLinks(t *testing.T) {
	folder, elsewhere := t.TempDir(), t.TempDir()
	link := filepath.Join(folder, "app.config")
	require.NoError(t, os.Symlink("second", link))
	require.NoError(t, os.Symlink(filepath.Join(elsewhere, "real"), filepath.Join(folder, "second")))
	for _, text := range []string{"made", "changed"} { // the first time the links lead nowhere
		require.NoError(t, open(t, link).Write([]byte(text), true))
		target, err := os.Readlink(link)
		require.NoError(t, err)
		assert.Equal(t, "second", target)
		data, err := os.ReadFile(filepath.Join(elsewhere, "real"))
		require.NoError(t, err)
		assert.Equal(t, text, string(data))
	}
}

func TestWriteIsWholeOrNotAtAll(t *testing.T) {
	path := write(t, "old")
	file := open(t, path)
	require.NoError(t, os.WriteFile(path, []byte("by somebody else"), 0o600))
	require.ErrorIs(t, file.Write([]byte("new"), true), ErrChanged)
	assert.Equal(t, "by somebody else", string(open(t, path).Data))
	alone(t, path)

	missing := filepath.Join(t.TempDir(), "app.config")
	file = open(t, missing)
	require.NoError(t, os.WriteFile(missing, []byte("by somebody else"), 0o600))
	require.ErrorIs(t, file.Write([]byte("new"), false), ErrChanged)
	assert.Equal(t, "by somebody else", string(open(t, missing).Data))

	err := open(t, filepath.Join(t.TempDir(), "app.config")).Write(nil, true)
	require.NoError(t, err)
	blocked := write(t, "")
	_, err = OpenFile(filepath.Join(blocked, "app.config")) // a file where a folder is needed
	assert.ErrorContains(t, err, "not a directory; correct the path")
	_, err = OpenFile(t.TempDir())
	assert.ErrorContains(t, err, "is a directory or device; name a file")
	loop := filepath.Join(t.TempDir(), "loop")
	require.NoError(t, os.Symlink(loop, loop))
	_, err = OpenFile(loop)
	assert.ErrorContains(t, err, "too many levels of symbolic links")
}

func TestWideMode(t *testing.T) {
	path := write(t, "")
	for bits, want := range map[os.FileMode]string{
		0o600: "", 0o400: "", 0o700: "",
		0o640: "the users of its group can read the file", 0o660: "the users of its group can read and change the file",
		0o604: "every user of this machine can read the file", 0o662: "every user of this machine can change the file",
	} {
		require.NoError(t, os.Chmod(path, bits))
		problem := open(t, path).WideMode()
		if want == "" {
			assert.Nil(t, problem, "%o", bits)
		} else if assert.NotNil(t, problem, "%o", bits) {
			assert.Equal(t, path+": "+want+"; chmod 600 "+path, problem.String())
		}
	}
	assert.Nil(t, open(t, path+"x").WideMode(), "a file that is not there has none")
}

// TestInspect holds what is told only to those who look.
func TestInspect(t *testing.T) {
	path := write(t, strings.Replace(resilientPart+threatqPart, "tq-password", "$credential:threatq", 1))
	require.NoError(t, os.Chmod(path, 0o640))
	_, err := Load(Options{Path: path, Environ: []string{}})
	require.ErrorContains(t, err, "systemd gives credentials to a service alone")

	config, err := Load(Options{Path: path, Environ: []string{}, Inspect: true})
	require.NoError(t, err)
	assert.Equal(t, path+": the file holds secrets and the users of its group can read it; chmod 600 "+path+"\n"+
		path+":9: password in [fn_threatq] is a credential of the service, which cannot be looked at from here", messages(config.Warnings))
	for _, setting := range config.Settings {
		if setting.ID() == "fn_threatq.password" {
			assert.Equal(t, "$credential:threatq", setting.Text)
		}
	}

	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "threatq"), []byte("C4NARY\n"), 0o400))
	config, err = Load(Options{Path: path, Environ: []string{"CREDENTIALS_DIRECTORY=" + folder}})
	require.NoError(t, err)
	assert.Equal(t, "C4NARY", config.ThreatQ.Password.Reveal())
	assert.Equal(t, "***", secret.NewRedactor(config.Secrets()...).Redact("C4NARY"))
	assert.Empty(t, config.Warnings)
}

// TestReferencesInPlainValues holds that what a file keeps is masked, also where it is no password.
func TestReferencesInPlainValues(t *testing.T) {
	path := write(t, "C4NARY-user")
	config := load(t, strings.Replace(resilientPart+threatqPart, "=me\n", "=x-${file:"+path+"}\n", 1))
	assert.Equal(t, "x-C4NARY-user", config.ThreatQ.Username)
	assert.Equal(t, "x-***", secret.NewRedactor(config.Secrets()...).Redact(config.ThreatQ.Username))
}

// TestMistakesComeWithSettings holds that a configuration that cannot be used can still be looked at.
func TestMistakesComeWithSettings(t *testing.T) {
	_, err := Load(Options{Path: write(t, resilientPart+"port=many\n"), Environ: []string{}})
	var mistakes *Error
	require.ErrorAs(t, err, &mistakes)
	shown := make(map[string]string)
	for _, setting := range mistakes.Settings {
		shown[setting.ID()] = setting.Text
	}
	assert.Equal(t, "many", shown["resilient.port"])
	assert.Equal(t, "***", shown["resilient.api_key_secret"])
}

func TestWithoutTheBrokerThereIsNothingToRun(t *testing.T) {
	path := write(t, resilientPart+"stomp=0\n"+threatqPart)
	config, err := Load(Options{Path: path, Environ: []string{}, Inspect: true})
	require.NoError(t, err)
	assert.Equal(t, path+":6: stomp in [resilient] switches the message broker off, without which there is nothing to run; leave it out", messages(config.Warnings))
}

func TestTarget(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("app.config", nil, 0o600))
	assert.Equal(t, "/home/me/.resilient/app.config", Target(Options{Environ: []string{}, Home: "/home/me"}), "./app.config does not count")
	assert.Equal(t, "/home/me/x", Target(Options{Environ: []string{"APP_CONFIG_FILE=~/x"}, Home: "/home/me"}))
	t.Setenv("HOME", "")
	assert.Empty(t, Target(Options{Environ: []string{}}))
	assert.Equal(t, "y", Target(Options{Path: "y", Environ: []string{"APP_CONFIG_FILE=~/x"}, Home: "/home/me"}))
}
