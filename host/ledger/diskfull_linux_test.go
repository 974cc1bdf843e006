package ledger_test

import (
	"bytes"
	"fmt"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/ledger"
)

// A limit on the size of files is met like a full disk: writes fail.
func TestFullDiskLosesNothing(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limit := func(bytes uint64) {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: before.Max}))
	}
	dir := t.TempDir()
	l := open(t, dir)
	begin(t, l, "doubt 1", create)
	begin(t, l, "doubt 2", create)
	l = killed(t, l, dir)
	dir = filepath.Dir(l.Path())
	limit(2 << 20)
	defer limit(before.Cur)

	var failed error
	recorded := 0
	for ; failed == nil; recorded++ {
		require.Less(t, recorded, 100_000, "the disk does not get full")
		failed = l.Record(ledger.Outcome{ID: fmt.Sprint(recorded), Reply: bytes.Repeat([]byte("x"), 10_000)})
	}
	recorded--
	assert.ErrorContains(t, failed, "cannot be written")
	assert.ErrorContains(t, failed, syscall.EFBIG.Error())
	_, ok := l.Outcome(fmt.Sprint(recorded))
	assert.False(t, ok, "what failed is not known")
	_, err := l.Begin("m", "call")
	for i := 0; err == nil; i++ { // there may be room for some small rows yet
		_, err = l.Begin(fmt.Sprint("m", i), "call")
		require.Less(t, i, 10_000)
	}
	limit(1)
	for _, message := range []string{"doubt 1", "doubt 2"} {
		doubtful, err := l.Begin(message, create)
		require.Error(t, err)
		assert.True(t, doubtful)
	}
	limit(before.Cur)
	assert.True(t, begin(t, l, "doubt 1", create), "nobody was told of the doubt")
	require.NoError(t, l.Record(outcome("after"), outcome(fmt.Sprint(recorded))), "it goes on by itself")
	require.NoError(t, l.Close())
	l = open(t, dir)
	for i := range recorded + 1 {
		_, ok := l.Outcome(fmt.Sprint(i))
		assert.True(t, ok, "%d of %d", i, recorded)
	}
	assert.True(t, begin(t, l, "doubt 2", create), "nor does the file forget it")
	_, ok = l.Outcome("after")
	assert.True(t, ok)
}
