//go:build unix

package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/store"
)

// TestWhatRootInstallsIsTheServices: root is who administers, and the service is
// another user, who could not read a file of root's.
func TestWhatRootInstallsIsTheServices(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; others own what they make")
	}
	const service = 4242
	state := t.TempDir()
	require.NoError(t, os.Chown(state, service, service))
	s := store.Open(filepath.Join(state, "plugins"))
	put(t, s, "a", "one")
	require.NoError(t, s.SetGood(map[string]store.Good{"a": {}}, map[string][]byte{"x": nil}))
	n := 0
	require.NoError(t, filepath.WalkDir(state, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		assert.EqualValues(t, service, info.Sys().(*syscall.Stat_t).Uid, path)
		n++
		return nil
	}))
	assert.Greater(t, n, 5)
}
