package ledger_test

import (
	"fmt"
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
	require.NoError(t, m.Record(ledger.Outcome{ID: "a", Reply: []byte("one")}))
	require.NoError(t, m.Record(ledger.Outcome{ID: "a", Reply: []byte("two")}))
	reply, ok := m.Outcome("a")
	assert.True(t, ok)
	assert.Equal(t, "two", string(reply))
}

func TestMemoryIsBoundedByNumberAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledger.NewMemory()
		for i := range 10_001 {
			require.NoError(t, m.Record(ledger.Outcome{ID: fmt.Sprint(i)}))
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
