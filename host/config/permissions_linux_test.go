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

	errs := make(chan [2]error)
	go func() {
		// The thread alone changes its user, and ends with this goroutine, for it is not unlocked.
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		_, loading := Load(Options{Environ: []string{}, Home: home})
		_, opening := OpenFile(path)
		errs <- [2]error{loading, opening}
	}()
	for _, err := range <-errs {
		require.ErrorIs(t, err, ErrNoFile)
		assert.EqualError(t, err, "configuration: "+path+": the configuration file cannot be read: permission denied; "+
			"run as the file's owner, or give the file to the user that the host runs as (chown, mode 0600)")
	}
}
