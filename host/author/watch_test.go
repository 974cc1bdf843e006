package author_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/author"
)

func TestAWatchWaitsUntilFilesHaveSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		put := func(name, text string) {
			t.Helper()
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		put("rule.go", "1")
		put("manifest.json", "{}")
		put("module/main.go", "package main")
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		var done atomic.Int32
		var edit atomic.Bool // the author writes while the watch works
		go func() {
			ended <- author.Watch(ctx, []string{dir + "/..."}, time.Second, func() {
				put("look-up.wasm", strings.Repeat("made by this", int(done.Add(1)))) // is no change
				if edit.CompareAndSwap(true, false) {
					put("rule.go", "55555")
				}
			})
		}()
		pass := func(seconds int, want int, why string) {
			t.Helper()
			time.Sleep(time.Duration(seconds) * time.Second)
			synctest.Wait()
			assert.EqualValues(t, want, done.Load(), why)
		}
		time.Sleep(time.Second / 2) // from here on between two looks
		pass(10, 1, "at once, and then nothing changed")
		put("rule.go", "22")
		time.Sleep(time.Second)
		put("rule.go", "333")
		time.Sleep(time.Second)
		put("rule.go", "4444")
		synctest.Wait()
		assert.EqualValues(t, 1, done.Load(), "an editor still writes")
		pass(3, 2, "the file has settled")
		put("notes.txt", "x")
		put(".git/config.json", "x")
		pass(5, 2, "files that a plugin is not made of")
		put("scenarios/new.txtar", "x")
		pass(5, 3, "a new scenario")
		edit.Store(true)
		put("rule.go", "1")
		pass(9, 5, "a change while it works is not lost")
		end()
		assert.NoError(t, <-ended)
	})
}

func TestAWatchOfNothingIsAnError(t *testing.T) {
	err := author.Watch(t.Context(), []string{filepath.Join(t.TempDir(), "gone")}, time.Second, func() {})
	require.ErrorIs(t, err, os.ErrNotExist)
}
