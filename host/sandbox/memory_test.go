package sandbox

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnImageIsPutBackWhateverWasWritten(t *testing.T) {
	system := os.Getpagesize()
	content := bytes.Repeat([]byte("image..."), 20*system/8)
	for name, change := range map[string]func(*memoryImage){
		"pages": func(*memoryImage) {},
		"plain": func(m *memoryImage) {
			m.close()
			*m = memoryImage{content: content}
			plain(m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemoryImage(content)
			change(m)
			defer m.close()
			one, other := memoryOf(t, len(content)), memoryOf(t, len(content))
			require.NoError(t, m.install(one))
			require.NoError(t, m.install(other))
			for round := range 3 {
				require.True(t, bytes.Equal(content, one.region[:len(content)]), "round %d", round)
				// One byte, the last of a page and the first of the next, many
				// pages, the very end.
				one.region[round*system] = 'X'
				one.region[7*system-1], one.region[7*system] = 'X', 'X'
				clear(one.region[9*system : 14*system])
				one.region[len(content)-1] = 'X'
				require.True(t, bytes.Equal(content, other.region[:len(content)]), "memories of one image are apart")
				require.NoError(t, m.reset(one))
			}
			assert.True(t, bytes.Equal(content, m.content))
		})
	}
}

func memoryOf(t *testing.T, size int) *linearMemory {
	t.Helper()
	l, err := newLinearMemory(uint64(size), uint64(size))
	require.NoError(t, err)
	t.Cleanup(l.Free)
	return l
}

func TestMemoryGrowsInPlaceUpToItsLimit(t *testing.T) {
	l, err := newLinearMemory(pageSize, 3*pageSize)
	require.NoError(t, err)
	first := l.Reallocate(pageSize)
	first[0] = 7
	grown := l.Reallocate(3 * pageSize)
	require.Len(t, grown, 3*pageSize)
	assert.Same(t, &first[0], &grown[0])
	assert.True(t, bytes.Equal(make([]byte, 2*pageSize), grown[pageSize:]), "new pages read as zeros")
	assert.False(t, l.refused)
	assert.Nil(t, l.Reallocate(3*pageSize+1))
	assert.True(t, l.refused)
	l.Free()
	l.Free()
}

// BenchmarkReset puts an image back after a turn that wrote to as many pages as
// turns of the built-in rules do: those pages alone, and all of it.
func BenchmarkReset(b *testing.B) {
	system := os.Getpagesize()
	content := bytes.Repeat([]byte("image..."), 8<<20/8)
	m := newMemoryImage(content)
	defer m.close()
	l, err := newLinearMemory(uint64(len(content)), uint64(len(content)))
	require.NoError(b, err)
	defer l.Free()
	for name, reset := range map[string]func(){
		"written": func() { require.NoError(b, m.reset(l)) },
		"all":     func() { copy(l.region, m.content) },
		"mapped":  func() { require.NoError(b, m.install(l)) },
	} {
		b.Run(name, func(b *testing.B) {
			require.NoError(b, m.install(l))
			for b.Loop() {
				for page := range 40 {
					l.region[page*37*system] = 'X'
				}
				reset()
			}
		})
	}
}
