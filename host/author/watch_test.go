package author_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
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
		done, ended, during := 0, make(chan error, 1), func() {}
		go func() {
			ended <- author.Watch(ctx, []string{dir + "/..."}, time.Second, func() {
				done++
				put("look-up.wasm", strings.Repeat("made by this", done)) // is no change
				during()
				during = func() {}
			})
		}()
		pass := func(seconds int, want int, why string) {
			t.Helper()
			time.Sleep(time.Duration(seconds) * time.Second)
			synctest.Wait()
			assert.Equal(t, want, done, why)
		}
		pass(10, 1, "at once, and then nothing changed")
		put("rule.go", "22")
		time.Sleep(time.Second)
		put("rule.go", "333")
		time.Sleep(time.Second)
		put("rule.go", "4444")
		synctest.Wait()
		assert.Equal(t, 1, done, "an editor still writes")
		pass(3, 2, "the file has settled")
		put("notes.txt", "x")
		put(".git/config.json", "x")
		pass(5, 2, "files that a plugin is not made of")
		put("scenarios/new.txtar", "x")
		pass(5, 3, "a new scenario")
		during = func() { put("rule.go", "55555") }
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
