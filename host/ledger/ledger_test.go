package ledger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/ledger"
)

func TestMemoryRemembersOutcomes(t *testing.T) {
	m := ledger.NewMemory()
	_, ok := m.Outcome("a")
	assert.False(t, ok)
	require.NoError(t, m.Record("a", []byte("one")))
	require.NoError(t, m.Record("a", []byte("two")))
	reply, ok := m.Outcome("a")
	assert.True(t, ok)
	assert.Equal(t, "two", string(reply))
}

func TestMemoryIsBoundedByNumberAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledger.NewMemory()
		for i := range 10_001 {
			require.NoError(t, m.Record(fmt.Sprint(i), nil))
		}
		_, ok := m.Outcome("0")
		assert.False(t, ok, "the oldest gives way")
		_, ok = m.Outcome("1")
		assert.True(t, ok)
		time.Sleep(time.Hour)
		_, ok = m.Outcome("10000")
		assert.False(t, ok, "outcomes expire")
	})
}

func TestDeadLetterKeepsTheMessageWithoutItsToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dead-letters")
	path, err := ledger.DeadLetters{Dir: dir}.Keep("ID:host-1:2:3/../x", map[string]string{"Co3ContextToken": "secret-jwt", "reply-to": "/queue/acks"}, []byte("{not json"), "no JSON")
	require.NoError(t, err)
	assert.Equal(t, dir, filepath.Dir(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(text), "{not json")
	assert.Contains(t, string(text), "/queue/acks")
	assert.NotContains(t, string(text), "secret-jwt")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
}
