package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
)

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "lock")
	_, held, err := host.LockHolder(path)
	require.NoError(t, err)
	assert.False(t, held, "there is no file yet")

	lock, err := host.AcquireLock(path)
	require.NoError(t, err)
	_, err = host.AcquireLock(path)
	var locked *host.LockedError
	require.ErrorAs(t, err, &locked)
	assert.Equal(t, os.Getpid(), locked.PID)
	assert.Equal(t, host.ExitLocked, host.ExitCode(err))
	assert.Contains(t, err.Error(), path)
	assert.Contains(t, err.Error(), "APP_LOCK_FILE")
	pid, held, err := host.LockHolder(path)
	require.NoError(t, err)
	assert.True(t, held)
	assert.Equal(t, os.Getpid(), pid)

	require.NoError(t, lock.Release())
	_, held, err = host.LockHolder(path)
	require.NoError(t, err)
	assert.False(t, held)
	lock, err = host.AcquireLock(path)
	require.NoError(t, err, "a file that was left behind is no lock")
	require.NoError(t, lock.Release())
}

func TestLockFileThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := host.AcquireLock(filepath.Join(file, "lock"))
	assert.ErrorContains(t, err, "APP_LOCK_FILE")
}
