package config

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestUnreadableFile opens files as a user who may not, also where the tests run as root.
func TestUnreadableFile(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, ".resilient", "app.config")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	require.NoError(t, os.Chmod(filepath.Dir(path), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) })
	t.Chdir(t.TempDir())

	var loading, opening error
	asNobody(func() {
		_, loading = Load(Options{Environ: []string{}, Home: home})
		_, opening = OpenFile(path)
	})
	for _, err := range []error{loading, opening} {
		require.ErrorIs(t, err, ErrNoFile)
		assert.EqualError(t, err, "configuration: "+path+": the configuration file cannot be read: permission denied; "+
			"run as the file's owner, or give the file to the user that the host runs as (chown, mode 0600)")
	}
}

// TestGroupThatCannotBeKept: an editor who may not give files to the old group does not open the file to his own.
func TestGroupThatCannotBeKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a file of a group that is not its own")
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "app.config")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	require.NoError(t, os.Chown(path, -1, 23456))
	require.NoError(t, os.Chmod(path, 0o664))
	require.NoError(t, os.Chmod(folder, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(folder), 0o777))
	var err error
	asNobody(func() {
		var file *File
		if file, err = OpenFile(path); err == nil {
			err = file.Write([]byte("new"), true)
		}
	})
	require.NoError(t, err)
	assert.Equal(t, "new", string(open(t, path).Data))
	assert.Equal(t, os.FileMode(0o604), mode(t, path))
}

// asNobody opens files as a user without rights, where the tests run as root. The thread alone changes its user, and ends
// with its goroutine, for it is not unlocked.
func asNobody(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		do()
	}()
	<-done
}
