package sandbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// plain makes an image one that no file backs.
func plain(m *memoryImage) { m.fd = -1 }

func TestAnImageCannotBeChanged(t *testing.T) {
	m := newMemoryImage(make([]byte, 3*pageSize))
	defer m.close()
	require.GreaterOrEqual(t, m.fd, 0)
	_, err := unix.Pwrite(m.fd, []byte("x"), 0)
	assert.ErrorIs(t, err, unix.EPERM)
	assert.ErrorIs(t, unix.Ftruncate(m.fd, 1), unix.EPERM)
}

func TestEmptyImage(t *testing.T) {
	m := newMemoryImage(nil)
	defer m.close()
	l := &linearMemory{}
	require.NoError(t, m.install(l))
	require.NoError(t, m.reset(l))
}

func TestWrittenPagesAreThoseThatLeftTheFile(t *testing.T) {
	assert.False(t, written(0), "never touched")
	assert.False(t, written(pagePresent|pageFromFile), "read")
	assert.True(t, written(pagePresent), "written to")
	assert.True(t, written(pageSwapped), "written to, and swapped out")
}
